//! Faults of the tables, and what a request gets meanwhile.

use std::sync::Arc;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use dev::dynamodb::TableFault;
use futures_util::future::join_all;
use generate_stream::App;

use super::{On, PICTURE, SOON, ask, keyed, left_nothing, wanted, wanted_as_chat};
use crate::support::{DAY, Item, Stand, Upstream, User, n, number, s, text, unix_ms};

#[tokio::test]
async fn d2_a_lost_condition_is_tried_again_until_the_time_for_it_is_over() {
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
                    // The arrival time that was read is out of date.
                    let now_ms = unix_ms();
                    let arrival_ms = if tries % 2 == 1 { now_ms + 60_000 } else { now_ms - 60_000 };
                    let item = [("pk", s(&owner)), ("tat", n(arrival_ms)), ("rid", s("another request"))];
                    hand.put(&table, item.map(|(name, value)| (name.to_owned(), value)).into());
                }
            }
            None
        });
        let (limits, paid) = (stand.tables.proxy.calls_on(&stand.tables.limits), upstream.requests());
        let reply = ask(&app, wanted(&user)).await;
        assert_eq!(reply.status, status, "{lost}");
        let tries = stand.tables.proxy.calls_on(&stand.tables.limits) - limits;
        // The last one frees the place.
        assert!(tries == lost.saturating_add(2) || (status == 429 && tries > 20), "{tries} of {lost}");
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

/// Faults of a table, and the refusal while it has them: code and `Retry-After`.
const FAULTS: [(&[TableFault], &str, &str); 3] = [
    (
        &[TableFault::Throttling, TableFault::ProvisionedThroughputExceeded, TableFault::InternalServerError],
        "limiter_unavailable",
        "2",
    ),
    (&[TableFault::Hang, TableFault::Refuse], "limiter_unavailable", "2"),
    (&[TableFault::ResourceNotFound, TableFault::AccessDenied], "service_unavailable", "1"),
];

#[tokio::test]
async fn d3_d4_d5_a_failing_table_refuses_requests() {
    for (faults, code, retry_after) in FAULTS {
        let cases = faults.iter().flat_map(|fault| On::ALL.map(|on| (*fault, on)));
        join_all(cases.map(async |(fault, on)| {
            let (stand, user) = (Stand::new().await, User::new("refused"));
            let upstream = Upstream::recorded(PICTURE).await;
            let app: Arc<App> = stand.app(&upstream, &[]);
            on.fail(&stand.tables, fault);
            let reply = tokio::time::timeout(SOON, ask(&app, wanted(&user))).await.unwrap();
            assert_eq!((reply.status, reply.ending()), (503, format!("problem {code}")), "{fault:?} {on:?}");
            assert_eq!(reply.header("retry-after"), Some(retry_after), "{fault:?} {on:?}");
            assert!(!reply.headers.contains_key("ratelimit"), "the state of the limit is unknown");
            stand.tables.proxy.fail(None);
            left_nothing(&stand, &upstream, &user).await;
            assert_eq!(ask(&app, wanted(&user)).await.ending(), "done", "after the table has recovered");
        }))
        .await;
    }
}

#[tokio::test]
async fn d3_d4_with_fail_mode_open_a_failing_table_admits_requests() {
    let cases = [TableFault::Throttling, TableFault::Hang].into_iter().flat_map(|fault| On::ALL.map(|on| (fault, on)));
    join_all(cases.map(async |(fault, on)| {
        let (stand, user) = (Stand::new().await, User::new("open"));
        let upstream = Upstream::recorded(PICTURE).await;
        let app: Arc<App> = stand.app(&upstream, &[("RL_FAIL_MODE", "open"), ("RL_LIMIT", "1")]);
        on.fail(&stand.tables, fault);
        let replies = join_all((0..3).map(|_| tokio::time::timeout(SOON, ask(&app, wanted(&user))))).await;
        let done = replies.into_iter().filter(|reply| reply.as_ref().unwrap().status == 200).count();
        // The limit holds where only the other table fails.
        assert_eq!(done, if matches!(on, On::Ledger) { 1 } else { 3 }, "{fault:?} {on:?}");
        assert_eq!(upstream.requests(), done as u32);

        // Credits are money: without the table, no request is admitted.
        let app: Arc<App> = stand.app(&upstream, &[("RL_FAIL_MODE", "open"), ("CREDITS", "on")]);
        let reply = tokio::time::timeout(SOON, ask(&app, wanted(&User::new("poor")))).await.unwrap();
        let code = if matches!(on, On::Limits) { "insufficient_credits" } else { "limiter_unavailable" };
        assert_eq!(reply.ending(), format!("problem {code}"), "{fault:?} {on:?}");
        assert_eq!(upstream.requests(), done as u32);
    }))
    .await;
}

