//! A chat relay in the style of new-api that answers every prompt with a picture.
//!
//! `POST /v1/chat/completions`, streamed: role chunk, some text, the picture as a Markdown image
//! in the asked [`Shape`], stop chunk, usage chunk, `[DONE]`. LF framing, no pings.

mod chunk;
mod request;

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::json;

pub(crate) use self::chunk::Delta;
use self::chunk::Envelope;
use self::request::ChatRequest;
use crate::picture::{Format, Picture, draw};
use crate::script::{self, Step};
use crate::shape::Shape;

/// How long the text takes at speed 1, in seconds.
const TEXT_SECONDS: f64 = 1.5;
/// How long the picture takes at speed 1, in seconds.
const PICTURE_SECONDS: f64 = 4.0;
/// Three pictures of 7 MB as base64, which is what the real model takes.
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;

/// How the relay behaves.
#[derive(Clone)]
pub struct Options {
    /// The bearer key that it asks for.
    pub key: String,
    /// The shape for models without an `@<shape>`.
    pub shape: Shape,
    /// 1 is the pace of a quick real model, 10 ten times that; `f64::INFINITY` never waits.
    pub speed: f64,
    /// Tell every drawn picture on standard error.
    pub log: bool,
}

/// The relay's routes.
pub fn routes(options: Options) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(completions))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Arc::new(options))
}

/// The picture that the relay sends for `prompt`: a PNG of 1024 x 1024 pixels.
pub fn picture_for(prompt: &str) -> Picture {
    draw(prompt, 0, Format::Png, 1024, 1024)
}

async fn completions(
    State(options): State<Arc<Options>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    if given != Some(format!("Bearer {}", options.key).as_bytes()) {
        return Err(Refusal::key());
    }
    let asked = ChatRequest::parse(&headers, &body).map_err(|why| Refusal::request(&why))?;
    let shape = match asked.shape() {
        None => options.shape,
        Some(name) => name.parse().map_err(|unknown| Refusal::request(&unknown))?,
    };
    Ok(answer(&options, shape, &asked))
}

fn answer(options: &Options, shape: Shape, asked: &ChatRequest) -> Response {
    let request_id = script::request_id();
    let envelope = Envelope::new(&request_id, asked.model());
    let mut opening = vec![Step::after(0.0, envelope.chunk(Delta::role()))];
    let words = said_beside(asked.image_count());
    opening.extend(Step::spread(words.into_iter().map(|word| envelope.chunk(Delta::text(word))), TEXT_SECONDS));

    let (prompt, log) = (asked.prompt().to_owned(), options.log);
    let prompt_tokens = asked.prompt().chars().count() + 258 * asked.image_count();
    let picture = async move {
        let drawn = tokio::task::spawn_blocking(move || picture_for(&prompt)).await;
        match drawn {
            Ok(picture) => {
                if log {
                    picture.announce("chat simulator drew");
                }
                let deltas = shape.deltas(&picture).into_iter();
                let events = deltas.map(|delta| envelope.chunk(delta));
                let mut steps = Step::spread(events, PICTURE_SECONDS);
                steps.push(Step::after(0.0, envelope.stop()));
                steps.push(Step::after(0.0, envelope.usage(prompt_tokens)));
                steps.push(Step::after(0.0, "data: [DONE]\n\n"));
                steps.into_iter().map(Ok).collect()
            }
            Err(panicked) => vec![Err(io::Error::other(panicked))],
        }
    };

    let steps = stream::iter(opening.into_iter().map(Ok)).chain(stream::once(picture).flat_map(stream::iter));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONNECTION, "keep-alive"),
    ];
    let relay = [("x-accel-buffering", "no"), ("x-oneapi-request-id", request_id.as_str())];
    (headers, relay, script::body(steps, options.speed)).into_response()
}

/// What the model says before the picture, a delta each.
fn said_beside(images: usize) -> Vec<String> {
    let mut words = vec!["好的".to_owned(), "，正在".to_owned()];
    if images > 0 {
        words.push(format!("参考 {images} 张图片"));
    }
    words.extend(["为你生成".to_owned(), "图片…\n\n".to_owned()]);
    words
}

/// An answer that is no stream: status and `error` object as new-api writes them.
struct Refusal {
    status: StatusCode,
    error: serde_json::Value,
}

impl Refusal {
    fn key() -> Self {
        let message = format!("无效的令牌 (request id: {})", script::request_id());
        let error = json!({"message": message, "type": "new_api_error"});
        Self { status: StatusCode::UNAUTHORIZED, error }
    }

    fn request(why: &dyn std::fmt::Display) -> Self {
        let message = format!("{why} (request id: {})", script::request_id());
        let error = json!({
            "message": message, "type": "new_api_error", "param": "", "code": "invalid_request",
        });
        Self { status: StatusCode::BAD_REQUEST, error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
        (self.status, headers, json!({"error": self.error}).to_string()).into_response()
    }
}
