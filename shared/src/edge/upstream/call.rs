use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::client::{CallFailure, Post, ReadingTime, SentMark, Upstream, UpstreamAnswer};
use super::client_end::ClientEnd;
use super::exchange::{CallTarget, Exchange};
use super::output::Output;
use super::summary_line::{CallLabels, Ended};
use super::update_sink::UpdateSink;
use crate::config::Timing;
use crate::edge::clock::now;
use crate::edge::http::Sender;
use crate::edge::store::{Admission, KeepEnd, Keeper, Ledger, UpstreamWork};
use crate::held::HeldPicture;
use crate::image_url::LocalLinks;
use crate::labelled::PictureLabels;
use crate::media::label::LabelRules;
use crate::outcome::{AnswerEnd, Success, Tally};
use crate::price::Price;
use crate::problem::Code;
use crate::update::Nth;
use crate::upstream::{Cooldowns, Failure};

/// The upstream calls of one request, without the body that is sent.
#[derive(Debug)]
pub struct UpstreamCalls<'a> {
    /// The HTTP client.
    pub upstream: &'a Upstream,
    /// The time limits.
    pub timing: &'a Timing,
    /// Where the request is settled.
    pub ledger: &'a Ledger,
    /// What the request has reserved.
    pub admission: &'a Admission,
    /// How often the same request is sent, all at once: an upstream makes one picture per call.
    pub times: u32,
    /// The upstreams that may be called, at least one, in their order. A call that one of them did not start goes to the
    /// next.
    pub targets: &'a [CallTarget<'a>],
    /// Which upstreams are left out.
    pub cooldowns: &'a Mutex<Cooldowns>,
    /// The request's own pictures, as [`InputPicture::identity`](crate::input::InputPicture::identity) writes them: an
    /// upstream that sends one back has made no picture.
    pub references: Vec<String>,
    /// What is written into the pictures, where they are labelled.
    pub label_rules: Option<&'a LabelRules>,
    /// Names the calls in the log.
    pub labels: CallLabels<'a>,
}

/// Makes the request to a target, by its place in [`UpstreamCalls::targets`].
pub type MakePost<'f, 'a> = &'f (dyn Fn(usize) -> Result<Post<'a>, Code> + Sync);

/// A request that succeeded and is settled.
#[derive(Debug)]
pub struct Delivered {
    /// The pictures and what failed beside them.
    pub success: Success,
    /// The remaining credits, where generations cost some.
    pub credits_remaining: Option<u64>,
    /// The pictures that the output needed and has not taken, in slot order.
    pub pictures: Vec<HeldPicture>,
}

/// Time before the deadline for settlement and the terminal event.
const MARGIN: Duration = Duration::from_secs(5);
/// Time before the deadline at which a client that is still reading held pictures is given up.
const SEND_MARGIN: Duration = Duration::from_secs(3);

