//! How an answer ended: which pictures are whole, or which failure it was. Exactly one verdict.

use crate::kept_picture::SignedLink;
use crate::media::label::LabelStatus;
use crate::media::{ImageRejection, WholeImage};
use crate::problem::Code;
use crate::update::{Nth, Stop, Update, Usage};
use crate::upstream::{Failure, TokenPolicy};

/// Pictures counted per answer; further ones are ignored. ARK makes at most 15, each with one or two drafts.
const MAX_PICTURES: usize = 64;

/// Watches an answer's updates.
#[derive(Debug, Default)]
pub struct Outcome {
    images: Vec<DeliveredImage>,
    failed: Vec<FailedSlot>,
    /// Values that stood for a picture and were not one, or were broken.
    rejected: Vec<FailedSlot>,
    usage: Option<Usage>,
    stop: Option<Stop>,
    failure: Option<Failure>,
    /// Slots with an unfinished picture.
    open: Vec<u32>,
    /// Slots whose unfinished picture is a draft that comes behind the final one.
    late: Vec<u32>,
    /// The request's own pictures, as their hash in hexadecimal or their link: an upstream may send them back.
    references: Vec<String>,
    is_done: bool,
    updates: u64,
    has_begun: bool,
}

/// A picture that is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveredImage {
    /// The slot.
    pub slot: u32,
    /// Where it is.
    pub source: ImageSource,
    /// The upstream marks it as not final.
    pub draft: bool,
    /// The copy in the bucket, where there is one.
    pub kept: Option<SignedLink>,
    /// The label of the picture that is delivered; `None` where pictures are not labelled.
    pub label: Option<LabelStatus>,
}

/// Where a whole picture is.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageSource {
    /// Its bytes were in the answer.
    Inline(WholeImage),
    /// The upstream gave a link.
    Link {
        /// As the upstream wrote it.
        url: String,
        /// Width and height, where the upstream tells them.
        pixels: Option<(u32, u32)>,
    },
}

/// A picture that the upstream could not make, or that arrived incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedSlot {
    /// The slot.
    pub slot: u32,
    /// The reason.
    pub failure: Failure,
}

/// What the calls of a request have used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls on which the upstream provably did not start.
    pub unused_calls: u32,
    /// Calls of which a picture failed because of the user's own input.
    pub own_faults: u32,
    /// Calls without a whole picture that were dropped because the client left or cancelled, after their request had
    /// been sent.
    pub abandoned_calls: u32,
}

impl Tally {
    /// Counts one call. `has_begun` as in [`Outcome::has_begun`]. `is_sent`: the request was sent in full.
    pub fn count(&mut self, verdict: &Result<Success, Failure>, has_begun: bool, is_sent: bool) {
        match verdict {
            Ok(success) => {
                self.own_faults += u32::from(success.failed.iter().any(|failed| failed.failure.is_users_fault()));
            }
            Err(Failure::ClientClosed) => {
                self.abandoned_calls += u32::from(is_sent);
                self.unused_calls += u32::from(!is_sent);
            }
            Err(Failure::Cancelled) => self.abandoned_calls += u32::from(is_sent),
            Err(failure) => {
                self.own_faults += u32::from(failure.is_users_fault());
                self.unused_calls += u32::from(failure.token() == TokenPolicy::Refund && !has_begun);
            }
        }
    }
}

/// How the answer's bytes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerEnd {
    /// The upstream closed the stream without an error, or sent `[DONE]`.
    Clean,
    /// The call failed before its end.
    Failed(Failure),
}

/// At least one whole picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Success {
    /// The final picture of each slot, in slot order.
    pub images: Vec<DeliveredImage>,
    /// What failed beside them.
    pub failed: Vec<FailedSlot>,
    /// Token counts.
    pub usage: Option<Usage>,
    /// The failure that ended a call after it had delivered some of these pictures.
    pub cut_short: Option<Failure>,
}

impl Outcome {
    /// The outcome of a request with these pictures, as [`InputPicture::identity`](crate::input::InputPicture::identity)
    /// writes them: they do not count if they come back.
    pub fn excluding(references: Vec<String>) -> Self {
        Self { references, ..Self::default() }
    }

