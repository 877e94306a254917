//! Pictures that are held until they are whole and final: for chat chunks, for the one-shot answer and for the bucket.

use bytes::Bytes;

use crate::media::{self, WholeImage};
use crate::outcome::supersedes;
use crate::update::Update;

/// Decoded pictures that one request may hold, in bytes.
pub const MAX_HELD_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that are encoded at a time; a multiple of three, so that only the last part of a picture needs padding.
const SLICE_BYTES: usize = 48 * 1024;

/// The final picture of each slot so far, and the unfinished one.
#[derive(Debug, Default)]
pub struct HeldPictures {
    /// Also pictures that the output does not need are held, for the bucket.
    holds_all: bool,
    arriving: Vec<ArrivingPicture>,
    whole: Vec<HeldPicture>,
    /// Slots whose picture did not fit although the output needs it.
    lost: Vec<u32>,
    /// Bytes of released pictures that are still being stored.
    released_bytes: usize,
}

/// A picture that is held.
#[derive(Debug)]
pub struct HeldPicture {
    /// The request's slot.
    pub slot: u32,
    /// The upstream marked it as not final.
    pub draft: bool,
    /// The content.
    pub content: HeldContent,
    /// The output needs it. Otherwise only the bucket does.
    is_wanted: bool,
}

/// The content of a held picture.
#[derive(Debug, Clone)]
pub enum HeldContent {
    /// Its bytes.
    Inline {
        /// Its type, size and hash.
        image: WholeImage,
        /// Decoded.
        bytes: Bytes,
    },
    /// A link, as the upstream wrote it.
    Link(String),
}

#[derive(Debug)]
struct ArrivingPicture {
    slot: u32,
    is_wanted: bool,
    bytes: Vec<u8>,
}

impl HeldPictures {
    /// Holds every picture until it is released.
    pub fn for_bucket() -> Self {
        Self { holds_all: true, ..Self::default() }
    }

    /// Records an update that [`Outcome::note`](crate::outcome::Outcome::note) has returned. `is_wanted`: the output
    /// needs the picture that begins with this update.
    pub fn update(&mut self, update: &Update<'_>, is_wanted: bool) {
        match *update {
            Update::ImageStarted { slot, .. } => {
                self.discard(slot);
                if is_wanted || self.holds_all {
                    self.arriving.push(ArrivingPicture { slot, is_wanted, bytes: Vec::new() });
                }
            }
            Update::ImageBytes { slot, bytes } => self.append(slot, bytes),
            Update::ImageFinished { slot, draft, ref image } => {
                if let Some(at) = self.arriving.iter().position(|picture| picture.slot == slot) {
                    let ArrivingPicture { is_wanted, bytes, .. } = self.arriving.swap_remove(at);
                    let content = HeldContent::Inline { image: image.clone(), bytes: bytes.into() };
                    self.keep(HeldPicture { slot, draft, content, is_wanted });
                }
            }
            Update::ImageLinked { slot, url, draft, .. } if is_wanted || self.holds_all => {
                self.keep(HeldPicture { slot, draft, content: HeldContent::Link(url.to_owned()), is_wanted });
            }
            Update::ImageRejected { slot, .. } | Update::ImageRepeated { slot } => self.discard(slot),
            _ => {}
        }
    }

    /// Whether a further picture of `max_bytes` certainly fits beside those that are held or may still grow to that size.
    pub fn has_room_for(&self, max_bytes: usize) -> bool {
        let growing = self.arriving.iter().map(|picture| picture.bytes.len().max(max_bytes)).sum::<usize>();
        self.whole_bytes() + self.released_bytes + growing + max_bytes <= MAX_HELD_BYTES
    }

    /// The whole pictures of these slots, in slot order.
    pub fn whole(&self, is_due: impl Fn(u32) -> bool) -> impl Iterator<Item = &HeldPicture> {
        let mut due: Vec<_> = self.whole.iter().filter(|picture| is_due(picture.slot)).collect();
        due.sort_by_key(|picture| picture.slot);
        due.into_iter()
    }

    /// Removes and returns the whole pictures of these slots that the output needs, in slot order.
    pub fn take(&mut self, is_due: impl Fn(u32) -> bool) -> Vec<HeldPicture> {
        let (mut due, kept): (Vec<_>, _) =
            std::mem::take(&mut self.whole).into_iter().partition(|picture| picture.is_wanted && is_due(picture.slot));
        self.whole = kept;
        due.sort_by_key(|picture| picture.slot);
        due
    }

    /// Removes the whole picture of a slot for an output that needs it no longer. The slot is still known to have one, so a
    /// draft does not replace it.
    pub fn deliver(&mut self, slot: u32) -> Option<HeldPicture> {
        let picture = self.whole.iter_mut().find(|picture| picture.slot == slot && picture.is_wanted)?;
        picture.is_wanted = false;
        let content = picture.content.clone();
        if let HeldContent::Inline { bytes, .. } = &mut picture.content {
            *bytes = Bytes::new();
        }
        Some(HeldPicture { slot, draft: picture.draft, content, is_wanted: true })
    }

    /// Gives up the bytes of a whole picture that the output does not need. The slot is still known to have it. Returns
    /// their number, which counts as held until [`Self::stored`] is called with it.
    pub fn release(&mut self, slot: u32) -> usize {
        let unwanted = self.whole.iter_mut().find(|picture| picture.slot == slot && !picture.is_wanted);
        let Some(HeldContent::Inline { bytes, .. }) = unwanted.map(|picture| &mut picture.content) else { return 0 };
        let released = std::mem::take(bytes).len();
        self.released_bytes += released;
        released
    }

    /// The storing of a released picture has ended.
    pub fn stored(&mut self, released: usize) {
        self.released_bytes -= released.min(self.released_bytes);
    }

