use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use tokio::time::timeout;

use super::dynamodb::{Item, StoreError, TableClient, if_applied, item, number, read_number, read_text, text};
use super::expression::Expression;
use super::ledger::UpstreamWork;
use crate::alarm::Alarm;
use crate::kept_picture::KeptPicture;
use crate::media::{WholeImage, label::LabelStatus, sniff::MediaType};
use crate::price::Price;
use crate::problem::Code;
use crate::task::{Repeat, Replay, StoredResult, TaskRecord, TaskState, fingerprint};

/// Time limit for cleaning up after a write whose outcome is unknown.
const UNDO_WAIT: Duration = Duration::from_millis(300);

/// The records of tasks: one item each, in the ledger's table under its owner.
#[derive(Debug, Clone)]
pub(super) struct Tasks {
    pub(super) table: TableClient,
    pub(super) log_days: u64,
}

/// One run of a task.
#[derive(Debug, Clone)]
pub(super) struct TaskRun {
    pub(super) owner: String,
    pub(super) task_id: String,
    pub(super) route: &'static str,
    /// The id of this run.
    pub(super) id: String,
    pub(super) fingerprint: String,
    /// The end of its lease.
    pub(super) lease_ms: u64,
}

/// The outcome of [`Tasks::begin`].
#[derive(Debug)]
pub(super) enum Begun {
    /// This request runs the task.
    Run,
    /// This request may [take the task over](Tasks::take_over): its last attempt failed, or the lease of it is over.
    Again(Box<TaskRecord>),
    /// Another request runs the task, or has run it; this is the answer to its key.
    Answered(Result<Replay, Code>),
}

/// How a task ended.
#[derive(Debug, Clone)]
pub(super) struct TaskEnd<'a> {
    /// The code of a failure.
    pub(super) verdict: Result<(), Code>,
    pub(super) images: u32,
    /// Credits.
    pub(super) spent: u32,
    /// What a repeated key delivers again, beside the kept pictures.
    pub(super) result: Option<&'a StoredResult>,
    /// All pictures in the bucket.
    pub(super) kept: &'a [KeptPicture],
    pub(super) work: &'a UpstreamWork,
}

/// What a run finds in its record while it calls the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunState {
    /// It goes on.
    Running,
    /// The task's owner has asked it to stop.
    Cancelled,
    /// Another request has taken the task over.
    TakenOver,
}

/// What a request to stop a task found.
#[derive(Debug)]
pub enum Stopping {
    /// The task runs and will stop.
    Asked(TaskRecord),
    /// The task had ended.
    Ended(TaskRecord),
}

impl Tasks {
    /// Begins the first run of a task. No two requests run one task at once.
    pub(super) async fn begin(&self, run: &TaskRun, now_ms: u64) -> Result<Begun, Code> {
        let stored = match self.create(run, now_ms).await {
            Ok(()) => return Ok(Begun::Run),
            Err(StoreError::ConditionFailed(stored)) => stored,
            Err(StoreError::Unavailable(code)) => return Err(self.undo_unconfirmed(run, None, code).await),
        };
        let Some(record) = read(&stored) else {
            operator_alarm!(Alarm::Ledger, "a task record of the ledger is malformed");
            return Err(Code::ServiceUnavailable);
        };
        let repeat = record.repeat(&run.fingerprint, &run.id, now_ms);
        if repeat == Repeat::Ours {
            return Ok(Begun::Run);
        }
        Ok(repeat.answer().map_or_else(|| Begun::Again(Box::new(record)), Begun::Answered))
    }

    /// Begins another run of a failed or abandoned task.
    ///
    /// # Errors
    /// 409 if another request has taken the task over first; 503 if the table is unavailable.
    pub(super) async fn take_over(&self, run: &TaskRun, before: &TaskRecord, now_ms: u64) -> Result<(), Code> {
        match self.write_take_over(run, before, now_ms).await {
            Ok(_) => Ok(()),
            Err(StoreError::ConditionFailed(_)) => Err(Code::TaskInProgress),
            Err(StoreError::Unavailable(code)) => Err(self.undo_unconfirmed(run, Some(before), code).await),
        }
    }

