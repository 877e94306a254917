//! What a panic leaves behind. In a file of its own, because the hook is the whole process's.
#![expect(clippy::panic, reason = "a test says what it expects")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dev::transcript::{self, Transcript};
use dev::user;
use generate_stream::App;
use serde_json::json;
use shared::auth::{Principal, SourceIp};
use shared::edge::{Asked, Call, KeyAs, Names, Post, Present, run};
use shared::image_url::LocalLinks;
use shared::outcome::{Outcome, Tally};
use shared::update::Nth;
use shared::upstream::{AnyDialect, Failure, Reader};

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
fn a_panic_tells_its_place_and_not_its_text() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        shared::edge::log_panics();
        let asked = "a canary of a prompt";
        assert!(std::panic::catch_unwind(|| panic!("cannot draw {asked}")).is_err());
    });
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("panics.rs") && !logged.contains("canary"), "{logged}");
}

/// What shows an answer, with a fault in it.
struct Faulty;

impl Present for Faulty {
    fn piece(&mut self, _: Nth, _: &[u8], _: &mut Reader<AnyDialect>, _: &mut Outcome) {
        panic!("on purpose");
    }

    fn end(&mut self, _: Nth, _: &mut Reader<AnyDialect>, _: &mut Outcome) {}

    fn silence(&mut self, _: Duration) {}

    fn take(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_panic_while_an_answer_is_read_is_a_failure_like_any_other() {
    let (router, _) = transcript::routes(Transcript::events("data: {}\n\n"));
    let upstream = dev::start(router).await.unwrap();
    let base = upstream.url("");
    let app = App::from_env(&|name| match name {
        "IMAGE_API_BASE_URL" => Some(base.clone()),
        "IMAGE_API_KEY" => Some("a-key-of-this-test".to_owned()),
        _ => user::variable(name),
    });
    let ready = app.ready().unwrap();
    let post = Post {
        url: ready.config.image_api.endpoint("/v1/chat/completions"),
        key: ready.keys.get().await.unwrap(),
        key_as: KeyAs::Bearer,
        keys: &ready.keys,
        body: Asked::json(&json!({})).unwrap(),
        request_id: "request",
    };
    let principal = Principal::Source(SourceIp::new(None));
    let names = Names { route: "/", principal: &principal, request_id: "request", task_id: "task" };
    let call = Call { upstream: &ready.upstream, timing: &ready.config.timing, deadline: None, times: 1, names };
    let ended = run(call, post, || AnyDialect::new(LocalLinks::Refused), &mut Faulty, None).await;
    assert_eq!((ended.verdict, ended.tally), (Err(Failure::Internal), Tally::default()));
}
