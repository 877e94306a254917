use std::time::Duration;

use crate::events::Events;
use crate::held::{HeldContent, HeldPictures};
use crate::outcome::{DeliveredImage, ImageSource};
use crate::update::{Nth, Update};

/// A sink of updates that writes them in the form in which a client reads them.
pub trait Output {
    /// Records an update that [`Outcome::note`](crate::outcome::Outcome::note) has returned. Returns whether the picture
    /// that begins with it must be held for this output.
    fn update(&mut self, update: &Update<'_>) -> bool;

    /// A call begins, or goes to another upstream. `may_send_drafts` as in [`CallTarget`](super::CallTarget).
    fn calls(&mut self, _may_send_drafts: bool) {}

    /// The next picture of this slot cannot be kept, because too many bytes are held.
    fn deliver_inline(&mut self, _slot: u32) {}

    /// One of the calls has ended: its pictures are final.
    fn call_ended(&mut self, _nth: Nth, _held: &mut HeldPictures) {}

    /// A picture is in the bucket.
    fn stored(&mut self, _image: &DeliveredImage, _held: &mut HeldPictures) {}

    /// A picture is not, and will not be.
    fn not_stored(&mut self, _slot: u32, _held: &mut HeldPictures) {}

    /// The next bytes to send; empty when there are none. Called again until then.
    fn take(&mut self) -> Vec<u8>;

    /// The client was sent the bytes that [`Self::take`] has returned so far.
    fn sent(&mut self) {}

    /// No more input is ready: bytes that wait to be sent together should not wait longer.
    fn flush(&mut self) {}

    /// An upstream did not start its call, and another one is called. `elapsed`: since the calls began.
    fn another_way(&mut self, _elapsed: Duration) {}

    /// Writes a keep-alive. `elapsed`: since the calls began.
    fn keep_alive(&mut self, _elapsed: Duration) {}
}

/// As typed events.
impl Output for Events {
    fn update(&mut self, update: &Update<'_>) -> bool {
        Events::update(self, update)
    }

    fn deliver_inline(&mut self, slot: u32) {
        Events::deliver_inline(self, slot);
    }

    fn stored(&mut self, image: &DeliveredImage, held: &mut HeldPictures) {
        Events::stored(self, image);
        let is_stored = |content: &HeldContent| match (content, &image.source) {
            (HeldContent::Inline { image, .. }, ImageSource::Inline(stored)) => image.sha256 == stored.sha256,
            _ => false,
        };
        // Unless a later picture of the slot has replaced it.
        if held.whole(|slot| slot == image.slot).any(|picture| is_stored(&picture.content)) {
            held.deliver(image.slot);
        }
    }

    fn not_stored(&mut self, slot: u32, held: &mut HeldPictures) {
        if let Some(picture) = held.deliver(slot) {
            Events::not_stored(self, picture);
        }
    }

    fn take(&mut self) -> Vec<u8> {
        Events::take(self)
    }

    fn sent(&mut self) {
        Events::sent(self);
    }

    fn flush(&mut self) {
        Events::flush(self);
    }

    fn another_way(&mut self, elapsed: Duration) {
        Events::another_way(self, elapsed.as_millis() as u64);
    }

    fn keep_alive(&mut self, elapsed: Duration) {
        self.process(Some(elapsed.as_millis() as u64));
    }
}
