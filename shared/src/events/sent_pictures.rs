use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::outcome::{DeliveredImage, supersedes};

/// The whole pictures of a stream: the final one of each slot.
#[derive(Debug, Default)]
pub(super) struct SentPictures {
    /// Whose `image.done` was written and may not be sent yet.
    written: Vec<DeliveredImage>,
    /// Whose `image.done` was sent. Shared with the writer of the terminal event, which outlives a producer that panics.
    sent: Arc<Mutex<Vec<DeliveredImage>>>,
}

impl SentPictures {
    /// Its `image.done` was written.
    pub(super) fn written(&mut self, image: &DeliveredImage) {
        self.written.push(image.clone());
    }

    /// There is a link to a copy of it.
    pub(super) fn stored(&mut self, image: &DeliveredImage) {
        let mut sent = lock(&self.sent);
        for known in self.written.iter_mut().chain(sent.iter_mut()) {
            if known.slot == image.slot && known.is_same_as(image) {
                known.kept.clone_from(&image.kept);
            }
        }
    }

    /// All that was written was sent.
    pub(super) fn sent(&mut self) {
        let mut sent = lock(&self.sent);
        self.written.drain(..).for_each(|image| add(&mut sent, image));
    }

    /// Those that were sent, and those that are sent before whatever is written next.
    pub(super) fn all(&self) -> Vec<DeliveredImage> {
        let mut all = lock(&self.sent).clone();
        self.written.iter().for_each(|image| add(&mut all, image.clone()));
        all.sort_by_key(|image| image.slot);
        all
    }

    /// Those that are sent, now and later.
    pub(super) fn share(&self) -> Self {
        Self { written: Vec::new(), sent: self.sent.clone() }
    }
}

fn add(images: &mut Vec<DeliveredImage>, image: DeliveredImage) {
    match images.iter_mut().find(|known| known.slot == image.slot) {
        Some(known) if supersedes(image.draft, known.draft) => *known = image,
        Some(_) => {}
        None => images.push(image),
    }
}

fn lock(images: &Mutex<Vec<DeliveredImage>>) -> MutexGuard<'_, Vec<DeliveredImage>> {
    images.lock().unwrap_or_else(PoisonError::into_inner)
}
