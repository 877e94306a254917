use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The monotonic clock. Only this file reads the time.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(super) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time until `then`. `None` if it has passed.
pub(super) fn from_now(then: SystemTime) -> Option<Duration> {
    then.duration_since(wall()).ok()
}
