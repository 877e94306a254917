//! The bucket of kept pictures: any store with S3's interface.
//!
//! A put is one plain signed `PUT` with a `Content-Length` and the SHA-256 of its bytes. It has no `aws-chunked` body, no
//! trailer, no CRC, no encryption header, no condition and no tag, because the other stores refuse some of them each:
//! S3 encrypts by itself, and the key of an object is written by one run only.

mod credentials;
mod fault;
mod link_copy;
mod signature;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Url;
use uuid::Uuid;

use self::credentials::BucketCredentials;
use self::fault::StoreFault;
pub(super) use self::link_copy::TOTAL as COPY_TIME_LIMIT;
use self::signature::{SignedPayload, SignedQuery, signed_headers, signed_query};
use crate::config::{BucketConfig, PicturesConfig};
use crate::edge::clock::{now, wall};
use crate::edge::https::https_client;
use crate::edge::metrics::Stopwatch;
use crate::kept_picture::SignedLink;
use crate::media::sniff::MediaType;
use crate::picture_key::PictureKey;

/// The client of the bucket. It connects at the first request; clones share it.
#[derive(Debug, Clone)]
pub struct Pictures(Arc<PicturesParts>);

#[derive(Debug)]
struct PicturesParts {
    bucket: BucketConfig,
    credentials: BucketCredentials,
    days: u64,
    put: Duration,
    link: Duration,
    link_hosts: Vec<String>,
    store_client: LazyClient,
    link_client: LazyClient,
}

/// Why a picture was not stored, signed, deleted or copied. The cause is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// The store did not answer in time, or only that it is busy.
    #[error("the store is not available")]
    Unavailable,
    /// The store refuses these requests until a person changes the configuration.
    #[error("the store refused the request")]
    Refused,
    /// The store received other bytes than were sent.
    #[error("the bytes were changed on the way")]
    Digest,
    /// A link that may not be copied, or without a whole picture behind it.
    #[error("the link was not copied")]
    NotCopied,
}

/// Attempts of one request, if they fail fast.
const ATTEMPTS: u32 = 3;
const ATTEMPT: Duration = Duration::from_secs(4);
const STORE_CONNECT: Duration = Duration::from_secs(1);
/// An object is never changed after its run, so a browser may cache it as long as its link works.
const CACHE_CONTROL: &str = "private, max-age=31536000, immutable";
const DAY_MS: u64 = 86_400_000;
/// The longest name that a browser is offered for a file.
const MAX_FILE_NAME: usize = 100;

/// A request to the store, which may be sent several times.
struct StoreRequest<'a> {
    method: Method,
    key: &'a PictureKey,
    headers: &'a [(&'static str, &'a str)],
    body: Bytes,
    sha256: &'a [u8; 32],
}

impl Pictures {
    /// The client of the configured bucket. `None` if there is none.
    pub fn new(config: &PicturesConfig, secrets_endpoint: Option<&Url>) -> Option<Self> {
        let PicturesConfig { bucket, days, put, link, link_hosts } = config.clone();
        let bucket = bucket?;
        Some(Self(Arc::new(PicturesParts {
            credentials: BucketCredentials::new(&bucket.key, secrets_endpoint),
            bucket,
            days,
            put,
            link,
            link_hosts,
            store_client: LazyClient::new(STORE_CONNECT),
            link_client: LazyClient::new(link_copy::CONNECT),
        })))
    }

    /// Stores a picture, or replaces it. `sha256` is the hash of `bytes`; the store refuses others. Ends within
    /// `PICTURE_PUT_MS`, and at `end_by`.
    ///
    /// # Errors
    /// The picture was not stored, or the store's answer was lost.
    pub async fn put(
        &self,
        key: &PictureKey,
        media_type: MediaType,
        sha256: &[u8; 32],
        bytes: Bytes,
        end_by: Instant,
    ) -> Result<(), PictureError> {
        let sum = STANDARD.encode(sha256);
        let headers = [
            ("content-type", media_type.as_str()),
            ("cache-control", CACHE_CONTROL),
            ("x-amz-checksum-sha256", sum.as_str()),
        ];
        let headers = if self.0.bucket.sends_checksum { &headers[..] } else { headers.get(..2).unwrap_or_default() };
        let request = StoreRequest { method: Method::PUT, key, headers, body: bytes, sha256 };
        self.send(&request, end_by).await
    }

    /// Deletes a picture. One that does not exist counts as deleted. Ends within `PICTURE_PUT_MS`.
    ///
    /// # Errors
    /// The picture was not deleted, or the store's answer was lost.
    pub async fn delete(&self, key: &PictureKey) -> Result<(), PictureError> {
        let sha256 = &signature::EMPTY_SHA256;
        let request = StoreRequest { method: Method::DELETE, key, headers: &[], body: Bytes::new(), sha256 };
        self.send(&request, now() + self.0.put).await
    }

