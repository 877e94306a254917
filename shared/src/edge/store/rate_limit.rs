use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aws_sdk_dynamodb::config::Config;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::dynamodb::{
    Boxed, DynamoDb, OPERATION_TIMEOUT, StoreError, classify, code_of, failed_update, number, read_number, read_text,
    text, unless_changed,
};
use crate::edge::clock::{now, unix_ms};
use crate::problem::Code;
use crate::rate_limit::{Conflict, Decision, Policy, RefusalMemory, Standing, Take};

/// A write that met a conflict is tried again at once, then after pauses that grow by this.
const PAUSE_STEP: Duration = Duration::from_millis(2);
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_millis(20);
/// The retry delay of a request whose every try met a conflict.
const CONTENDED_RETRY_MS: u64 = 200;

/// The attributes that hold the ids of the last runs that took tokens, newest first.
///
/// An SDK retry of a take whose answer was lost must not take again, also if other runs have taken in between: up to
/// four of them are seen through. A caller with the default limit of five cannot have more admitted within
/// [`OPERATION_TIMEOUT`].
const RUNS: [&str; 5] = ["rid", "rid1", "rid2", "rid3", "rid4"];
/// Puts `:rid` in front of [`RUNS`].
const SET_RUN: &str = "#rid = :rid, #rid1 = if_not_exists(#rid, :none), #rid2 = if_not_exists(#rid1, :none), \
                       #rid3 = if_not_exists(#rid2, :none), #rid4 = if_not_exists(#rid3, :none)";
/// Whether `:rid` is none of [`RUNS`].
const IS_NEW_RUN: &str = "#rid <> :rid AND #rid1 <> :rid AND #rid2 <> :rid AND #rid3 <> :rid AND #rid4 <> :rid";

/// Requests of one caller that may ask the tables at the same time.
const AT_A_TIME: usize = 2;
/// The longest wait for a turn.
const MAX_WAIT: Duration = Duration::from_secs(4);

/// Token buckets in DynamoDB: one item a caller, one conditional write a decision.
#[derive(Debug)]
pub struct RateLimiter {
    table: String,
    memory: Mutex<RefusalMemory>,
    turns: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// One caller's bucket.
#[derive(Debug, Clone)]
pub struct Bucket<'a> {
    /// Its key in the table.
    pub key: String,
    /// Its size, and how it fills.
    pub policy: &'a Policy,
}

/// Permission to ask the tables; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held until it is dropped")] Option<OwnedSemaphorePermit>);

impl RateLimiter {
    /// A limiter whose buckets are in this table.
    pub fn new(table: String) -> Self {
        Self { table, memory: Mutex::default(), turns: Mutex::default() }
    }

    /// Waits for the caller's turn to ask the tables, or refuses from memory. A thousand requests of one caller at once
    /// so cost a few writes: the answers to the first ones decide the others.
    pub(super) async fn enter(&self, bucket: &Bucket<'_>, cost: u32) -> Result<Turn, Decision> {
        if let Some(refusal) = self.remembered_refusal(bucket, cost) {
            return Err(refusal);
        }
        let turn = self.turn(&bucket.key).await;
        match self.remembered_refusal(bucket, cost) {
            Some(refusal) => Err(refusal),
            None => Ok(turn),
        }
    }

    /// Whether a caller that is refused from memory may still have its record read: `false` beyond twenty at once, and
    /// then ten a second.
    pub(super) fn may_look_up(&self, bucket: &Bucket<'_>) -> bool {
        self.memory().count_look_up(&bucket.key, unix_ms())
    }

    /// Takes `cost` tokens, if the bucket holds them. `run` is the id of this request: the tokens are taken once, however
    /// often the write is sent.
    ///
    /// A lost condition is tried again until the time of one request is used, and then refused with a short delay.
    ///
    /// # Errors
    /// If the table cannot be asked.
    pub async fn take(&self, tables: &DynamoDb, bucket: &Bucket<'_>, cost: u32, run: &str) -> Result<Decision, Code> {
        if let Some(refusal) = self.remembered_refusal(bucket, cost) {
            return Ok(refusal);
        }
        let give_up_at = now() + OPERATION_TIMEOUT;
        let mut pause = Duration::ZERO;
        let mut seen_ms = self.memory().arrival_ms(&bucket.key);
        loop {
            match self.try_take(tables, bucket, cost, run, seen_ms).await? {
                ControlFlow::Break(decision) => return Ok(decision),
                ControlFlow::Continue(stored_ms) => seen_ms = stored_ms,
            }
            if now() + pause >= give_up_at {
                tracing::warn!("gave up on a rate-limit bucket: every write met a conflict");
                let standing = bucket.policy.standing(seen_ms.unwrap_or_default(), unix_ms());
                return Ok(Decision { standing, refused_for_ms: Some(CONTENDED_RETRY_MS) });
            }
            sleep(pause).await;
            pause = (pause + PAUSE_STEP).min(MAX_PAUSE);
        }
    }

