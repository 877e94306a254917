//! The life of a task: new → running → succeeded or failed, and the answer to a repeated key.
//!
//! Its owner names a task: by `Idempotency-Key`, or by the `task_id` of faceflip. A task is run again only after it
//! failed, or after the lease of its last run; no result is charged twice.

use crate::outcome::{DeliveredImage, FailedSlot, ImageSource, Success};
use crate::problem::Code;
use crate::update::Usage;
use crate::upstream::Failure;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::PrimitiveDateTime;
use time::macros::format_description;

/// A link is not delivered again if it expires sooner than this.
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
    /// The result, where it consists of links.
    pub links: Option<StoredLinks>,
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
    /// It has succeeded, and its links are still valid.
    Replay(Success),
    /// It has succeeded, and its pictures cannot be delivered again.
    Completed,
    /// The key belongs to a request with other content.
    Reused,
    /// It may be run again: it failed, or its lease is over.
    Again,
}

impl TaskRecord {
    /// The meaning of this key in another request, which would run the task as `run`.
    pub fn repeat(&self, fingerprint: &str, run: &str, now_ms: u64) -> Repeat {
        match self.state {
            _ if self.run == run => Repeat::Ours,
            _ if self.fingerprint != fingerprint => Repeat::Reused,
            TaskState::Running { lease_ms } if lease_ms > now_ms => Repeat::InProgress,
            TaskState::Running { .. } | TaskState::Failed { .. } => Repeat::Again,
            TaskState::Succeeded => {
                match self.links.as_ref().and_then(|links| links.success(self.updated_ms, now_ms)) {
                    Some(success) => Repeat::Replay(success),
                    None => Repeat::Completed,
                }
            }
        }
    }
}

impl Repeat {
    /// The answer without a run: the earlier result, or the code of a refusal. `None` if this request runs the task.
    pub fn answer(self) -> Option<Result<Success, Code>> {
        match self {
            Repeat::Ours | Repeat::Again => None,
            Repeat::Replay(success) => Some(Ok(success)),
            Repeat::InProgress => Some(Err(Code::TaskInProgress)),
            Repeat::Completed => Some(Err(Code::TaskAlreadyCompleted)),
            Repeat::Reused => Some(Err(Code::TaskIdReused)),
        }
    }
}

impl TaskState {
    /// The state that its owner receives at this time: a task that runs beyond its lease has failed.
    #[must_use]
    pub fn at(self, now_ms: u64) -> Self {
        match self {
            TaskState::Running { lease_ms } if lease_ms <= now_ms => {
                TaskState::Failed { code: Some(Code::InternalError) }
            }
            state => state,
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

/// The stored form of a success that consists of links.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredLinks {
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

impl StoredLinks {
    /// The links of a success; `None` if a picture of it is no link.
    pub fn of(success: &Success) -> Option<Self> {
        let link = |image: &DeliveredImage| match &image.source {
            ImageSource::Link { url, pixels } => {
                Some(StoredLink { slot: image.slot, url: url.clone(), pixels: *pixels })
            }
            ImageSource::Inline(_) => None,
        };
        let images = success.images.iter().map(link).collect::<Option<_>>()?;
        let lost = |failed: &FailedSlot| StoredFailure { slot: failed.slot, class: failed.failure.class().to_owned() };
        Some(Self { images, failed: success.failed.iter().map(lost).collect(), usage: success.usage })
    }

    /// The addresses.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.images.iter().map(|link| link.url.as_str())
    }

    /// The success, while all of its links are valid. `made_ms` is the time at which they were made.
    fn success(&self, made_ms: u64, now_ms: u64) -> Option<Success> {
        let lives = |link: &StoredLink| expiry_ms(&link.url, made_ms).saturating_sub(LINK_MARGIN_MS) > now_ms;
        if !self.images.iter().all(lives) {
            return None;
        }
        let image = |link: &StoredLink| {
            let source = ImageSource::Link { url: link.url.clone(), pixels: link.pixels };
            DeliveredImage { slot: link.slot, source, draft: false }
        };
        let failed = |lost: &StoredFailure| {
            let failure = Failure::ALL.iter().find(|failure| failure.class() == lost.class)?;
            Some(FailedSlot { slot: lost.slot, failure: *failure })
        };
        Some(Success {
            images: self.images.iter().map(image).collect(),
            failed: self.failed.iter().filter_map(failed).collect(),
            usage: self.usage,
            cut_short: None,
        })
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
