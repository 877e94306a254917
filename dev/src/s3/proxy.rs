//! A proxy between a client and an engine. It counts requests, and fails as S3 or the network does.

use std::collections::BTreeMap;
use std::fmt;
use std::future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{self, Body};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use crate::engine_client::{EngineClient, dropped};

/// Largest request or response body.
const MAX_BYTES: usize = 64 << 20;

/// The faults and counters of a proxy. A test holds one handle, [`routes`] another.
#[derive(Clone, Default)]
pub struct BucketProxy(Arc<Mutex<BucketProxyState>>);

#[derive(Default)]
struct BucketProxyState {
    script: Option<Box<BucketScript>>,
    delay: Duration,
    calls: BTreeMap<String, u32>,
}

type BucketScript = dyn FnMut(&BucketCall) -> Option<BucketFault> + Send;

/// The parts of a request that a script can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketCall {
    /// The method.
    pub method: Method,
    /// The path: the bucket and the key.
    pub path: String,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketFault {
    /// The request is executed, and the connection is closed without a response.
    Swallow,
    /// The connection is closed, and the request is not executed.
    Refuse,
    /// The request is not executed and never answered. The connection stays open.
    Hang,
    /// The first half of the request body is executed as if it were the whole.
    HalfRequest,
    /// The response ends after half of its body.
    HalfResponse,
    /// Too many requests (503).
    SlowDown,
    /// An internal error of the service (500).
    InternalError,
    /// The key has no permission (403).
    AccessDenied,
    /// The bucket does not exist (404).
    NoSuchBucket,
    /// The bucket is in another region (301).
    PermanentRedirect,
    /// A proxy answers with a page of its own (502).
    NotS3,
}

impl BucketProxy {
    /// Makes every request fail, or none.
    pub fn fail(&self, fault: Option<BucketFault>) {
        self.script(move |_| fault);
    }

    /// Makes the next `n` requests fail.
    pub fn fail_next(&self, n: u32, fault: BucketFault) {
        let mut left = n;
        self.script(move |_| {
            let is_due = left > 0;
            left = left.saturating_sub(1);
            is_due.then_some(fault)
        });
    }

    /// Calls `script` for every request, in order of arrival, to decide whether it fails. The script must not call this
    /// proxy: the lock is held.
    pub fn script(&self, script: impl FnMut(&BucketCall) -> Option<BucketFault> + Send + 'static) {
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

    /// Number of received requests with a method, such as `PUT`.
    pub fn calls_to(&self, method: &str) -> u32 {
        self.state().calls.get(method).copied().unwrap_or_default()
    }

    /// Counts a request. Returns its fault and the delay of its response.
    fn record(&self, call: &BucketCall) -> (Option<BucketFault>, Duration) {
        let mut state = self.state();
        *state.calls.entry(call.method.to_string()).or_default() += 1;
        (state.script.as_mut().and_then(|script| script(call)), state.delay)
    }

    fn state(&self) -> MutexGuard<'_, BucketProxyState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BucketProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketProxy").field("calls", &self.state().calls).finish_non_exhaustive()
    }
}

/// Forwards every request to the engine at `url` and returns its response, or fails.
pub fn routes(proxy: BucketProxy, url: &str) -> Router {
    Router::new().fallback(answer).with_state((proxy, EngineClient::new(url, MAX_BYTES)))
}

async fn answer(State((proxy, engine)): State<(BucketProxy, EngineClient)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(mut body) = body::to_bytes(body, MAX_BYTES).await else { return dropped() };
    let (fault, delay) = proxy.record(&BucketCall { method: head.method.clone(), path: head.uri.path().to_owned() });
    let answer = match fault {
        Some(BucketFault::Hang) => future::pending().await,
        Some(BucketFault::Refuse) => dropped(),
        Some(fault) if fault.response().is_some() => fault.response().unwrap_or_else(dropped),
        fault => {
            let mut request = Request::from_parts(head, Body::empty());
            if fault == Some(BucketFault::HalfRequest) {
                body.truncate(body.len() / 2);
                request.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
            }
            *request.body_mut() = Body::from(body);
            let answer = engine.ask(request).await;
            match (fault, answer) {
                (Some(BucketFault::Swallow), _) | (_, None) => dropped(),
                (Some(BucketFault::HalfResponse), Some(answer)) => half(answer).await,
                (_, Some(answer)) => answer,
            }
        }
    };
    // Tokio rounds a sleep of zero up to a millisecond.
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    answer
}

impl BucketFault {
    /// S3's error response, or another service's.
    fn response(self) -> Option<Response> {
        let (status, code) = match self {
            Self::Swallow | Self::Refuse | Self::Hang | Self::HalfRequest | Self::HalfResponse => return None,
            Self::SlowDown => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
            Self::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Self::AccessDenied => (StatusCode::FORBIDDEN, "AccessDenied"),
            Self::NoSuchBucket => (StatusCode::NOT_FOUND, "NoSuchBucket"),
            Self::PermanentRedirect => (StatusCode::MOVED_PERMANENTLY, "PermanentRedirect"),
            Self::NotS3 => {
                let page = "<html><body>502 Bad Gateway, canary</body></html>";
                return Some((StatusCode::BAD_GATEWAY, [(header::CONTENT_TYPE, "text/html")], page).into_response());
            }
        };
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>canary</Message>\
             <RequestId>4442587FB7D0A2F9</RequestId></Error>"
        );
        Some((status, [(header::CONTENT_TYPE, "application/xml")], body).into_response())
    }
}

/// The response with its head and the first half of its body. Then the connection is closed.
async fn half(answer: Response) -> Response {
    let (head, body) = answer.into_parts();
    let Ok(mut body) = body::to_bytes(body, MAX_BYTES).await else { return dropped() };
    body.truncate(body.len() / 2);
    let pieces = [Ok(body), io::Result::<Bytes>::Err(io::Error::other("cut"))];
    Response::from_parts(head, Body::from_stream(stream::iter(pieces)))
}
