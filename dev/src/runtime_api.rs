//! A fake of the [Lambda Runtime API].
//!
//! `GET …/invocation/next` returns an event, `POST …/invocation/{id}/response` accepts the response. A streamed
//! response has a mode header, and consists of a JSON prelude, eight NUL bytes and the body. Any other response is
//! buffered: one JSON object as a Function URL reads it (payload format 2.0). As on AWS the POST is answered after the
//! whole body, so a function that runs one invocation at a time asks for the next event only then. The limits of size,
//! rate and time are kept by [`RuntimeApi::hosted`] only. Absent: trailers and extensions.
//!
//! [Lambda Runtime API]: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

mod hosted;
mod response_head;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, mpsc, oneshot};
use tokio::task::JoinSet;

use self::hosted::{Control, EVENT_TOO_LARGE, MAX_BUFFERED_BYTES, MAX_EVENT_BYTES, Pace};
use self::response_head::{prelude, whole};
use crate::server::{self, RunningServer};

pub use self::hosted::ProcessStep;

/// The header that marks a streamed response.
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
/// The deadline that `cargo lambda watch` sends with every invocation: ten minutes after 1 January 1970, 00:00.
const UNKNOWN_DEADLINE_MS: u128 = 600_000;
const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:local";
const TRACE_ID: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

/// A Runtime API for one function, on a free port of 127.0.0.1. It ends when dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    server: RunningServer,
    events: mpsc::UnboundedSender<QueuedEvent>,
    is_hosted: bool,
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
    /// Starts a Runtime API without limits.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start() -> io::Result<Self> {
        Self::serve(false, None).await
    }

    /// Starts one with the limits of a hosted Lambda: 6 MB for an event and for a buffered response, and 200 MB for a
    /// streamed response, which is read at 2 MB a second after the first 6 MB.
    ///
    /// With `control` it also runs one invocation at a time, freezes the process between two, and replaces it at a
    /// deadline. Managed instances run several invocations at once and have no `control`.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn hosted(control: Option<Box<dyn Fn(ProcessStep) + Send + Sync>>) -> io::Result<Self> {
        Self::serve(true, control).await
    }

    async fn serve(is_hosted: bool, control: Option<Control>) -> io::Result<Self> {
        let (events, queue) = mpsc::unbounded_channel();
        let queue = Arc::new(AsyncMutex::new(queue));
        let state =
            RuntimeApiState { queue, running: Mutex::default(), is_hosted, control, deadlines: Mutex::default() };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(handler_error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(Arc::new(state));
        Ok(Self { server: server::start(router).await?, events, is_hosted })
    }

    /// The value for `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Queues an event and waits for the head of its response. Only a hosted Lambda has a time limit; it answers an event
    /// that is too large itself, with 413.
    ///
    /// # Errors
    /// If the function reports an error or reaches its deadline, or its response is not valid.
    pub async fn invoke(&self, event: &Value, deadline: Deadline) -> Result<FunctionResponse, InvokeError> {
        let payload = event.to_string();
        if self.is_hosted && payload.len() > MAX_EVENT_BYTES {
            return Ok(FunctionResponse::too_large());
        }
        let (answer, answered) = oneshot::channel();
        let event = QueuedEvent { payload, deadline, answer };
        self.events.send(event).map_err(|_| InvokeError("the Runtime API has ended".into()))?;
        answered.await.unwrap_or_else(|_| Err(InvokeError("the function did not answer the event".into())))
    }
}

