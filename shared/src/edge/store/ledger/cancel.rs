//! A task is stopped by a mark in its record, which its run reads from time to time.

use std::time::Duration;

use tokio::time::sleep;

use super::super::tasks::{RunState, Stopping};
use super::{Admission, Ledger};
use crate::auth::Principal;
use crate::edge::clock::unix_ms;
use crate::problem::Code;

impl Ledger {
    /// Waits until the owner of a task has asked its run to stop, or another request has taken the task over. Reads the
    /// record every `poll`; a read that fails is ignored.
    pub(crate) fn stopped(&self, admission: &Admission, poll: Duration) -> impl Future<Output = ()> + Send + use<> {
        let tasks = admission.is_recorded.then(|| self.tasks.clone());
        let run = admission.run.clone();
        async move {
            let Some(tasks) = tasks else { return std::future::pending().await };
            loop {
                sleep(jittered(poll, &run.id)).await;
                match tasks.run_state(&run).await {
                    Ok(RunState::Cancelled) => return,
                    Ok(RunState::TakenOver) => {
                        tracing::warn!("another request has taken a running task over");
                        return;
                    }
                    Ok(RunState::Running) | Err(_) => {}
                }
            }
        }
    }

    /// Asks one of the caller's own tasks to stop. `None` if there is no such task.
    ///
    /// # Errors
    /// 503 if the table is unavailable.
    pub async fn stop(&self, principal: &Principal, task_id: &str) -> Result<Option<Stopping>, Code> {
        let answer = self.tasks.cancel(&principal.to_string(), task_id, unix_ms()).await?;
        Ok(answer.map(|answer| match answer {
            Stopping::Asked(record) => Stopping::Asked(self.as_shown(record)),
            Stopping::Ended(record) => Stopping::Ended(self.as_shown(record)),
        }))
    }
}

/// `poll` with up to 10 % more or less, the same for every read of a run: runs that began together read at other times.
fn jittered(poll: Duration, run: &str) -> Duration {
    let byte = run.bytes().fold(0_u8, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte));
    poll.mul_f32(0.9 + 0.2 * f32::from(byte) / 255.0)
}
