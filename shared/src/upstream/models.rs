//! The families of models: what a request to one may contain, and what its answer may.
//!
//! The table is also in docs/upstream-requests.md, with the sources; a test holds both together.

/// Models that take the same request. A model of no family gets the members that every model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelFamily {
    /// The name in the documents and in `ARK_FAMILY`.
    pub name: &'static str,
    /// Its models, without what [`ModelFamily::of`] ignores.
    pub models: &'static [&'static str],
    /// The members that a request may contain beside those that every model takes.
    pub takes: &'static [&'static str],
    /// The kinds of output to request in mode `chat`.
    pub modalities: &'static [&'static str],
    /// Whether an answer may contain pictures that a later one of the same answer replaces.
    pub may_send_drafts: bool,
    /// The sizes to request in mode `images`.
    pub sizes: &'static [(u16, u16)],
}

/// The most input and output pictures of one ARK call, together.
const MAX_ARK_PICTURES: u32 = 15;

const TEXT_AND_IMAGE: &[&str] = &["text", "image"];
const IMAGE: &[&str] = &["image"];

const STANDARD_SIZES: &[(u16, u16)] = &[(1024, 1024), (1536, 1024), (1024, 1536)];
/// For models that make any size: the exact size of each aspect ratio. Sides must be multiples of 16, with at least
/// 655 360 pixels in all.
const EXACT_SIZES: &[(u16, u16)] = &[
    (1024, 1024),
    (1024, 1536),
    (1536, 1024),
    (1152, 1536),
    (1536, 1152),
    (1024, 1280),
    (1280, 1024),
    (864, 1536),
    (1536, 864),
    (1680, 720),
];

const UNKNOWN: ModelFamily = ModelFamily {
    name: "any other",
    models: &[],
    takes: &[],
    modalities: TEXT_AND_IMAGE,
    may_send_drafts: true,
    sizes: STANDARD_SIZES,
};
const SEEDREAM: ModelFamily = ModelFamily { modalities: IMAGE, ..UNKNOWN };
const SEEDREAM_4_0: ModelFamily = ModelFamily {
    name: "seedream-4.0",
    models: &["seedream-4-0"],
    takes: &["stream", "sequential_image_generation"],
    ..SEEDREAM
};

impl ModelFamily {
    /// All families, the last for a model of none.
    pub const ALL: &'static [Self] = &[
        Self {
            name: "gemini-2.5",
            models: &["gemini-2.5-flash-image"],
            takes: &[],
            modalities: TEXT_AND_IMAGE,
            may_send_drafts: false,
            sizes: STANDARD_SIZES,
        },
        Self {
            name: "gemini-3",
            models: &[
                "gemini-3-pro-image",
                "gemini-3.1-flash-image",
                "gemini-3.1-flash-lite-image",
                "gemini-nano-banana-2.1",
            ],
            ..UNKNOWN
        },
        Self {
            name: "gpt-image-1",
            models: &["gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "chatgpt-image"],
            takes: &["stream", "partial_images"],
            modalities: IMAGE,
            may_send_drafts: true,
            sizes: STANDARD_SIZES,
        },
        Self {
            name: "gpt-image-2",
            models: &["gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.5-sunburst"],
            takes: &["stream", "partial_images"],
            modalities: IMAGE,
            may_send_drafts: true,
            sizes: EXACT_SIZES,
        },
        Self {
            name: "gpt-image-2.6",
            models: &["gpt-image-2.6-flare", "gpt-image-2.6-sunburst"],
            takes: &["stream", "partial_images"],
            modalities: IMAGE,
            may_send_drafts: true,
            sizes: STANDARD_SIZES,
        },
        Self {
            name: "dall-e-3",
            models: &["dall-e-3"],
            takes: &["response_format"],
            modalities: IMAGE,
            may_send_drafts: false,
            sizes: &[(1024, 1024), (1792, 1024), (1024, 1792)],
        },
        Self {
            name: "dall-e-2",
            models: &["dall-e-2"],
            takes: &["response_format"],
            modalities: IMAGE,
            may_send_drafts: false,
            sizes: &[(1024, 1024)],
        },
        Self {
            name: "flux",
            models: &["flux.2-pro", "flux.2-max", "flux.2-flex", "flux.2-klein-4b"],
            modalities: IMAGE,
            ..UNKNOWN
        },
        SEEDREAM_4_0,
        Self { name: "seedream-4.5", models: &["seedream-4-5"], ..SEEDREAM_4_0 },
        Self {
            name: "seedream-5.0-lite",
            models: &["seedream-5-0", "seedream-5-0-lite"],
            takes: &["stream", "sequential_image_generation", "output_format"],
            ..SEEDREAM
        },
        Self { name: "seedream-5.0-pro", models: &["seedream-5-0-pro"], takes: &["output_format"], ..SEEDREAM },
        Self { name: "seedream-5.0-flash", models: &["seedream-5-0-flash"], ..SEEDREAM },
        UNKNOWN,
    ];

