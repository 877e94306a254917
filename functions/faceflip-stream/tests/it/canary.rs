//! Keys, tokens and prompts as canaries in every place of a request and an answer: none appears in a response or a log.

use std::path::Path;
use std::time::Duration;

use dev::canary::{self, Canaries, HEADER, LINK, PROMPT, key};
use dev::function::Function;
use dev::function_url::payload;
use dev::runtime_api::Deadline;
use dev::transcript::{self, Transcript};
use dev::{RunningServer, user};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_faceflip-stream");
const LONG: Deadline = Deadline::In(Duration::from_secs(660));
const PATH: &str = "/api/v1/faceflip/generate/stream";

/// The function with the most verbose log.
async fn function(upstream: &RunningServer) -> Function {
    let (base, key) = (upstream.url("/api/v3"), key());
    let environment = [
        ("ARK_BASE_URL", base.as_str()),
        ("ARK_API_KEY", &key),
        ("FACEFLIP_PROMPT", PROMPT),
        ("UPSTREAM_IDLE_MS", "1000"),
        ("AWS_LAMBDA_LOG_LEVEL", "DEBUG"),
    ];
    Function::spawn(Path::new(BINARY), &[&environment[..], user::variables()].concat()).await.unwrap()
}

fn event(token: &str, accept: &str, body: &Value) -> Value {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", accept),
        ("cookie", HEADER),
        ("user-agent", HEADER),
    ];
    payload("POST", PATH, &headers, &body.to_string(), false)
}

async fn say(function: &Function, event: &Value) -> String {
    let mut invocation = function.invoke(event, LONG).await.unwrap();
    let body = tokio::time::timeout(Duration::from_secs(30), invocation.rest()).await.unwrap().unwrap();
    format!("{:?} {}", invocation.prelude, String::from_utf8_lossy(&body))
}

#[tokio::test]
async fn u44_no_answer_of_ark_reveals_a_canary() {
    let token = user::token();
    let canaries = Canaries::new(&token);
    for transcript in canary::transcripts() {
        let (router, seen) = transcript::routes(transcript);
        let upstream = dev::start(router).await.unwrap();
        let function = function(&upstream).await;
        let said = say(&function, &event(&token, "*/*", &json!({"urls": [LINK], "task_id": "task-of-a-canary"}))).await;
        assert_eq!(canaries.find(&said), None, "{said}");
        assert!(seen.requests() >= 1, "it was asked");
        assert!(function.has_logged("DEBUG").await && function.has_logged("failed").await, "{}", function.log());
        assert_eq!(canaries.find(&function.log()), None, "{}", function.log());
    }
}

#[tokio::test]
async fn no_request_reveals_a_canary() {
    let token = user::token();
    let canaries = Canaries::new(&token);
    let (router, seen) = transcript::routes(Transcript::events("data: [DONE]\n\n"));
    let upstream = dev::start(router).await.unwrap();
    let function = function(&upstream).await;
    let wrong = [
        json!([PROMPT]),
        json!({"urls": [LINK.replace("https", "http")], "task_id": "task-of-a-canary"}),
        json!({"urls": [LINK.replace("https://", "data:image/png;base64,")], "task_id": "task-of-a-canary"}),
        json!({"urls": [LINK], "task_id": "task-of-a-canary", "prompt": PROMPT.repeat(4000)}),
        json!({"urls": [LINK], "task_id": HEADER.repeat(100)}),
        json!({"urls": HEADER, "task_id": {HEADER: 1}}),
    ];
    for body in &wrong {
        for accept in ["*/*", "application/json"] {
            for token in [&token, "sb_publishable_canaryheader", HEADER] {
                let said = say(&function, &event(token, accept, body)).await;
                assert_eq!(canaries.find(&said), None, "{said}");
            }
        }
    }
    assert_eq!(seen.requests(), 0);
    assert!(function.has_logged("token refused").await, "{}", function.log());
    assert_eq!(canaries.find(&function.log()), None, "{}", function.log());
}
