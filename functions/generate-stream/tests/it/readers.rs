//! Clients that stop reading or leave: the work goes on and is settled by the credit rule.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::client::events;
use dev::function::Function;
use dev::function_url::payload;
use dev::picture::{PictureFormat, draw};
use dev::runtime_api::Deadline;
use dev::transcript::{Ending, Transcript};
use generate_stream::{App, handle};
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use shared::edge::Body;

use crate::support::{EVER, Item, Stand, Upstream, User, number, text};

const BINARY: &str = env!("CARGO_BIN_EXE_generate-stream");
const PATH: &str = "/api/generate-stream";
const STALL_MS: u64 = 700;

fn keyed(user: &User, format: &str, n: u32) -> Request<bytes::Bytes> {
    let mut request = user.post(PATH, &json!({"prompt": "x", "format": format, "n": n}));
    request.headers_mut().insert("idempotency-key", "key".parse().unwrap());
    request
}

/// An answer of about `bytes` of picture.
fn picture(variant: u32, side: u32) -> String {
    let base64 = STANDARD.encode(draw("readers", variant, PictureFormat::Png, side, side).bytes);
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"![image](data:image/png;base64,{base64})\"}}}}]}}\n\ndata: [DONE]\n\n"
    )
}

/// Reads a body until `count` pictures are whole.
async fn read_pictures(body: &mut Body, count: usize) -> Vec<u8> {
    let mut sent = Vec::new();
    while events(&sent).iter().filter(|event| event.name == "image.done").count() < count {
        let frame = tokio::time::timeout(EVER, body.frame()).await.unwrap().unwrap().unwrap();
        sent.extend_from_slice(&frame.into_data().unwrap());
    }
    sent
}

/// Waits until a task's record has another status than `running`; returns the record and how long that took.
async fn settled(stand: &Stand, user: &User) -> (Item, Duration) {
    #[expect(clippy::disallowed_methods, reason = "measures how long it takes")]
    let begun = Instant::now();
    loop {
        if let Some(record) = stand.tables.record(&user.owner(), "key").await
            && text(&record, "st") != "running"
        {
            // The hold is settled right after the record.
            let no_holds = async {
                while stand.tables.balance(&user.owner()).await.is_some_and(|(_, holds)| holds > 0) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(EVER, no_holds).await.unwrap();
            return (record, begun.elapsed());
        }
        assert!(begun.elapsed() < EVER, "the task is still running");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn stand(user: &User) -> Stand {
    let stand = Stand::new().await;
    stand.tables.grant(&user.owner(), 10).await;
    stand
}

/// Three pictures whole, the fourth larger than any buffer: nothing of it is read.
#[tokio::test]
async fn a_reader_that_stops_after_three_of_four_pictures_pays_for_all_four() {
    let user = User::new("stops");
    let stand = stand(&user).await;
    let small = |variant| Transcript::events(picture(variant, 8));
    let large = Transcript { head_after: Duration::from_millis(400), ..Transcript::events(picture(4, 1024)) };
    let upstream = Upstream::plays_in_turn(vec![small(1), small(2), small(3), large]).await;
    let variables = [("CREDITS", "on"), ("CLIENT_STALL_MS", &STALL_MS.to_string())];
    let app: Arc<App> = stand.app(&upstream, &variables);
    let mut body = handle(app, keyed(&user, "events", 4)).await.into_body();
    let mut sent = read_pictures(&mut body, 3).await;

    let (record, took) = settled(&stand, &user).await;
    assert!(took >= Duration::from_millis(STALL_MS) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!((text(&record, "st"), number(&record, "images")), ("succeeded", 3));
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((6, 0)), "the open slot was paid, too");
    assert_eq!(upstream.seen.open(), 0, "the upstream call has ended");

    // What the reader finds when it goes on after all.
    let rest = tokio::time::timeout(EVER, body.collect()).await.unwrap().unwrap().to_bytes();
    sent.extend_from_slice(&rest);
    let last = events(&sent).pop().unwrap();
    assert_eq!(last.name, "error");
    assert!(last.data.contains("\"stream_interrupted\""), "{}", last.data);
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_the_calls_that_were_sent() {
    for (format, answer, last_told, expected) in [
        // Nothing whole: the open slot is paid.
        ("events", ": here\n\n".to_owned(), "event: start", ("failed", 0, 9)),
        (
            "chat",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n".to_owned(),
            "hello",
            ("failed", 0, 9),
        ),
        // One whole picture and an answer that does not end.
        ("events", picture(1, 8).replace("data: [DONE]\n\n", ""), "event: image.done", ("succeeded", 1, 9)),
    ] {
        let user = User::new("leaves");
        let stand = stand(&user).await;
        let upstream = Upstream::plays(Transcript { ending: Ending::Stall, ..Transcript::events(answer) }).await;
        let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("HEAD_HOLD_MS", "50")]);
        let mut body = handle(app.clone(), keyed(&user, format, 1)).await.into_body();
        while upstream.seen.open() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut told = String::new();
        while !told.contains(last_told) {
            let frame = tokio::time::timeout(EVER, body.frame()).await.unwrap();
            let data = frame.expect("nothing ends the stream").unwrap().into_data().unwrap();
            told.push_str(std::str::from_utf8(&data).unwrap());
        }
        drop(body);
        let (record, took) = settled(&stand, &user).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
        let (status, images, credits) = expected;
        assert_eq!((text(&record, "st"), number(&record, "images")), (status, images), "{format}");
        if status == "failed" {
            assert_eq!(text(&record, "code"), "client_closed");
        }
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((credits, 0)), "{format}");
        assert_eq!(upstream.seen.open(), 0);
    }
}

/// The same with the real binary, whose client is the platform: beyond what the sockets hold nothing is read.
#[tokio::test]
async fn a_platform_that_stops_reading_the_function_s_answer() {
    let user = User::new("platform");
    let stand = stand(&user).await;
    let small = |variant| Transcript::events(picture(variant, 8));
    // A picture of 12 MB that does not end.
    let mut endless = draw("readers", 4, PictureFormat::Png, 64, 64).bytes.to_vec();
    endless.truncate(1000);
    endless.resize(12_000_000, 0x55);
    let mut answer = String::new();
    let base64 = format!("![image](data:image/png;base64,{}", STANDARD.encode(endless));
    for piece in base64.as_bytes().chunks(16 * 1024) {
        let piece = std::str::from_utf8(piece).unwrap();
        answer += &format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{piece}\"}}}}]}}\n\n");
    }
    let large = Transcript { head_after: Duration::from_millis(400), ..Transcript::events(answer) };
    let upstream = Upstream::plays_in_turn(vec![small(1), small(2), small(3), large]).await;
    let mut environment = stand.environment(&upstream);
    environment.extend([("CREDITS", "on".to_owned()), ("CLIENT_STALL_MS", STALL_MS.to_string())]);
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let function = Function::spawn(Path::new(BINARY), &environment).await.unwrap();
    let bearer = user.bearer();
    let headers = [("content-type", "application/json"), ("authorization", &bearer), ("idempotency-key", "key")];
    let body = json!({"prompt": "x", "format": "events", "n": 4}).to_string();
    let event = payload("POST", PATH, &headers, &body, false);
    let mut invocation = function.invoke(&event, Deadline::In(Duration::from_secs(660))).await.unwrap();
    let mut sent = Vec::new();
    while events(&sent).iter().filter(|event| event.name == "image.done").count() < 3 {
        sent.extend_from_slice(&invocation.next().await.unwrap().unwrap().bytes);
    }

    let (record, took) = settled(&stand, &user).await;
    assert!(took >= Duration::from_millis(STALL_MS), "{took:?}");
    assert_eq!((text(&record, "st"), number(&record, "images")), ("succeeded", 3));
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((6, 0)));
    sent.extend_from_slice(&tokio::time::timeout(EVER, invocation.rest()).await.unwrap().unwrap());
    let last = events(&sent).pop().unwrap();
    assert!(last.name == "error" && last.data.contains("\"stream_interrupted\""), "{}", last.data);
    assert!(function.is_running(), "it serves the next request");
}

