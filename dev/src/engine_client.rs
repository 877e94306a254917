//! Forwards a request to an engine on this machine, for the proxies before engines.

use std::io;

use axum::body::{self, Body};
use axum::extract::Request;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The client for one engine. It reuses connections and opens one per concurrent request.
#[derive(Clone)]
pub(crate) struct EngineClient {
    url: String,
    max_bytes: usize,
    client: Client<HttpConnector, Body>,
}

impl EngineClient {
    /// A client for the engine at `url`, whose responses have at most `max_bytes`.
    pub(crate) fn new(url: &str, max_bytes: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { url: url.trim_end_matches('/').to_owned(), max_bytes, client }
    }

    /// The engine's whole response. `None` if there is none.
    pub(crate) async fn ask(&self, mut request: Request) -> Option<Response> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = Uri::try_from(format!("{}{path}", self.url)).ok()?;
        request.headers_mut().remove(header::CONNECTION);
        let (mut head, body) = self.client.request(request).await.ok()?.into_parts();
        // The header belongs to the engine's connection.
        head.headers.remove(header::CONNECTION);
        let body = body::to_bytes(Body::new(body), self.max_bytes).await.ok()?;
        Some(Response::from_parts(head, Body::from(body)))
    }
}

/// No response: the server closes the connection because the body fails before the first byte.
pub(crate) fn dropped() -> Response {
    let failed = io::Result::<Bytes>::Err(io::Error::other("dropped"));
    Body::from_stream(stream::iter([failed])).into_response()
}
