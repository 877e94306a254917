//! The forms in which a label is found.

use crate::scan::find_text;

/// The key of the implicit label, also as UTF-16 of either order. The forms that are in use are the property of XMP, the
/// member of a JSON object in EXIF, the keyword of a PNG text chunk, and a bare object in a JPEG segment.
const KEYS: [&[u8]; 2] = [b"AIGC", b"A\0I\0G\0C"];
/// The first member of every label. The key alone is a word that any text may contain, such as a prompt.
const FIRST_MEMBER: &[u8] = b"Label";
/// The first member begins within this many bytes behind the key.
const MAX_DISTANCE: usize = 64;
const LONGEST: usize = 7 + MAX_DISTANCE;

/// Whether the text has a label.
pub(super) fn has_label(text: &[u8]) -> bool {
    KEYS.iter().any(|key| {
        let mut rest = text;
        while let Some(at) = find_text(key, rest) {
            rest = rest.get(at + key.len()..).unwrap_or_default();
            let near: Vec<u8> = rest.iter().take(MAX_DISTANCE).copied().filter(|byte| *byte != 0).collect();
            if find_text(FIRST_MEMBER, &near).is_some() {
                return true;
            }
        }
        false
    })
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
