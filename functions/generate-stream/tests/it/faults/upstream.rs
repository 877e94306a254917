//! Rows U1 to U45, as far as they are the same for every route: what an upstream can do wrong.

use dev::fault_server::FaultServer;
use dev::upstream_fault::UpstreamFault;

use super::of_route::rows;
use super::upstream_row::{
    BUSY, ERROR, Expected, Form, INTERRUPTED, NO_IMAGE, PROTOCOL, REJECTED, TIMEOUT, done, failed, unavailable,
};
use crate::support::Stand;

async fn check(row: &str, expected: &[(&str, Expected)]) {
    rows().check(row, &[], expected).await;
}

#[tokio::test]
async fn u1_connection_refused_or_reset() {
    rows().check_refused().await;
}

#[tokio::test]
async fn u2_unknown_host() {
    rows().check_unknown_host().await;
}

#[tokio::test]
async fn u3_tls_fails() {
    rows().check_tls().await;
}

#[tokio::test]
async fn u4_connect_black_hole() {
    rows().check_black_hole().await;
}

#[tokio::test]
async fn u5_no_response() {
    check("u5", &[("closed", ERROR), ("reset", ERROR)]).await;
}

#[tokio::test]
async fn u6_no_answer_in_time() {
    check("u6", &[("", TIMEOUT)]).await;
}

#[tokio::test]
async fn u7_not_http() {
    check("u7", &[("not HTTP", PROTOCOL), ("1 MB header", PROTOCOL), ("flood of 1xx", TIMEOUT)]).await;
}

#[tokio::test]
async fn u8_redirect() {
    let refused = failed(502, "upstream_protocol_error", "upstream_redirect").refunded().with_alarm();
    check("u8", &[("302", refused), ("308", refused)]).await;
}

#[tokio::test]
async fn u9_parameter_refused() {
    check("u9", &[("", failed(422, "upstream_rejected_input", "bad_request").spending(1).at("WARN"))]).await;
}

#[tokio::test]
async fn u11_key_refused() {
    check("u11", &[("", unavailable("upstream_auth"))]).await;
}

#[tokio::test]
async fn u12_no_balance() {
    let quota = unavailable("upstream_quota");
    check("u12", &[("402", quota), ("insufficient_quota", quota), ("overdue", quota)]).await;
}

#[tokio::test]
async fn u13_model_not_open() {
    let closed = unavailable("model_unavailable");
    check("u13", &[("AccessDenied", closed), ("ModelNotOpen", closed)]).await;
}

#[tokio::test]
async fn u14_request_too_large_for_the_upstream() {
    check("u14", &[("", failed(413, "payload_too_large", "payload_too_large").spending(1).at("INFO"))]).await;
}

#[tokio::test]
async fn u15_rate_limit_of_the_upstream() {
    let cases = [
        ("seconds", BUSY.retry_after(7)),
        ("a date long ahead", BUSY.retry_after(120)),
        ("a date that has passed", BUSY.retry_after(1)),
        ("absent", BUSY.retry_after(10)),
        ("too many seconds", BUSY.retry_after(120)),
        ("zero", BUSY.retry_after(1)),
        ("not a time", BUSY.retry_after(10)),
        ("negative", BUSY.retry_after(10)),
    ];
    check("u15", &cases).await;
}

#[tokio::test]
async fn u16_upstream_fails() {
    check("u16", &[("500", ERROR), ("502", ERROR)]).await;
}

#[tokio::test]
async fn u17_upstream_overloaded() {
    let busy = failed(503, "upstream_busy", "upstream_unavailable").refunded().at("WARN");
    let cases =
        [("503", busy.retry_after(10)), ("529", busy.retry_after(10)), ("503 with a time", busy.retry_after(30))];
    check("u17", &cases).await;
}

#[tokio::test]
async fn u18_time_limit_of_the_upstream() {
    check("u18", &[("504", TIMEOUT), ("408", TIMEOUT)]).await;
}

