//! Kept pictures: stored while the request runs, found again afterwards, and a run that its owner stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dev::RunningServer;
use dev::client::{data, events, pictures};
use dev::picture::{PictureFormat, draw};
use dev::s3::{self, BucketFault, BucketProxy, S3Engine};
use dev::transcript::{Ending, Transcript};
use generate_stream::{App, handle};
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::auth::{Principal, UserId};
use shared::edge::{Body, Stopping};

use crate::support::{EVER, Item, Reply, Stand, Upstream, User, number, text};

const STREAM: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Tables and a bucket behind a proxy.
pub(crate) struct KeptStand {
    pub(crate) stand: Stand,
    engine: S3Engine,
    proxy: BucketProxy,
    pub(crate) running: RunningServer,
}

impl KeptStand {
    pub(crate) async fn new() -> Self {
        let engine = s3::start(None, WEEK).await.unwrap();
        let proxy = BucketProxy::default();
        let running = dev::start(s3::proxy_routes(proxy.clone(), &engine.url())).await.unwrap();
        Self { stand: Stand::new().await, engine, proxy, running }
    }

    pub(crate) fn app(&self, upstream: &Upstream, more: &[(&str, &str)]) -> Arc<App> {
        let bucket = s3::variables(&self.running.url(""));
        let bucket = bucket.iter().map(|(name, value)| (*name, value.as_str()));
        let usual = [("CANCEL_POLL_MS", "500"), ("PICTURE_PUT_MS", "3000"), ("HEAD_HOLD_MS", "200")];
        let variables: Vec<_> = more.iter().copied().chain(usual).chain(bucket).collect();
        self.stand.app(upstream, &variables)
    }

    async fn record(&self, user: &User) -> Item {
        self.stand.tables.record(&user.owner(), "key").await.unwrap()
    }

