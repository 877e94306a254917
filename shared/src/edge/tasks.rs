use std::time::Duration;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use tokio::time::timeout;

use super::tables::{
    Boxed, Item, Refused, Tables, failed_update, number, read_number, read_text, refused, text, trouble, unless_changed,
};
use crate::problem::Code;
use crate::task::{Links, Record, Repeat, State, fingerprint};

/// So long is tried to undo a beginning of which nobody knows whether it was one.
const UNDO_WAIT: Duration = Duration::from_millis(300);

/// The log of generations: one item a task, in the ledger's table under its owner.
#[derive(Debug)]
pub(super) struct Tasks {
    pub(super) table: String,
    pub(super) log_days: u64,
}

/// A task that is to be run now.
#[derive(Debug, Clone)]
pub(super) struct Begin<'a> {
    pub(super) owner: &'a str,
    pub(super) task_id: &'a str,
    pub(super) route: &'a str,
    pub(super) run: &'a str,
    pub(super) fingerprint: &'a str,
    pub(super) lease_ms: u64,
    pub(super) now_ms: u64,
}

/// What a task's beginning came to.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is ours to run.
    Run {
        /// The failed attempt before it, if there was one.
        before: Option<Record>,
    },
    /// It is not.
    Not(Repeat),
}

/// How a task ended.
#[derive(Debug, Clone)]
pub(super) struct End<'a> {
    pub(super) state: State,
    pub(super) images: u32,
    /// Credits.
    pub(super) spent: u32,
    pub(super) links: Option<&'a Links>,
}

impl Tasks {
    /// Begins a task: no two requests ever run one at once.
    pub(super) async fn begin(&self, tables: &Tables, begin: &Begin<'_>) -> Result<Begun, Code> {
        let found = match self.put(tables, begin).await {
            Ok(()) => return Ok(Begun::Run { before: None }),
            Err(Refused::Trouble(code)) => return Err(self.unsure(tables, begin, None, code).await),
            Err(Refused::Condition(found)) => found,
        };
        let Some(record) = found.as_ref().and_then(read) else {
            tracing::error!(alarm = true, "a record of the ledger cannot be read");
            return Err(Code::ServiceUnavailable);
        };
        match record.repeat(begin.fingerprint, begin.run, begin.now_ms) {
            Repeat::Ours => Ok(Begun::Run { before: None }),
            Repeat::Again => match self.take_over(tables, begin, &record).await {
                Ok(()) => Ok(Begun::Run { before: Some(record) }),
                Err(Refused::Trouble(code)) => Err(self.unsure(tables, begin, Some(&record), code).await),
                // Somebody was faster, and runs it.
                Err(Refused::Condition(_)) => {
                    Ok(Begun::Not(Repeat::InProgress { for_ms: begin.lease_ms.saturating_sub(begin.now_ms) }))
                }
            },
            repeat => Ok(Begun::Not(repeat)),
        }
    }