#[tokio::test]
async fn u19_html_with_status_200() {
    check("u19", &[("", failed(502, "upstream_protocol_error", "upstream_bad_content_type"))]).await;
}

#[tokio::test]
async fn u21_compressed_answer() {
    check("u21", &[("gzip", PROTOCOL), ("br", PROTOCOL)]).await;
}

#[tokio::test]
async fn u22_empty_answer() {
    check("u22", &[("", INTERRUPTED)]).await;
}

#[tokio::test]
async fn u23_no_picture() {
    check("u23", &[("", NO_IMAGE.late())]).await;
}

#[tokio::test]
async fn u24_stall_in_mid_stream() {
    let cases = [("before a picture", TIMEOUT.late()), ("in a picture", TIMEOUT.late()), ("behind a picture", done(1))];
    check("u24", &cases).await;
}

#[tokio::test]
async fn u25_endless_comments() {
    check("u25", &[("", TIMEOUT)]).await;
}

#[tokio::test]
async fn u26_byte_by_byte() {
    let patient = [("UPSTREAM_PROGRESS_MS", "60000"), ("UPSTREAM_IDLE_MS", "60000")];
    rows().check("u26", &patient, &[("", done(1))]).await;
    // The limit of the whole call.
    let (rows, stand, expected) = (rows(), Stand::new().await, failed(504, "deadline_exceeded", "deadline_exceeded"));
    let script = UpstreamFault::find("u26").unwrap().cases(rows.wire).remove(0).1;
    let server = FaultServer::start(vec![script]).await.unwrap();
    let short = [&patient[..], &[("UPSTREAM_TOTAL_MS", "300")]].concat();
    rows.check_at(&stand, &server.url(), "u26, too long", Form::Events, expected, &short).await;
}

#[tokio::test]
async fn u27_reset_in_a_picture() {
    check("u27", &[("in a picture", INTERRUPTED.late()), ("behind a picture", done(1))]).await;
}

#[tokio::test]
async fn u28_broken_framing() {
    let late = INTERRUPTED.late();
    check("u28", &[("EOF in a chunk", late), ("short content-length", late), ("bad chunk size", late)]).await;
}

#[tokio::test]
async fn u29_no_done() {
    check("u29", &[("", done(1))]).await;
}

#[tokio::test]
async fn u30_early_end() {
    check(
        "u30",
        &[
            ("before a picture", INTERRUPTED.late()),
            ("in a picture", INTERRUPTED.late()),
            ("behind a picture", done(1)),
        ],
    )
    .await;
}

#[tokio::test]
async fn u31_error_before_content() {
    let cases = [
        ("rate limit", BUSY),
        ("moderation", REJECTED),
        ("balance", unavailable("upstream_quota")),
        ("unknown", ERROR),
    ];
    check("u31", &cases).await;
}

#[tokio::test]
async fn u36_line_of_64_mb() {
    check("u36", &[("", PROTOCOL)]).await;
}

#[tokio::test]
async fn u37_more_than_64_mb() {
    check("u37", &[("", PROTOCOL)]).await;
}

#[tokio::test]
async fn u39_malformed_json() {
    let cases = [("one event", done(1)), ("three events", PROTOCOL.late()), ("every event", PROTOCOL)];
    check("u39", &cases).await;
}

#[tokio::test]
async fn u40_every_form_of_an_event_stream() {
    let forms = [
        "LF",
        "CRLF",
        "CR",
        "no space",
        "BOM, comment, empty and unknown fields",
        "data in two lines",
        "a chunk per byte",
    ];
    check("u40", &forms.map(|form| (form, done(1)))).await;
}

#[tokio::test]
async fn u41_more_after_done() {
    check("u41", &["twice", "more events", "garbage"].map(|case| (case, done(1)))).await;
}

#[tokio::test]
async fn u42_json_that_breaks_readers() {
    let cases = ["NUL", "escaped NUL", "lone surrogate", "deep nesting", "duplicate members", "huge number"];
    check("u42", &cases.map(|case| (case, done(1)))).await;
}
