//! Idempotency keys, and the records of tasks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dev::dynamodb::TableFault;
use dev::transcript::Transcript;
use futures_util::future::join_all;
use generate_stream::{App, handle};
use http::Request;
use http::header::HeaderValue;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::{EVER, Item, Reply, Stand, Upstream, User, fixture, n, number, refusal, s, text, unix_ms};

const PATH: &str = "/api/generate-stream";
const PICTURE: &str = "c01_newapi_one_giant_chunk.sse";
const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";

fn wanted(user: &User, body: Value) -> Request<Bytes> {
    user.post(PATH, &body)
}

/// A task named `key`.
fn keyed(user: &User, key: &str) -> Request<Bytes> {
    with_key(wanted(user, json!({"prompt": "x", "format": "events"})), key)
}

fn with_key(mut request: Request<Bytes>, key: &str) -> Request<Bytes> {
    request.headers_mut().append("idempotency-key", HeaderValue::from_bytes(key.as_bytes()).unwrap());
    request
}

async fn ask(app: &Arc<App>, request: Request<Bytes>) -> Reply {
    Reply::read(handle(app.clone(), request).await).await
}

#[tokio::test]
async fn d10_of_twenty_concurrent_requests_one_runs() {
    let (stand, user) = (Stand::new().await, User::new("twenty"));
    let upstream = Upstream::recorded(PICTURE).await;
    let apps: Vec<Arc<App>> = (0..4).map(|_| stand.app(&upstream, &[])).collect();
    let responses = join_all((0..20).map(|number| handle(apps[number % 4].clone(), keyed(&user, "once")))).await;
    let (runs, others): (Vec<_>, Vec<_>) = responses.into_iter().partition(|response| response.status() == 200);
    assert_eq!(runs.len(), 1);
    for response in others {
        let reply = Reply::read(response).await;
        assert_eq!((reply.status, reply.ending().as_str()), (409, "problem task_in_progress"));
        assert_eq!((reply.header("retry-after"), &reply.last()["retryable"]), (Some("1"), &json!(true)));
    }
    let record = stand.tables.record(&user.owner(), "once").await.unwrap();
    assert_eq!((text(&record, "st"), number(&record, "tries")), ("running", 1));
    for run in runs {
        assert_eq!(Reply::read(run).await.ending(), "done");
    }
    assert_eq!(upstream.requests(), 1);
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1);

    // Again, after it has succeeded.
    for app in &apps {
        let reply = ask(app, keyed(&user, "once")).await;
        assert_eq!((reply.status, reply.ending().as_str()), (409, "problem task_already_completed"));
        assert_eq!((reply.header("retry-after"), &reply.last()["retryable"]), (None, &json!(false)));
    }
    assert_eq!(upstream.requests(), 1);
}

/// After a failure, and after the end of a lease.
#[tokio::test]
async fn of_twenty_concurrent_retries_one_runs() {
    for has_failed in [true, false] {
        let (stand, user) = (Stand::new().await, User::new("twenty-again"));
        let (good, bad) = (Upstream::recorded(PICTURE).await, Upstream::refuses(500).await);
        let failing: Arc<App> = stand.app(&bad, &[]);
        assert_eq!(ask(&failing, keyed(&user, "again")).await.ending(), "error upstream_error");
        if !has_failed {
            // As a function leaves it that dies.
            let mut record = stand.tables.record(&user.owner(), "again").await.unwrap();
            record.insert("st".into(), s("running"));
            record.remove("code");
            record.insert("lease".into(), n(unix_ms() - 1));
            stand.tables.put(&stand.tables.ledger, record).await;
        }
        let apps: Vec<Arc<App>> = (0..4).map(|_| stand.app(&good, &[])).collect();
        let responses = join_all((0..20).map(|number| handle(apps[number % 4].clone(), keyed(&user, "again")))).await;
        let (runs, others): (Vec<_>, Vec<_>) = responses.into_iter().partition(|response| response.status() == 200);
        assert_eq!(runs.len(), 1);
        for response in others {
            assert_eq!(Reply::read(response).await.ending(), "problem task_in_progress");
        }
        for run in runs {
            assert_eq!(Reply::read(run).await.ending(), "done");
        }
        assert_eq!((bad.requests(), good.requests()), (1, 1));
        let record = stand.tables.record(&user.owner(), "again").await.unwrap();
        assert_eq!((text(&record, "st"), number(&record, "tries")), ("succeeded", 2));
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, 2);
    }
}

