//! The real binary under the limits of a hosted Lambda: a frozen process, several invocations in one process, the deadline,
//! sizes and the rate.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dev::client::{endings, events, pictures};
use dev::function::Function;
use dev::function_url::payload;
use dev::process::signal;
use dev::runtime_api::Deadline;
use dev::supabase::{self, Project};
use dev::transcript::{Ending, Transcript};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::client::{answer_with, large_picture};
use crate::kept;
use crate::lambda::{BINARY, LONG};
use crate::support::{EVER, Stand, Upstream, User, number, text, unix_ms};

const PATH: &str = "/api/generate-stream";
const MIB: usize = 1024 * 1024;
/// Nine seconds for the function, and two for the platform.
const SHORT: Deadline = Deadline::In(Duration::from_secs(11));
const CREDITS: [(&str, &str); 2] = [("CREDITS", "on"), ("CREDITS_INITIAL", "5")];

async fn spawn(stand: &Stand, upstream: &Upstream, more: &[(&'static str, &str)]) -> Function {
    let mut environment = stand.environment(upstream);
    environment.push(("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()));
    environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Function::spawn_hosted(Path::new(BINARY), &environment).await.unwrap()
}

fn event(bearer: &str, key: &str, prompt: &str) -> Value {
    let headers = [("content-type", "application/json"), ("authorization", bearer), ("idempotency-key", key)];
    payload("POST", PATH, &headers, &json!({"prompt": prompt, "format": "events"}).to_string(), false)
}

async fn ending(function: &Function, event: &Value, deadline: Deadline) -> String {
    let asking = async {
        let mut response = function.invoke(event, deadline).await.unwrap();
        let sent = response.rest().await.unwrap();
        endings(&response.prelude.headers["content-type"], &sent).join(" ")
    };
    tokio::time::timeout(EVER, asking).await.unwrap()
}

/// An answer that stops after this text.
fn stalls_after(text: &str) -> Transcript {
    Transcript { ending: Ending::Stall, ..Transcript::events(text.to_owned()) }
}

fn says(content: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n")
}

/// Waits until the platform has frozen the process.
async fn frozen(function: &Function) {
    let stopped = async {
        while !function.usage().unwrap().is_stopped {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(EVER, stopped).await.unwrap();
}

/// The summary lines that a frozen function has written.
async fn summaries(function: &Function) -> usize {
    frozen(function).await;
    // The log is read by a thread.
    tokio::time::sleep(Duration::from_millis(100)).await;
    function.log().matches("\"bytes_in\"").count()
}

/// Forwards connections, and can close them all.
struct Forwarder {
    address: SocketAddr,
    open: Arc<Mutex<JoinSet<()>>>,
    _accepting: JoinSet<()>,
}

impl Forwarder {
    async fn to(url: &str) -> Self {
        let target = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(JoinSet::new())));
        let (mut accepting, connections) = (JoinSet::new(), open.clone());
        accepting.spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut server = TcpStream::connect(&target).await.unwrap();
                connections.lock().await.spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut socket, &mut server).await;
                });
            }
        });
        Self { address, open, _accepting: accepting }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns how many connections were open.
    async fn cut(&self) -> usize {
        let mut open = self.open.lock().await;
        while open.try_join_next().is_some() {}
        let count = open.len();
        open.shutdown().await;
        count
    }
}

