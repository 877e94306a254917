//! DynamoDB through the real SDK: the embedded engine, another one where there is one, and the proxy on bad days.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, LocalSecondaryIndex, Projection,
    ProjectionType, ReturnValue, ReturnValuesOnConditionCheckFailure, ScalarAttributeType, TableDescription,
    TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use axum::Router;
use axum::extract::ConnectInfo;
use dev::RunningServer;
use dev::dynamodb::{
    AttributeType, Engine, KeyAttribute, LEDGER, Place, Proxy, RATE_LIMITS, Table, TableCall, TableFault, routes, start,
};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

const ANOTHER: &str = "AWS_ENDPOINT_URL_DYNAMODB";
/// Longer than anything here takes.
const EVER: Duration = Duration::from_secs(60);
/// Longer than an answer takes that is not held.
const A_WHILE: Duration = Duration::from_millis(300);

const LIMITS: &str = "rate-limits";
const BOOK: &str = "ledger";

#[tokio::test]
async fn the_engine_does_what_the_tables_are_for() {
    let engine = engine();
    promises(&client(&engine.url(), 1), LIMITS, BOOK).await;
}

#[tokio::test]
async fn tables_can_be_made_over_the_wire_too() {
    let engine = start(Place::Memory).unwrap();
    let (_, proxy) = before(&engine).await;
    everything(&client(&proxy.url(""), 1)).await;
}

/// The same against an engine that is not ours: `AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 cargo test …`. Its
/// tables are new ones, and are deleted.
#[tokio::test]
async fn another_engine_does_the_same() {
    #[expect(clippy::disallowed_methods, reason = "a test has no main that could have read it")]
    let Ok(url) = std::env::var(ANOTHER) else { return };
    everything(&client(&url, 3)).await;
}

#[tokio::test]
async fn a_table_is_made_once() {
    let engine = engine();
    let client = client(&engine.url(), 1);
    add(&client, LIMITS, "user").await.unwrap();
    engine.create(LIMITS, &RATE_LIMITS).unwrap();
    engine.create(BOOK, &LEDGER).unwrap();
    assert_eq!(count(&client, LIMITS, "user").await, 1, "what was there is kept");
    let error = engine.create(LIMITS, &LEDGER).unwrap_err();
    assert!(error.to_string().contains(LIMITS), "{error}");
    let other = Table { ttl: "expires", ..RATE_LIMITS };
    assert!(engine.create(LIMITS, &other).is_err(), "its items would expire otherwise");
    assert!(engine.create("x", &RATE_LIMITS).is_err(), "DynamoDB takes no such name");
}

#[tokio::test]
async fn expired_items_are_swept() {
    let engine = engine();
    let client = client(&engine.url(), 1);
    #[expect(clippy::disallowed_methods, reason = "the engine goes by the clock as well")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (user, ttl) in [("gone", now - 60), ("alive", now + 3600)] {
        put(&client, LIMITS, [("pk", s(user)), ("ttl", n(ttl))]).await;
        put(&client, BOOK, [("pk", s(user)), ("sk", s("G#1")), ("created", n(1)), ("ttl", n(ttl))]).await;
    }
    put(&client, LIMITS, [("pk", s("for ever"))]).await;

    // What it finds is not said: the engine may have been there before.
    engine.sweep().unwrap();
    assert_eq!(engine.sweep().unwrap(), 0);
    assert_eq!(get(&client, LIMITS, "gone").await, None);
    assert!(get(&client, LIMITS, "alive").await.is_some());
    assert!(get(&client, LIMITS, "for ever").await.is_some());
    assert_eq!(newest_first(&client, BOOK, "gone").await, [""; 0], "it is gone from the index as well");
    assert_eq!(newest_first(&client, BOOK, "alive").await, ["G#1"]);

    put(&client, LIMITS, [("pk", s("gone")), ("ttl", n(now - 60))]).await;
    let swept = async {
        while get(&client, LIMITS, "gone").await.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(EVER, swept).await.expect("the engine sweeps by itself");
}

