//! The caller's own log:
//!
//! - `GET /api/generations`: all generations, newest first, with the remaining credits and the state of the limit;
//! - `GET /api/generations/{id}`: one generation;
//! - `DELETE /api/generations/{id}`: asks a running generation to stop;
//! - `DELETE /api/generations/{id}/pictures`: erases the kept pictures of a generation.

#![forbid(unsafe_code)]

mod item;
mod page;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use shared::auth::Principal;
use shared::config::{CommonConfig, Environment, Mistakes};
use shared::edge::{
    Body, Caller, FromEnvironment, Ledger, LimitsLeft, Pictures, Rate, Refused, Route, SignIn, Stopping, set_rate,
    unix_seconds,
};
use shared::problem::Code;
use shared::task::TaskRecord;

use crate::item::LogItem;
use crate::page::Page;

/// The whole log.
const LOG: Route = Route { path: "/api/generations", methods: &[Method::GET] };
/// One generation.
const TASK: Route = Route { path: "/api/generations/", methods: &[Method::GET, Method::DELETE] };
/// The kept pictures of a generation.
const PICTURES: Route = Route { path: "/api/generations/", methods: &[Method::DELETE] };

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
    /// Absent if the rate-limit table cannot be read, as the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<RateLeft>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daily: Option<DailyLeft>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<RunningLeft>,
}

/// The state of the rate limit.
#[derive(Serialize)]
struct RateLeft {
    limit: u32,
    remaining: u32,
    /// Until one more token is available; 0 if the bucket is full.
    reset_ms: u64,
}

/// The pictures of the day.
#[derive(Serialize)]
struct DailyLeft {
    limit: u32,
    remaining: u32,
    /// Until the next day.
    reset_ms: u64,
}

/// The running tasks.
#[derive(Serialize)]
struct RunningLeft {
    limit: u32,
    remaining: u32,
}

impl FromEnvironment for LogReader {
    fn from_env(environment: Environment<'_>) -> Result<Option<Self>, Mistakes> {
        let config = CommonConfig::from_env(environment)?;
        let sign_in = SignIn::new(&config.sign_in, config.secrets_endpoint.as_ref());
        let pictures = Pictures::new(&config.pictures, config.secrets_endpoint.as_ref());
        // No call is made here, so no lease is needed.
        let ledger = Ledger::new(&config.ledger, pictures, Duration::ZERO);
        Ok(sign_in.map(|sign_in| Self { sign_in, ledger }))
    }

    async fn warm_up(&self) {
        tokio::join!(self.sign_in.warm_up(), self.ledger.warm_up());
    }
}

/// What a path names.
enum LogPath {
    Log,
    Task(String),
    Pictures(String),
}

/// Answers one request.
pub async fn handle(app: Arc<App>, request: Request<Bytes>) -> Response<Body> {
    let caller = Caller::of(&request);
    let path = LogPath::of(request.uri().path());
    let route = path.as_ref().map_or(&LOG, LogPath::route);
    let answer = async {
        let answer = caller.guard(respond(&app, &caller, path, &request)).await;
        answer.unwrap_or_else(|refused| caller.refused(route, &refused))
    };
    app.measure(LOG.path, answer).await
}

async fn respond(
    app: &App,
    caller: &Caller,
    path: Option<LogPath>,
    request: &Request<Bytes>,
) -> Result<Response<Body>, Refused> {
    let path = path.ok_or(Code::RouteNotFound)?;
    path.route().check_method(request)?;
    let ready = app.ready()?;
    let LogReader { sign_in, ledger } = &*ready;
    let principal = sign_in.check(request, caller).await?;
    let log = LogRequest { ledger, principal: &principal, caller };
    match path {
        LogPath::Log => log.list(Page::parse(request.uri().query().unwrap_or_default())?).await,
        LogPath::Task(task_id) if request.method() == Method::DELETE => log.stop(&task_id).await,
        LogPath::Task(task_id) => log.one(&task_id).await,
        LogPath::Pictures(task_id) => log.erase_pictures(&task_id).await,
    }
}

/// One request to the log of a caller.
struct LogRequest<'a> {
    ledger: &'a Ledger,
    principal: &'a Principal,
    caller: &'a Caller,
}

