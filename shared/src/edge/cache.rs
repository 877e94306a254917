use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex as AsyncMutex;

/// Caches one fetched value. Concurrent callers share one fetch. A stale value is returned while fetches fail. A failed
/// fetch never removes a value, and a cancelled fetch changes nothing.
///
/// Ages are measured by the wall clock, because the monotonic clock may stand still while a function is frozen.
#[derive(Debug)]
pub(super) struct Cache<T> {
    times: Times,
    state: Mutex<CacheState<T>>,
    /// Locked by the caller that fetches.
    fetching: AsyncMutex<()>,
}

/// The lifetime of a value, and the pauses between fetches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// The greatest age of a value that is returned while fetches fail.
    pub(super) usable: Duration,
    /// Pause after a failed fetch while there is no usable value.
    pub(super) pause_without: Duration,
    /// Pause after a failed fetch while there is one.
    pub(super) pause_with: Duration,
    /// Pause after a fetch of [`Cache::renewed`], whether it failed or not.
    pub(super) pause_renewing: Duration,
}

/// A value, and the age up to which it is not fetched again.
#[derive(Debug)]
pub(super) struct Fetched<T> {
    pub(super) value: T,
    pub(super) fresh_for: Duration,
}

#[derive(Debug, Clone)]
struct CacheState<T> {
    value: Option<T>,
    fresh_for: Duration,
    fetched_at: Option<SystemTime>,
    failed_at: Option<SystemTime>,
    renewed_at: Option<SystemTime>,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(times: Times) -> Self {
        let (value, fresh_for) = (None, Duration::ZERO);
        let state = CacheState { value, fresh_for, fetched_at: None, failed_at: None, renewed_at: None };
        Self { times, state: Mutex::new(state), fetching: AsyncMutex::new(()) }
    }

    /// Returns the value, and fetches it if it is not fresh. One caller fetches. The others wait only if there is no
    /// usable value.
    pub(super) async fn get(&self, now: SystemTime, fetch: impl Future<Output = Option<Fetched<T>>>) -> Option<T> {
        if let Some(value) = self.fresh(now) {
            return Some(value);
        }
        let usable = self.usable(now);
        let lock = match (self.fetching.try_lock(), &usable) {
            (Ok(lock), _) => lock,
            (Err(_), Some(_)) => return usable,
            (Err(_), None) => self.fetching.lock().await,
        };
        if let Some(value) = self.fresh(now) {
            return Some(value);
        }
        let pause = if usable.is_some() { self.times.pause_with } else { self.times.pause_without };
        let failed_at = self.state().failed_at;
        if !is_within(failed_at, now, pause) {
            self.record(now, fetch.await);
        }
        drop(lock);
        self.usable(now)
    }

    /// Returns a value that `is_wanted`: the cached one, or else a fetched one. Fetches at most once in
    /// `pause_renewing`.
    pub(super) async fn renewed(
        &self,
        now: SystemTime,
        is_wanted: impl Fn(&T) -> bool,
        fetch: impl Future<Output = Option<Fetched<T>>>,
    ) -> Option<T> {
        let _lock = self.fetching.lock().await;
        if let Some(value) = self.usable(now).filter(&is_wanted) {
            return Some(value);
        }
        let renewed_at = self.state().renewed_at;
        if !is_within(renewed_at, now, self.times.pause_renewing) {
            let fetched = fetch.await;
            // Set after the fetch, so that a cancelled fetch does not start the pause.
            self.state().renewed_at = Some(now);
            self.record(now, fetched);
        }
        self.usable(now).filter(is_wanted)
    }

    /// Returns the last value of any age. Does not fetch.
    pub(super) fn peek(&self) -> Option<T> {
        self.state().value.clone()
    }

    /// Whether the last fetch failed.
    pub(super) fn is_failing(&self) -> bool {
        self.state().failed_at.is_some()
    }

    fn record(&self, now: SystemTime, fetched: Option<Fetched<T>>) {
        let mut state = self.state();
        match fetched {
            Some(Fetched { value, fresh_for }) => {
                state.value = Some(value);
                state.fresh_for = fresh_for;
                state.fetched_at = Some(now);
                state.failed_at = None;
            }
            None => state.failed_at = Some(now),
        }
    }

    fn fresh(&self, now: SystemTime) -> Option<T> {
        let state = self.state();
        state.value.clone().filter(|_| is_within(state.fetched_at, now, state.fresh_for))
    }

    /// Returns the value if it may be used while fetches fail. Does not fetch.
    pub(super) fn usable(&self, now: SystemTime) -> Option<T> {
        let state = self.state();
        state.value.clone().filter(|_| is_within(state.fetched_at, now, self.times.usable))
    }

    fn state(&self) -> MutexGuard<'_, CacheState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far the time of a caller may be behind: it read the clock and then waited for the fetch of another caller.
const MAX_LAG: Duration = Duration::from_secs(30);

/// Whether `now` is less than `age` after `since`. False if the clock was set back by more than [`MAX_LAG`].
fn is_within(since: Option<SystemTime>, now: SystemTime, age: Duration) -> bool {
    let Some(since) = since else { return false };
    match now.duration_since(since) {
        Ok(passed) => passed < age,
        Err(ahead) => ahead.duration() < MAX_LAG,
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
    async fn a_value_is_fresh_then_stale_then_expired() {
        let cache = Cache::new(TIMES);
        assert_eq!(cache.get(at(0), async { good(1) }).await, Some(1));
        let never = async { unreachable!("the value is fresh") };
        assert_eq!(cache.get(at(599), never).await, Some(1));
        assert_eq!(cache.get(at(600), async { None }).await, Some(1), "a failed fetch keeps the value");
        let never = async { unreachable!("the last fetch failed within the pause") };
        assert_eq!(cache.get(at(604), never).await, Some(1));
        assert!(cache.is_failing());
        assert_eq!(cache.get(at(3600), async { None }).await, None, "the value is too old");
        let never = async { unreachable!("the last fetch failed within the pause") };
        assert_eq!(cache.get(at(3600), never).await, None);
        assert_eq!(cache.get(at(3601), async { good(2) }).await, Some(2));
        assert!(!cache.is_failing());
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_makes_a_value_stale() {
        let cache = Cache::new(TIMES);
        assert_eq!(cache.get(at(5000), async { good(1) }).await, Some(1));
        assert_eq!(cache.get(at(0), async { good(2) }).await, Some(2));
        let never = async { unreachable!("a caller may be 10 seconds behind") };
        assert_eq!(cache.get(at(0) - Duration::from_secs(10), never).await, Some(2));
    }

    #[tokio::test]
    async fn a_failed_renewal_delays_the_next() {
        let cache = Cache::new(TIMES);
        assert_eq!(cache.get(at(0), async { good(1) }).await, Some(1));
        let is = |wanted: u32| move |value: &u32| *value == wanted;
        let never = async { unreachable!("the cached value is wanted") };
        assert_eq!(cache.renewed(at(0), is(1), never).await, Some(1));
        assert_eq!(cache.renewed(at(1), is(2), async { None }).await, None);
        let never = async { unreachable!("a failed fetch starts the pause") };
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