#[tokio::test]
async fn a_folder_keeps_what_was_written() {
    let folder = Folder::new();
    let url = {
        let engine = start(Place::Folder(folder.0.join("made if need be"))).unwrap();
        engine.create(LIMITS, &RATE_LIMITS).unwrap();
        let client = client(&engine.url(), 1);
        for _ in 0..3 {
            add(&client, LIMITS, "user").await.unwrap();
        }
        engine.url()
    };
    let refused = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "a dropped engine listens no longer");
    for round in 0..3 {
        let engine = start(Place::Folder(folder.0.join("made if need be"))).unwrap();
        engine.create(LIMITS, &RATE_LIMITS).unwrap();
        let client = client(&engine.url(), 1);
        assert_eq!(count(&client, LIMITS, "user").await, 3 + round);
        add(&client, LIMITS, "user").await.unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_says_so() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("a file");
    fs::write(&file, "not a folder").unwrap();
    assert!(start(Place::Folder(file)).is_err());
    fs::write(folder.0.join("dynamodb.sqlite"), "not a database, though it has the name of one".repeat(100)).unwrap();
    assert!(start(Place::Folder(folder.0.clone())).is_err());
}

#[tokio::test]
async fn an_engine_ends_whatever_its_clients_do() {
    let engine = engine();
    let client = client(&engine.url(), 1);
    add(&client, LIMITS, "user").await.unwrap();
    let mut half = TcpStream::connect(engine.address).await.unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    let ended = tokio::task::spawn_blocking(move || drop(engine));
    timeout(EVER, ended).await.expect("it does not wait for them").unwrap();
    assert!(matches!(add(&client, LIMITS, "user").await, Err(SdkError::DispatchFailure(_))));
}

#[tokio::test]
async fn engines_do_not_know_each_other() {
    let (one, other) = (engine(), engine());
    add(&client(&one.url(), 1), LIMITS, "user").await.unwrap();
    assert_ne!(one.address, other.address);
    assert_eq!(get(&client(&other.url(), 1), LIMITS, "user").await, None);
}

#[tokio::test]
async fn what_the_service_says_reaches_the_caller() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    let rows = [
        (TableFault::Throttling, 400, "ThrottlingException"),
        (TableFault::ProvisionedThroughputExceeded, 400, "ProvisionedThroughputExceededException"),
        (TableFault::ResourceNotFound, 400, "ResourceNotFoundException"),
        (TableFault::AccessDenied, 400, "AccessDeniedException"),
        (TableFault::InternalServerError, 500, "InternalServerError"),
    ];
    for (fault, status, code) in rows {
        proxy.fail(Some(fault));
        let error = add(&client, LIMITS, "user").await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), status, "{fault:?}");
        assert_eq!(error.code(), Some(code));
        assert!(error.message().is_some_and(|message| message.len() > 10), "{fault:?} says why: {error:?}");
        let modelled = match error.into_service_error() {
            UpdateItemError::ThrottlingException(_) => "ThrottlingException",
            UpdateItemError::ProvisionedThroughputExceededException(_) => "ProvisionedThroughputExceededException",
            UpdateItemError::ResourceNotFoundException(_) => "ResourceNotFoundException",
            UpdateItemError::InternalServerError(_) => "InternalServerError",
            // No model has it.
            _ => "AccessDeniedException",
        };
        assert_eq!(modelled, code);
    }
    proxy.fail(None);
    assert_eq!(count(&client, LIMITS, "user").await, 0, "nothing was done");
    add(&client, LIMITS, "user").await.unwrap();
}

