//! Serves the routes, the fakes and the page on one port.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{self, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use dev::Shape;
use dev::drawings::Drawings;
use dev::fault::{FaultGate, StackFaults};
use dev::secrets::Vault;
use dev::supabase::Project;
use dev::upstream_calls::UpstreamCalls;
use serde_json::json;
use shared::edge::{Invocation, MAX_BODY_BYTES, Routes};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::ServeArgs;
use crate::environment::{FILE, StackEnvironment};
use crate::page::{self, PageSettings};
use crate::stores::Stores;

/// The key of the fake upstreams. It is valid nowhere else.
const KEY: &str = "local-stack";
/// The id of the secret with that key. The handlers fetch it with the AWS SDK.
const SECRET_ID: &str = "local-keys";
/// Variables of a Supabase project. They are read if SUPABASE_URL is set.
const OF_SUPABASE: [&str; 4] =
    ["SUPABASE_JWT_SECRET", "SUPABASE_JWT_SECRET_ARN", "ALLOW_ANONYMOUS", "ALLOWED_OAUTH_CLIENTS"];

/// Variables that have a default even with `--real`.
const OF_REAL_CALLS: [&str; 4] = ["SUPABASE_URL", "AWS_ENDPOINT_URL_DYNAMODB", "RATE_LIMITS_TABLE", "LEDGER_TABLE"];

/// Path that returns the address of the stack's tables, for `cargo dev credits`.
pub(crate) const TABLES_AT: &str = "/dev/tables";

/// Header of that response with the credits of a new user.
pub(crate) const CREDITS_INITIAL: &str = "x-credits-initial";

/// The way of the stack at `address` to its fake upstreams, with the faults of its options.
pub(crate) async fn gate(options: &ServeArgs, address: SocketAddr) -> io::Result<FaultGate> {
    FaultGate::open(StackFaults::new(options.fault, options.speed), address, SECOND).await
}

