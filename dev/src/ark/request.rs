//! The one ARK request that is accepted. The real ARK ignores unknown members with 200 and bills
//! the picture, so nobody but this fake tells us of a typing error.

use axum::http::HeaderMap;
use serde::Deserialize;

use crate::input::{self, Refused};

/// Input pictures and output pictures together.
const MAX_PICTURES: u32 = 15;

/// A request that was checked.
#[derive(Debug)]
pub(crate) struct ArkRequest {
    pub(crate) model: String,
    pub(crate) prompt: String,
    pub(crate) size: Tier,
    /// How many pictures to make.
    pub(crate) pictures: u32,
}

impl ArkRequest {
    /// Reads a request, or says in words what is wrong with it.
    pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refused> {
        let wire: Wire = input::read_json(headers, body)?;
        input::require(!wire.model.is_empty(), "`model` must not be empty")?;
        input::require(!wire.prompt.is_empty(), "`prompt` must not be empty")?;
        input::require(wire.stream, "only `stream` true is served")?;
        input::require(wire.response_format == "url", "only `response_format` url is served")?;
        let Some(size) = Tier::parse(&wire.size) else {
            return Err(Refused("`size` must be 1K, 2K or 4K".to_owned()));
        };

        let images = match wire.image {
            OneOrMany::One(url) => vec![url],
            OneOrMany::Many(urls) => urls,
        };
        input::require(!images.is_empty(), "`image` must not be empty")?;
        images.iter().try_for_each(|url| input::check_image(url))?;

        let pictures = match (wire.sequential_image_generation, wire.options) {
            (Sequential::Disabled, None) => 1,
            (Sequential::Auto, Some(options)) => options.max_images,
            _ => {
                return Err(Refused("`sequential_image_generation_options` belongs to auto, and only to it".into()));
            }
        };
        let room = u32::try_from(images.len()).ok().and_then(|used| MAX_PICTURES.checked_sub(used));
        let fits = room.is_some_and(|room| (1..=room).contains(&pictures));
        input::require(fits, "inputs and `max_images` must be at least 1 and 15 together")?;
        // Whatever it says: we send it always, because it would be true without.
        let _: bool = wire.watermark;
        Ok(Self { model: wire.model, prompt: wire.prompt, size, pictures })
    }
}

/// The size that is asked for; the model chooses the ratio, here always 3:2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    OneK,
    TwoK,
    FourK,
}

impl Tier {
    /// The tier called `name`, in the spelling that we send.
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

    /// Width and height of the pictures.
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
struct Wire {
    model: String,
    prompt: String,
    image: OneOrMany,
    sequential_image_generation: Sequential,
    #[serde(rename = "sequential_image_generation_options")]
    options: Option<SequentialOptions>,
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
enum Sequential {
    Auto,
    Disabled,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SequentialOptions {
    max_images: u32,
}
