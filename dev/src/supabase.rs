//! Supabase Auth: the key set, and what supabase-js calls to sign a user in and out.
//!
//! | Route | supabase-js |
//! |---|---|
//! | `GET /auth/v1/.well-known/jwks.json` | `getClaims` |
//! | `POST /auth/v1/token?grant_type=password` | `signInWithPassword` |
//! | `POST /auth/v1/token?grant_type=refresh_token` | `refreshSession`, and every call with an old token |
//! | `POST /auth/v1/signup` | `signUp`, `signInAnonymously` |
//! | `POST /auth/v1/otp`, `POST /auth/v1/verify` | `signInWithOtp`, `verifyOtp` with a code; the code is logged |
//! | `GET /auth/v1/user` | `getUser` |
//! | `POST /auth/v1/logout` | `signOut` |
//!
//! `demo@example.com` and every `demo+<word>@example.com` are users with the password `demo`; others sign up. An
//! `apikey` header is neither needed nor read. Links in e-mails, phone numbers, other providers, changes of a user and
//! factors are left out. Errors and their messages are those of <https://github.com/supabase/auth>.

mod accounts;
mod key;
mod session;
mod sign_in;
mod sign_up;

use std::io;
use std::iter;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use self::accounts::Accounts;
use self::key::Key;
pub use self::key::{Algorithm, legacy_token};

const KEY_SET: &str = "/auth/v1/.well-known/jwks.json";
/// Where [`Fault::Redirect`] leads.
const MOVED_KEY_SET: &str = "/auth/v1/.well-known/moved/jwks.json";
/// What [`Fault::Huge`] adds.
const PADDING_BYTES: usize = 200_000;

/// A project's Auth. A test keeps a clone to rotate its keys, the fake another one to answer.
#[derive(Clone, Debug)]
pub struct Project(Arc<Mutex<Contents>>);

#[derive(Debug)]
struct Contents {
    in_use: Key,
    /// Oldest first.
    previously_used: Vec<Key>,
    accounts: Accounts,
    /// Answered instead of the real key set.
    list: Option<Value>,
    fault: Option<Fault>,
    delay: Duration,
    fetches: u32,
    redirected: u32,
}

/// How the key set fails. Wherever there is a body of JSON it is the good key set, so that only the
/// fault itself can tell a client to refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another status.
    Status(u16),
    /// No answer ever comes, and the connection stays.
    Hang,
    /// A page instead of JSON (200).
    Html,
    /// Leads elsewhere (302), where a good key set is answered.
    Redirect,
    /// About 200 KB (200): white space behind the key set, without a `Content-Length`.
    Huge,
    /// The connection is dropped in the middle of the body (200).
    Drop,
}

