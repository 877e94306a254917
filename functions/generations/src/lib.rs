//! `GET /api/generations`: the caller's own log, newest first, with the remaining credits and the state of the limit.
//! `GET /api/generations/{id}`: one generation of it.

#![forbid(unsafe_code)]

mod item;
mod page;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use shared::config::{CommonConfig, Environment, Mistakes};
use shared::edge::{Body, Caller, FromEnvironment, Ledger, Rate, Refused, Route, SignIn, set_rate, unix_seconds};
use shared::problem::{Code, Detail, Problem};

use crate::item::LogItem;
use crate::page::Page;

/// The route. A further path segment names one generation.
const ROUTE: Route = Route { path: "/api/generations", method: Method::GET };

/// What all requests of a process share.
pub type App = shared::edge::App<LogReader>;

/// The parts of this function.
#[derive(Debug)]
pub struct LogReader {
    sign_in: SignIn,
    ledger: Ledger,
}

/// A page of the log.
#[derive(Serialize)]
struct LogPage<'a> {
    items: Vec<LogItem<'a>>,
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits: Option<u64>,
    /// Absent if the rate-limit table cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<RateLeft>,
}

/// The state of the rate limit.
#[derive(Serialize)]
struct RateLeft {
    limit: u32,
    remaining: u32,
    /// Until one more token is available; 0 if the bucket is full.
    reset_ms: u64,
}

impl FromEnvironment for LogReader {
    fn from_env(environment: Environment<'_>) -> Result<Option<Self>, Mistakes> {
        let config = CommonConfig::from_env(environment)?;
        let sign_in = SignIn::new(&config.sign_in, config.secrets_endpoint.as_ref());
        // No call is made here, so no lease is needed.
        let ledger = Ledger::new(&config.ledger, Duration::ZERO);
        Ok(sign_in.map(|sign_in| Self { sign_in, ledger }))
    }

    async fn warm_up(&self) {
        tokio::join!(self.sign_in.warm_up(), self.ledger.warm_up());
    }
}

/// Answers one request.
pub async fn handle(app: Arc<App>, request: Request<Bytes>) -> Response<Body> {
    let caller = Caller::of(&request);
    let answer = caller.guard(respond(&app, &caller, &request)).await;
    answer.unwrap_or_else(|refused| caller.refused(&ROUTE, &refused))
}

async fn respond(app: &App, caller: &Caller, request: &Request<Bytes>) -> Result<Response<Body>, Refused> {
    let task_id = task_id(request)?;
    let ready = app.ready()?;
    let LogReader { sign_in, ledger } = &*ready;
    let principal = sign_in.check(request, caller).await?;
    let now_ms = unix_seconds() * 1_000;
    let Some(task_id) = task_id else {
        let Page { limit, after } = Page::parse(request.uri().query().unwrap_or_default())?;
        let (tasks, rate, credits) = tokio::join!(
            ledger.tasks(&principal, limit, after.as_ref()),
            ledger.rate(&principal),
            ledger.credits(&principal),
        );
        // The log is in another table than the limits and does not depend on it.
        let ((records, next), rate, credits) = (tasks?, rate.ok(), credits?);
        let items = records.iter().map(|record| LogItem::new(record, now_ms)).collect();
        let log =
            LogPage { items, next: next.map(|next| next.to_text()), credits, rate: rate.as_ref().map(RateLeft::of) };
        return answer(caller, &log, rate);
    };
    let (record, rate) = tokio::join!(ledger.task(&principal, &task_id), ledger.rate(&principal));
    let problem = match record {
        Ok(Some(record)) => return answer(caller, &LogItem::new(&record, now_ms), rate.ok()),
        Ok(None) => Problem::new(Code::RouteNotFound).detail(Detail::NoSuchTask),
        Err(code) => code.into(),
    };
    Err(Refused { problem, rate: rate.ok().map(Box::new) })
}

/// The task that the path names; `None` if it is the whole log.
fn task_id<B>(request: &Request<B>) -> Result<Option<String>, Problem> {
    let below = request.uri().path().strip_prefix(ROUTE.path).and_then(|rest| rest.strip_prefix('/'));
    let Some(segment) = below else {
        return ROUTE.check(request).map(|()| None);
    };
    if segment.is_empty() || segment.contains('/') {
        return Err(Code::RouteNotFound.into());
    }
    if request.method() != ROUTE.method {
        return Err(Code::MethodNotAllowed.into());
    }
    // Task ids are text: a segment that is not UTF-8 names no task.
    let task_id = percent_decode_str(segment).decode_utf8().map_err(|_| Code::RouteNotFound)?;
    Ok(Some(task_id.into_owned()))
}

fn answer(caller: &Caller, log: &impl Serialize, rate: Option<Rate>) -> Result<Response<Body>, Refused> {
    let mut response = caller.json(Body::whole(serde_json::to_vec(log).map_err(|_| Code::InternalError)?));
    set_rate(&mut response, rate.as_ref());
    Ok(response)
}

impl RateLeft {
    fn of(Rate { policy, standing }: &Rate) -> Self {
        Self { limit: policy.limit, remaining: standing.remaining, reset_ms: standing.next_ms.unwrap_or_default() }
    }
}
