//! The caps against a model of the store: several processes with different clocks, functions that die, lost answers.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::caps::{
    Budget, BudgetAlarm, Caps, Day, Finding, Lease, LimitClaim, LimitRefusal, LimitUsage, RequestCost, pictures_back,
};
use shared::rate_limit::{Policy, RefusalMemory, SeenRefusal, Take};

/// 00:00 UTC of a day.
const MIDNIGHT: u64 = 1_795_219_200_000;
const DAY_MS: u64 = 86_400_000;
const HUNDRED_A_MINUTE: Policy = Policy { name: "user", limit: 100, window_ms: 60_000 };
/// How long a lease outlives its run.
const LEASE_MARGIN_MS: u64 = 5_000;

/// A caller's item, with the conditions that a table checks.
#[derive(Debug, Default)]
struct Store {
    arrival_ms: Option<u64>,
    made: BTreeMap<Day, u32>,
    running: Vec<Lease>,
    runs: Vec<String>,
}

impl Store {
    fn usage(&self, day: Day) -> LimitUsage {
        let pictures = self.made.get(&day).copied().unwrap_or_default();
        LimitUsage { arrival_ms: self.arrival_ms.unwrap_or_default(), pictures, running: self.running.clone() }
    }

    /// The conditional write.
    fn reserve(&mut self, take: Take, caps: &Caps, claim: &LimitClaim, now_ms: u64) -> bool {
        let day = Day::at(now_ms);
        let usage = self.usage(day);
        let is_new = !self.runs.contains(&claim.run);
        let arrival_ms = match (take, self.arrival_ms) {
            (Take::FromFull { new_ms, .. }, None) => Some(new_ms),
            (Take::FromStarted { now_ms, cost_ms, .. }, None) => Some(now_ms + cost_ms),
            (Take::FromFull { now_ms, new_ms }, Some(stored)) => (stored <= now_ms && is_new).then_some(new_ms),
            (Take::FromStarted { now_ms, cost_ms, latest_ms }, Some(stored)) => {
                (stored > now_ms && stored <= latest_ms && is_new).then_some(stored + cost_ms)
            }
        };
        let has_room = caps.room_for(claim.cost.pictures).is_some_and(|room| usage.pictures <= room);
        let has_place = self.running.len() < caps.max_in_flight as usize;
        let (Some(arrival_ms), true, true) = (arrival_ms, has_room, has_place) else { return false };
        self.arrival_ms = Some(arrival_ms);
        *self.made.entry(day).or_default() += claim.cost.pictures;
        self.running.push(claim.lease());
        self.runs.insert(0, claim.run.clone());
        self.runs.truncate(5);
        let obsolete: Vec<_> = day.obsolete().collect();
        self.made.retain(|day, _| !obsolete.contains(day));
        true
    }

    /// The write that ends a reservation: only the first one does.
    fn release(&mut self, claim: &LimitClaim, day: Day, pictures: u32) {
        let lease = claim.lease();
        if self.running.contains(&lease) {
            self.running.retain(|running| *running != lease);
            *self.made.entry(day).or_default() -= pictures;
        }
    }
}

/// One decision as the edge makes it. With `loses`, the first answer of the store is lost.
fn decide(
    store: &mut Store,
    memory: &mut RefusalMemory,
    caps: &Caps,
    claim: &LimitClaim,
    now_ms: u64,
    loses: bool,
) -> Result<Day, LimitRefusal> {
    let (policy, cost) = (&HUNDRED_A_MINUTE, claim.cost);
    if let Some(refusal) = memory.refusal_by_cap("caller", cost.pictures, now_ms) {
        return Err(refusal);
    }
    let mut known_ms = memory.arrival_ms("caller");
    if loses {
        store.reserve(policy.take(known_ms, cost.calls, now_ms), caps, claim, now_ms);
    }
    for _ in 0..4 {
        if store.reserve(policy.take(known_ms, cost.calls, now_ms), caps, claim, now_ms) {
            memory.admitted("caller", store.arrival_ms.unwrap(), now_ms);
            return Ok(Day::at(now_ms));
        }
        let usage = store.usage(Day::at(now_ms));
        match caps.judge(policy, &usage, store.runs.contains(&claim.run), cost, now_ms) {
            Finding::Ours => return Ok(Day::at(now_ms)),
            Finding::Refused(refusal) => {
                memory.refused_by_cap("caller", refusal, cost.pictures, usage.arrival_ms, now_ms);
                return Err(refusal);
            }
            Finding::Abandoned => store.running.retain(|lease| !lease.is_over(now_ms)),
            Finding::Retry => known_ms = store.arrival_ms,
            Finding::Impossible => panic!("no clock is that far ahead"),
        }
    }
    panic!("a few tries are enough without other writers")
}

