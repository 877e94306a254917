//! Each upstream mode sends its vendor's request, and every shape of the simulators is read.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dev::client::{content, hash, pictures};
use dev::picture::{PictureFormat, draw};
use dev::transcript::{self, ReceivedRequest, Transcript};
use dev::{RunningServer, Shape, image_api, user};
use generate_stream::{App, handle};
use http::Request;
use serde_json::{Value, json};
use shared::config::{AllowedValues, VARIABLES};

use crate::support::Reply;

const KEY: &str = "a-key-of-this-test";
const STREAM: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
const MODES: [(&str, &str); 3] =
    [("chat", "IMAGE_CHAT_MODEL"), ("images", "IMAGE_IMAGES_MODEL"), ("gemini", "IMAGE_GEMINI_MODEL")];
const MODEL: &str = "gemini-2.5-flash-image";
/// The pictures that lie elsewhere.
const LINKS: &[Shape] = &[Shape::Link, Shape::Progress, Shape::ImagesUrl, Shape::GeminiFile];
/// They bring two pictures at once.
const TWO: &[Shape] = &[Shape::Several, Shape::Choices];

fn app(base: &str, mode: &str) -> Arc<App> {
    app_with(base, mode, MODEL, &[])
}

/// With this model, and some more variables.
fn app_with(base: &str, mode: &str, model: &str, more: &[(&str, &str)]) -> Arc<App> {
    let models: Vec<_> = Shape::ALL.iter().map(|shape| format!("{MODEL}@{shape}")).collect();
    let get = |name: &str| match name {
        "IMAGE_API_BASE_URL" => Some(base.to_owned()),
        "IMAGE_API_KEY" => Some(KEY.to_owned()),
        "IMAGE_API_MODE" => Some(mode.to_owned()),
        name if MODES.iter().any(|(_, variable)| *variable == name) => Some(model.to_owned()),
        "IMAGE_MODELS" => Some(models.join(",")),
        name => {
            let set = more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            set.or_else(|| user::variable(name))
        }
    };
    Arc::new(App::from_env(&get).with_local_links())
}

async fn simulator() -> RunningServer {
    let options =
        image_api::ImageApiOptions { key: KEY.into(), shape: Shape::Deltas, speed: f64::INFINITY, log: false };
    dev::start(image_api::routes(options)).await.unwrap()
}

fn post(path: &str, body: &Value) -> Request<Bytes> {
    let request = Request::post(path).header("content-type", "application/json");
    request.header("authorization", user::bearer()).body(body.to_string().into()).unwrap()
}

async fn ask(app: &Arc<App>, path: &str, body: &Value) -> Reply {
    Reply::read(handle(app.clone(), post(path, body)).await).await
}

/// Hash of what a link leads to, followed as a browser would.
async fn fetched(url: &str) -> String {
    let answer = reqwest::get(url).await.unwrap().error_for_status().unwrap();
    hash(&answer.bytes().await.unwrap())
}

/// What the pictures of an answer must be.
fn expected(shape: Shape, prompt: &str) -> Vec<String> {
    let mut expected = vec![image_api::picture_for(prompt).sha256];
    if TWO.contains(&shape) {
        expected.push(draw(prompt, 1, PictureFormat::Png, 1024, 1024).sha256);
    }
    expected
}

/// The final pictures of typed events. Their bytes have the hashes of the events.
fn finals(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.ending(), "done");
    let whole: Vec<_> = pictures(&reply.events()).iter().map(|(_, bytes)| hash(bytes)).collect();
    let finals = reply.last()["images"].as_array().unwrap().clone();
    for hash in finals.iter().filter_map(|image| image["sha256"].as_str()) {
        assert!(whole.iter().any(|whole| whole == hash), "a final picture was delivered");
    }
    finals
}

