//! A client's reading of an answer that has ended, for tests: what a browser would have seen.

use serde_json::Value;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `id` field, or nothing.
    pub id: String,
    /// The `event` field, or nothing.
    pub name: String,
    /// The `data` fields, joined by line feeds.
    pub data: String,
}

/// The events of a stream; what no blank line ends is dropped, comments are passed over.
pub fn events(bytes: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut blocks: Vec<&str> = text.split("\n\n").collect();
    blocks.pop();
    blocks.into_iter().filter_map(event).collect()
}

fn event(block: &str) -> Option<Event> {
    let field = |wanted: &str| {
        let values = block.lines().filter_map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name == wanted).then(|| value.strip_prefix(' ').unwrap_or(value))
        });
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let data = field("data");
    let last = |name: &str| field(name).pop().unwrap_or_default();
    (!data.is_empty()).then(|| Event { id: last("id"), name: last("event"), data: data.join("\n") })
}

/// Everything that a client takes for the end of an answer; a right one has exactly one.
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
                    // Typed events have an envelope, chat streams an error object.
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
