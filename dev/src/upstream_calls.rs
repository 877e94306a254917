//! Counts what the fakes of the upstreams were asked and what they have sent: the truth that a ledger is compared with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;

/// An answer of the image API with fewer bytes has no picture.
const MIN_PICTURE_BYTES: usize = 10_000;

/// The counters.
#[derive(Clone, Debug, Default)]
pub struct UpstreamCalls(Arc<CallCounts>);

#[derive(Debug, Default)]
struct CallCounts {
    /// Calls that were not answered with 503.
    started: AtomicU64,
    /// Calls that were answered with 503.
    refused: AtomicU64,
    /// Calls that were answered with 400.
    rejected: AtomicU64,
    /// Pictures that were sent whole.
    pictures: AtomicU64,
    /// Calls that the caller dropped before the end of the answer and before a whole picture.
    dropped: AtomicU64,
}

impl UpstreamCalls {
    /// The routes of an upstream, with its faults.
    pub fn count(&self, routes: Router) -> Router {
        routes.layer(middleware::from_fn_with_state(self.clone(), count))
    }

    /// `GET /dev/upstream-calls`: the counters, and the tasks of this process.
    pub fn routes(self) -> Router {
        let answer = move || async move {
            let CallCounts { started, refused, rejected, pictures, dropped } = &*self.0;
            let [started, refused, rejected, pictures, dropped] =
                [started, refused, rejected, pictures, dropped].map(|count| count.load(Ordering::SeqCst));
            let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
            json!({"started": started, "refused": refused, "rejected": rejected, "pictures": pictures, "dropped": dropped,
                   "tasks": tasks})
            .to_string()
        };
        Router::new().route("/dev/upstream-calls", get(answer))
    }
}

async fn count(State(UpstreamCalls(counts)): State<UpstreamCalls>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let is_ark = request.uri().path().starts_with("/api/v3/");
    let mut call = Call { counts, is_ark, has_status: false, bytes: 0, pictures: 0, has_ended: false };
    let response = next.run(request).await;
    call.note_status(response.status());
    if response.status() != StatusCode::OK {
        return response;
    }
    let (head, body) = response.into_parts();
    let body = body.into_data_stream().map(move |piece| {
        call.note(piece.as_ref().ok());
        piece
    });
    Response::from_parts(head, Body::from_stream(body))
}

/// A call, and its answer that is being sent.
struct Call {
    counts: Arc<CallCounts>,
    is_ark: bool,
    has_status: bool,
    bytes: usize,
    pictures: u64,
    has_ended: bool,
}

impl Call {
    fn note_status(&mut self, status: StatusCode) {
        self.has_status = true;
        self.has_ended = status != StatusCode::OK;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            self.counts.refused.fetch_add(1, Ordering::SeqCst);
            return;
        }
        self.counts.started.fetch_add(1, Ordering::SeqCst);
        if status == StatusCode::BAD_REQUEST {
            self.counts.rejected.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// `None` if the fault of the answer cuts it off.
    fn note(&mut self, piece: Option<&Bytes>) {
        let Some(piece) = piece else {
            self.has_ended = true;
            return;
        };
        self.bytes += piece.len();
        let has = |text: &str| piece.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
        // A caller may close the connection at this mark.
        let is_last = has("[DONE]") > 0;
        self.has_ended |= is_last;
        let pictures = match self.is_ark {
            true => has("event: image_generation.partial_succeeded") as u64,
            false => u64::from(is_last && self.bytes > MIN_PICTURE_BYTES),
        };
        self.pictures += pictures;
        self.counts.pictures.fetch_add(pictures, Ordering::SeqCst);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.has_status {
            self.counts.started.fetch_add(1, Ordering::SeqCst);
        }
        if !self.has_ended && self.pictures == 0 {
            self.counts.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}
