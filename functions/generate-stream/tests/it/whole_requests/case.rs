//! What a case consists of, and how it is drawn.

use dev::dynamodb::TableFault;
use dev::s3::BucketFault;
use proptest::prelude::*;

use super::script::Script;

/// Calls that a case can make of one upstream: rounds, two requests each, pictures.
const MAX_CALLS: usize = MAX_ROUNDS * 2 * MAX_PICTURES as usize;
const MAX_ROUNDS: usize = 3;
const MAX_PICTURES: u32 = 3;
/// The calls to a service among which a fault begins.
const CALLS: u32 = 12;

/// One task of one user: its key is sent once a round.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The pictures that are asked for.
    pub(super) n: u32,
    pub(super) keeps_pictures: bool,
    /// The model may send drafts, so chat holds the first picture too.
    pub(super) may_send_drafts: bool,
    pub(super) credits: u64,
    pub(super) limit: u64,
    /// A short time limit of the calls.
    pub(super) total_ms: Option<u64>,
    pub(super) upstream: Vec<Script>,
    /// A second upstream, for calls that the first one did not start.
    pub(super) second: Option<Vec<Script>>,
    pub(super) faults: Vec<Fault>,
    pub(super) rounds: Vec<Round>,
}

/// What one client does, and what others do to its task meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) form: Form,
    pub(super) reading: Reading,
    /// The user cancels the task after this time.
    pub(super) cancel_after_ms: Option<u64>,
    /// The same key is sent once more after this time, to another process.
    pub(super) again_after_ms: Option<(u64, Form)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Events,
    Links,
    Chat,
    Json,
    /// The bytes of one picture; JSON if several are asked for.
    Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    ToTheEnd,
    /// Pauses before each frame.
    Slow {
        pause_ms: u64,
    },
    /// Takes nothing for longer than `CLIENT_STALL_MS`, and then reads on.
    Stall {
        after_frames: u32,
    },
    /// Disconnects at this time after the upstream was called.
    Leave {
        after_ms: u64,
    },
    /// The process dies at this time after the request was sent.
    Die {
        after_ms: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Limits(TableFault),
    Records(TableFault),
    Balances(TableFault),
    Bucket(BucketFault),
}

/// The calls `from..from + count` to a service fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) service: Service,
    pub(super) from: u32,
    pub(super) count: u32,
}

impl Fault {
    pub(super) fn is_due(&self, call: u32) -> bool {
        (self.from..self.from + self.count).contains(&call)
    }
}

impl Form {
    pub(super) fn calls(self, n: u32) -> u32 {
        if self == Form::Chat { 1 } else { n }
    }
}

fn forms() -> impl Strategy<Value = Form> {
    prop_oneof![4 => Just(Form::Events), 2 => Just(Form::Links), 3 => Just(Form::Chat), 2 => Just(Form::Json), 1 => Just(Form::Bytes)]
}

fn readings() -> impl Strategy<Value = Reading> {
    prop_oneof![
        6 => Just(Reading::ToTheEnd),
        2 => (1..30_u64).prop_map(|pause_ms| Reading::Slow { pause_ms }),
        1 => (0..4_u32).prop_map(|after_frames| Reading::Stall { after_frames }),
        2 => (0..120_u64).prop_map(|after_ms| Reading::Leave { after_ms }),
        2 => (0..150_u64).prop_map(|after_ms| Reading::Die { after_ms }),
    ]
}

fn rounds() -> impl Strategy<Value = Round> {
    let cancel = prop::option::weighted(0.15, 0..200_u64);
    let again = prop::option::weighted(0.2, (0..80_u64, forms()));
    (forms(), readings(), cancel, again).prop_map(|(form, reading, cancel_after_ms, again_after_ms)| Round {
        form,
        reading,
        cancel_after_ms,
        again_after_ms,
    })
}

fn faults() -> impl Strategy<Value = Fault> {
    let of_table = prop_oneof![
        3 => Just(TableFault::Swallow),
        3 => Just(TableFault::Refuse),
        1 => Just(TableFault::Hang),
        1 => Just(TableFault::Throttling),
        1 => Just(TableFault::InternalServerError),
        1 => Just(TableFault::AccessDenied),
    ];
    let of_bucket = prop::sample::select(vec![
        BucketFault::Swallow,
        BucketFault::Refuse,
        BucketFault::HalfRequest,
        BucketFault::SlowDown,
        BucketFault::InternalError,
        BucketFault::AccessDenied,
        BucketFault::NotS3,
    ]);
    let service = prop_oneof![
        2 => of_table.clone().prop_map(Service::Limits),
        3 => of_table.clone().prop_map(Service::Records),
        3 => of_table.prop_map(Service::Balances),
        2 => of_bucket.prop_map(Service::Bucket),
    ];
    (service, 0..CALLS, 1..5_u32).prop_map(|(service, from, count)| match service {
        Service::Records(_) => Fault { service, from, count },
        // These have fewer calls.
        _ => Fault { service, from: from / 2, count },
    })
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let scripts = || prop::collection::vec(Script::any(), MAX_CALLS);
    let counts = (1..=MAX_PICTURES, 0..8_u64, 3..12_u64, prop::option::weighted(0.15, 100..900_u64));
    let settings = (prop::bool::ANY, prop::bool::weighted(0.3));
    let faults = prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(faults(), 1..4)];
    let rounds = prop::collection::vec(rounds(), 1..=MAX_ROUNDS);
    (counts, settings, scripts(), prop::option::weighted(0.3, scripts()), faults, rounds).prop_map(
        |((n, credits, limit, total_ms), (keeps_pictures, may_send_drafts), upstream, second, faults, rounds)| Case {
            n,
            keeps_pictures,
            may_send_drafts,
            credits,
            limit,
            total_ms,
            upstream,
            second,
            faults,
            rounds,
        },
    )
}

/// Cases that have failed once.
pub(super) fn regressions() -> Vec<Case> {
    let round = |form| Round { form, reading: Reading::ToTheEnd, cancel_after_ms: None, again_after_ms: None };
    let case = |script, rounds| Case {
        n: 1,
        keeps_pictures: false,
        may_send_drafts: true,
        credits: 5,
        limit: 5,
        total_ms: None,
        upstream: vec![script; MAX_CALLS],
        second: None,
        faults: Vec::new(),
        rounds,
    };
    let balances = |fault, from| Fault { service: Service::Balances(fault), from, count: 2 };
    // A refused attempt whose hold was not settled was charged what the attempt before it had spent.
    let unsettled = Case {
        faults: vec![balances(TableFault::Swallow, 3), balances(TableFault::Refuse, 5)],
        ..case(Script::Moderated, vec![round(Form::Events); 2])
    };
    // A picture that chat had held until the deadline of the calls was not sent, although there was time.
    let held = Case { total_ms: Some(400), ..case(Script::PictureThenStall, vec![round(Form::Chat)]) };
    let held_and_kept = Case { keeps_pictures: true, ..held.clone() };
    vec![unsettled, held, held_and_kept]
}
