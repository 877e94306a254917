//! Secrets Manager fails, or returns what is no key.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dev::RunningServer;
use dev::secrets::{SecretsFault, Vault, routes};
use dev::transcript::Transcript;
use futures_util::future::join_all;
use generate_stream::{App, handle};
use http::Request;
use serde_json::json;
use shared::config::KeySource;
use shared::edge::KeyStore;
use shared::problem::Code;

use crate::log::Log;
use crate::support::{EVER, KEY_ID, Reply, Stand, Upstream, User};

const STREAM: &str = "/api/generate-stream";
const LINK: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"![image](https://example.com/a.png)\"}}]}\n\ndata: [DONE]\n\n";
/// Both routes, and both formats of the first.
const REQUESTS: [(&str, &str); 3] = [(STREAM, "chat"), (STREAM, "events"), ("/api/generate-image", "chat")];

fn keyed(user: &User, path: &str, format: &str) -> Request<bytes::Bytes> {
    let mut request = user.post(path, &json!({"prompt": "x", "format": format}));
    request.headers_mut().insert("idempotency-key", "key".parse().unwrap());
    request
}

/// A request that finds no key: nothing is spent, and an operator is needed.
async fn is_refused(stand: &Stand, name: &str, hidden: Option<&str>) {
    let upstream = Upstream::plays(Transcript::events(LINK)).await;
    for (path, format) in REQUESTS {
        let (log, user) = (Log::new(), User::new(&format!("{name}{path}{format}")));
        let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "3")]);
        let answer = tokio::time::timeout(EVER, handle(app, keyed(&user, path, format))).await.unwrap();
        let reply = Reply::read(answer).await;
        assert_eq!((reply.status, reply.ending().as_str()), (503, "problem service_unavailable"), "{name} {path}");
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0, "{name} {path}: the token came back");
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((3, 0)), "{name} {path}");
        assert_eq!(stand.tables.record(&user.owner(), "key").await, None, "{name} {path}: the key can be sent again");
        let [alarm] = &log.alarms()[..] else { panic!("{name}: {}", log.text()) };
        assert_eq!((&alarm["level"], &alarm["id"]), (&json!("ERROR"), &json!(KEY_ID)), "{name}");
        assert_eq!(log.of_level("WARN").len(), 1, "{name}: {}", log.text());
        let shown = log.text() + &String::from_utf8_lossy(&reply.bytes);
        assert!(hidden.is_none_or(|hidden| !shown.contains(hidden)), "{name}: {shown}");
    }
    assert_eq!(upstream.requests(), 0, "{name}");
}

#[tokio::test]
async fn s1_a_secret_that_may_not_be_read_is_503_and_an_alarm() {
    for fault in [Some(SecretsFault::AccessDenied), Some(SecretsFault::DecryptionFailure), None] {
        let stand = Stand::new().await;
        stand.vault.fail(fault);
        if fault.is_none() {
            stand.vault.remove(KEY_ID);
        }
        is_refused(&stand, &format!("{fault:?}"), None).await;
    }
}

#[tokio::test]
async fn s1_a_failure_is_remembered_for_some_seconds() {
    for fault in [SecretsFault::AccessDenied, SecretsFault::Throttling, SecretsFault::InternalServiceError] {
        let (vault, store, _manager) = store().await;
        vault.fail(Some(fault));
        assert_eq!(exposed(&store, at(0)).await, Err(Code::ServiceUnavailable), "{fault:?}");
        let calls = vault.calls();
        assert!((1..=3).contains(&calls), "{fault:?}: the SDK tries {calls} times");
        for _ in 0..10 {
            assert_eq!(exposed(&store, at(9)).await, Err(Code::ServiceUnavailable));
        }
        assert_eq!(vault.calls(), calls, "{fault:?}");
        vault.fail(None);
        assert_eq!(exposed(&store, at(10)).await.as_deref(), Ok("canary"), "{fault:?}");
    }
}

#[tokio::test]
async fn s2_the_last_key_is_used_for_an_hour() {
    let slow = Duration::from_secs(8);
    for (name, fault, delay) in [
        ("throttled", Some(SecretsFault::Throttling), Duration::ZERO),
        ("failing", Some(SecretsFault::InternalServiceError), Duration::ZERO),
        ("slow", None, slow),
    ] {
        let (vault, store, _manager) = store().await;
        assert_eq!(exposed(&store, at(0)).await.as_deref(), Ok("canary"));
        vault.put(KEY_ID, "a newer one");
        vault.fail(fault);
        vault.delay(delay);
        let log = Log::new();
        let calls = vault.calls();
        assert_eq!(exposed(&store, at(299)).await.as_deref(), Ok("canary"), "fresh");
        assert_eq!((vault.calls(), log.lines().len()), (calls, 0));
        let stale = tokio::time::timeout(EVER, exposed(&store, at(300))).await.unwrap();
        assert_eq!(stale.as_deref(), Ok("canary"), "{name}");
        let [line] = &log.of_level("WARN")[..] else { panic!("{name}: {}", log.text()) };
        assert_eq!((&line["level"], &line["alarm"]), (&json!("WARN"), &json!(null)), "{name}");
        assert_eq!(exposed(&store, at(309)).await.as_deref(), Ok("canary"), "{name}: a pause of ten seconds");
        assert_eq!(log.of_level("WARN").len(), 1, "{name}: {}", log.text());
        if delay.is_zero() {
            assert_eq!(exposed(&store, at(3600)).await, Err(Code::ServiceUnavailable), "{name}");
            assert_eq!(log.alarms().len(), 1, "{name}: {}", log.text());
        }
        vault.fail(None);
        vault.delay(Duration::ZERO);
        assert_eq!(exposed(&store, at(3610)).await.as_deref(), Ok("a newer one"), "{name}");
    }
}

