//! A repeated `task_id`: delivered pictures are sent again, others are made once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dev::transcript::{Ending, Transcript};
use faceflip_stream::{App, handle};
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::caps::Day;
use shared::edge::Invocation;

use crate::support::{EVER, Reply, Stand, Upstream, User, fixture, number, refusal, text, unix_ms};

const PATH: &str = "/api/v1/faceflip/generate/stream";
const THREE: &str = "a01_three_ok.sse";
const ONE: &str = "https://example.com/image1.jpg";

/// As a page to the product's documentation sends it.
fn wanted(user: &User, task_id: &str) -> Request<Bytes> {
    user.post(PATH, &json!({"urls": [ONE, "https://example.com/image2.jpg"], "task_id": task_id}))
}

async fn ask(app: &Arc<App>, request: Request<Bytes>) -> Reply {
    Reply::read(handle(app.clone(), request).await).await
}

fn names(reply: &Reply) -> Vec<String> {
    reply.events().into_iter().map(|event| event.name).collect()
}

/// The data of all events of a name.
fn data(reply: &Reply, name: &str) -> Vec<Value> {
    let events = reply.events().into_iter().filter(|event| event.name == name);
    events.map(|event| serde_json::from_str::<Value>(&event.data).unwrap()["data"].clone()).collect()
}

/// An ARK whose links say when they were signed and for how many seconds.
async fn signed(date: &str, seconds: u64) -> Upstream {
    let recorded = String::from_utf8(fixture(THREE).to_vec()).unwrap();
    let links = recorded.replace("X-Tos-Expires=86400", &format!("X-Tos-Date={date}&X-Tos-Expires={seconds}"));
    assert_ne!(links, recorded);
    Upstream::plays(Transcript::events(links)).await
}

#[tokio::test]
async fn d10_a_repeated_task_gets_its_stored_result_and_costs_nothing() {
    for (recorded, spent) in [(THREE, 3), ("a02_one_moderated.sse", 3)] {
        let (stand, user) = (Stand::new().await, User::new("again"));
        let upstream = Upstream::recorded(recorded).await;
        let variables = [("RL_LIMIT", "1"), ("CREDITS", "on"), ("CREDITS_INITIAL", "3")];
        let app: Arc<App> = stand.app(&upstream, &variables);
        let first = ask(&app, wanted(&user, "task-1")).await;
        assert_eq!(first.ending(), "done");
        assert_eq!(first.last()["credits_remaining"], 3 - spent);
        let cold: Arc<App> = stand.app(&upstream, &variables);
        let secrets = stand.vault.calls();
        // There is no token left, and no credit.
        for app in [&app, &cold] {
            let again = ask(app, wanted(&user, "task-1")).await;
            assert_eq!((again.status, again.header("x-task-id")), (200, Some("task-1")));
            assert_eq!(again.header("content-type"), first.header("content-type"));
            let pictures = data(&first, "image.done").len();
            assert_eq!(names(&again), [&["start"][..], &vec!["image.done"; pictures], &["done"]].concat());
            assert_eq!(data(&again, "start"), data(&first, "start"));
            assert_eq!(data(&again, "image.done"), data(&first, "image.done"));
            let (mut before, mut after) = (first.last(), again.last());
            for done in [&mut before, &mut after] {
                done.as_object_mut().unwrap().remove("credits_remaining");
            }
            assert_eq!(after, before, "the same answer");
            let ids: Vec<_> = again.events().iter().map(|event| event.id.parse::<usize>().unwrap()).collect();
            assert_eq!(ids, (0..ids.len()).collect::<Vec<_>>());
        }
        assert_eq!((upstream.requests(), stand.vault.calls()), (1, secrets));
        assert_eq!(stand.tables.missing(&user.owner(), 1).await, 1);
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((0, 0)));
        assert_eq!(number(&stand.tables.record(&user.owner(), "task-1").await.unwrap(), "tries"), 1);
        assert_eq!(ask(&app, wanted(&user, "task-2")).await.ending(), "error rate_limited", "a new one has to wait");
    }
}

