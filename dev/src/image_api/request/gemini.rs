//! The only request that is accepted at `POST /v1beta/models/{model}:streamGenerateContent?alt=sse`.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::{ImageRequest, MAX_GEMINI_IMAGES};
use crate::image_api::size::Size;
use crate::input::{self, RefusedInput};

/// Parses a request for `model`. The error is a sentence that names the first mistake.
pub(crate) fn parse(
    model: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<ImageRequest, RefusedInput> {
    input::require(query == Some("alt=sse"), "the query must be alt=sse")?;
    let json: GeminiRequestJson = input::read_json(headers, body)?;
    let GenerationConfigJson { response_modalities: modalities, image_config } = json.generation_config;
    input::require(modalities == ["TEXT", "IMAGE"], "responseModalities must be TEXT, IMAGE")?;
    let [content] = <[GeminiContentJson; 1]>::try_from(json.contents)
        .map_err(|_| RefusedInput::new("there must be one content"))?;
    input::require(content.role == "user", "the role of the content must be user")?;

    let mut parts = content.parts.into_iter();
    let Some(GeminiPartJson::Text(prompt)) = parts.next() else {
        return Err(RefusedInput::new("the first part must be the text"));
    };
    let image_count = parts.len();
    parts.try_for_each(image)?;
    input::require(image_count <= MAX_GEMINI_IMAGES, "there must be at most 3 images")?;
    let size = image_config.map(|config| Size::of_ratio(&config.aspect_ratio)).transpose()?;
    ImageRequest::new(model.to_owned(), prompt, image_count, size)
}

fn image(part: GeminiPartJson) -> Result<(), RefusedInput> {
    let GeminiPartJson::InlineData(InlineDataJson { mime_type, data }) = part else {
        return Err(RefusedInput::new("every part after the first must be an image"));
    };
    input::check_base64(&mime_type, &data)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GeminiRequestJson {
    contents: Vec<GeminiContentJson>,
    generation_config: GenerationConfigJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GenerationConfigJson {
    response_modalities: Vec<String>,
    #[serde(default, deserialize_with = "input::present")]
    image_config: Option<GeminiImageConfigJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GeminiImageConfigJson {
    aspect_ratio: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GeminiContentJson {
    role: String,
    parts: Vec<GeminiPartJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum GeminiPartJson {
    Text(String),
    InlineData(InlineDataJson),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InlineDataJson {
    mime_type: String,
    data: String,
}