/// Sends the request `times` times, reads the answers into `output`, sends the client what `output` writes, and settles.
/// A call that an upstream provably did not start is sent to the next one; any other is sent once.
///
/// Where pictures are kept, the work goes on when the client leaves or is given up; elsewhere it ends then. A panic counts
/// as a failed call, so that the request is settled.
///
/// # Errors
/// No call has delivered a whole picture.
pub async fn run(
    calls: UpstreamCalls<'_>,
    post: MakePost<'_, '_>,
    output: &mut impl Output,
    sender: &mut Sender,
) -> Result<Delivered, CallFailure> {
    let UpstreamCalls { timing, ledger, admission, .. } = calls;
    let begun = now();
    let is_local = calls.targets.iter().any(|target| target.links == LocalLinks::Allowed);
    let links = if is_local { LocalLinks::Allowed } else { LocalLinks::Refused };
    let is_edit = !calls.references.is_empty();
    let label_rules = calls.label_rules.map(|rules| LabelRules { is_edit, ..rules.clone() });
    let keeper = ledger.keeper(admission, links, label_rules.as_ref());
    let margin = MARGIN + keeper.as_ref().map(Keeper::time_limit).unwrap_or_default();
    let end_by = (begun + timing.total).min(admission.deadline().checked_sub(margin).unwrap_or(begun));
    let reading_time = ReadingTime::default();
    let mut client = ClientEnd {
        sender,
        outlives_client: keeper.is_some(),
        stopped: Some(Box::pin(ledger.stopped(admission, timing.cancel_poll))),
        begun,
        ping: timing.ping,
        sent_at: begun,
        end_by,
        is_ending: false,
        reading_time: &reading_time,
        unsent: Bytes::new(),
    };
    let mut exchanges: Vec<_> = (0..calls.times).filter_map(|_| Exchange::new(&calls)).collect();
    let picture_labels = label_rules.map(|rules| PictureLabels::new(&rules, admission.run()));
    let mut sink = UpdateSink::new(output, keeper, picture_labels);

    let mut upstream_time = None;
    let work = async {
        let read = read_all(&calls, post, end_by, &mut exchanges, &mut sink, &mut client).await;
        upstream_time = Some(reading_time.now() - begun);
        let is_cut_off = matches!(read, Err(Failure::Cancelled | Failure::Deadline));
        if let (true, Err(failure)) = (is_cut_off, read) {
            cut_off(&mut exchanges, failure, &mut sink);
        }
        // A request to stop comes too late now.
        client.stopped = None;
        client.end_by = admission.deadline().checked_sub(SEND_MARGIN).unwrap_or(end_by);
        client.is_ending = true;
        let stored = store_rest(&mut sink, &mut client).await;
        // Each call has its end then. What matters is whether the client has received the rest.
        if is_cut_off { stored } else { read.and(stored) }
    };
    let unfinished = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => {
            // What is held for the client is sent, unless that panics too. The rest of the answers is not read: their
            // readers may be in any state.
            let rest = async {
                end_open(&mut exchanges, Failure::Internal, &mut sink);
                sink.finish();
                client.send(sink.output).await
            };
            let _ = AssertUnwindSafe(rest).catch_unwind().await;
            Some(Failure::Internal)
        }
    };
    let bytes_in = exchanges.iter().map(|exchange| exchange.bytes_in).sum();
    let not_started = not_started(&exchanges);
    let mut lost: Vec<_> = sink.held.lost().iter().map(|slot| (*slot, Failure::Protocol)).collect();
    lost.extend(sink.writing.map(|slot| (slot, Failure::Internal)));
    // All of them are called again.
    let retry_after_ms = exchanges.iter().filter_map(|exchange| exchange.retry_after_ms).max();
    let (mut verdict, tally, work) = conclude(exchanges, unfinished.unwrap_or(Failure::Internal), &lost);
    if unfinished == Some(Failure::Deadline) && verdict.is_ok() {
        // The client has not received all that a success lists.
        client.sender.give_up();
    }
    if let (Ok(success), Some(labels)) = (&mut verdict, &sink.labels) {
        labels.apply(success);
    }
    let kept = verdict.as_mut().map_or(Vec::new(), |success| sink.add_links(success));
    let ended = Ended {
        verdict: verdict.as_ref().map_err(|failure| *failure),
        run: admission.run(),
        work: &work,
        not_started: &not_started,
        stored: kept.len(),
        bytes_in,
        took: now() - begun,
        upstream_time: upstream_time.unwrap_or(now() - begun),
        client_left: client.sender.is_given_up(),
    };
    calls.labels.log(&ended);
    let credits_remaining = ledger.settle(admission, ended.verdict, tally, &kept, &work).await;
    let success = verdict.map_err(|failure| CallFailure { failure, retry_after_ms })?;
    Ok(Delivered { success, credits_remaining, pictures: sink.held.take(|_| true) })
}

/// The next thing that happens to a request.
enum Progress {
    /// A step of the call with this number has ended; `None` when all calls have.
    Stepped(Option<(usize, Stepped)>),
    /// The storing of a picture has ended.
    Stored(KeepEnd),
}

/// The next piece of an answer, `None` at its end; and the rest of the answer.
type Stepped = Result<(Option<Bytes>, Box<UpstreamAnswer>), CallFailure>;

