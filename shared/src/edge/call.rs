use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use super::body::Sender;
use super::clock::now;
use super::reply::is_decent_id;
use super::upstream::{Post, Upstream};
use crate::auth::Principal;
use crate::config::Timing;
use crate::events::Events;
use crate::outcome::{End, Outcome, Success};
use crate::problem::Code;
use crate::upstream::{Dialect, Failure, Reader};

/// One upstream call: what it needs, apart from what is asked.
#[derive(Debug)]
pub struct Call<'a> {
    /// The way there.
    pub upstream: &'a Upstream,
    /// How long to wait for what.
    pub timing: &'a Timing,
    /// When the platform ends us, if it says so.
    pub deadline: Option<Instant>,
    /// Whose it is.
    pub names: Names<'a>,
}

/// How a call ended, and what it took.
#[derive(Debug)]
pub struct Ended {
    /// The verdict.
    pub verdict: Result<Success, Failure>,
    /// Whether the upstream had begun to deliver.
    pub has_content: bool,
    /// Bytes the upstream sent.
    pub bytes_in: u64,
    /// From the request to the verdict.
    pub took: Duration,
}

/// Whose call it is, for the one line that it leaves in the log: sizes and codes, never what was asked or shown.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The route's path.
    pub route: &'static str,
    /// Who asked: told apart, not named.
    pub principal: &'a Principal,
    /// The request.
    pub request_id: &'a str,
    /// The task.
    pub task_id: &'a str,
}

impl Names<'_> {
    /// The task as a log may hold it: some routes take any text for one, and users' text is none of a log's business.
    fn logged_task_id(&self) -> &str {
        if is_decent_id(self.task_id) { self.task_id } else { "(free text)" }
    }
}

/// Writes the line when the call has ended, or when it is dropped before: then the client has left.
struct Line<'a> {
    names: Names<'a>,
    is_written: bool,
}

impl Line<'_> {
    fn write(mut self, ended: &Ended) {
        self.is_written = true;
        let (Names { route, request_id, principal, .. }, task_id) = (self.names, self.names.logged_task_id());
        let caller = principal.log_id();
        let took_ms = ended.took.as_millis() as u64;
        let bytes_in = ended.bytes_in;
        match &ended.verdict {
            Ok(success) => {
                let (images, failed) = (success.images.len(), success.failed.len());
                tracing::info!(route, request_id, caller, task_id, bytes_in, took_ms, images, failed, "succeeded");
            }
            Err(failure) => {
                let (class, code, alarm) = (failure.class(), failure.problem().as_str(), failure.alarm());
                tracing::warn!(route, request_id, caller, task_id, bytes_in, took_ms, class, code, alarm, "failed");
            }
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.is_written && !std::thread::panicking() {
            let (Names { route, request_id, principal, .. }, task_id) = (self.names, self.names.logged_task_id());
            let caller = principal.log_id();
            tracing::info!(
                route,
                request_id,
                caller,
                task_id,
                code = Code::ClientClosed.as_str(),
                "the client has left"
            );
        }
    }
}

/// Shows an answer to a client while it is read.
pub trait Present<D: Dialect> {
    /// Reads a piece and shows what it brings.
    fn piece(&mut self, piece: &[u8], reader: &mut Reader<D>, outcome: &mut Outcome);

    /// The answer has ended: reads what was held, shows it.
    fn end(&mut self, reader: &mut Reader<D>, outcome: &mut Outcome);

    /// No more will come for a while: what waits to be sent together should not wait longer.
    fn flush(&mut self) {}

    /// Nothing was said for a while; `elapsed` since the call began.
    fn silence(&mut self, elapsed: Duration);

    /// What there is to send.
    fn take(&mut self) -> Vec<u8>;
}

/// The platform kills at its deadline; what was taken must be settled and the terminal event out before.
const MARGIN: Duration = Duration::from_secs(5);