#[tokio::test]
async fn the_engine_itself_says_it_alike() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    let its_own = add(&client, "no-such-table", "user").await.unwrap_err();
    proxy.fail(Some(TableFault::ResourceNotFound));
    let ours = add(&client, LIMITS, "user").await.unwrap_err();
    let body = |error: &SdkError<UpdateItemError>| {
        let body = error.raw_response().unwrap().body().bytes().unwrap();
        serde_json::from_slice::<serde_json::Value>(body).unwrap()
    };
    assert_eq!(body(&its_own)["__type"], body(&ours)["__type"]);
    let members = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<HashSet<_>>();
    assert_eq!(members(body(&its_own)), members(body(&ours)));
    for name in ["content-type", "x-amzn-requestid"] {
        let header = |error: &SdkError<_>| error.raw_response().unwrap().headers().get(name).map(str::to_owned);
        let (its_own, ours) = (header(&its_own).unwrap(), header(&ours).unwrap());
        assert!(its_own == ours || name == "x-amzn-requestid", "{name}: {its_own}, {ours}");
    }
}

#[tokio::test]
async fn a_swallowed_answer_hides_a_write() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (direct, client) = (client(&engine.url(), 1), client(&running.url(""), 1));
    proxy.fail_every(3, TableFault::Swallow);
    let mut lost = 0;
    for asked in 1..=9 {
        match add(&client, LIMITS, "user").await {
            Ok(_) => {}
            Err(SdkError::DispatchFailure(_)) => lost += 1,
            Err(other) => panic!("{}", DisplayErrorContext(other)),
        }
        assert_eq!(count(&direct, LIMITS, "user").await, asked, "it is written whatever the caller saw");
        assert_eq!(lost, asked / 3);
    }
    assert_eq!(proxy.calls(), 9);
}

#[tokio::test]
async fn a_retry_behind_a_swallowed_answer_meets_its_own_write() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (direct, retrying) = (client(&engine.url(), 1), client(&running.url(""), 2));
    first_fails(&proxy, TableFault::Swallow);
    add(&retrying, LIMITS, "twice").await.expect("the second attempt's answer arrives");
    assert_eq!(count(&direct, LIMITS, "twice").await, 2, "the attempts are not told apart");

    first_fails(&proxy, TableFault::Swallow);
    let error = charge(&retrying, LIMITS, "once", 1000, "run-1").await.unwrap_err();
    let left = condition_failed(error).expect("what is there comes with the refusal");
    assert_eq!((&left["rid"], &left["tat"]), (&s("run-1"), &n(1000)), "it is the first attempt's own");
    assert_eq!((proxy.calls(), proxy.calls_to("UpdateItem")), (4, 4));
}

#[tokio::test]
async fn a_client_retries_what_passes() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (retrying, impatient) = (client(&running.url(""), 2), impatient(&running.url(""), 2));
    let passing = [
        TableFault::Throttling,
        TableFault::ProvisionedThroughputExceeded,
        TableFault::InternalServerError,
        TableFault::Refuse,
        TableFault::Hang,
    ];
    for (done, fault) in passing.into_iter().enumerate() {
        first_fails(&proxy, fault);
        let client = if fault == TableFault::Hang { &impatient } else { &retrying };
        add(client, LIMITS, "user").await.unwrap_or_else(|error| panic!("{fault:?}: {}", DisplayErrorContext(error)));
        assert_eq!(count(&retrying, LIMITS, "user").await, done as u64 + 1, "{fault:?}: nothing was done before");
    }
    for fault in [TableFault::ResourceNotFound, TableFault::AccessDenied] {
        let before = proxy.calls();
        first_fails(&proxy, fault);
        assert!(add(&retrying, LIMITS, "user").await.is_err(), "{fault:?}");
        assert_eq!(proxy.calls() - before, 1, "{fault:?} will not pass");
    }
}

#[tokio::test]
async fn a_refused_request_gets_no_byte_and_does_nothing() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (direct, client) = (client(&engine.url(), 1), client(&running.url(""), 1));
    add(&client, LIMITS, "user").await.unwrap();
    for fault in [TableFault::Refuse, TableFault::Swallow] {
        proxy.fail(Some(fault));
        let mut socket = TcpStream::connect(running.address).await.unwrap();
        socket.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        let mut answer = Vec::new();
        timeout(EVER, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.is_empty(), "{fault:?}: {:?}", String::from_utf8_lossy(&answer));
    }
    proxy.fail(Some(TableFault::Refuse));
    let error = add(&client, LIMITS, "user").await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    assert_eq!(count(&direct, LIMITS, "user").await, 1);
}

