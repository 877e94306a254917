//! An upstream that answers every POST with recorded bytes, the same or others in turn, and can break off.

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

/// What is answered, and how.
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
    /// The body is written in pieces of this size.
    pub piece_bytes: usize,
    /// Waits before every piece.
    pub piece_after: Duration,
    /// Waits before the head.
    pub head_after: Duration,
    /// The head waits until this gate is open.
    pub gate: Option<Gate>,
    /// What happens behind the last byte.
    pub ending: Ending,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should.
    Clean,
    /// The connection is dropped in the middle of the body.
    Abort,
    /// Nothing comes any more, and the connection stays.
    Stall,
}

impl Transcript {
    /// An event stream that is written at once and ends as it should.
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

/// Keeps answers back until it is opened, and stays open.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets every answer pass.
    pub fn open(&self) {
        self.0.close();
    }

    async fn passed(&self) {
        // No permit is ever added: the wait ends with the error of a closed semaphore.
        let _closed = self.0.acquire().await;
    }
}

/// What an upstream has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    requests: Arc<AtomicU32>,
    open: Arc<AtomicU32>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request, to the letter.
#[derive(Clone, Debug)]
pub struct Asked {
    /// With the query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Seen {
    /// Requests that came.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Answers that are neither complete nor given up by the client.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::SeqCst)
    }

    /// The requests that came whole, in their order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn note(&self, request: Request) {
        let (head, body) = request.into_parts();
        if let Ok(body) = to_bytes(body, usize::MAX).await {
            let asked = Asked { path: head.uri.to_string(), headers: head.headers, body };
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        }
    }
}

/// Counts an answer as open for as long as it lives.
struct Open(Arc<AtomicU32>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Plays `transcript` on every path.
pub fn routes(transcript: Transcript) -> (Router, Seen) {
    routes_in_turn(vec![transcript])
}

/// Plays `transcripts` on every path: the first request gets the first of them, and so on; the last one is for every
/// further request. Without any, nothing is found.
pub fn routes_in_turn(transcripts: Vec<Transcript>) -> (Router, Seen) {
    let seen = Seen::default();
    let counters = seen.clone();
    let router = Router::new().fallback(move |request: Request| {
        let turn = counters.requests.fetch_add(1, Ordering::SeqCst);
        let transcript = transcripts.get(turn as usize).or(transcripts.last()).cloned();
        counters.open.fetch_add(1, Ordering::SeqCst);
        let open = Open(counters.open.clone());
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

async fn play(transcript: Transcript, open: Open) -> impl IntoResponse {
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
            // Once is enough: the server closes the connection at the first error. It would take what it has not
            // written yet along, so that is given time.
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
    async fn each_request_gets_the_next_transcript_and_the_last_one_stays() {
        let transcripts = ["a", "b", "c"].map(Transcript::events);
        let (router, seen) = routes_in_turn(transcripts.into());
        let upstream = crate::start(router).await.unwrap();
        let mut said = String::new();
        for _ in 0..5 {
            said += &reqwest::get(upstream.url("/any")).await.unwrap().text().await.unwrap();
        }
        assert_eq!((said.as_str(), seen.requests()), ("abccc", 5));
    }
}
