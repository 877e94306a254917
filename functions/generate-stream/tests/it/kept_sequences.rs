//! Random sequences of what users, networks and processes do to one task: nothing is paid twice, and what is charged was
//! made.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use dev::RunningServer;
use dev::client::pictures;
use dev::dynamodb::TableFault;
use dev::s3::{self, BucketFault, BucketProxy, S3Engine};
use dev::transcript::{Ending, Transcript};
use futures_util::{FutureExt, StreamExt, stream};
use generate_stream::{App, handle};
use http::Request;
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;
use shared::auth::{Principal, UserId};
use shared::edge::new_id;
use shared::task::{TaskRecord, TaskState};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::kept::answer;
use crate::support::{EVER, Stand, Upstream, User, n, s};

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const CREDITS: u64 = 20;

/// How the upstream answers the next call.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Picture,
    /// A picture, and then nothing more.
    PictureThenStall,
    Stall,
    Nothing,
    Busy,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The client sends the request, and reads the answer.
    Send,
    /// The client disconnects.
    Leave,
    /// The user cancels.
    Cancel,
    /// The process of the function dies, and its lease ends.
    Kill,
    /// Time passes.
    Wait(u64),
}

fn sequences() -> impl Strategy<Value = (Vec<Answer>, Vec<Step>)> {
    let answer = prop_oneof![
        4 => Just(Answer::Picture),
        3 => Just(Answer::PictureThenStall),
        2 => Just(Answer::Stall),
        1 => Just(Answer::Nothing),
        1 => Just(Answer::Busy),
    ];
    let step = prop_oneof![
        4 => Just(Step::Send),
        2 => Just(Step::Leave),
        2 => Just(Step::Cancel),
        2 => Just(Step::Kill),
        4 => (0..80_u64).prop_map(Step::Wait),
    ];
    (proptest::collection::vec(answer, 6), proptest::collection::vec(step, 2..8))
}

