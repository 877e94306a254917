//! Several pictures of one request: a call each, all at once, each in its slot.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::client::{content, data, events, pictures};
use dev::transcript::{Ending, Transcript};
use generate_stream::handle;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::{EVER, Reply, Stand, Upstream, User, fixture};

const PATH: &str = "/api/generate-stream";
const LIMIT: u64 = 5;

fn good() -> Transcript {
    Transcript::events(fixture("c01_newapi_one_giant_chunk.sse"))
}

/// Another picture than the good one's.
fn other() -> Transcript {
    Transcript::events(fixture("c02_doc_split.sse"))
}

fn moderated() -> Transcript {
    Transcript::events(fixture("e05_content_filter_empty.sse"))
}

fn status(status: u16) -> Transcript {
    Transcript { status, content_type: "application/json", ..Transcript::events("{}") }
}

/// Sends the beginning of an answer and then stalls.
fn stalled() -> Transcript {
    let bytes = fixture("c01_newapi_one_giant_chunk.sse");
    Transcript { ending: Ending::Stall, ..Transcript::events(bytes.slice(..300)) }
}

fn four() -> Value {
    json!({"prompt": "x", "format": "events", "n": 4})
}

fn codes(done: &Value) -> Vec<&str> {
    let mut codes: Vec<_> =
        done["failed"].as_array().unwrap().iter().map(|failed| failed["code"].as_str().unwrap()).collect();
    codes.sort_unstable();
    codes
}

#[expect(clippy::disallowed_methods, reason = "how long a picture waits is what is tested")]
#[tokio::test]
async fn a_picture_is_delivered_before_the_other_calls_have_ended() {
    let (stand, user) = (Stand::new().await, User::new("mixed"));
    let upstream = Upstream::plays_in_turn(vec![stalled(), status(500), moderated(), good()]).await;
    let app = stand.app(&upstream, &[("UPSTREAM_IDLE_MS", "3000"), ("CREDITS", "on"), ("CREDITS_INITIAL", "9")]);
    let begun = Instant::now();
    let response = handle(app, user.post(PATH, &four())).await;
    let mut body = response.into_body();
    let mut sent = Vec::new();
    let mut delivered = None;
    while let Some(frame) = timeout(EVER, body.frame()).await.unwrap() {
        sent.extend_from_slice(&frame.unwrap().into_data().unwrap());
        let events = events(&sent);
        if delivered.is_none() && events.iter().any(|event| event.name == "image.done") {
            delivered = Some(begun.elapsed());
            assert!(!events.iter().any(|event| event.name == "done"), "the picture does not wait for the rest");
        }
    }
    let (delivered, all) = (delivered.unwrap(), begun.elapsed());
    assert!(all >= Duration::from_secs(3) && delivered < Duration::from_secs(2), "{delivered:?} of {all:?}");

    let events = events(&sent);
    assert_eq!(data(&events[0])["n"], 4);
    let done = data(events.last().unwrap());
    assert_eq!(codes(&done), ["content_rejected", "upstream_error", "upstream_timeout"]);
    let mut slots: Vec<_> = done["failed"].as_array().unwrap().iter().map(|failed| failed["index"].as_u64()).collect();
    slots.push(done["images"][0]["index"].as_u64());
    slots.sort_unstable();
    assert_eq!(slots, [Some(0), Some(1), Some(2), Some(3)], "each call has a slot of its own");
    assert_eq!(done["images"].as_array().unwrap().len(), 1);
    assert!(done["failed"].as_array().unwrap().iter().all(|failed| !failed["message"].as_str().unwrap().is_empty()));
    assert_eq!(upstream.requests(), 4);
    // None of the four is given back as a call: each may have been worked on. The picture costs a credit, and so does
    // the refusal of what the user asked.
    assert_eq!(stand.tables.missing(&user.owner(), LIMIT).await, 4);
    assert_eq!(done["credits_remaining"], 7);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((7, 0)));
}

