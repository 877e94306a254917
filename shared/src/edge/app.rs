use std::sync::{Arc, Mutex};

use super::secrets::KeyStore;
use super::sign_in::SignIn;
use super::store::{Ledger, Pictures};
use super::upstream::Upstream;
use crate::config::{CommonConfig, Environment, FunctionConfig, Mistakes};
use crate::image_url::LocalLinks;
use crate::problem::{Code, Problem};
use crate::upstream::Cooldowns;

/// The parts `R` that all requests of a process share. They are missing if the configuration has a mistake.
#[derive(Debug)]
pub struct App<R> {
    ready: Option<Arc<R>>,
    links: LocalLinks,
}

/// The parts of a function, built once from its environment.
pub trait FromEnvironment: Sized + Send + Sync + 'static {
    /// Reads the environment. `None` if the system has no root certificates, which is logged.
    ///
    /// # Errors
    /// Every mistake in the variables that the function uses.
    fn from_env(environment: Environment<'_>) -> Result<Option<Self>, Mistakes>;

    /// Warms caches and connections. Errors are ignored: the first request tries again.
    fn warm_up(&self) -> impl Future<Output = ()> + Send;
}

/// The parts of a function that calls an upstream.
#[derive(Debug)]
pub struct Generator<C> {
    /// The configuration.
    pub config: C,
    /// Checks tokens.
    pub sign_in: SignIn,
    /// Admits and settles requests.
    pub ledger: Ledger,
    /// The HTTP client.
    pub upstream: Upstream,
    /// Which upstreams are left out for a while.
    pub cooldowns: Mutex<Cooldowns>,
    /// The key of each upstream.
    keys: Vec<KeyStore>,
}

impl<R: FromEnvironment> App<R> {
    /// Reads the configuration. Mistakes are logged, and every request is answered with 500; the process stays up.
    pub fn from_env(environment: Environment<'_>) -> Self {
        let ready = R::from_env(environment)
            .inspect_err(|mistakes| tracing::error!(%mistakes, "the configuration has mistakes"))
            .ok()
            .flatten();
        Self { ready: ready.map(Arc::new), links: LocalLinks::Refused }
    }

    /// See [`FromEnvironment::warm_up`].
    pub async fn warm_up(&self) {
        if let Some(ready) = &self.ready {
            ready.warm_up().await;
        }
    }

    /// Accepts links to this machine as input pictures. For the local stack only.
    #[must_use]
    pub fn with_local_links(self) -> Self {
        Self { links: LocalLinks::Allowed, ..self }
    }

    /// The parts that a request needs.
    ///
    /// # Errors
    /// 500 `service_misconfigured` if the configuration has mistakes.
    pub fn ready(&self) -> Result<Arc<R>, Problem> {
        self.ready.clone().ok_or_else(|| Code::ServiceMisconfigured.into())
    }

    /// Whether input pictures may be links to this machine.
    pub fn links(&self) -> LocalLinks {
        self.links
    }
}

impl<C> Generator<C> {
    /// The key of an upstream, by its place in [`FunctionConfig::upstreams`].
    ///
    /// # Errors
    /// 500 `internal_error` if there is no such upstream.
    pub fn key(&self, upstream: usize) -> Result<&KeyStore, Code> {
        self.keys.get(upstream).ok_or(Code::InternalError)
    }

    /// Fetches keys of these upstreams, in order, until one is there. A call without a key goes to the next upstream.
    ///
    /// # Errors
    /// 503 `service_unavailable` if none is there. The log names the remedy.
    pub async fn check_keys(&self, upstreams: &[usize]) -> Result<(), Code> {
        let mut checked = Err(Code::InternalError);
        for &upstream in upstreams {
            checked = self.key(upstream)?.get().await.map(drop);
            if checked.is_ok() {
                break;
            }
        }
        checked
    }
}

impl<C: FunctionConfig> FromEnvironment for Generator<C> {
    fn from_env(environment: Environment<'_>) -> Result<Option<Self>, Mistakes> {
        let config = C::from_env(environment)?;
        let CommonConfig { sign_in, ledger, pictures, secrets_endpoint } = config.common();
        let pictures = Pictures::new(pictures, secrets_endpoint.as_ref());
        let ledger = Ledger::new(ledger, pictures, config.timing().total);
        let keys = config.upstreams().into_iter();
        let keys = keys.map(|(_, key)| KeyStore::new(key.clone(), secrets_endpoint.clone())).collect();
        let pause_ms = config.timing().cooldown.as_millis() as u64;
        let cooldowns = Mutex::new(Cooldowns::new(config.targets(), pause_ms));
        let sign_in = SignIn::new(sign_in, secrets_endpoint.as_ref());
        let (Some(upstream), Some(sign_in)) = (Upstream::new(config.timing()), sign_in) else { return Ok(None) };
        Ok(Some(Self { config, sign_in, ledger, upstream, cooldowns, keys }))
    }

    async fn warm_up(&self) {
        tokio::join!(self.sign_in.warm_up(), self.ledger.warm_up());
    }
}