impl FunctionResponse {
    /// The platform's own response to an event that is too large.
    fn too_large() -> Self {
        let (sender, frames) = mpsc::channel(2);
        let now = now();
        let body = Frame { at: now, bytes: Bytes::from_static(EVENT_TOO_LARGE.as_bytes()) };
        // The channel has room for both.
        let _ = sender.try_send(BodyPart::Frame(body));
        let _ = sender.try_send(BodyPart::End);
        let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
        let prelude = Prelude { status_code: 413, headers, cookies: Vec::new() };
        Self { prelude, is_streamed: false, handed_out: now, prelude_at: now, frames }
    }

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

type Queue = mpsc::UnboundedReceiver<QueuedEvent>;

struct RuntimeApiState {
    queue: Arc<AsyncMutex<Queue>>,
    running: Mutex<HashMap<String, RunningInvocation>>,
    is_hosted: bool,
    control: Option<Control>,
    /// Each waits for the deadline of one invocation.
    deadlines: Mutex<JoinSet<()>>,
}

/// An event that the function has, until its response begins.
struct RunningInvocation {
    answer: ResponseSender,
    handed_out: Instant,
    /// The time that a hosted Lambda gives it.
    time: Option<Duration>,
    /// Where one invocation runs at a time, the next event waits until this one has ended.
    _turn: Option<OwnedMutexGuard<Queue>>,
}

impl RuntimeApiState {
    fn begin(&self, id: &str, invocation: RunningInvocation) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), invocation);
    }

    fn end(&self, id: &str) -> Option<RunningInvocation> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    fn control(&self, step: ProcessStep) {
        if let Some(control) = &self.control {
            control(step);
        }
    }

    /// Replaces the process if the invocation has no response when its time is over.
    fn watch(self: &Arc<Self>, id: &str, time: Duration) {
        let (state, id) = (Arc::downgrade(self), id.to_owned());
        let watching = async move {
            tokio::time::sleep(time).await;
            let Some(state) = Weak::upgrade(&state) else { return };
            if let Some(invocation) = state.end(&id) {
                state.control(ProcessStep::Replace);
                let _ = invocation.answer.send(Err(InvokeError("the function has reached its deadline".into())));
            }
        };
        let mut deadlines = self.deadlines.lock().unwrap_or_else(PoisonError::into_inner);
        while deadlines.try_join_next().is_some() {}
        deadlines.spawn(watching);
    }
}

async fn next(State(state): State<Arc<RuntimeApiState>>) -> Response {
    static EVENTS: AtomicU64 = AtomicU64::new(1);
    let mut queue = Arc::clone(&state.queue).lock_owned().await;
    let event = match queue.try_recv() {
        Ok(event) => Some(event),
        Err(_) => {
            state.control(ProcessStep::Freeze);
            queue.recv().await
        }
    };
    state.control(ProcessStep::Continue);
    let Some(event) = event else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let id = format!("8476a536-e9f4-11e8-9739-{:012}", EVENTS.fetch_add(1, Ordering::Relaxed));
    let (deadline_ms, time) = match event.deadline {
        Deadline::In(time) => ((since_1970() + time).as_millis(), state.control.is_some().then_some(time)),
        Deadline::Unknown => (UNKNOWN_DEADLINE_MS, None),
    };
    let turn = state.control.is_some().then_some(queue);
    state.begin(&id, RunningInvocation { answer: event.answer, handed_out: now(), time, _turn: turn });
    if let Some(time) = time {
        state.watch(&id, time);
    }
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
    let Some(RunningInvocation { answer, handed_out, time, _turn }) = state.end(&id) else {
        return StatusCode::BAD_REQUEST;
    };
    let reading = read(state.is_hosted, answer, handed_out, headers, body.into_data_stream());
    let Some(time) = time else { return reading.await };
    let left = time.saturating_sub(now() - handed_out);
    let read = tokio::time::timeout(left, reading).await;
    read.unwrap_or_else(|_| {
        state.control(ProcessStep::Replace);
        StatusCode::BAD_REQUEST
    })
}

/// Reads a response to its end and passes it on.
async fn read(
    is_hosted: bool,
    answer: ResponseSender,
    handed_out: Instant,
    headers: HeaderMap,
    mut body: BodyDataStream,
) -> StatusCode {
    let is_streamed = headers.contains_key(RESPONSE_MODE);
    let begun = match is_streamed {
        true => prelude(&headers, &mut body).await,
        false => whole(&mut body, if is_hosted { MAX_BUFFERED_BYTES } else { usize::MAX }).await,
    };
    let (prelude, prelude_at, first) = match begun {
        Ok(begun) => begun,
        Err((status, failed)) => {
            let _ = answer.send(Err(failed));
            return status;
        }
    };
    let (sender, frames) = mpsc::channel(1);
    let _ = answer.send(Ok(FunctionResponse { prelude, is_streamed, handed_out, prelude_at, frames }));
    let mut pace = (is_hosted && is_streamed).then(Pace::default);
    let mut piece = Some(Ok(first));
    while let Some(Ok(bytes)) = piece {
        if let Some(pace) = &mut pace
            && !pace.admits(bytes.len()).await
        {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
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

async fn handler_error(
    State(state): State<Arc<RuntimeApiState>>,
    Path(id): Path<String>,
    report: String,
) -> StatusCode {
    let Some(invocation) = state.end(&id) else { return StatusCode::BAD_REQUEST };
    let _ = invocation.answer.send(Err(InvokeError(format!("the handler failed: {report}"))));
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
