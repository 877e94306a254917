use std::collections::HashMap;

use super::Policy;

/// The largest number of callers that are remembered at once.
const MAX_CALLERS: usize = 10_000;
/// A caller is held if the store refuses it more often than this in a row.
const PATIENCE: u32 = 1;
/// The additional tokens for which a held caller waits. Such a caller uses several processes at once, which compete for
/// its refilled tokens; without a hold every process would ask the store for every token.
const HELD_TOKENS: u32 = 8;
/// The longest hold: where tokens are refilled slowly, few requests reach the store anyway.
const MAX_HOLD_MS: u64 = 1_000;
/// The limit of look-ups for a caller that is refused from memory: twenty at once, then ten per second.
const LOOK_UPS: Policy = Policy { name: "look-ups", limit: 20, window_ms: 2_000 };

/// The arrival times of the callers' buckets, as one process remembers them. They only serve to refuse: tokens that
/// another process refunded may be missing, but every token that counts as consumed was consumed.
#[derive(Debug, Default)]
pub struct RefusalMemory {
    callers: HashMap<String, SeenBucket>,
}

#[derive(Debug, Clone, Copy)]
struct SeenBucket {
    /// Of the caller's bucket, with the hold.
    arrival_ms: u64,
    /// Refusals by the store since the last admission or full bucket.
    refusals: u32,
    /// Of the bucket that counts the caller's look-ups.
    look_up_arrival_ms: u64,
}

impl RefusalMemory {
    /// The last known arrival time of a caller's bucket, or a later one if the caller is held; `None` if the caller is
    /// not remembered.
    pub fn arrival_ms(&self, caller: &str) -> Option<u64> {
        self.callers.get(caller).map(|seen| seen.arrival_ms)
    }

    /// Records that the store admitted a caller, or refunded tokens.
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

    /// Counts a look-up of a caller that is refused from memory. Returns whether it is within the limit of look-ups.
    pub fn count_look_up(&mut self, caller: &str, now_ms: u64) -> bool {
        let Some(seen) = self.callers.get_mut(caller) else { return true };
        let is_within = LOOK_UPS.refusal(seen.look_up_arrival_ms, 1, now_ms).is_none();
        if is_within {
            seen.look_up_arrival_ms = seen.look_up_arrival_ms.max(now_ms) + LOOK_UPS.cost_ms(1);
        }
        is_within
    }

    fn remember(&mut self, caller: &str, arrival_ms: u64, refusals: u32, now_ms: u64) {
        if let Some(seen) = self.callers.get_mut(caller) {
            (seen.arrival_ms, seen.refusals) = (arrival_ms, refusals);
            return;
        }
        if self.callers.len() >= MAX_CALLERS {
            // An absent caller counts as one with a full bucket. If no bucket is full, all are dropped: the store still
            // has them.
            self.callers.retain(|_, seen| seen.arrival_ms > now_ms);
            if self.callers.len() >= MAX_CALLERS {
                self.callers.clear();
            }
        }
        self.callers.insert(caller.to_owned(), SeenBucket { arrival_ms, refusals, look_up_arrival_ms: 0 });
    }
}