    /// Records an update and returns what the outputs must write: for a picture that equals an earlier one or one of the
    /// request, only its end, and nothing of a draft behind the final picture of its slot.
    pub fn note<'a>(&mut self, update: Update<'a>) -> Option<Update<'a>> {
        let was_late = update.is_of_bytes() && update.slot().is_some_and(|slot| self.late.contains(&slot));
        let is_new = self.observe(&update);
        let is_late = update.is_of_bytes() && update.slot().is_some_and(|slot| self.late.contains(&slot));
        match update {
            Update::ImageStarted { .. } if is_late => None,
            Update::ImageStarted { .. } if is_new => Some(update),
            _ if was_late => None,
            update if is_new => Some(update),
            Update::ImageFinished { slot, .. } => Some(Update::ImageRepeated { slot }),
            _ => None,
        }
    }

    /// Records an update. Returns `false` for a picture that equals an earlier one.
    pub fn observe(&mut self, update: &Update<'_>) -> bool {
        self.updates += 1;
        self.has_begun |= matches!(
            update,
            Update::Text { .. }
                | Update::ImageStarted { .. }
                | Update::ImageBytes { .. }
                | Update::ImageFinished { .. }
                | Update::ImageLinked { .. }
        );
        match update {
            Update::ImageStarted { slot, draft, .. } => {
                self.close(*slot);
                self.open.push(*slot);
                if *draft && self.images.iter().any(|image| image.slot == *slot && !image.draft) {
                    self.late.push(*slot);
                }
            }
            Update::ImageFinished { slot, draft, image } => {
                self.close(*slot);
                return self.keep(DeliveredImage::new(*slot, ImageSource::Inline(image.clone()), *draft));
            }
            Update::ImageLinked { slot, url, pixels, draft } => {
                let source = ImageSource::Link { url: (*url).to_owned(), pixels: *pixels };
                return self.keep(DeliveredImage::new(*slot, source, *draft));
            }
            Update::ImageRejected { slot, why } => {
                self.close(*slot);
                let failure = match why {
                    ImageRejection::Truncated | ImageRejection::BadPayload => Failure::Truncated,
                    ImageRejection::TooLarge => Failure::Protocol,
                    ImageRejection::NotAnImage | ImageRejection::BadLink => Failure::NoImage,
                };
                let has_room = self.rejected.len() < MAX_PICTURES;
                match self.rejected.iter_mut().find(|rejected| rejected.slot == *slot) {
                    Some(rejected) if rejected.failure == Failure::NoImage => rejected.failure = failure,
                    Some(_) => {}
                    None if has_room => self.rejected.push(FailedSlot { slot: *slot, failure }),
                    None => {}
                }
            }
            Update::ImageFailed { slot, failure } => {
                let is_known = self.failed.iter().any(|failed| failed.slot == *slot);
                let is_new = !is_known && self.failed.len() < MAX_PICTURES;
                if is_new {
                    self.failed.push(FailedSlot { slot: *slot, failure: *failure });
                }
                return is_new;
            }
            Update::Usage(usage) => self.usage = Some(*usage),
            // A filter outweighs every other reason.
            Update::Stopped(stop) if self.stop != Some(Stop::Filtered) => self.stop = Some(*stop),
            Update::Failed(failure) => {
                self.failure.get_or_insert(*failure);
            }
            Update::Done => self.is_done = true,
            Update::ImageRepeated { slot } => self.close(*slot),
            Update::Stopped(_) | Update::Text { .. } | Update::ImageBytes { .. } => {}
        }
        true
    }

    /// How many updates were recorded, to see whether an answer makes progress.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The answer has shown that the upstream has begun to work, as
    /// [`AnswerReader::has_begun`](crate::upstream::AnswerReader::has_begun) tells.
    pub fn begin(&mut self) {
        self.has_begun = true;
    }

    /// Whether the upstream has begun to work: the answer had content, whole or not, or anything else that proves it.
    pub fn has_begun(&self) -> bool {
        let has_slots = !self.failed.is_empty() || !self.rejected.is_empty();
        let has_stopped = !matches!(self.stop, None | Some(Stop::Error));
        self.has_begun || has_slots || self.usage.is_some() || has_stopped
    }

    /// The failure of a call that the upstream provably did not start: another upstream may be called in its place. `None`
    /// if it may have started, and if the call did not fail.
    pub fn not_started(&self, end: AnswerEnd) -> Option<Failure> {
        let failure = (!self.has_begun()).then(|| self.failure(end));
        failure.filter(|failure| failure.token() == TokenPolicy::Refund)
    }

    /// The verdict. At least one whole picture is a success, whatever came after it.
    pub fn verdict(self, end: AnswerEnd) -> Result<Success, Failure> {
        if self.images.is_empty() {
            return Err(self.failure(end));
        }
        let mut images: Vec<DeliveredImage> = Vec::new();
        for image in self.images {
            match images.iter_mut().find(|other| other.slot == image.slot) {
                Some(other) if supersedes(image.draft, other.draft) => *other = image,
                Some(_) => {}
                None => images.push(image),
            }
        }
        images.sort_by_key(|image| image.slot);
        let cut_short = self.failure.or(match end {
            AnswerEnd::Failed(failure) => Some(failure),
            AnswerEnd::Clean => None,
        });
        let broken = match end {
            AnswerEnd::Failed(Failure::Cancelled) => Failure::Cancelled,
            _ => Failure::Truncated,
        };
        let open = self.open.into_iter().map(|slot| FailedSlot { slot, failure: broken });
        // A picture that a cancel cut off was not truncated by the upstream.
        let rejected = self.rejected.into_iter().map(|rejected| match rejected.failure {
            Failure::Truncated => FailedSlot { failure: broken, ..rejected },
            _ => rejected,
        });
        let mut failed: Vec<FailedSlot> = Vec::new();
        // The upstream's own report of a failed picture outweighs what its bytes looked like.
        for new in self.failed.into_iter().chain(open).chain(rejected) {
            let is_known = failed.iter().any(|known| known.slot == new.slot);
            if !is_known && images.iter().all(|image| image.slot != new.slot) {
                failed.push(new);
            }
        }
        failed.sort_by_key(|failed| failed.slot);
        Ok(Success { images, failed, usage: self.usage, cut_short })
    }

    fn failure(&self, end: AnswerEnd) -> Failure {
        let is_filtered = self.stop == Some(Stop::Filtered);
        let failure = self.failure.filter(|failure| !(is_filtered && *failure == Failure::Protocol));
        let picture_failure = self.failed.iter().map(|failed| failed.failure).reduce(weightier);
        if let Some(failure) = failure.or(picture_failure) {
            return failure;
        }
        if let AnswerEnd::Failed(failure) = end {
            return failure;
        }
        let is_truncated = self.rejected.iter().any(|rejected| rejected.failure == Failure::Truncated);
        match self.stop {
            Some(Stop::Filtered) => Failure::ContentBlocked,
            Some(Stop::Error) => Failure::Error,
            _ if is_truncated || !self.open.is_empty() => Failure::Truncated,
            None if !self.is_done => Failure::Truncated,
            _ => Failure::NoImage,
        }
    }

    fn keep(&mut self, image: DeliveredImage) -> bool {
        let is_own = match &image.source {
            _ if self.references.is_empty() => false,
            ImageSource::Inline(whole) => self.references.contains(&whole.sha256_hex()),
            ImageSource::Link { url, .. } => self.references.contains(url),
        };
        if is_own {
            return false;
        }
        // A final picture is kept even if a draft had the same bytes.
        let is_known = self.images.iter().any(|known| known.is_same_as(&image) && (!known.draft || image.draft));
        let is_new = !is_known && self.images.len() < MAX_PICTURES;
        if is_new {
            self.images.push(image);
        }
        is_new
    }

    fn close(&mut self, slot: u32) {
        self.open.retain(|open| *open != slot);
        self.late.retain(|late| *late != slot);
    }
}