impl LogRequest<'_> {
    /// A page of the log.
    async fn list(&self, Page { limit, after }: Page) -> Result<Response<Body>, Refused> {
        let Self { ledger, principal, .. } = self;
        let (tasks, left, credits) = tokio::join!(
            ledger.tasks(principal, limit, after.as_ref()),
            ledger.limits_left(principal),
            ledger.credits(principal),
        );
        // The log is in another table than the limits and does not depend on it.
        let ((records, next), left, credits) = (tasks?, left.ok(), credits?);
        let mut items = Vec::new();
        for record in &records {
            items.push(self.item(record).await);
        }
        let log = LogPage {
            items,
            next: next.map(|next| next.to_text()),
            credits,
            rate: left.as_ref().map(|left| RateLeft::of(&left.rate)),
            daily: left.as_ref().map(DailyLeft::of),
            running: left.as_ref().map(RunningLeft::of),
        };
        let mut response = json(self.caller, &log)?;
        set_rate(&mut response, left.as_ref().map(|left| &left.rate));
        Ok(response)
    }

    /// One generation.
    async fn one(&self, task_id: &str) -> Result<Response<Body>, Refused> {
        let Self { ledger, principal, .. } = self;
        let (record, left) = tokio::join!(ledger.task(principal, task_id), ledger.limits_left(principal));
        let rate = left.ok().map(|left| left.rate);
        let record = match record {
            Ok(Some(record)) => record,
            Ok(None) => return Err(Refused { problem: Code::TaskNotFound.into(), rate: rate.map(Box::new) }),
            Err(code) => return Err(Refused { problem: code.into(), rate: rate.map(Box::new) }),
        };
        let mut response = json(self.caller, &self.item(&record).await)?;
        set_rate(&mut response, rate.as_ref());
        Ok(response)
    }

    /// Asks a generation to stop: 202 while it runs, 200 if it has ended.
    async fn stop(&self, task_id: &str) -> Result<Response<Body>, Refused> {
        let (record, status) = match self.ledger.stop(self.principal, task_id).await? {
            Some(Stopping::Asked(record)) => (record, StatusCode::ACCEPTED),
            Some(Stopping::Ended(record)) => (record, StatusCode::OK),
            None => return Err(Code::TaskNotFound.into()),
        };
        let mut response = json(self.caller, &self.item(&record).await)?;
        *response.status_mut() = status;
        Ok(response)
    }

    /// Erases the kept pictures of a generation.
    async fn erase_pictures(&self, task_id: &str) -> Result<Response<Body>, Refused> {
        match self.ledger.erase_pictures(self.principal, task_id).await? {
            Some(()) => Ok(self.caller.no_content()),
            None => Err(Code::TaskNotFound.into()),
        }
    }

    async fn item<'a>(&self, record: &'a TaskRecord) -> LogItem<'a> {
        let pictures = self.ledger.links(self.principal, record).await;
        LogItem::new(record, pictures, unix_seconds() * 1_000)
    }
}

impl LogPath {
    /// `None` if there is no such path. Task ids are text: a segment that is not UTF-8 names no task.
    fn of(path: &str) -> Option<Self> {
        if path == LOG.path {
            return Some(Self::Log);
        }
        let below = path.strip_prefix(TASK.path)?;
        let (segment, rest) = below.split_once('/').map_or((below, None), |(segment, rest)| (segment, Some(rest)));
        let task_id = percent_decode_str(segment).decode_utf8().ok().filter(|id| !id.is_empty())?.into_owned();
        match rest {
            None => Some(Self::Task(task_id)),
            Some("pictures") => Some(Self::Pictures(task_id)),
            Some(_) => None,
        }
    }

    fn route(&self) -> &'static Route {
        match self {
            Self::Log => &LOG,
            Self::Task(_) => &TASK,
            Self::Pictures(_) => &PICTURES,
        }
    }
}

fn json(caller: &Caller, document: &impl Serialize) -> Result<Response<Body>, Code> {
    Ok(caller.json(Body::whole(serde_json::to_vec(document).map_err(|_| Code::InternalError)?)))
}

impl RateLeft {
    fn of(Rate { policy, standing }: &Rate) -> Self {
        Self { limit: policy.limit, remaining: standing.remaining, reset_ms: standing.next_ms.unwrap_or_default() }
    }
}

impl DailyLeft {
    fn of(left: &LimitsLeft) -> Self {
        Self { limit: left.daily_limit, remaining: left.daily_remaining, reset_ms: left.daily_reset_ms }
    }
}

impl RunningLeft {
    fn of(left: &LimitsLeft) -> Self {
        Self { limit: left.max_in_flight, remaining: left.max_in_flight.saturating_sub(left.in_flight) }
    }
}