#[tokio::test]
async fn stored_links_are_sent_again_until_they_expire() {
    const NEW_YEAR_MS: u64 = 1_767_225_600_000;
    let age_s = (unix_ms() - NEW_YEAR_MS) / 1000;
    let (stand, user) = (Stand::new().await, User::new("links"));
    let rows = [("gone", 86_400, false), ("nearly-gone", age_s + 500, false), ("alive", age_s + 900, true)];
    for (task_id, seconds, is_alive) in rows {
        let upstream = signed("20260101T000000Z", seconds).await;
        let app: Arc<App> = stand.app(&upstream, &[]);
        let first = ask(&app, wanted(&user, task_id)).await;
        assert_eq!(first.ending(), "done", "{task_id}");
        let again = ask(&app, wanted(&user, task_id)).await;
        if is_alive {
            assert_eq!(data(&again, "image.done"), data(&first, "image.done"));
        } else {
            assert_eq!((again.status, names(&again)), (409, vec!["error".to_owned()]), "{task_id}");
            let error = again.last();
            let told = [&error["code"], &error["task_id"], &error["message"], &error["error"]];
            assert_eq!(told, ["task_already_completed", task_id, "图像生成失败", "该任务已完成"]);
        }
        assert_eq!(upstream.requests(), 1, "{task_id}");
    }
}

#[tokio::test]
async fn d10_a_task_id_is_for_one_request() {
    let (stand, user) = (Stand::new().await, User::new("reused"));
    let upstream = Upstream::recorded(THREE).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    assert_eq!(ask(&app, wanted(&user, "任务 1")).await.ending(), "done");
    let two = "https://example.com/image2.jpg";
    let others = [
        json!({"urls": [ONE], "task_id": "任务 1"}),
        json!({"urls": [two, ONE], "task_id": "任务 1"}),
        json!({"urls": [ONE, two, two], "task_id": "任务 1"}),
        json!({"urls": [ONE, two], "task_id": "任务 1", "prompt": "another"}),
    ];
    for other in others {
        let reply = ask(&app, user.post(PATH, &other)).await;
        assert_eq!((reply.status, names(&reply)), (422, vec!["error".to_owned()]), "{other}");
        let error = reply.last();
        assert_eq!(
            [&error["code"], &error["task_id"], &error["message"]],
            ["task_id_reused", "任务 1", "图像生成失败"]
        );
        let mut request = user.post(PATH, &other);
        request.headers_mut().insert("accept", "application/problem+json".parse().unwrap());
        assert_eq!(ask(&app, request).await.ending(), "problem task_id_reused");
    }
    assert_eq!((upstream.requests(), stand.tables.missing(&user.owner(), 5).await), (1, 1));
    assert_eq!(ask(&app, wanted(&User::new("someone-else"), "任务 1")).await.ending(), "done", "another user's task");
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn d10_of_twenty_concurrent_requests_one_runs() {
    let (stand, user) = (Stand::new().await, User::new("twenty"));
    let upstream = Upstream::recorded(THREE).await;
    let apps: Vec<Arc<App>> = (0..4).map(|_| stand.app(&upstream, &[])).collect();
    let responses = join_all((0..20).map(|number| handle(apps[number % 4].clone(), wanted(&user, "once")))).await;
    let (runs, others): (Vec<_>, Vec<_>) = responses.into_iter().partition(|response| response.status() == 200);
    assert_eq!(runs.len(), 1);
    for response in others {
        let reply = Reply::read(response).await;
        assert_eq!((reply.status, reply.ending().as_str()), (409, "error task_in_progress"));
        assert_eq!((&reply.last()["task_id"], reply.header("retry-after")), (&json!("once"), Some("1")));
    }
    for run in runs {
        assert_eq!(Reply::read(run).await.ending(), "done");
    }
    assert_eq!((upstream.requests(), stand.tables.missing(&user.owner(), 5).await), (1, 1));
    let told = join_all((0..20).map(|number| ask(&apps[number % 4], wanted(&user, "once")))).await;
    assert!(told.iter().all(|reply| reply.ending() == "done" && data(reply, "image.done").len() == 3));
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_task_that_failed_is_tried_again() {
    let (stand, user) = (Stand::new().await, User::new("failed"));
    let (busy, bad, good) =
        (Upstream::refuses(429).await, Upstream::recorded("a04_all_failed.sse").await, Upstream::recorded(THREE).await);
    let [busy_app, bad_app, app]: [Arc<App>; 3] = [&busy, &bad, &good].map(|upstream| stand.app(upstream, &[]));
    let record = async || stand.tables.record(&user.owner(), "task").await.unwrap();
    for (app, tokens, tries) in [(&busy_app, 0, 1), (&bad_app, 1, 2)] {
        let reply = ask(app, wanted(&user, "task")).await;
        let ending = reply.ending();
        let code = ending.strip_prefix("error ").unwrap();
        let record = record().await;
        assert_eq!((text(&record, "st"), text(&record, "code"), number(&record, "tries")), ("failed", code, tries));
        assert!(!record.contains_key("links"));
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, tokens, "{code}");
    }
    assert_eq!(ask(&app, wanted(&user, "task")).await.ending(), "done");
    let record = record().await;
    assert_eq!((text(&record, "st"), number(&record, "tries"), number(&record, "images")), ("succeeded", 3, 3));
    assert!(!record.contains_key("code"));
    assert_eq!(text(&record, "route"), PATH);
    assert_eq!(data(&ask(&busy_app, wanted(&user, "task")).await, "image.done").len(), 3, "whatever the upstream does");
    assert_eq!((busy.requests(), bad.requests(), good.requests()), (1, 1, 1));
}

/// The platform may freeze or end us as soon as the last byte is out.
#[tokio::test]
async fn the_record_is_written_before_the_terminal_event() {
    let (stand, user) = (Stand::new().await, User::new("end"));
    for (upstream, state, ending) in [
        (Upstream::recorded(THREE).await, "succeeded", "event: done"),
        (Upstream::refuses(500).await, "failed", "event: error"),
    ] {
        let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "9")]);
        let mut body = handle(app, wanted(&user, state)).await.into_body();
        let mut told = String::new();
        while !told.contains(ending) {
            let frame = tokio::time::timeout(EVER, body.frame()).await.unwrap().unwrap().unwrap();
            told.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        // Nothing runs any more unless the body is read.
        assert_eq!(text(&stand.tables.record(&user.owner(), state).await.unwrap(), "st"), state);
        assert_eq!(stand.tables.balance(&user.owner()).await.unwrap().1, 0, "nothing is held");
    }
}