#[tokio::test]
async fn every_shape_in_chat_mode_as_events_and_whole() {
    let upstream = simulator().await;
    let app = app(&upstream.url(""), "chat");
    for &shape in Shape::ALL {
        let prompt = format!("a {shape}");
        let body = json!({"prompt": prompt, "format": "events", "model": format!("{MODEL}@{shape}")});
        let mut expected = expected(shape, &prompt);
        let images = finals(&ask(&app, STREAM, &body).await);
        let whole: Value = ask(&app, IMAGE, &body).await.last();
        let mut found = Vec::new();
        let mut found_whole = Vec::new();
        for image in &images {
            found.push(match image["url"].as_str() {
                Some(url) => fetched(url).await,
                None => image["sha256"].as_str().unwrap().to_owned(),
            });
        }
        for image in whole["data"].as_array().unwrap() {
            found_whole.push(match image["url"].as_str() {
                Some(url) => fetched(url).await,
                None => hash(&STANDARD.decode(image["b64_json"].as_str().unwrap()).unwrap()),
            });
        }
        assert_eq!(images.iter().all(|image| image["url"].is_string()), LINKS.contains(&shape), "{shape}");
        if shape == Shape::Several {
            // Both in one slot: the last is the final one.
            expected.remove(0);
        }
        assert_eq!(found, expected, "{shape}");
        assert_eq!(found_whole, expected, "{shape}, whole");
    }
}

/// What an older frontend finds, on every shape.
#[tokio::test]
async fn every_shape_as_chat_chunks() {
    let upstream = simulator().await;
    let app = app(&upstream.url(""), "chat");
    for &shape in Shape::ALL {
        let prompt = format!("a {shape}");
        let reply = ask(&app, STREAM, &json!({"prompt": prompt, "model": format!("{MODEL}@{shape}")})).await;
        assert_eq!(reply.ending(), "[DONE]", "{shape}");
        let content = content(&reply.events());
        let expected = expected(shape, &prompt);
        if LINKS.contains(&shape) {
            let (_, link) = content.split_once("![image](http").unwrap();
            let url = format!("http{}", link.split_once(')').unwrap().0);
            assert_eq!(fetched(&url).await, expected[0], "{shape}");
            continue;
        }
        let picture = |payload: &str| {
            let payload: String = payload.chars().filter(|symbol| !symbol.is_whitespace()).collect();
            hash(&STANDARD.decode(payload).unwrap())
        };
        // As the documented expression does, which takes its time for pictures of this size.
        let found =
            content.split("![image](data:").skip(1).filter_map(|rest| rest.split(')').next()?.split_once("base64,"));
        let all: Vec<_> = found.map(|(_, payload)| picture(payload)).collect();
        // Two unmarked pictures of one slot: the later one is final.
        let expected = if shape == Shape::Several { &expected[1..] } else { &expected[..] };
        assert_eq!(all, expected, "{shape}");
    }
}

#[tokio::test]
async fn each_mode_sends_its_vendors_request() {
    let variable = VARIABLES.iter().find(|variable| variable.name == "IMAGE_API_MODE").unwrap();
    assert!(matches!(variable.values, AllowedValues::OneOf(modes) if modes == MODES.map(|(mode, _)| mode)));
    let upstream = simulator().await;
    let png = STANDARD.encode(draw("reference", 0, PictureFormat::Png, 64, 64).bytes);
    let jpeg = STANDARD.encode(draw("reference", 1, PictureFormat::Jpeg, 64, 64).bytes);
    let (png, jpeg) = (format!("data:image/png;base64,{png}"), format!("data:image/JPG;base64,{jpeg}"));
    for (mode, _) in MODES {
        let app = app(&upstream.url(""), mode);
        for images in [vec![], vec![&png], vec![&jpeg, &png], vec![&png, &jpeg, &png]] {
            // The simulators answer 400 to all but the one right request.
            let body = json!({"prompt": "x", "format": "events", "image_inputs": images, "n": 2});
            let images = finals(&ask(&app, STREAM, &body).await);
            assert_eq!(images.len(), 2, "{mode}");
            for image in images {
                assert_eq!(image["sha256"], image_api::picture_for("x").sha256, "{mode}");
            }
        }
    }
}

