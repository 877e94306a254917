//! Notices that the machine is too busy for the time limits of a case.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Far less than the shortest time limit of a case, of which several waits may be part.
const TOO_LATE: Duration = Duration::from_millis(150);
const STEP: Duration = Duration::from_millis(10);

/// Counts how often a task, or a thread, was resumed too late.
pub(super) struct Lateness {
    count: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Lateness {
    #[expect(clippy::disallowed_methods, reason = "the clock of the machine is what is watched")]
    pub(super) fn watch() -> Self {
        let count = Arc::<AtomicU32>::default();
        let noted = count.clone();
        let watch = async move {
            loop {
                let begun = Instant::now();
                tokio::time::sleep(STEP).await;
                if begun.elapsed() > STEP + TOO_LATE {
                    noted.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        Self { count, task: tokio::spawn(watch) }
    }

    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
