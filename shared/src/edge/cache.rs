use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex as Turn;

/// One fetched value: concurrent callers share one fetch, the value is kept for a while, and longer while it cannot be
/// fetched again. A failed fetch never removes a value; a cancelled fetch changes nothing.
///
/// Ages are measured by the wall clock, because the monotonic clock may stand still while a function is frozen.
#[derive(Debug)]
pub(super) struct Cache<T> {
    times: Times,
    known: Mutex<Known<T>>,
    /// Held by the caller that fetches.
    turn: Turn<()>,
}

/// How long values and pauses last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// A value is returned up to this age while fetches fail.
    pub(super) usable: Duration,
    /// Pause after a failed fetch while there is no usable value.
    pub(super) pause_without: Duration,
    /// Pause after a failed fetch while there is one.
    pub(super) pause_with: Duration,
    /// Pause after a fetch of [`Cache::renewed`] that has ended, failed or not.
    pub(super) pause_renewing: Duration,
}

/// A value, and the age up to which it is not fetched again.
#[derive(Debug)]
pub(super) struct Fetched<T> {
    pub(super) value: T,
    pub(super) fresh_for: Duration,
}

#[derive(Debug, Clone)]
struct Known<T> {
    value: Option<T>,
    fresh_for: Duration,
    fetched_at: Option<SystemTime>,
    failed_at: Option<SystemTime>,
    renewed_at: Option<SystemTime>,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(times: Times) -> Self {
        let (value, fresh_for) = (None, Duration::ZERO);
        let known = Known { value, fresh_for, fetched_at: None, failed_at: None, renewed_at: None };
        Self { times, known: Mutex::new(known), turn: Turn::new(()) }
    }

    /// The value, fetched if it is not fresh. One caller fetches; the others wait only if there is no usable value.
    pub(super) async fn get(&self, now: SystemTime, fetch: impl Future<Output = Option<Fetched<T>>>) -> Option<T> {
        if let Some(value) = self.fresh(now) {
            return Some(value);
        }
        let usable = self.usable(now);
        let turn = match (self.turn.try_lock(), &usable) {
            (Ok(turn), _) => turn,
            (Err(_), Some(_)) => return usable,
            (Err(_), None) => self.turn.lock().await,
        };
        if let Some(value) = self.fresh(now) {
            return Some(value);
        }
        let pause = if usable.is_some() { self.times.pause_with } else { self.times.pause_without };
        let failed_at = self.known().failed_at;
        if !is_within(failed_at, now, pause) {
            self.note(now, fetch.await);
        }
        drop(turn);
        self.usable(now)
    }

    /// A value that is `good`: the present one, or else a fetched one, at most one fetch every `pause_renewing`.
    pub(super) async fn renewed(
        &self,
        now: SystemTime,
        good: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Option<Fetched<T>>>,
    ) -> Option<T> {
        let _turn = self.turn.lock().await;
        if let Some(value) = self.usable(now).filter(&good) {
            return Some(value);
        }
        let renewed_at = self.known().renewed_at;
        if !is_within(renewed_at, now, self.times.pause_renewing) {
            let fetched = fetch.await;
            // Only now: a caller that is cancelled meanwhile must not keep the others from fetching.
            self.known().renewed_at = Some(now);
            self.note(now, fetched);
        }
        self.usable(now).filter(good)
    }

    /// The last value of any age, without a fetch.
    pub(super) fn peek(&self) -> Option<T> {
        self.known().value.clone()
    }

    /// Whether the last fetch failed.
    pub(super) fn is_failing(&self) -> bool {
        self.known().failed_at.is_some()
    }

    fn note(&self, now: SystemTime, fetched: Option<Fetched<T>>) {
        let mut known = self.known();
        match fetched {
            Some(Fetched { value, fresh_for }) => {
                known.value = Some(value);
                known.fresh_for = fresh_for;
                known.fetched_at = Some(now);
                known.failed_at = None;
            }
            None => known.failed_at = Some(now),
        }
    }

