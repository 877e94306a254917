//! Labels in the pictures of every form of the answer.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dev::client::{content, data, hash, pictures};
use dev::picture::{PictureFormat, draw};
use dev::s3::{self, S3Engine};
use dev::transcript::Transcript;
use generate_stream::{App, handle};
use http::Request;
use serde_json::{Value, json};

use crate::support::{Reply, Stand, Upstream, User, text};

const STREAM: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// An invented code with a valid check character.
const PRODUCER: (&str, &str) = ("AIGC_PRODUCER", "001191110000100000000R10001");

struct LabelStand {
    stand: Stand,
    engine: S3Engine,
}

impl LabelStand {
    async fn new() -> Self {
        Self { stand: Stand::new().await, engine: s3::start(None, WEEK).await.unwrap() }
    }

    fn app(&self, upstream: &Upstream, more: &[(&str, &str)]) -> Arc<App> {
        let bucket = self.engine.variables();
        let bucket = bucket.iter().map(|(name, value)| (*name, value.as_str()));
        self.stand.app(upstream, &more.iter().copied().chain([("RL_LIMIT", "100")]).chain(bucket).collect::<Vec<_>>())
    }
}

fn keyed(user: &User, path: &str, key: &str, body: Value) -> Request<Bytes> {
    let mut request = user.post(path, &body);
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

async fn ask(app: &Arc<App>, request: Request<Bytes>) -> Reply {
    Reply::read(handle(app.clone(), request).await).await
}

fn picture(variant: u32) -> Vec<u8> {
    let format = if variant.is_multiple_of(2) { PictureFormat::Png } else { PictureFormat::Jpeg };
    draw("label", variant, format, 320, 240).bytes.to_vec()
}

/// A chat answer with these pictures.
fn answer(pictures: &[Vec<u8>]) -> Transcript {
    let image = |picture: &Vec<u8>| format!("![image](data:image/png;base64,{}) ", STANDARD.encode(picture));
    let content: String = pictures.iter().map(image).collect();
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": content}}]});
    Transcript::events(format!("data: {chunk}\n\ndata: [DONE]\n\n"))
}

fn named(reply: &Reply, name: &str) -> Vec<Value> {
    reply.events().iter().filter(|event| event.name == name).map(data).collect()
}

fn count(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
}

/// The picture has one label, with this number.
#[track_caller]
fn check_label(labelled: &[u8], id: &str) {
    assert_eq!(count(labelled, "<TC260:AIGC>"), 1);
    assert_eq!(count(labelled, &format!("ProduceID&quot;:&quot;{id}&quot;")), 1, "{id}");
    assert_eq!(count(labelled, PRODUCER.1), 2);
}

async fn fetch(url: &str) -> Vec<u8> {
    reqwest::get(url).await.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn events_bucket_record_and_replay_have_the_same_labelled_bytes() {
    let (stand, user) = (LabelStand::new().await, User::new("labelled"));
    let upstream = Upstream::plays_in_turn(vec![answer(&[picture(2)]), answer(&[picture(3)])]).await;
    let app = stand.app(&upstream, &[PRODUCER]);
    for (key, delivery) in [("inline", "inline"), ("url", "url")] {
        let wanted = json!({"prompt": "x", "format": "events", "n": 2, "delivery": delivery});
        let reply = ask(&app, keyed(&user, STREAM, key, wanted.clone())).await;
        assert_eq!(reply.ending(), "done");
        let record = stand.stand.tables.record(&user.owner(), key).await.unwrap();
        let run = text(&record, "run").replace('-', "");
        let (done, events) = (reply.last()["images"].clone(), named(&reply, "image.done"));
        assert_eq!((done.as_array().unwrap().len(), events.len()), (2, 2));
        for image in done.as_array().unwrap() {
            let slot = image["index"].as_u64().unwrap();
            let kept = fetch(image["url"].as_str().unwrap()).await;
            check_label(&kept, &format!("{run}-{slot}"));
            assert_eq!(image["label"], "written");
            assert_eq!((image["bytes"].as_u64(), &image["sha256"]), (Some(kept.len() as u64), &json!(hash(&kept))));
            let event = events.iter().find(|event| event["index"] == slot).unwrap();
            assert_eq!((&event["label"], &event["sha256"]), (&image["label"], &image["sha256"]));
            assert_eq!((&event["width"], &event["height"]), (&json!(320), &json!(240)));
            let in_record = record["pics"].as_m().unwrap()[&slot.to_string()].as_m().unwrap();
            assert_eq!(in_record["label"].as_s().unwrap(), "written");
            if delivery == "inline" {
                assert!(pictures(&reply.events()).contains(&(slot, kept)), "the bytes are those of the bucket");
            }
        }
        let again = ask(&app, keyed(&user, STREAM, key, wanted)).await;
        for (image, first) in named(&again, "image.done").iter().zip(done.as_array().unwrap()) {
            for member in ["label", "bytes", "sha256", "index"] {
                assert_eq!(image[member], first[member], "{member}");
            }
        }
    }
    assert_eq!(upstream.requests(), 4);
}

#[tokio::test]
async fn chat_and_one_shot_have_labels() {
    let (stand, user) = (LabelStand::new().await, User::new("forms"));
    let app = |upstream: &Upstream| stand.app(upstream, &[PRODUCER, ("IMAGE_MODELS", "drafts")]);
    // Written as it comes, and held.
    for model in ["gemini-2.5-flash-image", "drafts"] {
        let upstream = Upstream::plays(answer(&[picture(5)])).await;
        let chat = ask(&app(&upstream), keyed(&user, STREAM, model, json!({"prompt": "x", "model": model}))).await;
        let text = content(&chat.events());
        let base64 = text.split("base64,").nth(1).unwrap().split(')').next().unwrap();
        let run =
            stand.stand.tables.record(&user.owner(), model).await.unwrap()["run"].as_s().unwrap().replace('-', "");
        check_label(&STANDARD.decode(base64).unwrap(), &format!("{run}-0"));
    }
    let upstream = Upstream::plays(answer(&[picture(4)])).await;
    let json = ask(&app(&upstream), keyed(&user, IMAGE, "json", json!({"prompt": "x"}))).await;
    let json: Value = serde_json::from_slice(&json.bytes).unwrap();
    let image = &json["data"][0];
    let bytes = STANDARD.decode(image["b64_json"].as_str().unwrap()).unwrap();
    assert_eq!((&image["label"], image["bytes"].as_u64()), (&json!("written"), Some(bytes.len() as u64)));
    assert_eq!(count(&bytes, "<TC260:AIGC>"), 1);

    let mut request = keyed(&user, IMAGE, "bytes", json!({"prompt": "x"}));
    request.headers_mut().insert("accept", "image/*".parse().unwrap());
    let upstream = Upstream::plays(answer(&[picture(4)])).await;
    let reply = ask(&app(&upstream), request).await;
    assert_eq!(count(&reply.bytes, "<TC260:AIGC>"), 1);
    assert!(reply.header("etag").unwrap().contains(&hash(&reply.bytes)));
}

#[tokio::test]
async fn duplicates_and_labels_are_judged_by_the_bytes_of_the_upstream() {
    let (stand, user) = (LabelStand::new().await, User::new("judged"));
    let events = json!({"prompt": "x", "format": "events"});
    // The labelled bytes of two slots differ; the upstream's are equal.
    let upstream = Upstream::plays(answer(&[picture(2), picture(2)])).await;
    let app = stand.app(&upstream, &[PRODUCER]);
    let first = ask(&app, keyed(&user, STREAM, "twice", events.clone())).await;
    assert_eq!((first.ending().as_str(), named(&first, "image.done").len()), ("done", 1));

    // A picture that went through here once, and comes back as the answer of an upstream.
    let (_, labelled) = pictures(&first.events()).remove(0);
    let upstream = Upstream::plays(answer(std::slice::from_ref(&labelled))).await;
    let app = stand.app(&upstream, &[PRODUCER]);
    let second = ask(&app, keyed(&user, STREAM, "kept", events)).await;
    assert_eq!(pictures(&second.events()), [(0, labelled)]);
    assert_eq!(second.last()["images"][0]["label"], "kept");
    assert_eq!(named(&second, "image.done")[0]["label"], "kept");
}

#[tokio::test]
async fn links_have_no_label() {
    let (stand, user) = (LabelStand::new().await, User::new("links"));
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": "![image](https://example.com/a.png)"}}]});
    let upstream = Upstream::plays(Transcript::events(format!("data: {chunk}\n\ndata: [DONE]\n\n"))).await;
    for (variables, expected) in [([PRODUCER].as_slice(), Some("none")), (&[], None)] {
        let app = stand.app(&upstream, variables);
        let key = expected.unwrap_or("off");
        let reply = ask(&app, keyed(&user, STREAM, key, json!({"prompt": "x", "format": "events"}))).await;
        for image in [&named(&reply, "image.done")[0], &reply.last()["images"][0]] {
            assert_eq!(image.get("label").and_then(Value::as_str), expected);
        }
        let reply = ask(&app, keyed(&user, IMAGE, &format!("json-{key}"), json!({"prompt": "x"}))).await;
        assert_eq!(reply.last()["data"][0].get("label").and_then(Value::as_str), expected);
    }
}

#[tokio::test]
async fn without_a_provider_code_not_one_byte_differs() {
    let (stand, user) = (LabelStand::new().await, User::new("off"));
    let upstream = Upstream::plays(answer(&[picture(2), picture(3)])).await;
    let app = stand.app(&upstream, &[]);
    let events = ask(&app, keyed(&user, STREAM, "events", json!({"prompt": "x", "format": "events"}))).await;
    let sent: Vec<_> = pictures(&events.events()).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(sent, [picture(2), picture(3)]);
    let json = ask(&app, keyed(&user, IMAGE, "json", json!({"prompt": "x"}))).await;
    let chat = ask(&app, keyed(&user, STREAM, "chat", json!({"prompt": "x"}))).await;
    assert!(content(&chat.events()).contains(&STANDARD.encode(picture(2))));
    for reply in [events, json, chat] {
        assert_eq!(count(&reply.bytes, "label"), 0);
    }
    let record = stand.stand.tables.record(&user.owner(), "events").await.unwrap();
    assert!(record["pics"].as_m().unwrap().values().all(|picture| !picture.as_m().unwrap().contains_key("label")));
    assert!(stand.engine.objects.keys().len() >= 2);
}
