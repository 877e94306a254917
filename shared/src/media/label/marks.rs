//! The forms in which a label is found.

use crate::scan::find_text;

/// The implicit label in the forms that are in use: the namespace and the property of XMP, the member of a JSON object in
/// EXIF (also as UTF-16 of either order), the keyword of a PNG text chunk, and a bare object in a JPEG segment.
const MARKS: [&[u8]; 6] = [b"ns/AIGC/1.0", b"TC260:AIGC", b"\"AIGC\"", b"\"\0A\0I\0G\0C\0\"", b"AIGC\0", b"AIGC{"];
const LONGEST: usize = 11;

/// Whether the text has a label.
pub(super) fn has_label(text: &[u8]) -> bool {
    MARKS.iter().any(|mark| find_text(mark, text).is_some())
}

/// Searches bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct MarkSearch {
    /// The last bytes of the pieces before.
    tail: Vec<u8>,
    is_found: bool,
}

impl MarkSearch {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.is_found {
            return;
        }
        self.tail.extend_from_slice(bytes.get(..LONGEST).unwrap_or(bytes));
        self.is_found = has_label(&self.tail) || has_label(bytes);
        if let Some(end) = bytes.len().checked_sub(LONGEST) {
            self.tail.clear();
            self.tail.extend_from_slice(bytes.get(end..).unwrap_or_default());
        }
        self.tail.drain(..self.tail.len().saturating_sub(LONGEST));
    }

    pub(super) fn is_found(&self) -> bool {
        self.is_found
    }
}
