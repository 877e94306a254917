//! Volcengine ARK's `POST {base}/images/generations` (Seedream), in stream mode where the model has one.

use serde::Serialize;

use super::ModelFamily;

/// The request body. ARK ignores members that no model has, and charges for the call; a member that another model has is
/// refused with 400. So the optional ones are sent to the families of models that take them.
///
/// Fields: [image generation API](https://www.volcengine.com/docs/82379/1541523).
#[derive(Serialize)]
pub struct ArkRequest<'a> {
    model: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Images<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequential_image_generation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequential_image_generation_options: Option<SequentialOptions>,
    response_format: &'static str,
    size: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<&'static str>,
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
    /// What the model takes.
    pub family: ModelFamily,
    /// The prompt.
    pub prompt: &'a str,
    /// Tier (`2K`) or `WxH`.
    pub size: &'a str,
    /// 1..=15; the model makes fewer if it makes no groups, or if it decides so.
    pub max_images: u32,
    /// Whether ARK marks the pictures.
    pub watermark: bool,
}

impl<'a> ArkRequest<'a> {
    /// A request for pictures made from `images` (links or data URLs), or from the prompt alone.
    pub fn new(settings: ArkSettings<'a>, images: &'a [&'a str]) -> Self {
        let family = settings.family;
        let max_images = family.pictures_of_call(settings.max_images, images.len());
        let several = max_images > 1;
        Self {
            model: settings.model,
            prompt: settings.prompt,
            image: match images {
                [] => None,
                [one] => Some(Images::One(one)),
                several => Some(Images::Several(several)),
            },
            sequential_image_generation: family.takes("sequential_image_generation").then_some(match several {
                true => "auto",
                false => "disabled",
            }),
            sequential_image_generation_options: several.then_some(SequentialOptions { max_images }),
            response_format: "url",
            size: settings.size,
            stream: family.takes("stream").then_some(true),
            // The only format of the other models, so that all answer in the same one.
            output_format: family.takes("output_format").then_some("jpeg"),
            watermark: settings.watermark,
        }
    }
}
