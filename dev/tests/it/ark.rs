//! ARK over a socket, and the links that it hands out.

use dev::ark::{ArkOptions, picture_for, routes};
use dev::{RunningServer, start};
use serde_json::{Value, json};

const KEY: &str = "key-of-this-test";
const PROMPT: &str = "把图一的脸换到图二, in a garden";

#[tokio::test]
async fn a_group_is_one_event_a_picture_then_the_usage() {
    let ark = ark().await;
    let events = events_of(&ark, &request(3)).await;
    assert_eq!(events.len(), 5);
    for (index, (line, data)) in events[..3].iter().enumerate() {
        let told: Value = serde_json::from_str(data).unwrap();
        let (created, url) = (&told["created"], &told["url"]);
        assert_eq!(line, "image_generation.partial_succeeded");
        assert_eq!(
            *data,
            format!(
                "{{\"type\":\"{line}\",\"model\":\"doubao-seedream-4-0-250828\",\
                 \"created\":{created},\"image_index\":{index},\"url\":{url},\
                 \"size\":\"2496x1664\"}}"
            )
        );
    }
    let (line, data) = &events[3];
    let created = &serde_json::from_str::<Value>(data).unwrap()["created"];
    assert_eq!(line, "image_generation.completed");
    assert_eq!(
        *data,
        format!(
            "{{\"type\":\"{line}\",\"model\":\"doubao-seedream-4-0-250828\",\
             \"created\":{created},\"usage\":{{\"generated_images\":3,\
             \"output_tokens\":48672,\"total_tokens\":48672}}}}"
        )
    );
    assert_eq!(events[4], (String::new(), "[DONE]".to_owned()));
}

#[tokio::test]
async fn a_link_serves_the_announced_picture() {
    let ark = ark().await;
    let links = links(&ark, &request(2)).await;
    assert_eq!(links.len(), 2);
    for (index, link) in (0..).zip(&links) {
        assert!(link.starts_with(&ark.url("/ark-files/")), "{link}");
        assert!(link.contains(".jpeg?X-Tos-Expires=86400"), "{link}");
        let answer = reqwest::get(link).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "image/jpeg");
        let file = answer.bytes().await.unwrap();
        let expected = picture_for(PROMPT, index);
        assert!(file == expected.bytes, "the link leads to another picture");

        let mut decoder = zune_jpeg::JpegDecoder::new(std::io::Cursor::new(&file));
        decoder.decode().unwrap();
        assert_eq!(decoder.dimensions(), Some((2496, 1664)));
    }
    assert_ne!(picture_for(PROMPT, 0).sha256, picture_for(PROMPT, 1).sha256);
}

#[tokio::test]
async fn a_changed_link_is_refused() {
    let ark = ark().await;
    let link = links(&ark, &request(1)).await.remove(0);
    let (bare, _) = link.split_once('?').unwrap();
    let cut = &link[..link.len() - 1];
    for changed in [bare, cut, &link.replace("_0.jpeg", "_1.jpeg")] {
        assert_eq!(reqwest::get(changed).await.unwrap().status(), 403, "{changed}");
    }
}

#[tokio::test]
async fn disabled_makes_one_picture_and_takes_a_single_string() {
    let ark = ark().await;
    let mut body = request(1);
    body["sequential_image_generation"] = json!("disabled");
    body.as_object_mut().unwrap().remove("sequential_image_generation_options");
    body["image"] = json!("https://example.com/1.png");
    assert_eq!(links(&ark, &body).await.len(), 1);
}

#[tokio::test]
async fn every_other_request_is_refused() {
    let changed = |member: &str, value: Value| {
        let mut body = request(3);
        body[member] = value;
        body
    };
    let thirteen = json!(vec!["https://example.com/1.png"; 13]);
    for body in [
        changed("seed", json!(1)),
        changed("n", json!(1)),
        changed("model", json!("")),
        changed("prompt", json!("")),
        changed("image", json!([])),
        changed("image", json!(["ftp://example.com/1.png"])),
        changed("image", json!("data:image/PNG;base64,iVBORw0KGgo=")),
        changed("image", thirteen),
        changed("sequential_image_generation", json!("disabled")),
        changed("sequential_image_generation", json!("always")),
        changed("sequential_image_generation_options", json!({"max_images": 0})),
        changed("sequential_image_generation_options", json!({"max_images": 3, "x": 1})),
        changed("response_format", json!("b64_json")),
        changed("size", json!("2048x2048")),
        changed("stream", json!(false)),
        changed("watermark", json!("false")),
    ] {
        assert_eq!(refusal(&body).await["code"], "InvalidParameter", "{body}");
    }
    for member in ["model", "prompt", "size", "watermark", "response_format"] {
        let mut body = request(3);
        body.as_object_mut().unwrap().remove(member);
        assert_eq!(refusal(&body).await["code"], "MissingParameter", "{body}");
    }
}

