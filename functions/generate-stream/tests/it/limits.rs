//! The rate limit as callers see it: through the handler, the real SDK and a table.
//!
//! `AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 cargo test …` runs these tests on another engine.

mod caps;
mod concurrency;
mod faults;
mod refunds;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dev::dynamodb::TableFault;
use dev::transcript::{Ending, Transcript};
use generate_stream::{App, handle};
use http::Request;
use serde_json::json;
use shared::edge::Invocation;

use crate::support::{Reply, Stand, Tables, Upstream, User, fixture, in_time, number, text, unix_ms};

const PATH: &str = "/api/generate-stream";
const PICTURE: &str = "c01_newapi_one_giant_chunk.sse";
/// One call every three seconds, and one at once.
const SLOW: [(&str, &str); 2] = [("RL_LIMIT", "1"), ("RL_WINDOW_MS", "3000")];
/// A bound for every refusal. A table call times out after 1.5 seconds.
const SOON: Duration = Duration::from_secs(6);

fn wanted(user: &User) -> Request<Bytes> {
    user.post(PATH, &json!({"prompt": "x", "format": "events"}))
}

/// The same request in chat format, where a failure before the first picture is a problem.
fn wanted_as_chat(user: &User) -> Request<Bytes> {
    user.post(PATH, &json!({"prompt": "x"}))
}