#[tokio::test]
async fn a_hanging_request_takes_as_long_as_its_caller_has() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let (direct, client) = (client(&engine.url(), 1), impatient(&running.url(""), 1));
    proxy.fail(Some(TableFault::Hang));
    let error = timeout(EVER, add(&client, LIMITS, "user")).await.unwrap().unwrap_err();
    assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
    assert_eq!(count(&direct, LIMITS, "user").await, 0);
}

#[tokio::test]
async fn a_late_answer_is_late_though_all_is_done() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let direct = client(&engine.url(), 1);
    proxy.delay(EVER * 60);
    let impatient = impatient(&running.url(""), 1);
    let error = timeout(EVER, add(&impatient, LIMITS, "late")).await.unwrap().unwrap_err();
    assert!(matches!(error, SdkError::TimeoutError(_)), "{error:?}");
    assert_eq!(count(&direct, LIMITS, "late").await, 1, "it is written all the same");

    proxy.delay(A_WHILE);
    let client = client(&running.url(""), 1);
    let mut asking = Box::pin(add(&client, LIMITS, "slow"));
    assert!(timeout(A_WHILE / 2, &mut asking).await.is_err(), "no answer yet");
    timeout(EVER, asking).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_proxy_without_an_engine_answers_nothing() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    add(&client, LIMITS, "user").await.unwrap();
    drop(engine);
    for _ in 0..2 {
        let error = add(&client, LIMITS, "user").await.unwrap_err();
        assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    }
    assert_eq!(proxy.calls(), 3);
    let address = running.address;
    drop(running);
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(EVER, gone).await.expect("nobody listens where the proxy was");
}

#[tokio::test]
async fn calls_are_counted_by_what_they_ask() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    add(&client, LIMITS, "user").await.unwrap();
    assert_eq!(count(&client, LIMITS, "user").await, 1);
    put(&client, BOOK, [("pk", s("user")), ("sk", s("BAL"))]).await;
    assert_eq!(newest_first(&client, BOOK, "user").await, [""; 0]);
    client.list_tables().send().await.unwrap();
    proxy.fail(Some(TableFault::AccessDenied));
    assert!(add(&client, LIMITS, "user").await.is_err());
    assert_eq!(proxy.calls(), 6, "a request that fails is one as well");
    let operations = ["UpdateItem", "GetItem", "PutItem", "Query", "ListTables", "DeleteItem"];
    assert_eq!(operations.map(|operation| proxy.calls_to(operation)), [2, 1, 1, 1, 1, 0]);
    assert_eq!([LIMITS, BOOK, ""].map(|table| proxy.calls_on(table)), [3, 2, 1]);
    assert!(format!("{proxy:?}").contains("UpdateItem"));
}

