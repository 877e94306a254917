use crate::json::TokenValue;

const MAX_BYTES: usize = 64;

/// Collects strings of which only a few short values matter.
#[derive(Debug, Default)]
pub(super) struct Short(Vec<u8>);

impl Short {
    /// Reads the next token. Returns the string at its end, or U+FFFD if it is too long or not UTF-8.
    pub(super) fn read(&mut self, value: TokenValue<'_>) -> Option<&str> {
        if value.begins_string() {
            self.0.clear();
        }
        if let Some(text) = value.text() {
            let room = (MAX_BYTES + 1).saturating_sub(self.0.len()).min(text.len());
            self.0.extend_from_slice(text.get(..room).unwrap_or_default());
        }
        value.ends_string().then(|| {
            let text = std::str::from_utf8(&self.0).ok().filter(|text| text.len() <= MAX_BYTES);
            text.unwrap_or("\u{FFFD}")
        })
    }
}
