use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use super::dynamodb::OPERATION_TIMEOUT;
use super::pictures::{COPY_TIME_LIMIT, Pictures};
use super::tasks::{TaskRun, Tasks};
use crate::alarm::Alarm;
use crate::edge::clock::{now, unix_ms};
use crate::edge::metrics::in_current_request;
use crate::image_url::LocalLinks;
use crate::kept_picture::{KeptPicture, SignedLink};
use crate::labelled::{label_whole, produce_id};
use crate::media::WholeImage;
use crate::media::label::LabelRules;
use crate::picture_key::PictureKey;

/// Pictures that are stored at the same time.
const MAX_AT_ONCE: usize = 4;
/// The same, while one of them is copied from a link: its bytes are held, and the function that copies is small.
const MAX_COPIES_AT_ONCE: usize = 3;
/// The longest time that recording a stored picture takes.
const RECORD_TIME: Duration = OPERATION_TIMEOUT.saturating_mul(2);
/// Storing ends this long before the request must have ended, so that the rest is settled in time.
const STORE_MARGIN: Duration = Duration::from_secs(3);

/// Keeps the pictures of one run while the run goes on: puts each into the bucket, records it, and signs a link to it.
///
/// Pictures of one slot are stored in order, so that the last one remains. A failure costs the copy and nothing else.
#[derive(Debug)]
pub(crate) struct Keeper {
    run: Arc<KeptRun>,
    waiting: VecDeque<KeepJob>,
    running: JoinSet<KeepEnd>,
    /// The slots whose pictures are being stored, and whether they are copied from a link.
    busy: Vec<(u32, bool)>,
    /// No picture is waited for after this time.
    wait_until: Instant,
    deadline: Instant,
    kept: Vec<StoredPicture>,
}

/// How the storing of a picture ended.
#[derive(Debug)]
pub(crate) struct KeepEnd {
    /// The slot.
    pub(crate) slot: u32,
    /// Bytes that were released for it; see [`HeldPictures::release`](crate::held::HeldPictures::release).
    pub(crate) released: usize,
    /// The hash of the picture, if its bytes were in the answer.
    pub(crate) sha256: Option<[u8; 32]>,
    /// `None` if it could not be stored.
    pub(crate) stored: Option<StoredPicture>,
}

/// A picture that is in the bucket.
#[derive(Debug, Clone)]
pub(crate) struct StoredPicture {
    /// As the record lists it.
    pub(crate) picture: KeptPicture,
    /// The link to it; `None` if there are no credentials to sign with.
    pub(crate) link: Option<SignedLink>,
    /// The upstream's link, if the picture was copied from it.
    pub(crate) copied_from: Option<String>,
}

/// The run whose pictures are kept.
#[derive(Debug)]
pub(super) struct KeptRun {
    pub(super) pictures: Pictures,
    pub(super) tasks: Tasks,
    pub(super) run: TaskRun,
    /// The name of a downloaded file, without the slot and the extension.
    pub(super) file_name: String,
    /// Which links may be copied beside those of the configured hosts.
    pub(super) links: LocalLinks,
    /// What is written into copies of links, where pictures are labelled.
    pub(super) label_rules: Option<LabelRules>,
}

#[derive(Debug)]
struct KeepJob {
    slot: u32,
    draft: bool,
    released: usize,
    source: KeepSource,
}

#[derive(Debug)]
enum KeepSource {
    Inline(WholeImage, Bytes),
    Link(String),
}

impl Keeper {
    /// `deadline`: when the request must have ended.
    pub(super) fn new(run: KeptRun, deadline: Instant) -> Self {
        Self {
            run: Arc::new(run),
            waiting: VecDeque::new(),
            running: JoinSet::new(),
            busy: Vec::new(),
            wait_until: now(),
            deadline: deadline.checked_sub(STORE_MARGIN).unwrap_or(deadline),
            kept: Vec::new(),
        }
    }

    /// The time that storing needs after the last picture.
    pub(crate) fn time_limit(&self) -> Duration {
        self.run.pictures.put_time_limit()
    }

    /// Stores a picture. `released`: see [`KeepEnd::released`].
    pub(crate) fn keep(&mut self, slot: u32, draft: bool, image: WholeImage, bytes: Bytes, released: usize) {
        self.wait_for(self.run.pictures.put_time_limit() + RECORD_TIME);
        self.waiting.push_back(KeepJob { slot, draft, released, source: KeepSource::Inline(image, bytes) });
        self.start_waiting();
    }

    /// Copies the picture behind an upstream's link, if its host is configured.
    pub(crate) fn copy(&mut self, slot: u32, url: &str) {
        if self.run.pictures.copies(url, self.run.links) {
            self.wait_for(COPY_TIME_LIMIT + RECORD_TIME);
            self.waiting.push_back(KeepJob {
                slot,
                draft: false,
                released: 0,
                source: KeepSource::Link(url.to_owned()),
            });
            self.start_waiting();
        }
    }

