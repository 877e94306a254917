//! The spending caps: pictures of a user and of all users in a day, running tasks, blocked users.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dev::dynamodb::TableFault;
use dev::transcript::Transcript;
use futures_util::future::join_all;
use generate_stream::App;
use serde_json::json;
use shared::caps::{Budget, Caps, Day, LimitClaim, LimitRefusal, RequestCost, Reservation};
use shared::edge::{Bucket, DynamoDb, RateLimiter, new_id};
use shared::rate_limit::Policy;
use tokio::task::JoinSet;
use tracing::instrument::WithSubscriber;

use super::{PATH, PICTURE, SOON, ask, from, keyed, wanted, wanted_as_chat};
use crate::support::Log;
use crate::support::{Item, Reply, Stand, Upstream, User, fixture, in_time, n, number, s, text, unix_ms};

const MANY: (&str, &str) = ("RL_LIMIT", "1000");
const DAY_MS: u64 = 86_400_000;
const REQUESTS: usize = 1000;
const INSTANCES: usize = 8;

/// The pictures of the day, and the running tasks, in an item of the limits' table.
async fn usage(stand: &Stand, key: &str) -> (u64, usize) {
    let item = stand.tables.bucket(key).await.unwrap_or_default();
    let day = Day::at(unix_ms()).attribute();
    let made = item.contains_key(&day).then(|| number(&item, &day));
    let running = item.get("running").map_or(0, |running| running.as_ss().unwrap().len());
    (made.unwrap_or_default(), running)
}

/// The pictures of all users in the day.
async fn used(stand: &Stand) -> u64 {
    let item = stand.tables.bucket(&budget_key()).await;
    item.map_or(0, |item| number(&item, "made"))
}

fn budget_key() -> String {
    format!("budget:{}", Day::at(unix_ms()).attribute())
}

/// The day must not end during a test.
async fn not_at_midnight() {
    let left_ms = Day::at(unix_ms()).end_ms() - unix_ms();
    if left_ms < 60_000 {
        tokio::time::sleep(Duration::from_millis(left_ms + 10)).await;
    }
}

/// Checks everything in a refusal that ends with the day.
#[track_caller]
fn refused_until_midnight(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status, reply.ending()), (status, format!("problem {code}")));
    let problem = reply.last();
    let ends_ms = Day::at(unix_ms()).end_ms();
    let retry_after_ms = problem["retry_after_ms"].as_u64().unwrap();
    // It was decided a moment ago.
    assert!((ends_ms..ends_ms + 60_000).contains(&(unix_ms() + retry_after_ms)), "{retry_after_ms}");
    let seconds = retry_after_ms.div_ceil(1000).to_string();
    assert_eq!(reply.header("retry-after"), Some(seconds.as_str()));
    assert!(problem["detail"].as_str().unwrap().contains("T00:00:00.000Z"), "{problem}");
    assert!(!reply.headers.contains_key("x-task-id"), "there is no task");
}

#[track_caller]
fn refused_by_running_tasks(reply: &Reply) {
    assert_eq!((reply.status, reply.ending().as_str()), (429, "problem too_many_running"));
    assert_eq!((reply.header("retry-after"), &reply.last()["retry_after_ms"]), (Some("5"), &json!(5_000)));
}

