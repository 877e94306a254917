use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::body::Sender;
use super::clock::now;
use super::reply::is_decent_id;
use super::upstream::{Answer, Post, Upstream};
use crate::auth::Principal;
use crate::config::Timing;
use crate::events::Events;
use crate::outcome::{End, Failed, Outcome, Success, Tally};
use crate::problem::Code;
use crate::update::Nth;
use crate::upstream::{AnyDialect, Failure, Reader};

/// A request's upstream calls: what they need, apart from what is asked.
#[derive(Debug)]
pub struct Call<'a> {
    /// The way there.
    pub upstream: &'a Upstream,
    /// How long to wait for what.
    pub timing: &'a Timing,
    /// When the platform ends us, if it says so.
    pub deadline: Option<Instant>,
    /// How often the same is asked, all at once: an upstream makes one picture a call.
    pub times: u32,
    /// Whose it is.
    pub names: Names<'a>,
}

/// How the calls ended, and what they took.
#[derive(Debug)]
pub struct Ended {
    /// The verdict.
    pub verdict: Result<Success, Failure>,
    /// What was used up.
    pub tally: Tally,
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
                for Failed { slot, failure } in &success.failed {
                    let (class, code, alarm) = (failure.class(), failure.problem().as_str(), failure.alarm());
                    tracing::warn!(route, request_id, task_id, slot, class, code, alarm, "a picture failed");
                }
                if let Some(failure) = success.cut_short {
                    let (class, code, alarm) = (failure.class(), failure.problem().as_str(), failure.alarm());
                    tracing::warn!(route, request_id, task_id, class, code, alarm, "a call failed after its pictures");
                }
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
pub trait Present {
    /// Reads a piece of one call's answer and shows what it brings.
    fn piece(&mut self, nth: Nth, piece: &[u8], reader: &mut Reader<AnyDialect>, outcome: &mut Outcome);

    /// That answer has ended: reads what was held, shows it.
    fn end(&mut self, nth: Nth, reader: &mut Reader<AnyDialect>, outcome: &mut Outcome);

    /// No more will come for a while: what waits to be sent together should not wait longer.
    fn flush(&mut self) {}

    /// Nothing was said for a while; `elapsed` since the call began.
    fn silence(&mut self, elapsed: Duration);

