use std::sync::Arc;

use super::secrets::KeyStore;
use super::sign_in::SignIn;
use super::store::Ledger;
use super::upstream::Upstream;
use crate::config::{Environment, FunctionConfig, Mistakes};
use crate::image_url::LocalLinks;
use crate::problem::{Code, Problem};

/// What all requests of a process share: `R`, if the configuration has no mistakes.
#[derive(Debug)]
pub struct App<R> {
    ready: Option<Arc<R>>,
    links: LocalLinks,
}

/// What a function builds once from its environment.
pub trait FromEnvironment: Sized + Send + Sync + 'static {
    /// Reads the environment. `None` if the system cannot serve it (no root certificates); the cause is logged.
    ///
    /// # Errors
    /// Every mistake in the variables that the function uses.
    fn from_env(environment: Environment<'_>) -> Result<Option<Self>, Mistakes>;

    /// Fetches in advance what the first request would wait for. A failure is ignored: that request tries again.
    fn warm_up(&self) -> impl Future<Output = ()> + Send;
}

/// The parts of a function that calls an upstream.
#[derive(Debug)]
pub struct Generator<C> {
    /// The configuration.
    pub config: C,
    /// Checks callers.
    pub sign_in: SignIn,
    /// Admits and settles requests.
    pub ledger: Ledger,
    /// The HTTP client.
    pub upstream: Upstream,
    /// The upstream's key.
    pub keys: KeyStore,
}

impl<R: FromEnvironment> App<R> {
    /// Reads the configuration. A mistake is logged with its remedy and answered with 500 later; the process stays up.
    pub fn from_env(environment: Environment<'_>) -> Self {
        let ready = R::from_env(environment)
            .inspect_err(|mistakes| tracing::error!(%mistakes, "the configuration is wrong"))
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

    /// Accepts links to this machine as input pictures. Only the local stack does that.
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
        let (Some(upstream), Some(sign_in)) =
            (Upstream::new(config.timing()), SignIn::new(config.sign_in(), config.secrets_endpoint()))
        else {
            return Ok(None);
        };
        let keys = KeyStore::new(config.key().clone(), config.secrets_endpoint().cloned());
        let ledger = Ledger::new(config.ledger(), config.timing().total);
        Ok(Some(Self { config, sign_in, ledger, upstream, keys }))
    }

    async fn warm_up(&self) {
        tokio::join!(self.sign_in.warm_up(), self.ledger.warm_up());
    }
}
