//! Credits: reserved, spent and returned, with faults in between.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use dev::dynamodb::TableFault;
use dev::transcript::{Ending, Transcript};
use futures_util::future::join_all;
use generate_stream::{App, handle};
use http::Request;
use serde_json::json;

use crate::support::{Item, Reply, Stand, Upstream, User, fixture, in_time, n, number, refusal, s, text, unix_ms};

const PATH: &str = "/api/generate-stream";
const PICTURE: &str = "c01_newapi_one_giant_chunk.sse";
const ON: (&str, &str) = ("CREDITS", "on");
const MANY: (&str, &str) = ("RL_LIMIT", "1000");

fn wanted(user: &User) -> Request<Bytes> {
    user.post(PATH, &json!({"prompt": "x", "format": "events"}))
}

fn keyed(user: &User, key: &str) -> Request<Bytes> {
    let mut request = wanted(user);
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

async fn ask(app: &Arc<App>, request: Request<Bytes>) -> Reply {
    Reply::read(handle(app.clone(), request).await).await
}

/// Lets all that a user has reserved be as old as can be.
async fn expire_holds(stand: &Stand, user: &User) {
    let balance = balance_item(stand, user).await;
    let mut holds = balance["holds"].as_m().unwrap().clone();
    for hold in holds.values_mut() {
        let mut expired = hold.as_m().unwrap().clone();
        expired.insert("t".into(), n(unix_ms() - 1));
        *hold = AttributeValue::M(expired);
    }
    let item = Item::from_iter(balance.into_iter().chain([("holds".to_owned(), AttributeValue::M(holds))]));
    stand.tables.put(&stand.tables.ledger, item).await;
}

async fn balance_item(stand: &Stand, user: &User) -> Item {
    let items = stand.tables.all().await;
    items.into_iter().find(|item| item.get("sk") == Some(&s("BAL")) && text(item, "pk") == user.owner()).unwrap()
}

#[tokio::test]
async fn too_few_credits_are_refused_with_the_balance_and_without_a_call() {
    let (stand, user) = (Stand::new().await, User::new("none"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[ON]);
    for _ in 0..2 {
        for (lang, detail) in
            [("zh", "需要 1 积分，当前余额 0"), ("en", "The request costs 1 credits; the balance is 0")]
        {
            let mut request = keyed(&user, "key");
            request.headers_mut().insert("accept-language", lang.parse().unwrap());
            let reply = ask(&app, request).await;
            assert_eq!((reply.status, reply.ending().as_str()), (402, "problem insufficient_credits"));
            assert_eq!((reply.header("retry-after"), &reply.last()["retryable"]), (None, &json!(false)));
            assert_eq!(reply.last()["detail"], detail);
            assert_eq!(reply.header("x-task-id"), None);
        }
    }
    assert_eq!((upstream.requests(), stand.vault.calls()), (0, 0));
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0, "the tokens are back");
    assert_eq!(stand.tables.record(&user.owner(), "key").await, None);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((0, 0)));

    stand.tables.grant(&user.owner(), 2).await;
    for left in [1, 0] {
        let reply = ask(&app, keyed(&user, &format!("key-{left}"))).await;
        assert_eq!((reply.ending().as_str(), &reply.last()["credits_remaining"]), ("done", &json!(left)));
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((left, 0)));
    }
    assert_eq!(ask(&app, keyed(&user, "key")).await.status, 402);
    stand.tables.grant(&user.owner(), 1).await;
    assert_eq!(ask(&app, keyed(&user, "key")).await.last()["credits_remaining"], 0, "the key was free");
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test]
async fn credits_can_be_granted_before_the_first_request() {
    let (stand, user) = (Stand::new().await, User::new("granted"));
    let upstream = Upstream::recorded(PICTURE).await;
    stand.tables.grant(&user.owner(), 3).await;
    let app: Arc<App> = stand.app(&upstream, &[ON]);
    assert_eq!(ask(&app, wanted(&user)).await.last()["credits_remaining"], 2);
}

#[tokio::test]
async fn a_new_user_has_the_initial_credits() {
    let (stand, user) = (Stand::new().await, User::new("new"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[ON, ("CREDITS_INITIAL", "2")]);
    for left in [1, 0] {
        assert_eq!(ask(&app, wanted(&user)).await.last()["credits_remaining"], left);
    }
    let other: Arc<App> = stand.app(&upstream, &[ON, ("CREDITS_INITIAL", "2")]);
    for app in [&app, &other] {
        assert_eq!(ask(app, wanted(&user)).await.status, 402, "once");
    }
    let calls = stand.tables.proxy.calls();
    let free: Arc<App> = stand.app(&upstream, &[]);
    let reply = ask(&free, wanted(&user)).await;
    assert_eq!((reply.ending().as_str(), reply.last().get("credits_remaining")), ("done", None));
    assert!(stand.tables.proxy.calls() - calls <= 5, "no call for credits where they are off");
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((0, 0)));
}

