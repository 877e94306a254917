//! One case with real sockets: the user's task, its upstreams, tables and bucket, and the processes that run it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use dev::RunningServer;
use dev::dynamodb::Proxy;
use dev::s3::{self, BucketProxy, S3Engine};
use generate_stream::App;
use http::{Method, Request};
use serde_json::json;
use shared::auth::{Principal, UserId};
use shared::edge::new_id;
use shared::task::fingerprint;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::case::{Case, Form, Reading, Round, Service};
use super::client::{Received, STALL_MS, send};
use super::script::{Script, png};
use crate::support::{EVER, Item, Stand, Upstream, User, n, number, s, text};

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const PUT_MS: u64 = 2_000;
const KEY: &str = "key";
/// A call to a table that was under way when its process died has arrived after this time.
const ON_ITS_WAY: Duration = Duration::from_millis(60);

/// What all cases share.
pub(super) struct Stage {
    stand: Stand,
    engine: S3Engine,
}

/// How many calls to each service have failed in a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fired {
    pub(super) limits: u32,
    pub(super) ledger: u32,
    pub(super) bucket: u32,
}

/// The state of the user's task and account.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// Tokens that are missing from the bucket.
    pub(super) tokens: u64,
    /// The balance, with what each hold returns by the record of its run.
    pub(super) worth: u64,
    /// The runs with a hold.
    pub(super) holds: BTreeSet<String>,
    pub(super) record: Option<Item>,
    /// Calls of each upstream.
    calls: [u32; 2],
}

/// A case that is played.
pub(super) struct Play<'a> {
    pub(super) case: &'a Case,
    stage: &'a Stage,
    user: User,
    upstreams: Vec<Upstream>,
    tables: Proxy,
    bucket: BucketProxy,
    tables_server: RunningServer,
    bucket_server: RunningServer,
    fired: Arc<Mutex<Fired>>,
    process: Process,
}

/// A runtime with two functions, each with a memory of its own, which die together.
struct Process {
    runtime: Option<Runtime>,
    apps: [Arc<App>; 2],
}

impl Stage {
    pub(super) async fn new() -> Self {
        // All pictures are drawn now, and not while cases run.
        png(0);
        Self { stand: Stand::new().await, engine: s3::start(None, WEEK).await.unwrap() }
    }

    /// The content of an object.
    pub(super) fn object(&self, key: &str) -> Option<Bytes> {
        self.engine.objects.content(key)
    }

    /// The keys of a run's objects, by slot.
    pub(super) fn objects(&self, run: &str) -> BTreeMap<String, String> {
        let keys = self.engine.objects.keys().into_iter();
        keys.filter_map(|key| Some((key.split_once(&format!("/{run}/"))?.1.to_owned(), key.clone()))).collect()
    }
}

impl<'a> Play<'a> {
    pub(super) async fn new(stage: &'a Stage, case: &'a Case) -> Self {
        let (tables, tables_server) = stage.stand.tables.another_way().await;
        let bucket = BucketProxy::default();
        let bucket_server = dev::start(s3::proxy_routes(bucket.clone(), &stage.engine.url())).await.unwrap();
        let user = User::new(&new_id());
        stage.stand.tables.grant(&user.owner(), case.credits).await;
        let mut upstreams = Vec::new();
        for (scripts, first) in [Some(&case.upstream), case.second.as_ref()].into_iter().flatten().zip([0, 40]) {
            let transcripts = scripts.iter().zip(first..).map(|(script, number)| script.transcript(number));
            upstreams.push(Upstream::plays_in_turn(transcripts.collect()).await);
        }
        let fired = Arc::default();
        let process = Process { runtime: None, apps: [(); 2].map(|()| Arc::new(App::from_env(&|_| None))) };
        let mut play =
            Self { case, stage, user, upstreams, tables, bucket, tables_server, bucket_server, fired, process };
        play.process = play.started();
        play.set_faults();
        play
    }

    /// Reading root certificates takes a while.
    fn started(&self) -> Process {
        tokio::task::block_in_place(|| self.start())
    }

