//! An upstream that answers every request with recorded bytes, one transcript per request, and can truncate them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::Semaphore;

/// A recorded answer and how it is sent.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// Status of the head.
    pub status: u16,
    /// `Content-Type` of the head.
    pub content_type: &'static str,
    /// One more header of the head.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// The body.
    pub bytes: Bytes,
    /// Size of the pieces in which the body is written.
    pub piece_bytes: usize,
    /// Delay before every piece.
    pub piece_after: Duration,
    /// Delay before the head.
    pub head_after: Duration,
    /// The head is sent after this gate is opened.
    pub gate: Option<Gate>,
    /// How the body ends after the last byte.
    pub ending: Ending,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The body ends regularly.
    Clean,
    /// The connection is closed in the middle of the body.
    Abort,
    /// No further byte is sent, and the connection stays open.
    Stall,
}

impl Transcript {
    /// An event stream that is written at once and ends regularly.
    pub fn events(bytes: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            content_type: "text/event-stream",
            header: None,
            bytes: bytes.into(),
            piece_bytes: usize::MAX,
            piece_after: Duration::ZERO,
            head_after: Duration::ZERO,
            gate: None,
            ending: Ending::Clean,
        }
    }
}

/// Holds answers back until it is opened. It stays open.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Releases every answer.
    pub fn open(&self) {
        self.0.close();
    }

    async fn passed(&self) {
        // The semaphore has no permits: the wait ends with an error when it is closed.
        let _closed = self.0.acquire().await;
    }
}

/// The requests that an upstream has received.
#[derive(Clone, Debug, Default)]
pub struct ReceivedRequests {
    requests: Arc<AtomicU32>,
    open: Arc<AtomicU32>,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// The path with the query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl ReceivedRequests {
    /// Number of received requests.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Number of answers that are neither complete nor cancelled by the client.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::SeqCst)
    }

    /// The completely received requests, in order of arrival.
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn note(&self, request: Request) {
        let (head, body) = request.into_parts();
        if let Ok(body) = to_bytes(body, usize::MAX).await {
            let received = ReceivedRequest { path: head.uri.to_string(), headers: head.headers, body };
            self.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
        }
    }
}

/// Counts an answer as open until it is dropped.
struct OpenAnswer(Arc<AtomicU32>);

impl Drop for OpenAnswer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Plays `transcript` on every path.
pub fn routes(transcript: Transcript) -> (Router, ReceivedRequests) {
    routes_in_turn(vec![transcript])
}

/// Plays `transcripts` on every path: one per request, in order. Further requests get the last one. An empty list
/// answers 404.
pub fn routes_in_turn(transcripts: Vec<Transcript>) -> (Router, ReceivedRequests) {
    let seen = ReceivedRequests::default();
    let counters = seen.clone();
    let router = Router::new().fallback(move |request: Request| {
        let turn = counters.requests.fetch_add(1, Ordering::SeqCst);
        let transcript = transcripts.get(turn as usize).or(transcripts.last()).cloned();
        counters.open.fetch_add(1, Ordering::SeqCst);
        let open = OpenAnswer(counters.open.clone());
        let counters = counters.clone();
        async move {
            counters.note(request).await;
            match transcript {
                Some(transcript) => play(transcript, open).await.into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        }
    });
    (router, seen)
}

async fn play(transcript: Transcript, open: OpenAnswer) -> impl IntoResponse {
    tokio::time::sleep(transcript.head_after).await;
    if let Some(gate) = &transcript.gate {
        gate.passed().await;
    }
    let Transcript { status, content_type, header, bytes, piece_bytes, piece_after, ending, .. } = transcript;
    let body = stream::unfold((bytes, Some(open)), move |(mut rest, open)| async move {
        if !rest.is_empty() {
            if !piece_after.is_zero() {
                tokio::time::sleep(piece_after).await;
            }
            let piece = rest.split_to(rest.len().min(piece_bytes));
            return Some((Ok(piece), (rest, open)));
        }
        match ending {
            Ending::Clean => None,
            // The server closes the connection at the error and drops unwritten bytes, so they get 50 ms first.
            Ending::Abort => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                open.map(|_| (Err(std::io::Error::other("cut")), (rest, None)))
            }
            Ending::Stall => std::future::pending().await,
        }
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().extend(header);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_request_gets_the_next_transcript_and_the_last_one_repeats() {
        let transcripts = ["a", "b", "c"].map(Transcript::events);
        let (router, seen) = routes_in_turn(transcripts.into());
        let upstream = crate::start(router).await.unwrap();
        let mut bodies = String::new();
        for _ in 0..5 {
            bodies += &reqwest::get(upstream.url("/any")).await.unwrap().text().await.unwrap();
        }
        assert_eq!((bodies.as_str(), seen.requests()), ("abccc", 5));
    }
}
