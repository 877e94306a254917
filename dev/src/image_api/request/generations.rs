//! The one request of `POST /v1/images/generations`.

use axum::http::HeaderMap;
use serde::Deserialize;

use super::{Asked, Sides};
use crate::input::{self, Refused};

/// Reads a request, or says in words what is wrong with it.
pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Asked, Refused> {
    let wire: Wire = input::read_json(headers, body)?;
    input::require(wire.n == 1, "n must be 1")?;
    input::require(wire.stream, "only stream: true is served")?;
    let asked = Asked::new(wire.model, wire.prompt, 0)?;
    match wire.size {
        None => Ok(asked),
        Some(size) => Ok(Asked { sides: Sides::of_size(&size)?, ..asked }),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    model: String,
    prompt: String,
    n: u32,
    stream: bool,
    size: Option<String>,
}
