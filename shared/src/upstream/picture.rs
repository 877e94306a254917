use super::{Failure, MAX_IMAGE_BYTES, Out};
use crate::media::{Image, Progress, Rejected};
use crate::update::Update;

/// One picture under way in a slot, told as updates.
#[derive(Debug)]
pub(super) struct Picture {
    slot: u32,
    draft: bool,
    image: Image,
}

impl Picture {
    pub(super) fn new(slot: u32, draft: bool) -> Self {
        Self { slot, draft, image: Image::new(MAX_IMAGE_BYTES) }
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

    pub(super) fn push(&mut self, payload: &[u8], out: &mut Out<'_>) {
        self.image.push(payload, tell(self.slot, self.draft, out));
    }

    /// It has ended, and by now it is known whether it is a draft. Says whether it is whole.
    pub(super) fn finish(self, draft: bool, out: &mut Out<'_>) -> bool {
        let Self { slot, image, .. } = self;
        match image.finish(tell(slot, draft, out)) {
            Ok(image) => {
                out(Update::ImageFinished { slot, draft, image });
                true
            }
            Err(why) => {
                out(Update::ImageRejected { slot, why });
                if why == Rejected::TooLarge {
                    out(Update::Failed(Failure::Protocol));
                }
                false
            }
        }
    }
}

fn tell<'o>(slot: u32, draft: bool, out: &'o mut Out<'_>) -> impl FnMut(Progress<'_>) + 'o {
    move |progress| {
        out(match progress {
            Progress::Started(media_type) => Update::ImageStarted { slot, media_type, draft },
            Progress::Bytes(bytes) => Update::ImageBytes { slot, bytes },
        });
    }
}