/// The simulators draw in the shape that they are asked for, and answer 400 to all but the one right form of it.
#[tokio::test]
async fn an_aspect_ratio_reaches_the_upstream_of_each_mode() {
    let upstream = simulator().await;
    let png = STANDARD.encode(draw("reference", 0, PictureFormat::Png, 64, 64).bytes);
    let reference = format!("data:image/png;base64,{png}");
    for (mode, _) in MODES {
        let app = app(&upstream.url(""), mode);
        for ratio in ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"] {
            let (width, height) = ratio.split_once(':').unwrap();
            let asked = width.parse::<f64>().unwrap() / height.parse::<f64>().unwrap();
            for inputs in [vec![], vec![&reference]] {
                let body = json!({"prompt": "x", "format": "events", "aspect_ratio": ratio, "image_inputs": inputs});
                let images = finals(&ask(&app, STREAM, &body).await);
                let [width, height] = ["width", "height"].map(|side| images[0][side].as_f64().unwrap());
                // OpenAI's sizes for models that are not known: 1:1, 3:2 and 2:3.
                let made = match mode {
                    "images" if asked == 1.0 => 1.0,
                    "images" if asked > 1.0 => 1.5,
                    "images" => 1.0 / 1.5,
                    _ => asked,
                };
                assert!((width / height / made - 1.0).abs() < 0.04, "{mode} {ratio}: {width}x{height}");
            }
        }
    }
}

/// What the upstream is sent for a request. Its headers are right.
async fn sent(mode: &str, body: &Value) -> ReceivedRequest {
    sent_with(mode, MODEL, &[], IMAGE, body).await
}

async fn sent_with(mode: &str, model: &str, more: &[(&str, &str)], path: &str, body: &Value) -> ReceivedRequest {
    let (router, seen) = transcript::routes(Transcript::events("data: [DONE]\n\n"));
    let upstream = dev::start(router).await.unwrap();
    let reply = ask(&app_with(&upstream.url(""), mode, model, more), path, body).await;
    let [asked] = <[ReceivedRequest; 1]>::try_from(seen.received()).unwrap();
    let bearer = format!("Bearer {KEY}");
    let (is_gemini, request_id) = (mode == "gemini", reply.header("x-request-id"));
    for (name, value) in [
        ("authorization", (!is_gemini).then_some(bearer.as_str())),
        ("x-goog-api-key", is_gemini.then_some(KEY)),
        ("accept", Some("text/event-stream")),
        ("accept-encoding", Some("identity")),
        ("x-client-request-id", request_id),
    ] {
        assert_eq!(asked.headers.get(name).map(|value| value.to_str().unwrap()), value, "{mode}: {name}");
    }
    asked
}