    /// A link under which a browser finds the picture, without asking the store. The browser is offered `file_name`, in
    /// which only `[A-Za-z0-9._-]` remain.
    ///
    /// # Errors
    /// There are no credentials.
    pub async fn sign(&self, key: &PictureKey, file_name: &str) -> Result<SignedLink, PictureError> {
        let signed = async {
            let credentials = self.0.credentials.get().await?;
            let life = self.0.link;
            let query = format!("response-content-disposition={}", content_disposition(file_name));
            let signed_at = wall();
            let query = SignedQuery { url: format!("{}?{query}", self.url(key)), life, signed_at };
            let url = signed_query(&query, &credentials, &self.0.bucket.region)?;
            // A link dies with the credentials that signed it.
            let expires = credentials.expiry().map_or(signed_at + life, |expiry| expiry.min(signed_at + life));
            let expires_ms = expires.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() * 1_000);
            Ok(SignedLink { url, expires_ms })
        };
        signed.await.map_err(|fault: StoreFault| fault.log("sign", 1))
    }

    /// The longest time that storing one picture takes.
    pub fn put_time_limit(&self) -> Duration {
        self.0.put
    }

    /// The longest time that storing takes after the last picture: also links may have to be copied.
    pub fn time_limit(&self) -> Duration {
        if self.0.link_hosts.is_empty() { self.0.put } else { COPY_TIME_LIMIT.max(self.0.put) }
    }

    /// The time until which a picture that is stored at `now_ms` is kept, in milliseconds since 1970.
    pub fn kept_until_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add(self.0.days * DAY_MS)
    }

    fn url(&self, key: &PictureKey) -> String {
        format!("{}/{key}", self.0.bucket.url.as_str().trim_end_matches('/'))
    }

    async fn send(&self, request: &StoreRequest<'_>, end_by: Instant) -> Result<(), PictureError> {
        let _time = Stopwatch::of_store();
        let by = (now() + self.0.put).min(end_by);
        let mut attempt = 1;
        loop {
            let attempt_by = (now() + ATTEMPT).min(by);
            let answer = timeout_at(attempt_by, self.attempt(request)).await;
            let Err(fault) = answer.unwrap_or(Err(StoreFault::Timeout)) else { return Ok(()) };
            let again_at = now() + pause();
            if attempt >= fault.attempts() || again_at >= by {
                return Err(fault.log(request.method.as_str(), attempt));
            }
            attempt += 1;
            sleep_until(again_at).await;
        }
    }

    /// Signs the request anew and sends it once.
    async fn attempt(&self, request: &StoreRequest<'_>) -> Result<(), StoreFault> {
        let client = self.0.store_client.get()?;
        let credentials = self.0.credentials.get().await?;
        let StoreRequest { method, key, headers, body, sha256 } = request;
        let url = self.url(key);
        let payload = SignedPayload { method: method.as_str(), url: &url, headers, sha256, signed_at: wall() };
        let signed = signed_headers(&payload, &credentials, &self.0.bucket.region)?;
        let mut to_send = client.request(method.clone(), &url).body(body.clone());
        let given = headers.iter().map(|(name, value)| (*name, *value));
        for (name, value) in given.chain(signed.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| StoreFault::Unsigned)?;
            let mut value = HeaderValue::from_str(value).map_err(|_| StoreFault::Unsigned)?;
            value.set_sensitive(true);
            to_send = to_send.header(name, value);
        }
        let response = to_send.send().await.map_err(|error| StoreFault::of(&error))?;
        if response.status().is_success() {
            return Ok(());
        }
        match StoreFault::answered(response).await {
            fault if *method == Method::DELETE && fault.is_missing_object() => Ok(()),
            fault => Err(fault),
        }
    }
}

/// An HTTP client that is built when it is first used.
#[derive(Debug)]
struct LazyClient {
    connect: Duration,
    client: OnceLock<Option<reqwest::Client>>,
}

impl LazyClient {
    fn new(connect: Duration) -> Self {
        Self { connect, client: OnceLock::new() }
    }

    fn get(&self) -> Result<&reqwest::Client, StoreFault> {
        let build = || https_client(self.connect)?.build().ok();
        self.client.get_or_init(build).as_ref().ok_or(StoreFault::NoTls)
    }
}

/// `inline; filename="…"`, encoded for a query.
fn content_disposition(file_name: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = file_name.chars().map(|c| if is_allowed(c) { c } else { '_' }).take(MAX_FILE_NAME);
    format!("inline%3B%20filename%3D%22{}%22", name.collect::<String>())
}

/// The pause before the next attempt: 100 to 300 ms, so that callers that failed together do not return together.
fn pause() -> Duration {
    let [random, ..] = Uuid::new_v4().into_bytes();
    Duration::from_millis(100 + u64::from(random) * 200 / 255)
}

#[cfg(test)]
mod tests;
