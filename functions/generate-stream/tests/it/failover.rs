//! Several upstreams: a call that one of them provably did not start goes to the next, and nothing is paid twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dev::client::pictures;
use dev::transcript::{Ending, Transcript};
use dev::{Shape, ark, image_api};
use futures_util::{StreamExt, stream};
use generate_stream::{App, handle};
use http::HeaderValue;
use http::header::RETRY_AFTER;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use shared::edge::LateApp;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::support::{DAY_MS, Log, Reply, Stand, Upstream, User, fixture, in_time, number, refusal, text};

const STREAM: &str = "/api/generate-stream";
const MODEL: &str = "gemini-2.5-flash-image";
const NAMES: [&str; 3] = ["a", "b", "c"];
/// A picture of 69 bytes.
const PICTURE: &str = "c02_doc_split.sse";
/// The requests of one scenario, of this many users.
const REQUESTS: u64 = 200;
const USERS: u64 = 20;
const LIMIT: u64 = 1000;
const LIMITS: [(&str, &str); 4] =
    [("RL_LIMIT", "1000"), ("RL_WINDOW_MS", DAY_MS), ("CREDITS", "on"), ("CREDITS_INITIAL", "1000")];

/// A function whose only route is these upstreams, in their order. The key of each is in the vault.
fn app(stand: &Stand, upstreams: &[&Upstream], variables: &[(&str, &str)]) -> Arc<App> {
    let routes: Vec<_> =
        NAMES.iter().take(upstreams.len()).map(|name| json!({"upstream": name, "price": 0.04})).collect();
    routed(stand, upstreams, &json!({ MODEL: routes }), variables)
}

/// A function with these routes.
fn routed(stand: &Stand, upstreams: &[&Upstream], routes: &Value, variables: &[(&str, &str)]) -> Arc<App> {
    let key = || stand.environment(upstreams[0]).into_iter().find(|(name, _)| *name == "IMAGE_API_KEY_SECRET_ARN");
    let key = key().unwrap().1;
    let named = NAMES.iter().zip(upstreams);
    let listed = named.map(|(name, upstream)| {
        let upstream = json!({"mode": "chat", "base_url": upstream.url, "key_secret_arn": key});
        ((*name).to_owned(), upstream)
    });
    let upstreams_json = Value::Object(listed.collect()).to_string();
    let routes = routes.to_string();
    let of_routes = [
        ("IMAGE_API_BASE_URL", ""),
        ("IMAGE_API_KEY_SECRET_ARN", ""),
        ("IMAGE_UPSTREAMS", upstreams_json.as_str()),
        ("IMAGE_ROUTES", routes.as_str()),
    ];
    // The first of two equal names counts.
    stand.app(upstreams[0], &[variables, &of_routes].concat())
}

fn wanted(n: u32) -> Value {
    json!({"prompt": "x", "format": "events", "n": n})
}

async fn ask(app: &Arc<App>, user: &User, body: &Value) -> Reply {
    Reply::read(handle(app.clone(), user.post(STREAM, body)).await).await
}

fn good() -> Transcript {
    Transcript::events(fixture(PICTURE))
}

/// A success status, and an error before any content.
fn early_error() -> Transcript {
    Transcript::events("data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n")
}

const THOUGHT: &str =
    r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":"I plan"}}]}"#;

/// A sign that the upstream works, and then the same error.
fn late_error(sign: &str) -> Transcript {
    let busy = "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n";
    Transcript::events(format!("data: {sign}\n\n{busy}"))
}

/// Breaks off in the middle of the picture.
fn cut() -> Transcript {
    let picture = fixture("c01_newapi_one_giant_chunk.sse");
    Transcript { ending: Ending::Abort, ..Transcript::events(picture.slice(..picture.len() / 2)) }
}

fn slow(head_after: Duration) -> Transcript {
    Transcript { head_after, ..good() }
}

