//! The chat route.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::drawings::Drawings;
use dev::image_api::{ImageApiOptions, picture_for, routes, routes_that_vary};
use dev::picture::{PictureFormat, draw};
use dev::{RunningServer, Shape, start};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{KEY, PNG, PROMPT, chat_request as request, options, relay};

#[tokio::test]
async fn deltas_cut_the_markdown_as_the_documented_relay_does() {
    let events = events_of(request("gemini-2.5-flash-image")).await;
    let contents = contents(&events);
    let bang = contents.iter().position(|content| content == "!").unwrap();
    assert_eq!(contents[..bang].concat(), "好的，正在为你生成图片…\n\n");
    assert_eq!(contents[bang + 1], "[image");
    assert!(contents[bang + 2].starts_with("](data:image/png;base64,iVBOR"));
    assert_eq!(contents[contents.len() - 1], ")");
    assert!(contents[bang + 3..].iter().all(|content| content.len() <= 16 * 1024));
    assert_drawn(&contents[bang..].concat());
}

#[tokio::test]
async fn whole_sends_the_markdown_as_one_chunk() {
    let events = events_of(request("gemini-2.5-flash-image@whole")).await;
    let contents = contents(&events);
    assert_drawn(&contents[contents.len() - 1]);
}

#[tokio::test]
async fn the_option_chooses_the_shape_for_a_bare_model() {
    let relay = relay(Shape::Whole).await;
    let body = ask(&relay, KEY, &request("gemini-2.5-flash-image")).await.text().await.unwrap();
    assert!(body.contains(r#""content":"![image](data:image/png;base64,iVBOR"#));
}

#[tokio::test]
async fn the_frame_around_the_picture_is_that_of_new_api() {
    let events = events_of(request("gemini-2.5-flash-image@whole")).await;
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    let (id, created) = (&first["id"], &first["created"]);
    let chunk = |rest: &str| {
        format!(
            "{{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\
             \"model\":\"gemini-2.5-flash-image@whole\",\"system_fingerprint\":null,{rest}}}"
        )
    };
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"));
    let role = r#""choices":[{"delta":{"content":"","role":"assistant"},"logprobs":null,"finish_reason":null,"index":0}],"usage":null"#;
    assert_eq!(events[0], chunk(role));
    let [.., stop, usage, done] = events.as_slice() else { panic!("too short") };
    let stopped = r#""choices":[{"delta":{},"logprobs":null,"finish_reason":"stop","index":0}],"usage":null"#;
    assert_eq!(*stop, chunk(stopped));
    let tokens = PROMPT.chars().count();
    let counted = format!(
        "\"choices\":[],\"usage\":{{\"prompt_tokens\":{tokens},\"completion_tokens\":1290,\
         \"total_tokens\":{}}}",
        tokens + 1290
    );
    assert_eq!(*usage, chunk(&counted));
    assert_eq!(done, "[DONE]");
}

#[tokio::test]
async fn the_head_is_that_of_new_api() {
    let relay = relay(Shape::Deltas).await;
    let answer = ask(&relay, KEY, &request("m")).await;
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(answer.status(), 200);
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-cache");
    assert_eq!(header("x-accel-buffering"), "no");
    assert_eq!(header("transfer-encoding"), "chunked");
}

#[tokio::test]
async fn at_speed_1_the_role_comes_at_once_and_the_picture_takes_its_time() {
    let options = ImageApiOptions { speed: 1.0, ..options(Shape::Whole) };
    let relay = start(routes(options)).await.unwrap();
    let mut answer = ask(&relay, KEY, &request("m")).await;
    let first = timeout(Duration::from_millis(300), answer.chunk()).await;
    let first = first.unwrap().unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("\"role\":\"assistant\""));
    let rest = timeout(Duration::from_secs(1), answer.bytes()).await;
    assert!(rest.is_err(), "nothing was paced");
}

#[tokio::test]
async fn with_variation_a_repeated_prompt_gets_the_next_picture() {
    let relay = start(routes_that_vary(options(Shape::Whole), Drawings::default())).await.unwrap();
    let mut another = request("m");
    another["messages"][0]["content"][0]["text"] = json!("another");
    for (body, prompt, variant) in [
        (request("m"), PROMPT, 0),
        (request("m"), PROMPT, 1),
        (another, "another", 0),
        (request("m@link"), PROMPT, 2),
        (request("m@several"), PROMPT, 3),
        (request("m"), PROMPT, 5),
    ] {
        let mut said = ask(&relay, KEY, &body).await.text().await.unwrap();
        if let Some((_, link)) = said.split_once("![one-hub-gemini-image](") {
            let file = reqwest::get(link.split_once(')').unwrap().0).await.unwrap().bytes().await.unwrap();
            said = STANDARD.encode(file);
        }
        let expected = STANDARD.encode(draw(prompt, variant, PictureFormat::Png, 1024, 1024).bytes);
        assert!(said.contains(&expected), "picture {variant} for {prompt}");
    }
}

#[tokio::test]
async fn input_images_are_counted_and_checked() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let with = |urls: &[&str]| {
        let mut body = request("m@whole");
        let content = body["messages"][0]["content"].as_array_mut().unwrap();
        content.extend(urls.iter().map(|url| image(url)));
        body
    };
    let png = format!("data:image/png;base64,{}", STANDARD.encode(PNG));
    let relabelled = png.replace("png", "jpeg");
    let link = "https://example.com/1.jpg";

    let events = events_of(with(&[&png, link])).await;
    assert!(contents(&events).concat().contains("参考 2 张图片"));
    let refused: [&[&str]; 5] = [
        &[link, link, link, link],
        &["http://example.com/1.jpg"],
        &["data:image/png;base64,@@@"],
        &[&relabelled],
        &["data:image/gif;base64,R0lGODlh"],
    ];
    for urls in refused {
        assert_refused(&with(urls)).await;
    }
}

