use std::sync::Arc;

use super::secrets::KeyStore;
use super::sign_in::SignIn;
use super::store::{Ledger, Pictures};
use super::upstream::Upstream;
use crate::config::{CommonConfig, Environment, FunctionConfig, Mistakes};
use crate::image_url::LocalLinks;
use crate::problem::{Code, Problem};

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
    /// The upstream's key.
    pub keys: KeyStore,
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

impl<C: FunctionConfig> FromEnvironment for Generator<C> {
    fn from_env(environment: Environment<'_>) -> Result<Option<Self>, Mistakes> {
        let config = C::from_env(environment)?;
        let CommonConfig { sign_in, ledger, pictures, secrets_endpoint } = config.common();
        let pictures = Pictures::new(pictures, secrets_endpoint.as_ref());
        let ledger = Ledger::new(ledger, pictures, config.timing().total);
        let keys = KeyStore::new(config.key().clone(), secrets_endpoint.clone());
        let sign_in = SignIn::new(sign_in, secrets_endpoint.as_ref());
        let (Some(upstream), Some(sign_in)) = (Upstream::new(config.timing()), sign_in) else { return Ok(None) };
        Ok(Some(Self { config, sign_in, ledger, upstream, keys }))
    }

    async fn warm_up(&self) {
        tokio::join!(self.sign_in.warm_up(), self.ledger.warm_up());
    }
}