#[tokio::test]
async fn a_task_that_failed_is_tried_again_under_its_key() {
    let (stand, user) = (Stand::new().await, User::new("again"));
    let (busy, bad, good) =
        (Upstream::refuses(429).await, Upstream::refuses(500).await, Upstream::recorded(PICTURE).await);
    let [busy_app, bad_app, good_app]: [Arc<App>; 3] = [&busy, &bad, &good].map(|upstream| stand.app(upstream, &[]));
    let record = async || stand.tables.record(&user.owner(), "key").await.unwrap();
    let as_chat = || with_key(wanted(&user, json!({"prompt": "x"})), "key");

    let begun_ms = unix_ms();
    let reply = ask(&busy_app, as_chat()).await;
    assert_eq!((reply.status, reply.ending().as_str()), (503, "problem upstream_busy"));
    assert_eq!(reply.header("x-task-id"), Some("key"), "there is a task, and this is how to name it");
    let first = record().await;
    assert_eq!((text(&first, "st"), text(&first, "code"), number(&first, "tries")), ("failed", "upstream_busy", 1));
    assert_eq!((text(&first, "route"), text(&first, "task"), number(&first, "images")), (PATH, "key", 0));
    assert!((begun_ms..=unix_ms()).contains(&number(&first, "created")));
    assert!((number(&first, "created")..=unix_ms()).contains(&number(&first, "updated")));
    assert!(!first.contains_key("lease") && !first.contains_key("links"));
    let days = (number(&first, "ttl") - begun_ms / 1000) as f64 / 86_400.0;
    assert!((29.9..30.1).contains(&days), "{days} days");

    assert_eq!(ask(&bad_app, as_chat()).await.ending(), "problem upstream_error");
    let second = record().await;
    assert_eq!((text(&second, "st"), text(&second, "code"), number(&second, "tries")), ("failed", "upstream_error", 2));
    assert_ne!(second["run"], first["run"]);

    let reply = ask(&good_app, as_chat()).await;
    assert_eq!((reply.ending().as_str(), reply.header("x-task-id")), ("[DONE]", Some("key")));
    let third = record().await;
    assert_eq!((text(&third, "st"), number(&third, "tries"), number(&third, "images")), ("succeeded", 3, 1));
    assert!(!third.contains_key("code") && !third.contains_key("lease"));
    assert_eq!(third["created"], first["created"], "it is one task");
    assert_eq!(third["hash"], first["hash"]);
    assert!(number(&third, "updated") >= number(&second, "updated"));

    for app in [&busy_app, &bad_app, &good_app] {
        assert_eq!(ask(app, as_chat()).await.ending(), "problem task_already_completed");
    }
    assert_eq!((busy.requests(), bad.requests(), good.requests()), (1, 1, 1));
}

/// The platform may freeze or end us as soon as the last byte is out.
#[tokio::test]
async fn the_record_is_written_before_the_terminal_event() {
    let (stand, user) = (Stand::new().await, User::new("end"));
    let (good, bad) = (Upstream::recorded(PICTURE).await, Upstream::recorded("e05_content_filter_empty.sse").await);
    for (upstream, state, endings) in
        [(&good, "succeeded", ["event: done", "[DONE]"]), (&bad, "failed", ["event: error", "event: error"])]
    {
        for (format, ending) in ["events", "chat"].into_iter().zip(endings) {
            let app: Arc<App> =
                stand.app(upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "9"), ("HEAD_HOLD_MS", "0")]);
            let key = format!("{state}-{format}");
            let body = json!({"prompt": "x", "format": format});
            let mut body = handle(app, with_key(wanted(&user, body), &key)).await.into_body();
            let mut told = String::new();
            while !told.contains(ending) {
                let frame = tokio::time::timeout(EVER, body.frame()).await.unwrap().unwrap().unwrap();
                told.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            }
            // Nothing runs any more unless the body is read.
            let record = stand.tables.record(&user.owner(), &key).await.unwrap();
            assert_eq!(text(&record, "st"), state, "{format}");
            assert_eq!(stand.tables.balance(&user.owner()).await.unwrap().1, 0, "{format}: nothing is held");
        }
    }
}

