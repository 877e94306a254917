//! The real binary, killed between every two writes to its tables: reservations are returned, and delivered pictures are
//! charged once.

use std::path::Path;
use std::time::Duration;

use dev::client::endings;
use dev::dynamodb::TableFault;
use dev::function::Function;
use dev::function_url::payload;
use dev::runtime_api::Deadline;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{EVER, Item, Stand, Upstream, User, n, number, s, text, unix_ms};

const BINARY: &str = env!("CARGO_BIN_EXE_generate-stream");
const PATH: &str = "/api/generate-stream";
const PICTURE: &str = "c01_newapi_one_giant_chunk.sse";
const CREDITS: u64 = 10;
/// What it has begun is over five seconds after that.
const SHORT: Deadline = Deadline::In(Duration::from_secs(11));
const LONG: Deadline = Deadline::In(Duration::from_secs(660));

/// What a request meets, and so which steps it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// Begin, take, reserve in vain, open the balance, reserve, end and at once release the place, settle.
    Delivered,
    /// The upstream did not begin. The same, but with the place the token comes back.
    Busy,
    /// The task has failed before. Begin in vain, read the balance, take over, take, reserve, end and release, settle.
    Again,
    /// The bucket is empty. Begin, take in vain, undo.
    Limited,
    /// There are no credits. Begin, take, reserve in vain, open, reserve in vain, undo record and token at once.
    Poor,
}

impl Case {
    const ALL: [Self; 5] = [Self::Delivered, Self::Busy, Self::Again, Self::Limited, Self::Poor];

    fn steps(self) -> u32 {
        match self {
            Self::Poor => 7,
            Self::Delivered | Self::Busy | Self::Again => 8,
            Self::Limited => 3,
        }
    }

    /// The steps at which it is killed: those that no case before it has.
    fn fatal(self) -> std::ops::RangeInclusive<u32> {
        match self {
            Self::Delivered => 1..=8,
            Self::Busy => 6..=8,
            Self::Again => 1..=4,
            Self::Limited => 2..=3,
            Self::Poor => 6..=7,
        }
    }

    /// Its ending if the process is not killed.
    fn ending(self) -> &'static str {
        match self {
            Self::Delivered | Self::Again => "done",
            Self::Busy => "error upstream_busy",
            Self::Limited => "problem rate_limited",
            Self::Poor => "problem insufficient_credits",
        }
    }
}

/// Whether the fatal step is still done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Before,
    After,
}

struct Stage {
    stand: Stand,
    good: Upstream,
    busy: Upstream,
    /// The function as it is there afterwards.
    fresh: Function,
    /// The function with an upstream that fails.
    failing: Function,
    /// A few processes at a time: they have little time.
    turns: Semaphore,
}

fn event(user: &User, key: &str) -> Value {
    let bearer = user.bearer();
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str()), ("idempotency-key", key)];
    payload("POST", PATH, &headers, &json!({"prompt": "x", "format": "events"}).to_string(), false)
}

