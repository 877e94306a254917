//! The real binary under a Lambda Runtime API, as AWS runs it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dev::client::{endings, events};
use dev::function::Function;
use dev::function_url::payload;
use dev::runtime_api::{Deadline, FunctionResponse};
use dev::samples::samples;
use dev::supabase::{self, Algorithm, Project, legacy_token};
use dev::transcript::{self, Ending, ReceivedRequests, Transcript};
use dev::{RunningServer, ark, user};
use serde_json::{Value, json};

const NAME: &str = "faceflip-stream";
const BINARY: &str = env!("CARGO_BIN_EXE_faceflip-stream");
const KEY: &str = "a-key-of-this-test";
const LONG: Deadline = Deadline::In(Duration::from_secs(660));

/// The function with ARK at `base`, and some more variables.
async fn function(base: &str, more: &[(&str, &str)]) -> Function {
    let mut environment = vec![("ARK_BASE_URL", base), ("ARK_API_KEY", KEY)];
    environment.extend(user::variables());
    environment.extend(more);
    Function::spawn(Path::new(BINARY), &environment).await.unwrap()
}

async fn simulator() -> RunningServer {
    let options = ark::ArkOptions { key: KEY.into(), speed: f64::INFINITY, log: false };
    dev::start(ark::routes(options)).await.unwrap()
}

/// An ARK that makes one picture, and then nothing more for as long as one waits; or none at all.
async fn stalled(pictures: usize) -> (RunningServer, ReceivedRequests) {
    let picture = r#"{"type":"image_generation.partial_succeeded","model":"m","created":1,"image_index":0,"url":"https://links.example.com/0.jpeg","size":"2496x1664"}"#;
    let said = format!("event: image_generation.partial_succeeded\ndata: {picture}\n\n").repeat(pictures);
    let (router, seen) = transcript::routes(Transcript { ending: Ending::Stall, ..Transcript::events(said) });
    (dev::start(router).await.unwrap(), seen)
}

fn event() -> Value {
    sent_with(&[("authorization", &user::bearer())])
}

fn sent_with(headers: &[(&str, &str)]) -> Value {
    // Every event is a task of its own: a repeated task is not run again.
    static TASKS: AtomicU32 = AtomicU32::new(0);
    let task_id = format!("task-of-this-test-{}", TASKS.fetch_add(1, Ordering::Relaxed));
    let body = json!({"urls": ["https://example.com/image1.jpg"], "task_id": task_id}).to_string();
    let headers = [headers, &[("content-type", "application/json")]].concat();
    payload("POST", "/api/v1/faceflip/generate/stream", &headers, &body, false)
}

/// Status and endings of a whole answer.
async fn outcome(mut invocation: FunctionResponse) -> (u16, Vec<String>) {
    let body = tokio::time::timeout(Duration::from_secs(30), invocation.rest()).await.unwrap().unwrap();
    (invocation.prelude.status_code, endings(&invocation.prelude.headers["content-type"], &body))
}

fn ends_in(status: u16, ending: &str) -> (u16, Vec<String>) {
    (status, vec![ending.to_owned()])
}

#[tokio::test]
async fn every_sample_has_its_documented_outcome() {
    let upstream = simulator().await;
    let function = function(&upstream.url("/api/v3"), &[]).await;
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
        let is_document = sample.ending.starts_with("problem");
        let content_type = if is_document { "application/problem+json" } else { "text/event-stream" };
        assert_eq!(headers["content-type"], format!("{content_type}; charset=utf-8"), "{}", sample.name);
        assert_eq!(headers.contains_key("x-accel-buffering"), !is_document, "{}", sample.name);
        assert_eq!(outcome(invocation).await, ends_in(sample.status, &sample.ending), "{}", sample.name);
    }
    assert!(function.is_running());
}

