mod budget;

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
use crate::caps::{
    Budget, Caps, Day, Decision, Finding, Lease, LimitClaim, LimitRefusal, LimitUsage, RequestCost, Reservation,
};
use crate::edge::clock::now;
use crate::problem::Code;
use crate::rate_limit::{Policy, RefusalMemory, Standing, Take};
use budget::DailyBudget;

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

/// Time limit for cleaning up after a write whose outcome is unknown.
const UNDO_WAIT: Duration = Duration::from_millis(300);

/// The clock of a limiter: milliseconds since 1970.
pub type LimitClock = fn() -> u64;

/// Token buckets and caps in DynamoDB: one item per caller, one conditional write per decision. With a budget, one more
/// item for all callers and one more write.
#[derive(Debug)]
pub struct RateLimiter {
    table: TableClient,
    /// `None` where there is no cap for all callers together.
    budget: Option<DailyBudget>,
    clock: LimitClock,
    memory: Mutex<RefusalMemory>,
    turns: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// One caller's bucket and caps.
#[derive(Debug, Clone)]
pub struct Bucket<'a> {
    /// Its key in the table.
    pub key: String,
    /// The bucket's size and refill.
    pub policy: &'a Policy,
    /// The caps.
    pub caps: &'a Caps,
}

/// Permission to use the tables; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held until it is dropped")] Option<OwnedSemaphorePermit>);

