//! `POST /api/generate-stream`: pictures from a prompt and up to three reference pictures, streamed as they are made;
//! and `POST /api/generate-image`, its one-shot sister.
//!
//! The steps of a request, in order: route, configuration, sign-in, body, limit, secret, upstream, stream.

#![forbid(unsafe_code)]

mod input;
mod output;
mod upstream_request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use shared::auth::Principal;
use shared::config::{GenerateConfig, Timing};
use shared::edge::{
    Admission, AdmitRequest, Admitted, Body, CallLabels, Caller, Generator, Output, Refused, Route, Sender,
    UpstreamCalls, accepts, detached, idempotency_key, json_body, new_id, run, set_rate, set_task_id, unix_seconds,
};
use shared::events::{EventStyle, Events, padding};
use shared::image_url::LocalLinks;
use shared::outcome::{ImageSource, Success};
use shared::problem::{Code, Lang, Problem};
use shared::secret::Secret;
use shared::upstream::{AnyDialect, may_send_drafts};

use crate::input::{Format, GenerateInput};
use crate::output::{ChatOutput, OneShotOutput, chat_error};
use crate::upstream_request::upstream_request;

/// The streaming route.
const STREAM: Route = Route { path: "/api/generate-stream", method: Method::POST };
/// The route that answers when all pictures are whole.
const IMAGE: Route = Route { path: "/api/generate-image", method: Method::POST };

/// What all requests of a process share.
pub type App = shared::edge::App<Generator<GenerateConfig>>;

/// Answers one request.
pub async fn handle(app: Arc<App>, request: Request<Bytes>) -> Response<Body> {
    let caller = Caller::of(&request);
    let route = if request.uri().path() == IMAGE.path { &IMAGE } else { &STREAM };
    let answer = caller.guard(respond(app, route, &caller, &request)).await;
    answer.unwrap_or_else(|refused| caller.refused(route, &refused))
}

async fn respond(
    app: Arc<App>,
    route: &'static Route,
    caller: &Caller,
    request: &Request<Bytes>,
) -> Result<Response<Body>, Refused> {
    route.check(request)?;
    let ready = app.ready()?;
    let principal = ready.sign_in.check(request, caller).await?;
    let delivery = Delivery::of(route, request);
    let mut wanted = GenerateInput::parse(json_body(request)?, &ready.config.image_api, app.links())?;
    let fingerprint = wanted.fingerprint();
    match (delivery, wanted.format) {
        // Frontends of this format expect one picture for any `n`, as documented.
        (Delivery::Stream, Format::Chat) if !ready.config.chat_n => wanted.n = 1,
        (Delivery::Bytes, _) => wanted.check_one()?,
        _ => {}
    }
    let task_id = idempotency_key(request)?.unwrap_or_else(new_id);
    let admitted = ready.ledger.admit(AdmitRequest {
        principal: &principal,
        route: route.path,
        task_id: &task_id,
        fingerprint,
        calls: wanted.n,
        images: wanted.n,
        replays: false,
        deadline: caller.deadline,
    });
    let Admitted::Run(admission) = admitted.await? else { return Err(Code::TaskAlreadyCompleted.into()) };
    let admission: Arc<Admission> = admission.into();
    let key = match ready.keys.get().await {
        Ok(key) => key,
        Err(code) => return Err(ready.ledger.refuse(&admission, code).await),
    };
    let caller = caller.clone();
    let task = GenerateTask {
        ready: ready.clone(),
        route,
        caller: caller.clone(),
        principal,
        admission: admission.clone(),
        task_id,
        key,
    };
    let task_id = task.task_id.clone();
    let timing = &ready.config.timing;
    let mut response = match (delivery, wanted.format) {
        (Delivery::Json | Delivery::Bytes, _) => task.one_shot(wanted, delivery).await,
        (Delivery::Stream, Format::Events) => caller.stream(task.events(wanted, timing.client_stall)),
        (Delivery::Stream, Format::Chat) => {
            let mut body = task.chat(wanted, timing);
            match body.hold(timing.head_hold).await {
                Some(problem) => caller.problem(&problem),
                None => {
                    let mut first = Vec::new();
                    padding(&mut first);
                    caller.stream(body.after(first))
                }
            }
        }
    };
    // A failure before the head may have refunded tokens.
    set_rate(&mut response, admission.rate().as_ref());
    set_task_id(&mut response, &task_id);
    Ok(response)
}

/// How the answer is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Stream,
    Json,
    /// The bytes of one picture.
    Bytes,
}

impl Delivery {
    fn of<B>(route: &Route, request: &Request<B>) -> Self {
        match route.path == IMAGE.path {
            false => Self::Stream,
            true if any_picture(request) && !accepts(request, "application/json") => Self::Bytes,
            true => Self::Json,
        }
    }
}

