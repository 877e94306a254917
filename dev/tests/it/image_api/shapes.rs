//! Every shape, as it is on the wire: valid in its own protocol, and with the picture that belongs to the prompt.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dev::picture::{PictureFormat, draw};
use dev::{RunningServer, Shape};
use serde_json::Value;

use super::{KEY, PROMPT, chat_request, decoded, post, relay};

/// What an answer holds, in the order in which it came.
#[derive(Clone, Copy)]
enum Expected {
    Draft(u32),
    Picture,
    Further,
}
use Expected::{Draft, Further, Picture};

const DRAFTED: &[Expected] = &[Draft(256), Draft(512), Picture];

/// An answer of the chat route.
struct Answer {
    shape: Shape,
    relay: RunningServer,
    media_type: String,
    body: String,
}

async fn answer(shape: Shape) -> Answer {
    let relay = relay(Shape::Deltas).await;
    let key = format!("Bearer {KEY}");
    let request = chat_request(&format!("google/m@{shape}"));
    let answer = post(&relay, "/v1/chat/completions", ("authorization", &key), &request).await;
    assert_eq!(answer.status(), 200, "{shape}");
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    Answer { shape, relay, media_type, body: answer.text().await.unwrap() }
}

#[tokio::test]
async fn every_shape_holds_the_picture_of_the_prompt() {
    for &shape in Shape::ALL {
        let answer = answer(shape).await;
        let (found, expected) = match shape {
            Shape::Json => (json(&answer), &[Picture][..]),
            Shape::Drafts | Shape::Previews => (chat(&answer), DRAFTED),
            Shape::Twice => (chat(&answer), &[Picture, Picture][..]),
            Shape::Both => (chat(&answer), &[Picture, Picture][..]),
            Shape::Several | Shape::Choices => (chat(&answer), &[Picture, Further][..]),
            Shape::Link => (linked(&answer, &chat_text(&answer, 0), 1).await, &[Picture][..]),
            Shape::Progress => (linked(&answer, &chat_text(&answer, 0), 2).await, &[Picture, Picture][..]),
            Shape::ImagesStream => (images_stream(&answer), DRAFTED),
            Shape::ImagesJson => (images_json(&answer), &[Picture][..]),
            Shape::ImagesUrl => (linked(&answer, &answer.body, 1).await, &[Picture][..]),
            Shape::Gemini | Shape::GeminiSnake => (gemini(&answer), &[Picture][..]),
            Shape::GeminiDrafts => (gemini(&answer), DRAFTED),
            Shape::GeminiFile => (linked(&answer, &gemini_file(&answer), 1).await, &[Picture][..]),
            Shape::Responses => (responses(&answer), &[Draft(512), Picture, Picture][..]),
            _ => (chat(&answer), &[Picture][..]),
        };
        assert_eq!(found.len(), expected.len(), "{shape}");
        for (found, expected) in found.iter().zip(expected) {
            let (variant, side) = match expected {
                Draft(side) => (0, *side),
                Picture => (0, 1024),
                Further => (1, 1024),
            };
            assert!(
                *found == draw(PROMPT, variant, PictureFormat::Png, side, side).bytes,
                "{shape} sent another picture"
            );
        }
    }
}

