use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::dynamodb::{
    DynamoDb, Item, OPERATION_TIMEOUT, StoreError, TableClient, if_applied, item, number, read_number, read_text, text,
};
use super::expression::Expression;
use crate::alarm::Alarm;
use crate::edge::clock::{now, unix_ms};
use crate::problem::Code;
use crate::rate_limit::{Conflict, Decision, Policy, RefusalMemory, Standing, Take};

/// A write that met a conflict is tried again at once, then after pauses that grow by this.
const PAUSE_STEP: Duration = Duration::from_millis(2);
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_millis(20);
/// The retry delay of a request whose every try met a conflict.
const CONTENDED_RETRY_MS: u64 = 200;

/// The attributes that hold the ids of the last runs that consumed tokens, newest first.
///
/// If the answer to a write is lost, the SDK sends the write again. The second one must not consume tokens again, even
/// if up to four other runs have consumed some in between. A caller with the default limit of five cannot have more
/// requests admitted within [`OPERATION_TIMEOUT`].
const RUNS: [&str; 5] = ["rid", "rid1", "rid2", "rid3", "rid4"];
/// Inserts `:rid` as the newest of [`RUNS`] and drops the oldest.
const SET_RUN: &str = "#rid = :rid, #rid1 = if_not_exists(#rid, :none), #rid2 = if_not_exists(#rid1, :none), \
                       #rid3 = if_not_exists(#rid2, :none), #rid4 = if_not_exists(#rid3, :none)";
/// Holds if none of [`RUNS`] is `:rid`.
const IS_NEW_RUN: &str = "#rid <> :rid AND #rid1 <> :rid AND #rid2 <> :rid AND #rid3 <> :rid AND #rid4 <> :rid";

/// Requests of one caller that may use the tables at the same time.
const AT_A_TIME: usize = 2;
/// The longest wait for a turn.
const MAX_WAIT: Duration = Duration::from_secs(4);

/// Token buckets in DynamoDB: one item per caller, one conditional write per decision.
#[derive(Debug)]
pub struct RateLimiter {
    table: TableClient,
    memory: Mutex<RefusalMemory>,
    turns: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// One caller's bucket.
#[derive(Debug, Clone)]
pub struct Bucket<'a> {
    /// Its key in the table.
    pub key: String,
    /// Its size and refill.
    pub policy: &'a Policy,
}

/// Permission to use the tables; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held until it is dropped")] Option<OwnedSemaphorePermit>);

impl RateLimiter {
    /// A limiter whose buckets are in the table of this name.
    pub fn new(dynamodb: &DynamoDb, table: &str) -> Self {
        Self { table: dynamodb.table(table), memory: Mutex::default(), turns: Mutex::default() }
    }

    /// Waits for the caller's turn to use the tables, or refuses from memory. A thousand requests of one caller at once
    /// therefore cost a few writes: the answers to the first ones decide the others.
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

    /// Consumes `cost` tokens, if the bucket holds them. `run` is the id of this request: the tokens are consumed once,
    /// however often the write is sent.
    ///
    /// After a conflict with another writer the write is tried again. When the time limit of one request is over, the
    /// request is refused with a short retry delay.
    ///
    /// # Errors
    /// If the table is unavailable.
    pub async fn take(&self, bucket: &Bucket<'_>, cost: u32, run: &str) -> Result<Decision, Code> {
        if let Some(refusal) = self.remembered_refusal(bucket, cost) {
            return Ok(refusal);
        }
        let give_up_at = now() + OPERATION_TIMEOUT;
        let mut pause = Duration::ZERO;
        let mut known_ms = self.memory().arrival_ms(&bucket.key);
        loop {
            match self.try_take(bucket, cost, run, known_ms).await? {
                ControlFlow::Break(decision) => return Ok(decision),
                ControlFlow::Continue(stored_ms) => known_ms = stored_ms,
            }
            if now() + pause >= give_up_at {
                tracing::warn!("gave up on a rate-limit bucket: every write met a conflict");
                let standing = bucket.policy.standing(known_ms.unwrap_or_default(), unix_ms());
                return Ok(Decision { standing, refused_for_ms: Some(CONTENDED_RETRY_MS) });
            }
            sleep(pause).await;
            pause = (pause + PAUSE_STEP).min(MAX_PAUSE);
        }
    }