/// Whether a client accepts every picture type: the type is known only after the picture is paid.
fn any_picture<B>(request: &Request<B>) -> bool {
    ["image/png", "image/jpeg", "image/webp"].iter().all(|media_type| accepts(request, media_type))
}

/// One accepted request.
struct GenerateTask {
    ready: Arc<Generator<GenerateConfig>>,
    route: &'static Route,
    caller: Caller,
    principal: Principal,
    admission: Arc<Admission>,
    task_id: String,
    key: Secret,
}

impl GenerateTask {
    /// Typed events. The head and the first two events are sent at once, before the upstream is called.
    fn events(self, wanted: GenerateInput, stall: Duration) -> Body {
        let mut events = Events::new(self.task_id.clone(), self.caller.lang, EventStyle::Generate { n: wanted.n });
        let write_error = events.error_writer(self.caller.request_id.clone());
        let producer = |mut sender: Sender| async move {
            let mut first = Vec::new();
            padding(&mut first);
            events.start();
            events.process(None);
            first.extend_from_slice(&events.take());
            sender.send(first).await;

            match self.call(wanted, &mut events, &mut sender).await {
                Ok((success, credits_remaining)) => events.done(&success, credits_remaining),
                Err(problem) => events.error(&problem, &self.caller.request_id),
            }
            sender.last(events.take());
        };
        Body::stream(stall, producer, write_error)
    }

    /// Chat chunks, as the older frontends read them.
    fn chat(self, wanted: GenerateInput, timing: &Timing) -> Body {
        let (lang, request_id): (Lang, String) = (self.caller.lang, self.caller.request_id.clone());
        let write_error = move |problem: &Problem| chat_error(problem, lang, &request_id);
        let streams_first = !may_send_drafts(&wanted.model);
        let mut output =
            ChatOutput::new(&self.task_id, &wanted.model, unix_seconds(), wanted.n, streams_first, timing.head_hold);
        let producer = |mut sender: Sender| async move {
            match self.call(wanted, &mut output, &mut sender).await {
                Ok((success, _)) => sender.last(output.done(&success)),
                Err(problem) => sender.fail(problem),
            }
        };
        Body::stream(timing.client_stall, producer, write_error)
    }

    /// One answer, when all pictures are whole.
    async fn one_shot(self, wanted: GenerateInput, delivery: Delivery) -> Response<Body> {
        let caller = self.caller.clone();
        let work = |mut sender: Sender| async move {
            let mut output = OneShotOutput::default();
            let ended = self.call(wanted, &mut output, &mut sender).await;
            ended.map(|(success, credits_remaining)| (output, success, credits_remaining))
        };
        let (output, success, credits_remaining) = match detached(work).await {
            Some(Ok(ended)) => ended,
            Some(Err(problem)) => return caller.problem(&problem),
            None => return caller.problem(&Code::InternalError.into()),
        };
        let json =
            |output: OneShotOutput| Body::slices(output.json(&success, credits_remaining, unix_seconds(), caller.lang));
        match (delivery, success.images.first().map(|image| &image.source)) {
            // The link is not fetched: the response redirects to it.
            (Delivery::Bytes, Some(ImageSource::Link { url, .. })) => caller.see_other(url, json(output)),
            (Delivery::Bytes, Some(ImageSource::Inline(whole))) => match output.first(&success) {
                Some(bytes) => caller.image(bytes, whole),
                None => caller.problem(&Code::InternalError.into()),
            },
            _ => caller.json(json(output)),
        }
    }

    /// Calls the upstream, and settles before the client learns how it ended.
    async fn call(
        &self,
        wanted: GenerateInput,
        output: &mut impl Output,
        sender: &mut Sender,
    ) -> Result<(Success, Option<u64>), Problem> {
        let Generator { config, ledger, upstream, keys, .. } = &*self.ready;
        let (api, times) = (&config.image_api, wanted.n);
        let post = match upstream_request(api, wanted, self.key.clone(), keys, &self.caller.request_id).await {
            Ok(post) => post,
            Err(code) => return Err(ledger.refuse(&self.admission, code).await.problem),
        };
        let links = LocalLinks::beside(&api.base_url);
        let labels = CallLabels {
            route: self.route.path,
            principal: &self.principal,
            request_id: &self.caller.request_id,
            task_id: &self.task_id,
        };
        let call =
            UpstreamCalls { upstream, timing: &config.timing, deadline: self.admission.deadline(), times, labels };
        let ended = run(call, post, || AnyDialect::new(links), output, sender).await;
        let verdict = ended.verdict.as_ref().map_err(|failure| *failure);
        let credits_remaining = ledger.settle(&self.admission, verdict, ended.tally).await;
        Ok((ended.verdict?, credits_remaining))
    }
}
