//! An answer in any shape: what is said before the picture is drawn, and what the picture becomes.

use std::io;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::easel::Easel;
use super::request::Asked;
use super::{chat, gemini, images, responses};
use crate::script::{self, Step};
use crate::shape::{Protocol, Shape};

/// How long the text takes at speed 1, in seconds.
const TEXT_SECONDS: f64 = 1.5;
/// How long the picture takes at speed 1, in seconds.
const PICTURE_SECONDS: f64 = 4.0;

/// Tokens that a 1K picture of these models costs.
pub(crate) const PICTURE_TOKENS: usize = 1290;
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
pub(crate) const JSON: &str = "application/json";

/// An answer before its picture is drawn.
pub(crate) struct Answer {
    pub(crate) media_type: &'static str,
    /// What comes before: the first of it at once.
    pub(crate) opening: Vec<Bytes>,
    /// Draws, and tells.
    pub(crate) rest: Box<dyn FnOnce(&Easel) -> Rest + Send>,
}

/// What comes once the picture is drawn.
pub(crate) struct Rest {
    /// What holds the picture and takes its time.
    pub(crate) picture: Vec<Bytes>,
    /// What follows at once.
    pub(crate) closing: Vec<Bytes>,
}

/// What one request was answered with.
pub(crate) fn play(shape: Shape, asked: &Asked, easel: Easel, speed: f64) -> Response {
    let request_id = script::request_id();
    let Answer { media_type, opening, rest } = match shape.protocol() {
        Protocol::Chat => chat::answer(shape, asked, &request_id),
        Protocol::Images => images::answer(shape, asked),
        Protocol::Gemini => gemini::answer(shape, asked, &request_id),
        Protocol::Responses => responses::answer(asked, &request_id),
    };
    let mut opening = opening.into_iter();
    let mut before: Vec<_> = opening.next().map(|first| Step::after(0.0, first)).into_iter().collect();
    before.extend(Step::spread(opening, TEXT_SECONDS));
    let after = async move {
        match tokio::task::spawn_blocking(move || rest(&easel)).await {
            Ok(Rest { picture, closing }) => {
                let closing = closing.into_iter().map(|event| Step::after(0.0, event));
                Step::spread(picture, PICTURE_SECONDS).into_iter().chain(closing).map(Ok).collect()
            }
            Err(panicked) => vec![Err(io::Error::other(panicked))],
        }
    };

    let steps = stream::iter(before.into_iter().map(Ok)).chain(stream::once(after).flat_map(stream::iter));
    let headers =
        [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache"), (header::CONNECTION, "keep-alive")];
    let relay = [("x-accel-buffering", "no"), ("x-oneapi-request-id", request_id.as_str())];
    (headers, relay, script::body(steps, speed)).into_response()
}

/// What the model says before the picture, piece by piece.
pub(crate) fn said_beside(images: usize) -> Vec<String> {
    let mut words = vec!["好的".to_owned(), "，正在".to_owned()];
    if images > 0 {
        words.push(format!("参考 {images} 张图片"));
    }
    words.extend(["为你生成".to_owned(), "图片…\n\n".to_owned()]);
    words
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
