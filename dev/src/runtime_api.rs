//! A fake of the [Lambda Runtime API].
//!
//! `GET …/invocation/next` returns an event, `POST …/invocation/{id}/response` accepts the response. A streamed
//! response has a mode header, and consists of a JSON prelude, eight NUL bytes and the body. Any other response is
//! buffered: one JSON object as a Function URL reads it (payload format 2.0). As on AWS the POST is answered after the
//! whole body, so a function that runs one invocation at a time asks for the next event only then. Absent: trailers,
//! extensions, and limits on time or size.
//!
//! [Lambda Runtime API]: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use crate::server::{self, RunningServer};

/// The header that marks a streamed response.
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
/// The bytes between the prelude and the body.
const SEPARATOR: [u8; 8] = [0; 8];
/// Limit of the prelude, which holds a status and a few headers. A longer one has no separator.
const MAX_PRELUDE_BYTES: usize = 64 * 1024;
/// The deadline that `cargo lambda watch` sends with every invocation: ten minutes after 1 January 1970, 00:00.
const UNKNOWN_DEADLINE_MS: u128 = 600_000;
const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:local";
const TRACE_ID: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

/// A Runtime API for one function, on a free port of 127.0.0.1. It ends when dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    server: RunningServer,
    events: mpsc::UnboundedSender<QueuedEvent>,
}

/// The deadline of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// This time after the event is sent to the function.
    In(Duration),
    /// A time in 1970, as `cargo lambda watch` sends it.
    Unknown,
}

/// A function's response whose head has arrived.
#[derive(Debug)]
pub struct FunctionResponse {
    /// Status and headers.
    pub prelude: Prelude,
    /// Whether the response is streamed. A buffered response is returned after its last byte.
    pub is_streamed: bool,
    /// When the event was sent to the function.
    pub handed_out: Instant,
    /// When the first bytes of the prelude arrived.
    pub prelude_at: Instant,
    frames: mpsc::Receiver<BodyPart>,
}

/// Status, headers and cookies: the part before the body.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prelude {
    /// The HTTP status.
    pub status_code: u16,
    /// The headers. Each name occurs once.
    #[serde(default)]
    pub headers: HashMap<String, String>,
    /// The values of the `Set-Cookie` headers.
    #[serde(default)]
    pub cookies: Vec<String>,
}

/// A buffered response.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BufferedResponse {
    #[serde(flatten)]
    prelude: Prelude,
    /// A Function URL ignores this member, so a response that uses it is refused.
    #[serde(default)]
    multi_value_headers: HashMap<String, Value>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// A piece of the body as it arrived on the socket: one write of the function, or less.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When it arrived.
    pub at: Instant,
    /// The bytes. Never empty.
    pub bytes: Bytes,
}

/// Why a response is missing or incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvokeError(pub(crate) String);

impl RuntimeApi {
    /// Starts a Runtime API.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start() -> io::Result<Self> {
        let (events, queue) = mpsc::unbounded_channel();
        let state = RuntimeApiState { queue: AsyncMutex::new(queue), running: Mutex::default() };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(handler_error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(Arc::new(state));
        Ok(Self { server: server::start(router).await?, events })
    }

    /// The value for `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Queues an event and waits for the head of its response, without a time limit.
    ///
    /// # Errors
    /// If the function reports an error, or its response is not valid.
    pub async fn invoke(&self, event: &Value, deadline: Deadline) -> Result<FunctionResponse, InvokeError> {
        let (answer, answered) = oneshot::channel();
        let event = QueuedEvent { payload: event.to_string(), deadline, answer };
        self.events.send(event).map_err(|_| InvokeError("the Runtime API has ended".into()))?;
        answered.await.unwrap_or_else(|_| Err(InvokeError("the function did not answer the event".into())))
    }
}

impl FunctionResponse {
    /// The next piece of the body, or `None` after the last one.
    ///
    /// # Errors
    /// If the body is truncated.
    pub async fn next(&mut self) -> Result<Option<Frame>, InvokeError> {
        match self.frames.recv().await {
            Some(BodyPart::Frame(frame)) => Ok(Some(frame)),
            Some(BodyPart::End) => Ok(None),
            None => Err(InvokeError("the response is truncated".into())),
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// If the body is truncated.
    pub async fn rest(&mut self) -> Result<Vec<u8>, InvokeError> {
        let mut body = Vec::new();
        while let Some(frame) = self.next().await? {
            body.extend_from_slice(&frame.bytes);
        }
        Ok(body)
    }
}

impl fmt::Display for InvokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvokeError {}

type ResponseSender = oneshot::Sender<Result<FunctionResponse, InvokeError>>;

struct QueuedEvent {
    payload: String,
    deadline: Deadline,
    answer: ResponseSender,
}

enum BodyPart {
    Frame(Frame),
    /// The regular end. Without it a closed channel means that the connection broke.
    End,
}

struct RuntimeApiState {
    queue: AsyncMutex<mpsc::UnboundedReceiver<QueuedEvent>>,
    running: Mutex<HashMap<String, (ResponseSender, Instant)>>,
}

impl RuntimeApiState {
    fn begin(&self, id: &str, answer: ResponseSender) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), (answer, now()));
    }

    fn end(&self, id: &str) -> Option<(ResponseSender, Instant)> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