    fn start(&self) -> Process {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let app = || self.app(&self.upstreams, self.case.limit, self.case.total_ms);
        let first = app();
        let has_second = self.case.rounds.iter().any(|round| round.again_after_ms.is_some());
        let second = if has_second { app() } else { first.clone() };
        Process { runtime: Some(runtime), apps: [first, second] }
    }

    fn app(&self, upstreams: &[Upstream], limit: u64, total_ms: Option<u64>) -> Arc<App> {
        let stand = &self.stage.stand;
        let usual = stand.environment(&upstreams[0]);
        let key = usual.iter().find(|(name, _)| *name == "IMAGE_API_KEY_SECRET_ARN").unwrap().1.clone();
        let named = || ["a", "b"].into_iter().zip(upstreams);
        let of_upstream = |(name, upstream): (&str, &Upstream)| {
            (name.to_owned(), json!({"mode": "chat", "base_url": upstream.url, "key_secret_arn": key}))
        };
        let listed = serde_json::Value::Object(named().map(of_upstream).collect());
        let routes: Vec<_> = named().map(|(name, _)| json!({"upstream": name, "price": 0.04})).collect();
        let model = if self.case.may_send_drafts { "gemini-3-pro-image" } else { "gemini-2.5-flash-image" };
        let bucket = s3::variables(&self.bucket_server.url(""));
        let bucket = bucket.iter().filter(|_| self.case.keeps_pictures);
        let own = [
            ("AWS_ENDPOINT_URL_DYNAMODB", self.tables_server.url("")),
            ("IMAGE_API_BASE_URL", String::new()),
            ("IMAGE_API_KEY_SECRET_ARN", String::new()),
            ("IMAGE_UPSTREAMS", listed.to_string()),
            ("IMAGE_ROUTES", json!({ model: routes }).to_string()),
            ("RL_LIMIT", limit.to_string()),
            ("CREDITS", "on".to_owned()),
            ("CANCEL_POLL_MS", "500".to_owned()),
            ("CLIENT_STALL_MS", STALL_MS.to_string()),
            ("HEAD_HOLD_MS", "150".to_owned()),
            ("PICTURE_PUT_MS", PUT_MS.to_string()),
            ("PING_MS", "100".to_owned()),
            ("UPSTREAM_HEAD_MS", "1500".to_owned()),
            ("UPSTREAM_IDLE_MS", "1500".to_owned()),
            ("UPSTREAM_TOTAL_MS", total_ms.unwrap_or(60_000).to_string()),
        ];
        let own = own.iter().chain(bucket).map(|(name, value)| (*name, value.as_str()));
        stand.app(&upstreams[0], &own.collect::<Vec<_>>())
    }

    fn set_faults(&self) {
        let limits = self.stage.stand.tables.limits.clone();
        let (faults, fired, mut calls) = (self.case.faults.clone(), self.fired.clone(), [0_u32; 3]);
        self.tables.script(move |call| {
            let service = if call.table == limits { 0 } else { 1 + usize::from(call.sort_key == "BAL") };
            let at = calls[service];
            calls[service] += 1;
            let fault =
                faults.iter().filter(|fault| fault.is_due(at)).find_map(|fault| match (fault.service, service) {
                    (Service::Limits(kind), 0) | (Service::Records(kind), 1) | (Service::Balances(kind), 2) => {
                        Some(kind)
                    }
                    _ => None,
                })?;
            let mut fired = fired.lock().unwrap();
            *(if service == 0 { &mut fired.limits } else { &mut fired.ledger }) += 1;
            Some(fault)
        });
        let (faults, fired, mut puts) = (self.case.faults.clone(), self.fired.clone(), 0_u32);
        self.bucket.script(move |call| {
            if call.method != Method::PUT {
                return None;
            }
            let at = puts;
            puts += 1;
            let fault = faults.iter().filter(|fault| fault.is_due(at)).find_map(|fault| match fault.service {
                Service::Bucket(kind) => Some(kind),
                _ => None,
            })?;
            fired.lock().unwrap().bucket += 1;
            Some(fault)
        });
    }