#[tokio::test]
async fn a_script_chooses_what_fails() {
    let engine = engine();
    let (proxy, running) = before(&engine).await;
    let client = client(&running.url(""), 1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    proxy.script(move |call| {
        log.lock().unwrap().push(call.clone());
        (call.table == BOOK && call.operation == "UpdateItem").then_some(TableFault::Throttling)
    });
    add(&client, LIMITS, "user").await.unwrap();
    let key = HashMap::from([("pk".to_owned(), s("user")), ("sk".to_owned(), s("BAL"))]);
    assert!(client.update_item().table_name(BOOK).set_key(Some(key)).send().await.is_err());
    put(&client, BOOK, [("pk", s("user")), ("sk", s("BAL"))]).await;
    let call = |operation: &str, table: &str| TableCall { operation: operation.into(), table: table.into() };
    let expected = [call("UpdateItem", LIMITS), call("UpdateItem", BOOK), call("PutItem", BOOK)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn requests_do_not_wait_for_each_other_and_connections_are_kept() {
    let peers = Arc::new(Mutex::new(HashSet::new()));
    let met = Arc::clone(&peers);
    let upstream = Router::new().fallback(async move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
        met.lock().unwrap().insert(peer);
        "{}"
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        axum::serve(listener, upstream.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });
    let proxy = Proxy::default();
    let running = dev::start(routes(proxy.clone(), &format!("http://{address}"))).await.unwrap();
    let client = client(&running.url(""), 1);
    for _ in 0..20 {
        add(&client, LIMITS, "user").await.unwrap();
    }
    assert_eq!(peers.lock().unwrap().len(), 1, "one after the other, on one connection");

    proxy.delay(A_WHILE);
    let many = join_all((0..30).map(|_| add(&client, LIMITS, "user")));
    let answers = timeout(A_WHILE * 10, many).await.expect("thirty wait as long as one");
    assert!(answers.iter().all(Result::is_ok));
    proxy.delay(Duration::ZERO);
    let after = peers.lock().unwrap().len();
    assert!(after > 1, "at once, on connections of their own");
    for _ in 0..20 {
        add(&client, LIMITS, "user").await.unwrap();
    }
    assert_eq!(peers.lock().unwrap().len(), after, "which are used again");
}

#[test]
fn the_tables_are_those_of_the_template() {
    let template = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml")).unwrap();
    let lines = template.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let template = lines.collect::<Vec<_>>().join("\n");
    let tables = [("RateLimitsTable", RATE_LIMITS), ("LedgerTable", LEDGER)];
    let deployed = template.matches("\n    Type: AWS::DynamoDB::Table\n").count();
    assert_eq!(deployed, tables.len(), "every table is here");
    for (resource, table) in tables {
        let resource = block(&block(&template, "Resources"), resource);
        assert_eq!(resource.lines().next(), Some("Type: AWS::DynamoDB::Table"));
        let properties = block(&resource, "Properties");
        // No engine at home does anything for these.
        let not_here = ["SSESpecification:", "PointInTimeRecoverySpecification:"];
        let here = properties.lines().filter(|line| !not_here.iter().any(|key| line.starts_with(key)));
        assert_eq!(here.collect::<Vec<_>>().join("\n"), written(&table));
    }
}

/// What stands in YAML below a key that stands alone on its line.
fn block(yaml: &str, key: &str) -> String {
    let mut lines = yaml.lines();
    lines.find(|line| line.strip_suffix(':') == Some(key)).unwrap_or_else(|| panic!("no {key}"));
    lines.map_while(|line| line.strip_prefix("  ")).collect::<Vec<_>>().join("\n")
}

/// A table's properties, as the template writes them.
fn written(table: &Table) -> String {
    let mut lines = vec!["BillingMode: PAY_PER_REQUEST".to_owned(), "AttributeDefinitions:".to_owned()];
    let attribute =
        |key: KeyAttribute| format!("  - {{ AttributeName: {}, AttributeType: {} }}", key.name, key.kind.letter());
    lines.extend(table.keys().map(attribute));
    let schema = |indent: &str, sort: Option<KeyAttribute>| -> Vec<String> {
        let partition = format!("{indent}- {{ AttributeName: {}, KeyType: HASH }}", table.partition.name);
        let sort = sort.map(|key| format!("{indent}- {{ AttributeName: {}, KeyType: RANGE }}", key.name));
        [Some(partition), sort].into_iter().flatten().collect()
    };
    lines.push("KeySchema:".to_owned());
    lines.extend(schema("  ", table.sort));
    if let Some(index) = table.index {
        lines.push("LocalSecondaryIndexes:".to_owned());
        lines.push(format!("  - IndexName: {}", index.name));
        lines.push("    KeySchema:".to_owned());
        lines.extend(schema("      ", Some(index.sort)));
        lines.push("    Projection: { ProjectionType: ALL }".to_owned());
    }
    lines.push(format!("TimeToLiveSpecification: {{ AttributeName: {}, Enabled: true }}", table.ttl));
    lines.join("\n")
}

/// An engine in memory with both tables.
fn engine() -> Engine {
    let engine = start(Place::Memory).unwrap();
    engine.create(LIMITS, &RATE_LIMITS).unwrap();
    engine.create(BOOK, &LEDGER).unwrap();
    engine
}

async fn before(engine: &Engine) -> (Proxy, RunningServer) {
    let proxy = Proxy::default();
    let running = dev::start(routes(proxy.clone(), &engine.url())).await.unwrap();
    (proxy, running)
}

fn first_fails(proxy: &Proxy, fault: TableFault) {
    let mut fault = Some(fault);
    proxy.script(move |_| fault.take());
}

fn client(url: &str, attempts: u32) -> Client {
    waiting(url, attempts, EVER)
}

/// Gives up an attempt that hangs.
fn impatient(url: &str, attempts: u32) -> Client {
    waiting(url, attempts, Duration::from_secs(1))
}

fn waiting(url: &str, attempts: u32, patience: Duration) -> Client {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).build();
    let retries = RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(Duration::from_millis(10));
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("test", "test", None, None, "a test"))
        .retry_config(retries)
        .timeout_config(timeouts);
    Client::from_conf(config.build())
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

async fn put<const N: usize>(client: &Client, table: &str, item: [(&str, AttributeValue); N]) {
    let item = item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
}

async fn get(client: &Client, table: &str, user: &str) -> Option<HashMap<String, AttributeValue>> {
    client.get_item().table_name(table).key("pk", s(user)).consistent_read(true).send().await.unwrap().item
}

async fn add(client: &Client, table: &str, user: &str) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
    let update = client.update_item().table_name(table).key("pk", s(user));
    update
        .update_expression("ADD #n :one")
        .expression_attribute_names("#n", "n")
        .expression_attribute_values(":one", n(1))
        .send()
        .await
}

/// How often [`add`] was done.
async fn count(client: &Client, table: &str, user: &str) -> u64 {
    let item = get(client, table, user).await.unwrap_or_default();
    item.get("n").map_or(0, |count| count.as_n().unwrap().parse().unwrap())
}

/// Writes a time and who wrote it, unless a later time or the same writer stands there.
async fn charge(
    client: &Client,
    table: &str,
    user: &str,
    time: u64,
    writer: &str,
) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
    let update = client.update_item().table_name(table).key("pk", s(user));
    update
        .update_expression("SET #tat = :new, #rid = :rid, #ttl = :ttl")
        .condition_expression("attribute_not_exists(#tat) OR (#tat <= :new AND #rid <> :rid)")
        .expression_attribute_names("#tat", "tat")
        .expression_attribute_names("#rid", "rid")
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":new", n(time))
        .expression_attribute_values(":rid", s(writer))
        .expression_attribute_values(":ttl", n(4_000_000_000))
        .return_values(ReturnValue::UpdatedNew)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
}

