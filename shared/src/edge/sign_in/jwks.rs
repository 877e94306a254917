use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use http::header::CACHE_CONTROL;
use url::Url;

use crate::alarm::Alarm;
use crate::auth::KeySet;
use crate::edge::cache::{Cache, Fetched, Times};
use crate::edge::https::https_client;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);
/// The `max-age` that Supabase sends. A longer one would keep a revoked key longer.
const MAX_FRESH: Duration = Duration::from_secs(600);
const MIN_FRESH: Duration = Duration::from_secs(60);
const TIMES: Times = Times {
    usable: Duration::from_secs(3600),
    pause_without: Duration::from_secs(1),
    pause_with: Duration::from_secs(5),
    pause_renewing: Duration::from_secs(30),
};

/// A project's key set, fetched only from the configured address.
#[derive(Debug)]
pub(super) struct Jwks {
    url: Url,
    client: reqwest::Client,
    cache: Cache<Arc<KeySet>>,
}

impl Jwks {
    /// Fetches nothing. `None` if the system has no root certificates, which is logged.
    pub(super) fn new(url: Url) -> Option<Self> {
        let client = https_client(CONNECT_TIMEOUT)?.timeout(TIMEOUT).build().ok()?;
        Some(Self { url, client, cache: Cache::new(TIMES) })
    }

    /// Returns the set, or a stale one while fetches fail.
    pub(super) async fn get(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        self.cache.get(now, self.fetch(now)).await
    }

    /// Returns a set that `is_wanted`, and fetches it if the cached one is not.
    pub(super) async fn renewed(&self, now: SystemTime, is_wanted: impl Fn(&KeySet) -> bool) -> Option<Arc<KeySet>> {
        self.cache.renewed(now, |set: &Arc<KeySet>| is_wanted(set), self.fetch(now)).await
    }

    /// Returns the last set. Does not fetch.
    pub(super) fn peek(&self) -> Option<Arc<KeySet>> {
        self.cache.peek()
    }

    /// Whether the last fetch failed, so that the set may lack new keys.
    pub(super) fn is_failing(&self) -> bool {
        self.cache.is_failing()
    }

    async fn fetch(&self, now: SystemTime) -> Option<Fetched<Arc<KeySet>>> {
        let fetched = self.try_fetch().await;
        match &fetched {
            Ok(set) if set.value.has_secrets() => {
                operator_alarm!(
                    Alarm::SignIn,
                    "the public key set contains a private or shared key: revoke it in Supabase"
                );
            }
            Ok(_) => {}
            Err(reason) if self.cache.usable(now).is_some() => {
                tracing::warn!(
                    host = self.url.host_str(),
                    reason,
                    "the key set cannot be fetched: the last one is used"
                );
            }
            Err(reason) => tracing::error!(
                host = self.url.host_str(),
                reason,
                "the key set cannot be fetched: is SUPABASE_URL the project's address, and can it be reached?"
            ),
        }
        fetched.ok()
    }

    async fn try_fetch(&self) -> Result<Fetched<Arc<KeySet>>, &'static str> {
        let response = self.client.get(self.url.clone()).header("accept", "application/json").send().await;
        let response = response.map_err(|error| match (error.is_timeout(), error.is_connect()) {
            (true, _) => "timeout",
            (false, true) => "no connection",
            (false, false) => "no response",
        })?;
        if response.status() != http::StatusCode::OK {
            return Err("status is not 200");
        }
        let control = response.headers().get(CACHE_CONTROL).and_then(|control| control.to_str().ok());
        let fresh_for = control.and_then(max_age).unwrap_or(MAX_FRESH).clamp(MIN_FRESH, MAX_FRESH);
        let (mut text, mut pieces) = (Vec::new(), response.bytes_stream());
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece.map_err(|_| "body truncated or timeout")?);
            if text.len() > KeySet::MAX_BYTES {
                return Err("body too large");
            }
        }
        let set = KeySet::parse(&text).ok_or("body is not a key set")?;
        Ok(Fetched { value: Arc::new(set), fresh_for })
    }
}

/// The `max-age` of a `Cache-Control` header
/// ([RFC 9111, section 5.2.2.1](https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.1)).
fn max_age(control: &str) -> Option<Duration> {
    let ages = control.split(',').filter_map(|directive| directive.trim().strip_prefix("max-age="));
    ages.filter_map(|age| age.parse().ok()).map(Duration::from_secs).next()
}
