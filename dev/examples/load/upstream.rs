//! An upstream that never waits: each answer is made before the first request.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dev::ark::ArkOptions;
use futures_util::stream;
use serde_json::json;

/// The key that the ARK fake accepts. It is valid nowhere else.
pub(crate) const KEY: &str = "the key of a measurement";
/// Base64 in one delta.
const DELTA_BYTES: usize = 16 * 1024;
/// The largest write of a long line.
const WRITE_BYTES: usize = 64 * 1024;
/// Different pictures, so that the four of one request differ.
const PICTURES: u64 = 4;
/// Pixels in a row of a picture.
const WIDTH: u32 = 1024;

/// What an answer holds: a PNG of noise as Markdown in chat chunks.
#[derive(Clone, Copy)]
pub(crate) struct LoadPayload {
    /// About the bytes of the PNG.
    pub(crate) picture_bytes: usize,
    /// Whether the picture is in one chunk. Otherwise in deltas of 16 KiB.
    pub(crate) is_line: bool,
}

impl LoadPayload {
    /// The largest picture that the functions accept, 16 MiB, in one line.
    pub(crate) const LARGEST: Self = Self { picture_bytes: 16_700_000, is_line: true };

    /// A picture with this much base64, in deltas.
    pub(crate) const fn deltas(base64_bytes: usize) -> Self {
        Self { picture_bytes: base64_bytes / 4 * 3, is_line: false }
    }

    /// A picture with this much base64, in one line.
    pub(crate) const fn line(base64_bytes: usize) -> Self {
        Self { is_line: true, ..Self::deltas(base64_bytes) }
    }

    /// The argument from which [`Self::from_str`] reads it.
    pub(crate) fn argument(self) -> String {
        format!("{}{}", self.picture_bytes, if self.is_line { "-line" } else { "" })
    }
}

impl FromStr for LoadPayload {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, is_line) = text.strip_suffix("-line").map_or((text, false), |number| (number, true));
        Ok(Self { picture_bytes: number.parse()?, is_line })
    }
}

/// The chat route, and ARK's, which sends a link: to the largest picture, or the link of the fake to a drawing.
pub(crate) fn routes(payload: LoadPayload) -> Router {
    let answers: Arc<Vec<_>> = Arc::new((1..=PICTURES).map(|seed| answer(payload, seed)).collect());
    let turn = Arc::new(AtomicUsize::new(0));
    let chat = move |_: Bytes| {
        let answer = answers[turn.fetch_add(1, Ordering::Relaxed) % answers.len()].clone();
        let writes = stream::iter(answer.into_iter().map(Ok::<_, Infallible>));
        async move { ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(writes)).into_response() }
    };
    let ark = match payload.is_line {
        true => large_ark(payload),
        false => dev::ark::routes(ArkOptions { key: KEY.into(), speed: f64::INFINITY, log: false }),
    };
    Router::new().route("/v1/chat/completions", post(chat)).merge(ark)
}

/// ARK with a link to a picture of this size.
fn large_ark(payload: LoadPayload) -> Router {
    let answer = async |headers: HeaderMap, _: Bytes| {
        let host = headers[HOST].to_str().unwrap();
        let [succeeded, completed] = [
            json!({"type": "image_generation.partial_succeeded", "image_index": 0, "url": format!("http://{host}/large.png")}),
            json!({"type": "image_generation.completed", "usage": {"generated_images": 1}}),
        ]
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
        ([(CONTENT_TYPE, "text/event-stream")], succeeded + &completed + "data: [DONE]\n\n")
    };
    let picture = Bytes::from(noise(payload.picture_bytes, 1));
    let picture = async move || ([(CONTENT_TYPE, "image/png")], picture);
    Router::new().route("/api/v3/images/generations", post(answer)).route("/large.png", get(picture))
}

/// The writes of one answer.
fn answer(payload: LoadPayload, seed: u64) -> Vec<Bytes> {
    let markdown = format!("![image](data:image/png;base64,{})", STANDARD.encode(noise(payload.picture_bytes, seed)));
    let delta_bytes = if payload.is_line { markdown.len() } else { DELTA_BYTES };
    let deltas = markdown.as_bytes().chunks(delta_bytes).map(|delta| {
        let content = String::from_utf8_lossy(delta);
        json!({"index": 0, "delta": {"content": content}, "finish_reason": null})
    });
    let stop = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
    let chunks = deltas.chain([stop]).map(|choice| {
        let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
        format!("data: {chunk}\n\n")
    });
    let events = chunks.chain(["data: [DONE]\n\n".to_owned()]).map(Bytes::from);
    events
        .flat_map(|event| {
            (0..event.len()).step_by(WRITE_BYTES).map(move |at| event.slice(at..event.len().min(at + WRITE_BYTES)))
        })
        .collect()
}

/// A PNG that does not compress, of about this size.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let height = (bytes as u32 / (WIDTH * 3)).max(1);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let pixels: Vec<u8> = (0..WIDTH * height * 3)
        .map(|_| {
            // Xorshift: https://www.jstatsoft.org/article/view/v008i14
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect();
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, WIDTH, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::NoCompression);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    png
}