#[tokio::test]
async fn s3_a_stream_ends_on_the_old_key_and_the_next_fetches_the_new_one() {
    let (log, stand, user) = (Log::new(), Stand::new().await, User::new("rotated"));
    let gate = dev::transcript::Gate::closed();
    let upstream = Upstream::plays_in_turn(vec![
        Transcript { gate: Some(gate.clone()), ..Transcript::events(LINK) },
        crate::support::refusal(401),
        Transcript::events(LINK),
    ])
    .await;
    let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "5")]);
    let request = || user.post(STREAM, &json!({"prompt": "x", "format": "events"}));
    let running = handle(app.clone(), request()).await;
    while upstream.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stand.vault.put(KEY_ID, "the new key");
    gate.open();
    assert_eq!(Reply::read(running).await.ending(), "done");
    let next = Reply::read(handle(app, request()).await).await;
    assert_eq!((next.ending().as_str(), stand.vault.calls()), ("done", 2));
    let keys = upstream.seen.received().into_iter().map(|request| request.headers["authorization"].clone());
    let keys: Vec<_> = keys.map(|key| key.to_str().unwrap() == "Bearer the new key").collect();
    assert_eq!(keys, [false, false, true]);
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 2, "a repeated call costs nothing more");
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((3, 0)));
    assert!(log.alarms().is_empty(), "a rotation is no alarm: {}", log.text());
    assert_eq!(log.summaries().iter().filter(|line| line["level"] == "INFO").count(), 2);
}

#[tokio::test]
async fn s4_a_secret_without_a_key_is_503_and_its_value_is_not_shown() {
    let long = "x".repeat(513);
    let rows = [
        ("empty", "", None),
        ("another member", r#"{"ARK_API_KEY":"canary-of-this-row"}"#, Some("canary")),
        ("a number", r#"{"IMAGE_API_KEY":7654321}"#, Some("7654321")),
        ("two lines", "canary-of-this-row\nanother", Some("canary")),
        ("a line feed in a member", r#"{"IMAGE_API_KEY":"canary-of-this\nrow"}"#, Some("canary")),
        ("long", &long, Some(&long[..32])),
        ("binary", "canary-of-this-row", Some("canary")),
    ];
    for (name, value, hidden) in rows {
        let stand = Stand::new().await;
        match name {
            "binary" => stand.vault.put_binary(KEY_ID, value),
            _ => stand.vault.put(KEY_ID, value),
        }
        is_refused(&stand, name, hidden).await;
    }
    for value in ["canary", " canary\n", "canary\r\n", r#"{"IMAGE_API_KEY":"canary\n","other":1}"#] {
        let (vault, store, _manager) = store().await;
        vault.put(KEY_ID, value);
        assert_eq!(exposed(&store, at(0)).await.as_deref(), Ok("canary"), "{value:?}");
    }
}

#[tokio::test]
async fn s5_200_cold_callers_are_one_call() {
    let (log, stand) = (Log::new(), Stand::new().await);
    stand.vault.delay(Duration::from_millis(300));
    let upstream = Upstream::plays(Transcript::events(LINK)).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let ask = async |number: usize| {
        let user = User::new(&format!("caller{number}"));
        let request = user.post(STREAM, &json!({"prompt": "x", "format": "events"}));
        (user, Reply::read(handle(app.clone(), request).await).await.ending())
    };
    let all = tokio::time::timeout(EVER, join_all((0..10).map(ask))).await.unwrap();
    for (user, ending) in all {
        assert_eq!(ending, "done");
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1);
    }
    assert_eq!((stand.vault.calls(), upstream.requests()), (1, 10));
    assert_eq!(log.summaries().len(), 10);
    stand.vault.fail(Some(SecretsFault::InternalServiceError));
    assert_eq!(ask(10).await.1, "done", "a fresh key is not fetched again");
    assert_eq!(stand.vault.calls(), 1);

    let (vault, store, _manager) = store().await;
    vault.delay(Duration::from_millis(300));
    for value in join_all((0..200).map(|_| exposed(&store, at(0)))).await {
        assert_eq!(value.as_deref(), Ok("canary"));
    }
    assert_eq!(vault.calls(), 1);
}

/// A key store, warm or cold at a time of the test's choosing.
async fn store() -> (Vault, KeyStore, RunningServer) {
    let vault = Vault::default();
    vault.put(KEY_ID, "canary");
    let manager = dev::start(routes(vault.clone())).await.unwrap();
    let key = KeySource::Managed { id: KEY_ID.into(), member: "IMAGE_API_KEY" };
    let store = KeyStore::new(key, Some(manager.url("").parse().unwrap()));
    (vault, store, manager)
}

async fn exposed(store: &KeyStore, at: SystemTime) -> Result<String, Code> {
    store.get_at(at).await.map(|secret| secret.expose().to_owned())
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_216_097 + seconds)
}