/// What [`REQUESTS`] requests have used: pictures, tokens and credits.
async fn used(stand: &Stand, app: &Arc<App>, scenario: &str) -> [u64; 3] {
    let user = |number: u64| User::new(&format!("{scenario}-{number}"));
    let requests = stream::iter(0..REQUESTS).map(|number| async move {
        let reply = ask(app, &user(number % USERS), &wanted(1)).await;
        u64::from(reply.ending() == "done") * pictures(&reply.events()).len() as u64
    });
    let made: u64 = requests.buffer_unordered(8).collect::<Vec<_>>().await.into_iter().sum();
    let (mut tokens, mut credits) = (0, 0);
    for owner in (0..USERS).map(|number| user(number).owner()) {
        tokens += stand.tables.missing(&owner, LIMIT).await;
        let (left, holds) = stand.tables.balance(&owner).await.unwrap();
        assert_eq!(holds, 0, "{scenario}");
        credits += LIMIT - left;
    }
    [made, tokens, credits]
}

/// 200 requests at a first upstream with a fault and a second one without. `is_started`: the first may be paid for.
async fn two_hundred(scenario: &str, first: Upstream, is_started: bool, has_picture: bool) {
    let (stand, second) = (Stand::new().await, Upstream::plays(good()).await);
    let impatient = [("UPSTREAM_HEAD_MS", "300"), ("UPSTREAM_CONNECT_MS", "1000")];
    let app = app(&stand, &[&first, &second], &[&LIMITS[..], &impatient].concat());
    let used = used(&stand, &app, scenario).await;
    match is_started {
        true => {
            let expected = [if has_picture { REQUESTS } else { 0 }, REQUESTS, if has_picture { REQUESTS } else { 0 }];
            assert_eq!(used, expected, "{scenario}");
            let calls = (u64::from(first.requests()), second.requests());
            assert_eq!(calls, (REQUESTS, 0), "{scenario}: nothing is paid twice");
        }
        false => {
            assert_eq!(used, [REQUESTS; 3], "{scenario}");
            assert_eq!(u64::from(second.requests()), REQUESTS, "{scenario}");
            assert!(first.requests() <= 16, "{scenario}: {} calls of an upstream that is out", first.requests());
        }
    }
}

#[tokio::test]
async fn a_first_upstream_that_is_dead() {
    two_hundred("dead", Upstream::gone(), false, true).await;
}

#[tokio::test]
async fn a_first_upstream_that_is_slow() {
    two_hundred("slow", Upstream::plays(slow(Duration::from_millis(20))).await, true, true).await;
    two_hundred("too-slow", Upstream::plays(slow(Duration::from_secs(60))).await, true, false).await;
}

#[tokio::test]
async fn a_first_upstream_that_refuses() {
    for status in [401, 402, 403, 404] {
        two_hundred(&format!("refuses-{status}"), Upstream::refuses(status).await, false, true).await;
    }
}

#[tokio::test]
async fn a_first_upstream_that_is_overloaded() {
    for (name, first) in [("503", refusal(503)), ("429", refusal(429)), ("early", early_error())] {
        two_hundred(&format!("overloaded-{name}"), Upstream::plays(first).await, false, true).await;
    }
}

/// It may be paid for, whatever the error looks like.
#[tokio::test]
async fn a_first_upstream_that_is_overloaded_after_it_has_begun() {
    let generating = r#"{"type":"response.image_generation_call.generating"}"#;
    let counts = r#"{"choices":[],"usage":{"prompt_tokens":9}}"#;
    for (name, sign) in [("thought", THOUGHT), ("generating", generating), ("usage", counts)] {
        two_hundred(&format!("begun-{name}"), Upstream::plays(late_error(sign)).await, true, false).await;
    }
    let role = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    two_hundred("begun-role", Upstream::plays(late_error(role)).await, false, true).await;
}

#[tokio::test]
async fn a_first_upstream_that_dies_in_the_middle_of_a_picture() {
    two_hundred("dies", Upstream::plays(cut()).await, true, false).await;
}

/// How an upstream answers one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Picture,
    Busy,
    Limited,
    NoKey,
    NoBalance,
    NoModel,
    EarlyError,
    LateError,
    Moderated,
    Broken,
    Cut,
    Silent,
}

impl Answer {
    const ALL: [Self; 12] = [
        Self::Picture,
        Self::Busy,
        Self::Limited,
        Self::NoKey,
        Self::NoBalance,
        Self::NoModel,
        Self::EarlyError,
        Self::LateError,
        Self::Moderated,
        Self::Broken,
        Self::Cut,
        Self::Silent,
    ];

