use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Credentials;
use tokio::sync::{Mutex as Turn, OnceCell};
use url::Url;

use super::clock::wall;
use crate::config::Key;
use crate::problem::Code;
use crate::secret::Secret;

/// A key is asked for again after this long.
const FRESH: Duration = Duration::from_secs(300);
/// While it cannot be, the last good one serves this long.
const USABLE: Duration = Duration::from_secs(3600);
/// After a failure, and after a renewal, the next attempt waits this long.
const PAUSE: Duration = Duration::from_secs(10);

/// An upstream's key, wherever it is. From Secrets Manager it is fetched once however many ask, and kept for a while.
///
/// The official caching crate is not used: it lets every cold caller fetch for himself, gives up on throttling where
/// the last good value would do, and brings a second HTTP and TLS stack.
#[derive(Debug)]
pub struct KeyStore {
    key: Key,
    endpoint: Option<Url>,
    client: OnceCell<Client>,
    known: Mutex<Known>,
    /// Whoever holds it fetches.
    turn: Turn<()>,
}

/// Ages are told by the wall clock: a function that was frozen may find that the other clock stood still.
#[derive(Debug, Clone, Default)]
struct Known {
    secret: Option<Secret>,
    fetched_at: Option<SystemTime>,
    failed_at: Option<SystemTime>,
    renewed_at: Option<SystemTime>,
}

impl KeyStore {
    /// The store of one key. Nothing is fetched before it is asked for.
    pub fn new(key: Key, endpoint: Option<Url>) -> Self {
        Self { key, endpoint, client: OnceCell::new(), known: Mutex::default(), turn: Turn::new(()) }
    }

    /// The key. What went wrong stands in the log, with its remedy.
    pub async fn get(&self) -> Result<Secret, Code> {
        let (id, member) = match &self.key {
            Key::Given(secret) => return Ok(secret.clone()),
            Key::Missing { given, managed } => {
                tracing::error!("no key: set {managed} to the ARN of its secret on AWS, or {given} at home");
                return Err(Code::ServiceUnavailable);
            }
            Key::Managed { id, member } => (id, member),
        };
        if let Some(secret) = self.known().fresh() {
            return Ok(secret);
        }
        // One fetches; who has an older value need not wait for it.
        let usable = self.known().usable();
        let turn = match (self.turn.try_lock(), usable) {
            (Ok(turn), _) => turn,
            (Err(_), Some(secret)) => return Ok(secret),
            (Err(_), None) => self.turn.lock().await,
        };
        let known = self.known();
        if let Some(secret) = known.fresh() {
            return Ok(secret);
        }
        if !is_within(known.failed_at, PAUSE) {
            self.fetch(id, member).await;
        }
        drop(turn);
        self.known().usable().ok_or(Code::ServiceUnavailable)
    }

    /// The upstream did not accept `used`. Returns another key, if Secrets Manager has one by now.
    pub async fn renewed(&self, used: &Secret) -> Option<Secret> {
        let Key::Managed { id, member } = &self.key else { return None };
        let _turn = self.turn.lock().await;
        let known = self.known();
        if known.is(used) && !is_within(known.renewed_at, PAUSE) {
            self.fetch(id, member).await;
            self.note(|known| known.renewed_at = Some(wall()));
        }
        self.known().secret.filter(|secret| secret.expose() != used.expose())
    }

    /// Boxed: the SDK's futures are so large and so deep that every caller's would be too.
    fn fetch<'a>(&'a self, id: &'a str, member: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.fetch_now(id, member))
    }

    async fn fetch_now(&self, id: &str, member: &str) {
        let client = self.client.get_or_init(|| connect(self.endpoint.as_ref())).await;
        let answer = client.get_secret_value().secret_id(id).send().await;
        let secret = match &answer {
            Ok(answer) => read(answer.secret_string(), member),
            Err(error) => {
                let code = aws_sdk_secretsmanager::error::ProvideErrorMetadata::code(error).unwrap_or("no answer");
                tracing::error!(
                    id,
                    code,
                    "Secrets Manager gave no key: does the secret exist in this region, and may the function's role \
                     call secretsmanager:GetSecretValue on it?"
                );
                None
            }
        };
        if answer.is_ok() && secret.is_none() {
            tracing::error!(
                id,
                "the secret holds no key: it must be the key alone, or a JSON object with it in {member}"
            );
        }
        self.note(|known| match secret {
            Some(secret) => {
                *known = Known {
                    secret: Some(secret),
                    fetched_at: Some(wall()),
                    failed_at: None,
                    renewed_at: known.renewed_at,
                }
            }
            None => known.failed_at = Some(wall()),
        });
    }

    fn note(&self, note: impl FnOnce(&mut Known)) {
        note(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Known {
    fn fresh(&self) -> Option<Secret> {
        self.secret.clone().filter(|_| is_within(self.fetched_at, FRESH))
    }

    fn usable(&self) -> Option<Secret> {
        self.secret.clone().filter(|_| is_within(self.fetched_at, USABLE))
    }

    fn is(&self, used: &Secret) -> bool {
        self.secret.as_ref().is_some_and(|secret| secret.expose() == used.expose())
    }
}

/// A clock that was put back makes everything old.
fn is_within(since: Option<SystemTime>, age: Duration) -> bool {
    since.and_then(|since| wall().duration_since(since).ok()).is_some_and(|passed| passed < age)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that has a value of this age, and nobody to ask for another.
    fn aged(age: Duration) -> KeyStore {
        let key = Key::Managed { id: "a-secret".into(), member: "IMAGE_API_KEY" };
        let store = KeyStore::new(key, Url::parse("http://127.0.0.1:9").ok());
        store.note(|known| {
            known.secret = Some(Secret::new("canary"));
            known.fetched_at = wall().checked_sub(age);
        });
        store
    }

    #[tokio::test]
    async fn the_last_good_value_serves_an_hour() {
        for (age, is_there, is_asked) in
            [(299, true, false), (301, true, true), (3590, true, true), (3601, false, true)]
        {
            let store = aged(Duration::from_secs(age));
            assert_eq!(store.get().await.is_ok(), is_there, "after {age} s");
            assert_eq!(store.known().failed_at.is_some(), is_asked, "after {age} s");
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_put_back_makes_a_value_old() {
        let store = aged(Duration::ZERO);
        store.note(|known| known.fetched_at = wall().checked_add(Duration::from_secs(60)));
        assert!(store.known().fresh().is_none());
    }
}