    /// Refunds `cost` tokens, at most once for each `run`. Returns the state of the bucket.
    ///
    /// # Errors
    /// If the table is unavailable.
    pub(super) async fn refund(&self, bucket: &Bucket<'_>, cost: u32, run: &str) -> Result<Standing, Code> {
        let now_ms = unix_ms();
        let write = Expression::default()
            .set("#tat = #tat - :cost")
            .assign("rfd", text(run))
            // A full bucket has no room for a refund.
            .condition("#tat > :now AND (attribute_not_exists(#rfd) OR #rfd <> :rfd)")
            .value("cost", number(bucket.policy.cost_ms(cost)))
            .value("now", number(now_ms));
        // Only the last run that was refunded is stored, so a retry could refund twice if another run was refunded in
        // between.
        let item = if_applied(self.table.update_once(bucket.key(), write).await)?;
        let arrival_ms = item.and_then(|item| read_number(&item, "tat"));
        if let Some(arrival_ms) = arrival_ms {
            self.memory().admitted(&bucket.key, arrival_ms, now_ms);
        }
        Ok(bucket.policy.standing(arrival_ms.unwrap_or_default(), now_ms))
    }

    /// The state of a bucket.
    pub(super) async fn standing(&self, bucket: &Bucket<'_>) -> Result<Standing, Code> {
        let item = self.table.get(bucket.key()).await?;
        let stored_ms = item.and_then(|item| read_number(&item, "tat")).unwrap_or_default();
        Ok(bucket.policy.standing(stored_ms, unix_ms()))
    }

    /// The refusal that follows from the arrival time that this process remembers of the bucket.
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

    /// One write. Returns the decision, or the stored arrival time if that is no longer `known_ms`.
    async fn try_take(
        &self,
        bucket: &Bucket<'_>,
        cost: u32,
        run: &str,
        known_ms: Option<u64>,
    ) -> Result<ControlFlow<Decision, Option<u64>>, Code> {
        let now_ms = unix_ms();
        let admit = |arrival_ms| {
            self.memory().admitted(&bucket.key, arrival_ms, now_ms);
            let standing = bucket.policy.standing(arrival_ms, now_ms);
            Ok(ControlFlow::Break(Decision { standing, refused_for_ms: None }))
        };
        let item = match self.write(bucket, bucket.policy.take(known_ms, cost, now_ms), run, now_ms).await {
            Ok(arrival_ms) => return admit(arrival_ms),
            Err(StoreError::ConditionFailed(item)) => item,
            Err(StoreError::Unavailable(code)) => return Err(code),
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
        self.empty(bucket, stored).await?;
        Ok(ControlFlow::Continue(None))
    }

    /// Returns the new arrival time.
    async fn write(&self, bucket: &Bucket<'_>, take: Take, run: &str, now_ms: u64) -> Result<u64, StoreError> {
        let write = Expression::default()
            .set(SET_RUN)
            .assign("ttl", number(bucket.policy.expires_s(now_ms)))
            .value("rid", text(run))
            .value("none", text("-"))
            .value("now", number(now_ms));
        let write = match take {
            Take::FromFull { new_ms, .. } => write
                .assign("tat", number(new_ms))
                .condition(format!("attribute_not_exists(#tat) OR (#tat <= :now AND {IS_NEW_RUN})")),
            Take::FromStarted { cost_ms, latest_ms, .. } => write
                .set("#tat = if_not_exists(#tat, :now) + :cost")
                .condition(format!("attribute_not_exists(#tat) OR (#tat > :now AND #tat <= :latest AND {IS_NEW_RUN})"))
                .value("cost", number(cost_ms))
                .value("latest", number(latest_ms)),
        };
        let item = self.table.update(bucket.key(), write).await?;
        read_number(&item, "tat").ok_or(StoreError::Unavailable(Code::LimiterUnavailable))
    }

    /// Replaces an impossible arrival time by that of an empty bucket, unless it has changed. The bucket then refills
    /// like any other, and admits nothing extra.
    async fn empty(&self, bucket: &Bucket<'_>, stored: &AttributeValue) -> Result<(), Code> {
        operator_alarm!(Alarm::Ledger, "rate-limit item has an impossible timestamp (clock skew?); reset to empty");
        let now_ms = unix_ms();
        let write = Expression::default()
            .assign("tat", number(bucket.policy.empty_ms(now_ms)))
            .assign("rid", text("-"))
            .assign("ttl", number(bucket.policy.expires_s(now_ms)))
            .condition("#tat = :stored")
            .value("stored", stored.clone());
        if_applied(self.table.update(bucket.key(), write).await).map(drop)
    }

    fn memory(&self) -> MutexGuard<'_, RefusalMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket<'_> {
    /// Its key in the table.
    fn key(&self) -> Item {
        item([("pk", text(&self.key))])
    }
}
