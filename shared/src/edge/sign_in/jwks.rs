use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use http::header::CACHE_CONTROL;
use url::Url;

use crate::auth::KeySet;
use crate::edge::cache::{Cache, Fetched, Times};

const CONNECT: Duration = Duration::from_secs(1);
const TOTAL: Duration = Duration::from_secs(2);
/// Supabase asks for no longer, so that a revoked key is gone soon; it says so itself (`max-age=600`).
const FRESHEST: Duration = Duration::from_secs(600);
const LEAST_FRESH: Duration = Duration::from_secs(60);
const TIMES: Times = Times {
    usable: Duration::from_secs(3600),
    pause_without: Duration::from_secs(1),
    pause_with: Duration::from_secs(5),
    pause_renewing: Duration::from_secs(30),
};

/// A project's key set, fetched from where the configuration says and from nowhere else.
#[derive(Debug)]
pub(super) struct Jwks {
    url: Url,
    client: reqwest::Client,
    cache: Cache<Arc<KeySet>>,
}

impl Jwks {
    /// Nothing is fetched yet. Fails where the system has no root certificates.
    pub(super) fn new(url: Url) -> Option<Self> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(TOTAL)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build();
        Some(Self { url, client: client.ok()?, cache: Cache::new(TIMES) })
    }

    /// The set; an older one while it cannot be fetched; `None` if there is none.
    pub(super) async fn get(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        self.cache.get(now, self.fetch()).await
    }

    /// A set that has what the one at hand lacks.
    pub(super) async fn renewed(&self, now: SystemTime, good: impl Fn(&KeySet) -> bool) -> Option<Arc<KeySet>> {
        self.cache.renewed(now, |set: &Arc<KeySet>| good(set), self.fetch()).await
    }

    /// The last set, without a fetch.
    pub(super) fn peek(&self) -> Option<Arc<KeySet>> {
        self.cache.peek()
    }

    /// Whether the last fetch failed, so that nobody knows which keys are new.
    pub(super) fn is_failing(&self) -> bool {
        self.cache.is_failing()
    }

    async fn fetch(&self) -> Option<Fetched<Arc<KeySet>>> {
        let fetched = self.try_fetch().await;
        match &fetched {
            Ok(set) if set.value.has_secrets() => {
                tracing::error!(alarm = true, "the key set shows a secret key to everyone: revoke it in Supabase");
            }
            Ok(_) => {}
            Err(why) => tracing::error!(
                host = self.url.host_str(),
                why,
                "the key set cannot be fetched: is SUPABASE_URL the project's address, and can it be reached?"
            ),
        }
        fetched.ok()
    }

    async fn try_fetch(&self) -> Result<Fetched<Arc<KeySet>>, &'static str> {
        let response = self.client.get(self.url.clone()).header("accept", "application/json").send().await;
        let response = response.map_err(|error| match (error.is_timeout(), error.is_connect()) {
            (true, _) => "too slow",
            (false, true) => "no connection",
            (false, false) => "no answer",
        })?;
        if response.status() != http::StatusCode::OK {
            return Err("another status than 200");
        }
        let control = response.headers().get(CACHE_CONTROL).and_then(|control| control.to_str().ok());
        let fresh_for = control.and_then(max_age).unwrap_or(FRESHEST).clamp(LEAST_FRESH, FRESHEST);
        let (mut text, mut pieces) = (Vec::new(), response.bytes_stream());
        while let Some(piece) = pieces.next().await {
            text.extend_from_slice(&piece.map_err(|_| "the answer was cut, or too slow")?);
            if text.len() > KeySet::MAX_BYTES {
                return Err("too long");
            }
        }
        let set = KeySet::parse(&text).ok_or("not a key set")?;
        Ok(Fetched { value: Arc::new(set), fresh_for })
    }
}

/// The `max-age` of a `Cache-Control` header
/// ([RFC 9111, section 5.2.2.1](https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.1)).
fn max_age(control: &str) -> Option<Duration> {
    let ages = control.split(',').filter_map(|directive| directive.trim().strip_prefix("max-age="));
    ages.filter_map(|age| age.parse().ok()).map(Duration::from_secs).next()
}
