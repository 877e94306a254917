//! The routes, the fakes and the page on one port.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{self, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get};
use dev::Shape;
use dev::secrets::Vault;
use shared::edge::MAX_BODY_BYTES;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::Serve;
use crate::environment::Environment;

/// What the simulators take for a key. It opens nothing else.
const KEY: &str = "local-stack";
/// Where the handlers find it: they fetch it through AWS's own SDK.
const SECRET_ID: &str = "local-keys";

/// Everything that answers.
pub(crate) fn routes(options: &Serve, environment: &Environment, address: SocketAddr) -> Router {
    let (speed, log) = (options.speed, !options.quiet);
    let models = Shape::ALL.iter().map(|shape| format!("{MODEL}@{shape}")).collect::<Vec<_>>().join(",");
    let stand_ins = |name: &str| match name {
        "IMAGE_API_BASE_URL" => Some(format!("http://{address}")),
        "ARK_BASE_URL" => Some(format!("http://{address}/api/v3")),
        "AWS_ENDPOINT_URL_SECRETS_MANAGER" => Some(format!("http://{address}")),
        "IMAGE_API_KEY_SECRET_ARN" | "ARK_API_KEY_SECRET_ARN" => Some(SECRET_ID.into()),
        "IMAGE_CHAT_MODEL" => Some(MODEL.into()),
        "IMAGE_MODELS" => Some(models.clone()),
        _ => None,
    };
    // An address in the environment takes the place of the stand-in of that name; keys are used for real calls only.
    let environment = |name: &str| match (options.real, name) {
        (true, _) => environment.get(name),
        (false, name) if name.contains("_URL") => environment.of_process(name).or_else(|| stand_ins(name)),
        (false, name) => stand_ins(name),
    };
    let mut generate = generate_stream::App::from_env(&environment);
    let mut faceflip = faceflip_stream::App::from_env(&environment);
    if !options.real {
        (generate, faceflip) = (generate.with_local_links(), faceflip.with_local_links());
    }
    let (generate, faceflip) = (Arc::new(generate), Arc::new(faceflip));
    let generate = any(move |request| {
        let app = generate.clone();
        async move { answer(request, |request| generate_stream::handle(app, request)).await }
    });
    let faceflip = any(move |request| {
        let app = faceflip.clone();
        async move { answer(request, |request| faceflip_stream::handle(app, request)).await }
    });
    let vault = Vault::default();
    vault.put(SECRET_ID, KEY);
    let page = ([(header::CACHE_CONTROL, "no-store")], Html(dev::PAGE));
    Router::new()
        .route("/", get(page))
        .merge(dev::secrets::routes(vault))
        .route("/api/generate-stream", generate.clone())
        .route("/api/v1/faceflip/generate/stream", faceflip)
        .fallback_service(generate.with_state(()))
        .merge(dev::image_api::routes(dev::image_api::Options { key: KEY.into(), shape: options.shape, speed, log }))
        .merge(dev::ark::routes(dev::ark::Options { key: KEY.into(), speed, log }))
        .layer(cors())
}

const MODEL: &str = "gemini-2.5-flash-image";

/// Hands a request to a handler as the function's `main` does: the body whole, within the platform's limit.
async fn answer<F>(request: Request, handle: impl FnOnce(http::Request<bytes::Bytes>) -> F) -> Response
where
    F: Future<Output = http::Response<shared::edge::Body>>,
{
    let (parts, body) = request.into_parts();
    // A little over the limit is read, so that the handler can say what fits; more is cut off as the platform does.
    match axum::body::to_bytes(body, MAX_BODY_BYTES + MAX_BODY_BYTES / 4).await {
        Ok(body) => handle(http::Request::from_parts(parts, body)).await.map(Body::new),
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    }
}

/// What the Function URL's own CORS does on AWS, for pages on other ports of this machine.
fn cors() -> CorsLayer {
    let names = |names: &[&'static str]| names.iter().copied().map(HeaderName::from_static).collect::<Vec<_>>();
    let is_local = |origin: &HeaderValue, _: &_| {
        let origin = origin.to_str().unwrap_or_default();
        ["http://localhost:", "http://127.0.0.1:"].iter().any(|start| origin.starts_with(start))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_local))
        .allow_methods([http::Method::GET, http::Method::POST])
        .allow_headers(names(&[
            "authorization",
            "content-type",
            "accept",
            "idempotency-key",
            "x-request-id",
            "apikey",
            "x-client-info",
        ]))
        .expose_headers(names(&["x-task-id", "x-request-id", "retry-after", "ratelimit", "ratelimit-policy"]))
        .max_age(std::time::Duration::from_secs(86400))
        // Nothing is cached, and no header may come twice: refusals have a `Vary` of their own.
        .vary([])
}

/// Says where it listens, and what to paste.
pub(crate) fn announce(options: &Serve, environment: &Environment, address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !options.quiet {
        let post = |path: &str, body: &str| {
            format!("curl -sN http://{address}{path} -H 'content-type: application/json' -d '{body}' | cut -c1-200")
        };
        let generate = r#"{"prompt":"a wedding photo by the sea","format":"events"}"#;
        let faceflip = r#"{"urls":["https://example.com/image1.jpg"],"task_id":"task-1"}"#;
        match (options.real, environment.keys().as_slice()) {
            (true, _) => writeln!(out, "The real upstreams are called. This costs money.")?,
            (false, []) => {}
            (false, keys) => writeln!(out, "{} is set and not used: --real would use it.", keys.join(" and "))?,
        }
        writeln!(out, "A page:      http://{address}/")?;
        writeln!(out, "A picture:   {}", post("/api/generate-stream", generate))?;
        writeln!(out, "From links:  {}", post("/api/v1/faceflip/generate/stream", faceflip))?;
    }
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}
