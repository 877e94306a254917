//! Sign-in with a password: the accepted users and their sessions.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::{Project, reply};
use crate::timed_body::unix_seconds;

const PASSWORD: &str = "demo";
const LIFETIME_SECONDS: u64 = 3600;
const MAX_WORD_LENGTH: usize = 32;
/// When every user signed up and last changed.
const SIGNED_UP: &str = "2026-01-01T00:00:00Z";

pub(super) fn claims(issuer: &str, user: &str) -> Value {
    let email = user.to_lowercase();
    let now = unix_seconds();
    json!({
        "iss": issuer,
        "sub": user_id(&email),
        "aud": "authenticated",
        "exp": now + LIFETIME_SECONDS,
        "iat": now,
        "email": email,
        "phone": "",
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {},
        "role": "authenticated",
        "aal": "aal1",
        "amr": [{"method": "password", "timestamp": now}],
        "session_id": Uuid::new_v4().to_string(),
        "is_anonymous": false,
    })
}

/// A UUID of version 4 to look at, as Auth gives out. It is made from the address, not drawn.
fn user_id(email: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(email)[..16]);
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// The address under which Auth keeps the user, if there is such a user.
fn known(email: &str) -> Option<String> {
    let email = email.to_lowercase();
    let user = email.strip_suffix("@example.com")?;
    let word = |word: &str| {
        (1..=MAX_WORD_LENGTH).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (user == "demo" || user.strip_prefix("demo+").is_some_and(word)).then_some(email)
}

pub(super) async fn token(
    State(project): State<Project>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let query = query.unwrap_or_default();
    if query.split('&').find_map(|pair| pair.strip_prefix("grant_type=")) != Some("password") {
        return Err(Refusal::bad("invalid_credentials", "unsupported_grant_type"));
    }
    let email = Credentials::parse(&body)?.check()?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");

    let claims = claims(&format!("http://{host}/auth/v1"), &email);
    let session = json!({
        "access_token": project.token(&claims),
        "token_type": "bearer",
        "expires_in": LIFETIME_SECONDS,
        "expires_at": claims["exp"],
        "refresh_token": Uuid::new_v4().simple().to_string(),
        "user": {
            "id": claims["sub"],
            "aud": claims["aud"],
            "role": claims["role"],
            "email": claims["email"],
            "email_confirmed_at": SIGNED_UP,
            "phone": claims["phone"],
            "confirmed_at": SIGNED_UP,
            "app_metadata": claims["app_metadata"],
            "user_metadata": claims["user_metadata"],
            "identities": [],
            "created_at": SIGNED_UP,
            "updated_at": SIGNED_UP,
            "is_anonymous": claims["is_anonymous"],
        },
    });
    Ok(reply(StatusCode::OK, session.to_string()))
}

/// The members of a request. A member that is absent or null is empty, as Go reads it.
struct Credentials {
    email: String,
    phone: String,
    password: String,
}

impl Credentials {
    fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let unreadable = |why: String| Refusal::bad("bad_json", format!("Could not parse request body as JSON: {why}"));
        let body: Value = serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
        if !body.is_object() && !body.is_null() {
            return Err(unreadable("json: cannot unmarshal into Go value of type api.PasswordGrantParams".to_owned()));
        }
        let text = |name: &str| match &body[name] {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            _ => Err(unreadable(format!(
                "json: cannot unmarshal into Go struct field PasswordGrantParams.{name} of type string"
            ))),
        };
        Ok(Self { email: text("email")?, phone: text("phone")?, password: text("password")? })
    }

    /// The user's address, if it is a user's and this is the password.
    fn check(&self) -> Result<String, Refusal> {
        match (self.email.is_empty(), self.phone.is_empty()) {
            (false, false) => Err(Refusal::bad(
                "validation_failed",
                "Only an email address or phone number should be provided on login.",
            )),
            (true, true) => Err(Refusal::bad("validation_failed", "missing email or phone")),
            (true, false) => Err(Refusal {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                code: "phone_provider_disabled",
                message: "Phone logins are disabled".to_owned(),
            }),
            (false, true) => known(&self.email)
                .filter(|_| self.password == PASSWORD)
                .ok_or_else(|| Refusal::bad("invalid_credentials", "Invalid login credentials")),
        }
    }
}

/// An error as Auth writes it for clients that ask for no API version.
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, message } = self;
        let body = json!({"code": status.as_u16(), "error_code": code, "msg": message});
        ([("x-sb-error-code", code)], reply(status, body.to_string())).into_response()
    }
}
