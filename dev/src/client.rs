//! A client's reading of an event stream that has ended, for tests: what a browser would have seen.

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