    fn transcript(self) -> Transcript {
        match self {
            Self::Picture => good(),
            Self::Busy => refusal(503),
            Self::Limited => refusal(429),
            Self::NoKey => refusal(401),
            Self::NoBalance => refusal(402),
            Self::NoModel => refusal(404),
            Self::EarlyError => early_error(),
            Self::LateError => late_error(THOUGHT),
            Self::Moderated => Transcript::events(fixture("e05_content_filter_empty.sse")),
            Self::Broken => refusal(500),
            Self::Cut => cut(),
            Self::Silent => slow(Duration::from_secs(60)),
        }
    }

    /// The upstream may have done work.
    fn is_started(self) -> bool {
        use Answer::{Broken, Cut, LateError, Moderated, Picture, Silent};
        matches!(self, Picture | LateError | Moderated | Broken | Cut | Silent)
    }
}

/// For each upstream whether it is reachable, and its answers.
type Faults = Vec<(bool, Vec<Answer>)>;

fn faults() -> impl Strategy<Value = Faults> {
    let answers = prop::collection::vec(prop::sample::select(&Answer::ALL[..]), 12);
    prop::collection::vec((prop::bool::weighted(0.8), answers), 3)
}

/// A case of [`faults`]: a few requests for one to four pictures each.
async fn random_faults(stand: &Stand, case: u32, faults: Faults, requests: Vec<u32>, cooldown: &str) {
    let mut upstreams = Vec::new();
    for (is_reachable, answers) in &faults {
        let transcripts = answers.iter().map(|answer| answer.transcript()).collect();
        upstreams.push(if *is_reachable { Upstream::plays_in_turn(transcripts).await } else { Upstream::gone() });
    }
    let impatient = [("UPSTREAM_HEAD_MS", "200"), ("UPSTREAM_COOLDOWN_MS", cooldown)];
    let app = app(stand, &upstreams.iter().collect::<Vec<_>>(), &[&LIMITS[..], &impatient].concat());
    let user = User::new(&format!("case-{case}"));
    let mut before = vec![0; upstreams.len()];
    let (mut tokens, mut credits) = (0, 0);
    for n in requests {
        let reply = ask(&app, &user, &wanted(n)).await;
        let images = pictures(&reply.events()).len();
        // What the upstreams did for this request, by their own count.
        let mut done = Vec::new();
        for ((upstream, (_, answers)), before) in upstreams.iter().zip(&faults).zip(&mut before) {
            let now = upstream.requests() as usize;
            assert!(now - *before <= 2 * n as usize, "a key that is refused may be renewed once");
            done.extend((*before..now).map(|at| answers[at.min(answers.len() - 1)]));
            *before = now;
        }
        let count = |is: fn(Answer) -> bool| done.iter().filter(|answer| is(**answer)).count();
        let (started, made) = (count(Answer::is_started), count(|answer| answer == Answer::Picture));
        assert!(started <= n as usize, "{faults:?}: {started} calls were started for {n} pictures");
        assert_eq!(images, made, "{faults:?}: every picture that was made is delivered");
        assert_eq!(reply.ending().starts_with("done"), made > 0, "{faults:?}");
        tokens += started as u64;
        // A refusal by moderation has the user as its cause.
        credits += (made + count(|answer| answer == Answer::Moderated)) as u64;
        assert_eq!(stand.tables.missing(&user.owner(), LIMIT).await, tokens, "{faults:?}");
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((LIMIT - credits, 0)), "{faults:?}");
        if cooldown == "0" && n == 1 && started == 0 {
            let reachable = faults.iter().filter(|(is_reachable, _)| *is_reachable).count();
            assert!(done.len() >= reachable, "{faults:?}: every upstream was asked before the request failed");
        }
    }
}

