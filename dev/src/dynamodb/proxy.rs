//! What stands between a client and an engine: counts, and fails as DynamoDB or the network would.

use std::collections::BTreeMap;
use std::fmt;
use std::future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{self, Body};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use uuid::Uuid;

/// What DynamoDB takes.
const MOST_BYTES: usize = 16 << 20;

/// The way to an engine, for whoever disturbs it and for [`routes`].
#[derive(Clone, Default)]
pub struct Proxy(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    script: Option<Box<Script>>,
    delay: Duration,
    /// By operation and table.
    calls: BTreeMap<(String, String), u32>,
}

type Script = dyn FnMut(&Call) -> Option<Fault> + Send;

/// A request, as far as a script chooses by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Such as `UpdateItem`.
    pub operation: String,
    /// The table's name; empty where a request has none or several.
    pub table: String,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is done, and its answer is lost: the connection is dropped.
    Swallow,
    /// The connection is dropped, and nothing is done.
    Refuse,
    /// No answer ever comes, the connection stays, and nothing is done.
    Hang,
    /// Too much for an on-demand table (400).
    Throttling,
    /// Too much for a table or one of its partitions (400).
    ProvisionedThroughputExceeded,
    /// There is no such table (400).
    ResourceNotFound,
    /// The role may not do this (400).
    AccessDenied,
    /// The service's own fault (500).
    InternalServerError,
}

impl Proxy {
    /// Lets every request fail, or none.
    pub fn fail(&self, fault: Option<Fault>) {
        self.script(move |_| fault);
    }

    /// Lets every `n`-th request fail, counted from now.
    pub fn fail_every(&self, n: u32, fault: Fault) {
        let mut came = 0_u32;
        self.script(move |_| {
            came += 1;
            came.is_multiple_of(n).then_some(fault)
        });
    }

    /// Asks for every request whether it fails, in the order in which they come. The script itself must not ask us.
    pub fn script(&self, script: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        let before = self.contents().script.replace(Box::new(script));
        // It may hold another handle of ours, so it goes when nobody holds the lock.
        drop(before);
    }

    /// Lets every answer wait; what was asked is done at once.
    pub fn delay(&self, delay: Duration) {
        self.contents().delay = delay;
    }

    /// Requests that came, answered or not.
    pub fn calls(&self) -> u32 {
        self.contents().calls.values().sum()
    }

    /// Requests that came for an operation, such as `UpdateItem`.
    pub fn calls_to(&self, operation: &str) -> u32 {
        self.sum(|called, _| called == operation)
    }

    /// Requests that came for a table.
    pub fn calls_on(&self, table: &str) -> u32 {
        self.sum(|_, on| on == table)
    }

    fn sum(&self, counts: impl Fn(&str, &str) -> bool) -> u32 {
        let contents = self.contents();
        contents.calls.iter().filter(|((operation, table), _)| counts(operation, table)).map(|(_, count)| count).sum()
    }

    /// Counts a request; gives how it fails, and how long its answer waits.
    fn came(&self, call: &Call) -> (Option<Fault>, Duration) {
        let mut contents = self.contents();
        *contents.calls.entry((call.operation.clone(), call.table.clone())).or_default() += 1;
        (contents.script.as_mut().and_then(|script| script(call)), contents.delay)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("calls", &self.contents().calls).finish_non_exhaustive()
    }
}

impl Call {
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self { operation, table: body["TableName"].as_str().unwrap_or_default().to_owned() }
    }
}

impl Fault {
    /// What DynamoDB says: its status, `__type` and the rest of the body.
    fn said(self) -> Option<(StatusCode, &'static str, Value)> {
        let message = |text: &str| json!({"message": text});
        match self {
            Self::Swallow | Self::Refuse | Self::Hang => None,
            Self::Throttling => Some((
                StatusCode::BAD_REQUEST,
                "com.amazon.coral.availability#ThrottlingException",
                message("Throughput exceeds the current capacity of your table or index."),
            )),
            Self::ProvisionedThroughputExceeded => Some((
                StatusCode::BAD_REQUEST,
                "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                message("The level of configured provisioned throughput for the table was exceeded."),
            )),
            Self::ResourceNotFound => Some((
                StatusCode::BAD_REQUEST,
                "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException",
                message("Requested resource not found"),
            )),
            // Only here the member has a capital letter.
            Self::AccessDenied => Some((
                StatusCode::BAD_REQUEST,
                "com.amazon.coral.service#AccessDeniedException",
                json!({"Message": "User: arn:aws:sts::123456789012:assumed-role/role/function is not authorized"}),
            )),
            Self::InternalServerError => Some((
                StatusCode::INTERNAL_SERVER_ERROR,
                "com.amazonaws.dynamodb.v20120810#InternalServerError",
                message("Internal server error"),
            )),
        }
    }
}

/// Hands every request on to the engine at `url`, and its answer back, or fails.
pub fn routes(proxy: Proxy, url: &str) -> Router {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let engine = Engine {
        url: url.trim_end_matches('/').to_owned(),
        client: Client::builder(TokioExecutor::new()).build(connector),
    };
    Router::new().fallback(answer).with_state((proxy, engine))
}

/// The other side. One client: its connections are kept, and there are as many as there are requests.
#[derive(Clone)]
struct Engine {
    url: String,
    client: Client<HttpConnector, Body>,
}

impl Engine {
    async fn ask(&self, mut request: Request) -> Option<Response> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = Uri::try_from(format!("{}{path}", self.url)).ok()?;
        request.headers_mut().remove(header::CONNECTION);
        let (mut head, body) = self.client.request(request).await.ok()?.into_parts();
        // It speaks of the other connection.
        head.headers.remove(header::CONNECTION);
        let body = body::to_bytes(Body::new(body), MOST_BYTES).await.ok()?;
        Some(Response::from_parts(head, Body::from(body)))
    }
}

async fn answer(State((proxy, engine)): State<(Proxy, Engine)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = body::to_bytes(body, MOST_BYTES).await else { return dropped() };
    let (fault, delay) = proxy.came(&Call::read(&head.headers, &body));
    let answer = match fault {
        Some(Fault::Hang) => future::pending().await,
        Some(Fault::Refuse) => dropped(),
        None => engine.ask(Request::from_parts(head, Body::from(body))).await.unwrap_or_else(dropped),
        Some(fault) => match fault.said() {
            Some((status, code, said)) => failure(status, code, said),
            None => {
                // Whatever it was.
                let _ = engine.ask(Request::from_parts(head, Body::from(body))).await;
                dropped()
            }
        },
    };
    // The clock of tokio has whole milliseconds: a sleep of nothing is none.
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    answer
}

fn failure(status: StatusCode, code: &str, mut said: Value) -> Response {
    said["__type"] = code.into();
    let id = Uuid::new_v4().simple().to_string().to_uppercase();
    let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amzn-requestid", id.as_str())];
    (status, headers, said.to_string()).into_response()
}

/// No answer: the server closes the connection when a body fails, and has written nothing before.
fn dropped() -> Response {
    let failed = io::Result::<Bytes>::Err(io::Error::other("dropped"));
    Body::from_stream(stream::iter([failed])).into_response()
}