/// Between two requests the process is stopped; meanwhile every connection that it kept is closed.
#[tokio::test]
async fn l5_a_function_that_was_frozen_serves_the_next_request() {
    let (stand, project) = (Stand::new().await, Project::new());
    let upstream = Upstream::plays(Transcript::events(kept::answer(1))).await;
    let running = dev::start(supabase::routes(project.clone())).await.unwrap();
    let usual = stand.environment(&upstream);
    let url = |wanted: &str| usual.iter().find(|(name, _)| *name == wanted).unwrap().1.clone();
    let auth = Forwarder::to(&running.url("")).await;
    let tables = Forwarder::to(&url("AWS_ENDPOINT_URL_DYNAMODB")).await;
    let vault = Forwarder::to(&url("AWS_ENDPOINT_URL_SECRETS_MANAGER")).await;
    let (auth_url, tables_url, vault_url) = (auth.url(), tables.url(), vault.url());
    let more = [
        ("SUPABASE_URL", auth_url.as_str()),
        ("SUPABASE_JWT_SECRET", ""),
        ("AWS_ENDPOINT_URL_DYNAMODB", &tables_url),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &vault_url),
    ];
    let function = spawn(&stand, &upstream, &more).await;
    let token = project.token(&Project::claims(&format!("{auth_url}/auth/v1"), "demo@example.com"));
    let ask = async |key: &str| ending(&function, &event(&format!("Bearer {token}"), key, "x"), LONG).await;
    let process = function.id().unwrap();

    assert_eq!(ask("1").await, "done");
    frozen(&function).await;
    let cut = [tables.cut().await, vault.cut().await, auth.cut().await];
    assert!(cut[0] > 0, "the function keeps connections to its tables: {cut:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(function.usage().unwrap().is_stopped);
    for key in ["2", "3"] {
        assert_eq!(ask(key).await, "done");
    }
    assert_eq!(project.fetches(), 1, "ten seconds do not make a key set stale");
    assert_eq!(summaries(&function).await, 3, "{}", function.log());
    assert_eq!(function.id().unwrap(), process);
}

#[tokio::test]
async fn l6_20_invocations_in_one_process_leave_no_descriptors() {
    let stand = Stand::new().await;
    let upstream = Upstream::plays(Transcript::events(kept::answer(1))).await;
    let function = spawn(&stand, &upstream, &[]).await;
    let process = function.id().unwrap();
    let ask = async |name: String| ending(&function, &event(&User::new(&name).bearer(), "key", "x"), LONG).await;
    for warm_up in 0..3 {
        assert_eq!(ask(format!("warm-up{warm_up}")).await, "done");
    }
    frozen(&function).await;
    let before = function.usage().unwrap();
    for number in 1..=20 {
        assert_eq!(ask(format!("user{number}")).await, "done");
        // Each has written its line before the process is frozen.
        assert_eq!(summaries(&function).await, 3 + number, "{}", function.log());
    }
    let after = function.usage().unwrap();
    assert!(after.descriptors <= before.descriptors + 2, "{before:?} {after:?}");
    assert_eq!(function.id().unwrap(), process, "one process");
}

/// With a whole picture and without; the platform has no reason to replace the process.
#[tokio::test]
async fn l1_a_slow_upstream_ends_the_request_before_the_platform_kills_the_process() {
    let stand = Stand::new().await;
    let picture = kept::answer(1).replace("data: [DONE]\n\n", "");
    let rows = [("nothing", says("hello"), "error deadline_exceeded"), ("picture", picture, "done")];
    let all = rows.map(async |(name, answer, expected)| {
        let good = Transcript::events(kept::answer(1));
        let upstream = Upstream::plays_in_turn(vec![stalls_after(&answer), good]).await;
        let (function, bearer) = (spawn(&stand, &upstream, &[]).await, User::new(name).bearer());
        let process = function.id().unwrap();
        assert_eq!(ending(&function, &event(&bearer, "1", "x"), SHORT).await, expected);
        // Past the deadline.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(ending(&function, &event(&bearer, "2", "x"), LONG).await, "done", "{name}");
        assert_eq!(function.id().unwrap(), process, "{name}");
    });
    futures_util::future::join_all(all).await;
}

