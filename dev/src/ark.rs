//! A fake of Volcengine ARK image generation (Seedream), and of the storage that its links point to.
//!
//! `POST /api/v3/images/generations` streams one `image_generation.partial_succeeded` event per picture, then
//! `image_generation.completed`, then `[DONE]`. Models without a stream mode (5.0-pro, 5.0-flash), and requests without
//! `stream`, are answered with one JSON object. The head is sent at once; the real service sends it with its first
//! picture. The links point to the host of the request, path `/ark-files/{name}`, and are signed: a changed link is
//! refused.

mod event;
mod link;
mod model;
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

use self::event::ArkEvent;
use self::link::ArkLink;
use self::request::{RefusedSeedream, SeedreamRequest, SizeTier};
use crate::drawings::Drawings;
use crate::input::RefusedInput;
use crate::picture::Picture;
use crate::timed_body::{self, TimedWrite};

/// Time for one picture at speed 1, in seconds. The real service takes 20 to 40.
const PICTURE_SECONDS: f64 = 3.0;
/// Largest request body. Fourteen photos as data URLs fit, and the functions accept less than that.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// Settings of the ARK fake.
#[derive(Clone)]
pub struct ArkOptions {
    /// The bearer key that a request must have.
    pub key: String,
    /// Speed factor: 1 makes a picture in three seconds, 10 is ten times as fast, `f64::INFINITY` never waits.
    pub speed: f64,
    /// Whether every fetched picture is logged on standard error.
    pub log: bool,
}

/// The routes of ARK and of its storage.
pub fn routes(options: ArkOptions) -> Router {
    routes_with_drawings(options, Drawings::default())
}

/// As [`routes`], and each fetched picture is added to `drawings`.
pub fn routes_with_drawings(options: ArkOptions, drawings: Drawings) -> Router {
    Router::new()
        .route("/api/v3/images/generations", post(generations))
        .route("/ark-files/{name}", get(file))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state((Arc::new(options), drawings))
}

/// The picture behind a link: number `index` (from 0) for `prompt` at size `2K`, a JPEG of 2496 x 1664 pixels.
pub fn picture_for(prompt: &str, index: u32) -> Picture {
    ArkLink::new(prompt, SizeTier::TwoK, index).draw()
}

async fn generations(
    State((options, _)): State<(Arc<ArkOptions>, Drawings)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ArkRefusal> {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    if given != Some(format!("Bearer {}", options.key).as_bytes()) {
        return Err(ArkRefusal::key());
    }
    let request = SeedreamRequest::parse(&headers, &body).map_err(ArkRefusal::of)?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.ok_or_else(|| ArkRefusal::request(RefusedInput::new("no Host header")))?;
    Ok(answer(options.speed, host, &request))
}

fn answer(speed: f64, host: &str, request: &SeedreamRequest) -> Response {
    if !request.streams {
        return whole_answer(speed, host, request);
    }
    let mut writes = Vec::new();
    for index in 0..request.pictures {
        let url = ArkLink::new(&request.prompt, request.size, index).url(host);
        let event = ArkEvent::succeeded(&request.model, index, url, request.size);
        writes.push(TimedWrite::after(PICTURE_SECONDS, event.encode()));
    }
    let completed = ArkEvent::completed(&request.model, request.pictures, request.size);
    writes.push(TimedWrite::after(0.0, completed.encode()));
    writes.push(TimedWrite::after(0.0, "data: [DONE]\n\n"));

    respond("text/event-stream", writes, speed)
}

/// The answer to a request without `stream`.
fn whole_answer(speed: f64, host: &str, request: &SeedreamRequest) -> Response {
    let (width, height) = request.size.pixels();
    let data = (0..request.pictures).map(|index| {
        let url = ArkLink::new(&request.prompt, request.size, index).url(host);
        json!({"url": url, "size": format!("{width}x{height}")})
    });
    let tokens = request.pictures * (width * height / 256);
    let usage = json!({"generated_images": request.pictures, "output_tokens": tokens, "total_tokens": tokens});
    let created = timed_body::unix_seconds();
    let answer = json!({"model": request.model, "created": created, "data": data.collect::<Vec<_>>(), "usage": usage});
    let seconds = PICTURE_SECONDS * f64::from(request.pictures);
    respond("application/json", vec![TimedWrite::after(seconds, answer.to_string())], speed)
}

fn respond(content_type: &str, writes: Vec<TimedWrite>, speed: f64) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::SERVER, "istio-envoy".to_owned()),
        (HeaderName::from_static("x-request-id"), timed_body::request_id()),
    ];
    let writes = stream::iter(writes.into_iter().map(Ok));
    (headers, timed_body::body(writes, speed)).into_response()
}

/// Draws the picture of a link. The same link always gives the same bytes, so no picture is stored.
async fn file(
    State((options, drawings)): State<(Arc<ArkOptions>, Drawings)>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ArkStorageRefusal> {
    let link = ArkLink::parse(&name, query.as_deref()).ok_or(ArkStorageRefusal)?;
    let drawn = tokio::task::spawn_blocking(move || link.draw()).await;
    let Ok(picture) = drawn else {
        return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    };
    if options.log {
        picture.log("ARK fake drew");
    }
    drawings.add(&picture);
    Ok(([(header::CONTENT_TYPE, picture.media_type)], picture.bytes).into_response())
}

/// An error response: the status and `error` object that ARK sends.
struct ArkRefusal {
    status: StatusCode,
    code: &'static str,
    kind: &'static str,
    message: String,
    param: &'static str,
}

impl ArkRefusal {
    fn key() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: "AuthenticationError",
            kind: "Unauthorized",
            message: "the API key or AK/SK in the request is missing or invalid.".to_owned(),
            param: "",
        }
    }

    fn of(why: RefusedSeedream) -> Self {
        match why {
            RefusedSeedream::Input(why) => Self::request(why),
            RefusedSeedream::Model => Self {
                status: StatusCode::NOT_FOUND,
                code: "InvalidEndpointOrModel.NotFound",
                kind: "NotFound",
                message: "The model or endpoint does not exist or you do not have access to it.".to_owned(),
                param: "",
            },
        }
    }

    fn request(why: RefusedInput) -> Self {
        let missing = why.to_string().starts_with("missing field");
        Self {
            status: StatusCode::BAD_REQUEST,
            code: if missing { "MissingParameter" } else { "InvalidParameter" },
            kind: "BadRequest",
            message: format!("The request is not valid: {why}."),
            param: why.param.unwrap_or_default(),
        }
    }
}

impl IntoResponse for ArkRefusal {
    fn into_response(self) -> Response {
        let Self { status, code, kind, message, param } = self;
        let message = format!("{message} Request id: {}", timed_body::request_id());
        let error = json!({"code": code, "message": message, "param": param, "type": kind});
        let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
        (status, headers, json!({"error": error}).to_string()).into_response()
    }
}

/// The storage's response to a link with a wrong signature.
struct ArkStorageRefusal;

impl IntoResponse for ArkStorageRefusal {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/xml")];
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we \
                    calculated does not match the signature you provided.</Message></Error>";
        (StatusCode::FORBIDDEN, headers, body).into_response()
    }
}
