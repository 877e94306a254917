//! The real binary under a Lambda Runtime API, as AWS runs it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dev::client::endings;
use dev::function::Function;
use dev::function_url::payload;
use dev::runtime_api::{Deadline, FunctionResponse};
use dev::samples::samples;
use dev::secrets::{self, Vault};
use dev::supabase::{self, Algorithm, Project, legacy_token};
use dev::transcript::{self, Ending, ReceivedRequests, Transcript};
use dev::{RunningServer, Shape, image_api, user};
use serde_json::{Value, json};

const NAME: &str = "generate-stream";
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_generate-stream");
pub(crate) const KEY: &str = "a-key-of-this-test";
pub(crate) const LONG: Deadline = Deadline::In(Duration::from_secs(660));

/// The function with its upstream at `base`, and some more variables.
pub(crate) async fn function(base: &str, more: &[(&str, &str)]) -> Function {
    let mut environment = vec![("IMAGE_API_BASE_URL", base), ("IMAGE_API_KEY", KEY)];
    environment.extend(user::variables());
    environment.extend(more);
    Function::spawn(Path::new(BINARY), &environment).await.unwrap()
}

pub(crate) async fn simulator(speed: f64) -> RunningServer {
    let options = image_api::ImageApiOptions { key: KEY.into(), shape: Shape::Deltas, speed, log: false };
    dev::start(image_api::routes(options)).await.unwrap()
}

/// An upstream that sends a comment and then stalls.
async fn stalled() -> (RunningServer, ReceivedRequests) {
    let chunk = r#"{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"好的"}}]}"#;
    let said = format!("data: {chunk}\n\n");
    let (router, seen) = transcript::routes(Transcript { ending: Ending::Stall, ..Transcript::events(said) });
    (dev::start(router).await.unwrap(), seen)
}

fn event(format: &str) -> Value {
    let body = json!({"prompt": "x", "format": format}).to_string();
    payload(
        "POST",
        "/api/generate-stream",
        &[("content-type", "application/json"), ("authorization", &user::bearer())],
        &body,
        false,
    )
}

/// Status and endings of a whole answer; of one that is not streamed, what it holds.
pub(crate) async fn outcome(mut invocation: FunctionResponse) -> (u16, Vec<String>) {
    let body = tokio::time::timeout(Duration::from_secs(30), invocation.rest()).await.unwrap().unwrap();
    let endings = match invocation.prelude.headers["content-type"].as_str() {
        "application/json" => {
            let answer: Value = serde_json::from_slice(&body).unwrap();
            let pictures = answer["data"].as_array().unwrap();
            assert!(pictures.iter().all(|picture| picture["b64_json"].as_str().unwrap().starts_with("iVBORw0KGgo")));
            vec!["data".to_owned()]
        }
        "image/png" => {
            assert!(body.starts_with(b"\x89PNG\r\n\x1a\n") && body.ends_with(b"IEND\xaeB`\x82"));
            vec!["image/png".to_owned()]
        }
        other => endings(other, &body),
    };
    (invocation.prelude.status_code, endings)
}

pub(crate) fn ends_in(status: u16, ending: &str) -> (u16, Vec<String>) {
    (status, vec![ending.to_owned()])
}

#[tokio::test]
async fn every_sample_has_its_documented_outcome() {
    let upstream = simulator(f64::INFINITY).await;
    let function = function(&upstream.url(""), &[]).await;
    let samples = samples(NAME, &user::token()).unwrap();
    assert!(samples.len() >= 10, "{}", samples.len());
    for sample in samples {
        let invocation = function.invoke(&sample.event, LONG).await.unwrap();
        let headers = invocation.prelude.headers.clone();
        assert_eq!(headers["cache-control"], "no-store, no-transform", "{}", sample.name);
        assert_eq!(headers["x-request-id"].len(), 36, "{}: one, and ours", sample.name);
        assert!(!headers.contains_key("access-control-allow-origin"), "{}: the Function URL adds its own", sample.name);
        assert!(invocation.prelude.cookies.is_empty());
        assert_eq!(headers.get("allow").map(String::as_str), (sample.status == 405).then_some("POST"));
        match sample.status {
            200 => {
                let content_type = match sample.ending.as_str() {
                    "data" => "application/json",
                    "image/png" => "image/png",
                    _ => "text/event-stream; charset=utf-8",
                };
                assert_eq!(headers["content-type"], content_type, "{}", sample.name);
                assert_eq!(headers.contains_key("x-accel-buffering"), content_type.starts_with("text"));
                assert_eq!(headers["x-task-id"].len(), 36);
            }
            _ => {
                assert_eq!(headers["content-type"], "application/problem+json; charset=utf-8", "{}", sample.name);
                let lang = if sample.name.ends_with("-english") { "en" } else { "zh-CN" };
                assert_eq!(headers["content-language"], lang, "{}", sample.name);
            }
        }
        assert_eq!(outcome(invocation).await, ends_in(sample.status, &sample.ending), "{}", sample.name);
    }
    assert!(function.is_running());
}

