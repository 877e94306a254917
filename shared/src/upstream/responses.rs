//! OpenAI's Responses API, which some relays use to answer any request.

use super::Out;
use super::content::{Content, PictureResult, Place};
use super::error_object::{ErrorObject, error_of};
use super::member::{Member, MemberPath};
use super::number::number;
use super::path_facts::PathMarks;
use super::short::Short;
use crate::json::Segment::{Index, Key};
use crate::json::TokenValue;
use crate::media::ReferenceKind;
use crate::update::Update;

/// Reads the pictures in output items.
///
/// `response.output_item.done` contains an item, and `response.completed` all items again, of which as many are skipped as
/// were whole before. An item's `status` is ignored: some relays leave it at `generating`. A preview belongs to the next
/// picture, unless its `output_index` is that of a whole one.
#[derive(Debug, Default)]
pub(super) struct OutputItems {
    next_slot: u32,
    /// Whole pictures so far, in items or in the longest list.
    pictures: u32,
    /// Those in the current list.
    listed: u32,
    /// The current string of the list repeats an item, and is not empty.
    is_skipped: bool,
    /// Text deltas were read, which the list repeats.
    pub(super) has_text: bool,
    /// `output_index` of the current document, and of the documents that had a whole picture.
    index: Option<u32>,
    whole: Vec<Option<u32>>,
    short: Short,
    /// Of the current item.
    error: ErrorObject,
}

impl OutputItems {
    /// The next token of `output_index`.
    pub(super) fn index(&mut self, value: TokenValue<'_>) {
        if let Some(index) = number(value, &mut self.short) {
            self.index = index;
        }
    }

    /// The next token of `item`.
    pub(super) fn item(
        &mut self,
        path: &MemberPath,
        marks: PathMarks,
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        if self.result(path, marks, value, content, out) {
            self.pictures += 1;
            if self.whole.len() < MAX_INDEXES {
                self.whole.push(self.index);
            }
        }
    }

    /// The next token of an item in `output`, the list of all.
    pub(super) fn listed(
        &mut self,
        path: &MemberPath,
        marks: PathMarks,
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        if let [Key(Member::Content), Index(_), Key(Member::Text)] = path {
            if let Some(text) = value.text()
                && !self.has_text
            {
                content.text(0, text, out);
            }
        } else if path != [Key(Member::Result)] || self.listed >= self.pictures {
            self.listed += u32::from(self.result(path, marks, value, content, out));
        } else {
            self.is_skipped |= value.text().is_some();
            if value.ends_string() {
                self.listed += u32::from(std::mem::take(&mut self.is_skipped));
            }
        }
    }

    /// The document has ended.
    pub(super) fn end_document(&mut self) {
        self.index = None;
        self.pictures = self.pictures.max(std::mem::take(&mut self.listed));
    }

    /// Returns whether a final picture ended here.
    fn result(
        &mut self,
        path: &MemberPath,
        PathMarks { draft, may_be_error }: PathMarks,
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) -> bool {
        match (path, value) {
            ([], TokenValue::Open) => self.error.clear(),
            ([], TokenValue::Close) if self.error.is_found() => {
                out(Update::ImageFailed { slot: self.next_slot, failure: self.error.failure(None) });
            }
            (path, value) if may_be_error && error_of(path).is_some() => {
                self.error.token(path, value);
                return false;
            }
            _ => {}
        }
        let [Key(Member::Result)] = path else {
            content.picture(Place { slot: 0, draft, kind: ReferenceKind::Any }, value, out);
            return false;
        };
        let place = Place { slot: self.next_slot, draft, kind: ReferenceKind::Picture };
        content.picture(place, value, out);
        if !value.ends_string() {
            return false;
        }
        let came = content.end_picture(place.slot, draft, None, out);
        self.next_slot += u32::from(came == PictureResult::Whole);
        came >= PictureResult::Repeated
    }

    /// The next token of `partial_image_b64`.
    pub(super) fn preview(&mut self, value: TokenValue<'_>, content: &mut Content, out: &mut Out<'_>) {
        let is_late = self.next_slot > 0 && (self.index.is_none() || self.whole.contains(&self.index));
        let slot = self.next_slot - u32::from(is_late);
        content.picture(Place { slot, draft: true, kind: ReferenceKind::Picture }, value, out);
        if value.ends_string() {
            content.end_picture(slot, true, None, out);
        }
    }
}

/// Pictures whose previews are recognised.
const MAX_INDEXES: usize = 64;
