//! `POST /api/generate-stream`: a picture from a prompt and up to three reference pictures, streamed as it is made.
//!
//! One request is one straight line: route, configuration, sign-in, body, limit, secret, upstream, stream.

#![forbid(unsafe_code)]

mod present;
mod request;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use shared::auth::Principal;
use shared::config::GenerateConfig;
use shared::edge::{
    Admission, Admitted, Body, Call, Caller, Names, Post, Present, Rate, Route, Sender, Wanted, idempotency_key,
    new_id, read_json, run, set_rate, set_task_id, unix_seconds,
};
use shared::events::{Events, Style, padding};
use shared::image_url::LocalLinks;
use shared::outcome::Success;
use shared::problem::{Code, Lang, Problem};
use shared::secret::Secret;
use shared::upstream::chat::{self, Chat};

use crate::present::Relay;
use crate::request::{Format, GenerateRequest};

/// The route.
const ROUTE: Route = Route { path: "/api/generate-stream", method: Method::POST };

/// What all requests of a process share.
pub type App = shared::edge::App<GenerateConfig>;

/// Answers one request.
pub async fn handle(app: Arc<App>, request: Request<Bytes>) -> Response<Body> {
    let caller = Caller::of(&request);
    let mut rate = None;
    let mut response = match caller.guard(respond(app, &caller, &request, &mut rate)).await {
        Ok(response) => response,
        Err(problem) => ROUTE.allow(caller.problem(&problem)),
    };
    if let Some(rate) = &rate {
        set_rate(&mut response, rate);
    }
    response
}

async fn respond(
    app: Arc<App>,
    caller: &Caller,
    request: &Request<Bytes>,
    rate: &mut Option<Rate>,
) -> Result<Response<Body>, Problem> {
    ROUTE.check(request)?;
    let ready = app.ready()?;
    let principal = ready.sign_in.check(request, caller).await?;
    let wanted = GenerateRequest::parse(read_json(request)?, &ready.config.image_api, app.links())?;
    let task_id = idempotency_key(request)?.unwrap_or_else(new_id);
    let admitted = ready.ledger.admit(
        Wanted {
            principal: &principal,
            route: ROUTE.path,
            task_id: &task_id,
            fingerprint: wanted.fingerprint(ROUTE.path),
            calls: 1,
            images: 1,
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
    let task = Task { app: app.clone(), caller: caller.clone(), principal, admission, task_id: task_id.clone(), key };
    let mut response = match wanted.format {
        Format::Events => caller.stream(task.events(wanted)),
        Format::Chat => {
            let mut body = task.chat(wanted);
            if let Some(problem) = body.hold(ready.config.timing.head_hold).await {
                let mut response = caller.problem(&problem);
                set_task_id(&mut response, &task_id);
                return Ok(response);
            }
            let mut first = Vec::new();
            padding(&mut first);
            caller.stream(body.after(first))
        }
    };
    set_task_id(&mut response, &task_id);
    Ok(response)
}

/// One accepted request.
struct Task {
    app: Arc<App>,
    caller: Caller,
    principal: Principal,
    admission: Box<Admission>,
    task_id: String,
    key: Secret,
}

impl Task {
    /// Typed events: the head and the first two go out at once, before the upstream is called.
    fn events(self, wanted: GenerateRequest) -> Body {
        let mut events = Events::new(self.task_id.clone(), self.caller.lang, Style::Generate { n: 1 });
        let tell = events.last_words(self.caller.request_id.clone());
        Body::stream(
            |sender| async move {
                let mut first = Vec::new();
                padding(&mut first);
                events.start();
                events.process(None);
                first.extend_from_slice(&events.take());
                sender.send(first).await;

                match self.call(&wanted, &mut events, &sender).await {
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
                let mut relay = Relay::new(&self.task_id, &wanted.model, unix_seconds(), hold);
                match self.call(&wanted, &mut relay, &sender).await {
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

    /// Calls the upstream, and settles before anybody hears how it ended.
    async fn call(
        &self,
        wanted: &GenerateRequest,
        present: &mut impl Present<Chat>,
        sender: &Sender,
    ) -> Result<(Success, Option<u64>), Problem> {
        let ready = self.app.ready()?;
        let images = wanted.images.iter().map(String::as_str);
        let body = serde_json::to_vec(&chat::Request::new(&wanted.model, &wanted.prompt, images))
            .map_err(|_| Code::InternalError)?;
        let post = Post {
            url: ready.config.image_api.endpoint("/v1/chat/completions"),
            key: self.key.clone(),
            keys: &ready.keys,
            body,
            request_id: &self.caller.request_id,
        };
        let links = LocalLinks::beside(&ready.config.image_api.base_url);
        let names = Names {
            route: ROUTE.path,
            principal: &self.principal,
            request_id: &self.caller.request_id,
            task_id: &self.task_id,
        };
        let call =
            Call { upstream: &ready.upstream, timing: &ready.config.timing, deadline: self.caller.deadline, names };
        let ended = run(call, post, Chat::new(links), present, sender).await;
        let verdict = ended.verdict.as_ref().map_err(|failure| *failure);
        let credits_remaining = ready.ledger.settle(&self.admission, verdict, ended.has_content).await;
        Ok((ended.verdict?, credits_remaining))
    }
}
