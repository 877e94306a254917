use std::time::Duration;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use tokio::time::timeout;

use super::dynamodb::{
    Boxed, DynamoDb, Item, StoreError, classify, code_of, failed_update, number, read_number, read_text, text,
    unless_changed,
};
use crate::problem::Code;
use crate::task::{Repeat, StoredLinks, TaskRecord, TaskState, fingerprint};

/// Time limit for cleaning up after a put whose outcome is unknown.
const UNDO_WAIT: Duration = Duration::from_millis(300);

/// The records of tasks: one item each, in the ledger's table under its owner.
#[derive(Debug)]
pub(super) struct Tasks {
    pub(super) table: String,
    pub(super) log_days: u64,
}

/// A run of a task that is to begin.
#[derive(Debug, Clone)]
pub(super) struct TaskBegin<'a> {
    pub(super) owner: &'a str,
    pub(super) task_id: &'a str,
    pub(super) route: &'a str,
    pub(super) run: &'a str,
    pub(super) fingerprint: &'a str,
    pub(super) lease_ms: u64,
    pub(super) now_ms: u64,
}

/// The outcome of [`Tasks::begin`].
#[derive(Debug)]
pub(super) enum Begun {
    /// This request runs the task.
    Run {
        /// The record of the failed attempt before it, if there was one.
        before: Option<TaskRecord>,
    },
    /// Another request runs it or has run it.
    Not(Repeat),
}

/// How a task ended.
#[derive(Debug, Clone)]
pub(super) struct TaskEnd<'a> {
    pub(super) state: FinalState,
    pub(super) images: u32,
    /// Credits.
    pub(super) spent: u32,
    pub(super) links: Option<&'a StoredLinks>,
}

/// The state of a task that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FinalState {
    Succeeded,
    Failed { code: Code },
}

impl Tasks {
    /// Begins a run of a task. No two requests run one task at once.
    pub(super) async fn begin(&self, tables: &DynamoDb, begin: &TaskBegin<'_>) -> Result<Begun, Code> {
        let found = match self.put(tables, begin).await {
            Ok(()) => return Ok(Begun::Run { before: None }),
            Err(StoreError::Unavailable(code)) => return Err(self.unsure(tables, begin, None, code).await),
            Err(StoreError::ConditionFailed(found)) => found,
        };
        let Some(record) = found.as_ref().and_then(read) else {
            tracing::error!(alarm = true, "a record of the ledger cannot be read");
            return Err(Code::ServiceUnavailable);
        };
        match record.repeat(begin.fingerprint, begin.run, begin.now_ms) {
            Repeat::Ours => Ok(Begun::Run { before: None }),
            Repeat::Again => match self.take_over(tables, begin, &record).await {
                Ok(()) => Ok(Begun::Run { before: Some(record) }),
                Err(StoreError::Unavailable(code)) => Err(self.unsure(tables, begin, Some(&record), code).await),
                // Another request took it over first, and runs it.
                Err(StoreError::ConditionFailed(_)) => Ok(Begun::Not(Repeat::InProgress)),
            },
            repeat => Ok(Begun::Not(repeat)),
        }
    }

