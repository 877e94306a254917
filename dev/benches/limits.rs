//! Measures the cost of rate-limit decisions: `cargo bench -p dev --bench limits`.
//!
//! Each instance stands for a function's process, with its own memory and connection. The instances share one engine; a
//! proxy counts its requests. With Node, and after `npm install` in `dev/benches`, the DynamoDB store of
//! rate-limiter-flexible is measured on the same engine.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use dev::dynamodb::Place;
use shared::caps::{Caps, LimitClaim, RequestCost};
use shared::edge::{Bucket, DynamoDb, RateLimiter, new_id};
use shared::rate_limit::Policy;
use tokio::task::JoinSet;

const INSTANCES: [usize; 4] = [1, 4, 16, 64];
const RUN: Duration = Duration::from_secs(3);
/// Pause of a caller between two requests.
const THINK: Duration = Duration::from_millis(2);
/// The limit of the hot user: a burst of 50, then one every 20 ms.
const HOT: Policy = Policy { name: "user", limit: 50, window_ms: 1_000 };
const USUAL: Policy = Policy { name: "user", limit: 5, window_ms: 60_000 };
const USERS: u64 = 20_000;
/// Caps that no caller reaches.
const CAPS: Caps = Caps { daily_limit: u32::MAX, max_in_flight: 1_000 };

#[tokio::main]
async fn main() {
    let engine = dev::tables::start(Place::Memory).unwrap();
    let counts: Counts = Arc::new((0..64).map(|_| AtomicU32::new(0)).collect());
    let counter = Counter { engine: engine.url(), client: reqwest::Client::new(), counts: counts.clone() };
    let router = Router::new().route("/{instance}/", post(count)).route("/{instance}", post(count)).with_state(counter);
    let server = dev::start(router).await.unwrap();

    println!(
        "| limiter | callers | instances | decisions/s | admitted | most over | calls a decision: mean, median, worst | calls a refusal |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for instances in INSTANCES {
        let row = measure(&server.url(""), &counts, instances, &HOT, |_| "hot".to_owned()).await;
        println!("| ours | one hot user | {instances} | {row} |");
    }
    for instances in INSTANCES {
        let user = |number: u64| format!("user-{}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % USERS);
        let row = measure(&server.url(""), &counts, instances, &USUAL, user).await;
        println!("| ours | {USERS} users | {instances} | {row} |");
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches");
    let script = Command::new("node").current_dir(folder).args(["rate_limiter_flexible.mjs", &server.url("")]).output();
    match script {
        Ok(output) if output.status.success() => print!("{}", String::from_utf8_lossy(&output.stdout)),
        _ => println!("(rate-limiter-flexible was not measured: install Node and run `npm install` in dev/benches)"),
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Runs the instances. Returns the results as cells of a row.
async fn measure(
    url: &str,
    counts: &Counts,
    instances: usize,
    policy: &'static Policy,
    user: impl Fn(u64) -> String + Copy + Send + 'static,
) -> String {
    let bucket_of_run = new_id();
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for instance in 0..instances {
        let (counts, run) = (counts.clone(), bucket_of_run.clone());
        let tables = DynamoDb::new(Some(format!("{url}/{instance}").parse().unwrap()));
        all.spawn(async move {
            let limiter = RateLimiter::new(&tables, dev::tables::VARIABLES[0].1, None, unix_ms);
            let mut decisions = Vec::new();
            while begun.elapsed() < RUN {
                let key = format!("{run} {}", user((decisions.len() * 64 + instance) as u64));
                let (asked, before) = (begun.elapsed(), counts[instance].load(Ordering::Relaxed));
                let bucket = Bucket { key, policy, caps: &CAPS };
                let claim =
                    LimitClaim { run: new_id(), cost: RequestCost { calls: 1, pictures: 1 }, ends_ms: u64::MAX };
                let decision = limiter.take(&bucket, &claim).await.unwrap();
                let calls = counts[instance].load(Ordering::Relaxed) - before;
                decisions.push((asked, begun.elapsed(), decision.result.is_ok(), calls));
                // Not measured: the place among the running tasks.
                if let Ok(reservation) = decision.result {
                    limiter.release(&bucket, &reservation, 0, 0).await.unwrap();
                }
                tokio::time::sleep(THINK).await;
            }
            decisions
        });
    }
    let mut decisions: Vec<_> = all.join_all().await.into_iter().flatten().collect();
    decisions.sort_by_key(|(_, answered, ..)| *answered);
    let admitted = decisions.iter().filter(|(_, _, is_admitted, _)| *is_admitted);
    let admitted: Vec<_> = admitted.map(|(asked, answered, ..)| (*asked, *answered)).collect();
    let mut calls: Vec<_> = decisions.iter().map(|(.., calls)| *calls).collect();
    calls.sort_unstable();
    let refused = decisions.iter().filter(|(_, _, is_admitted, _)| !is_admitted);
    let refused: Vec<_> = refused.map(|(.., calls)| *calls).collect();
    let mean = |calls: &[u32]| f64::from(calls.iter().sum::<u32>()) / calls.len().max(1) as f64;
    let over = if policy == &HOT { format!("{:+.2}", most_over(&admitted, policy)) } else { "-".to_owned() };
    let per_second = decisions.len() as f64 / RUN.as_secs_f64();
    format!(
        "{per_second:.0} | {} | {over} | {:.2}, {}, {} | {:.2}",
        admitted.len(),
        mean(&calls),
        calls[calls.len() / 2],
        calls[calls.len() - 1],
        mean(&refused),
    )
}

/// The largest number of tokens that any window admitted beyond the limit. A decision happens between its request and
/// its response, so a window lasts from its first request to its last response: a value above 0 proves a violation.
fn most_over(admitted: &[(Duration, Duration)], policy: &Policy) -> f64 {
    let interval = policy.interval_ms() as f64;
    let mut most = f64::NEG_INFINITY;
    for first in 0..admitted.len() {
        let mut asked = Duration::MAX;
        for (count, one) in admitted[first..].iter().enumerate() {
            // Responses may arrive in another order than the decisions.
            asked = asked.min(one.0);
            let span_ms = (one.1 - asked).as_secs_f64() * 1e3;
            most = most.max((count + 1) as f64 - f64::from(policy.limit) - span_ms / interval);
        }
    }
    most
}

type Counts = Arc<Vec<AtomicU32>>;

#[derive(Clone)]
struct Counter {
    engine: String,
    client: reqwest::Client,
    counts: Counts,
}

/// Counts a request of an instance and forwards it to the engine.
async fn count(
    State(counter): State<Counter>,
    Path(instance): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Bytes) {
    counter.counts[instance].fetch_add(1, Ordering::Relaxed);
    let mut request = counter.client.post(&counter.engine).body(body);
    for name in ["content-type", "x-amz-target", "authorization", "x-amz-date"] {
        request = request.header(name, headers[name].clone());
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.bytes().await.unwrap())
}
