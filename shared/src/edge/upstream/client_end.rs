use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::client::ReadingTime;
use super::output::Output;
use crate::edge::clock::now;
use crate::edge::http::Sender;
use crate::upstream::Failure;

/// Every wait has a bound of its own, which ends it by then. After this time it is left, whatever it waits for.
const WAIT_GRACE: Duration = Duration::from_millis(500);

/// The client's end of a request: sends it what the output writes, and learns that the client has left or has asked the
/// task to stop.
pub(super) struct ClientEnd<'a> {
    pub(super) sender: &'a mut Sender,
    /// The work goes on without the client.
    pub(super) outlives_client: bool,
    /// Ends when the task's owner has asked it to stop. `None` once it has ended.
    pub(super) stopped: Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>,
    pub(super) begun: Instant,
    pub(super) ping: Duration,
    pub(super) sent_at: Instant,
    pub(super) end_by: Instant,
    /// No call is open any more.
    pub(super) is_ending: bool,
    pub(super) reading_time: &'a ReadingTime,
    /// Bytes that were not sent before the task was asked to stop, or before `end_by`.
    pub(super) unsent: Bytes,
}

impl ClientEnd<'_> {
    /// Sends all that the output has written.
    ///
    /// # Errors
    /// The task was asked to stop; `end_by` has passed; or the client has left or was too slow for it, and the work ends
    /// with it.
    pub(super) async fn send(&mut self, output: &mut impl Output) -> Result<(), Failure> {
        loop {
            if self.unsent.is_empty() {
                self.unsent = output.take().into();
            }
            if self.unsent.is_empty() {
                return Ok(());
            }
            let begun = now();
            let sent = tokio::select! {
                biased;
                sent = timeout_at(self.end_by, self.sender.send(self.unsent.clone())) => sent,
                () = stop(&mut self.stopped) => return Err(Failure::Cancelled),
            };
            self.sent_at = now();
            self.reading_time.pause(self.sent_at - begun);
            match sent {
                // The time after the calls may be enough for the rest.
                Err(_) if !self.is_ending => return Err(Failure::Deadline),
                Ok(true) => output.sent(),
                _ if self.outlives_client => self.sender.give_up(),
                Ok(false) => return Err(Failure::ClientClosed),
                Err(_) => return Err(Failure::Deadline),
            }
            self.unsent = Bytes::new();
        }
    }

    /// Waits for `future` and sends a keep-alive after `ping` without output.
    ///
    /// # Errors
    /// As [`Self::send`], and if the future is not ready shortly after the deadline.
    pub(super) async fn wait<T>(
        &mut self,
        future: impl Future<Output = T>,
        output: &mut impl Output,
    ) -> Result<T, Failure> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                value = &mut future => return Ok(value),
                () = stop(&mut self.stopped) => return Err(Failure::Cancelled),
                () = self.sender.closed(), if !(self.outlives_client && self.sender.is_given_up()) => {
                    self.sender.give_up();
                    if !self.outlives_client {
                        return Err(Failure::ClientClosed);
                    }
                }
                () = sleep_until(self.end_by + WAIT_GRACE) => return Err(Failure::Deadline),
                () = sleep_until(self.sent_at + self.ping) => {
                    output.keep_alive(now() - self.begun);
                    self.send(output).await?;
                    // Also if the output had nothing to write.
                    self.sent_at = now();
                }
            }
        }
    }
}

/// Waits until the task is asked to stop.
async fn stop(stopped: &mut Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>>) {
    match stopped {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
    *stopped = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::detached;
    use crate::update::Update;

    struct SilentOutput;

    impl Output for SilentOutput {
        fn update(&mut self, _: &Update<'_>) -> bool {
            false
        }

        fn take(&mut self) -> Vec<u8> {
            Vec::new()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_without_a_bound_of_its_own_ends_at_the_deadline() {
        let work = |mut sender: Sender| async move {
            let begun = now();
            let mut client = ClientEnd {
                sender: &mut sender,
                outlives_client: false,
                stopped: None,
                begun,
                ping: Duration::from_secs(10),
                sent_at: begun,
                end_by: begun + Duration::from_secs(60),
                is_ending: false,
                reading_time: &ReadingTime::default(),
                unsent: Bytes::new(),
            };
            let waited = client.wait(std::future::pending::<()>(), &mut SilentOutput).await;
            (waited, now() - begun)
        };
        let (waited, took) = detached(work).await.unwrap();
        assert_eq!(waited, Err(Failure::Deadline));
        assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(61), "{took:?}");
    }
}
