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
use shared::config::{GenerateConfig, ImageApiMode, ImageTarget, Timing};
use shared::edge::{
    Admission, AdmitRequest, Admitted, Body, CallLabels, CallTarget, Caller, Delivered, Generator, Output, Refused,
    Route, Sender, UpstreamCalls, accepts, detached, idempotency_key, json_body, new_id, run, set_rate, set_task_id,
    unix_seconds,
};
use shared::events::{EventStyle, Events, padding};
use shared::held::{HeldContent, HeldPicture};
use shared::image_url::LocalLinks;
use shared::input::InputPicture;
use shared::outcome::{DeliveredImage, Success};
use shared::problem::{Code, Lang, Problem};
use shared::upstream::AnyDialect;

use crate::input::{Format, GenerateInput};
use crate::output::{ChatOutput, OneShotOutput, chat_error, one_shot_json};
use crate::upstream_request::upstream_request;

/// The streaming route.
const STREAM: Route = Route { path: "/api/generate-stream", methods: &[Method::POST] };
/// The route that answers when all pictures are whole.
const IMAGE: Route = Route { path: "/api/generate-image", methods: &[Method::POST] };

/// What all requests of a process share.
pub type App = shared::edge::App<Generator<GenerateConfig>>;

/// Answers one request.
pub async fn handle(app: Arc<App>, request: Request<Bytes>) -> Response<Body> {
    let caller = Caller::of(&request);
    let route = if request.uri().path() == IMAGE.path { &IMAGE } else { &STREAM };
    let answer = async {
        let answer = caller.guard(respond(app.clone(), route, &caller, &request)).await;
        answer.unwrap_or_else(|refused| caller.refused(route, &refused))
    };
    app.measure(route.path, answer).await
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
    let admission: Arc<Admission> = match admitted.await? {
        Admitted::Run(admission) => admission.into(),
        Admitted::Replay(success) => {
            let is_labelled = ready.config.label_rules.is_some();
            let mut response = replay(caller, &task_id, &wanted, delivery, &success, is_labelled);
            set_task_id(&mut response, &task_id);
            return Ok(response);
        }
    };
    let targets: Vec<_> = wanted.targets().map(|target| (target.id, target.upstream.number)).collect();
    if let Err(code) = ready.check_keys(&targets).await {
        return Err(ready.ledger.refuse(&admission, code).await);
    }
    let caller = caller.clone();
    let task = GenerateTask {
        ready: ready.clone(),
        route,
        caller: caller.clone(),
        principal,
        admission: admission.clone(),
        task_id,
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

/// An earlier result again, whose pictures are links.
fn replay(
    caller: &Caller,
    task_id: &str,
    wanted: &GenerateInput,
    delivery: Delivery,
    success: &Success,
    is_labelled: bool,
) -> Response<Body> {
    let mut stream = Vec::new();
    match (delivery, wanted.format) {
        (Delivery::Stream, Format::Events) => {
            padding(&mut stream);
            let style = EventStyle::Generate { n: wanted.n };
            let mut events = Events::new(task_id.to_owned(), caller.lang, style).labelled(is_labelled);
            events.replay(success);
            stream.extend_from_slice(&events.take());
            caller.stream(Body::whole(stream))
        }
        (Delivery::Stream, Format::Chat) => {
            padding(&mut stream);
            let output = ChatOutput::new(task_id, &wanted.route.model, unix_seconds(), 1, Duration::ZERO);
            stream.extend_from_slice(&output.replay(success));
            caller.stream(Body::whole(stream))
        }
        (Delivery::Json | Delivery::Bytes, _) => one_shot_answer(caller, delivery, success, None, Vec::new()),
    }
}

/// The answer of the one-shot route. `pictures` are those whose bytes the answer holds.
fn one_shot_answer(
    caller: &Caller,
    delivery: Delivery,
    success: &Success,
    credits_remaining: Option<u64>,
    pictures: Vec<HeldPicture>,
) -> Response<Body> {
    let first = success.images.first();
    let bytes = pictures.first().map(|picture| picture.content.clone());
    let json = Body::slices(one_shot_json(success, pictures, credits_remaining, unix_seconds(), caller.lang));
    match (delivery, bytes, first.and_then(DeliveredImage::link)) {
        (Delivery::Bytes, Some(HeldContent::Inline { image, bytes }), _) => caller.image(bytes, &image),
        // The link is not fetched: the response redirects to it.
        (Delivery::Bytes, _, Some((url, _))) => caller.see_other(url, json),
        _ => caller.json(json),
    }
}

/// One accepted request.
struct GenerateTask {
    ready: Arc<Generator<GenerateConfig>>,
    route: &'static Route,
    caller: Caller,
    principal: Principal,
    admission: Arc<Admission>,
    task_id: String,
}

impl GenerateTask {
    /// Typed events. The head and the first two events are sent at once, before the upstream is called.
    fn events(self, wanted: GenerateInput, stall: Duration) -> Body {
        let style = EventStyle::Generate { n: wanted.n };
        let is_labelled = self.ready.config.label_rules.is_some();
        let mut events = Events::new(self.task_id.clone(), self.caller.lang, style).labelled(is_labelled);
        let as_links = wanted.as_links && self.ready.ledger.keeps_pictures(&self.admission);
        if as_links {
            events = events.as_links();
        }
        let write_error = events.error_writer(self.caller.request_id.clone());
        let producer = |mut sender: Sender| async move {
            let mut first = Vec::new();
            padding(&mut first);
            events.start();
            events.process(None);
            first.extend_from_slice(&events.take());
            sender.send(first).await;

            match self.call(wanted, !as_links, &mut events, &mut sender).await {
                Ok(delivered) => events.done(&delivered.success, delivered.credits_remaining),
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
        let model = &wanted.route.model;
        let mut output = ChatOutput::new(&self.task_id, model, unix_seconds(), wanted.n, timing.head_hold);
        let producer = |mut sender: Sender| async move {
            match self.call(wanted, false, &mut output, &mut sender).await {
                Ok(delivered) => sender.last(output.done(&delivered.success)),
                Err(problem) => sender.fail(problem),
            }
        };
        Body::stream(timing.client_stall, producer, write_error)
    }

    /// One answer, when all pictures are whole.
    async fn one_shot(self, wanted: GenerateInput, delivery: Delivery) -> Response<Body> {
        let caller = self.caller.clone();
        let work = |mut sender: Sender| async move { self.call(wanted, false, &mut OneShotOutput, &mut sender).await };
        match detached(work).await {
            Some(Ok(Delivered { success, credits_remaining, pictures })) => {
                one_shot_answer(&caller, delivery, &success, credits_remaining, pictures)
            }
            Some(Err(problem)) => caller.problem(&problem),
            None => caller.problem(&Code::InternalError.into()),
        }
    }

    /// Calls the upstream, and settles before the client learns how it ended.
    async fn call(
        &self,
        wanted: GenerateInput,
        shows_previews: bool,
        output: &mut impl Output,
        sender: &mut Sender,
    ) -> Result<Delivered, Problem> {
        let Generator { config, ledger, upstream, cooldowns, .. } = &*self.ready;
        let route: Vec<_> = wanted.targets().collect();
        let targets: Vec<_> = route.iter().map(|target| call_target(target)).collect();
        let post = |place: usize| {
            let target = *route.get(place).ok_or(Code::InternalError)?;
            let keys = self.ready.key(target.upstream.number)?;
            upstream_request(config, target, &wanted, shows_previews, keys, &self.caller.request_id)
        };
        let labels = CallLabels {
            route: self.route.path,
            principal: &self.principal,
            request_id: &self.caller.request_id,
            task_id: &self.task_id,
        };
        let calls = UpstreamCalls {
            upstream,
            timing: &config.timing,
            ledger,
            admission: &self.admission,
            times: wanted.n,
            targets: &targets,
            cooldowns,
            references: wanted.pictures.iter().map(InputPicture::identity).collect(),
            label_rules: config.label_rules.as_ref(),
            labels,
        };
        Ok(run(calls, &post, output, sender).await?)
    }
}

fn call_target(target: &ImageTarget) -> CallTarget<'_> {
    let ImageTarget { id, upstream, family, price, .. } = target;
    let is_ark = upstream.mode == ImageApiMode::Ark;
    CallTarget {
        id: *id,
        name: &upstream.name,
        dialect: if is_ark { AnyDialect::ark } else { AnyDialect::new },
        links: LocalLinks::beside(&upstream.base_url),
        copies_links: is_ark,
        may_send_drafts: family.may_send_drafts,
        price: *price,
    }
}
