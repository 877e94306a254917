//! A token bucket as one number. Every decision is a pure function of it.
//!
//! The number is the *theoretical arrival time* of the generic cell rate algorithm
//! ([ITU-T I.371, annex A](https://www.itu.int/rec/T-REC-I.371)): the time at which the bucket is full again. For a
//! full bucket it is in the past. Each consumed token adds one interval to it, and it is at most one capacity ahead of
//! the clock. So a decision is one comparison, a store with "add this, if the value is at most that" makes it atomic,
//! and a refusal has the exact time at which the request would be admitted.
//!
//! All times are milliseconds since 1970, by the clock of the process that decides.

mod memory;

pub use memory::{RefusalMemory, SeenRefusal};

/// The limit of a caller's upstream calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name in the `RateLimit` headers.
    pub name: &'static str,
    /// The size of the bucket, and the number of tokens that it refills in a window: at least 1.
    pub limit: u32,
    /// The length of the window: at least 1.
    pub window_ms: u64,
}

/// One conditional write that consumes tokens: the new value and its condition. It has two forms, because an update
/// expression has no maximum function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Stores `new_ms`, if no arrival time is stored, or one of at most `now_ms`.
    FromFull {
        /// The time of the decision.
        now_ms: u64,
        /// The new arrival time.
        new_ms: u64,
    },
    /// Adds `cost_ms`, if the stored arrival time is more than `now_ms` and at most `latest_ms`; stores
    /// `now_ms + cost_ms`, if none is stored.
    FromStarted {
        /// The time of the decision.
        now_ms: u64,
        /// The added time.
        cost_ms: u64,
        /// The latest stored arrival time to which `cost_ms` can be added.
        latest_ms: u64,
    },
}

/// The meaning of a failed condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// An earlier try of the same request was applied, and its answer was lost.
    Ours,
    /// The bucket holds too few tokens.
    Refused {
        /// The exact time until the request would be admitted.
        retry_after_ms: u64,
    },
    /// The bucket has changed since it was last read: try again with the stored arrival time.
    Retry,
    /// The arrival time is further ahead than any correct clock could have written: replace it by that of an empty
    /// bucket.
    Impossible,
}

/// The state of a bucket, for the `RateLimit` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The whole tokens that are left.
    pub remaining: u32,
    /// The time until the bucket has one more; `None` if it is full.
    pub next_ms: Option<u64>,
}

/// The tolerance for other clocks: a stored time that is further ahead than this beyond the capacity is an error.
const IMPOSSIBLE_MS: u64 = 5_000;
/// The time for which an item is kept after its bucket is full: far longer than clocks differ.
const KEPT_MS: u64 = 3_600_000;

impl Policy {
    /// The time in which one token is refilled. It is rounded up, so that at most `limit` are refilled in a window.
    pub fn interval_ms(&self) -> u64 {
        self.window_ms.div_ceil(u64::from(self.limit.max(1))).max(1)
    }

    /// The time in which an empty bucket becomes full.
    pub fn capacity_ms(&self) -> u64 {
        self.interval_ms().saturating_mul(u64::from(self.limit))
    }

    /// Whether a full bucket holds this many tokens.
    pub fn can_hold(&self, cost: u32) -> bool {
        cost <= self.limit
    }

    /// The time that `cost` tokens add to the arrival time.
    pub fn cost_ms(&self, cost: u32) -> u64 {
        self.interval_ms().saturating_mul(u64::from(cost))
    }

    /// The write that consumes `cost` tokens. `known_ms` is the arrival time as it was last read. Check
    /// [`Self::can_hold`] first: this write lets a full bucket give any number.
    pub fn take(&self, known_ms: Option<u64>, cost: u32, now_ms: u64) -> Take {
        let cost_ms = self.cost_ms(cost);
        match known_ms {
            Some(known_ms) if known_ms > now_ms => {
                Take::FromStarted { now_ms, cost_ms, latest_ms: self.latest_ms(cost, now_ms) }
            }
            _ => Take::FromFull { now_ms, new_ms: now_ms + cost_ms },
        }
    }

    /// The meaning of the stored arrival time, after the condition of a [`Take`] for `cost` tokens has failed.
    pub fn judge(&self, stored_ms: u64, is_ours: bool, cost: u32, now_ms: u64) -> Conflict {
        if is_ours {
            return Conflict::Ours;
        }
        if stored_ms > now_ms + self.capacity_ms() + IMPOSSIBLE_MS {
            return Conflict::Impossible;
        }
        match self.refusal(stored_ms, cost, now_ms) {
            Some(retry_after_ms) => Conflict::Refused { retry_after_ms },
            None => Conflict::Retry,
        }
    }

    /// The time until the bucket holds `cost` tokens; `None` if it holds them now.
    pub fn refusal(&self, stored_ms: u64, cost: u32, now_ms: u64) -> Option<u64> {
        stored_ms.checked_sub(self.latest_ms(cost, now_ms)).filter(|retry_after_ms| *retry_after_ms > 0)
    }

    /// The state of a bucket with this arrival time.
    pub fn standing(&self, stored_ms: u64, now_ms: u64) -> Standing {
        let free_ms = (now_ms + self.capacity_ms()).saturating_sub(stored_ms.max(now_ms));
        let remaining = u32::try_from(free_ms / self.interval_ms()).unwrap_or(self.limit).min(self.limit);
        let next_ms = (remaining < self.limit).then(|| {
            // If another clock is ahead, the arrival time can lie beyond the capacity; the next token then takes
            // longer.
            let debt_ms = stored_ms.saturating_sub(now_ms + self.capacity_ms());
            self.interval_ms() - free_ms % self.interval_ms() + debt_ms
        });
        Standing { remaining, next_ms }
    }

    /// The arrival time of a bucket that is empty now.
    pub fn empty_ms(&self, now_ms: u64) -> u64 {
        now_ms + self.capacity_ms()
    }

    /// The time at which the item of a bucket may be deleted, in seconds since 1970. An absent bucket counts as full.
    pub fn expires_s(&self, now_ms: u64) -> u64 {
        (now_ms + self.capacity_ms() + KEPT_MS).div_ceil(1_000)
    }

    fn latest_ms(&self, cost: u32, now_ms: u64) -> u64 {
        (now_ms + self.capacity_ms()).saturating_sub(self.cost_ms(cost))
    }
}
