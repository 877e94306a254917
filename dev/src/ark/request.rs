//! The only ARK request of each model that is accepted. The real ARK ignores unknown members, answers 200 and charges for
//! the picture, so a misspelled member is found only here.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::model::SeedreamModel;
use crate::input::{self, RefusedInput, require_taken};

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
    /// Whether the answer is an event stream.
    pub(crate) streams: bool,
}

/// Why ARK refuses a request.
#[derive(Debug)]
pub(crate) enum RefusedSeedream {
    /// There is no such model.
    Model,
    Input(RefusedInput),
}

impl From<RefusedInput> for RefusedSeedream {
    fn from(why: RefusedInput) -> Self {
        Self::Input(why)
    }
}

impl SeedreamRequest {
    /// Parses a request. The error names the first mistake.
    pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, RefusedSeedream> {
        let json: SeedreamRequestJson = input::read_json(headers, body)?;
        input::require(!json.model.is_empty(), "`model` must not be empty")?;
        input::require(!json.prompt.is_empty(), "`prompt` must not be empty")?;
        let model = SeedreamModel::of(&json.model).ok_or(RefusedSeedream::Model)?;
        require_taken(model.streams, &json.stream, "stream")?;
        require_taken(model.makes_groups, &json.sequential_image_generation, "sequential_image_generation")?;
        require_taken(model.makes_groups, &json.options, "sequential_image_generation_options")?;
        require_taken(model.has_formats, &json.output_format, "output_format")?;
        input::require(json.stream != Some(false), "only `stream` true is served")?;
        input::require(
            json.output_format.is_none_or(|format| format == "jpeg"),
            "only `output_format` jpeg is served",
        )?;
        input::require(json.response_format == "url", "only `response_format` url is served")?;
        let Some(size) = SizeTier::parse(&json.size) else {
            return Err(RefusedInput::new("`size` must be 1K, 1.5K, 2K, 3K or 4K").into());
        };
        require_taken(model.tiers.contains(&size), &Some(size), "size")?;

        let images = match json.image {
            // A picture from the prompt alone.
            None => Vec::new(),
            Some(OneOrMany::One(url)) => vec![url],
            Some(OneOrMany::Many(urls)) if urls.is_empty() => {
                return Err(RefusedInput::new("`image` must not be empty").into());
            }
            Some(OneOrMany::Many(urls)) => urls,
        };
        input::require(images.len() <= model.max_inputs, "`image` has more pictures than the model takes")?;
        images.iter().try_for_each(|url| input::check_image(url))?;

        let pictures = match (json.sequential_image_generation, json.options) {
            (None | Some(SequentialMode::Disabled), None) => 1,
            (Some(SequentialMode::Auto), Some(options)) => options.max_images,
            _ => {
                let why = "`sequential_image_generation_options` is required with auto and not allowed without it";
                return Err(RefusedInput::new(why).into());
            }
        };
        let room = u32::try_from(images.len()).ok().and_then(|used| MAX_PICTURES.checked_sub(used));
        let fits = room.is_some_and(|room| (1..=room).contains(&pictures));
        input::require(fits, "`max_images` must be at least 1, and inputs plus `max_images` at most 15")?;
        // Both values are valid. The member is required because ARK's default is true.
        let _: bool = json.watermark;
        Ok(Self { model: json.model, prompt: json.prompt, size, pictures, streams: json.stream.is_some() })
    }
}

/// The requested size. The real model chooses the aspect ratio; this fake always uses 3:2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SizeTier {
    OneK,
    OneAndHalfK,
    TwoK,
    ThreeK,
    FourK,
}

impl SizeTier {
    /// The tier with this exact name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let all = [Self::OneK, Self::OneAndHalfK, Self::TwoK, Self::ThreeK, Self::FourK];
        all.into_iter().find(|tier| tier.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneK => "1K",
            Self::OneAndHalfK => "1.5K",
            Self::TwoK => "2K",
            Self::ThreeK => "3K",
            Self::FourK => "4K",
        }
    }

    /// Width and height of the pictures, in pixels.
    pub(crate) fn pixels(self) -> (u32, u32) {
        match self {
            Self::OneK => (1248, 832),
            Self::OneAndHalfK => (1872, 1248),
            Self::TwoK => (2496, 1664),
            Self::ThreeK => (3744, 2496),
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
    #[serde(default, deserialize_with = "input::present")]
    sequential_image_generation: Option<SequentialMode>,
    #[serde(rename = "sequential_image_generation_options", default, deserialize_with = "input::present")]
    options: Option<SequentialOptionsJson>,
    response_format: String,
    size: String,
    #[serde(default, deserialize_with = "input::present")]
    stream: Option<bool>,
    #[serde(default, deserialize_with = "input::present")]
    output_format: Option<String>,
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