    /// Records how a run ended, unless another request has taken the task over after the lease.
    pub(super) async fn end(
        &self,
        tables: &DynamoDb,
        begin: &TaskBegin<'_>,
        end: &TaskEnd<'_>,
        now_ms: u64,
    ) -> Result<(), Code> {
        let (state, code) = match end.state {
            FinalState::Succeeded => ("succeeded", None),
            FinalState::Failed { code } => ("failed", Some(code)),
        };
        let mut set = vec!["#st = :st", "#updated = :now", "#images = :images"];
        let mut update = self
            .update(tables, begin.owner, begin.task_id)
            .await
            .condition_expression("#st = :running AND #run = :run")
            .expression_attribute_names("#st", "st")
            .expression_attribute_names("#updated", "updated")
            .expression_attribute_names("#images", "images")
            .expression_attribute_names("#run", "run")
            .expression_attribute_names("#lease", "lease")
            .expression_attribute_names("#code", "code")
            .expression_attribute_values(":st", text(state))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":images", number(end.images.into()))
            .expression_attribute_values(":running", text("running"))
            .expression_attribute_values(":run", text(begin.run));
        if end.spent > 0 {
            set.push("#cost = :cost");
            update = update
                .expression_attribute_names("#cost", "cost")
                .expression_attribute_values(":cost", number(end.spent.into()));
        }
        if let Some(links) = end.links.and_then(|links| serde_json::to_string(links).ok()) {
            set.push("#links = :links");
            update =
                update.expression_attribute_names("#links", "links").expression_attribute_values(":links", text(links));
        }
        let mut remove = vec!["#lease"];
        match code {
            Some(code) => {
                set.push("#code = :code");
                update = update.expression_attribute_values(":code", text(code.as_str()));
            }
            None => remove.push("#code"),
        }
        let update = update.update_expression(format!("SET {} REMOVE {}", set.join(", "), remove.join(", ")));
        let answer: Boxed<'_, _> = Box::pin(update.send());
        // If the condition fails, the record was taken over, or an earlier try of this write was applied.
        unless_changed(answer.await.map_err(|error| classify(error, failed_update))).map(drop)
    }

    /// Reverts [`Self::begin`]: deletes the record, or restores the failed attempt before it.
    pub(super) async fn undo(
        &self,
        tables: &DynamoDb,
        begin: &TaskBegin<'_>,
        before: Option<&TaskRecord>,
    ) -> Result<(), Code> {
        let Some(before) = before else {
            let delete = tables
                .client()
                .await
                .delete_item()
                .table_name(&self.table)
                .key("pk", text(begin.owner))
                .key("sk", text(sort_key(begin.task_id)))
                .condition_expression("#st = :running AND #run = :run")
                .expression_attribute_names("#st", "st")
                .expression_attribute_names("#run", "run")
                .expression_attribute_values(":running", text("running"))
                .expression_attribute_values(":run", text(begin.run));
            let answer: Boxed<'_, _> = Box::pin(delete.send());
            return unless_changed(answer.await.map_err(|error| {
                classify(error, |error| match error {
                    DeleteItemError::ConditionalCheckFailedException(failed) => Some(failed.item),
                    _ => None,
                })
            }))
            .map(drop);
        };
        let update = self
            .update(tables, begin.owner, begin.task_id)
            .await
            .update_expression("SET #st = :failed, #tries = :tries REMOVE #lease")
            .condition_expression("#st = :running AND #run = :run")
            .expression_attribute_names("#st", "st")
            .expression_attribute_names("#tries", "tries")
            .expression_attribute_names("#lease", "lease")
            .expression_attribute_names("#run", "run")
            .expression_attribute_values(":failed", text("failed"))
            .expression_attribute_values(":tries", number(before.attempts.into()))
            .expression_attribute_values(":running", text("running"))
            .expression_attribute_values(":run", text(begin.run));
        let answer: Boxed<'_, _> = Box::pin(update.send());
        // If the condition fails, the record was taken over, or an earlier try of this write was applied.
        unless_changed(answer.await.map_err(|error| classify(error, failed_update))).map(drop)
    }

    /// The credits that a run had spent when it ended; 0 if it did not end.
    pub(super) async fn spent(&self, tables: &DynamoDb, owner: &str, sort_key: &str, run: &str) -> Result<u32, Code> {
        if sort_key.is_empty() {
            return Ok(0);
        }
        let item = self.item(tables, owner, sort_key).await?;
        let item = item.filter(|item| read_text(item, "run") == Some(run));
        Ok(item.and_then(|item| read_number(&item, "cost")?.try_into().ok()).unwrap_or_default())
    }

    /// One record of an owner.
    pub(super) async fn get(&self, tables: &DynamoDb, owner: &str, task_id: &str) -> Result<Option<TaskRecord>, Code> {
        let item = self.item(tables, owner, &sort_key(task_id)).await?;
        Ok(item.as_ref().and_then(read))
    }

    /// An owner's records after the cursor, newest first, and the cursor of the next page.
    pub(super) async fn list(
        &self,
        tables: &DynamoDb,
        owner: &str,
        limit: u32,
        after: Option<&Cursor>,
    ) -> Result<(Vec<TaskRecord>, Option<Cursor>), Code> {
        let mut query = tables
            .client()
            .await
            .query()
            .table_name(&self.table)
            .index_name("created")
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_values(":pk", text(owner))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(100));
        if let Some(cursor) = after {
            query = query
                .exclusive_start_key("pk", text(owner))
                .exclusive_start_key("sk", text(&cursor.sort_key))
                .exclusive_start_key("created", number(cursor.created_ms));
        }
        let answer: Boxed<'_, _> = Box::pin(query.send());
        let answer = answer.await.map_err(|error| code_of(classify(error, |_| None)))?;
        let next = answer.last_evaluated_key().and_then(|key| {
            Some(Cursor { created_ms: read_number(key, "created")?, sort_key: read_text(key, "sk")?.to_owned() })
        });
        Ok((answer.items().iter().filter_map(read).collect(), next))
    }

    async fn item(&self, tables: &DynamoDb, owner: &str, sort_key: &str) -> Result<Option<Item>, Code> {
        let get = tables
            .client()
            .await
            .get_item()
            .table_name(&self.table)
            .key("pk", text(owner))
            .key("sk", text(sort_key))
            .consistent_read(true);
        let answer: Boxed<'_, _> = Box::pin(get.send());
        let answer = answer.await.map_err(|error| code_of(classify(error, |_| None)))?;
        Ok(answer.item)
    }

    /// Cleans up after a write whose outcome is unknown. If it was applied, the key would be blocked until the lease ends,
    /// although no request runs the task.
    async fn unsure(&self, tables: &DynamoDb, begin: &TaskBegin<'_>, before: Option<&TaskRecord>, code: Code) -> Code {
        if code == Code::LimiterUnavailable {
            // If this fails too, the lease frees the key.
            let _ = timeout(UNDO_WAIT, self.undo(tables, begin, before)).await;
        }
        code
    }

    async fn put(&self, tables: &DynamoDb, begin: &TaskBegin<'_>) -> Result<(), StoreError> {
        let put = tables
            .client()
            .await
            .put_item()
            .table_name(&self.table)
            .item("pk", text(begin.owner))
            .item("sk", text(sort_key(begin.task_id)))
            .item("task", text(begin.task_id))
            .item("route", text(begin.route))
            .item("st", text("running"))
            .item("lease", number(begin.lease_ms))
            .item("tries", number(1))
            .item("images", number(0))
            .item("created", number(begin.now_ms))
            .item("updated", number(begin.now_ms))
            .item("run", text(begin.run))
            .item("hash", text(begin.fingerprint))
            .item("ttl", self.ttl(begin.now_ms))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let answer: Boxed<'_, _> = Box::pin(put.send());
        let answer = answer.await.map_err(|error| {
            classify(error, |error| match error {
                PutItemError::ConditionalCheckFailedException(failed) => Some(failed.item),
                _ => None,
            })
        });
        answer.map(drop)
    }

    /// Begins another attempt at a failed or abandoned task, unless its record has changed.
    async fn take_over(&self, tables: &DynamoDb, begin: &TaskBegin<'_>, seen: &TaskRecord) -> Result<(), StoreError> {
        let update = self
            .update(tables, begin.owner, begin.task_id)
            .await
            .update_expression(
                "SET #st = :running, #lease = :lease, #run = :run, #updated = :now, #ttl = :ttl, #tries = :tries \
                 REMOVE #cost",
            )
            // Every attempt has a new `run`. The seen one means that nothing has changed; ours means that this write was
            // applied and its answer lost.
            .condition_expression("#run = :seen OR #run = :run")
            .expression_attribute_names("#st", "st")
            .expression_attribute_names("#lease", "lease")
            .expression_attribute_names("#run", "run")
            .expression_attribute_names("#updated", "updated")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_names("#tries", "tries")
            .expression_attribute_names("#cost", "cost")
            .expression_attribute_values(":running", text("running"))
            .expression_attribute_values(":lease", number(begin.lease_ms))
            .expression_attribute_values(":run", text(begin.run))
            .expression_attribute_values(":seen", text(&seen.run))
            .expression_attribute_values(":now", number(begin.now_ms))
            .expression_attribute_values(":ttl", self.ttl(begin.now_ms))
            .expression_attribute_values(":tries", number(u64::from(seen.attempts) + 1));
        let answer: Boxed<'_, _> = Box::pin(update.send());
        answer.await.map(drop).map_err(|error| classify(error, failed_update))
    }

    async fn update(
        &self,
        tables: &DynamoDb,
        owner: &str,
        task_id: &str,
    ) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        let update = tables.client().await.update_item().table_name(&self.table);
        update.key("pk", text(owner)).key("sk", text(sort_key(task_id)))
    }

    fn ttl(&self, now_ms: u64) -> AttributeValue {
        number(now_ms / 1_000 + self.log_days * 86_400)
    }
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

/// Task ids may be any text, so their hash is the key.
pub(super) fn sort_key(task_id: &str) -> String {
    format!("{PREFIX}{}", fingerprint([task_id]))
}

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
        attempts: u32::try_from(read_number(item, "tries")?).ok()?,
        images: u32::try_from(read_number(item, "images")?).ok()?,
        created_ms: read_number(item, "created")?,
        updated_ms: read_number(item, "updated")?,
        run: read_text(item, "run")?.to_owned(),
        fingerprint: read_text(item, "hash")?.to_owned(),
        links: read_text(item, "links").and_then(|links| serde_json::from_str(links).ok()),
    })
}