/// Three are reserved, whatever is made.
#[tokio::test]
async fn credits_are_reserved_for_all_pictures_and_spent_for_delivered_ones() {
    const BLOCKED: &str = "OutputImageSensitiveContentDetected";
    let two = String::from_utf8(fixture("a02_one_moderated.sse").to_vec()).unwrap();
    const REASON: &str = "the output image may contain sensitive information";
    assert!(two.contains(BLOCKED) && two.contains(REASON));
    let failed = two.replace(BLOCKED, "InternalServiceError").replace(REASON, "of an internal error");
    let stand = Stand::new().await;
    let three = || Transcript::events(fixture(THREE));
    let rows = [
        ("three made", three(), "3", "done", 3),
        ("three of five made", three(), "5", "done", 3),
        ("two made and one failed", Transcript::events(failed), "3", "done", 2),
        ("two made and one blocked", Transcript::events(two), "3", "done", 3),
        ("none made", refusal(500), "3", "error upstream_error", 0),
        ("none begun", refusal(429), "3", "error upstream_busy", 0),
        ("refused", refusal(400), "3", "error upstream_rejected_input", 1),
        ("more made than asked for", three(), "2", "done", 2),
    ];
    for (row, answer, most, ending, spent) in rows {
        let (upstream, gate) = Upstream::gated(answer).await;
        let user = User::new(&row.replace(' ', "-"));
        let variables = [("CREDITS", "on"), ("CREDITS_INITIAL", "9"), ("ARK_MAX_IMAGES", most)];
        let app: Arc<App> = stand.app(&upstream, &variables);
        let response = handle(app.clone(), wanted(&user, "task")).await;
        let most: u64 = most.parse().unwrap();
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((9 - most, 1)), "{row}: before it runs");
        gate.open();
        let reply = Reply::read(response).await;
        assert_eq!(reply.ending(), ending, "{row}");
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((9 - spent, 0)), "{row}");
        if ending == "done" {
            assert_eq!(reply.last()["credits_remaining"], 9 - spent, "{row}");
        }
    }
}

/// What the family can make with the inputs, not what is configured.
#[tokio::test]
async fn credits_are_reserved_for_what_the_model_can_make() {
    let stand = Stand::new().await;
    let picture = r#"{"model":"m","created":1,"data":[{"url":"https://links.example.com/0.jpeg","size":"2048x2048"}],"usage":{"generated_images":1}}"#;
    for (model, reserved) in [
        ("doubao-seedream-4-0-250828", 9),
        ("doubao-seedream-5-0-pro-260628", 1),
        ("doubao-seedream-5-0-flash-260915", 1),
        ("a-new-model", 1),
    ] {
        let (upstream, gate) = Upstream::gated(Transcript::events(picture)).await;
        let user = User::new(model);
        let variables = [("CREDITS", "on"), ("CREDITS_INITIAL", "9"), ("ARK_MAX_IMAGES", "9"), ("ARK_MODEL", model)];
        let app: Arc<App> = stand.app(&upstream, &variables);
        let response = handle(app.clone(), wanted(&user, "task")).await;
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((9 - reserved, 1)), "{model}: before it runs");
        gate.open();
        let reply = Reply::read(response).await;
        assert_eq!(reply.last()["credits_remaining"], 8, "{model}");
    }
}

