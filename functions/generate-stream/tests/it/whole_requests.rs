//! A property over whole requests: random answers of the upstreams, random behaviour of clients, and random faults of
//! tables and bucket. Whatever comes together, each response has one terminal event, and tokens, credits, holds, records
//! and kept pictures are what the upstreams' scripts imply.
//!
//! `WHOLE_REQUESTS=2000` plays more cases, and `WHOLE_REQUESTS_SEED=7` one of them again. Sockets and clocks are real, so a
//! seed may need several runs to fail again.

mod case;
mod check;
mod client;
mod lateness;
mod script;
mod stage;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use futures_util::{FutureExt, StreamExt, stream};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::case::{Case, Reading, cases, regressions};
use self::check::Played;
use self::lateness::Lateness;
use self::stage::{Play, Stage};
use crate::support::number;

const CASES: u64 = 60;
/// Cases at the same time: they mostly wait.
const AT_ONCE: usize = 12;
/// Runs to make a failed case smaller.
const SIMPLER: u32 = 60;
/// What every full run contains. Faults of the bucket are too rare for that.
const KINDS: &[&str] = &[
    "run to the end",
    "interrupted",
    "killed",
    "refused",
    "repeated after success",
    "fault of the limits",
    "fault of the ledger",
];

/// What the cases consisted of.
type Counts = Mutex<BTreeMap<&'static str, u32>>;

async fn play(stage: &Stage, case: &Case, counts: &Counts) {
    let mut play = Play::new(stage, case).await;
    let mut memory_lags = false;
    for round in &case.rounds {
        memory_lags |= round.again_after_ms.is_some();
        let before = play.snapshot().await;
        let (received, fired) = play.act(round).await;
        let ended = play.snapshot().await;
        if fired.ledger == 0 && !matches!(round.reading, Reading::Die { .. }) {
            assert_ne!(ended.state(), "running", "the record has no end");
        }
        play.expire().await;
        let after = play.snapshot().await;
        let scripts = play.played(&before, &after);
        let played = Played { case, round, before, after, scripts, received, fired, memory_lags };
        played.check();
        played.check_objects(&play);
        played.check_received().await;
        memory_lags |= fired.limits > 0;
        let mut counts = counts.lock().unwrap();
        let services = [
            ("fault of the limits", fired.limits),
            ("fault of the ledger", fired.ledger),
            ("fault of the bucket", fired.bucket),
            (played.kind(), 1),
        ];
        services.into_iter().for_each(|(name, count)| *counts.entry(name).or_default() += count);
    }
    let before = play.snapshot().await;
    let ([other, again], calls, credits) = play.afterwards().await;
    assert_eq!(other.ending().as_deref(), Some("done"));
    let (n, has_succeeded) = (u64::from(case.n), before.state() == "succeeded");
    assert_eq!(credits, before.worth + 2 * n - n, "the balance after the user's next request");
    assert_eq!(u64::from(calls), if has_succeeded { 0 } else { n }, "a task is paid until it succeeds");
    let ending = again.ending().unwrap();
    match (has_succeeded, before.kept().len()) {
        (true, 0) => assert_eq!(ending, "task_already_completed"),
        (true, kept) => assert_eq!((ending.as_str(), again.pictures().await.whole.len()), ("done", kept)),
        (false, _) => {
            assert_eq!(ending, "done");
            let after = play.snapshot().await;
            assert_eq!(after.runs(), before.runs() + 1);
            assert_eq!(number(after.record.as_ref().unwrap(), "images"), n);
        }
    }
}

/// What all cases share.
struct Shared {
    stage: Stage,
    lateness: Lateness,
    counts: Counts,
}

/// Whether a case holds. The panic is printed. A case that fails while the machine is too busy for the time limits is
/// played again.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a task for each case, which is awaited; prints why a case takes long"
)]
async fn holds(shared: Arc<Shared>, case: Case) -> bool {
    let holds = async move {
        let Shared { stage, lateness, counts } = &*shared;
        for _ in 0..5 {
            let begun = lateness.count();
            if AssertUnwindSafe(play(stage, &case, counts)).catch_unwind().await.is_ok() {
                return true;
            }
            if lateness.count() == begun {
                return false;
            }
            println!("the machine was too busy: the case is played again");
        }
        false
    };
    tokio::spawn(holds).await.unwrap()
}

fn tree(seed: u64) -> impl ValueTree<Value = Case> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    cases().new_tree(&mut runner).unwrap()
}

/// The smallest case found that fails like the one of this seed.
async fn simplest(shared: &Arc<Shared>, seed: u64) -> Case {
    let mut tree = tree(seed);
    let mut smallest = tree.current();
    for _ in 0..SIMPLER {
        let has_changed = match holds(shared.clone(), tree.current()).await {
            true => tree.complicate(),
            false => {
                smallest = tree.current();
                tree.simplify()
            }
        };
        if !has_changed {
            break;
        }
    }
    smallest
}

fn variable(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a longer run by hand")]
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_request_ends_once_and_the_ledger_is_exact() {
    let shared = Shared { stage: Stage::new().await, lateness: Lateness::watch(), counts: Counts::default() };
    let shared = Arc::new(shared);
    let seeds: Vec<_> = match variable("WHOLE_REQUESTS_SEED") {
        Some(seed) => vec![seed],
        None => (0..variable("WHOLE_REQUESTS").unwrap_or(CASES)).collect(),
    };
    let all = seeds.iter().map(async |seed| (*seed, holds(shared.clone(), tree(*seed).current()).await));
    let failed = stream::iter(all).buffer_unordered(AT_ONCE).filter_map(async |(seed, holds)| (!holds).then_some(seed));
    let mut failed = std::pin::pin!(failed);
    if let Some(seed) = failed.next().await {
        panic!("seed {seed} fails; a smaller case: {:#?}", simplest(&shared, seed).await);
    }
    let counts = shared.counts.lock().unwrap();
    println!("{counts:#?}");
    let is_full = seeds.len() >= CASES as usize;
    assert!(!is_full || KINDS.iter().all(|kind| counts.get(kind).is_some_and(|count| *count > 1)), "{counts:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cases_that_have_failed_once() {
    let shared = Shared { stage: Stage::new().await, lateness: Lateness::watch(), counts: Counts::default() };
    let shared = Arc::new(shared);
    for case in regressions() {
        assert!(holds(shared.clone(), case.clone()).await, "{case:#?}");
    }
}