impl RateLimiter {
    /// A limiter whose items are in the table of this name.
    pub fn new(dynamodb: &DynamoDb, table: &str, budget: Option<Budget>, clock: LimitClock) -> Self {
        let table = dynamodb.table(table);
        Self {
            budget: budget.map(|budget| DailyBudget::new(table.clone(), budget)),
            table,
            clock,
            memory: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    /// Waits for the caller's turn to use the tables, or refuses from memory. A thousand requests of one caller at once
    /// therefore cost a few writes: the answers to the first ones decide the others. A refusal has the state of the
    /// bucket, where it is known.
    pub(super) async fn enter(
        &self,
        bucket: &Bucket<'_>,
        cost: RequestCost,
    ) -> Result<Turn, (LimitRefusal, Option<Standing>)> {
        if let Some(refused) = self.remembered_refusal(bucket, cost) {
            return Err(refused);
        }
        let turn = self.turn(&bucket.key).await;
        match self.remembered_refusal(bucket, cost) {
            Some(refused) => Err(refused),
            None => Ok(turn),
        }
    }

    /// Whether a caller that is refused from memory may still have its record read: `false` beyond twenty at once, and
    /// then ten a second.
    pub(super) fn may_look_up(&self, bucket: &Bucket<'_>) -> bool {
        self.memory().count_look_up(&bucket.key, (self.clock)())
    }

    /// Reserves what the claim needs of the caller's limits: tokens, pictures of the day and a place among the running
    /// tasks, in one write. [`Self::take_budget`] follows.
    ///
    /// After a conflict with another writer the write is tried again. When the time limit of one request is over, the
    /// request is refused with a short retry delay.
    ///
    /// # Errors
    /// If the table is unavailable. The write may have been applied; the reservation then stays until its day and its lease
    /// end.
    pub async fn take(&self, bucket: &Bucket<'_>, claim: &LimitClaim) -> Result<Decision, Code> {
        if let Some((refusal, standing)) = self.remembered_refusal(bucket, claim.cost) {
            let standing = standing.unwrap_or_else(|| bucket.policy.standing(0, (self.clock)()));
            return Ok(Decision { standing, result: Err(refusal) });
        }
        let give_up_at = now() + OPERATION_TIMEOUT;
        let mut pause = Duration::ZERO;
        let mut known_ms = self.memory().arrival_ms(&bucket.key);
        loop {
            match self.try_take(bucket, claim, known_ms).await? {
                ControlFlow::Break(decision) => return Ok(decision),
                ControlFlow::Continue(stored_ms) => known_ms = stored_ms,
            }
            if now() + pause >= give_up_at {
                tracing::warn!("gave up on a rate-limit bucket: every write met a conflict");
                let standing = bucket.policy.standing(known_ms.unwrap_or_default(), (self.clock)());
                let refusal = LimitRefusal::RateLimit { retry_after_ms: CONTENDED_RETRY_MS };
                return Ok(Decision { standing, result: Err(refusal) });
            }
            sleep(pause).await;
            pause = (pause + PAUSE_STEP).min(MAX_PAUSE);
        }
    }

    /// Reserves the pictures in the budget, where there is one. After a refusal or an error, [`Self::release`] the
    /// reservation. If the process dies in between, the caller's part of it stays until its day and its lease end, and the
    /// budget has lost nothing.
    ///
    /// # Errors
    /// If the table is unavailable. The pictures may count in the budget then.
    pub async fn take_budget(&self, reservation: &mut Reservation) -> Result<Result<(), LimitRefusal>, Code> {
        let Some(budget) = &self.budget else { return Ok(Ok(())) };
        Ok(budget.take(&reservation.claim, (self.clock)()).await?.map(|day| reservation.budget_day = Some(day)))
    }

    /// Ends a reservation: frees the place of the running task, and returns the tokens of `calls` and a number of
    /// pictures, first to the caller, then to the budget. Returns the state of the bucket.
    ///
    /// Nothing is returned twice, however often this is called or its write is sent: the place shows whether the
    /// reservation has ended. Nothing is returned either after another request has removed the place as an abandoned one.
    ///
    /// # Errors
    /// If the table is unavailable.
    pub async fn release(
        &self,
        bucket: &Bucket<'_>,
        reservation: &Reservation,
        calls: u32,
        pictures: u32,
    ) -> Result<Standing, Code> {
        let (standing, has_ended) = self.release_of_caller(bucket, reservation, calls, pictures).await?;
        if let (true, Some(budget), Some(day)) = (has_ended && pictures > 0, &self.budget, reservation.budget_day) {
            budget.give_back(day, pictures).await?;
        }
        Ok(standing)
    }

    /// Returns the state of the bucket, and whether this write ended the reservation.
    async fn release_of_caller(
        &self,
        bucket: &Bucket<'_>,
        reservation: &Reservation,
        calls: u32,
        pictures: u32,
    ) -> Result<(Standing, bool), Code> {
        let now_ms = (self.clock)();
        let lease = reservation.claim.lease();
        let write = |calls: u32| {
            let mut write = Expression::default()
                .delete("#running :leases")
                .value("leases", AttributeValue::Ss(vec![lease.as_str().to_owned()]))
                .value("lease", text(lease.as_str()));
            if pictures > 0 {
                write = write
                    .set("#made = if_not_exists(#made, :pictures) - :pictures")
                    .name("made", &reservation.day.attribute())
                    .value("pictures", number(pictures));
            }
            match calls {
                0 => write.condition("contains(#running, :lease)"),
                calls => write
                    .set("#tat = #tat - :cost")
                    // A full bucket has no room for a refund.
                    .condition("contains(#running, :lease) AND #tat > :now")
                    .value("cost", number(bucket.policy.cost_ms(calls)))
                    .value("now", number(now_ms)),
            }
        };
        let mut written = self.table.update(bucket.key(), write(calls)).await;
        if let Err(StoreError::ConditionFailed(item)) = &written
            && calls > 0
            && read_usage(item, reservation.day).running.contains(&lease)
        {
            written = self.table.update(bucket.key(), write(0)).await;
        }
        let (item, has_ended) = match written {
            Ok(item) => (item, true),
            Err(StoreError::ConditionFailed(item)) => (item, false),
            Err(StoreError::Unavailable(code)) => return Err(code),
        };
        let arrival_ms = read_number(&item, "tat").unwrap_or_default();
        self.memory().admitted(&bucket.key, arrival_ms, now_ms);
        Ok((bucket.policy.standing(arrival_ms, now_ms), has_ended))
    }

    /// Releases a claim whose write failed with this code, if it may have been applied.
    pub(super) async fn undo_unconfirmed(&self, bucket: &Bucket<'_>, claim: &LimitClaim, code: Code) {
        if code == Code::LimiterUnavailable {
            let reservation = Reservation { claim: claim.clone(), day: Day::at((self.clock)()), budget_day: None };
            let RequestCost { calls, pictures } = claim.cost;
            // If this fails too, the reservation ends by itself.
            let _ = timeout(UNDO_WAIT, self.release_of_caller(bucket, &reservation, calls, pictures)).await;
        }
    }

    /// The state of a bucket, and the usage of this day.
    pub(super) async fn usage(&self, bucket: &Bucket<'_>) -> Result<(Standing, LimitUsage), Code> {
        let item = self.table.get(bucket.key()).await?.unwrap_or_default();
        let now_ms = (self.clock)();
        let usage = read_usage(&item, Day::at(now_ms));
        Ok((bucket.policy.standing(usage.arrival_ms, now_ms), usage))
    }

    /// The refusal that follows from what this process remembers: of the caller's bucket and caps, and of the budget.
    fn remembered_refusal(&self, bucket: &Bucket<'_>, cost: RequestCost) -> Option<(LimitRefusal, Option<Standing>)> {
        let now_ms = (self.clock)();
        let memory = self.memory();
        let arrival_ms = memory.arrival_ms(&bucket.key);
        let standing = arrival_ms.map(|arrival_ms| bucket.policy.standing(arrival_ms, now_ms));
        let by_bucket = || {
            let retry_after_ms = bucket.policy.refusal(arrival_ms?, cost.calls, now_ms)?;
            Some(LimitRefusal::RateLimit { retry_after_ms })
        };
        let by_budget = || self.budget.as_ref()?.remembered_refusal(cost.pictures, now_ms);
        let by_cap = memory.refusal_by_cap(&bucket.key, cost.pictures, now_ms);
        Some((by_cap.or_else(by_bucket).or_else(by_budget)?, standing))
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
        claim: &LimitClaim,
        known_ms: Option<u64>,
    ) -> Result<ControlFlow<Decision, Option<u64>>, Code> {
        let now_ms = (self.clock)();
        let day = Day::at(now_ms);
        let admit = |arrival_ms| {
            self.memory().admitted(&bucket.key, arrival_ms, now_ms);
            let standing = bucket.policy.standing(arrival_ms, now_ms);
            let reservation = Reservation { claim: claim.clone(), day, budget_day: None };
            Ok(ControlFlow::Break(Decision { standing, result: Ok(reservation) }))
        };
        let Some(room) = bucket.caps.room_for(claim.cost.pictures) else {
            let refusal = LimitRefusal::DailyLimit { ends_ms: day.end_ms() };
            let standing = bucket.policy.standing(known_ms.unwrap_or_default(), now_ms);
            return Ok(ControlFlow::Break(Decision { standing, result: Err(refusal) }));
        };
        let item = match self.write(bucket, claim, room, known_ms, now_ms).await {
            Ok(arrival_ms) => return admit(arrival_ms),
            Err(StoreError::ConditionFailed(item)) => item,
            Err(StoreError::Unavailable(code)) => return Err(code),
        };
        if let Some(stored) = item.get("tat")
            && read_number::<u64>(&item, "tat").is_none()
        {
            self.empty(bucket, stored).await?;
            return Ok(ControlFlow::Continue(None));
        }
        let usage = read_usage(&item, day);
        let arrival_ms = usage.arrival_ms;
        let finding = bucket.caps.judge(bucket.policy, &usage, is_run_of(&item, &claim.run), claim.cost, now_ms);
        let refusal = match finding {
            Finding::Ours => return admit(arrival_ms),
            Finding::Retry => return Ok(ControlFlow::Continue(Some(arrival_ms))),
            Finding::Refused(LimitRefusal::RateLimit { retry_after_ms }) => {
                let held_ms = self.memory().refused(&bucket.key, bucket.policy, arrival_ms, now_ms);
                LimitRefusal::RateLimit { retry_after_ms: retry_after_ms + held_ms }
            }
            Finding::Refused(refusal) => {
                self.memory().refused_by_cap(&bucket.key, refusal, claim.cost.pictures, arrival_ms, now_ms);
                refusal
            }
            Finding::Abandoned => {
                self.remove_abandoned(bucket, &usage, now_ms).await?;
                return Ok(ControlFlow::Continue(Some(arrival_ms)));
            }
            Finding::Impossible => {
                if let Some(stored) = item.get("tat") {
                    self.empty(bucket, stored).await?;
                }
                return Ok(ControlFlow::Continue(None));
            }
        };
        let standing = bucket.policy.standing(arrival_ms, now_ms);
        Ok(ControlFlow::Break(Decision { standing, result: Err(refusal) }))
    }

    /// Returns the new arrival time.
    async fn write(
        &self,
        bucket: &Bucket<'_>,
        claim: &LimitClaim,
        room: u32,
        known_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<u64, StoreError> {
        let Bucket { policy, caps, .. } = bucket;
        let RequestCost { calls, pictures } = claim.cost;
        let day = Day::at(now_ms);
        // An absent attribute is 0, or an empty set.
        let within_caps = "(attribute_not_exists(#made) OR #made <= :room) AND \
                           (attribute_not_exists(#running) OR size(#running) < :places)";
        let mut write = Expression::default()
            .set(SET_RUN)
            .assign("ttl", number(expires_s(policy, now_ms)))
            .add("#made :pictures")
            .add("#running :leases")
            .name("made", &day.attribute())
            .value("pictures", number(pictures))
            .value("room", number(room))
            .value("leases", AttributeValue::Ss(vec![claim.lease().as_str().to_owned()]))
            .value("places", number(caps.max_in_flight))
            .value("rid", text(&claim.run))
            .value("none", text("-"))
            .value("now", number(now_ms));
        for day in day.obsolete() {
            write = write.remove(&format!("#{}", day.attribute()));
        }
        let write = match policy.take(known_ms, calls, now_ms) {
            Take::FromFull { new_ms, .. } => write.assign("tat", number(new_ms)).condition(format!(
                "(attribute_not_exists(#tat) OR (#tat <= :now AND {IS_NEW_RUN})) AND {within_caps}"
            )),
            Take::FromStarted { cost_ms, latest_ms, .. } => write
                .set("#tat = if_not_exists(#tat, :now) + :cost")
                .condition(format!(
                    "(attribute_not_exists(#tat) OR (#tat > :now AND #tat <= :latest AND {IS_NEW_RUN})) AND {within_caps}"
                ))
                .value("cost", number(cost_ms))
                .value("latest", number(latest_ms)),
        };
        let item = self.table.update(bucket.key(), write).await?;
        read_number(&item, "tat").ok_or(StoreError::Unavailable(Code::LimiterUnavailable))
    }

    /// Removes the running tasks whose lease is over: their functions died.
    async fn remove_abandoned(&self, bucket: &Bucket<'_>, usage: &LimitUsage, now_ms: u64) -> Result<(), Code> {
        let over = usage.running.iter().filter(|lease| lease.is_over(now_ms));
        let over: Vec<_> = over.map(|lease| lease.as_str().to_owned()).collect();
        tracing::warn!(leases = over.len(), "running tasks whose lease is over were removed: their functions died");
        let write = Expression::default()
            .delete("#running :over")
            .condition("attribute_exists(#running)")
            .value("over", AttributeValue::Ss(over));
        if_applied(self.table.update(bucket.key(), write).await).map(drop)
    }

    /// Replaces an impossible arrival time by that of an empty bucket, unless it has changed. The bucket then refills
    /// like any other, and admits nothing extra.
    async fn empty(&self, bucket: &Bucket<'_>, stored: &AttributeValue) -> Result<(), Code> {
        operator_alarm!(Alarm::Ledger, "rate-limit item has an impossible timestamp (clock skew?); reset to empty");
        let now_ms = (self.clock)();
        let write = Expression::default()
            .assign("tat", number(bucket.policy.empty_ms(now_ms)))
            .assign("rid", text("-"))
            .assign("ttl", number(expires_s(bucket.policy, now_ms)))
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

/// When the item of a bucket may be deleted, in seconds since 1970: when the bucket is full and the day is over.
fn expires_s(policy: &Policy, now_ms: u64) -> u64 {
    policy.expires_s(now_ms).max(policy.expires_s(Day::at(now_ms).end_ms()))
}

/// Whether a run is one of the last ones that wrote to an item.
fn is_run_of(item: &Item, run: &str) -> bool {
    RUNS.iter().any(|name| read_text(item, name) == Some(run))
}

/// Reads a caller's item. A malformed number of pictures leaves none.
fn read_usage(item: &Item, day: Day) -> LimitUsage {
    let made = day.attribute();
    let pictures = if item.contains_key(&made) { read_number(item, &made).unwrap_or(u32::MAX) } else { 0 };
    let leases = item.get("running").and_then(|running| running.as_ss().ok());
    LimitUsage {
        arrival_ms: read_number(item, "tat").unwrap_or_default(),
        pictures,
        running: leases.into_iter().flatten().map(|lease| Lease::new(lease)).collect(),
    }
}
