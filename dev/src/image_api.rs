//! A fake relay for image models. It answers every prompt with a picture in any [`Shape`].
//!
//! | Route | Vendor | Shape without `@<shape>` |
//! |---|---|---|
//! | `POST /v1/chat/completions` | new-api | that of the options |
//! | `POST /v1/images/generations`, `POST /v1/images/edits` | OpenAI | that of the request, or that of the options |
//! | `POST /v1beta/models/{model}:streamGenerateContent` | Google | `gemini`, or that of the options |
//! | `GET /image-files/{name}` | a storage | |
//!
//! On the images and Gemini routes the shape of the options applies only if it belongs to the route's protocol.

mod answer;
mod answer_pictures;
mod chat;
mod chunk;
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

use self::answer_pictures::{AnswerPictures, Report};
use self::refusal::{ImageApiRefusal, Vendor};
use self::request::ImageRequest;
use crate::drawings::Drawings;
use crate::picture::{Picture, PictureFormat, draw};
use crate::shape::{Protocol, Shape};

/// Largest request body: three pictures of 7 MB as base64, the limit of the real model.
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;

/// Settings of the relay.
#[derive(Clone)]
pub struct ImageApiOptions {
    /// The key that a request must have.
    pub key: String,
    /// The shape for a model name without `@<shape>`.
    pub shape: Shape,
    /// Speed factor: 1 is the speed of a fast real model, 10 is ten times as fast, `f64::INFINITY` never waits.
    pub speed: f64,
    /// Whether every drawn picture is logged on standard error.
    pub log: bool,
}

/// The relay's routes. The same prompt always returns the same picture.
pub fn routes(options: ImageApiOptions) -> Router {
    router(Relay { options, drawn_before: None, drawings: None })
}

/// As [`routes`], but a repeated prompt returns another picture each time, and each picture is added to `drawings`.
pub fn routes_that_vary(options: ImageApiOptions, drawings: Drawings) -> Router {
    router(Relay { options, drawn_before: Some(Mutex::default()), drawings: Some(drawings) })
}

/// The picture for `prompt` without further settings: a PNG of 1024 x 1024 pixels. A second picture of the same answer,
/// and that of a repeated prompt under [`routes_that_vary`], is variant 1 of [`draw`].
pub fn picture_for(prompt: &str) -> Picture {
    draw(prompt, 0, PictureFormat::Png, 1024, 1024)
}

fn router(relay: Relay) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(completions))
        .route("/v1/images/generations", post(generations))
        .route("/v1/images/edits", post(edits))
        // A segment holds the model and `:streamGenerateContent`; axum cannot match a part of a segment.
        .route("/v1beta/models/{call}", post(generate_content))
        .route("/image-files/{name}", get(file))
        .route("/image-files/download/{name}", get(download))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(Arc::new(relay))
}

struct Relay {
    options: ImageApiOptions,
    /// Number of pictures drawn for each prompt. `None` if repeated prompts return the same picture.
    drawn_before: Option<Mutex<HashMap<String, u32>>>,
    drawings: Option<Drawings>,
}

impl Relay {
    fn check_bearer(&self, headers: &HeaderMap, vendor: Vendor) -> Result<(), ImageApiRefusal> {
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let is_ours = given == Some(format!("Bearer {}", self.options.key).as_bytes());
        if is_ours { Ok(()) } else { Err(vendor.key()) }
    }

    /// The shape of the options if it belongs to `protocol`, otherwise `otherwise`.
    fn shape_of(&self, protocol: Protocol, otherwise: Shape) -> Shape {
        if self.options.shape.protocol() == protocol { self.options.shape } else { otherwise }
    }

    /// The shape of an images answer. It is a stream only if the request asks for one.
    fn images_shape(&self, request: &ImageRequest) -> Shape {
        match (request.images_shape, self.shape_of(Protocol::Images, Shape::ImagesStream)) {
            (Some(asked), Shape::ImagesStream) => asked,
            (_, shape) => shape,
        }
    }

