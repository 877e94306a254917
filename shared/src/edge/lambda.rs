//! The glue to the Lambda runtime: the only file that names `lambda_http`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
pub use lambda_http::Error;
use lambda_http::request::RequestContext;
use lambda_http::{RequestExt, service_fn};

use super::app::{App, FromEnvironment};
use super::http::{Body, Invocation};
use super::late_app::LateApp;

/// Pause between two attempts to fetch the secret with the routes.
const ROUTES_PAUSE: Duration = Duration::from_secs(10);

/// Runs a function whose Function URL has the invoke mode `RESPONSE_STREAM`.
///
/// # Errors
/// The runtime cannot start.
pub async fn serve_streaming<R, F>(handle: fn(Arc<App<R>>, Request<Bytes>) -> F) -> Result<(), Error>
where
    R: FromEnvironment,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let app = start().await;
    lambda_http::run_with_streaming_response_concurrent(service_fn(move |event: lambda_http::Request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(handle(app.get().await, request(event)).await) }
    }))
    .await
}

/// Runs a function whose Function URL has the invoke mode `BUFFERED`. With a streamed response, the client would
/// receive the runtime's prelude before the body.
///
/// # Errors
/// The runtime cannot start.
pub async fn serve_buffered<R, F>(handle: fn(Arc<App<R>>, Request<Bytes>) -> F) -> Result<(), Error>
where
    R: FromEnvironment,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let app = start().await;
    lambda_http::run_concurrent(service_fn(move |event: lambda_http::Request| {
        let app = app.clone();
        async move {
            let (head, body) = handle(app.get().await, request(event)).await.into_parts();
            let bytes = body.collect().await?.to_bytes();
            Ok::<_, Infallible>(Response::from_parts(head, lambda_http::Body::from(bytes.to_vec())))
        }
    }))
    .await
}

/// Prepares the first invocation: the log, the environment and the warm-up.
async fn start<R: FromEnvironment>() -> Arc<LateApp<R, impl Fn(&str) -> Option<String> + Send + Sync>> {
    lambda_http::tracing::init_default_subscriber();
    log_panics();
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    let environment = |name: &str| std::env::var(name).ok();
    let app = LateApp::new(environment, ROUTES_PAUSE);
    app.get().await;
    Arc::new(app)
}

/// Makes a panic log its location only: its message may contain user input.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let (file, line) = panic.location().map_or(("", 0), |place| (place.file(), place.line()));
        tracing::error!(file, line, "a task panicked");
    }));
}

/// Converts an event to a plain request with an [`Invocation`] in its extensions.
fn request(event: lambda_http::Request) -> Request<Bytes> {
    let deadline = event.lambda_context_ref().map(|context| context.deadline());
    let source_ip = match event.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
        _ => None,
    };
    let mut request = event.map(|body| match body {
        lambda_http::Body::Text(text) => text.into(),
        lambda_http::Body::Binary(bytes) => bytes.into(),
        _ => Bytes::new(),
    });
    request.extensions_mut().insert(Invocation::new(deadline, source_ip.as_deref()));
    request
}