    /// Records how a run ended, unless another request has taken the task over after the lease.
    pub(super) async fn end(&self, run: &TaskRun, end: &TaskEnd<'_>, now_ms: u64) -> Result<(), Code> {
        let kept = end.kept.iter().map(|picture| (picture.slot.to_string(), picture_value(picture))).collect();
        let mut write = while_running(run)
            .assign("updated", number(now_ms))
            .assign("images", number(end.images))
            // Also the pictures whose own updates were not confirmed.
            .assign("pics", AttributeValue::M(kept))
            .remove("#lease")
            .remove("#cancel");
        write = match end.verdict {
            Ok(()) => write.assign("st", text("succeeded")).remove("#code"),
            Err(code) => write.assign("st", text("failed")).assign("code", text(code.as_str())),
        };
        write = match end.spent {
            0 => write.remove("#cost"),
            spent => write.assign("cost", number(spent)),
        };
        let UpstreamWork { upstream, cost } = end.work;
        write = with_work(write, Some(upstream.as_str()).filter(|name| !name.is_empty()), *cost);
        if let Some(result) = end.result.and_then(|result| serde_json::to_string(result).ok()) {
            write = write.assign("result", text(result));
        }
        // If the condition fails, the record was taken over, or an earlier try of this write was applied.
        if_applied(self.table.update(run.key(), write).await).map(drop)
    }

    /// Reverts [`Self::begin`] and [`Self::take_over`]: deletes the record, or restores the failed attempt before it.
    pub(super) async fn undo(&self, run: &TaskRun, before: Option<&TaskRecord>) -> Result<(), Code> {
        let write = while_running(run);
        let written = match before {
            None => self.table.delete(run.key(), write).await,
            Some(before) => {
                let write = write
                    .assign("st", text("failed"))
                    // The credits in the record are those of the attempt before. If the hold of this run is not
                    // settled, they must not count as spent by it.
                    .set("#run = :before")
                    .value("before", text(&before.run))
                    .assign("tries", number(before.attempts))
                    .assign("route", text(&before.route))
                    .assign("updated", number(before.updated_ms))
                    .remove("#lease");
                let write = match before.credits {
                    Some(spent) => write.assign("cost", number(spent)),
                    None => write,
                };
                let write = with_work(write, before.upstream.as_deref(), before.cost);
                self.table.update(run.key(), write).await.map(drop)
            }
        };
        // If the condition fails, the record was taken over, or an earlier try of this write was applied.
        if_applied(written).map(drop)
    }

    /// Records a picture that is in the bucket. It is charged from now on, each slot once, also if the run never ends.
    pub(super) async fn add_picture(&self, run: &TaskRun, picture: &KeptPicture, now_ms: u64) -> Result<(), Code> {
        let slot = picture.slot.to_string();
        let write = |condition: &str| {
            Expression::default()
                .set("#pics.#slot = :picture")
                .assign("updated", number(now_ms))
                .condition(format!("{RUNNING} AND {condition}"))
                .value("running", text("running"))
                .value("run", text(&run.id))
                .name("slot", &slot)
                .value("picture", picture_value(picture))
        };
        let first = write("attribute_not_exists(#pics.#slot)")
            .set("#cost = if_not_exists(#cost, :zero) + :one")
            .value("zero", number(0_u32))
            .value("one", number(1_u32));
        match if_applied(self.table.update(run.key(), first).await)? {
            Some(_) => Ok(()),
            // It replaces a picture, an earlier try of this write was applied, or the run has lost its task.
            None => {
                let again = write("attribute_exists(#pics.#slot)");
                if_applied(self.table.update(run.key(), again).await).map(drop)
            }
        }
    }

