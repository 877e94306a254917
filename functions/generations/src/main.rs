//! The Lambda function: reads the environment once, then hands every invocation to [`generations::handle`].

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::sync::Arc;

use generations::App;
use http_body_util::BodyExt;
use lambda_http::{Body, Error, RequestExt, Response, service_fn};
use shared::edge::log_panics;

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda_http::tracing::init_default_subscriber();
    log_panics();
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    let environment = |name: &str| std::env::var(name).ok();
    let app = Arc::new(App::from_env(&environment));
    app.warm_up().await;
    lambda_http::run_concurrent(service_fn(move |event: lambda_http::Request| {
        let app = app.clone();
        async move { whole(generations::handle(app, shared_request(event)).await).await }
    }))
    .await
}

/// The answer as the runtime sends it at once.
async fn whole(response: Response<shared::edge::Body>) -> Result<Response<Body>, Infallible> {
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes().to_vec().into()))
}

/// The event as the handler wants it: without a body, which nobody reads, and with the address that the platform knows.
fn shared_request(event: lambda_http::Request) -> http::Request<bytes::Bytes> {
    use lambda_http::request::RequestContext;
    let source_ip = match event.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
        _ => None,
    };
    let mut request = event.map(|_| bytes::Bytes::new());
    request.extensions_mut().insert(shared::edge::Invocation::new(None, source_ip.as_deref()));
    request
}