impl Success {
    /// This success without the pictures of some slots, which are reported as failed.
    ///
    /// # Errors
    /// `failure`, if no picture is left.
    pub fn without(mut self, is_lost: impl Fn(u32) -> bool, failure: Failure) -> Result<Self, Failure> {
        let (lost, kept): (Vec<_>, _) = self.images.into_iter().partition(|image| is_lost(image.slot));
        self.images = kept;
        self.failed.extend(lost.into_iter().map(|image| FailedSlot { slot: image.slot, failure }));
        self.failed.sort_by_key(|failed| failed.slot);
        if self.images.is_empty() { Err(failure) } else { Ok(self) }
    }

    /// Joins the verdicts of all calls of a request: a success if any call was one, with the other calls as failed slots.
    ///
    /// # Errors
    /// The most important failure, if no call has a picture.
    pub fn of_all(verdicts: Vec<Result<Self, Failure>>) -> Result<Self, Failure> {
        let of = u32::try_from(verdicts.len()).unwrap_or(u32::MAX);
        let mut all = Self { images: Vec::new(), failed: Vec::new(), usage: None, cut_short: None };
        for (call, verdict) in (0..).zip(verdicts) {
            let nth = Nth { call, of };
            match verdict {
                Ok(success) => {
                    let moved = |image: DeliveredImage| DeliveredImage { slot: nth.slot(image.slot), ..image };
                    all.images.extend(success.images.into_iter().map(moved));
                    let moved = |failed: FailedSlot| FailedSlot { slot: nth.slot(failed.slot), ..failed };
                    all.failed.extend(success.failed.into_iter().map(moved));
                    all.usage = match (all.usage, success.usage) {
                        (Some(sum), Some(usage)) => Some(sum.plus(usage)),
                        (sum, usage) => sum.or(usage),
                    };
                    all.cut_short = all.cut_short.or(success.cut_short);
                }
                Err(failure) => all.failed.push(FailedSlot { slot: call, failure }),
            }
        }
        if all.images.is_empty() {
            let failures = all.failed.iter().map(|failed| failed.failure);
            return Err(failures.reduce(weightier).unwrap_or(Failure::NoImage));
        }
        all.images.sort_by_key(|image| image.slot);
        all.failed.sort_by_key(|failed| failed.slot);
        Ok(all)
    }
}

