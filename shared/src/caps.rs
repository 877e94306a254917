//! Spending caps beside the [token bucket](crate::rate_limit): the pictures of a caller in a day, its running tasks, and
//! the pictures of all callers in a day. Every decision is a pure function of what is stored.
//!
//! **A picture counts** when it is reserved: before the upstream is called, with the largest number that the request can
//! make. What was not made comes back at the end of the request, and everything if the upstream provably did not start.
//! What a function that dies has reserved stays counted until its day ends: it may have been made.
//!
//! **A day** is a fixed one, from 00:00 UTC to 00:00 UTC, for callers and for the budget. A refusal therefore states
//! exactly when it ends, one counter per day is enough, and the write that consumes tokens needs no second form. Two
//! days may meet: in the 24 hours around midnight a caller can make twice its cap, half of them in each day.
//!
//! **A running task** is a [`Lease`] in the caller's item. The end of the task removes it; a function that dies leaves it
//! until the lease is over.

use crate::rate_limit::{Conflict, Policy, Standing};

const DAY_MS: u64 = 86_400_000;

/// The caps of one caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// Pictures in a day: at least 1.
    pub daily_limit: u32,
    /// Tasks that run at the same time: at least 1.
    pub max_in_flight: u32,
}

/// The cap of all callers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Pictures in a day: at least 1.
    pub daily: u32,
}

/// What a request consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestCost {
    /// Upstream calls: tokens of the bucket.
    pub calls: u32,
    /// The most pictures that the calls can make.
    pub pictures: u32,
}

/// A request to reserve a [`RequestCost`] for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitClaim {
    /// The id of the run. What it reserves is reserved once, however often the write is sent.
    pub run: String,
    /// What it reserves.
    pub cost: RequestCost,
    /// The time at which the run has certainly ended, in milliseconds since 1970.
    pub ends_ms: u64,
}

/// A running task in a caller's item: the end of its lease and the id of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease(String);

/// A day, as a number of days since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(u64);

/// What a caller's item holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitUsage {
    /// The arrival time of the bucket; 0 if it is full.
    pub arrival_ms: u64,
    /// The pictures of the day.
    pub pictures: u32,
    /// The running tasks, also those whose lease is over.
    pub running: Vec<Lease>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitRefusal {
    /// The bucket holds too few tokens.
    RateLimit {
        /// The time until the request would be admitted.
        retry_after_ms: u64,
    },
    /// The caller's pictures of the day do not leave enough.
    DailyLimit {
        /// The end of the day, in milliseconds since 1970.
        ends_ms: u64,
    },
    /// As many tasks of the caller run as may.
    TooManyRunning,
    /// The pictures of all callers in the day do not leave enough.
    BudgetExhausted {
        /// The end of the day, in milliseconds since 1970.
        ends_ms: u64,
    },
}

/// The answer to a [`LimitClaim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The state of the bucket after the decision.
    pub standing: Standing,
    /// What was reserved.
    pub result: Result<Reservation, LimitRefusal>,
}

/// What a run has reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The claim.
    pub claim: LimitClaim,
    /// The day in which its pictures count for the caller.
    pub day: Day,
    /// The day in which they count for all callers. `None` without a budget.
    pub budget_day: Option<Day>,
}

/// The meaning of a failed condition of the write that reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// An earlier try of the same request was applied, and its answer was lost.
    Ours,
    /// The request exceeds a limit.
    Refused(LimitRefusal),
    /// The places are all taken, some by tasks whose lease is over: remove these and try again.
    Abandoned,
    /// The item has changed since it was last read: try again with the stored arrival time.
    Retry,
    /// See [`Conflict::Impossible`].
    Impossible,
}

/// A share of the budget at which the operator is alarmed, once a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetAlarm {
    /// 80 %.
    Most,
    /// 100 %, or a refused request.
    All,
}

impl Caps {
    /// The most pictures of a day beside which `pictures` more are within the limit; `None` if there are more than a
    /// day permits.
    pub fn room_for(&self, pictures: u32) -> Option<u32> {
        self.daily_limit.checked_sub(pictures)
    }

