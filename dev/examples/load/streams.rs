//! `load streams`: CPU, times and memory of the handlers as `cargo dev` serves them, beside less.

use std::process::Command;

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::bench_process::BenchProcess;
use crate::lambda_process::path_of;
use crate::local_services::HIGH_LIMITS;
use crate::upstream::LoadPayload;
use crate::{median, megabytes, ms, stream_client};

const PIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/load/pipe.mjs");
const WARM_UP: usize = 4;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gateway {
    /// The upstream itself.
    Direct,
    PassThrough,
    NodePipe,
    Chat,
    Events,
    /// `Events`, with a bucket that keeps the pictures.
    EventsKept,
}

/// The results of one round.
#[derive(Clone, Copy)]
struct LoadFigures {
    /// Seconds of CPU for 100 streams.
    cpu: f64,
    first_ms: f64,
    total_ms: f64,
    peak_bytes: u64,
}

/// Streams of one kind.
struct LoadCase {
    answer: &'static str,
    payload: LoadPayload,
    at_once: usize,
    streams: usize,
    gateways: &'static [Gateway],
}

const USUAL: &[Gateway] = &[Gateway::Direct, Gateway::PassThrough, Gateway::NodePipe, Gateway::Chat, Gateway::Events];
const WITH_BUCKET: &[Gateway] =
    &[Gateway::Direct, Gateway::PassThrough, Gateway::NodePipe, Gateway::Chat, Gateway::Events, Gateway::EventsKept];

const fn case(
    answer: &'static str,
    payload: LoadPayload,
    at_once: usize,
    streams: usize,
    gateways: &'static [Gateway],
) -> LoadCase {
    LoadCase { answer, payload, at_once, streams, gateways }
}

const CASES: [LoadCase; 6] = [
    case("1 KB", LoadPayload::deltas(1024), 1, 200, USUAL),
    case("2 MB in 16 KB chunks", LoadPayload::deltas(2 << 20), 1, 100, USUAL),
    case("2 MB in 16 KB chunks", LoadPayload::deltas(2 << 20), 32, 192, USUAL),
    case("2 MB in one line", LoadPayload::line(2 << 20), 1, 100, USUAL),
    case("2 MB in one line", LoadPayload::line(2 << 20), 32, 192, USUAL),
    case("14 MB in one line", LoadPayload::line(14 << 20), 32, 64, WITH_BUCKET),
];

pub(crate) async fn measure(rounds: usize) {
    let node = path_of("node");
    println!("Medians of {rounds} rounds\n");
    println!(
        "| Answer | At once | Gateway | CPU s for 100 streams | × the pass-through | First byte after the upstream's, ms | Total × direct | Peak resident MB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for case in CASES {
        let upstream = BenchProcess::action(&["upstream", &case.payload.argument()]);
        let gateways = case.gateways.iter().filter(|gateway| **gateway != Gateway::NodePipe || node.is_some());
        let gateways: Vec<_> = gateways.copied().collect();
        let mut figures = vec![Vec::new(); gateways.len()];
        for _ in 0..rounds {
            for (gateway, figures) in gateways.iter().zip(&mut figures) {
                figures.push(gateway.measure(&upstream.url, &case).await);
            }
        }
        let figures: Vec<_> = figures.iter().map(|rounds| LoadFigures::median(rounds)).collect();
        let of = |wanted| gateways.iter().zip(&figures).find(|(gateway, _)| **gateway == wanted).map(|(_, it)| *it);
        let (direct, floor) = (of(Gateway::Direct).unwrap(), of(Gateway::PassThrough).unwrap());
        for (gateway, of_it) in gateways.iter().zip(&figures).filter(|(gateway, _)| **gateway != Gateway::Direct) {
            println!(
                "| {} | {} | {} | {:.2} | {:.2} | {:.1} | {:.2} | {:.0} |",
                case.answer,
                case.at_once,
                gateway.name(),
                of_it.cpu,
                of_it.cpu / floor.cpu,
                of_it.first_ms - direct.first_ms,
                of_it.total_ms / direct.total_ms,
                megabytes(of_it.peak_bytes)
            );
        }
    }
}

