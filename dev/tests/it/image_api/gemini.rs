//! `POST /v1beta/models/{model}:streamGenerateContent`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::Shape;
use serde_json::{Value, json};

use super::{KEY, PNG, PROMPT, assert_refused, changed, post, relay, without};

const PATH: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";

fn request() -> Value {
    json!({
        "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
    })
}

fn with(parts: &[Value]) -> Value {
    let mut body = request();
    body["contents"][0]["parts"].as_array_mut().unwrap().extend_from_slice(parts);
    body
}

fn image(media_type: &str, data: &str) -> Value {
    json!({"inlineData": {"mimeType": media_type, "data": data}})
}

async fn ask(path: &str, body: &Value) -> reqwest::Response {
    post(&relay(Shape::Deltas).await, path, ("x-goog-api-key", KEY), body).await
}

#[tokio::test]
async fn the_one_right_request_is_answered_as_google_does() {
    let png = STANDARD.encode(PNG);
    let answer = ask(PATH, &with(&[image("image/png", &png), image("image/png", &png)])).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let body = answer.text().await.unwrap();
    let events: Vec<_> = body.strip_suffix("\r\n\r\n").unwrap().split("\r\n\r\n").collect();
    assert!(events.iter().all(|event| event.starts_with("data: {\"candidates\":[") && !event.contains('\n')));
    assert!(body.contains("参考 2 张图片"));
    let last: Value = serde_json::from_str(events.last().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    let tokens = PROMPT.chars().count() as u64 + 2 * 258;
    assert_eq!(last["usageMetadata"]["promptTokenCount"], tokens);
    assert_eq!(last["usageMetadata"]["totalTokenCount"], tokens + 1290);
}

#[tokio::test]
async fn the_path_names_the_model_and_its_shape() {
    let path = "/v1beta/models/google%2Fm%40gemini-snake:streamGenerateContent?alt=sse";
    let body = ask(path, &request()).await.text().await.unwrap();
    assert!(body.contains(r#""modelVersion":"google/m@gemini-snake""#) && body.contains("inline_data"));
    let body = ask("/v1beta/models/m%40whole:streamGenerateContent?alt=sse", &request()).await.text().await.unwrap();
    assert!(body.contains("chat.completion.chunk"), "a shape by name is played on every route");
    let answer = ask("/v1beta/models/m:generateContent?alt=sse", &request()).await;
    assert_refused(answer, 404, json!({"code": 404, "status": "NOT_FOUND"}), "another method").await;
}

#[tokio::test]
async fn every_other_request_is_refused() {
    let right = request();
    let png = STANDARD.encode(PNG);
    let photo = image("image/png", &png);
    let mut deviations = vec![
        changed(&right, "/generationConfig/responseModalities", json!(["IMAGE", "TEXT"])),
        changed(&right, "/generationConfig/temperature", json!(1)),
        changed(&right, "/safetySettings", json!([])),
        changed(&right, "/contents", json!([])),
        changed(&right, "/contents", json!([right["contents"][0], right["contents"][0]])),
        changed(&right, "/contents/0/role", json!("model")),
        changed(&right, "/contents/0/name", json!("x")),
        changed(&right, "/contents/0/parts", json!([])),
        changed(&right, "/contents/0/parts", json!([photo])),
        changed(&right, "/contents/0/parts", json!([{"text": ""}])),
        changed(&right, "/contents/0/parts/0/thought", json!(true)),
        with(&[json!({"text": "more"})]),
        with(&[photo.clone(), photo.clone(), photo.clone(), photo.clone()]),
        with(&[image("image/jpeg", &png)]),
        with(&[image("image/gif", "R0lGODlh")]),
        with(&[image("image/png", "@@@")]),
        with(&[image("image/png", png.trim_end_matches('='))]),
        with(&[json!({"inline_data": {"mime_type": "image/png", "data": png}})]),
        with(&[changed(&photo, "/inlineData/displayName", json!("x"))]),
        with(&[json!({"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/1.png"}})]),
    ];
    let members = [
        "/contents",
        "/generationConfig",
        "/contents/0/role",
        "/contents/0/parts",
        "/generationConfig/responseModalities",
    ];
    deviations.extend(members.map(|member| without(&right, member)));
    let invalid = json!({"code": 400, "status": "INVALID_ARGUMENT"});
    for body in deviations {
        assert_refused(ask(PATH, &body).await, 400, invalid.clone(), &body.to_string()).await;
    }
    for path in [
        "/v1beta/models/m:streamGenerateContent",
        "/v1beta/models/m:streamGenerateContent?alt=json",
        "/v1beta/models/m:streamGenerateContent?alt=sse&key=key-of-this-test",
        "/v1beta/models/:streamGenerateContent?alt=sse",
        "/v1beta/models/m@spiral:streamGenerateContent?alt=sse",
    ] {
        assert_refused(ask(path, &right).await, 400, invalid.clone(), path).await;
    }
}

#[tokio::test]
async fn the_key_is_in_its_header_and_only_there() {
    let relay = relay(Shape::Deltas).await;
    let unauthorized = json!({"code": 401, "status": "UNAUTHENTICATED"});
    let with_query = format!("{PATH}&key={KEY}");
    let bearer = format!("Bearer {KEY}");
    for (path, header, key) in [
        (PATH, "x-goog-api-key", "another"),
        (PATH, "authorization", bearer.as_str()),
        (&with_query, "accept", "text/event-stream"),
    ] {
        let answer = post(&relay, path, (header, key), &request()).await;
        assert_refused(answer, 401, unauthorized.clone(), header).await;
    }
    let twice = reqwest::Client::new().post(relay.url(PATH)).header("x-goog-api-key", KEY);
    let twice = twice.header("authorization", bearer).header("content-type", "application/json");
    let answer = twice.body(request().to_string()).send().await.unwrap();
    assert_refused(answer, 400, json!({"code": 400, "status": "INVALID_ARGUMENT"}), "twice").await;
}
