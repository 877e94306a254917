//! Tables behind a proxy, users, and upstreams that count requests: for tests of limits, tasks and credits.

#[path = "../../../../dev/tests/it/dynamodb/create.rs"]
mod create;

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use dev::RunningServer;
use dev::client::{StreamEvent, endings, events};
use dev::dynamodb::{self, Engine, LEDGER, Place, Proxy, RATE_LIMITS};
use dev::secrets::{self, Vault};
use dev::supabase::{Project, legacy_token};
use dev::thread_log::set_thread_log;
use dev::transcript::{self, Gate, ReceivedRequests, Transcript};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use shared::edge::{App, Body, FromEnvironment, new_id};
use shared::task::fingerprint;
use tokio::net::TcpSocket;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use create::create;
pub(crate) use create::{n, s};

/// A bound for everything that ends.
pub(crate) const EVER: Duration = Duration::from_secs(30);
/// A window in which no token is refilled while a test runs.
pub(crate) const DAY_MS: &str = "86400000";
pub(crate) const DAY: (&str, &str) = ("RL_WINDOW_MS", DAY_MS);

pub(crate) const KEY: &str = "the upstream's key in these tests";
pub(crate) const KEY_ID: &str = "the-upstreams-key";
const PROJECT: &str = "http://127.0.0.1:9";
const SECRET: &str = "the legacy secret of a project that exists in tests only";

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The one place that chooses an engine: the one that `AWS_ENDPOINT_URL_DYNAMODB` names, or the embedded one.
async fn engine() -> (String, Option<Engine>) {
    #[expect(clippy::disallowed_methods, reason = "a test has no main that could have read it")]
    let another = std::env::var("AWS_ENDPOINT_URL_DYNAMODB").ok();
    match another {
        Some(url) => (url, None),
        None => {
            let engine = dynamodb::start(Place::Memory).unwrap();
            (engine.url(), Some(engine))
        }
    }
}

/// Both tables, new and empty, and the way to them that a function takes.
pub(crate) struct Tables {
    pub(crate) proxy: Proxy,
    /// Past the proxy.
    pub(crate) client: Client,
    pub(crate) limits: String,
    pub(crate) ledger: String,
    url: String,
    running: RunningServer,
    engine: Option<Engine>,
}

impl Tables {
    pub(crate) async fn new() -> Self {
        let (url, engine) = engine().await;
        let (limits, ledger) = (format!("rate-limits-{}", new_id()), format!("ledger-{}", new_id()));
        let client = client(&url);
        for (name, table) in [(&limits, &RATE_LIMITS), (&ledger, &LEDGER)] {
            match &engine {
                Some(engine) => engine.create(name, table).unwrap(),
                None => create(&client, name, table).await,
            }
        }
        let proxy = Proxy::default();
        let running = dev::start(dynamodb::routes(proxy.clone(), &url)).await.unwrap();
        Self { proxy, client, limits, ledger, url, running, engine }
    }

    /// Another way to the same tables.
    pub(crate) async fn another_way(&self) -> (Proxy, RunningServer) {
        let proxy = Proxy::default();
        let running = dev::start(dynamodb::routes(proxy.clone(), &self.url)).await.unwrap();
        (proxy, running)
    }

