//! OpenAI's Responses API, which some relays use to answer any request.

use super::Out;
use super::content::{Content, PictureResult};
use super::error_object::ErrorObject;
use crate::json::Segment::{Index, Key};
use crate::json::{Segment, TokenValue};
use crate::update::Update;

/// Reads the pictures in output items.
///
/// `response.output_item.done` contains an item, and `response.completed` all items again, which are read only if no whole
/// picture came before. An item's `status` is ignored: some relays leave it at `generating`.
#[derive(Debug, Default)]
pub(super) struct OutputItems {
    next_slot: u32,
    /// A whole picture was read, in an item or in an earlier list.
    has_picture: bool,
    /// A whole picture was read in the current list; others may follow.
    has_listed: bool,
    /// Text deltas were read, which the list repeats.
    pub(super) has_text: bool,
    /// Of the current item.
    error: ErrorObject,
}

impl OutputItems {
    pub(super) const KEYS: &'static [&'static str] =
        &["item", "output", "response", "result", "partial_image_b64", "incomplete_details", "reason", "delta"];

    /// The next token of `item`.
    pub(super) fn item(&mut self, path: &[Segment], value: TokenValue<'_>, content: &mut Content, out: &mut Out<'_>) {
        self.has_picture |= self.result(path, value, content, out);
    }

    /// The next token of an item in `output`, the list of all.
    pub(super) fn listed(&mut self, path: &[Segment], value: TokenValue<'_>, content: &mut Content, out: &mut Out<'_>) {
        if let ([Key("content"), Index(_), Key("text")], TokenValue::Text(text)) = (path, value)
            && !self.has_text
        {
            content.text(0, text, out);
        }
        if !self.has_picture {
            self.has_listed |= self.result(path, value, content, out);
        }
    }

    /// The document has ended.
    pub(super) fn end_document(&mut self) {
        self.has_picture |= std::mem::take(&mut self.has_listed);
    }

    /// Returns whether a whole picture ended here.
    fn result(&mut self, path: &[Segment], value: TokenValue<'_>, content: &mut Content, out: &mut Out<'_>) -> bool {
        match (path, value) {
            ([], TokenValue::Open) => self.error = ErrorObject::default(),
            ([], TokenValue::Close) if self.error.is_found() => {
                out(Update::ImageFailed { slot: self.next_slot, failure: self.error.failure(None) });
            }
            ([Key("error"), ..], value) => self.error.token(path, value),
            _ => {}
        }
        let [Key("result")] = path else { return false };
        content.picture(self.next_slot, false, value, out);
        let is_whole = value == TokenValue::StringEnd
            && content.end_picture(self.next_slot, false, None, out) == PictureResult::Whole;
        self.next_slot += u32::from(is_whole);
        is_whole
    }

    /// The next token of `partial_image_b64`.
    pub(super) fn preview(&mut self, value: TokenValue<'_>, content: &mut Content, out: &mut Out<'_>) {
        content.picture(self.next_slot, true, value, out);
        if value == TokenValue::StringEnd {
            content.end_picture(self.next_slot, true, None, out);
        }
    }
}
