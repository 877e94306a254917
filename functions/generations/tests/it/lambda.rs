//! The real binary under a Lambda Runtime API, as AWS runs it.

use std::path::Path;
use std::time::Duration;

use dev::client::endings;
use dev::function::Function;
use dev::function_url::payload;
use dev::runtime_api::{Deadline, FunctionResponse};
use dev::samples::samples;
use dev::supabase::{Project, legacy_token};
use dev::user;
use serde_json::Value;
use shared::auth::{Principal, SourceIp, UserId};
use shared::config::CommonConfig;
use shared::edge::{AdmitRequest, Ledger};
use shared::task::fingerprint;

const NAME: &str = "generations";
const BINARY: &str = env!("CARGO_BIN_EXE_generations");
const LONG: Deadline = Deadline::In(Duration::from_secs(30));

/// The function, with some more variables.
async fn function(more: &[(&str, &str)]) -> Function {
    Function::spawn(Path::new(BINARY), &[user::variables(), more].concat()).await.unwrap()
}

fn get(path: &str) -> Value {
    payload("GET", path, &[("authorization", &user::bearer())], "", false)
}

/// The ledger as a function that generates has it.
fn ledger(more: &[(&str, &str)]) -> Ledger {
    let set = [user::variables(), more].concat();
    let get = |name: &str| set.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Ledger::new(&CommonConfig::from_env(&get).unwrap().ledger, None, Duration::from_secs(600))
}

fn wanted<'a>(principal: &'a Principal, task_id: &'a str) -> AdmitRequest<'a> {
    AdmitRequest {
        principal,
        route: "/route",
        task_id,
        fingerprint: fingerprint([]),
        calls: 1,
        images: 1,
        replays: false,
        deadline: None,
    }
}