/// The members that each model takes, and one that it refuses.
#[tokio::test]
async fn each_model_takes_its_own_members() {
    let group = ["sequential_image_generation", "sequential_image_generation_options"];
    let single = [group[0], group[1], "stream"];
    for (model, size, refused) in [
        ("doubao-seedream-4-0-250828", "1K", &["output_format"][..]),
        ("seedream-4-5-251128", "4K", &["output_format"]),
        ("ep-20261128-abcde", "2K", &["output_format"]),
        ("doubao-seedream-5-0-260128", "3K", &[]),
        ("doubao-seedream-5-0-lite-260128", "2K", &[]),
        ("dola-seedream-5-0-pro-260628", "1.5K", &single),
        ("doubao-seedream-5-0-flash-260915", "1K", &["output_format", group[0], group[1], "stream"]),
    ] {
        let mut right = request(3);
        (right["model"], right["size"]) = (json!(model), json!(size));
        right["output_format"] = json!("jpeg");
        let mut wrong = Vec::new();
        for member in refused {
            let value = right.as_object_mut().unwrap().remove(*member).unwrap();
            wrong.push((*member, value));
        }
        let ark = ark().await;
        let answer = ask(&ark, KEY, &right).await;
        assert_eq!(answer.status(), 200, "{model}");
        let streams = !refused.contains(&"stream");
        let media_type = if streams { "text/event-stream" } else { "application/json" };
        assert_eq!(answer.headers()["content-type"], media_type, "{model}");
        for (member, value) in wrong {
            let mut body = right.clone();
            body[member] = value;
            let error = refusal(&body).await;
            assert_eq!((&error["code"], &error["param"]), (&json!("InvalidParameter"), &json!(member)), "{model}");
        }
        right["size"] = json!(if model.contains("4-5") || model.contains("260128") { "1K" } else { "3K" });
        assert_eq!(refusal(&right).await["param"], "size", "{model}");
        right["size"] = json!(size);
        right["image"] = json!(vec!["https://example.com/1.png"; if streams { 15 } else { 11 }]);
        assert_eq!(refusal(&right).await["code"], "InvalidParameter", "{model}");
    }
}

#[tokio::test]
async fn a_request_without_stream_gets_one_document() {
    let ark = ark().await;
    let mut body = request(2);
    body.as_object_mut().unwrap().remove("stream");
    let answer = ask(&ark, KEY, &body).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let whole: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(whole["data"].as_array().unwrap().len(), 2);
    let usage = json!({"generated_images": 2, "output_tokens": 32448, "total_tokens": 32448});
    assert_eq!((&whole["data"][0]["size"], &whole["usage"]), (&json!("2496x1664"), &usage));
    let file = reqwest::get(whole["data"][1]["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
    assert!(file == picture_for(PROMPT, 1).bytes);
}

#[tokio::test]
async fn a_picture_from_the_prompt_alone() {
    let ark = ark().await;
    let mut body = request(1);
    body.as_object_mut().unwrap().remove("image");
    assert_eq!(links(&ark, &body).await.len(), 1);
}

#[tokio::test]
async fn an_unknown_model_is_not_found() {
    let ark = ark().await;
    for model in ["doubao-seedream-5-0-lite", "doubao-seedream-6-0-261101", "gpt-image-2"] {
        let mut body = request(1);
        body["model"] = json!(model);
        let answer = ask(&ark, KEY, &body).await;
        assert_eq!(answer.status(), 404, "{model}");
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "InvalidEndpointOrModel.NotFound");
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let ark = ark().await;
    let answer = ask(&ark, "another", &request(3)).await;
    assert_eq!(answer.status(), 401);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["error"]["code"], "AuthenticationError");
    assert_eq!(body["error"]["type"], "Unauthorized");
}

fn request(max_images: u32) -> Value {
    json!({
        "model": "doubao-seedream-4-0-250828",
        "prompt": PROMPT,
        "image": ["https://example.com/1.png", "https://example.com/2.png"],
        "sequential_image_generation": "auto",
        "sequential_image_generation_options": {"max_images": max_images},
        "response_format": "url",
        "size": "2K",
        "stream": true,
        "watermark": false,
    })
}

async fn ark() -> RunningServer {
    let options = ArkOptions { key: KEY.to_owned(), speed: f64::INFINITY, log: false };
    start(routes(options)).await.unwrap()
}

async fn ask(ark: &RunningServer, key: &str, body: &Value) -> reqwest::Response {
    reqwest::Client::new()
        .post(ark.url("/api/v3/images/generations"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap()
}

/// Every event as its `event:` line (empty where there is none) and its data.
async fn events_of(ark: &RunningServer, body: &Value) -> Vec<(String, String)> {
    let answer = ask(ark, KEY, body).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let stream = answer.text().await.unwrap();
    let events = stream.strip_suffix("\n\n").unwrap().split("\n\n");
    events
        .map(|event| match event.split_once('\n') {
            Some((line, data)) => (line.strip_prefix("event: ").unwrap(), data),
            None => ("", event),
        })
        .map(|(line, data)| (line.to_owned(), data.strip_prefix("data: ").unwrap().to_owned()))
        .collect()
}

async fn links(ark: &RunningServer, body: &Value) -> Vec<String> {
    let events = events_of(ark, body).await;
    let data = events.iter().filter_map(|(_, data)| serde_json::from_str::<Value>(data).ok());
    data.filter_map(|data| data["url"].as_str().map(str::to_owned)).collect()
}

/// The `error` object that `body` is refused with.
async fn refusal(body: &Value) -> Value {
    let ark = ark().await;
    let answer = ask(&ark, KEY, body).await;
    assert_eq!(answer.status(), 400, "{body}");
    serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap()["error"].take()
}
