//! Keys from Secrets Manager, through the real SDK, against a fake on a socket.

use std::time::Duration;

use dev::RunningServer;
use dev::secrets::{SecretsFault, Vault, routes};
use dev::{Shape, image_api, user};
use generate_stream::{App, handle};
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::config::KeySource;
use shared::edge::KeyStore;
use shared::problem::Code;

const ID: &str = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:image-api-AbCdEf";

async fn vault(value: &str) -> (Vault, RunningServer) {
    let vault = Vault::default();
    vault.put(ID, value);
    let running = dev::start(routes(vault.clone())).await.unwrap();
    (vault, running)
}

fn store(running: &RunningServer) -> KeyStore {
    let key = KeySource::Managed { id: ID.into(), member: "IMAGE_API_KEY" };
    KeyStore::new(key, Some(running.url("").parse().unwrap()))
}

async fn exposed(store: &KeyStore) -> Result<String, Code> {
    store.get().await.map(|secret| secret.expose().to_owned())
}

#[tokio::test]
async fn many_cold_callers_are_one_call() {
    let (vault, running) = vault("canary").await;
    vault.delay(Duration::from_millis(100));
    let store = store(&running);
    let callers = (0..64).map(|_| exposed(&store));
    for value in futures_util::future::join_all(callers).await {
        assert_eq!(value.unwrap(), "canary");
    }
    assert_eq!(vault.calls(), 1);
    vault.fail(Some(SecretsFault::InternalServiceError));
    assert_eq!(exposed(&store).await.unwrap(), "canary", "a fresh value is not asked for again");
    assert_eq!(vault.calls(), 1);
}

#[tokio::test]
async fn a_secret_is_the_key_alone_or_a_member_of_an_object() {
    let rows = [
        ("canary", Some("canary")),
        (" canary\n", Some("canary")),
        (r#"{"IMAGE_API_KEY":"canary","other":1}"#, Some("canary")),
        (r#"{"ARK_API_KEY":"canary"}"#, None),
        (r#"{"IMAGE_API_KEY":7}"#, None),
        ("", None),
        ("two\nlines", None),
    ];
    for (value, key) in rows {
        let (_vault, running) = vault(value).await;
        let expected = key.map(str::to_owned).ok_or(Code::ServiceUnavailable);
        assert_eq!(exposed(&store(&running)).await, expected, "{value:?}");
    }
}

#[tokio::test]
async fn a_failure_is_remembered_and_not_asked_again_at_once() {
    for fault in [SecretsFault::AccessDenied, SecretsFault::Throttling, SecretsFault::InternalServiceError] {
        let (vault, running) = vault("canary").await;
        vault.fail(Some(fault));
        let store = store(&running);
        assert_eq!(exposed(&store).await, Err(Code::ServiceUnavailable), "{fault:?}");
        let calls = vault.calls();
        assert!((1..=3).contains(&calls), "{fault:?}: the SDK tries {calls} times");
        for _ in 0..10 {
            assert_eq!(exposed(&store).await, Err(Code::ServiceUnavailable));
        }
        assert_eq!(vault.calls(), calls, "{fault:?}");
    }
}

#[tokio::test]
async fn u11_a_refused_key_is_fetched_anew_and_the_call_repeated_once_if_it_changed() {
    let options =
        image_api::ImageApiOptions { key: "new".into(), shape: Shape::Whole, speed: f64::INFINITY, log: false };
    let upstream = dev::start(image_api::routes(options)).await.unwrap();
    let (vault, running) = vault("old").await;
    let app = |vault: &RunningServer| {
        let (base, endpoint) = (upstream.url(""), vault.url(""));
        let app = App::from_env(&|name| match name {
            "IMAGE_API_BASE_URL" => Some(base.clone()),
            "IMAGE_API_KEY_SECRET_ARN" => Some(ID.to_owned()),
            "AWS_ENDPOINT_URL_SECRETS_MANAGER" => Some(endpoint.clone()),
            _ => user::variable(name),
        });
        std::sync::Arc::new(app)
    };
    let post = || {
        let request = Request::post("/api/generate-stream").header("content-type", "application/json");
        request.header("authorization", user::bearer()).body(json!({"prompt": "x"}).to_string().into()).unwrap()
    };

    let unchanged = app(&running);
    for calls in [2, 2] {
        let response = handle(unchanged.clone(), post()).await;
        assert_eq!(response.status(), 503);
        let problem: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert_eq!(problem["code"], "service_unavailable");
        assert_eq!(vault.calls(), calls, "one look for another key, and none again at once");
    }

    vault.put_after_next_call(ID, "new");
    let response = handle(app(&running), post()).await;
    assert_eq!(response.status(), 200, "the old key was refused, the new one accepted");
    assert_eq!(vault.calls(), 4);
}

#[tokio::test]
async fn a_renewal_is_kept() {
    let (vault, running) = vault("old").await;
    let store = store(&running);
    let old = store.get().await.unwrap();
    vault.put(ID, "new");
    let new = store.renewed(&old).await.unwrap();
    assert_eq!(new.expose(), "new");
    assert_eq!(store.renewed(&old).await.unwrap().expose(), "new", "a later caller gets it without a call");
    assert_eq!(exposed(&store).await.unwrap(), "new");
    assert!(store.renewed(&new).await.is_none());
    assert_eq!(vault.calls(), 2);
}
