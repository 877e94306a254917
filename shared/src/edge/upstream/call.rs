use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::client::{Post, ReadingTime, Upstream, UpstreamAnswer};
use crate::auth::Principal;
use crate::config::Timing;
use crate::edge::clock::now;
use crate::edge::http::{Sender, is_valid_id};
use crate::events::Events;
use crate::outcome::{AnswerEnd, FailedSlot, Outcome, Success, Tally};
use crate::update::{Nth, Update};
use crate::upstream::{AnswerReader, AnyDialect, Failure};

/// The upstream calls of one request, without the body that is sent.
#[derive(Debug)]
pub struct UpstreamCalls<'a> {
    /// The HTTP client.
    pub upstream: &'a Upstream,
    /// The time limits.
    pub timing: &'a Timing,
    /// When the request must have ended, including its terminal event.
    pub deadline: Instant,
    /// How often the same request is sent, all at once: an upstream makes one picture per call.
    pub times: u32,
    /// Names the calls in the log.
    pub labels: CallLabels<'a>,
}

/// How the calls ended, and what they used.
#[derive(Debug)]
pub struct Ended {
    /// The verdict.
    pub verdict: Result<Success, Failure>,
    /// What was used.
    pub tally: Tally,
    /// Bytes the upstream sent.
    pub bytes_in: u64,
    /// From the request to the verdict.
    pub took: Duration,
}

/// Names a request in its summary line in the log. The line holds sizes and codes, never the request or its result.
#[derive(Debug, Clone, Copy)]
pub struct CallLabels<'a> {
    /// The route's path.
    pub route: &'static str,
    /// The caller, logged as a hash.
    pub principal: &'a Principal,
    /// The request.
    pub request_id: &'a str,
    /// The task.
    pub task_id: &'a str,
}

impl CallLabels<'_> {
    /// The task id, unless it may be a user's text: some routes accept any text.
    fn logged_task_id(&self) -> &str {
        if is_valid_id(self.task_id) { self.task_id } else { "(free text)" }
    }

    /// Writes the summary line.
    fn log(&self, ended: &Ended) {
        let (Self { route, request_id, principal, .. }, task_id) = (*self, self.logged_task_id());
        let caller = principal.log_id();
        let took_ms = ended.took.as_millis() as u64;
        let bytes_in = ended.bytes_in;
        match &ended.verdict {
            Ok(success) => {
                let (images, failed) = (success.images.len(), success.failed.len());
                for FailedSlot { slot, failure } in &success.failed {
                    let (class, code, alarm) = (failure.class(), failure.problem().as_str(), failure.alarm());
                    tracing::warn!(route, request_id, task_id, slot, class, code, alarm, "a picture failed");
                }
                if let Some(failure) = success.cut_short {
                    let (class, code, alarm) = (failure.class(), failure.problem().as_str(), failure.alarm());
                    tracing::warn!(route, request_id, task_id, class, code, alarm, "a call failed after its pictures");
                }
                tracing::info!(route, request_id, caller, task_id, bytes_in, took_ms, images, failed, "succeeded");
            }
            Err(Failure::ClientClosed) => {
                let code = Failure::ClientClosed.problem().as_str();
                tracing::info!(route, request_id, caller, task_id, bytes_in, took_ms, code, "the client left");
            }
            Err(failure) => {
                let (class, code, alarm) = (failure.class(), failure.problem().as_str(), failure.alarm());
                tracing::warn!(route, request_id, caller, task_id, bytes_in, took_ms, class, code, alarm, "failed");
            }
        }
    }
}

