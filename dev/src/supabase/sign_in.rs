//! Tokens: sign-in with a password, and fresh tokens for a refresh token.

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::accounts::{Refreshed, Session};
use super::{Project, reply};
use crate::timed_body::unix_seconds;

const PASSWORD: &str = "demo";
const LIFETIME_SECONDS: u64 = 3600;
const MAX_WORD_LENGTH: usize = 32;
/// When every user signed up and last changed.
const SIGNED_UP: &str = "2026-01-01T00:00:00Z";

/// The claims of the user with this address, or of a new anonymous one.
pub(super) fn claims(issuer: &str, user: Option<&str>, method: &str, metadata: &Value) -> Value {
    let now = unix_seconds();
    let email = user.map(str::to_lowercase);
    let app_metadata = match user {
        Some(_) => json!({"provider": "email", "providers": ["email"]}),
        None => json!({}),
    };
    json!({
        "iss": issuer,
        "sub": email.as_deref().map_or_else(|| Uuid::new_v4().to_string(), user_id),
        "aud": "authenticated",
        "exp": now + LIFETIME_SECONDS,
        "iat": now,
        "email": email.unwrap_or_default(),
        "phone": "",
        "app_metadata": app_metadata,
        "user_metadata": metadata,
        "role": "authenticated",
        "aal": "aal1",
        "amr": [{"method": method, "timestamp": now}],
        "session_id": Uuid::new_v4().to_string(),
        "is_anonymous": user.is_none(),
    })
}

/// A UUID of version 4 to look at, as Auth gives out. It is made from the address, not drawn.
fn user_id(email: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(email)[..16]);
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Whether this address, in lower case, is a demo user's.
pub(super) fn is_demo_user(email: &str) -> bool {
    let word = |word: &str| {
        (1..=MAX_WORD_LENGTH).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let user = email.strip_suffix("@example.com");
    user.is_some_and(|user| user == "demo" || user.strip_prefix("demo+").is_some_and(word))
}

/// The issuer in tokens: the host that was asked.
pub(super) fn issuer(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}/auth/v1")
}

pub(super) async fn token(
    State(project): State<Project>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let query = query.unwrap_or_default();
    match query.split('&').find_map(|pair| pair.strip_prefix("grant_type=")) {
        Some("password") => with_password(&project, &headers, &body),
        Some("refresh_token") => with_refresh_token(&project, &body),
        _ => Err(Refusal::bad("invalid_credentials", "unsupported_grant_type")),
    }
}

