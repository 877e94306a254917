//! S3: an engine inside this process with one bucket, and a proxy that adds S3's failures.
//!
//! `s3s` reads the requests: it verifies signatures, links, their expiry and the digests of bodies, with code that is not
//! Amazon's. The objects are stored here, and only after their digests were compared. The engine differs from S3: it
//! has no multipart uploads, versions or lists, and a missing object is 404 for everyone.

mod objects;
mod proxy;
mod service;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::S3ServiceBuilder;
use s3s::{S3Result, s3_error};
use tokio::task::JoinSet;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::server::{RunningServer, start as start_server};

pub use self::objects::Objects;
pub use self::proxy::{BucketCall, BucketFault, BucketProxy, routes as proxy_routes};

/// The name of the bucket.
pub const BUCKET: &str = "pictures";
/// The only access key id, and its secret.
pub const KEY_PAIR: (&str, &str) = ("test", "test");
/// The region of the variables below. The engine accepts any.
pub const REGION: &str = "us-east-1";
/// Interval between deletions of expired objects. S3 takes a day.
const SWEEP_EVERY: Duration = Duration::from_secs(3);

/// A running engine on a free port of 127.0.0.1. It ends when dropped.
#[derive(Debug)]
pub struct S3Engine {
    /// Its objects.
    pub objects: Objects,
    server: RunningServer,
    _sweeper: JoinSet<()>,
}

/// Starts an engine. It deletes objects `keep_for` after they were stored.
///
/// # Errors
/// If the folder or a port cannot be opened.
pub async fn start(folder: Option<PathBuf>, keep_for: Duration) -> io::Result<S3Engine> {
    let objects = match folder {
        Some(folder) => Objects::in_folder(folder)?,
        None => Objects::default(),
    };
    let server = start_server(routes(objects.clone())).await?;
    let mut sweeper = JoinSet::new();
    let swept = objects.clone();
    sweeper.spawn(async move {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            swept.sweep(keep_for);
        }
    });
    Ok(S3Engine { objects, server, _sweeper: sweeper })
}

impl S3Engine {
    /// `http://127.0.0.1:<port>`, without a trailing slash.
    pub fn url(&self) -> String {
        self.server.url("")
    }

    /// The variables of a function that keeps its pictures here.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        variables(&self.url())
    }
}

/// The variables of a function that keeps its pictures in an engine, or behind a proxy, at `url`.
pub fn variables(url: &str) -> [(&'static str, String); 5] {
    [
        ("PICTURES_BUCKET", BUCKET.to_owned()),
        ("PICTURES_REGION", REGION.to_owned()),
        ("PICTURES_ACCESS_KEY_ID", KEY_PAIR.0.to_owned()),
        ("PICTURES_SECRET_ACCESS_KEY", KEY_PAIR.1.to_owned()),
        ("AWS_ENDPOINT_URL_S3", url.to_owned()),
    ]
}

/// The engine, with the bucket's CORS rule for pages on any port of this machine.
fn routes(objects: Objects) -> Router {
    let mut builder = S3ServiceBuilder::new(objects);
    builder.set_auth(OneKey);
    let service = builder.build();
    let answer = move |request: Request| {
        let service = service.clone();
        async move {
            // The engine logs every refusal as an error, and links that have expired are normal here.
            let answer =
                service.call(request.map(s3s::Body::http_body_unsync)).with_subscriber(NoSubscriber::default());
            match answer.await {
                Ok(response) => response.map(Body::new),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    };
    Router::new().fallback(answer).layer(cors())
}

/// Knows [`KEY_PAIR`]. The engine's own `SimpleAuth` answers another key as if its owner had no account.
struct OneKey;

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == KEY_PAIR.0 { Ok(SecretKey::from(KEY_PAIR.1)) } else { Err(s3_error!(InvalidAccessKeyId)) }
    }
}

/// The rule of the bucket in `template.yaml`.
fn cors() -> CorsLayer {
    let is_local = |origin: &HeaderValue, _: &_| {
        let origin = origin.to_str().unwrap_or_default();
        ["http://localhost:", "http://127.0.0.1:"].iter().any(|start| origin.starts_with(start))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_local))
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([header::RANGE])
        .expose_headers([header::ETAG, header::CONTENT_LENGTH, header::CONTENT_RANGE])
        .max_age(Duration::from_secs(86400))
}
