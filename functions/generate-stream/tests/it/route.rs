//! The route as a client sees it: the handler in process, the upstream behind a socket.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dev::client::{StreamEvent, content, endings, events, hash};
use dev::transcript::{self, Ending, Transcript};
use dev::{RunningServer, Shape, image_api, user};
use generate_stream::{App, handle};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::edge::Body;

const KEY: &str = "a-key-of-this-test";
const PADDING: usize = 1028;

/// A route whose upstream is at `base`, with some variables set.
fn app(base: &str, variables: &[(&str, &str)]) -> Arc<App> {
    let get = |name: &str| match name {
        "IMAGE_API_BASE_URL" => Some(base.to_owned()),
        "IMAGE_API_KEY" => Some(KEY.to_owned()),
        "IMAGE_CHAT_MODEL" => Some("gemini-2.5-flash-image".to_owned()),
        "IMAGE_MODELS" => Some("gemini-2.5-flash-image@whole,gemini-2.5-flash-image@deltas".to_owned()),
        _ => None,
    };
    let set = |name: &str| {
        let set = variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        set.or_else(|| user::variable(name))
    };
    Arc::new(
        App::from_env(&|name| set(name).or_else(|| get(name)).filter(|value| !value.is_empty())).with_local_links(),
    )
}

async fn simulator() -> RunningServer {
    let options =
        image_api::ImageApiOptions { key: KEY.into(), shape: Shape::Deltas, speed: f64::INFINITY, log: false };
    dev::start(image_api::routes(options)).await.unwrap()
}

fn post(body: Value) -> Request<Bytes> {
    let request = Request::post("/api/generate-stream").header("content-type", "application/json");
    request.header("authorization", user::bearer()).body(body.to_string().into()).unwrap()
}

async fn bytes(response: Response<Body>) -> Bytes {
    let whole = tokio::time::timeout(Duration::from_secs(20), response.into_body().collect());
    let bytes = whole.await.unwrap().unwrap().to_bytes();
    assert!(!bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()), "the key came out");
    bytes
}

async fn problem(response: Response<Body>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json; charset=utf-8");
    serde_json::from_slice(&bytes(response).await).unwrap()
}

fn data(event: &StreamEvent) -> Value {
    let data: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(data["event"], event.name.as_str(), "the envelope names the event");
    data["data"].clone()
}

/// The first picture that the documented regular expression finds:
/// `/!\[image\]\(data:\s*image\/([^;]+);\s*base64,\s*\n?([^)]+)\)/i`.
fn first_picture(content: &str) -> Option<Vec<u8>> {
    let (_, rest) = content.split_once("![image](data:")?;
    let rest = rest.trim_start().strip_prefix("image/")?;
    let (_, rest) = rest.split_once(';')?;
    let rest = rest.trim_start().strip_prefix("base64,")?;
    let (payload, _) = rest.split_once(')')?;
    let payload: String = payload.chars().filter(|symbol| !symbol.is_whitespace()).collect();
    STANDARD.decode(payload).ok()
}

fn terminals(events: &[StreamEvent]) -> Vec<&str> {
    let is_terminal = |event: &&StreamEvent| matches!(event.name.as_str(), "done" | "error") || event.data == "[DONE]";
    events.iter().filter(is_terminal).map(|event| if event.name.is_empty() { "[DONE]" } else { &event.name }).collect()
}

