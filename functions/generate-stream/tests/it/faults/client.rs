//! Clients that leave, stop reading, read slowly, or send what is no request.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::client::{data, events, pictures};
use dev::function::Function;
use dev::function_url::payload;
use dev::picture::{PictureFormat, draw};
use dev::runtime_api::Deadline;
use dev::transcript::{Ending, Gate, Transcript};
use generate_stream::{App, handle};
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::edge::Body;

use crate::kept::KeptStand;
use crate::log::Log;
use crate::support::{EVER, Item, Reply, Stand, Upstream, User, number, text};

const BINARY: &str = env!("CARGO_BIN_EXE_generate-stream");
const PATH: &str = "/api/generate-stream";
const STALL_MS: u64 = 700;
const LONG: Deadline = Deadline::In(Duration::from_secs(660));

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
async fn c2_a_reader_that_stops_after_three_of_four_pictures_pays_for_all_four() {
    let (log, user) = (Log::new(), User::new("stops"));
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
    assert_eq!(data(&last)["code"], "stream_interrupted", "{}", last.data);
    let done = events(&sent).into_iter().filter(|event| event.name == "image.done").map(|event| data(&event));
    let mut done: Vec<_> = done.collect();
    done.sort_by_key(|image| image["index"].as_u64());
    assert_eq!(data(&last)["images"], Value::from(done), "the pictures that were received stay valid");
    let summary = log.summary();
    assert_eq!((&summary["level"], &summary["images"]), (&json!("INFO"), &json!(3)));
    assert_eq!(summary["client_left"], true);
    assert!(log.alarms().is_empty(), "{}", log.text());
}

#[tokio::test]
async fn c1_a_client_that_leaves_pays_for_the_calls_that_were_sent() {
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
        let (log, user) = (Log::new(), User::new("leaves"));
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
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1, "the token is kept");
        assert_eq!((upstream.requests(), upstream.seen.open()), (1, 0));
        let summary = log.summary();
        assert_eq!(summary["level"], "INFO", "{summary}");
        assert_eq!(summary["code"], if status == "failed" { json!("client_closed") } else { json!(null) });
        assert!(log.alarms().is_empty(), "{}", log.text());
    }
}

/// The same with the real binary, whose client is the platform: beyond what the sockets hold nothing is read.
#[tokio::test]
async fn c2_a_platform_that_stops_reading_the_function_s_answer() {
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
    let listed = data(&last)["images"].as_array().unwrap().len();
    assert_eq!(listed, 3, "{}", last.data);
    assert!(function.is_running(), "it serves the next request");
}

