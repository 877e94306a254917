//! An answer in any shape: the events before the picture is drawn, and those with the picture.

use std::io;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::answer_pictures::AnswerPictures;
use super::request::ImageRequest;
use super::{chat, gemini, images, responses};
use crate::shape::{Protocol, Shape};
use crate::timed_body::{self, TimedWrite};

/// Time for the text at speed 1, in seconds.
const TEXT_SECONDS: f64 = 1.5;
/// Time for the picture at speed 1, in seconds.
const PICTURE_SECONDS: f64 = 4.0;

/// Tokens per 1K picture of these models.
pub(crate) const PICTURE_TOKENS: usize = 1290;
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
pub(crate) const JSON: &str = "application/json";

/// An answer before its picture is drawn.
pub(crate) struct ImageApiAnswer {
    pub(crate) media_type: &'static str,
    /// The events before the picture. The first is sent at once.
    pub(crate) opening: Vec<Bytes>,
    /// Draws the pictures and encodes their events. Runs on a blocking thread.
    pub(crate) draw: Box<dyn FnOnce(&AnswerPictures) -> DrawnEvents + Send>,
}

/// The events after the picture is drawn.
pub(crate) struct DrawnEvents {
    /// The events with the picture, spread over its time.
    pub(crate) picture: Vec<Bytes>,
    /// The events that follow at once.
    pub(crate) closing: Vec<Bytes>,
}

/// The response to one request.
pub(crate) fn play(shape: Shape, request: &ImageRequest, pictures: AnswerPictures, speed: f64) -> Response {
    let request_id = timed_body::request_id();
    let ImageApiAnswer { media_type, opening, draw } = match shape.protocol() {
        Protocol::Chat => chat::answer(shape, request, &request_id),
        Protocol::Images => images::answer(shape, request),
        Protocol::Gemini => gemini::answer(shape, request, &request_id),
        Protocol::Responses => responses::answer(request, &request_id),
    };
    let mut opening = opening.into_iter();
    let mut before: Vec<_> = opening.next().map(|first| TimedWrite::after(0.0, first)).into_iter().collect();
    before.extend(TimedWrite::spread(opening, TEXT_SECONDS));
    let after = async move {
        match tokio::task::spawn_blocking(move || draw(&pictures)).await {
            Ok(DrawnEvents { picture, closing }) => {
                let closing = closing.into_iter().map(|event| TimedWrite::after(0.0, event));
                TimedWrite::spread(picture, PICTURE_SECONDS).into_iter().chain(closing).map(Ok).collect()
            }
            Err(panicked) => vec![Err(io::Error::other(panicked))],
        }
    };

    let writes = stream::iter(before.into_iter().map(Ok)).chain(stream::once(after).flat_map(stream::iter));
    let headers =
        [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache"), (header::CONNECTION, "keep-alive")];
    let relay = [("x-accel-buffering", "no"), ("x-oneapi-request-id", request_id.as_str())];
    (headers, relay, timed_body::body(writes, speed)).into_response()
}

/// The model's text before the picture, one item per delta.
pub(crate) fn text_before_picture(images: usize) -> Vec<String> {
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
