use std::pin::Pin;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Credentials;
use tokio::sync::OnceCell;
use url::Url;

use super::cache::{Cache, Fetched, Times};
use super::clock::wall;
use crate::config::KeySource;
use crate::problem::Code;
use crate::secret::Secret;

/// A key is asked for again after this long.
const FRESH: Duration = Duration::from_secs(300);
const TIMES: Times = Times {
    usable: Duration::from_secs(3600),
    pause_without: Duration::from_secs(10),
    pause_with: Duration::from_secs(10),
    pause_renewing: Duration::from_secs(10),
};

/// A key, wherever it is. From Secrets Manager it is fetched once however many ask, and kept for a while.
///
/// The official caching crate is not used: it lets every cold caller fetch for himself, gives up on throttling where
/// the last good value would do, and brings a second HTTP and TLS stack.
#[derive(Debug)]
pub struct KeyStore {
    key: KeySource,
    endpoint: Option<Url>,
    client: OnceCell<Client>,
    cache: Cache<Secret>,
}

impl KeyStore {
    /// The store of one key. Nothing is fetched before it is asked for.
    pub fn new(key: KeySource, endpoint: Option<Url>) -> Self {
        Self { key, endpoint, client: OnceCell::new(), cache: Cache::new(TIMES) }
    }

    /// The key. What went wrong stands in the log, with its remedy.
    pub async fn get(&self) -> Result<Secret, Code> {
        match &self.key {
            KeySource::Given(secret) => Ok(secret.clone()),
            KeySource::Missing { given, managed } => {
                tracing::error!("no key: set {managed} to the ARN of its secret on AWS, or {given} at home");
                Err(Code::ServiceUnavailable)
            }
            KeySource::Managed { id, member } => {
                self.cache.get(wall(), self.fetch(id, member)).await.ok_or(Code::ServiceUnavailable)
            }
        }
    }

    /// The upstream did not accept `used`. Returns another key, if Secrets Manager has one by now.
    pub async fn renewed(&self, used: &Secret) -> Option<Secret> {
        let KeySource::Managed { id, member } = &self.key else { return None };
        let is_other = |secret: &Secret| secret.expose() != used.expose();
        self.cache.renewed(wall(), is_other, self.fetch(id, member)).await
    }

    /// Boxed: the SDK's futures are so large and so deep that every caller's would be too.
    fn fetch<'a>(
        &'a self,
        id: &'a str,
        member: &'a str,
    ) -> Pin<Box<dyn Future<Output = Option<Fetched<Secret>>> + Send + 'a>> {
        Box::pin(self.fetch_now(id, member))
    }

    async fn fetch_now(&self, id: &str, member: &str) -> Option<Fetched<Secret>> {
        let client = self.client.get_or_init(|| connect(self.endpoint.as_ref())).await;
        let answer = client.get_secret_value().secret_id(id).send().await;
        let answer = answer.inspect_err(|error| {
            let code = aws_sdk_secretsmanager::error::ProvideErrorMetadata::code(error).unwrap_or("no answer");
            tracing::error!(
                id,
                code,
                "Secrets Manager gave no key: does the secret exist in this region, and may the function's role call \
                 secretsmanager:GetSecretValue on it?"
            );
        });
        let secret = read(answer.ok()?.secret_string(), member);
        if secret.is_none() {
            tracing::error!(
                id,
                "the secret holds no key: it must be the key alone, or a JSON object with it in {member}"
            );
        }
        secret.map(|value| Fetched { value, fresh_for: FRESH })
    }
}

/// The key alone, or a JSON object that has it as a member.
fn read(text: Option<&str>, member: &str) -> Option<Secret> {
    let text = text?;
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
        // A stand-in knows no accounts.
        let nobody = Credentials::new("local", "local", None, None, "a stand-in");
        config = config.endpoint_url(endpoint.as_str()).region(Region::new("local")).credentials_provider(nobody);
    }
    Client::new(&config.load().await)
}