async fn spawn(stand: &Stand, upstream: &Upstream, more: &[(&'static str, String)]) -> Function {
    let mut environment = stand.environment(upstream);
    environment.extend([("CREDITS", "on".to_owned()), ("CREDITS_INITIAL", CREDITS.to_string())]);
    environment.extend(more.iter().cloned());
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Function::spawn(Path::new(BINARY), &environment).await.unwrap()
}

async fn say(function: &Function, event: &Value, deadline: Deadline) -> String {
    let saying = async {
        let mut invocation = function.invoke(event, deadline).await.unwrap();
        let body = invocation.rest().await.unwrap();
        endings(&invocation.prelude.headers["content-type"], &body).join(" ")
    };
    tokio::time::timeout(EVER, saying).await.unwrap()
}

/// Runs a task in a process of its own until the fatal step, and kills it there. Returns the ending that the process has sent if
/// there is no such step, and whether it has called its upstream.
async fn run(stage: &Stage, case: Case, fatal: u32, killed: Killed, user: &User) -> (Option<String>, bool) {
    let _turn = stage.turns.acquire().await.unwrap();
    let (tables, owner) = (&stage.stand.tables, user.owner());
    match case {
        Case::Again => {
            let said = say(&stage.failing, &event(user, "key"), LONG).await;
            assert_eq!(said, "error upstream_busy");
        }
        Case::Limited => {
            let empty = [("pk", s(&owner)), ("tat", n(unix_ms() + 86_400_000)), ("rid", s("another request"))];
            tables.put(&tables.limits, empty.map(|(name, value)| (name.to_owned(), value)).into()).await;
        }
        Case::Delivered | Case::Busy | Case::Poor => {}
    }
    let upstream = match case {
        Case::Busy => Upstream::refuses(429).await,
        _ => Upstream::recorded(PICTURE).await,
    };
    let (proxy, running) = tables.another_way().await;
    let initial = if case == Case::Poor { 0 } else { CREDITS };
    let more = [("AWS_ENDPOINT_URL_DYNAMODB", running.url("")), ("CREDITS_INITIAL", initial.to_string())];
    let function = spawn(&stage.stand, &upstream, &more).await;
    let (tell, mut it_is_time) = mpsc::unbounded_channel();
    let mut step = 0;
    proxy.script(move |call| {
        // The warm-up, before the first request.
        step += u32::from(step > 0 || call.operation == "PutItem");
        // Whose answer is lost asks again: by then it is done.
        let is_time = if killed == Killed::Before { step >= fatal } else { step > fatal };
        if is_time {
            // Once is enough.
            let _ = tell.send(());
            return Some(TableFault::Hang);
        }
        (step == fatal).then_some(TableFault::Swallow)
    });
    let event = event(user, "key");
    let said = tokio::select! {
        said = say(&function, &event, SHORT) => Some(said),
        _ = it_is_time.recv() => None,
    };
    // What was asked at the same time is on its way, and is done as if it had come before.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(function);
    (said, upstream.requests() > 0)
}

/// What a user has, and what is held of it.
async fn credits(stage: &Stage, user: &User) -> (u64, u64, u64) {
    let items = stage.stand.tables.all().await;
    let is_balance = |item: &&Item| text(item, "pk") == user.owner() && item.get("sk") == Some(&s("BAL"));
    let Some(balance) = items.iter().find(is_balance) else { return (CREDITS, 0, 0) };
    let holds: Vec<_> = balance["holds"].as_m().unwrap().values().map(|hold| hold.as_m().unwrap()).collect();
    let over_ms = holds.iter().map(|hold| number(hold, "t")).max().unwrap_or_default();
    (number(balance, "credits"), holds.iter().map(|hold| number(hold, "c")).sum(), over_ms)
}

/// The pictures that count for a user, and its running tasks.
async fn usage(stage: &Stage, owner: &str) -> (u64, usize) {
    let item = stage.stand.tables.bucket(owner).await.unwrap_or_default();
    let is_day = |name: &str| name.strip_prefix('d').is_some_and(|day| day.parse::<u64>().is_ok());
    let made = item.keys().filter(|name| is_day(name)).map(|name| number(&item, name)).sum();
    (made, item.get("running").map_or(0, |running| running.as_ss().unwrap().len()))
}

/// Returns whether the task had been delivered when its process was killed.
async fn scenario(stage: &Stage, case: Case, fatal: u32, killed: Killed) -> bool {
    let name = format!("{case:?}, {killed:?} {fatal}");
    let (tables, user) = (&stage.stand.tables, User::new(&format!("{case:?}-{killed:?}-{fatal}")));
    let owner = user.owner();
    let (said, was_called) = run(stage, case, fatal, killed, &user).await;
    // What is given back is asked once only, so a lost answer to it is no end.
    let went_on = killed == Killed::After && said.as_deref() == Some(case.ending());
    assert!(said.is_none() || went_on, "{name}: there is such a step: {said:?}");
    let is_done = |step| fatal > step || (fatal == step && killed == Killed::After);

    // What it leaves.
    let record = tables.record(&owner, "key").await;
    let state = record.as_ref().map(|record| text(record, "st").to_owned());
    let attempts = record.as_ref().map_or(0, |record| number(record, "tries"));
    let (has, held, mut over_ms) = credits(stage, &user).await;
    let mut tokens = tables.missing(&owner, 5).await;
    let delivered = state.as_deref() == Some("succeeded");
    let (made, places) = usage(stage, &owner).await;
    assert!(made == tokens || case == Case::Limited, "{name}: a picture counts as its token does");
    match case {
        Case::Delivered => {
            // Six and seven are done at once.
            let left = usize::from(is_done(1)) + usize::from(is_done(2));
            let left = left - usize::from(is_done(6)) - usize::from(is_done(7));
            assert_eq!(places + usize::from(state.as_deref() == Some("running")), left, "{name}");
            assert_eq!(state.is_some(), is_done(1), "{name}");
            assert_eq!(tokens, u64::from(is_done(2)), "{name}");
            assert_eq!(held, u64::from(is_done(5) && !is_done(8)), "{name}");
            assert_eq!(has + held, CREDITS - u64::from(is_done(8)), "{name}");
            assert_eq!(was_called, fatal >= 6, "{name}");
        }
        Case::Busy => {
            // Six and seven are done at once.
            let left = 2 - u64::from(is_done(6)) - u64::from(is_done(7));
            assert_eq!(tokens + u64::from(state.as_deref() == Some("running")), left, "{name}");
            assert_eq!(places as u64, tokens, "{name}");
            assert_eq!((has + held, held), (CREDITS, u64::from(!is_done(8))), "{name}");
        }
        Case::Again => {
            assert_eq!(state.as_deref(), Some(if is_done(3) { "running" } else { "failed" }), "{name}");
            assert_eq!((has, held, tokens), (CREDITS, 0, u64::from(is_done(4))), "{name}");
        }
        Case::Limited => {
            assert_eq!(state.as_deref(), (!is_done(3)).then_some("running"), "{name}");
            assert_eq!(tokens, 5, "{name}");
            tables.client.delete_item().table_name(&tables.limits).key("pk", s(&owner)).send().await.unwrap();
            tokens = 0;
        }
        Case::Poor => {
            // Six and seven are done at once.
            let left = 2 - u64::from(is_done(6)) - u64::from(is_done(7));
            assert_eq!(tokens + u64::from(record.is_some()), left, "{name}");
            assert_eq!((has, held), (0, 0), "{name}");
            tables.grant(&owner, CREDITS).await;
        }
    }
    if state.as_deref() == Some("running") {
        let said = say(&stage.fresh, &event(&user, "key"), LONG).await;
        assert_eq!(said, "problem task_in_progress", "{name}: no two run it, whatever has become of the first");
        over_ms = over_ms.max(number(record.as_ref().unwrap(), "lease"));
    }
    let left_ms = over_ms.saturating_sub(unix_ms());
    assert!(left_ms < 17_000, "{name}: {left_ms} ms");
    tokio::time::sleep(Duration::from_millis(left_ms + 2)).await;

    // The record and the balance afterwards.
    let said = say(&stage.fresh, &event(&user, "key"), LONG).await;
    assert_eq!(said, if delivered { "problem task_already_completed" } else { "done" }, "{name}");
    assert_eq!(say(&stage.fresh, &event(&user, "another"), LONG).await, "done", "{name}");
    let record = tables.record(&owner, "key").await.unwrap();
    let attempts = attempts + u64::from(!delivered);
    assert_eq!((text(&record, "st"), number(&record, "tries")), ("succeeded", attempts), "{name}");
    let (has, held, _) = credits(stage, &user).await;
    assert_eq!((has, held), (CREDITS - 2, 0), "{name}: two pictures, each paid for once, and nothing is kept");
    let taken = tokens + u64::from(!delivered) + 1;
    assert_eq!(tables.missing(&owner, 5).await, taken, "{name}: tokens");
    let (made, places_after) = usage(stage, &owner).await;
    assert_eq!(made, taken, "{name}: pictures");
    assert!(places_after <= 1 && (case == Case::Limited || places_after == places), "{name}: only a dead task's place");
    delivered
}

/// Nothing happens to it: it takes as many steps as we know of.
async fn undisturbed(stage: &Stage, case: Case) {
    let user = User::new(&format!("{case:?}"));
    let (said, _) = run(stage, case, case.steps() + 1, Killed::Before, &user).await;
    assert_eq!(said.as_deref(), Some(case.ending()), "{case:?}: one more step, at which it was not killed");
}

#[tokio::test]
async fn a_killed_function_loses_no_credits_and_charges_nothing_twice() {
    let stand = Stand::new().await;
    let (good, busy) = (Upstream::recorded(PICTURE).await, Upstream::refuses(429).await);
    let several = [("AWS_LAMBDA_MAX_CONCURRENCY", "4".to_owned())];
    let (fresh, failing) = (spawn(&stand, &good, &several).await, spawn(&stand, &busy, &several).await);
    let stage = Stage { stand, good, busy, fresh, failing, turns: Semaphore::new(3) };
    let scenarios = Case::ALL.into_iter().flat_map(|case| case.fatal().map(move |fatal| (case, fatal)));
    let scenarios = scenarios
        .flat_map(|(case, fatal)| [Killed::Before, Killed::After].map(|killed| scenario(&stage, case, fatal, killed)));
    let scenarios: Vec<_> = scenarios.collect();
    let undisturbed = join_all(Case::ALL.map(|case| undisturbed(&stage, case)));
    let (before, _) = futures_util::future::join(join_all(scenarios), undisturbed).await;
    let delivered = before.iter().filter(|delivered| **delivered).count();
    assert!(
        (3..=5).contains(&delivered),
        "{delivered}: of the steps six and seven either may be the end of the record"
    );
    assert_eq!(stage.good.requests() as usize, 2 * before.len() - delivered, "no picture is made twice");
    assert!(stage.busy.requests() > 0 && stage.fresh.is_running() && stage.failing.is_running());
}