fn keyed(user: &User, key: &str, prompt: &str) -> Request<Bytes> {
    let mut request = user.post(PATH, &json!({"prompt": prompt, "format": "events"}));
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

async fn ask(app: &Arc<App>, request: Request<Bytes>) -> Reply {
    Reply::read(handle(app.clone(), request).await).await
}

/// Checks everything in a refusal for lack of tokens. Returns its `retry_after_ms`.
#[track_caller]
fn refused_for_ms(reply: &Reply) -> u64 {
    assert_eq!((reply.status, reply.ending().as_str()), (429, "problem rate_limited"));
    let retry_after_ms = reply.last()["retry_after_ms"].as_u64().unwrap();
    assert!(retry_after_ms > 0);
    let seconds = retry_after_ms.div_ceil(1000).to_string();
    assert_eq!(reply.header("retry-after"), Some(seconds.as_str()));
    let policy = reply.header("ratelimit-policy").unwrap();
    assert!(policy.starts_with("\"user\";q=") || policy.starts_with("\"guest\";q="), "{policy}");
    let (left, next) = reply.header("ratelimit").unwrap().split_once(";t=").unwrap();
    assert!(left == "\"user\";r=0" || left == "\"guest\";r=0", "{left}");
    assert!(next.parse::<u64>().unwrap() <= retry_after_ms.div_ceil(1000), "not before a token is there");
    assert!(!reply.headers.contains_key("x-task-id"), "there is no task");
    retry_after_ms
}

async fn until(time_ms: u64) {
    tokio::time::sleep(Duration::from_millis(time_ms.saturating_sub(unix_ms()))).await;
}

/// A refused request left no record and no missing token, and made no call.
async fn left_nothing(stand: &Stand, upstream: &Upstream, user: &User) {
    assert_eq!(upstream.requests(), 0, "the upstream");
    assert_eq!(stand.vault.calls(), 0, "the secret");
    let owner = user.owner();
    assert_eq!(stand.tables.missing(&owner, 5).await, 0, "tokens");
    let records =
        stand.tables.all().await.into_iter().filter(|item| text(item, "pk") == owner && item.contains_key("sk"));
    assert_eq!(records.count(), 0, "records");
}

#[tokio::test]
async fn d1_retry_after_is_exact() {
    let (stand, user) = (Stand::new().await, User::new("when"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app = || -> Arc<App> { stand.app(&upstream, &SLOW) };
    let (first, second, cold) = (app(), app(), (0..8).map(|_| app()).collect::<Vec<_>>());
    assert_eq!(ask(&first, wanted(&user)).await.ending(), "done");
    let free_ms = number(&stand.tables.bucket(&user.owner()).await.unwrap(), "tat");
    // From memory, and from the table.
    for app in [&first, &second] {
        let before_ms = unix_ms();
        let retry_after_ms = refused_for_ms(&ask(app, wanted(&user)).await);
        let decided_ms = free_ms - retry_after_ms;
        assert!((before_ms..=unix_ms()).contains(&decided_ms), "{before_ms} {decided_ms} {}", unix_ms());
    }

    until(free_ms - 60).await;
    for app in cold.iter().chain(std::iter::repeat(&first)) {
        let before_ms = unix_ms();
        let reply = ask(app, wanted(&user)).await;
        if reply.status == 200 {
            assert!(unix_ms() >= free_ms, "too early");
            break;
        }
        refused_for_ms(&reply);
        assert!(before_ms < free_ms, "{} ms late", before_ms - free_ms);
    }
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn a_request_after_retry_after_is_admitted() {
    let variables = [("RL_LIMIT", "1"), ("RL_WINDOW_MS", "1500")];
    in_time(async || {
        let (stand, user) = (Stand::new().await, User::new("retry"));
        let upstream = Upstream::recorded(PICTURE).await;
        let (app, other): (Arc<App>, Arc<App>) = (stand.app(&upstream, &variables), stand.app(&upstream, &variables));
        // Twice, another process is faster and takes the token.
        for _ in 0..2 {
            while ask(&other, wanted(&user)).await.status != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let reply = ask(&app, wanted(&user)).await;
            if reply.status == 200 {
                return false;
            }
            until(unix_ms() + refused_for_ms(&reply)).await;
        }
        assert_eq!(ask(&app, wanted(&user)).await.status, 200);
        true
    })
    .await;
}

#[tokio::test]
async fn d1_an_empty_bucket_refuses_without_a_record() {
    let (stand, user) = (Stand::new().await, User::new("d1"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    for left in (0..5).rev() {
        let reply = ask(&app, wanted(&user)).await;
        assert_eq!(reply.ending(), "done");
        assert_eq!(reply.header("ratelimit-policy"), Some("\"user\";q=5;w=86400"));
        let next = reply.header("ratelimit").unwrap().strip_prefix(&format!("\"user\";r={left};t=")).unwrap();
        assert!((17_220..=17_280).contains(&next.parse::<u32>().unwrap()), "{next}");
    }
    let (secrets, items) = (stand.vault.calls(), stand.tables.all().await.len());
    let cold: Arc<App> = stand.app(&upstream, &[]);
    for app in [&cold, &app] {
        for request in [wanted(&user), wanted_as_chat(&user)] {
            let retry_after_ms = refused_for_ms(&ask(app, request).await);
            assert!((17_280_000 - 60_000..=17_280_000).contains(&retry_after_ms), "{retry_after_ms}");
        }
    }
    assert_eq!((upstream.requests(), stand.vault.calls()), (5, secrets));
    assert_eq!(stand.tables.all().await.len(), items, "a refusal leaves no record");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 5);
    assert_eq!(ask(&app, wanted(&User::new("d1-other"))).await.status, 200, "another user is not refused");
}

/// The tables that fail.
#[derive(Clone, Copy, Debug)]
enum On {
    Limits,
    Ledger,
    Both,
}

impl On {
    const ALL: [Self; 3] = [Self::Limits, Self::Ledger, Self::Both];

    fn fail(self, tables: &Tables, fault: TableFault) {
        let failing = match self {
            Self::Limits => vec![tables.limits.clone()],
            Self::Ledger => vec![tables.ledger.clone()],
            Self::Both => vec![tables.limits.clone(), tables.ledger.clone()],
        };
        tables.proxy.script(move |call| failing.contains(&call.table).then_some(fault));
    }
}

#[tokio::test]
async fn a_repeated_key_takes_no_token() {
    let (stand, user) = (Stand::new().await, User::new("d10"));
    let (upstream, gate) = Upstream::gated(Transcript::events(fixture(PICTURE))).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let cold: Arc<App> = stand.app(&upstream, &[]);
    let running = handle(app.clone(), keyed(&user, "key", "x")).await;
    assert_eq!(running.status(), 200);
    while upstream.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let check = async |status, code: &str, prompt: &str| {
        for app in [&app, &cold] {
            let (paid, secrets) = (upstream.requests(), stand.vault.calls());
            let reply = ask(app, keyed(&user, "key", prompt)).await;
            assert_eq!((reply.status, reply.ending()), (status, format!("problem {code}")));
            assert_eq!((upstream.requests(), stand.vault.calls()), (paid, secrets));
            assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1);
        }
    };
    check(409, "task_in_progress", "x").await;
    check(422, "task_id_reused", "y").await;
    gate.open();
    assert_eq!(Reply::read(running).await.ending(), "done");
    check(409, "task_already_completed", "x").await;
    check(422, "task_id_reused", "y").await;
    assert_eq!(upstream.requests(), 1);
}

/// With the source address of the platform; headers with addresses are written by clients.
fn from(mut request: Request<Bytes>, address: &str) -> Request<Bytes> {
    let source_ip: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(Invocation { source_ip: Some(source_ip), ..Invocation::default() });
    request
}

#[tokio::test]
async fn guests_share_the_limit_of_their_address() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    let variables = [("ALLOW_ANONYMOUS", "true"), ("RL_ANON_LIMIT", "2")];
    let apps: [Arc<App>; 2] = [stand.app(&upstream, &variables), stand.app(&upstream, &variables)];
    let (one, other) = (User::guest("guest-1"), User::guest("guest-2"));
    for (app, user) in [(&apps[0], &one), (&apps[1], &other)] {
        let reply = ask(app, from(wanted(user), "203.0.113.7")).await;
        assert_eq!((reply.status, reply.header("ratelimit-policy")), (200, Some("\"guest\";q=2;w=86400")));
    }
    assert_eq!(stand.tables.missing("ip:203.0.113.7", 2).await, 2);
    for app in &apps {
        for user in [&one, &other, &User::guest("guest-3")] {
            for header in ["x-forwarded-for", "x-real-ip", "forwarded", "cf-connecting-ip", "true-client-ip"] {
                let mut request = from(wanted(user), "203.0.113.7");
                request.headers_mut().insert(header, "198.51.100.1".parse().unwrap());
                refused_for_ms(&ask(app, request).await);
            }
        }
    }
    assert_eq!(upstream.requests(), 2);
    assert!(stand.tables.bucket("ip:198.51.100.1").await.is_none());
    assert!(stand.tables.bucket(&one.owner()).await.is_none(), "a guest has no bucket of its own");

    assert_eq!(ask(&apps[0], from(wanted(&one), "203.0.113.8")).await.status, 200, "another address");
    let member = User::new("member");
    let reply = ask(&apps[0], from(wanted(&member), "203.0.113.7")).await;
    assert_eq!((reply.status, reply.header("ratelimit-policy")), (200, Some("\"user\";q=5;w=86400")));

    // A subscriber has a /64 network.
    for (address, status) in [("2001:db8:1:2::1", 200), ("2001:db8:1:2:ffff::2", 200), ("2001:db8:1:2:3::4", 429)] {
        assert_eq!(ask(&apps[0], from(wanted(&one), address)).await.status, status, "{address}");
    }
    assert_eq!(ask(&apps[0], from(wanted(&one), "2001:db8:1:3::1")).await.status, 200);
    let strict: Arc<App> = stand.app(&upstream, &[]);
    assert_eq!(ask(&strict, from(wanted(&one), "203.0.113.9")).await.ending(), "problem anonymous_not_allowed");
}

#[tokio::test]
async fn a_refusal_from_memory_writes_nothing_and_reads_a_bounded_number_of_records() {
    let (stand, user) = (Stand::new().await, User::new("memory"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[("RL_LIMIT", "1")]);
    assert_eq!(ask(&app, wanted(&user)).await.ending(), "done");
    let calls = stand.tables.proxy.calls();
    assert_eq!(calls, 4, "begin the task, consume the token, then at once end the task and free its place");
    let begun_ms = unix_ms();
    for request in 0..100 {
        refused_for_ms(&ask(&app, keyed(&user, &format!("key-{request}"), "x")).await);
    }
    let reads = stand.tables.proxy.calls_to("GetItem");
    assert_eq!(stand.tables.proxy.calls(), calls + reads, "only reads");
    // Twenty at once, then ten a second.
    let most = 20 + (unix_ms() - begun_ms).div_ceil(100);
    assert!((20..=most).contains(&u64::from(reads)), "{reads} reads, at most {most}");
}

/// Even if the call and the admission take the longest permitted time.
#[tokio::test]
async fn a_lease_ends_after_its_call() {
    let (stand, user) = (Stand::new().await, User::new("lease"));
    let stalls = Transcript { ending: Ending::Stall, ..Transcript::events(": here\n\n") };
    let upstream = Upstream::plays(stalls).await;
    let app: Arc<App> =
        stand.app(&upstream, &[("UPSTREAM_TOTAL_MS", "2500"), ("CREDITS", "on"), ("CREDITS_INITIAL", "9")]);
    app.warm_up().await;
    stand.tables.proxy.delay(Duration::from_millis(400));
    let running = handle(app, keyed(&user, "key", "x")).await;
    let lease_ms = number(&stand.tables.record(&user.owner(), "key").await.unwrap(), "lease");
    stand.tables.proxy.delay(Duration::ZERO);
    assert_eq!(Reply::read(running).await.ending(), "error deadline_exceeded");
    assert!(lease_ms >= unix_ms() + 5_000, "{} ms are left", lease_ms.saturating_sub(unix_ms()));
}

/// A refusal from memory reads the record first, so a repeated key gets its own answer from every process.
#[tokio::test]
async fn a_caller_without_tokens_gets_the_state_of_a_repeated_key() {
    let (stand, user) = (Stand::new().await, User::new("elsewhere"));
    let upstream = Upstream::recorded(PICTURE).await;
    let [one, other]: [Arc<App>; 2] = [(); 2].map(|()| stand.app(&upstream, &[("RL_LIMIT", "1")]));
    assert_eq!(ask(&one, keyed(&user, "a", "x")).await.ending(), "done");
    assert_eq!(ask(&other, keyed(&user, "b", "x")).await.status, 429, "by the store");
    for (key, prompt, status) in [("a", "x", 409), ("a", "y", 422), ("c", "x", 429)] {
        let calls = stand.tables.proxy.calls();
        assert_eq!(ask(&other, keyed(&user, key, prompt)).await.status, status, "{key} {prompt}");
        assert_eq!(stand.tables.proxy.calls() - calls, 1, "{key}: one read and no write");
    }
    assert_eq!(upstream.requests(), 1);
}
