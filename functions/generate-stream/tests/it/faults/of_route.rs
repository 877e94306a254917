//! How this function is asked, and the rows in which an image API differs from ARK.

use std::sync::Arc;

use bytes::Bytes;
use dev::canary::PROMPT;
use dev::upstream_fault::FaultWire;
use generate_stream::{App, handle};
use http::Request;
use serde_json::json;

use super::upstream_connection::keeps_connections;
use super::upstream_row::{
    Ask, BUSY, ERROR, Expected, Form, INTERRUPTED, PROTOCOL, REJECTED, Rows, TASK, done, failed, unavailable,
};
use crate::support::{Reply, Stand, Upstream, User};

const FORMS: [Form; 3] = [Form::Chat, Form::Events, Form::OneShot];

async fn ask(stand: &Stand, url: &str, user: &User, form: Form, variables: &[(&str, &str)]) -> Reply {
    let app: Arc<App> = stand.app(&Upstream::at(url.to_owned()), variables);
    Reply::read(handle(app, request(user, form)).await).await
}

fn request(user: &User, form: Form) -> Request<Bytes> {
    let (path, format) = match form {
        Form::Chat => ("/api/generate-stream", "chat"),
        Form::Events => ("/api/generate-stream", "events"),
        Form::OneShot => ("/api/generate-image", "chat"),
    };
    let mut request = user.post(path, &json!({"prompt": PROMPT, "format": format}));
    request.headers_mut().insert("idempotency-key", TASK.parse().unwrap());
    request
}

pub(crate) fn rows() -> Rows<impl Ask> {
    Rows { wire: FaultWire::Chat, forms: &FORMS, ask }
}

async fn check(row: &str, expected: &[(&str, Expected)]) {
    rows().check(row, &[], expected).await;
}

#[tokio::test]
async fn u10_refused_by_moderation() {
    check("u10", &[("content_policy_violation", REJECTED), ("moderation_blocked", REJECTED)]).await;
}

#[tokio::test]
async fn u20_json_with_status_200() {
    let cases =
        [("rate limit", BUSY), ("moderation", REJECTED), ("key", unavailable("upstream_auth")), ("unknown", ERROR)];
    check("u20", &cases).await;
}

#[tokio::test]
async fn u32_error_behind_content() {
    let late = failed(503, "upstream_busy", "rate_limited").at("WARN").late();
    check("u32", &[("in a picture", late), ("behind a picture", done(1))]).await;
}

#[tokio::test]
async fn u34_moderation_ends_the_answer() {
    check("u34", &[("before content", REJECTED), ("behind text", REJECTED.late())]).await;
}

#[tokio::test]
async fn u35_length_limit() {
    check("u35", &[("in a picture", INTERRUPTED.late()), ("behind a picture", done(1))]).await;
}

#[tokio::test]
async fn u38_invalid_utf_8() {
    let cases = [
        ("in the picture", INTERRUPTED.late()),
        ("in a member without a meaning", done(1)),
        ("in a text", PROTOCOL.late()),
    ];
    check("u38", &cases).await;
}

#[tokio::test]
async fn u45_connection_of_an_earlier_call() {
    let (stand, server) = (Stand::new().await, keeps_connections().await);
    let app: Arc<App> = stand.app(&Upstream::at(server.url()), &[]);
    for calls in 1..=3 {
        let reply = Reply::read(handle(app.clone(), request(&User::new(&calls.to_string()), Form::Events)).await).await;
        assert_eq!((reply.ending().as_str(), server.connections()), ("error upstream_busy", calls));
    }
}
