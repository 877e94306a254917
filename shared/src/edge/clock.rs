use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The one place that asks for the time.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The time of day.
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

/// How long until then; `None` if that is over.
pub(super) fn from_now(then: SystemTime) -> Option<Duration> {
    then.duration_since(wall()).ok()
}