/// Whether a picture replaces an earlier one in its slot: a later final one does, and a draft replaces only a draft.
pub fn supersedes(is_draft: bool, was_draft: bool) -> bool {
    !is_draft || was_draft
}

/// The upstream's fault is more important than the user's, because a retry may help.
fn weightier(a: Failure, b: Failure) -> Failure {
    if a.is_users_fault() { b } else { a }
}

impl DeliveredImage {
    /// A picture without a copy in the bucket.
    pub fn new(slot: u32, source: ImageSource, draft: bool) -> Self {
        let label = match &source {
            ImageSource::Inline(image) => image.label,
            ImageSource::Link { .. } => None,
        };
        Self { slot, source, draft, kept: None, label }
    }

    /// The link to it and when that expires, where it is known: to the copy in the bucket, or else the upstream's.
    pub fn link(&self) -> Option<(&str, Option<u64>)> {
        match (&self.kept, &self.source) {
            (Some(SignedLink { url, expires_ms }), _) => Some((url, Some(*expires_ms))),
            (None, ImageSource::Link { url, .. }) => Some((url, None)),
            (None, ImageSource::Inline(_)) => None,
        }
    }

    /// Pictures with equal bytes are one picture, in any slot: some relays send every picture twice.
    pub(crate) fn is_same_as(&self, other: &DeliveredImage) -> bool {
        match (&self.source, &other.source) {
            (ImageSource::Inline(a), ImageSource::Inline(b)) => a.sha256 == b.sha256,
            (ImageSource::Link { url: a, .. }, ImageSource::Link { url: b, .. }) => a == b,
            _ => false,
        }
    }
}

