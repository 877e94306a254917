mod cancel;
mod kept;
mod limits;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join3};
use tokio::time::{Instant, timeout_at};

use super::balances::{Balances, Reserved};
use super::dynamodb::{DynamoDb, OPERATION_TIMEOUT};
use super::pictures::Pictures;
use super::rate_limit::RateLimiter;
use super::tasks::{Begun, Cursor, TaskEnd, TaskRun, Tasks, sort_key};
use crate::alarm::Alarm;
use crate::auth::{Principal, UserId};
use crate::caps::{Budget, Caps, RequestCost, Reservation, pictures_back};
use crate::config;
use crate::credits::{Hold, spent};
use crate::edge::clock::{now, unix_ms};
use crate::edge::http::new_id;
use crate::edge::metrics::expired_lease;
use crate::kept_picture::KeptPicture;
use crate::outcome::{Success, Tally};
use crate::price::Price;
use crate::problem::{Code, Detail, Problem};
use crate::rate_limit::{Policy, Standing};
use crate::task::{Replay, StoredResult, TaskRecord, TaskState};
use crate::upstream::Failure;

/// Time between the end of the longest call and the deadline, for settlement and the terminal event.
const SETTLE_MARGIN: Duration = Duration::from_secs(5);
/// Settlement ends this long before the deadline, so that the terminal event leaves in time.
const TERMINAL_MARGIN: Duration = Duration::from_secs(2);
/// The time that settlement always has: one write.
const MIN_SETTLE_TIME: Duration = OPERATION_TIMEOUT;
/// Time between the deadline and the end of the lease. The request has certainly ended before the lease does.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// A request with less time until its deadline is refused: its call would be cut off before most upstreams answer. Where
/// pictures are kept, the time for storing one is added.
const MIN_TIME_LEFT: Duration = Duration::from_secs(10);

/// Limits, tasks, credits and kept pictures.
#[derive(Debug)]
pub struct Ledger {
    limiter: RateLimiter,
    tasks: Tasks,
    /// `None` where generations cost no credits.
    balances: Option<Balances>,
    /// `None` where pictures are not kept.
    pictures: Option<Pictures>,
    user: Policy,
    guest: Policy,
    caps: Caps,
    /// The users that may not generate.
    blocked_users: Vec<UserId>,
    /// Whether requests are admitted while a table cannot be reached.
    fails_open: bool,
    longest_call: Duration,
}

/// A request that asks to be admitted.
#[derive(Debug, Clone)]
pub struct AdmitRequest<'a> {
    /// The caller.
    pub principal: &'a Principal,
    /// The route's path.
    pub route: &'static str,
    /// The task's key.
    pub task_id: &'a str,
    /// A hash of the request's content; see [`crate::task::fingerprint`].
    pub fingerprint: String,
    /// Upstream calls.
    pub calls: u32,
    /// The largest number of pictures that the calls can return.
    pub images: u32,
    /// Whether a success that consists of links is delivered again when its key is repeated.
    pub replays: bool,
    /// When the platform ends the process, where it sends that time.
    pub deadline: Option<Instant>,
}

/// What an admitted request is to do.
#[derive(Debug)]
pub enum Admitted {
    /// Call the upstream, then [`Ledger::settle`].
    Run(Box<Admission>),
    /// Deliver this earlier result again.
    Replay(Success),
}

/// A request that ends without a run.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub problem: Problem,
    /// The state of the caller's limit, where it is known. Boxed, because every `Result` would have its size.
    pub rate: Option<Box<Rate>>,
}

/// Everything that is reserved for a request that may call the upstream.
#[derive(Debug)]
pub struct Admission {
    principal: Principal,
    run: TaskRun,
    deadline: Instant,
    replays: bool,
    cost: RequestCost,
    credits_needed: u32,
    /// Tokens, pictures and a place among the running tasks. `None` where the limiter fails open.
    reservation: Option<Reservation>,
    credits_reserved: u32,
    /// Whether the task has a record. It has none where a table is unavailable and the limiter fails open.
    is_recorded: bool,
    /// The record of the attempt before.
    before: Option<TaskRecord>,
    rate: Mutex<Option<Rate>>,
}

/// What upstreams did for a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamWork {
    /// The name of the upstream that made the pictures or failed last; several names are separated by commas.
    pub upstream: String,
    /// What the pictures cost, where prices are configured.
    pub cost: Option<Price>,
}

/// The state of a caller's limit, for the headers of a response.
#[derive(Debug, Clone)]
pub struct Rate {
    /// The limit.
    pub policy: Policy,
    /// Its state.
    pub standing: Standing,
}

