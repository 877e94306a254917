//! The one request of `POST /v1beta/models/{model}:streamGenerateContent?alt=sse`.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::{Asked, MAX_GEMINI_IMAGES};
use crate::image_api::size::Size;
use crate::input::{self, Refused};

/// Reads a request for `model`, or says in words what is wrong with it.
pub(crate) fn parse(model: &str, query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Result<Asked, Refused> {
    input::require(query == Some("alt=sse"), "the query must be alt=sse")?;
    let wire: Wire = input::read_json(headers, body)?;
    let GenerationConfig { response_modalities: modalities, image_config } = wire.generation_config;
    input::require(modalities == ["TEXT", "IMAGE"], "responseModalities must be TEXT, IMAGE")?;
    let [content] =
        <[Content; 1]>::try_from(wire.contents).map_err(|_| Refused("there must be one content".to_owned()))?;
    input::require(content.role == "user", "the content must be the user's")?;

    let mut parts = content.parts.into_iter();
    let Some(Part::Text(prompt)) = parts.next() else {
        return Err(Refused("the first part must be the text".to_owned()));
    };
    let image_count = parts.len();
    parts.try_for_each(image)?;
    input::require(image_count <= MAX_GEMINI_IMAGES, "there must be at most 3 images")?;
    let size = image_config.map(|config| Size::of_ratio(&config.aspect_ratio)).transpose()?;
    Asked::new(model.to_owned(), prompt, image_count, size)
}

fn image(part: Part) -> Result<(), Refused> {
    let Part::InlineData(InlineData { mime_type, data }) = part else {
        return Err(Refused("every part after the first must be an image".to_owned()));
    };
    input::check_base64(&mime_type, &data)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    contents: Vec<Content>,
    generation_config: GenerationConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GenerationConfig {
    response_modalities: Vec<String>,
    #[serde(default, deserialize_with = "input::present")]
    image_config: Option<ImageConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ImageConfig {
    aspect_ratio: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    role: String,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Part {
    Text(String),
    InlineData(InlineData),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InlineData {
    mime_type: String,
    data: String,
}
