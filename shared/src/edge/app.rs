use super::secrets::KeyStore;
use super::sign_in::SignIn;
use super::store::Ledger;
use super::upstream::Upstream;
use crate::config::{Environment, FunctionConfig};
use crate::image_url::LocalLinks;
use crate::problem::{Code, Problem};

/// What all requests of a process share.
#[derive(Debug)]
pub struct App<C> {
    ready: Option<Ready<C>>,
    links: LocalLinks,
}

/// A configuration without mistakes, and the ways out.
#[derive(Debug)]
pub struct Ready<C> {
    /// What was configured.
    pub config: C,
    /// Who may call.
    pub sign_in: SignIn,
    /// How often, and what became of it.
    pub ledger: Ledger,
    /// The way to the upstream.
    pub upstream: Upstream,
    /// The upstream's key.
    pub keys: KeyStore,
}

impl<C: FunctionConfig> App<C> {
    /// Reads the configuration. A mistake is logged with its remedy and answered with 500 later; the process stays up.
    pub fn from_env(env: Environment<'_>) -> Self {
        let config = C::from_env(env).inspect_err(|mistakes| tracing::error!(%mistakes, "the configuration is wrong"));
        let ready = config.ok().and_then(|config| {
            let upstream = Upstream::new(config.timing())?;
            let keys = KeyStore::new(config.key().clone(), config.secrets_endpoint().cloned());
            let sign_in = SignIn::new(config.sign_in(), config.secrets_endpoint())?;
            let ledger = Ledger::new(config.ledger(), config.timing().total);
            Some(Ready { config, sign_in, ledger, upstream, keys })
        });
        Self { ready, links: LocalLinks::Refused }
    }

    /// Does ahead what the first request would wait for. Nothing of it can fail for good.
    pub async fn warm_up(&self) {
        if let Some(ready) = &self.ready {
            futures_util::future::join(ready.sign_in.warm_up(), ready.ledger.warm_up()).await;
        }
    }

    /// Lets the pictures that users link to lie on this machine. Only the local stack does that.
    #[must_use]
    pub fn with_local_links(self) -> Self {
        Self { links: LocalLinks::Allowed, ..self }
    }

    /// What a request needs, if the function can work at all.
    pub fn ready(&self) -> Result<&Ready<C>, Problem> {
        self.ready.as_ref().ok_or_else(|| Code::ServiceMisconfigured.into())
    }

    /// Whether users may link to this machine.
    pub fn links(&self) -> LocalLinks {
        self.links
    }
}