#[tokio::test]
async fn credits_are_returned_unless_the_user_caused_the_failure() {
    let stand = Stand::new().await;
    let picture = fixture(PICTURE);
    let half = picture.slice(..picture.len() / 2);
    let stall = Transcript { ending: Ending::Stall, ..Transcript::events(half.clone()) };
    let abort = Transcript { ending: Ending::Abort, ..Transcript::events(half) };
    let rows = [
        (Upstream::refuses(500).await, "upstream_error", 0),
        (Upstream::refuses(401).await, "service_unavailable", 0),
        (Upstream::refuses(429).await, "upstream_busy", 0),
        (Upstream::gone(), "upstream_unreachable", 0),
        (Upstream::plays(stall).await, "upstream_timeout", 0),
        (Upstream::plays(abort).await, "stream_interrupted", 0),
        (Upstream::recorded("e06_text_refusal_stop.sse").await, "no_image", 0),
        (Upstream::recorded("e05_content_filter_empty.sse").await, "content_rejected", 1),
        (Upstream::refuses(400).await, "upstream_rejected_input", 1),
        (Upstream::refuses(413).await, "payload_too_large", 1),
        (Upstream::recorded(PICTURE).await, "", 1),
        (Upstream::recorded("c37_two_choices.sse").await, "", 1),
    ];
    for (row, (upstream, code, spent)) in rows.iter().enumerate() {
        let user = User::new(&format!("back-{row}"));
        let idle = if *code == "upstream_timeout" { "400" } else { "" };
        let app: Arc<App> = stand.app(upstream, &[ON, ("CREDITS_INITIAL", "9"), ("UPSTREAM_IDLE_MS", idle)]);
        let before = stand.tables.proxy.calls();
        for asked in 1..=2 {
            let reply = ask(&app, wanted(&user)).await;
            let ending = if code.is_empty() { "done".to_owned() } else { format!("error {code}") };
            assert_eq!(reply.ending(), ending);
            assert_eq!(stand.tables.balance(&user.owner()).await, Some((9 - spent * asked, 0)), "{code}");
        }
        assert!(stand.tables.proxy.calls() - before <= 16);
    }
}

#[tokio::test]
async fn concurrent_requests_never_spend_more_than_the_balance() {
    in_time(async || {
        let (stand, user) = (Stand::new().await, User::new("many"));
        let (good, bad) = (Upstream::recorded(PICTURE).await, Upstream::refuses(500).await);
        let variables = [ON, MANY, ("CREDITS_INITIAL", "10")];
        // All of them can be delivered, and then half of them.
        for other in [&good, &bad] {
            let apps = [&good, other, &good, other].map(|upstream| stand.app(upstream, &variables));
            let (calls, tokens) = (good.requests() + bad.requests(), stand.tables.missing(&user.owner(), 1000).await);
            let all = join_all((0..24).map(|number| ask(&apps[number % 4], wanted(&user)))).await;
            let done: Vec<_> = all.iter().filter(|reply| reply.status == 200 && reply.ending() == "done").collect();
            let (made, (has, held)) = (done.len() as u64, stand.tables.balance(&user.owner()).await.unwrap());
            assert!(has + made <= 10, "{has} are left of ten, and {made} were made");
            assert!(has + made + held as u64 >= 10, "none is lost: {has} {made} {held}");
            let calls = u64::from(good.requests() + bad.requests() - calls);
            let tokens = stand.tables.missing(&user.owner(), 1000).await - tokens;
            assert!(tokens >= calls, "{calls} calls for {tokens} tokens");
            let is_settled = done.iter().all(|reply| reply.last()["credits_remaining"].is_u64());
            if held > 0 || !is_settled || all.iter().any(|reply| reply.status == 503) {
                return false;
            }
            let poor = all.iter().filter(|reply| reply.status == 402).count() as u64;
            assert_eq!((has + made, poor + calls), (10, 24));
            assert!(made == 10 || other.url == bad.url, "{made}");
            stand.tables.grant(&user.owner(), made).await;
        }
        true
    })
    .await;
}