/// A sink of updates that writes them in the form in which a client reads them.
pub trait Output {
    /// Records an update that [`Outcome::note`] has returned.
    fn update(&mut self, update: &Update<'_>);

    /// One of the calls has ended: its pictures are final.
    fn call_ended(&mut self, _nth: Nth) {}

    /// The next bytes to send; empty when there are none. Called again until then.
    fn take(&mut self) -> Vec<u8>;

    /// No more input is ready: bytes that wait to be sent together should not wait longer.
    fn flush(&mut self) {}

    /// Writes a keep-alive. `elapsed`: since the calls began.
    fn keep_alive(&mut self, _elapsed: Duration) {}

    /// The slots whose pictures the output could not hold.
    fn lost(&self) -> &[u32] {
        &[]
    }
}

/// Time before the deadline for settlement and the terminal event.
const MARGIN: Duration = Duration::from_secs(5);

/// Sends the request `times` times, reads the answers into `output`, and sends the client what `output` writes.
///
/// Ends early when the client leaves or is given up. A panic counts as a failed call, so that the caller can settle.
pub async fn run(
    call: UpstreamCalls<'_>,
    post: Post<'_>,
    dialect: impl Fn() -> AnyDialect,
    output: &mut impl Output,
    sender: &mut Sender,
) -> Ended {
    let begun = now();
    let end_by = (begun + call.timing.total).min(call.deadline.checked_sub(MARGIN).unwrap_or(begun));
    let reading_time = ReadingTime::default();
    let mut client = Client {
        sender: &mut *sender,
        begun,
        ping: call.timing.ping,
        sent_at: begun,
        end_by,
        reading_time: &reading_time,
    };
    let mut exchanges: Vec<Exchange> = (0..call.times).map(|_| Exchange::new(dialect())).collect();

    let read = read_all(&call, post, end_by, &mut exchanges, output, &mut client);
    let unfinished = match AssertUnwindSafe(read).catch_unwind().await {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => Some(Failure::Internal),
    };
    let bytes_in = exchanges.iter().map(|exchange| exchange.bytes_in).sum();
    let (verdict, tally) = conclude(exchanges, unfinished.unwrap_or(Failure::Internal), output.lost());
    if unfinished == Some(Failure::Deadline) && verdict.is_ok() {
        // The client has not received all that a success lists.
        sender.give_up();
    }
    let ended = Ended { verdict, tally, bytes_in, took: now() - begun };
    call.labels.log(&ended);
    ended
}

/// Reads all answers to their end.
///
/// # Errors
/// The client has left, or was too slow for the deadline.
async fn read_all(
    call: &UpstreamCalls<'_>,
    post: Post<'_>,
    end_by: Instant,
    exchanges: &mut [Exchange],
    output: &mut impl Output,
    client: &mut Client<'_>,
) -> Result<(), Failure> {
    let UpstreamCalls { upstream, timing, times, .. } = *call;
    let reading_time = client.reading_time;
    let step = async |at: usize, step: CallStep<'_>| (at, step.run(upstream, timing, end_by, reading_time).await);
    let ask =
        |(at, exchange): (usize, &Exchange)| step(at, CallStep::Ask(Box::new(post.clone()), exchange.is_sent.clone()));
    let mut steps: FuturesUnordered<_> = exchanges.iter().enumerate().map(ask).collect();

    while !steps.is_empty() {
        let next = match steps.next().now_or_never() {
            Some(next) => next,
            None => {
                output.flush();
                client.send(output).await?;
                client.wait(steps.next(), output).await?
            }
        };
        let Some((at, stepped)) = next else { break };
        let Some(exchange) = exchanges.get_mut(at) else { break };
        let nth = Nth { call: at as u32, of: times };
        match stepped {
            Err(failure) => exchange.finish(AnswerEnd::Failed(failure), nth, output),
            Ok((None, _)) => exchange.finish(AnswerEnd::Clean, nth, output),
            Ok((Some(piece), mut answer)) => {
                if exchange.read(&piece, nth, output) {
                    answer.progressed(reading_time);
                }
                match exchange.reader.is_over() {
                    true => exchange.finish(AnswerEnd::Clean, nth, output),
                    false => steps.push(step(at, CallStep::Read(answer))),
                }
            }
        }
        client.send(output).await?;
    }
    Ok(())
}

/// The verdict of all calls. Calls without an end failed with `unfinished`; pictures of `lost` slots do not count.
fn conclude(exchanges: Vec<Exchange>, unfinished: Failure, lost: &[u32]) -> (Result<Success, Failure>, Tally) {
    let of = u32::try_from(exchanges.len()).unwrap_or(u32::MAX);
    let mut tally = Tally::default();
    let mut verdicts = Vec::new();
    for (exchange, call) in exchanges.into_iter().zip(0..) {
        let has_content = exchange.outcome.has_content();
        let is_sent = exchange.is_sent.load(Ordering::Relaxed);
        let is_lost = |slot: u32| lost.contains(&Nth { call, of }.slot(slot));
        let verdict = exchange.outcome.verdict(exchange.end.unwrap_or(AnswerEnd::Failed(unfinished)));
        let verdict = verdict.and_then(|success| success.without(is_lost, Failure::Protocol));
        tally.count(&verdict, has_content, is_sent);
        verdicts.push(verdict);
    }
    (Success::of_all(verdicts), tally)
}

/// One call and the part of its answer that was read.
struct Exchange {
    reader: AnswerReader,
    outcome: Outcome,
    end: Option<AnswerEnd>,
    /// The request was sent in full.
    is_sent: Arc<AtomicBool>,
    bytes_in: u64,
}

impl Exchange {
    fn new(dialect: AnyDialect) -> Self {
        let (reader, outcome) = (AnswerReader::new(dialect), Outcome::default());
        Self { reader, outcome, end: None, is_sent: Arc::default(), bytes_in: 0 }
    }

