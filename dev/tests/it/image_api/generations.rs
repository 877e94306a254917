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
async fn the_one_right_request_gets_previews_and_the_picture() {
    let answer = ask(Shape::Deltas, &request("m")).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let body = answer.text().await.unwrap();
    let names: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let preview = "image_generation.partial_image";
    assert_eq!(names, [preview, preview, "image_generation.completed"]);
}

#[tokio::test]
async fn the_option_and_the_model_choose_the_shape() {
    let is_json = async |shape, model: &str| {
        let answer = ask(shape, &request(model)).await;
        let is_json = answer.headers()["content-type"] == "application/json";
        let body = answer.bytes().await.unwrap();
        is_json.then(|| serde_json::from_slice::<Value>(&body).unwrap())
    };
    let told = is_json(Shape::ImagesJson, "m").await.unwrap();
    assert!(decoded(told["data"][0]["b64_json"].as_str().unwrap()) == picture_for(PROMPT).bytes);
    assert!(is_json(Shape::Gemini, "m").await.is_none(), "another protocol's shape is for another route");
    let told = is_json(Shape::Deltas, "m@json").await.unwrap();
    assert_eq!(told["object"], "chat.completion", "a shape by name is played on every route");
}

#[tokio::test]
async fn every_other_request_is_refused() {
    let right = request("m");
    let mut deviations = vec![
        changed(&right, "/n", json!(2)),
        changed(&right, "/n", json!("1")),
        changed(&right, "/stream", json!(false)),
        changed(&right, "/model", json!("")),
        changed(&right, "/model", json!("m@spiral")),
        changed(&right, "/prompt", json!("")),
        changed(&right, "/prompt", json!(["a"])),
        changed(&right, "/size", json!("auto")),
        changed(&right, "/partial_images", json!(2)),
        changed(&right, "/response_format", json!("b64_json")),
        json!([]),
    ];
    deviations.extend(["/model", "/prompt", "/n", "/stream"].map(|member| without(&right, member)));
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
        let answer = post(&relay, "/v1/images/generations", (header, key), &request("m")).await;
        assert_refused(answer, 401, unauthorized.clone(), header).await;
    }
    let untyped = reqwest::Client::new().post(relay.url("/v1/images/generations")).header("authorization", bearer);
    let answer = untyped.body(request("m").to_string()).send().await.unwrap();
    let error = json!({"type": "invalid_request_error", "param": null, "code": null});
    assert_refused(answer, 400, error, "no media type").await;
}