/// A process that hangs is killed at its deadline. The credit that it held comes back with the user's next request.
#[tokio::test]
async fn l7_a_process_that_the_platform_kills_leaves_a_hold_that_the_next_request_settles() {
    let (stand, user) = (Stand::new().await, User::new("killed"));
    let upstream =
        Upstream::plays_in_turn(vec![stalls_after(&says("hello")), Transcript::events(kept::answer(1))]).await;
    let function = spawn(&stand, &upstream, &CREDITS).await;
    let (process, bearer) = (function.id().unwrap(), user.bearer());
    let mut response = function.invoke(&event(&bearer, "key", "x"), SHORT).await.unwrap();
    while upstream.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    signal(process, "STOP").unwrap();
    let cut = tokio::time::timeout(EVER, response.rest()).await.unwrap();
    assert_eq!(cut.unwrap_err().to_string(), "the response is truncated");

    let (tables, owner) = (&stand.tables, user.owner());
    assert_eq!(tables.balance(&owner).await, Some((4, 1)));
    let record = tables.record(&owner, "key").await.unwrap();
    assert_eq!(text(&record, "st"), "running");
    let again = ending(&function, &event(&bearer, "key", "x"), LONG).await;
    assert_eq!(again, "problem task_in_progress", "until the lease is over");
    assert_ne!(function.id().unwrap(), process, "another process");

    let balance = tables.ledger_item(&owner, "BAL").await.unwrap();
    let hold_ends = balance["holds"].as_m().unwrap().values().map(|hold| number(hold.as_m().unwrap(), "t")).max();
    let left_ms = hold_ends.unwrap().max(number(&record, "lease")).saturating_sub(unix_ms());
    assert!(left_ms < 17_000, "{left_ms} ms");
    tokio::time::sleep(Duration::from_millis(left_ms + 2)).await;
    assert_eq!(ending(&function, &event(&bearer, "another", "x"), LONG).await, "done");
    assert_eq!(tables.balance(&owner).await, Some((4, 0)), "one picture is charged, and nothing is held");
    assert_eq!(ending(&function, &event(&bearer, "key", "x"), LONG).await, "done", "the task can be repeated");
    assert_eq!(tables.balance(&owner).await, Some((3, 0)));
}

#[tokio::test]
async fn an_event_over_6_mb_does_not_reach_the_function() {
    let (stand, user) = (Stand::new().await, User::new("large"));
    let upstream = Upstream::plays(Transcript::events(kept::answer(1))).await;
    let function = spawn(&stand, &upstream, &[]).await;
    let large = event(&user.bearer(), "key", &"x".repeat(6 * MIB));
    let response = function.invoke(&large, LONG).await.unwrap();
    assert_eq!((response.prelude.status_code, upstream.requests()), (413, 0));
    assert_ne!(response.prelude.headers["content-type"], "application/problem+json", "not the function's own");
    assert_eq!(summaries(&function).await, 0, "{}", function.log());
    assert_eq!(ending(&function, &event(&user.bearer(), "key", "x"), LONG).await, "done");
}

#[tokio::test]
async fn a_stream_of_14_mb_takes_the_time_of_2_mb_a_second() {
    const ANSWER_BYTES: usize = 14_000_000;
    let (stand, user) = (Stand::new().await, User::new("slow"));
    let picture = large_picture(ANSWER_BYTES / 4 * 3);
    let transcript = Transcript { piece_bytes: 64 * 1024, ..Transcript::events(answer_with(&picture)) };
    let upstream = Upstream::plays(transcript).await;
    let function = spawn(&stand, &upstream, &[]).await;
    let mut response = function.invoke(&event(&user.bearer(), "key", "x"), LONG).await.unwrap();
    let (mut sent, mut last) = (Vec::new(), response.prelude_at);
    while let Some(frame) = tokio::time::timeout(EVER, response.next()).await.unwrap().unwrap() {
        sent.extend_from_slice(&frame.bytes);
        last = frame.at;
    }
    let took = last - response.prelude_at;
    let at_the_rate = Duration::from_secs_f64((sent.len() - 6 * MIB) as f64 / (2 * MIB) as f64);
    assert!(took >= at_the_rate && took < at_the_rate + EVER, "{took:?}, not {at_the_rate:?}");
    assert!(pictures(&events(&sent)) == [(0, picture)], "the picture is whole");
    assert_eq!(endings("text/event-stream", &sent), ["done"]);
}