#[tokio::test]
async fn each_picture_is_sent_before_ark_has_ended() {
    let (upstream, seen) = stalled(1).await;
    let function = function(&upstream.url(""), &[]).await;
    let mut invocation = function.invoke(&event(), LONG).await.unwrap();
    let mut body = Vec::new();
    let reading = async {
        while events(&body).len() < 3 {
            body.extend_from_slice(&invocation.next().await.unwrap().unwrap().bytes);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    let names: Vec<_> = events(&body).into_iter().map(|event| event.name).collect();
    assert_eq!(names, ["start", "process", "image.done"]);
    assert_eq!(seen.open(), 1, "ARK has not ended");
}

#[tokio::test]
async fn four_concurrent_invocations() {
    for (variables, expected) in [(&[("AWS_LAMBDA_MAX_CONCURRENCY", "4")][..], 4), (&[], 1)] {
        let (upstream, seen) = stalled(0).await;
        let function = function(&upstream.url(""), variables).await;
        let invoke = || async {
            let mut invocation = function.invoke(&event(), LONG).await.unwrap();
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
async fn a_near_deadline_ends_the_stream_in_time() {
    for (pictures, ending) in [(0, "error deadline_exceeded"), (1, "done")] {
        let (upstream, _) = stalled(pictures).await;
        let function = function(&upstream.url(""), &[]).await;
        let mut invocation = function.invoke(&event(), Deadline::In(Duration::from_secs(11))).await.unwrap();
        let (mut body, mut last) = (Vec::new(), invocation.prelude_at);
        while let Some(frame) = invocation.next().await.unwrap() {
            body.extend_from_slice(&frame.bytes);
            last = frame.at;
        }
        assert_eq!(endings("text/event-stream", &body), [ending], "{pictures} pictures");
        assert!(last - invocation.handed_out < Duration::from_secs(9), "two seconds are left");
    }
}

#[tokio::test]
async fn a_deadline_in_1970_is_ignored() {
    let upstream = simulator().await;
    let function = function(&upstream.url("/api/v3"), &[]).await;
    for _ in 0..2 {
        let invocation = function.invoke(&event(), Deadline::Unknown).await.unwrap();
        assert_eq!(outcome(invocation).await, ends_in(200, "done"));
    }
}

#[tokio::test]
async fn a_missing_variable_is_logged_and_the_process_stays_up() {
    let rows = [
        ([("ARK_API_KEY", ""), ("ARK_SIZE", "2K")], 503, "service_unavailable", "ARK_API_KEY"),
        ([("ARK_API_KEY", KEY), ("ARK_SIZE", "9K")], 500, "service_misconfigured", "ARK_SIZE"),
    ];
    for (environment, status, code, remedy) in rows {
        let environment = [&environment[..], user::variables()].concat();
        let function = Function::spawn(Path::new(BINARY), &environment).await.unwrap();
        for _ in 0..2 {
            let invocation = function.invoke(&event(), LONG).await.unwrap();
            assert_eq!(outcome(invocation).await, ends_in(status, &format!("error {code}")));
        }
        assert!(function.is_running());
        assert!(function.has_logged(remedy).await, "{}", function.log());
        assert!(!function.log().contains(KEY), "{}", function.log());
    }
}

/// The model of the simulator's endpoint has no `output_format`.
#[tokio::test]
async fn a_refused_parameter_is_logged_with_the_remedy() {
    let upstream = simulator().await;
    let rows = [
        (("ARK_FAMILY", "seedream-5.0-pro"), "output_format", "set ARK_FAMILY"),
        (("ARK_SIZE", "3K"), "size", "set ARK_SIZE"),
        (("ARK_SIZE", "2048x2048"), "size", "set ARK_SIZE"),
    ];
    for (setting, parameter, remedy) in rows {
        let function = function(&upstream.url("/api/v3"), &[("ARK_MODEL", "ep-1"), setting]).await;
        let invocation = function.invoke(&event(), LONG).await.unwrap();
        assert_eq!(outcome(invocation).await, ends_in(200, "error upstream_rejected_input"));
        assert!(function.has_logged("the upstream refused").await, "{}", function.log());
        let log = function.log();
        let line = log.lines().find(|line| line.contains("the upstream refused")).unwrap();
        for part in [&format!("parameter=\"{parameter}\""), remedy, "alarm=true"] {
            assert!(line.contains(part), "{part} is missing: {line}");
        }
        assert!(!log.contains("specified in the request"), "a text of the upstream: {log}");
    }
}

/// A library without its crypto backend refuses garbage politely and panics at the first good token.
#[tokio::test]
async fn a_valid_token_of_every_algorithm_is_accepted() {
    const SECRET: &str = "a-legacy-secret-of-this-test-and-of-nothing-else";
    let (upstream, project) = (simulator().await, Project::new());
    let auth = dev::start(supabase::routes(project.clone())).await.unwrap();
    let claims = Project::claims(&auth.url("/auth/v1"), "demo@example.com");
    let mut tokens = vec![("HS256", legacy_token(SECRET, None, &claims)), ("ES256", project.token(&claims))];
    for (name, algorithm) in [("RS256", Algorithm::Rs256), ("EdDSA", Algorithm::EdDsa)] {
        project.rotate(algorithm);
        tokens.push((name, project.token(&claims)));
    }
    let address = auth.url("");
    let variables = [("SUPABASE_URL", address.as_str()), ("SUPABASE_JWT_SECRET", SECRET)];
    let function = function(&upstream.url("/api/v3"), &variables).await;
    for (name, token) in tokens {
        let invocation = function.invoke(&sent_with(&[("authorization", &format!("Bearer {token}"))]), LONG).await;
        assert_eq!(outcome(invocation.unwrap()).await, ends_in(200, "done"), "{name}");
    }
    assert_eq!(project.fetches(), 1, "at the start, and never again");
}

#[tokio::test]
async fn an_anonymous_caller_is_logged_as_the_network_of_its_address() {
    let upstream = simulator().await;
    let function = function(&upstream.url("/api/v3"), &[("FACEFLIP_AUTH", "anonymous"), ("SUPABASE_URL", "")]).await;
    let one = ("203.0.113.7", &[][..]);
    let pretends = ("203.0.113.7", &[("x-forwarded-for", "198.51.100.9"), ("forwarded", "for=198.51.100.9")][..]);
    let signed = ("203.0.113.7", &[("authorization", "Bearer of nothing")][..]);
    let other = ("203.0.114.7", &[][..]);
    let six = ("2001:db8:1:2::3", &[][..]);
    for (address, headers) in [one, pretends, signed, other, six] {
        let mut event = sent_with(headers);
        event["requestContext"]["http"]["sourceIp"] = json!(address);
        let invocation = function.invoke(&event, LONG).await.unwrap();
        assert_eq!(outcome(invocation).await, ends_in(200, "done"));
    }
    let callers = async {
        loop {
            let log = function.log();
            let callers: Vec<_> =
                log.split("caller=").skip(1).map(|rest| rest.split('"').nth(1).unwrap().to_owned()).collect();
            if callers.len() == 5 {
                return callers;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let callers = tokio::time::timeout(Duration::from_secs(10), callers).await.unwrap();
    // No header changes the address.
    let expected = ["203.0.113.0/24", "203.0.113.0/24", "203.0.113.0/24", "203.0.114.0/24", "2001:db8:1::/48"];
    assert_eq!(callers, expected);
}

#[tokio::test]
async fn an_optional_token_must_be_valid() {
    let upstream = simulator().await;
    let function = function(&upstream.url("/api/v3"), &[("FACEFLIP_AUTH", "anonymous")]).await;
    let bearer = user::bearer();
    let rows: [(&[(&str, &str)], _); 3] = [
        (&[], ends_in(200, "done")),
        (&[("authorization", &bearer)], ends_in(200, "done")),
        (&[("authorization", "Bearer not.a.token")], ends_in(401, "error token_invalid")),
    ];
    for (headers, expected) in rows {
        let invocation = function.invoke(&sent_with(headers), LONG).await.unwrap();
        assert_eq!(outcome(invocation).await, expected);
    }
}
