//! The [Lambda Runtime API] as a function meets it inside its environment.
//!
//! `GET …/invocation/next` hands out events, `POST …/invocation/{id}/response` takes a response. A
//! streamed one says so, and is a prelude of JSON, eight NUL bytes, the body. Any other is buffered:
//! one JSON object as a Function URL reads it (payload format 2.0). As on AWS the POST is answered
//! when the whole body has come, so a function that runs one invocation at a time asks for the next
//! one only then. Absent: trailers, extensions, and any limit on time or size.
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

use crate::server::{self, Running};

/// The header of a streamed response.
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
/// What stands between the prelude and the body.
const SEPARATOR: [u8; 8] = [0; 8];
/// A prelude is a status and a few headers; who sends more without a separator will send none.
const MAX_PRELUDE_BYTES: usize = 64 * 1024;
/// What `cargo lambda watch` says of every invocation: ten minutes after midnight, 1 January 1970.
const UNKNOWN_DEADLINE_MS: u128 = 600_000;
const ARN: &str = "arn:aws:lambda:us-east-1:123456789012:function:local";
const TRACE_ID: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

/// A Runtime API on a free port of 127.0.0.1, until it is dropped. It serves one function.
#[derive(Debug)]
pub struct RuntimeApi {
    server: Running,
    events: mpsc::UnboundedSender<Event>,
}

/// When the platform would end an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// So long after the event is handed out.
    In(Duration),
    /// A time in 1970, which is all that `cargo lambda watch` says.
    Unknown,
}

/// A response that has begun.
#[derive(Debug)]
pub struct Invocation {
    /// Status and headers.
    pub prelude: Prelude,
    /// Whether it comes as it is made. A buffered one has begun when it is whole.
    pub is_streamed: bool,
    /// When the function got its event.
    pub handed_out: Instant,
    /// When the first bytes of the prelude came.
    pub prelude_at: Instant,
    frames: mpsc::Receiver<Part>,
}

/// What precedes the body.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prelude {
    /// The HTTP status.
    pub status_code: u16,
    /// Each name once: JSON has no other way to say it.
    #[serde(default)]
    pub headers: HashMap<String, String>,
    /// What the platform turns into `Set-Cookie` headers.
    #[serde(default)]
    pub cookies: Vec<String>,
}

/// A buffered response.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    prelude: Prelude,
    /// What other callers of a function read and a Function URL does not: what stands here is lost.
    #[serde(default)]
    multi_value_headers: HashMap<String, Value>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// A part of the body as it came off the socket: what the function wrote at once, or less.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When it came.
    pub at: Instant,
    /// Never empty.
    pub bytes: Bytes,
}

/// Why there is no response, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed(pub(crate) String);

impl RuntimeApi {
    /// Starts it.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start() -> io::Result<Self> {
        let (events, queue) = mpsc::unbounded_channel();
        let state = Shared { queue: AsyncMutex::new(queue), running: Mutex::default() };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(handler_error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(Arc::new(state));
        Ok(Self { server: server::start(router).await?, events })
    }

    /// What belongs into `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Queues an event and waits until its response has begun, for as long as that takes.
    ///
    /// # Errors
    /// When the function reports one, or answers in another form.
    pub async fn invoke(&self, event: &Value, deadline: Deadline) -> Result<Invocation, Failed> {
        let (answer, answered) = oneshot::channel();
        let event = Event { payload: event.to_string(), deadline, answer };
        self.events.send(event).map_err(|_| Failed("the Runtime API has ended".into()))?;
        answered.await.unwrap_or_else(|_| Err(Failed("the function gave the event back unanswered".into())))
    }
}