#[track_caller]
fn condition_failed(error: SdkError<UpdateItemError>) -> Option<HashMap<String, AttributeValue>> {
    match error {
        SdkError::ServiceError(error) => match error.into_err() {
            UpdateItemError::ConditionalCheckFailedException(failed) => failed.item,
            other => panic!("{}", DisplayErrorContext(other)),
        },
        other => panic!("{}", DisplayErrorContext(other)),
    }
}

async fn newest_first(client: &Client, table: &str, user: &str) -> Vec<String> {
    let query = client.query().table_name(table).index_name("created").scan_index_forward(false);
    let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s(user));
    let items = query.send().await.unwrap().items.unwrap_or_default();
    items.iter().map(|item| item["sk"].as_s().unwrap().clone()).collect()
}

/// Makes both tables, tries what they are for, and deletes them.
async fn everything(client: &Client) {
    let id = Uuid::new_v4();
    let (limits, book) = (format!("rate-limits-{id}"), format!("ledger-{id}"));
    create(client, &limits, &RATE_LIMITS).await;
    create(client, &book, &LEDGER).await;
    promises(client, &limits, &book).await;
    for table in [limits, book] {
        client.delete_table().table_name(table).send().await.unwrap();
    }
}

async fn create(client: &Client, name: &str, table: &Table) {
    let partition = || element(table.partition, KeyType::Hash);
    let index = table.index.map(|index| {
        LocalSecondaryIndex::builder()
            .index_name(index.name)
            .key_schema(partition())
            .key_schema(element(index.sort, KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::All).build())
            .build()
            .unwrap()
    });
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(table.keys().map(attribute).collect()))
        .set_key_schema(Some(schema(table.partition, table.sort)))
        .set_local_secondary_indexes(index.map(|index| vec![index]))
        .send()
        .await
        .unwrap();
    let active = async {
        while describe(client, name).await.table_status != Some(TableStatus::Active) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(EVER, active).await.unwrap();
    let expires = TimeToLiveSpecification::builder().attribute_name(table.ttl).enabled(true).build().unwrap();
    client.update_time_to_live().table_name(name).time_to_live_specification(expires).send().await.unwrap();
}