#[tokio::test]
async fn every_other_request_is_refused() {
    let changed = |pointer: &str, value: Value| {
        let mut body = request("m");
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[member] = value;
        body
    };
    for body in [
        changed("/temperature", json!(1)),
        changed("/n", json!(1)),
        changed("/stream", json!(false)),
        changed("/stream_options/include_usage", json!(false)),
        changed("/stream_options/x", json!(1)),
        changed("/modalities", json!(["image", "text"])),
        changed("/model", json!("")),
        changed("/model", json!("m@spiral")),
        changed("/messages", json!([])),
        changed("/messages/0/role", json!("system")),
        changed("/messages/0/name", json!("x")),
        changed("/messages/0/content", json!(PROMPT)),
        changed("/messages/0/content", json!([])),
        changed("/messages/0/content", json!([{"type": "text", "text": ""}])),
        changed("/messages/0/content", json!([{"type": "text", "text": "a", "x": 1}])),
        json!({}),
    ] {
        assert_refused(&body).await;
    }
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_media_type_are_refused() {
    let relay = relay(Shape::Deltas).await;
    let answer = ask(&relay, "another", &request("m")).await;
    assert_eq!(answer.status(), 401);
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["error"]["type"], "new_api_error");
    assert!(body["error"]["message"].as_str().unwrap().starts_with("无效的令牌 (request id: "));

    let url = relay.url("/v1/chat/completions");
    let post = reqwest::Client::new().post(url).body(request("m").to_string());
    assert_eq!(post.try_clone().unwrap().send().await.unwrap().status(), 401);
    let untyped = post.header("authorization", format!("Bearer {KEY}"));
    assert_eq!(untyped.send().await.unwrap().status(), 400);
}

async fn ask(relay: &RunningServer, key: &str, body: &Value) -> reqwest::Response {
    reqwest::Client::new()
        .post(relay.url("/v1/chat/completions"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(body.to_string())
        .send()
        .await
        .unwrap()
}

/// The data of every event; fails unless each is one `data:` line and an empty line.
async fn events_of(body: Value) -> Vec<String> {
    let relay = relay(Shape::Deltas).await;
    let stream = ask(&relay, KEY, &body).await.text().await.unwrap();
    let events = stream.strip_suffix("\n\n").unwrap().split("\n\n");
    events.map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect()
}

/// What each chunk adds to the text, without the empty ones.
fn contents(events: &[String]) -> Vec<String> {
    let chunks = events.iter().filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let contents = chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned));
    contents.filter(|content| !content.is_empty()).collect()
}

fn assert_drawn(markdown: &str) {
    let base64 = markdown.strip_prefix("![image](data:image/png;base64,").unwrap();
    let file = STANDARD.decode(base64.strip_suffix(')').unwrap()).unwrap();
    let expected = picture_for(PROMPT);
    assert!(file == expected.bytes, "the relay sent another picture");

    let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((frame.width, frame.height), (1024, 1024));
}

async fn assert_refused(body: &Value) {
    let relay = relay(Shape::Deltas).await;
    let answer = ask(&relay, KEY, body).await;
    assert_eq!(answer.status(), 400, "{body}");
    let error: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(error["error"]["code"], "invalid_request", "{body}");
}
