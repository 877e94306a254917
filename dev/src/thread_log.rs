//! The log of one thread, for tests.

use std::sync::LazyLock;

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber, Subscriber, set_default};

/// Without a second dispatcher `tracing-core` 0.1.36 (`callsite.rs`, `Rebuilder::JustOne`) asks only the thread that
/// reaches a log line first whether that line is wanted, and does not write the line on any thread if not.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));

/// Logs the lines of this thread with `log` until the guard is dropped.
#[must_use]
pub fn set_thread_log(log: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    LazyLock::force(&SECOND);
    set_default(log)
}
