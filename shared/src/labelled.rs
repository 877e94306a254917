//! Labels the pictures of a request: between the verdict, which judges the upstream's bytes, and the outputs and the bucket,
//! which deliver labelled ones. From here on, sizes and hashes are those of the labelled bytes.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::media::WholeImage;
use crate::media::label::{LabelRules, LabelStatus, Labeler};
use crate::media::sniff::MediaType;
use crate::outcome::{ImageSource, Success};
use crate::update::Update;

/// Labels the pictures of one run as their bytes pass.
#[derive(Debug)]
pub struct PictureLabels {
    rules: LabelRules,
    run: String,
    open: Vec<OpenLabel>,
    /// The slot of every whole picture, its hash as it came, and the labelled picture.
    made: Vec<(u32, [u8; 32], WholeImage)>,
    /// Slots, and the number of drafts that each has had.
    drafts: Vec<(u32, usize)>,
}

/// A picture that is being labelled.
#[derive(Debug)]
struct OpenLabel {
    slot: u32,
    labeler: Labeler,
    hash: LabelledHash,
}

#[derive(Debug, Default)]
struct LabelledHash {
    bytes: u64,
    sha256: Sha256,
}

impl PictureLabels {
    /// Labels pictures of this run; see [`produce_id`].
    pub fn new(rules: &LabelRules, run: &str) -> Self {
        Self { rules: rules.clone(), run: run.to_owned(), open: Vec::new(), made: Vec::new(), drafts: Vec::new() }
    }

    /// Passes on an update that [`Outcome::note`](crate::outcome::Outcome::note) has returned, with the bytes, the size and
    /// the hash of the labelled picture.
    pub fn update(&mut self, update: &Update<'_>, on: &mut dyn FnMut(&Update<'_>)) {
        match *update {
            Update::ImageStarted { slot, media_type, draft } => {
                self.start(slot, media_type, draft);
                on(update);
            }
            Update::ImageBytes { slot, bytes } => {
                if let Some(OpenLabel { labeler, hash, .. }) = self.open.iter_mut().find(|open| open.slot == slot) {
                    labeler.push(bytes, &mut |bytes| on(&hash.note(slot, bytes)));
                }
            }
            Update::ImageFinished { slot, draft, ref image } => {
                let Some(at) = self.open.iter().position(|open| open.slot == slot) else { return on(update) };
                let OpenLabel { labeler, mut hash, .. } = self.open.swap_remove(at);
                let status = labeler.finish(&mut |bytes| on(&hash.note(slot, bytes)));
                let labelled = hash.finish(image, status);
                self.made.push((slot, image.sha256, labelled.clone()));
                on(&Update::ImageFinished { slot, draft, image: labelled });
            }
            Update::ImageRejected { slot, .. } | Update::ImageRepeated { slot } => {
                self.open.retain(|open| open.slot != slot);
                on(update);
            }
            _ => on(update),
        }
    }

    /// Replaces the pictures of a success, as the upstream sent them, by the labelled ones. A link has no label.
    pub fn apply(&self, success: &mut Success) {
        for delivered in &mut success.images {
            delivered.label = Some(LabelStatus::Absent);
            if let ImageSource::Inline(image) = &mut delivered.source
                // The last one: a draft may have had the same bytes.
                && let Some((.., labelled)) =
                    self.made.iter().rfind(|(slot, sha256, _)| *slot == delivered.slot && *sha256 == image.sha256)
            {
                delivered.label = labelled.label;
                *image = labelled.clone();
            }
        }
    }

    fn count_draft(&mut self, slot: u32) -> usize {
        if let Some((_, drafts)) = self.drafts.iter_mut().find(|(other, _)| *other == slot) {
            *drafts += 1;
            return *drafts;
        }
        self.drafts.push((slot, 1));
        1
    }

    fn start(&mut self, slot: u32, media_type: MediaType, draft: bool) {
        self.open.retain(|open| open.slot != slot);
        let nth = draft.then(|| self.count_draft(slot));
        let id = produce_id(&self.run, slot, nth);
        let labeler = Labeler::new(media_type, &self.rules, &id);
        self.open.push(OpenLabel { slot, labeler, hash: LabelledHash::default() });
    }
}

impl LabelledHash {
    fn note<'a>(&mut self, slot: u32, bytes: &'a [u8]) -> Update<'a> {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        Update::ImageBytes { slot, bytes }
    }

    fn finish(self, image: &WholeImage, status: LabelStatus) -> WholeImage {
        WholeImage { bytes: self.bytes, sha256: self.sha256.finalize().into(), label: Some(status), ..image.clone() }
    }
}

/// Labels a whole picture.
pub fn label_whole(rules: &LabelRules, produce_id: &str, image: &WholeImage, picture: &[u8]) -> (WholeImage, Bytes) {
    let mut labeler = Labeler::new(image.media_type, rules, produce_id);
    let mut labelled = Vec::with_capacity(picture.len() + 2048);
    labeler.push(picture, &mut |bytes| labelled.extend_from_slice(bytes));
    let status = labeler.finish(&mut |bytes| labelled.extend_from_slice(bytes));
    let mut hash = LabelledHash::default();
    hash.note(0, &labelled);
    (hash.finish(image, status), labelled.into())
}

/// The number of a picture: `<run without dashes>-<slot>`, and `d<n>` behind it for the `n`th draft of the slot. The run is
/// in the task's record and in the log.
pub fn produce_id(run: &str, slot: u32, draft: Option<usize>) -> String {
    let draft = draft.map_or_else(String::new, |nth| format!("d{nth}"));
    format!("{}-{slot}{draft}", run.replace('-', ""))
}
