//! Checks that the fakes share: JSON with known members, and valid images.

use std::fmt;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct RefusedInput {
    /// A sentence.
    message: String,
    /// The member that the model does not take.
    pub(crate) param: Option<&'static str>,
}

impl RefusedInput {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), param: None }
    }
}

impl fmt::Display for RefusedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Returns `otherwise` as the error unless `met`.
pub(crate) fn require(met: bool, otherwise: &str) -> Result<(), RefusedInput> {
    if met { Ok(()) } else { Err(RefusedInput::new(otherwise)) }
}

/// Returns an error that names the member `param` unless the model takes it, or the request does not have it.
pub(crate) fn require_taken<T>(takes: bool, member: &Option<T>, param: &'static str) -> Result<(), RefusedInput> {
    if takes || member.is_none() {
        return Ok(());
    }
    let message =
        format!("The parameter `{param}` specified in the request is not valid: the model does not support it");
    Err(RefusedInput { message, param: Some(param) })
}

/// Parses a JSON body. The Content-Type must be `application/json`.
pub(crate) fn read_json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, RefusedInput> {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    require(media_type == Some(b"application/json"), "Content-Type must be application/json")?;
    serde_json::from_slice(body).map_err(|error| RefusedInput::new(error.to_string()))
}

/// Deserializes a member that may be missing but not `null`.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Checks an input image: a link, or a data URL whose payload is a picture of the stated type.
pub(crate) fn check_image(url: &str) -> Result<(), RefusedInput> {
    let Some(data) = url.strip_prefix("data:") else {
        return require(is_link(url), "an image must be an https URL or a data URL");
    };
    let Some((media_type, payload)) = data.split_once(";base64,") else {
        return Err(RefusedInput::new("a data URL must be base64"));
    };
    check_base64(media_type, payload)
}

/// Checks an input image in base64: its bytes must be a picture of the stated type.
pub(crate) fn check_base64(media_type: &str, payload: &str) -> Result<(), RefusedInput> {
    let Ok(bytes) = STANDARD.decode(payload) else {
        return Err(RefusedInput::new("the payload of an image must be padded base64"));
    };
    check_file(media_type, &bytes)
}

/// Checks an input image as a file: it must be a picture of the stated type.
pub(crate) fn check_file(media_type: &str, bytes: &[u8]) -> Result<(), RefusedInput> {
    let matches_label = match media_type {
        "image/png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg" => bytes.starts_with(b"\xff\xd8\xff"),
        "image/webp" => bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"),
        _ => {
            return Err(RefusedInput::new("an image must be image/png, image/jpeg or image/webp"));
        }
    };
    require(matches_label, "the bytes of an image must match its media type")
}

/// Whether `url` is `https`, or `http` on this machine as the links of the local stack are.
fn is_link(url: &str) -> bool {
    let starts = ["https://", "http://127.0.0.1:", "http://127.0.0.1/", "http://localhost:", "http://localhost/"];
    starts.iter().any(|start| url.strip_prefix(start).is_some_and(|rest| !rest.is_empty()))
}