/// A function in a runtime of its own, which can be killed.
struct Process {
    runtime: Option<Runtime>,
    app: Arc<App>,
    reader: Option<JoinHandle<Vec<u8>>>,
    /// Makes the reader drop the body that it reads.
    leave: Arc<Notify>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    fn start(app: Arc<App>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime: Some(runtime), app, reader: None, leave: Arc::default() }
    }

    fn send(&mut self, request: Request<Bytes>) {
        let (app, leave) = (self.app.clone(), Arc::new(Notify::new()));
        self.leave = leave.clone();
        let answer = async move {
            let mut body = handle(app, request).await.into_body();
            let mut read = Vec::new();
            loop {
                tokio::select! {
                    frame = body.frame() => match frame {
                        Some(frame) => read.extend_from_slice(&frame.unwrap().into_data().unwrap()),
                        None => return read,
                    },
                    () = leave.notified() => return read,
                }
            }
        };
        self.reader = self.runtime.as_ref().map(|runtime| runtime.spawn(answer));
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One task, and what is known about it.
struct Sequence {
    stand: Stand,
    engine: S3Engine,
    bucket: BucketProxy,
    bucket_server: RunningServer,
    upstream: Upstream,
    user: User,
    /// Pictures that a client has read whole.
    read: Vec<Vec<u8>>,
    /// The credits of the runs that have ended.
    spent: Vec<(String, u64)>,
}

impl Sequence {
    async fn new(answers: &[Answer]) -> Self {
        let transcript = |(variant, answer): (usize, &Answer)| {
            let picture = self::answer(variant as u32);
            let open = picture.replace("data: [DONE]\n\n", "");
            match answer {
                Answer::Picture => Transcript::events(picture),
                Answer::PictureThenStall => Transcript { ending: Ending::Stall, ..Transcript::events(open) },
                Answer::Stall => Transcript { ending: Ending::Stall, ..Transcript::events(": here\n\n") },
                Answer::Nothing => Transcript::events("data: [DONE]\n\n"),
                Answer::Busy => Transcript { status: 503, ..Transcript::events("{}") },
            }
        };
        let user = User::new(&new_id());
        let stand = Stand::new().await;
        stand.tables.grant(&user.owner(), CREDITS).await;
        let upstream = Upstream::plays_in_turn(answers.iter().enumerate().map(transcript).collect()).await;
        let engine = s3::start(None, WEEK).await.unwrap();
        let bucket = BucketProxy::default();
        let bucket_server = dev::start(s3::proxy_routes(bucket.clone(), &engine.url())).await.unwrap();
        Self { stand, engine, bucket, bucket_server, upstream, user, read: Vec::new(), spent: Vec::new() }
    }

    fn process(&self) -> Process {
        let bucket = s3::variables(&self.bucket_server.url(""));
        let more = [
            ("CREDITS", "on"),
            ("RL_LIMIT", "100"),
            ("CANCEL_POLL_MS", "500"),
            ("UPSTREAM_IDLE_MS", "1500"),
            ("CLIENT_STALL_MS", "500"),
        ];
        let bucket = bucket.iter().map(|(name, value)| (*name, value.as_str()));
        Process::start(self.stand.app(&self.upstream, &more.into_iter().chain(bucket).collect::<Vec<_>>()))
    }

    fn request(&self) -> Request<Bytes> {
        let mut request = self.user.post("/api/generate-stream", &json!({"prompt": "x", "format": "events"}));
        request.headers_mut().insert("idempotency-key", "key".parse().unwrap());
        request
    }

    fn principal(&self) -> Principal {
        Principal::User(UserId::parse(self.user.owner().strip_prefix("user:").unwrap()).unwrap())
    }

    async fn record(&self, process: &Process) -> Option<TaskRecord> {
        process.app.ready().unwrap().ledger.task(&self.principal(), "key").await.unwrap()
    }

    /// Ends the lease of a run that was killed, and those of its holds.
    async fn expire(&self) {
        let record = self.stand.tables.record(&self.user.owner(), "key").await;
        if record.is_some_and(|record| record["st"] == s("running")) {
            let update = self.stand.tables.ledger_update(&self.user.owner(), &super::kept::sort_key());
            let update = update.update_expression("SET lease = :past").condition_expression("st = :running");
            let update = update.expression_attribute_values(":past", n(1));
            update.expression_attribute_values(":running", s("running")).send().await.unwrap();
        }
        let balance = self.stand.tables.ledger_item(&self.user.owner(), "BAL").await.unwrap();
        let holds = balance["holds"].as_m().unwrap().clone();
        for run in holds.keys() {
            let update = self.stand.tables.ledger_update(&self.user.owner(), "BAL");
            let update = update.update_expression("SET holds.#run.t = :past").expression_attribute_names("#run", run);
            update.expression_attribute_values(":past", AttributeValue::N("1".into())).send().await.unwrap();
        }
    }

    /// Notes what the last run has spent, if it has ended or can no longer change.
    async fn note(&mut self, process: &Process) {
        let Some(record) = self.record(process).await else { return };
        let is_over = !matches!(record.state_at(crate::support::unix_ms()), TaskState::Running { .. });
        if is_over && self.spent.iter().all(|(run, _)| *run != record.run) {
            self.spent.push((record.run.clone(), u64::from(record.credits.unwrap_or_default())));
        }
    }

    async fn run(mut self, steps: &[Step]) {
        let mut process = self.process();
        let mut paid_requests = None;
        for step in steps {
            match step {
                Step::Send => {
                    if process.reader.is_none() {
                        self.note(&process).await;
                        process.send(self.request());
                    }
                }
                Step::Leave => {
                    if let Some(reader) = process.reader.take() {
                        process.leave.notify_one();
                        self.keep(reader).await;
                    }
                }
                Step::Cancel => {
                    let _ = process.app.ready().unwrap().ledger.stop(&self.principal(), "key").await.unwrap();
                }
                Step::Kill => {
                    process.kill();
                    process.reader = None;
                    // What was on its way to the tables arrives.
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    self.expire().await;
                    self.note(&process).await;
                    process = self.process();
                }
                Step::Wait(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            }
            if let Some(reader) = process.reader.take_if(|reader| reader.is_finished()) {
                self.keep(reader).await;
            }
            let has_succeeded = self.record(&process).await.is_some_and(|record| record.state == TaskState::Succeeded);
            if has_succeeded {
                let requests = *paid_requests.get_or_insert(self.upstream.requests());
                assert_eq!(self.upstream.requests(), requests, "a task that has succeeded is not paid again");
            }
        }
        if let Some(reader) = process.reader.take() {
            self.keep(reader).await;
        }
        let ended =
            async {
                while self.record(&process).await.is_some_and(|record| {
                    matches!(record.state_at(crate::support::unix_ms()), TaskState::Running { .. })
                }) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
        tokio::time::timeout(EVER, ended).await.unwrap();
        // The credits are settled right after the record.
        tokio::time::sleep(Duration::from_millis(60)).await;
        self.note(&process).await;
        self.check(&mut process).await;
    }

    async fn keep(&mut self, reader: JoinHandle<Vec<u8>>) {
        if let Ok(sent) = tokio::time::timeout(EVER, reader).await.unwrap() {
            let whole = pictures(&dev::client::events(&sent));
            self.read.extend(whole.into_iter().map(|(_, bytes)| bytes));
        }
    }

    async fn check(&mut self, process: &mut Process) {
        self.expire().await;
        // The next request of the user settles what dead runs have left; this one uses no credit of its own.
        let mut other = self.user.post("/api/generate-stream", &json!({"prompt": "other", "format": "events"}));
        other.headers_mut().insert("idempotency-key", "other".parse().unwrap());
        let before = self.upstream.requests();
        process.send(other);
        if let Some(reader) = process.reader.take() {
            tokio::time::timeout(EVER, reader).await.unwrap().unwrap();
        }
        assert_eq!(self.upstream.requests(), before + 1);
        let ledger = &process.app.ready().unwrap().ledger;
        let other = ledger.task(&self.principal(), "other").await.unwrap().unwrap();
        let of_other = u64::from(other.credits.unwrap_or_default());
        let (credits, holds) = self.stand.tables.balance(&self.user.owner()).await.unwrap();
        let spent: u64 = self.spent.iter().map(|(_, credits)| credits).sum();
        assert_eq!((credits, holds), (CREDITS - spent - of_other, 0), "{:?}", self.spent);

        let Some(record) = ledger.task(&self.principal(), "key").await.unwrap() else { return };
        let is_success = record.state_at(crate::support::unix_ms()) == TaskState::Succeeded;
        assert!(!record.pictures.is_empty() || !is_success || !self.read.is_empty(), "a picture that no one can read");
        assert!(self.engine.objects.keys().len() >= record.pictures.len());
        for (_, link) in ledger.links(&self.principal(), &record).await {
            let response = reqwest::get(link.unwrap().url).await.unwrap();
            assert_eq!(response.status(), 200, "a picture of the log is readable");
        }
        // A failed task is charged by the rule for cancelled calls only: one call, one credit.
        assert!(self.spent.iter().all(|(_, credits)| *credits <= 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_a_task_is_paid_once() {
    #[expect(clippy::disallowed_methods, reason = "a longer run by hand")]
    let count = std::env::var("SEQUENCES").ok().and_then(|count| count.parse().ok()).unwrap_or(40);
    let mut runner = TestRunner::deterministic();
    let all: Vec<_> = (0..count).map(|_| sequences().new_tree(&mut runner).unwrap().current()).collect();
    let run = |(answers, steps): (Vec<Answer>, Vec<Step>)| async move {
        let sequence = Sequence::new(&answers).await;
        let name = format!("{answers:?} {steps:?}");
        if let Err(panic) = AssertUnwindSafe(sequence.run(&steps)).catch_unwind().await {
            eprintln!("in {name}");
            std::panic::resume_unwind(panic);
        }
    };
    stream::iter(all).for_each_concurrent(8, run).await;
}

/// The calls of a request to the tables and to the bucket: a process dies at one of them.
#[derive(Default)]
struct Calls {
    count: u32,
    fatal: u32,
    /// The fatal call is still executed.
    is_executed: bool,
    dies: Arc<Notify>,
}

impl Calls {
    /// Whether a call is executed, and whether it is answered.
    fn next(&mut self) -> (bool, bool) {
        self.count += 1;
        if self.count == self.fatal {
            self.dies.notify_one();
        }
        (self.count < self.fatal || (self.count == self.fatal && self.is_executed), self.count < self.fatal)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_may_die_at_any_call_to_the_tables_and_the_bucket() {
    let mut deepest = 0;
    for fatal in 1..=8 {
        for is_executed in [false, true] {
            let mut sequence = Sequence::new(&[Answer::Picture; 3]).await;
            let calls = Arc::new(Mutex::new(Calls { fatal, is_executed, ..Calls::default() }));
            let dies = calls.lock().unwrap().dies.clone();
            let (of_tables, of_bucket) = (calls.clone(), calls.clone());
            sequence.stand.tables.proxy.script(move |_| match of_tables.lock().unwrap().next() {
                (_, true) => None,
                (true, false) => Some(TableFault::Swallow),
                (false, false) => Some(TableFault::Refuse),
            });
            sequence.bucket.script(move |_| match of_bucket.lock().unwrap().next() {
                (_, true) => None,
                (true, false) => Some(BucketFault::Swallow),
                (false, false) => Some(BucketFault::Refuse),
            });
            let mut process = sequence.process();
            process.send(sequence.request());
            let mut reader = process.reader.take().unwrap();
            let has_ended = tokio::select! {
                sent = &mut reader => Some(sent.unwrap()),
                () = dies.notified() => None,
            };
            process.kill();
            deepest = deepest.max(calls.lock().unwrap().count);
            sequence.stand.tables.proxy.fail(None);
            sequence.bucket.script(|_| None);
            tokio::time::sleep(Duration::from_millis(60)).await;
            sequence.read.extend(
                pictures(&dev::client::events(&has_ended.unwrap_or_default())).into_iter().map(|(_, bytes)| bytes),
            );
            sequence.expire().await;
            let mut process = sequence.process();
            sequence.note(&process).await;
            let had_picture = sequence.record(&process).await.is_some_and(|record| !record.pictures.is_empty());
            let before = sequence.upstream.requests();
            process.send(sequence.request());
            let sent = tokio::time::timeout(EVER, process.reader.take().unwrap()).await.unwrap().unwrap();
            let place = format!("killed at call {fatal}, executed: {is_executed}");
            if had_picture {
                assert_eq!(sequence.upstream.requests(), before, "{place}: a kept picture is not made again");
            }
            let whole = pictures(&dev::client::events(&sent));
            sequence.read.extend(whole.into_iter().map(|(_, bytes)| bytes));
            tokio::time::sleep(Duration::from_millis(60)).await;
            sequence.note(&process).await;
            sequence.check(&mut process).await;
        }
    }
    // Begin, take, reserve, put, record the picture, end, settle; and what was tried again before the process was dead.
    assert!((7..=9).contains(&deepest), "{deepest} calls: each was fatal once");
}