#[test]
fn random_faults_of_three_upstreams() {
    let runtime = Runtime::new().unwrap();
    let stand = runtime.block_on(Stand::new());
    let mut runner = TestRunner::deterministic();
    let cases = (faults(), prop::collection::vec(1_u32..=4, 1..4));
    for case in 0..60 {
        let (faults, requests) = cases.new_tree(&mut runner).unwrap().current();
        let cooldown = if case % 2 == 0 { "0" } else { "30000" };
        runtime.block_on(random_faults(&stand, case, faults, requests, cooldown));
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of a request is what is tested")]
#[tokio::test]
async fn a_dead_first_upstream_costs_later_requests_no_time() {
    let (stand, dead, second) = (Stand::new().await, Upstream::gone(), Upstream::plays(good()).await);
    let [alone, behind_dead] = [&[&second][..], &[&dead, &second]].map(|upstreams| app(&stand, upstreams, &LIMITS));
    let user = User::new("time");
    let ms = async |app: &Arc<App>| {
        let begun = Instant::now();
        assert_eq!(ask(app, &user, &wanted(1)).await.ending(), "done");
        begun.elapsed().as_secs_f64() * 1000.0
    };
    for app in [&alone, &behind_dead, &behind_dead, &behind_dead] {
        ms(app).await;
    }
    in_time(async || {
        let (mut direct, mut behind) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            direct.push(ms(&alone).await);
            behind.push(ms(&behind_dead).await);
        }
        let [direct, behind] = [direct, behind].map(|mut all: Vec<f64>| {
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        });
        println!("median of a request: {direct:.2} ms, behind a dead upstream {behind:.2} ms");
        behind - direct <= 5.0
    })
    .await;
}

#[tokio::test]
async fn retry_after_decides_when_an_upstream_is_called_again() {
    let (stand, user) = (Stand::new().await, User::new("retry"));
    let busy = |seconds: &'static str| Transcript {
        header: Some((RETRY_AFTER, HeaderValue::from_static(seconds))),
        ..refusal(429)
    };
    let second = Upstream::plays(good()).await;
    for (seconds, calls) in [("0", 2), ("100", 1)] {
        let first = Upstream::plays_in_turn(vec![busy(seconds), good()]).await;
        let app = app(&stand, &[&first, &second], &LIMITS);
        for _ in 0..2 {
            assert_eq!(ask(&app, &user, &wanted(1)).await.ending(), "done");
        }
        assert_eq!(first.requests(), calls, "{seconds}");
    }
}

#[tokio::test]
async fn if_all_are_out_they_are_called_in_their_order() {
    let (stand, user) = (Stand::new().await, User::new("all-out"));
    let first = Upstream::plays_in_turn(vec![refusal(503), refusal(503), good()]).await;
    let second = Upstream::plays_in_turn(vec![refusal(429)]).await;
    let app = app(&stand, &[&first, &second], &LIMITS);
    for expected in ["error upstream_busy", "error upstream_busy", "done", "done"] {
        assert_eq!(ask(&app, &user, &wanted(1)).await.ending(), expected);
    }
    assert_eq!((first.requests(), second.requests()), (4, 2));
}

/// The first answers after a pause, and so does one that refuses the user's input.
#[tokio::test]
async fn an_upstream_that_judges_the_input_is_up() {
    let (stand, user) = (Stand::new().await, User::new("judges"));
    let at_once = Transcript { header: Some((RETRY_AFTER, HeaderValue::from_static("0"))), ..refusal(429) };
    let first = Upstream::plays_in_turn(vec![at_once, refusal(400), good(), good()]).await;
    let second = Upstream::plays(good()).await;
    let app = app(&stand, &[&first, &second], &LIMITS);
    for expected in ["done", "error upstream_rejected_input", "done", "done"] {
        assert_eq!(ask(&app, &user, &wanted(1)).await.ending(), expected);
    }
    assert_eq!((first.requests(), second.requests()), (4, 1));
}

