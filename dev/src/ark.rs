//! Volcengine ARK image generation (Seedream), and the storage that its links lead to.
//!
//! `POST /api/v3/images/generations`, streamed: one `image_generation.partial_succeeded` a
//! picture, `image_generation.completed`, `[DONE]`. The head goes out at once; the real one waits
//! for its first picture. The links lead back to the host that was asked, under
//! `GET /ark-files/{name}`, and are signed: a changed one is refused.

mod event;
mod link;
mod request;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;

use self::event::Event;
use self::link::Link;
use self::request::{ArkRequest, Tier};
use crate::input::Refused;
use crate::picture::Picture;
use crate::script::{self, Step};

/// How long one picture takes at speed 1, in seconds. The real one takes 20 to 40.
const PICTURE_SECONDS: f64 = 3.0;
/// Fourteen photos as data URLs are more than anybody sends through us.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// How ARK behaves.
#[derive(Clone)]
pub struct Options {
    /// The bearer key that it asks for.
    pub key: String,
    /// 1 makes a picture in three seconds, 10 ten times as fast; `f64::INFINITY` never waits.
    pub speed: f64,
    /// Tell every picture that is fetched on standard error.
    pub log: bool,
}

/// ARK's routes, and those of its storage.
pub fn routes(options: Options) -> Router {
    Router::new()
        .route("/api/v3/images/generations", post(generations))
        .route("/ark-files/{name}", get(file))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Arc::new(options))
}

/// The picture that a link leads to: number `index` (from 0) for `prompt` at size `2K`, a JPEG of
/// 2496 x 1664 pixels.
pub fn picture_for(prompt: &str, index: u32) -> Picture {
    Link::new(prompt, Tier::TwoK, index).draw()
}

async fn generations(
    State(options): State<Arc<Options>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    if given != Some(format!("Bearer {}", options.key).as_bytes()) {
        return Err(Refusal::key());
    }
    let asked = ArkRequest::parse(&headers, &body).map_err(Refusal::request)?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.ok_or_else(|| Refusal::request(Refused("no Host header".to_owned())))?;
    Ok(answer(options.speed, host, &asked))
}

fn answer(speed: f64, host: &str, asked: &ArkRequest) -> Response {
    let mut steps = Vec::new();
    for index in 0..asked.pictures {
        let url = Link::new(&asked.prompt, asked.size, index).url(host);
        let event = Event::succeeded(&asked.model, index, url, asked.size);
        steps.push(Step::after(PICTURE_SECONDS, event.encode()));
    }
    let completed = Event::completed(&asked.model, asked.pictures, asked.size);
    steps.push(Step::after(0.0, completed.encode()));
    steps.push(Step::after(0.0, "data: [DONE]\n\n"));

    let headers = [
        (header::CONTENT_TYPE, "text/event-stream".to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::SERVER, "istio-envoy".to_owned()),
        (HeaderName::from_static("x-request-id"), script::request_id()),
    ];
    let steps = stream::iter(steps.into_iter().map(Ok));
    (headers, script::body(steps, speed)).into_response()
}

/// Draws the picture that the link names. Drawing again gives the same bytes, so none is kept.
async fn file(
    State(options): State<Arc<Options>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, StorageRefusal> {
    let link = Link::parse(&name, query.as_deref()).ok_or(StorageRefusal)?;
    let drawn = tokio::task::spawn_blocking(move || link.draw()).await;
    let Ok(picture) = drawn else {
        return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    if options.log {
        picture.announce("ark simulator drew");
    }
    Ok(([(header::CONTENT_TYPE, picture.media_type)], picture.bytes).into_response())
}

/// An answer that is no stream: status and `error` object as ARK writes them.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    kind: &'static str,
    message: String,
}

impl Refusal {
    fn key() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: "AuthenticationError",
            kind: "Unauthorized",
            message: "the API key or AK/SK in the request is missing or invalid.".to_owned(),
        }
    }

    fn request(why: Refused) -> Self {
        let missing = why.0.starts_with("missing field");
        Self {
            status: StatusCode::BAD_REQUEST,
            code: if missing { "MissingParameter" } else { "InvalidParameter" },
            kind: "BadRequest",
            message: format!("The request is not valid: {why}."),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, kind, message } = self;
        let message = format!("{message} Request id: {}", script::request_id());
        let error = json!({"code": code, "message": message, "param": "", "type": kind});
        let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
        (status, headers, json!({"error": error}).to_string()).into_response()
    }
}

/// What the storage says to a link that it did not sign.
struct StorageRefusal;

impl IntoResponse for StorageRefusal {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/xml")];
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we \
                    calculated does not match the signature you provided.</Message></Error>";
        (StatusCode::FORBIDDEN, headers, body).into_response()
    }
}
