//! `POST /api/generate-stream`: pictures from a prompt and up to three reference pictures, streamed as they are made;
//! and `POST /api/generate-image`, its one-shot sister.
//!
//! One request is one straight line: route, configuration, sign-in, body, limit, secret, upstream, stream.

#![forbid(unsafe_code)]

mod ask;
mod present;
mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use shared::auth::Principal;
use shared::config::GenerateConfig;
use shared::edge::{
    Admission, Admitted, Body, Call, Caller, Names, Present, Rate, Route, Sender, Wanted, accepts, idempotency_key,
    new_id, read_json, run, set_rate, set_task_id, unix_seconds,
};
use shared::events::{Events, Style, padding};
use shared::image_url::LocalLinks;
use shared::outcome::{Source, Success};
use shared::problem::{Code, Lang, Problem};
use shared::secret::Secret;
use shared::upstream::AnyDialect;

use crate::ask::ask;
use crate::present::{Pictures, Relay};
use crate::request::{Format, GenerateRequest};

/// Answers as it goes.
const STREAM: Route = Route { path: "/api/generate-stream", method: Method::POST };
/// Answers when all is whole.
const IMAGE: Route = Route { path: "/api/generate-image", method: Method::POST };

/// What all requests of a process share.
pub type App = shared::edge::App<GenerateConfig>;

/// Answers one request.
pub async fn handle(app: Arc<App>, request: Request<Bytes>) -> Response<Body> {
    let caller = Caller::of(&request);
    let route = if request.uri().path() == IMAGE.path { &IMAGE } else { &STREAM };
    let mut rate = None;
    let mut response = match caller.guard(respond(app, route, &caller, &request, &mut rate)).await {
        Ok(response) => response,
        Err(problem) => route.allow(caller.problem(&problem)),
    };
    if let Some(rate) = &rate {
        set_rate(&mut response, rate);
    }
    response
}

async fn respond(
    app: Arc<App>,
    route: &'static Route,
    caller: &Caller,
    request: &Request<Bytes>,
    rate: &mut Option<Rate>,
) -> Result<Response<Body>, Problem> {
    route.check(request)?;
    let ready = app.ready()?;
    let principal = ready.sign_in.check(request, caller).await?;
    let delivery = Delivery::of(route, request);
    let mut wanted = GenerateRequest::parse(read_json(request)?, &ready.config.image_api, app.links())?;
    match (delivery, wanted.format) {
        // Their documentation makes one picture, whatever they say.
        (Delivery::Stream, Format::Chat) if !ready.config.chat_n => wanted.n = 1,
        (Delivery::Bytes, _) => wanted.check_one()?,
        _ => {}
    }
    let task_id = idempotency_key(request)?.unwrap_or_else(new_id);
    let admitted = ready.ledger.admit(
        Wanted {
            principal: &principal,
            route: route.path,
            task_id: &task_id,
            fingerprint: wanted.fingerprint(route.path),
            calls: wanted.n,
            images: wanted.n,
            replays: false,
            deadline: caller.deadline,
        },
        rate,
    );
    let Admitted::Run(admission) = admitted.await? else { return Err(Code::TaskAlreadyCompleted.into()) };
    let key = match ready.keys.get().await {
        Ok(key) => key,
        Err(code) => {
            ready.ledger.undo(&admission).await;
            return Err(code.into());
        }
    };
    let caller = caller.clone();
    let task = Task { app: app.clone(), route, caller, principal, admission, task_id: task_id.clone(), key };
    let mut response = match (delivery, wanted.format) {
        (Delivery::Json | Delivery::Bytes, _) => task.whole(wanted, delivery).await,
        (Delivery::Stream, Format::Events) => task.caller.clone().stream(task.events(wanted)),
        (Delivery::Stream, Format::Chat) => {
            let caller = task.caller.clone();
            let mut body = task.chat(wanted);
            match body.hold(ready.config.timing.head_hold).await {
                Some(problem) => caller.problem(&problem),
                None => {
                    let mut first = Vec::new();
                    padding(&mut first);
                    caller.stream(body.after(first))
                }
            }
        }
    };
    set_task_id(&mut response, &task_id);
    Ok(response)
}

/// How the answer is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Stream,
    Json,
    /// Of one picture.
    Bytes,
}

