//! Pictures that wait until they are whole and final: for chat chunks and for the one-shot answer.

use crate::media::{self, sniff::MediaType};
use crate::outcome::supersedes;
use crate::update::Update;

/// Decoded pictures that one request may hold, in bytes.
pub const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that are encoded at a time; a multiple of three, so that only the last part of a picture needs padding.
const SLICE_BYTES: usize = 48 * 1024;

/// The final picture of each slot so far, and the unfinished one.
#[derive(Debug, Default)]
pub struct HeldPictures {
    arriving: Vec<HeldPicture>,
    whole: Vec<HeldPicture>,
    /// Slots whose picture did not fit.
    lost: Vec<u32>,
}

/// A picture that was held.
#[derive(Debug)]
pub struct HeldPicture {
    /// The request's slot.
    pub slot: u32,
    /// The upstream marked it as not final.
    pub draft: bool,
    /// The content.
    pub content: HeldContent,
}

/// The content of a held picture.
#[derive(Debug)]
pub enum HeldContent {
    /// Its bytes.
    Inline {
        /// Sniffed from the bytes.
        media_type: MediaType,
        /// Decoded.
        bytes: Vec<u8>,
    },
    /// A link, as the upstream wrote it.
    Link(String),
}

impl HeldPictures {
    /// Records an update that [`Outcome::note`](crate::outcome::Outcome::note) has returned.
    pub fn update(&mut self, update: &Update<'_>) {
        match *update {
            Update::ImageStarted { slot, media_type, draft } => {
                self.discard(slot);
                let content = HeldContent::Inline { media_type, bytes: Vec::new() };
                self.arriving.push(HeldPicture { slot, draft, content });
            }
            Update::ImageBytes { slot, bytes } => self.append(slot, bytes),
            Update::ImageFinished { slot, draft, .. } => {
                if let Some(at) = self.arriving.iter().position(|picture| picture.slot == slot) {
                    let picture = self.arriving.swap_remove(at);
                    self.keep(HeldPicture { draft, ..picture });
                }
            }
            Update::ImageLinked { slot, url, draft, .. } => {
                self.keep(HeldPicture { slot, draft, content: HeldContent::Link(url.to_owned()) });
            }
            Update::ImageRejected { slot, .. } | Update::ImageRepeated { slot } => self.discard(slot),
            _ => {}
        }
    }

    /// Removes and returns the whole pictures of these slots, in slot order.
    pub fn take(&mut self, is_due: impl Fn(u32) -> bool) -> Vec<HeldPicture> {
        let (mut due, kept): (Vec<_>, _) =
            std::mem::take(&mut self.whole).into_iter().partition(|picture| is_due(picture.slot));
        self.whole = kept;
        due.sort_by_key(|picture| picture.slot);
        due
    }

    /// The slots whose final picture is not held because the request's pictures are more than [`MAX_HELD_BYTES`].
    pub fn lost(&self) -> &[u32] {
        &self.lost
    }

    fn append(&mut self, slot: u32, more: &[u8]) {
        let has_room = self.bytes() + more.len() <= MAX_HELD_BYTES;
        let Some(at) = self.arriving.iter().position(|picture| picture.slot == slot) else { return };
        match self.arriving.get_mut(at).map(|picture| &mut picture.content) {
            Some(HeldContent::Inline { bytes, .. }) if has_room => bytes.extend_from_slice(more),
            _ => {
                self.arriving.swap_remove(at);
                // The earlier picture of the slot is no longer the final one.
                self.whole.retain(|picture| picture.slot != slot);
                self.lost.push(slot);
            }
        }
    }

    fn keep(&mut self, picture: HeldPicture) {
        match self.whole.iter_mut().find(|other| other.slot == picture.slot) {
            Some(other) if supersedes(picture.draft, other.draft) => *other = picture,
            Some(_) => {}
            None => {
                self.lost.retain(|slot| *slot != picture.slot);
                self.whole.push(picture);
            }
        }
    }

    fn discard(&mut self, slot: u32) {
        self.arriving.retain(|picture| picture.slot != slot);
    }

    fn bytes(&self) -> usize {
        let pictures = self.arriving.iter().chain(&self.whole);
        pictures.map(|picture| picture.content.bytes().len()).sum()
    }
}

impl HeldContent {
    /// The decoded bytes; none for a link.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { bytes, .. } => bytes,
            Self::Link(_) => &[],
        }
    }
}

/// Encodes bytes as base64 in slices, so that the whole text never exists at once.
#[derive(Debug, Default)]
pub struct Base64Slices {
    bytes: Vec<u8>,
    encoded: usize,
}

