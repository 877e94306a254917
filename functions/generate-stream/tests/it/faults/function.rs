//! The function and its platform: time, panics, configuration, a frozen process, many requests.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dev::client::{data, endings, events, pictures};
use dev::function::Function;
use dev::function_url::payload;
use dev::image_api::picture_for;
use dev::runtime_api::Deadline;
use dev::secrets::SecretsFault;
use dev::transcript::{self, Ending, Transcript};
use dev::user;
use futures_util::future::join_all;
use generate_stream::{App, handle};
use http::Request;
use serde_json::{Value, json};
use shared::auth::{Principal, SourceIp};
use shared::edge::{
    AdmitRequest, Admitted, CallLabels, CallTarget, Invocation, Output, Post, RequestBody, Sender, UpstreamCalls,
    detached, new_id, run,
};
use shared::image_url::LocalLinks;
use shared::outcome::Success;
use shared::problem::Code;
use shared::task::TaskState;
use shared::update::Update;
use shared::upstream::{AnyDialect, Failure};

use crate::kept::{self, KeptStand};
use crate::lambda::{BINARY, KEY, LONG, ends_in, outcome, simulator};
use crate::log::Log;
use crate::support::{EVER, Reply, Stand, Upstream, User, text};

const STREAM: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
/// Model that sends drafts, so that its pictures are held until its call has ended.
const WITH_DRAFTS: (&str, &str) = ("IMAGE_MODELS", "gemini-3-pro-image");

/// The log of a function in the form that [`logged`] reads.
const AS_JSON: (&str, &str) = ("AWS_LAMBDA_LOG_FORMAT", "JSON");

fn keyed(user: &User, path: &str, mut body: Value) -> Request<Bytes> {
    body["prompt"] = json!("x");
    let mut request = user.post(path, &body);
    request.headers_mut().insert("idempotency-key", "key".parse().unwrap());
    request
}

/// The event of a user's request to a function.
fn event_of(user: &User, path: &str, body: &Value) -> Value {
    let bearer = user.bearer();
    let headers =
        [("content-type", "application/json"), ("authorization", bearer.as_str()), ("idempotency-key", "key")];
    payload("POST", path, &headers, &body.to_string(), false)
}

async fn spawn(stand: &Stand, upstream: &Upstream, more: &[(&'static str, &str)]) -> Function {
    let mut environment = stand.environment(upstream);
    environment.push((AS_JSON.0, AS_JSON.1.to_owned()));
    environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Function::spawn(Path::new(BINARY), &environment).await.unwrap()
}

/// The lines of a function's log with this member.
fn logged(function: &Function, member: &str) -> Vec<Value> {
    let lines = function.log().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>();
    let field = |line: &Value| !line["fields"][member].is_null();
    lines.into_iter().filter(field).collect()
}

/// With whole pictures, a part, and without any.
#[tokio::test]
async fn l1_a_near_deadline_ends_every_route_at_least_two_seconds_before() {
    let stand = Stand::new().await;
    let half = |text: &str| Transcript { ending: Ending::Stall, ..Transcript::events(text.to_owned()) };
    let nothing = Upstream::plays(half(&says("hello"))).await;
    let one = Upstream::plays_in_turn(vec![Transcript::events(kept::answer(1)), half(&says("hello"))]).await;
    let more = [("CREDITS", "on"), ("CREDITS_INITIAL", "5"), ("AWS_LAMBDA_MAX_CONCURRENCY", "4")];
    let functions = [spawn(&stand, &nothing, &more).await, spawn(&stand, &one, &more).await];
    let rows = [
        (0, STREAM, json!({"prompt": "x", "format": "events"}), "error deadline_exceeded", 1, 5),
        (0, STREAM, json!({"prompt": "x", "format": "chat"}), "error deadline_exceeded", 1, 5),
        (0, IMAGE, json!({"prompt": "x"}), "problem deadline_exceeded", 1, 5),
        (1, STREAM, json!({"prompt": "x", "format": "events", "n": 2}), "done", 2, 4),
    ];
    let all = rows.iter().enumerate().map(async |(row, (function, path, body, ending, tokens, credits))| {
        let user = User::new(&format!("deadline{row}"));
        let deadline = Deadline::In(Duration::from_secs(11));
        let mut invocation = functions[*function].invoke(&event_of(&user, path, body), deadline).await.unwrap();
        let (mut sent, mut last) = (Vec::new(), invocation.prelude_at);
        while let Some(frame) = invocation.next().await.unwrap() {
            sent.extend_from_slice(&frame.bytes);
            last = frame.at;
        }
        assert!(last - invocation.handed_out < Duration::from_secs(9), "{row}: two seconds are left");
        assert_eq!(endings(&invocation.prelude.headers["content-type"], &sent), [*ending], "{row}");
        if *ending == "done" {
            let done = data(events(&sent).last().unwrap());
            let (images, failed) = (done["images"].as_array().unwrap(), done["failed"].as_array().unwrap());
            assert_eq!((images.len(), failed.len()), (1, 1));
            // Either call can get the whole answer.
            assert_eq!(images[0]["index"].as_u64().unwrap() + failed[0]["index"].as_u64().unwrap(), 1);
            assert_eq!(failed[0]["code"], "deadline_exceeded");
        }
        let record = stand.tables.record(&user.owner(), "key").await.unwrap();
        assert_eq!(text(&record, "st"), if *ending == "done" { "succeeded" } else { "failed" }, "{row}");
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, *tokens, "{row}: the upstream had begun");
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((*credits, 0)), "{row}");
    });
    tokio::time::timeout(EVER, join_all(all)).await.unwrap();
    for (function, requests) in functions.iter().zip([3, 1]) {
        assert!(function.is_running());
        let summaries = logged(function, "bytes_in");
        assert_eq!(summaries.len(), requests, "{}", function.log());
        let level = if requests == 3 { "ERROR" } else { "INFO" };
        assert!(summaries.iter().all(|line| line["level"] == level), "{}", function.log());
        assert!(logged(function, "alarm").iter().all(|line| !line.to_string().contains("\"alarm\":true")));
    }
    assert_eq!((nothing.seen.open(), one.seen.open()), (0, 0), "the calls have ended");
}