    /// What there is to send.
    fn take(&mut self) -> Vec<u8>;
}

/// The platform kills at its deadline; what was taken must be settled and the terminal event out before.
const MARGIN: Duration = Duration::from_secs(5);

/// Sends the request as often as is asked, reads the answers into `present`, and sends on what that shows.
///
/// Without a `sender` nobody hears anything before the end. A panic on the way is a failure: what was taken for the
/// calls can still be settled.
pub async fn run(
    call: Call<'_>,
    post: Post<'_>,
    dialect: impl Fn() -> AnyDialect,
    present: &mut impl Present,
    sender: Option<&Sender>,
) -> Ended {
    let line = Line { names: call.names, is_written: false };
    let begun = now();
    let ended = AssertUnwindSafe(all(call, begun, post, dialect, present, sender)).catch_unwind().await;
    let ended = ended.unwrap_or_else(|_| Ended {
        verdict: Err(Failure::Internal),
        tally: Tally::default(),
        bytes_in: 0,
        took: now() - begun,
    });
    line.write(&ended);
    ended
}

async fn all(
    call: Call<'_>,
    begun: Instant,
    post: Post<'_>,
    dialect: impl Fn() -> AnyDialect,
    present: &mut impl Present,
    sender: Option<&Sender>,
) -> Ended {
    let Call { upstream, timing, deadline, times, .. } = call;
    let end_by = begun + timing.total;
    let end_by = deadline.map_or(end_by, |deadline| end_by.min(deadline.checked_sub(MARGIN).unwrap_or(begun)));

    let mut company = Company { begun, ping: timing.ping, said_at: begun, sender };
    let mut bytes_in = 0;
    let mut exchanges: Vec<Exchange> = (0..times).map(|_| Exchange::new(dialect())).collect();
    let step = async |at: usize, on: On<'_>| (at, on.step(upstream, timing, end_by).await);
    let mut steps: FuturesUnordered<_> =
        (0..exchanges.len()).map(|at| step(at, On::Ask(Box::new(post.clone())))).collect();

    while !steps.is_empty() {
        let next = match steps.next().now_or_never() {
            Some(next) => next,
            None => {
                present.flush();
                company.say(present).await;
                company.wait(steps.next(), present).await
            }
        };
        let Some((at, answered)) = next else { break };
        let Some(Exchange { reader, outcome, end }) = exchanges.get_mut(at) else { break };
        let nth = Nth { call: at as u32, of: times };
        match answered {
            Err(failure) => *end = Some(End::Failed(failure)),
            Ok((None, _)) => *end = Some(End::Clean),
            Ok((Some(piece), mut answer)) => {
                bytes_in += piece.len() as u64;
                let before = outcome.updates();
                present.piece(nth, &piece, reader, outcome);
                if outcome.updates() > before {
                    answer.progressed();
                }
                match reader.is_over() {
                    true => *end = Some(End::Clean),
                    false => steps.push(step(at, On::Read(answer))),
                }
            }
        }
        if end.is_some() {
            present.end(nth, reader, outcome);
        }
        company.say(present).await;
    }

    let mut tally = Tally::default();
    let verdicts = exchanges.into_iter().map(|exchange| {
        let has_content = exchange.outcome.has_content();
        // Each has ended: there is no other way out of the loop.
        let verdict = exchange.outcome.verdict(exchange.end.unwrap_or(End::Failed(Failure::Error)));
        tally.count(&verdict, has_content);
        verdict
    });
    let verdict = Success::of_all(verdicts.collect());
    Ended { verdict, tally, bytes_in, took: now() - begun }
}

/// One call's answer, as far as it has come.
struct Exchange {
    reader: Reader<AnyDialect>,
    outcome: Outcome,
    end: Option<End>,
}

impl Exchange {
    fn new(dialect: AnyDialect) -> Self {
        Self { reader: Reader::new(dialect), outcome: Outcome::default(), end: None }
    }
}

/// Where a call is.
enum On<'a> {
    Ask(Box<Post<'a>>),
    Read(Box<Answer>),
}

impl On<'_> {
    /// The next piece of the answer, or its end.
    async fn step(
        self,
        upstream: &Upstream,
        timing: &Timing,
        end_by: Instant,
    ) -> Result<(Option<Bytes>, Box<Answer>), Failure> {
        let mut answer = match self {
            On::Ask(post) => Box::new(upstream.post(*post, timing, end_by).await?),
            On::Read(answer) => answer,
        };
        Ok((answer.next().await?, answer))
    }
}

/// Keeps the client company: something is said at least every `ping`, whatever the upstream does.
struct Company<'a> {
    begun: Instant,
    ping: Duration,
    said_at: Instant,
    sender: Option<&'a Sender>,
}

impl Company<'_> {
    /// Sends what there is.
    async fn say(&mut self, present: &mut impl Present) {
        let bytes = present.take();
        if !bytes.is_empty()
            && let Some(sender) = self.sender
        {
            sender.send(bytes).await;
            self.said_at = now();
        }
    }

    async fn wait<T>(&mut self, future: impl Future<Output = T>, present: &mut impl Present) -> T {
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
impl Present for Events {
    fn piece(&mut self, nth: Nth, piece: &[u8], reader: &mut Reader<AnyDialect>, outcome: &mut Outcome) {
        reader.push(piece, &mut |update| {
            if let Some(news) = outcome.note(update) {
                self.update(&news.of(nth));
            }
        });
    }

    fn end(&mut self, nth: Nth, reader: &mut Reader<AnyDialect>, outcome: &mut Outcome) {
        reader.finish(&mut |update| {
            if let Some(news) = outcome.note(update) {
                self.update(&news.of(nth));
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
