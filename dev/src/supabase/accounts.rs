//! What a project knows of its users: who signed up, their sessions, and the codes that were sent. It is lost with the
//! process.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Beside the demo users, by address in lower case.
    signed_up: BTreeMap<String, SignedUpUser>,
    /// By the claim `session_id`.
    sessions: BTreeMap<String, SessionRecord>,
    /// The last code that was sent to an address, until it is used.
    codes: BTreeMap<String, String>,
}

#[derive(Debug)]
struct SignedUpUser {
    /// None for a user that signs in with codes only.
    password_hash: Option<[u8; 32]>,
    metadata: Value,
}

#[derive(Debug)]
struct SessionRecord {
    claims: Value,
    /// Oldest first. The last one is active.
    refresh_tokens: Vec<String>,
}

/// What a client gets to sign in.
pub(super) struct Session {
    pub(super) claims: Value,
    pub(super) refresh_token: String,
}

/// The result of [`Accounts::refresh`].
pub(super) enum Refreshed {
    Fresh(Session),
    /// A token before the active one's parent. Its session has ended.
    Used,
    Unknown,
}

/// Which sessions of a user end.
pub(super) enum LogoutScope {
    Global,
    Local,
    Others,
}

impl Accounts {
    /// Adds a user, or returns false if the address has one.
    pub(super) fn sign_up(&mut self, email: &str, password: Option<&str>, metadata: Value) -> bool {
        if self.signed_up.contains_key(email) {
            return false;
        }
        let user = SignedUpUser { password_hash: password.map(|password| Sha256::digest(password).into()), metadata };
        self.signed_up.insert(email.to_owned(), user);
        true
    }

    pub(super) fn metadata(&self, email: &str) -> Option<Value> {
        self.signed_up.get(email).map(|user| user.metadata.clone())
    }

    pub(super) fn metadata_if_password(&self, email: &str, password: &str) -> Option<Value> {
        let user = self.signed_up.get(email)?;
        let hash: [u8; 32] = Sha256::digest(password).into();
        (user.password_hash == Some(hash)).then(|| user.metadata.clone())
    }

    /// Makes a code of six digits that replaces the last one.
    pub(super) fn new_code(&mut self, email: &str) -> String {
        let code = format!("{:06}", Uuid::new_v4().as_u128() % 1_000_000);
        self.codes.insert(email.to_owned(), code.clone());
        code
    }

    /// Whether this is the code that was sent. It can be used once.
    pub(super) fn use_code(&mut self, email: &str, code: &str) -> bool {
        let is_sent = self.codes.get(email).is_some_and(|sent| sent == code);
        is_sent && self.codes.remove(email).is_some()
    }

    pub(super) fn code(&self, email: &str) -> Option<String> {
        self.codes.get(email).cloned()
    }

    pub(super) fn start_session(&mut self, claims: Value) -> Session {
        let refresh_token = new_refresh_token();
        let id = claims["session_id"].as_str().unwrap_or_default().to_owned();
        let record = SessionRecord { claims: claims.clone(), refresh_tokens: vec![refresh_token.clone()] };
        self.sessions.insert(id, record);
        Session { claims, refresh_token }
    }

    /// Replaces the active token. Its parent gets the active one again, for a client that lost the response.
    ///
    /// Auth accepts an older token for another ten seconds; this does not.
    pub(super) fn refresh(&mut self, token: &str) -> Refreshed {
        let is_known = |record: &SessionRecord| record.refresh_tokens.iter().position(|known| known == token);
        let found = self.sessions.iter_mut().find_map(|(id, record)| Some((id, is_known(record)?, record)));
        let Some((id, position, record)) = found else { return Refreshed::Unknown };
        match record.refresh_tokens.len() - position {
            1 => record.refresh_tokens.push(new_refresh_token()),
            2 => {}
            _ => {
                let id = id.clone();
                self.sessions.remove(&id);
                return Refreshed::Used;
            }
        }
        let refresh_token = record.refresh_tokens.last().cloned().unwrap_or_default();
        Refreshed::Fresh(Session { claims: record.claims.clone(), refresh_token })
    }

    /// The claims with which a session started, until it ends.
    pub(super) fn session(&self, id: &str) -> Option<&Value> {
        self.sessions.get(id).map(|record| &record.claims)
    }

    /// Ends sessions of the user of this one.
    pub(super) fn log_out(&mut self, id: &str, scope: &LogoutScope) {
        let Some(user) = self.session(id).map(|claims| claims["sub"].clone()) else { return };
        self.sessions.retain(|other, record| {
            let is_ended = match scope {
                LogoutScope::Global => true,
                LogoutScope::Local => other == id,
                LogoutScope::Others => other != id,
            };
            record.claims["sub"] != user || !is_ended
        });
    }
}

fn new_refresh_token() -> String {
    Uuid::new_v4().simple().to_string()
}
