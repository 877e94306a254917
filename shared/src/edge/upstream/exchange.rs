use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::call::UpstreamCalls;
use super::client::{CallFailure, SentMark};
use super::output::Output;
use super::update_sink::UpdateSink;
use crate::edge::clock::{now, unix_ms};
use crate::image_url::LocalLinks;
use crate::media::PictureHash;
use crate::outcome::{AnswerEnd, Outcome};
use crate::price::Price;
use crate::update::{Nth, Update};
use crate::upstream::{AnswerReader, AnyDialect, Cooldowns, Failure};

/// An upstream that a request may be sent to.
#[derive(Debug, Clone)]
pub struct CallTarget<'a> {
    /// Its place in the [`Cooldowns`].
    pub id: usize,
    /// The upstream's name, for record and log.
    pub name: &'a str,
    /// Reads an answer.
    pub dialect: fn(LocalLinks) -> AnyDialect,
    /// Whether generated links may be links to this machine.
    pub links: LocalLinks,
    /// Whether generated links are copied into the bucket. Only where they are results of the upstream: a user can make a
    /// chat model write any link.
    pub copies_links: bool,
    /// Whether an answer may contain pictures that a later one of the same answer replaces.
    pub may_send_drafts: bool,
    /// What a picture costs, where it is configured.
    pub price: Option<Price>,
}

/// One call, and the part of its answer that was read. While upstreams provably do not start it, it goes from one to the
/// next.
pub(super) struct Exchange<'a> {
    /// The place of the target in the route.
    pub(super) place: usize,
    /// The upstream that is called now.
    pub(super) target: &'a CallTarget<'a>,
    /// The upstreams before it, which did not start the call: place, name and reason.
    pub(super) not_started: Vec<(usize, &'a str, Failure)>,
    pub(super) reader: AnswerReader,
    pub(super) outcome: Outcome,
    pub(super) end: Option<AnswerEnd>,
    /// The pause that the last upstream asked for.
    pub(super) retry_after_ms: Option<u64>,
    /// Whether the request was sent in full.
    pub(super) sent: Arc<SentMark>,
    /// When the call of this upstream began.
    begun_ms: u64,
    /// The upstream is known to have started the call.
    is_up: bool,
    pub(super) bytes_in: u64,
}

impl<'a> Exchange<'a> {
    /// A call of the first upstream that is not left out. `None` if the route is empty, which no route is.
    pub(super) fn new(calls: &UpstreamCalls<'a>) -> Option<Self> {
        let (place, target) = choose(calls, &[])?;
        Some(Self {
            place,
            target,
            not_started: Vec::new(),
            reader: reader(calls, target),
            outcome: Outcome::excluding(calls.references.clone()),
            end: None,
            retry_after_ms: None,
            sent: Arc::default(),
            begun_ms: unix_ms(),
            is_up: false,
            bytes_in: 0,
        })
    }

    /// Reads a piece of the answer. Returns whether it contained anything but comments.
    pub(super) fn read(
        &mut self,
        calls: &UpstreamCalls<'a>,
        piece: &[u8],
        nth: Nth,
        sink: &mut UpdateSink<'_, impl Output>,
    ) -> bool {
        self.bytes_in += piece.len() as u64;
        let before = self.outcome.updates();
        let (outcome, copies_links) = (&mut self.outcome, self.target.copies_links);
        self.reader.push(piece, &mut |update| pass_on(update, outcome, nth, copies_links, sink));
        self.note_begin();
        if self.outcome.has_begun() {
            self.started(calls);
        }
        self.outcome.updates() > before
    }

    /// No more of the answer is read.
    pub(super) fn close(&mut self, nth: Nth, sink: &mut UpdateSink<'_, impl Output>) {
        let (outcome, copies_links) = (&mut self.outcome, self.target.copies_links);
        self.reader.finish(&mut |update| pass_on(update, outcome, nth, copies_links, sink));
        self.note_begin();
    }

    fn note_begin(&mut self) {
        if self.reader.has_begun() {
            self.outcome.begin();
        }
    }

    /// The upstream has started the call: it is not left out.
    fn started(&mut self, calls: &UpstreamCalls<'a>) {
        if !std::mem::replace(&mut self.is_up, true) {
            cooldowns(calls).started(self.target.id, self.begun_ms);
        }
    }

    /// Moves a closed call to the next upstream, if its upstream provably did not start it, there is another one, and
    /// `end_by` has not passed. Returns the call's end otherwise.
    pub(super) fn move_on(
        &mut self,
        calls: &UpstreamCalls<'a>,
        end_by: Instant,
        answer: Result<(), CallFailure>,
    ) -> Option<AnswerEnd> {
        let end = answer.map_or_else(|failed| AnswerEnd::Failed(failed.failure), |()| AnswerEnd::Clean);
        let Some(failure) = self.outcome.not_started(end) else {
            // An upstream that judges the user's input is up.
            let is_up = match end {
                AnswerEnd::Clean => true,
                AnswerEnd::Failed(failure) => failure.is_users_fault() || self.outcome.has_begun(),
            };
            if is_up {
                self.started(calls);
            }
            return Some(end);
        };
        self.retry_after_ms = answer.err().and_then(|failed| failed.retry_after_ms);
        cooldowns(calls).failed(self.target.id, failure, self.retry_after_ms, unix_ms());
        if now() >= end_by {
            return Some(end);
        }
        let before = self.not_started.iter().map(|(place, ..)| *place);
        let Some((place, target)) = choose(calls, &before.chain([self.place]).collect::<Vec<_>>()) else {
            return Some(end);
        };
        calls.labels.moved_on(self.target.name, failure);
        self.not_started.push((self.place, self.target.name, failure));
        (self.place, self.target) = (place, target);
        self.reader = reader(calls, target);
        self.outcome = Outcome::excluding(calls.references.clone());
        // The body of the earlier call may still be on its way.
        self.sent = Arc::default();
        (self.begun_ms, self.is_up) = (unix_ms(), false);
        None
    }

    /// Records the end of a closed call.
    pub(super) fn end(&mut self, end: AnswerEnd, nth: Nth, sink: &mut UpdateSink<'_, impl Output>) {
        self.end = Some(end);
        sink.call_ended(nth);
    }
}

fn pass_on(
    update: Update<'_>,
    outcome: &mut Outcome,
    nth: Nth,
    copies_links: bool,
    sink: &mut UpdateSink<'_, impl Output>,
) {
    if let Some(news) = outcome.note(update) {
        sink.update(&news.of(nth), copies_links);
    }
}

/// The place in the route of the next upstream to call, and that upstream.
fn choose<'a>(calls: &UpstreamCalls<'a>, tried: &[usize]) -> Option<(usize, &'a CallTarget<'a>)> {
    let route: Vec<_> = calls.targets.iter().map(|target| target.id).collect();
    let place = cooldowns(calls).choose(&route, tried, unix_ms())?;
    Some((place, calls.targets.get(place)?))
}

/// Reads the target's answer. The pictures of the request are known by their SHA-256.
fn reader(calls: &UpstreamCalls<'_>, target: &CallTarget<'_>) -> AnswerReader {
    let needs_sha256 = calls.label_rules.is_none() || !calls.references.is_empty();
    let hash = if needs_sha256 { PictureHash::Sha256 } else { PictureHash::Fast };
    AnswerReader::new((target.dialect)(target.links).with_hash(hash))
}

fn cooldowns<'a>(calls: &UpstreamCalls<'a>) -> MutexGuard<'a, Cooldowns> {
    calls.cooldowns.lock().unwrap_or_else(PoisonError::into_inner)
}