    fn fresh(&self, now: SystemTime) -> Option<T> {
        let known = self.known();
        known.value.clone().filter(|_| is_within(known.fetched_at, now, known.fresh_for))
    }

    fn usable(&self, now: SystemTime) -> Option<T> {
        let known = self.known();
        known.value.clone().filter(|_| is_within(known.fetched_at, now, self.times.usable))
    }

    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller may wait for another's fetch after it has read the clock, so its time may be this much behind.
const PATIENCE: Duration = Duration::from_secs(30);

/// False if the clock was set back by more than that.
fn is_within(since: Option<SystemTime>, now: SystemTime, age: Duration) -> bool {
    let Some(since) = since else { return false };
    match now.duration_since(since) {
        Ok(passed) => passed < age,
        Err(ahead) => ahead.duration() < PATIENCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::UNIX_EPOCH;

    const TIMES: Times = Times {
        usable: Duration::from_secs(3600),
        pause_without: Duration::from_secs(1),
        pause_with: Duration::from_secs(5),
        pause_renewing: Duration::from_secs(30),
    };

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn good(value: u32) -> Option<Fetched<u32>> {
        Some(Fetched { value, fresh_for: Duration::from_secs(600) })
    }

    #[tokio::test]
    async fn a_value_is_fresh_then_usable_then_gone() {
        let cache = Cache::new(TIMES);
        assert_eq!(cache.get(at(0), async { good(1) }).await, Some(1));
        let never = async { unreachable!("it is fresh") };
        assert_eq!(cache.get(at(599), never).await, Some(1));
        assert_eq!(cache.get(at(600), async { None }).await, Some(1), "failed, but there is a value");
        let never = async { unreachable!("it failed a moment ago") };
        assert_eq!(cache.get(at(604), never).await, Some(1));
        assert!(cache.is_failing());
        assert_eq!(cache.get(at(3600), async { None }).await, None, "too old to serve");
        let never = async { unreachable!("it failed a moment ago") };
        assert_eq!(cache.get(at(3600), never).await, None);
        assert_eq!(cache.get(at(3601), async { good(2) }).await, Some(2));
        assert!(!cache.is_failing());
    }

    #[tokio::test]
    async fn a_clock_that_was_put_back_makes_a_value_old() {
        let cache = Cache::new(TIMES);
        assert_eq!(cache.get(at(5000), async { good(1) }).await, Some(1));
        assert_eq!(cache.get(at(0), async { good(2) }).await, Some(2));
        let never = async { unreachable!("a caller that waited a moment") };
        assert_eq!(cache.get(at(0) - Duration::from_secs(10), never).await, Some(2));
    }

    #[tokio::test]
    async fn a_renewal_waits_for_the_next() {
        let cache = Cache::new(TIMES);
        assert_eq!(cache.get(at(0), async { good(1) }).await, Some(1));
        let is = |wanted: u32| move |value: &u32| *value == wanted;
        let never = async { unreachable!("it is good") };
        assert_eq!(cache.renewed(at(0), is(1), never).await, Some(1));
        assert_eq!(cache.renewed(at(1), is(2), async { None }).await, None);
        let never = async { unreachable!("a failed attempt counts") };
        assert_eq!(cache.renewed(at(30), is(2), never).await, None);
        assert_eq!(cache.renewed(at(31), is(2), async { good(2) }).await, Some(2));
    }

    #[tokio::test]
    async fn a_cancelled_renewal_does_not_delay_the_next() {
        let cache = Cache::new(TIMES);
        assert_eq!(cache.get(at(0), async { good(1) }).await, Some(1));
        let is_new = |value: &u32| *value == 2;
        let mut has_begun = false;
        let fetch = async {
            has_begun = true;
            std::future::pending().await
        };
        assert_eq!(cache.renewed(at(1), is_new, fetch).now_or_never(), None, "polled once and dropped");
        assert!(has_begun);
        assert!(!cache.is_failing(), "a fetch that did not end has not failed");
        assert_eq!(cache.renewed(at(2), is_new, async { good(2) }).await, Some(2));
    }
}
