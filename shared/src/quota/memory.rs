use std::collections::HashMap;

use super::{Guess, Policy};

/// More callers than this are not remembered at once.
const MAX_CALLERS: usize = 10_000;
/// How much one caller weighs in what is expected of the next.
const WEIGHT: f64 = 0.05;

/// What one process remembers of its callers' buckets. It only ever refuses: it may not know of tokens that came back
/// elsewhere, but nothing was taken that it knows of and the store does not.
#[derive(Debug, Default)]
pub struct Memory {
    callers: HashMap<String, Seen>,
    /// How many of those that were not remembered had used their bucket, 0 to 1: another process had seen them.
    started: f64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    arrival_ms: u64,
    /// Refusals by the store, one after the other.
    refusals: u32,
    /// Refused without looking until then.
    hold_until_ms: u64,
}

/// What to do with a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Refuse: the store would.
    Refuse {
        /// At least; exact where nobody else serves this caller.
        retry_after_ms: u64,
    },
    /// Ask the store.
    Ask(Guess),
}

impl Memory {
    /// What is known of a caller who wants `cost` tokens.
    pub fn look(&self, caller: &str, policy: &Policy, cost: u32, now_ms: u64) -> Look {
        match self.callers.get(caller) {
            None => Look::Ask(if self.started > 0.5 { Guess::Started } else { Guess::Full }),
            Some(seen) => match policy.refusal(seen.arrival_ms, cost, now_ms) {
                Some(retry_after_ms) => {
                    Look::Refuse { retry_after_ms: retry_after_ms.max(seen.hold_until_ms.saturating_sub(now_ms)) }
                }
                None if seen.hold_until_ms > now_ms => Look::Refuse { retry_after_ms: seen.hold_until_ms - now_ms },
                None if seen.arrival_ms > now_ms => Look::Ask(Guess::Started),
                None => Look::Ask(Guess::Full),
            },
        }
    }

    /// The store admitted, or gave tokens back.
    pub fn admitted(&mut self, caller: &str, arrival_ms: u64, now_ms: u64) {
        self.remember(caller, Seen { arrival_ms, refusals: 0, hold_until_ms: 0 }, now_ms);
    }

    /// The store refused. Returns for how long the caller is refused now, which is what he must be told: who is refused
    /// again and again is held for longer than the store would. `chance` is any number.
    pub fn refused(
        &mut self,
        caller: &str,
        policy: &Policy,
        arrival_ms: u64,
        cost: u32,
        now_ms: u64,
        chance: u64,
    ) -> u64 {
        let refusals = self.callers.get(caller).map_or(0, |seen| seen.refusals) + 1;
        let retry_after_ms = policy.refusal(arrival_ms, cost, now_ms).unwrap_or_default();
        let (refused_for_ms, hold_until_ms) = match refusals {
            1 => (retry_after_ms, 0),
            _ => {
                let most_ms = policy.interval_ms() << (refusals - 1).min(4);
                let held_ms = retry_after_ms + chance % most_ms.max(1);
                (held_ms, now_ms + held_ms)
            }
        };
        self.remember(caller, Seen { arrival_ms, refusals, hold_until_ms }, now_ms);
        refused_for_ms
    }

    /// What the store said of a caller who was not remembered: whether his bucket had been used.
    pub fn expected(&mut self, was_started: bool) {
        self.started += WEIGHT * (f64::from(u8::from(was_started)) - self.started);
    }

    /// Whether anything is remembered of a caller.
    pub fn knows(&self, caller: &str) -> bool {
        self.callers.contains_key(caller)
    }

    fn remember(&mut self, caller: &str, seen: Seen, now_ms: u64) {
        if self.callers.len() >= MAX_CALLERS && !self.callers.contains_key(caller) {
            // Of a full bucket nothing need be known; and if all are in use, the store knows.
            self.callers.retain(|_, seen| seen.arrival_ms > now_ms);
            if self.callers.len() >= MAX_CALLERS {
                self.callers.clear();
            }
        }
        self.callers.insert(caller.to_owned(), seen);
    }
}
