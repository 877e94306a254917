use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OnceCell;

use super::app::{App, FromEnvironment};
use super::clock::wall;
use super::metrics::Metrics;
use super::routes_secret::Routes;

/// The [`App`] of a process. While the secret with its routes cannot be fetched, every request is refused with 503, and a
/// later one fetches it again.
pub struct LateApp<R, E> {
    environment: E,
    /// Between two attempts.
    pause: Duration,
    app: OnceCell<Arc<App<R>>>,
    metrics: Metrics,
    failed_at: Mutex<Option<SystemTime>>,
}

impl<R: FromEnvironment, E: Fn(&str) -> Option<String>> LateApp<R, E> {
    /// The first [`Self::get`] reads the environment.
    pub fn new(environment: E, pause: Duration) -> Self {
        let metrics = Metrics::from_env(&environment);
        Self { environment, pause, app: OnceCell::new(), metrics, failed_at: Mutex::default() }
    }

    /// The app, or one that refuses every request. Concurrent callers share one attempt.
    pub async fn get(&self) -> Arc<App<R>> {
        let app = self.app.get_or_try_init(|| async { self.start().await.ok_or(()) }).await;
        app.cloned().unwrap_or_else(|()| App::unavailable(self.metrics.clone()).into())
    }

    async fn start(&self) -> Option<Arc<App<R>>> {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_soon = |at| wall().duration_since(at).is_ok_and(|since| since < self.pause);
        if failed_at.is_some_and(is_soon) {
            return None;
        }
        let routes = Routes::read(&self.environment).await;
        if routes.is_missing() {
            *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(wall());
            return None;
        }
        let app = App::from_env(&routes.over(&self.environment)).with_metrics(self.metrics.clone());
        app.warm_up().await;
        Some(app.into())
    }
}