    /// The state of a run, as it was a moment ago.
    pub(super) async fn run_state(&self, run: &TaskRun) -> Result<RunState, Code> {
        let item = self.table.get_recent(run.key(), &["run", "cancel"]).await?.unwrap_or_default();
        match read_text(&item, "run") {
            Some(id) if id == run.id && item.contains_key("cancel") => Ok(RunState::Cancelled),
            Some(id) if id != run.id && self.is_taken_over(run).await? => Ok(RunState::TakenOver),
            // The read may be older than the record, or than this run.
            _ => Ok(RunState::Running),
        }
    }

    async fn is_taken_over(&self, run: &TaskRun) -> Result<bool, Code> {
        let item = self.table.get(run.key()).await?.unwrap_or_default();
        Ok(read_text(&item, "run").is_some_and(|id| id != run.id))
    }

    /// Asks a running task to stop. `None` if there is no such task.
    pub(super) async fn cancel(&self, owner: &str, task_id: &str, now_ms: u64) -> Result<Option<Stopping>, Code> {
        let write = Expression::default()
            .assign("cancel", number(now_ms))
            .condition("#st = :running AND #lease > :cancel")
            .value("running", text("running"));
        match self.table.update(ledger_key(owner, &sort_key(task_id)), write).await {
            Ok(item) => Ok(read(&item).map(Stopping::Asked)),
            Err(StoreError::ConditionFailed(item)) => Ok(read(&item).map(Stopping::Ended)),
            Err(StoreError::Unavailable(code)) => Err(code),
        }
    }

    /// Removes the pictures of an ended task from its record, with the upstream's links. The objects are gone already.
    /// Returns `false` if another request has taken the task over.
    pub(super) async fn forget_pictures(&self, owner: &str, record: &TaskRecord, now_ms: u64) -> Result<bool, Code> {
        let write = Expression::default()
            .assign("pics", AttributeValue::M(Item::new()))
            .assign("updated", number(now_ms))
            .remove("#result")
            .condition("#run = :run")
            .value("run", text(&record.run));
        // A run that died after its pictures has succeeded. Without them in its record, its task would run again.
        let write = match record.state_at(now_ms) {
            TaskState::Succeeded => {
                write.assign("st", text("succeeded")).assign("images", number(record.images_made())).remove("#lease")
            }
            _ => write,
        };
        let written = self.table.update(ledger_key(owner, &sort_key(&record.task_id)), write).await;
        Ok(if_applied(written)?.is_some())
    }

    /// The credits that a run has spent: also one that has kept pictures and did not end.
    pub(super) async fn spent(&self, owner: &str, sort_key: &str, run: &str) -> Result<u32, Code> {
        if sort_key.is_empty() {
            return Ok(0);
        }
        let item = self.table.get(ledger_key(owner, sort_key)).await?;
        let item = item.filter(|item| read_text(item, "run") == Some(run));
        Ok(item.and_then(|item| read_number(&item, "cost")).unwrap_or_default())
    }

    /// One record of an owner.
    pub(super) async fn get(&self, owner: &str, task_id: &str) -> Result<Option<TaskRecord>, Code> {
        let item = self.table.get(ledger_key(owner, &sort_key(task_id))).await?;
        Ok(item.as_ref().and_then(read))
    }

    /// An owner's records after the cursor, newest first, and the cursor of the next page.
    pub(super) async fn list(
        &self,
        owner: &str,
        limit: u32,
        after: Option<&Cursor>,
    ) -> Result<(Vec<TaskRecord>, Option<Cursor>), Code> {
        let of_owner = Expression::default().condition("#pk = :pk").value("pk", text(owner));
        let after = after.map(|cursor| {
            let created = ("created".to_owned(), number(cursor.created_ms));
            ledger_key(owner, &cursor.sort_key).into_iter().chain([created]).collect()
        });
        let (items, last) = self.table.query_descending("created", of_owner, limit, after).await?;
        let next = last.and_then(|key| {
            Some(Cursor { created_ms: read_number(&key, "created")?, sort_key: read_text(&key, "sk")?.to_owned() })
        });
        Ok((items.iter().filter_map(read).collect(), next))
    }

