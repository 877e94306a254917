//! The relay for image models over a socket. No test here reads with the code of `shared`.

mod chat;
mod edits;
mod gemini;
mod generations;
mod shapes;
mod sizes;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::image_api::{ImageApiOptions, routes};
use dev::{RunningServer, Shape, start};
use serde_json::{Value, json};

const KEY: &str = "key-of-this-test";
const PROMPT: &str = "生成一张婚纱照: sunset";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

fn options(shape: Shape) -> ImageApiOptions {
    ImageApiOptions { key: KEY.to_owned(), shape, speed: f64::INFINITY, log: false }
}

async fn relay(shape: Shape) -> RunningServer {
    start(routes(options(shape))).await.unwrap()
}

/// The one right chat request.
fn chat_request(model: &str) -> Value {
    json!({
        "model": model,
        "stream": true,
        "stream_options": {"include_usage": true},
        "modalities": ["text", "image"],
        "messages": [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}],
    })
}

/// Posts JSON with the key in `header`.
async fn post(relay: &RunningServer, path: &str, (header, key): (&str, &str), body: &Value) -> reqwest::Response {
    let request = reqwest::Client::new().post(relay.url(path)).header(header, key);
    request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
}

/// `body` with the value at `pointer` changed.
fn changed(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[member] = value;
    body
}

/// `body` without the member at `pointer`.
fn without(body: &Value, pointer: &str) -> Value {
    let mut body = body.clone();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member).unwrap();
    body
}

/// Fails unless the answer is this status with this `error` object, whose message is not looked at.
async fn assert_refused(answer: reqwest::Response, status: u16, error: Value, what: &str) {
    assert_eq!(answer.status(), status, "{what}");
    let mut body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert!(body["error"]["message"].take().as_str().is_some_and(|message| !message.is_empty()), "{what}");
    let mut expected = json!({"error": error});
    expected["error"]["message"] = Value::Null;
    assert_eq!(body, expected, "{what}");
}

fn decoded(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap()
}
