//! What every paid call keeps to: its time limits, its headers, and that it goes to the upstream and nowhere else.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dev::fault_server::{FaultServer, Script, Step};
use dev::function::Function;
use dev::function_url::payload;
use dev::runtime_api::Deadline;
use dev::transcript::Transcript;
use dev::upstream_fault::{FaultWire, UpstreamFault};
use futures_util::future::join_all;
use generate_stream::{App, handle};
use serde_json::json;
use shared::edge::Invocation;

use crate::support::{EVER, Reply, Stand, Upstream, User, fixture, in_time};

const BINARY: &str = env!("CARGO_BIN_EXE_generate-stream");
const PATH: &str = "/api/generate-stream";
/// The platform's deadline, for limits that are longer by default.
const LEFT: Duration = Duration::from_secs(11);

fn script(row: &str) -> Script {
    UpstreamFault::find(row).unwrap().cases(FaultWire::Chat).remove(0).1
}

#[tokio::test]
async fn every_time_limit_ends_before_the_deadline_of_the_function() {
    let stand = Stand::new().await;
    let stalls = vec![Step::Stall];
    let cases = [
        ("connect", "https", stalls),
        ("head", "http", script("u6")),
        ("idle", "http", script("u24")),
        ("progress", "http", script("u25")),
    ];
    join_all(cases.map(async |(name, scheme, script)| {
        let server = FaultServer::start(vec![script]).await.unwrap();
        let upstream = Upstream::at(format!("{scheme}://{}", server.address()));
        in_time(async || {
            let app: Arc<App> = stand.app(&upstream, &[("UPSTREAM_CONNECT_MS", "60000")]);
            let mut request = User::new(name).post(PATH, &json!({"prompt": "x", "format": "events"}));
            #[expect(clippy::disallowed_methods, reason = "the platform's deadline is a time of the wall clock")]
            let (deadline, begun) = (SystemTime::now() + LEFT, Instant::now());
            request.extensions_mut().insert(Invocation::new(Some(deadline), None));
            let reply = Reply::read(handle(app, request).await).await;
            // The tables did not answer in time.
            if reply.ending() == "problem limiter_unavailable" {
                return false;
            }
            assert_eq!(reply.ending(), "error deadline_exceeded", "{name}");
            assert!(begun.elapsed() < LEFT - Duration::from_secs(2), "{name}: {:?}", begun.elapsed());
            true
        })
        .await;
    }))
    .await;
}

#[tokio::test]
async fn pings_fill_the_silence_from_the_head_on() {
    let (stand, server) = (Stand::new().await, FaultServer::start(vec![script("u6")]).await.unwrap());
    let limits = [("UPSTREAM_HEAD_MS", "1500"), ("PING_MS", "100"), ("HEAD_HOLD_MS", "200")];
    for (format, ping) in [("chat", ": ping\n\n"), ("events", "event: process\n")] {
        let app: Arc<App> = stand.app(&Upstream::at(server.url()), &limits);
        let request = User::new(format).post(PATH, &json!({"prompt": "x", "format": format}));
        let reply = Reply::read(handle(app, request).await).await;
        let pings = String::from_utf8_lossy(&reply.bytes).matches(ping).count();
        assert_eq!((reply.status, reply.ending().as_str()), (200, "error upstream_timeout"));
        assert!(pings >= 5, "{format}: {pings}");
    }
}

/// The binary, because a proxy is chosen by the environment of a process.
#[tokio::test]
async fn a_call_uses_no_proxy_and_asks_for_no_encoding() {
    let (stand, user) = (Stand::new().await, User::new("proxy"));
    let upstream = Upstream::plays(Transcript::events(fixture("c02_doc_split.sse"))).await;
    let proxy = FaultServer::start(vec![vec![Step::Stall]]).await.unwrap();
    // The AWS SDK uses a proxy, but not for this name.
    let of_aws = |(name, value): (&'static str, String)| match name.starts_with("AWS_") {
        true => (name, value.replace("127.0.0.1", "localhost")),
        false => (name, value),
    };
    let mut environment: Vec<_> = stand.environment(&upstream).into_iter().map(of_aws).collect();
    environment.push(("NO_PROXY", "localhost".to_owned()));
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    environment.extend(names.map(|name| (name, proxy.url())));
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let function = Function::spawn(Path::new(BINARY), &environment).await.unwrap();
    let bearer = user.bearer();
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let event = payload("POST", PATH, &headers, r#"{"prompt":"x"}"#, false);
    let mut invocation = function.invoke(&event, Deadline::In(Duration::from_secs(60))).await.unwrap();
    let sent = tokio::time::timeout(EVER, invocation.rest()).await.unwrap().unwrap();
    assert!(sent.ends_with(b"data: [DONE]\n\n"), "{}", String::from_utf8_lossy(&sent));
    assert_eq!((upstream.requests(), proxy.connections()), (1, 0));
    let received = upstream.seen.received().remove(0);
    assert_eq!(received.headers["accept-encoding"], "identity");
    assert_eq!(received.headers.get_all("authorization").iter().count(), 1);
}