/// The one-shot route has no stream: its client leaves while it waits for the answer.
#[tokio::test]
async fn a_one_shot_call_is_settled_if_its_client_leaves() {
    let user = User::new("one-shot");
    let stand = stand(&user).await;
    let upstream = Upstream::plays(Transcript { ending: Ending::Stall, ..Transcript::events(": here\n\n") }).await;
    let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on")]);
    let mut request = user.post("/api/generate-image", &json!({"prompt": "x"}));
    request.headers_mut().insert("idempotency-key", "key".parse().unwrap());
    let asked = async {
        while upstream.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = handle(app, request) => panic!("the answer does not come"),
        () = asked => {}
    }
    let (record, took) = settled(&stand, &user).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!((text(&record, "st"), text(&record, "code")), ("failed", "client_closed"));
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((9, 0)));
}

/// A request that never reached the upstream costs nothing.
#[tokio::test]
async fn a_client_that_leaves_before_the_request_was_sent_pays_nothing() {
    // Accepts no connection: its queue is full.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let user = User::new("early");
    let stand = stand(&user).await;
    let upstream = Upstream::gone();
    // A proxy answer to the key's fetch that never comes would hold the handler; a TLS handshake holds the call.
    let url = format!("https://{}", listener.local_addr().unwrap());
    let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("IMAGE_API_BASE_URL", &url)]);
    let mut body = handle(app, keyed(&user, "events", 1)).await.into_body();
    let _ = tokio::time::timeout(Duration::from_millis(300), async { while body.frame().await.is_some() {} }).await;
    drop(body);
    let (record, _) = settled(&stand, &user).await;
    assert_eq!((text(&record, "st"), text(&record, "code")), ("failed", "client_closed"));
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((10, 0)));
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0, "the token came back");
}