    /// The meaning of the stored usage, after the condition of a write for this cost has failed.
    ///
    /// Of several reasons the one with the longest wait is given: the day, then the bucket, then the running tasks.
    pub fn judge(&self, policy: &Policy, usage: &LimitUsage, is_ours: bool, cost: RequestCost, now_ms: u64) -> Finding {
        let bucket = policy.judge(usage.arrival_ms, is_ours, cost.calls, now_ms);
        let is_full = |running: usize| running >= self.max_in_flight as usize;
        match bucket {
            Conflict::Ours => Finding::Ours,
            Conflict::Impossible => Finding::Impossible,
            _ if self.room_for(cost.pictures).is_none_or(|room| usage.pictures > room) => {
                Finding::Refused(LimitRefusal::DailyLimit { ends_ms: Day::at(now_ms).end_ms() })
            }
            Conflict::Refused { retry_after_ms } => Finding::Refused(LimitRefusal::RateLimit { retry_after_ms }),
            Conflict::Retry if is_full(usage.running_at(now_ms)) => Finding::Refused(LimitRefusal::TooManyRunning),
            Conflict::Retry if is_full(usage.running.len()) => Finding::Abandoned,
            Conflict::Retry => Finding::Retry,
        }
    }
}

impl LimitUsage {
    /// The tasks whose lease is not over.
    pub fn running_at(&self, now_ms: u64) -> usize {
        self.running.iter().filter(|lease| !lease.is_over(now_ms)).count()
    }
}

impl LimitClaim {
    /// The running task that it adds.
    pub fn lease(&self) -> Lease {
        Lease(format!("{}.{}", self.ends_ms, self.run))
    }
}

impl Lease {
    /// Reads its text form.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Its text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the run has certainly ended. A malformed lease is over.
    pub fn is_over(&self, now_ms: u64) -> bool {
        let ends_ms = self.0.split_once('.').and_then(|(ends_ms, _)| ends_ms.parse().ok()).unwrap_or(0_u64);
        ends_ms <= now_ms
    }
}

impl Day {
    /// The day of a time.
    pub fn at(now_ms: u64) -> Self {
        Self(now_ms / DAY_MS)
    }

    /// Its end, in milliseconds since 1970: the first moment of the next day.
    pub fn end_ms(self) -> u64 {
        (self.0 + 1) * DAY_MS
    }

    /// The name of the attribute that counts its pictures. As each day has its own, a count needs no comparison of days,
    /// and a process whose clock is behind counts on the day before.
    pub fn attribute(self) -> String {
        format!("d{}", self.0)
    }

    /// The days whose counters are removed. The day before this one stays, for processes whose clock is behind; a
    /// counter older than these is in no item, because unused items expire.
    pub fn obsolete(self) -> impl Iterator<Item = Self> {
        (2..=7).filter_map(move |days| self.0.checked_sub(days).map(Self))
    }
}

impl Budget {
    /// As [`Caps::room_for`].
    pub fn room_for(self, pictures: u32) -> Option<u32> {
        self.daily.checked_sub(pictures)
    }

    /// The alarms that are due when `used` pictures are reserved, or when a request was refused.
    pub fn alarms(self, used: u32, is_refused: bool) -> impl Iterator<Item = BudgetAlarm> {
        let reaches = move |percent: u64| u64::from(used) * 100 >= u64::from(self.daily) * percent;
        let due = [(BudgetAlarm::Most, reaches(80)), (BudgetAlarm::All, reaches(100) || is_refused)];
        due.into_iter().filter_map(|(alarm, is_due)| is_due.then_some(alarm))
    }
}