#[tokio::test]
async fn each_shape_has_its_form_on_the_wire() {
    let has = async |shape, texts: &[&str]| {
        let answer = answer(shape).await;
        for text in texts {
            assert!(answer.body.contains(text), "{shape} has no {text}");
        }
        answer.body
    };
    let alt = has(Shape::Alt, &["\\u7ed9\\u4f60\\uff01\\n\\n![gemini-generated-content](data:"]).await;
    assert!(alt.is_ascii());
    let escaped =
        has(Shape::Escaped, &["data:image\\/png;base64,", "\\u002B", "\"model\":\"google\\/m@escaped\""]).await;
    assert!(!escaped.contains('+'));
    has(Shape::Wrapped, &["![image](data: image/png; base64,\\niVBOR", "\\n)"]).await;
    has(Shape::UploadFailed, &["(image upload err)\",\"image\":[{\"data\":\"iVBOR"]).await;
    has(Shape::Progress, &["```json\\n", "进度 42..", "![gen_", "[点击下载](http://127.0.0.1:"]).await;
    has(
        Shape::Images,
        &[": OPENROUTER PROCESSING\n\n", "\"images\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:"],
    )
    .await;
    has(
        Shape::LiteLlm,
        &[
            "\"images\":[{\"image_url\":{\"url\":\"data:",
            "\",\"detail\":\"auto\"},\"index\":0,\"type\":\"image_url\"}]",
        ],
    )
    .await;
    let nulls = "\"content\":null,\"reasoning_content\":null,\"tool_calls\":null,\"images\":[";
    let previews = has(Shape::Previews, &[nulls, "\"native_finish_reason\":null"]).await;
    assert_eq!(previews.matches("},\"index\":0}]").count(), 3);
    has(Shape::Parts, &["\"model\":\"gemini\"", "\"content\":[{\"type\":\"text\",\"text\":"]).await;
    let crlf = has(Shape::Crlf, &["\r\n\r\n: ping - "]).await;
    assert_eq!(crlf.matches('\n').count(), crlf.matches("\r\n").count());
    assert!(has(Shape::Json, &["\"object\":\"chat.completion\""]).await.starts_with("\n\n\n{"));
    has(Shape::GeminiDrafts, &["{\"text\":\"构思画面。\",\"thought\":true}", "},\"thoughtSignature\":\"QUJD\"}"]).await;
    let interleaved = has(Shape::Choices, &["\"index\":1"]).await;
    let (first, last) = (interleaved.find("\"index\":1").unwrap(), interleaved.rfind("\"index\":0").unwrap());
    assert!(first < last, "the choices do not come in turns");
}

#[tokio::test]
async fn a_file_name_that_was_not_issued_is_not_found() {
    let relay = relay(Shape::Deltas).await;
    for path in ["/image-files/picture.png", "/image-files/download/picture.png"] {
        assert_eq!(reqwest::get(relay.url(path)).await.unwrap().status(), 404);
    }
}

/// The data of all events, without comments; fails where the framing is not that of the shape.
fn events(answer: &Answer) -> Vec<(Option<&str>, &str)> {
    let Answer { shape, media_type, body, .. } = answer;
    assert_eq!(media_type, "text/event-stream", "{shape}");
    let crlf = matches!(shape, Shape::Crlf | Shape::Gemini | Shape::GeminiDrafts | Shape::GeminiFile);
    let (line, blank) = if crlf { ("\r\n", "\r\n\r\n") } else { ("\n", "\n\n") };
    assert!(body.ends_with(blank), "{shape} has no end");
    let events = body.strip_suffix(blank).unwrap().split(blank);
    let events = events.filter(|event| !event.starts_with(": "));
    events
        .map(|event| match event.split_once(line) {
            Some((name, data)) => (Some(name.strip_prefix("event: ").unwrap()), data.strip_prefix("data: ").unwrap()),
            None => (None, event.strip_prefix("data: ").unwrap()),
        })
        .collect()
}

/// The chunks of a chat stream; fails unless `[DONE]` ends it.
fn chunks(answer: &Answer) -> Vec<Value> {
    let mut events = events(answer);
    assert_eq!(events.pop(), Some((None, "[DONE]")), "{}", answer.shape);
    let chunks = events.into_iter().map(|(name, data)| {
        assert_eq!(name, None);
        serde_json::from_str::<Value>(data).unwrap()
    });
    let chunks: Vec<_> = chunks.collect();
    for chunk in &chunks {
        // gcli2api's heartbeat has no other content.
        if answer.shape == Shape::Alt && chunk.as_object().unwrap().len() == 1 {
            continue;
        }
        let object =
            if chunk["choices"][0]["message"].is_object() { "chat.completion" } else { "chat.completion.chunk" };
        assert_eq!(chunk["object"], object, "{}", answer.shape);
        assert!(chunk["id"].is_string() && chunk["created"].is_u64() && chunk["model"].is_string());
        assert!(chunk["choices"].is_array());
    }
    chunks
}