/// Vendors ignore what they do not know, and charge all the same.
#[tokio::test]
async fn the_request_to_the_upstream_is_exact() {
    // As long as a prompt may be, in a script of three bytes a character.
    let (prompt, model) = ("长".repeat(4000), format!("{MODEL}@whole"));
    let [png, jpeg] =
        [PictureFormat::Png, PictureFormat::Jpeg].map(|format| draw("reference", 0, format, 32, 32).bytes);
    let [png64, jpeg64] = [&png, &jpeg].map(|bytes| STANDARD.encode(bytes));
    let (png_url, jpeg_url) = (format!("data:image/png;base64,{png64}"), format!("data:image/jpeg;base64,{jpeg64}"));
    let jpg = jpeg_url.replace("jpeg", "JPG");
    let asked = |images: &[&str]| json!({"prompt": format!(" {prompt}\n"), "model": model, "image_inputs": images});

    let alone = json!({"prompt": "x", "model": null, "image_inputs": null, "n": null, "format": null});
    let chat = serde_json::from_slice::<Value>(&sent("chat", &alone).await.body).unwrap();
    let text = json!([{"type": "text", "text": "x"}]);
    assert_eq!((&chat["model"], &chat["messages"][0]["content"]), (&json!(MODEL), &text));

    let chat = sent("chat", &asked(&[&jpg, "https://EXAMPLE.com/a.png#part", &png_url])).await;
    assert_eq!(chat.path, "/v1/chat/completions");
    let picture = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let text = json!({"type": "text", "text": prompt});
    let content = [text, picture(&jpeg_url), picture("https://example.com/a.png"), picture(&png_url)];
    let expected = json!({
        "model": model, "stream": true, "stream_options": {"include_usage": true}, "modalities": ["text", "image"],
        "messages": [{"role": "user", "content": content}],
    });
    assert_eq!(serde_json::from_slice::<Value>(&chat.body).unwrap(), expected);

    let gemini = sent("gemini", &asked(&[&jpg, &png_url])).await;
    assert_eq!(gemini.path, format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"));
    let picture = |kind: &str, data: &str| json!({"inlineData": {"mimeType": kind, "data": data}});
    let expected = json!({
        "contents": [{
            "role": "user",
            "parts": [{"text": prompt}, picture("image/jpeg", &jpeg64), picture("image/png", &png64)],
        }],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
    });
    assert_eq!(serde_json::from_slice::<Value>(&gemini.body).unwrap(), expected);

    let ratio = json!({"prompt": "x", "aspect_ratio": "9:16"});
    let chat = serde_json::from_slice::<Value>(&sent("chat", &ratio).await.body).unwrap();
    assert_eq!(chat["extra_body"], json!({"google": {"image_config": {"aspect_ratio": "9:16"}}}));
    let gemini = serde_json::from_slice::<Value>(&sent("gemini", &ratio).await.body).unwrap();
    let expected = json!({"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "9:16"}});
    assert_eq!(gemini["generationConfig"], expected);
    let images = serde_json::from_slice::<Value>(&sent("images", &ratio).await.body).unwrap();
    assert_eq!(images, json!({"model": MODEL, "prompt": "x", "n": 1, "size": "1024x1536"}));

    let images = sent("images", &asked(&[])).await;
    assert_eq!(images.path, "/v1/images/generations");
    let expected = json!({"model": model, "prompt": prompt, "n": 1});
    assert_eq!(serde_json::from_slice::<Value>(&images.body).unwrap(), expected);

    let two: &[(&str, &str, &[u8])] = &[("image[]", "image-1.jpeg", &jpeg), ("image[]", "image-2.png", &png)];
    for (inputs, files) in [(&[&*png_url][..], &[("image", "image-1.png", &*png)][..]), (&[&jpg, &png_url], two)] {
        let edit = sent("images", &asked(inputs)).await;
        assert_eq!(edit.path, "/v1/images/edits");
        let content_type = edit.headers["content-type"].to_str().unwrap();
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let begin = |name: &str| format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"");
        let mut form = Vec::new();
        for (name, value) in [("model", model.as_str()), ("prompt", &prompt), ("n", "1")] {
            form.extend(format!("{}\r\n\r\n{value}\r\n", begin(name)).bytes());
        }
        for (field, name, bytes) in files {
            let kind = name.split_once('.').unwrap().1;
            let head = format!("{}; filename=\"{name}\"\r\nContent-Type: image/{kind}\r\n\r\n", begin(field));
            form.extend([head.as_bytes(), bytes, b"\r\n"].concat());
        }
        form.extend(format!("--{boundary}--\r\n").bytes());
        assert_eq!(String::from_utf8_lossy(&edit.body), String::from_utf8_lossy(&form));
    }
}

/// The members of a request in mode `images` and `chat` that a model decides.
#[tokio::test]
async fn each_model_is_sent_what_it_takes() {
    let png = STANDARD.encode(draw("reference", 0, PictureFormat::Png, 32, 32).bytes);
    let inputs = json!([format!("data:image/png;base64,{png}")]);
    let previews = [("IMAGE_PARTIAL_IMAGES", "2")];
    let gpt = json!({"stream": true, "partial_images": 2});
    for (model, path, as_links, settings, extra) in [
        ("gpt-image-2", STREAM, false, &previews[..], &gpt),
        ("openai/gpt-image-1.5-2025-12-16", STREAM, false, &previews, &gpt),
        // Kept nowhere, so the pictures are delivered with their previews.
        ("gpt-image-2", STREAM, true, &previews, &gpt),
        ("gpt-image-2", IMAGE, false, &previews, &json!({"stream": true})),
        ("gpt-image-2", STREAM, false, &[], &json!({"stream": true})),
        ("dall-e-3", STREAM, false, &previews, &json!({"response_format": "b64_json"})),
        ("dall-e-2", IMAGE, false, &previews, &json!({"response_format": "b64_json"})),
        ("a-new-model", STREAM, false, &previews, &json!({})),
        ("gemini-3-pro-image", STREAM, false, &previews, &json!({})),
        ("doubao-seedream-5-0-pro-260628", STREAM, false, &previews, &json!({})),
        ("doubao-seedream-4-5-251128", STREAM, false, &previews, &json!({"stream": true})),
    ] {
        let delivery = if as_links { "url" } else { "inline" };
        let mut body = json!({"prompt": "x", "model": model, "format": "events", "delivery": delivery});
        let mut expected = json!({"model": model, "prompt": "x", "n": 1});
        expected.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let asked = sent_with("images", model, settings, path, &body).await;
        assert_eq!(serde_json::from_slice::<Value>(&asked.body).unwrap(), expected, "{model} {path}");

        body["image_inputs"] = inputs.clone();
        let asked = sent_with("images", model, settings, path, &body).await;
        let form = String::from_utf8_lossy(&asked.body).into_owned();
        let fields: Value = form
            .split("form-data; name=\"")
            .skip(1)
            .filter_map(|part| part.split_once("\"\r\n\r\n"))
            .map(|(name, value)| (name.to_owned(), json!(value.split("\r\n").next().unwrap())))
            .collect::<serde_json::Map<_, _>>()
            .into();
        for (name, value) in expected.as_object().unwrap() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(fields[name], text, "{model} {path}");
        }
        assert_eq!(fields.as_object().unwrap().len(), expected.as_object().unwrap().len(), "{model}: {fields}");
    }
    for (model, modalities) in [
        (MODEL, json!(["text", "image"])),
        ("a-new-model", json!(["text", "image"])),
        ("black-forest-labs/flux.2-pro", json!(["image"])),
        ("bytedance-seed/seedream-4.5", json!(["image"])),
        ("gpt-image-2", json!(["image"])),
    ] {
        let asked = sent_with("chat", model, &[], STREAM, &json!({"prompt": "x"})).await;
        let asked: Value = serde_json::from_slice(&asked.body).unwrap();
        assert_eq!((&asked["modalities"], &asked["stream"]), (&modalities, &json!(true)), "{model}");
    }
}

/// Previews are drafts of the `events` format, and the simulator makes them only for those who ask.
#[tokio::test]
async fn previews_are_requested_where_the_response_shows_them() {
    let upstream = simulator().await;
    for (previews, drafts) in [("0", 0), ("1", 1)] {
        let app = app_with(&upstream.url(""), "images", "gpt-image-2", &[("IMAGE_PARTIAL_IMAGES", previews)]);
        let events = ask(&app, STREAM, &json!({"prompt": "x", "format": "events"})).await;
        assert_eq!(finals(&events)[0]["sha256"], image_api::picture_for("x").sha256);
        let starts = events.events().into_iter().filter(|event| event.name == "image.start");
        assert_eq!(starts.filter(|event| event.data.contains("\"draft\":true")).count(), drafts);
        let chat = ask(&app, STREAM, &json!({"prompt": "x"})).await;
        assert_eq!(content(&chat.events()).matches("![image](data:").count(), 1);
    }
}

#[tokio::test]
async fn every_mode_reads_the_answers_of_the_others() {
    let upstream = simulator().await;
    for (mode, _) in MODES {
        let app = app(&upstream.url(""), mode);
        for shape in [Shape::Deltas, Shape::Images, Shape::Json, Shape::ImagesStream, Shape::Gemini, Shape::Responses] {
            let body = json!({"prompt": "x", "format": "events", "model": format!("{MODEL}@{shape}")});
            let images = finals(&ask(&app, STREAM, &body).await);
            assert_eq!(images[0]["sha256"], image_api::picture_for("x").sha256, "{mode} {shape}");
        }
    }
}

#[tokio::test]
async fn links_are_for_chat_mode_only() {
    let upstream = simulator().await;
    let body = json!({"prompt": "x", "image_inputs": ["https://example.com/a.png"]});
    for (mode, _) in MODES {
        let reply = ask(&app(&upstream.url(""), mode), IMAGE, &body).await;
        if mode == "chat" {
            assert_eq!(reply.status, 200);
            continue;
        }
        let problem = reply.last();
        assert_eq!((reply.status, problem["code"].as_str()), (400, Some("invalid_image")));
        assert!(problem["detail"].as_str().unwrap().contains(mode), "{problem}");
    }
}
