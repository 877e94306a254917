//! A fake of AWS Secrets Manager: `GetSecretValue` in AWS's JSON 1.1 protocol.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The stored secrets. A test holds one handle, [`routes`] another.
#[derive(Clone, Debug, Default)]
pub struct Vault(Arc<Mutex<VaultState>>);

#[derive(Debug, Default)]
struct VaultState {
    values: HashMap<String, String>,
    /// Ids whose value is stored as bytes.
    binary: HashSet<String>,
    /// Id and value that are stored after the next call.
    next: Option<(String, String)>,
    fault: Option<SecretsFault>,
    delay: Duration,
    calls: u32,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsFault {
    /// The role has no permission to read the secret (400).
    AccessDenied,
    /// The key that encrypts the secret cannot be used (400).
    DecryptionFailure,
    /// Too many calls (400).
    Throttling,
    /// An internal error of the service (500).
    InternalServiceError,
}

impl Vault {
    /// Stores a value, or replaces it.
    pub fn put(&self, id: &str, value: &str) {
        let mut state = self.state();
        state.values.insert(id.to_owned(), value.to_owned());
        state.binary.remove(id);
    }

    /// Deletes a secret.
    pub fn remove(&self, id: &str) {
        self.state().values.remove(id);
    }

    /// Stores a value as bytes instead of text.
    pub fn put_binary(&self, id: &str, value: &str) {
        self.put(id, value);
        self.state().binary.insert(id.to_owned());
    }

    /// Replaces a value after the next call, which still returns the old one.
    pub fn put_after_next_call(&self, id: &str, value: &str) {
        self.state().next = Some((id.to_owned(), value.to_owned()));
    }

    /// Makes every call fail, or none.
    pub fn fail(&self, fault: Option<SecretsFault>) {
        self.state().fault = fault;
    }

    /// Delays every response.
    pub fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Number of received calls.
    pub fn calls(&self) -> u32 {
        self.state().calls
    }

    fn state(&self) -> MutexGuard<'_, VaultState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The service, at `POST /`.
pub fn routes(vault: Vault) -> Router {
    Router::new().route("/", post(answer)).with_state(vault)
}

async fn answer(State(vault): State<Vault>, headers: HeaderMap, body: Bytes) -> Response {
    let delay = vault.state().delay;
    tokio::time::sleep(delay).await;
    let mut state = vault.state();
    state.calls += 1;
    let is = |name: &str, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !signed.starts_with("AWS4-HMAC-SHA256 ") || !is("content-type", "application/x-amz-json-1.1") {
        return failure(StatusCode::BAD_REQUEST, "IncompleteSignature");
    }
    if !is("x-amz-target", "secretsmanager.GetSecretValue") {
        return failure(StatusCode::BAD_REQUEST, "UnknownOperationException");
    }
    match state.fault {
        Some(SecretsFault::AccessDenied) => return failure(StatusCode::BAD_REQUEST, "AccessDeniedException"),
        Some(SecretsFault::DecryptionFailure) => return failure(StatusCode::BAD_REQUEST, "DecryptionFailure"),
        Some(SecretsFault::Throttling) => return failure(StatusCode::BAD_REQUEST, "ThrottlingException"),
        Some(SecretsFault::InternalServiceError) => {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalServiceError");
        }
        None => {}
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(id) = request["SecretId"].as_str() else {
        return failure(StatusCode::BAD_REQUEST, "InvalidParameterException");
    };
    let value = state.values.get(id).cloned();
    if let Some((id, value)) = state.next.take() {
        state.values.insert(id, value);
    }
    match value {
        None => failure(StatusCode::BAD_REQUEST, "ResourceNotFoundException"),
        Some(value) => {
            let mut answer = json!({
                "ARN": id, "Name": "a-secret", "CreatedDate": 1_795_215_600.0,
                "VersionId": "11111111-2222-3333-4444-555555555555", "VersionStages": ["AWSCURRENT"],
            });
            match state.binary.contains(id) {
                true => answer["SecretBinary"] = STANDARD.encode(value).into(),
                false => answer["SecretString"] = value.into(),
            }
            reply(StatusCode::OK, answer)
        }
    }
}

fn failure(status: StatusCode, code: &str) -> Response {
    reply(status, json!({"__type": code, "Message": "the fake was set to fail"}))
}

fn reply(status: StatusCode, body: Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}
