//! A soak: many mixed requests, good and faulty, through the local stack. Afterwards it uses what it used before, and the
//! ledger says what the fakes of the upstreams have counted.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use dev::client::endings;
use dev::process::ProcessUse;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::{folder, stack, start};

const GENERATE: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
const FACEFLIP: &str = "/api/v1/faceflip/generate/stream";
/// Requests that are made at the same time.
const AT_ONCE: usize = 50;
/// Requests of one user, some of several calls.
const OF_ONE_USER: usize = 5;
/// Calls that a user may make in a day: a token is refilled every 36 minutes, so none is during the soak.
const LIMIT: u64 = 40;
const CREDITS: u64 = 1000;
/// For everything that ends.
const EVER: Duration = Duration::from_secs(60);
const MB: u64 = 1_000_000;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// Reads to the end.
    Reads,
    /// Disconnects after the first bytes.
    Leaves,
    /// Reads nothing after the first bytes, and then disconnects.
    Stalls,
    /// Asks the task to stop.
    Cancels,
    /// Sends the request twice at once, and again afterwards.
    Repeats,
}

/// One request of the mix.
#[derive(Clone, Debug)]
struct Wanted {
    number: usize,
    path: &'static str,
    body: Value,
    fault: Option<String>,
    behaviour: Behaviour,
}

/// The stack and its tables.
struct Soak {
    child: Child,
    folder: PathBuf,
    address: String,
    tables: Client,
    http: reqwest::Client,
    faults: Vec<String>,
}

/// What the tables hold, over all users.
#[derive(Debug, Default, PartialEq, Eq)]
struct Books {
    tokens: u64,
    credits: u64,
    /// The credits that the records of the tasks say were spent.
    recorded: u64,
    /// Further attempts of failed tasks, whose records forget what the first attempt spent.
    retries: u64,
    holds: usize,
    running: usize,
    /// Tasks that were cancelled before their call. Their tokens stay consumed.
    cancelled_before_call: u64,
    failed: HashMap<String, usize>,
}

impl Soak {
    async fn start(name: &str) -> Self {
        let folder = folder(name);
        let mut command = stack(&folder);
        command.args(["--speed", "inf"]).stderr(fs::File::create(folder.join("log")).unwrap());
        let limit = LIMIT.to_string();
        for (name, value) in [
            ("CREDITS", "on"),
            ("CREDITS_INITIAL", &CREDITS.to_string()),
            ("RL_LIMIT", &limit),
            ("RL_WINDOW_MS", "86400000"),
            ("MAX_IN_FLIGHT", "100"),
            ("DAILY_LIMIT", "1000"),
            ("ARK_MAX_IMAGES", "1"),
            ("CLIENT_STALL_MS", "500"),
            ("CANCEL_POLL_MS", "500"),
            // glibc returns a freed picture to the system, so that what stays resident is in use.
            ("MALLOC_ARENA_MAX", "2"),
            ("MALLOC_MMAP_THRESHOLD_", "65536"),
        ] {
            command.env(name, value);
        }
        let (child, said) = start(command);
        let address = said.trim_end().rsplit(' ').next().unwrap().to_owned();
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let tables = http.get(format!("{address}/dev/tables")).send().await.unwrap().text().await.unwrap();
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("local"))
            .endpoint_url(tables)
            .credentials_provider(Credentials::new("test", "test", None, None, "a test"));
        let page = http.get(format!("{address}/config.json")).send().await.unwrap().bytes().await.unwrap();
        let page: Value = serde_json::from_slice(&page).unwrap();
        let faults = page["local"]["faults"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        // The calls of numbered faults do not reach the fakes that count.
        let is_numbered = |name: &String| name.starts_with('u') && name[1..].starts_with(|c: char| c.is_ascii_digit());
        let faults = faults.filter(|name| !is_numbered(name)).collect();
        Self { child, folder, address, tables: Client::from_conf(config.build()), http, faults }
    }

    /// Every fault and every behaviour in turn but a cancel. A fault is for the next call of the process, so it could meet
    /// a cancelled task, which pays for its call in any case.
    fn wanted(&self, number: usize) -> Wanted {
        let kinds = 8 + self.faults.len() * 2;
        let events = |n: u32| json!({"prompt": format!("a lake {}", number % 7), "format": "events", "n": n});
        let chat = json!({"prompt": "a lake", "format": "chat"});
        let face = json!({"urls": ["https://example.com/a.jpg"], "task_id": format!("soak-{number}")});
        let wanted = |path, body, behaviour| Wanted { number, path, body, fault: None, behaviour };
        match number % kinds {
            0 => wanted(GENERATE, events(1), Behaviour::Reads),
            1 => wanted(GENERATE, chat, Behaviour::Reads),
            2 => wanted(IMAGE, json!({"prompt": "a lake"}), Behaviour::Reads),
            3 => wanted(FACEFLIP, face, Behaviour::Reads),
            4 => wanted(GENERATE, events(2), Behaviour::Reads),
            5 => wanted(GENERATE, events(1), Behaviour::Leaves),
            6 => wanted(GENERATE, events(1), Behaviour::Stalls),
            7 => wanted(GENERATE, events(1), Behaviour::Repeats),
            faulty => {
                let fault = Some(self.faults[(faulty - 8) / 2].clone());
                let (path, body) = if faulty % 2 == 0 { (FACEFLIP, face) } else { (GENERATE, events(1)) };
                Wanted { fault, ..wanted(path, body, Behaviour::Reads) }
            }
        }
    }

