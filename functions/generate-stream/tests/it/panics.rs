//! What a panic leaves behind.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dev::transcript::{self, Transcript};
use dev::user;
use generate_stream::App;
use serde_json::json;
use shared::auth::{Principal, SourceIp};
use shared::edge::{
    AdmitRequest, Admitted, CallLabels, CallTarget, Output, Post, RequestBody, Sender, UpstreamCalls, detached, new_id,
    run,
};
use shared::image_url::LocalLinks;
use shared::outcome::Success;
use shared::problem::Code;
use shared::task::TaskState;
use shared::update::Update;
use shared::upstream::{AnyDialect, Failure};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_is_logged_by_its_location_only() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        // The hook belongs to the process. The other tests need the usual one, which prints why they fail.
        let usual = std::panic::take_hook();
        shared::edge::lambda::log_panics();
        let asked = "a canary of a prompt";
        let panicked = std::panic::catch_unwind(|| panic!("cannot draw {asked}"));
        std::panic::set_hook(usual);
        assert!(panicked.is_err());
    });
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("panics.rs") && !logged.contains("canary"), "{logged}");
}

/// Panics at this update, counted from 0.
struct Faulty(u32);

impl Output for Faulty {
    fn update(&mut self, _: &Update<'_>) -> bool {
        assert!(self.0 > 0, "on purpose");
        self.0 -= 1;
        false
    }

    fn take(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// How a request ends whose output panics at an update, and the state of its record.
async fn panics_at(update: u32, answer: impl Into<Bytes>) -> (Result<Success, Failure>, TaskState) {
    let (router, _) = transcript::routes(Transcript::events(answer));
    let upstream = dev::start(router).await.unwrap();
    let base = upstream.url("");
    let app = App::from_env(&|name| match name {
        "IMAGE_API_BASE_URL" => Some(base.clone()),
        "IMAGE_API_KEY" => Some("a-key-of-this-test".to_owned()),
        _ => user::variable(name),
    });
    let work = async move |mut sender: Sender| {
        let ready = app.ready().unwrap();
        let principal = Principal::Source(SourceIp::new(None));
        let task_id = new_id();
        let request = AdmitRequest {
            principal: &principal,
            route: "/",
            task_id: &task_id,
            fingerprint: String::new(),
            calls: 1,
            images: 1,
            replays: false,
            deadline: None,
        };
        let Admitted::Run(admission) = ready.ledger.admit(request).await.unwrap() else { unreachable!("a new task") };
        let api = &ready.config.image_api.upstreams[0];
        let post = |_| {
            Ok(Post {
                url: api.endpoint("/v1/chat/completions"),
                upstream: &api.name,
                keys: ready.key(0)?,
                key_as: api.key_as,
                body: RequestBody::json(&json!({}))?,
                request_id: "request",
            })
        };
        let target = CallTarget {
            id: 0,
            name: &api.name,
            dialect: AnyDialect::new,
            links: LocalLinks::Refused,
            copies_links: false,
            may_send_drafts: true,
            price: None,
        };
        let calls = UpstreamCalls {
            upstream: &ready.upstream,
            timing: &ready.config.timing,
            ledger: &ready.ledger,
            admission: &admission,
            times: 1,
            targets: &[target],
            cooldowns: &ready.cooldowns,
            references: Vec::new(),
            label_rules: None,
            labels: CallLabels { route: "/", principal: &principal, request_id: "request", task_id: &task_id },
        };
        let ended = run(calls, &post, &mut Faulty(update), &mut sender).await;
        let record = ready.ledger.task(&principal, &task_id).await.unwrap().unwrap();
        (ended.map(|delivered| delivered.success).map_err(|failed| failed.failure), record.state)
    };
    let ended = detached(work).await.unwrap();
    drop(upstream);
    ended
}

#[tokio::test]
async fn a_panic_while_an_answer_is_read_is_a_failure() {
    let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n";
    let failed = TaskState::Failed { code: Some(Code::InternalError) };
    assert_eq!(panics_at(0, text).await, (Err(Failure::Internal), failed));
}

#[tokio::test]
async fn a_panic_after_a_whole_picture_leaves_a_success() {
    let link = "![image](https://example.com/a.png)";
    let says =
        |content: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n");
    let (verdict, state) = panics_at(1, says(link) + &says("hello")).await;
    let success = verdict.unwrap();
    assert_eq!((success.images.len(), success.cut_short), (1, Some(Failure::Internal)));
    assert_eq!(state, TaskState::Succeeded);
}
