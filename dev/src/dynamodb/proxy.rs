//! A proxy between a client and an engine. It counts requests, and fails as DynamoDB or the network does.

use std::collections::BTreeMap;
use std::fmt;
use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{self, Body};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::engine_client::{EngineClient, dropped};

/// Largest request body that DynamoDB accepts.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// The faults and counters of a proxy. A test holds one handle, [`routes`] another.
#[derive(Clone, Default)]
pub struct Proxy(Arc<Mutex<ProxyState>>);

#[derive(Default)]
struct ProxyState {
    script: Option<Box<FaultScript>>,
    delay: Duration,
    /// By operation and table.
    calls: BTreeMap<(String, String), u32>,
}

type FaultScript = dyn FnMut(&TableCall) -> Option<TableFault> + Send;

/// The parts of a request that a script can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCall {
    /// The operation, such as `UpdateItem`.
    pub operation: String,
    /// The table's name. Empty if the request names no table or several.
    pub table: String,
    /// The sort key of the item. Empty if the request names no item, or one without a sort key.
    pub sort_key: String,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFault {
    /// The request is executed, and the connection is closed without a response.
    Swallow,
    /// The connection is closed, and the request is not executed.
    Refuse,
    /// The request is not executed and never answered. The connection stays open.
    Hang,
    /// The request exceeds the capacity of an on-demand table (400).
    Throttling,
    /// The request exceeds the capacity of a table or partition (400).
    ProvisionedThroughputExceeded,
    /// The table does not exist (400).
    ResourceNotFound,
    /// The role has no permission (400).
    AccessDenied,
    /// An internal error of the service (500).
    InternalServerError,
}

impl Proxy {
    /// Makes every request fail, or none.
    pub fn fail(&self, fault: Option<TableFault>) {
        self.script(move |_| fault);
    }

    /// Makes every `n`-th request fail, counted from now.
    pub fn fail_every(&self, n: u32, fault: TableFault) {
        let mut came = 0_u32;
        self.script(move |_| {
            came += 1;
            came.is_multiple_of(n).then_some(fault)
        });
    }

    /// Calls `script` for every request, in order of arrival, to decide whether it fails. The script must not call this
    /// proxy: the lock is held.
    pub fn script(&self, script: impl FnMut(&TableCall) -> Option<TableFault> + Send + 'static) {
        let before = self.state().script.replace(Box::new(script));
        // Dropped without the lock: the old script may own a handle of this proxy.
        drop(before);
    }

    /// Delays every response. The request is executed at once.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Number of received requests, answered or not.
    pub fn calls(&self) -> u32 {
        self.state().calls.values().sum()
    }

    /// Number of received requests for an operation, such as `UpdateItem`.
    pub fn calls_to(&self, operation: &str) -> u32 {
        self.sum(|called, _| called == operation)
    }

    /// Number of received requests for a table.
    pub fn calls_on(&self, table: &str) -> u32 {
        self.sum(|_, on| on == table)
    }

    fn sum(&self, counts: impl Fn(&str, &str) -> bool) -> u32 {
        let state = self.state();
        state.calls.iter().filter(|((operation, table), _)| counts(operation, table)).map(|(_, count)| count).sum()
    }

    /// Counts a request. Returns its fault and the delay of its response.
    fn record(&self, call: &TableCall) -> (Option<TableFault>, Duration) {
        let mut state = self.state();
        *state.calls.entry((call.operation.clone(), call.table.clone())).or_default() += 1;
        (state.script.as_mut().and_then(|script| script(call)), state.delay)
    }

    fn state(&self) -> MutexGuard<'_, ProxyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("calls", &self.state().calls).finish_non_exhaustive()
    }
}

impl TableCall {
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let item = body.get("Key").or(body.get("Item")).unwrap_or(&Value::Null);
        Self { operation, table: text(&body["TableName"]), sort_key: text(&item["sk"]["S"]) }
    }
}

impl TableFault {
    /// DynamoDB's response: the status, `__type` and the rest of the body.
    fn response(self) -> Option<(StatusCode, &'static str, Value)> {
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
            // Only this error has `Message` with a capital letter.
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

/// Forwards every request to the engine at `url` and returns its response, or fails.
pub fn routes(proxy: Proxy, url: &str) -> Router {
    Router::new().fallback(answer).with_state((proxy, EngineClient::new(url, MAX_REQUEST_BYTES)))
}

async fn answer(State((proxy, engine)): State<(Proxy, EngineClient)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = body::to_bytes(body, MAX_REQUEST_BYTES).await else { return dropped() };
    let (fault, delay) = proxy.record(&TableCall::read(&head.headers, &body));
    let answer = match fault {
        Some(TableFault::Hang) => future::pending().await,
        Some(TableFault::Refuse) => dropped(),
        None => engine.ask(Request::from_parts(head, Body::from(body))).await.unwrap_or_else(dropped),
        Some(fault) => match fault.response() {
            Some((status, code, body)) => failure(status, code, body),
            None => {
                // The response is dropped, whatever its status.
                let _ = engine.ask(Request::from_parts(head, Body::from(body))).await;
                dropped()
            }
        },
    };
    // Tokio rounds a sleep of zero up to a millisecond.
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    answer
}

fn failure(status: StatusCode, code: &str, mut body: Value) -> Response {
    body["__type"] = code.into();
    let id = Uuid::new_v4().simple().to_string().to_uppercase();
    let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amzn-requestid", id.as_str())];
    (status, headers, body.to_string()).into_response()
}
