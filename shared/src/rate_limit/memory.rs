use std::collections::HashMap;

use super::Policy;
use crate::caps::LimitRefusal;

/// The largest number of callers that are remembered at once.
const MAX_CALLERS: usize = 10_000;
/// A caller is held if the store refuses it more often than this in a row.
const PATIENCE: u32 = 1;
/// The additional tokens for which a held caller waits. Such a caller uses several processes at once, which compete for
/// its refilled tokens; without a hold every process would ask the store for every token.
const HELD_TOKENS: u32 = 8;
/// The longest hold: where tokens are refilled slowly, few requests reach the store anyway.
const MAX_HOLD_MS: u64 = 1_000;
/// The time for which a refusal by a cap is remembered: its cause may end in another process. So a caller at its cap
/// costs each process one write in this time.
const CAP_KEPT_MS: u64 = 2_000;
/// The limit of look-ups for a caller that is refused from memory: twenty at once, then ten per second.
const LOOK_UPS: Policy = Policy { name: "look-ups", limit: 20, window_ms: 2_000 };

/// The arrival times of the callers' buckets, and refusals by their caps, as one process remembers them. They only serve
/// to refuse: tokens that another process refunded may be missing, but every token that counts as consumed was consumed.
#[derive(Debug, Default)]
pub struct RefusalMemory {
    callers: HashMap<String, SeenBucket>,
}

/// A refusal by a cap, which counts for two seconds.
#[derive(Debug, Clone, Copy)]
pub struct SeenRefusal {
    refusal: LimitRefusal,
    /// The fewest pictures that are refused.
    pictures: u32,
    until_ms: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct SeenBucket {
    /// Of the caller's bucket, with the hold.
    arrival_ms: u64,
    /// Refusals by the store since the last admission or full bucket.
    refusals: u32,
    /// Of the bucket that counts the caller's look-ups.
    look_up_arrival_ms: u64,
    by_cap: Option<SeenRefusal>,
}

impl SeenRefusal {
    /// Remembers that a request for this number of pictures was refused by a cap.
    pub fn new(refusal: LimitRefusal, pictures: u32, now_ms: u64) -> Self {
        let until_ms = now_ms + CAP_KEPT_MS;
        match refusal {
            LimitRefusal::DailyLimit { ends_ms } | LimitRefusal::BudgetExhausted { ends_ms } => {
                Self { refusal, pictures, until_ms: until_ms.min(ends_ms) }
            }
            LimitRefusal::TooManyRunning | LimitRefusal::RateLimit { .. } => Self { refusal, pictures: 0, until_ms },
        }
    }

    /// The refusal, if it still counts and the request makes no fewer pictures.
    pub fn refusal(&self, pictures: u32, now_ms: u64) -> Option<LimitRefusal> {
        (now_ms < self.until_ms && pictures >= self.pictures).then_some(self.refusal)
    }
}

impl RefusalMemory {
    /// The last known arrival time of a caller's bucket, or a later one if the caller is held; `None` if the caller is
    /// not remembered.
    pub fn arrival_ms(&self, caller: &str) -> Option<u64> {
        self.callers.get(caller).map(|seen| seen.arrival_ms)
    }

    /// The refusal by a cap that counts for a request of this caller.
    pub fn refusal_by_cap(&self, caller: &str, pictures: u32, now_ms: u64) -> Option<LimitRefusal> {
        self.callers.get(caller)?.by_cap?.refusal(pictures, now_ms)
    }

    /// Records that the store admitted a caller, or released a reservation.
    pub fn admitted(&mut self, caller: &str, arrival_ms: u64, now_ms: u64) {
        self.remember(caller, arrival_ms, 0, now_ms);
    }

    /// Records that the store refused a caller because of this arrival time. Returns the length of the hold, for which
    /// the caller is refused in addition.
    pub fn refused(&mut self, caller: &str, policy: &Policy, arrival_ms: u64, now_ms: u64) -> u64 {
        let before = self.callers.get(caller).filter(|seen| seen.arrival_ms > now_ms);
        let refusals = before.map_or(0, |seen| seen.refusals).saturating_add(1);
        let held_ms = if refusals > PATIENCE { policy.cost_ms(HELD_TOKENS).min(MAX_HOLD_MS) } else { 0 };
        self.remember(caller, arrival_ms + held_ms, refusals, now_ms);
        held_ms
    }

    /// Records that a cap refused a request of a caller for this number of pictures.
    pub fn refused_by_cap(&mut self, caller: &str, refusal: LimitRefusal, pictures: u32, arrival_ms: u64, now_ms: u64) {
        let seen = self.remember(caller, arrival_ms, 0, now_ms);
        seen.by_cap = Some(SeenRefusal::new(refusal, pictures, now_ms));
    }

    /// Counts a look-up of a caller that is refused from memory. Returns whether it is within the limit of look-ups.
    pub fn count_look_up(&mut self, caller: &str, now_ms: u64) -> bool {
        if !self.callers.contains_key(caller) {
            self.remember(caller, 0, 0, now_ms);
        }
        let seen = self.callers.entry(caller.to_owned()).or_default();
        let is_within = LOOK_UPS.refusal(seen.look_up_arrival_ms, 1, now_ms).is_none();
        if is_within {
            seen.look_up_arrival_ms = seen.look_up_arrival_ms.max(now_ms) + LOOK_UPS.cost_ms(1);
        }
        is_within
    }

    fn remember(&mut self, caller: &str, arrival_ms: u64, refusals: u32, now_ms: u64) -> &mut SeenBucket {
        if self.callers.len() >= MAX_CALLERS && !self.callers.contains_key(caller) {
            // An absent caller counts as one with a full bucket. If no bucket is full, all are dropped: the store still
            // has them.
            self.callers.retain(|_, seen| seen.arrival_ms > now_ms);
            if self.callers.len() >= MAX_CALLERS {
                self.callers.clear();
            }
        }
        let seen = self.callers.entry(caller.to_owned()).or_default();
        *seen = SeenBucket { arrival_ms, refusals, look_up_arrival_ms: seen.look_up_arrival_ms, by_cap: None };
        seen
    }
}