async fn next(State(state): State<Arc<RuntimeApiState>>) -> Response {
    static EVENTS: AtomicU64 = AtomicU64::new(1);
    let Some(event) = state.queue.lock().await.recv().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let id = format!("8476a536-e9f4-11e8-9739-{:012}", EVENTS.fetch_add(1, Ordering::Relaxed));
    state.begin(&id, event.answer);
    let deadline_ms = match event.deadline {
        Deadline::In(time) => (since_1970() + time).as_millis(),
        Deadline::Unknown => UNKNOWN_DEADLINE_MS,
    };
    let headers = [
        ("content-type", "application/json"),
        ("lambda-runtime-aws-request-id", &id),
        ("lambda-runtime-deadline-ms", &deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", ARN),
        ("lambda-runtime-trace-id", TRACE_ID),
    ];
    (headers, event.payload).into_response()
}

async fn response(
    State(state): State<Arc<RuntimeApiState>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let Some((answer, handed_out)) = state.end(&id) else { return StatusCode::BAD_REQUEST };
    let mut body = body.into_data_stream();
    let is_streamed = headers.contains_key(RESPONSE_MODE);
    let begun = match is_streamed {
        true => prelude(&headers, &mut body).await,
        false => whole(&mut body).await,
    };
    let (prelude, prelude_at, first) = match begun {
        Ok(begun) => begun,
        Err(failed) => {
            let _ = answer.send(Err(failed));
            return StatusCode::BAD_REQUEST;
        }
    };
    let (sender, frames) = mpsc::channel(1);
    let _ = answer.send(Ok(FunctionResponse { prelude, is_streamed, handed_out, prelude_at, frames }));
    let mut piece = Some(Ok(first));
    while let Some(Ok(bytes)) = piece {
        if !bytes.is_empty() {
            // The receiver may be dropped; the platform reads the rest of the body in any case.
            let _ = sender.send(BodyPart::Frame(Frame { at: now(), bytes })).await;
        }
        piece = body.next().await;
    }
    if piece.is_some() {
        return StatusCode::BAD_REQUEST;
    }
    let _ = sender.send(BodyPart::End).await;
    StatusCode::ACCEPTED
}

/// Reads up to the separator. Returns the prelude, the time of its first bytes and the bytes after the separator.
async fn prelude(headers: &HeaderMap, body: &mut BodyDataStream) -> Result<(Prelude, Instant, Bytes), InvokeError> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    if !is(RESPONSE_MODE, "streaming") || !is("content-type", "application/vnd.awslambda.http-integration-response") {
        return Err(InvokeError("the response is not streamed as HTTP".into()));
    }
    let mut read = BytesMut::new();
    let mut begun = None;
    let found = |read: &[u8]| read.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
    let end = loop {
        if let Some(end) = found(&read) {
            break end;
        }
        match body.next().await {
            Some(Ok(piece)) if read.len() < MAX_PRELUDE_BYTES => {
                begun.get_or_insert_with(now);
                read.extend_from_slice(&piece);
            }
            _ => return Err(InvokeError("the response has no prelude".into())),
        }
    };
    let prelude = serde_json::from_slice(&read[..end]);
    let prelude = prelude.map_err(|error| InvokeError(format!("the prelude cannot be read: {error}")))?;
    let rest = read.split_off(end + SEPARATOR.len());
    Ok((prelude, begun.unwrap_or_else(now), rest.freeze()))
}

/// Reads a buffered response. Returns the prelude, the time of its first bytes and the body.
async fn whole(body: &mut BodyDataStream) -> Result<(Prelude, Instant, Bytes), InvokeError> {
    let mut read = BytesMut::new();
    let mut begun = None;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| InvokeError("the response is truncated".into()))?;
        begun.get_or_insert_with(now);
        read.extend_from_slice(&piece);
    }
    let whole: BufferedResponse = serde_json::from_slice(&read)
        .map_err(|error| InvokeError(format!("the buffered response cannot be read: {error}")))?;
    if !whole.multi_value_headers.is_empty() {
        return Err(InvokeError("a Function URL does not read multiValueHeaders".into()));
    }
    let body = match whole.is_base64_encoded {
        true => STANDARD
            .decode(whole.body)
            .map_err(|error| InvokeError(format!("the body is not valid base64: {error}")))?,
        false => whole.body.into_bytes(),
    };
    Ok((whole.prelude, begun.unwrap_or_else(now), body.into()))
}

async fn handler_error(
    State(state): State<Arc<RuntimeApiState>>,
    Path(id): Path<String>,
    report: String,
) -> StatusCode {
    let Some((answer, _)) = state.end(&id) else { return StatusCode::BAD_REQUEST };
    let _ = answer.send(Err(InvokeError(format!("the handler failed: {report}"))));
    StatusCode::ACCEPTED
}

/// Fails every queued event: a function that did not start answers none.
async fn init_error(State(state): State<Arc<RuntimeApiState>>, report: String) -> StatusCode {
    while let Ok(event) = state.queue.lock().await.try_recv() {
        let _ = event.answer.send(Err(InvokeError(format!("the function did not start: {report}"))));
    }
    StatusCode::ACCEPTED
}

#[expect(clippy::disallowed_methods, reason = "the platform has a clock of its own")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the platform has a clock of its own")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