#[tokio::test]
async fn one_refused_call_of_several_gets_its_token_back() {
    for (refusal, code) in [(429, "upstream_busy"), (503, "upstream_busy"), (502, "upstream_error")] {
        let (stand, user) = (Stand::new().await, User::new("busy"));
        let upstream = Upstream::plays_in_turn(vec![good(), status(refusal), good(), other()]).await;
        let reply = Reply::read(handle(stand.app(&upstream, &[]), user.post(PATH, &four())).await).await;
        assert_eq!(reply.ending(), "done");
        let done = reply.last();
        assert_eq!((done["images"].as_array().unwrap().len(), codes(&done)), (3, vec![code]), "{refusal}");
        let kept = if code == "upstream_busy" { 3 } else { 4 };
        assert_eq!(stand.tables.missing(&user.owner(), LIMIT).await, kept, "{refusal}");
    }
}

#[tokio::test]
async fn four_pictures_in_four_slots_each_whole() {
    let (stand, user) = (Stand::new().await, User::new("four"));
    // Small pieces with time between them, so that the answers mix.
    let slow = |transcript| Transcript { piece_bytes: 200, piece_after: Duration::from_millis(1), ..transcript };
    let upstream = Upstream::plays_in_turn(vec![slow(good()), slow(other()), slow(good()), slow(other())]).await;
    let reply = Reply::read(handle(stand.app(&upstream, &[]), user.post(PATH, &four())).await).await;
    let pictures = pictures(&reply.events());
    let mut sizes: Vec<_> = pictures.iter().map(|(_, bytes)| bytes.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [69, 69, 1820, 1820]);
    let done = reply.last();
    let slots: Vec<_> = done["images"].as_array().unwrap().iter().map(|image| image["index"].as_u64()).collect();
    assert_eq!(slots, [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(done["failed"], json!([]));
    assert_eq!(done["usage"]["total_tokens"], 2 * 1302, "the sum of the calls that report usage");
}

#[tokio::test]
async fn if_all_calls_fail_there_is_one_error_and_unused_tokens_are_refunded() {
    for (transcripts, code, tokens, credits) in [
        (vec![status(429)], "upstream_busy", 0, 9),
        (vec![status(429), status(500)], "upstream_busy or upstream_error", 3, 9),
        (vec![moderated()], "content_rejected", 4, 5),
        (vec![moderated(), moderated(), moderated(), status(429)], "upstream_busy", 3, 6),
        // In whichever order they end.
        (vec![status(400), status(429)], "upstream_busy", 1, 8),
        (vec![status(429), status(429), status(429), status(400)], "upstream_busy", 1, 8),
    ] {
        let (stand, user) = (Stand::new().await, User::new("all"));
        let upstream = Upstream::plays_in_turn(transcripts).await;
        let app = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "9")]);
        let reply = Reply::read(handle(app, user.post(PATH, &four())).await).await;
        let ending = reply.ending();
        assert!(code.split(" or ").any(|code| ending == format!("error {code}")), "{ending} is not {code}");
        assert_eq!(stand.tables.missing(&user.owner(), LIMIT).await, tokens, "{code}");
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((credits, 0)), "{code}");
    }
}

#[tokio::test]
async fn more_than_the_limit_is_never_called() {
    let (stand, user) = (Stand::new().await, User::new("limit"));
    let upstream = Upstream::plays(good()).await;
    let small = stand.app(&upstream, &[("RL_LIMIT", "3")]);
    let reply = Reply::read(handle(small, user.post(PATH, &four())).await).await;
    assert_eq!(reply.ending(), "problem invalid_request");
    let app = stand.app(&upstream, &[]);
    assert_eq!(Reply::read(handle(app.clone(), user.post(PATH, &four())).await).await.ending(), "done");
    let second = Reply::read(handle(app.clone(), user.post(PATH, &four())).await).await;
    assert_eq!((second.status, second.ending().as_str()), (429, "problem rate_limited"));
    let one = json!({"prompt": "x", "format": "events"});
    assert_eq!(Reply::read(handle(app, user.post(PATH, &one)).await).await.ending(), "done", "there is one left");
    assert_eq!(upstream.requests(), 5);
}