    /// Reads a piece of the answer. Returns whether it contained anything but comments.
    fn read(&mut self, piece: &[u8], nth: Nth, output: &mut impl Output) -> bool {
        self.bytes_in += piece.len() as u64;
        let before = self.outcome.updates();
        let outcome = &mut self.outcome;
        self.reader.push(piece, &mut |update| pass_on(update, outcome, nth, output));
        self.outcome.updates() > before
    }

    fn finish(&mut self, end: AnswerEnd, nth: Nth, output: &mut impl Output) {
        let outcome = &mut self.outcome;
        self.reader.finish(&mut |update| pass_on(update, outcome, nth, output));
        self.end = Some(end);
        output.call_ended(nth);
    }
}

fn pass_on(update: Update<'_>, outcome: &mut Outcome, nth: Nth, output: &mut impl Output) {
    if let Some(news) = outcome.note(update) {
        output.update(&news.of(nth));
    }
}

/// The next step of a call.
enum CallStep<'a> {
    Ask(Box<Post<'a>>, Arc<AtomicBool>),
    Read(Box<UpstreamAnswer>),
}

impl CallStep<'_> {
    /// The next piece of the answer; `None` at its end.
    async fn run(
        self,
        upstream: &Upstream,
        timing: &Timing,
        end_by: Instant,
        reading_time: &ReadingTime,
    ) -> Result<(Option<Bytes>, Box<UpstreamAnswer>), Failure> {
        let mut answer = match self {
            CallStep::Ask(post, is_sent) => {
                Box::new(upstream.post(*post, timing, end_by, reading_time, &is_sent).await?)
            }
            CallStep::Read(answer) => answer,
        };
        Ok((answer.next(reading_time).await?, answer))
    }
}

/// The client, as long as it reads.
struct Client<'a> {
    sender: &'a mut Sender,
    begun: Instant,
    ping: Duration,
    sent_at: Instant,
    end_by: Instant,
    reading_time: &'a ReadingTime,
}

impl Client<'_> {
    /// Sends all that the output has written.
    async fn send(&mut self, output: &mut impl Output) -> Result<(), Failure> {
        loop {
            let bytes = output.take();
            if bytes.is_empty() {
                return Ok(());
            }
            let begun = now();
            let is_read = timeout_at(self.end_by, self.sender.send(bytes)).await;
            self.sent_at = now();
            self.reading_time.pause(self.sent_at - begun);
            match is_read {
                Ok(true) => {}
                Ok(false) => return Err(Failure::ClientClosed),
                Err(_) => return Err(Failure::Deadline),
            }
        }
    }

    /// Waits for `future` and sends a keep-alive after `ping` without output.
    async fn wait<T>(&mut self, future: impl Future<Output = T>, output: &mut impl Output) -> Result<T, Failure> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                value = &mut future => return Ok(value),
                () = self.sender.closed() => {
                    self.sender.give_up();
                    return Err(Failure::ClientClosed);
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

/// As typed events.
impl Output for Events {
    fn update(&mut self, update: &Update<'_>) {
        Events::update(self, update);
    }

    fn take(&mut self) -> Vec<u8> {
        Events::take(self)
    }

    fn flush(&mut self) {
        Events::flush(self);
    }

    fn keep_alive(&mut self, elapsed: Duration) {
        self.process(Some(elapsed.as_millis() as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::SourceIp;

    #[test]
    fn a_task_id_that_is_free_text_is_not_logged() {
        let principal = &Principal::Source(SourceIp::new(None));
        let logged = |task_id: &'static str| {
            CallLabels { route: "/", principal, request_id: "r", task_id }.logged_task_id().to_owned()
        };
        assert_eq!(logged("task_1795215600000"), "task_1795215600000");
        for text in ["a wedding photo of Ann", "任务", "line\nbreak", ""] {
            assert_eq!(logged(text), "(free text)", "{text:?}");
        }
    }
}
