//! The limit as callers meet it: through the handler, the real SDK and a table, on good days and on bad ones. The names
//! of the bad ones begin with their row in the catalogue of faults.
//!
//! All of it also runs against another engine: `AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 cargo test …`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use dev::dynamodb::{self, Proxy, TableFault};
use dev::transcript::{Ending, Transcript};
use futures_util::future::join_all;
use generate_stream::{App, handle};
use http::Request;
use http::header::{CONTENT_ENCODING, HeaderValue, LOCATION};
use serde_json::json;
use shared::edge::Invocation;
use tokio::task::JoinSet;

use crate::support::{DAY, Item, Reply, Stand, Tables, Upstream, User, fixture, in_time, n, number, s, text, unix_ms};

const PATH: &str = "/api/generate-stream";
const PICTURE: &str = "c01_newapi_one_giant_chunk.sse";
/// One call every three seconds, and one at once.
const SLOW: [(&str, &str); 2] = [("RL_LIMIT", "1"), ("RL_WINDOW_MS", "3000")];
/// No refusal takes as long, whatever the table does: an answer is waited for for a second and a half.
const SOON: Duration = Duration::from_secs(6);

fn wanted(user: &User) -> Request<Bytes> {
    user.post(PATH, &json!({"prompt": "x", "format": "events"}))
}

/// The same, and a problem as long as there is no picture.
fn wanted_as_chat(user: &User) -> Request<Bytes> {
    user.post(PATH, &json!({"prompt": "x"}))
}

