//! The one request of `POST /v1/chat/completions`.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::{Asked, MAX_GEMINI_IMAGES};
use crate::image_api::size::Size;
use crate::input::{self, Refused};

/// Reads a request, or says in words what is wrong with it.
pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Asked, Refused> {
    let wire: Wire = input::read_json(headers, body)?;
    input::require(wire.stream, "only stream: true is served")?;
    input::require(wire.stream_options.include_usage, "include_usage must be true")?;
    input::require(wire.modalities == ["text", "image"], "modalities must be text, image")?;
    let [message] =
        <[Message; 1]>::try_from(wire.messages).map_err(|_| Refused("there must be one message".to_owned()))?;
    input::require(message.role == "user", "the message must be the user's")?;

    let mut parts = message.content.into_iter();
    let Some(Part::Text { text: prompt }) = parts.next() else {
        return Err(Refused("the first part must be the text".to_owned()));
    };
    let image_count = parts.len();
    parts.try_for_each(image)?;
    input::require(image_count <= MAX_GEMINI_IMAGES, "there must be at most 3 images")?;
    let ratio = wire.extra_body.map(|extra| extra.google.image_config.aspect_ratio);
    let size = ratio.map(|ratio| Size::of_ratio(&ratio)).transpose()?;
    Asked::new(wire.model, prompt, image_count, size)
}

fn image(part: Part) -> Result<(), Refused> {
    let Part::ImageUrl { image_url } = part else {
        return Err(Refused("every part after the first must be an image".to_owned()));
    };
    input::check_image(&image_url.url)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    model: String,
    stream: bool,
    stream_options: StreamOptions,
    modalities: Vec<String>,
    messages: Vec<Message>,
    #[serde(default, deserialize_with = "input::present")]
    extra_body: Option<ExtraBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraBody {
    google: Google,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Google {
    image_config: ImageConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageConfig {
    aspect_ratio: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: String,
    content: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Part {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageUrl {
    url: String,
}