/// Reads all answers to their end.
///
/// # Errors
/// As [`ClientEnd::send`].
async fn read_all<'a>(
    calls: &UpstreamCalls<'a>,
    post: MakePost<'_, '_>,
    end_by: Instant,
    exchanges: &mut [Exchange<'a>],
    sink: &mut UpdateSink<'_, impl Output>,
    client: &mut ClientEnd<'_>,
) -> Result<(), Failure> {
    let UpstreamCalls { upstream, timing, times, .. } = *calls;
    let reading_time = client.reading_time;
    let step = async |at: usize, step: CallStep<'_>| (at, step.run(upstream, timing, end_by, reading_time).await);
    // The calls of one target share its request.
    let mut posts: Vec<Option<Result<Post<'_>, Code>>> = vec![None; calls.targets.len()];
    let mut ask = |exchange: &Exchange<'_>| {
        let made = posts.get_mut(exchange.place).map(|made| made.get_or_insert_with(|| post(exchange.place)).clone());
        CallStep::Ask(made.unwrap_or(Err(Code::InternalError)).map(Box::new), exchange.sent.clone())
    };
    for exchange in &*exchanges {
        sink.output.calls(exchange.target.may_send_drafts);
    }
    let mut steps: FuturesUnordered<_> =
        exchanges.iter().enumerate().map(|(at, exchange)| step(at, ask(exchange))).collect();
    let mut moves = 0;

    while !steps.is_empty() {
        let next = match steps.next().now_or_never() {
            Some(next) => Progress::Stepped(next),
            None => {
                sink.output.flush();
                client.send(sink.output).await?;
                let keeper = &mut sink.keeper;
                let next = async {
                    tokio::select! {
                        biased;
                        stepped = steps.next() => Progress::Stepped(stepped),
                        end = next_stored(keeper) => Progress::Stored(end),
                    }
                };
                client.wait(next, sink.output).await?
            }
        };
        match next {
            Progress::Stored(end) => sink.stored(end),
            Progress::Stepped(None) => break,
            Progress::Stepped(Some((at, stepped))) => {
                let Some(exchange) = exchanges.get_mut(at) else { break };
                let nth = Nth { call: at as u32, of: times };
                let end = match stepped {
                    Err(failure) => Err(failure),
                    Ok((None, _)) => Ok(()),
                    Ok((Some(piece), mut answer)) => {
                        if exchange.read(calls, &piece, nth, sink) {
                            answer.progressed(reading_time);
                        }
                        if !exchange.reader.is_over() {
                            steps.push(step(at, CallStep::Read(answer)));
                            continue;
                        }
                        Ok(())
                    }
                };
                exchange.close(nth, sink);
                match exchange.move_on(calls, end_by, end) {
                    Some(end) => exchange.end(end, nth, sink),
                    None => {
                        sink.output.calls(exchange.target.may_send_drafts);
                        if exchange.not_started.len() > moves {
                            moves = exchange.not_started.len();
                            sink.output.another_way(now() - client.begun);
                        }
                        steps.push(step(at, ask(exchange)));
                    }
                }
            }
        }
        client.send(sink.output).await?;
    }
    Ok(())
}

