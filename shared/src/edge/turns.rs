use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// So many requests of one caller are decided on at a time.
const AT_A_TIME: usize = 2;
/// Longer than a table that answers takes for all of those.
const MAX_WAIT: Duration = Duration::from_secs(4);

/// A few requests of each caller at a time, and the others wait: what the first are told often goes for all, and then
/// a thousand at once cost no more than those few.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Weak<Semaphore>>>);

/// Over when dropped.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "what matters is its end")] Option<OwnedSemaphorePermit>);

impl Turns {
    /// Waits for one's turn, and no longer than is reasonable: then it is taken.
    pub(super) async fn wait(&self, caller: &str) -> Turn {
        let turns = {
            let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            callers.retain(|_, turns| turns.strong_count() > 0);
            let known = callers.get(caller).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turns = Arc::new(Semaphore::new(AT_A_TIME));
                callers.insert(caller.to_owned(), Arc::downgrade(&turns));
                turns
            })
        };
        Turn(timeout(MAX_WAIT, turns.acquire_owned()).await.ok().and_then(Result::ok))
    }
}
