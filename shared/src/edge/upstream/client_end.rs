use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::client::ReadingTime;
use super::output::Output;
use crate::edge::clock::now;
use crate::edge::http::Sender;
use crate::upstream::Failure;

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
                Ok(true) => {}
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
    /// As [`Self::send`].
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