#[tokio::test]
async fn a_lost_answer_spends_credits_once() {
    let (stand, user) = (Stand::new().await, User::new("lost"));
    let (good, bad) = (Upstream::recorded(PICTURE).await, Upstream::refuses(500).await);
    let variables = [ON, MANY, ("CREDITS_INITIAL", "100")];
    let apps: [Arc<App>; 2] = [stand.app(&good, &variables), stand.app(&bad, &variables)];
    stand.tables.proxy.fail_every(3, TableFault::Swallow);
    for request in 0..30 {
        let ending = ask(&apps[request % 2], wanted(&user)).await.ending();
        assert_eq!(ending, ["done", "error upstream_error"][request % 2]);
    }
    stand.tables.proxy.fail(None);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((85, 0)));
}

/// The reservation is written, and its answer is lost.
#[tokio::test]
async fn a_reservation_whose_answer_was_lost_is_returned() {
    let (stand, user) = (Stand::new().await, User::new("unheard"));
    let upstream = Upstream::recorded(PICTURE).await;
    stand.tables.grant(&user.owner(), 5).await;
    let app: Arc<App> = stand.app(&upstream, &[ON]);
    let ledger = stand.tables.ledger.clone();
    let mut reserved = 0;
    stand.tables.proxy.script(move |call| {
        let reserves = call.table == ledger && call.operation == "UpdateItem";
        reserved += u32::from(reserves);
        (reserves && reserved <= 2).then_some(TableFault::Swallow)
    });
    assert_eq!(ask(&app, keyed(&user, "key")).await.ending(), "problem limiter_unavailable");
    stand.tables.proxy.fail(None);
    assert_eq!((upstream.requests(), stand.vault.calls()), (0, 0));
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((5, 0)), "at once");
    assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0);
    assert_eq!(ask(&app, keyed(&user, "key")).await.last()["credits_remaining"], 4);
}

#[tokio::test]
async fn abandoned_reservations_are_returned_after_their_lease() {
    let (stand, user) = (Stand::new().await, User::new("left"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[ON]);
    let hold = |credits, left_ms: i64| {
        let over_ms = unix_ms().saturating_add_signed(left_ms);
        AttributeValue::M(Item::from([("c".to_owned(), n(credits)), ("t".to_owned(), n(over_ms))]))
    };
    let holds = [("gone-1", hold(2, -1)), ("gone-2", hold(3, -60_000)), ("running", hold(4, 60_000))];
    let holds = holds.map(|(run, hold)| (run.to_owned(), hold));
    let item =
        [("pk", s(&user.owner())), ("sk", s("BAL")), ("credits", n(0)), ("holds", AttributeValue::M(holds.into()))];
    stand.tables.put(&stand.tables.ledger, item.map(|(name, value)| (name.to_owned(), value)).into()).await;
    // The balance is 0, and the returned reservation is enough.
    let reply = ask(&app, wanted(&user)).await;
    assert_eq!((reply.ending().as_str(), &reply.last()["credits_remaining"]), ("done", &json!(4)));
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((4, 1)), "one still runs");
    let many = join_all((0..10).map(|_| ask(&app, wanted(&user)))).await;
    assert_eq!(many.iter().filter(|reply| reply.status == 200).count(), 4);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((0, 1)));
}

/// The function records the end and dies before it settles the credits.
#[tokio::test]
async fn a_recorded_success_is_charged_after_a_crash() {
    for (upstream, ending, spent) in [
        (Upstream::recorded(PICTURE).await, "done", 1),
        (Upstream::recorded("e05_content_filter_empty.sse").await, "error content_rejected", 1),
        (Upstream::refuses(500).await, "error upstream_error", 0),
    ] {
        let (stand, user) = (Stand::new().await, User::new("unsettled"));
        stand.tables.grant(&user.owner(), 5).await;
        let app: Arc<App> = stand.app(&upstream, &[ON]);
        let (seen, ledger) = (upstream.seen.clone(), stand.tables.ledger.clone());
        let mut settling = 0;
        stand.tables.proxy.script(move |call| {
            settling += u32::from(seen.requests() > 0 && call.table == ledger);
            (settling > 1).then_some(TableFault::Refuse)
        });
        let reply = ask(&app, keyed(&user, "key")).await;
        assert_eq!((reply.ending().as_str(), reply.last().get("credits_remaining")), (ending, None));
        stand.tables.proxy.fail(None);
        let state = if ending == "done" { "succeeded" } else { "failed" };
        assert_eq!(text(&stand.tables.record(&user.owner(), "key").await.unwrap(), "st"), state);
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((4, 1)));

        expire_holds(&stand, &user).await;
        let good = Upstream::recorded(PICTURE).await;
        let app: Arc<App> = stand.app(&good, &[ON]);
        let reply = ask(&app, keyed(&user, "another")).await;
        assert_eq!(reply.last()["credits_remaining"], 4 - spent, "{ending}: it was spent once");
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((4 - spent, 0)));
    }
}

