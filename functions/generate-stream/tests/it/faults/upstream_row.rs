//! What all rows of upstream faults have in common: the answer, the tokens, the credits, the record and the log.

use std::time::{Duration, Instant};

use dev::canary::PROMPT;
use dev::client::{content, pictures};
use dev::fault_server::FaultServer;
use dev::upstream_fault::{FaultWire, UPSTREAM_TEXT, UpstreamFault};
use serde_json::Value;

use crate::support::{KEY, Log, Reply, Stand, User, text};

/// The task of every request here: each has a user of its own.
pub(crate) const TASK: &str = "the-task";
/// The credits of a user.
const CREDITS: u64 = 10;
/// The tokens of a user.
const TOKENS: u64 = 5;
/// The default limits are minutes: whatever ends within this time has ended by one of [`VARIABLES`].
const SOON: Duration = Duration::from_secs(20);
/// A field of the summary line only.
const SUMMARY: &str = " took_ms=";
/// Upstream limits that a test can wait for.
pub(crate) const VARIABLES: [(&str, &str); 6] = [
    ("CREDITS", "on"),
    ("CREDITS_INITIAL", "10"),
    // Less than for the head, which includes the connection.
    ("UPSTREAM_CONNECT_MS", "1200"),
    ("UPSTREAM_HEAD_MS", "3000"),
    ("UPSTREAM_IDLE_MS", "1000"),
    ("UPSTREAM_PROGRESS_MS", "1500"),
];

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Chat,
    Events,
    OneShot,
}

/// What a row demands.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    /// Of the problem.
    status: u16,
    /// Empty for a success.
    code: &'static str,
    class: &'static str,
    level: &'static str,
    alarm: bool,
    tokens: u64,
    credits: u64,
    /// The answer has content before it fails, so that the head of a chat stream is out.
    is_late: bool,
    retry_after_s: Option<u64>,
}

/// A failure for which the token is kept and the credit is not, and which is an error in the log.
pub(crate) const fn failed(status: u16, code: &'static str, class: &'static str) -> Expected {
    Expected {
        status,
        code,
        class,
        level: "ERROR",
        alarm: false,
        tokens: 1,
        credits: 0,
        is_late: false,
        retry_after_s: None,
    }
}

/// A success with this many pictures.
pub(crate) const fn done(pictures: u64) -> Expected {
    Expected { level: "INFO", credits: pictures, ..failed(200, "", "") }
}

impl Expected {
    pub(crate) const fn refunded(self) -> Self {
        Self { tokens: 0, ..self }
    }

    /// Also a failure costs a credit if the user's own input is the cause.
    pub(crate) const fn spending(self, credits: u64) -> Self {
        Self { credits, ..self }
    }

    pub(crate) const fn at(self, level: &'static str) -> Self {
        Self { level, ..self }
    }

    pub(crate) const fn with_alarm(self) -> Self {
        Self { alarm: true, ..self }
    }

    pub(crate) const fn late(self) -> Self {
        Self { is_late: true, ..self }
    }

    pub(crate) const fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    fn is_done(self) -> bool {
        self.code.is_empty()
    }

    /// The status and the end of an answer in a form.
    fn ending(self, form: Form) -> (u16, String) {
        let is_status = form == Form::OneShot || (form == Form::Chat && !self.is_late);
        match (self.is_done(), form) {
            (true, Form::Chat) => (200, "[DONE]".to_owned()),
            (true, Form::Events) => (200, "done".to_owned()),
            (true, Form::OneShot) => (200, String::new()),
            (false, _) if is_status => (self.status, format!("problem {}", self.code)),
            (false, _) => (200, format!("error {}", self.code)),
        }
    }
}

pub(crate) const BUSY: Expected = failed(503, "upstream_busy", "rate_limited").refunded().at("WARN");
pub(crate) const TIMEOUT: Expected = failed(504, "upstream_timeout", "upstream_timeout").at("WARN");
pub(crate) const PROTOCOL: Expected = failed(502, "upstream_protocol_error", "upstream_protocol_error");
pub(crate) const ERROR: Expected = failed(502, "upstream_error", "upstream_error");
pub(crate) const INTERRUPTED: Expected = failed(502, "stream_interrupted", "upstream_truncated");
pub(crate) const REJECTED: Expected = failed(422, "content_rejected", "content_blocked").spending(1).at("INFO");
pub(crate) const NO_IMAGE: Expected = failed(502, "no_image", "no_image").at("WARN");

pub(crate) const fn unavailable(class: &'static str) -> Expected {
    failed(503, "service_unavailable", class).refunded().with_alarm()
}

/// Sends a request of a user to a function with an upstream at this address, in this form and with these variables.
pub(crate) trait Ask: AsyncFn(&Stand, &str, &User, Form, &[(&str, &str)]) -> Reply {}

impl<A: AsyncFn(&Stand, &str, &User, Form, &[(&str, &str)]) -> Reply> Ask for A {}

/// A function's rows.
pub(crate) struct Rows<A> {
    pub(crate) wire: FaultWire,
    pub(crate) forms: &'static [Form],
    pub(crate) ask: A,
}

