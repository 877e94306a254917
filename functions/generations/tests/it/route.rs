//! The route as a client sees it: the handler in process, on tables that the ledger fills as the other functions do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dev::dynamodb::{self, Proxy, TableFault};
use dev::supabase::{Project, legacy_token};
use dev::user;
use futures_util::future::join_all;
use generations::{App, handle};
use http::{Request, Response};
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use shared::auth::{Principal, SourceIp, UserId};
use shared::config::CommonConfig;
use shared::edge::{Admission, AdmitRequest, Admitted, Body, Invocation, Ledger, UpstreamWork};
use shared::outcome::{DeliveredImage, ImageSource, Success, Tally};
use shared::price::Price;
use shared::task::fingerprint;
use shared::upstream::Failure;

const LOG: &str = "/api/generations";
const ROUTE: &str = "/api/v1/faceflip/generate/stream";
/// A page's size where none is asked for.
const PAGE: usize = 20;

/// What is set: these, or else what all tests have. An empty one is not set.
type Variables<'a> = &'a [(&'a str, &'a str)];

fn variable(set: Variables<'_>, name: &str) -> Option<String> {
    let set = set.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    set.or_else(|| user::variable(name)).filter(|value| !value.is_empty())
}

fn app(set: Variables<'_>) -> Arc<App> {
    Arc::new(App::from_env(&|name| variable(set, name)))
}

/// The ledger as a function that generates has it.
fn ledger(set: Variables<'_>) -> Ledger {
    let config = CommonConfig::from_env(&|name| variable(set, name)).unwrap();
    Ledger::new(&config.ledger, None, Duration::from_secs(600))
}

/// A user of one test.
struct Person {
    principal: Principal,
    token: String,
}

fn person(name: &str) -> Person {
    let claims = claims(name);
    let id = UserId::parse(claims["sub"].as_str().unwrap()).unwrap();
    Person { principal: Principal::User(id), token: signed(&claims) }
}

fn claims(name: &str) -> Value {
    Project::claims(&format!("{}/auth/v1", user::variable("SUPABASE_URL").unwrap()), name)
}

fn signed(claims: &Value) -> String {
    legacy_token(&user::variable("SUPABASE_JWT_SECRET").unwrap(), None, claims)
}

impl Person {
    /// A task that is begun and not ended.
    async fn begin(&self, ledger: &Ledger, task_id: &str, images: u32) -> Box<Admission> {
        let wanted = AdmitRequest {
            principal: &self.principal,
            route: ROUTE,
            task_id,
            fingerprint: fingerprint([task_id]),
            calls: 1,
            images,
            replays: true,
            deadline: None,
        };
        match ledger.admit(wanted).await.unwrap() {
            Admitted::Run(admission) => admission,
            Admitted::Replay(_) => panic!("{task_id} has been made before"),
        }
    }

    async fn run(&self, ledger: &Ledger, task_id: &str, verdict: Result<&Success, Failure>) {
        let admission = self.begin(ledger, task_id, 1).await;
        let work = UpstreamWork { cost: verdict.ok().and(work().cost), ..work() };
        ledger.settle(&admission, verdict, Tally::default(), &[], &work).await;
    }

    async fn get(&self, app: &Arc<App>, path: &str) -> Response<Body> {
        let request = Request::get(path).header("authorization", format!("Bearer {}", self.token));
        handle(app.clone(), request.body(Bytes::new()).unwrap()).await
    }

    /// A good answer.
    #[track_caller]
    fn read(&self, app: &Arc<App>, path: &str) -> impl Future<Output = Value> {
        let answer = self.get(app, path);
        async move {
            let response = answer.await;
            assert_eq!(response.status(), 200, "{path}");
            assert_eq!(response.headers()["content-type"], "application/json");
            body(response).await
        }
    }
}

