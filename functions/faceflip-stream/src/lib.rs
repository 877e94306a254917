//! `POST /api/v1/faceflip/generate/stream`: pictures made by ARK (Seedream) from input pictures, sent as the documented
//! events, each picture as soon as ARK has finished it.

#![forbid(unsafe_code)]

mod input;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use shared::auth::Principal;
use shared::config::{ArkConfig, FaceflipConfig, KeyAs};
use shared::edge::{
    Admission, AdmitRequest, Admitted, Body, CallLabels, CallTarget, Caller, Delivered, Generator, Post, Refused,
    RequestBody, Route, Sender, UpstreamCalls, accepts, json_body, run, set_rate, set_task_id,
};
use shared::events::{EventStyle, Events, padding};
use shared::image_url::LocalLinks;
use shared::input::InputPicture;
use shared::problem::{Code, Problem};
use shared::upstream::AnyDialect;
use shared::upstream::ark::{self, ArkSettings};

use crate::input::FaceflipInput;

/// The route.
const ROUTE: Route = Route { path: "/api/v1/faceflip/generate/stream", methods: &[Method::POST] };

/// What all requests of a process share.
pub type App = shared::edge::App<Generator<FaceflipConfig>>;

/// Answers one request.
pub async fn handle(app: Arc<App>, request: Request<Bytes>) -> Response<Body> {
    app.measure(ROUTE.path, answer(app.clone(), request)).await
}

async fn answer(app: Arc<App>, request: Request<Bytes>) -> Response<Body> {
    let caller = Caller::of(&request);
    let mut may_call = false;
    match caller.guard(respond(app, &caller, &request, &mut may_call)).await {
        Ok(response) => response,
        Err(refused) if ["application/json", "application/problem+json"].iter().any(|json| accepts(&request, json)) => {
            caller.refused(&ROUTE, &refused)
        }
        Err(refused) => refusal(&caller, may_call.then_some(&request), &refused),
    }
}

/// `may_call` becomes true when the caller has passed the sign-in.
async fn respond(
    app: Arc<App>,
    caller: &Caller,
    request: &Request<Bytes>,
    may_call: &mut bool,
) -> Result<Response<Body>, Refused> {
    ROUTE.check(request)?;
    let ready = app.ready()?;
    let principal = ready.sign_in.check(request, caller).await?;
    *may_call = true;
    let wanted = FaceflipInput::parse(json_body(request)?, app.links())?;
    let task_id = wanted.task_id.clone();
    let ark = &ready.config.ark;
    let style = EventStyle::Faceflip { size: ark.size.clone(), urls: wanted.links() };
    let is_labelled = ready.config.label_rules.is_some();
    let mut events = Events::new(task_id.clone(), caller.lang, style).labelled(is_labelled);
    let admitted = ready.ledger.admit(AdmitRequest {
        principal: &principal,
        route: ROUTE.path,
        task_id: &task_id,
        fingerprint: wanted.fingerprint(),
        calls: 1,
        images: ark.family.pictures_of_call(u32::from(ark.max_images), wanted.pictures.len()),
        replays: true,
        deadline: caller.deadline,
    });
    let (body, rate) = match admitted.await? {
        Admitted::Run(admission) => match ready.check_keys(&[(0, 0)]).await {
            Ok(()) => {
                let (rate, stall) = (admission.rate(), ready.config.timing.client_stall);
                let task = FaceflipTask { ready: ready.clone(), caller: caller.clone(), principal, admission, wanted };
                (task.events(events, stall), rate)
            }
            Err(code) => return Err(ready.ledger.refuse(&admission, code).await),
        },
        Admitted::Replay(success) => {
            let mut replayed = Vec::new();
            padding(&mut replayed);
            events.replay(&success);
            replayed.extend_from_slice(&events.take());
            (Body::whole(replayed), None)
        }
    };
    let mut response = caller.stream(body);
    set_rate(&mut response, rate.as_ref());
    set_task_id(&mut response, &task_id);
    Ok(response)
}

/// A refusal as one `error` event, because the documentation of this route has no other form. `request` is absent if
/// the caller has not signed in: its body is not read then.
fn refusal(caller: &Caller, request: Option<&Request<Bytes>>, Refused { problem, rate }: &Refused) -> Response<Body> {
    let task_id = request.and_then(|request| FaceflipInput::task_id_of(request.body())).unwrap_or_default();
    let style = EventStyle::Faceflip { size: String::new(), urls: Vec::new() };
    let mut events = Events::new(task_id, caller.lang, style);
    events.error(problem, &caller.request_id);
    let mut response = ROUTE.allow(caller.problem_event(problem, events.take()));
    set_rate(&mut response, rate.as_deref());
    response
}

/// One accepted request.
struct FaceflipTask {
    ready: Arc<Generator<FaceflipConfig>>,
    caller: Caller,
    principal: Principal,
    admission: Box<Admission>,
    wanted: FaceflipInput,
}

impl FaceflipTask {
    /// The head and the first two events are sent at once: ARK's own head takes as long as its first picture.
    fn events(self, mut events: Events, stall: Duration) -> Body {
        let write_error = events.error_writer(self.caller.request_id.clone());
        let producer = |mut sender: Sender| async move {
            let mut first = Vec::new();
            padding(&mut first);
            events.start();
            events.process(None);
            first.extend_from_slice(&events.take());
            sender.send(first).await;

            match self.call(&mut events, &mut sender).await {
                Ok(delivered) => events.done(&delivered.success, delivered.credits_remaining),
                Err(problem) => events.error(&problem, &self.caller.request_id),
            }
            sender.last(events.take());
        };
        Body::stream(stall, producer, write_error)
    }

    /// Calls ARK, and settles before the client learns how it ended.
    async fn call(&self, events: &mut Events, sender: &mut Sender) -> Result<Delivered, Problem> {
        let Generator { config: FaceflipConfig { ark, label_rules, timing, .. }, ledger, upstream, cooldowns, .. } =
            &*self.ready;
        let settings = ArkSettings {
            model: &ark.model,
            family: ark.family,
            prompt: self.wanted.prompt.as_deref().unwrap_or(&ark.prompt),
            size: &ark.size,
            max_images: u32::from(ark.max_images),
            watermark: ark.watermark,
        };
        let post = |_| {
            let pictures = self.wanted.pictures.iter().map(InputPicture::url).collect::<Option<Vec<_>>>();
            Ok(Post {
                url: ark.endpoint("/images/generations"),
                upstream: ArkConfig::NAME,
                keys: self.ready.key(0)?,
                key_as: KeyAs::Bearer,
                body: RequestBody::json(&ark::ArkRequest::new(settings, &pictures.ok_or(Code::InternalError)?))?,
                request_id: &self.caller.request_id,
            })
        };
        let target = CallTarget {
            id: 0,
            name: ArkConfig::NAME,
            dialect: AnyDialect::ark,
            links: LocalLinks::beside(&ark.base_url),
            copies_links: true,
            may_send_drafts: ark.family.may_send_drafts,
            price: None,
        };
        let labels = CallLabels {
            route: ROUTE.path,
            principal: &self.principal,
            request_id: &self.caller.request_id,
            task_id: &self.wanted.task_id,
        };
        let calls = UpstreamCalls {
            upstream,
            timing,
            ledger,
            admission: &self.admission,
            times: 1,
            targets: &[target],
            cooldowns,
            references: self.wanted.pictures.iter().map(InputPicture::identity).collect(),
            label_rules: label_rules.as_ref(),
            labels,
        };
        Ok(run(calls, &post, events, sender).await?)
    }
}