/// The model that answers decides, not the other ones of the route.
#[tokio::test]
async fn a_picture_is_written_as_it_comes_if_its_model_sends_no_drafts() {
    const DRAFTS: &str = "gemini-3-pro-image";
    let (stand, user) = (Stand::new().await, User::new("as-it-comes"));
    let picture = dev::picture::draw("x", 0, dev::picture::PictureFormat::Png, 64, 64).bytes;
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, picture);
    let half = format!("![image](data:image/png;base64,{}", &base64[..base64.len() / 2]);
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": half}}]});
    let stalls = Transcript { ending: Ending::Stall, ..Transcript::events(format!("data: {chunk}\n\n")) };
    for (models, is_first_busy, streams) in [
        ([MODEL, DRAFTS], false, true),
        ([MODEL, DRAFTS], true, false),
        ([DRAFTS, MODEL], false, false),
        ([DRAFTS, MODEL], true, true),
    ] {
        let first = Upstream::plays(if is_first_busy { refusal(503) } else { stalls.clone() }).await;
        let second = Upstream::plays(stalls.clone()).await;
        let routes = [0, 1].map(|at| json!({"upstream": NAMES[at], "model": models[at]}));
        let variables = [&LIMITS[..], &[("UPSTREAM_IDLE_MS", "300")]].concat();
        let app = routed(&stand, &[&first, &second], &json!({ MODEL: routes }), &variables);
        let reply = ask(&app, &user, &json!({"prompt": "x"})).await;
        assert!(reply.ending().ends_with("upstream_timeout"), "{}", reply.ending());
        let has_begun = reply.bytes.windows(7).any(|part| part == b"base64,");
        assert_eq!(has_begun, streams, "{models:?} {is_first_busy}");
    }
}