/// What a caller's limits leave.
#[derive(Debug, Clone)]
pub struct LimitsLeft {
    /// The token bucket.
    pub rate: Rate,
    /// Pictures in a day.
    pub daily_limit: u32,
    /// The pictures that are left in this day.
    pub daily_remaining: u32,
    /// The time until the next day.
    pub daily_reset_ms: u64,
    /// Tasks that may run at the same time.
    pub max_in_flight: u32,
    /// The number of tasks that run.
    pub in_flight: u32,
}

impl Ledger {
    /// Connects to nothing yet.
    pub fn new(config: &config::LedgerConfig, pictures: Option<Pictures>, longest_call: Duration) -> Self {
        let policy = |name, limit| Policy { name, limit, window_ms: config.window_ms };
        let dynamodb = DynamoDb::new(config.endpoint.clone());
        let table = dynamodb.table(&config.ledger_table);
        Self {
            limiter: RateLimiter::new(
                &dynamodb,
                &config.rate_limits_table,
                (config.daily_budget > 0).then_some(Budget { daily: config.daily_budget }),
                unix_ms,
            ),
            tasks: Tasks { table: table.clone(), log_days: config.log_days },
            balances: config.credits_initial.map(|initial| Balances { table, initial }),
            pictures,
            user: policy("user", config.limit),
            guest: policy("guest", config.guest_limit),
            caps: Caps { daily_limit: config.daily_limit, max_in_flight: config.max_in_flight },
            blocked_users: config.blocked_users.clone(),
            fails_open: config.fails_open,
            longest_call,
        }
    }

    /// Opens the connection that the first decision would wait for.
    pub async fn warm_up(&self) {
        let bucket = self.bucket_of("warm-up".to_owned(), &self.user);
        // The connection is open afterwards, whatever the answer is.
        let _ = self.limiter.usage(&bucket).await;
    }

    /// Admits a request, or refuses it: from memory, then by its task's key, then by the limits, then by the credits. A
    /// refused request has nothing reserved.
    ///
    /// # Errors
    /// 403 for a blocked user; 400 for more calls or pictures than the limits hold; 409, 422, 429 or 402; 503 if the
    /// budget of all callers is used up, if a table is unavailable, or if the deadline is near.
    pub async fn admit(&self, request: AdmitRequest<'_>) -> Result<Admitted, Refused> {
        self.check_time(request.deadline)?;
        if self.is_blocked(request.principal) {
            return Err(Code::UserBlocked.into());
        }
        let bucket = self.bucket(request.principal);
        let cost = RequestCost { calls: request.calls, pictures: request.images };
        let max = bucket.policy.limit.min(self.caps.daily_limit);
        if !bucket.policy.can_hold(request.calls) || self.caps.room_for(request.images).is_none() {
            return Err(Problem::invalid("/n", Detail::MoreThanLimit { max }).into());
        }
        let _turn = match self.limiter.enter(&bucket, cost).await {
            Ok(turn) => turn,
            Err((refusal, standing)) => return self.answer_from_memory(&request, &bucket, refusal, standing).await,
        };
        let mut admission = Box::new(self.admission(request));
        if let Some(replay) = self.begin(&mut admission).await? {
            return Ok(Admitted::Replay(self.with_links(&admission.run.owner, &admission.run.task_id, replay).await?));
        }
        match self.reserve(&mut admission, &bucket).await {
            Ok(()) => Ok(Admitted::Run(admission)),
            Err(problem) => Err(self.refuse(&admission, problem).await),
        }
    }

    /// Refuses a request after its admission: the upstream was not called, so everything that the admission reserved is
    /// released first.
    pub async fn refuse(&self, admission: &Admission, problem: impl Into<Problem>) -> Refused {
        let record = async {
            match admission.is_recorded {
                true => self.tasks.undo(&admission.run, admission.before.as_ref()).await,
                false => Ok(()),
            }
        };
        let limits = self.release_limits(admission, admission.cost.calls, admission.cost.pictures);
        let credits = self.settle_credits(admission, admission.credits_reserved);
        let (record, limits, credits) = join3(record, limits, credits).await;
        log_failure(record.and(limits).and(credits.map(drop)));
        Refused { problem: problem.into(), rate: admission.rate().map(Box::new) }
    }