/// Ends the calls that are still open: the task's owner has asked it to stop, or the time is over.
fn cut_off(exchanges: &mut [Exchange<'_>], failure: Failure, sink: &mut UpdateSink<'_, impl Output>) {
    let of = u32::try_from(exchanges.len()).unwrap_or(u32::MAX);
    for (exchange, call) in exchanges.iter_mut().zip(0..).filter(|(exchange, _)| exchange.end.is_none()) {
        exchange.close(Nth { call, of }, sink);
    }
    end_open(exchanges, failure, sink);
}

/// Records the failure of every call that has not ended.
fn end_open(exchanges: &mut [Exchange<'_>], failure: Failure, sink: &mut UpdateSink<'_, impl Output>) {
    let of = u32::try_from(exchanges.len()).unwrap_or(u32::MAX);
    for (exchange, call) in exchanges.iter_mut().zip(0..).filter(|(exchange, _)| exchange.end.is_none()) {
        exchange.end(AnswerEnd::Failed(failure), Nth { call, of }, sink);
    }
}

/// Waits for the pictures that are still being stored, within their time limit, and sends what is left to send.
///
/// # Errors
/// As [`ClientEnd::send`].
async fn store_rest(sink: &mut UpdateSink<'_, impl Output>, client: &mut ClientEnd<'_>) -> Result<(), Failure> {
    while let Some(keeper) = sink.keeper.as_mut().filter(|keeper| !keeper.is_idle()) {
        let wait_until = keeper.wait_until();
        let next = async {
            tokio::select! {
                biased;
                end = keeper.next() => Some(end),
                () = sleep_until(wait_until) => None,
            }
        };
        let Some(end) = client.wait(next, sink.output).await? else { break };
        sink.stored(end);
        client.send(sink.output).await?;
    }
    sink.finish();
    client.send(sink.output).await
}

/// The next picture whose storing has ended. Pending while none is being stored.
async fn next_stored(keeper: &mut Option<Keeper>) -> KeepEnd {
    match keeper {
        Some(keeper) => keeper.next().await,
        None => std::future::pending().await,
    }
}

/// The verdict of all calls. Calls without an end failed with `unfinished`; pictures of `lost` slots do not count: they
/// failed with the failure beside the slot.
fn conclude(
    exchanges: Vec<Exchange<'_>>,
    unfinished: Failure,
    lost: &[(u32, Failure)],
) -> (Result<Success, Failure>, Tally, UpstreamWork) {
    let of = u32::try_from(exchanges.len()).unwrap_or(u32::MAX);
    let (mut tally, mut cost) = (Tally::default(), None::<Price>);
    let names: Vec<_> = exchanges.iter().map(|exchange| exchange.target.name.to_owned()).collect();
    let mut verdicts = Vec::new();
    for (exchange, call) in exchanges.into_iter().zip(0..) {
        let has_begun = exchange.outcome.has_begun();
        let is_sent = exchange.sent.is_sent();
        let verdict = exchange.outcome.verdict(exchange.end.unwrap_or(AnswerEnd::Failed(unfinished)));
        let verdict = lost.iter().fold(verdict, |verdict, (lost, failure)| {
            verdict.and_then(|success| success.without(|slot| Nth { call, of }.slot(slot) == *lost, *failure))
        });
        tally.count(&verdict, has_begun, is_sent);
        if let (Ok(success), Some(price)) = (&verdict, exchange.target.price) {
            cost = Some(cost.unwrap_or_default().plus(price.times(success.images.len())));
        }
        verdicts.push(verdict);
    }
    (Success::of_all(verdicts), tally, UpstreamWork { upstream: listed(names), cost })
}

/// The upstreams that did not start a call, each with its failure, for the log.
fn not_started(exchanges: &[Exchange<'_>]) -> String {
    let all = exchanges.iter().flat_map(|exchange| &exchange.not_started);
    listed(all.map(|(_, name, failure)| format!("{name} ({failure})")).collect())
}

/// Each name once, in order.
fn listed(names: Vec<String>) -> String {
    let mut once: Vec<String> = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once.join(", ")
}

/// The next step of a call.
enum CallStep<'a> {
    /// An error if the request cannot be made.
    Ask(Result<Box<Post<'a>>, Code>, Arc<SentMark>),
    Read(Box<UpstreamAnswer>),
}

impl CallStep<'_> {
    /// The next piece of the answer; `None` at its end.
    async fn run(self, upstream: &Upstream, timing: &Timing, end_by: Instant, reading_time: &ReadingTime) -> Stepped {
        let mut answer = match self {
            CallStep::Ask(post, sent) => {
                let post = post.map_err(|_| Failure::Internal)?;
                Box::new(upstream.post(&post, timing, end_by, reading_time, &sent).await?)
            }
            CallStep::Read(answer) => answer,
        };
        Ok((answer.next(reading_time).await?, answer))
    }
}