    async fn token(&self, user: &str) -> String {
        let body = json!({"email": user, "password": "demo"}).to_string();
        let url = format!("{}/auth/v1/token?grant_type=password", self.address);
        let session = self.http.post(url).body(body).send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice::<Value>(&session).unwrap()["access_token"].as_str().unwrap().to_owned()
    }

    /// Sends one request, and erases its pictures when its task has ended.
    async fn send(&self, wanted: &Wanted) {
        let token = self.token(&user(wanted.number)).await;
        let key = format!("soak-{}", wanted.number);
        let request = || {
            let request = self.http.post(format!("{}{}", self.address, wanted.path)).bearer_auth(&token);
            let request = request.header("content-type", "application/json").header("idempotency-key", &key);
            let request = match &wanted.fault {
                Some(fault) => request.header("x-dev-fault", fault),
                None => request,
            };
            request.body(wanted.body.to_string())
        };
        match wanted.behaviour {
            Behaviour::Reads => read(request(), wanted).await,
            Behaviour::Repeats => {
                tokio::join!(read(request(), wanted), read(request(), wanted));
                read(request(), wanted).await;
            }
            Behaviour::Leaves | Behaviour::Stalls => {
                let mut response = request().send().await.unwrap();
                let _ = response.chunk().await;
                if wanted.behaviour == Behaviour::Stalls {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            }
            Behaviour::Cancels => {
                let mut response = request().send().await.unwrap();
                let _ = response.chunk().await;
                let delete = self.http.delete(format!("{}/api/generations/{key}", self.address)).bearer_auth(&token);
                let status = delete.send().await.unwrap().status().as_u16();
                assert!([200, 202, 503].contains(&status), "{wanted:?}: {status}");
                while let Ok(Some(_)) = response.chunk().await {}
            }
        }
        // As a user does after saving the pictures. This also keeps the memory of the bucket small.
        let erased = async {
            loop {
                let url = format!("{}/api/generations/{key}/pictures", self.address);
                match self.http.delete(url).bearer_auth(&token).send().await.unwrap().status().as_u16() {
                    204 | 404 => break,
                    // Still running, or a table is too slow for a busy machine.
                    409 | 503 => tokio::time::sleep(Duration::from_millis(100)).await,
                    status => unreachable!("{wanted:?}: {status}"),
                }
            }
        };
        tokio::time::timeout(EVER, erased).await.unwrap_or_else(|_| panic!("{wanted:?}: its task does not end"));
    }

    async fn send_all(&self, numbers: Range<usize>) {
        self.send_each(numbers.map(|number| self.wanted(number))).await;
    }

    /// Before any fault.
    async fn cancel_all(&self, numbers: Range<usize>) {
        let body = json!({"prompt": "a lake", "format": "events"});
        self.send_each(numbers.map(|number| Wanted {
            number,
            path: GENERATE,
            body: body.clone(),
            fault: None,
            behaviour: Behaviour::Cancels,
        }))
        .await;
    }

    async fn send_each(&self, all: impl Iterator<Item = Wanted>) {
        let all = stream::iter(all).map(async |wanted| self.send(&wanted).await);
        all.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    }

    async fn counts(&self) -> HashMap<String, u64> {
        let counts = self.http.get(format!("{}/dev/upstream-calls", self.address)).send().await.unwrap();
        serde_json::from_slice(&counts.bytes().await.unwrap()).unwrap()
    }

    async fn books(&self) -> Books {
        let mut books = Books::default();
        let mut at = None;
        for table in ["rate-limits", "ledger"] {
            loop {
                let page =
                    self.tables.scan().table_name(table).set_exclusive_start_key(at.take()).send().await.unwrap();
                page.items().iter().for_each(|item| books.add(item));
                at = page.last_evaluated_key;
                if at.is_none() {
                    break;
                }
            }
        }
        books
    }

    /// What the stack uses when nothing runs: pooled connections end after 90 seconds.
    async fn at_rest(&self) -> (ProcessUse, u64) {
        tokio::time::sleep(Duration::from_secs(100)).await;
        (ProcessUse::of(self.child.id()).unwrap(), self.counts().await["tasks"])
    }

    /// Compares the ledger with what the upstreams have counted.
    #[expect(clippy::print_stdout, reason = "the figures, and why a busy machine fails")]
    async fn balances(&self) -> HashMap<String, u64> {
        let (books, counts) = (self.books().await, self.counts().await);
        println!("{books:?}\n{counts:?}");
        let log = fs::read_to_string(self.folder.join("log")).unwrap();
        let is_table = |line: &&str| line.contains("limiter_unavailable") || line.contains("ledger_unavailable");
        // Then a hold or a token can be lost until its lease ends: the machine is too busy for this test.
        println!("tables that took too long: {:#?}", log.lines().filter(is_table).collect::<Vec<_>>());
        assert_eq!((books.holds, books.running), (0, 0));
        assert!(books.recorded <= books.credits && books.credits <= books.recorded + books.retries);
        assert_eq!(books.tokens, counts["started"] + books.cancelled_before_call);
        assert_eq!(books.credits, counts["pictures"] + counts["rejected"] + counts["dropped"]);
        counts
    }
}

impl Books {
    fn add(&mut self, item: &HashMap<String, AttributeValue>) {
        let number = |name: &str| item.get(name).and_then(|value| value.as_n().ok()?.parse::<u64>().ok());
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str);
        if let Some(tat) = number("tat") {
            self.tokens += tat.saturating_sub(unix_ms()).div_ceil(86_400_000 / LIMIT);
        } else if text("sk") == "BAL" {
            self.credits += CREDITS - number("credits").unwrap();
            self.holds += item["holds"].as_m().unwrap().len();
        } else if text("sk").starts_with("G#") {
            self.running += usize::from(text("st") == "running");
            self.recorded += number("cost").unwrap_or_default();
            self.retries += number("tries").unwrap() - 1;
            let is_unpaid = number("cost").unwrap_or_default() == 0;
            self.cancelled_before_call += u64::from(text("code") == "cancelled" && is_unpaid);
            if text("st") == "failed" {
                *self.failed.entry(text("code").to_owned()).or_default() += 1;
            }
        }
    }
}

