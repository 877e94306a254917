//! The Lambda function: reads the environment once, then hands every invocation to [`faceflip_stream::handle`].

#![forbid(unsafe_code)]

use std::sync::Arc;

use faceflip_stream::App;
use lambda_http::{Error, service_fn};
use shared::edge::{RuntimeApi, log_panics};

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda_http::tracing::init_default_subscriber();
    log_panics();
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    let environment = |name: &str| std::env::var(name).ok();
    let app = Arc::new(App::from_env(&environment));
    app.warm_up().await;
    let runtime = RuntimeApi::new(environment("AWS_LAMBDA_RUNTIME_API").as_deref());
    lambda_http::run_with_streaming_response_concurrent(service_fn(move |event: lambda_http::Request| {
        runtime.send_at_once();
        let app = app.clone();
        async move { Ok::<_, std::convert::Infallible>(faceflip_stream::handle(app, shared_request(event)).await) }
    }))
    .await
}

/// The event as the handlers want it: bytes, and what the platform knows of the invocation.
fn shared_request(event: lambda_http::Request) -> http::Request<bytes::Bytes> {
    use lambda_http::request::RequestContext;
    use lambda_http::{Body, RequestExt};
    let deadline = event.lambda_context_ref().map(|context| context.deadline());
    let source_ip = match event.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
        _ => None,
    };
    let mut request = event.map(|body| match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        _ => bytes::Bytes::new(),
    });
    request.extensions_mut().insert(shared::edge::Invocation::new(deadline, source_ip.as_deref()));
    request
}