impl Project {
    /// A project with one fresh ES256 key.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Contents {
            in_use: Key::generate(Algorithm::Es256),
            previously_used: Vec::new(),
            accounts: Accounts::default(),
            list: None,
            fault: None,
            delay: Duration::ZERO,
            fetches: 0,
            redirected: 0,
        })))
    }

    /// Every claim that Auth writes for a user who has signed in with a password just now, for an hour.
    ///
    /// `user` is an e-mail address, and who it is: the same address is the same `sub`.
    pub fn claims(issuer: &str, user: &str) -> Value {
        sign_in::claims(issuer, Some(user), "password", &json!({}))
    }

    /// The last code that was sent to this address, if it was not used yet.
    pub fn code(&self, email: &str) -> Option<String> {
        self.contents().accounts.code(email)
    }

    /// A token with these claims, signed with the key in use.
    pub fn token(&self, claims: &Value) -> String {
        self.contents().in_use.token(claims)
    }

    /// The id of the key in use.
    pub fn kid(&self) -> String {
        self.contents().in_use.kid.clone()
    }

    /// Puts a fresh key in use and gives its id. The one before is "previously used": still listed.
    pub fn rotate(&self, algorithm: Algorithm) -> String {
        let fresh = Key::generate(algorithm);
        let kid = fresh.kid.clone();
        let mut contents = self.contents();
        let before = mem::replace(&mut contents.in_use, fresh);
        contents.previously_used.push(before);
        kid
    }

    /// Lists a key no longer. The one in use goes on signing, so that tokens of a revoked key can be had.
    pub fn revoke(&self, kid: &str) {
        let mut contents = self.contents();
        let Contents { in_use, previously_used, .. } = &mut *contents;
        for key in previously_used.iter_mut().chain(iter::once(in_use)) {
            if key.kid == kid {
                key.listed = false;
            }
        }
    }

    /// Answers this body instead of the real key set; `None` answers the real one again.
    pub fn list(&self, keys: Option<Value>) {
        self.contents().list = keys;
    }

    /// Lets every request for the key set fail, or none. Sign-in goes on.
    pub fn fail(&self, fault: Option<Fault>) {
        self.contents().fault = fault;
    }

    /// Lets every answer to a request for the key set wait.
    pub fn delay(&self, delay: Duration) {
        self.contents().delay = delay;
    }

    /// Requests for the key set that came, answered or not. Those that followed a redirect are not among them.
    pub fn fetches(&self) -> u32 {
        self.contents().fetches
    }

    /// Requests that followed [`Fault::Redirect`].
    pub fn redirected(&self) -> u32 {
        self.contents().redirected
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

impl Contents {
    /// Newest first.
    fn keys(&self) -> impl Iterator<Item = &Key> {
        iter::once(&self.in_use).chain(self.previously_used.iter().rev())
    }

    fn key_set(&self) -> String {
        if let Some(list) = &self.list {
            return list.to_string();
        }
        let listed: Vec<Value> = self.keys().filter(|key| key.listed).map(Key::jwk).collect();
        json!({"keys": listed}).to_string()
    }
}

/// The routes, under `/auth/v1`.
pub fn routes(project: Project) -> Router {
    Router::new()
        .route(KEY_SET, get(key_set))
        .route(MOVED_KEY_SET, get(moved_key_set))
        .route("/auth/v1/token", post(sign_in::token))
        .route("/auth/v1/signup", post(sign_up::sign_up))
        .route("/auth/v1/otp", post(sign_up::send_code))
        .route("/auth/v1/verify", post(sign_up::verify_code))
        .route("/auth/v1/user", get(session::user))
        .route("/auth/v1/logout", post(session::log_out))
        .with_state(project)
}

async fn key_set(State(project): State<Project>) -> Response {
    let delay = {
        let mut contents = project.contents();
        contents.fetches += 1;
        contents.delay
    };
    tokio::time::sleep(delay).await;
    let (fault, keys) = {
        let contents = project.contents();
        (contents.fault, contents.key_set())
    };
    match fault {
        None => good(keys),
        Some(Fault::Status(code)) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            reply(status, keys)
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Html) => Html("<!doctype html>\n<title>Sign in to the Wi-Fi</title>\n").into_response(),
        Some(Fault::Redirect) => (StatusCode::FOUND, [(header::LOCATION, MOVED_KEY_SET)]).into_response(),
        Some(Fault::Huge) => {
            let pieces = [Bytes::from(keys), Bytes::from(vec![b' '; PADDING_BYTES])];
            reply(StatusCode::OK, Body::from_stream(stream::iter(pieces.map(io::Result::Ok))))
        }
        Some(Fault::Drop) => reply(StatusCode::OK, broken_off(keys)),
    }
}

async fn moved_key_set(State(project): State<Project>) -> Response {
    let mut contents = project.contents();
    contents.redirected += 1;
    good(contents.key_set())
}

fn good(keys: String) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=600")], reply(StatusCode::OK, keys)).into_response()
}

fn reply(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

/// The first half of `body`.
fn broken_off(body: String) -> Body {
    let mut half = Bytes::from(body);
    half.truncate(half.len() / 2);
    Body::from_stream(stream::unfold(Some(half), |half| async {
        if let Some(half) = half {
            return Some((Ok(half), None));
        }
        // The server would take what it has not written yet along, so that is given time.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Err(io::Error::other("cut")), None))
    }))
}