impl Invocation {
    /// The next part of the body, or `None` behind the last one.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn next(&mut self) -> Result<Option<Frame>, Failed> {
        match self.frames.recv().await {
            Some(Part::Frame(frame)) => Ok(Some(frame)),
            Some(Part::End) => Ok(None),
            None => Err(Failed("the response broke off".into())),
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn rest(&mut self) -> Result<Vec<u8>, Failed> {
        let mut body = Vec::new();
        while let Some(frame) = self.next().await? {
            body.extend_from_slice(&frame.bytes);
        }
        Ok(body)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

type Answer = oneshot::Sender<Result<Invocation, Failed>>;

struct Event {
    payload: String,
    deadline: Deadline,
    answer: Answer,
}

enum Part {
    Frame(Frame),
    /// Told apart from a sender that is gone: a connection that breaks takes our handler along.
    End,
}

struct Shared {
    queue: AsyncMutex<mpsc::UnboundedReceiver<Event>>,
    running: Mutex<HashMap<String, (Answer, Instant)>>,
}

impl Shared {
    fn begin(&self, id: &str, answer: Answer) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), (answer, now()));
    }

    fn end(&self, id: &str) -> Option<(Answer, Instant)> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    static EVENTS: AtomicU64 = AtomicU64::new(1);
    let Some(event) = shared.queue.lock().await.recv().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let id = format!("8476a536-e9f4-11e8-9739-{:012}", EVENTS.fetch_add(1, Ordering::Relaxed));
    shared.begin(&id, event.answer);
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
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let Some((answer, handed_out)) = shared.end(&id) else { return StatusCode::BAD_REQUEST };
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
    let _ = answer.send(Ok(Invocation { prelude, is_streamed, handed_out, prelude_at, frames }));
    let mut piece = Some(Ok(first));
    while let Some(Ok(bytes)) = piece {
        if !bytes.is_empty() {
            // A reader who has left changes nothing: the platform takes the rest all the same.
            let _ = sender.send(Part::Frame(Frame { at: now(), bytes })).await;
        }
        piece = body.next().await;
    }
    if piece.is_some() {
        return StatusCode::BAD_REQUEST;
    }
    let _ = sender.send(Part::End).await;
    StatusCode::ACCEPTED
}

/// Reads up to the separator, wherever the pieces are cut; tells when it began and what came behind it.
async fn prelude(headers: &HeaderMap, body: &mut BodyDataStream) -> Result<(Prelude, Instant, Bytes), Failed> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    if !is(RESPONSE_MODE, "streaming") || !is("content-type", "application/vnd.awslambda.http-integration-response") {
        return Err(Failed("the response is not streamed as HTTP".into()));
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
            _ => return Err(Failed("the response has no prelude".into())),
        }
    };
    let prelude = serde_json::from_slice(&read[..end]);
    let prelude = prelude.map_err(|error| Failed(format!("the prelude cannot be read: {error}")))?;
    let rest = read.split_off(end + SEPARATOR.len());
    Ok((prelude, begun.unwrap_or_else(now), rest.freeze()))
}

/// Reads a buffered response; tells when it began and what its body is.
async fn whole(body: &mut BodyDataStream) -> Result<(Prelude, Instant, Bytes), Failed> {
    let mut read = BytesMut::new();
    let mut begun = None;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| Failed("the response broke off".into()))?;
        begun.get_or_insert_with(now);
        read.extend_from_slice(&piece);
    }
    let whole: Whole = serde_json::from_slice(&read)
        .map_err(|error| Failed(format!("the buffered response cannot be read: {error}")))?;
    if !whole.multi_value_headers.is_empty() {
        return Err(Failed("a Function URL does not read multiValueHeaders".into()));
    }
    let body = match whole.is_base64_encoded {
        true => STANDARD.decode(whole.body).map_err(|error| Failed(format!("the body is no base64: {error}")))?,
        false => whole.body.into_bytes(),
    };
    Ok((whole.prelude, begun.unwrap_or_else(now), body.into()))
}

async fn handler_error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, report: String) -> StatusCode {
    let Some((answer, _)) = shared.end(&id) else { return StatusCode::BAD_REQUEST };
    let _ = answer.send(Err(Failed(format!("the handler failed: {report}"))));
    StatusCode::ACCEPTED
}

/// A function that cannot start answers nothing, whatever is asked of it.
async fn init_error(State(shared): State<Arc<Shared>>, report: String) -> StatusCode {
    while let Ok(event) = shared.queue.lock().await.try_recv() {
        let _ = event.answer.send(Err(Failed(format!("the function did not start: {report}"))));
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