fn keyed(user: &User, key: &str, prompt: &str) -> Request<Bytes> {
    let mut request = user.post(PATH, &json!({"prompt": prompt, "format": "events"}));
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

async fn ask(app: &Arc<App>, request: Request<Bytes>) -> Reply {
    Reply::read(handle(app.clone(), request).await).await
}

/// A refusal for want of tokens, and all that it must say. Gives when to come back.
#[track_caller]
fn refused_for_ms(reply: &Reply) -> u64 {
    assert_eq!((reply.status, reply.ending().as_str()), (429, "problem rate_limited"));
    let retry_after_ms = reply.last()["retry_after_ms"].as_u64().unwrap();
    assert!(retry_after_ms > 0);
    let seconds = retry_after_ms.div_ceil(1000).to_string();
    assert_eq!(reply.header("retry-after"), Some(seconds.as_str()));
    let policy = reply.header("ratelimit-policy").unwrap();
    assert!(policy.starts_with("\"user\";q=") || policy.starts_with("\"guest\";q="), "{policy}");
    let (left, next) = reply.header("ratelimit").unwrap().split_once(";t=").unwrap();
    assert!(left == "\"user\";r=0" || left == "\"guest\";r=0", "{left}");
    assert!(next.parse::<u64>().unwrap() <= retry_after_ms.div_ceil(1000), "not earlier than there is one");
    assert!(!reply.headers.contains_key("x-task-id"), "there is no task");
    retry_after_ms
}

async fn until(time_ms: u64) {
    tokio::time::sleep(Duration::from_millis(time_ms.saturating_sub(unix_ms()))).await;
}

/// Nothing is left of what was refused, and nobody was called for it.
async fn left_nothing(stand: &Stand, upstream: &Upstream, user: &User) {
    assert_eq!(upstream.requests(), 0, "the upstream");
    assert_eq!(stand.vault.calls(), 0, "the secret");
    let owner = user.owner();
    assert_eq!(stand.tables.missing(&owner, 5).await, 0, "tokens");
    let records =
        stand.tables.all().await.into_iter().filter(|item| text(item, "pk") == owner && item.contains_key("sk"));
    assert_eq!(records.count(), 0, "records");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_make_five_calls() {
    const REQUESTS: usize = 1000;
    const INSTANCES: usize = 8;
    in_time(async || {
        let (stand, user) = (Stand::new().await, User::new("thousand"));
        let upstream = Upstream::recorded(PICTURE).await;
        let apps: Vec<Arc<App>> = (0..INSTANCES).map(|_| stand.app(&upstream, &[])).collect();
        let mut requests = JoinSet::new();
        for number in 0..REQUESTS {
            let (app, request) = (apps[number % INSTANCES].clone(), wanted(&user));
            requests.spawn(async move { ask(&app, request).await });
        }
        let replies = requests.join_all().await;
        let (made, others): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
        assert!(upstream.requests() <= 5, "never more");
        assert_eq!(made.len() as u32, upstream.requests());
        assert!(made.iter().all(|reply| reply.ending() == "done"));
        assert!(stand.vault.calls() <= INSTANCES as u32);
        let (refused, too_late): (Vec<_>, Vec<_>) = others.into_iter().partition(|reply| reply.status == 429);
        for reply in &refused {
            refused_for_ms(reply);
            assert_eq!(reply.header("ratelimit-policy"), Some("\"user\";q=5;w=86400"));
        }
        if !too_late.is_empty() {
            assert!(too_late.iter().all(|reply| reply.status == 503));
            return false;
        }
        assert_eq!(upstream.requests(), 5, "and never fewer");
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, 5);
        let items = stand.tables.all().await;
        assert_eq!(items.len(), 6, "the bucket, and a record of each call: {items:?}");
        let calls = stand.tables.proxy.calls();
        assert!(calls < REQUESTS as u32 / 2, "{calls}: most are refused from memory");
        true
    })
    .await;
}

#[tokio::test]
async fn a_refusal_says_exactly_when() {
    let (stand, user) = (Stand::new().await, User::new("when"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app = || -> Arc<App> { stand.app(&upstream, &SLOW) };
    let (first, second, cold) = (app(), app(), (0..8).map(|_| app()).collect::<Vec<_>>());
    assert_eq!(ask(&first, wanted(&user)).await.ending(), "done");
    let free_ms = number(&stand.tables.bucket(&user.owner()).await.unwrap(), "tat");
    // From memory, and by the table.
    for app in [&first, &second] {
        let before_ms = unix_ms();
        let retry_after_ms = refused_for_ms(&ask(app, wanted(&user)).await);
        let decided_ms = free_ms - retry_after_ms;
        assert!((before_ms..=unix_ms()).contains(&decided_ms), "{before_ms} {decided_ms} {}", unix_ms());
    }

    until(free_ms - 60).await;
    for app in cold.iter().chain(std::iter::repeat(&first)) {
        let before_ms = unix_ms();
        let reply = ask(app, wanted(&user)).await;
        if reply.status == 200 {
            assert!(unix_ms() >= free_ms, "too early");
            break;
        }
        refused_for_ms(&reply);
        assert!(before_ms < free_ms, "{} ms late", before_ms - free_ms);
    }
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn who_comes_back_as_told_is_let_in() {
    let variables = [("RL_LIMIT", "1"), ("RL_WINDOW_MS", "1500")];
    in_time(async || {
        let (stand, user) = (Stand::new().await, User::new("told"));
        let upstream = Upstream::recorded(PICTURE).await;
        let (app, other): (Arc<App>, Arc<App>) = (stand.app(&upstream, &variables), stand.app(&upstream, &variables));
        // Twice another process is faster, and takes the token he was told of.
        for _ in 0..2 {
            while ask(&other, wanted(&user)).await.status != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let reply = ask(&app, wanted(&user)).await;
            if reply.status == 200 {
                return false;
            }
            until(unix_ms() + refused_for_ms(&reply)).await;
        }
        assert_eq!(ask(&app, wanted(&user)).await.status, 200);
        true
    })
    .await;
}

#[tokio::test]
async fn d1_an_empty_bucket_is_told_and_costs_nothing() {
    let (stand, user) = (Stand::new().await, User::new("d1"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    for left in (0..5).rev() {
        let reply = ask(&app, wanted(&user)).await;
        assert_eq!(reply.ending(), "done");
        assert_eq!(reply.header("ratelimit-policy"), Some("\"user\";q=5;w=86400"));
        let next = reply.header("ratelimit").unwrap().strip_prefix(&format!("\"user\";r={left};t=")).unwrap();
        assert!((17_220..=17_280).contains(&next.parse::<u32>().unwrap()), "{next}");
    }
    let (secrets, items) = (stand.vault.calls(), stand.tables.all().await.len());
    let cold: Arc<App> = stand.app(&upstream, &[]);
    for app in [&cold, &app] {
        for request in [wanted(&user), wanted_as_chat(&user)] {
            let retry_after_ms = refused_for_ms(&ask(app, request).await);
            assert!((17_280_000 - 60_000..=17_280_000).contains(&retry_after_ms), "{retry_after_ms}");
        }
    }
    assert_eq!((upstream.requests(), stand.vault.calls()), (5, secrets));
    assert_eq!(stand.tables.all().await.len(), items, "a refusal leaves no record");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 5);
    assert_eq!(ask(&app, wanted(&User::new("d1-other"))).await.status, 200, "nobody else is kept out");
}

#[tokio::test]
async fn d2_a_lost_condition_is_tried_again_until_the_store_s_time_is_used() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    for (lost, status) in [(1, 200), (3, 200), (20, 200), (u32::MAX, 429)] {
        let user = User::new(&format!("d2-{lost}"));
        let app: Arc<App> = stand.app(&upstream, &[]);
        let (hand, table, owner) = (stand.tables.hand(), stand.tables.limits.clone(), user.owner());
        let mut tries = 0;
        stand.tables.proxy.script(move |call| {
            if call.table == table {
                tries += 1;
                if tries <= lost {
                    // What was seen is out of date.
                    let now_ms = unix_ms();
                    let arrival_ms = if tries % 2 == 1 { now_ms + 60_000 } else { now_ms - 60_000 };
                    let item = [("pk", s(&owner)), ("tat", n(arrival_ms)), ("rid", s("somebody else"))];
                    hand.put(&table, item.map(|(name, value)| (name.to_owned(), value)).into());
                }
            }
            None
        });
        let (limits, paid) = (stand.tables.proxy.calls_on(&stand.tables.limits), upstream.requests());
        let reply = ask(&app, wanted(&user)).await;
        assert_eq!(reply.status, status, "{lost}");
        let tries = stand.tables.proxy.calls_on(&stand.tables.limits) - limits;
        assert!(tries == lost.saturating_add(1) || (status == 429 && tries > 20), "{tries} of {lost}");
        assert_eq!(upstream.requests() - paid, u32::from(status == 200));
        if status == 429 {
            assert_eq!((reply.ending().as_str(), reply.header("retry-after")), ("problem rate_limited", Some("1")));
            assert!(reply.last()["retry_after_ms"].as_u64().unwrap() <= 1000);
            let items = stand.tables.all().await;
            assert_eq!(items.iter().filter(|item| text(item, "pk") == user.owner()).count(), 1, "only the bucket");
        }
        stand.tables.proxy.fail(None);
    }
}

/// Which table has a bad day.
#[derive(Clone, Copy, Debug)]
enum On {
    Limits,
    Ledger,
    Both,
}

impl On {
    const ALL: [Self; 3] = [Self::Limits, Self::Ledger, Self::Both];

    fn fail(self, tables: &Tables, fault: TableFault) {
        let failing = match self {
            Self::Limits => vec![tables.limits.clone()],
            Self::Ledger => vec![tables.ledger.clone()],
            Self::Both => vec![tables.limits.clone(), tables.ledger.clone()],
        };
        tables.proxy.script(move |call| failing.contains(&call.table).then_some(fault));
    }
}

/// A table that fails so refuses everybody so, and soon.
async fn fails(faults: &[TableFault], status: u16, code: &str, retry_after: &str) {
    let days = faults.iter().flat_map(|fault| On::ALL.map(|on| (*fault, on)));
    join_all(days.map(async |(fault, on)| {
        let (stand, user) = (Stand::new().await, User::new("refused"));
        let upstream = Upstream::recorded(PICTURE).await;
        let app: Arc<App> = stand.app(&upstream, &[]);
        on.fail(&stand.tables, fault);
        let reply = tokio::time::timeout(SOON, ask(&app, wanted(&user))).await.unwrap();
        assert_eq!((reply.status, reply.ending()), (status, format!("problem {code}")), "{fault:?} {on:?}");
        assert_eq!(reply.header("retry-after"), Some(retry_after), "{fault:?} {on:?}");
        assert!(!reply.headers.contains_key("ratelimit"), "nobody knows how it stands");
        stand.tables.proxy.fail(None);
        left_nothing(&stand, &upstream, &user).await;
        assert_eq!(ask(&app, wanted(&user)).await.ending(), "done", "it was the table");
    }))
    .await;
}

/// Where everybody is let in meanwhile, everybody is.
async fn fails_open(fault: TableFault) {
    join_all(On::ALL.map(async |on| {
        let (stand, user) = (Stand::new().await, User::new("open"));
        let upstream = Upstream::recorded(PICTURE).await;
        let app: Arc<App> = stand.app(&upstream, &[("RL_FAIL_MODE", "open"), ("RL_LIMIT", "1")]);
        on.fail(&stand.tables, fault);
        let replies = join_all((0..3).map(|_| tokio::time::timeout(SOON, ask(&app, wanted(&user))))).await;
        let done = replies.into_iter().filter(|reply| reply.as_ref().unwrap().status == 200).count();
        // The limit holds where only the other table fails.
        assert_eq!(done, if matches!(on, On::Ledger) { 1 } else { 3 }, "{on:?}");
        assert_eq!(upstream.requests(), done as u32);

        // Credits are money: nothing is given away.
        let app: Arc<App> = stand.app(&upstream, &[("RL_FAIL_MODE", "open"), ("CREDITS", "on")]);
        let reply = tokio::time::timeout(SOON, ask(&app, wanted(&User::new("poor")))).await.unwrap();
        let code = if matches!(on, On::Limits) { "insufficient_credits" } else { "limiter_unavailable" };
        assert_eq!(reply.ending(), format!("problem {code}"), "{on:?}");
        assert_eq!(upstream.requests(), done as u32);
    }))
    .await;
}

#[tokio::test]
async fn d3_throttled_table_fail_closed() {
    let faults = [TableFault::Throttling, TableFault::ProvisionedThroughputExceeded, TableFault::InternalServerError];
    fails(&faults, 503, "limiter_unavailable", "2").await;
}

#[tokio::test]
async fn d3_throttled_table_fail_open() {
    fails_open(TableFault::Throttling).await;
}

#[tokio::test]
async fn d4_timeout_fail_closed() {
    fails(&[TableFault::Hang, TableFault::Refuse], 503, "limiter_unavailable", "2").await;
}

#[tokio::test]
async fn d4_timeout_fail_open() {
    fails_open(TableFault::Hang).await;
}

#[tokio::test]
async fn d4_unreachable_table() {
    let (stand, user) = (Stand::new().await, User::new("d4"));
    let upstream = Upstream::recorded(PICTURE).await;
    let nowhere = Upstream::gone().url;
    let app: Arc<App> = stand.app(&upstream, &[("AWS_ENDPOINT_URL_DYNAMODB", &nowhere)]);
    let reply = tokio::time::timeout(SOON, ask(&app, wanted(&user))).await.unwrap();
    assert_eq!((reply.status, reply.ending().as_str()), (503, "problem limiter_unavailable"));
    left_nothing(&stand, &upstream, &user).await;
    let app: Arc<App> = stand.app(&upstream, &[("AWS_ENDPOINT_URL_DYNAMODB", &nowhere), ("RL_FAIL_MODE", "open")]);
    assert_eq!(ask(&app, wanted(&user)).await.ending(), "done");
}

#[tokio::test]
async fn d5_missing_table_or_permission() {
    fails(&[TableFault::ResourceNotFound, TableFault::AccessDenied], 503, "service_unavailable", "1").await;
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    for missing in ["RATE_LIMITS_TABLE", "LEDGER_TABLE"] {
        let user = User::new(missing);
        let app: Arc<App> = stand.app(&upstream, &[(missing, "no-such-table")]);
        let reply = ask(&app, wanted(&user)).await;
        assert_eq!((reply.status, reply.ending().as_str()), (503, "problem service_unavailable"), "{missing}");
        left_nothing(&stand, &upstream, &user).await;
    }
}

#[tokio::test]
async fn d6_a_bucket_that_holds_nonsense_gives_nothing_away_and_heals() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    let decimal = |text: String| AttributeValue::N(text);
    let (now_ms, nines) = (unix_ms(), "9".repeat(38));
    let arrivals = [
        s("NaN"),
        s("Infinity"),
        s(""),
        s(&now_ms.to_string()),
        AttributeValue::Bool(true),
        AttributeValue::Null(true),
        AttributeValue::L(vec![n(1)]),
        AttributeValue::M(Item::new()),
        AttributeValue::B(Blob::new([1, 2, 3])),
        AttributeValue::Ns(vec!["1".into()]),
        n(0),
        decimal("-1".into()),
        decimal(format!("-{nines}")),
        decimal("0.5".into()),
        decimal(format!("{}.5", now_ms + 60_000)),
        decimal(format!("{}.5", now_ms + 1_000_000_000)),
        n(now_ms + 200_000_000),
        n(now_ms * 1_000),
        n(u64::MAX),
        decimal("1e25".into()),
        decimal(nines),
    ];
    let names = ["rid", "rfd", "ttl"];
    let others = arrivals.iter().take(9).map(|nonsense| {
        let item = names.map(|name| (name.to_owned(), nonsense.clone()));
        item.into_iter().chain([("tat".to_owned(), n(now_ms + 60_000))]).collect::<Item>()
    });
    let arrivals = arrivals.iter().map(|arrival| Item::from([("tat".to_owned(), arrival.clone())]));
    let apps: Vec<Arc<App>> = (0..8).map(|_| stand.app(&upstream, &[])).collect();
    for (number_of, mut item) in arrivals.chain(others).chain([Item::new()]).enumerate() {
        let user = User::new(&format!("d6-{number_of}"));
        item.insert("pk".into(), s(&user.owner()));
        stand.tables.put(&stand.tables.limits, item.clone()).await;
        let mut made = 0;
        let mut last = String::new();
        // None of them has met him before.
        for app in &apps {
            let (paid, reply) = (upstream.requests(), ask(app, wanted(&user)).await);
            last = reply.ending();
            assert!(
                ["done", "problem rate_limited", "problem limiter_unavailable"].contains(&&*last),
                "{item:?} {last}"
            );
            assert_eq!(upstream.requests() - paid, u32::from(last == "done"));
            made += u32::from(last == "done");
        }
        assert!(made <= 5, "{item:?} gave {made}");
        assert_eq!(last, "problem rate_limited", "{item:?} does not keep him out for ever");
        let bucket = stand.tables.bucket(&user.owner()).await.unwrap();
        assert!(number(&bucket, "tat") <= unix_ms() + 86_400_000, "{item:?} has become {bucket:?}");
        assert!(number(&bucket, "ttl") > unix_ms() / 1000);
    }
}

#[tokio::test]
async fn d6_a_record_that_holds_nonsense_is_run_by_nobody() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let user = User::new("d6-record");
    assert_eq!(ask(&app, keyed(&user, "whole", "x")).await.ending(), "done");
    let whole = stand.tables.record(&user.owner(), "whole").await.unwrap();
    let nonsense = [s("NaN"), AttributeValue::N("-1".into()), AttributeValue::Bool(false), AttributeValue::Null(true)];
    for name in ["st", "tries", "run", "hash", "created", "updated", "images", "task", "route"] {
        for value in nonsense.iter().map(Some).chain([None]) {
            let mut record = whole.clone();
            match value {
                // Any text will do where texts are.
                Some(AttributeValue::S(_)) if ["run", "hash", "task", "route"].contains(&name) => continue,
                // The index has no other place for it.
                Some(AttributeValue::S(_) | AttributeValue::Bool(_) | AttributeValue::Null(_)) if name == "created" => {
                    continue;
                }
                Some(value) => record.insert(name.into(), value.clone()),
                None => record.remove(name),
            };
            stand.tables.put(&stand.tables.ledger, record.clone()).await;
            let paid = upstream.requests();
            let reply = ask(&app, keyed(&user, "whole", "x")).await;
            assert_eq!(reply.ending(), "problem service_unavailable", "{name} {value:?}");
            assert_eq!(upstream.requests(), paid);
        }
    }
    assert_eq!(ask(&app, keyed(&user, "another", "x")).await.ending(), "done");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 2);
}

#[tokio::test]
async fn d7_what_cannot_be_given_back_changes_nothing_for_the_user() {
    let faults = [
        TableFault::Throttling,
        TableFault::AccessDenied,
        TableFault::ResourceNotFound,
        TableFault::Refuse,
        TableFault::Hang,
        TableFault::Swallow,
    ];
    join_all(faults.map(async |fault| {
        let (stand, user) = (Stand::new().await, User::new("d7"));
        let (busy, good) = (Upstream::refuses(429).await, Upstream::recorded(PICTURE).await);
        for (upstream, request, expected) in [
            (&busy, wanted(&user), "error upstream_busy"),
            (&busy, wanted_as_chat(&user), "problem upstream_busy"),
            (&good, wanted(&user), "done"),
            (&good, wanted_as_chat(&user), "[DONE]"),
        ] {
            let app: Arc<App> = stand.app(upstream, &[]);
            let (seen, before) = (upstream.seen.clone(), upstream.requests());
            // It is begun and taken, and then the tables are gone.
            stand.tables.proxy.script(move |_| (seen.requests() > before).then_some(fault));
            let reply = tokio::time::timeout(SOON, ask(&app, request)).await.unwrap();
            assert_eq!(reply.ending(), expected, "{fault:?}");
            stand.tables.proxy.fail(None);
        }
        let missing = stand.tables.missing(&user.owner(), 5).await;
        assert_eq!(missing, if fault == TableFault::Swallow { 2 } else { 4 }, "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn d8_a_lost_answer_costs_nobody_twice() {
    let stand = Stand::new().await;
    let (good, busy) = (Upstream::recorded(PICTURE).await, Upstream::refuses(429).await);
    let variables = [("RL_LIMIT", "100"), DAY];
    let user = User::new("d8");
    let (app, failing): (Arc<App>, Arc<App>) = (stand.app(&good, &variables), stand.app(&busy, &variables));
    stand.tables.proxy.fail_every(3, TableFault::Swallow);
    for _ in 0..30 {
        assert_eq!(ask(&app, wanted(&user)).await.ending(), "done");
    }
    assert_eq!(good.requests(), 30);
    assert_eq!(stand.tables.missing(&user.owner(), 100).await, 30, "what was taken is what was let in");
    let calls = stand.tables.proxy.calls();
    assert!(calls >= 30 * 3 + 30, "{calls}: every third was asked for twice");

    for _ in 0..15 {
        assert_eq!(ask(&failing, wanted(&user)).await.ending(), "error upstream_busy");
    }
    stand.tables.proxy.fail(None);
    assert_eq!(stand.tables.missing(&user.owner(), 100).await, 30, "what comes back comes back once");
    let records = stand.tables.all().await;
    let tries: Vec<_> =
        records.iter().filter(|item| item.contains_key("st")).map(|item| number(item, "tries")).collect();
    assert_eq!(tries, [1; 45], "no attempt is counted twice");
    let running = records.iter().filter(|item| item.get("st") == Some(&s("running"))).count();
    assert_eq!(running, 0);
}

#[tokio::test]
async fn d8_nor_does_it_give_back_twice_what_others_gave_back_meanwhile() {
    let (stand, user) = (Stand::new().await, User::new("d8-meanwhile"));
    let (good, busy) = (Upstream::recorded(PICTURE).await, Upstream::refuses(429).await);
    let [app, failing]: [Arc<App>; 2] = [&good, &busy].map(|upstream| stand.app(upstream, &[]));
    for _ in 0..3 {
        assert_eq!(ask(&app, wanted(&user)).await.ending(), "done");
    }
    let (seen, hand) = (busy.seen.clone(), stand.tables.hand());
    let (table, owner, mut came) = (stand.tables.limits.clone(), user.owner(), 0);
    stand.tables.proxy.script(move |call| {
        came += u32::from(seen.requests() > 0 && call.table == table);
        match came {
            1 => Some(TableFault::Swallow),
            // Another request has given back in between.
            2 => {
                let (table, owner) = (table.clone(), owner.clone());
                hand.does(async move |client| {
                    let update = client.update_item().table_name(table).key("pk", s(&owner));
                    let update =
                        update.update_expression("SET rfd = :other").expression_attribute_values(":other", s("-"));
                    update.send().await.unwrap();
                });
                None
            }
            _ => None,
        }
    });
    assert_eq!(ask(&failing, wanted(&user)).await.ending(), "error upstream_busy");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 3);
}

#[tokio::test]
async fn d8_an_answer_that_is_lost_for_good_lets_nobody_in() {
    let (stand, user) = (Stand::new().await, User::new("d8-lost"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let table = stand.tables.limits.clone();
    stand.tables.proxy.script(move |call| (call.table == table).then_some(TableFault::Swallow));
    let reply = ask(&app, keyed(&user, "lost", "x")).await;
    assert_eq!((reply.status, reply.ending().as_str()), (503, "problem limiter_unavailable"));
    assert_eq!((upstream.requests(), stand.vault.calls()), (0, 0));
    assert!(stand.tables.missing(&user.owner(), 5).await <= 1, "and it costs at most one");
    stand.tables.proxy.fail(None);
    assert_eq!(ask(&app, keyed(&user, "lost", "x")).await.ending(), "done", "no record keeps the key");
}

#[tokio::test]
async fn d10_what_has_come_before_takes_no_token() {
    let (stand, user) = (Stand::new().await, User::new("d10"));
    let (upstream, gate) = Upstream::gated(Transcript::events(fixture(PICTURE))).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let cold: Arc<App> = stand.app(&upstream, &[]);
    let running = handle(app.clone(), keyed(&user, "key", "x")).await;
    assert_eq!(running.status(), 200);
    while upstream.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let check = async |status, code: &str, prompt: &str| {
        for app in [&app, &cold] {
            let (paid, secrets) = (upstream.requests(), stand.vault.calls());
            let reply = ask(app, keyed(&user, "key", prompt)).await;
            assert_eq!((reply.status, reply.ending()), (status, format!("problem {code}")));
            assert_eq!((upstream.requests(), stand.vault.calls()), (paid, secrets));
            assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1);
        }
    };
    check(409, "task_in_progress", "x").await;
    check(422, "task_id_reused", "y").await;
    gate.open();
    assert_eq!(Reply::read(running).await.ending(), "done");
    check(409, "task_already_completed", "x").await;
    check(422, "task_id_reused", "y").await;
    assert_eq!(upstream.requests(), 1);
}

/// An upstream that says this much and then this.
async fn says(parts: &[&str]) -> Upstream {
    let said: String = parts.iter().map(|part| format!("data: {part}\n\n")).collect();
    Upstream::plays(Transcript::events(said)).await
}

#[tokio::test]
async fn a_token_comes_back_exactly_when_the_upstream_did_not_begin() {
    const TEXT: &str = r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"好的"}}]}"#;
    const BUSY: &str = r#"{"error":{"message":"slow down","code":429}}"#;
    let stand = Stand::new().await;
    let picture = fixture(PICTURE);
    let half = picture.slice(..picture.len() / 2);
    let moved = Some((LOCATION, HeaderValue::from_static("/elsewhere")));
    let gzip = Some((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    let closes = Proxy::default();
    closes.fail(Some(TableFault::Refuse));
    let closing = dev::start(dynamodb::routes(closes.clone(), "http://127.0.0.1:9")).await.unwrap();
    let mut closed = Upstream::gone();
    closed.url = closing.url("");
    let wait = |head_after| Transcript { head_after, ..Transcript::events(picture.clone()) };
    let stall = |bytes| Transcript { ending: Ending::Stall, ..Transcript::events(bytes) };
    let (comes_back, is_kept) = (0, 1);
    let rows = [
        (Upstream::refuses(401).await, "service_unavailable", comes_back),
        (Upstream::refuses(402).await, "service_unavailable", comes_back),
        (Upstream::refuses(403).await, "service_unavailable", comes_back),
        (Upstream::refuses(404).await, "service_unavailable", comes_back),
        (Upstream::refuses(429).await, "upstream_busy", comes_back),
        (Upstream::refuses(503).await, "upstream_busy", comes_back),
        (Upstream::refuses(529).await, "upstream_busy", comes_back),
        (Upstream::gone(), "upstream_unreachable", comes_back),
        (
            Upstream::plays(Transcript { status: 307, header: moved, ..Transcript::events("") }).await,
            "upstream_protocol_error",
            comes_back,
        ),
        (says(&[BUSY]).await, "upstream_busy", comes_back),
        (says(&[TEXT, BUSY]).await, "upstream_busy", is_kept),
        (Upstream::refuses(400).await, "upstream_rejected_input", is_kept),
        (Upstream::refuses(422).await, "upstream_rejected_input", is_kept),
        (Upstream::refuses(413).await, "payload_too_large", is_kept),
        (Upstream::refuses(408).await, "upstream_timeout", is_kept),
        (Upstream::refuses(500).await, "upstream_error", is_kept),
        (Upstream::refuses(502).await, "upstream_error", is_kept),
        (Upstream::refuses(504).await, "upstream_timeout", is_kept),
        (closed, "upstream_error", is_kept),
        (Upstream::plays(wait(Duration::from_secs(60))).await, "upstream_timeout", is_kept),
        (Upstream::plays(stall(half.clone())).await, "upstream_timeout", is_kept),
        (Upstream::plays(stall(Bytes::new())).await, "upstream_timeout", is_kept),
        (
            Upstream::plays(Transcript { ending: Ending::Abort, ..Transcript::events(half) }).await,
            "stream_interrupted",
            is_kept,
        ),
        (Upstream::recorded("e01_eof_mid_base64.sse").await, "stream_interrupted", is_kept),
        (Upstream::recorded("e06_text_refusal_stop.sse").await, "no_image", is_kept),
        (Upstream::recorded("e05_content_filter_empty.sse").await, "content_rejected", is_kept),
        (Upstream::recorded("h12_openai_400_moderation.json").await, "content_rejected", is_kept),
        (
            Upstream::plays(Transcript { content_type: "text/html", ..Transcript::events("<html>") }).await,
            "upstream_protocol_error",
            is_kept,
        ),
        (
            Upstream::plays(Transcript { header: gzip, ..Transcript::events(picture.clone()) }).await,
            "upstream_protocol_error",
            is_kept,
        ),
        (Upstream::recorded(PICTURE).await, "", is_kept),
    ];
    let impatient = [("UPSTREAM_HEAD_MS", "400"), ("UPSTREAM_IDLE_MS", "400")];
    for (number_of, (upstream, code, kept)) in rows.iter().enumerate() {
        let user = User::new(&format!("policy-{number_of}"));
        let app: Arc<App> = stand.app(upstream, if *code == "upstream_timeout" { &impatient } else { &[] });
        for (asked, request) in [wanted(&user), wanted_as_chat(&user)].into_iter().enumerate() {
            let ending = ask(&app, request).await.ending();
            let told = ending.rsplit(' ').next().unwrap();
            assert_eq!(if ["done", "[DONE]"].contains(&told) { "" } else { told }, *code, "{number_of}");
            let missing = stand.tables.missing(&user.owner(), 5).await;
            assert_eq!(missing, kept * (asked as u64 + 1), "{number_of}: {code}");
        }
        assert!(upstream.requests() <= 2, "{number_of}: no second try");
    }
    assert_eq!(closes.calls(), 2);
}

/// Where everybody was let in without one.
#[tokio::test]
async fn a_token_that_was_not_taken_does_not_come_back() {
    let (stand, user) = (Stand::new().await, User::new("open"));
    let picture = Upstream::recorded(PICTURE).await;
    assert_eq!(ask(&stand.app(&picture, &[]), wanted(&user)).await.ending(), "done");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1);

    let late = Transcript { status: 429, head_after: Duration::from_millis(500), ..Transcript::events("") };
    let busy = Upstream::plays(late).await;
    let app: Arc<App> = stand.app(&busy, &[("RL_FAIL_MODE", "open")]);
    On::Limits.fail(&stand.tables, TableFault::Throttling);
    let recovers = async {
        while busy.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stand.tables.proxy.fail(None);
    };
    let (reply, ()) = tokio::join!(ask(&app, wanted(&user)), recovers);
    assert_eq!(reply.ending(), "error upstream_busy");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 1);
}

#[tokio::test]
async fn a_key_that_is_not_there_costs_nothing() {
    let (stand, user) = (Stand::new().await, User::new("no-key"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    stand.vault.fail(Some(dev::secrets::SecretsFault::AccessDenied));
    for request in [wanted(&user), wanted_as_chat(&user), keyed(&user, "key", "x")] {
        assert_eq!(ask(&app, request).await.ending(), "problem service_unavailable");
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0);
        assert!(stand.tables.record(&user.owner(), "key").await.is_none());
    }
    assert_eq!(upstream.requests(), 0);
}

/// As the platform says it, and not as anybody can write it.
fn from(mut request: Request<Bytes>, address: &str) -> Request<Bytes> {
    let source_ip: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(Invocation { source_ip: Some(source_ip), ..Invocation::default() });
    request
}

#[tokio::test]
async fn guests_share_the_limit_textof_their_address() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    let variables = [("ALLOW_ANONYMOUS", "true"), ("RL_ANON_LIMIT", "2")];
    let apps: [Arc<App>; 2] = [stand.app(&upstream, &variables), stand.app(&upstream, &variables)];
    let (one, other) = (User::guest("guest-1"), User::guest("guest-2"));
    for (app, user) in [(&apps[0], &one), (&apps[1], &other)] {
        let reply = ask(app, from(wanted(user), "203.0.113.7")).await;
        assert_eq!((reply.status, reply.header("ratelimit-policy")), (200, Some("\"guest\";q=2;w=86400")));
    }
    assert_eq!(stand.tables.missing("ip:203.0.113.7", 2).await, 2);
    for app in &apps {
        for user in [&one, &other, &User::guest("guest-3")] {
            for header in ["x-forwarded-for", "x-real-ip", "forwarded", "cf-connecting-ip", "true-client-ip"] {
                let mut request = from(wanted(user), "203.0.113.7");
                request.headers_mut().insert(header, "198.51.100.1".parse().unwrap());
                refused_for_ms(&ask(app, request).await);
            }
        }
    }
    assert_eq!(upstream.requests(), 2);
    assert!(stand.tables.bucket("ip:198.51.100.1").await.is_none());
    assert!(stand.tables.bucket(&one.owner()).await.is_none(), "a guest has no bucket of his own");

    assert_eq!(ask(&apps[0], from(wanted(&one), "203.0.113.8")).await.status, 200, "another address");
    let member = User::new("member");
    let reply = ask(&apps[0], from(wanted(&member), "203.0.113.7")).await;
    assert_eq!((reply.status, reply.header("ratelimit-policy")), (200, Some("\"user\";q=5;w=86400")));

    // What a subscriber gets are the first 64 bits.
    for (address, status) in [("2001:db8:1:2::1", 200), ("2001:db8:1:2:ffff::2", 200), ("2001:db8:1:2:3::4", 429)] {
        assert_eq!(ask(&apps[0], from(wanted(&one), address)).await.status, status, "{address}");
    }
    assert_eq!(ask(&apps[0], from(wanted(&one), "2001:db8:1:3::1")).await.status, 200);
    let strict: Arc<App> = stand.app(&upstream, &[]);
    assert_eq!(ask(&strict, from(wanted(&one), "203.0.113.9")).await.ending(), "problem anonymous_not_allowed");
}

#[tokio::test]
async fn a_refusal_from_memory_writes_nothing_and_reads_a_bounded_number_of_records() {
    let (stand, user) = (Stand::new().await, User::new("memory"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[("RL_LIMIT", "1")]);
    assert_eq!(ask(&app, wanted(&user)).await.ending(), "done");
    let calls = stand.tables.proxy.calls();
    assert_eq!(calls, 3, "task begun, tokens taken, task ended");
    let begun_ms = unix_ms();
    for request in 0..100 {
        refused_for_ms(&ask(&app, keyed(&user, &format!("key-{request}"), "x")).await);
    }
    let reads = stand.tables.proxy.calls_to("GetItem");
    assert_eq!(stand.tables.proxy.calls(), calls + reads, "only reads");
    // Twenty at once, then ten a second.
    let most = 20 + (unix_ms() - begun_ms).div_ceil(100);
    assert!((20..=most).contains(&u64::from(reads)), "{reads} reads, at most {most}");
}

#[tokio::test]
async fn who_hammers_costs_little_and_gains_nothing() {
    const INSTANCES: u64 = 4;
    const REQUESTS: u64 = 2_000;
    const INTERVAL_MS: u64 = 200;
    let (stand, user) = (Stand::new().await, User::new("hammer"));
    let upstream = Upstream::recorded(PICTURE).await;
    let variables = [("RL_LIMIT", "5"), ("RL_WINDOW_MS", "1000")];
    let begun_ms = unix_ms();
    let hammer = async |app: Arc<App>| {
        let mut made = 0;
        for _ in 0..REQUESTS {
            made += u64::from(ask(&app, wanted(&user)).await.status == 200);
        }
        made
    };
    let all = join_all((0..INSTANCES).map(|_| hammer(stand.app(&upstream, &variables)))).await;
    let (made, intervals) = (all.iter().sum::<u64>(), (unix_ms() - begun_ms) / INTERVAL_MS);
    assert!((5..=5 + intervals).contains(&made), "{made} in {intervals} intervals");
    assert_eq!(u64::from(upstream.requests()), made);
    let questions = u64::from(stand.tables.proxy.calls_on(&stand.tables.limits));
    let most = made + INSTANCES * (intervals + 5);
    assert!(questions <= most, "{questions} of {most} questions, for {} requests", INSTANCES * REQUESTS);
}

/// The SDK sends a take again whose answer was lost. Another take has come in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn d8_a_take_that_is_sent_again_behind_another_one_takes_once() {
    let (stand, user) = (Stand::new().await, User::new("d8-behind"));
    let upstream = Upstream::recorded(PICTURE).await;
    let (_proxy, way) = stand.tables.another_way().await;
    let url = way.url("");
    let (app, other): (Arc<App>, Arc<App>) =
        (stand.app(&upstream, &[]), stand.app(&upstream, &[("AWS_ENDPOINT_URL_DYNAMODB", &url)]));
    let (hand, table, caller, mut came) = (stand.tables.hand(), stand.tables.limits.clone(), user.clone(), 0);
    stand.tables.proxy.script(move |call| {
        came += u32::from(call.table == table);
        match came {
            1 => Some(TableFault::Swallow),
            2 => {
                came += 1;
                let (other, caller) = (other.clone(), caller.clone());
                let asks = async move |_| assert_eq!(ask(&other, wanted(&caller)).await.ending(), "done");
                // The other request needs this runtime: the tasks of this thread go to another one.
                tokio::task::block_in_place(|| hand.does(asks));
                None
            }
            _ => None,
        }
    });
    assert_eq!(ask(&app, wanted(&user)).await.ending(), "done");
    assert_eq!(upstream.requests(), 2);
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 2, "one for each request");
}

