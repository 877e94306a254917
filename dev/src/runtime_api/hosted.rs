//! What a hosted Lambda does beyond the protocol of the Runtime API: limits of size and rate, and the treatment of the
//! process between invocations and at the deadline.
//!
//! Sources: the [quotas](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html),
//! [response streaming](https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html) and the
//! [execution environment](https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html). Lambda's own
//! error messages have the exact sizes.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Limit of an event's JSON.
pub(super) const MAX_EVENT_BYTES: usize = 6_291_456;
/// The body of the response to a larger one.
pub(super) const EVENT_TOO_LARGE: &str = r#"{"Message":"Request must be smaller than 6291456 bytes"}"#;
/// Limit of a buffered response's JSON.
pub(super) const MAX_BUFFERED_BYTES: usize = 6_291_556;
/// Bytes of a streamed response that are read at full speed.
const FULL_SPEED_BYTES: u64 = 6 * 1024 * 1024;
/// The rate behind it.
const BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;
/// Limit of a streamed response.
const MAX_STREAMED_BYTES: u64 = 200 * 1024 * 1024;

/// What the platform does with the process of its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessStep {
    /// Stop it: it has asked for an event, and none is waiting.
    Freeze,
    /// Let it run: there is an event for it.
    Continue,
    /// Kill it and start another one: its invocation has reached its deadline.
    Replace,
}

/// Does these steps with a process.
pub(super) type Control = Box<dyn Fn(ProcessStep) + Send + Sync>;

/// Slows down the reading of a streamed response.
#[derive(Default)]
pub(super) struct Pace {
    read: u64,
    free_at: Option<Instant>,
}

impl Pace {
    /// Counts a piece, and waits as long as it takes at the platform's rate. False if the response is too large.
    pub(super) async fn admits(&mut self, bytes: usize) -> bool {
        let before = self.read.max(FULL_SPEED_BYTES);
        self.read += bytes as u64;
        let slow = self.read.saturating_sub(before);
        if slow > 0 {
            let begun = self.free_at.map_or_else(now, |at| at.max(now()));
            let free_at = begun + Duration::from_secs_f64(slow as f64 / BYTES_PER_SECOND as f64);
            self.free_at = Some(free_at);
            sleep_until(free_at).await;
        }
        self.read <= MAX_STREAMED_BYTES
    }
}

#[expect(clippy::disallowed_methods, reason = "the platform has a clock of its own")]
fn now() -> Instant {
    Instant::now()
}