    /// Waits until the task has ended.
    async fn settled(&self, user: &User) -> Item {
        let ended = async {
            loop {
                let record = self.stand.tables.record(&user.owner(), "key").await;
                if let Some(record) = record.filter(|record| text(record, "st") != "running") {
                    return record;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(EVER, ended).await.unwrap()
    }
}

fn keyed(user: &User, path: &str, body: Value) -> Request<Bytes> {
    let mut request = user.post(path, &body);
    request.headers_mut().insert("idempotency-key", "key".parse().unwrap());
    request
}

async fn ask(app: &Arc<App>, request: Request<Bytes>) -> Reply {
    Reply::read(handle(app.clone(), request).await).await
}

fn png(variant: u32) -> Vec<u8> {
    draw("kept", variant, PictureFormat::Png, 32, 24).bytes.to_vec()
}

/// A chat answer with one picture.
pub(crate) fn answer(variant: u32) -> String {
    let base64 = STANDARD.encode(png(variant));
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"![image](data:image/png;base64,{base64})\"}}}}]}}\n\ndata: [DONE]\n\n"
    )
}

fn answers(variants: impl IntoIterator<Item = u32>) -> Vec<Transcript> {
    variants.into_iter().map(|variant| Transcript::events(answer(variant))).collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fetches a link as a browser does.
async fn fetch(url: &str) -> (u16, Vec<u8>) {
    let response = reqwest::get(url).await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

/// The data of the events with this name.
fn named(reply: &Reply, name: &str) -> Vec<Value> {
    reply.events().iter().filter(|event| event.name == name).map(data).collect()
}

fn principal(user: &User) -> Principal {
    Principal::User(UserId::parse(user.owner().strip_prefix("user:").unwrap()).unwrap())
}

async fn stop(app: &Arc<App>, user: &User) -> Stopping {
    app.ready().unwrap().ledger.stop(&principal(user), "key").await.unwrap().unwrap()
}

async fn until(what: impl Fn() -> bool) {
    let done = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(EVER, done).await.unwrap();
}

/// Reads a body until it contains `wanted`.
async fn read_until(body: &mut Body, wanted: &str) -> String {
    let mut sent = String::new();
    while !sent.contains(wanted) {
        let frame = tokio::time::timeout(EVER, body.frame()).await.unwrap().unwrap().unwrap();
        sent.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    sent
}

#[tokio::test]
async fn every_picture_is_in_the_bucket_before_the_terminal_event() {
    let (stand, user) = (KeptStand::new().await, User::new("stored"));
    let upstream = Upstream::plays_in_turn(answers([1, 2])).await;
    let app = stand.app(&upstream, &[]);
    let reply = ask(&app, keyed(&user, STREAM, json!({"prompt": "x", "format": "events", "n": 2}))).await;
    assert_eq!(reply.ending(), "done");
    assert_eq!(pictures(&reply.events()).len(), 2, "the bytes are delivered too");
    let stored = named(&reply, "image.stored");
    assert_eq!(stored.len(), 2, "{stored:?}");
    let done = reply.last();
    for image in done["images"].as_array().unwrap() {
        let (status, bytes) = fetch(image["url"].as_str().unwrap()).await;
        assert_eq!((status, hash(&bytes)), (200, image["sha256"].as_str().unwrap().to_owned()));
        assert!(image["url_expires"].as_str().unwrap().ends_with('Z'));
        assert!(stored.iter().any(|stored| stored["index"] == image["index"] && stored["url"] == image["url"]));
    }
    assert_eq!((stand.proxy.calls_to("PUT"), stand.engine.objects.keys().len()), (2, 2), "one attempt each");
    let record = stand.record(&user).await;
    assert_eq!(record["pics"].as_m().unwrap().len(), 2);
    assert!(!record.contains_key("cost") && !record.contains_key("cancel"), "{record:?}");
    assert!(stand.engine.objects.keys().iter().all(|key| !key.contains(&user.owner()[5..])), "no user id in a key");
}

#[tokio::test]
async fn a_picture_that_is_delivered_as_a_link_is_one_event() {
    let (stand, user) = (KeptStand::new().await, User::new("link"));
    let upstream = Upstream::plays_in_turn(answers([1, 2])).await;
    let app = stand.app(&upstream, &[]);
    let wanted = json!({"prompt": "x", "format": "events", "n": 2, "delivery": "url"});
    let reply = ask(&app, keyed(&user, STREAM, wanted)).await;
    assert_eq!(reply.ending(), "done");
    for absent in ["image.start", "image.delta", "image.stored"] {
        assert!(named(&reply, absent).is_empty(), "{absent}");
    }
    let images = named(&reply, "image.done");
    assert_eq!(images.len(), 2);
    for image in images {
        let (status, bytes) = fetch(image["url"].as_str().unwrap()).await;
        assert_eq!((status, hash(&bytes)), (200, image["sha256"].as_str().unwrap().to_owned()));
        assert_eq!((image["width"].as_u64(), image["height"].as_u64()), (Some(32), Some(24)));
    }
}

/// Each form of the answer, with a store that cannot be used in any way.
#[tokio::test]
async fn a_store_that_fails_costs_nothing_but_the_copy() {
    let stand = KeptStand::new().await;
    for (at, fault) in [
        BucketFault::Refuse,
        BucketFault::AccessDenied,
        BucketFault::NoSuchBucket,
        BucketFault::SlowDown,
        BucketFault::InternalError,
        BucketFault::NotS3,
        BucketFault::PermanentRedirect,
        BucketFault::HalfRequest,
        BucketFault::Hang,
    ]
    .into_iter()
    .enumerate()
    {
        stand.proxy.fail(Some(fault));
        let upstream = Upstream::plays(Transcript::events(answer(7))).await;
        let app = stand.app(&upstream, &[("RL_LIMIT", "50"), ("PICTURE_PUT_MS", "1000")]);
        let user = User::new(&format!("fails-{at}"));
        let events = json!({"prompt": "x", "format": "events"});
        let as_link = json!({"prompt": "y", "format": "events", "delivery": "url"});
        for (key, wanted) in [("key", events), ("other", as_link)] {
            let mut request = keyed(&user, STREAM, wanted);
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
            let reply = ask(&app, request).await;
            assert_eq!(reply.ending(), "done", "{fault:?}");
            assert_eq!(pictures(&reply.events()), [(0, png(7))], "{fault:?} {key}");
            assert!(named(&reply, "image.stored").is_empty());
            assert_eq!(reply.last()["images"][0].get("url"), None, "{fault:?}");
        }
        let mut chat = user.post(STREAM, &json!({"prompt": "x"}));
        chat.headers_mut().insert("idempotency-key", "chat".parse().unwrap());
        assert_eq!(ask(&app, chat).await.ending(), "[DONE]", "{fault:?}");
        let bytes = ask(&app, {
            let mut request = user.post(IMAGE, &json!({"prompt": "x"}));
            request.headers_mut().insert("accept", "image/*".parse().unwrap());
            request
        });
        assert!(bytes.await.bytes == png(7), "{fault:?}");
        let again = ask(&app, keyed(&user, STREAM, json!({"prompt": "x", "format": "events"}))).await;
        assert_eq!(again.ending(), "problem task_already_completed", "{fault:?}");
    }
    assert!(stand.engine.objects.keys().is_empty(), "a half request is not stored");
}

#[tokio::test]
async fn the_same_key_after_success_delivers_links_in_every_form_and_pays_nothing() {
    let (stand, user) = (KeptStand::new().await, User::new("again"));
    let upstream = Upstream::plays(Transcript::events(answer(3))).await;
    let app = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5"), ("RL_LIMIT", "1")]);
    let first = ask(&app, keyed(&user, IMAGE, json!({"prompt": "x"}))).await;
    let first: Value = serde_json::from_slice(&first.bytes).unwrap();
    assert_eq!(STANDARD.decode(first["data"][0]["b64_json"].as_str().unwrap()).unwrap(), png(3));
    assert!(first["data"][0]["url"].is_string() && first["data"][0]["url_expires"].is_string());

    let events = ask(&app, keyed(&user, STREAM, json!({"prompt": "x", "format": "events"}))).await;
    let names: Vec<_> = events.events().into_iter().map(|event| event.name).collect();
    assert_eq!(names, ["start", "image.done", "done"]);
    assert!(fetch(named(&events, "image.done")[0]["url"].as_str().unwrap()).await.1 == png(3));
    assert_eq!(events.header("x-task-id"), Some("key"));

    let chat = ask(&app, keyed(&user, STREAM, json!({"prompt": "x"}))).await;
    assert_eq!(chat.ending(), "[DONE]");
    let content: String = chat
        .events()
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(&event.data).ok())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    let link = content.strip_prefix("![image](").and_then(|rest| rest.strip_suffix(')')).unwrap();
    assert!(fetch(link).await.1 == png(3));

    let json = ask(&app, keyed(&user, IMAGE, json!({"prompt": "x"}))).await;
    let json: Value = serde_json::from_slice(&json.bytes).unwrap();
    assert_eq!(json["data"][0].get("b64_json"), None);
    assert!(fetch(json["data"][0]["url"].as_str().unwrap()).await.1 == png(3));

    let mut bytes = keyed(&user, IMAGE, json!({"prompt": "x"}));
    bytes.headers_mut().insert("accept", "image/*".parse().unwrap());
    let bytes = ask(&app, bytes).await;
    assert_eq!(bytes.status, 303);
    assert!(fetch(bytes.header("location").unwrap()).await.1 == png(3));

    let other = ask(&app, keyed(&user, STREAM, json!({"prompt": "another"}))).await;
    assert_eq!(other.ending(), "problem task_id_reused");
    assert_eq!(upstream.requests(), 1);
    assert_eq!(stand.stand.tables.balance(&user.owner()).await, Some((4, 0)));
    assert_eq!(stand.stand.tables.missing(&user.owner(), 1).await, 1, "also beyond the limit");
}

#[tokio::test]
async fn a_reader_that_leaves_or_stops_loses_no_picture() {
    for (leaves, format) in [(true, "events"), (false, "events"), (true, "chat")] {
        let (stand, user) = (KeptStand::new().await, User::new("leaves"));
        let slow = Transcript { head_after: Duration::from_millis(600), ..Transcript::events(answer(4)) };
        let upstream = Upstream::plays(slow).await;
        let app = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5"), ("CLIENT_STALL_MS", "300")]);
        let response = handle(app.clone(), keyed(&user, STREAM, json!({"prompt": "x", "format": format}))).await;
        let mut body = response.into_body();
        tokio::time::timeout(EVER, body.frame()).await.unwrap().unwrap().unwrap();
        let unread = (!leaves).then_some(body);
        let record = stand.settled(&user).await;
        assert_eq!((text(&record, "st"), number(&record, "images")), ("succeeded", 1), "{format}");
        assert_eq!(record["pics"].as_m().unwrap().len(), 1);
        let again = ask(&app, keyed(&user, STREAM, json!({"prompt": "x", "format": "events"}))).await;
        assert!(fetch(again.last()["images"][0]["url"].as_str().unwrap()).await.1 == png(4));
        assert_eq!(upstream.requests(), 1);
        assert_eq!(stand.stand.tables.balance(&user.owner()).await, Some((4, 0)), "paid once");
        drop(unread);
    }
}

#[tokio::test]
async fn a_run_that_is_stopped_before_a_picture_fails_and_may_run_again() {
    for format in ["events", "chat", "one-shot"] {
        let (stand, user) = (KeptStand::new().await, User::new("cancel"));
        let stalled = Transcript { ending: Ending::Stall, ..Transcript::events(": here\n\n") };
        let upstream = Upstream::plays_in_turn(vec![stalled, Transcript::events(answer(5))]).await;
        let app = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5")]);
        let (path, wanted) = match format {
            "one-shot" => (IMAGE, json!({"prompt": "x"})),
            format => (STREAM, json!({"prompt": "x", "format": format})),
        };
        let stopping = async {
            until(|| upstream.seen.open() == 1).await;
            #[expect(clippy::disallowed_methods, reason = "measures how long it takes")]
            let begun = Instant::now();
            assert!(matches!(stop(&app, &user).await, Stopping::Asked(record) if record.is_cancelled));
            assert!(matches!(stop(&app, &user).await, Stopping::Asked(_)), "repeating it changes nothing");
            until(|| upstream.seen.open() == 0).await;
            begun.elapsed()
        };
        let (reply, took) = tokio::join!(ask(&app, keyed(&user, path, wanted.clone())), stopping);
        assert!(took < Duration::from_secs(3), "{took:?}");
        let ending = if format == "one-shot" { "problem cancelled" } else { "error cancelled" };
        assert_eq!(reply.ending(), ending);
        let record = stand.record(&user).await;
        assert_eq!((text(&record, "st"), text(&record, "code")), ("failed", "cancelled"));
        assert!(!record.contains_key("cancel"));
        assert_eq!(stand.stand.tables.balance(&user.owner()).await, Some((4, 0)), "the upstream charges for it");
        assert_eq!(stand.stand.tables.missing(&user.owner(), 5).await, 1, "the token stays consumed");

        let again = ask(&app, keyed(&user, path, wanted)).await;
        assert!(again.status == 200 && upstream.requests() == 2, "the mark of the first run does not stop the second");
        let record = stand.record(&user).await;
        assert_eq!((text(&record, "st"), number(&record, "tries")), ("succeeded", 2));
        assert!(matches!(stop(&app, &user).await, Stopping::Ended(_)));
    }
}

#[tokio::test]
async fn a_run_that_is_stopped_after_a_picture_succeeds_with_it() {
    for format in ["events", "url", "chat"] {
        let (stand, user) = (KeptStand::new().await, User::new("cancel-late"));
        let whole = Transcript::events(answer(1));
        let half = answer(2);
        let half = half.as_bytes()[..half.len() / 2].to_vec();
        let stalled = Transcript { ending: Ending::Stall, ..Transcript::events(half) };
        let upstream = Upstream::plays_in_turn(vec![whole, stalled]).await;
        let app = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5"), ("CHAT_N", "on")]);
        let wanted = match format {
            "url" => json!({"prompt": "x", "n": 2, "format": "events", "delivery": "url"}),
            format => json!({"prompt": "x", "n": 2, "format": format}),
        };
        let stopping = async {
            until(|| stand.engine.objects.keys().len() == 1 && upstream.requests() == 2).await;
            stop(&app, &user).await
        };
        let (reply, _) = tokio::join!(ask(&app, keyed(&user, STREAM, wanted)), stopping);
        match format {
            "chat" => assert_eq!(reply.ending(), "[DONE]"),
            _ => {
                assert_eq!(reply.ending(), "done");
                let done = reply.last();
                assert_eq!(done["images"].as_array().unwrap().len(), 1, "{done}");
                assert_eq!(done["failed"][0]["code"], "cancelled");
                assert!(done["images"][0]["url"].is_string());
            }
        }
        let record = stand.record(&user).await;
        assert_eq!((text(&record, "st"), number(&record, "images"), number(&record, "cost")), ("succeeded", 1, 2));
        assert_eq!(stand.stand.tables.balance(&user.owner()).await, Some((3, 0)), "the open slot was paid, too");
    }
}

/// The process of the function is gone: its run never ends.
#[tokio::test]
async fn a_picture_of_a_run_that_died_is_found_charged_and_not_made_again() {
    let (stand, user) = (KeptStand::new().await, User::new("dies"));
    let stalled = Transcript { ending: Ending::Stall, ..Transcript::events(answer(6).replace("data: [DONE]\n\n", "")) };
    let upstream = Upstream::plays(stalled).await;
    let variables = [("CREDITS", "on"), ("CREDITS_INITIAL", "5")];
    let app = stand.app(&upstream, &variables);
    let wanted = || keyed(&user, STREAM, json!({"prompt": "x", "format": "events"}));
    let mut body = handle(app.clone(), wanted()).await.into_body();
    read_until(&mut body, "image.stored").await;
    let ledger = &app.ready().unwrap().ledger;
    let running = ledger.task(&principal(&user), "key").await.unwrap().unwrap();
    assert_eq!((running.pictures.len(), running.credits), (1, Some(1)), "it is in the record while the run goes on");

    // As if its lease had ended: the run is not asked any more.
    let past = [("lease", "1")];
    for (name, value) in past {
        let update = stand.stand.tables.ledger_update(&user.owner(), &sort_key());
        let update = update.update_expression("SET #name = :value").expression_attribute_names("#name", name);
        let value = aws_sdk_dynamodb::types::AttributeValue::N(value.to_owned());
        update.expression_attribute_values(":value", value).send().await.unwrap();
    }
    let again = ask(&stand.app(&upstream, &variables), wanted()).await;
    assert_eq!(again.ending(), "done");
    assert!(fetch(again.last()["images"][0]["url"].as_str().unwrap()).await.1 == png(6));
    assert_eq!(upstream.requests(), 1, "nothing is paid twice");
    let record = ledger.task(&principal(&user), "key").await.unwrap().unwrap();
    assert_eq!(record.state_at(crate::support::unix_ms()), shared::task::TaskState::Succeeded);
    drop(body);
}

pub(crate) fn sort_key() -> String {
    format!("G#{}", shared::task::fingerprint(["key"]))
}

#[tokio::test]
async fn erased_pictures_are_gone_and_their_key_is_not_run_again() {
    let (stand, user) = (KeptStand::new().await, User::new("erase"));
    let upstream = Upstream::plays_in_turn(answers([1, 2])).await;
    let app = stand.app(&upstream, &[]);
    let wanted = || keyed(&user, STREAM, json!({"prompt": "x", "format": "events", "n": 2}));
    let reply = ask(&app, wanted()).await;
    let url = reply.last()["images"][0]["url"].as_str().unwrap().to_owned();
    let ready = app.ready().unwrap();
    let owner = principal(&user);
    let erase = || ready.ledger.erase_pictures(&owner, "key");
    stand.proxy.fail(Some(BucketFault::AccessDenied));
    assert_eq!(erase().await, Err(shared::problem::Code::ServiceUnavailable));
    assert_eq!(stand.record(&user).await["pics"].as_m().unwrap().len(), 2, "nothing is removed without the store");
    stand.proxy.fail(None);
    assert_eq!(erase().await, Ok(Some(())));
    assert_eq!(erase().await, Ok(Some(())), "also if there are none");
    assert!(stand.engine.objects.keys().is_empty());
    assert_eq!(fetch(&url).await.0, 404);
    let record = stand.record(&user).await;
    assert!(record["pics"].as_m().unwrap().is_empty() && !record.contains_key("result"));
    assert_eq!(ask(&app, wanted()).await.ending(), "problem task_already_completed");
    let other = User::new("erase-other");
    assert_eq!(ready.ledger.erase_pictures(&principal(&other), "key").await, Ok(None), "another user's task");
}

/// What the store does while a picture comes does not hold up the next one.
#[tokio::test]
async fn a_slow_store_does_not_delay_the_stream() {
    let (stand, user) = (KeptStand::new().await, User::new("slow"));
    stand.proxy.delay(Duration::from_millis(1_500));
    let upstream = Upstream::plays_in_turn(answers([1, 2, 3])).await;
    let app = stand.app(&upstream, &[]);
    let wanted = keyed(&user, STREAM, json!({"prompt": "x", "format": "events", "n": 3}));
    let mut body = handle(app, wanted).await.into_body();
    let mut sent = String::new();
    while sent.matches("event: image.done").count() < 3 {
        let frame = tokio::time::timeout(EVER, body.frame()).await.unwrap().unwrap().unwrap();
        sent.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    assert!(!sent.contains("image.stored"), "all three are delivered before the first is stored");
    let rest = tokio::time::timeout(EVER, body.collect()).await.unwrap().unwrap().to_bytes();
    assert_eq!(events(&rest).iter().filter(|event| event.name == "image.stored").count(), 3);
    assert_eq!(stand.proxy.calls_to("PUT"), 3);
}

/// A user can make a chat model write any link.
#[tokio::test]
async fn a_link_in_a_model_s_text_is_never_fetched() {
    let (stand, user) = (KeptStand::new().await, User::new("link-in-text"));
    let files = Upstream::plays(Transcript { content_type: "image/png", ..Transcript::events(png(1)) }).await;
    let text = format!("![image]({}/a.png)", files.url);
    let said =
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\ndata: [DONE]\n\n");
    let upstream = Upstream::plays(Transcript::events(said)).await;
    let app = stand.app(&upstream, &[("PICTURE_LINK_HOSTS", "127.0.0.1")]);
    let reply = ask(&app, keyed(&user, STREAM, json!({"prompt": "x", "format": "events"}))).await;
    assert_eq!((reply.ending().as_str(), named(&reply, "image.done").len()), ("done", 1), "the link is passed on");
    assert_eq!((files.requests(), stand.proxy.calls()), (0, 0));
}