/// The record that says what a failed run has spent is overwritten by the next run.
#[tokio::test]
async fn a_failed_run_is_charged_before_its_key_runs_again() {
    let (stand, user) = (Stand::new().await, User::new("again"));
    stand.tables.grant(&user.owner(), 5).await;
    let upstream = Upstream::recorded("e05_content_filter_empty.sse").await;
    let app: Arc<App> = stand.app(&upstream, &[ON]);
    let (seen, ledger) = (upstream.seen.clone(), stand.tables.ledger.clone());
    let mut settling = 0;
    stand.tables.proxy.script(move |call| {
        settling += u32::from(seen.requests() > 0 && call.table == ledger);
        (settling > 1).then_some(TableFault::Refuse)
    });
    assert_eq!(ask(&app, keyed(&user, "key")).await.ending(), "error content_rejected");
    stand.tables.proxy.fail(None);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((4, 1)), "the credit is still reserved");

    let good = Upstream::recorded(PICTURE).await;
    let reply = ask(&stand.app(&good, &[ON]), keyed(&user, "key")).await;
    assert_eq!(reply.last()["credits_remaining"], 3, "one for each run");
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((3, 0)));
}

/// A refused request leaves the record of the attempt before as it was.
#[tokio::test]
async fn a_refused_attempt_changes_nothing_in_the_record() {
    let (stand, user) = (Stand::new().await, User::new("refused-again"));
    stand.tables.grant(&user.owner(), 5).await;
    let upstream = Upstream::recorded("e05_content_filter_empty.sse").await;
    let app: Arc<App> = stand.app(&upstream, &[ON, ("RL_LIMIT", "1")]);
    assert_eq!(ask(&app, keyed(&user, "key")).await.ending(), "error content_rejected");
    let before = stand.tables.record(&user.owner(), "key").await.unwrap();
    assert_eq!(ask(&stand.app(&upstream, &[ON, ("RL_LIMIT", "1")]), keyed(&user, "key")).await.status, 429);
    let after = stand.tables.record(&user.owner(), "key").await.unwrap();
    for name in ["st", "code", "cost", "tries", "route", "updated", "images"] {
        assert_eq!(after.get(name), before.get(name), "{name}");
    }
}

/// A repetition of the key runs the task again, and is charged then.
#[tokio::test]
async fn a_task_whose_end_was_not_recorded_is_not_charged() {
    let (stand, user) = (Stand::new().await, User::new("unwritten"));
    let upstream = Upstream::recorded(PICTURE).await;
    stand.tables.grant(&user.owner(), 5).await;
    let app: Arc<App> = stand.app(&upstream, &[ON]);
    let (seen, ledger, mut ends) = (upstream.seen.clone(), stand.tables.ledger.clone(), 0);
    stand.tables.proxy.script(move |call| {
        let is_end = seen.requests() > 0 && call.table == ledger;
        ends += u32::from(is_end);
        // Both tries, and nothing after them.
        (is_end && ends <= 2).then_some(TableFault::Throttling)
    });
    let reply = ask(&app, keyed(&user, "key")).await;
    assert_eq!((reply.ending().as_str(), reply.last().get("credits_remaining")), ("done", None));
    stand.tables.proxy.fail(None);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((4, 1)));
    let mut record = stand.tables.record(&user.owner(), "key").await.unwrap();
    assert_eq!(text(&record, "st"), "running");
    record.insert("lease".into(), n(unix_ms() - 1));
    stand.tables.put(&stand.tables.ledger, record).await;
    expire_holds(&stand, &user).await;
    assert_eq!(ask(&app, keyed(&user, "key")).await.last()["credits_remaining"], 4);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((4, 0)));
}

/// The attempt before it was charged. The end of this one is unknown.
#[tokio::test]
async fn an_attempt_without_an_end_costs_nothing() {
    let (stand, user) = (Stand::new().await, User::new("attempts"));
    let (blocked, good) = (Upstream::recorded("e05_content_filter_empty.sse").await, Upstream::recorded(PICTURE).await);
    stand.tables.grant(&user.owner(), 5).await;
    let [failing, app]: [Arc<App>; 2] = [stand.app(&blocked, &[ON]), stand.app(&good, &[ON])];
    assert_eq!(ask(&failing, keyed(&user, "key")).await.ending(), "error content_rejected");
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((4, 0)));
    drop(handle(app.clone(), keyed(&user, "key")).await);
    assert_eq!(stand.tables.balance(&user.owner()).await, Some((3, 1)));
    expire_holds(&stand, &user).await;
    assert_eq!(ask(&app, keyed(&user, "another")).await.last()["credits_remaining"], 3);
}