/// The router of the stack. `host` is its address on the network.
pub(crate) async fn routes(
    options: &ServeArgs,
    environment: &StackEnvironment,
    address: SocketAddr,
    host: Option<IpAddr>,
    stores: &Stores,
    gate: &FaultGate,
) -> Router {
    let (speed, log, tables) = (options.speed, !options.quiet, stores.tables());
    let has_own_users = has_own_users(environment);
    let project = environment.get("SUPABASE_URL").map(|url| (url, options.supabase_key.as_str()));
    let mode = environment.get("IMAGE_API_MODE").unwrap_or_else(|| "chat".to_owned());
    let fakes = |name: &str| match name {
        "IMAGE_UPSTREAMS" => Some(image_upstreams(&mode, gate.address)),
        "IMAGE_ROUTES" => Some(image_routes()),
        // Faults are tried one after another.
        "UPSTREAM_COOLDOWN_MS" => environment.get(name).or_else(|| Some("1000".into())),
        "ARK_BASE_URL" => Some(format!("http://{}/api/v3", gate.address)),
        "AWS_ENDPOINT_URL_SECRETS_MANAGER" | "SUPABASE_URL" => Some(format!("http://{address}")),
        "IMAGE_API_KEY_SECRET_ARN" | "ARK_API_KEY_SECRET_ARN" => Some(SECRET_ID.into()),
        "IMAGE_CHAT_MODEL" | "IMAGE_IMAGES_MODEL" | "IMAGE_GEMINI_MODEL" => Some(MODEL.into()),
        "IMAGE_MODELS" => Some(models().join(",")),
        "AWS_ENDPOINT_URL_DYNAMODB" => tables.clone(),
        "PICTURE_LINK_HOSTS" => Some("127.0.0.1".into()),
        name => {
            let table = dev::tables::VARIABLES.iter().find(|(known, _)| *known == name);
            table.map(|(_, table)| (*table).to_owned())
        }
    };
    // Without `--real` no call may cost money: keys, models and addresses of other machines are not read. SUPABASE_URL
    // is, because a Supabase project costs nothing per call.
    let has_own_api = environment.loopback("IMAGE_API_BASE_URL").is_some();
    let of_bucket = |name: &str| stores.of_bucket(name, options.real, environment);
    let environment = |name: &str| match (options.real, name) {
        (_, name) if let Some(value) = of_bucket(name) => value,
        // One upstream on this machine replaces both fakes.
        (false, "IMAGE_UPSTREAMS" | "IMAGE_ROUTES") if has_own_api => None,
        (false, name) if name.starts_with("IMAGE_") && !has_own_api => match name {
            "IMAGE_UPSTREAMS" | "IMAGE_ROUTES" => fakes(name),
            _ => None,
        },
        (true, name) if OF_REAL_CALLS.contains(&name) => environment.get(name).or_else(|| fakes(name)),
        (true, _) => environment.get(name),
        (false, "SUPABASE_URL" | "PICTURE_LINK_HOSTS") => environment.get(name).or_else(|| fakes(name)),
        (false, name) if name.contains("_URL") => environment.loopback(name).or_else(|| fakes(name)),
        (false, name) if has_own_users && OF_SUPABASE.contains(&name) => environment.get(name),
        (false, name) if name.contains("KEY") || name.contains("SECRET") => fakes(name),
        (false, name) => fakes(name).or_else(|| environment.get(name)),
    };
    let routes = Routes::read(&environment).await;
    let environment = routes.over(environment);
    let mut generate = generate_stream::App::from_env(&environment);
    let mut faceflip = faceflip_stream::App::from_env(&environment);
    if !options.real {
        (generate, faceflip) = (generate.with_local_links(), faceflip.with_local_links());
    }
    let (generate, faceflip) = (Arc::new(generate), Arc::new(faceflip));
    let users_log = Arc::new(generations::App::from_env(&environment));
    let generate = any(move |request| {
        let app = generate.clone();
        async move { answer(request, |request| generate_stream::handle(app, request)).await }
    });
    let faceflip = any(move |request| {
        let app = faceflip.clone();
        async move { answer(request, |request| faceflip_stream::handle(app, request)).await }
    });
    let generations = any(move |request| {
        let app = users_log.clone();
        async move { answer(request, |request| generations::handle(app, request)).await }
    });
    let vault = Vault::default();
    vault.put(SECRET_ID, KEY);
    let demo_project = (!has_own_users).then(Project::new);
    let users = demo_project.clone().map_or_else(Router::new, |project| demo_users(project, address));
    let users = users.layer(cors(&[&ALLOWED_HEADERS[..], &["x-supabase-api-version"]].concat(), host));
    let image_api = dev::image_api::ImageApiOptions { key: KEY.into(), shape: options.shape, speed, log };
    let credits_initial = environment("CREDITS_INITIAL").unwrap_or_default();
    let page = page::config(&PageSettings {
        project,
        models: match options.real {
            true => real_models(environment("IMAGE_ROUTES"), environment("IMAGE_MODELS")),
            false => vec![MODEL.to_owned(), MODEL_WITH_DRAFTS.to_owned()],
        },
        face_swap_pictures: environment("ARK_MAX_IMAGES").and_then(|count| count.parse().ok()),
        has_fakes: !options.real,
    });
    let tables = tables.clone();
    let tables_at =
        get(move || async { tables.map(|at| ([(CREDITS_INITIAL, credits_initial)], at)).ok_or(StatusCode::NOT_FOUND) });
    let service = Router::new()
        .route("/api/generate-stream", generate.clone())
        .route("/api/v1/faceflip/generate/stream", faceflip)
        .route("/api/generations", generations.clone())
        .route("/api/generations/{*task_id}", generations)
        .fallback_service(generate.with_state(()));
    let drawings = Drawings::default();
    let ark = dev::ark::ArkOptions { key: KEY.into(), speed, log };
    let first = dev::image_api::routes_that_vary(image_api.clone(), drawings.clone())
        .merge(dev::ark::routes_with_drawings(ark, drawings.clone()));
    let second = Router::new().nest(SECOND, dev::image_api::routes_that_vary(image_api, drawings.clone()));
    let (faults, calls) = (&gate.faults, UpstreamCalls::default());
    faults
        .at_service(service)
        .merge(calls.count(faults.at_first_upstream(first)))
        .merge(calls.count(faults.at_second_upstream(second)))
        .merge(calls.routes())
        .merge(dev::page::routes(&page))
        .merge(dev::drawings::routes(drawings))
        .merge(page::hooks(address, stores.bucket(), demo_project))
        .route(TABLES_AT, tables_at)
        .merge(dev::secrets::routes(vault))
        .layer(cors(&ALLOWED_HEADERS, host))
        .merge(users)
}