    /// Writes down how it ended, if it is still ours: another may have taken it over after the lease.
    pub(super) async fn end(&self, tables: &Tables, begin: &Begin<'_>, end: &End<'_>, now_ms: u64) -> Result<(), Code> {
        let (state, code) = match end.state {
            State::Succeeded => ("succeeded", None),
            State::Failed { code } => ("failed", code),
            State::Running { .. } => ("running", None),
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
        // A record that is no longer ours was taken over, or settled by an earlier try of ours: nothing is left to do.
        unless_changed(answer.await.map_err(|error| refused(error, failed_update))).map(drop)
    }

    /// Makes a beginning undone: nothing was started.
    pub(super) async fn undo(&self, tables: &Tables, begin: &Begin<'_>, before: Option<&Record>) -> Result<(), Code> {
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
                refused(error, |error| match error {
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
        // A record that is no longer ours was taken over, or settled by an earlier try of ours: nothing is left to do.
        unless_changed(answer.await.map_err(|error| refused(error, failed_update))).map(drop)
    }

    /// What the request `run` had spent when it ended; nothing if it never did.
    pub(super) async fn spent(&self, tables: &Tables, owner: &str, sort_key: &str, run: &str) -> Result<u32, Code> {
        if sort_key.is_empty() {
            return Ok(0);
        }
        let item = self.item(tables, owner, sort_key).await?;
        let item = item.filter(|item| read_text(item, "run") == Some(run));
        Ok(item.and_then(|item| read_number(&item, "cost")?.try_into().ok()).unwrap_or_default())
    }

    /// One record of an owner.
    pub(super) async fn get(&self, tables: &Tables, owner: &str, task_id: &str) -> Result<Option<Record>, Code> {
        let item = self.item(tables, owner, &sort_key(task_id)).await?;
        Ok(item.as_ref().and_then(read))
    }

    /// An owner's records, newest first, behind `after`. The second is where the next page begins.
    pub(super) async fn list(
        &self,
        tables: &Tables,
        owner: &str,
        limit: u32,
        after: Option<&Cursor>,
    ) -> Result<(Vec<Record>, Option<Cursor>), Code> {
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
        let answer = answer.await.map_err(|error| trouble(refused(error, |_| None)))?;
        let next = answer.last_evaluated_key().and_then(|key| {
            Some(Cursor { created_ms: read_number(key, "created")?, sort_key: read_text(key, "sk")?.to_owned() })
        });
        Ok((answer.items().iter().filter_map(read).collect(), next))
    }

    async fn item(&self, tables: &Tables, owner: &str, sort_key: &str) -> Result<Option<Item>, Code> {
        let get = tables
            .client()
            .await
            .get_item()
            .table_name(&self.table)
            .key("pk", text(owner))
            .key("sk", text(sort_key))
            .consistent_read(true);
        let answer: Boxed<'_, _> = Box::pin(get.send());
        let answer = answer.await.map_err(|error| trouble(refused(error, |_| None)))?;
        Ok(answer.item)
    }

    /// It may have begun without our hearing of it, and nobody will run it: its key would be taken until the lease is
    /// over.
    async fn unsure(&self, tables: &Tables, begin: &Begin<'_>, before: Option<&Record>, code: Code) -> Code {
        if code == Code::LimiterUnavailable {
            // What cannot be done now is done by the lease.
            let _ = timeout(UNDO_WAIT, self.undo(tables, begin, before)).await;
        }
        code
    }

    async fn put(&self, tables: &Tables, begin: &Begin<'_>) -> Result<(), Refused> {
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
            refused(error, |error| match error {
                PutItemError::ConditionalCheckFailedException(failed) => Some(failed.item),
                _ => None,
            })
        });
        answer.map(drop)
    }

    /// Runs a failed or abandoned task again, if it still is as it was seen.
    async fn take_over(&self, tables: &Tables, begin: &Begin<'_>, seen: &Record) -> Result<(), Refused> {
        let update = self
            .update(tables, begin.owner, begin.task_id)
            .await
            .update_expression(
                "SET #st = :running, #lease = :lease, #run = :run, #updated = :now, #ttl = :ttl, #tries = :tries \
                 REMOVE #cost",
            )
            // `run` is new for every attempt, so that it is still the same says that nothing has happened since; that
            // it is already ours says that an answer was lost.
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
        answer.await.map(drop).map_err(|error| refused(error, failed_update))
    }

    async fn update(
        &self,
        tables: &Tables,
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

/// Where a page of the log ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    created_ms: u64,
    sort_key: String,
}

impl Cursor {
    /// As it stands in an address.
    pub fn to_text(&self) -> String {
        format!("{}.{}", self.created_ms, self.sort_key.trim_start_matches(PREFIX))
    }

    /// `None` if it is none of ours. It names a place in the caller's own log, whatever it holds.
    pub fn parse(text: &str) -> Option<Self> {
        let (created, hash) = text.split_once('.')?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_time = (1..=15).contains(&created.len()) && created.bytes().all(|byte| byte.is_ascii_digit());
        let created_ms = (is_hash && is_time).then(|| created.parse().ok())??;
        Some(Self { created_ms, sort_key: format!("{PREFIX}{hash}") })
    }
}

const PREFIX: &str = "G#";

/// Task ids are any text, so a hash stands for them.
pub(super) fn sort_key(task_id: &str) -> String {
    format!("{PREFIX}{}", fingerprint([task_id]))
}

fn read(item: &Item) -> Option<Record> {
    let state = match read_text(item, "st")? {
        "running" => State::Running { lease_ms: read_number(item, "lease")? },
        "succeeded" => State::Succeeded,
        "failed" => {
            let code = read_text(item, "code");
            State::Failed { code: Code::ALL.iter().copied().find(|known| Some(known.as_str()) == code) }
        }
        _ => return None,
    };
    Some(Record {
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