#[tokio::test]
async fn a_run_that_lost_its_lease_settles_nothing() {
    for answer in [Transcript::events(fixture(PICTURE)), refusal(500)] {
        let (stand, user) = (Stand::new().await, User::new("late"));
        let (upstream, gate) = Upstream::gated(answer).await;
        let (next, _closed) = Upstream::gated(Transcript::events(fixture(PICTURE))).await;
        stand.tables.grant(&user.owner(), 5).await;
        let app: Arc<App> = stand.app(&upstream, &[ON]);
        let late = handle(app.clone(), keyed(&user, "late")).await;
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((4, 1)));
        expire_holds(&stand, &user).await;
        let another: Arc<App> = stand.app(&next, &[ON]);
        let other = handle(another, keyed(&user, "other")).await;
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((4, 1)), "one came back, the other is held");
        gate.open();
        let reply = Reply::read(late).await;
        assert_eq!(reply.last().get("credits_remaining"), None);
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((4, 1)), "nothing comes back twice");
        drop(other);
    }
}

#[tokio::test]
async fn a_balance_with_nonsense_admits_no_request() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[ON, ("CREDITS_INITIAL", "5")]);
    let no_holds = || AttributeValue::M(Item::new());
    let odd_holds = [
        ("text", s("x")),
        ("empty", no_holds()),
        ("negative", AttributeValue::M(Item::from([("c".into(), AttributeValue::N("-5".into())), ("t".into(), n(1))]))),
        ("endless", AttributeValue::M(Item::from([("c".into(), n(1))]))),
        ("huge", AttributeValue::M(Item::from([("c".into(), n(u64::MAX)), ("t".into(), n(1))]))),
    ];
    let odd_holds = AttributeValue::M(odd_holds.map(|(run, hold)| (run.to_owned(), hold)).into());
    let rows = [
        (s("NaN"), Some(no_holds()), 402),
        (AttributeValue::Null(true), Some(no_holds()), 402),
        (AttributeValue::N("-3".into()), Some(no_holds()), 402),
        (AttributeValue::N("0.5".into()), Some(no_holds()), 402),
        (n(0), None, 402),
        (n(0), Some(s("x")), 402),
        (n(0), Some(odd_holds.clone()), 402),
        (n(1), None, 200),
        (n(1), Some(s("x")), 503),
        (n(1), Some(AttributeValue::L(Vec::new())), 503),
        (n(1), Some(odd_holds), 200),
    ];
    for (row, (credits, holds, status)) in rows.into_iter().enumerate() {
        let user = User::new(&format!("odd-{row}"));
        let mut item =
            Item::from([("pk".into(), s(&user.owner())), ("sk".into(), s("BAL")), ("credits".into(), credits)]);
        item.extend(holds.map(|holds| ("holds".to_owned(), holds)));
        stand.tables.put(&stand.tables.ledger, item.clone()).await;
        for asked in 0..2 {
            let paid = upstream.requests();
            let reply = ask(&app, wanted(&user)).await;
            let expected = if status == 200 && asked == 1 { 402 } else { status };
            assert_eq!(reply.status, expected, "{item:?}: {}", reply.ending());
            assert_eq!(upstream.requests() - paid, u32::from(reply.status == 200));
        }
        let missing = stand.tables.missing(&user.owner(), 5).await;
        assert_eq!(missing, u64::from(status == 200), "{item:?}");
    }
}

#[tokio::test]
async fn a_hold_lasts_as_long_as_its_lease() {
    let (stand, user) = (Stand::new().await, User::new("lease"));
    let (upstream, gate) = Upstream::gated(Transcript::events(fixture(PICTURE))).await;
    let app: Arc<App> = stand.app(&upstream, &[ON, ("CREDITS_INITIAL", "5")]);
    let mut request = keyed(&user, "key");
    let deadline = std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms() + 20_000);
    request.extensions_mut().insert(shared::edge::Invocation::new(Some(deadline), None));
    let running = handle(app.clone(), request).await;
    let record = stand.tables.record(&user.owner(), "key").await.unwrap();
    let balance = balance_item(&stand, &user).await;
    let holds = balance["holds"].as_m().unwrap();
    let hold = holds[text(&record, "run")].as_m().unwrap();
    assert_eq!((number(hold, "c"), number(hold, "t")), (1, number(&record, "lease")));
    gate.open();
    assert_eq!(Reply::read(running).await.last()["credits_remaining"], 4);
}