/// What all deltas of a choice say.
fn chat_text(answer: &Answer, index: u64) -> String {
    let mut text = String::new();
    for chunk in chunks(answer) {
        for choice in chunk["choices"].as_array().unwrap().iter().filter(|choice| choice["index"] == index) {
            let content =
                if choice["message"].is_object() { &choice["message"]["content"] } else { &choice["delta"]["content"] };
            text += content.as_str().unwrap_or_default();
        }
    }
    text
}

/// All pictures of a chat stream, those of the text first.
fn chat(answer: &Answer) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for index in 0..2 {
        let text = chat_text(answer, index);
        match answer.shape {
            Shape::Alt => found.extend(markdown(&text, "![gemini-generated-content](data:image/png;base64,")),
            Shape::Mislabelled => found.extend(markdown(&text, "![image](data:image/jpeg;base64,")),
            Shape::Wrapped => {
                let text: String = text.chars().filter(|char| !char.is_whitespace()).collect();
                found.extend(markdown(&text, "![image](data:image/png;base64,"));
            }
            Shape::UrlSafe if index == 0 => {
                let payload = text.split_once("![image](data:image/png;base64,").unwrap().1.strip_suffix(')').unwrap();
                assert!(!payload.contains(['+', '/', '=']));
                found.push(URL_SAFE_NO_PAD.decode(payload).unwrap());
            }
            Shape::Unclosed if index == 0 => {
                found.push(decoded(text.split_once("![image](data:image/png;base64,").unwrap().1));
            }
            Shape::DataUrl if index == 0 => found.push(decoded(text.strip_prefix("data:image/png;base64,").unwrap())),
            Shape::Base64 if index == 0 => found.push(decoded(&text)),
            _ => found.extend(markdown(&text, "![image](data:image/png;base64,")),
        }
    }
    for chunk in chunks(answer) {
        let delta = &chunk["choices"][0]["delta"];
        let list = |member: &Value| member.as_array().cloned().unwrap_or_default();
        found.extend(list(&delta["images"]).iter().map(|item| match item["b64_json"].as_str() {
            Some(base64) => decoded(base64),
            None => data_url(&item["image_url"]["url"]),
        }));
        found.extend(list(&delta["image"]).iter().map(|item| decoded(item["data"].as_str().unwrap())));
        let parts = list(&delta["content"]);
        found.extend(
            parts.iter().filter(|part| part["type"] == "image_url").map(|part| data_url(&part["image_url"]["url"])),
        );
    }
    found
}

fn json(answer: &Answer) -> Vec<Vec<u8>> {
    assert_eq!(answer.media_type, "application/json");
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    let message = &told["choices"][0]["message"];
    assert_eq!((&told["object"], &message["role"]), (&"chat.completion".into(), &"assistant".into()));
    message["images"].as_array().unwrap().iter().map(|item| data_url(&item["image_url"]["url"])).collect()
}

fn images_stream(answer: &Answer) -> Vec<Vec<u8>> {
    let events = events(answer);
    let told = events.iter().map(|(name, data)| {
        let told: Value = serde_json::from_str(data).unwrap();
        assert_eq!(told["type"], name.unwrap());
        assert!(told["created_at"].is_u64());
        told
    });
    let told: Vec<_> = told.collect();
    let [first, second, last] = <&[Value; 3]>::try_from(told.as_slice()).unwrap();
    assert_eq!([&first["type"], &second["type"]], ["image_generation.partial_image"; 2]);
    assert_eq!((&first["partial_image_index"], &second["partial_image_index"]), (&0.into(), &1.into()));
    assert_eq!(last["type"], "image_generation.completed");
    assert!(last["usage"]["total_tokens"].is_u64());
    told.iter().map(|event| decoded(event["b64_json"].as_str().unwrap())).collect()
}

fn images_json(answer: &Answer) -> Vec<Vec<u8>> {
    assert_eq!(answer.media_type, "application/json");
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    assert!(told["created"].is_u64() && told["usage"]["output_tokens"].is_u64());
    told["data"].as_array().unwrap().iter().map(|item| decoded(item["b64_json"].as_str().unwrap())).collect()
}