/// One request of a schedule.
#[derive(Debug, Clone)]
struct Request {
    after_ms: u64,
    process: usize,
    cost: RequestCost,
    loses_answer: bool,
    /// How long it runs; `None` if its function dies.
    runs_ms: Option<u64>,
    unused_calls: u32,
    delivered: u32,
}

const PROCESSES: usize = 4;

fn request() -> impl Strategy<Value = Request> {
    let cost = prop_oneof![(1_u32..=4).prop_map(|n| (n, n)), (1_u32..=3).prop_map(|pictures| (1, pictures))];
    let after_ms = prop_oneof![4 => 0_u64..3_000, 2 => 0_u64..600_000, 1 => 0_u64..DAY_MS];
    let runs_ms = prop_oneof![5 => (0_u64..60_000).prop_map(Some), 1 => Just(None)];
    (after_ms, 0..PROCESSES, cost, any::<bool>(), runs_ms, 0_u32..=4, 0_u32..=4).prop_map(
        |(after_ms, process, (calls, pictures), loses_answer, runs_ms, unused_calls, delivered)| Request {
            after_ms,
            process,
            cost: RequestCost { calls, pictures },
            loses_answer,
            runs_ms,
            unused_calls: unused_calls.min(calls),
            delivered: delivered.min(pictures),
        },
    )
}

/// A reservation that has not ended.
struct Running {
    claim: LimitClaim,
    day: Day,
    ends_at_ms: u64,
    back: u32,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Over days of requests no day has more pictures than its cap, and no moment more running tasks, whatever dies.
    #[test]
    fn no_day_and_no_moment_exceeds_its_cap(
        requests in prop::collection::vec(request(), 1..200),
        daily_limit in 4_u32..30,
        max_in_flight in 1_u32..6,
        skews in prop::collection::vec(0_u64..2_000, PROCESSES),
    ) {
        let caps = Caps { daily_limit, max_in_flight };
        let mut store = Store::default();
        let mut memories: Vec<RefusalMemory> = (0..PROCESSES).map(|_| RefusalMemory::default()).collect();
        let mut running: Vec<Running> = Vec::new();
        // What an observer counts: pictures that were reserved and not returned.
        let mut counted: BTreeMap<Day, u32> = BTreeMap::new();
        let mut time_ms = MIDNIGHT - 3_000;
        for (number, request) in requests.iter().enumerate() {
            time_ms += request.after_ms;
            let (ended, others): (Vec<_>, Vec<_>) = running.into_iter().partition(|run| run.ends_at_ms <= time_ms);
            running = others;
            for run in ended {
                // The write is sent twice.
                store.release(&run.claim, run.day, run.back);
                store.release(&run.claim, run.day, run.back);
                *counted.get_mut(&run.day).unwrap() -= run.back;
            }
            let now_ms = time_ms + skews[request.process];
            let longest_ms = request.runs_ms.unwrap_or(60_000) + LEASE_MARGIN_MS;
            let claim = LimitClaim { run: format!("run-{number}"), cost: request.cost, ends_ms: now_ms + longest_ms };
            let memory = &mut memories[request.process];
            match decide(&mut store, memory, &caps, &claim, now_ms, request.loses_answer) {
                Ok(day) => {
                    *counted.entry(day).or_default() += request.cost.pictures;
                    if let Some(runs_ms) = request.runs_ms {
                        let back = pictures_back(request.cost, request.unused_calls, request.delivered);
                        running.push(Running { claim, day, ends_at_ms: time_ms + runs_ms, back });
                    }
                }
                Err(LimitRefusal::DailyLimit { ends_ms }) => prop_assert_eq!(ends_ms, Day::at(now_ms).end_ms()),
                Err(refusal) => prop_assert_eq!(refusal, LimitRefusal::TooManyRunning),
            }
            prop_assert!(running.len() <= max_in_flight as usize, "{} tasks run", running.len());
            for (day, pictures) in &counted {
                prop_assert!(*pictures <= daily_limit, "{pictures} pictures in {day:?}");
            }
            let today = Day::at(now_ms);
            prop_assert_eq!(store.made.get(&today).copied(), counted.get(&today).copied());
        }
    }