#[tokio::test]
async fn another_number_under_the_same_key_is_another_request() {
    let (stand, user) = (Stand::new().await, User::new("key"));
    let upstream = Upstream::plays(status(500)).await;
    let app = stand.app(&upstream, &[]);
    let keyed = |body: Value| {
        let mut request = user.post(PATH, &body);
        request.headers_mut().insert("idempotency-key", "one-key".parse().unwrap());
        request
    };
    let two = json!({"prompt": "x", "format": "events", "n": 2});
    assert_eq!(Reply::read(handle(app.clone(), keyed(two)).await).await.ending(), "error upstream_error");
    let three = json!({"prompt": "x", "format": "events", "n": 3});
    assert_eq!(Reply::read(handle(app.clone(), keyed(three)).await).await.ending(), "problem task_id_reused");
    // In chat format both make one picture. The `n` that was asked for counts all the same.
    let chat = |n: u32| user.post(PATH, &json!({"prompt": "x", "n": n}));
    let (mut first, mut second) = (chat(1), chat(4));
    for request in [&mut first, &mut second] {
        request.headers_mut().insert("idempotency-key", "another-key".parse().unwrap());
    }
    assert_eq!(Reply::read(handle(app.clone(), first).await).await.ending(), "problem upstream_error");
    assert_eq!(Reply::read(handle(app, second).await).await.ending(), "problem task_id_reused");
}

fn sizes(content: &str) -> Vec<usize> {
    let pictures = content.split("![image](data:image/png;base64,").skip(1);
    pictures.map(|rest| STANDARD.decode(rest.split(')').next().unwrap()).unwrap().len()).collect()
}

#[tokio::test]
async fn chat_format_makes_one_picture_unless_configured() {
    let slow = |transcript| Transcript { piece_bytes: 100, piece_after: Duration::from_millis(1), ..transcript };
    let chat = json!({"prompt": "x", "n": 3});
    let (stand, user) = (Stand::new().await, User::new("chat"));
    let upstream = Upstream::plays(good()).await;
    let reply = Reply::read(handle(stand.app(&upstream, &[]), user.post(PATH, &chat)).await).await;
    assert_eq!((sizes(&content(&reply.events())), upstream.requests()), (vec![1820], 1));
    assert_eq!(stand.tables.missing(&user.owner(), LIMIT).await, 1);

    let (stand, user) = (Stand::new().await, User::new("chat-n"));
    let upstream = Upstream::plays_in_turn(vec![slow(good()), slow(other()), status(500)]).await;
    let reply = Reply::read(handle(stand.app(&upstream, &[("CHAT_N", "on")]), user.post(PATH, &chat)).await).await;
    assert_eq!(reply.ending(), "[DONE]");
    let content = content(&reply.events());
    let mut sizes = sizes(&content);
    sizes.sort_unstable();
    assert_eq!(sizes, [69, 1820], "one after another, never mixed: {content}");
    assert_eq!(upstream.requests(), 3);
    assert_eq!(stand.tables.missing(&user.owner(), LIMIT).await, 3);
}

#[tokio::test]
async fn a_chat_of_several_calls_that_all_fail_is_a_status() {
    let (stand, user) = (Stand::new().await, User::new("chat-all"));
    let upstream = Upstream::plays(status(429)).await;
    let app = stand.app(&upstream, &[("CHAT_N", "on")]);
    let reply = Reply::read(handle(app, user.post(PATH, &json!({"prompt": "x", "n": 2}))).await).await;
    assert_eq!((reply.status, reply.ending().as_str()), (503, "problem upstream_busy"));
    assert_eq!(stand.tables.missing(&user.owner(), LIMIT).await, 0);
}
