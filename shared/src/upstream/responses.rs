//! OpenAI's Responses API, as some relays answer whatever they were asked.

use super::Out;
use super::content::Content;
use crate::json::Segment::Key;
use crate::json::{Segment, Value};

/// Reads the pictures in output items.
///
/// `response.output_item.done` brings an item, and `response.completed` all of them once more, which is read only where
/// nothing came before. An item's `status` says nothing: it stays `generating` at some relays.
#[derive(Debug, Default)]
pub(super) struct OutputItems {
    next_slot: u32,
    has_item: bool,
}

impl OutputItems {
    pub(super) const KEYS: &'static [&'static str] =
        &["item", "output", "response", "result", "partial_image_b64", "incomplete_details", "reason", "delta"];

    /// The next token of `item`.
    pub(super) fn item(&mut self, path: &[Segment], value: Value<'_>, content: &mut Content, out: &mut Out<'_>) {
        if let [Key("result")] = path {
            content.picture(self.next_slot, false, value, out);
            if value == Value::StringEnd && content.end_picture(self.next_slot, false, None, out) {
                self.has_item = true;
                self.next_slot += 1;
            }
        }
    }

    /// The next token of an item in `output`, the list of all.
    pub(super) fn listed(&mut self, path: &[Segment], value: Value<'_>, content: &mut Content, out: &mut Out<'_>) {
        if self.has_item {
            return;
        }
        self.item(path, value, content, out);
        // Others of the same list may follow.
        self.has_item = false;
    }

    /// The next token of `partial_image_b64`.
    pub(super) fn preview(&mut self, value: Value<'_>, content: &mut Content, out: &mut Out<'_>) {
        content.picture(self.next_slot, true, value, out);
        if value == Value::StringEnd {
            content.end_picture(self.next_slot, true, None, out);
        }
    }
}