/// `RateLimit` counts the token that came back before the head.
#[tokio::test]
async fn a_refused_request_reports_the_tokens_that_came_back() {
    let full = Some("\"user\";r=5");
    let (stand, user) = (Stand::new().await, User::new("back"));
    let good = Upstream::recorded(PICTURE).await;
    let keyless: Arc<App> = stand.app(&good, &[("IMAGE_API_KEY_SECRET_ARN", "no-such-secret")]);
    let reply = ask(&keyless, wanted(&user)).await;
    assert_eq!((reply.status, reply.header("ratelimit")), (503, full));
    let poor: Arc<App> = stand.app(&good, &[("CREDITS", "on")]);
    let reply = ask(&poor, wanted(&user)).await;
    assert_eq!((reply.status, reply.header("ratelimit")), (402, full));
    let busy = Upstream::refuses(429).await;
    let app: Arc<App> = stand.app(&busy, &[]);
    let reply = ask(&app, wanted_as_chat(&user)).await;
    assert_eq!((reply.ending().as_str(), reply.header("ratelimit")), ("problem upstream_busy", full));
    let reply = ask(&app, user.post("/api/generate-image", &json!({"prompt": "x"}))).await;
    assert_eq!((reply.ending().as_str(), reply.header("ratelimit")), ("problem upstream_busy", full));
}

