//! Tokens that are given back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dev::dynamodb::{self, Proxy, TableFault};
use dev::transcript::{Ending, Transcript};
use generate_stream::App;
use http::header::{CONTENT_ENCODING, HeaderValue, LOCATION};
use serde_json::json;

use super::{On, PICTURE, ask, keyed, wanted, wanted_as_chat};
use crate::support::{Stand, Upstream, User, fixture};

/// An upstream that sends these documents as events.
async fn says(parts: &[&str]) -> Upstream {
    let said: String = parts.iter().map(|part| format!("data: {part}\n\n")).collect();
    Upstream::plays(Transcript::events(said)).await
}

#[tokio::test]
async fn a_token_is_refunded_if_the_upstream_did_not_begin() {
    const TEXT: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"好的"}}]}"#;
    const BUSY: &str = r#"{"error":{"message":"slow down","code":429}}"#;
    let stand = Stand::new().await;
    let picture = fixture(PICTURE);
    let half = picture.slice(..picture.len() / 2);
    let moved = Some((LOCATION, HeaderValue::from_static("/elsewhere")));
    let gzip = Some((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    let closes = Proxy::default();
    closes.fail(Some(TableFault::Refuse));
    let closing = dev::start(dynamodb::routes(closes.clone(), "http://127.0.0.1:9")).await.unwrap();
    let mut closed = Upstream::gone();
    closed.url = closing.url("");
    let wait = |head_after| Transcript { head_after, ..Transcript::events(picture.clone()) };
    let stall = |bytes| Transcript { ending: Ending::Stall, ..Transcript::events(bytes) };
    let (is_refunded, is_kept) = (0, 1);
    let rows = [
        (Upstream::refuses(401).await, "service_unavailable", is_refunded),
        (Upstream::refuses(402).await, "service_unavailable", is_refunded),
        (Upstream::refuses(403).await, "service_unavailable", is_refunded),
        (Upstream::refuses(404).await, "service_unavailable", is_refunded),
        (Upstream::refuses(429).await, "upstream_busy", is_refunded),
        (Upstream::refuses(503).await, "upstream_busy", is_refunded),
        (Upstream::refuses(529).await, "upstream_busy", is_refunded),
        (Upstream::gone(), "upstream_unreachable", is_refunded),
        (
            Upstream::plays(Transcript { status: 307, header: moved, ..Transcript::events("") }).await,
            "upstream_protocol_error",
            is_refunded,
        ),
        (says(&[BUSY]).await, "upstream_busy", is_refunded),
        (says(&[TEXT, BUSY]).await, "upstream_busy", is_kept),
        (Upstream::refuses(400).await, "upstream_rejected_input", is_kept),
        (Upstream::refuses(422).await, "upstream_rejected_input", is_kept),
        (Upstream::refuses(413).await, "payload_too_large", is_kept),
        (Upstream::refuses(408).await, "upstream_timeout", is_kept),
        (Upstream::refuses(500).await, "upstream_error", is_kept),
        (Upstream::refuses(502).await, "upstream_error", is_kept),
        (Upstream::refuses(504).await, "upstream_timeout", is_kept),
        (closed, "upstream_error", is_kept),
        (Upstream::plays(wait(Duration::from_secs(60))).await, "upstream_timeout", is_kept),
        (Upstream::plays(stall(half.clone())).await, "upstream_timeout", is_kept),
        (Upstream::plays(stall(Bytes::new())).await, "upstream_timeout", is_kept),
        (
            Upstream::plays(Transcript { ending: Ending::Abort, ..Transcript::events(half) }).await,
            "stream_interrupted",
            is_kept,
        ),
        (Upstream::recorded("e01_eof_mid_base64.sse").await, "stream_interrupted", is_kept),
        (Upstream::recorded("e06_text_refusal_stop.sse").await, "no_image", is_kept),
        (Upstream::recorded("e05_content_filter_empty.sse").await, "content_rejected", is_kept),
        (Upstream::recorded("h12_openai_400_moderation.json").await, "content_rejected", is_kept),
        (
            Upstream::plays(Transcript { content_type: "text/html", ..Transcript::events("<html>") }).await,
            "upstream_protocol_error",
            is_kept,
        ),
        (
            Upstream::plays(Transcript { header: gzip, ..Transcript::events(picture.clone()) }).await,
            "upstream_protocol_error",
            is_kept,
        ),
        (Upstream::recorded(PICTURE).await, "", is_kept),
    ];
    let impatient = [("UPSTREAM_HEAD_MS", "400"), ("UPSTREAM_IDLE_MS", "400")];
    for (number_of, (upstream, code, kept)) in rows.iter().enumerate() {
        let user = User::new(&format!("policy-{number_of}"));
        let app: Arc<App> = stand.app(upstream, if *code == "upstream_timeout" { &impatient } else { &[] });
        for (asked, request) in [wanted(&user), wanted_as_chat(&user)].into_iter().enumerate() {
            let ending = ask(&app, request).await.ending();
            let sent = ending.rsplit(' ').next().unwrap();
            assert_eq!(if ["done", "[DONE]"].contains(&sent) { "" } else { sent }, *code, "{number_of}");
            let missing = stand.tables.missing(&user.owner(), 5).await;
            assert_eq!(missing, kept * (asked as u64 + 1), "{number_of}: {code}");
        }
        assert!(upstream.requests() <= 2, "{number_of}: no second attempt");
    }
    assert_eq!(closes.calls(), 2);
}

/// `RL_FAIL_MODE=open` admitted the request without a token.
#[tokio::test]
async fn a_token_that_was_not_consumed_is_not_refunded() {
    let (stand, user) = (Stand::new().await, User::new("open"));
    let picture = Upstream::recorded(PICTURE).await;
    assert_eq!(ask(&stand.app(&picture, &[]), wanted(&user)).await.ending(), "done");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1);

    let late = Transcript { status: 429, head_after: Duration::from_millis(500), ..Transcript::events("") };
    let busy = Upstream::plays(late).await;
    let app: Arc<App> = stand.app(&busy, &[("RL_FAIL_MODE", "open")]);
    On::Limits.fail(&stand.tables, TableFault::Throttling);
    let recovers = async {
        while busy.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stand.tables.proxy.fail(None);
    };
    let (reply, ()) = tokio::join!(ask(&app, wanted(&user)), recovers);
    assert_eq!(reply.ending(), "error upstream_busy");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1);
}