impl<A: Ask> Rows<A> {
    /// Plays every case of a row in every form.
    pub(crate) async fn check(&self, row: &str, variables: &[(&str, &str)], expected: &[(&str, Expected)]) {
        let cases = UpstreamFault::find(row).unwrap().cases(self.wire);
        let names = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect::<Vec<_>>();
        let played = names(&mut cases.iter().map(|(name, _)| *name));
        assert_eq!(names(&mut expected.iter().map(|(name, _)| *name)), played, "{row}: the cases");
        let stand = Stand::new().await;
        for ((case, script), (_, expected)) in cases.into_iter().zip(expected) {
            for &form in self.forms {
                let server = FaultServer::start(vec![script.clone()]).await.unwrap();
                let name = format!("{row}, {case}");
                let (_, sent) = self.check_at(&stand, &server.url(), &name, form, *expected, variables).await;
                assert_eq!(server.connections(), sent, "{name}, {form:?}: a paid call is not repeated");
            }
        }
    }

    /// Sends one request to an upstream and compares its answer, the tables and the log. Returns the log, and how many
    /// requests were sent: more than one if the machine was too busy for the tables.
    pub(crate) async fn check_at(
        &self,
        stand: &Stand,
        url: &str,
        name: &str,
        form: Form,
        expected: Expected,
        more: &[(&str, &str)],
    ) -> (String, u32) {
        // The first of two equal names counts.
        let variables = [more, &VARIABLES].concat();
        let mut sent = 0;
        for round in 0..5 {
            let user = User::new(&format!("{name} {form:?} {round}"));
            let log = Log::default();
            let recording = log.record();
            #[expect(clippy::disallowed_methods, reason = "measures how long it takes")]
            let begun = Instant::now();
            let reply = (self.ask)(stand, url, &user, form, &variables).await;
            let took = begun.elapsed();
            drop(recording);
            let log = log.text();
            // A request that the tables refuse has no summary.
            sent += u32::from(log.contains(SUMMARY));
            if !log.contains(" shared::edge::store::") {
                let log = expected.check(&format!("{name}, {form:?}"), form, stand, &user, &reply, &log).await;
                assert!(took < SOON, "{name}, {form:?}: {took:?}");
                return (log, sent);
            }
        }
        unreachable!("{name}: the machine was too busy in every round");
    }
}

impl Expected {
    async fn check(self, name: &str, form: Form, stand: &Stand, user: &User, reply: &Reply, all: &str) -> String {
        let expected = self;
        let log: String =
            all.lines().filter(|line| line.contains(" shared::")).fold(String::new(), |log, line| log + line + "\n");
        let (status, ending) = expected.ending(form);
        let ended = if ending.is_empty() { String::new() } else { reply.ending() };
        assert_eq!((reply.status, ended), (status, ending), "{name}\n{log}");
        let last = error_of(reply);
        if let Some(seconds) = expected.retry_after_s {
            assert_eq!(last["retry_after_ms"], seconds * 1000, "{name}: {last}");
            let header = (status != 200).then(|| seconds.to_string());
            assert_eq!(reply.header("retry-after"), header.as_deref(), "{name}");
        }
        if !expected.is_done() && form != Form::OneShot {
            assert!(pictures(&reply.events()).is_empty(), "{name}: a picture of a failure");
            assert!(!content(&reply.events()).contains(')'), "{name}: a picture that looks whole");
        }

        let owner = user.owner();
        assert_eq!(stand.tables.missing(&owner, TOKENS).await, expected.tokens, "{name}: tokens\n{log}");
        let left = Some((CREDITS - expected.credits, 0));
        assert_eq!(stand.tables.balance(&owner).await, left, "{name}: credits\n{log}");
        let record = stand.tables.record(&owner, TASK).await.unwrap();
        match expected.is_done() {
            true => assert_eq!(text(&record, "st"), "succeeded", "{name}"),
            false => assert_eq!([text(&record, "st"), text(&record, "code")], ["failed", expected.code], "{name}"),
        }

        let summaries: Vec<_> = log.lines().filter(|line| line.contains(SUMMARY)).collect();
        assert_eq!(summaries.len(), 1, "{name}: summary lines in\n{log}");
        let mut parts = vec![format!(" {} ", expected.level), format!("task_id=\"{TASK}\"")];
        match expected.is_done() {
            true => parts.push("succeeded".to_owned()),
            false => {
                let Expected { class, code, alarm, .. } = expected;
                parts.extend([format!("class=\"{class}\""), format!("code=\"{code}\""), format!("alarm={alarm}")]);
            }
        }
        for part in parts {
            assert!(summaries[0].contains(&part), "{name}: {part} in {}", summaries[0]);
        }
        let sent = String::from_utf8_lossy(&reply.bytes);
        for secret in [KEY, PROMPT, UPSTREAM_TEXT, "/chat/completions", "/images/generations"] {
            assert!(!sent.contains(secret) && !all.contains(secret), "{name}: {secret} in\n{sent}\n{log}");
        }
        log
    }
}

/// The members of an answer's error.
pub(crate) fn error_of(reply: &Reply) -> Value {
    match reply.events().last() {
        Some(event) => {
            let mut data: Value = serde_json::from_str(&event.data).unwrap_or_default();
            let member = if data["data"].is_object() { "data" } else { "error" };
            data[member].take()
        }
        None => reply.last(),
    }
}