#[tokio::test]
async fn too_few_credits_are_refused_without_a_call() {
    let (stand, user) = (Stand::new().await, User::new("poor"));
    let upstream = Upstream::recorded(THREE).await;
    stand.tables.grant(&user.owner(), 2).await;
    let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on")]);
    let reply = ask(&app, wanted(&user, "task")).await;
    assert_eq!((reply.status, reply.ending().as_str()), (402, "error insufficient_credits"));
    let error = reply.last();
    assert_eq!([&error["task_id"], &error["message"]], ["task", "图像生成失败"]);
    let reason = error["error"].as_str().unwrap();
    assert!(reason.contains('3') && reason.contains('2'), "{reason}");
    assert_eq!((upstream.requests(), stand.vault.calls()), (0, 0));
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((2, 0)));
    assert_eq!(stand.tables.record(&user.owner(), "task").await, None);
    stand.tables.grant(&user.owner(), 1).await;
    assert_eq!(ask(&app, wanted(&user, "task")).await.last()["credits_remaining"], 0);
}

#[tokio::test]
async fn a_missing_upstream_key_costs_nothing() {
    let (stand, user) = (Stand::new().await, User::new("no-key"));
    let upstream = Upstream::recorded(THREE).await;
    let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "9")]);
    stand.vault.fail(Some(dev::secrets::SecretsFault::AccessDenied));
    assert_eq!(ask(&app, wanted(&user, "task")).await.ending(), "error service_unavailable");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((9, 0)));
    assert!(stand.tables.record(&user.owner(), "task").await.is_none());
    assert_eq!(upstream.requests(), 0);
}

/// So a retry waits no longer than a run can take.
#[tokio::test]
async fn a_lease_ends_with_the_function() {
    let (stand, user) = (Stand::new().await, User::new("lease"));
    let (upstream, _closed) = Upstream::gated(Transcript::events(fixture(THREE))).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let mut request = wanted(&user, "task");
    let now_ms = unix_ms();
    let deadline = std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms + 20_000);
    request.extensions_mut().insert(Invocation::new(Some(deadline), None));
    let _running = handle(app, request).await;
    let lease_ms = number(&stand.tables.record(&user.owner(), "task").await.unwrap(), "lease") - now_ms;
    assert!((24_000..30_000).contains(&lease_ms), "{lease_ms}");
}

/// A call reserves the most pictures that it can make, and counts those that it made.
#[tokio::test]
async fn a_call_counts_its_pictures_of_the_day() {
    for (recorded, made) in [(THREE, 3), ("a02_one_moderated.sse", 2)] {
        let (stand, user) = (Stand::new().await, User::new("daily"));
        let upstream = Upstream::recorded(recorded).await;
        let app: Arc<App> = stand.app(&upstream, &[("DAILY_LIMIT", "4"), ("DAILY_BUDGET", "100")]);
        assert_eq!(ask(&app, wanted(&user, "one")).await.ending(), "done");
        let item = stand.tables.bucket(&user.owner()).await.unwrap();
        let day = Day::at(unix_ms()).attribute();
        assert_eq!((number(&item, &day), item.contains_key("running")), (made, false), "{recorded}");
        let budget = stand.tables.bucket(&format!("budget:{day}")).await.unwrap();
        assert_eq!(number(&budget, "made"), made, "{recorded}");
        let reply = ask(&app, wanted(&user, "two")).await;
        assert_eq!(
            (reply.status, names(&reply)),
            (429, vec!["error".to_owned()]),
            "{recorded}: it needs room for three"
        );
        assert_eq!(reply.last()["code"], "daily_limit");
        assert_eq!(ask(&app, wanted(&user, "one")).await.ending(), "done", "{recorded}: an earlier result is free");
        let single: Arc<App> = stand.app(&upstream, &[("DAILY_LIMIT", "4"), ("ARK_MAX_IMAGES", "1")]);
        assert_eq!(ask(&single, wanted(&user, "three")).await.ending(), "done", "{recorded}: it needs room for one");
    }
}