    /// Whether no picture is being stored.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy.is_empty()
    }

    /// When the terminal event no longer waits for pictures.
    pub(crate) fn wait_until(&self) -> Instant {
        self.wait_until
    }

    /// Waits until the storing of a picture has ended. Pending if none is being stored. Loses nothing when dropped.
    pub(crate) async fn next(&mut self) -> KeepEnd {
        loop {
            match self.running.join_next().await {
                Some(Ok(end)) => {
                    self.busy.retain(|(slot, _)| *slot != end.slot);
                    self.start_waiting();
                    // An earlier picture of the slot is no longer the final one.
                    self.kept.retain(|kept| kept.picture.slot != end.slot);
                    self.kept.extend(end.stored.clone());
                    return end;
                }
                // A panic. Its slot is unknown, so later pictures of it are not stored.
                Some(Err(_)) => operator_alarm!(Alarm::Store, "storing a picture panicked"),
                None => std::future::pending().await,
            }
        }
    }

    /// Gives up the pictures that are still being stored.
    pub(crate) fn give_up(&mut self) {
        self.running.abort_all();
        let waiting = self.waiting.drain(..).map(|job| job.slot);
        let given_up: Vec<_> = self.busy.drain(..).map(|(slot, _)| slot).chain(waiting).collect();
        self.kept.retain(|kept| !given_up.contains(&kept.picture.slot));
    }

    /// The pictures that are in the bucket: the last one of each slot.
    pub(crate) fn kept(&self) -> &[StoredPicture] {
        &self.kept
    }

    fn wait_for(&mut self, time: Duration) {
        self.wait_until = self.wait_until.max(now() + time).min(self.deadline);
    }

    fn start_waiting(&mut self) {
        while let Some(at) = self.waiting.iter().position(|job| self.may_start(job)) {
            let Some(job) = self.waiting.remove(at) else { return };
            self.busy.push((job.slot, matches!(job.source, KeepSource::Link(_))));
            let (run, deadline) = (self.run.clone(), self.deadline);
            let work = async move { run.keep(job, deadline).await };
            self.running.spawn(in_current_request(work).in_current_span());
        }
    }

    fn may_start(&self, job: &KeepJob) -> bool {
        let is_copied = matches!(job.source, KeepSource::Link(_)) || self.busy.iter().any(|(_, is_copied)| *is_copied);
        let max = if is_copied { MAX_COPIES_AT_ONCE } else { MAX_AT_ONCE };
        // The first waiting picture of a slot is found first.
        self.busy.len() < max && self.busy.iter().all(|(slot, _)| *slot != job.slot)
    }
}

impl KeptRun {
    async fn keep(&self, job: KeepJob, deadline: Instant) -> KeepEnd {
        let (slot, released) = (job.slot, job.released);
        let sha256 = match &job.source {
            KeepSource::Inline(image, _) => Some(image.sha256),
            KeepSource::Link(_) => None,
        };
        KeepEnd { slot, released, sha256, stored: self.store(job, deadline).await }
    }

    async fn copy(&self, url: &str, slot: u32, deadline: Instant) -> Option<(WholeImage, Bytes)> {
        let (image, bytes) = self.pictures.copy_link(url, self.links, deadline).await.ok()?;
        Some(match &self.label_rules {
            Some(rules) => label_whole(rules, &produce_id(&self.run.id, slot, None), &image, &bytes),
            None => (image, bytes),
        })
    }

    async fn store(&self, job: KeepJob, deadline: Instant) -> Option<StoredPicture> {
        let ((image, bytes), copied_from) = match job.source {
            KeepSource::Inline(image, bytes) => ((image, bytes), None),
            KeepSource::Link(url) => (self.copy(&url, job.slot, deadline).await?, Some(url)),
        };
        let key = PictureKey::new(&self.run.owner, &self.run.id, job.slot);
        self.pictures.put(&key, image.media_type, &image.sha256, bytes, deadline).await.ok()?;
        let expires_ms = self.pictures.kept_until_ms(unix_ms());
        let picture = KeptPicture { slot: job.slot, draft: job.draft, image, expires_ms };
        if let Err(code) = self.tasks.add_picture(&self.run, &picture, unix_ms()).await {
            // The end of the task writes all pictures again.
            tracing::warn!(code = code.as_str(), "a stored picture was not recorded yet");
        }
        let file_name = file_name(&self.file_name, &picture);
        let link = self.pictures.sign(&key, &file_name).await.ok();
        Some(StoredPicture { picture, link, copied_from })
    }
}

/// The name under which a browser saves a picture.
pub(super) fn file_name(task: &str, KeptPicture { slot, image, .. }: &KeptPicture) -> String {
    format!("{task}-{slot}.{}", image.media_type.extension())
}