const MODEL: &str = "gemini-2.5-flash-image";
/// A model that sends drafts before its picture, with `@drafts` or another shape with drafts.
const MODEL_WITH_DRAFTS: &str = "gemini-3-pro-image";

/// A model of OpenAI's images API. The fakes serve it in that mode, whatever the mode of the others is.
const IMAGES_MODEL: &str = "gpt-image-2";
/// The path of the second image upstream. The first one has none.
const SECOND: &str = "/backup";

/// The fakes of the image upstreams, each also in mode images.
fn image_upstreams(mode: &str, address: SocketAddr) -> String {
    let upstream = |mode: &str, path: &str| json!({"mode": mode, "base_url": format!("http://{address}{path}"), "key_secret_arn": SECRET_ID});
    let upstreams = json!({
        "relay": upstream(mode, ""),
        "backup": upstream(mode, SECOND),
        "relay-images": upstream("images", ""),
        "backup-images": upstream("images", SECOND),
    });
    upstreams.to_string()
}

/// Every model at the first upstream, and at the second if the first does not start a call.
fn image_routes() -> String {
    let chat = models().into_iter().map(|model| (model, json!(["relay", "backup"])));
    let routes = chat.chain([(IMAGES_MODEL.to_owned(), json!(["relay-images", "backup-images"]))]);
    // The first one is the model of a request that names none. A map would sort them.
    let routes = routes.map(|(model, upstreams)| format!("{}:{upstreams}", json!(model))).collect::<Vec<_>>();
    format!("{{{}}}", routes.join(","))
}

/// The models that the fakes serve: the default one first.
fn models() -> Vec<String> {
    let of_each_shape = |model| Shape::ALL.iter().map(move |shape| format!("{model}@{shape}"));
    let models = [MODEL, MODEL_WITH_DRAFTS].map(str::to_owned).into_iter();
    models.chain([MODEL, MODEL_WITH_DRAFTS].into_iter().flat_map(of_each_shape)).collect()
}

/// The models that the page offers with `--real`.
fn real_models(routes: Option<String>, models: Option<String>) -> Vec<String> {
    let routes = routes.and_then(|routes| serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(&routes).ok());
    match routes {
        Some(routes) => routes.into_iter().map(|(model, _)| model).collect(),
        None => models.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect(),
    }
}

/// Whether a Supabase project replaces the demo users.
pub(crate) fn has_own_users(environment: &StackEnvironment) -> bool {
    environment.get("SUPABASE_URL").is_some()
}

/// The fake of Supabase. The issuer in its tokens is `address`, also if the page was opened as `localhost`.
fn demo_users(project: Project, address: SocketAddr) -> Router {
    let set_host = move |mut request: Request| async move {
        if let Ok(host) = HeaderValue::try_from(address.to_string()) {
            request.headers_mut().insert(header::HOST, host);
        }
        request
    };
    dev::supabase::routes(project).layer(map_request(set_host))
}

/// Passes a request to a handler as the function's `main` does: with the whole body, up to the platform's limit.
async fn answer<F>(request: Request, handle: impl FnOnce(http::Request<bytes::Bytes>) -> F) -> Response
where
    F: Future<Output = http::Response<shared::edge::Body>>,
{
    let (mut parts, body) = request.into_parts();
    let source = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_string());
    parts.extensions.insert(Invocation::new(None, source.as_deref()));
    // Bodies slightly over the limit reach the handler, which answers with the limit; larger ones are refused here, as
    // the platform does.
    match axum::body::to_bytes(body, MAX_BODY_BYTES + MAX_BODY_BYTES / 4).await {
        Ok(body) => handle(http::Request::from_parts(parts, body)).await.map(Body::new),
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    }
}

/// Request headers that CORS allows, as in `template.yaml`.
const ALLOWED_HEADERS: [&str; 7] =
    ["authorization", "content-type", "accept", "idempotency-key", "x-request-id", "apikey", "x-client-info"];