fn element(key: KeyAttribute, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(key.name).key_type(kind).build().unwrap()
}

fn schema(partition: KeyAttribute, sort: Option<KeyAttribute>) -> Vec<KeySchemaElement> {
    let sort = sort.map(|key| element(key, KeyType::Range));
    [Some(element(partition, KeyType::Hash)), sort].into_iter().flatten().collect()
}

fn attribute(key: KeyAttribute) -> AttributeDefinition {
    let kind = match key.kind {
        AttributeType::Text => ScalarAttributeType::S,
        AttributeType::Number => ScalarAttributeType::N,
    };
    AttributeDefinition::builder().attribute_name(key.name).attribute_type(kind).build().unwrap()
}

async fn describe(client: &Client, table: &str) -> TableDescription {
    client.describe_table().table_name(table).send().await.unwrap().table.unwrap()
}

/// What is expected of any engine.
async fn promises(client: &Client, limits: &str, book: &str) {
    for (name, table) in [(limits, RATE_LIMITS), (book, LEDGER)] {
        let found = describe(client, name).await;
        assert_eq!(found.table_status, Some(TableStatus::Active));
        assert_eq!(found.key_schema(), schema(table.partition, table.sort));
        let sorted = |mut list: Vec<AttributeDefinition>| {
            list.sort_by(|one, other| one.attribute_name.cmp(&other.attribute_name));
            list
        };
        assert_eq!(sorted(found.attribute_definitions().to_vec()), sorted(table.keys().map(attribute).collect()));
        let indexes =
            found.local_secondary_indexes().iter().map(|index| (index.index_name(), index.key_schema().to_vec()));
        let expected = table.index.map(|index| (Some(index.name), schema(table.partition, Some(index.sort))));
        assert_eq!(indexes.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
        let ttl = client.describe_time_to_live().table_name(name).send().await.unwrap();
        let ttl = ttl.time_to_live_description.unwrap();
        assert_eq!(ttl.attribute_name(), Some(table.ttl));
        assert!(matches!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)));
    }
    conditions_hold(client, limits).await;
    nothing_is_lost_or_done_twice_at_once(client, limits).await;
    a_hold_is_given_back_once(client, book).await;
    an_index_gives_the_newest_first(client, book).await;
}

async fn conditions_hold(client: &Client, limits: &str) {
    let done = charge(client, limits, "user", 1000, "run-1").await.unwrap();
    let new = done.attributes.unwrap();
    assert_eq!(new.len(), 3, "what was set, and not the key: {new:?}");
    assert_eq!((&new["tat"], &new["rid"]), (&n(1000), &s("run-1")));

    for (time, writer) in [(2000, "run-1"), (999, "run-2")] {
        let error = charge(client, limits, "user", time, writer).await.unwrap_err();
        let old = condition_failed(error).unwrap();
        assert_eq!(old.len(), 4, "all of it: {old:?}");
        assert_eq!((&old["pk"], &old["tat"], &old["rid"]), (&s("user"), &n(1000), &s("run-1")));
    }
    charge(client, limits, "user", 2000, "run-2").await.unwrap();
    assert_eq!(get(client, limits, "user").await.unwrap()["tat"], n(2000));

    // Nothing is there: nothing comes with the refusal.
    let refused = client.update_item().table_name(limits).key("pk", s("nobody"));
    let refused = refused
        .update_expression("SET #n = :one")
        .condition_expression("attribute_exists(pk)")
        .expression_attribute_names("#n", "n")
        .expression_attribute_values(":one", n(1))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    assert_eq!(condition_failed(refused.send().await.unwrap_err()), None);
    assert_eq!(get(client, limits, "nobody").await, None);
}