    /// Records how the task ended, and releases its place among the running tasks and what was not used: the tokens of
    /// the calls on which the upstream provably did not start, pictures that were not made, and credits. Returns the
    /// credits that are left, where generations cost some.
    ///
    /// `kept` are the pictures of the success that are in the bucket. A failure here is logged and changes nothing for the
    /// user.
    pub async fn settle(
        &self,
        admission: &Admission,
        verdict: Result<&Success, Failure>,
        tally: Tally,
        kept: &[KeptPicture],
        work: &UpstreamWork,
    ) -> Option<u64> {
        let latest = admission.deadline.checked_sub(TERMINAL_MARGIN).unwrap_or(admission.deadline);
        let end_by = latest.max(now() + MIN_SETTLE_TIME);
        let settled = timeout_at(end_by, self.settle_all(admission, verdict, tally, kept, work)).await;
        settled.unwrap_or_else(|_| {
            log_failure(Err(Code::LimiterUnavailable));
            None
        })
    }

    async fn settle_all(
        &self,
        admission: &Admission,
        verdict: Result<&Success, Failure>,
        tally: Tally,
        kept: &[KeptPicture],
        work: &UpstreamWork,
    ) -> Option<u64> {
        let images = verdict.map_or(0, |success| success.images.len());
        let others = tally.own_faults.saturating_add(tally.abandoned_calls);
        let spent = spent(admission.credits_reserved, images, others);
        let result = verdict.ok().filter(|_| admission.replays || !kept.is_empty()).map(StoredResult::of);
        let end = TaskEnd {
            verdict: verdict.map(drop).map_err(Failure::problem),
            images: u32::try_from(images).unwrap_or(u32::MAX),
            spent,
            result: result.as_ref(),
            kept,
            work,
        };
        let record = async {
            match admission.is_recorded {
                true => self.tasks.end(&admission.run, &end, unix_ms()).await,
                false => Ok(()),
            }
        };
        let pictures = pictures_back(admission.cost, tally.unused_calls, end.images);
        let (record, limits) = join(record, self.release_limits(admission, tally.unused_calls, pictures)).await;
        // The credits follow the record, which holds what was spent: if this process dies in between, the user's next
        // request settles the hold by the record. Without a record the hold stays until the lease ends, because the
        // task may run again and would be charged twice.
        let credits = match record {
            Ok(()) => self.settle_credits(admission, admission.credits_reserved - spent).await,
            Err(code) => Err(code),
        };
        let left = credits.as_ref().ok().copied().flatten();
        log_failure(record.and(limits).and(credits.map(drop)));
        left
    }

    /// One of the caller's own tasks.
    ///
    /// # Errors
    /// 503 if the table is unavailable.
    pub async fn task(&self, principal: &Principal, task_id: &str) -> Result<Option<TaskRecord>, Code> {
        let record = self.tasks.get(&principal.to_string(), task_id).await?;
        Ok(record.map(|record| self.as_shown(record)))
    }

    /// The caller's own tasks, newest first, and the cursor of the next page.
    ///
    /// # Errors
    /// 503 if the table is unavailable.
    pub async fn tasks(
        &self,
        principal: &Principal,
        limit: u32,
        after: Option<&Cursor>,
    ) -> Result<(Vec<TaskRecord>, Option<Cursor>), Code> {
        let (records, next) = self.tasks.list(&principal.to_string(), limit, after).await?;
        Ok((records.into_iter().map(|record| self.as_shown(record)).collect(), next))
    }

    /// The caller's credits, where generations cost some.
    ///
    /// # Errors
    /// 503 if the table is unavailable.
    pub async fn credits(&self, principal: &Principal) -> Result<Option<u64>, Code> {
        match &self.balances {
            None => Ok(None),
            Some(balances) => balances.get(&principal.to_string()).await.map(Some),
        }
    }

    /// A record for its owner: without credits where generations cost none.
    pub(super) fn as_shown(&self, record: TaskRecord) -> TaskRecord {
        TaskRecord { credits: record.credits.filter(|_| self.balances.is_some()), ..record }
    }

    /// Refuses a request whose deadline is near. Without a deadline there is time.
    fn check_time(&self, deadline: Option<Instant>) -> Result<(), Code> {
        let needed = MIN_TIME_LEFT + self.pictures.as_ref().map(Pictures::put_time_limit).unwrap_or_default();
        match deadline.map(|deadline| deadline.saturating_duration_since(now())) {
            Some(left) if left < needed => {
                let left_ms = left.as_millis() as u64;
                tracing::error!(left_ms, "the function's deadline is near: a request was refused");
                Err(Code::ServiceUnavailable)
            }
            _ => Ok(()),
        }
    }

    /// The answer to a repeated key; `None` if the task is to be run, or if the table is unavailable.
    async fn look_up(&self, request: &AdmitRequest<'_>) -> Option<Result<Replay, Code>> {
        let record = self.tasks.get(&request.principal.to_string(), request.task_id).await.ok()??;
        record.repeat(&request.fingerprint, "", unix_ms()).answer()
    }

