//! How this function is asked, and the rows in which ARK differs from an image API.

use std::sync::Arc;

use bytes::Bytes;
use dev::canary::PROMPT;
use dev::upstream_fault::FaultWire;
use faceflip_stream::{App, handle};
use http::Request;
use serde_json::json;

use super::upstream_connection::keeps_connections;
use super::upstream_row::{Ask, BUSY, ERROR, Expected, Form, NO_IMAGE, REJECTED, Rows, TASK, done, unavailable};
use crate::support::{Reply, Stand, Upstream, User};

const PATH: &str = "/api/v1/faceflip/generate/stream";

async fn ask(stand: &Stand, url: &str, user: &User, _: Form, variables: &[(&str, &str)]) -> Reply {
    let app: Arc<App> = stand.app(&Upstream::at(url.to_owned()), variables);
    Reply::read(handle(app, request(user)).await).await
}

fn request(user: &User) -> Request<Bytes> {
    user.post(PATH, &json!({"urls": ["https://example.com/image1.jpg"], "task_id": TASK, "prompt": PROMPT}))
}

pub(crate) fn rows() -> Rows<impl Ask> {
    Rows { wire: FaultWire::Ark, forms: &[Form::Events], ask }
}

async fn check(row: &str, expected: &[(&str, Expected)]) {
    rows().check(row, &[], expected).await;
}

#[tokio::test]
async fn u10_refused_by_moderation() {
    check("u10", &["InputTextSensitiveContentDetected", "InputImageRiskDetection"].map(|case| (case, REJECTED))).await;
}

#[tokio::test]
async fn u20_json_with_status_200() {
    let cases = [
        ("rate limit", BUSY),
        ("moderation", REJECTED),
        ("key", unavailable("upstream_auth")),
        ("unknown", ERROR),
        ("success", done(1)),
    ];
    check("u20", &cases).await;
}

#[tokio::test]
async fn u32_error_behind_content() {
    check("u32", &[("behind a picture", done(1))]).await;
}

#[tokio::test]
async fn u33_some_pictures_fail() {
    check("u33", &[("some", done(2).spending(3)), ("all", REJECTED), ("all, by a fault of ARK", ERROR)]).await;
}

#[tokio::test]
async fn u34_moderation_ends_the_answer() {
    check("u34", &[("", REJECTED)]).await;
}

#[tokio::test]
async fn u38_invalid_utf_8() {
    check("u38", &[("in the picture", NO_IMAGE), ("in a member without a meaning", done(1))]).await;
}

#[tokio::test]
async fn u43_link_not_accepted() {
    let refused = ["http", "user", "5000 long", "IP address", "localhost", "script"].map(|case| (case, NO_IMAGE));
    check("u43", &[&refused[..], &[("beside a good one", done(1))]].concat()).await;
}

#[tokio::test]
async fn u45_connection_of_an_earlier_call() {
    let (stand, server) = (Stand::new().await, keeps_connections().await);
    let app: Arc<App> = stand.app(&Upstream::at(server.url()), &[]);
    for calls in 1..=3 {
        let reply = Reply::read(handle(app.clone(), request(&User::new(&calls.to_string()))).await).await;
        assert_eq!((reply.ending().as_str(), server.connections()), ("error upstream_busy", calls));
    }
}
