//! A relay for image models that answers every prompt with a picture, in any [`Shape`] that pictures arrive in.
//!
//! | Route | Speaks as | Shape without `@<shape>` |
//! |---|---|---|
//! | `POST /v1/chat/completions` | new-api | that of the options |
//! | `POST /v1/images/generations`, `POST /v1/images/edits` | OpenAI | `images-stream`, or that of the options |
//! | `POST /v1beta/models/{model}:streamGenerateContent` | Google | `gemini`, or that of the options |
//! | `GET /image-files/{name}` | a storage | |
//!
//! The options choose for the images and the Gemini routes only within the route's own protocol.

mod answer;
mod chat;
mod chunk;
mod easel;
mod gemini;
mod images;
mod link;
mod refusal;
mod request;
mod responses;
mod size;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;

use self::easel::Easel;
use self::refusal::{Refusal, Vendor};
use self::request::Asked;
use crate::picture::{Format, Picture, draw};
use crate::shape::{Protocol, Shape};

/// Three pictures of 7 MB as base64, which is what the real model takes.
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;

/// How the relay behaves.
#[derive(Clone)]
pub struct Options {
    /// The key that it asks for.
    pub key: String,
    /// The shape for models without an `@<shape>`.
    pub shape: Shape,
    /// 1 is the pace of a quick real model, 10 ten times that; `f64::INFINITY` never waits.
    pub speed: f64,
    /// Tell every drawn picture on standard error.
    pub log: bool,
}

/// The relay's routes. The same prompt always gets the same picture.
pub fn routes(options: Options) -> Router {
    router(Relay { options, drawn_before: None })
}

/// As [`routes`], for people who look: whoever asks again for the same prompt gets other pictures.
pub fn routes_that_vary(options: Options) -> Router {
    router(Relay { options, drawn_before: Some(Mutex::default()) })
}

/// The picture that the relay sends for `prompt` alone: a PNG of 1024 x 1024 pixels. Where it sends a second one, or is asked
/// again and varies, that is number 1 of [`draw`].
pub fn picture_for(prompt: &str) -> Picture {
    draw(prompt, 0, Format::Png, 1024, 1024)
}

fn router(relay: Relay) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(completions))
        .route("/v1/images/generations", post(generations))
        .route("/v1/images/edits", post(edits))
        // Behind the model comes `:streamGenerateContent`, and axum takes a segment whole.
        .route("/v1beta/models/{call}", post(generate_content))
        .route("/image-files/{name}", get(file))
        .route("/image-files/download/{name}", get(download))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Arc::new(relay))
}

struct Relay {
    options: Options,
    /// How many pictures each prompt got, if that matters.
    drawn_before: Option<Mutex<HashMap<String, u32>>>,
}

impl Relay {
    fn check_bearer(&self, headers: &HeaderMap, vendor: Vendor) -> Result<(), Refusal> {
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let is_ours = given == Some(format!("Bearer {}", self.options.key).as_bytes());
        if is_ours { Ok(()) } else { Err(vendor.key()) }
    }

    /// The shape of the options where it belongs to `protocol`, or else `otherwise`.
    fn shape_of(&self, protocol: Protocol, otherwise: Shape) -> Shape {
        if self.options.shape.protocol() == protocol { self.options.shape } else { otherwise }
    }

    fn answer(
        &self,
        asked: &Asked,
        otherwise: Shape,
        headers: &HeaderMap,
        vendor: Vendor,
    ) -> Result<Response, Refusal> {
        let shape = match asked.shape() {
            None => otherwise,
            Some(name) => name.parse().map_err(|unknown| vendor.request(&unknown))?,
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.ok_or_else(|| vendor.request(&"no Host header"))?;
        let number = self.number_for(&asked.prompt, shape.pictures());
        let easel = Easel::new(&asked.prompt, number, asked.size, host, self.options.log);
        Ok(answer::play(shape, asked, easel, self.options.speed))
    }

    /// The number of the first of the next `count` pictures for this prompt.
    fn number_for(&self, prompt: &str, count: u32) -> u32 {
        let Some(drawn_before) = &self.drawn_before else { return 0 };
        let mut drawn_before = drawn_before.lock().unwrap_or_else(PoisonError::into_inner);
        let next = drawn_before.entry(prompt.to_owned()).or_default();
        *next = next.wrapping_add(count);
        next.wrapping_sub(count)
    }
}

async fn completions(State(relay): State<Arc<Relay>>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    relay.check_bearer(&headers, Vendor::NewApi)?;
    let asked = request::chat::parse(&headers, &body).map_err(|why| Vendor::NewApi.request(&why))?;
    relay.answer(&asked, relay.options.shape, &headers, Vendor::NewApi)
}

async fn generations(State(relay): State<Arc<Relay>>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    relay.check_bearer(&headers, Vendor::OpenAi)?;
    let asked = request::generations::parse(&headers, &body).map_err(|why| Vendor::OpenAi.request(&why))?;
    relay.answer(&asked, relay.shape_of(Protocol::Images, Shape::ImagesStream), &headers, Vendor::OpenAi)
}

async fn edits(State(relay): State<Arc<Relay>>, request: Request) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    relay.check_bearer(&headers, Vendor::OpenAi)?;
    let asked = request::edits::parse(request).await.map_err(|why| Vendor::OpenAi.request(&why))?;
    relay.answer(&asked, relay.shape_of(Protocol::Images, Shape::ImagesStream), &headers, Vendor::OpenAi)
}

async fn generate_content(
    State(relay): State<Arc<Relay>>,
    Path(call): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let model = call.strip_suffix(":streamGenerateContent").ok_or_else(Refusal::method)?;
    let given = headers.get("x-goog-api-key").map(HeaderValue::as_bytes);
    if given != Some(relay.options.key.as_bytes()) {
        return Err(Vendor::Google.key());
    }
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(Vendor::Google.request(&"the key must be in x-goog-api-key only"));
    }
    let asked = request::gemini::parse(model, query.as_deref(), &headers, &body);
    let asked = asked.map_err(|why| Vendor::Google.request(&why))?;
    relay.answer(&asked, relay.shape_of(Protocol::Gemini, Shape::Gemini), &headers, Vendor::Google)
}

/// Draws the picture that the link names. Drawing again gives the same bytes, so none is kept.
async fn file(State(relay): State<Arc<Relay>>, Path(name): Path<String>) -> Result<Response, StatusCode> {
    let (sketch, size) = link::parse(&name).ok_or(StatusCode::NOT_FOUND)?;
    let log = relay.options.log;
    let drawn = tokio::task::spawn_blocking(move || easel::finished(&sketch, size, log)).await;
    let Picture { media_type, bytes, .. } = drawn.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(header::CONTENT_TYPE, media_type)], bytes).into_response())
}

async fn download(relay: State<Arc<Relay>>, name: Path<String>) -> Result<Response, StatusCode> {
    let mut response = file(relay, name).await?;
    response.headers_mut().insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(response)
}
