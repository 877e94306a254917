//! The life of a task: new → running → succeeded or failed, and the answer to a repeated key.
//!
//! Its owner names a task: by `Idempotency-Key`, or by the `task_id` of faceflip. A task is run again only after it
//! failed, or after the lease of its last run if that run kept no picture; no result is charged twice.

use crate::kept_picture::KeptPicture;
use crate::outcome::{DeliveredImage, FailedSlot, ImageSource, Success};
use crate::price::Price;
use crate::problem::Code;
use crate::update::Usage;
use crate::upstream::Failure;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::PrimitiveDateTime;
use time::macros::format_description;

/// A link or a kept picture is not delivered again if it expires sooner than this.
const LINK_MARGIN_MS: u64 = 600_000;
/// The life of a link that does not state one: ARK promises
/// [24 hours](https://www.volcengine.com/docs/82379/1541523).
const LINK_LIFE_MS: u64 = 86_400_000;

/// The record of a task. It holds neither the prompt nor pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Its owner's name for it.
    pub task_id: String,
    /// The path of the route that ran it.
    pub route: String,
    /// Its state.
    pub state: TaskState,
    /// The number of runs.
    pub attempts: u32,
    /// The number of whole pictures that were delivered.
    pub images: u32,
    /// The time of its first request, in milliseconds since 1970.
    pub created_ms: u64,
    /// The time of the last change, in milliseconds since 1970.
    pub updated_ms: u64,
    /// The id of the last run. This service makes it.
    pub run: String,
    /// The [`fingerprint`] of the request.
    pub fingerprint: String,
    /// What a repeated key delivers again, beside the kept pictures.
    pub result: Option<StoredResult>,
    /// The pictures in the bucket. A running task has the ones so far.
    pub pictures: Vec<KeptPicture>,
    /// The owner has asked the run to stop.
    pub is_cancelled: bool,
    /// The credits that the last run has spent, where generations cost some.
    pub credits: Option<u32>,
    /// The upstream that the last run has called; several are separated by commas.
    pub upstream: Option<String>,
    /// What its pictures cost, where prices are configured.
    pub cost: Option<Price>,
}

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// A request runs it.
    Running {
        /// The end of the lease, in milliseconds since 1970: the run has certainly ended then.
        lease_ms: u64,
    },
    /// At least one picture was delivered.
    Succeeded,
    /// No picture was delivered.
    Failed {
        /// The code that its owner received; `None` if this version does not know it.
        code: Option<Code>,
    },
}

/// The meaning of a repeated key.
#[derive(Debug, Clone, PartialEq)]
pub enum Repeat {
    /// This request itself wrote the record; the table's answer was lost.
    Ours,
    /// Another request runs it.
    InProgress,
    /// It has succeeded, and its pictures can be delivered again.
    Replay(Box<Replay>),
    /// It has succeeded, and its pictures cannot be delivered again.
    Completed,
    /// The key belongs to a request with other content.
    Reused,
    /// It may be run again: it failed, or its lease is over and no picture was kept.
    Again,
}

/// A result that is delivered again.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The result. Its pictures have no links to their copies yet, because these are signed for each answer.
    pub success: Success,
    /// The copies of its pictures in the bucket.
    pub kept: Vec<KeptPicture>,
    /// The id of the run that made them.
    pub run: String,
}

impl TaskRecord {
    /// The meaning of this key in another request, which would run the task as `run`.
    pub fn repeat(&self, fingerprint: &str, run: &str, now_ms: u64) -> Repeat {
        if self.run == run {
            return Repeat::Ours;
        }
        if self.fingerprint != fingerprint {
            return Repeat::Reused;
        }
        match self.state_at(now_ms) {
            TaskState::Running { .. } => Repeat::InProgress,
            TaskState::Failed { .. } => Repeat::Again,
            TaskState::Succeeded => match self.replay(now_ms) {
                Some(replay) => Repeat::Replay(Box::new(replay)),
                None => Repeat::Completed,
            },
        }
    }

    /// The state that its owner receives at this time. A task that runs beyond its lease has ended without its record:
    /// it succeeded if a picture was kept, or else it failed.
    pub fn state_at(&self, now_ms: u64) -> TaskState {
        match self.state {
            TaskState::Running { lease_ms } if lease_ms <= now_ms => match self.pictures.is_empty() {
                true => TaskState::Failed { code: Some(Code::InternalError) },
                false => TaskState::Succeeded,
            },
            state => state,
        }
    }

    /// The number of whole pictures so far, also of a run that died before it recorded its end.
    pub fn images_made(&self) -> u32 {
        self.images.max(u32::try_from(self.pictures.len()).unwrap_or(u32::MAX))
    }