#[tokio::test]
async fn typed_events_bring_the_picture_that_was_drawn() {
    let upstream = simulator().await;
    for model in ["gemini-2.5-flash-image@whole", "gemini-2.5-flash-image@deltas"] {
        let app = app(&upstream.url(""), &[]);
        let request = json!({"prompt": " 一张婚纱照 ", "format": "events", "model": model, "n": 1.0, "unknown": [1]});
        let response = handle(app, post(request)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(response.headers()["cache-control"], "no-store, no-transform");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let task_id = response.headers()["x-task-id"].to_str().unwrap().to_owned();
        let bytes = bytes(response).await;
        assert!(bytes.starts_with(b": ") && bytes[..PADDING].ends_with(b"\n\n"), "padding first");

        let events = events(&bytes);
        let ids: Vec<_> = events.iter().map(|event| event.id.parse::<usize>().unwrap()).collect();
        assert_eq!(ids, (0..events.len()).collect::<Vec<_>>());
        assert_eq!([events[0].name.as_str(), &events[1].name], ["start", "process"]);
        assert_eq!(data(&events[0])["task_id"], task_id.as_str());

        let drawn = image_api::picture_for("一张婚纱照");
        let mut picture = Vec::new();
        for delta in events.iter().filter(|event| event.name == "image.delta") {
            let piece = STANDARD.decode(data(delta)["b64"].as_str().unwrap()).unwrap();
            assert!(piece.len() <= 12 * 1024);
            picture.extend_from_slice(&piece);
        }
        assert_eq!(hash(&picture), drawn.sha256);
        assert_eq!(terminals(&events), ["done"]);
        let done = data(events.last().unwrap());
        let image = json!({
            "index": 0, "media_type": "image/png", "bytes": drawn.bytes.len(), "sha256": drawn.sha256,
            "width": drawn.width, "height": drawn.height,
        });
        assert_eq!(done["images"], json!([image]));
        assert_eq!(done["failed"], json!([]));
        assert!(done["usage"]["total_tokens"].as_u64().unwrap() > 0);
        let image_done = events.iter().find(|event| event.name == "image.done").unwrap();
        assert_eq!(data(image_done), image);
    }
}

#[tokio::test]
async fn events_are_sent_when_they_are_made() {
    let options = image_api::ImageApiOptions { key: KEY.into(), shape: Shape::Deltas, speed: 10.0, log: false };
    let upstream = dev::start(image_api::routes(options)).await.unwrap();
    let response = handle(app(&upstream.url(""), &[]), post(json!({"prompt": "x", "format": "events"}))).await;
    let mut body = response.into_body();
    let mut frames = 0;
    let mut frames_with_picture = 0;
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().into_data().unwrap();
        frames += 1;
        if frames == 1 {
            assert_eq!(events(&bytes).len(), 2, "start and process come first, before the upstream has answered");
        }
        frames_with_picture += usize::from(bytes.windows(11).any(|window| window == b"image.delta"));
    }
    assert!(frames_with_picture > 20, "{frames_with_picture} of {frames} frames bring parts of the picture");
}

#[tokio::test]
async fn reference_pictures_reach_the_upstream() {
    let upstream = simulator().await;
    let pixel = "data:image/PNG;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
    let request = json!({"prompt": "x", "format": "events", "image_inputs": [pixel, "https://example.com/a.png#part"]});
    let bytes = bytes(handle(app(&upstream.url(""), &[]), post(request)).await).await;
    let events = events(&bytes);
    let text: String =
        events.iter().filter(|event| event.name == "text").map(|event| data(event)["text"].to_string()).collect();
    assert!(text.contains('2'), "the simulator tells how many pictures came: {text}");
    assert_eq!(terminals(&events), ["done"]);
}

/// A picture in one chunk whose index stands before it, so that nothing waits for that.
fn indexed() -> Bytes {
    let picture = STANDARD.encode(&image_api::picture_for("x").bytes);
    let content = format!("![image](data:image/png;base64,{picture})");
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\ndata: [DONE]\n\n")
        .into()
}

#[tokio::test]
async fn an_answer_that_makes_progress_may_take_longer_than_the_progress_timeout() {
    let (bytes, piece_after) = (indexed(), Duration::from_millis(50));
    let piece_bytes = bytes.len() / 30;
    let (router, _) = transcript::routes(Transcript { piece_bytes, piece_after, ..Transcript::events(bytes) });
    let upstream = dev::start(router).await.unwrap();
    let app = app(&upstream.url(""), &[("UPSTREAM_PROGRESS_MS", "700"), ("PING_MS", "700")]);
    let response = handle(app, post(json!({"prompt": "x", "format": "events"}))).await;
    let sent = self::bytes(response).await;
    assert_eq!(endings("text/event-stream", &sent), ["done"]);
    let waits = events(&sent).iter().filter(|event| event.name == "process").count();
    assert_eq!(waits, 1, "no keep-alive beside progress");
}

