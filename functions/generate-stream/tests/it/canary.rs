//! Keys, tokens and prompts as canaries in every place of a request and an answer: none appears in a response or a log.

use std::path::Path;
use std::time::Duration;

use dev::canary::{self, Canaries, HEADER, LINK, PROMPT, key};
use dev::function::Function;
use dev::function_url::payload;
use dev::runtime_api::Deadline;
use dev::secrets::{self, Vault};
use dev::supabase::{self, Fault, Project};
use dev::transcript::{self, Transcript};
use dev::{RunningServer, user};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_generate-stream");
const STREAM: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
const LONG: Deadline = Deadline::In(Duration::from_secs(660));

#[track_caller]
fn none_in(place: &str, canaries: &Canaries, text: &str) {
    assert_eq!(canaries.find(text), None, "{place}: {text}");
}

async fn say(function: &Function, event: &Value) -> String {
    let mut invocation = function.invoke(event, LONG).await.unwrap();
    let body = tokio::time::timeout(Duration::from_secs(30), invocation.rest()).await.unwrap().unwrap();
    format!("{:?} {}", invocation.prelude, String::from_utf8_lossy(&body))
}

/// A request with a canary in every place.
fn event(method: &str, path: &str, token: &str, body: &str) -> Value {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept-language", HEADER),
        ("apikey", HEADER),
        ("cookie", HEADER),
        ("user-agent", HEADER),
        ("x-client-info", HEADER),
        // Not a valid request id, so a new one is made.
        ("x-request-id", &format!("{HEADER} {HEADER}")),
    ];
    let mut event = payload(method, path, &headers, body, false);
    event["rawQueryString"] = json!(format!("prompt={HEADER}"));
    event
}

fn asked(format: &str) -> String {
    json!({"prompt": PROMPT, "image_inputs": [LINK], "format": format}).to_string()
}

struct Stage {
    project: Project,
    auth: RunningServer,
    vault: Vault,
    manager: RunningServer,
}

impl Stage {
    async fn new() -> Self {
        let (project, vault) = (Project::new(), Vault::default());
        vault.put("image-api-key", &key());
        let auth = dev::start(supabase::routes(project.clone())).await.unwrap();
        let manager = dev::start(secrets::routes(vault.clone())).await.unwrap();
        Self { project, auth, vault, manager }
    }

    /// The function with the most verbose log.
    async fn function(&self, upstream: &RunningServer) -> Function {
        self.function_in("chat", upstream).await
    }

    async fn function_in(&self, mode: &str, upstream: &RunningServer) -> Function {
        let (image_api, auth, manager) = (upstream.url(""), self.auth.url(""), self.manager.url(""));
        let environment = [
            ("IMAGE_API_MODE", mode),
            ("IMAGE_API_BASE_URL", image_api.as_str()),
            ("IMAGE_API_KEY_SECRET_ARN", "image-api-key"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &manager),
            ("SUPABASE_URL", &auth),
            ("UPSTREAM_IDLE_MS", "1000"),
            ("AWS_LAMBDA_LOG_LEVEL", "DEBUG"),
        ];
        // The project of this stage takes the place of the usual user's.
        let environment = [user::variables(), &[("SUPABASE_JWT_SECRET", "")], &environment[..]].concat();
        Function::spawn(Path::new(BINARY), &environment).await.unwrap()
    }

    fn token(&self) -> String {
        self.project.token(&Project::claims(&self.auth.url("/auth/v1"), "canary@example.com"))
    }
}

#[tokio::test]
async fn u44_no_upstream_answer_reveals_a_canary() {
    let stage = Stage::new().await;
    let token = stage.token();
    let canaries = Canaries::new(&token);
    for transcript in canary::transcripts() {
        let (router, seen) = transcript::routes(transcript);
        let upstream = dev::start(router).await.unwrap();
        let function = stage.function(&upstream).await;
        for (path, format) in [(STREAM, "chat"), (STREAM, "events"), (IMAGE, "chat")] {
            let said = say(&function, &event("POST", path, &token, &asked(format))).await;
            none_in("the answer", &canaries, &said);
        }
        assert!(seen.requests() >= 2, "it was asked");
        assert!(function.has_logged("DEBUG").await && function.has_logged("failed").await, "{}", function.log());
        none_in("the log", &canaries, &function.log());
    }
}