/// Response headers that CORS exposes, as in `template.yaml`.
const EXPOSED_HEADERS: [&str; 5] = ["x-task-id", "x-request-id", "retry-after", "ratelimit", "ratelimit-policy"];

/// The CORS settings of the Function URLs, for pages on any port of this machine.
fn cors(allowed_headers: &[&'static str], host: Option<IpAddr>) -> CorsLayer {
    let names = |names: &[&'static str]| names.iter().copied().map(HeaderName::from_static).collect::<Vec<_>>();
    let on_network = host.map(|host| format!("http://{}", SocketAddr::new(host, 1).to_string().trim_end_matches('1')));
    let is_local = move |origin: &HeaderValue, _: &_| {
        let origin = origin.to_str().unwrap_or_default();
        let starts = ["http://localhost:", "http://127.0.0.1:"].into_iter().chain(on_network.as_deref());
        starts.into_iter().any(|start| origin.starts_with(start))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_local))
        .allow_methods([http::Method::GET, http::Method::POST, http::Method::DELETE])
        .allow_headers(names(allowed_headers))
        .expose_headers(names(&EXPOSED_HEADERS))
        .max_age(std::time::Duration::from_secs(86400))
        // Responses are not cached, and error responses have their own `Vary` header.
        .vary([])
}

/// Prints commands to paste, the unused variables, and last the address. Call it after [`routes`], which reads the
/// variables.
pub(crate) fn announce(
    options: &ServeArgs,
    environment: &StackEnvironment,
    address: SocketAddr,
    host: Option<IpAddr>,
    stores: &Stores,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !options.quiet {
        let (users, token) = match has_own_users(environment) {
            true => (
                "those of SUPABASE_URL; set TOKEN to an access token, from supabase.auth.getSession()",
                "$TOKEN".to_owned(),
            ),
            false => (
                "demo@example.com and demo+<word>@example.com, password demo; set SUPABASE_URL for your own",
                format!("$({})", sign_in(address)),
            ),
        };
        let post = |path: &str, body: &str, then: &str| {
            format!(
                "curl -sN http://{address}{path} -H \"authorization: Bearer {token}\" \
                 -H 'content-type: application/json' -d '{body}' {then}"
            )
        };
        let shorten = "| cut -c1-200";
        let generate = r#"{"prompt":"a wedding photo by the sea","format":"events"}"#;
        let faceflip = r#"{"urls":["https://example.com/image1.jpg"],"task_id":"task-1"}"#;
        let without_real =
            if options.real { "" } else { " (keys, models and addresses of other machines need --real)" };
        if options.real {
            writeln!(out, "Calling the real upstreams. This costs money.")?;
        } else if Path::new(FILE).exists() {
            writeln!(out, "{FILE} is ignored; it is read with --real only.")?;
        }
        if let unused @ [_, ..] = environment.unused().as_slice() {
            writeln!(out, "Ignored variables: {}{without_real}", unused.join(", "))?;
        }
        writeln!(out, "Users:       {users}")?;
        writeln!(out, "Pictures:    {}", stores.pictures())?;
        writeln!(out, "A page:      http://{address}/")?;
        writeln!(out, "A picture:   {}", post("/api/generate-stream", generate, shorten))?;
        let to_a_file = "-fL -H 'accept: image/*' -o picture.png -w 'picture.png: %{size_download} bytes\\n'";
        writeln!(out, "To a file:   {}", post("/api/generate-image", generate, to_a_file))?;
        writeln!(out, "From links:  {}", post("/api/v1/faceflip/generate/stream", faceflip, shorten))?;
        if let Some(host) = host {
            let page = format!("http://{}/", SocketAddr::new(host, address.port()));
            writeln!(out, "{}\nOn a phone:  {page}", page::qr_code(&page)?)?;
        }
    }
    writeln!(out, "listening on http://{address}")?;
    out.flush()
}

/// A shell command that signs in at Supabase with the password and prints an access token.
fn sign_in(address: SocketAddr) -> String {
    let user = r#"{"email":"demo@example.com","password":"demo"}"#;
    format!("curl -s 'http://{address}/auth/v1/token?grant_type=password' -d '{user}' | cut -d'\"' -f4")
}