#[tokio::test]
async fn d10_a_key_is_for_one_request() {
    let (stand, user) = (Stand::new().await, User::new("reused"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[("IMAGE_MODELS", "another")]);
    let body = json!({"prompt": "x", "format": "events", "image_inputs": [PIXEL]});
    assert_eq!(ask(&app, with_key(wanted(&user, body.clone()), "key")).await.ending(), "done");
    let others = [
        json!({"prompt": "y", "image_inputs": [PIXEL]}),
        json!({"prompt": "x"}),
        json!({"prompt": "x", "image_inputs": [PIXEL, PIXEL]}),
        json!({"prompt": "x", "image_inputs": ["https://example.com/a.png"]}),
        json!({"prompt": "x", "image_inputs": [PIXEL], "model": "another"}),
        json!({"prompt": "x", "image_inputs": [PIXEL], "aspect_ratio": "1:1"}),
        json!({"prompt": "x", "image_inputs": [PIXEL], "n": 2}),
        // The `n` that was asked for, although this format makes one picture of it.
        json!({"prompt": "x", "image_inputs": [PIXEL], "n": 2, "format": "chat"}),
    ];
    for other in others {
        let reply = ask(&app, with_key(wanted(&user, other.clone()), "key")).await;
        assert_eq!((reply.status, reply.ending().as_str()), (422, "problem task_id_reused"), "{other}");
    }
    // Another spelling, another form of the response or the other route is the same request.
    let same = [
        json!({"prompt": " x ", "image_inputs": [PIXEL]}),
        json!({"prompt": "x", "image_inputs": [PIXEL], "format": "chat", "unknown": 1}),
        json!({"prompt": "x", "image_inputs": [PIXEL], "model": "gemini-2.5-flash-image"}),
    ];
    for same in same {
        let reply = ask(&app, with_key(wanted(&user, same.clone()), "key")).await;
        assert_eq!(reply.ending(), "problem task_already_completed", "{same}");
    }
    for accept in ["application/json", "image/*"] {
        let mut request = with_key(user.post("/api/generate-image", &body), "key");
        request.headers_mut().insert("accept", accept.parse().unwrap());
        assert_eq!(ask(&app, request).await.ending(), "problem task_already_completed", "{accept}");
    }
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_key_has_a_form() {
    let (stand, user) = (Stand::new().await, User::new("form"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[("RL_LIMIT", "100")]);
    let long = "x".repeat(129);
    for key in ["", " ", "a b", "a/b", "a,b", "\"a\"", "任务", "a\u{e9}", &long] {
        let reply = ask(&app, keyed(&user, key)).await;
        assert_eq!((reply.status, reply.ending().as_str()), (400, "problem invalid_request"), "{key:?}");
    }
    let twice = with_key(keyed(&user, "a"), "a");
    assert_eq!(ask(&app, twice).await.ending(), "problem invalid_request", "which one?");
    assert_eq!(upstream.requests(), 0);
    assert!(stand.tables.all().await.is_empty());

    for key in ["a", "A_z.0:9-", &"x".repeat(128)] {
        let reply = ask(&app, keyed(&user, key)).await;
        assert_eq!((reply.ending().as_str(), reply.header("x-task-id")), ("done", Some(key)));
        assert_eq!(text(&stand.tables.record(&user.owner(), key).await.unwrap(), "task"), key);
    }
}

#[tokio::test]
async fn a_key_belongs_to_its_user() {
    let (stand, one, other) = (Stand::new().await, User::new("one"), User::new("other"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let running = handle(app.clone(), keyed(&one, "key")).await;
    let theirs = with_key(wanted(&other, json!({"prompt": "something else", "format": "events"})), "key");
    assert_eq!(ask(&app, theirs).await.ending(), "done", "the other user's task is not visible");
    assert_eq!(Reply::read(running).await.ending(), "done");
    assert_eq!(upstream.requests(), 2);
    for user in [&one, &other] {
        assert_eq!(text(&stand.tables.record(&user.owner(), "key").await.unwrap(), "st"), "succeeded");
    }
}

#[tokio::test]
async fn a_task_without_a_key_gets_one_in_a_header() {
    let (stand, user) = (Stand::new().await, User::new("no-key"));
    let (good, bad) = (Upstream::recorded(PICTURE).await, Upstream::refuses(500).await);
    let (app, failing): (Arc<App>, Arc<App>) = (stand.app(&good, &[]), stand.app(&bad, &[]));
    let reply = ask(&app, wanted(&user, json!({"prompt": "x", "format": "events"}))).await;
    let start: Value = serde_json::from_str(&reply.events()[0].data).unwrap();
    let task_id = reply.header("x-task-id").unwrap();
    assert_eq!((&start["event"], &start["data"]["task_id"]), (&json!("start"), &json!(task_id)));
    assert_eq!(reply.last()["task_id"], task_id);
    assert_eq!(text(&stand.tables.record(&user.owner(), task_id).await.unwrap(), "st"), "succeeded");
    assert_eq!(ask(&app, keyed(&user, task_id)).await.ending(), "problem task_already_completed");

    // It is the key to another attempt, whatever the form of the failure.
    for format in ["events", "chat"] {
        let reply = ask(&failing, wanted(&user, json!({"prompt": "x", "format": format}))).await;
        assert!(reply.ending().ends_with(" upstream_error"));
        let task_id = reply.header("x-task-id").unwrap();
        assert_eq!(ask(&app, keyed(&user, task_id)).await.ending(), "done", "{format}");
        assert_eq!(number(&stand.tables.record(&user.owner(), task_id).await.unwrap(), "tries"), 2);
    }
}

/// A refused request leaves no record, so it can be sent again with its key.
#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let (stand, user) = (Stand::new().await, User::new("free"));
    let (good, bad) = (Upstream::recorded(PICTURE).await, Upstream::refuses(500).await);
    let variables = [("RL_LIMIT", "1"), ("RL_WINDOW_MS", "1500")];
    let [app, cold, failing]: [Arc<App>; 3] =
        [stand.app(&good, &variables), stand.app(&good, &variables), stand.app(&bad, &variables)];
    let record = async |key| stand.tables.record(&user.owner(), key).await;
    let come_back = async |reply: &Reply| {
        let retry_after_ms = reply.last()["retry_after_ms"].as_u64().unwrap();
        tokio::time::sleep(Duration::from_millis(retry_after_ms)).await;
    };

    assert_eq!(ask(&failing, keyed(&user, "failed")).await.ending(), "error upstream_error");
    let before = record("failed").await.unwrap();
    // A process without the user in its memory reads the table.
    for app in [&cold, &failing] {
        for key in ["new", "failed"] {
            let reply = ask(app, keyed(&user, key)).await;
            assert_eq!((reply.status, reply.header("x-task-id")), (429, None), "{key}");
        }
    }
    assert_eq!(record("new").await, None);
    let after = record("failed").await.unwrap();
    for name in ["st", "code", "tries", "created", "hash", "images", "task"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert!(!after.contains_key("lease"));
    come_back(&ask(&cold, keyed(&user, "new")).await).await;
    assert_eq!(ask(&cold, keyed(&user, "failed")).await.ending(), "done");
    assert_eq!(number(&record("failed").await.unwrap(), "tries"), 2);

    come_back(&ask(&cold, keyed(&user, "new")).await).await;
    let limits = stand.tables.limits.clone();
    stand.tables.proxy.script(move |call| (call.table == limits).then_some(TableFault::Throttling));
    assert_eq!(ask(&app, keyed(&user, "new")).await.ending(), "problem limiter_unavailable");
    assert_eq!(record("new").await, None);
    stand.tables.proxy.fail(None);
    assert_eq!(ask(&app, keyed(&user, "new")).await.ending(), "done");
    assert_eq!(number(&record("new").await.unwrap(), "tries"), 1);
    assert_eq!((good.requests(), bad.requests()), (2, 1));
}

#[tokio::test]
async fn a_first_write_whose_answer_is_lost_leaves_the_key_free() {
    let (stand, user) = (Stand::new().await, User::new("lost"));
    let (good, bad) = (Upstream::recorded(PICTURE).await, Upstream::refuses(500).await);
    let (app, failing): (Arc<App>, Arc<App>) = (stand.app(&good, &[]), stand.app(&bad, &[]));
    assert_eq!(ask(&failing, keyed(&user, "failed")).await.ending(), "error upstream_error");
    for (key, operation, tries) in [("new", "PutItem", 1), ("failed", "UpdateItem", 2)] {
        let mut lost = 0;
        stand.tables.proxy.script(move |call| {
            // Both tries.
            lost += u32::from(call.operation == operation);
            (call.operation == operation && lost <= 2).then_some(TableFault::Swallow)
        });
        assert_eq!(ask(&app, keyed(&user, key)).await.ending(), "problem limiter_unavailable", "{key}");
        stand.tables.proxy.fail(None);
        assert_eq!(good.requests(), tries - 1);
        assert_eq!(ask(&app, keyed(&user, key)).await.ending(), "done", "{key}");
        assert_eq!(number(&stand.tables.record(&user.owner(), key).await.unwrap(), "tries"), u64::from(tries), "{key}");
    }
}

#[tokio::test]
async fn a_key_that_is_known_passes_a_refusal_from_memory() {
    let (stand, user) = (Stand::new().await, User::new("known"));
    let (upstream, gate) = Upstream::gated(Transcript::events(fixture(PICTURE))).await;
    let app: Arc<App> = stand.app(&upstream, &[("RL_LIMIT", "1")]);
    let running = handle(app.clone(), keyed(&user, "key")).await;
    let other = || with_key(wanted(&user, json!({"prompt": "y"})), "key");
    for (request, ending) in [
        (keyed(&user, "key"), "problem task_in_progress"),
        (other(), "problem task_id_reused"),
        (keyed(&user, "new"), "problem rate_limited"),
    ] {
        assert_eq!(ask(&app, request).await.ending(), ending);
    }
    gate.open();
    assert_eq!(Reply::read(running).await.ending(), "done");
    for (request, ending) in [
        (keyed(&user, "key"), "problem task_already_completed"),
        (other(), "problem task_id_reused"),
        (keyed(&user, "new"), "problem rate_limited"),
    ] {
        assert_eq!(ask(&app, request).await.ending(), ending);
    }
    assert_eq!(upstream.requests(), 1);
}

/// A run whose lease is over may have been replaced: it must not write to the record of its successor.
#[tokio::test]
async fn a_run_that_lost_its_lease_changes_nothing() {
    let answers = [(Transcript::events(fixture(PICTURE)), "done"), (refusal(429), "error upstream_busy")];
    for (answer, ending) in answers {
        let (stand, user) = (Stand::new().await, User::new("late"));
        let (slow, slow_gate) = Upstream::gated(answer.clone()).await;
        let (next, next_gate) = Upstream::gated(answer).await;
        let app: Arc<App> = stand.app(&slow, &[]);
        let late = handle(app, keyed(&user, "key")).await;
        let mut record = stand.tables.record(&user.owner(), "key").await.unwrap();
        assert_eq!(text(&record, "st"), "running");
        record.insert("lease".into(), n(unix_ms() - 1));
        stand.tables.put(&stand.tables.ledger, record).await;

        let other: Arc<App> = stand.app(&next, &[]);
        let second = handle(other, keyed(&user, "key")).await;
        assert_eq!(second.status(), 200, "the lease is over");
        let before = stand.tables.record(&user.owner(), "key").await.unwrap();
        assert_eq!((text(&before, "st"), number(&before, "tries")), ("running", 2));
        slow_gate.open();
        assert_eq!(Reply::read(late).await.ending(), ending);
        assert_eq!(stand.tables.record(&user.owner(), "key").await.unwrap(), before);
        next_gate.open();
        assert_eq!(Reply::read(second).await.ending(), ending);
        let after = stand.tables.record(&user.owner(), "key").await.unwrap();
        let state = if ending == "done" { "succeeded" } else { "failed" };
        assert_eq!((text(&after, "st"), number(&after, "tries")), (state, 2));
    }
}

#[tokio::test]
async fn a_lease_is_as_long_as_a_run_can_be() {
    let (stand, user) = (Stand::new().await, User::new("lease"));
    let (upstream, _closed) = Upstream::gated(Transcript::events(fixture(PICTURE))).await;
    let app: Arc<App> = stand.app(&upstream, &[("UPSTREAM_TOTAL_MS", "100000")]);
    let lease_of = async |mut request: Request<Bytes>, left: Option<Duration>| {
        if let Some(left) = left {
            let deadline = std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms()) + left;
            request.extensions_mut().insert(shared::edge::Invocation::new(Some(deadline), None));
        }
        let now_ms = unix_ms();
        let response = handle(app.clone(), request).await;
        let task_id = response.headers()["x-task-id"].to_str().unwrap().to_owned();
        number(&stand.tables.record(&user.owner(), &task_id).await.unwrap(), "lease") - now_ms
    };
    let request = || wanted(&user, json!({"prompt": "x", "format": "events"}));
    let unknown = lease_of(request(), None).await;
    assert!((110_000..115_000).contains(&unknown), "{unknown}");
    let known = lease_of(request(), Some(Duration::from_secs(20))).await;
    assert!((24_000..30_000).contains(&known), "{known}");
}

fn holds(value: &aws_sdk_dynamodb::types::AttributeValue, text: &str) -> bool {
    format!("{value:?}").contains(text)
}

#[tokio::test]
async fn a_record_contains_no_prompt_and_no_picture() {
    const PROMPT: &str = "a wedding photo of Ann and Ben at the lake";
    const LINK: &str = "https://example.com/ann-and-ben.png";
    let (stand, user) = (Stand::new().await, User::new("nothing"));
    let upstreams = [
        Upstream::recorded(PICTURE).await,
        Upstream::recorded("c20_markdown_http_url.sse").await,
        Upstream::recorded("e05_content_filter_empty.sse").await,
        Upstream::refuses(500).await,
    ];
    let picture = fixture(PICTURE);
    let pixels = String::from_utf8_lossy(&picture[picture.len() / 2..][..40]).into_owned();
    let variables = [("CREDITS", "on"), ("CREDITS_INITIAL", "9")];
    for (number, upstream) in upstreams.iter().enumerate() {
        let app: Arc<App> = stand.app(upstream, &variables);
        for format in ["events", "chat"] {
            let body = json!({"prompt": PROMPT, "format": format, "image_inputs": [PIXEL, LINK]});
            ask(&app, with_key(wanted(&user, body.clone()), &format!("{format}-{number}"))).await;
        }
        // One that is not run to its end.
        let body = json!({"prompt": PROMPT, "format": "events", "image_inputs": [PIXEL, LINK]});
        drop(handle(app, with_key(wanted(&user, body), &format!("dropped-{number}"))).await);
    }
    let items = stand.tables.all().await;
    let records: Vec<&Item> = items.iter().filter(|item| item.contains_key("st")).collect();
    assert!(records.len() >= 5, "{}", records.len());
    for item in &items {
        for value in item.values() {
            for secret in ["wedding", "Ann", "ann-and-ben", &PIXEL[30..60], &pixels, "image.png", "http"] {
                assert!(!holds(value, secret), "{secret} in {item:?}");
            }
        }
    }
    assert!(records.iter().all(|record| record["hash"] == records[0]["hash"]), "a hash is all that is left");
    assert_eq!(records[0]["hash"].as_s().unwrap().len(), 64);
    let known = [
        "pk",
        "sk",
        "task",
        "route",
        "st",
        "lease",
        "tries",
        "images",
        "created",
        "updated",
        "run",
        "hash",
        "ttl",
        "code",
        "cost",
        "pics",
        "upstream",
        "upstream_cost",
    ];
    for record in records {
        assert!(record.keys().all(|name| known.contains(&name.as_str())), "{record:?}");
    }
}

#[tokio::test]
async fn a_refusal_before_the_task_writes_no_record() {
    let (stand, user) = (Stand::new().await, User::new("before"));
    let upstream = Upstream::plays(Transcript::events("")).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let mut unsigned = keyed(&user, "key");
    unsigned.headers_mut().insert("authorization", "Bearer not-a-token".parse().unwrap());
    for (request, status) in [
        (unsigned, 401),
        (with_key(wanted(&user, json!({"prompt": ""})), "key"), 400),
        (with_key(wanted(&user, json!({"prompt": "x", "model": "none"})), "key"), 400),
        (with_key(wanted(&user, json!([])), "key"), 400),
    ] {
        let reply = ask(&app, request).await;
        assert_eq!((reply.status, reply.header("x-task-id"), reply.header("ratelimit")), (status, None, None));
    }
    assert!(stand.tables.all().await.is_empty());
    assert_eq!(stand.tables.proxy.calls(), 0, "no table call");
}