    /// Writes the record of a new task.
    async fn create(&self, run: &TaskRun, now_ms: u64) -> Result<(), StoreError> {
        let mut record = item([
            ("task", text(&run.task_id)),
            ("route", text(run.route)),
            ("st", text("running")),
            ("lease", number(run.lease_ms)),
            ("tries", number(1_u32)),
            ("images", number(0_u32)),
            ("created", number(now_ms)),
            ("updated", number(now_ms)),
            ("run", text(&run.id)),
            ("hash", text(&run.fingerprint)),
            // A member of an absent map cannot be set.
            ("pics", AttributeValue::M(Item::new())),
            ("ttl", self.ttl(now_ms)),
        ]);
        record.extend(run.key());
        self.table.put(record, Expression::default().condition("attribute_not_exists(#pk)")).await
    }

    /// Writes the start of another attempt, unless the record has changed.
    async fn write_take_over(&self, run: &TaskRun, before: &TaskRecord, now_ms: u64) -> Result<Item, StoreError> {
        let write = Expression::default()
            .assign("st", text("running"))
            .assign("lease", number(run.lease_ms))
            .assign("run", text(&run.id))
            .assign("route", text(run.route))
            .assign("updated", number(now_ms))
            .assign("ttl", self.ttl(now_ms))
            .assign("tries", number(u64::from(before.attempts) + 1))
            .assign("pics", AttributeValue::M(Item::new()))
            .remove("#cost")
            .remove("#cancel")
            .remove("#upstream")
            .remove("#upstream_cost")
            // Every attempt has a new `run`. If the stored one is that of the attempt before, nothing has changed; if
            // it is ours, an earlier try of this write was applied and its answer lost.
            .condition("(#run = :before OR #run = :run) AND (attribute_not_exists(#pics) OR size(#pics) = :zero)")
            .value("zero", number(0_u32))
            .value("before", text(&before.run));
        self.table.update(run.key(), write).await
    }

    /// Cleans up after a write whose outcome is unknown, and returns its code. If the write was applied, the key would
    /// be blocked until the lease ends, although no request runs the task.
    async fn undo_unconfirmed(&self, run: &TaskRun, before: Option<&TaskRecord>, code: Code) -> Code {
        if code == Code::LimiterUnavailable {
            // If this fails too, the end of the lease frees the key.
            let _ = timeout(UNDO_WAIT, self.undo(run, before)).await;
        }
        code
    }

    fn ttl(&self, now_ms: u64) -> AttributeValue {
        number(now_ms / 1_000 + self.log_days * 86_400)
    }
}

impl TaskRun {
    fn key(&self) -> Item {
        ledger_key(&self.owner, &sort_key(&self.task_id))
    }
}

const RUNNING: &str = "#st = :running AND #run = :run";

/// A write that also records the upstream of a run and what its pictures cost.
fn with_work(mut write: Expression, upstream: Option<&str>, cost: Option<Price>) -> Expression {
    if let Some(upstream) = upstream {
        write = write.assign("upstream", text(upstream));
    }
    if let Some(cost) = cost {
        write = write.assign("upstream_cost", number(cost.millionths));
    }
    write
}

/// A write that applies only while the run holds the task's lease.
fn while_running(run: &TaskRun) -> Expression {
    Expression::default().condition(RUNNING).value("running", text("running")).value("run", text(&run.id))
}

/// The position in the log at which a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    created_ms: u64,
    sort_key: String,
}

impl Cursor {
    /// Its text form, for a URL.
    pub fn to_text(&self) -> String {
        format!("{}.{}", self.created_ms, self.sort_key.trim_start_matches(PREFIX))
    }

