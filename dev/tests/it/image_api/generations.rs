//! `POST /v1/images/generations`.

use dev::Shape;
use dev::image_api::picture_for;
use serde_json::{Value, json};

use super::{KEY, PROMPT, assert_refused, changed, decoded, post, relay, without};

fn request(model: &str) -> Value {
    json!({"model": model, "prompt": PROMPT, "n": 1, "stream": true})
}

async fn ask(shape: Shape, body: &Value) -> reqwest::Response {
    post(&relay(shape).await, "/v1/images/generations", ("authorization", &format!("Bearer {KEY}")), body).await
}

#[tokio::test]
async fn a_stream_has_the_previews_that_were_asked_for() {
    for (previews, made) in [(None, 0), (Some(0), 0), (Some(1), 1), (Some(3), 2)] {
        let mut body = request("gpt-image-2");
        if let Some(previews) = previews {
            body["partial_images"] = json!(previews);
        }
        let answer = ask(Shape::Deltas, &body).await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let body = answer.text().await.unwrap();
        let names: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        let mut expected = vec!["image_generation.partial_image"; made];
        expected.push("image_generation.completed");
        assert_eq!(names, expected);
    }
}

/// The members that each model takes, and those that it refuses.
#[tokio::test]
async fn each_model_takes_its_own_members() {
    let values = [("stream", json!(true)), ("partial_images", json!(1)), ("response_format", json!("url"))];
    for (model, takes) in [
        ("openai/gpt-image-2.5-flare", &["stream", "partial_images"][..]),
        ("chatgpt-image-latest", &["stream", "partial_images"]),
        ("dall-e-3", &["response_format"]),
        ("gemini-2.5-flash-image", &[]),
    ] {
        let mut right = without(&request(model), "/stream");
        for (member, value) in values.iter().filter(|(member, _)| takes.contains(member)) {
            right[*member] = value.clone();
        }
        assert_eq!(ask(Shape::Deltas, &right).await.status(), 200, "{right}");
        for (member, value) in values.iter().filter(|(member, _)| !takes.contains(member)) {
            let body = changed(&right, &format!("/{member}"), value.clone());
            let error = json!({"type": "invalid_request_error", "param": member, "code": "unknown_parameter"});
            assert_refused(ask(Shape::Deltas, &body).await, 400, error, &body.to_string()).await;
        }
    }
    let alone = changed(&without(&request("gpt-image-2"), "/stream"), "/partial_images", json!(1));
    let error = json!({"type": "invalid_request_error", "param": "partial_images", "code": "unknown_parameter"});
    assert_refused(ask(Shape::Deltas, &alone).await, 400, error, "previews without a stream").await;
}

#[tokio::test]
async fn a_request_without_stream_gets_one_document() {
    for (model, format, member) in [
        ("gpt-image-2", None, "b64_json"),
        ("dall-e-3", Some("b64_json"), "b64_json"),
        ("dall-e-3", Some("url"), "url"),
    ] {
        let mut body = without(&request(model), "/stream");
        if let Some(format) = format {
            body["response_format"] = json!(format);
        }
        let answer = ask(Shape::Deltas, &body).await.bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["data"][0][member].is_string(), "{body}");
    }
}

#[tokio::test]
async fn the_option_and_the_model_choose_the_shape() {
    let is_json = async |shape, model: &str| {
        let answer = ask(shape, &request(model)).await;
        let is_json = answer.headers()["content-type"] == "application/json";
        let body = answer.bytes().await.unwrap();
        is_json.then(|| serde_json::from_slice::<Value>(&body).unwrap())
    };
    let told = is_json(Shape::ImagesJson, "gpt-image-2").await.unwrap();
    assert!(decoded(told["data"][0]["b64_json"].as_str().unwrap()) == picture_for(PROMPT).bytes);
    assert!(is_json(Shape::Gemini, "gpt-image-2").await.is_none(), "another protocol's shape is for another route");
    let told = is_json(Shape::Deltas, "gpt-image-2@json").await.unwrap();
    assert_eq!(told["object"], "chat.completion", "a shape by name is played on every route");
}

#[tokio::test]
async fn every_other_request_is_refused() {
    let right = request("gpt-image-2");
    let mut deviations = vec![
        changed(&right, "/n", json!(2)),
        changed(&right, "/n", json!("1")),
        changed(&right, "/stream", json!("true")),
        changed(&without(&right, "/stream"), "/model", json!("")),
        changed(&right, "/model", json!("gpt-image-2@spiral")),
        changed(&right, "/prompt", json!("")),
        changed(&right, "/prompt", json!(["a"])),
        changed(&right, "/size", json!("auto")),
        changed(&right, "/partial_images", json!(4)),
        changed(&right, "/quality", json!("high")),
        json!([]),
    ];
    deviations.extend(["/model", "/prompt", "/n"].map(|member| without(&right, member)));
    for body in deviations {
        let error = json!({"type": "invalid_request_error", "param": null, "code": null});
        assert_refused(ask(Shape::Deltas, &body).await, 400, error, &body.to_string()).await;
    }
}

#[tokio::test]
async fn another_key_and_another_media_type_are_refused() {
    let relay = relay(Shape::Deltas).await;
    let bearer = format!("Bearer {KEY}");
    let unauthorized = json!({"type": "invalid_request_error", "param": null, "code": "invalid_api_key"});
    for (header, key) in [("authorization", "Bearer another"), ("authorization", KEY), ("x-goog-api-key", KEY)] {
        let answer = post(&relay, "/v1/images/generations", (header, key), &request("gpt-image-2")).await;
        assert_refused(answer, 401, unauthorized.clone(), header).await;
    }
    let untyped = reqwest::Client::new().post(relay.url("/v1/images/generations")).header("authorization", bearer);
    let answer = untyped.body(request("gpt-image-2").to_string()).send().await.unwrap();
    let error = json!({"type": "invalid_request_error", "param": null, "code": null});
    assert_refused(answer, 400, error, "no media type").await;
}