    /// The result, if it can be delivered again: the upstream's links while they are valid, and the kept pictures that are
    /// still in the bucket.
    fn replay(&self, now_ms: u64) -> Option<Replay> {
        let is_there = |picture: &&KeptPicture| picture.expires_ms.saturating_sub(LINK_MARGIN_MS) > now_ms;
        let kept: Vec<_> = self.pictures.iter().filter(is_there).cloned().collect();
        let result = self.result.as_ref();
        let mut images = result.map(|result| result.valid_links(self.updated_ms, now_ms)).unwrap_or_default();
        for KeptPicture { slot, draft, image, .. } in &kept {
            if images.iter().all(|link| link.slot != *slot) {
                images.push(DeliveredImage::new(*slot, ImageSource::Inline(image.clone()), *draft));
            }
        }
        if images.is_empty() {
            return None;
        }
        images.sort_by_key(|image| image.slot);
        let (failed, usage) = result.map(StoredResult::rest).unwrap_or_default();
        let success = Success { images, failed, usage, cut_short: None };
        Some(Replay { success, kept, run: self.run.clone() })
    }
}

impl Repeat {
    /// The answer without a run: the earlier result, or the code of a refusal. `None` if this request runs the task.
    pub fn answer(self) -> Option<Result<Replay, Code>> {
        match self {
            Repeat::Ours | Repeat::Again => None,
            Repeat::Replay(replay) => Some(Ok(*replay)),
            Repeat::InProgress => Some(Err(Code::TaskInProgress)),
            Repeat::Completed => Some(Err(Code::TaskAlreadyCompleted)),
            Repeat::Reused => Some(Err(Code::TaskIdReused)),
        }
    }
}

/// A hash of the request's content: 64 hexadecimal digits. It includes the length of each part, so that two lists of
/// parts with the same text, cut elsewhere, differ.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The stored form of a success, without the pictures whose bytes were in the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredResult {
    images: Vec<StoredLink>,
    failed: Vec<StoredFailure>,
    usage: Option<Usage>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredLink {
    slot: u32,
    url: String,
    pixels: Option<(u32, u32)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredFailure {
    slot: u32,
    class: String,
}

impl StoredResult {
    /// The links, failures and token counts of a success.
    pub fn of(success: &Success) -> Self {
        let link = |image: &DeliveredImage| match &image.source {
            ImageSource::Link { url, pixels } => {
                Some(StoredLink { slot: image.slot, url: url.clone(), pixels: *pixels })
            }
            ImageSource::Inline(_) => None,
        };
        let lost = |failed: &FailedSlot| StoredFailure { slot: failed.slot, class: failed.failure.class().to_owned() };
        Self {
            images: success.images.iter().filter_map(link).collect(),
            failed: success.failed.iter().map(lost).collect(),
            usage: success.usage,
        }
    }

    /// The upstream's links.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.images.iter().map(|link| link.url.as_str())
    }

    /// The pictures behind the links; none unless all links are valid. `made_ms` is the time at which they were made.
    fn valid_links(&self, made_ms: u64, now_ms: u64) -> Vec<DeliveredImage> {
        let is_valid = |link: &StoredLink| expiry_ms(&link.url, made_ms).saturating_sub(LINK_MARGIN_MS) > now_ms;
        if !self.images.iter().all(is_valid) {
            return Vec::new();
        }
        let image = |link: &StoredLink| {
            let source = ImageSource::Link { url: link.url.clone(), pixels: link.pixels };
            DeliveredImage::new(link.slot, source, false)
        };
        self.images.iter().map(image).collect()
    }

    /// What failed beside the pictures, and the token counts.
    fn rest(&self) -> (Vec<FailedSlot>, Option<Usage>) {
        let failed = |lost: &StoredFailure| {
            let failure = Failure::ALL.iter().find(|failure| failure.class() == lost.class)?;
            Some(FailedSlot { slot: lost.slot, failure: *failure })
        };
        (self.failed.iter().filter_map(failed).collect(), self.usage)
    }
}

/// The time at which a signed link expires. The link states when it was signed and for how long, in the parameters of
/// Volcengine's or of AWS's object store. Without them it counts as signed at `made_ms`.
fn expiry_ms(url: &str, made_ms: u64) -> u64 {
    let Ok(url) = url::Url::parse(url) else { return made_ms };
    let value = |name: &str| {
        let names = [format!("x-tos-{name}"), format!("x-amz-{name}")];
        let found = url.query_pairs().find(|(key, _)| names.iter().any(|name| key.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value.into_owned())
    };
    let signed_ms = value("date").and_then(|date| compact_date_ms(&date)).unwrap_or(made_ms);
    let life_ms = value("expires").and_then(|seconds| seconds.parse::<u64>().ok()).and_then(|s| s.checked_mul(1_000));
    signed_ms.saturating_add(life_ms.unwrap_or(LINK_LIFE_MS))
}

/// Parses a time such as `20261121T080000Z`. Returns milliseconds since 1970.
fn compact_date_ms(text: &str) -> Option<u64> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = PrimitiveDateTime::parse(text, format).ok()?.assume_utc();
    u64::try_from(date.unix_timestamp()).ok()?.checked_mul(1_000)
}