    /// The names of ARK's families.
    pub const OF_ARK: &'static [&'static str] =
        &["seedream-4.0", "seedream-4.5", "seedream-5.0-lite", "seedream-5.0-pro", "seedream-5.0-flash"];

    /// The family of a model. A vendor in front (`google/…`, `doubao-…`, `dola-…`), a version or date behind
    /// (`…-preview`, `…-250828`), upper case and a dot for a hyphen make no difference. An endpoint id of ARK (`ep-…`)
    /// does not tell its model; it gets the request of `seedream-4.0`.
    pub fn of(model: &str) -> Self {
        let name = normal(model.rsplit('/').next().unwrap_or(model));
        if name.starts_with("ep-") {
            return SEEDREAM_4_0;
        }
        let name = ["doubao-", "dola-"].iter().find_map(|vendor| name.strip_prefix(vendor)).unwrap_or(&name);
        let is_of = |family: &&Self| {
            family.models.iter().any(|model| name.strip_prefix(&normal(model)).is_some_and(is_version))
        };
        Self::ALL.iter().find(is_of).copied().unwrap_or(UNKNOWN)
    }

    /// The family with this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|family| family.name.eq_ignore_ascii_case(name)).copied()
    }

    /// Whether a request may contain this member.
    pub fn takes(&self, member: &str) -> bool {
        self.takes.contains(&member)
    }

    /// The most pictures of one ARK call with `inputs` pictures, of the `wanted` ones: one, if the family makes no groups.
    pub fn pictures_of_call(&self, wanted: u32, inputs: usize) -> u32 {
        let room = MAX_ARK_PICTURES.saturating_sub(u32::try_from(inputs).unwrap_or(MAX_ARK_PICTURES)).max(1);
        if self.takes("sequential_image_generation") { wanted.min(room) } else { 1 }
    }
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace('.', "-")
}

/// Whether `rest`, behind a model's name, only tells a version: `-preview`, `-latest`, or a date of at least four digits.
fn is_version(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix('-') else { return rest.is_empty() };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = |part: &str| matches!(part, "preview" | "latest");
    rest.split('-').all(|part| is_number(part) || is_word(part))
        && rest.split('-').next().is_some_and(|first| is_word(first) || first.len() >= 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_of_a_model() {
        for (model, family) in [
            ("gemini-2.5-flash-image", "gemini-2.5"),
            ("google/gemini-2.5-flash-image-preview", "gemini-2.5"),
            ("gemini-2.5-flash-image-preview-09-2025", "gemini-2.5"),
            ("gemini-2.5-flash-image-hd", "any other"),
            ("gemini-2.5-flash-image@drafts", "any other"),
            ("gemini-2.5-flash-image-1", "any other"),
            ("gemini-2.5-flash-image-", "any other"),
            ("gemini-2.5-flash-images", "any other"),
            ("models/gemini-3-pro-image-preview", "gemini-3"),
            ("gemini-3.1-flash-lite-image", "gemini-3"),
            ("gemini-nano-banana-2.1", "gemini-3"),
            ("gpt-image-1-mini", "gpt-image-1"),
            ("gpt-image-1.5-2025-12-16", "gpt-image-1"),
            ("chatgpt-image-latest", "gpt-image-1"),
            ("GPT-Image-2", "gpt-image-2"),
            ("gpt-image-2-2026-04-21", "gpt-image-2"),
            ("openai/gpt-image-2.5-flare", "gpt-image-2"),
            ("gpt-image-2-5", "any other"),
            ("gpt-image-2-all", "any other"),
            ("gpt-image-20", "any other"),
            ("gpt-image-2.6-sunburst", "gpt-image-2.6"),
            ("dall-e-3", "dall-e-3"),
            ("black-forest-labs/flux.2-pro", "flux"),
            ("doubao-seedream-4-0-250828", "seedream-4.0"),
            ("doubao-seedream-4-0-20260415", "seedream-4.0"),
            ("seedream-4-0-250828", "seedream-4.0"),
            ("ep-20260901120000-abcde", "seedream-4.0"),
            ("bytedance-seed/seedream-4.5", "seedream-4.5"),
            ("doubao-seedream-5-0-260128", "seedream-5.0-lite"),
            ("doubao-seedream-5-0-lite-260128", "seedream-5.0-lite"),
            ("dola-seedream-5-0-pro-260628", "seedream-5.0-pro"),
            ("byteplus/seedream-5-0-pro-260628", "seedream-5.0-pro"),
            ("doubao-seedream-5-0-flash-260915", "seedream-5.0-flash"),
            ("doubao-seedream-5-5-261101", "any other"),
            ("seedream", "any other"),
            ("", "any other"),
        ] {
            assert_eq!(ModelFamily::of(model).name, family, "{model}");
        }
        for family in ModelFamily::ALL {
            assert_eq!(ModelFamily::named(&family.name.to_uppercase()), Some(*family));
            assert!(family.models.iter().all(|model| ModelFamily::of(model) == *family), "{}", family.name);
        }
        assert_eq!(ModelFamily::named("seedream-6"), None);
    }

    #[test]
    fn pictures_of_a_call() {
        for (family, wanted, inputs, made) in [
            ("seedream-4.0", 3, 2, 3),
            ("seedream-4.0", 15, 10, 5),
            ("seedream-5.0-lite", 15, 1, 14),
            ("seedream-4.5", 3, 15, 1),
            ("seedream-5.0-pro", 3, 1, 1),
            ("seedream-5.0-flash", 15, 1, 1),
            ("any other", 3, 1, 1),
        ] {
            assert_eq!(ModelFamily::named(family).unwrap().pictures_of_call(wanted, inputs), made, "{family}");
        }
    }
}