    /// A caller that its day refuses is admitted when the day ends, and not before; and one that its running tasks refuse
    /// when the lease of one is over.
    #[test]
    fn a_refusal_ends_at_its_time(at_ms in 0_u64..DAY_MS - 10_000, made in 0_u32..=5, pictures in 1_u32..=3) {
        let now_ms = MIDNIGHT + at_ms;
        let (caps, day) = (Caps { daily_limit: 5, max_in_flight: 1 }, Day::at(now_ms));
        let cost = RequestCost { calls: 1, pictures };
        let claim = |ends_ms| LimitClaim { run: format!("run-{ends_ms}"), cost, ends_ms };
        let ask = |store: &mut Store, now_ms| {
            decide(store, &mut RefusalMemory::default(), &caps, &claim(now_ms + 5_000), now_ms, false)
        };
        let mut store = Store { made: [(day, made)].into(), ..Store::default() };
        if made + pictures > 5 {
            for now_ms in [now_ms, day.end_ms() - 1] {
                prop_assert_eq!(ask(&mut store, now_ms), Err(LimitRefusal::DailyLimit { ends_ms: day.end_ms() }));
            }
            prop_assert!(ask(&mut store, day.end_ms()).is_ok());
        } else {
            prop_assert!(ask(&mut store, now_ms).is_ok());
            // It dies. Its pictures stay counted in this day.
            let busy = ask(&mut store, now_ms + 4_999).unwrap_err();
            if made + 2 * pictures <= 5 {
                prop_assert_eq!(busy, LimitRefusal::TooManyRunning);
                prop_assert!(ask(&mut store, now_ms + 5_000).is_ok());
                prop_assert_eq!(store.running.len(), 1);
            } else {
                prop_assert_eq!(busy, LimitRefusal::DailyLimit { ends_ms: day.end_ms() });
            }
        }
    }

    /// Whatever is reserved and returned, each alarm of a day is due once, at the first picture that reaches its share.
    #[test]
    fn a_budget_is_never_exceeded_and_alarms_once(
        steps in prop::collection::vec((1_u32..=4, 0_u32..=4), 1..300),
        daily in 1_u32..200,
    ) {
        let budget = Budget { daily };
        let (mut used, mut logged) = (0, Vec::new());
        for (pictures, back) in steps {
            let is_taken = budget.room_for(pictures).is_some_and(|room| used <= room);
            if is_taken {
                used += pictures;
            }
            prop_assert!(used <= daily);
            let due: Vec<_> = budget.alarms(used, !is_taken).filter(|alarm| !logged.contains(alarm)).collect();
            let is_over = |percent| u64::from(used) * 100 >= u64::from(daily) * percent;
            if due.contains(&BudgetAlarm::Most) {
                prop_assert!(is_over(80));
            }
            if due.contains(&BudgetAlarm::All) {
                prop_assert!(is_over(100) || !is_taken);
            }
            logged.extend(due);
            prop_assert_eq!(is_over(80) && !logged.contains(&BudgetAlarm::Most), false);
            if is_taken {
                used -= back.min(pictures);
            }
        }
    }
}

#[test]
fn a_refusal_by_a_cap_is_remembered_for_a_short_time() {
    let ends_ms = MIDNIGHT + 1_500;
    let day = SeenRefusal::new(LimitRefusal::DailyLimit { ends_ms }, 3, MIDNIGHT);
    let refusal = Some(LimitRefusal::DailyLimit { ends_ms });
    assert_eq!((day.refusal(3, MIDNIGHT), day.refusal(4, ends_ms - 1)), (refusal, refusal));
    assert_eq!(day.refusal(2, MIDNIGHT), None, "fewer pictures may fit");
    assert_eq!(day.refusal(3, ends_ms), None, "another day");
    let running = SeenRefusal::new(LimitRefusal::TooManyRunning, 3, MIDNIGHT);
    assert_eq!(running.refusal(1, MIDNIGHT + 1_999), Some(LimitRefusal::TooManyRunning), "any request needs a place");
    assert_eq!(running.refusal(1, MIDNIGHT + 2_000), None);

    let mut memory = RefusalMemory::default();
    memory.refused_by_cap("a", LimitRefusal::TooManyRunning, 1, 0, MIDNIGHT);
    assert_eq!(memory.refusal_by_cap("a", 1, MIDNIGHT), Some(LimitRefusal::TooManyRunning));
    assert_eq!(memory.refusal_by_cap("b", 1, MIDNIGHT), None);
    memory.admitted("a", 0, MIDNIGHT);
    assert_eq!(memory.refusal_by_cap("a", 1, MIDNIGHT), None, "a place was freed in this process");
    let look_ups = (0..100).filter(|_| memory.count_look_up("c", MIDNIGHT)).count();
    assert_eq!(look_ups, 20, "also of a caller that was not known");
}
