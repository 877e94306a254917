//! One task's life: new → running → succeeded or failed, and what it means when its key comes again.
//!
//! A task is named by its owner: by `Idempotency-Key`, or by the `task_id` of faceflip. It is run again only after it
//! failed, or when whoever ran it is surely gone; nothing is paid for twice.

use crate::outcome::{DeliveredImage, FailedSlot, ImageSource, Success};
use crate::problem::Code;
use crate::update::Usage;
use crate::upstream::Failure;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::PrimitiveDateTime;
use time::macros::format_description;

/// A link is not handed out again when it has less than this to live.
const LINK_MARGIN_MS: u64 = 600_000;
/// How long a link lives that does not say so: what ARK and its like promise.
const LINK_LIFE_MS: u64 = 86_400_000;

/// What is kept of a task. Never a prompt and never a pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// As its owner named it.
    pub task_id: String,
    /// The route that ran it.
    pub route: String,
    /// Where it stands.
    pub state: TaskState,
    /// How often it was run.
    pub attempts: u32,
    /// Whole pictures that were delivered.
    pub images: u32,
    /// When it first came, in milliseconds since 1970.
    pub created_ms: u64,
    /// When that last changed.
    pub updated_ms: u64,
    /// Which request was the last to run it. Made by us.
    pub run: String,
    /// [`fingerprint`] of what was asked.
    pub fingerprint: String,
    /// What was delivered, where that can be told again.
    pub links: Option<StoredLinks>,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Somebody runs it, and is gone for sure at this time.
    Running {
        /// Milliseconds since 1970.
        lease_ms: u64,
    },
    /// At least one picture was delivered.
    Succeeded,
    /// None was.
    Failed {
        /// As its owner was told.
        code: Option<Code>,
    },
}

/// What a key means that has come before.
#[derive(Debug, Clone, PartialEq)]
pub enum Repeat {
    /// This request itself wrote the record: an answer of the table was lost.
    Ours,
    /// Another request runs it.
    InProgress,
    /// It has succeeded, and its pictures can be had again.
    Replay(Success),
    /// It has succeeded, and its pictures are gone.
    Completed,
    /// It was for another request.
    Reused,
    /// It may be run again: it failed, or whoever ran it is gone.
    Again,
}

impl TaskRecord {
    /// What it means that this key comes again, with this request, run as `run`.
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

impl TaskState {
    /// As its owner is told it at this time: whoever ran a task beyond its lease is gone, and it has failed.
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

/// What a request asked for, as a hash: 64 hexadecimal digits. Each part's length counts, so none runs into the next.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A success that consists of links, as it is stored.
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
    /// The links of a success; `None` if any of its pictures is none.
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

    /// The success again, while all of its links, made at `made_ms`, live.
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

/// When a signed link dies: it says when it was signed and for how long, in the names of Volcengine's or of AWS's
/// object store. One that does not is taken to be as old as its record.
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

/// `20261121T080000Z` in milliseconds since 1970.
fn compact_date_ms(text: &str) -> Option<u64> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = PrimitiveDateTime::parse(text, format).ok()?.assume_utc();
    u64::try_from(date.unix_timestamp()).ok()?.checked_mul(1_000)
}
