//! A token bucket as one number, and every decision as a pure function of it.
//!
//! The number is the *theoretical arrival time* of the generic cell rate algorithm
//! ([ITU-T I.371, annex A](https://www.itu.int/rec/T-REC-I.371)): the moment at which the bucket is full again. A full
//! bucket's lies in the past. Taking a token moves it one interval on; it may lie at most one capacity ahead. So a
//! decision is one comparison, a store that can do "if it is at most this, add that" makes it atomic, and a refusal
//! knows exactly when it would have been none.
//!
//! All times are milliseconds since 1970, by the clock of whoever decides.

mod memory;

pub use memory::{Look, Memory};

/// How many upstream calls a caller may make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name in the `RateLimit` headers and in the table.
    pub name: &'static str,
    /// Calls that can be made at once, and that come back in a window: at least 1.
    pub limit: u32,
    /// The window: at least 1.
    pub window_ms: u64,
}

/// What is guessed of a bucket before it was seen: an expression of a store cannot ask and then choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    /// It is full, or was never used.
    Full,
    /// Some of it was used.
    Started,
}

/// One conditional write: what is to be stored, and under which condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Stores `new_ms`, if nothing is stored or at most `now_ms`.
    FromFull {
        /// The time of the decision.
        now_ms: u64,
        /// The arrival time that is left.
        new_ms: u64,
    },
    /// Adds `cost_ms`, if more than `now_ms` is stored and at most `latest_ms`; stores `now_ms + cost_ms` if nothing is.
    FromStarted {
        /// The time of the decision.
        now_ms: u64,
        /// What is added.
        cost_ms: u64,
        /// The latest arrival time that leaves room for it.
        latest_ms: u64,
    },
}

/// What a failed condition means, once what is stored has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// An earlier try of ours had arrived: its answer was lost, not its write.
    Ours,
    /// There is no room, for so long.
    Refused {
        /// Exact: a millisecond earlier is too early.
        retry_after_ms: u64,
    },
    /// The guess was wrong: once more with this one.
    Again(Guess),
    /// Further ahead than anything can be, by a clock that was wrong: to be replaced by an empty bucket.
    Impossible,
}

/// How a bucket stands, for the `RateLimit` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whole tokens that are left.
    pub remaining: u32,
    /// Until there is one more; `None` if it is full.
    pub next_ms: Option<u64>,
}

/// A stored time this much further ahead than possible is a mistake, not a clock that is a little off.
const IMPOSSIBLE_MS: u64 = 5_000;
/// A bucket is forgotten this long after it is full: far longer than clocks differ.
const KEPT_MS: u64 = 3_600_000;

impl Policy {
    /// How long one token takes to come back. Rounded up, so that never more than `limit` do in a window.
    pub fn interval_ms(&self) -> u64 {
        self.window_ms.div_ceil(u64::from(self.limit.max(1))).max(1)
    }

    /// How far ahead the arrival time of an empty bucket lies.
    pub fn capacity_ms(&self) -> u64 {
        self.interval_ms().saturating_mul(u64::from(self.limit))
    }

    /// Whether a bucket can ever hold this many tokens.
    pub fn can_hold(&self, cost: u32) -> bool {
        cost <= self.limit
    }

    /// What `cost` tokens move the arrival time by.
    pub fn cost_ms(&self, cost: u32) -> u64 {
        self.interval_ms().saturating_mul(u64::from(cost))
    }

    /// The write that takes `cost` tokens. [`Self::can_hold`] them: a full bucket gives all that is asked.
    pub fn take(&self, guess: Guess, cost: u32, now_ms: u64) -> Take {
        let cost_ms = self.cost_ms(cost);
        match guess {
            Guess::Full => Take::FromFull { now_ms, new_ms: now_ms + cost_ms },
            Guess::Started => Take::FromStarted { now_ms, cost_ms, latest_ms: self.latest_ms(cost, now_ms) },
        }
    }

    /// What a stored arrival time, which no [`Take`] fitted, means for `cost` tokens.
    pub fn judge(&self, stored_ms: u64, is_ours: bool, cost: u32, now_ms: u64) -> Found {
        if is_ours {
            return Found::Ours;
        }
        if stored_ms > now_ms + self.capacity_ms() + IMPOSSIBLE_MS {
            return Found::Impossible;
        }
        match self.refusal(stored_ms, cost, now_ms) {
            Some(retry_after_ms) => Found::Refused { retry_after_ms },
            None if stored_ms <= now_ms => Found::Again(Guess::Full),
            None => Found::Again(Guess::Started),
        }
    }

    /// How long there is no room for `cost` tokens; `None` if there is.
    pub fn refusal(&self, stored_ms: u64, cost: u32, now_ms: u64) -> Option<u64> {
        stored_ms.checked_sub(self.latest_ms(cost, now_ms)).filter(|retry_after_ms| *retry_after_ms > 0)
    }

    /// How a bucket with this arrival time stands.
    pub fn standing(&self, stored_ms: u64, now_ms: u64) -> Standing {
        let free_ms = (now_ms + self.capacity_ms()).saturating_sub(stored_ms.max(now_ms));
        let remaining = u32::try_from(free_ms / self.interval_ms()).unwrap_or(self.limit).min(self.limit);
        let next_ms = (remaining < self.limit).then(|| {
            // More than empty only by a clock that is off; then it takes that much longer.
            let debt_ms = stored_ms.saturating_sub(now_ms + self.capacity_ms());
            self.interval_ms() - free_ms % self.interval_ms() + debt_ms
        });
        Standing { remaining, next_ms }
    }

    /// The arrival time of a bucket that was just emptied.
    pub fn empty_ms(&self, now_ms: u64) -> u64 {
        now_ms + self.capacity_ms()
    }

    /// When a bucket may be forgotten, in seconds since 1970: absent and full are the same.
    pub fn expires_s(&self, now_ms: u64) -> u64 {
        (now_ms + self.capacity_ms() + KEPT_MS).div_ceil(1_000)
    }

    fn latest_ms(&self, cost: u32, now_ms: u64) -> u64 {
        (now_ms + self.capacity_ms()).saturating_sub(self.cost_ms(cost))
    }
}