/// The pictures of a reservation that come back at the end of a request: those that were not made. Of each call on which
/// the upstream started, at least one picture counts, because the upstream may charge for it.
pub fn pictures_back(cost: RequestCost, unused_calls: u32, delivered: u32) -> u32 {
    let started = cost.calls.saturating_sub(unused_calls);
    cost.pictures.saturating_sub(started.max(delivered))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_216_097_000;
    const FIVE_A_MINUTE: Policy = Policy { name: "user", limit: 5, window_ms: 60_000 };
    const CAPS: Caps = Caps { daily_limit: 100, max_in_flight: 2 };

    fn lease(ends_ms: u64) -> Lease {
        LimitClaim { run: format!("run.{ends_ms}"), cost: RequestCost { calls: 1, pictures: 1 }, ends_ms }.lease()
    }

    #[test]
    fn the_longest_wait_is_the_reason() {
        let check = |arrival_ms: u64, pictures: u32, running: &[u64], expected: Finding| {
            let running: Vec<_> = running.iter().map(|ends_ms| lease(*ends_ms)).collect();
            let usage = LimitUsage { arrival_ms, pictures, running };
            let cost = RequestCost { calls: 1, pictures: 3 };
            assert_eq!(CAPS.judge(&FIVE_A_MINUTE, &usage, false, cost, NOW), expected, "{usage:?}");
            assert_eq!(CAPS.judge(&FIVE_A_MINUTE, &usage, true, cost, NOW), Finding::Ours);
        };
        let day = Finding::Refused(LimitRefusal::DailyLimit { ends_ms: 1_795_219_200_000 });
        let bucket = Finding::Refused(LimitRefusal::RateLimit { retry_after_ms: 12_000 });
        let running = Finding::Refused(LimitRefusal::TooManyRunning);
        check(0, 97, &[NOW + 1], Finding::Retry);
        check(0, 98, &[], day);
        check(NOW + 60_000, 98, &[NOW + 1, NOW + 1], day);
        check(NOW + 60_000, 97, &[NOW + 1, NOW + 1], bucket);
        check(NOW, 97, &[NOW + 1, NOW + 2], running);
        check(NOW, 0, &[NOW, NOW + 2], Finding::Abandoned);
        check(NOW, 0, &[0, NOW + 2, NOW + 3], running);
        check(u64::MAX, 100, &[], Finding::Impossible);
        let small = Caps { daily_limit: 2, ..CAPS };
        let finding =
            small.judge(&FIVE_A_MINUTE, &LimitUsage::default(), false, RequestCost { calls: 1, pictures: 3 }, NOW);
        assert_eq!(finding, day, "a request that no day has room for");
    }

    #[test]
    fn a_malformed_lease_is_over() {
        for text in ["", "x", ".run", "-1.run", "1795216097001", "x.1795216097001", "99999999999999999999.run"] {
            assert!(Lease::new(text).is_over(NOW), "{text}");
        }
        assert!(lease(NOW).is_over(NOW) && !lease(NOW + 1).is_over(NOW));
    }

    #[test]
    fn days_are_those_of_utc() {
        let day = Day::at(NOW);
        assert_eq!((day.attribute().as_str(), day.end_ms()), ("d20777", 1_795_219_200_000));
        assert_eq!((Day::at(day.end_ms() - 1), Day::at(day.end_ms()) > day), (day, true));
        let obsolete: Vec<_> = day.obsolete().map(Day::attribute).collect();
        assert_eq!(obsolete, ["d20775", "d20774", "d20773", "d20772", "d20771", "d20770"]);
        assert_eq!(Day::at(0).obsolete().count(), 0);
    }

    #[test]
    fn what_was_not_made_comes_back() {
        let check = |calls, pictures, unused_calls, delivered, back| {
            assert_eq!(pictures_back(RequestCost { calls, pictures }, unused_calls, delivered), back);
        };
        check(1, 1, 0, 1, 0);
        check(1, 1, 0, 0, 0);
        check(1, 1, 1, 0, 1);
        check(4, 4, 1, 2, 1);
        check(4, 4, 4, 0, 4);
        // One call of a group.
        check(1, 3, 0, 2, 1);
        check(1, 3, 0, 0, 2);
        check(1, 3, 1, 0, 3);
        check(1, 3, 0, 9, 0);
        check(1, 1, 9, 0, 1);
    }

    #[test]
    fn a_budget_alarms_at_80_and_at_100_percent() {
        let check = |daily, used, is_refused, expected: &[BudgetAlarm]| {
            let alarms: Vec<_> = Budget { daily }.alarms(used, is_refused).collect();
            assert_eq!(alarms, expected, "{used} of {daily}");
        };
        check(10, 7, false, &[]);
        check(10, 8, false, &[BudgetAlarm::Most]);
        check(10, 9, true, &[BudgetAlarm::Most, BudgetAlarm::All]);
        check(10, 10, false, &[BudgetAlarm::Most, BudgetAlarm::All]);
        check(1, 0, false, &[]);
        check(1, 1, false, &[BudgetAlarm::Most, BudgetAlarm::All]);
        check(u32::MAX, u32::MAX, false, &[BudgetAlarm::Most, BudgetAlarm::All]);
    }
}
