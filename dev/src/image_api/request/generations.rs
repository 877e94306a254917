//! The one request of `POST /v1/images/generations`.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::Asked;
use crate::image_api::size::Size;
use crate::input::{self, Refused};

/// Reads a request, or says in words what is wrong with it.
pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Asked, Refused> {
    let wire: Wire = input::read_json(headers, body)?;
    input::require(wire.n == 1, "n must be 1")?;
    input::require(wire.stream, "only stream: true is served")?;
    let size = wire.size.map(|size| Size::of_openai(&wire.model, &size)).transpose()?;
    Asked::new(wire.model, wire.prompt, 0, size)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    model: String,
    prompt: String,
    n: u32,
    stream: bool,
    #[serde(default, deserialize_with = "input::present")]
    size: Option<String>,
}
