//! The token bucket against a model of its store: several processes, different clocks, any order.

use proptest::prelude::*;
use shared::rate_limit::{Conflict, Policy, RefusalMemory, Standing, Take};

const NOW: u64 = 1_795_216_097_000;
const FIVE_A_MINUTE: Policy = Policy { name: "user", limit: 5, window_ms: 60_000 };

/// One item, with the conditions that a table checks.
#[derive(Debug, Default)]
struct Store {
    arrival_ms: Option<u64>,
    last: u64,
    writes: u32,
}

impl Store {
    fn take(&mut self, take: Take, request: u64) -> Result<u64, (u64, bool)> {
        self.writes += 1;
        let next = match (take, self.arrival_ms) {
            (Take::FromFull { new_ms, .. }, None) => Some(new_ms),
            (Take::FromStarted { now_ms, cost_ms, .. }, None) => Some(now_ms + cost_ms),
            (_, Some(_)) if self.last == request => None,
            (Take::FromFull { now_ms, new_ms }, Some(stored)) => (stored <= now_ms).then_some(new_ms),
            (Take::FromStarted { now_ms, cost_ms, latest_ms }, Some(stored)) => {
                (stored > now_ms && stored <= latest_ms).then_some(stored + cost_ms)
            }
        };
        match next {
            Some(next) => {
                (self.arrival_ms, self.last) = (Some(next), request);
                Ok(next)
            }
            None => Err((self.arrival_ms.unwrap(), self.last == request)),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Admitted,
    Refused(u64),
}

/// One decision as the edge makes it, by what a process remembers. With `lose`, the first answer of the store is lost.
fn decide(
    store: &mut Store,
    memory: &mut RefusalMemory,
    policy: &Policy,
    cost: u32,
    now_ms: u64,
    request: u64,
    lose: bool,
) -> Decision {
    let mut seen_ms = memory.arrival_ms("caller");
    if let Some(retry_after_ms) = seen_ms.and_then(|seen_ms| policy.refusal(seen_ms, cost, now_ms)) {
        return Decision::Refused(retry_after_ms);
    }
    if lose {
        // The write is applied and its answer is lost: the same write is sent again.
        let _ = store.take(policy.take(seen_ms, cost, now_ms), request);
    }
    for _ in 0..4 {
        match store.take(policy.take(seen_ms, cost, now_ms), request) {
            Ok(arrival_ms) => {
                memory.admitted("caller", arrival_ms, now_ms);
                return Decision::Admitted;
            }
            Err((stored, is_ours)) => match policy.judge(stored, is_ours, cost, now_ms) {
                Conflict::Ours => {
                    memory.admitted("caller", stored, now_ms);
                    return Decision::Admitted;
                }
                Conflict::Refused { retry_after_ms } => {
                    memory.refused("caller", policy, stored, now_ms);
                    return Decision::Refused(retry_after_ms);
                }
                Conflict::Retry => seen_ms = Some(stored),
                Conflict::Impossible => {
                    store.arrival_ms = Some(policy.empty_ms(now_ms));
                    return Decision::Refused(policy.cost_ms(cost));
                }
            },
        }
    }
    panic!("two tries are enough without other writers")
}

#[test]
fn five_at_once_then_one_every_twelve_seconds() {
    let (mut store, mut memory) = (Store::default(), RefusalMemory::default());
    let mut ask = |at: u64, request| decide(&mut store, &mut memory, &FIVE_A_MINUTE, 1, NOW + at, request, false);
    for request in 0..5 {
        assert_eq!(ask(request, request), Decision::Admitted);
    }
    assert_eq!(ask(5, 5), Decision::Refused(11_995));
    assert_eq!(ask(11_999, 6), Decision::Refused(1));
    assert_eq!(ask(12_000, 7), Decision::Admitted);
    assert_eq!(ask(12_001, 8), Decision::Refused(11_999));
    assert_eq!(store.writes, 6, "refusals from memory write nothing");
}

#[test]
fn standings() {
    let check = |stored: u64, remaining: u32, next_ms: Option<u64>| {
        assert_eq!(FIVE_A_MINUTE.standing(stored, NOW), Standing { remaining, next_ms }, "{stored}");
    };
    check(0, 5, None);
    check(NOW, 5, None);
    check(NOW + 1, 4, Some(1));
    check(NOW + 12_000, 4, Some(12_000));
    check(NOW + 12_001, 3, Some(1));
    check(NOW + 60_000, 0, Some(12_000));
    check(NOW + 60_001, 0, Some(12_001));
    check(NOW + 65_000, 0, Some(17_000));
    let odd = Policy { name: "odd", limit: 7, window_ms: 60_000 };
    assert_eq!((odd.interval_ms(), odd.capacity_ms()), (8572, 60_004), "rounded up");
    assert!(odd.can_hold(7) && !odd.can_hold(8));
}

#[test]
fn conflicts() {
    let conflict = |stored: u64, cost: u32| FIVE_A_MINUTE.judge(stored, false, cost, NOW);
    assert_eq!(conflict(NOW, 5), Conflict::Retry);
    assert_eq!(conflict(NOW + 1, 5), Conflict::Refused { retry_after_ms: 1 });
    assert_eq!(conflict(NOW + 48_000, 1), Conflict::Retry);
    assert_eq!(conflict(NOW + 48_001, 1), Conflict::Refused { retry_after_ms: 1 });
    assert_eq!(conflict(NOW + 60_000, 2), Conflict::Refused { retry_after_ms: 24_000 });
    assert_eq!(conflict(NOW + 65_000, 1), Conflict::Refused { retry_after_ms: 17_000 });
    assert_eq!(conflict(NOW + 65_001, 1), Conflict::Impossible);
    assert_eq!(conflict(u64::MAX, 1), Conflict::Impossible);
    assert_eq!(FIVE_A_MINUTE.judge(u64::MAX, true, 1, NOW), Conflict::Ours);
}

#[test]
fn the_form_of_a_take_follows_the_bucket_as_last_seen() {
    let from_full = Take::FromFull { now_ms: NOW, new_ms: NOW + 24_000 };
    assert_eq!(FIVE_A_MINUTE.take(None, 2, NOW), from_full);
    assert_eq!(FIVE_A_MINUTE.take(Some(NOW), 2, NOW), from_full);
    let from_started = Take::FromStarted { now_ms: NOW, cost_ms: 24_000, latest_ms: NOW + 36_000 };
    assert_eq!(FIVE_A_MINUTE.take(Some(NOW + 1), 2, NOW), from_started);
}

#[test]
fn a_caller_that_is_refused_repeatedly_is_held() {
    let mut memory = RefusalMemory::default();
    assert_eq!(memory.arrival_ms("a"), None);
    // Each time another process consumes the refilled token.
    for (refusal, held_ms) in [(0, 0), (1, 1_000), (2, 1_000), (3, 1_000)] {
        let (now_ms, empty) = (NOW + refusal * 12_000, NOW + refusal * 12_000 + 60_000);
        assert_eq!(memory.refused("a", &FIVE_A_MINUTE, empty, now_ms), held_ms, "{refusal}");
        assert_eq!(memory.arrival_ms("a"), Some(empty + held_ms));
    }
    assert_eq!(memory.refused("b", &FIVE_A_MINUTE, NOW + 60_000, NOW), 0, "another caller");
    memory.admitted("a", NOW + 100_000, NOW + 40_000);
    assert_eq!(memory.refused("a", &FIVE_A_MINUTE, NOW + 100_000, NOW + 40_000), 0, "an admission ends it");

    for refusal in 0..5 {
        let now_ms = NOW + refusal * 60_000;
        assert_eq!(memory.refused("c", &FIVE_A_MINUTE, now_ms + 60_000, now_ms), 0, "and so does a full bucket");
    }
}

#[test]
fn memory_is_bounded() {
    let mut memory = RefusalMemory::default();
    for caller in 0..30_000_u64 {
        memory.admitted(&caller.to_string(), NOW + caller + 1, NOW + caller);
    }
    let known = (0..30_000).filter(|caller| memory.arrival_ms(&caller.to_string()).is_some()).count();
    assert!((1..=10_000).contains(&known), "{known}");
    assert!(memory.arrival_ms("29999").is_some());
}

#[test]
fn look_ups_are_limited_for_each_caller() {
    let mut memory = RefusalMemory::default();
    memory.admitted("a", NOW + 60_000, NOW);
    let mut count = |caller: &str, at_ms: u64| (0..100).filter(|_| memory.count_look_up(caller, NOW + at_ms)).count();
    assert_eq!(count("a", 0), 20);
    assert_eq!(count("a", 99), 0);
    assert_eq!(count("a", 1_000), 10);
    assert_eq!(count("a", 60_000), 20, "and never more at once");
    memory.admitted("a", NOW + 120_000, NOW + 60_000);
    memory.admitted("b", NOW + 120_000, NOW + 60_000);
    assert!(!memory.count_look_up("a", NOW + 60_000), "a new arrival time changes nothing");
    assert!(memory.count_look_up("b", NOW + 60_000));
}

/// One request of a schedule.
#[derive(Debug, Clone)]
struct Event {
    /// Since the one before.
    after_ms: u64,
    process: usize,
    cost: u32,
    loses_answer: bool,
    is_given_back: bool,
}

const PROCESSES: usize = 4;

fn event() -> impl Strategy<Value = Event> {
    (prop_oneof![3 => 0_u64..20, 1 => 0_u64..3000], 0..PROCESSES, 1_u32..=3, any::<bool>(), prop::bool::weighted(0.2))
        .prop_map(|(after_ms, process, cost, loses_answer, is_given_back)| Event {
            after_ms,
            process,
            cost,
            loses_answer,
            is_given_back,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// In every window of every schedule, the tokens that were consumed and not refunded are at most those that the
    /// bucket held at its beginning and those that came back in it; clock skew counts as time.
    #[test]
    fn no_window_admits_more_than_it_holds(
        events in prop::collection::vec(event(), 1..120),
        limit in 1_u32..8,
        window_ms in 1_u64..2000,
        skews in prop::collection::vec(0_u64..60, PROCESSES),
    ) {
        let policy = Policy { name: "user", limit, window_ms };
        let most_skew_ms = *skews.iter().max().unwrap();
        let mut store = Store::default();
        let mut memories: Vec<RefusalMemory> = (0..PROCESSES).map(|_| RefusalMemory::default()).collect();
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        let mut time_ms = NOW;
        for (request, event) in events.iter().enumerate() {
            time_ms += event.after_ms;
            let now_ms = time_ms + skews[event.process];
            if !policy.can_hold(event.cost) {
                continue;
            }
            let memory = &mut memories[event.process];
            let decision =
                decide(&mut store, memory, &policy, event.cost, now_ms, request as u64 + 1, event.loses_answer);
            if decision == Decision::Admitted {
                if event.is_given_back {
                    // As the table does: unless the bucket is full by now.
                    let stored = store.arrival_ms.unwrap();
                    if stored > now_ms {
                        store.arrival_ms = Some(stored - policy.cost_ms(event.cost));
                    }
                    memory.admitted("caller", store.arrival_ms.unwrap(), now_ms);
                } else {
                    admitted.push((time_ms, u64::from(event.cost)));
                }
            }
        }
        for first in 0..admitted.len() {
            let mut taken = 0;
            for (time, cost) in &admitted[first..] {
                taken += cost;
                let span_ms = time - admitted[first].0 + 2 * most_skew_ms;
                let most = u64::from(limit) + span_ms / policy.interval_ms();
                prop_assert!(taken <= most, "{taken} of {most} in {span_ms} ms: {admitted:?}");
            }
        }
    }

    /// A request at the time that a refusal gave is admitted, and one a millisecond earlier is not.
    #[test]
    fn a_refusal_is_exact(takes in prop::collection::vec((0_u64..5000, 1_u32..=3), 1..40), limit in 3_u32..8) {
        let policy = Policy { name: "user", limit, window_ms: 10_000 };
        let mut store = Store::default();
        let mut now_ms = NOW;
        let mut request = 0;
        // Every request meets a new process, which remembers nothing.
        let mut ask = |store: &mut Store, now_ms: u64, cost: u32| {
            request += 1;
            decide(store, &mut RefusalMemory::default(), &policy, cost, now_ms, request, false)
        };
        for (after_ms, cost) in takes {
            now_ms += after_ms;
            if let Decision::Refused(retry_after_ms) = ask(&mut store, now_ms, cost) {
                now_ms += retry_after_ms;
                prop_assert_eq!(ask(&mut store, now_ms - 1, cost), Decision::Refused(1));
                prop_assert_eq!(ask(&mut store, now_ms, cost), Decision::Admitted);
            }
        }
    }
}