impl Delivery {
    fn of<B>(route: &Route, request: &Request<B>) -> Self {
        match route.path == IMAGE.path {
            false => Self::Stream,
            true if accepts(request, &["image/*"]) && !accepts(request, &["application/json"]) => Self::Bytes,
            true => Self::Json,
        }
    }
}

/// One accepted request.
struct Task {
    app: Arc<App>,
    route: &'static Route,
    caller: Caller,
    principal: Principal,
    admission: Box<Admission>,
    task_id: String,
    key: Secret,
}

impl Task {
    /// Typed events: the head and the first two go out at once, before the upstream is called.
    fn events(self, wanted: GenerateRequest) -> Body {
        let mut events = Events::new(self.task_id.clone(), self.caller.lang, Style::Generate { n: wanted.n });
        let tell = events.last_words(self.caller.request_id.clone());
        Body::stream(
            |sender| async move {
                let mut first = Vec::new();
                padding(&mut first);
                events.start();
                events.process(None);
                first.extend_from_slice(&events.take());
                sender.send(first).await;

                match self.call(&wanted, &mut events, Some(&sender)).await {
                    Ok((success, credits_remaining)) => events.done(&success, credits_remaining),
                    Err(problem) => events.error(&problem, &self.caller.request_id),
                }
                sender.last(events.take()).await;
            },
            tell,
        )
    }

    /// Chat chunks: the upstream's own bytes for as long as an older frontend reads them right.
    fn chat(self, wanted: GenerateRequest) -> Body {
        let (lang, request_id): (Lang, String) = (self.caller.lang, self.caller.request_id.clone());
        let tell = move |problem: &Problem| present::chat_error(problem, lang, &request_id);
        Body::stream(
            |sender| async move {
                let hold = self.app.ready().map_or(Duration::ZERO, |ready| ready.config.timing.head_hold);
                let mut relay = Relay::new(&self.task_id, &wanted.model, unix_seconds(), wanted.n, hold);
                match self.call(&wanted, &mut relay, Some(&sender)).await {
                    Ok(_) => sender.last(relay.done()).await,
                    Err(problem) => {
                        sender.send(relay.interrupted()).await;
                        sender.fail(problem).await;
                    }
                }
            },
            tell,
        )
    }

    /// One answer, when all is whole.
    async fn whole(self, wanted: GenerateRequest, delivery: Delivery) -> Response<Body> {
        let mut pictures = Pictures::default();
        let (success, credits_remaining) = match self.call(&wanted, &mut pictures, None).await {
            Ok(ended) => ended,
            Err(problem) => return self.caller.problem(&problem),
        };
        let json = |pictures: &Pictures| pictures.json(&success, credits_remaining, unix_seconds(), self.caller.lang);
        match (delivery, success.images.first().map(|image| &image.source)) {
            // Nothing is fetched here: who wants the bytes is shown where they are.
            (Delivery::Bytes, Some(Source::Link { url, .. })) => self.caller.elsewhere(url, json(&pictures)),
            (Delivery::Bytes, Some(Source::Inline(whole))) => match pictures.first(&success) {
                Some(bytes) => self.caller.image(bytes, whole),
                None => self.caller.problem(&Code::InternalError.into()),
            },
            _ => self.caller.json(json(&pictures)),
        }
    }

    /// Calls the upstream, and settles before anybody hears how it ended.
    async fn call(
        &self,
        wanted: &GenerateRequest,
        present: &mut impl Present,
        sender: Option<&Sender>,
    ) -> Result<(Success, Option<u64>), Problem> {
        let ready = self.app.ready()?;
        let api = &ready.config.image_api;
        let post = match ask(api, wanted, self.key.clone(), &ready.keys, &self.caller.request_id).await {
            Ok(post) => post,
            Err(code) => {
                ready.ledger.undo(&self.admission).await;
                return Err(code.into());
            }
        };
        let links = LocalLinks::beside(&api.base_url);
        let names = Names {
            route: self.route.path,
            principal: &self.principal,
            request_id: &self.caller.request_id,
            task_id: &self.task_id,
        };
        let call = Call {
            upstream: &ready.upstream,
            timing: &ready.config.timing,
            deadline: self.caller.deadline,
            times: wanted.n,
            names,
        };
        let ended = run(call, post, || AnyDialect::new(links), present, sender).await;
        let verdict = ended.verdict.as_ref().map_err(|failure| *failure);
        let credits_remaining = ready.ledger.settle(&self.admission, verdict, ended.tally).await;
        Ok((ended.verdict?, credits_remaining))
    }
}