/// The parts of a Gemini stream; fails unless its last finish reason is STOP.
fn gemini_parts(answer: &Answer) -> Vec<Value> {
    let events = events(answer);
    let told: Vec<_> = events.iter().map(|(_, data)| serde_json::from_str::<Value>(data).unwrap()).collect();
    let reasons: Vec<_> = told.iter().map(|event| event["candidates"][0]["finishReason"].as_str()).collect();
    assert_eq!(reasons.iter().position(|reason| *reason == Some("STOP")), Some(told.len() - 1));
    told.iter().flat_map(|event| event["candidates"][0]["content"]["parts"].as_array().unwrap().clone()).collect()
}

fn gemini(answer: &Answer) -> Vec<Vec<u8>> {
    let (data, media_type) = match answer.shape {
        Shape::GeminiSnake => ("inline_data", "mime_type"),
        _ => ("inlineData", "mimeType"),
    };
    let parts: Vec<_> = gemini_parts(answer).into_iter().filter(|part| part[data].is_object()).collect();
    let (last, before) = parts.split_last().unwrap();
    assert!(before.iter().all(|part| part["thought"] == true) && last["thought"].is_null());
    assert!(parts.iter().all(|part| part[data][media_type] == "image/png"));
    parts.iter().map(|part| decoded(part[data]["data"].as_str().unwrap())).collect()
}

fn gemini_file(answer: &Answer) -> String {
    let files: Vec<_> = gemini_parts(answer).into_iter().filter(|part| part["fileData"].is_object()).collect();
    let [file] = <&[Value; 1]>::try_from(files.as_slice()).unwrap();
    assert_eq!(file["fileData"]["mimeType"], "image/png");
    file["fileData"]["fileUri"].as_str().unwrap().to_owned()
}

/// The partial image, the item that is done and the item of the whole response.
fn responses(answer: &Answer) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let events = events(answer);
    for (number, (name, data)) in events.iter().enumerate() {
        let told: Value = serde_json::from_str(data).unwrap();
        assert_eq!((told["type"].as_str(), &told["sequence_number"]), (*name, &number.into()));
        let pictures = [&told["partial_image_b64"], &told["item"]["result"], &told["response"]["output"][0]["result"]];
        found.extend(pictures.iter().filter_map(|picture| picture.as_str()).map(decoded));
    }
    let call = "response.image_generation_call";
    let names: Vec<_> = events.iter().filter_map(|(name, _)| *name).collect();
    let expected = [
        "response.created",
        "response.output_item.added",
        &format!("{call}.in_progress"),
        &format!("{call}.generating"),
        &format!("{call}.partial_image"),
        &format!("{call}.completed"),
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names, expected);
    found
}

/// The pictures behind all links of a text that lead to the relay.
async fn linked(answer: &Answer, text: &str, expected: usize) -> Vec<Vec<u8>> {
    let start = answer.relay.url("/image-files/");
    let links = text.match_indices(&start).map(|(at, _)| text[at..].split([')', '"']).next().unwrap());
    let links: Vec<_> = links.collect();
    assert_eq!(links.len(), expected, "{}", answer.shape);
    let mut found = Vec::new();
    for link in links {
        let file = reqwest::get(link).await.unwrap();
        assert_eq!((file.status().as_u16(), &file.headers()["content-type"]), (200, &"image/png".parse().unwrap()));
        assert_eq!(file.headers().contains_key("content-disposition"), link.contains("/download/"));
        found.push(file.bytes().await.unwrap().into());
    }
    found
}

/// The pictures of all Markdown images that begin like this.
fn markdown(text: &str, start: &str) -> Vec<Vec<u8>> {
    text.split(start).skip(1).map(|rest| decoded(rest.split_once(')').unwrap().0)).collect()
}

fn data_url(url: &Value) -> Vec<u8> {
    STANDARD.decode(url.as_str().unwrap().strip_prefix("data:image/png;base64,").unwrap()).unwrap()
}
