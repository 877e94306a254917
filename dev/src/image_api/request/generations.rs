//! The only request that is accepted at `POST /v1/images/generations`.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::ImageRequest;
use super::images_options::ImagesOptions;
use crate::image_api::size::Size;
use crate::input::{self, RefusedInput};

/// Parses a request. The error is a sentence that names the first mistake.
pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<ImageRequest, RefusedInput> {
    let json: GenerationsRequestJson = input::read_json(headers, body)?;
    input::require(json.n == 1, "n must be 1")?;
    let GenerationsRequestJson { stream, partial_images, response_format, .. } = json;
    let options = ImagesOptions { stream, partial_images, response_format };
    let images_shape = Some(options.shape(&json.model)?);
    let previews = Some(partial_images.unwrap_or(0));
    let size = json.size.map(|size| Size::of_openai(&json.model, &size)).transpose()?;
    Ok(ImageRequest { images_shape, previews, ..ImageRequest::new(json.model, json.prompt, 0, size)? })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationsRequestJson {
    model: String,
    prompt: String,
    n: u32,
    #[serde(default, deserialize_with = "input::present")]
    stream: Option<bool>,
    #[serde(default, deserialize_with = "input::present")]
    partial_images: Option<usize>,
    #[serde(default, deserialize_with = "input::present")]
    response_format: Option<String>,
    #[serde(default, deserialize_with = "input::present")]
    size: Option<String>,
}