async fn body(response: Response<Body>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

fn links(urls: &[&str]) -> Success {
    let image = |(slot, url): (usize, &&str)| {
        let source = ImageSource::Link { url: (*url).to_owned(), pixels: None };
        DeliveredImage::new(u32::try_from(slot).unwrap(), source, false)
    };
    Success { images: urls.iter().enumerate().map(image).collect(), failed: Vec::new(), usage: None, cut_short: None }
}

fn work() -> UpstreamWork {
    UpstreamWork { upstream: "relay".to_owned(), cost: Price::new(0.039) }
}

fn task_ids(log: &Value) -> Vec<String> {
    log["items"].as_array().unwrap().iter().map(|item| item["task_id"].as_str().unwrap().to_owned()).collect()
}

fn members(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Writes to the ledger's table by hand.
async fn update(key: Value, expression: &str, condition: Option<&str>, values: Value) {
    let mut request = json!({
        "TableName": user::variable("LEDGER_TABLE").unwrap(),
        "Key": key,
        "UpdateExpression": expression,
        "ExpressionAttributeValues": values,
    });
    if let Some(condition) = condition {
        request["ConditionExpression"] = condition.into();
    }
    // A signature is wanted and not looked at.
    let signature =
        "AWS4-HMAC-SHA256 Credential=a/20260101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
    let post = reqwest::Client::new()
        .post(user::variable("AWS_ENDPOINT_URL_DYNAMODB").unwrap())
        .header("x-amz-target", "DynamoDB_20120810.UpdateItem")
        .header("content-type", "application/x-amz-json-1.0")
        .header("authorization", signature)
        .header("x-amz-date", "20260101T000000Z")
        .body(request.to_string());
    let answer = post.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// Ends the lease of a running task. No function writes that.
async fn end_lease(owner: &Person, task_id: &str) {
    let key = json!({
        "pk": {"S": owner.principal.to_string()},
        "sk": {"S": format!("G#{}", fingerprint([task_id]))},
    });
    let past = json!({":past": {"N": "1795248000000"}});
    update(key, "SET lease = :past", Some("attribute_exists(lease)"), past).await;
}

#[tokio::test]
async fn pages_newest_first() {
    let (app, ledger, reader) = (app(&[]), ledger(&[]), person("pages"));
    let mut expected = Vec::new();
    for number in 0..45 {
        let task_id = format!("task-{number}");
        reader.begin(&ledger, &task_id, 1).await;
        expected.insert(0, task_id);
        // Not two in one millisecond.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (mut seen, mut sizes, mut path) = (Vec::new(), Vec::new(), LOG.to_owned());
    loop {
        let log = reader.read(&app, &path).await;
        sizes.push(task_ids(&log).len());
        seen.extend(task_ids(&log));
        assert!(log.as_object().unwrap().contains_key("next"), "null where there is no more");
        let Some(next) = log["next"].as_str() else { break };
        path = format!("{LOG}?cursor={next}");
    }
    assert_eq!(sizes, [PAGE, PAGE, 5]);
    assert_eq!(seen, expected);

    let log = reader.read(&app, &format!("{LOG}?limit=1")).await;
    assert_eq!(task_ids(&log), expected[..1]);
    let next = log["next"].as_str().unwrap();
    let log = reader.read(&app, &format!("{LOG}?limit=100&order=oldest&cursor={next}&sort")).await;
    assert_eq!((task_ids(&log), &log["next"]), (expected[1..].to_vec(), &Value::Null), "what is not known is ignored");
    let created: Vec<_> = log["items"].as_array().unwrap().iter().map(|item| item["created"].to_string()).collect();
    assert!(created.is_sorted_by(|newer, older| newer > older), "times can be compared as text: {created:?}");
}

#[tokio::test]
async fn a_user_reads_only_the_log_of_that_user() {
    // A bucket that fills slowly: one that is full again between two tries is fought for.
    let (app, ledger) = (app(&[]), ledger(&[("RL_WINDOW_MS", "86400000")]));
    let people = ["one", "two", "three"].map(person);
    // At once, so that many are of the same millisecond and a page may end between them.
    let begun = people.iter().enumerate().flat_map(|(at, person)| {
        let ledger = &ledger;
        (0..15).map(move |number| async move { person.begin(ledger, &format!("{at}-{number}"), 1).await })
    });
    join_all(begun).await;
    let mut cursors = Vec::new();
    for (at, person) in people.iter().enumerate() {
        let (mut seen, mut path) = (Vec::new(), format!("{LOG}?limit=4"));
        loop {
            let log = person.read(&app, &path).await;
            seen.extend(task_ids(&log));
            let Some(next) = log["next"].as_str() else { break };
            path = format!("{LOG}?limit=4&cursor={next}");
            cursors.push(next.to_owned());
        }
        assert_eq!(seen.len(), 15);
        let all: BTreeSet<_> = (0..15).map(|number| format!("{at}-{number}")).collect();
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    }
    for cursor in &cursors {
        for (at, person) in people.iter().enumerate() {
            let log = person.read(&app, &format!("{LOG}?cursor={cursor}")).await;
            let own = format!("{at}-");
            assert!(task_ids(&log).iter().all(|task_id| task_id.starts_with(&own)), "another's cursor opens nothing");
        }
    }
    let others = people[1].get(&app, &format!("{LOG}/0-0")).await;
    assert_eq!(others.status(), 404);
    let newcomer = person("newcomer").read(&app, LOG).await;
    assert_eq!((&newcomer["items"], &newcomer["next"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn an_item_has_the_state_of_its_task() {
    let (app, ledger, reader) = (app(&[]), ledger(&[]), person("items"));
    let two = ["https://links.example.com/a.jpeg?X-Tos-Expires=86400", "https://links.example.com/b.jpeg"];
    reader.run(&ledger, "linked", Ok(&links(&two))).await;
    reader.run(&ledger, "failed", Err(Failure::ContentBlocked)).await;
    reader.run(&ledger, "again", Err(Failure::Unavailable)).await;
    reader.begin(&ledger, "again", 1).await;
    reader.begin(&ledger, "running", 1).await;
    reader.begin(&ledger, "abandoned", 1).await;
    end_lease(&reader, "abandoned").await;

    let log = reader.read(&app, LOG).await;
    let always = ["attempts", "created", "images", "route", "status", "task_id", "updated"];
    let of_dead = [&["attempts", "code"], &always[1..]].concat();
    let of_failed = [&of_dead[..], &["upstream"]].concat();
    let of_linked = [&["attempts", "cost"], &always[1..], &["upstream", "urls"]].concat();
    for (task_id, status, code, attempts, images, names) in [
        ("linked", "succeeded", Value::Null, 1, 2, &of_linked[..]),
        ("failed", "failed", json!("content_rejected"), 1, 0, &of_failed),
        ("again", "running", Value::Null, 2, 0, &always),
        ("running", "running", Value::Null, 1, 0, &always),
        ("abandoned", "failed", json!("internal_error"), 1, 0, &of_dead),
    ] {
        let found = log["items"].as_array().unwrap().iter().find(|item| item["task_id"] == task_id).unwrap();
        assert_eq!(members(found), names, "{task_id}");
        assert_eq!([&found["status"], &found["code"]], [&json!(status), &code], "{task_id}");
        assert_eq!([&found["attempts"], &found["images"]], [attempts, images], "{task_id}");
        assert_eq!(found["route"], ROUTE);
        let alone = reader.read(&app, &format!("{LOG}/{task_id}")).await;
        assert_eq!(&alone, found, "the same on its own");
        for time in ["created", "updated"] {
            let text = found[time].as_str().unwrap();
            let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{time}");
            assert!(text >= "2025-", "{time} is {text}");
        }
        assert!(found["created"].as_str() <= found["updated"].as_str(), "{task_id}");
    }
    let linked = reader.read(&app, &format!("{LOG}/linked")).await;
    assert_eq!(linked["urls"], json!(two));
    assert_eq!((&linked["upstream"], &linked["cost"]), (&json!("relay"), &json!(0.039)));

    // Pixels are not kept, so there is nothing to link to.
    let wanted = AdmitRequest {
        principal: &reader.principal,
        route: "/api/generate-stream",
        task_id: "pixels",
        fingerprint: fingerprint([]),
        calls: 1,
        images: 1,
        replays: false,
        deadline: None,
    };
    let Ok(Admitted::Run(admission)) = ledger.admit(wanted).await else { panic!("it is new") };
    ledger.settle(&admission, Ok(&links(&two)), Tally::default(), &[], &UpstreamWork::default()).await;
    let pixels = reader.read(&app, &format!("{LOG}/pixels")).await;
    assert_eq!([&pixels["status"], &pixels["route"]], ["succeeded", "/api/generate-stream"]);
    assert_eq!(members(&pixels), always);
}

#[tokio::test]
async fn any_text_names_a_task() {
    let (app, ledger, reader) = (app(&[]), ledger(&[]), person("names"));
    let long = "长".repeat(256);
    for task_id in ["任务 1", "a/b", "?limit=1#x", "100%", "%41", "a+b", "\u{0}\n", "'\"<>\\", "...", &long] {
        reader.begin(&ledger, task_id, 1).await;
        let item = reader.read(&app, &format!("{LOG}/{}", utf8_percent_encode(task_id, NON_ALPHANUMERIC))).await;
        assert_eq!(item["task_id"], task_id);
    }
    assert_eq!(reader.read(&app, &format!("{LOG}/a+b")).await["task_id"], "a+b", "a + in a path is a +");
    for path in ["A", "%2541%20", "a%2Fb%2F", "%FF", "a/b"] {
        assert_eq!(reader.get(&app, &format!("{LOG}/{path}")).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn credits_where_generations_cost_credits() {
    let on = [("CREDITS", "on"), ("CREDITS_INITIAL", "10")];
    let (app_on, ledger, reader) = (app(&on), ledger(&on), person("credits"));
    assert_eq!(reader.read(&app_on, LOG).await["credits"], 10, "a new user has the initial credits");
    let admission = reader.begin(&ledger, "three", 3).await;
    assert_eq!(reader.read(&app_on, LOG).await["credits"], 7, "three are reserved");
    ledger.settle(&admission, Ok(&links(&["https://links.example.com/a.jpeg"])), Tally::default(), &[], &work()).await;
    assert_eq!(reader.read(&app_on, LOG).await["credits"], 9, "one was made");
    let off = reader.read(&app(&[]), LOG).await;
    assert_eq!(members(&off), ["daily", "items", "next", "rate", "running"]);
}

/// Ten credits, with the line of docs/limits-and-credits.md.
#[tokio::test]
async fn the_line_that_grants_credits() {
    let on = [("CREDITS", "on")];
    let (app, ledger, reader) = (app(&on), ledger(&on), person("granted"));
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/limits-and-credits.md");
    let page = std::fs::read_to_string(page).unwrap();
    let line = page.lines().find(|line| line.starts_with("aws dynamodb update-item ")).unwrap();
    let argument = |name: &str| line.split(&format!("--{name} '")).nth(1).unwrap().split('\'').next().unwrap();
    let Principal::User(id) = &reader.principal else { panic!("a user") };
    let key = argument("key").replace("<user id>", id.as_str());
    let key: Value = serde_json::from_str(&key).unwrap();
    let values: Value = serde_json::from_str(argument("expression-attribute-values")).unwrap();
    let grant = async || update(key.clone(), argument("update-expression"), None, values.clone()).await;

    assert_eq!(reader.read(&app, LOG).await["credits"], 0);
    grant().await;
    assert_eq!(reader.read(&app, LOG).await["credits"], 10, "to a user without a request");
    reader.begin(&ledger, "three", 3).await;
    grant().await;
    assert_eq!(reader.read(&app, LOG).await["credits"], 17, "and while some are reserved");
}

#[tokio::test]
async fn the_state_of_the_limit() {
    let limits = [
        ("RL_LIMIT", "5"),
        ("RL_ANON_LIMIT", "2"),
        ("ALLOW_ANONYMOUS", "true"),
        ("DAILY_LIMIT", "100"),
        ("MAX_IN_FLIGHT", "4"),
    ];
    let (app, ledger, reader) = (app(&limits), ledger(&limits), person("rate"));
    let full = reader.get(&app, LOG).await;
    assert_eq!(full.headers()["ratelimit-policy"], "\"user\";q=5;w=60");
    assert_eq!(full.headers()["ratelimit"], "\"user\";r=5");
    let full = body(full).await;
    assert_eq!(full["rate"], json!({"limit": 5, "remaining": 5, "reset_ms": 0}));
    assert_eq!(full["running"], json!({"limit": 4, "remaining": 4}));
    let check_daily = |log: &Value, remaining: u32| {
        let daily = &log["daily"];
        assert_eq!([&daily["limit"], &daily["remaining"]], [100, remaining]);
        assert!((1..=86_400_000).contains(&daily["reset_ms"].as_u64().unwrap()), "{daily}");
    };
    check_daily(&full, 100);
    let ended = reader.begin(&ledger, "a", 3).await;
    reader.begin(&ledger, "b", 1).await;
    for path in [LOG, "/api/generations/a", "/api/generations/unknown"] {
        let started = reader.get(&app, path).await;
        let header = started.headers()["ratelimit"].to_str().unwrap().to_owned();
        assert!(["\"user\";r=3;t=12", "\"user\";r=3;t=11"].contains(&header.as_str()), "{path}: {header}");
    }
    let rate = reader.read(&app, LOG).await["rate"].clone();
    assert_eq!([&rate["limit"], &rate["remaining"]], [5, 3], "reading takes nothing");
    assert!((10_000..=12_000).contains(&rate["reset_ms"].as_u64().unwrap()), "{rate}");
    let started = reader.read(&app, LOG).await;
    assert_eq!(started["running"], json!({"limit": 4, "remaining": 2}));
    check_daily(&started, 96);
    ledger.settle(&ended, Ok(&links(&["https://links.example.com/a.jpeg"])), Tally::default(), &[], &work()).await;
    let one_ended = reader.read(&app, LOG).await;
    assert_eq!(one_ended["running"], json!({"limit": 4, "remaining": 3}));
    check_daily(&one_ended, 98);

    // Guests have a log each, and the limit of their address.
    let mut claims = claims("guest");
    claims["is_anonymous"] = json!(true);
    let address = "198.51.100.77";
    let id = UserId::parse(claims["sub"].as_str().unwrap()).unwrap();
    let principal = Principal::Guest { id, source: SourceIp::new(address.parse().ok()) };
    let guest = Person { principal, token: signed(&claims) };
    guest.begin(&ledger, "g", 1).await;
    let mut request = Request::get(LOG).header("authorization", format!("Bearer {}", guest.token)).body(Bytes::new());
    request.as_mut().unwrap().extensions_mut().insert(Invocation::new(None, Some(address)));
    let response = handle(app, request.unwrap()).await;
    assert_eq!(response.headers()["ratelimit-policy"], "\"guest\";q=2;w=60");
    let log = body(response).await;
    assert_eq!((task_ids(&log), &log["rate"]["remaining"]), (vec!["g".to_owned()], &json!(1)));
}

#[tokio::test]
async fn refusals() {
    let (app, reader) = (app(&[]), person("refusals"));
    let cursor = format!("1795248000000.{}", fingerprint([]));
    let bearer = format!("Bearer {}", reader.token);
    let signed_in = Some(bearer.as_str());
    let rows = [
        ("GET", LOG, None, 401, "auth_required"),
        ("GET", "/api/generations?limit=0", None, 401, "auth_required"),
        ("GET", "/api/generations/x", None, 401, "auth_required"),
        ("GET", LOG, Some("Bearer not.a.token"), 401, "token_invalid"),
        ("GET", LOG, Some("Bearer sb_publishable_x"), 401, "api_key_not_accepted"),
        ("GET", "/api/generations?limit=0", signed_in, 400, "invalid_request"),
        ("GET", "/api/generations?limit=101", signed_in, 400, "invalid_request"),
        ("GET", "/api/generations?limit=-1", signed_in, 400, "invalid_request"),
        ("GET", "/api/generations?limit=1.0", signed_in, 400, "invalid_request"),
        ("GET", "/api/generations?limit", signed_in, 400, "invalid_request"),
        ("GET", "/api/generations?limit=x&limit=1", signed_in, 400, "invalid_request"),
        ("GET", "/api/generations?limit=99999999999999999999", signed_in, 400, "invalid_request"),
        ("GET", "/api/generations?cursor=", signed_in, 400, "invalid_request"),
        ("GET", "/api/generations?cursor=1795248000000", signed_in, 400, "invalid_request"),
        ("GET", &format!("{LOG}?cursor={}", &cursor[..cursor.len() - 1]), signed_in, 400, "invalid_request"),
        ("GET", &format!("{LOG}?cursor={cursor}0"), signed_in, 400, "invalid_request"),
        ("GET", &format!("{LOG}?cursor=-{cursor}"), signed_in, 400, "invalid_request"),
        ("GET", "/api/generations/x", signed_in, 404, "task_not_found"),
        ("DELETE", "/api/generations/x", signed_in, 404, "task_not_found"),
        ("DELETE", "/api/generations/x/pictures", signed_in, 404, "task_not_found"),
        ("DELETE", "/api/generations/x", None, 401, "auth_required"),
        ("DELETE", "/api/generations/x/pictures", None, 401, "auth_required"),
        ("DELETE", "/api/generations/x/pictures/0", signed_in, 404, "route_not_found"),
        ("GET", "/api/generations/%ff", signed_in, 404, "route_not_found"),
        ("GET", "/api/generations/", signed_in, 404, "route_not_found"),
        ("GET", "/api/generations/a/b", signed_in, 404, "route_not_found"),
        ("GET", "/api/generationsx", signed_in, 404, "route_not_found"),
        ("GET", "/api/generation", None, 404, "route_not_found"),
        ("GET", "/", None, 404, "route_not_found"),
        ("POST", "/api/generate-stream", signed_in, 404, "route_not_found"),
        ("POST", LOG, signed_in, 405, "method_not_allowed"),
        ("HEAD", LOG, signed_in, 405, "method_not_allowed"),
        ("DELETE", LOG, signed_in, 405, "method_not_allowed"),
        ("POST", "/api/generations/x", signed_in, 405, "method_not_allowed"),
        ("POST", "/api/generations/x", None, 405, "method_not_allowed"),
        ("GET", "/api/generations/x/pictures", signed_in, 405, "method_not_allowed"),
    ];
    for (method, path, authorization, status, code) in rows {
        let mut request = Request::builder().method(method).uri(path).header("accept-language", "en");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let response = handle(app.clone(), request.body(Bytes::new()).unwrap()).await;
        let headers = response.headers().clone();
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(headers["content-type"], "application/problem+json; charset=utf-8");
        let allowed = match path {
            LOG => "GET",
            "/api/generations/x" => "GET, DELETE",
            _ => "DELETE",
        };
        let allow = headers.get("allow").map(|allow| allow.to_str().unwrap());
        assert_eq!(allow, (status == 405).then_some(allowed), "{method} {path}");
        assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{method} {path}");
        assert_eq!(headers["content-language"], "en");
        let problem = body(response).await;
        assert_eq!([&problem["code"], &problem["status"]], [&json!(code), &json!(status)], "{method} {path}");
        let detail = problem["detail"].as_str().unwrap();
        let said = match path {
            _ if status == 400 && path.contains("limit") => "limit must be a whole number from 1 to 100",
            _ if status == 400 => "cursor must be the `next` value of the previous page",
            _ => problem["title"].as_str().unwrap(),
        };
        assert_eq!(detail, said, "{method} {path}");
    }
    assert_eq!(task_ids(&reader.read(&app, &format!("{LOG}?cursor={cursor}")).await).len(), 0, "one in the right form");
    assert_eq!(reader.read(&app, &format!("{LOG}?limit=100")).await["next"], Value::Null);
}

#[tokio::test]
async fn every_response_has_its_headers() {
    let (app, reader) = (app(&[]), person("headers"));
    for path in [LOG, "/api/generations/x", "/api/generations?limit=0", "/elsewhere"] {
        let request = Request::get(path)
            .header("authorization", format!("Bearer {}", reader.token))
            .header("x-request-id", "request-1")
            .body(Bytes::new());
        let response = handle(app.clone(), request.unwrap()).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("cache-control"), "no-store, no-transform", "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert!(header("strict-transport-security").starts_with("max-age="));
        assert_eq!(header("x-request-id"), "request-1");
        assert_eq!(header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(header("cross-origin-resource-policy"), "cross-origin");
        assert!(response.headers().keys().all(|name| response.headers().get_all(name).iter().count() == 1));
    }
}

#[tokio::test]
async fn an_unreadable_log_is_a_problem() {
    let proxy = Proxy::default();
    let routes = dynamodb::routes(proxy.clone(), &user::variable("AWS_ENDPOINT_URL_DYNAMODB").unwrap());
    let tables = dev::start(routes).await.unwrap();
    let (address, reader) = (tables.url(""), person("unreadable"));
    let set = [("AWS_ENDPOINT_URL_DYNAMODB", address.as_str()), ("CREDITS", "on"), ("RL_FAIL_MODE", "open")];
    let app = app(&set);
    app.warm_up().await;
    reader.begin(&ledger(&[]), "a", 1).await;
    let item = format!("{LOG}/a");

    let down = [
        (TableFault::InternalServerError, "limiter_unavailable", "2"),
        (TableFault::Refuse, "limiter_unavailable", "2"),
        (TableFault::ProvisionedThroughputExceeded, "limiter_unavailable", "2"),
        (TableFault::AccessDenied, "service_unavailable", "1"),
        (TableFault::ResourceNotFound, "service_unavailable", "1"),
    ];
    for (fault, code, retry_after) in down {
        proxy.fail(Some(fault));
        for path in [LOG, &item] {
            let response = reader.get(&app, path).await;
            assert_eq!(response.status(), 503, "{fault:?}");
            assert_eq!(response.headers()["retry-after"], retry_after, "{fault:?}");
            assert!(!response.headers().contains_key("ratelimit"), "the limit was not read");
            assert_eq!(body(response).await["code"], code, "{fault:?}");
        }
    }
    // The table of the limits alone does not take the log down.
    let limits = user::variable("RATE_LIMITS_TABLE").unwrap();
    proxy.script(move |call| (call.table == limits).then_some(TableFault::InternalServerError));
    for path in [LOG, &item] {
        let response = reader.get(&app, path).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("ratelimit"));
        let log = body(response).await;
        assert!(["rate", "daily", "running"].iter().all(|member| log.get(member).is_none()), "{log}");
    }
    // Each of the two that a page consists of besides, alone; the balance lies beside the log.
    for (operation, table) in [("Query", "LEDGER_TABLE"), ("GetItem", "LEDGER_TABLE")] {
        let table = user::variable(table).unwrap();
        proxy.script(move |call| {
            (call.operation == operation && call.table == table).then_some(TableFault::InternalServerError)
        });
        assert_eq!(reader.get(&app, LOG).await.status(), 503, "{operation}");
    }
    proxy.fail(None);
    assert_eq!(task_ids(&reader.read(&app, LOG).await), ["a"], "as soon as they are back");
    assert_eq!(reader.read(&app, &item).await["task_id"], "a");
    // All that the function's role allows.
    assert_eq!(proxy.calls(), proxy.calls_to("GetItem") + proxy.calls_to("Query"));
    assert!(proxy.calls_to("Query") > 0);
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_answered() {
    let reader = person("mistake");
    for set in [[("LEDGER_TABLE", "")], [("SUPABASE_URL", "")], [("CREDITS", "maybe")]] {
        let response = reader.get(&app(&set), LOG).await;
        assert_eq!(response.status(), 500, "{set:?}");
        assert_eq!(body(response).await["code"], "service_misconfigured");
    }
    let all_it_needs = ["SUPABASE_URL", "RATE_LIMITS_TABLE", "LEDGER_TABLE"];
    let bare = App::from_env(&|name| all_it_needs.contains(&name).then(|| user::variable(name)).flatten());
    let request = Request::get(LOG).body(Bytes::new()).unwrap();
    assert_eq!(handle(Arc::new(bare), request).await.status(), 401, "no upstream and no key is needed");
}
