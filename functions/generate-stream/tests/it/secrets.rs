//! Keys from Secrets Manager, through the real SDK, against a fake on a socket.

use dev::RunningServer;
use dev::secrets::{Vault, routes};
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