/// Status and body of an answer that is not streamed.
async fn answer(mut invocation: FunctionResponse) -> (u16, Value) {
    assert!(!invocation.is_streamed, "BUFFERED in the template");
    let body = invocation.rest().await.unwrap();
    (invocation.prelude.status_code, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn every_sample_has_its_documented_outcome() {
    let function = function(&[]).await;
    let samples = samples(NAME, &user::token()).unwrap();
    assert!(samples.len() >= 10, "{}", samples.len());
    for sample in samples {
        let mut invocation = function.invoke(&sample.event, LONG).await.unwrap();
        let headers = invocation.prelude.headers.clone();
        assert!(!invocation.is_streamed, "{}: BUFFERED in the template", sample.name);
        assert_eq!(invocation.prelude.status_code, sample.status, "{}", sample.name);
        assert_eq!(headers["cache-control"], "no-store, no-transform", "{}", sample.name);
        assert_eq!(headers["x-request-id"].len(), 36, "{}: one, and ours", sample.name);
        assert!(!headers.contains_key("access-control-allow-origin"), "{}: the Function URL adds its own", sample.name);
        assert!(invocation.prelude.cookies.is_empty());
        assert_eq!(headers.get("allow").map(String::as_str), (sample.status == 405).then_some("GET"));
        assert_eq!(headers.contains_key("ratelimit"), headers.contains_key("ratelimit-policy"));
        let body = invocation.rest().await.unwrap();
        let seen = match headers["content-type"].as_str() {
            "application/json" => {
                let log: Value = serde_json::from_slice(&body).unwrap();
                assert!(headers.contains_key("ratelimit"), "{}", sample.name);
                log["items"].as_array().map(|_| "items".to_owned()).into_iter().collect()
            }
            other => endings(other, &body),
        };
        assert_eq!(seen, [sample.ending], "{}", sample.name);
        let problem: Value = serde_json::from_slice(&body).unwrap();
        let is_english = sample.name.ends_with("-english");
        assert_eq!(problem["detail"] == "No such task", is_english, "{}", sample.name);
    }
    assert!(function.is_running());
}

#[tokio::test]
async fn the_binary_returns_records_of_the_ledger() {
    let claims = Project::claims("", "demo@example.com");
    let principal = Principal::User(UserId::parse(claims["sub"].as_str().unwrap()).unwrap());
    ledger(&[]).admit(wanted(&principal, "任务 3/4")).await.unwrap();

    let function = function(&[("CREDITS", "on"), ("CREDITS_INITIAL", "3")]).await;
    let one = get("/api/generations/%E4%BB%BB%E5%8A%A1%203%2F4");
    let (status, item) = answer(function.invoke(&one, LONG).await.unwrap()).await;
    assert_eq!((status, &item["task_id"], &item["status"]), (200, &"任务 3/4".into(), &"running".into()));
    let mut page = get("/api/generations");
    page["rawQueryString"] = "limit=100&unknown=%2B".into();
    let (status, log) = answer(function.invoke(&page, LONG).await.unwrap()).await;
    assert!(status == 200 && log["items"].as_array().unwrap().contains(&item), "{log}");
    assert_eq!((&log["credits"], &log["rate"]["limit"]), (&3.into(), &1000.into()));
}

#[tokio::test]
async fn a_guest_has_the_limit_of_the_address_that_the_platform_names() {
    const LIMIT: [(&str, &str); 2] = [("RL_ANON_LIMIT", "5"), ("ALLOW_ANONYMOUS", "true")];
    let mut claims =
        Project::claims(&format!("{}/auth/v1", user::variable("SUPABASE_URL").unwrap()), "guest-of-an-url");
    claims["is_anonymous"] = true.into();
    let token = legacy_token(&user::variable("SUPABASE_JWT_SECRET").unwrap(), None, &claims);
    let id = UserId::parse(claims["sub"].as_str().unwrap()).unwrap();
    let here = "198.51.100.78";
    let guest = Principal::Guest { id, source: SourceIp::new(here.parse().ok()) };
    ledger(&LIMIT).admit(wanted(&guest, "a")).await.unwrap();

    let function = function(&LIMIT).await;
    for (address, remaining) in [(here, 4), ("198.51.100.79", 5)] {
        let headers = [("authorization", &*format!("Bearer {token}")), ("x-forwarded-for", here)];
        let mut event = payload("GET", "/api/generations", &headers, "", false);
        event["requestContext"]["http"]["sourceIp"] = address.into();
        let (status, log) = answer(function.invoke(&event, LONG).await.unwrap()).await;
        assert_eq!((status, &log["rate"]["remaining"]), (200, &remaining.into()), "{address}");
        assert_eq!(log["items"][0]["task_id"], "a", "the log is the guest's own, wherever they are");
    }
}

#[tokio::test]
async fn a_missing_variable_is_logged_and_the_process_stays_up() {
    let nowhere = ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9");
    for (set, status, code, remedy) in [
        (nowhere, 503, "limiter_unavailable", "a request to DynamoDB failed"),
        (
            ("LEDGER_TABLE", "no-such-table"),
            503,
            "service_unavailable",
            "check that RATE_LIMITS_TABLE and LEDGER_TABLE exist",
        ),
        (("RATE_LIMITS_TABLE", ""), 500, "service_misconfigured", "RATE_LIMITS_TABLE is not set"),
        (("SUPABASE_URL", ""), 500, "service_misconfigured", "SUPABASE_URL is not set"),
    ] {
        let function = function(&[set]).await;
        for _ in 0..2 {
            let (is, problem) = answer(function.invoke(&get("/api/generations"), LONG).await.unwrap()).await;
            assert_eq!((is, problem["code"].as_str().unwrap()), (status, code), "{set:?}");
        }
        assert!(function.is_running());
        assert!(function.has_logged(remedy).await, "{}", function.log());
    }
}

/// Four at once in one process, as managed instances run it.
#[tokio::test]
async fn concurrent_invocations() {
    let function = function(&[("AWS_LAMBDA_MAX_CONCURRENCY", "4")]).await;
    let event = get("/api/generations");
    let all = (0..20).map(|_| async { answer(function.invoke(&event, LONG).await.unwrap()).await.0 });
    assert_eq!(futures_util::future::join_all(all).await, [200; 20]);
}