    /// An admission that has reserved nothing yet. Its deadline is the platform's, or that of the longest call.
    fn admission(&self, request: AdmitRequest<'_>) -> Admission {
        let now = now();
        let storing = self.pictures.as_ref().map(Pictures::time_limit).unwrap_or_default();
        let deadline = request.deadline.unwrap_or(now + self.longest_call + storing + SETTLE_MARGIN);
        Admission {
            principal: request.principal.clone(),
            run: TaskRun {
                owner: request.principal.to_string(),
                task_id: request.task_id.to_owned(),
                route: request.route,
                id: new_id(),
                fingerprint: request.fingerprint,
                lease_ms: unix_ms() + (deadline - now + LEASE_MARGIN).as_millis() as u64,
            },
            deadline,
            replays: request.replays,
            cost: RequestCost { calls: request.calls, pictures: request.images },
            credits_needed: self.balances.as_ref().map_or(0, |_| request.images),
            reservation: None,
            credits_reserved: 0,
            is_recorded: false,
            before: None,
            rate: Mutex::default(),
        }
    }

    /// Begins the task. Returns the earlier result instead, if there is one to deliver.
    async fn begin(&self, admission: &mut Admission) -> Result<Option<Replay>, Code> {
        match self.tasks.begin(&admission.run, unix_ms()).await {
            Ok(Begun::Run) => {
                admission.is_recorded = true;
                Ok(None)
            }
            Ok(Begun::Again(before)) => {
                self.take_over(&admission.run, &before).await?;
                admission.is_recorded = true;
                admission.before = Some(*before);
                Ok(None)
            }
            Ok(Begun::Answered(answer)) => answer.map(Some),
            Err(_) if self.fails_open && self.balances.is_none() => Ok(None),
            Err(code) => Err(code),
        }
    }

    /// Takes a failed or abandoned task over. The credits of its last run are settled first, because the record that holds
    /// what that run has spent is overwritten.
    async fn take_over(&self, run: &TaskRun, before: &TaskRecord) -> Result<(), Code> {
        if let Some(balances) = &self.balances {
            balances.settle_by_record(&run.owner, before, unix_ms()).await?;
        }
        self.tasks.take_over(run, before, unix_ms()).await?;
        if let TaskState::Running { lease_ms } = before.state {
            let age_ms = unix_ms().saturating_sub(lease_ms);
            tracing::warn!(age_ms, "the lease of a task's last run was over: its function died");
            expired_lease(age_ms);
        }
        Ok(())
    }

    /// Reserves the credits, where generations cost some.
    async fn reserve_credits(&self, admission: &mut Admission) -> Result<(), Problem> {
        let Some(balances) = &self.balances else { return Ok(()) };
        let (run, needed) = (&admission.run, admission.credits_needed);
        let hold = Hold { credits: needed, record: sort_key(&run.task_id), expires_ms: run.lease_ms };
        // Set before the call: the hold may exist even if the call returns an error.
        admission.credits_reserved = needed;
        match balances.reserve(&self.tasks, run, &hold, unix_ms()).await? {
            Reserved::Held => Ok(()),
            Reserved::TooFew { balance } => {
                admission.credits_reserved = 0;
                Err(Problem::new(Code::InsufficientCredits).detail(Detail::Credits { needed, balance }))
            }
        }
    }

    /// Ends the reservation of the credits and returns `back` of them to the balance. Returns the new balance.
    async fn settle_credits(&self, admission: &Admission, back: u32) -> Result<Option<u64>, Code> {
        match &self.balances {
            Some(balances) if admission.credits_reserved > 0 => {
                balances.settle(&admission.run.owner, &admission.run.id, back).await
            }
            _ => Ok(None),
        }
    }
}

impl Admission {
    /// When everything of this request must have ended, the terminal event included. The lease ends only after that.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The id of the run.
    pub fn run(&self) -> &str {
        &self.run.id
    }

    /// The state of the caller's limit after this request's last change to it: also [`Ledger::refuse`] and
    /// [`Ledger::settle`] change it. `None` where the limiter fails open.
    pub fn rate(&self) -> Option<Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_rate(&self, policy: &Policy, standing: Standing) {
        let rate = Rate { policy: policy.clone(), standing };
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = Some(rate);
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem, rate: None }
    }
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Problem::new(code).into()
    }
}

fn log_failure(settled: Result<(), Code>) {
    if let Err(code) = settled {
        operator_alarm!(
            Alarm::Ledger,
            code = code.as_str(),
            "a record, a refund or a settlement of credits was not written; the task and its credits stay reserved until \
             the lease ends"
        );
    }
}