/// The event alone is held three times over before the handler sees it: as bytes, as JSON and as the body in it.
#[tokio::test]
async fn a_hostile_body_of_6_mb_costs_less_than_32_mb() {
    const EVENT_BYTES: usize = 6 * 1024 * 1024;
    const MOST_GROWTH: u64 = 32 * 1024 * 1024;
    let (router, upstream) = transcript::routes(Transcript::events("data: [DONE]\n\n"));
    let running = dev::start(router).await.unwrap();
    let headers = [("content-type", "application/json"), ("authorization", &*user::bearer())];
    let event = |body: &str| payload("POST", "/api/generate-stream", &headers, body, false);
    let body = |before: &str, unit: &str, after: &str| {
        // Quotes are escaped in the event.
        let bytes = unit.len() + unit.matches(['"', '\\']).count();
        [before, &unit.repeat((EVENT_BYTES - 4096) / bytes), after].concat()
    };
    let depth = EVENT_BYTES / 2 - 2048;
    let rows = [
        ("tiny objects", body(r#"{"prompt":"","x":[{"a":0}"#, r#",{"a":0}"#, "]}"), "invalid_request"),
        ("tiny values", body(r#"{"prompt":"","x":[0"#, ",0", "]}"), "invalid_request"),
        ("members", body(r#"{"prompt":"""#, r#","a":0"#, "}"), "invalid_request"),
        ("arrays", format!(r#"{{"prompt":"","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)), "invalid_request"),
        ("without an end", body(r#"{"prompt":"","x":"#, "[", ""), "invalid_json"),
        ("items", body(r#"{"prompt":"x","image_inputs":["#, "0,", "0]}"), "invalid_request"),
        ("a prompt", body(r#"{"prompt":""#, r"\n", r#""}"#), "invalid_request"),
    ];
    for (name, body, code) in rows {
        let function = function(&running.url(""), &[]).await;
        let warm = function.invoke(&event("{}"), LONG).await.unwrap();
        assert_eq!(outcome(warm).await, ends_in(400, "problem invalid_request"));
        let before = function.peak_resident_bytes().unwrap();
        let hostile = function.invoke(&event(&body), LONG).await.unwrap();
        assert_eq!(outcome(hostile).await, ends_in(400, &format!("problem {code}")), "{name}");
        let growth = function.peak_resident_bytes().unwrap() - before;
        assert!(growth < MOST_GROWTH, "{name}: {growth} bytes");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn the_stream_begins_before_the_upstream_has_ended() {
    for (format, first) in [("events", "event: start"), ("chat", "好的")] {
        let (upstream, seen) = stalled().await;
        let function = function(&upstream.url(""), &[]).await;
        let mut invocation = function.invoke(&event(format), LONG).await.unwrap();
        let mut text = String::new();
        let reading = async {
            while !text.contains(first) || seen.requests() == 0 {
                text.push_str(std::str::from_utf8(&invocation.next().await.unwrap().unwrap().bytes).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
        assert_eq!(seen.open(), 1, "{format}: the upstream has not ended");
    }
}

#[tokio::test]
async fn four_concurrent_invocations() {
    for (variables, expected) in [(&[("AWS_LAMBDA_MAX_CONCURRENCY", "4")][..], 4), (&[], 1)] {
        let (upstream, seen) = stalled().await;
        let function = function(&upstream.url(""), variables).await;
        let event = event("events");
        let invoke = || async {
            let mut invocation = function.invoke(&event, LONG).await.unwrap();
            invocation.rest().await
        };
        let all = async { tokio::join!(invoke(), invoke(), invoke(), invoke()) };
        let open = async {
            while seen.open() < expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // One too many would show itself now.
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        tokio::select! {
            _ = all => panic!("the upstream never ends"),
            opened = tokio::time::timeout(Duration::from_secs(20), open) => opened.unwrap(),
        }
        assert_eq!(seen.open(), expected);
    }
}

#[tokio::test]
async fn a_deadline_in_1970_is_ignored() {
    let upstream = simulator(f64::INFINITY).await;
    let function = function(&upstream.url(""), &[]).await;
    let invocation = function.invoke(&event("events"), Deadline::Unknown).await.unwrap();
    assert_eq!(outcome(invocation).await, ends_in(200, "done"));
}

#[tokio::test]
async fn the_key_comes_from_secrets_manager() {
    const ID: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:image-api-AbCdEf";
    let vault = Vault::default();
    vault.put(ID, KEY);
    let upstream = simulator(f64::INFINITY).await;
    let running = dev::start(secrets::routes(vault.clone())).await.unwrap();
    let (base, manager) = (upstream.url(""), running.url(""));
    let environment = [
        ("IMAGE_API_BASE_URL", base.as_str()),
        ("IMAGE_API_KEY_SECRET_ARN", ID),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &manager),
    ];
    let environment = [&environment[..], user::variables()].concat();
    let function = Function::spawn(Path::new(BINARY), &environment).await.unwrap();
    for _ in 0..2 {
        let invocation = function.invoke(&event("events"), LONG).await.unwrap();
        assert_eq!(outcome(invocation).await, ends_in(200, "done"));
    }
    assert_eq!(vault.calls(), 1);
}

/// A library without its crypto backend refuses garbage politely and panics at the first good token.
#[tokio::test]
async fn a_valid_token_of_every_algorithm_is_accepted() {
    const SECRET: &str = "a-legacy-secret-of-this-test-and-of-nothing-else";
    let (upstream, project) = (simulator(f64::INFINITY).await, Project::new());
    let auth = dev::start(supabase::routes(project.clone())).await.unwrap();
    let claims = Project::claims(&auth.url("/auth/v1"), "demo@example.com");
    let mut tokens = vec![("HS256", legacy_token(SECRET, None, &claims)), ("ES256", project.token(&claims))];
    for (name, algorithm) in [("RS256", Algorithm::Rs256), ("EdDSA", Algorithm::EdDsa)] {
        project.rotate(algorithm);
        tokens.push((name, project.token(&claims)));
    }
    let address = auth.url("");
    let function =
        function(&upstream.url(""), &[("SUPABASE_URL", address.as_str()), ("SUPABASE_JWT_SECRET", SECRET)]).await;
    for (name, token) in tokens {
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let event = payload("POST", "/api/generate-stream", &headers, r#"{"prompt":"x"}"#, false);
        let invocation = function.invoke(&event, LONG).await.unwrap();
        assert_eq!(outcome(invocation).await, ends_in(200, "[DONE]"), "{name}");
    }
    assert_eq!(project.fetches(), 1, "at the start, and never again");
}

#[tokio::test]
async fn a_project_without_usable_keys_logs_a_remedy() {
    let (upstream, project) = (simulator(f64::INFINITY).await, Project::new());
    project.list(Some(json!({"keys": []})));
    let auth = dev::start(supabase::routes(project.clone())).await.unwrap();
    let address = auth.url("");
    let variables = [("SUPABASE_URL", address.as_str()), ("SUPABASE_JWT_SECRET", "")];
    let function = function(&upstream.url(""), &variables).await;
    let invocation = function.invoke(&event("chat"), LONG).await.unwrap();
    assert_eq!(outcome(invocation).await, ends_in(500, "problem service_misconfigured"));
    assert!(function.has_logged("SUPABASE_JWT_SECRET_ARN").await, "{}", function.log());
    assert!(function.is_running());
}

#[tokio::test]
async fn the_process_survives_an_upstream_that_breaks_off() {
    let whole = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/tests/data/fixtures/c01_newapi_one_giant_chunk.sse"
    ));
    let half = Bytes::from(whole.unwrap()).split_to(2000);
    let (router, seen) = transcript::routes(Transcript { ending: Ending::Abort, ..Transcript::events(half) });
    let upstream = dev::start(router).await.unwrap();
    let function = function(&upstream.url(""), &[]).await;
    for paid in 1..=2 {
        let invocation = function.invoke(&event("events"), LONG).await.unwrap();
        assert_eq!(outcome(invocation).await, ends_in(200, "error stream_interrupted"));
        assert_eq!(seen.requests(), paid);
    }
    assert!(function.is_running());
}

/// No check: how soon small events, 8 ms apart, reach the platform.
/// `cargo test --workspace --test it -- --ignored --nocapture delays`
#[tokio::test]
#[ignore = "a measurement"]
async fn delays() {
    const STREAMS: usize = 40;
    const EVENTS: usize = 50;
    let chunk = json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "word"}}]});
    let said = format!("data: {chunk}\n\n");
    let (router, _) = transcript::routes(Transcript {
        piece_bytes: said.len(),
        piece_after: Duration::from_millis(8),
        ..Transcript::events(said.repeat(EVENTS))
    });
    let upstream = dev::start(router).await.unwrap();
    let function = function(&upstream.url(""), &[]).await;
    let (mut firsts, mut gaps) = (Vec::new(), Vec::new());
    for _ in 0..STREAMS {
        let mut invocation = function.invoke(&event("events"), LONG).await.unwrap();
        let mut before = invocation.prelude_at;
        let mut frames = Vec::new();
        while let Some(frame) = invocation.next().await.unwrap() {
            frames.push((frame.at - before).as_secs_f64() * 1e3);
            before = frame.at;
        }
        firsts.push(frames.remove(0));
        gaps.extend(frames);
    }
    for (what, mut ms) in [("first event after the prelude", firsts), ("between events", gaps)] {
        ms.sort_by(f64::total_cmp);
        let at = |part: f64| ms[((ms.len() - 1) as f64 * part) as usize];
        let (late, burst) = (ms.iter().filter(|ms| **ms >= 35.0).count(), ms.iter().filter(|ms| **ms < 1.0).count());
        println!(
            "{what}: n {}, median {:.1} ms, p90 {:.1}, p99 {:.1}, max {:.1}; {late} of 35 ms or more, {burst} under 1 ms",
            ms.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
        );
    }
}
