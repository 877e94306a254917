//! Volcengine ARK's `POST {base}/images/generations` (Seedream), in stream mode.

use serde::Serialize;

/// Most input and output pictures of one call, together.
const MAX_PICTURES: u32 = 15;

/// The request body. ARK ignores unknown members and charges for the call, so no other member is sent.
///
/// Fields: [image generation API](https://www.volcengine.com/docs/82379/1541523).
#[derive(Serialize)]
pub struct ArkRequest<'a> {
    model: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Images<'a>>,
    sequential_image_generation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequential_image_generation_options: Option<SequentialOptions>,
    response_format: &'static str,
    size: &'a str,
    stream: bool,
    /// Always sent, because ARK's default is `true`.
    watermark: bool,
}

/// One picture is sent as a string, as in all of ARK's samples.
#[derive(Serialize)]
#[serde(untagged)]
enum Images<'a> {
    One(&'a str),
    Several(&'a [&'a str]),
}

#[derive(Serialize)]
struct SequentialOptions {
    max_images: u32,
}

/// The settings of a request.
#[derive(Clone, Copy)]
pub struct ArkSettings<'a> {
    /// Model or endpoint id.
    pub model: &'a str,
    /// The prompt.
    pub prompt: &'a str,
    /// Tier (`2K`) or `WxH`.
    pub size: &'a str,
    /// 1..=15, minus the number of input pictures; the model decides how many it makes.
    pub max_images: u32,
    /// Whether ARK marks the pictures.
    pub watermark: bool,
}

impl<'a> ArkRequest<'a> {
    /// A request for pictures made from `images` (links or data URLs), or from the prompt alone.
    pub fn new(settings: ArkSettings<'a>, images: &'a [&'a str]) -> Self {
        let room = MAX_PICTURES.saturating_sub(u32::try_from(images.len()).unwrap_or(MAX_PICTURES));
        let max_images = settings.max_images.min(room);
        let several = max_images > 1;
        Self {
            model: settings.model,
            prompt: settings.prompt,
            image: match images {
                [] => None,
                [one] => Some(Images::One(one)),
                several => Some(Images::Several(several)),
            },
            sequential_image_generation: if several { "auto" } else { "disabled" },
            sequential_image_generation_options: several.then_some(SequentialOptions { max_images }),
            response_format: "url",
            size: settings.size,
            stream: true,
            watermark: settings.watermark,
        }
    }
}
