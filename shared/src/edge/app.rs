use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use http::Response;

use super::clock::unix_ms;
use super::http::Body;
use super::metrics::Metrics;
use super::secrets::KeyStore;
use super::sign_in::SignIn;
use super::store::{Ledger, Pictures};
use super::upstream::Upstream;
use crate::alarm::Alarm;
use crate::config::{CommonConfig, Environment, FunctionConfig, Mistakes};
use crate::image_url::LocalLinks;
use crate::problem::{Code, Problem};
use crate::upstream::Cooldowns;

/// The parts `R` that all requests of a process share. If they are missing, every request is refused with a code.
#[derive(Debug)]
pub struct App<R> {
    ready: Result<Arc<R>, Code>,
    links: LocalLinks,
    metrics: Metrics,
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
            .inspect_err(|mistakes| operator_alarm!(Alarm::Configuration, %mistakes, "the configuration has mistakes"))
            .ok()
            .flatten();
        let ready = ready.map(Arc::new).ok_or(Code::ServiceMisconfigured);
        Self { ready, links: LocalLinks::Refused, metrics: Metrics::from_env(environment) }
    }

    /// Refuses every request for now.
    pub(super) fn unavailable(metrics: Metrics) -> Self {
        Self { ready: Err(Code::ServiceUnavailable), links: LocalLinks::Refused, metrics }
    }

    /// See [`FromEnvironment::warm_up`].
    pub async fn warm_up(&self) {
        if let Ok(ready) = &self.ready {
            ready.warm_up().await;
        }
    }

    /// Accepts links to this machine as input pictures. For the local stack only.
    #[must_use]
    pub fn with_local_links(self) -> Self {
        Self { links: LocalLinks::Allowed, ..self }
    }

    /// Writes the metrics elsewhere.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Answers a request of this route and measures it.
    pub fn measure<'a>(
        &'a self,
        route: &'static str,
        answer: impl Future<Output = Response<Body>> + Send + 'a,
    ) -> impl Future<Output = Response<Body>> + Send + 'a {
        self.metrics.measure(route, Box::pin(answer))
    }

    /// The parts that a request needs.
    ///
    /// # Errors
    /// 500 `service_misconfigured` if the configuration has mistakes; 503 `service_unavailable` if a part of it could not
    /// be fetched yet.
    pub fn ready(&self) -> Result<Arc<R>, Problem> {
        self.ready.clone().map_err(Problem::from)
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

    /// Fetches keys until one is there: of the upstream that would be called now, then of the others in their order. A call
    /// without a key goes to the next upstream. `targets`: the id of each and the place of its upstream, as in
    /// [`Self::key`].
    ///
    /// # Errors
    /// 503 `service_unavailable` if none is there. The log names the remedy. 500 `internal_error` after a panic, so that
    /// the caller can release what the request has reserved.
    pub async fn check_keys(&self, targets: &[(usize, usize)]) -> Result<(), Code> {
        AssertUnwindSafe(self.find_key(targets)).catch_unwind().await.unwrap_or(Err(Code::InternalError))
    }

    async fn find_key(&self, targets: &[(usize, usize)]) -> Result<(), Code> {
        let route: Vec<_> = targets.iter().map(|(id, _)| *id).collect();
        let first = self.cooldowns.lock().unwrap_or_else(PoisonError::into_inner).next(&route, &[], unix_ms());
        let first = first.and_then(|place| targets.get(place));
        let mut checked = Err(Code::InternalError);
        for &(_, upstream) in first.into_iter().chain(targets.iter().filter(|target| Some(*target) != first)) {
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