    fn answer(
        &self,
        request: &ImageRequest,
        otherwise: Shape,
        headers: &HeaderMap,
        vendor: Vendor,
    ) -> Result<Response, ImageApiRefusal> {
        let shape = match request.shape() {
            None => otherwise,
            Some(name) => name.parse().map_err(|unknown| vendor.request(&unknown))?,
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.ok_or_else(|| vendor.request(&"no Host header"))?;
        let number = self.number_for(&request.prompt, shape.pictures());
        let pictures = AnswerPictures::new(&request.prompt, number, request.size, host, self.report());
        Ok(answer::play(shape, request, pictures, self.options.speed))
    }

    /// Where the pictures of an answer are reported.
    fn report(&self) -> Report {
        Report { log: self.options.log, drawings: self.drawings.clone() }
    }

    /// Reserves `count` picture numbers for this prompt and returns the first.
    fn number_for(&self, prompt: &str, count: u32) -> u32 {
        let Some(drawn_before) = &self.drawn_before else { return 0 };
        let mut drawn_before = drawn_before.lock().unwrap_or_else(PoisonError::into_inner);
        let next = drawn_before.entry(prompt.to_owned()).or_default();
        *next = next.wrapping_add(count);
        next.wrapping_sub(count)
    }
}

async fn completions(
    State(relay): State<Arc<Relay>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ImageApiRefusal> {
    relay.check_bearer(&headers, Vendor::NewApi)?;
    let request = request::chat::parse(&headers, &body).map_err(|why| Vendor::NewApi.request(&why))?;
    relay.answer(&request, relay.options.shape, &headers, Vendor::NewApi)
}

async fn generations(
    State(relay): State<Arc<Relay>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ImageApiRefusal> {
    relay.check_bearer(&headers, Vendor::OpenAi)?;
    let request =
        request::generations::parse(&headers, &body).map_err(|why| Vendor::OpenAi.parameter(&why, why.param))?;
    relay.answer(&request, relay.images_shape(&request), &headers, Vendor::OpenAi)
}

async fn edits(State(relay): State<Arc<Relay>>, request: Request) -> Result<Response, ImageApiRefusal> {
    let headers = request.headers().clone();
    relay.check_bearer(&headers, Vendor::OpenAi)?;
    let request = request::edits::parse(request).await.map_err(|why| Vendor::OpenAi.parameter(&why, why.param))?;
    relay.answer(&request, relay.images_shape(&request), &headers, Vendor::OpenAi)
}

async fn generate_content(
    State(relay): State<Arc<Relay>>,
    Path(call): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ImageApiRefusal> {
    let model = call.strip_suffix(":streamGenerateContent").ok_or_else(ImageApiRefusal::method)?;
    let given = headers.get("x-goog-api-key").map(HeaderValue::as_bytes);
    if given != Some(relay.options.key.as_bytes()) {
        return Err(Vendor::Google.key());
    }
    if headers.contains_key(header::AUTHORIZATION) {
        return Err(Vendor::Google.request(&"the key must be in x-goog-api-key only"));
    }
    let request = request::gemini::parse(model, query.as_deref(), &headers, &body);
    let request = request.map_err(|why| Vendor::Google.request(&why))?;
    relay.answer(&request, relay.shape_of(Protocol::Gemini, Shape::Gemini), &headers, Vendor::Google)
}

/// Draws the picture of a link. The same link always gives the same bytes, so no picture is stored.
async fn file(State(relay): State<Arc<Relay>>, Path(name): Path<String>) -> Result<Response, StatusCode> {
    let (sketch, size) = link::parse(&name).ok_or(StatusCode::NOT_FOUND)?;
    let report = relay.report();
    let drawn = tokio::task::spawn_blocking(move || answer_pictures::finished(&sketch, size, &report)).await;
    let Picture { media_type, bytes, .. } = drawn.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(header::CONTENT_TYPE, media_type)], bytes).into_response())
}

async fn download(relay: State<Arc<Relay>>, name: Path<String>) -> Result<Response, StatusCode> {
    let mut response = file(relay, name).await?;
    response.headers_mut().insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(response)
}