    /// Plays a round. Returns the responses, none of a process that has died, and the failed calls.
    pub(super) async fn act(&mut self, round: &Round) -> (Vec<Received>, Fired) {
        *self.fired.lock().unwrap() = Fired::default();
        let runtime = self.process.runtime.as_ref().unwrap();
        let apps = self.process.apps.clone();
        let seen = self.upstreams.iter().map(|upstream| upstream.seen.clone()).collect::<Vec<_>>();
        let calls = move || seen.iter().map(|seen| seen.requests()).sum::<u32>();
        let before = calls();
        let request = self.request(KEY, round.form);
        let main = send(apps[0].clone(), request, round.reading, move || calls() > before);
        let mut requests = vec![runtime.spawn(main)];
        if let Some((after_ms, form)) = round.again_after_ms {
            let (app, request) = (apps[1].clone(), self.request(KEY, form));
            requests.push(runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                send(app, request, Reading::ToTheEnd, || false).await
            }));
        }
        let cancel = round.cancel_after_ms.map(|after_ms| {
            let (app, principal) = (apps[1].clone(), self.principal());
            runtime.spawn(async move {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                // If the table cannot be reached, the task goes on.
                let _ = app.ready().unwrap().ledger.stop(&principal, KEY).await;
            })
        });
        let received = match round.reading {
            Reading::Die { after_ms } => {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                self.process.kill();
                tokio::time::sleep(ON_ITS_WAY).await;
                Vec::new()
            }
            _ => self.ended(requests, cancel).await,
        };
        if self.process.runtime.is_none() {
            self.process = self.started();
        }
        (received, *self.fired.lock().unwrap())
    }

    /// Waits until all work of the process has ended, whether or not a client still reads.
    async fn ended(&self, requests: Vec<JoinHandle<Received>>, cancel: Option<JoinHandle<()>>) -> Vec<Received> {
        let all = async {
            let mut received = Vec::new();
            for request in requests {
                received.push(request.await.unwrap());
            }
            if let Some(cancel) = cancel {
                cancel.await.unwrap();
            }
            // A request owns the function's parts until it is settled.
            while self.process.apps.iter().any(|app| Arc::strong_count(&app.ready().unwrap()) > 2) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            received
        };
        tokio::time::timeout(EVER, all).await.unwrap()
    }

    fn request(&self, key: &str, form: Form) -> Request<Bytes> {
        let (path, body) = match form {
            Form::Events => ("/api/generate-stream", json!({"prompt": "x", "n": self.case.n, "format": "events"})),
            Form::Links => (
                "/api/generate-stream",
                json!({"prompt": "x", "n": self.case.n, "format": "events", "delivery": "url"}),
            ),
            Form::Chat => ("/api/generate-stream", json!({"prompt": "x", "n": self.case.n})),
            Form::Json | Form::Bytes => ("/api/generate-image", json!({"prompt": "x", "n": self.case.n})),
        };
        let mut request = self.user.post(path, &body);
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        if form == Form::Bytes && self.case.n == 1 {
            request.headers_mut().insert("accept", "image/*".parse().unwrap());
        }
        request
    }

    fn principal(&self) -> Principal {
        Principal::User(UserId::parse(self.user.owner().strip_prefix("user:").unwrap()).unwrap())
    }

    pub(super) async fn snapshot(&self) -> Snapshot {
        let (tables, owner) = (&self.stage.stand.tables, self.user.owner());
        let record = tables.record(&owner, KEY).await;
        let balance = tables.ledger_item(&owner, "BAL").await.unwrap();
        let holds = balance["holds"].as_m().unwrap();
        let spent = |run: &String| match &record {
            Some(record) if text(record, "run") == run => cost(record),
            _ => 0,
        };
        let back: u64 = holds.iter().map(|(run, hold)| number(hold.as_m().unwrap(), "c") - spent(run)).sum();
        let calls = |at: usize| self.upstreams.get(at).map_or(0, Upstream::requests);
        Snapshot {
            tokens: tables.missing(&owner, self.case.limit).await,
            worth: number(&balance, "credits") + back,
            holds: holds.keys().cloned().collect(),
            record,
            calls: [calls(0), calls(1)],
        }
    }

    /// What the upstreams have done between two snapshots, each script with the number of its picture.
    pub(super) fn played(&self, before: &Snapshot, after: &Snapshot) -> Vec<(Script, u32)> {
        let scripts = [Some(&self.case.upstream), self.case.second.as_ref()].into_iter().flatten();
        let calls = before.calls.iter().zip(after.calls).zip([0, 40]);
        let of = |(scripts, ((before, after), first)): (&Vec<Script>, ((&u32, u32), u32))| {
            (*before..after).map(|at| (scripts[at as usize], first + at)).collect::<Vec<_>>()
        };
        scripts.zip(calls).flat_map(of).collect()
    }

    /// The lease of a run that has died ends, and so do the holds.
    pub(super) async fn expire(&self) {
        let (tables, owner) = (&self.stage.stand.tables, self.user.owner());
        if tables.record(&owner, KEY).await.is_some_and(|record| record["st"] == s("running")) {
            let update = tables.ledger_update(&owner, &format!("G#{}", fingerprint([KEY])));
            let update = update.update_expression("SET lease = :past").expression_attribute_values(":past", n(1));
            update.send().await.unwrap();
        }
        let balance = tables.ledger_item(&owner, "BAL").await.unwrap();
        for run in balance["holds"].as_m().unwrap().keys() {
            let update = tables.ledger_update(&owner, "BAL").update_expression("SET holds.#run.t = :past");
            let update = update.expression_attribute_names("#run", run);
            update.expression_attribute_values(":past", AttributeValue::N("1".into())).send().await.unwrap();
        }
    }

    /// Without faults, and with a full bucket: the user sends another task, and then the key again. Returns the responses,
    /// and how many calls the second one made.
    pub(super) async fn afterwards(&mut self) -> ([Received; 2], u32, u64) {
        self.tables.fail(None);
        self.bucket.fail(None);
        let tables = &self.stage.stand.tables;
        tables.client.delete_item().table_name(&tables.limits).key("pk", s(&self.user.owner())).send().await.unwrap();
        // One for each picture that is asked for now.
        tables.grant(&self.user.owner(), u64::from(2 * self.case.n)).await;
        let good = Upstream::plays(Script::Picture.transcript(99)).await;
        let app = tokio::task::block_in_place(|| self.app(std::slice::from_ref(&good), 100, None));
        let ask = async |key: &str| {
            let request = self.request(key, Form::Events);
            let sent = send(app.clone(), request, Reading::ToTheEnd, || false);
            let sent = self.process.runtime.as_ref().unwrap().spawn(sent);
            tokio::time::timeout(EVER, sent).await.unwrap().unwrap()
        };
        let other = ask("other").await;
        let (credits, holds) = tables.balance(&self.user.owner()).await.unwrap();
        assert_eq!(holds, 0, "the next request settles every hold that is left");
        let before = good.requests();
        let again = ask(KEY).await;
        ([other, again], good.requests() - before, credits)
    }

    pub(super) fn stage(&self) -> &Stage {
        self.stage
    }
}

impl Process {
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Snapshot {
    /// The state that the task's owner reads.
    pub(super) fn state(&self) -> &str {
        match &self.record {
            None => "none",
            Some(record) => match (text(record, "st"), self.kept().is_empty()) {
                ("running", _) if record["lease"] != n(1) => "running",
                ("running", true) => "failed",
                ("running", false) => "succeeded",
                (state, _) => state,
            },
        }
    }

    /// The hash of each kept picture, by slot.
    pub(super) fn kept(&self) -> BTreeMap<String, Vec<u8>> {
        let Some(record) = &self.record else { return BTreeMap::new() };
        let kept = record["pics"].as_m().unwrap().iter();
        kept.map(|(slot, kept)| (slot.clone(), kept.as_m().unwrap()["sha256"].as_b().unwrap().as_ref().to_vec()))
            .collect()
    }

    /// The number of runs.
    pub(super) fn runs(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| number(record, "tries"))
    }

    pub(super) fn cost(&self) -> u64 {
        self.record.as_ref().map_or(0, cost)
    }
}

fn cost(record: &Item) -> u64 {
    if record.contains_key("cost") { number(record, "cost") } else { 0 }
}