async fn nothing_is_lost_or_done_twice_at_once(client: &Client, limits: &str) {
    let takers = (0..40).map(|_| {
        let update = client.update_item().table_name(limits).key("pk", s("hot"));
        update
            .update_expression("ADD #n :one")
            .condition_expression("attribute_not_exists(#n) OR #n < :most")
            .expression_attribute_names("#n", "n")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":most", n(25))
            .send()
    });
    let answers = join_all(takers).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 25);
    for error in answers.into_iter().filter_map(Result::err) {
        condition_failed(error);
    }
    assert_eq!(count(client, limits, "hot").await, 25);
}

async fn a_hold_is_given_back_once(client: &Client, book: &str) {
    let credits =
        [("pk", s("user")), ("sk", s("BAL")), ("credits", n(5)), ("holds", AttributeValue::M(HashMap::new()))];
    put(client, book, credits).await;
    let update = || client.update_item().table_name(book).key("pk", s("user")).key("sk", s("BAL"));
    let hold = AttributeValue::M(HashMap::from([("c".to_owned(), n(3)), ("t".to_owned(), n(1000))]));
    let reserve = || {
        update()
            .update_expression("SET #credits = #credits - :c, #holds.#task = :hold")
            .condition_expression("#credits >= :c AND attribute_not_exists(#holds.#task)")
            .expression_attribute_names("#credits", "credits")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#task", "a task: of any name")
            .expression_attribute_values(":c", n(3))
            .expression_attribute_values(":hold", hold.clone())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
    };
    let give_back = || {
        update()
            .update_expression("SET #credits = #credits + #holds.#task.#c REMOVE #holds.#task")
            .condition_expression("attribute_exists(#holds.#task)")
            .expression_attribute_names("#credits", "credits")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#task", "a task: of any name")
            .expression_attribute_names("#c", "c")
            .return_values(ReturnValue::UpdatedNew)
            .send()
    };
    reserve().await.unwrap();
    let old = condition_failed(reserve().await.unwrap_err()).unwrap();
    assert_eq!(old["credits"], n(2));
    assert_eq!(old["holds"].as_m().unwrap()["a task: of any name"], hold);
    let new = give_back().await.unwrap().attributes.unwrap();
    assert_eq!(new["credits"], n(5));
    assert_eq!(condition_failed(give_back().await.unwrap_err()), None, "it was not asked for");
}

async fn an_index_gives_the_newest_first(client: &Client, book: &str) {
    for (user, task, created) in [("user", "G#b", 2), ("user", "G#a", 10), ("user", "G#c", 9), ("other", "G#d", 5)] {
        put(client, book, [("pk", s(user)), ("sk", s(task)), ("created", n(created))]).await;
    }
    // As numbers; without the balance, which has no time; without anybody else's.
    assert_eq!(newest_first(client, book, "user").await, ["G#a", "G#c", "G#b"]);

    let mut pages = Vec::new();
    let mut start = None;
    loop {
        let query = client.query().table_name(book).index_name("created").scan_index_forward(false).limit(2);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s("user"));
        let page = query.set_exclusive_start_key(start.take()).send().await.unwrap();
        pages.extend(page.items().iter().map(|item| item["sk"].as_s().unwrap().clone()));
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
        assert!(pages.len() <= 3, "{pages:?}");
    }
    assert_eq!(pages, ["G#a", "G#c", "G#b"], "page by page");
}

/// A folder of one test's own; deleted when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("dynamodb-{}", Uuid::new_v4())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whatever is left is in a folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}
