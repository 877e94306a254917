use super::output::Output;
use crate::edge::metrics;
use crate::edge::store::{KeepEnd, Keeper, StoredPicture};
use crate::held::{HeldContent, HeldPictures};
use crate::kept_picture::KeptPicture;
use crate::labelled::PictureLabels;
use crate::outcome::{DeliveredImage, ImageSource, Success};
use crate::update::{Nth, Update};
use crate::upstream::MAX_IMAGE_BYTES;

/// Where the updates of a request go: to its output, and its pictures to the bucket.
pub(super) struct UpdateSink<'a, O> {
    pub(super) output: &'a mut O,
    pub(super) held: HeldPictures,
    /// `None` where pictures are not kept.
    pub(super) keeper: Option<Keeper>,
    /// `None` where pictures are not labelled.
    pub(super) labels: Option<PictureLabels>,
    /// The slot of the whole picture that is being written. After a panic it is the one that the output lacks.
    pub(super) writing: Option<u32>,
}

impl<'a, O: Output> UpdateSink<'a, O> {
    pub(super) fn new(output: &'a mut O, keeper: Option<Keeper>, labels: Option<PictureLabels>) -> Self {
        let held = if keeper.is_some() { HeldPictures::for_bucket() } else { HeldPictures::default() };
        Self { output, held, keeper, labels, writing: None }
    }

    /// `copies_links`: links are results of the upstream, not text of a model.
    pub(super) fn update(&mut self, update: &Update<'_>, copies_links: bool) {
        if matches!(update, Update::ImageFinished { draft: false, .. } | Update::ImageLinked { draft: false, .. }) {
            metrics::picture();
        }
        let Self { output, held, keeper, labels, writing } = self;
        let is_whole = matches!(update, Update::ImageFinished { .. } | Update::ImageLinked { .. });
        *writing = update.slot().filter(|_| is_whole);
        let mut write = |update: &Update<'_>| write(update, *output, held, keeper.as_mut(), copies_links);
        match labels {
            Some(labels) => labels.update(update, &mut write),
            None => write(update),
        }
        *writing = None;
    }

    /// A call has ended: a draft is now the final picture of its slot, if no other came.
    pub(super) fn call_ended(&mut self, nth: Nth) {
        let is_of_call = |slot: u32| slot % nth.of == nth.call;
        let drafts: Vec<_> =
            self.held.whole(is_of_call).filter(|picture| picture.draft).map(|picture| picture.slot).collect();
        if let Some(keeper) = &mut self.keeper {
            drafts.into_iter().for_each(|slot| keep(slot, &mut self.held, keeper));
        }
        self.output.call_ended(nth, &mut self.held);
    }

    /// The storing of a picture has ended.
    pub(super) fn stored(&mut self, KeepEnd { slot, released, sha256, stored }: KeepEnd) {
        self.held.stored(released);
        match stored {
            Some(StoredPicture { picture: KeptPicture { slot, draft, image, .. }, link: Some(link), copied_from }) => {
                let source = match copied_from {
                    Some(url) => ImageSource::Link { url, pixels: Some((image.width, image.height)) },
                    None => ImageSource::Inline(image),
                };
                let image = DeliveredImage { kept: Some(link), ..DeliveredImage::new(slot, source, draft) };
                self.output.stored(&image, &mut self.held);
            }
            _ if self.holds(slot, sha256) => self.output.not_stored(slot, &mut self.held),
            // A later picture of the slot has replaced it.
            _ => {}
        }
    }

    /// No further picture will be stored.
    pub(super) fn finish(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.give_up();
            let left: Vec<_> = self.held.whole(|_| true).map(|picture| picture.slot).collect();
            for slot in left {
                self.output.not_stored(slot, &mut self.held);
            }
        }
    }

    /// Adds the links of the kept pictures to a success, and returns these pictures.
    pub(super) fn add_links(&self, success: &mut Success) -> Vec<KeptPicture> {
        let kept = self.keeper.as_ref().map(Keeper::kept).unwrap_or_default();
        let of = |image: &DeliveredImage| {
            kept.iter().find(|StoredPicture { picture, copied_from, .. }| {
                let is_it = match &image.source {
                    ImageSource::Inline(whole) => copied_from.is_none() && whole.sha256 == picture.image.sha256,
                    ImageSource::Link { url, .. } => copied_from.as_ref() == Some(url),
                };
                picture.slot == image.slot && is_it
            })
        };
        let mut pictures = Vec::new();
        for image in &mut success.images {
            if let Some(StoredPicture { picture, link, .. }) = of(image) {
                image.kept = link.clone();
                image.label = picture.image.label;
                pictures.push(picture.clone());
            }
        }
        pictures
    }

    /// Whether the slot's whole picture is the one with this hash.
    fn holds(&self, slot: u32, sha256: Option<[u8; 32]>) -> bool {
        let is_it = |content: &HeldContent| match content {
            HeldContent::Inline { image, .. } => Some(image.sha256) == sha256,
            HeldContent::Link(_) => false,
        };
        self.held.whole(|held| held == slot).any(|picture| is_it(&picture.content))
    }
}

fn write(
    update: &Update<'_>,
    output: &mut impl Output,
    held: &mut HeldPictures,
    keeper: Option<&mut Keeper>,
    copies_links: bool,
) {
    if let (Update::ImageStarted { slot, .. }, Some(_)) = (update, &keeper)
        && !held.has_room_for(MAX_IMAGE_BYTES as usize)
    {
        output.deliver_inline(*slot);
    }
    let is_wanted = output.update(update);
    held.update(update, is_wanted);
    let Some(keeper) = keeper else { return };
    match *update {
        Update::ImageFinished { slot, draft: false, .. } => keep(slot, held, keeper),
        Update::ImageLinked { slot, draft: false, url, .. } if copies_links => keeper.copy(slot, url),
        _ => {}
    }
}

fn keep(slot: u32, held: &mut HeldPictures, keeper: &mut Keeper) {
    let picture = held.whole(|whole| whole == slot).next();
    let Some((draft, HeldContent::Inline { image, bytes })) = picture.map(|held| (held.draft, &held.content)) else {
        return;
    };
    let (image, bytes) = (image.clone(), bytes.clone());
    let released = held.release(slot);
    keeper.keep(slot, draft, image, bytes, released);
}
