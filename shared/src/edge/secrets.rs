use std::pin::Pin;
use std::time::{Duration, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Credentials;
use tokio::sync::OnceCell;
use url::Url;

use super::cache::{Cache, Fetched, Times};
use super::clock::wall;
use crate::alarm::Alarm;
use crate::config::KeySource;
use crate::problem::Code;
use crate::secret::Secret;

/// A key is fetched again after this time.
pub(super) const FRESH: Duration = Duration::from_secs(300);
pub(super) const TIMES: Times = Times {
    usable: Duration::from_secs(3600),
    pause_without: Duration::from_secs(10),
    pause_with: Duration::from_secs(10),
    pause_renewing: Duration::from_secs(10),
};

/// One key, from a variable or from Secrets Manager. Concurrent callers share one fetch, and the key is cached.
///
/// AWS's own caching crate is not used: without a cached value every caller fetches, on throttling it returns an error
/// instead of the last value, and it adds a second HTTP and TLS stack.
#[derive(Debug)]
pub struct KeyStore {
    key: KeySource,
    secrets: SecretsManager,
    cache: Cache<Secret>,
}

/// A Secrets Manager client. It connects at the first request.
#[derive(Debug)]
pub(super) struct SecretsManager {
    endpoint: Option<Url>,
    client: OnceCell<Client>,
}

impl KeyStore {
    /// The first [`Self::get`] fetches the key.
    pub fn new(key: KeySource, endpoint: Option<Url>) -> Self {
        Self { key, secrets: SecretsManager::new(endpoint), cache: Cache::new(TIMES) }
    }

    /// Returns the key, at the time of the wall clock.
    ///
    /// # Errors
    /// See [`Self::get_at`].
    pub async fn get(&self) -> Result<Secret, Code> {
        self.get_at(wall()).await
    }

    /// Returns the key. A failure is logged with its remedy; while an earlier key can be used, as a warning.
    ///
    /// # Errors
    /// 503 `service_unavailable` if there is no key.
    pub async fn get_at(&self, now: SystemTime) -> Result<Secret, Code> {
        match &self.key {
            KeySource::Given(secret) => Ok(secret.clone()),
            KeySource::Missing { given, managed } => {
                operator_alarm!(
                    Alarm::Configuration,
                    "the key is missing: set {managed} to the ARN of its secret on AWS, or set {given} at home"
                );
                Err(Code::ServiceUnavailable)
            }
            KeySource::Managed { id, member } => {
                self.cache.get(now, self.fetch(now, id, member)).await.ok_or(Code::ServiceUnavailable)
            }
        }
    }

    /// Returns a key other than `used`, which the upstream refused. `None` if Secrets Manager has no other.
    pub async fn renewed(&self, used: &Secret) -> Option<Secret> {
        let KeySource::Managed { id, member } = &self.key else { return None };
        let is_new = |secret: &Secret| secret.expose() != used.expose();
        let now = wall();
        self.cache.renewed(now, is_new, self.fetch(now, id, member)).await
    }

    async fn fetch(&self, now: SystemTime, id: &str, member: &str) -> Option<Fetched<Secret>> {
        let secret = key_in(&self.secrets.text(id, self.cache.usable(now).is_some()).await?, member);
        if secret.is_none() {
            operator_alarm!(
                Alarm::Configuration,
                id,
                "the secret contains no key: it must be the key alone, or a JSON object with the key as {member}"
            );
        }
        secret.map(|value| Fetched { value, fresh_for: FRESH })
    }
}

impl SecretsManager {
    /// Secrets Manager of AWS, or the one at `endpoint`.
    pub(super) fn new(endpoint: Option<Url>) -> Self {
        Self { endpoint, client: OnceCell::new() }
    }

    /// The text of a secret. A failure is logged with its remedy: as a warning if the caller `has_older` text that it goes
    /// on using.
    ///
    /// Boxed, because the SDK's futures are large and would make those of all callers large.
    pub(super) fn text<'a>(
        &'a self,
        id: &'a str,
        has_older: bool,
    ) -> Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>> {
        Box::pin(async move {
            let client = self.client.get_or_init(|| connect(self.endpoint.as_ref())).await;
            let response = client.get_secret_value().secret_id(id).send().await;
            let response = response.inspect_err(|error| {
                let code = aws_sdk_secretsmanager::error::ProvideErrorMetadata::code(error).unwrap_or("no response");
                if has_older {
                    tracing::warn!(id, code, "Secrets Manager did not return the secret: its last value is used");
                    return;
                }
                operator_alarm!(
                    Alarm::Configuration,
                    id,
                    code,
                    "Secrets Manager did not return the secret: does it exist in this region, and may the function's \
                     role call secretsmanager:GetSecretValue on it?"
                );
            });
            Some(response.ok()?.secret_string.unwrap_or_default())
        })
    }
}

/// Reads a secret that is the key alone, or a JSON object with the key as a member.
fn key_in(text: &str, member: &str) -> Option<Secret> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(object) => Secret::parse(object.get(member)?.as_str()?).ok(),
        Err(_) => Secret::parse(text).ok(),
    }
}

async fn connect(endpoint: Option<&Url>) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(2))
        .operation_timeout(Duration::from_secs(5))
        .build();
    let mut config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
    if let Some(endpoint) = endpoint {
        // A local endpoint accepts any credentials.
        let credentials = Credentials::new("local", "local", None, None, "local endpoint");
        config = config.endpoint_url(endpoint.as_str()).region(Region::new("local")).credentials_provider(credentials);
    }
    Client::new(&config.load().await)
}