#[tokio::test]
async fn a_rate_limit_refusal_is_an_event_too() {
    let (stand, user) = (Stand::new().await, User::new("limited"));
    let upstream = Upstream::recorded(THREE).await;
    let app: Arc<App> = stand.app(&upstream, &[("RL_LIMIT", "1")]);
    assert_eq!(ask(&app, wanted(&user, "one")).await.header("ratelimit"), Some("\"user\";r=0;t=86400"));
    let cold: Arc<App> = stand.app(&upstream, &[("RL_LIMIT", "1")]);
    for app in [&app, &cold] {
        let reply = ask(app, wanted(&user, "two")).await;
        assert_eq!((reply.status, names(&reply)), (429, vec!["error".to_owned()]));
        let error = reply.last();
        assert_eq!([&error["code"], &error["task_id"]], ["rate_limited", "two"]);
        let seconds = error["retry_after_ms"].as_u64().unwrap().div_ceil(1000).to_string();
        assert_eq!(reply.header("retry-after"), Some(seconds.as_str()));
        assert!(reply.header("ratelimit").unwrap().starts_with("\"user\";r=0;t="));
    }
    assert_eq!(stand.tables.record(&user.owner(), "two").await, None);
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn without_sign_in_the_address_is_the_caller() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(THREE).await;
    let variables = [("FACEFLIP_AUTH", "anonymous"), ("RL_ANON_LIMIT", "2")];
    let app: Arc<App> = stand.app(&upstream, &variables);
    let from = |address: &str, task_id: &str, forwarded: &str| {
        let mut request = wanted(&User::new("unsigned"), task_id);
        request.headers_mut().remove("authorization");
        request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        let source_ip: IpAddr = address.parse().unwrap();
        request.extensions_mut().insert(Invocation { source_ip: Some(source_ip), ..Invocation::default() });
        request
    };
    for (address, task_id, ending, calls) in [
        ("203.0.113.7", "a", "done", 1),
        ("203.0.113.7", "b", "done", 2),
        ("203.0.113.7", "c", "error rate_limited", 2),
        ("203.0.113.7", "a", "done", 2),
        ("203.0.113.8", "a", "done", 3),
    ] {
        for forwarded in ["203.0.113.7", "198.51.100.1"].iter().take(if task_id == "c" { 2 } else { 1 }) {
            assert_eq!(ask(&app, from(address, task_id, forwarded)).await.ending(), ending, "{address} {task_id}");
        }
        assert_eq!(upstream.requests(), calls, "{address} {task_id}");
    }
    for address in ["ip:203.0.113.7", "ip:203.0.113.8"] {
        assert!(stand.tables.record(address, "a").await.is_some());
    }
    assert!(stand.tables.bucket("ip:198.51.100.1").await.is_none());
    assert_eq!(
        ask(&app, wanted(&User::new("signed-in"), "a")).await.header("ratelimit-policy"),
        Some("\"user\";q=5;w=86400")
    );
}

/// A reader that leaves pays for the pictures that were made, at least one.
#[tokio::test]
async fn a_client_that_leaves_pays_for_finished_pictures() {
    let recorded = String::from_utf8(fixture(THREE).to_vec()).unwrap();
    let two: String = recorded.split_inclusive("\n\n").take(2).collect();
    for (answer, status, images, left) in [(two, "succeeded", 2, 1), (": here\n\n".to_owned(), "failed", 0, 2)] {
        let (stand, user) = (Stand::new().await, User::new("leaves"));
        let upstream = Upstream::plays(Transcript { ending: Ending::Stall, ..Transcript::events(answer) }).await;
        let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "3")]);
        let mut body = handle(app, wanted(&user, "task")).await.into_body();
        let mut told = String::new();
        while upstream.requests() == 0 || told.matches("event: image.done").count() < images as usize {
            let Ok(frame) = tokio::time::timeout(Duration::from_millis(100), body.frame()).await else { continue };
            let data = frame.expect("nothing ends the stream").unwrap().into_data().unwrap();
            told.push_str(std::str::from_utf8(&data).unwrap());
        }
        drop(body);
        let settled = async {
            loop {
                let record = stand.tables.record(&user.owner(), "task").await.unwrap();
                if text(&record, "st") != "running" && stand.tables.balance(&user.owner()).await.unwrap().1 == 0 {
                    return record;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let record = tokio::time::timeout(EVER, settled).await.unwrap();
        assert_eq!((text(&record, "st"), number(&record, "images")), (status, images));
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((left, 0)));
        assert_eq!(upstream.seen.open(), 0, "ARK's answer is dropped");
    }
}
