//! The metrics of requests, as CloudWatch reads them: one record a request, before its last byte, whose sums are what the
//! clients and the upstreams have seen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use dev::cloudwatch::{MetricStore, Statistics};
use dev::function::Function;
use dev::function_url::payload;
use dev::runtime_api::Deadline;
use dev::transcript::Gate;
use futures_util::{StreamExt, stream};
use generate_stream::{App, handle};
use http::{HeaderValue, Request};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::edge::Metrics;
use shared::metrics::{Dimension, METRICS};

use crate::support::{EVER, Item, Reply, Stand, Upstream, User, fixture, n, s, unix_ms};

const STREAM: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
/// A picture of 69 bytes.
const PICTURE: &str = "c02_doc_split.sse";
const PROMPT: &str = "a prompt that stays in the request";
/// Millionths.
const PRICE: u32 = 40_000;
const ROUNDS: usize = 30;
const AT_ONCE: usize = 16;

/// What a process has written, one text a request.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<String>>>);

impl Output {
    fn metrics(&self) -> Metrics {
        let written = self.0.clone();
        let write = move |lines: &[u8]| written.lock().unwrap().push(String::from_utf8(lines.to_vec()).unwrap());
        Metrics::new("test".into(), write)
    }

    fn records(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn has(&self, records: usize) {
        let all = async {
            while self.records().len() < records {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(EVER, all).await.unwrap();
    }

    fn store(&self) -> MetricStore {
        let mut store = MetricStore::default();
        for line in self.records().iter().flat_map(|record| record.lines()) {
            store.read(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        store
    }
}

fn measured(app: Arc<App>, metrics: &Metrics) -> Arc<App> {
    Arc::into_inner(app).unwrap().with_metrics(metrics.clone()).into()
}

/// What a request has done, as its client and its upstream know it.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    route: &'static str,
    code: Option<&'static str>,
    has_calls: bool,
    pictures: u32,
    bytes_in: usize,
    bytes_out: usize,
    is_priced: bool,
}

impl Done {
    fn outcome(&self) -> &'static str {
        match self.code {
            None => "succeeded",
            Some("rate_limited") => "limited",
            Some("client_closed") => "left",
            Some("invalid_request" | "auth_required" | "method_not_allowed" | "content_rejected") => "refused",
            Some("task_already_completed") => "refused",
            Some("upstream_error" | "service_unavailable" | "no_image") => "failed",
            Some(other) => panic!("{other}"),
        }
    }
}

/// The functions of the mix, which write into the same output.
struct Mix {
    good: Arc<App>,
    broken: Arc<App>,
    refusing: Arc<App>,
    blocking: Arc<App>,
    silent: Arc<App>,
    limited: Arc<App>,
    picture_bytes: usize,
    blocked_bytes: usize,
}

impl Mix {
    async fn ask(&self, app: &Arc<App>, request: Request<bytes::Bytes>) -> (Reply, Done) {
        let route = if request.uri().path() == IMAGE { IMAGE } else { STREAM };
        let reply = Reply::read(handle(app.clone(), request).await).await;
        let done = Done { route, bytes_out: reply.bytes.len(), is_priced: true, ..Done::default() };
        (reply, done)
    }

    /// Pictures, as the client received them.
    async fn made(&self, user: &User, path: &str, body: Value, calls: u32) -> Done {
        let (reply, done) = self.ask(&self.good, user.post(path, &body)).await;
        let pictures = match path {
            IMAGE => u32::try_from(reply.last()["data"].as_array().unwrap().len()).unwrap(),
            _ if reply.ending() == "[DONE]" => 1,
            _ => u32::try_from(reply.last()["images"].as_array().unwrap().len()).unwrap(),
        };
        assert_eq!(pictures, calls);
        let bytes_in = self.picture_bytes * calls as usize;
        Done { has_calls: true, pictures, bytes_in, ..done }
    }

    /// A request without a picture.
    async fn lost(&self, app: &Arc<App>, request: Request<bytes::Bytes>, code: &'static str, has_calls: bool) -> Done {
        let (reply, done) = self.ask(app, request).await;
        assert!(reply.ending().ends_with(&format!(" {code}")), "{} is not {code}", reply.ending());
        Done { code: Some(code), has_calls, ..done }
    }

    /// One kind of request, by a user of its own.
    async fn play(&self, at: usize) -> Vec<Done> {
        let user = &User::new(&format!("mix-{at}"));
        let chat = || user.post(STREAM, &json!({"prompt": PROMPT}));
        let events = || user.post(STREAM, &json!({"prompt": PROMPT, "format": "events"}));
        match at % 12 {
            0 => vec![self.made(user, STREAM, json!({"prompt": PROMPT, "format": "events"}), 1).await],
            1 => vec![self.made(user, STREAM, json!({"prompt": PROMPT}), 1).await],
            2 => vec![self.made(user, IMAGE, json!({"prompt": PROMPT}), 1).await],
            3 => vec![self.made(user, STREAM, json!({"prompt": PROMPT, "format": "events", "n": 3}), 3).await],
            4 => vec![self.lost(&self.good, user.post(IMAGE, &json!({"prompt": ""})), "invalid_request", false).await],
            5 => {
                let mut request = chat();
                request.headers_mut().remove("authorization");
                vec![self.lost(&self.good, request, "auth_required", false).await]
            }
            6 => {
                let mut request = chat();
                *request.method_mut() = http::Method::GET;
                vec![self.lost(&self.good, request, "method_not_allowed", false).await]
            }
            7 => vec![
                self.lost(&self.broken, events(), "upstream_error", true).await,
                self.lost(&self.refusing, chat(), "service_unavailable", true).await,
            ],
            8 => {
                let lost = self.lost(&self.blocking, events(), "content_rejected", true).await;
                vec![Done { bytes_in: self.blocked_bytes, ..lost }]
            }
            9 => {
                let (_, done) = self.ask(&self.limited, events()).await;
                let first =
                    Done { has_calls: true, pictures: 1, bytes_in: self.picture_bytes, is_priced: false, ..done };
                vec![first, self.lost(&self.limited, chat(), "rate_limited", false).await]
            }
            10 => {
                let keyed = || {
                    let mut request = events();
                    request.headers_mut().insert("idempotency-key", HeaderValue::from_static("once"));
                    request
                };
                let (_, done) = self.ask(&self.good, keyed()).await;
                let first = Done { has_calls: true, pictures: 1, bytes_in: self.picture_bytes, ..done };
                vec![first, self.lost(&self.good, keyed(), "task_already_completed", false).await]
            }
            // The client leaves before the upstream answers.
            _ => {
                drop(handle(self.silent.clone(), events()).await);
                vec![Done { route: STREAM, code: Some("client_closed"), has_calls: true, ..Done::default() }]
            }
        }
    }
}

fn sum(values: impl Iterator<Item = f64>) -> (f64, u32) {
    values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1))
}

fn of(statistics: &Statistics) -> (f64, u32) {
    (statistics.sum, statistics.count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sums_of_many_requests_are_what_clients_and_upstreams_know() {
    let (stand, output) = (Stand::new().await, Output::default());
    let metrics = output.metrics();
    let good = Upstream::recorded(PICTURE).await;
    let (broken, refusing) = (Upstream::refuses(500).await, Upstream::refuses(401).await);
    let blocking = Upstream::recorded("e05_content_filter_empty.sse").await;
    let (silent, gate): (_, Gate) = Upstream::gated(dev::transcript::Transcript::events("")).await;
    let app = |upstream: &Upstream, limit: &str| measured(stand.app(upstream, &[("RL_LIMIT", limit)]), &metrics);
    let upstreams =
        json!({"relay": {"mode": "chat", "base_url": good.url, "key_secret_arn": "the-upstreams-key"}}).to_string();
    let price = f64::from(PRICE) / 1e6;
    let routes = json!({"gemini-2.5-flash-image": [{"upstream": "relay", "price": price}]}).to_string();
    let priced = [
        ("IMAGE_API_BASE_URL", ""),
        ("IMAGE_API_KEY_SECRET_ARN", ""),
        ("IMAGE_UPSTREAMS", upstreams.as_str()),
        ("IMAGE_ROUTES", routes.as_str()),
    ];
    let mix = Mix {
        good: measured(stand.app(&good, &priced), &metrics),
        broken: app(&broken, "5"),
        refusing: app(&refusing, "5"),
        blocking: app(&blocking, "5"),
        silent: app(&silent, "5"),
        limited: app(&good, "1"),
        picture_bytes: fixture(PICTURE).len(),
        blocked_bytes: fixture("e05_content_filter_empty.sse").len(),
    };
    let played = stream::iter(0..ROUNDS * 12).map(|at| mix.play(at)).buffer_unordered(AT_ONCE);
    let done: Vec<Done> = played.collect::<Vec<_>>().await.into_iter().flatten().collect();
    assert!(done.len() > 400, "{}", done.len());

    output.has(done.len()).await;
    gate.open();
    assert_eq!(output.records().len(), done.len(), "one record a request");
    let store = output.store();

    let mut known = BTreeMap::<_, u32>::new();
    let mut codes = BTreeMap::<_, u32>::new();
    for request in &done {
        *known.entry((request.route, request.outcome())).or_default() += 1;
        *codes.entry(request.code).or_default() += u32::from(request.code.is_some());
    }
    codes.remove(&None);
    let found = |name: &str, dimensions: &[&str]| {
        let of_name = store.metrics().filter(|(id, _)| id.name == name);
        let found: BTreeMap<Vec<_>, u32> = of_name
            .map(|(id, statistics)| {
                assert_eq!((statistics.unit.as_str(), statistics.sum), ("Count", f64::from(statistics.count)));
                (dimensions.iter().map(|name| id.dimensions[*name].as_str()).collect(), statistics.count)
            })
            .collect();
        found
    };
    let requests = found("Requests", &["Route", "Outcome"]);
    assert_eq!(requests, known.iter().map(|((route, outcome), count)| (vec![*route, *outcome], *count)).collect());
    let problems = found("Problems", &["Code"]);
    assert_eq!(problems, codes.iter().map(|(code, count)| (vec![code.unwrap()], *count)).collect());
    assert!(codes.len() == 9 && known.len() == 7, "{codes:?} {known:?}");

    let failed = done.iter().map(|request| f64::from(u8::from(request.outcome() == "failed")));
    assert_eq!(of(&store.get("Failed", &[])), sum(failed));
    assert_eq!(of(&store.get("BytesOut", &[])), sum(done.iter().map(|request| request.bytes_out as f64)));
    let called = || done.iter().filter(|request| request.has_calls);
    assert_eq!(of(&store.get("BytesIn", &[])), sum(called().map(|request| request.bytes_in as f64)));
    for route in [STREAM, IMAGE] {
        let of_route = || called().filter(|request| request.route == route);
        let by_route = |name| store.get(name, &[("Route", route)]);
        let pictures = sum(of_route().map(|request| f64::from(request.pictures)));
        assert_eq!(of(&by_route("Pictures")), pictures, "{route}");
        assert_eq!(of(&by_route("FailedPictures")), (0.0, pictures.1), "{route}");
        assert_eq!(by_route("UpstreamTime").count, pictures.1, "{route}");
        let with_picture = of_route().filter(|request| request.pictures > 0);
        assert_eq!(by_route("TimeToPicture").count as usize, with_picture.clone().count(), "{route}");
        let priced = with_picture.filter(|request| request.is_priced).map(|request| f64::from(request.pictures));
        let (cost, count) = of(&by_route("UpstreamCost"));
        let (pictures, requests) = sum(priced);
        assert!((cost - pictures * price).abs() < 1e-6 && count == requests, "{route}: {cost} of {count}");
        let answered = done.iter().filter(|request| request.route == route && request.bytes_out > 0);
        assert_eq!(by_route("FirstByte").count as usize, answered.count(), "{route}");
        assert!(by_route("FirstByte").sum <= by_route("UpstreamTime").sum + f64::from(ROUNDS as u32) * 1e6);
    }
    assert_eq!(of(&store.get("ColdStarts", &[])), (1.0, 1));
    let has_asked_tables = done
        .iter()
        .filter(|request| !matches!(request.code, Some("invalid_request" | "auth_required" | "method_not_allowed")));
    let asked = store.get("TableTime", &[]).count as usize;
    // A refusal from memory asks no table.
    let limited = done.iter().filter(|request| request.code == Some("rate_limited")).count();
    let most = has_asked_tables.count();
    assert!((most - limited..=most).contains(&asked), "{asked} of {most}");
    assert_eq!(store.get("ExpiredLeases", &[]).count, 0);

    // Nothing but the listed metrics, and no dimension that names a user or repeats a request.
    for (id, _) in store.metrics() {
        let metric = METRICS.iter().find(|metric| metric.name == id.name).unwrap_or_else(|| panic!("{id:?}"));
        let dimensions: Vec<_> = metric.dimensions.iter().map(|dimension: &Dimension| dimension.as_str()).collect();
        assert!(id.dimensions.len() == dimensions.len(), "{id:?}");
        assert!(id.dimensions.keys().all(|name| dimensions.contains(&name.as_str())), "{id:?}");
    }
    let all = output.records().concat();
    for secret in [PROMPT, "mix-", "user:", "once", "127.0.0.1"] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_record_is_written_before_the_last_byte() {
    let stand = Stand::new().await;
    let (good, bad) = (Upstream::recorded(PICTURE).await, Upstream::refuses(500).await);
    let bodies = [
        (STREAM, json!({"prompt": "x", "format": "events"})),
        (STREAM, json!({"prompt": "x"})),
        (IMAGE, json!({"prompt": "x"})),
        (IMAGE, json!({"prompt": ""})),
    ];
    for (upstream, (path, body)) in
        [&good, &bad].into_iter().flat_map(|upstream| bodies.iter().map(move |b| (upstream, b)))
    {
        let (user, output) = (User::new("last"), Output::default());
        let app: Arc<App> = measured(stand.app(upstream, &[("RL_LIMIT", "100")]), &output.metrics());
        let mut response = handle(app, user.post(path, body)).await.into_body();
        let mut sent = 0;
        while !response.is_end_stream() {
            assert_eq!(output.records().len(), 0, "{path} {body}: after {sent} bytes");
            sent += response.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        assert_eq!(output.records().len(), 1, "{path} {body}");
        assert_eq!(of(&output.store().get("BytesOut", &[])), (sent as f64, 1), "{path} {body}");
    }
}

/// On Lambda: records and log lines are JSON objects on standard output, and the filter of `template.yaml` finds the alarm.
#[tokio::test]
async fn the_real_binary_writes_records_and_alarms_as_lines_of_json() {
    let stand = Stand::new().await;
    let (good, refusing) = (Upstream::recorded(PICTURE).await, Upstream::refuses(401).await);
    for (upstream, outcome) in [(&good, "succeeded"), (&refusing, "failed")] {
        let mut environment = stand.environment(upstream);
        environment.extend([("METRICS_NAMESPACE", "stack".to_owned()), ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned())]);
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let function = Function::spawn(Path::new(env!("CARGO_BIN_EXE_generate-stream")), &environment).await.unwrap();
        let bearer = User::new("binary").bearer();
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let body = json!({"prompt": PROMPT, "format": "events"}).to_string();
        let event = payload("POST", STREAM, &headers, &body, false);
        let mut response = function.invoke(&event, Deadline::In(EVER * 2)).await.unwrap();
        response.rest().await.unwrap();
        assert!(function.has_logged("\"Requests\":1").await);

        let (mut store, mut alarms, mut summaries) = (MetricStore::default(), Vec::new(), 0);
        for line in function.log().lines() {
            let logged: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if logged.get("_aws").is_some() {
                store.read(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                continue;
            }
            summaries += u32::from(logged["fields"].get("took_ms").is_some());
            if logged["fields"]["alarm"] == true {
                alarms.push(logged["fields"]["alarm_class"].as_str().unwrap().to_owned());
            }
        }
        let requests = store.get("Requests", &[("Route", STREAM), ("Outcome", outcome)]);
        assert_eq!((of(&requests), summaries), ((1.0, 1), 1));
        assert!(store.metrics().all(|(id, _)| id.namespace == "stack"));
        assert_eq!(of(&store.get("ColdStarts", &[])), (1.0, 1));
        let expected: &[&str] = if outcome == "failed" { &["upstream_auth"] } else { &[] };
        assert_eq!(alarms, expected);
    }
}

/// A reservation and a lease that a function has left are counted once, by the request that finds them first.
#[tokio::test]
async fn a_reservation_and_a_lease_that_are_over_are_counted_once() {
    let (stand, user, output) = (Stand::new().await, User::new("left"), Output::default());
    let (good, bad) = (Upstream::recorded(PICTURE).await, Upstream::refuses(500).await);
    let credits = [("CREDITS", "on"), ("CREDITS_INITIAL", "5")];
    let metrics = output.metrics();
    let keyed = || {
        let mut request = user.post(STREAM, &json!({"prompt": "x"}));
        request.headers_mut().insert("idempotency-key", HeaderValue::from_static("key"));
        request
    };
    let failing: Arc<App> = stand.app(&bad, &credits);
    Reply::read(handle(failing, keyed()).await).await;
    // As a function leaves them that dies.
    let mut record = stand.tables.record(&user.owner(), "key").await.unwrap();
    record.insert("st".into(), s("running"));
    record.insert("lease".into(), n(unix_ms() - 60_000));
    let hold = Item::from([("c".into(), n(1)), ("t".into(), n(unix_ms() - 90_000))]);
    let mut balance = stand.tables.ledger_item(&user.owner(), "BAL").await.unwrap();
    let holds = Item::from([("gone".into(), aws_sdk_dynamodb::types::AttributeValue::M(hold))]);
    balance.insert("holds".into(), aws_sdk_dynamodb::types::AttributeValue::M(holds));
    for item in [record, balance] {
        stand.tables.put(&stand.tables.ledger, item).await;
    }
    let app = measured(stand.app(&good, &credits), &metrics);
    let replies = futures_util::future::join_all(
        (0..4).map(|_| async { Reply::read(handle(app.clone(), keyed()).await).await.ending() }),
    );
    let endings = replies.await;
    assert_eq!(endings.iter().filter(|ending| *ending == "[DONE]").count(), 1, "{endings:?}");
    let store = output.store();
    assert_eq!(of(&store.get("ExpiredLeases", &[])).0, 1.0);
    assert_eq!(of(&store.get("ExpiredHolds", &[])).0, 1.0);
    let age = store.get("ExpiredAge", &[]);
    assert!((90_000.0..120_000.0).contains(&age.sum) && age.count == 1, "{age:?}");
}