fn with_password(project: &Project, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refusal> {
    let credentials = RequestMembers::parse(body, "PasswordGrantParams")?;
    let [email, phone, password] =
        [credentials.text("email")?, credentials.text("phone")?, credentials.text("password")?];
    match (email, phone) {
        ("", "") => return Err(Refusal::bad("validation_failed", "missing email or phone")),
        ("", _) => return Err(Refusal::unprocessable("phone_provider_disabled", "Phone logins are disabled")),
        (_, "") => {}
        _ => {
            let message = "Only an email address or phone number should be provided on login.";
            return Err(Refusal::bad("validation_failed", message));
        }
    }
    let email = email.to_lowercase();
    let metadata = if is_demo_user(&email) && password == PASSWORD {
        Some(json!({}))
    } else {
        project.contents().accounts.metadata_if_password(&email, password)
    };
    let metadata = metadata.ok_or_else(|| Refusal::bad("invalid_credentials", "Invalid login credentials"))?;
    Ok(start_session(project, claims(&issuer(headers), Some(&email), "password", &metadata)))
}

fn with_refresh_token(project: &Project, body: &[u8]) -> Result<Response, Refusal> {
    let members = RequestMembers::parse(body, "RefreshTokenGrantParams")?;
    let token = members.text("refresh_token")?;
    if token.is_empty() {
        return Err(Refusal::bad("validation_failed", "refresh_token required"));
    }
    let refreshed = project.contents().accounts.refresh(token);
    match refreshed {
        Refreshed::Fresh(mut session) => {
            let now = unix_seconds();
            session.claims["iat"] = json!(now);
            session.claims["exp"] = json!(now + LIFETIME_SECONDS);
            Ok(signed_in(project, &session))
        }
        Refreshed::Used => Err(Refusal::bad("refresh_token_already_used", "Invalid Refresh Token: Already Used")),
        Refreshed::Unknown => {
            Err(Refusal::bad("refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"))
        }
    }
}

/// Starts a session with these claims.
pub(super) fn start_session(project: &Project, claims: Value) -> Response {
    let session = project.contents().accounts.start_session(claims);
    signed_in(project, &session)
}

fn signed_in(project: &Project, session: &Session) -> Response {
    let Session { claims, refresh_token } = session;
    let body = json!({
        "access_token": project.token(claims),
        "token_type": "bearer",
        "expires_in": LIFETIME_SECONDS,
        "expires_at": claims["exp"],
        "refresh_token": refresh_token,
        "user": user(claims),
    });
    reply(StatusCode::OK, body.to_string())
}

/// The user that these claims name.
pub(super) fn user(claims: &Value) -> Value {
    let mut user = json!({
        "id": claims["sub"],
        "aud": claims["aud"],
        "role": claims["role"],
        "email": claims["email"],
        "phone": claims["phone"],
        "app_metadata": claims["app_metadata"],
        "user_metadata": claims["user_metadata"],
        "identities": [],
        "created_at": SIGNED_UP,
        "updated_at": SIGNED_UP,
        "is_anonymous": claims["is_anonymous"],
    });
    if claims["is_anonymous"] == false {
        for date in ["email_confirmed_at", "confirmed_at"] {
            user[date] = json!(SIGNED_UP);
        }
    }
    user
}

/// The members of a request.
pub(super) struct RequestMembers {
    body: Value,
    /// The type that Auth reads them into, for its messages.
    go_type: &'static str,
}

impl RequestMembers {
    pub(super) fn parse(body: &[u8], go_type: &'static str) -> Result<Self, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
        if !body.is_object() && !body.is_null() {
            return Err(unreadable(format!("json: cannot unmarshal into Go value of type api.{go_type}")));
        }
        Ok(Self { body, go_type })
    }

    /// A member. One that is absent or null is empty, as Go reads it.
    pub(super) fn text(&self, name: &str) -> Result<&str, Refusal> {
        match &self.body[name] {
            Value::Null => Ok(""),
            Value::String(text) => Ok(text),
            _ => Err(self.wrong_type(name, "string")),
        }
    }

    /// The user's metadata.
    pub(super) fn data(&self) -> Result<Value, Refusal> {
        match &self.body["data"] {
            Value::Null => Ok(json!({})),
            data @ Value::Object(_) => Ok(data.clone()),
            _ => Err(self.wrong_type("data", "map[string]interface {}")),
        }
    }

    pub(super) fn is_false(&self, name: &str) -> Result<bool, Refusal> {
        match &self.body[name] {
            Value::Null => Ok(false),
            Value::Bool(value) => Ok(!value),
            _ => Err(self.wrong_type(name, "bool")),
        }
    }

    fn wrong_type(&self, name: &str, expected: &str) -> Refusal {
        let go_type = self.go_type;
        unreadable(format!("json: cannot unmarshal into Go struct field {go_type}.{name} of type {expected}"))
    }
}

fn unreadable(cause: String) -> Refusal {
    Refusal::bad("bad_json", format!("Could not parse request body as JSON: {cause}"))
}

/// An error as Auth writes it for clients that ask for no API version.
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(super) fn unprocessable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    pub(super) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, message } = self;
        let mut body = json!({"code": status.as_u16(), "error_code": code, "msg": message});
        if code == "weak_password" {
            body["weak_password"] = json!({"reasons": ["length"]});
        }
        ([("x-sb-error-code", code)], reply(status, body.to_string())).into_response()
    }
}
