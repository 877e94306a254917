use super::{Failure, MAX_IMAGE_BYTES, Out};
use crate::media::{ImageDecoder, ImageProgress, ImageRejection};
use crate::update::Update;

/// The unfinished picture of a slot, reported as updates.
#[derive(Debug)]
pub(super) struct SlotPicture {
    slot: u32,
    draft: bool,
    image: ImageDecoder,
}

impl SlotPicture {
    pub(super) fn new(slot: u32, draft: bool) -> Self {
        Self { slot, draft, image: ImageDecoder::new(MAX_IMAGE_BYTES) }
    }

    pub(super) fn slot(&self) -> u32 {
        self.slot
    }

    pub(super) fn is_whole(&self) -> bool {
        self.image.is_whole()
    }

    pub(super) fn is_draft(&self) -> bool {
        self.draft
    }

    /// The upstream marks the picture as not final behind its bytes.
    pub(super) fn mark_draft(&mut self) {
        self.draft = true;
    }

    pub(super) fn push(&mut self, payload: &[u8], out: &mut Out<'_>) {
        self.image.push(payload, report(self.slot, self.draft, out));
    }

    /// The picture has ended, and `draft` is now known. Returns its hash if it is whole.
    pub(super) fn finish(self, draft: bool, out: &mut Out<'_>) -> Option<[u8; 32]> {
        let Self { slot, image, .. } = self;
        match image.finish(report(slot, draft, out)) {
            Ok(image) => {
                let sha256 = image.sha256;
                out(Update::ImageFinished { slot, draft, image });
                Some(sha256)
            }
            Err(why) => {
                out(Update::ImageRejected { slot, why });
                if why == ImageRejection::TooLarge {
                    out(Update::Failed(Failure::Protocol));
                }
                None
            }
        }
    }
}

fn report<'o>(slot: u32, draft: bool, out: &'o mut Out<'_>) -> impl FnMut(ImageProgress<'_>) + 'o {
    move |progress| {
        out(match progress {
            ImageProgress::Started(media_type) => Update::ImageStarted { slot, media_type, draft },
            ImageProgress::Bytes(bytes) => Update::ImageBytes { slot, bytes },
        });
    }
}