    /// For a script, which is not async: changes the tables while a request is on its way.
    pub(crate) fn hand(&self) -> Hand {
        Hand(self.url.clone())
    }

    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("AWS_ENDPOINT_URL_DYNAMODB", self.running.url("")),
            ("RATE_LIMITS_TABLE", self.limits.clone()),
            ("LEDGER_TABLE", self.ledger.clone()),
        ]
    }

    pub(crate) async fn put(&self, table: &str, item: Item) {
        put(&self.client, table, item).await;
    }

    pub(crate) async fn bucket(&self, bucket: &str) -> Option<Item> {
        let get = self.client.get_item().table_name(&self.limits).key("pk", s(bucket)).consistent_read(true);
        get.send().await.unwrap().item
    }

    /// Tokens that are missing from a bucket of `limit` a day.
    pub(crate) async fn missing(&self, bucket: &str, limit: u64) -> u64 {
        let Some(bucket) = self.bucket(bucket).await else { return 0 };
        number(&bucket, "tat").saturating_sub(unix_ms()).div_ceil(86_400_000 / limit)
    }

    pub(crate) async fn record(&self, owner: &str, task_id: &str) -> Option<Item> {
        self.ledger_item(owner, &format!("G#{}", fingerprint([task_id]))).await
    }

    /// Credits, and how many holds there are beside them.
    pub(crate) async fn balance(&self, owner: &str) -> Option<(u64, usize)> {
        let item = self.ledger_item(owner, "BAL").await?;
        Some((number(&item, "credits"), item["holds"].as_m().unwrap().len()))
    }

    /// Gives credits, as an operator does.
    pub(crate) async fn grant(&self, owner: &str, credits: u64) {
        let update = self.ledger_update(owner, "BAL");
        update
            .update_expression("SET holds = if_not_exists(holds, :none) ADD credits :credits")
            .expression_attribute_values(":none", AttributeValue::M(Item::new()))
            .expression_attribute_values(":credits", n(credits))
            .send()
            .await
            .unwrap();
    }

    pub(crate) fn ledger_update(&self, owner: &str, sort_key: &str) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.ledger).key("pk", s(owner)).key("sk", s(sort_key))
    }

    /// Everything that is in both tables.
    pub(crate) async fn all(&self) -> Vec<Item> {
        let mut all = Vec::new();
        for table in [&self.limits, &self.ledger] {
            let scan = self.client.scan().table_name(table).consistent_read(true).send().await.unwrap();
            assert!(scan.last_evaluated_key.is_none(), "a test has few items");
            all.extend(scan.items.unwrap_or_default());
        }
        all
    }

    pub(crate) async fn ledger_item(&self, owner: &str, sort_key: &str) -> Option<Item> {
        let get = self.client.get_item().table_name(&self.ledger).key("pk", s(owner)).key("sk", s(sort_key));
        get.consistent_read(true).send().await.unwrap().item
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        if self.engine.is_none() {
            let tables = [self.limits.clone(), self.ledger.clone()];
            self.hand().does(async move |client| {
                for table in tables {
                    // A table that cannot be deleted is small.
                    let _ = client.delete_table().table_name(table).send().await;
                }
            });
        }
    }
}

/// Runs a round, and repeats it if the machine was too busy for it, for which the round returns false. Assertions hold in
/// every round.
pub(crate) async fn in_time(mut round: impl AsyncFnMut() -> bool) {
    for _ in 0..5 {
        if round().await {
            return;
        }
    }
    unreachable!("the machine was too busy in every round");
}

/// See [`Tables::hand`].
#[derive(Clone)]
pub(crate) struct Hand(String);

impl Hand {
    pub(crate) fn put(&self, table: &str, item: Item) {
        let table = table.to_owned();
        self.does(async move |client| put(&client, &table, item).await);
    }

    /// On a thread of its own: the current one is busy with the request.
    pub(crate) fn does(&self, work: impl AsyncFnOnce(Client) + Send + 'static) {
        let url = self.0.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work(client(&url)));
        });
        thread.join().unwrap();
    }
}

/// Tables, and the upstream's key in a vault that counts its calls.
pub(crate) struct Stand {
    pub(crate) tables: Tables,
    pub(crate) vault: Vault,
    manager: RunningServer,
}

impl Stand {
    pub(crate) async fn new() -> Self {
        let vault = Vault::default();
        vault.put(KEY_ID, KEY);
        let manager = dev::start(secrets::routes(vault.clone())).await.unwrap();
        Self { tables: Tables::new().await, vault, manager }
    }

    /// A function with a memory of its own: 5 calls a day and no caps, unless `variables` change that. An empty variable is
    /// not set.
    pub(crate) fn app<R: FromEnvironment>(&self, upstream: &Upstream, variables: &[(&str, &str)]) -> Arc<App<R>> {
        let usual = self.environment(upstream);
        let get = |name: &str| {
            let set = variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            set.or_else(|| usual.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()))
        };
        Arc::new(App::from_env(&|name| get(name).filter(|value| !value.is_empty())))
    }

    pub(crate) fn environment(&self, upstream: &Upstream) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("IMAGE_API_BASE_URL", upstream.url.clone()),
            ("ARK_BASE_URL", upstream.url.clone()),
            ("IMAGE_API_KEY_SECRET_ARN", KEY_ID.to_owned()),
            ("ARK_API_KEY_SECRET_ARN", KEY_ID.to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.manager.url("")),
            ("SUPABASE_URL", PROJECT.to_owned()),
            ("SUPABASE_JWT_SECRET", SECRET.to_owned()),
            ("RL_LIMIT", "5".to_owned()),
            ("RL_WINDOW_MS", DAY_MS.to_owned()),
            ("DAILY_LIMIT", "1000000".to_owned()),
            ("MAX_IN_FLIGHT", "100".to_owned()),
        ];
        environment.extend(self.tables.variables());
        environment
    }
}

/// An upstream on a socket.
pub(crate) struct Upstream {
    pub(crate) url: String,
    pub(crate) seen: ReceivedRequests,
    _running: Option<RunningServer>,
    /// Keeps a port without a listener from other tests.
    _reserved: Option<TcpSocket>,
}