impl Drop for Soak {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = (self.child.kill(), self.child.wait());
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[expect(clippy::disallowed_methods, reason = "the tables go by the clock")]
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn user(number: usize) -> String {
    format!("demo+soak{}@example.com", number / OF_ONE_USER)
}

/// Reads a response to its end. A client gives up one that sends nothing more.
async fn read(request: reqwest::RequestBuilder, wanted: &Wanted) {
    let Ok(mut response) = request.send().await else {
        // A cut drops what was not written yet, which may be the head.
        assert!(matches!(wanted.fault.as_deref(), Some("offline" | "cut")), "{wanted:?}");
        return;
    };
    let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    let patience = if wanted.fault.as_deref() == Some("stall") { Duration::from_secs(3) } else { EVER };
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(patience, response.chunk()).await {
        body.extend_from_slice(&piece);
    }
    let is_broken = matches!(wanted.fault.as_deref(), Some("cut" | "stall" | "platform-502"));
    let is_stream = content_type.as_deref().is_some_and(|value| value.starts_with("text/event-stream"));
    if is_stream && !is_broken {
        let endings = endings("text/event-stream", &body);
        assert_eq!(
            endings.len(),
            1,
            "{wanted:?}: {}",
            String::from_utf8_lossy(&body[body.len().saturating_sub(500)..])
        );
    }
}

/// 200 requests, 50 at once:
/// `cargo build --workspace --example stack && cargo test --workspace --test it short_soak -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the machine for itself; the gate runs it alone"]
async fn the_ledger_balances_after_a_short_soak() {
    let soak = Soak::start("short-soak").await;
    soak.cancel_all(0..20).await;
    soak.balances().await;
    soak.send_all(20..200).await;
    let counts = soak.balances().await;
    assert!(counts["refused"] > 0 && counts["rejected"] > 0 && counts["pictures"] > 66);
}

/// 2000 requests after a warm-up of 300, 50 at once:
/// `cargo build --workspace --example stack && cargo test --workspace --test it soak_of_2000 -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes seven minutes; `.ci/long` runs it"]
async fn a_soak_of_2000_requests_leaves_nothing_behind_and_its_ledger_balances() {
    let soak = Soak::start("soak").await;
    soak.cancel_all(0..100).await;
    soak.balances().await;
    soak.send_all(100..300).await;
    let (before, tasks_before) = soak.at_rest().await;
    println!("before: {before:?}, {tasks_before} tasks");
    for begin in (300..2300).step_by(250) {
        soak.send_all(begin..begin + 250).await;
        println!("{} requests: {:?}", begin + 250, ProcessUse::of(soak.child.id()).unwrap());
    }
    let (after, tasks_after) = soak.at_rest().await;
    println!("after: {after:?}, {tasks_after} tasks");
    let counts = soak.balances().await;
    assert!(counts["refused"] > 0 && counts["rejected"] > 0 && counts["pictures"] > 766);
    assert!(after.resident_bytes < before.resident_bytes + 64 * MB);
    assert!(after.descriptors <= before.descriptors + 4);
    assert!(after.threads <= before.threads + 4);
    assert!(tasks_after <= tasks_before + 4);
}