/// Sends the request, reads the answer into `present`, and sends on what that shows.
pub async fn run<D: Dialect>(
    call: Call<'_>,
    post: Post<'_>,
    dialect: D,
    present: &mut impl Present<D>,
    sender: &Sender,
) -> Ended {
    let Call { upstream, timing, deadline, names } = call;
    let line = Line { names, is_written: false };
    let begun = now();
    let end_by = begun + timing.total;
    let end_by = deadline.map_or(end_by, |deadline| end_by.min(deadline.checked_sub(MARGIN).unwrap_or(begun)));

    let mut reader = Reader::new(dialect);
    let mut outcome = Outcome::default();
    let mut bytes_in = 0;
    let mut company = Company { begun, ping: timing.ping, said_at: begun, sender };

    let head = upstream.post(post, timing, end_by);
    let end = match company.wait(head, present).await {
        Err(failure) => End::Failed(failure),
        Ok(mut answer) => loop {
            let next = match answer.next().now_or_never() {
                Some(next) => next,
                None => {
                    present.flush();
                    company.say(present).await;
                    company.wait(answer.next(), present).await
                }
            };
            match next {
                Err(failure) => break End::Failed(failure),
                Ok(None) => break End::Clean,
                Ok(Some(piece)) => {
                    bytes_in += piece.len() as u64;
                    let before = outcome.updates();
                    present.piece(&piece, &mut reader, &mut outcome);
                    if outcome.updates() > before {
                        answer.progressed();
                    }
                    company.say(present).await;
                    if reader.is_over() {
                        break End::Clean;
                    }
                }
            }
        },
    };
    present.end(&mut reader, &mut outcome);
    let has_content = outcome.has_content();
    let ended = Ended { verdict: outcome.verdict(end), has_content, bytes_in, took: now() - begun };
    line.write(&ended);
    ended
}

/// Keeps the client company: something is said at least every `ping`, whatever the upstream does.
struct Company<'a> {
    begun: Instant,
    ping: Duration,
    said_at: Instant,
    sender: &'a Sender,
}

impl Company<'_> {
    /// Sends what there is.
    async fn say<D: Dialect>(&mut self, present: &mut impl Present<D>) {
        let bytes = present.take();
        if !bytes.is_empty() {
            self.sender.send(bytes).await;
            self.said_at = now();
        }
    }

    async fn wait<T, D: Dialect>(&mut self, future: impl Future<Output = T>, present: &mut impl Present<D>) -> T {
        let mut future = pin!(future);
        loop {
            match timeout_at(self.said_at + self.ping, &mut future).await {
                Ok(value) => return value,
                Err(_) => {
                    present.silence(now() - self.begun);
                    self.say(present).await;
                    // Also when there was nothing that could be said: in the middle of an event.
                    self.said_at = now();
                }
            }
        }
    }
}

/// As typed events.
impl<D: Dialect> Present<D> for Events {
    fn piece(&mut self, piece: &[u8], reader: &mut Reader<D>, outcome: &mut Outcome) {
        reader.push(piece, &mut |update| {
            if outcome.observe(&update) {
                self.update(&update);
            }
        });
    }

    fn end(&mut self, reader: &mut Reader<D>, outcome: &mut Outcome) {
        reader.finish(&mut |update| {
            if outcome.observe(&update) {
                self.update(&update);
            }
        });
    }

    fn flush(&mut self) {
        Events::flush(self);
    }

    fn silence(&mut self, elapsed: Duration) {
        self.process(Some(elapsed.as_millis() as u64));
    }

    fn take(&mut self) -> Vec<u8> {
        Events::take(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::SourceIp;

    #[test]
    fn a_task_that_is_free_text_stays_out_of_the_log() {
        let principal = &Principal::Source(SourceIp::new(None));
        let logged = |task_id: &'static str| {
            Names { route: "/", principal, request_id: "r", task_id }.logged_task_id().to_owned()
        };
        assert_eq!(logged("task_1795215600000"), "task_1795215600000");
        for text in ["a wedding photo of Ann", "任务", "line\nbreak", ""] {
            assert_eq!(logged(text), "(free text)", "{text:?}");
        }
    }
}