#[tokio::test]
async fn l2_with_too_little_time_left_nothing_is_begun() {
    let ms = Duration::from_millis;
    let (kept, upstream) = (KeptStand::new().await, Upstream::plays(Transcript::events(kept::answer(1))).await);
    let plain: Arc<App> = kept.stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5")]);
    // Its pictures are stored within three seconds.
    let keeping = kept.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5")]);
    let rows = [(&plain, ms(0), false), (&plain, ms(9_900), false), (&plain, ms(11_000), true)];
    let rows = rows.into_iter().chain([(&keeping, ms(12_900), false), (&keeping, ms(14_000), true)]);
    for (row, (app, left, is_served)) in rows.enumerate() {
        for (path, format) in [(STREAM, "events"), (STREAM, "chat"), (IMAGE, "chat")] {
            let (log, user) = (Log::new(), User::new(&format!("late{row}{path}{format}")));
            let before = (upstream.requests(), kept.stand.vault.calls());
            let mut request = keyed(&user, path, json!({"format": format}));
            #[expect(clippy::disallowed_methods, reason = "the platform has a clock of its own")]
            let deadline = Some(tokio::time::Instant::now() + left);
            request.extensions_mut().insert(Invocation { deadline, source_ip: None });
            let reply = Reply::read(handle(app.clone(), request).await).await;
            if is_served {
                assert_eq!((reply.status, upstream.requests()), (200, before.0 + 1), "{left:?}");
                continue;
            }
            assert_eq!((reply.status, reply.ending().as_str()), (503, "problem service_unavailable"), "{left:?}");
            assert_eq!(reply.header("retry-after"), Some("1"));
            assert_eq!((upstream.requests(), kept.stand.vault.calls()), before, "{left:?}");
            assert_eq!(kept.stand.tables.bucket(&user.owner()).await, None, "{left:?}: no token is consumed");
            assert_eq!(kept.stand.tables.balance(&user.owner()).await, None, "{left:?}");
            assert_eq!(kept.stand.tables.record(&user.owner(), "key").await, None, "{left:?}");
            let [line] = &log.of_level("WARN")[..] else { panic!("{}", log.text()) };
            assert_eq!((&line["level"], &line["alarm"]), (&json!("ERROR"), &json!(null)));
        }
    }
}

