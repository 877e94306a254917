//! Each route draws in the shape that its request names, and refuses any other.

use std::io::Cursor;

use dev::Shape;
use dev::image_api::picture_for;
use dev::picture::{PictureFormat, draw};
use serde_json::{Value, json};

use super::{KEY, PROMPT, chat_request, decoded, post, relay};

const RATIOS: [(&str, u32, u32); 10] = [
    ("1:1", 1024, 1024),
    ("2:3", 832, 1248),
    ("3:2", 1248, 832),
    ("3:4", 864, 1184),
    ("4:3", 1184, 864),
    ("4:5", 896, 1152),
    ("5:4", 1152, 896),
    ("9:16", 768, 1344),
    ("16:9", 1344, 768),
    ("21:9", 1536, 672),
];

fn chat(config: Value) -> Value {
    let mut body = chat_request("m@whole");
    body["extra_body"] = json!({"google": {"image_config": config}});
    body
}

fn gemini(config: Value) -> Value {
    json!({
        "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": config},
    })
}

fn generation(model: &str, size: Value) -> Value {
    let mut body = json!({"model": model, "prompt": PROMPT, "n": 1, "size": size});
    if model.starts_with("gpt-") {
        body["stream"] = json!(true);
    }
    body
}

/// The status, and the last picture of the answer.
async fn ask(path: &str, body: &Value) -> (u16, Vec<u8>) {
    let bearer = format!("Bearer {KEY}");
    let key = if path.starts_with("/v1beta") { ("x-goog-api-key", KEY) } else { ("authorization", bearer.as_str()) };
    let answer = post(&relay(Shape::Deltas).await, path, key, body).await;
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    let picture = text.rfind("iVBOR").map(|at| text[at..].split(['"', ')']).next().unwrap());
    (status, picture.map(decoded).unwrap_or_default())
}

async fn json_of(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

const CHAT: &str = "/v1/chat/completions";
const GEMINI: &str = "/v1beta/models/m:streamGenerateContent?alt=sse";
const GENERATIONS: &str = "/v1/images/generations";

#[tokio::test]
async fn ratios_of_gemini() {
    for (ratio, width, height) in RATIOS {
        let named: f64 = ratio.split(':').map(|side| side.parse::<f64>().unwrap()).reduce(|a, b| a / b).unwrap();
        assert!((f64::from(width) / f64::from(height) / named - 1.0).abs() < 0.04, "{ratio}");
        let requests = [(CHAT, chat(json!({"aspect_ratio": ratio}))), (GEMINI, gemini(json!({"aspectRatio": ratio})))];
        for (path, body) in requests {
            let (status, picture) = ask(path, &body).await;
            assert_eq!(status, 200, "{ratio}");
            assert!(picture == draw(PROMPT, 0, PictureFormat::Png, width, height).bytes, "{path} {ratio}");
            let frame = png::Decoder::new(Cursor::new(picture)).read_info().unwrap();
            assert_eq!((frame.info().width, frame.info().height), (width, height), "{path} {ratio}");
        }
    }
}

#[tokio::test]
async fn sizes_of_openai() {
    let rows = [
        (
            "gpt-image-1.5",
            "1024x1024 1536x1024 1024x1536",
            "1792x1024 512x512 1536x864 1024x1024x1 1024 auto x 01024x1024",
        ),
        ("dall-e-3", "1024x1024 1792x1024 1024x1792", "1536x1024 1024x1536"),
        ("dall-e-2", "1024x1024 512x512 256x256", "1536x1024"),
        ("gpt-image-2", "1536x864 864x1536 1680x720 1152x1536", "1536x860 3072x1008 512x512 3856x2160"),
        ("gpt-image-2.5-flare@images-stream", "1280x1024", "1000x1000"),
    ];
    for (model, made, refused) in rows {
        for size in made.split(' ') {
            let (status, picture) = ask(GENERATIONS, &generation(model, json!(size))).await;
            assert_eq!(status, 200, "{model} {size}");
            let frame = png::Decoder::new(Cursor::new(picture)).read_info().unwrap();
            assert_eq!(format!("{}x{}", frame.info().width, frame.info().height), size, "{model}");
        }
        for size in refused.split(' ') {
            assert_eq!(ask(GENERATIONS, &generation(model, json!(size))).await.0, 400, "{model} {size}");
        }
    }
    // The answer names the size.
    let answer = post(
        &relay(Shape::ImagesJson).await,
        GENERATIONS,
        ("authorization", &format!("Bearer {KEY}")),
        &generation("m", json!("1536x1024")),
    )
    .await;
    assert_eq!(json_of(answer).await["size"], "1536x1024");
}

#[tokio::test]
async fn a_link_leads_to_a_picture_of_the_size() {
    let relay = relay(Shape::ImagesUrl).await;
    let bearer = format!("Bearer {KEY}");
    let key = ("authorization", bearer.as_str());
    for (size, expected) in [
        (json!("1024x1536"), draw(PROMPT, 0, PictureFormat::Png, 1024, 1536).bytes),
        (json!("1024x1024"), picture_for(PROMPT).bytes),
    ] {
        let answer = json_of(post(&relay, GENERATIONS, key, &generation("m", size)).await).await;
        let file = reqwest::get(answer["data"][0]["url"].as_str().unwrap()).await.unwrap();
        assert!(file.bytes().await.unwrap() == expected);
    }
}

#[tokio::test]
async fn every_other_choice_is_refused() {
    let mut beside = chat(json!({"aspect_ratio": "16:9"}));
    beside["extra_body"]["google"]["thinking_config"] = json!({});
    let mut above = chat(json!({"aspect_ratio": "16:9"}));
    above["extra_body"]["image_config"] = json!({});
    for (path, body) in [
        (CHAT, chat(json!({"aspect_ratio": "5:7"}))),
        (CHAT, chat(json!({"aspect_ratio": null}))),
        (CHAT, chat(json!({"aspectRatio": "16:9"}))),
        (CHAT, chat(json!({"aspect_ratio": "16:9", "image_size": "2K"}))),
        (CHAT, chat(json!({}))),
        (CHAT, beside),
        (CHAT, above),
        (GEMINI, gemini(json!({"aspectRatio": "1:4"}))),
        (GEMINI, gemini(json!({"aspect_ratio": "16:9"}))),
        (GEMINI, gemini(json!({"aspectRatio": "16:9", "imageSize": "2K"}))),
        (GEMINI, gemini(json!(null))),
        (GENERATIONS, generation("m", json!(null))),
        (GENERATIONS, generation("m", json!(1024))),
    ] {
        assert_eq!(ask(path, &body).await.0, 400, "{body}");
    }
}
