//! The only ARK request that is accepted. The real ARK ignores unknown members, answers 200 and charges for the
//! picture, so a misspelled member is found only here.

use axum::http::HeaderMap;
use serde::Deserialize;

use crate::input::{self, RefusedInput};

/// Limit of input pictures plus output pictures.
const MAX_PICTURES: u32 = 15;

/// A valid request.
#[derive(Debug)]
pub(crate) struct SeedreamRequest {
    pub(crate) model: String,
    pub(crate) prompt: String,
    pub(crate) size: SizeTier,
    /// Number of pictures to generate.
    pub(crate) pictures: u32,
}

impl SeedreamRequest {
    /// Parses a request. The error is a sentence that names the first mistake.
    pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, RefusedInput> {
        let json: SeedreamRequestJson = input::read_json(headers, body)?;
        input::require(!json.model.is_empty(), "`model` must not be empty")?;
        input::require(!json.prompt.is_empty(), "`prompt` must not be empty")?;
        input::require(json.stream, "only `stream` true is served")?;
        input::require(json.response_format == "url", "only `response_format` url is served")?;
        let Some(size) = SizeTier::parse(&json.size) else {
            return Err(RefusedInput("`size` must be 1K, 2K or 4K".to_owned()));
        };

        let images = match json.image {
            // A picture from the prompt alone.
            None => Vec::new(),
            Some(OneOrMany::One(url)) => vec![url],
            Some(OneOrMany::Many(urls)) if urls.is_empty() => {
                return Err(RefusedInput("`image` must not be empty".to_owned()));
            }
            Some(OneOrMany::Many(urls)) => urls,
        };
        images.iter().try_for_each(|url| input::check_image(url))?;

        let pictures = match (json.sequential_image_generation, json.options) {
            (SequentialMode::Disabled, None) => 1,
            (SequentialMode::Auto, Some(options)) => options.max_images,
            _ => {
                return Err(RefusedInput(
                    "`sequential_image_generation_options` is required with auto and not allowed without it".into(),
                ));
            }
        };
        let room = u32::try_from(images.len()).ok().and_then(|used| MAX_PICTURES.checked_sub(used));
        let fits = room.is_some_and(|room| (1..=room).contains(&pictures));
        input::require(fits, "`max_images` must be at least 1, and inputs plus `max_images` at most 15")?;
        // Both values are valid. The member is required because ARK's default is true.
        let _: bool = json.watermark;
        Ok(Self { model: json.model, prompt: json.prompt, size, pictures })
    }
}

/// The requested size. The real model chooses the aspect ratio; this fake always uses 3:2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeTier {
    OneK,
    TwoK,
    FourK,
}

impl SizeTier {
    /// The tier with this exact name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::OneK, Self::TwoK, Self::FourK].into_iter().find(|tier| tier.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneK => "1K",
            Self::TwoK => "2K",
            Self::FourK => "4K",
        }
    }

    /// Width and height of the pictures, in pixels.
    pub(crate) fn pixels(self) -> (u32, u32) {
        match self {
            Self::OneK => (1248, 832),
            Self::TwoK => (2496, 1664),
            Self::FourK => (4992, 3328),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedreamRequestJson {
    model: String,
    prompt: String,
    #[serde(default, deserialize_with = "input::present")]
    image: Option<OneOrMany>,
    sequential_image_generation: SequentialMode,
    #[serde(rename = "sequential_image_generation_options")]
    options: Option<SequentialOptionsJson>,
    response_format: String,
    size: String,
    stream: bool,
    watermark: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SequentialMode {
    Auto,
    Disabled,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SequentialOptionsJson {
    max_images: u32,
}