/// Neither for an upstream that goes on behind its `[DONE]`, nor for one that has not begun to answer, or never ends to
/// explain a refusal.
#[tokio::test]
async fn an_answer_that_brings_nothing_more_is_not_waited_for() {
    let stalls = |status, bytes| Transcript { status, ending: Ending::Stall, ..Transcript::events(bytes) };
    let late = Transcript { head_after: Duration::from_secs(60), ..Transcript::events("") };
    let verbose = Transcript {
        status: 500,
        piece_bytes: 70_000,
        piece_after: Duration::from_millis(100),
        ..Transcript::events(" ".repeat(300 * 70_000))
    };
    let drips = Transcript {
        status: 500,
        piece_bytes: 1,
        piece_after: Duration::from_millis(100),
        ..Transcript::events(" ".repeat(1000))
    };
    for (transcript, total, ending) in [
        (stalls(200, indexed()), "", "done"),
        (late, "300", "error deadline_exceeded"),
        (stalls(500, "{".into()), "", "error upstream_error"),
        (verbose, "", "error upstream_error"),
        (drips, "300", "error upstream_error"),
    ] {
        let (router, _) = transcript::routes(transcript);
        let upstream = dev::start(router).await.unwrap();
        let app = app(&upstream.url(""), &[("UPSTREAM_TOTAL_MS", total)]);
        let sent = bytes(handle(app, post(json!({"prompt": "x", "format": "events"}))).await).await;
        assert_eq!(endings("text/event-stream", &sent), [ending]);
    }
}

#[tokio::test]
async fn the_beginning_of_a_picture_is_sent_while_the_upstream_stalls() {
    let half = indexed().slice(..5000);
    let (router, _) = transcript::routes(Transcript { ending: Ending::Stall, ..Transcript::events(half) });
    let upstream = dev::start(router).await.unwrap();
    let response = handle(app(&upstream.url(""), &[]), post(json!({"prompt": "x", "format": "events"}))).await;
    let (mut body, mut sent) = (response.into_body(), Vec::new());
    while !events(&sent).iter().any(|event| event.name == "image.delta") {
        let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.unwrap();
        sent.extend_from_slice(&frame.unwrap().unwrap().into_data().unwrap());
    }
}

