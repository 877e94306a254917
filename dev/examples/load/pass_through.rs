//! The floor: a pass-through of axum and reqwest that does nothing else.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

/// Passes chat requests to `upstream`, and the answers back.
pub(crate) fn routes(upstream: String) -> Router {
    let state = (reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().unwrap(), upstream);
    Router::new().route("/v1/chat/completions", post(pass)).with_state(state)
}

async fn pass(State((client, upstream)): State<(reqwest::Client, String)>, body: Bytes) -> Response {
    let answer = client.post(format!("{upstream}/v1/chat/completions")).body(body).send().await.unwrap();
    let content_type = answer.headers()[CONTENT_TYPE].clone();
    ([(CONTENT_TYPE, content_type)], Body::from_stream(answer.bytes_stream())).into_response()
}