    /// The slots whose final picture is not held for the output because the request's pictures are more than
    /// [`MAX_HELD_BYTES`].
    pub fn lost(&self) -> &[u32] {
        &self.lost
    }

    fn append(&mut self, slot: u32, more: &[u8]) {
        let arriving = self.arriving.iter().map(|picture| picture.bytes.len()).sum::<usize>();
        let has_room = self.whole_bytes() + self.released_bytes + arriving + more.len() <= MAX_HELD_BYTES;
        let Some(at) = self.arriving.iter().position(|picture| picture.slot == slot) else { return };
        match self.arriving.get_mut(at) {
            Some(picture) if has_room => picture.bytes.extend_from_slice(more),
            _ => {
                let picture = self.arriving.swap_remove(at);
                // The earlier picture of the slot is no longer the final one.
                self.whole.retain(|picture| picture.slot != slot);
                if picture.is_wanted {
                    self.lost.push(slot);
                }
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

    fn whole_bytes(&self) -> usize {
        self.whole.iter().map(|picture| picture.content.bytes().len()).sum()
    }
}

impl HeldContent {
    /// The decoded bytes; none for a link, or if they were released.
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
    bytes: Bytes,
    encoded: usize,
}

impl Base64Slices {
    /// Starts at the first byte.
    pub fn new(bytes: Bytes) -> Self {
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
    use crate::media::{ImageRejection, sniff::MediaType};

    fn start(slot: u32, draft: bool) -> Update<'static> {
        Update::ImageStarted { slot, media_type: MediaType::Png, draft }
    }

    fn finish(slot: u32, draft: bool) -> Update<'static> {
        let image =
            WholeImage { media_type: MediaType::Png, bytes: 0, width: 1, height: 1, sha256: [0; 32], label: None };
        Update::ImageFinished { slot, draft, image }
    }

    /// Slots and contents, in the order in which they are removed.
    fn taken(held: &mut HeldPictures) -> Vec<(u32, String)> {
        let text = |content: HeldContent| match content {
            HeldContent::Inline { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
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
            updates.iter().for_each(|update| held.update(update, true));
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
            held.update(&start(slot, false), true);
            held.update(&Update::ImageBytes { slot, bytes: &big }, true);
            held.update(&finish(slot, false), true);
        }
        held.update(&start(1, false), true);
        held.update(&Update::ImageBytes { slot: 1, bytes: b"x" }, true);
        held.update(&finish(1, false), true);
        assert_eq!(held.lost(), [1]);
        // The bytes of slot 1 are free again.
        held.update(&start(1, false), true);
        held.update(&Update::ImageBytes { slot: 1, bytes: b"x" }, true);
        held.update(&finish(1, false), true);
        assert!(held.lost().is_empty());
        let slots: Vec<_> = held.take(|_| true).iter().map(|picture| picture.slot).collect();
        assert_eq!(slots, [0, 1]);
    }

    #[test]
    fn a_picture_for_the_bucket_alone_is_held_until_it_is_released() {
        let mut held = HeldPictures::for_bucket();
        for (slot, is_wanted) in [(0, false), (1, true)] {
            held.update(&start(slot, false), is_wanted);
            held.update(&Update::ImageBytes { slot, bytes: b"abc" }, false);
            held.update(&finish(slot, false), false);
        }
        assert_eq!((held.release(0), held.release(1)), (3, 0), "the output still needs the second one");
        // A draft does not replace the final picture, although its bytes are gone.
        held.update(&start(0, true), false);
        held.update(&finish(0, true), false);
        assert!(held.whole(|slot| slot == 0).all(|picture| !picture.draft));
        assert_eq!(taken(&mut held), [(1, "abc".to_owned())]);
        let mut other = HeldPictures::default();
        other.update(&start(0, false), false);
        other.update(&finish(0, false), false);
        assert_eq!(other.whole(|_| true).count(), 0, "no part of the request needs it");
    }

    #[test]
    fn a_draft_does_not_replace_a_picture_that_was_delivered() {
        let mut held = HeldPictures::for_bucket();
        held.update(&start(0, false), true);
        held.update(&Update::ImageBytes { slot: 0, bytes: b"abc" }, false);
        held.update(&finish(0, false), false);
        assert_eq!(held.deliver(0).map(|picture| picture.content.bytes().to_vec()), Some(b"abc".to_vec()));
        assert!(held.deliver(0).is_none());
        held.update(&start(0, true), true);
        held.update(&finish(0, true), false);
        assert!(held.whole(|_| true).all(|picture| !picture.draft));
        assert!(taken(&mut held).is_empty());
    }

    #[test]
    fn a_released_picture_counts_until_it_is_stored() {
        let mut held = HeldPictures::for_bucket();
        assert!(held.has_room_for(MAX_HELD_BYTES));
        held.update(&start(0, false), false);
        assert!(!held.has_room_for(MAX_HELD_BYTES / 2 + 1), "the one that arrives may become as large");
        held.update(&Update::ImageBytes { slot: 0, bytes: b"abc" }, false);
        held.update(&finish(0, false), false);
        let released = held.release(0);
        assert!(!held.has_room_for(MAX_HELD_BYTES));
        held.stored(released);
        assert!(held.has_room_for(MAX_HELD_BYTES));
    }

    #[test]
    fn base64_in_slices_is_the_base64_of_the_whole() {
        for length in [0, 1, 2, 3, SLICE_BYTES, SLICE_BYTES + 1, 2 * SLICE_BYTES + 2] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let (mut whole, mut joined) = (Vec::new(), Vec::new());
            media::encode(&bytes, &mut whole);
            let mut slices = Base64Slices::new(bytes.into());
            while slices.write(&mut joined) {}
            assert!(joined == whole, "{length} bytes");
        }
    }
}
