use std::pin::Pin;
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::Url;

use super::fault::StoreFault;
use crate::config::BucketKey;
use crate::edge::cache::{Cache, Fetched};
use crate::edge::clock::wall;
use crate::edge::secrets::{FRESH, SecretsManager, TIMES};

/// Credentials are fetched again this long before they expire.
const MARGIN: Duration = Duration::from_secs(60);

/// The credentials of the bucket, cached.
#[derive(Debug)]
pub(super) struct BucketCredentials {
    source: CredentialsSource,
    cache: Cache<Credentials>,
}

#[derive(Debug)]
enum CredentialsSource {
    /// The default chain of AWS's SDKs. On Lambda this is the function's role.
    Process(OnceCell<Option<SharedCredentialsProvider>>),
    Given(Credentials),
    Managed {
        id: String,
        secrets: SecretsManager,
    },
}

/// The secret of a store that is not AWS's.
#[derive(Deserialize)]
struct KeyPair {
    access_key_id: String,
    secret_access_key: String,
}

impl BucketCredentials {
    pub(super) fn new(key: &BucketKey, secrets_endpoint: Option<&Url>) -> Self {
        let source = match key {
            BucketKey::Process => CredentialsSource::Process(OnceCell::new()),
            BucketKey::Given { id, secret } => CredentialsSource::Given(key_pair(id.expose(), secret.expose())),
            BucketKey::Managed { id } => {
                CredentialsSource::Managed { id: id.clone(), secrets: SecretsManager::new(secrets_endpoint.cloned()) }
            }
        };
        Self { source, cache: Cache::new(TIMES) }
    }

    pub(super) async fn get(&self) -> Result<Credentials, StoreFault> {
        let now = wall();
        let fetched: Pin<Box<dyn Future<Output = _> + Send + '_>> = match &self.source {
            CredentialsSource::Given(credentials) => return Ok(credentials.clone()),
            CredentialsSource::Process(chain) => Box::pin(of_process(chain)),
            CredentialsSource::Managed { id, secrets } => {
                Box::pin(of_secret(secrets, id, self.cache.usable(now).is_some()))
            }
        };
        self.cache.get(now, fetched).await.ok_or(StoreFault::NoCredentials)
    }
}

async fn of_process(chain: &OnceCell<Option<SharedCredentialsProvider>>) -> Option<Fetched<Credentials>> {
    let load = || async { aws_config::load_defaults(BehaviorVersion::latest()).await.credentials_provider() };
    let value = chain.get_or_init(load).await.as_ref()?.provide_credentials().await.ok()?;
    let fresh_for = value.expiry().map_or(FRESH, |expiry| until(expiry).saturating_sub(MARGIN).min(FRESH));
    Some(Fetched { value, fresh_for })
}

fn until(then: SystemTime) -> Duration {
    then.duration_since(wall()).unwrap_or_default()
}

async fn of_secret(secrets: &SecretsManager, id: &str, has_older: bool) -> Option<Fetched<Credentials>> {
    let Ok(KeyPair { access_key_id, secret_access_key }) = serde_json::from_str(&secrets.text(id, has_older).await?)
    else {
        tracing::error!(id, "the secret must be a JSON object with access_key_id and secret_access_key");
        return None;
    };
    Some(Fetched { value: key_pair(access_key_id.trim(), secret_access_key.trim()), fresh_for: FRESH })
}

fn key_pair(id: &str, secret: &str) -> Credentials {
    Credentials::new(id, secret, None, None, "configuration")
}