#[tokio::test]
async fn d4_d5_a_table_that_cannot_be_reached_or_does_not_exist() {
    let (stand, upstream, nowhere) = (Stand::new().await, Upstream::recorded(PICTURE).await, Upstream::gone().url);
    for (variable, value, code) in [
        ("AWS_ENDPOINT_URL_DYNAMODB", nowhere.as_str(), "limiter_unavailable"),
        ("RATE_LIMITS_TABLE", "no-such-table", "service_unavailable"),
        ("LEDGER_TABLE", "no-such-table", "service_unavailable"),
    ] {
        let user = User::new(variable);
        let app: Arc<App> = stand.app(&upstream, &[(variable, value)]);
        let reply = tokio::time::timeout(SOON, ask(&app, wanted(&user))).await.unwrap();
        assert_eq!((reply.status, reply.ending()), (503, format!("problem {code}")), "{variable}");
        left_nothing(&stand, &upstream, &user).await;
    }
    let open = [("AWS_ENDPOINT_URL_DYNAMODB", nowhere.as_str()), ("RL_FAIL_MODE", "open")];
    let app: Arc<App> = stand.app(&upstream, &open);
    assert_eq!(ask(&app, wanted(&User::new("d4"))).await.ending(), "done");
}

#[tokio::test]
async fn d6_a_bucket_with_nonsense_admits_no_more_than_the_limit_and_heals() {
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
        // No process has this user in its memory.
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
        assert!(made <= 5, "{item:?} admitted {made}");
        assert_eq!(last, "problem rate_limited", "{item:?} does not refuse forever");
        let bucket = stand.tables.bucket(&user.owner()).await.unwrap();
        assert!(number(&bucket, "tat") <= unix_ms() + 86_400_000, "{item:?} became {bucket:?}");
        assert!(number(&bucket, "ttl") > unix_ms() / 1000);
    }
}

#[tokio::test]
async fn d6_a_record_with_nonsense_is_not_run() {
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
                // These may be any text.
                Some(AttributeValue::S(_)) if ["run", "hash", "task", "route"].contains(&name) => continue,
                // The sort key of the index is a number.
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
async fn d7_a_refund_that_fails_does_not_change_the_answer() {
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
            // The tables fail after the task has begun and the token is consumed.
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
async fn d8_a_lost_answer_consumes_a_token_once() {
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
    assert_eq!(stand.tables.missing(&user.owner(), 100).await, 30, "one token per admitted request");
    let calls = stand.tables.proxy.calls();
    assert!(calls >= 30 * 3 + 30, "{calls}: every third call was repeated");

    for _ in 0..15 {
        assert_eq!(ask(&failing, wanted(&user)).await.ending(), "error upstream_busy");
    }
    stand.tables.proxy.fail(None);
    assert_eq!(stand.tables.missing(&user.owner(), 100).await, 30, "each token is refunded once");
    let records = stand.tables.all().await;
    let tries: Vec<_> =
        records.iter().filter(|item| item.contains_key("st")).map(|item| number(item, "tries")).collect();
    assert_eq!(tries, [1; 45], "no attempt is counted twice");
    let running = records.iter().filter(|item| item.get("st") == Some(&s("running"))).count();
    assert_eq!(running, 0);
}

#[tokio::test]
async fn d8_a_lost_answer_refunds_once_beside_another_refund() {
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
            // Another request refunds in between.
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
async fn d8_a_request_whose_answers_are_all_lost_is_refused() {
    let (stand, user) = (Stand::new().await, User::new("d8-lost"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app: Arc<App> = stand.app(&upstream, &[]);
    let table = stand.tables.limits.clone();
    stand.tables.proxy.script(move |call| (call.table == table).then_some(TableFault::Swallow));
    let reply = ask(&app, keyed(&user, "lost", "x")).await;
    assert_eq!((reply.status, reply.ending().as_str()), (503, "problem limiter_unavailable"));
    assert_eq!((upstream.requests(), stand.vault.calls()), (0, 0));
    assert!(stand.tables.missing(&user.owner(), 5).await <= 1, "at most one token is consumed");
    stand.tables.proxy.fail(None);
    assert_eq!(ask(&app, keyed(&user, "lost", "x")).await.ending(), "done", "no record blocks the key");
}

/// The SDK repeats a write whose answer was lost. Another take happens in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn d8_a_repeated_take_after_another_one_takes_once() {
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