/// The record, the log and the client of a request that went to the second upstream.
#[tokio::test]
async fn record_and_log_name_the_upstream_and_the_client_learns_that_there_is_another() {
    let (stand, user) = (Stand::new().await, User::new("moved"));
    let (first, second) = (Upstream::refuses(402).await, Upstream::plays(good()).await);
    let app = app(&stand, &[&first, &second], &LIMITS);
    let log = Log::default();
    let guard = log.record();
    let mut request = user.post(STREAM, &wanted(1));
    request.headers_mut().insert("accept-language", HeaderValue::from_static("en"));
    request.headers_mut().insert("idempotency-key", HeaderValue::from_static("first"));
    let english = Reply::read(handle(app, request).await).await;
    drop(guard);
    assert_eq!(english.ending(), "done");
    let messages = |reply: &Reply| -> Vec<String> {
        let process = reply.events().into_iter().filter(|event| event.name == "process");
        let data = |data: &str| serde_json::from_str::<Value>(data).unwrap()["data"]["message"].clone();
        process.map(|event| data(&event.data).as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(messages(&english)[1..], ["Trying another way to generate the picture..."]);
    assert!(!String::from_utf8_lossy(&english.bytes).contains("127.0.0.1"));

    let record = stand.tables.record(&user.owner(), "first").await.unwrap();
    assert_eq!((text(&record, "upstream"), number(&record, "upstream_cost")), ("b", 40_000));
    let logged = log.text();
    let moved = logged.lines().find(|line| line.contains("trying another")).unwrap();
    for part in ["WARN", "upstream=\"a\"", "class=\"upstream_quota\"", "alarm=true"] {
        assert!(moved.contains(part), "{part}: {moved}");
    }
    let summary = logged.lines().find(|line| line.contains("succeeded")).unwrap();
    for part in ["upstream=\"b\"", "not_started=\"a (upstream_quota)\"", "cost=0.04"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }

    let (stand, user) = (Stand::new().await, User::new("failed"));
    let (first, second) = (Upstream::gone(), Upstream::plays(cut()).await);
    let app = self::app(&stand, &[&first, &second], &LIMITS);
    let mut request = user.post(STREAM, &wanted(1));
    request.headers_mut().insert("idempotency-key", HeaderValue::from_static("cut"));
    let chinese = Reply::read(handle(app, request).await).await;
    assert_eq!(chinese.ending(), "error stream_interrupted");
    assert_eq!(messages(&chinese)[1..], ["正在改用另一条线路生成图像..."]);
    let record = stand.tables.record(&user.owner(), "cut").await.unwrap();
    assert_eq!((text(&record, "upstream"), record.get("upstream_cost")), ("b", None));
}

/// The models of the product's documents: one streams, the other makes one picture at once.
#[tokio::test]
async fn two_models_of_two_vendors_in_one_stack() {
    let options =
        image_api::ImageApiOptions { key: "k".into(), shape: Shape::Deltas, speed: f64::INFINITY, log: false };
    let upstream = dev::start(image_api::routes(options)).await.unwrap();
    let base = upstream.url("");
    let upstreams = json!({
        "relay": {"mode": "chat", "base_url": base, "key": "k"},
        "openai": {"mode": "images", "base_url": base, "key": "k"},
    });
    let routes = r#"{"gemini-2.5-flash-image": ["relay"], "gpt-image-1": ["openai"]}"#;
    let app = Arc::new(App::from_env(&|name| match name {
        "IMAGE_UPSTREAMS" => Some(upstreams.to_string()),
        "IMAGE_ROUTES" => Some(routes.to_owned()),
        _ => dev::user::variable(name),
    }));
    let post = |path: &str, body: Value| {
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.header("authorization", dev::user::bearer());
        handle(app.clone(), request.body(Bytes::from(body.to_string())).unwrap())
    };
    let pixel = dev::picture::draw("reference", 0, dev::picture::PictureFormat::Png, 32, 32).bytes;
    let pixel = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pixel);
    let inputs = json!([format!("data:image/png;base64,{pixel}")]);
    let streamed = Reply::read(post(STREAM, json!({"prompt": "x", "image_inputs": inputs})).await).await;
    assert_eq!(streamed.ending(), "[DONE]");
    let picture = json!({"prompt": "x", "model": "gpt-image-1", "image_inputs": inputs, "aspect_ratio": "2:3"});
    let at_once = Reply::read(post("/api/generate-image", picture).await).await.last();
    assert_eq!((&at_once["data"][0]["width"], &at_once["data"][0]["height"]), (&json!(1024), &json!(1536)));
    let other = Reply::read(post(STREAM, json!({"prompt": "x", "model": "gpt-image-2"})).await).await;
    assert_eq!(other.ending(), "problem model_not_allowed");
}

#[tokio::test]
async fn ark_may_stand_in_a_route() {
    let stand = Stand::new().await;
    let ark =
        dev::start(ark::routes(ark::ArkOptions { key: "k".into(), speed: f64::INFINITY, log: false })).await.unwrap();
    let dead = Upstream::gone();
    let upstreams = json!({
        "relay": {"mode": "gemini", "base_url": dead.url, "key": "k"},
        "seedream": {"mode": "ark", "base_url": ark.url("/api/v3"), "key": "k"},
    });
    let routes = json!({MODEL: ["relay", {"upstream": "seedream", "model": "doubao-seedream-4-0-250828"}]});
    let (upstreams, routes) = (upstreams.to_string(), routes.to_string());
    let of_routes = [
        ("IMAGE_API_BASE_URL", ""),
        ("IMAGE_API_KEY_SECRET_ARN", ""),
        ("IMAGE_UPSTREAMS", upstreams.as_str()),
        ("IMAGE_ROUTES", routes.as_str()),
        ("RL_LIMIT", "100"),
    ];
    let app: Arc<App> = stand.app(&dead, &of_routes);
    let user = User::new("ark");
    let pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
    for inputs in [json!([]), json!([pixel]), json!(["https://example.com/a.png", pixel])] {
        let body = json!({"prompt": "a lake", "format": "events", "image_inputs": inputs});
        let reply = ask(&app, &user, &body).await;
        assert_eq!(reply.ending(), "done", "{inputs}: {}", reply.last());
        let link = reply.last()["images"][0]["url"].as_str().unwrap().to_owned();
        let picture = reqwest::get(link).await.unwrap().bytes().await.unwrap();
        assert_eq!(dev::client::hash(&picture), ark::picture_for("a lake", 0).sha256);
    }
    let chat = ask(&app, &user, &json!({"prompt": "a lake"})).await;
    assert_eq!(chat.ending(), "[DONE]");
    assert!(dev::client::content(&chat.events()).starts_with("![image](http://127.0.0.1:"));

    let upstream = Upstream::recorded("a01_three_ok.sse").await;
    let upstreams = json!({"ark": {"mode": "ark", "base_url": upstream.url, "key": "k"}}).to_string();
    let routes = json!({MODEL: [{"upstream": "ark", "model": "doubao-seedream-4-5-251128"}]}).to_string();
    let variables = [
        ("IMAGE_API_BASE_URL", ""),
        ("IMAGE_API_KEY_SECRET_ARN", ""),
        ("IMAGE_UPSTREAMS", upstreams.as_str()),
        ("IMAGE_ROUTES", routes.as_str()),
        ("ARK_WATERMARK", "true"),
    ];
    let app: Arc<App> = stand.app(&upstream, &variables);
    let body = json!({"prompt": "x", "format": "events", "image_inputs": [pixel], "aspect_ratio": "16:9"});
    ask(&app, &User::new("ark-body"), &body).await;
    let sent: Value = serde_json::from_slice(&upstream.seen.received()[0].body).unwrap();
    let expected = json!({
        "model": "doubao-seedream-4-5-251128", "prompt": "x", "image": pixel, "sequential_image_generation": "disabled",
        "response_format": "url", "size": "2560x1440", "stream": true, "watermark": true,
    });
    assert_eq!(sent, expected);
}

/// The variables of Lambda hold 4 KB in all.
#[tokio::test]
async fn routes_from_a_secret() {
    let (stand, user) = (Stand::new().await, User::new("secret"));
    let upstream = Upstream::plays(good()).await;
    let usual = stand.environment(&upstream);
    let environment = |name: &str| match name {
        "IMAGE_API_BASE_URL" | "IMAGE_API_KEY_SECRET_ARN" => None,
        "IMAGE_ROUTES_SECRET_ARN" => Some("routes".to_owned()),
        _ => usual.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()),
    };
    let start = |pause_s| LateApp::new(&environment, Duration::from_secs(pause_s));
    let key = usual.iter().find(|(name, _)| *name == "IMAGE_API_KEY_SECRET_ARN").unwrap().1.clone();
    let secret = json!({
        "IMAGE_UPSTREAMS": {"relay": {"mode": "chat", "base_url": upstream.url, "key_secret_arn": key}},
        "IMAGE_ROUTES": {"first": ["relay"], "a-second": ["relay"]},
    });
    let ask = async |app: Arc<App>| ask(&app, &user, &wanted(1)).await.ending();
    // A secret that cannot be fetched is fetched again, but not at once.
    let (now, later) = (start(0), start(600));
    for app in [&now, &later, &now] {
        assert_eq!(ask(app.get().await).await, "problem service_unavailable");
    }
    stand.vault.put("routes", &secret.to_string());
    let before = stand.vault.calls();
    assert_eq!(ask(later.get().await).await, "problem service_unavailable");
    assert_eq!(stand.vault.calls(), before);
    for _ in 0..2 {
        assert_eq!(ask(now.get().await).await, "done");
    }
    assert_eq!(stand.vault.calls() - before, 2, "the routes once, the key at its first use");

    for value in ["{", "{\"IMAGE_ROUTES\":{}}", "[]"] {
        stand.vault.put("routes", value);
        assert_eq!(ask(start(0).get().await).await, "problem service_misconfigured", "{value}");
    }
    assert_eq!(ask(now.get().await).await, "done");
}

