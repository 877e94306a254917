//! A token bucket as one number, and every decision as a pure function of it.
//!
//! The number is the *theoretical arrival time* of the generic cell rate algorithm
//! ([ITU-T I.371, annex A](https://www.itu.int/rec/T-REC-I.371)): the time at which the bucket is full again. For a full
//! bucket it lies in the past. Taking a token adds one interval; it may lie at most one capacity ahead. So a decision is
//! one comparison, a store that supports "if it is at most this, add that" makes it atomic, and a refusal carries the
//! exact time at which the request would be admitted.
//!
//! All times are milliseconds since 1970, by the clock of the process that decides.

mod memory;

pub use memory::RefusalMemory;

/// How many upstream calls a caller may make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name in the `RateLimit` headers.
    pub name: &'static str,
    /// The bucket's size, which is also the number of tokens that come back in a window: at least 1.
    pub limit: u32,
    /// The window: at least 1.
    pub window_ms: u64,
}

/// One conditional write: the new value and its condition. Two forms, because an update expression has no maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Stores `new_ms`, if nothing is stored or at most `now_ms`.
    FromFull {
        /// The time of the decision.
        now_ms: u64,
        /// The new arrival time.
        new_ms: u64,
    },
    /// Adds `cost_ms`, if more than `now_ms` is stored and at most `latest_ms`; stores `now_ms + cost_ms` if nothing is.
    FromStarted {
        /// The time of the decision.
        now_ms: u64,
        /// What is added.
        cost_ms: u64,
        /// The latest stored arrival time that leaves room for it.
        latest_ms: u64,
    },
}

/// What a failed condition means, given the stored arrival time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// An earlier try of the same request was applied and its answer was lost.
    Ours,
    /// The bucket holds too few tokens.
    Refused {
        /// Exact: a millisecond earlier is too early.
        retry_after_ms: u64,
    },
    /// The bucket has changed since it was last seen: to be tried again with the stored arrival time.
    Retry,
    /// Further ahead than any correct clock could have written: to be replaced by an empty bucket.
    Impossible,
}

/// The state of a bucket, for the `RateLimit` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whole tokens left.
    pub remaining: u32,
    /// Time until there is one more; `None` if the bucket is full.
    pub next_ms: Option<u64>,
}

/// The answer to a request for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The state of the bucket after it.
    pub standing: Standing,
    /// `None` if the tokens were taken; otherwise the time after which the request may be repeated.
    pub refused_for_ms: Option<u64>,
}

/// A stored time this much further ahead than possible is an error, not a clock that is a little off.
const IMPOSSIBLE_MS: u64 = 5_000;
/// A bucket's item is kept this long after the bucket is full: far longer than clocks differ.
const KEPT_MS: u64 = 3_600_000;

impl Policy {
    /// How long one token takes to come back. Rounded up, so that at most `limit` come back in a window.
    pub fn interval_ms(&self) -> u64 {
        self.window_ms.div_ceil(u64::from(self.limit.max(1))).max(1)
    }

    /// How far ahead the arrival time of an empty bucket lies.
    pub fn capacity_ms(&self) -> u64 {
        self.interval_ms().saturating_mul(u64::from(self.limit))
    }

    /// Whether a full bucket holds this many tokens.
    pub fn can_hold(&self, cost: u32) -> bool {
        cost <= self.limit
    }

    /// How far `cost` tokens move the arrival time.
    pub fn cost_ms(&self, cost: u32) -> u64 {
        self.interval_ms().saturating_mul(u64::from(cost))
    }

    /// The write that takes `cost` tokens, by the arrival time as it was last seen, if it was. Check [`Self::can_hold`]
    /// first: a full bucket gives any number.
    pub fn take(&self, seen_ms: Option<u64>, cost: u32, now_ms: u64) -> Take {
        let cost_ms = self.cost_ms(cost);
        match seen_ms {
            Some(seen_ms) if seen_ms > now_ms => {
                Take::FromStarted { now_ms, cost_ms, latest_ms: self.latest_ms(cost, now_ms) }
            }
            _ => Take::FromFull { now_ms, new_ms: now_ms + cost_ms },
        }
    }

    /// What a stored arrival time means for `cost` tokens, after the condition of a [`Take`] has failed.
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

    /// How long until there is room for `cost` tokens; `None` if there is room now.
    pub fn refusal(&self, stored_ms: u64, cost: u32, now_ms: u64) -> Option<u64> {
        stored_ms.checked_sub(self.latest_ms(cost, now_ms)).filter(|retry_after_ms| *retry_after_ms > 0)
    }

    /// The state of a bucket with this arrival time.
    pub fn standing(&self, stored_ms: u64, now_ms: u64) -> Standing {
        let free_ms = (now_ms + self.capacity_ms()).saturating_sub(stored_ms.max(now_ms));
        let remaining = u32::try_from(free_ms / self.interval_ms()).unwrap_or(self.limit).min(self.limit);
        let next_ms = (remaining < self.limit).then(|| {
            // The arrival time lies beyond the capacity only if a clock is off; the next token then takes longer.
            let debt_ms = stored_ms.saturating_sub(now_ms + self.capacity_ms());
            self.interval_ms() - free_ms % self.interval_ms() + debt_ms
        });
        Standing { remaining, next_ms }
    }

    /// The arrival time of a bucket that was just emptied.
    pub fn empty_ms(&self, now_ms: u64) -> u64 {
        now_ms + self.capacity_ms()
    }

    /// When a bucket's item may be deleted, in seconds since 1970: an absent bucket is a full one.
    pub fn expires_s(&self, now_ms: u64) -> u64 {
        (now_ms + self.capacity_ms() + KEPT_MS).div_ceil(1_000)
    }

    fn latest_ms(&self, cost: u32, now_ms: u64) -> u64 {
        (now_ms + self.capacity_ms()).saturating_sub(self.cost_ms(cost))
    }
}