#[tokio::test]
async fn u44_no_upstream_answer_of_another_mode_reveals_a_canary() {
    let stage = Stage::new().await;
    let token = stage.token();
    let canaries = Canaries::new(&token);
    // They take no links, so a picture is sent along.
    let pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
    let asked = json!({"prompt": PROMPT, "image_inputs": [pixel], "format": "events", "n": 2}).to_string();
    for mode in ["images", "gemini"] {
        // One of each kind is enough: the answer does not depend on the request.
        for transcript in canary::transcripts().into_iter().step_by(5) {
            let (router, seen) = transcript::routes(transcript);
            let upstream = dev::start(router).await.unwrap();
            let function = stage.function_in(mode, &upstream).await;
            none_in("the answer", &canaries, &say(&function, &event("POST", STREAM, &token, &asked)).await);
            assert!(seen.requests() >= 2, "it was asked");
            assert!(function.has_logged("failed").await, "{}", function.log());
            none_in("the log", &canaries, &function.log());
        }
    }
}

#[tokio::test]
async fn no_request_reveals_a_canary() {
    let stage = Stage::new().await;
    let token = stage.token();
    let canaries = Canaries::new(&token);
    let (router, seen) = transcript::routes(Transcript::events("data: [DONE]\n\n"));
    let upstream = dev::start(router).await.unwrap();
    let function = stage.function(&upstream).await;
    let path = STREAM;
    let forged = format!("{}.{}", token.rsplit_once('.').unwrap().0, "A".repeat(86));
    let wrong = |body: Value| body.to_string();
    let events = [
        event("POST", &format!("/{HEADER}"), &token, &asked("chat")),
        event("PUT", path, &token, &asked("chat")),
        event("POST", path, "sb_publishable_canaryheader", &asked("chat")),
        event("POST", path, &forged, &asked("chat")),
        event("POST", path, HEADER, &asked("chat")),
        event("POST", path, &token, &format!("{{\"{HEADER}\": {PROMPT}")),
        event("POST", path, &token, &wrong(json!([PROMPT]))),
        event("POST", path, &token, &wrong(json!({HEADER: 1, "prompt": {HEADER: PROMPT}}))),
        event("POST", path, &token, &wrong(json!({"prompt": PROMPT, "model": HEADER}))),
        event("POST", path, &token, &wrong(json!({"prompt": PROMPT, "format": HEADER}))),
        event("POST", path, &token, &wrong(json!({"prompt": PROMPT, "image_inputs": [HEADER, LINK]}))),
        event("POST", path, &token, &wrong(json!({"prompt": PROMPT, "image_inputs": [LINK.replace("https", "http")]}))),
        event("POST", path, &token, &wrong(json!({"prompt": PROMPT.repeat(4000)}))),
    ];
    for event in events {
        none_in("the answer", &canaries, &say(&function, &event).await);
    }
    assert_eq!(seen.requests(), 0);
    assert!(function.has_logged("token refused").await, "{}", function.log());
    none_in("the log", &canaries, &function.log());
}

#[tokio::test]
async fn no_failure_reveals_a_canary() {
    let stage = Stage::new().await;
    let token = stage.token();
    let canaries = Canaries::new(&token);
    let (router, _) = transcript::routes(Transcript::events("data: [DONE]\n\n"));
    let upstream = dev::start(router).await.unwrap();
    let event = event("POST", STREAM, &token, &asked("chat"));
    for fault in [Fault::Status(500), Fault::Html, Fault::Redirect, Fault::Huge, Fault::Drop] {
        stage.project.fail(Some(fault));
        let function = stage.function(&upstream).await;
        none_in("the answer", &canaries, &say(&function, &event).await);
        none_in("the log", &canaries, &function.log());
    }
    stage.project.fail(None);
    // None of these is a key.
    for secret in [format!("{}\n{}", key(), key()), json!({"other": key()}).to_string(), key().repeat(20)] {
        stage.vault.put("image-api-key", &secret);
        let function = stage.function(&upstream).await;
        none_in("the answer", &canaries, &say(&function, &event).await);
        none_in("the log", &canaries, &function.log());
    }
}