/// A key that is missing or cannot be fetched is a call that was not started.
#[tokio::test]
async fn an_upstream_without_a_key_is_left_out() {
    let (stand, user) = (Stand::new().await, User::new("keyless"));
    let (first, second) = (Upstream::plays(good()).await, Upstream::plays(good()).await);
    let key = stand.environment(&first).into_iter().find(|(name, _)| *name == "IMAGE_API_KEY_SECRET_ARN").unwrap().1;
    let upstreams = json!({
        "a": {"mode": "chat", "base_url": first.url, "key_secret_arn": "no-such-secret"},
        "b": {"mode": "chat", "base_url": second.url, "key_secret_arn": key},
    });
    let (upstreams, both, one) =
        (upstreams.to_string(), json!({MODEL: ["a", "b"]}).to_string(), json!({MODEL: ["a"]}).to_string());
    let routed = |routes: &str| -> Arc<App> {
        let of_routes = [
            ("IMAGE_API_BASE_URL", ""),
            ("IMAGE_API_KEY_SECRET_ARN", ""),
            ("IMAGE_UPSTREAMS", upstreams.as_str()),
            ("IMAGE_ROUTES", routes),
        ];
        stand.app(&first, &of_routes)
    };
    assert_eq!(ask(&routed(&both), &user, &wanted(1)).await.ending(), "done");
    assert_eq!((first.requests(), second.requests()), (0, 1));
    assert_eq!(ask(&routed(&one), &user, &wanted(1)).await.ending(), "problem service_unavailable");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1);
}