impl Gateway {
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "none",
            Self::PassThrough => "axum + reqwest pass-through",
            Self::NodePipe => "Node `http` pipe",
            Self::Chat => "`chat`",
            Self::Events => "`events`",
            Self::EventsKept => "`events`, bucket",
        }
    }

    /// In processes that were started for this.
    async fn measure(self, upstream: &str, case: &LoadCase) -> LoadFigures {
        let (tables, bucket) = match self {
            Self::Direct | Self::PassThrough | Self::NodePipe => (None, None),
            Self::Chat | Self::Events => (Some(BenchProcess::action(&["tables"])), None),
            Self::EventsKept => (Some(BenchProcess::action(&["tables"])), Some(BenchProcess::action(&["bucket"]))),
        };
        let process = match self {
            Self::Direct => None,
            Self::PassThrough => Some(BenchProcess::action(&["pass-through", upstream])),
            Self::NodePipe => Some(BenchProcess::start(Command::new("node").args([PIPE, upstream]))),
            Self::Chat | Self::Events | Self::EventsKept => Some(stack(upstream, tables.as_ref(), bucket.as_ref())),
        };
        let url = process.as_ref().map_or(upstream, |process| &process.url);
        let (request, terminal) = self.request(url).await;
        stream_client::read(&request, terminal, WARM_UP, case.at_once.min(WARM_UP)).await;
        let cpu = || process.as_ref().map_or(0.0, |process| process.cpu().as_secs_f64());
        let before = cpu();
        let times = stream_client::read(&request, terminal, case.streams, case.at_once).await;
        LoadFigures {
            cpu: (cpu() - before) / case.streams as f64 * 100.0,
            first_ms: median(times.iter().map(|times| ms(times.first)).collect()),
            total_ms: median(times.iter().map(|times| ms(times.total)).collect()),
            peak_bytes: process.as_ref().map_or(0, BenchProcess::peak_resident_bytes),
        }
    }

    /// The request, and what is in the end of each answer.
    async fn request(self, url: &str) -> (RequestBuilder, &'static str) {
        let client = Client::builder().no_proxy().tcp_nodelay(true).build().unwrap();
        let (format, terminal) = match self {
            Self::Direct | Self::PassThrough | Self::NodePipe => {
                return (client.post(format!("{url}/v1/chat/completions")).body("{}"), "[DONE]");
            }
            Self::Chat => ("chat", "[DONE]"),
            Self::Events | Self::EventsKept => ("events", "event: done"),
        };
        let user = json!({"email": "demo@example.com", "password": "demo"});
        let session = client.post(format!("{url}/auth/v1/token?grant_type=password")).body(user.to_string());
        let session = session.send().await.unwrap().bytes().await.unwrap();
        let session: Value = serde_json::from_slice(&session).unwrap();
        let body = json!({"prompt": "a wedding photo by the sea", "format": format});
        let request = client
            .post(format!("{url}/api/generate-stream"))
            .bearer_auth(session["access_token"].as_str().unwrap())
            .header("content-type", "application/json")
            .body(body.to_string());
        (request, terminal)
    }
}

/// `cargo dev`, built with the profile of this program.
fn stack(upstream: &str, tables: Option<&BenchProcess>, bucket: Option<&BenchProcess>) -> BenchProcess {
    let mut command = Command::new(std::env::current_exe().unwrap().with_file_name("stack"));
    command.args(["--port", "0"]).env_clear().envs(HIGH_LIMITS).env("METRICS_NAMESPACE", "load");
    command.env("IMAGE_API_BASE_URL", upstream).env("PICTURES_BUCKET", "");
    if let Some(tables) = tables {
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &tables.url);
    }
    if let Some(bucket) = bucket {
        command.env("AWS_ENDPOINT_URL_S3", &bucket.url).env_remove("PICTURES_BUCKET");
    }
    BenchProcess::start(&mut command)
}

impl LoadFigures {
    fn median(rounds: &[Self]) -> Self {
        Self {
            cpu: median(rounds.iter().map(|it| it.cpu).collect()),
            first_ms: median(rounds.iter().map(|it| it.first_ms).collect()),
            total_ms: median(rounds.iter().map(|it| it.total_ms).collect()),
            peak_bytes: median(rounds.iter().map(|it| it.peak_bytes).collect()),
        }
    }
}