/// The one-shot route has no stream: its client leaves while it waits for the answer.
#[tokio::test]
async fn c1_a_one_shot_call_is_settled_if_its_client_leaves() {
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
async fn c1_a_client_that_leaves_before_the_request_was_sent_pays_nothing() {
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

/// Where pictures are kept, the answer is read to its end without the client, and is paid.
#[tokio::test]
async fn c1_a_client_that_leaves_finds_its_picture_in_the_log() {
    let (log, user) = (Log::new(), User::new("leaves"));
    let kept = KeptStand::new().await;
    kept.stand.tables.grant(&user.owner(), 10).await;
    let gate = Gate::closed();
    let transcript = Transcript { gate: Some(gate.clone()), ..Transcript::events(picture(1, 8)) };
    let upstream = Upstream::plays(transcript).await;
    let app = kept.app(&upstream, &[("CREDITS", "on")]);
    let mut body = handle(app, keyed(&user, "events", 1)).await.into_body();
    while upstream.requests() == 0 {
        let _ = tokio::time::timeout(Duration::from_millis(5), body.frame()).await;
    }
    drop(body);
    gate.open();
    let (record, _) = settled(&kept.stand, &user).await;
    assert_eq!((text(&record, "st"), number(&record, "images")), ("succeeded", 1));
    assert_eq!(record["pics"].as_m().unwrap().len(), 1, "{record:?}");
    assert_eq!(kept.stand.tables.balance(&user.owner()).await, Some((9, 0)));
    let summary = log.summary();
    assert_eq!((&summary["level"], &summary["client_left"]), (&json!("INFO"), &json!(true)), "{summary}");
}

/// A picture of about this many bytes.
pub(super) fn large_picture(bytes: usize) -> Vec<u8> {
    let small = draw("slow", 1, PictureFormat::Png, 64, 64).bytes;
    // A chunk with random-looking text before the last one: decoders skip chunks that they do not know.
    let (head, end) = small.split_at(small.len() - 12);
    let filling: Vec<u8> = (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let length = u32::try_from(filling.len()).unwrap().to_be_bytes();
    [head, &length, b"skIp", &filling, &png_crc(b"skIp", &filling).to_be_bytes(), end].concat()
}

/// The checksum of a PNG chunk.
fn png_crc(kind: &[u8], body: &[u8]) -> u32 {
    let add = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
    };
    !kind.iter().chain(body).fold(u32::MAX, add)
}

/// An answer with this picture, in chunks of 16 KiB.
pub(super) fn answer_with(picture: &[u8]) -> String {
    let base64 = format!("![image](data:image/png;base64,{})", STANDARD.encode(picture));
    let mut answer = String::new();
    for piece in base64.as_bytes().chunks(16 * 1024) {
        let piece = std::str::from_utf8(piece).unwrap();
        answer += &format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{piece}\"}}}}]}}\n\n");
    }
    answer + "data: [DONE]\n\n"
}

/// A client at 10 KB a second, while the upstream sends 14 MB: the function's memory stays flat, and the upstream waits.
/// Where pictures are kept, the function holds the one that arrives, because the bucket needs it whole.
#[tokio::test]
async fn c2_a_slow_reader_does_not_make_memory_grow() {
    const ANSWER_BYTES: usize = 14_000_000;
    let picture = large_picture(ANSWER_BYTES / 4 * 3);
    let answer = answer_with(&picture);
    // Pieces in transit, and what the allocator keeps: usually 2 to 3 MB.
    let buffers = ANSWER_BYTES as u64 / 2;
    for (is_kept, max_growth) in [(false, buffers), (true, buffers + 2 * picture.len() as u64)] {
        let (user, kept) = (User::new("slow"), KeptStand::new().await);
        let large = Transcript { piece_bytes: 64 * 1024, ..Transcript::events(answer.clone()) };
        let small = Transcript::events(answer_with(&large_picture(64 * 1024)));
        let upstream = Upstream::plays_in_turn(vec![small, large]).await;
        let mut environment = kept.stand.environment(&upstream);
        if is_kept {
            environment.extend(dev::s3::variables(&kept.running.url("")));
        }
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let function = Function::spawn(Path::new(BINARY), &environment).await.unwrap();
        let bearer = user.bearer();
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let body = json!({"prompt": "x", "format": "events"}).to_string();
        let request = payload("POST", PATH, &headers, &body, false);
        // The memory that any request needs: code that runs for the first time, clients and their connections.
        let mut warm = function.invoke(&request, LONG).await.unwrap();
        assert_eq!(events(&warm.rest().await.unwrap()).last().unwrap().name, "done");
        let before = function.peak_resident_bytes().unwrap();

        let mut invocation = function.invoke(&request, LONG).await.unwrap();
        let (mut sent, mut seconds) = (Vec::new(), 0);
        while seconds < 5 {
            let mut left = 10_000_usize;
            while left > 0 {
                let Some(frame) = invocation.next().await.unwrap() else { panic!("it ended early") };
                sent.extend_from_slice(&frame.bytes);
                left = left.saturating_sub(frame.bytes.len());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            seconds += 1;
        }
        let growth = function.peak_resident_bytes().unwrap().saturating_sub(before);
        println!("kept: {is_kept}, growth at 10 KB/s: {growth} bytes");
        assert!(growth < max_growth, "kept: {is_kept}: {growth} bytes");
        sent.extend_from_slice(&tokio::time::timeout(EVER, invocation.rest()).await.unwrap().unwrap());
        let growth = function.peak_resident_bytes().unwrap().saturating_sub(before);
        println!("kept: {is_kept}, growth in all: {growth} bytes");
        assert!(growth < max_growth, "kept: {is_kept}: {growth} bytes");
        let events = events(&sent);
        assert_eq!(events.iter().filter(|event| ["done", "error"].contains(&event.name.as_str())).count(), 1);
        assert_eq!(events.last().unwrap().name, "done");
        assert!(pictures(&events) == [(0, picture.clone())], "the picture is whole");
    }
}

/// Everything that a request can spend.
async fn nothing_is_spent(stand: &Stand, user: &User, upstream: &Upstream, name: &str) {
    assert_eq!(stand.tables.bucket(&user.owner()).await, None, "{name}");
    assert_eq!(stand.tables.balance(&user.owner()).await, None, "{name}");
    assert_eq!((stand.tables.proxy.calls(), stand.vault.calls(), upstream.requests()), (0, 0, 0), "{name}");
}

#[tokio::test]
async fn c3_a_body_that_is_no_request_costs_nothing() {
    const MOST_BYTES: usize = 6 * 1024 * 1024;
    let (log, stand, user) = (Log::new(), Stand::new().await, User::new("body"));
    let upstream = Upstream::plays(Transcript::events(picture(1, 8))).await;
    let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "3")]);
    let json_type = ("content-type", "application/json");
    let gbk = ("content-type", "application/json; charset=gbk");
    let good = br#"{"prompt":"x"}"#.to_vec();
    type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<u8>, u16, &'a str);
    let rows: Vec<Row<'_>> = vec![
        ("empty", vec![json_type], Vec::new(), 400, "invalid_json"),
        ("text", vec![json_type], b"a lake".to_vec(), 400, "invalid_json"),
        ("truncated", vec![json_type], good[..9].to_vec(), 400, "invalid_json"),
        ("trailing text", vec![json_type], [&good[..], b"{}"].concat(), 400, "invalid_json"),
        ("deep", vec![json_type], format!(r#"{{"prompt":"x","a":{}"#, "[".repeat(100_000)).into(), 400, "invalid_json"),
        ("twice", vec![json_type], br#"{"prompt":"x","prompt":"y"}"#.to_vec(), 400, "invalid_request"),
        ("BOM", vec![json_type], [b"\xef\xbb\xbf", &good[..]].concat(), 400, "invalid_json"),
        ("6 MB and one byte", vec![json_type], vec![b' '; MOST_BYTES + 1], 413, "payload_too_large"),
        ("UTF-16", vec![json_type], good.iter().flat_map(|byte| [*byte, 0]).collect(), 400, "invalid_json"),
        ("GBK", vec![gbk], b"{\"prompt\":\"\xba\xfe\"}".to_vec(), 400, "invalid_json"),
        ("gzip", vec![json_type, ("content-encoding", "gzip")], good.clone(), 415, "unsupported_media_type"),
        (
            "a form",
            vec![("content-type", "application/x-www-form-urlencoded")],
            good.clone(),
            415,
            "unsupported_media_type",
        ),
        ("no type", vec![], good.clone(), 415, "unsupported_media_type"),
    ];
    for path in [PATH, "/api/generate-image"] {
        for (name, headers, body, status, code) in &rows {
            let request = Request::post(path).header("authorization", user.bearer());
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            let request = request.body(body.clone().into()).unwrap();
            let reply = Reply::read(handle(app.clone(), request).await).await;
            assert_eq!((reply.status, reply.ending()), (*status, format!("problem {code}")), "{name}");
            nothing_is_spent(&stand, &user, &upstream, name).await;
        }
    }
    assert!(log.of_level("WARN").is_empty(), "a client's mistake needs no operator: {}", log.text());
}

#[tokio::test]
async fn c4_three_point_zero_is_three() {
    let (log, stand, user) = (Log::new(), Stand::new().await, User::new("three"));
    let answers = (0..3).map(|variant| Transcript::events(picture(variant, 8)));
    let upstream = Upstream::plays_in_turn(answers.collect()).await;
    let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5")]);
    let mut request = user.post(PATH, &Value::Null);
    *request.body_mut() = r#"{"prompt":"x","format":"events","n":3.0}"#.into();
    let reply = Reply::read(handle(app, request).await).await;
    assert_eq!((reply.ending().as_str(), upstream.requests()), ("done", 3));
    assert_eq!(reply.last()["images"].as_array().unwrap().len(), 3);
    assert_eq!(reply.last()["credits_remaining"], 2);
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 3);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((2, 0)));
    let summary = log.summary();
    assert_eq!((&summary["level"], &summary["images"]), (&json!("INFO"), &json!(3)));
}

#[tokio::test]
async fn c5_another_method_or_path_costs_nothing() {
    let (log, stand, user) = (Log::new(), Stand::new().await, User::new("path"));
    let upstream = Upstream::plays(Transcript::events(picture(1, 8))).await;
    let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on")]);
    let ask = async |method: &str, path: &str| {
        let mut request = user.post(path, &json!({"prompt": "x"}));
        *request.method_mut() = method.parse().unwrap();
        Reply::read(handle(app.clone(), request).await).await
    };
    for path in [PATH, "/api/generate-image"] {
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "post"] {
            let reply = ask(method, path).await;
            assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
            assert_eq!(reply.ending(), "problem method_not_allowed", "{method}");
        }
        let other = [format!("{path}/"), format!("/{path}"), path.to_uppercase(), format!("{path}/x"), "/".to_owned()];
        for path in other {
            let reply = ask("POST", &path).await;
            assert_eq!((reply.status, reply.ending().as_str()), (404, "problem route_not_found"), "{path}");
        }
    }
    nothing_is_spent(&stand, &user, &upstream, "another method or path").await;
    assert!(log.of_level("WARN").is_empty(), "{}", log.text());
}