/// The lease of a call that takes as long as it may ends only after the call, however long the admission took.
#[tokio::test]
async fn a_lease_outlives_its_call() {
    let (stand, user) = (Stand::new().await, User::new("lease"));
    let stalls = Transcript { ending: Ending::Stall, ..Transcript::events(": here\n\n") };
    let upstream = Upstream::plays(stalls).await;
    let app: Arc<App> =
        stand.app(&upstream, &[("UPSTREAM_TOTAL_MS", "2500"), ("CREDITS", "on"), ("CREDITS_INITIAL", "9")]);
    app.warm_up().await;
    stand.tables.proxy.delay(Duration::from_millis(400));
    let running = handle(app, keyed(&user, "key", "x")).await;
    let lease_ms = number(&stand.tables.record(&user.owner(), "key").await.unwrap(), "lease");
    stand.tables.proxy.delay(Duration::ZERO);
    assert_eq!(Reply::read(running).await.ending(), "error deadline_exceeded");
    assert!(lease_ms >= unix_ms() + 5_000, "{} ms are left", lease_ms.saturating_sub(unix_ms()));
}

/// Refused from memory: the record is read, so that a repeated key gets its own answer from every process.
#[tokio::test]
async fn a_caller_without_tokens_learns_what_became_of_a_key_from_any_process() {
    let (stand, user) = (Stand::new().await, User::new("elsewhere"));
    let upstream = Upstream::recorded(PICTURE).await;
    let [one, other]: [Arc<App>; 2] = [(); 2].map(|()| stand.app(&upstream, &[("RL_LIMIT", "1")]));
    assert_eq!(ask(&one, keyed(&user, "a", "x")).await.ending(), "done");
    assert_eq!(ask(&other, keyed(&user, "b", "x")).await.status, 429, "by the store");
    for (key, prompt, status) in [("a", "x", 409), ("a", "y", 422), ("c", "x", 429)] {
        let calls = stand.tables.proxy.calls();
        assert_eq!(ask(&other, keyed(&user, key, prompt)).await.status, status, "{key} {prompt}");
        assert_eq!(stand.tables.proxy.calls() - calls, 1, "{key}: one read and no write");
    }
    assert_eq!(upstream.requests(), 1);
}