impl Base64Slices {
    /// Starts at the first byte.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, encoded: 0 }
    }

    /// Appends the base64 of at most 48 KiB more; `false` when all has been encoded.
    pub fn write(&mut self, out: &mut Vec<u8>) -> bool {
        self.next_bytes(SLICE_BYTES).map(|bytes| media::encode(bytes, out)).is_some()
    }

    /// At most `max_bytes` more (a multiple of three), not encoded; `None` at the end.
    pub fn next_bytes(&mut self, max_bytes: usize) -> Option<&[u8]> {
        let rest = self.bytes.get(self.encoded..).filter(|rest| !rest.is_empty())?;
        let slice = rest.get(..max_bytes).unwrap_or(rest);
        self.encoded += slice.len();
        Some(slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{ImageRejection, WholeImage};

    fn start(slot: u32, draft: bool) -> Update<'static> {
        Update::ImageStarted { slot, media_type: MediaType::Png, draft }
    }

    fn finish(slot: u32, draft: bool) -> Update<'static> {
        let image = WholeImage { media_type: MediaType::Png, bytes: 0, width: 1, height: 1, sha256: [0; 32] };
        Update::ImageFinished { slot, draft, image }
    }

    /// Slots and contents, in the order in which they are removed.
    fn taken(held: &mut HeldPictures) -> Vec<(u32, String)> {
        let text = |content: HeldContent| match content {
            HeldContent::Inline { bytes, .. } => String::from_utf8(bytes).unwrap(),
            HeldContent::Link(url) => url,
        };
        held.take(|_| true).into_iter().map(|picture| (picture.slot, text(picture.content))).collect()
    }

    #[test]
    fn the_last_final_picture_of_a_slot_is_held() {
        type Row<'a> = (&'a [Update<'a>], &'a [(u32, &'a str)]);
        let rows: [Row<'_>; 7] = [
            (&[start(0, false), Update::ImageBytes { slot: 0, bytes: b"a" }, finish(0, false)], &[(0, "a")]),
            (&[start(0, false), Update::ImageBytes { slot: 0, bytes: b"a" }], &[]),
            (
                &[
                    start(1, false),
                    Update::ImageBytes { slot: 1, bytes: b"b" },
                    start(0, false),
                    Update::ImageBytes { slot: 0, bytes: b"a" },
                    finish(1, false),
                    finish(0, false),
                ],
                &[(0, "a"), (1, "b")],
            ),
            (
                &[
                    start(0, false),
                    Update::ImageBytes { slot: 0, bytes: b"a" },
                    finish(0, false),
                    start(0, true),
                    Update::ImageBytes { slot: 0, bytes: b"draft" },
                    finish(0, true),
                ],
                &[(0, "a")],
            ),
            (
                &[
                    start(0, false),
                    Update::ImageBytes { slot: 0, bytes: b"a" },
                    // Marked as a draft only at its end.
                    finish(0, true),
                    Update::ImageLinked { slot: 0, url: "https://e.com/b", pixels: None, draft: false },
                ],
                &[(0, "https://e.com/b")],
            ),
            (
                &[
                    start(0, false),
                    Update::ImageBytes { slot: 0, bytes: b"a" },
                    Update::ImageRejected { slot: 0, why: ImageRejection::Truncated },
                ],
                &[],
            ),
            (
                &[
                    start(0, false),
                    Update::ImageBytes { slot: 0, bytes: b"a" },
                    start(0, false),
                    Update::ImageBytes { slot: 0, bytes: b"b" },
                    finish(0, false),
                ],
                &[(0, "b")],
            ),
        ];
        for (updates, expected) in rows {
            let mut held = HeldPictures::default();
            updates.iter().for_each(|update| held.update(update));
            let expected: Vec<_> = expected.iter().map(|(slot, text)| (*slot, (*text).to_owned())).collect();
            assert_eq!(taken(&mut held), expected, "{updates:?}");
            assert!(held.lost().is_empty());
        }
    }

    #[test]
    fn a_picture_beyond_the_cap_is_lost_with_what_it_replaces() {
        let big = vec![0; MAX_HELD_BYTES / 2];
        let mut held = HeldPictures::default();
        for slot in [0, 1] {
            held.update(&start(slot, false));
            held.update(&Update::ImageBytes { slot, bytes: &big });
            held.update(&finish(slot, false));
        }
        held.update(&start(1, false));
        held.update(&Update::ImageBytes { slot: 1, bytes: b"x" });
        held.update(&finish(1, false));
        assert_eq!(held.lost(), [1]);
        // The bytes of slot 1 are free again.
        held.update(&start(1, false));
        held.update(&Update::ImageBytes { slot: 1, bytes: b"x" });
        held.update(&finish(1, false));
        assert!(held.lost().is_empty());
        let slots: Vec<_> = held.take(|_| true).iter().map(|picture| picture.slot).collect();
        assert_eq!(slots, [0, 1]);
    }

    #[test]
    fn base64_in_slices_is_the_base64_of_the_whole() {
        for length in [0, 1, 2, 3, SLICE_BYTES, SLICE_BYTES + 1, 2 * SLICE_BYTES + 2] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let (mut whole, mut joined) = (Vec::new(), Vec::new());
            media::encode(&bytes, &mut whole);
            let mut slices = Base64Slices::new(bytes);
            while slices.write(&mut joined) {}
            assert!(joined == whole, "{length} bytes");
        }
    }
}