    /// Parses the text form; `None` if it is malformed. A forged cursor only names a position in the caller's own log.
    pub fn parse(text: &str) -> Option<Self> {
        let (created, hash) = text.split_once('.')?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_time = (1..=15).contains(&created.len()) && created.bytes().all(|byte| byte.is_ascii_digit());
        let created_ms = (is_hash && is_time).then(|| created.parse().ok())??;
        Some(Self { created_ms, sort_key: format!("{PREFIX}{hash}") })
    }
}

const PREFIX: &str = "G#";

/// The sort key of a task's record: a hash, because a task id may be any text.
pub(super) fn sort_key(task_id: &str) -> String {
    format!("{PREFIX}{}", fingerprint([task_id]))
}

/// The key of an owner's item in the ledger's table.
pub(super) fn ledger_key(owner: &str, sort_key: &str) -> Item {
    item([("pk", text(owner)), ("sk", text(sort_key))])
}

/// Reads a record; `None` if it is malformed.
fn read(item: &Item) -> Option<TaskRecord> {
    let state = match read_text(item, "st")? {
        "running" => TaskState::Running { lease_ms: read_number(item, "lease")? },
        "succeeded" => TaskState::Succeeded,
        "failed" => {
            let code = read_text(item, "code");
            TaskState::Failed { code: Code::ALL.iter().copied().find(|known| Some(known.as_str()) == code) }
        }
        _ => return None,
    };
    Some(TaskRecord {
        task_id: read_text(item, "task")?.to_owned(),
        route: read_text(item, "route")?.to_owned(),
        state,
        attempts: read_number(item, "tries")?,
        images: read_number(item, "images")?,
        created_ms: read_number(item, "created")?,
        updated_ms: read_number(item, "updated")?,
        run: read_text(item, "run")?.to_owned(),
        fingerprint: read_text(item, "hash")?.to_owned(),
        result: read_text(item, "result").and_then(|result| serde_json::from_str(result).ok()),
        pictures: read_pictures(item),
        is_cancelled: item.contains_key("cancel"),
        credits: read_number(item, "cost"),
        upstream: read_text(item, "upstream").map(str::to_owned),
        cost: read_number(item, "upstream_cost").map(|millionths| Price { millionths }),
    })
}

/// The pictures of a record, in slot order. A malformed one counts as absent.
fn read_pictures(item: &Item) -> Vec<KeptPicture> {
    let pictures = item.get("pics").and_then(|pictures| pictures.as_m().ok());
    let pictures = pictures.into_iter().flatten().filter_map(|(slot, value)| read_picture(slot, value.as_m().ok()?));
    let mut pictures: Vec<_> = pictures.collect();
    pictures.sort_by_key(|picture| picture.slot);
    pictures
}

fn read_picture(slot: &str, item: &Item) -> Option<KeptPicture> {
    let image = WholeImage {
        media_type: MediaType::named(read_text(item, "type")?)?,
        bytes: read_number(item, "bytes")?,
        width: read_number(item, "w")?,
        height: read_number(item, "h")?,
        sha256: item.get("sha256")?.as_b().ok()?.as_ref().try_into().ok()?,
        label: read_text(item, "label").and_then(LabelStatus::named),
    };
    let draft = item.get("draft").and_then(|draft| draft.as_bool().ok()).copied().unwrap_or_default();
    Some(KeptPicture { slot: slot.parse().ok()?, draft, image, expires_ms: read_number(item, "exp")? })
}

fn picture_value(KeptPicture { draft, image, expires_ms, .. }: &KeptPicture) -> AttributeValue {
    let mut value = item([
        ("type", text(image.media_type.as_str())),
        ("bytes", number(image.bytes)),
        ("w", number(image.width)),
        ("h", number(image.height)),
        ("sha256", AttributeValue::B(Blob::new(image.sha256))),
        ("exp", number(*expires_ms)),
    ]);
    if let Some(label) = image.label {
        value.insert("label".to_owned(), text(label.as_str()));
    }
    if *draft {
        value.insert("draft".to_owned(), AttributeValue::Bool(true));
    }
    AttributeValue::M(value)
}
