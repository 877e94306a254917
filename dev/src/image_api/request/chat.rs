//! The only request that is accepted at `POST /v1/chat/completions`.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::{ImageRequest, MAX_GEMINI_IMAGES};
use crate::image_api::size::Size;
use crate::input::{self, RefusedInput};

/// Parses a request. The error is a sentence that names the first mistake.
pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<ImageRequest, RefusedInput> {
    let json: ChatRequestJson = input::read_json(headers, body)?;
    input::require(json.stream, "only stream: true is served")?;
    input::require(json.stream_options.include_usage, "include_usage must be true")?;
    let modalities: &[&str] = if makes_pictures_only(&json.model) { &["image"] } else { &["text", "image"] };
    input::require(json.modalities == modalities, &format!("modalities must be {}", modalities.join(", ")))?;
    let [message] =
        <[ChatMessageJson; 1]>::try_from(json.messages).map_err(|_| RefusedInput::new("there must be one message"))?;
    input::require(message.role == "user", "the role of the message must be user")?;

    let mut parts = message.content.into_iter();
    let Some(ChatPartJson::Text { text: prompt }) = parts.next() else {
        return Err(RefusedInput::new("the first part must be the text"));
    };
    let image_count = parts.len();
    parts.try_for_each(image)?;
    input::require(image_count <= MAX_GEMINI_IMAGES, "there must be at most 3 images")?;
    let ratio = json.extra_body.map(|extra| extra.google.image_config.aspect_ratio);
    let size = ratio.map(|ratio| Size::of_ratio(&ratio)).transpose()?;
    ImageRequest::new(json.model, prompt, image_count, size)
}

/// Whether the model has no text output. OpenRouter refuses `text` then.
fn makes_pictures_only(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or_default();
    let begins = ["gpt-image-", "chatgpt-image-", "dall-e-", "flux", "seedream-", "doubao-seedream-", "dola-seedream-"];
    begins.iter().any(|begin| name.starts_with(begin))
}

fn image(part: ChatPartJson) -> Result<(), RefusedInput> {
    let ChatPartJson::ImageUrl { image_url } = part else {
        return Err(RefusedInput::new("every part after the first must be an image"));
    };
    input::check_image(&image_url.url)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatRequestJson {
    model: String,
    stream: bool,
    stream_options: StreamOptionsJson,
    modalities: Vec<String>,
    messages: Vec<ChatMessageJson>,
    #[serde(default, deserialize_with = "input::present")]
    extra_body: Option<ExtraBodyJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraBodyJson {
    google: GoogleJson,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoogleJson {
    image_config: ChatImageConfigJson,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatImageConfigJson {
    aspect_ratio: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptionsJson {
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatMessageJson {
    role: String,
    content: Vec<ChatPartJson>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum ChatPartJson {
    Text { text: String },
    ImageUrl { image_url: ImageUrlJson },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageUrlJson {
    url: String,
}
