//! `POST /api/generate-image`: one answer at the end, as JSON or as the picture itself.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dev::client::hash;
use dev::picture::{PictureFormat, draw};
use dev::transcript::{Ending, Transcript};
use generate_stream::{App, handle};
use http::Request;
use http_body::Body as _;
use serde_json::{Value, json};

use crate::support::{Reply, Stand, Upstream, User, fixture};

const PATH: &str = "/api/generate-image";
const PICTURE: &str = "c01_newapi_one_giant_chunk.sse";

fn wanted(user: &User, body: &Value, accept: Option<&str>) -> Request<Bytes> {
    let mut request = user.post(PATH, body);
    if let Some(accept) = accept {
        request.headers_mut().insert("accept", accept.parse().unwrap());
    }
    request
}

async fn ask(app: &Arc<App>, user: &User, body: Value, accept: Option<&str>) -> Reply {
    Reply::read(handle(app.clone(), wanted(user, &body, accept)).await).await
}

/// Hash of the picture in [`PICTURE`], as its manifest has it.
fn expected() -> String {
    let manifest: Value = serde_json::from_slice(&fixture("MANIFEST.json")).unwrap();
    let fixtures = manifest["fixtures"].as_array().unwrap();
    let recorded = fixtures.iter().find(|recorded| recorded["file"] == PICTURE).unwrap();
    recorded["expect"]["images"][0]["sha256"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn json_is_the_default() {
    let (stand, user) = (Stand::new().await, User::new("json"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app = stand.app(&upstream, &[("RL_LIMIT", "100")]);
    for accept in [
        None,
        Some("*/*"),
        Some("application/json"),
        Some("text/html, image/png, application/json;q=0.1"),
        Some("image/*; q=0"),
        // The type of the picture is known only after it is paid.
        Some("image/png"),
        Some("image/png, image/jpeg"),
        Some("image/png, image/webp, image/*;q=0"),
        Some("image/*, image/webp;q=0"),
        Some("image/*, application/json"),
        Some("image/*, application/*;q=0.1"),
        Some("image/avif, */*"),
        Some("image/"),
    ] {
        let reply = ask(&app, &user, json!({"prompt": "x"}), accept).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{accept:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store, no-transform"));
        assert!(reply.header("x-task-id").is_some() && reply.header("ratelimit").is_some());
        let answer = reply.last();
        let image = &answer["data"][0];
        let bytes = STANDARD.decode(image["b64_json"].as_str().unwrap()).unwrap();
        assert_eq!(hash(&bytes), expected());
        assert_eq!((image["index"].as_u64(), image["media_type"].as_str()), (Some(0), Some("image/png")));
        assert_eq!(
            (image["bytes"].as_u64(), image["width"].as_u64(), image["height"].as_u64()),
            (Some(1820), Some(24), Some(24))
        );
        assert_eq!(answer["failed"], json!([]));
        assert_eq!(answer["usage"]["total_tokens"], 1302);
        assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
        assert!(answer.get("credits_remaining").is_none());
    }
}

#[tokio::test]
async fn a_client_that_accepts_pictures_gets_the_bytes() {
    let (stand, user) = (Stand::new().await, User::new("bytes"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app = stand.app(&upstream, &[]);
    for accept in [
        "image/*",
        "image/avif,image/webp,image/apng,image/svg+xml,IMAGE/*,*/*;q=0.8",
        "image/png, image/jpeg;q=0.5, IMAGE/WEBP ; Q=0.1, application/json; q=0.0, */*;q=0.1",
    ] {
        let response = handle(app.clone(), wanted(&user, &json!({"prompt": "x"}), Some(accept))).await;
        assert!(response.body().size_hint().exact().is_none(), "a streamed response has no length");
        let reply = Reply::read(response).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("image/png")), "{accept}");
        assert_eq!(hash(&reply.bytes), expected());
        assert_eq!(reply.header("etag"), Some(format!("\"{}\"", expected()).as_str()));
        assert_eq!(reply.header("content-length"), None);
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    // Only one fits into a body: the others would be paid and lost.
    for accept in ["image/*", "image/png, image/jpeg, image/webp"] {
        let two = ask(&app, &user, json!({"prompt": "x", "n": 2}), Some(accept)).await;
        assert_eq!((two.status, two.ending().as_str()), (400, "problem invalid_request"));
        let problem = two.last();
        assert_eq!(problem["errors"], json!([{"pointer": "/n", "code": "invalid_request"}]));
        for name in ["detail", "error", "message"] {
            let sentence = problem[name].as_str().unwrap();
            assert!(sentence.starts_with("n ") && sentence.contains("image/*"), "{name}: {sentence}");
        }
    }
    assert_eq!(upstream.requests(), 3, "and nothing was called");
}

#[tokio::test]
async fn a_linked_picture_is_a_redirect_or_a_link() {
    let (stand, user) = (Stand::new().await, User::new("link"));
    let upstream = Upstream::recorded("c20_markdown_http_url.sse").await;
    let app = stand.app(&upstream, &[]);
    let url = "https://img.example.test/u/1.png";
    let reply = ask(&app, &user, json!({"prompt": "x"}), Some("image/*")).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some(url)));
    assert_eq!(reply.last()["data"][0]["url"], url);
    let reply = ask(&app, &user, json!({"prompt": "x"}), None).await;
    assert_eq!((reply.status, reply.header("location")), (200, None));
    assert_eq!(reply.last()["data"][0], json!({"index": 0, "url": url}));
    // A header holds ASCII; the platform drops others.
    let chunk = r#"data: {"choices":[{"index":0,"delta":{"content":"![图](https://img.example.test/图.png)"},"finish_reason":"stop"}]}"#;
    let upstream = Upstream::plays(Transcript::events(format!("{chunk}\n\n"))).await;
    let reply = ask(&stand.app(&upstream, &[]), &user, json!({"prompt": "x"}), Some("image/*")).await;
    assert_eq!(reply.header("location"), Some("https://img.example.test/%E5%9B%BE.png"));
    assert_eq!(reply.last()["data"][0]["url"], "https://img.example.test/图.png");
}

/// Each is a pixel.
const RED: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
const BLUE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNgYPgPAAEDAQA2dBFAAAAAAElFTkSuQmCC";

#[tokio::test]
async fn the_bytes_are_of_the_final_picture() {
    let (stand, user) = (Stand::new().await, User::new("final"));
    let image = |kind: &str, base64: &str| {
        format!("data: {{\"image_index\":0,\"b64_json\":\"{base64}\",\"type\":\"image_generation.{kind}\"}}\n\n")
    };
    let chunk =
        |base64: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"images\":[\"{base64}\"]}}}}]}}\n\n");
    for (stream, expected) in [
        (image("completed", RED) + &image("partial_image", BLUE), RED),
        (image("partial_image", RED) + &image("completed", BLUE), BLUE),
        (image("partial_image", RED) + &image("partial_image", BLUE), BLUE),
        (chunk(RED) + &chunk(BLUE), BLUE),
        // A repeated picture is ignored and does not become the last one.
        (chunk(RED) + &chunk(BLUE) + &chunk(RED), BLUE),
        // The first slot's, whichever ended first.
        (image("completed", RED).replace("x\":0", "x\":1") + &image("completed", BLUE), BLUE),
    ] {
        let upstream = Upstream::plays(Transcript::events(stream.clone() + "data: [DONE]\n\n")).await;
        let app = stand.app(&upstream, &[("RL_LIMIT", "100")]);
        let reply = ask(&app, &user, json!({"prompt": "x"}), Some("image/*")).await;
        assert_eq!(reply.header("etag"), Some(format!("\"{}\"", hash(&reply.bytes)).as_str()), "{stream}");
        assert_eq!(STANDARD.encode(&reply.bytes), expected, "{stream}");
        let answer = ask(&app, &user, json!({"prompt": "x"}), None).await.last();
        assert_eq!(answer["data"][0]["b64_json"], expected, "{stream}");
    }
}

#[tokio::test]
async fn each_picture_with_its_type_and_its_size() {
    let (stand, user) = (Stand::new().await, User::new("size"));
    let drawn = draw("x", 0, PictureFormat::Jpeg, 48, 32).bytes;
    let (base64, url) = (STANDARD.encode(&drawn), "https://img.example.test/u/1.png");
    let items = json!({"data": [{"b64_json": base64}, {"url": url, "size": "64x16"}]});
    let upstream = Upstream::plays(Transcript::events(format!("data: {items}\n\ndata: [DONE]\n\n"))).await;
    let app = stand.app(&upstream, &[]);
    let expected = json!([
        {
            "index": 0, "media_type": "image/jpeg", "bytes": drawn.len(), "width": 48, "height": 32,
            "b64_json": base64,
        },
        {"index": 1, "url": url, "width": 64, "height": 16},
    ]);
    assert_eq!(ask(&app, &user, json!({"prompt": "x"}), None).await.last()["data"], expected);
    let reply = ask(&app, &user, json!({"prompt": "x"}), Some("image/*")).await;
    assert_eq!((reply.header("content-type"), &reply.bytes), (Some("image/jpeg"), &drawn));
}

#[tokio::test]
async fn several_pictures_and_failed_ones_beside_them() {
    let (stand, user) = (Stand::new().await, User::new("several"));
    let good = || Transcript::events(fixture(PICTURE));
    let busy = Transcript { status: 429, content_type: "application/json", ..Transcript::events("{}") };
    let upstream = Upstream::plays_in_turn(vec![good(), busy, good()]).await;
    let app = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5")]);
    let reply = ask(&app, &user, json!({"prompt": "x", "n": 3, "format": "chat"}), None).await;
    let answer = reply.last();
    assert_eq!((reply.status, answer["data"].as_array().unwrap().len()), (200, 2));
    let failed = &answer["failed"][0];
    assert_eq!(failed["code"], "upstream_busy");
    assert_eq!(failed["message"], "生成服务繁忙，请稍后再试");
    let mut slots: Vec<_> = answer["data"].as_array().unwrap().iter().map(|image| image["index"].as_u64()).collect();
    slots.push(failed["index"].as_u64());
    slots.sort_unstable();
    assert_eq!(slots, [Some(0), Some(1), Some(2)]);
    assert_eq!(answer["credits_remaining"], 3);
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 2, "the refused call costs no token");
}

#[tokio::test]
async fn a_failure_at_any_time_is_a_problem() {
    let recorded = fixture(PICTURE);
    let half = || Transcript::events(recorded.slice(..recorded.len() / 2));
    let cases = [
        (Transcript { ending: Ending::Abort, ..half() }, 502, "stream_interrupted"),
        (Transcript { ending: Ending::Stall, ..half() }, 504, "upstream_timeout"),
        (Transcript { status: 401, ..Transcript::events("{}") }, 503, "service_unavailable"),
        (Transcript::events(fixture("e05_content_filter_empty.sse")), 422, "content_rejected"),
        (Transcript::events(fixture("e06_text_refusal_stop.sse")), 502, "no_image"),
    ];
    for (transcript, status, code) in cases {
        let (stand, user) = (Stand::new().await, User::new("fails"));
        let upstream = Upstream::plays(transcript).await;
        let app = stand.app(&upstream, &[("UPSTREAM_IDLE_MS", "400"), ("HEAD_HOLD_MS", "50")]);
        for accept in [None, Some("image/*")] {
            let reply = ask(&app, &user, json!({"prompt": "x"}), accept).await;
            assert_eq!((reply.status, reply.ending()), (status, format!("problem {code}")), "{accept:?}");
            assert!(reply.header("x-task-id").is_some());
        }
    }
}

#[tokio::test]
async fn a_key_is_shared_with_the_streaming_route() {
    let (stand, user) = (Stand::new().await, User::new("task"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app = stand.app(&upstream, &[]);
    let keyed = |path: &str| {
        let mut request = user.post(path, &json!({"prompt": "x"}));
        request.headers_mut().insert("idempotency-key", "one-key".parse().unwrap());
        request
    };
    assert_eq!(Reply::read(handle(app.clone(), keyed(PATH)).await).await.status, 200);
    let again = Reply::read(handle(app.clone(), keyed(PATH)).await).await;
    assert_eq!((again.status, again.ending().as_str()), (409, "problem task_already_completed"));
    let streamed = Reply::read(handle(app.clone(), keyed("/api/generate-stream")).await).await;
    assert_eq!(streamed.ending(), "problem task_already_completed", "the route is no part of the request");
    assert_eq!(upstream.requests(), 1);

    let get = Request::get(PATH).body(Bytes::new()).unwrap();
    let reply = Reply::read(handle(app.clone(), get).await).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    let stranger = Request::post(PATH).body(Bytes::new()).unwrap();
    assert_eq!(Reply::read(handle(app, stranger).await).await.ending(), "problem auth_required");
}