/// What is ready to be read must not carry a call past its end, however slowly the client takes it.
#[tokio::test]
async fn a_slow_reader_does_not_delay_the_end() {
    // A picture of 12 MB that is there at once.
    let mut picture = image_api::picture_for("slowly").bytes.to_vec();
    picture.truncate(1000);
    picture.resize(12_000_000, 0x55);
    let base64 = STANDARD.encode(picture);
    let says =
        |content: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n");
    let mut stream = says("![image](data:image/png;base64,");
    for piece in base64.as_bytes().chunks(16 * 1024) {
        stream += &says(std::str::from_utf8(piece).unwrap());
    }
    let (router, _) = transcript::routes(Transcript::events(stream));
    let upstream = dev::start(router).await.unwrap();
    for format in ["events", "chat"] {
        let app = app(&upstream.url(""), &[("UPSTREAM_TOTAL_MS", "700")]);
        let response = handle(app, post(json!({"prompt": "slowly", "format": format}))).await;
        assert_eq!(response.status(), StatusCode::OK);
        let (mut body, mut sent, mut frames) = (response.into_body(), Vec::new(), 0);
        while let Some(frame) = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.unwrap() {
            sent.extend_from_slice(&frame.unwrap().into_data().unwrap());
            frames += 1;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        assert!(frames < 60, "{frames} frames of 40 ms each: the rest was not waited for");
        let events = events(&sent);
        assert_eq!(terminals(&events), ["error"], "{format}");
        assert!(events.last().unwrap().data.contains("\"deadline_exceeded\""), "{format}");
        assert_eq!(first_picture(&content(&events)), None, "half a picture is not found");
    }
}

#[tokio::test]
async fn chat_holds_its_head_for_early_faults_up_to_a_bound() {
    let slow = Transcript { head_after: Duration::from_millis(400), status: 429, ..Transcript::events("{}") };
    let (router, _) = transcript::routes(slow);
    let running = dev::start(router).await.unwrap();

    let response = handle(app(&running.url(""), &[]), post(json!({"prompt": "x"}))).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(problem(response).await["code"], "upstream_busy");

    let impatient = app(&running.url(""), &[("HEAD_HOLD_MS", "50"), ("PING_MS", "100")]);
    let response = handle(impatient, post(json!({"prompt": "x"}))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = bytes(response).await;
    assert!(bytes.windows(6).any(|window| window == b": ping"), "silence is filled");
    let events = events(&bytes);
    let error: Value = serde_json::from_str(&events.last().unwrap().data).unwrap();
    assert_eq!(error["error"]["code"], "upstream_busy");
    assert_eq!(error["error"]["retryable"], true);
    assert_eq!(terminals(&events), ["error"]);
}

#[tokio::test]
async fn typed_events_have_keep_alives_with_the_elapsed_time() {
    let slow = Transcript { head_after: Duration::from_millis(500), ..Transcript::events("data: [DONE]\n\n") };
    let (router, _) = transcript::routes(slow);
    let running = dev::start(router).await.unwrap();
    let app = app(&running.url(""), &[("PING_MS", "100")]);
    let events = events(&bytes(handle(app, post(json!({"prompt": "x", "format": "events"}))).await).await);
    let waits: Vec<_> =
        events.iter().filter(|event| event.name == "process").map(|event| data(event)["elapsed_ms"].as_u64()).collect();
    assert!(waits.len() >= 3 && waits[1] >= Some(100), "{waits:?}");
    assert_eq!(data(events.last().unwrap())["code"], "no_image");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_paid_call() {
    let stalled = Transcript { ending: Ending::Stall, ..Transcript::events(": here\n\n") };
    let (router, upstream) = transcript::routes(stalled);
    let running = dev::start(router).await.unwrap();
    let mut body =
        handle(app(&running.url(""), &[]), post(json!({"prompt": "x", "format": "events"}))).await.into_body();
    body.frame().await.unwrap().unwrap();
    let reading = tokio::time::timeout(Duration::from_millis(300), body.frame()).await;
    assert!(reading.is_err(), "nothing more comes");
    assert_eq!(upstream.open(), 1);
    drop(body);
    for _ in 0..100 {
        if upstream.open() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the upstream's answer is still open a second later");
}

#[tokio::test]
async fn faults_before_the_answer_have_their_status() {
    let without_key = app("http://127.0.0.1:1", &[("IMAGE_API_KEY", "")]);
    let response = handle(without_key, post(json!({"prompt": "x"}))).await;
    assert_eq!(
        (response.status().as_u16(), problem(response).await["code"].as_str().unwrap()),
        (503, "service_unavailable")
    );

    let misconfigured = app("http://relay.example.com", &[]);
    let response = handle(misconfigured, post(json!({"prompt": "x"}))).await;
    assert_eq!(
        (response.status().as_u16(), problem(response).await["code"].as_str().unwrap()),
        (500, "service_misconfigured")
    );
}

#[tokio::test]
async fn bad_input_gets_its_problem() {
    const GIF: &str = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==";
    let (router, upstream) = transcript::routes(Transcript::events("data: [DONE]\n\n"));
    let running = dev::start(router).await.unwrap();
    let long = "长".repeat(4001);
    let many_images = format!(r#"{{"prompt":"x","image_inputs":[{}""]}}"#, "\"\",".repeat(10_000));
    let deep = format!(r#"{{"prompt":"x","junk":{}"#, "[".repeat(1_000_000));
    let rows = [
        ("", 400, "invalid_json", None),
        ("{", 400, "invalid_json", None),
        ("\u{feff}{}", 400, "invalid_json", None),
        ("[]", 400, "invalid_request", Some("")),
        ("{}", 400, "invalid_request", Some("/prompt")),
        (r#"{"prompt":"x","prompt":"x"}"#, 400, "invalid_request", Some("/prompt")),
        (r#"{"prompt":null}"#, 400, "invalid_request", Some("/prompt")),
        (r#"{"prompt":7}"#, 400, "invalid_request", Some("/prompt")),
        (r#"{"prompt":" \n "}"#, 400, "invalid_request", Some("/prompt")),
        (&format!(r#"{{"prompt":"{long}"}}"#), 400, "invalid_request", Some("/prompt")),
        (r#"{"prompt":"x","image_inputs":"y"}"#, 400, "invalid_request", Some("/image_inputs")),
        (r#"{"prompt":"x","image_inputs":["","","",""]}"#, 400, "invalid_request", Some("/image_inputs")),
        (r#"{"prompt":"x","image_inputs":[7]}"#, 400, "invalid_request", Some("/image_inputs/0")),
        (r#"{"prompt":"x","image_inputs":["y"]}"#, 400, "invalid_image", Some("/image_inputs/0")),
        (
            &format!(r#"{{"prompt":"x","image_inputs":["{GIF}"]}}"#),
            415,
            "unsupported_media_type",
            Some("/image_inputs/0"),
        ),
        (
            r#"{"prompt":"x","image_inputs":["https://example.com/a.png","https://10.0.0.1/a.png"]}"#,
            400,
            "invalid_url",
            Some("/image_inputs/1"),
        ),
        (r#"{"prompt":"x","n":0}"#, 400, "invalid_request", Some("/n")),
        (r#"{"prompt":"x","n":5}"#, 400, "invalid_request", Some("/n")),
        (r#"{"prompt":"x","n":1.5}"#, 400, "invalid_request", Some("/n")),
        (r#"{"prompt":"x","n":"2"}"#, 400, "invalid_request", Some("/n")),
        (r#"{"prompt":"x","model":"another"}"#, 400, "model_not_allowed", Some("/model")),
        (r#"{"prompt":"x","model":1}"#, 400, "invalid_request", Some("/model")),
        (r#"{"prompt":"x","format":"xml"}"#, 400, "invalid_request", Some("/format")),
        (r#"{"prompt":"x","format":["events"]}"#, 400, "invalid_request", Some("/format")),
        (r#"{"prompt":"x","aspect_ratio":"16:10"}"#, 400, "invalid_request", Some("/aspect_ratio")),
        (r#"{"prompt":"x","aspect_ratio":1}"#, 400, "invalid_request", Some("/aspect_ratio")),
        (r#"{"prompt":"x","aspect_ratio":""}"#, 400, "invalid_request", Some("/aspect_ratio")),
        (r#"{"prompt":["x"]}"#, 400, "invalid_request", Some("/prompt")),
        (r#"{"prompt":{"a":"x"}}"#, 400, "invalid_request", Some("/prompt")),
        (r#"{"prompt":"\ud800"}"#, 400, "invalid_request", Some("/prompt")),
        (r#"{"prompt":"x","prompt":"y"}"#, 400, "invalid_request", Some("/prompt")),
        (r#"{"prompt":"x","image_inputs":{"0":"y"}}"#, 400, "invalid_request", Some("/image_inputs")),
        (
            r#"{"prompt":"x","image_inputs":["https://example.com/a.png",null]}"#,
            400,
            "invalid_request",
            Some("/image_inputs/1"),
        ),
        (r#"{"prompt":"x","image_inputs":[["y"]]}"#, 400, "invalid_request", Some("/image_inputs/0")),
        (r#"{"prompt":"x","n":[1]}"#, 400, "invalid_request", Some("/n")),
        (r#"{"prompt":"x","n":true}"#, 400, "invalid_request", Some("/n")),
        (r#"{"prompt":"x","n":1e400}"#, 400, "invalid_request", Some("/n")),
        (r#"{"prompt":"x","model":null,"n":-1}"#, 400, "invalid_request", Some("/n")),
        (&many_images, 400, "invalid_request", Some("/image_inputs")),
        (&deep, 400, "invalid_json", None),
    ];
    let check = async |request: Request<Bytes>, status: u16, code: &str, pointer: Option<&str>| {
        let body = String::from_utf8_lossy(request.body()).chars().take(80).collect::<String>();
        let response = handle(app(&running.url(""), &[]), request).await;
        assert_eq!(response.status(), status, "{body}");
        for name in [
            "cache-control",
            "x-request-id",
            "x-content-type-options",
            "strict-transport-security",
            "referrer-policy",
            "content-security-policy",
            "content-language",
            "vary",
            "cross-origin-resource-policy",
        ] {
            assert_eq!(response.headers().get_all(name).iter().count(), 1, "{name}");
        }
        let problem = problem(response).await;
        assert_eq!(problem["code"], code, "{body}");
        assert_eq!(problem["errors"][0]["pointer"].as_str(), pointer, "{body}");
        let Some(pointer) = pointer.filter(|pointer| !pointer.is_empty()) else { return };
        let name = pointer[1..].replace("/0", "[0]").replace("/1", "[1]");
        for member in ["detail", "error", "message"] {
            assert!(problem[member].as_str().unwrap().starts_with(&format!("{name} ")), "{body}: {problem}");
        }
    };
    let request = |body: &str| {
        Request::post("/api/generate-stream")
            .header("authorization", user::bearer())
            .header("content-type", "application/json; charset=utf-8")
            .body(Bytes::from(body.to_owned()))
            .unwrap()
    };
    for (body, status, code, pointer) in rows {
        check(request(body), status, code, pointer).await;
    }
    let mut not_utf8 = request("");
    *not_utf8.body_mut() = Bytes::from_static(b"{\"prompt\":\"x\",\"\xff\":1}");
    check(not_utf8, 400, "invalid_json", None).await;
    let good = || Bytes::from(r#"{"prompt":"x"}"#);
    let large = Bytes::from(vec![b' '; 6 * 1024 * 1024 + 1]);
    let signed_in = |builder: http::request::Builder| builder.header("authorization", user::bearer());
    let json = |builder| signed_in(builder).header("content-type", "application/json");
    check(json(Request::post("/api/generate-stream")).body(large).unwrap(), 413, "payload_too_large", None).await;
    check(json(Request::post("/api/generate-stream/")).body(good()).unwrap(), 404, "route_not_found", None).await;
    check(json(Request::get("/")).body(good()).unwrap(), 404, "route_not_found", None).await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "TRACE", "QUERY"] {
        let request = json(Request::builder().method(method).uri("/api/generate-stream")).body(good()).unwrap();
        let response = handle(app(&running.url(""), &[]), request).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["allow"]),
            (405, &"POST".parse().unwrap()),
            "{method}"
        );
    }
    for media_type in ["text/plain", "application/jsonx", "multipart/form-data; boundary=x", ""] {
        let request = signed_in(Request::post("/api/generate-stream")).header("content-type", media_type);
        let request = request.body(good()).unwrap();
        check(request, 415, "unsupported_media_type", None).await;
    }
    check(signed_in(Request::post("/api/generate-stream")).body(good()).unwrap(), 415, "unsupported_media_type", None)
        .await;
    let packed = json(Request::post("/api/generate-stream")).header("content-encoding", "gzip").body(good()).unwrap();
    check(packed, 415, "unsupported_media_type", None).await;
    assert_eq!(upstream.requests(), 0, "nothing was paid for");
}

/// The documented model sends no drafts, so the content that an older frontend gathers grows with the picture.
#[tokio::test]
async fn the_content_of_the_documented_model_grows_with_its_picture() {
    for (model, is_streamed) in [("gemini-2.5-flash-image", true), ("gemini-3-pro-image", false)] {
        let (piece_bytes, piece_after) = (indexed().len() / 40, Duration::from_millis(40));
        let (router, seen) =
            transcript::routes(Transcript { piece_bytes, piece_after, ..Transcript::events(indexed()) });
        let upstream = dev::start(router).await.unwrap();
        let app = app(&upstream.url(""), &[("IMAGE_MODELS", "gemini-3-pro-image"), ("HEAD_HOLD_MS", "100")]);
        let mut body = handle(app, post(json!({"prompt": "x", "model": model}))).await.into_body();
        let (mut sent, mut lengths) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            sent.extend_from_slice(&frame.unwrap().into_data().unwrap());
            if seen.open() == 1 {
                lengths.push(content(&events(&sent)).len());
            }
        }
        assert!(first_picture(&content(&events(&sent))).is_some(), "{model}");
        lengths.retain(|length| *length > 100);
        lengths.dedup();
        assert_eq!(lengths.len() >= 10, is_streamed, "{model}: {lengths:?}");
    }
}