#[tokio::test]
async fn a_missing_upstream_key_consumes_no_token() {
    let (stand, user) = (Stand::new().await, User::new("no-key"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    stand.vault.fail(Some(dev::secrets::SecretsFault::AccessDenied));
    for request in [wanted(&user), wanted_as_chat(&user), keyed(&user, "key", "x")] {
        assert_eq!(ask(&app, request).await.ending(), "problem service_unavailable");
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0);
        assert!(stand.tables.record(&user.owner(), "key").await.is_none());
    }
    assert_eq!(upstream.requests(), 0);
}

/// `RateLimit` counts a token that was refunded before the head.
#[tokio::test]
async fn a_failed_request_reports_its_refunded_token() {
    let full = Some("\"user\";r=5");
    let (stand, user) = (Stand::new().await, User::new("back"));
    let good = Upstream::recorded(PICTURE).await;
    let keyless: Arc<App> = stand.app(&good, &[("IMAGE_API_KEY_SECRET_ARN", "no-such-secret")]);
    let reply = ask(&keyless, wanted(&user)).await;
    assert_eq!((reply.status, reply.header("ratelimit")), (503, full));
    let poor: Arc<App> = stand.app(&good, &[("CREDITS", "on")]);
    let reply = ask(&poor, wanted(&user)).await;
    assert_eq!((reply.status, reply.header("ratelimit")), (402, full));
    let busy = Upstream::refuses(429).await;
    let app: Arc<App> = stand.app(&busy, &[]);
    let reply = ask(&app, wanted_as_chat(&user)).await;
    assert_eq!((reply.ending().as_str(), reply.header("ratelimit")), ("problem upstream_busy", full));
    let reply = ask(&app, user.post("/api/generate-image", &json!({"prompt": "x"}))).await;
    assert_eq!((reply.ending().as_str(), reply.header("ratelimit")), ("problem upstream_busy", full));
}