    /// Gives `cost` tokens back, at most once for each `run`. Returns the state of the bucket.
    ///
    /// # Errors
    /// If the table cannot be asked.
    pub(super) async fn give_back(
        &self,
        tables: &DynamoDb,
        bucket: &Bucket<'_>,
        cost: u32,
        run: &str,
    ) -> Result<Standing, Code> {
        let now_ms = unix_ms();
        let update = tables
            .client()
            .await
            .update_item()
            .table_name(&self.table)
            .key("pk", text(&bucket.key))
            .update_expression("SET #tat = #tat - :cost, #rfd = :rid")
            // A bucket that is full has nothing to get back.
            .condition_expression("#tat > :now AND (attribute_not_exists(#rfd) OR #rfd <> :rid)")
            .expression_attribute_names("#tat", "tat")
            .expression_attribute_names("#rfd", "rfd")
            .expression_attribute_values(":cost", number(bucket.policy.cost_ms(cost)))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":rid", text(run))
            .return_values(ReturnValue::UpdatedNew);
        // Only the last run that gave back is stored, so a retry could give back twice if another run gave back in
        // between.
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let answer: Boxed<'_, _> = Box::pin(update.customize().config_override(once).send());
        let answer = unless_changed(answer.await.map_err(|error| classify(error, failed_update)))?;
        let arrival_ms = answer.as_ref().and_then(|answer| read_number(answer.attributes()?, "tat"));
        if let Some(arrival_ms) = arrival_ms {
            self.memory().admitted(&bucket.key, arrival_ms, now_ms);
        }
        Ok(bucket.policy.standing(arrival_ms.unwrap_or_default(), now_ms))
    }

    /// The state of a bucket.
    pub(super) async fn standing(&self, tables: &DynamoDb, bucket: &Bucket<'_>) -> Result<Standing, Code> {
        let get = tables.client().await.get_item().table_name(&self.table).key("pk", text(&bucket.key));
        let answer: Boxed<'_, _> = Box::pin(get.send());
        let answer = answer.await.map_err(|error| code_of(classify(error, |_| None)))?;
        let stored_ms = answer.item().and_then(|item| read_number(item, "tat")).unwrap_or_default();
        Ok(bucket.policy.standing(stored_ms, unix_ms()))
    }

    /// The refusal that follows from what this process remembers of the bucket.
    fn remembered_refusal(&self, bucket: &Bucket<'_>, cost: u32) -> Option<Decision> {
        let now_ms = unix_ms();
        let arrival_ms = self.memory().arrival_ms(&bucket.key)?;
        let retry_after_ms = bucket.policy.refusal(arrival_ms, cost, now_ms)?;
        let standing = bucket.policy.standing(arrival_ms, now_ms);
        Some(Decision { standing, refused_for_ms: Some(retry_after_ms) })
    }

    /// Waits for a permit of this caller, at most `MAX_WAIT`; proceeds without one after that.
    async fn turn(&self, caller: &str) -> Turn {
        let turns = {
            let mut callers = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            callers.retain(|_, turns| turns.strong_count() > 0);
            let known = callers.get(caller).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turns = Arc::new(Semaphore::new(AT_A_TIME));
                callers.insert(caller.to_owned(), Arc::downgrade(&turns));
                turns
            })
        };
        Turn(timeout(MAX_WAIT, turns.acquire_owned()).await.ok().and_then(Result::ok))
    }

    /// One write: the decision, or the stored arrival time if the bucket has changed since it was seen.
    async fn try_take(
        &self,
        tables: &DynamoDb,
        bucket: &Bucket<'_>,
        cost: u32,
        run: &str,
        seen_ms: Option<u64>,
    ) -> Result<ControlFlow<Decision, Option<u64>>, Code> {
        let now_ms = unix_ms();
        let admit = |arrival_ms| {
            self.memory().admitted(&bucket.key, arrival_ms, now_ms);
            let standing = bucket.policy.standing(arrival_ms, now_ms);
            Ok(ControlFlow::Break(Decision { standing, refused_for_ms: None }))
        };
        let item = match self.write(tables, bucket, bucket.policy.take(seen_ms, cost, now_ms), run).await {
            Ok(arrival_ms) => return admit(arrival_ms),
            Err(StoreError::Unavailable(code)) => return Err(code),
            Err(StoreError::ConditionFailed(item)) => item.unwrap_or_default(),
        };
        let Some(stored) = item.get("tat") else { return Ok(ControlFlow::Continue(None)) };
        if let Some(stored_ms) = read_number(&item, "tat") {
            let is_ours = RUNS.iter().any(|name| read_text(&item, name) == Some(run));
            match bucket.policy.judge(stored_ms, is_ours, cost, now_ms) {
                Conflict::Ours => return admit(stored_ms),
                Conflict::Refused { retry_after_ms } => {
                    let held_ms = self.memory().refused(&bucket.key, bucket.policy, stored_ms, now_ms);
                    let standing = bucket.policy.standing(stored_ms, now_ms);
                    let refused_for_ms = Some(retry_after_ms + held_ms);
                    return Ok(ControlFlow::Break(Decision { standing, refused_for_ms }));
                }
                Conflict::Retry => return Ok(ControlFlow::Continue(Some(stored_ms))),
                Conflict::Impossible => {}
            }
        }
        self.empty(tables, bucket, stored).await?;
        Ok(ControlFlow::Continue(None))
    }

    /// Returns the new arrival time, if the condition held.
    async fn write(&self, tables: &DynamoDb, bucket: &Bucket<'_>, take: Take, run: &str) -> Result<u64, StoreError> {
        let mut update = tables
            .client()
            .await
            .update_item()
            .table_name(&self.table)
            .key("pk", text(&bucket.key))
            .expression_attribute_names("#tat", "tat")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":rid", text(run))
            .expression_attribute_values(":none", text("-"))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for name in RUNS {
            update = update.expression_attribute_names(format!("#{name}"), name);
        }
        let (update, now_ms) = match take {
            Take::FromFull { now_ms, new_ms } => (
                update
                    .update_expression(format!("SET #tat = :new, #ttl = :ttl, {SET_RUN}"))
                    .condition_expression(format!("attribute_not_exists(#tat) OR (#tat <= :now AND {IS_NEW_RUN})"))
                    .expression_attribute_values(":new", number(new_ms))
                    .expression_attribute_values(":now", number(now_ms)),
                now_ms,
            ),
            Take::FromStarted { now_ms, cost_ms, latest_ms } => (
                update
                    .update_expression(format!("SET #tat = if_not_exists(#tat, :now) + :cost, #ttl = :ttl, {SET_RUN}"))
                    .condition_expression(format!(
                        "attribute_not_exists(#tat) OR (#tat > :now AND #tat <= :latest AND {IS_NEW_RUN})"
                    ))
                    .expression_attribute_values(":cost", number(cost_ms))
                    .expression_attribute_values(":latest", number(latest_ms))
                    .expression_attribute_values(":now", number(now_ms)),
                now_ms,
            ),
        };
        let update = update.expression_attribute_values(":ttl", number(bucket.policy.expires_s(now_ms)));
        let answer: Boxed<'_, _> = Box::pin(update.send());
        let answer = answer.await.map_err(|error| classify(error, failed_update))?;
        let stored = answer.attributes().and_then(|item| read_number(item, "tat"));
        stored.ok_or(StoreError::Unavailable(Code::LimiterUnavailable))
    }

    /// Replaces an impossible arrival time by that of an empty bucket, unless it has changed. The bucket then fills like
    /// any other, and admits nothing extra.
    async fn empty(&self, tables: &DynamoDb, bucket: &Bucket<'_>, seen: &AttributeValue) -> Result<(), Code> {
        tracing::error!(alarm = true, "rate-limit item has an impossible timestamp (clock skew?); reset to empty");
        let now_ms = unix_ms();
        let update = tables
            .client()
            .await
            .update_item()
            .table_name(&self.table)
            .key("pk", text(&bucket.key))
            .update_expression("SET #tat = :new, #rid = :none, #ttl = :ttl")
            .condition_expression("#tat = :seen")
            .expression_attribute_names("#tat", "tat")
            .expression_attribute_names("#rid", "rid")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":new", number(bucket.policy.empty_ms(now_ms)))
            .expression_attribute_values(":none", text("-"))
            .expression_attribute_values(":seen", seen.clone())
            .expression_attribute_values(":ttl", number(bucket.policy.expires_s(now_ms)));
        let answer: Boxed<'_, _> = Box::pin(update.send());
        unless_changed(answer.await.map_err(|error| classify(error, failed_update))).map(drop)
    }

    fn memory(&self) -> MutexGuard<'_, RefusalMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
