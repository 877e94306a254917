//! Reads a complete response as a browser does, for tests.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::picture::hex;

/// One event of an event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// The `id` field, or an empty text.
    pub id: String,
    /// The `event` field, or an empty text.
    pub name: String,
    /// The `data` fields, joined by line feeds.
    pub data: String,
}

/// The events of a stream. An event without its blank line is dropped; comments are ignored.
pub fn events(bytes: &[u8]) -> Vec<StreamEvent> {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut blocks: Vec<&str> = text.split("\n\n").collect();
    blocks.pop();
    blocks.into_iter().filter_map(event).collect()
}

fn event(block: &str) -> Option<StreamEvent> {
    let field = |wanted: &str| {
        let values = block.lines().filter_map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name == wanted).then(|| value.strip_prefix(' ').unwrap_or(value))
        });
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let data = field("data");
    let last = |name: &str| field(name).pop().unwrap_or_default();
    (!data.is_empty()).then(|| StreamEvent { id: last("id"), name: last("event"), data: data.join("\n") })
}

/// The member `data` of a typed event.
pub fn data(event: &StreamEvent) -> Value {
    let mut envelope: Value = serde_json::from_str(&event.data).unwrap_or_default();
    envelope["data"].take()
}

/// The pictures of typed events, joined from their deltas, each with its slot. A picture is left out if its size or
/// hash differs from its `image.done`.
pub fn pictures(events: &[StreamEvent]) -> Vec<(u64, Vec<u8>)> {
    let mut under_way = HashMap::<u64, Vec<u8>>::new();
    let mut whole = Vec::new();
    for event in events {
        let data = data(event);
        let slot = data["index"].as_u64().unwrap_or_default();
        match event.name.as_str() {
            "image.start" => drop(under_way.insert(slot, Vec::new())),
            "image.delta" => {
                // Each delta is complete base64.
                let more = STANDARD.decode(data["b64"].as_str().unwrap_or_default());
                if let (Some(picture), Ok(more)) = (under_way.get_mut(&slot), more) {
                    picture.extend(more);
                }
            }
            "image.done" => {
                let bytes = under_way.remove(&slot).unwrap_or_default();
                if data["sha256"] == hash(&bytes).as_str() && data["bytes"] == bytes.len() {
                    whole.push((slot, bytes));
                }
            }
            _ => {}
        }
    }
    whole
}

/// The text that an older frontend collects from a chat stream.
pub fn content(events: &[StreamEvent]) -> String {
    let chunks = events.iter().filter_map(|event| serde_json::from_str::<Value>(&event.data).ok());
    chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

/// SHA-256 as lower-case hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Everything in a response that a client accepts as its end. A correct response has exactly one.
///
/// `done`, `[DONE]` or `error <code>` for an event, `problem <code>` for a problem document.
pub fn endings(content_type: &str, body: &[u8]) -> Vec<String> {
    let code = |value: &Value| value["code"].as_str().unwrap_or("without a code").to_owned();
    match content_type.split(';').next() {
        Some("text/event-stream") => events(body)
            .into_iter()
            .filter_map(|event| match (event.name.as_str(), event.data.as_str()) {
                ("error", data) => {
                    let data: Value = serde_json::from_str(data).unwrap_or_default();
                    // Typed events have the code in `data`, chat streams in `error`.
                    let inner = data.get("data").or(data.get("error")).unwrap_or(&data);
                    Some(format!("error {}", code(inner)))
                }
                ("done", _) => Some(event.name),
                (_, "[DONE]") => Some(event.data),
                _ => None,
            })
            .collect(),
        Some("application/problem+json") => {
            vec![format!("problem {}", code(&serde_json::from_slice(body).unwrap_or_default()))]
        }
        _ => Vec::new(),
    }
}