#[test]
fn l3_a_panic_is_logged_by_its_location_only() {
    let log = Log::new();
    // The hook belongs to the process. The other tests need the usual one, which prints why they fail.
    let usual = std::panic::take_hook();
    shared::edge::lambda::log_panics();
    let asked = "a canary of a prompt";
    let panicked = std::panic::catch_unwind(|| panic!("cannot draw {asked}"));
    std::panic::set_hook(usual);
    assert!(panicked.is_err());
    let logged = log.with("a task panicked");
    let file = logged[0]["file"].as_str().unwrap();
    assert!(file.ends_with("function.rs") && !log.text().contains("canary"), "{}", log.text());
}

/// Panics at this update, counted from 0.
struct Faulty(u32);

impl Output for Faulty {
    fn update(&mut self, _: &Update<'_>) -> bool {
        assert!(self.0 > 0, "on purpose");
        self.0 -= 1;
        false
    }

    fn take(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// How a request ends whose output panics at an update, and the state of its record.
async fn panics_at(update: u32, answer: impl Into<Bytes>) -> (Result<Success, Failure>, TaskState) {
    let (router, _) = transcript::routes(Transcript::events(answer));
    let upstream = dev::start(router).await.unwrap();
    let base = upstream.url("");
    let app = App::from_env(&|name| match name {
        "IMAGE_API_BASE_URL" => Some(base.clone()),
        "IMAGE_API_KEY" => Some("a-key-of-this-test".to_owned()),
        _ => user::variable(name),
    });
    let work = async move |mut sender: Sender| {
        let ready = app.ready().unwrap();
        let principal = Principal::Source(SourceIp::new(None));
        let task_id = new_id();
        let request = AdmitRequest {
            principal: &principal,
            route: "/",
            task_id: &task_id,
            fingerprint: String::new(),
            calls: 1,
            images: 1,
            replays: false,
            deadline: None,
        };
        let Admitted::Run(admission) = ready.ledger.admit(request).await.unwrap() else { unreachable!("a new task") };
        let api = &ready.config.image_api.upstreams[0];
        let post = |_| {
            Ok(Post {
                url: api.endpoint("/v1/chat/completions"),
                upstream: &api.name,
                keys: ready.key(0)?,
                key_as: api.key_as,
                body: RequestBody::json(&json!({}))?,
                request_id: "request",
            })
        };
        let target = CallTarget {
            id: 0,
            name: &api.name,
            dialect: AnyDialect::new,
            links: LocalLinks::Refused,
            copies_links: false,
            may_send_drafts: true,
            price: None,
        };
        let calls = UpstreamCalls {
            upstream: &ready.upstream,
            timing: &ready.config.timing,
            ledger: &ready.ledger,
            admission: &admission,
            times: 1,
            targets: &[target],
            cooldowns: &ready.cooldowns,
            references: Vec::new(),
            label_rules: None,
            labels: CallLabels { route: "/", principal: &principal, request_id: "request", task_id: &task_id },
        };
        let ended = run(calls, &post, &mut Faulty(update), &mut sender).await;
        let record = ready.ledger.task(&principal, &task_id).await.unwrap().unwrap();
        (ended.map(|delivered| delivered.success).map_err(|failed| failed.failure), record.state)
    };
    let ended = detached(work).await.unwrap();
    drop(upstream);
    ended
}

#[tokio::test]
async fn l3_a_panic_while_an_answer_is_read_is_a_failure() {
    let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n";
    let failed = TaskState::Failed { code: Some(Code::InternalError) };
    assert_eq!(panics_at(0, text).await, (Err(Failure::Internal), failed));
}

/// An answer's event with this text.
fn says(content: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n")
}

#[tokio::test]
async fn l3_a_panic_after_a_whole_picture_leaves_a_success() {
    let link = says("![image](https://example.com/a.png)");
    let (verdict, state) = panics_at(1, link + &says("hello")).await;
    let success = verdict.unwrap();
    assert_eq!((success.images.len(), success.cut_short), (1, Some(Failure::Internal)));
    assert_eq!(state, TaskState::Succeeded);
}

/// Its output has not written the picture, so it counts as failed.
#[tokio::test]
async fn l3_a_panic_while_a_picture_is_written_leaves_a_failure() {
    let link = says("![image](https://example.com/a.png)");
    let failed = TaskState::Failed { code: Some(Code::InternalError) };
    assert_eq!(panics_at(0, link).await, (Err(Failure::Internal), failed));
}

#[tokio::test]
async fn l3_after_a_panic_in_the_handler_the_next_request_is_served() {
    let stand = Stand::new().await;
    let upstream = Upstream::plays(Transcript::events(kept::answer(1))).await;
    for (row, at) in ["token refused", "Secrets Manager did not return the secret"].into_iter().enumerate() {
        for (path, format) in [(STREAM, "events"), (STREAM, "chat"), (IMAGE, "chat")] {
            let user = User::new(&format!("panic{row}{path}{format}"));
            let log = Log::that_panics_at(at);
            // A new function: the refusal of a token is logged once a second.
            let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5")]);
            let before = upstream.requests();
            stand.vault.fail((row == 1).then_some(SecretsFault::AccessDenied));
            let mut request = keyed(&user, path, json!({"format": format}));
            if row == 0 {
                request.headers_mut().insert("authorization", "Bearer a.b.c".parse().unwrap());
            }
            let reply = Reply::read(handle(app.clone(), request).await).await;
            assert_eq!((reply.status, reply.ending().as_str()), (500, "problem internal_error"), "{at}");
            assert!(!log.with(at).is_empty(), "{}", log.text());
            assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0, "{at}: the token came back");
            assert!(matches!(stand.tables.balance(&user.owner()).await, None | Some((5, 0))), "{at}");
            assert_eq!(stand.tables.record(&user.owner(), "key").await, None, "{at}: the key can be sent again");
            assert_eq!(upstream.requests(), before, "{at}");
            stand.vault.fail(None);
            let next = Reply::read(handle(app, keyed(&user, STREAM, json!({"format": "events"}))).await).await;
            assert_eq!(next.ending(), "done", "{at}: the same instance serves the next request");
        }
    }
}

/// The panic is between two updates: while the call waits for more of an answer.
#[tokio::test]
async fn l3_a_panic_in_a_stream_is_one_terminal_event_with_the_whole_pictures() {
    const AT: &str = "the upstream's answer was cut";
    let stand = Stand::new().await;
    let picture = kept::answer(1).replace("data: [DONE]\n\n", "");
    let cut = |answer: &str| Transcript { ending: Ending::Abort, ..Transcript::events(answer.to_owned()) };
    let hello = says("hello");
    let with_drafts = "gemini-3-pro-image";
    let rows = [
        ("events", STREAM, json!({"format": "events"}), &hello, "error internal_error"),
        ("chat", STREAM, json!({"format": "chat"}), &hello, "error internal_error"),
        ("held chat", STREAM, json!({"format": "chat", "model": with_drafts}), &hello, "error internal_error"),
        ("one-shot", IMAGE, json!({}), &hello, "problem internal_error"),
        ("events, picture", STREAM, json!({"format": "events"}), &picture, "done"),
        ("two of events", STREAM, json!({"format": "events", "n": 2}), &picture, "done"),
        ("chat, picture", STREAM, json!({"format": "chat"}), &picture, "[DONE]"),
        ("held chat, picture", STREAM, json!({"format": "chat", "model": with_drafts}), &picture, "[DONE]"),
        ("one-shot, picture", IMAGE, json!({}), &picture, "data"),
    ];
    for (name, path, body, answer, ending) in rows {
        let (log, user) = (Log::that_panics_at(AT), User::new(name));
        let transcripts = vec![cut(answer), cut(&hello), Transcript::events(kept::answer(2))];
        let upstream = Upstream::plays_in_turn(transcripts).await;
        let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5"), WITH_DRAFTS]);
        let calls = body["n"].as_u64().unwrap_or(1);
        let reply = Reply::read(handle(app.clone(), keyed(&user, path, body)).await).await;
        let has_picture = std::ptr::eq(answer, &picture);
        match ending {
            "data" => assert_eq!(reply.last()["data"].as_array().unwrap().len(), 1, "{name}"),
            _ => assert_eq!(reply.ending(), ending, "{name}"),
        }
        if ending == "done" {
            assert_eq!(pictures(&reply.events()).len(), 1, "{name}");
            assert_eq!(reply.last()["images"].as_array().unwrap().len(), 1, "{name}");
            let failed = reply.last()["failed"].as_array().unwrap().clone();
            assert!(failed.len() as u64 == calls - 1 && failed.iter().all(|slot| slot["code"] == "internal_error"));
        }
        if ending == "[DONE]" {
            let content = dev::client::content(&reply.events());
            assert_eq!(content.matches("![image](data:image/png;base64,").count(), 1, "{name}: {content}");
            assert!(content.ends_with(')'), "{name}: {content}");
        }
        let record = stand.tables.record(&user.owner(), "key").await.unwrap();
        assert_eq!(text(&record, "st"), if has_picture { "succeeded" } else { "failed" }, "{name}");
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, calls, "{name}: the upstream had begun");
        let credits = if has_picture { 4 } else { 5 };
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((credits, 0)), "{name}");
        assert_eq!(log.summaries().len(), 1, "{name}: {}", log.text());
        assert!(!log.alarms().is_empty(), "{name}: {}", log.text());