impl Upstream {
    pub(crate) async fn plays(transcript: Transcript) -> Self {
        Self::plays_in_turn(vec![transcript]).await
    }

    /// Plays the next transcript for each request.
    pub(crate) async fn plays_in_turn(transcripts: Vec<Transcript>) -> Self {
        let (router, seen) = transcript::routes_in_turn(transcripts);
        let running = dev::start(router).await.unwrap();
        Self { url: running.url(""), seen, _running: Some(running), _reserved: None }
    }

    /// Sends a file of `shared/tests/data/fixtures`.
    pub(crate) async fn recorded(name: &str) -> Self {
        Self::plays(Transcript::events(fixture(name))).await
    }

    /// Holds its answers until the gate is open.
    pub(crate) async fn gated(transcript: Transcript) -> (Self, Gate) {
        let gate = Gate::closed();
        let upstream = Self::plays(Transcript { gate: Some(gate.clone()), ..transcript }).await;
        (upstream, gate)
    }

    /// Refuses everything.
    pub(crate) async fn refuses(status: u16) -> Self {
        Self::plays(refusal(status)).await
    }

    /// Another server.
    pub(crate) fn at(url: String) -> Self {
        Self { url, seen: ReceivedRequests::default(), _running: None, _reserved: None }
    }

    /// An address without a listener.
    pub(crate) fn gone() -> Self {
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let url = format!("http://{}", reserved.local_addr().unwrap());
        Self { url, seen: ReceivedRequests::default(), _running: None, _reserved: Some(reserved) }
    }

    pub(crate) fn requests(&self) -> u32 {
        self.seen.requests()
    }
}

pub(crate) fn refusal(status: u16) -> Transcript {
    Transcript { status, content_type: "application/json", ..Transcript::events("{}") }
}

pub(crate) fn fixture(name: &str) -> Bytes {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/tests/data/fixtures");
    std::fs::read(format!("{folder}/{name}")).unwrap().into()
}

/// A signed-in user.
#[derive(Clone)]
pub(crate) struct User {
    claims: Value,
}

impl User {
    pub(crate) fn new(word: &str) -> Self {
        Self { claims: Project::claims(&format!("{PROJECT}/auth/v1"), &format!("demo+{word}@example.com")) }
    }

    /// Without an account.
    pub(crate) fn guest(word: &str) -> Self {
        let mut user = Self::new(word);
        user.claims["is_anonymous"] = true.into();
        user
    }

    /// The user's key in the tables.
    pub(crate) fn owner(&self) -> String {
        format!("user:{}", self.claims["sub"].as_str().unwrap())
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", legacy_token(SECRET, None, &self.claims))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Request<Bytes> {
        let request = Request::post(path).header("content-type", "application/json");
        request.header("authorization", self.bearer()).body(body.to_string().into()).unwrap()
    }
}

/// A response that was read to its end.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Reply {
    pub(crate) async fn read(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = tokio::time::timeout(EVER, body.collect()).await.unwrap().unwrap().to_bytes();
        Self { status: head.status.as_u16(), headers: head.headers, bytes }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `done`, `error <code>`, `problem <code>`.
    #[track_caller]
    pub(crate) fn ending(&self) -> String {
        let mut endings = endings(self.header("content-type").unwrap(), &self.bytes);
        assert_eq!(endings.len(), 1, "{}", String::from_utf8_lossy(&self.bytes));
        endings.remove(0)
    }

    pub(crate) fn events(&self) -> Vec<StreamEvent> {
        events(&self.bytes)
    }

    /// The data of the last event, or the problem.
    pub(crate) fn last(&self) -> Value {
        match self.events().last() {
            Some(event) => {
                let envelope: Value = serde_json::from_str(&event.data).unwrap();
                envelope["data"].clone()
            }
            None => serde_json::from_slice(&self.bytes).unwrap(),
        }
    }
}

/// The log of a test: everything that its thread logs while the guard of [`Log::record`] lives.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    #[must_use]
    pub(crate) fn record(&self) -> DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(Level::DEBUG);
        set_thread_log(subscriber.with_writer(move || writer.clone()).finish())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[track_caller]
pub(crate) fn number(item: &Item, name: &str) -> u64 {
    item[name].as_n().unwrap().parse().unwrap()
}

#[track_caller]
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item[name].as_s().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the tables go by the clock")]
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

async fn put(client: &Client, table: &str, item: Item) {
    client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
}

fn client(url: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("local"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("test", "test", None, None, "a test"));
    Client::from_conf(config.build())
}
