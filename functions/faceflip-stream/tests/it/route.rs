//! The route as a client sees it: the handler in process, ARK behind a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dev::client::{StreamEvent, events};
use dev::transcript::{self, Transcript};
use dev::{RunningServer, ark, user};
use faceflip_stream::{App, handle};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::edge::Body;

const KEY: &str = "a-key-of-this-test";
const PATH: &str = "/api/v1/faceflip/generate/stream";

fn app(base: &str, variables: &[(&str, &str)]) -> Arc<App> {
    let get = |name: &str| match name {
        "ARK_BASE_URL" => Some(base.to_owned()),
        "ARK_API_KEY" => Some(KEY.to_owned()),
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

async fn simulator(speed: f64) -> RunningServer {
    dev::start(ark::routes(ark::ArkOptions { key: KEY.into(), speed, log: false })).await.unwrap()
}

fn post(body: Value) -> Request<Bytes> {
    let request = Request::post(PATH).header("content-type", "application/json");
    request.header("authorization", user::bearer()).body(body.to_string().into()).unwrap()
}

/// Every request is a task of its own: a repeated task is not run again.
fn wanted() -> Value {
    static TASKS: AtomicU32 = AtomicU32::new(2);
    wanted_as(&format!("任务 {}", TASKS.fetch_add(1, Ordering::Relaxed)))
}

fn wanted_as(task_id: &str) -> Value {
    json!({"urls": ["https://example.com/image1.jpg", "https://example.com/image2.jpg"], "task_id": task_id})
}

async fn bytes(response: Response<Body>) -> Bytes {
    let whole = tokio::time::timeout(Duration::from_secs(20), response.into_body().collect());
    let bytes = whole.await.unwrap().unwrap().to_bytes();
    assert!(!bytes.windows(KEY.len()).any(|part| part == KEY.as_bytes()), "the key came out");
    bytes
}

fn data(event: &StreamEvent) -> Value {
    let data: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(data["event"], event.name.as_str(), "the envelope names the event");
    data["data"].clone()
}

fn names(events: &[StreamEvent]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

#[tokio::test]
async fn the_documented_events_to_the_letter() {
    let upstream = simulator(f64::INFINITY).await;
    let variables = [("ARK_MAX_IMAGES", "1"), ("FACEFLIP_PROMPT", "换脸")];
    let response = handle(app(&upstream.url("/api/v3"), &variables), post(wanted_as("换脸 1"))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert!(!response.headers().contains_key("x-task-id"), "this one cannot stand in a header");
    let bytes = bytes(response).await;
    let text = String::from_utf8(bytes[1028..].to_vec()).unwrap();
    let url = data(&events(&bytes)[2])["url"].as_str().unwrap().to_owned();
    let expected = [
        r#"id: 0|event: start|data: {"event":"start","data":{"task_id":"换脸 1","message":"开始生成图像..."}}||"#,
        r#"id: 1|event: process|data: {"event":"process","data":{"task_id":"换脸 1","message":"正在调用ARK模型生成图像..."}}||"#,
        r#"id: 2|event: image.done|data: {"event":"image.done","data":{"task_id":"换脸 1","index":0,"url":"URL","size":"2K","width":2496,"height":1664}}||"#,
        r#"id: 3|event: done|data: {"event":"done","data":{"urls":["https://example.com/image1.jpg","https://example.com/image2.jpg"],"generated_images":[{"url":"URL","size":"2K"}],"task_id":"换脸 1","images":[{"index":0,"url":"URL","size":"2K","width":2496,"height":1664}],"failed":[],"usage":{"output_tokens":16224,"total_tokens":16224,"generated_images":1}}}||"#,
    ];
    assert_eq!(text, expected.concat().replace('|', "\n").replace("URL", &url));

    let picture = ark::picture_for("换脸", 0);
    let served = reqwest::get(&url).await.unwrap().bytes().await.unwrap();
    assert_eq!(served, picture.bytes, "the link leads to what was drawn");
}

#[tokio::test]
async fn each_picture_is_sent_when_it_is_ready() {
    let upstream = simulator(30.0).await;
    let mut body = handle(app(&upstream.url("/api/v3"), &[]), post(wanted())).await.into_body();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(names(&events(&frame.unwrap().into_data().unwrap())).join(" "));
    }
    assert_eq!(frames[..4], ["start process", "image.done", "image.done", "image.done"]);
    assert_eq!(frames.last().unwrap(), "done");
}

#[tokio::test]
async fn english_messages_and_the_prompt_of_the_request() {
    let upstream = simulator(f64::INFINITY).await;
    let mut request = post(json!({"urls": ["https://example.com/a.jpg"], "task_id": "t", "prompt": "a sketch"}));
    request.headers_mut().insert("accept-language", "en".parse().unwrap());
    let response = handle(app(&upstream.url("/api/v3"), &[("ARK_MAX_IMAGES", "1")]), request).await;
    assert_eq!(response.headers()["x-task-id"], "t");
    let events = events(&bytes(response).await);
    assert_eq!(data(&events[0])["message"], "Starting to generate...");
    let url = data(&events[2])["url"].as_str().unwrap().to_owned();
    let served = reqwest::get(&url).await.unwrap().bytes().await.unwrap();
    assert_eq!(served, ark::picture_for("a sketch", 0).bytes);
}

/// ARK takes and makes fifteen pictures together, and refuses what goes beyond.
#[tokio::test]
async fn no_more_pictures_are_requested_than_ark_makes_with_the_inputs() {
    let upstream = simulator(f64::INFINITY).await;
    let pixel = "data:image/PNG;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
    for (inputs, most, made) in [(1, "15", 14), (10, "15", 5), (10, "3", 3), (2, "1", 1)] {
        let mut body = wanted();
        body["urls"] = (0..inputs).map(|at| if at % 2 == 0 { pixel } else { "https://example.com/a.jpg" }).collect();
        let app = app(&upstream.url("/api/v3"), &[("ARK_MAX_IMAGES", most)]);
        let events = events(&bytes(handle(app, post(body)).await).await);
        let done = data(events.last().unwrap());
        assert_eq!(done["images"].as_array().map(Vec::len), Some(made), "{inputs} inputs, at most {most}: {done}");
    }
}

/// Every transcript of ARK through the whole route.
#[tokio::test]
async fn every_ark_transcript() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/tests/data/fixtures");
    let manifest: Value = serde_json::from_slice(&std::fs::read(format!("{folder}/MANIFEST.json")).unwrap()).unwrap();
    let fixtures = manifest["fixtures"].as_array().unwrap().iter();
    let fixtures: Vec<_> = fixtures.filter(|fixture| fixture["file"].as_str().unwrap().starts_with('a')).collect();
    assert_eq!(fixtures.len(), 20);
    for fixture in fixtures {
        let name = fixture["file"].as_str().unwrap();
        let recorded = std::fs::read(format!("{folder}/{name}")).unwrap();
        let expect = &fixture["expect"];
        let is_ok = expect["outcome"] == "ok";
        let status = fixture["status"].as_u64().unwrap() as u16;
        let (router, upstream) = transcript::routes(Transcript { status, ..Transcript::events(recorded) });
        let running = dev::start(router).await.unwrap();
        let response = handle(app(&running.url(""), &[]), post(wanted())).await;
        assert_eq!(response.status(), StatusCode::OK, "{name}: the head does not wait for ARK's");
        let events = events(&bytes(response).await);
        assert_eq!(names(&events)[..2], ["start", "process"], "{name}");
        let terminals = names(&events).into_iter().filter(|name| matches!(*name, "done" | "error"));
        assert_eq!(terminals.collect::<Vec<_>>(), [if is_ok { "done" } else { "error" }], "{name}");
        let last = data(events.last().unwrap());
        if is_ok {
            let indexes =
                |list: &Value| list.as_array().unwrap().iter().map(|item| item["index"].clone()).collect::<Value>();
            if !expect["indexes"].is_null() {
                assert_eq!(indexes(&last["images"]), expect["indexes"], "{name}");
                let links = last["generated_images"].as_array().unwrap();
                assert_eq!(links.len(), expect["indexes"].as_array().unwrap().len(), "{name}");
                assert!(links.iter().all(|link| link["size"] == "2K"), "{name}");
            }
            let failed = if expect["failed"].is_null() { json!([]) } else { expect["failed"].clone() };
            assert_eq!(indexes(&last["failed"]), failed, "{name}");
        } else {
            assert_eq!(last["message"], "图像生成失败", "{name}");
            assert!(last["error"].as_str().is_some_and(|reason| !reason.is_empty()), "{name}");
            assert_eq!(last["retry_after_ms"].is_u64(), last["retryable"].as_bool().unwrap(), "{name}");
        }
        assert_eq!(upstream.requests(), 1, "{name}: one paid call");
    }
}

/// ARK ignores what it does not know, and charges all the same.
#[tokio::test]
async fn the_request_to_ark_is_exact() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/tests/data/fixtures");
    let recorded = std::fs::read(format!("{folder}/a01_three_ok.sse")).unwrap();
    let pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
    let (png, link) = (pixel.replace("png", "PNG"), "https://example.com/a.jpg");
    // As long as they may be, in a script of three bytes a character.
    let (prompt, task_id) = ("长".repeat(4000), "长".repeat(256));
    let rows = [
        (
            json!({"urls": ["https://EXAMPLE.com/a.jpg#part"], "prompt": null}),
            &[("ARK_MAX_IMAGES", "1"), ("FACEFLIP_PROMPT", "换脸")][..],
            json!({
                "model": "doubao-seedream-4-0-250828", "prompt": "换脸", "image": link,
                "sequential_image_generation": "disabled",
                "response_format": "url", "size": "2K", "stream": true, "watermark": false,
            }),
        ),
        (
            json!({"urls": [png, link, pixel], "prompt": format!(" {prompt}\n")}),
            &[("ARK_MODEL", "ep-1"), ("ARK_SIZE", "4K"), ("ARK_MAX_IMAGES", "15"), ("ARK_WATERMARK", "true")],
            json!({
                "model": "ep-1", "prompt": prompt, "image": [pixel, link, pixel],
                "sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 12},
                "response_format": "url", "size": "4K", "stream": true, "watermark": true,
            }),
        ),
        (
            json!({"urls": [link, link], "prompt": "x"}),
            &[("ARK_MODEL", "dola-seedream-5-0-pro-260628"), ("ARK_SIZE", "1.5K"), ("ARK_MAX_IMAGES", "4")],
            json!({
                "model": "dola-seedream-5-0-pro-260628", "prompt": "x", "image": [link, link],
                "response_format": "url", "size": "1.5K", "output_format": "jpeg", "watermark": false,
            }),
        ),
        (
            json!({"urls": [link, link], "prompt": "x"}),
            &[("ARK_MODEL", "ep-2"), ("ARK_FAMILY", "seedream-5.0-flash")],
            json!({
                "model": "ep-2", "prompt": "x", "image": [link, link],
                "response_format": "url", "size": "2K", "watermark": false,
            }),
        ),
        (
            json!({"urls": [link, link], "prompt": "x"}),
            &[("ARK_MODEL", "doubao-seedream-5-0-260128")],
            json!({
                "model": "doubao-seedream-5-0-260128", "prompt": "x", "image": [link, link],
                "sequential_image_generation": "auto", "sequential_image_generation_options": {"max_images": 3},
                "response_format": "url", "size": "2K", "stream": true, "output_format": "jpeg", "watermark": false,
            }),
        ),
        (
            json!({"urls": [link], "prompt": "x"}),
            &[("ARK_MODEL", "a-new-model")],
            json!({
                "model": "a-new-model", "prompt": "x", "image": link,
                "response_format": "url", "size": "2K", "watermark": false,
            }),
        ),
    ];
    for (row, (mut body, variables, expected)) in rows.into_iter().enumerate() {
        let (router, upstream) = transcript::routes(Transcript::events(recorded.clone()));
        let running = dev::start(router).await.unwrap();
        body["task_id"] = format!("{row}{}", &task_id[3..]).into();
        let links = body["urls"].as_array().unwrap().iter().filter(|url| !url.as_str().unwrap().starts_with("data"));
        let links = links.map(|_| link).collect::<Value>();
        let events = events(&bytes(handle(app(&running.url("/api/v3"), variables), post(body)).await).await);
        let done = data(events.last().unwrap());
        assert_eq!((events.last().unwrap().name.as_str(), &done["urls"]), ("done", &links), "links only");
        let asked = &upstream.received()[0];
        assert_eq!(asked.path, "/api/v3/images/generations");
        assert_eq!(asked.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!(serde_json::from_slice::<Value>(&asked.body).unwrap(), expected);
    }
}

/// Against a simulator that refuses what the model does not take.
#[tokio::test]
async fn each_family_makes_what_it_can() {
    let upstream = simulator(f64::INFINITY).await;
    for (model, family, size, made) in [
        ("doubao-seedream-4-5-251128", "", "4K", 3),
        ("doubao-seedream-5-0-lite-260128", "", "3K", 3),
        ("ep-1", "", "2K", 3),
        // Also valid for the endpoint of the simulator, which is a 4.0 model.
        ("ep-1", "seedream-5.0-flash", "2K", 1),
        ("dola-seedream-5-0-pro-260628", "", "1.5K", 1),
        ("doubao-seedream-5-0-flash-260915", "", "1K", 1),
    ] {
        let variables = [("ARK_MODEL", model), ("ARK_FAMILY", family), ("ARK_SIZE", size)];
        let mut body = wanted();
        body["urls"] = json!(["https://example.com/a.jpg"]);
        let response = handle(app(&upstream.url("/api/v3"), &variables), post(body)).await;
        let events = events(&bytes(response).await);
        let mut expected = vec!["start", "process"];
        expected.extend(vec!["image.done"; made]);
        expected.push("done");
        assert_eq!(names(&events), expected, "{model}");
        let done = data(events.last().unwrap());
        assert_eq!(done["usage"]["generated_images"], made, "{model}");
        assert!(done["images"][0]["width"].is_number(), "{model}: {done}");
    }
}

#[tokio::test]
async fn a_refusal_is_the_documented_event_or_a_document() {
    let app = app("http://127.0.0.1:9", &[]);
    let link = "https://example.com/a.jpg";
    let rows = [
        (json!({"task_id": "t"}), "invalid_request", "/urls", "t"),
        (json!({"urls": [], "task_id": "t"}), "invalid_request", "/urls", "t"),
        (json!({"urls": vec![link; 11], "task_id": "t"}), "invalid_request", "/urls", "t"),
        (json!({"urls": [link]}), "invalid_request", "/task_id", ""),
        (json!({"urls": [link], "task_id": ""}), "invalid_request", "/task_id", ""),
        (json!({"urls": [link], "task_id": "x".repeat(257)}), "invalid_request", "/task_id", ""),
        (json!({"urls": [link], "task_id": 7}), "invalid_request", "/task_id", ""),
        (json!({"urls": ["http://example.com/a.jpg"], "task_id": "t"}), "invalid_url", "/urls/0", "t"),
        (json!({"urls": [link, "https://169.254.169.254/"], "task_id": "t"}), "invalid_url", "/urls/1", "t"),
        (json!({"urls": ["data:image/png;base64,AAAA"], "task_id": "t"}), "invalid_image", "/urls/0", "t"),
        (json!({"urls": [1], "task_id": "t"}), "invalid_request", "/urls/0", "t"),
        (json!({"urls": [link, link, {}], "task_id": "t"}), "invalid_request", "/urls/2", "t"),
        (json!({"urls": {"a": link}, "task_id": "t"}), "invalid_request", "/urls", "t"),
        (json!({"urls": [link], "task_id": "t", "prompt": ""}), "invalid_request", "/prompt", "t"),
        (json!({"urls": [link], "task_id": "t", "prompt": "长".repeat(4001)}), "invalid_request", "/prompt", "t"),
        (json!(["t"]), "invalid_request", "", ""),
    ];
    for (body, code, pointer, task_id) in rows {
        let response = handle(app.clone(), post(body.clone())).await;
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let events = events(&bytes(response).await);
        assert_eq!(names(&events), ["error"], "{body}");
        let error = data(&events[0]);
        assert_eq!([&error["code"], &error["task_id"]], [code, task_id], "{body}");
        assert_eq!(error["message"], "图像生成失败");
        if !pointer.is_empty() {
            let name = ["/0", "/1", "/2"].iter().zip(["[0]", "[1]", "[2]"]);
            let name = name.fold(pointer[1..].to_owned(), |name, (at, index)| name.replace(at, index));
            assert!(error["error"].as_str().unwrap().starts_with(&format!("{name} ")), "{body}: {error}");
        }
        for accept in ["*/*", "text/event-stream", "application/json;q=0"] {
            let mut request = post(body.clone());
            request.headers_mut().insert("accept", accept.parse().unwrap());
            let response = handle(app.clone(), request).await;
            assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8", "{accept}");
        }

        for accept in ["application/json", "text/html, application/problem+json;q=0.9"] {
            let mut request = post(body.clone());
            request.headers_mut().insert("accept", accept.parse().unwrap());
            let response = handle(app.clone(), request).await;
            assert_eq!(response.status(), 400);
            let problem: Value = serde_json::from_slice(&bytes(response).await).unwrap();
            assert_eq!([&problem["code"], &problem["errors"][0]["pointer"]], [code, pointer], "{body}");
            assert_eq!(problem["status"], 400);
        }
    }
    let stranger = Request::post(PATH).header("content-type", "application/json").body(wanted().to_string().into());
    let response = handle(app.clone(), stranger.unwrap()).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    let events = events(&bytes(response).await);
    assert_eq!(names(&events), ["error"]);
    let error = data(&events[0]);
    assert_eq!([&error["code"], &error["task_id"]], ["auth_required", ""], "what a stranger sends is not read");
    assert_eq!([&error["message"], &error["error"]], ["图像生成失败", "请先登录"]);

    let get = Request::get(PATH).header("accept", "application/json").body(Bytes::new()).unwrap();
    let response = handle(app.clone(), get).await;
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let other = Request::post("/api/v1/faceflip").body(Bytes::new()).unwrap();
    assert_eq!(handle(app.clone(), other).await.status(), StatusCode::NOT_FOUND);
    let text = Request::post(PATH).header("content-type", "text/plain").header("authorization", user::bearer());
    let text = text.body(Bytes::from("{}")).unwrap();
    assert_eq!(handle(app, text).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