impl FailedSlot {
    /// The problem code for the client.
    pub fn code(&self) -> Code {
        self.failure.problem()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::sniff::MediaType;

    /// A whole picture in slot 0, an unfinished one in slot 1, and one in slot 2 that was cut off.
    fn half_done(end: AnswerEnd) -> Vec<(u32, Failure)> {
        let image =
            WholeImage { media_type: MediaType::Png, bytes: 9, width: 2, height: 1, sha256: [0; 32], label: None };
        let mut outcome = Outcome::default();
        for update in [
            Update::ImageFinished { slot: 0, draft: false, image },
            Update::ImageStarted { slot: 1, media_type: MediaType::Png, draft: false },
            Update::ImageRejected { slot: 2, why: ImageRejection::Truncated },
        ] {
            outcome.note(update);
        }
        outcome.verdict(end).unwrap().failed.iter().map(|failed| (failed.slot, failed.failure)).collect()
    }

    #[test]
    fn a_call_was_not_started_only_if_its_failure_proves_it() {
        let not_started = |updates: &[Update<'_>], end| {
            let mut outcome = Outcome::default();
            for update in updates {
                outcome.note(update.clone());
            }
            outcome.not_started(end)
        };
        for &failure in Failure::ALL {
            let expected = (failure.token() == TokenPolicy::Refund).then_some(failure);
            assert_eq!(not_started(&[], AnswerEnd::Failed(failure)), expected, "{failure}");
            assert_eq!(not_started(&[Update::Failed(failure)], AnswerEnd::Clean), expected, "{failure}");
        }
        let busy = Update::Failed(Failure::RateLimited);
        let with = |update| not_started(&[update, busy.clone()], AnswerEnd::Clean);
        assert_eq!(with(Update::Stopped(Stop::Error)), Some(Failure::RateLimited));
        for begun in [
            Update::Text { slot: 0, text: "x" },
            Update::ImageStarted { slot: 0, media_type: MediaType::Png, draft: true },
            Update::ImageRejected { slot: 0, why: ImageRejection::NotAnImage },
            Update::ImageFailed { slot: 0, failure: Failure::RateLimited },
            Update::Usage(Usage::default()),
            Update::Stopped(Stop::Finished),
        ] {
            assert_eq!(with(begun.clone()), None, "{begun:?}");
        }
        assert_eq!(not_started(&[], AnswerEnd::Clean), None);
    }

    #[test]
    fn a_call_that_has_begun_gives_no_token_back() {
        let mut thinks = Outcome::default();
        assert!(!thinks.has_begun());
        thinks.begin();
        let mut counts = Outcome::default();
        counts.note(Update::Usage(Usage::default()));
        for mut outcome in [thinks, counts] {
            outcome.note(Update::Failed(Failure::RateLimited));
            assert_eq!((outcome.has_begun(), outcome.not_started(AnswerEnd::Clean)), (true, None));
            let mut tally = Tally::default();
            let has_begun = outcome.has_begun();
            tally.count(&outcome.verdict(AnswerEnd::Clean), has_begun, true);
            assert_eq!(tally, Tally::default());
        }
    }

    #[test]
    fn a_picture_of_the_request_does_not_count() {
        let finished = |byte| {
            let image = WholeImage {
                media_type: MediaType::Png,
                bytes: 9,
                width: 2,
                height: 1,
                sha256: [byte; 32],
                label: None,
            };
            Update::ImageFinished { slot: 0, draft: false, image }
        };
        let linked = |url| Update::ImageLinked { slot: 0, url, pixels: None, draft: false };
        let own = || Outcome::excluding(vec!["07".repeat(32), "https://example.com/own".to_owned()]);
        let mut outcome = own();
        assert_eq!(outcome.note(finished(7)), Some(Update::ImageRepeated { slot: 0 }));
        assert_eq!(outcome.note(linked("https://example.com/own")), None);
        outcome.note(Update::Done);
        assert_eq!(outcome.verdict(AnswerEnd::Clean), Err(Failure::NoImage));
        for other in [finished(8), linked("https://example.com/other")] {
            let mut outcome = own();
            outcome.note(finished(7));
            assert!(outcome.note(other).is_some());
            outcome.note(finished(7));
            assert_eq!(outcome.verdict(AnswerEnd::Clean).unwrap().images.len(), 1);
        }
    }

    #[test]
    fn a_draft_behind_the_final_picture_of_its_slot_is_not_written() {
        let image = |byte| WholeImage {
            media_type: MediaType::Png,
            bytes: 9,
            width: 2,
            height: 1,
            sha256: [byte; 32],
            label: None,
        };
        let start = |slot, draft| Update::ImageStarted { slot, media_type: MediaType::Png, draft };
        let finish = |slot, draft, byte| Update::ImageFinished { slot, draft, image: image(byte) };
        let mut outcome = Outcome::default();
        let mut written = |update| outcome.note(update).is_some();
        assert!(written(start(0, true)) && written(finish(0, true, 1)));
        assert!(written(start(0, false)) && written(finish(0, false, 2)));
        let late = [start(0, true), Update::ImageBytes { slot: 0, bytes: b"a" }, finish(0, true, 3)];
        assert!(!late.into_iter().any(&mut written));
        assert!(!written(start(0, true)) && written(start(0, false)) && written(finish(0, false, 4)));
        assert!(written(start(1, true)) && written(finish(1, true, 5)), "a draft of another slot");
        let images = outcome.verdict(AnswerEnd::Clean).unwrap().images;
        let drafts: Vec<_> = images.iter().map(|image| (image.slot, image.draft)).collect();
        assert_eq!(drafts, [(0, false), (1, true)]);
    }

    #[test]
    fn open_slots_of_a_cancelled_call_are_cancelled() {
        let both = |failure| vec![(1, failure), (2, failure)];
        assert_eq!(half_done(AnswerEnd::Failed(Failure::Cancelled)), both(Failure::Cancelled));
        assert_eq!(half_done(AnswerEnd::Failed(Failure::Timeout)), both(Failure::Truncated));
    }
}