/// Four processes and 32 requests of one user at once, at the ends of what may be configured.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn contention_on_one_bucket_is_never_answered_with_503() {
    for (limit, window_ms) in [(1, 1_000), (1_000, 1_000), (1, 86_400_000), (1_000, 86_400_000)] {
        let (stand, user) = (Stand::new().await, User::new("contended"));
        let upstream = Upstream::recorded(PICTURE).await;
        let (limit_text, window) = (limit.to_string(), window_ms.to_string());
        let variables = [("RL_LIMIT", limit_text.as_str()), ("RL_WINDOW_MS", window.as_str())];
        let apps: Vec<Arc<App>> = (0..4).map(|_| stand.app(&upstream, &variables)).collect();
        join_all(apps.iter().map(|app| app.warm_up())).await;
        let begun_ms = unix_ms();
        let mut requests = JoinSet::new();
        for number in 0..32 {
            let (app, request) = (apps[number % 4].clone(), wanted(&user));
            requests.spawn(async move { ask(&app, request).await });
        }
        let replies = requests.join_all().await;
        let admitted = replies.iter().filter(|reply| reply.status == 200).count() as u64;
        let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{limit} in {window_ms}: {statuses:?}");
        let refilled = (unix_ms() - begun_ms).div_ceil(window_ms / limit);
        assert!(admitted >= 1 && admitted <= limit + refilled, "{limit} in {window_ms}: {admitted} were admitted");
        if limit == 1_000 {
            assert_eq!(admitted, 32, "{window_ms}: the bucket held them all");
        }
    }
}