/// A thousand requests at once, in several processes, each for the user that `user` returns.
fn a_thousand(apps: &[Arc<App>], user: impl Fn(usize) -> User) -> JoinSet<Reply> {
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let (app, request) = (apps[number % INSTANCES].clone(), wanted(&user(number)));
        requests.spawn(async move { ask(&app, request).await }.with_current_subscriber());
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_make_the_pictures_of_a_day() {
    in_time(async || {
        not_at_midnight().await;
        let (stand, user) = (Stand::new().await, User::new("day"));
        let upstream = Upstream::recorded(PICTURE).await;
        let variables = [MANY, ("DAILY_LIMIT", "7")];
        let apps: Vec<Arc<App>> = (0..INSTANCES).map(|_| stand.app(&upstream, &variables)).collect();
        let replies = a_thousand(&apps, |_| user.clone()).join_all().await;
        let made = replies.iter().filter(|reply| reply.status == 200).count();
        assert!(made <= 7 && upstream.requests() <= 7, "{made} of 7");
        if replies.iter().any(|reply| reply.ending() == "problem limiter_unavailable") {
            return false;
        }
        assert_eq!((made, upstream.requests()), (7, 7), "and no fewer");
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            refused_until_midnight(reply, 429, "daily_limit");
        }
        assert_eq!(usage(&stand, &user.owner()).await, (7, 0));
        let writes = stand.tables.proxy.calls_to("UpdateItem");
        assert!(writes < REQUESTS as u32 / 2, "{writes}: most are refused from memory");
        assert_eq!(ask(&apps[0], wanted(&User::new("another"))).await.ending(), "done", "another user");
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_run_four_tasks() {
    in_time(async || {
        let (stand, user) = (Stand::new().await, User::new("running"));
        let (upstream, gate) = Upstream::gated(Transcript::events(fixture(PICTURE))).await;
        let variables = [MANY, ("MAX_IN_FLIGHT", "")];
        let apps: Vec<Arc<App>> = (0..INSTANCES).map(|_| stand.app(&upstream, &variables)).collect();
        let mut requests = a_thousand(&apps, |_| user.clone());
        // The gate is closed, so no running task ends.
        for _ in 0..REQUESTS - 4 {
            let reply = requests.join_next().await.unwrap().unwrap();
            if reply.status == 503 {
                return false;
            }
            refused_by_running_tasks(&reply);
        }
        while upstream.requests() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((upstream.requests(), usage(&stand, &user.owner()).await), (4, (4, 4)));
        gate.open();
        let done = requests.join_all().await;
        assert!(done.iter().all(|reply| reply.ending() == "done"));
        assert_eq!(usage(&stand, &user.owner()).await, (4, 0));
        let writes = stand.tables.proxy.calls_to("UpdateItem");
        assert!(writes < REQUESTS as u32 / 2, "{writes}: most are refused from memory");
        // A process remembers a refusal for two seconds.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(ask(&apps[0], wanted(&user)).await.ending(), "done", "the places are free again");
        true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_of_several_users_make_the_pictures_of_the_budget_and_alarm_once() {
    in_time(async || {
        not_at_midnight().await;
        let stand = Stand::new().await;
        let upstream = Upstream::recorded(PICTURE).await;
        let variables = [MANY, ("DAILY_BUDGET", "20")];
        let apps: Vec<Arc<App>> = (0..INSTANCES).map(|_| stand.app(&upstream, &variables)).collect();
        let users: Vec<_> = (0..4).map(|number| User::new(&format!("budget-{number}"))).collect();
        let log = Log::default();
        let guard = log.record();
        let replies = a_thousand(&apps, |number| users[number % users.len()].clone()).join_all().await;
        drop(guard);
        let made = replies.iter().filter(|reply| reply.status == 200).count();
        assert!(made <= 20 && upstream.requests() <= 20, "{made} of 20");
        if replies.iter().any(|reply| reply.ending() == "problem limiter_unavailable") {
            return false;
        }
        assert_eq!((made, upstream.requests(), used(&stand).await), (20, 20, 20), "and no fewer");
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            refused_until_midnight(reply, 503, "budget_exhausted");
        }
        let mut counted = 0;
        for user in &users {
            let (made, running) = usage(&stand, &user.owner()).await;
            assert_eq!((stand.tables.missing(&user.owner(), 1000).await, running), (made, 0), "tokens and places");
            counted += made;
        }
        assert_eq!(counted, 20, "a refused request has nothing reserved");
        let (most, all) = budget_alarms(&log);
        assert!(most > 0 && all > 0, "{}", log.text());
        // Twice, if the answer to a write was late.
        (most, all) == (1, 1)
    })
    .await;
}

/// The alarms at 80 % of the budget, and where it does not leave enough.
fn budget_alarms(log: &Log) -> (usize, usize) {
    let log = log.text();
    let alarms = |words: &str| log.lines().filter(|line| line.contains("alarm=true") && line.contains(words)).count();
    (alarms("80 % of DAILY_BUDGET"), alarms("DAILY_BUDGET does not leave enough"))
}

#[tokio::test]
async fn an_alarm_whose_write_gets_no_answer_is_logged() {
    not_at_midnight().await;
    for (fault, faults) in
        [(TableFault::Swallow, 1), (TableFault::Refuse, 1), (TableFault::Swallow, 4), (TableFault::Refuse, u32::MAX)]
    {
        let (stand, user) = (Stand::new().await, User::new("unmarked"));
        let upstream = Upstream::recorded(PICTURE).await;
        let app: Arc<App> = stand.app(&upstream, &[MANY, ("DAILY_BUDGET", "1")]);
        let (limits, mut came) = (stand.tables.limits.clone(), 0_u32);
        // The first two writes reserve the picture.
        stand.tables.proxy.script(move |call| {
            came += u32::from(call.table == limits);
            (call.table == limits && came > 2 && came - 2 <= faults).then_some(fault)
        });
        let log = Log::default();
        let guard = log.record();
        let reply = ask(&app, wanted(&user)).await;
        drop(guard);
        assert_eq!(reply.ending(), "done", "{fault:?}");
        assert_eq!(budget_alarms(&log), (1, 1), "{fault:?} {faults}");
    }
}

/// The clock of the limiters in the next test.
static SIMULATED_MS: AtomicU64 = AtomicU64::new(0);

fn simulated_ms() -> u64 {
    SIMULATED_MS.load(Ordering::Relaxed)
}

/// Two days of three users and four processes, on the table: tasks that end, tasks that die, calls that do not start.
#[tokio::test]
async fn a_simulated_day_exceeds_no_cap() {
    // Three hours before the year 2100: the engine deletes items that have expired by its own clock.
    const BEGIN_MS: u64 = 4_102_444_800_000 - 3 * 3_600_000;
    const POLICY: Policy = Policy { name: "user", limit: 6, window_ms: 60_000 };
    const CAPS: Caps = Caps { daily_limit: 60, max_in_flight: 4 };
    const BUDGET: Budget = Budget { daily: 150 };
    /// No run that ends takes longer.
    const LEASE_MS: u64 = 3_600_000;
    let stand = Stand::new().await;
    SIMULATED_MS.store(BEGIN_MS, Ordering::Relaxed);
    let url = stand.tables.variables()[0].1.parse().unwrap();
    let dynamodb = DynamoDb::new(Some(url));
    let limiters: Vec<_> =
        (0..4).map(|_| RateLimiter::new(&dynamodb, &stand.tables.limits, Some(BUDGET), simulated_ms)).collect();
    let bucket = |user: usize| Bucket { key: format!("user-{user}"), policy: &POLICY, caps: &CAPS };
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    // Reserved and not ended; for each user and day, and for each day, what is reserved or made.
    let mut running: Vec<(usize, u64, Reservation)> = Vec::new();
    let mut made = std::collections::BTreeMap::<(Option<usize>, Day), u32>::new();
    let mut refusals = [0; 4];
    while simulated_ms() < BEGIN_MS + 2 * DAY_MS {
        SIMULATED_MS.fetch_add(random(1_200_000), Ordering::Relaxed);
        let asked = (0..=random(8)).map(|_| (random(3) as usize, random(4) as usize, 1 + random(4) as u32));
        let asked: Vec<_> = asked.collect();
        let decisions = join_all(asked.iter().map(async |(user, limiter, pictures)| {
            let cost = RequestCost { calls: *pictures, pictures: *pictures };
            let claim = LimitClaim { run: new_id(), cost, ends_ms: simulated_ms() + LEASE_MS };
            let mut decision = limiters[*limiter].take(&bucket(*user), &claim).await.unwrap();
            if let Ok(reservation) = &mut decision.result
                && let Err(refusal) = limiters[*limiter].take_budget(reservation).await.unwrap()
            {
                // Some die before they return the caller's reservation.
                if *pictures != 4 {
                    limiters[*limiter].release(&bucket(*user), reservation, *pictures, *pictures).await.unwrap();
                }
                decision.result = Err(refusal);
            }
            decision
        }));
        for ((user, _, pictures), decision) in asked.iter().zip(decisions.await) {
            match decision.result {
                Ok(reservation) => {
                    for counted in [Some(*user), None] {
                        *made.entry((counted, reservation.day)).or_default() += pictures;
                    }
                    // Some die: they never end.
                    running.push((*user, if random(5) == 0 { u64::MAX } else { random(3) }, reservation));
                }
                Err(LimitRefusal::RateLimit { .. }) => refusals[0] += 1,
                Err(LimitRefusal::DailyLimit { .. }) => refusals[1] += 1,
                Err(LimitRefusal::TooManyRunning) => refusals[2] += 1,
                Err(LimitRefusal::BudgetExhausted { .. }) => refusals[3] += 1,
            }
        }
        for user in 0..3 {
            let is_live = |run: &&(usize, u64, Reservation)| run.0 == user && run.2.claim.ends_ms > simulated_ms();
            let live = running.iter().filter(is_live).count();
            assert!(live <= CAPS.max_in_flight as usize, "{live} tasks of a user run");
        }
        for ((user, day), made) in &made {
            let most = if user.is_some() { CAPS.daily_limit } else { BUDGET.daily };
            assert!(*made <= most, "{made} pictures of {user:?} in {day:?}");
        }
        let mut left = Vec::new();
        for (user, steps, reservation) in running {
            if steps > 0 {
                left.push((user, if steps == u64::MAX { steps } else { steps - 1 }, reservation));
                continue;
            }
            let back = if random(4) == 0 { reservation.claim.cost.pictures } else { 0 };
            for _ in 0..2 {
                limiters[random(4) as usize].release(&bucket(user), &reservation, back, back).await.unwrap();
            }
            for counted in [Some(user), None] {
                *made.get_mut(&(counted, reservation.day)).unwrap() -= back;
            }
        }
        running = left;
    }
    assert!(refusals.iter().all(|refused| *refused > 0), "each limit was reached: {refusals:?}");
    let whole = Day::at(BEGIN_MS + DAY_MS);
    assert!(made[&(None, whole)] > 100, "a day of pictures: {made:?}");
    let item = stand.tables.bucket(&format!("budget:{}", whole.attribute())).await.unwrap();
    assert_eq!(number(&item, "made"), u64::from(made[&(None, whole)]));
}

/// What is returned, by what the upstream did.
#[tokio::test]
async fn pictures_come_back_if_they_were_not_made() {
    not_at_midnight().await;
    let stand = Stand::new().await;
    let variables = [MANY, ("DAILY_BUDGET", "1000")];
    let mut counted = 0;
    for (row, (upstream, ending, made)) in [
        (Upstream::recorded(PICTURE).await, "done", 1),
        (Upstream::refuses(429).await, "error upstream_busy", 0),
        (Upstream::gone(), "error upstream_unreachable", 0),
        (Upstream::refuses(500).await, "error upstream_error", 1),
        (Upstream::recorded("e05_content_filter_empty.sse").await, "error content_rejected", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let user = User::new(&format!("back-{row}"));
        let app: Arc<App> = stand.app(&upstream, &variables);
        assert_eq!(ask(&app, keyed(&user, "key", "x")).await.ending(), ending);
        assert_eq!(usage(&stand, &user.owner()).await, (made, 0), "{ending}");
        counted += made;
        assert_eq!(used(&stand).await, counted, "{ending}");
        // A repeated key costs nothing, and a new attempt counts anew.
        let again = ask(&app, keyed(&user, "key", "x")).await.ending();
        let attempts = if ending == "done" { 1 } else { 2 };
        assert_eq!(again, if ending == "done" { "problem task_already_completed" } else { ending });
        assert_eq!(usage(&stand, &user.owner()).await, (made * attempts, 0), "{ending}");
        counted += made * (attempts - 1);
        assert_eq!(used(&stand).await, counted, "{ending}");
    }

    // Refused after the reservation: no credits, and no key of the upstream.
    let (upstream, user) = (Upstream::recorded(PICTURE).await, User::new("back-refused"));
    for (name, value) in [("CREDITS", "on"), ("IMAGE_API_KEY_SECRET_ARN", "no-such-secret")] {
        let app: Arc<App> = stand.app(&upstream, &[MANY, ("DAILY_BUDGET", "1000"), (name, value)]);
        assert!([402, 503].contains(&ask(&app, wanted(&user)).await.status));
        assert_eq!((usage(&stand, &user.owner()).await, used(&stand).await), ((0, 0), counted), "{name}");
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_request_needs_room_for_all_its_pictures() {
    not_at_midnight().await;
    let (stand, user) = (Stand::new().await, User::new("room"));
    let upstream = Upstream::recorded(PICTURE).await;
    let app = || -> Arc<App> { stand.app(&upstream, &[MANY, ("DAILY_LIMIT", "5")]) };
    let (app, cold) = (app(), app());
    let several = |n: u32| user.post(PATH, &json!({"prompt": "x", "format": "events", "n": n}));
    assert_eq!(ask(&app, several(3)).await.ending(), "done");
    for app in [&app, &cold] {
        // From the table, then from memory.
        for _ in 0..2 {
            refused_until_midnight(&ask(app, several(3)).await, 429, "daily_limit");
        }
    }
    assert_eq!(usage(&stand, &user.owner()).await, (3, 0));
    assert_eq!(ask(&app, several(2)).await.ending(), "done", "two are left, and memory refuses three");
    assert_eq!(upstream.requests(), 5);

    let small: Arc<App> = stand.app(&upstream, &[MANY, ("DAILY_LIMIT", "2")]);
    let reply = ask(&small, several(3)).await;
    assert_eq!((reply.status, reply.ending().as_str()), (400, "problem invalid_request"), "no day has room for it");
    assert!(reply.last()["detail"].as_str().unwrap().contains('2'));
}

/// Another function is another process with the same item.
#[tokio::test]
async fn the_place_of_a_dead_function_is_free_after_its_lease() {
    not_at_midnight().await;
    let (stand, user) = (Stand::new().await, User::new("dead"));
    let upstream = Upstream::recorded(PICTURE).await;
    let variables = [MANY, ("MAX_IN_FLIGHT", "2")];
    let app = || -> Arc<App> { stand.app(&upstream, &variables) };
    let dynamodb = DynamoDb::new(Some(stand.tables.variables()[0].1.parse().unwrap()));
    let other = RateLimiter::new(&dynamodb, &stand.tables.limits, None, unix_ms);
    let policy = Policy { name: "user", limit: 1000, window_ms: DAY_MS };
    let caps = Caps { daily_limit: 100, max_in_flight: 2 };
    let bucket = Bucket { key: user.owner(), policy: &policy, caps: &caps };
    let cost = RequestCost { calls: 1, pictures: 3 };
    let ends_ms = unix_ms() + 6_000;
    let claim = |ends_ms| LimitClaim { run: new_id(), cost, ends_ms };
    other.take(&bucket, &claim(ends_ms)).await.unwrap().result.unwrap();
    let alive = other.take(&bucket, &claim(unix_ms() + 600_000)).await.unwrap().result.unwrap();
    assert_eq!(usage(&stand, &user.owner()).await, (6, 2));
    refused_by_running_tasks(&ask(&app(), wanted(&user)).await);
    super::until(ends_ms).await;
    let calls = stand.tables.proxy.calls();
    assert_eq!(ask(&app(), wanted(&user)).await.ending(), "done");
    // Begin, take in vain, remove the abandoned place, take, end, release.
    assert_eq!(stand.tables.proxy.calls() - calls, 6);
    assert_eq!(usage(&stand, &user.owner()).await, (7, 1), "what died stays counted in its day");
    // Its end is written twice; the second one finds nothing.
    for _ in 0..2 {
        other.release(&bucket, &alive, 1, 2).await.unwrap();
    }
    assert_eq!(usage(&stand, &user.owner()).await, (5, 0), "two of three were not made");
    assert_eq!(stand.tables.missing(&user.owner(), 1000).await, 2, "one token came back");
}

/// The budget's write fails after the caller's.
#[tokio::test]
async fn a_failure_between_the_two_writes_exceeds_no_cap() {
    not_at_midnight().await;
    let variables = [("DAILY_BUDGET", "10")];
    for (fault, faults, places) in [
        // The caller's reservation is released.
        (TableFault::InternalServerError, 2, 0),
        (TableFault::Swallow, 2, 0),
        // The table does not come back: the reservation stays until its day and its lease end.
        (TableFault::Refuse, u32::MAX, 1),
    ] {
        let (stand, user) = (Stand::new().await, User::new("between"));
        let upstream = Upstream::recorded(PICTURE).await;
        let app: Arc<App> = stand.app(&upstream, &variables);
        let (limits, mut came) = (stand.tables.limits.clone(), 0_u32);
        stand.tables.proxy.script(move |call| {
            came += u32::from(call.table == limits);
            (call.table == limits && came > 1 && came - 1 <= faults).then_some(fault)
        });
        let reply = tokio::time::timeout(SOON, ask(&app, keyed(&user, "key", "x"))).await.unwrap();
        assert_eq!((reply.status, reply.ending().as_str()), (503, "problem limiter_unavailable"), "{fault:?}");
        stand.tables.proxy.fail(None);
        assert_eq!(usage(&stand, &user.owner()).await, (places, places as usize), "{fault:?}");
        // The answers of a reservation of the budget were lost: it stays counted.
        let lost = u64::from(fault == TableFault::Swallow);
        assert_eq!((used(&stand).await, upstream.requests()), (lost, 0), "{fault:?}");
        assert_eq!(ask(&app, keyed(&user, "key", "x")).await.ending(), "done", "{fault:?}");
        assert_eq!(used(&stand).await, lost + 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_reserves_once() {
    not_at_midnight().await;
    let (stand, user) = (Stand::new().await, User::new("lost"));
    let (good, busy) = (Upstream::recorded(PICTURE).await, Upstream::refuses(429).await);
    let variables = [MANY, ("DAILY_BUDGET", "1000")];
    let apps: [Arc<App>; 2] = [&good, &busy].map(|upstream| stand.app(upstream, &variables));
    stand.tables.proxy.fail_every(3, TableFault::Swallow);
    for request in 0..20 {
        let ending = ask(&apps[request % 2], wanted(&user)).await.ending();
        assert_eq!(ending, ["done", "error upstream_busy"][request % 2]);
    }
    stand.tables.proxy.fail(None);
    assert_eq!(usage(&stand, &user.owner()).await, (10, 0));
    // If the answer to a release is lost, the budget keeps its pictures.
    assert!((10..=20).contains(&used(&stand).await));
}

/// With a budget and without: the table calls of a request.
#[tokio::test]
async fn caps_add_no_call_before_the_upstream() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    for (budget, before) in [("0", 2), ("100", 3)] {
        let user = User::new(&format!("calls-{budget}"));
        let app: Arc<App> = stand.app(&upstream, &[MANY, ("DAILY_BUDGET", budget)]);
        let (seen, counted) = (upstream.seen.clone(), Arc::new(AtomicU64::new(0)));
        let (requests, counter) = (upstream.requests(), counted.clone());
        stand.tables.proxy.script(move |_| {
            counter.fetch_add(u64::from(seen.requests() == requests), Ordering::Relaxed);
            None
        });
        let calls = stand.tables.proxy.calls();
        assert_eq!(ask(&app, wanted(&user)).await.ending(), "done");
        assert_eq!(counted.load(Ordering::Relaxed), before, "begin the task, reserve");
        assert_eq!(stand.tables.proxy.calls() - calls, before as u32 + 2, "and at its end, at once: end, release");
    }
}

#[tokio::test]
async fn guests_share_the_caps_of_their_address() {
    not_at_midnight().await;
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    let variables = [("ALLOW_ANONYMOUS", "true"), ("RL_ANON_LIMIT", "1000"), ("DAILY_LIMIT", "2")];
    let app: Arc<App> = stand.app(&upstream, &variables);
    for guest in ["guest-1", "guest-2"] {
        assert_eq!(ask(&app, from(wanted(&User::guest(guest)), "203.0.113.7")).await.ending(), "done");
    }
    let reply = ask(&app, from(wanted(&User::guest("guest-3")), "203.0.113.7")).await;
    refused_until_midnight(&reply, 429, "daily_limit");
    assert_eq!(usage(&stand, "ip:203.0.113.7").await, (2, 0));
    assert_eq!(ask(&app, from(wanted(&User::guest("guest-1")), "203.0.113.8")).await.ending(), "done");
}

#[tokio::test]
async fn a_blocked_user_is_refused_without_a_table_call() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    let (blocked, guest) = (User::new("blocked"), User::guest("blocked-guest"));
    let ids = [&blocked, &guest].map(|user| user.owner().trim_start_matches("user:").to_owned()).join(", ");
    let app: Arc<App> = stand.app(&upstream, &[("BLOCKED_USERS", &ids), ("ALLOW_ANONYMOUS", "true")]);
    for user in [&blocked, &guest] {
        for request in [wanted(user), wanted_as_chat(user), user.post("/api/generate-image", &json!({"prompt": "x"}))] {
            let reply = ask(&app, request).await;
            assert_eq!((reply.status, reply.ending().as_str()), (403, "problem user_blocked"));
            assert_eq!((&reply.last()["retryable"], reply.header("retry-after")), (&json!(false), None));
        }
    }
    assert_eq!((upstream.requests(), stand.tables.proxy.calls()), (0, 0));
    assert_eq!(ask(&app, wanted(&User::new("another"))).await.ending(), "done");
}

/// The item as another version or an operator could leave it.
#[tokio::test]
async fn a_malformed_item_exceeds_no_cap() {
    not_at_midnight().await;
    let stand = Stand::new().await;
    let upstream = Upstream::recorded(PICTURE).await;
    let variables = [MANY, ("DAILY_LIMIT", "5"), ("MAX_IN_FLIGHT", "2")];
    let day = Day::at(unix_ms()).attribute();
    let leases = |leases: &[&str]| AttributeValue::Ss(leases.iter().map(|lease| (*lease).to_owned()).collect());
    let far = format!("{}.run", unix_ms() + 600_000);
    for (row, (name, value, ending)) in [
        (day.as_str(), n(5), "problem daily_limit"),
        (&day, s("x"), "problem daily_limit"),
        (&day, AttributeValue::N("1e30".into()), "problem daily_limit"),
        ("running", leases(&["x", "y", "z"]), "done"),
        ("running", leases(&[&far, "y"]), "done"),
        ("running", s("x"), "problem service_unavailable"),
        ("running", AttributeValue::M(Item::new()), "problem service_unavailable"),
    ]
    .into_iter()
    .enumerate()
    {
        let user = User::new(&format!("malformed-{row}"));
        let item = Item::from([("pk".to_owned(), s(&user.owner())), (name.to_owned(), value)]);
        stand.tables.put(&stand.tables.limits, item).await;
        let app: Arc<App> = stand.app(&upstream, &variables);
        assert_eq!(ask(&app, wanted(&user)).await.ending(), ending, "{row}");
    }
}

#[tokio::test]
async fn counters_of_earlier_days_are_removed() {
    not_at_midnight().await;
    let (stand, user) = (Stand::new().await, User::new("earlier"));
    let upstream = Upstream::recorded(PICTURE).await;
    let day = |days: u64| Day::at(unix_ms() - days * DAY_MS).attribute();
    let mut item = Item::from([("pk".to_owned(), s(&user.owner())), ("tat".to_owned(), n(1))]);
    item.extend((1..=7).map(|days| (day(days), n(100))));
    stand.tables.put(&stand.tables.limits, item).await;
    let app: Arc<App> = stand.app(&upstream, &[("DAILY_LIMIT", "5")]);
    assert_eq!(ask(&app, wanted(&user)).await.ending(), "done");
    let item = stand.tables.bucket(&user.owner()).await.unwrap();
    let mut left: Vec<_> = item.keys().filter(|name| name.starts_with('d')).cloned().collect();
    left.sort();
    assert_eq!(left, [day(1), day(0)], "yesterday's stays for a process whose clock is behind");
    assert!(number(&item, "ttl") * 1000 >= Day::at(unix_ms()).end_ms() + 3_600_000, "no count expires in its day");
    assert_eq!(text(&item, "pk"), user.owner());
}
