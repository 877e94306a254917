//! DynamoDB through the real SDK: the embedded engine, another one if it is configured, and the proxy.

mod create;
mod proxy;
mod requests;
mod requirements;
mod template;

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::error::SdkError;
use dev::RunningServer;
use dev::dynamodb::{Engine, LEDGER, Place, Proxy, RATE_LIMITS, Table, routes, start};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

use create::{n, s};
use requests::{add, client, count, get, newest_first, put};
use requirements::{create_and_check, requirements};

const ANOTHER: &str = "AWS_ENDPOINT_URL_DYNAMODB";
/// A bound for everything here.
const EVER: Duration = Duration::from_secs(60);

const LIMITS: &str = "rate-limits";
const BOOK: &str = "ledger";

#[tokio::test]
async fn the_engine_meets_the_requirements() {
    let engine = engine();
    requirements(&client(&engine.url(), 1), LIMITS, BOOK).await;
}

#[tokio::test]
async fn tables_can_be_created_over_the_wire() {
    let engine = start(Place::Memory).unwrap();
    let (_, proxy) = before(&engine).await;
    create_and_check(&client(&proxy.url(""), 1)).await;
}

/// The same with another engine: `AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 cargo test …`. Its
/// tables are created for the test and deleted.
#[tokio::test]
async fn another_engine_meets_the_requirements() {
    #[expect(clippy::disallowed_methods, reason = "a test has no main that could have read it")]
    let Ok(url) = std::env::var(ANOTHER) else { return };
    create_and_check(&client(&url, 3)).await;
}

#[tokio::test]
async fn a_table_is_created_once() {
    let engine = engine();
    let client = client(&engine.url(), 1);
    add(&client, LIMITS, "user").await.unwrap();
    engine.create(LIMITS, &RATE_LIMITS).unwrap();
    engine.create(BOOK, &LEDGER).unwrap();
    assert_eq!(count(&client, LIMITS, "user").await, 1, "its items are kept");
    let error = engine.create(LIMITS, &LEDGER).unwrap_err();
    assert!(error.to_string().contains(LIMITS), "{error}");
    let other = Table { ttl: "expires", ..RATE_LIMITS };
    assert!(engine.create(LIMITS, &other).is_err(), "another TTL");
    assert!(engine.create("x", &RATE_LIMITS).is_err(), "a name that DynamoDB does not accept");
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
    put(&client, LIMITS, [("pk", s("without ttl"))]).await;

    // Its result is not checked: the engine may have swept already.
    engine.sweep().unwrap();
    assert_eq!(engine.sweep().unwrap(), 0);
    assert_eq!(get(&client, LIMITS, "gone").await, None);
    assert!(get(&client, LIMITS, "alive").await.is_some());
    assert!(get(&client, LIMITS, "without ttl").await.is_some());
    assert_eq!(newest_first(&client, BOOK, "gone").await, [""; 0], "removed from the index too");
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
        let engine = start(Place::Folder(folder.0.join("new folder"))).unwrap();
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
        let engine = start(Place::Folder(folder.0.join("new folder"))).unwrap();
        engine.create(LIMITS, &RATE_LIMITS).unwrap();
        let client = client(&engine.url(), 1);
        assert_eq!(count(&client, LIMITS, "user").await, 3 + round);
        add(&client, LIMITS, "user").await.unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error() {
    let folder = Folder::new();
    fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("a file");
    fs::write(&file, "not a folder").unwrap();
    assert!(start(Place::Folder(file)).is_err());
    fs::write(folder.0.join("dynamodb.sqlite"), "not a database, though it has the name of one".repeat(100)).unwrap();
    assert!(start(Place::Folder(folder.0.clone())).is_err());
}

#[tokio::test]
async fn an_engine_ends_while_a_client_is_connected() {
    let engine = engine();
    let client = client(&engine.url(), 1);
    add(&client, LIMITS, "user").await.unwrap();
    let mut half = TcpStream::connect(engine.address).await.unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    let ended = tokio::task::spawn_blocking(move || drop(engine));
    timeout(EVER, ended).await.expect("it does not wait for clients").unwrap();
    assert!(matches!(add(&client, LIMITS, "user").await, Err(SdkError::DispatchFailure(_))));
}

#[tokio::test]
async fn engines_are_independent() {
    let (one, other) = (engine(), engine());
    add(&client(&one.url(), 1), LIMITS, "user").await.unwrap();
    assert_ne!(one.address, other.address);
    assert_eq!(get(&client(&other.url(), 1), LIMITS, "user").await, None);
}

/// An engine in memory with both tables.
fn engine() -> Engine {
    let engine = start(Place::Memory).unwrap();
    engine.create(LIMITS, &RATE_LIMITS).unwrap();
    engine.create(BOOK, &LEDGER).unwrap();
    engine
}

/// A proxy before an engine.
async fn before(engine: &Engine) -> (Proxy, RunningServer) {
    let proxy = Proxy::default();
    let running = dev::start(routes(proxy.clone(), &engine.url())).await.unwrap();
    (proxy, running)
}

/// A folder of one test; deleted when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("dynamodb-{}", Uuid::new_v4())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If it fails, the folder is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
