//! Reads a function's response up to its body: the prelude of a streamed one, all of a buffered one.

use std::collections::HashMap;
use std::time::Instant;

use axum::body::BodyDataStream;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::Value;

use super::{InvokeError, Prelude, RESPONSE_MODE, now};

/// The bytes between the prelude and the body.
const SEPARATOR: [u8; 8] = [0; 8];
/// Limit of the prelude, which holds a status and a few headers. A longer one has no separator.
const MAX_PRELUDE_BYTES: usize = 64 * 1024;

/// A buffered response.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BufferedResponse {
    #[serde(flatten)]
    prelude: Prelude,
    /// A Function URL ignores this member, so a response that uses it is refused.
    #[serde(default)]
    multi_value_headers: HashMap<String, Value>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// The status with which the function's response is refused, and what its client gets.
pub(super) type Refusal = (StatusCode, InvokeError);

fn bad(why: impl Into<String>) -> Refusal {
    (StatusCode::BAD_REQUEST, InvokeError(why.into()))
}

/// Reads up to the separator. Returns the prelude, the time of its first bytes and the bytes after the separator.
pub(super) async fn prelude(
    headers: &HeaderMap,
    body: &mut BodyDataStream,
) -> Result<(Prelude, Instant, Bytes), Refusal> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    if !is(RESPONSE_MODE, "streaming") || !is("content-type", "application/vnd.awslambda.http-integration-response") {
        return Err(bad("the response is not streamed as HTTP"));
    }
    let mut read = BytesMut::new();
    let mut begun = None;
    let found = |read: &[u8]| read.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
    let end = loop {
        if let Some(end) = found(&read) {
            break end;
        }
        match body.next().await {
            Some(Ok(piece)) if read.len() < MAX_PRELUDE_BYTES => {
                begun.get_or_insert_with(now);
                read.extend_from_slice(&piece);
            }
            _ => return Err(bad("the response has no prelude")),
        }
    };
    let prelude = serde_json::from_slice(&read[..end]);
    let prelude = prelude.map_err(|error| bad(format!("the prelude cannot be read: {error}")))?;
    let rest = read.split_off(end + SEPARATOR.len());
    Ok((prelude, begun.unwrap_or_else(now), rest.freeze()))
}

/// Reads a buffered response of at most `max_bytes`. Returns the prelude, the time of its first bytes and the body.
pub(super) async fn whole(body: &mut BodyDataStream, max_bytes: usize) -> Result<(Prelude, Instant, Bytes), Refusal> {
    let mut read = BytesMut::new();
    let mut begun = None;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| bad("the response is truncated"))?;
        if read.len() + piece.len() > max_bytes {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, InvokeError("the response has more than 6 MB".into())));
        }
        begun.get_or_insert_with(now);
        read.extend_from_slice(&piece);
    }
    let whole: BufferedResponse =
        serde_json::from_slice(&read).map_err(|error| bad(format!("the buffered response cannot be read: {error}")))?;
    if !whole.multi_value_headers.is_empty() {
        return Err(bad("a Function URL does not read multiValueHeaders"));
    }
    let body = match whole.is_base64_encoded {
        true => STANDARD.decode(whole.body).map_err(|error| bad(format!("the body is not valid base64: {error}")))?,
        false => whole.body.into_bytes(),
    };
    Ok((whole.prelude, begun.unwrap_or_else(now), body.into()))
}