        drop(log);
        let next = User::new(&format!("next to {name}"));
        while upstream.requests() < 2 {
            let _ =
                handle(app.clone(), keyed(&User::new(&format!("between, {name}")), STREAM, json!({"format": "chat"})))
                    .await;
        }
        let next = Reply::read(handle(app, keyed(&next, STREAM, json!({"format": "events"}))).await).await;
        assert_eq!(next.ending(), "done", "{name}: the same instance serves the next request");
    }
}

#[tokio::test]
async fn l4_a_mistake_in_the_environment_is_logged_and_the_process_stays_up() {
    let rows = [
        (
            vec![("IMAGE_API_BASE_URL", "http://127.0.0.1:9"), ("IMAGE_API_KEY", "")],
            503,
            "service_unavailable",
            &["IMAGE_API_KEY"][..],
        ),
        (
            vec![("IMAGE_API_BASE_URL", "http://relay.example.com"), ("IMAGE_API_KEY", KEY), ("RL_LIMIT", "many")],
            500,
            "service_misconfigured",
            &["IMAGE_API_BASE_URL must", "RL_LIMIT must"],
        ),
        (
            vec![("IMAGE_API_BASE_URL", ""), ("IMAGE_API_KEY", KEY)],
            500,
            "service_misconfigured",
            &["IMAGE_API_BASE_URL is not set"],
        ),
    ];
    for (environment, status, code, remedies) in rows {
        let environment = [user::variables(), &environment[..], &[AS_JSON]].concat();
        let function = Function::spawn(Path::new(BINARY), &environment).await.unwrap();
        for _ in 0..2 {
            for path in [STREAM, IMAGE] {
                let bearer = user::bearer();
                let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
                let event = payload("POST", path, &headers, r#"{"prompt":"x"}"#, false);
                let invocation = function.invoke(&event, LONG).await.unwrap();
                assert_eq!(outcome(invocation).await, ends_in(status, &format!("problem {code}")));
            }
        }
        assert!(function.is_running());
        for remedy in remedies {
            assert!(function.has_logged(remedy).await, "{}", function.log());
        }
        let alarms = logged(&function, "alarm");
        assert!(!alarms.is_empty() && alarms.iter().all(|line| line["level"] == "ERROR"), "{}", function.log());
        assert!(!function.log().contains(KEY), "{}", function.log());
    }
}

/// A user's request to the end. A table may be too slow for a busy machine: then the client sends it again, as the answer says.
async fn until_admitted(number: usize, mut send: impl AsyncFnMut() -> (String, Vec<u8>)) -> Vec<u8> {
    for _ in 0..40 {
        let (ending, sent) = send().await;
        if ending == "done" {
            return sent;
        }
        assert_eq!(ending, "problem limiter_unavailable");
        tokio::time::sleep(Duration::from_millis(200 + 20 * number as u64)).await;
    }
    unreachable!("the tables are too slow every time");
}

/// Requests of users of their own, `at_once` of them at a time. Each gets its own picture.
async fn burst(function: &Function, name: &str, requests: usize, at_once: usize) {
    let ask = async |number: usize| {
        let prompt = format!("{name} {number}");
        let body = json!({"prompt": prompt, "format": "events"});
        let bearer = User::new(&prompt.replace(' ', "-")).bearer();
        // Without a key: the record of a request that a slow table refused may stay for a while.
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let event = payload("POST", STREAM, &headers, &body.to_string(), false);
        let sent = until_admitted(number, async || {
            let mut invocation = function.invoke(&event, LONG).await.unwrap();
            let sent = tokio::time::timeout(EVER * 4, invocation.rest()).await.unwrap().unwrap();
            (endings(&invocation.prelude.headers["content-type"], &sent).join(" "), sent)
        });
        let [(0, picture)] = &pictures(&events(&sent.await))[..] else { panic!("{prompt}: one picture") };
        assert_eq!(dev::client::hash(picture), picture_for(&prompt).sha256, "{prompt}: its own");
    };
    for first in (0..requests).step_by(at_once) {
        join_all((first..requests.min(first + at_once)).map(ask)).await;
    }
}

/// A line is given up at 32 MiB, and nothing of it is held.
#[tokio::test]
async fn u36_a_line_of_64_mb_is_not_held() {
    const MB: usize = 1_000_000;
    let line = Transcript::events([b"data: {\"id\":\"".as_slice(), &vec![b'A'; 64 * MB]].concat());
    let small = Transcript::events(kept::answer(1));
    let upstream = Upstream::plays_in_turn(vec![small, Transcript { piece_bytes: 64 * 1024, ..line }]).await;
    let stand = Stand::new().await;
    let function = spawn(&stand, &upstream, &[]).await;
    let ask = async |name: &str| {
        let event = event_of(&User::new(name), STREAM, &json!({"prompt": "x", "format": "events"}));
        let mut invocation = function.invoke(&event, LONG).await.unwrap();
        endings("text/event-stream", &invocation.rest().await.unwrap())
    };
    // The memory that any request needs.
    assert_eq!(ask("small").await, ["done"]);
    let before = function.peak_resident_bytes().unwrap();
    assert_eq!(ask("line").await, ["error upstream_protocol_error"]);
    let growth = function.peak_resident_bytes().unwrap().saturating_sub(before);
    println!("growth: {growth} bytes");
    assert!(growth < 8 * MB as u64, "{growth} bytes");
}

/// Fifty streams at once in one process, and a hundred after one another: every one has its own picture, and afterwards the
/// process uses what it used before.
#[tokio::test(flavor = "multi_thread")]
async fn l6_100_requests_and_50_at_once_leave_nothing_behind() {
    const MB: u64 = 1_000_000;
    let (stand, upstream) = (Stand::new().await, simulator(f64::INFINITY).await);
    let address = upstream.url("");
    let more = [
        ("AWS_LAMBDA_MAX_CONCURRENCY", "50"),
        ("IMAGE_API_BASE_URL", &address),
        ("IMAGE_API_KEY_SECRET_ARN", ""),
        ("IMAGE_API_KEY", KEY),
    ];
    let function = spawn(&stand, &Upstream::gone(), &more).await;
    burst(&function, "warm-up", 50, 50).await;
    let settled = async || {
        // Threads that resolve names end ten seconds after their last work.
        tokio::time::sleep(Duration::from_secs(11)).await;
        function.usage().unwrap()
    };
    let before = settled().await;
    burst(&function, "one by one", 100, 1).await;
    burst(&function, "at once", 50, 50).await;
    let after = settled().await;
    println!("before {before:?}, after {after:?}");
    assert!(after.resident_bytes < before.resident_bytes + 16 * MB, "{before:?} {after:?}");
    // Each of the 50 at once may have opened another connection, which a pool keeps. A leak is one for each of the 150.
    assert!(after.descriptors < before.descriptors + 50, "{before:?} {after:?}");
    assert!(after.threads <= before.threads + 2, "{before:?} {after:?}");
    assert_eq!(logged(&function, "bytes_in").len(), 200, "one summary line a request");
}

/// The same with the tasks of the runtime, in this process.
#[tokio::test]
async fn l6_no_task_outlives_its_request() {
    let stand = Stand::new().await;
    let upstream = Upstream::plays(Transcript::events(kept::answer(1))).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let burst = async |name: &str, requests: usize| {
        let ask = async |number: usize| {
            let user = User::new(&format!("{name}{number}"));
            until_admitted(number, async || {
                let request = user.post(STREAM, &json!({"prompt": "x", "format": "events"}));
                let reply = Reply::read(handle(app.clone(), request).await).await;
                (reply.ending(), reply.bytes.to_vec())
            })
            .await;
        };
        join_all((0..requests).map(ask)).await;
    };
    // More at once than later, so that the pools of connections do not grow any more.
    burst("warm-up", 25).await;
    let before = tasks();
    for round in 0..5 {
        burst(&format!("round{round}"), 10).await;
    }
    // Connections end after their last answer.
    #[expect(clippy::disallowed_methods, reason = "a bound of the wait")]
    let begun = Instant::now();
    while tasks() > before {
        assert!(begun.elapsed() < EVER, "{before} tasks before, {} after", tasks());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
