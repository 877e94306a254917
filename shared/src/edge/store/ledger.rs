use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join3};
use tokio::time::Instant;

use super::balances::{Balances, Reserved};
use super::dynamodb::DynamoDb;
use super::rate_limit::{Bucket, RateLimiter};
use super::tasks::{Begun, Cursor, FinalState, TaskBegin, TaskEnd, Tasks, sort_key};
use crate::auth::Principal;
use crate::config;
use crate::credits::{Hold, spent};
use crate::edge::clock::{now, unix_ms};
use crate::edge::http::new_id;
use crate::outcome::{Success, Tally};
use crate::problem::{Code, Detail, Problem};
use crate::rate_limit::{Decision, Policy, Standing};
use crate::task::{Repeat, StoredLinks, TaskRecord};
use crate::upstream::Failure;

/// Time between the end of the longest call and the deadline, for settlement and the terminal event.
const SETTLE_MARGIN: Duration = Duration::from_secs(5);
/// Time between the deadline and the end of the lease: by then the request has ended, whatever happened to it.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Limits, tasks and credits.
#[derive(Debug)]
pub struct Ledger {
    tables: DynamoDb,
    limiter: RateLimiter,
    tasks: Tasks,
    /// `None` where generations cost no credits.
    balances: Option<Balances>,
    user: Policy,
    guest: Policy,
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
    /// A hash of what is asked for; see [`crate::task::fingerprint`].
    pub fingerprint: String,
    /// Upstream calls.
    pub calls: u32,
    /// The largest number of pictures that can come of it.
    pub images: u32,
    /// Whether a success that consists of links is delivered again when its key is repeated.
    pub replays: bool,
    /// When the platform ends the process, if it says so.
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

/// What is reserved for a request that may call the upstream.
#[derive(Debug)]
pub struct Admission {
    principal: Principal,
    route: &'static str,
    task_id: String,
    run: String,
    fingerprint: String,
    deadline: Instant,
    lease_ms: u64,
    replays: bool,
    /// Tokens that it needs.
    calls: u32,
    /// Credits that it needs.
    credits: u32,
    /// Tokens that were taken.
    tokens: u32,
    /// Credits that are reserved.
    reserved: u32,
    /// Whether the task has a record. It has none where a table could not be reached and the limiter fails open.
    is_recorded: bool,
    before: Option<TaskRecord>,
    rate: Mutex<Option<Rate>>,
}

/// The state of a caller's limit, for the headers of a response.
#[derive(Debug, Clone)]
pub struct Rate {
    /// Which limit.
    pub policy: Policy,
    /// Its state.
    pub standing: Standing,
}

impl Ledger {
    /// Connects to nothing yet.
    pub fn new(config: &config::LedgerConfig, longest_call: Duration) -> Self {
        let policy = |name, limit| Policy { name, limit, window_ms: config.window_ms };
        Self {
            tables: DynamoDb::new(config.endpoint.clone()),
            limiter: RateLimiter::new(config.rate_limits_table.clone()),
            tasks: Tasks { table: config.ledger_table.clone(), log_days: config.log_days },
            balances: config.credits_initial.map(|initial| Balances { table: config.ledger_table.clone(), initial }),
            user: policy("user", config.limit),
            guest: policy("guest", config.guest_limit),
            fails_open: config.fails_open,
            longest_call,
        }
    }

    /// Opens the connection that the first decision would wait for.
    pub async fn warm_up(&self) {
        let bucket = Bucket { key: "warm-up".to_owned(), policy: &self.user };
        // The connection is open afterwards, whatever the answer is.
        let _ = self.limiter.standing(&self.tables, &bucket).await;
    }

    /// Admits a request, or refuses it: from memory, then by its task's key, then by the limit, then by the credits.
    /// What a refused request had reserved is given back first. `rate` is set to the state of the limit, once that is
    /// known.
    ///
    /// # Errors
    /// 400 for more calls than the limit holds; 409, 422, 429 or 402; 503 if the tables cannot be asked.
    pub async fn admit(&self, request: AdmitRequest<'_>, rate: &mut Option<Rate>) -> Result<Admitted, Problem> {
        let bucket = self.bucket(request.principal);
        if !bucket.policy.can_hold(request.calls) {
            return Err(Problem::invalid("/n", Detail::MoreThanLimit { max: bucket.policy.limit }));
        }
        let _turn = match self.limiter.enter(&bucket, request.calls).await {
            Ok(turn) => turn,
            Err(refusal) => return self.refuse_from_memory(&request, &bucket, refusal, rate).await,
        };
        let mut admission = Box::new(self.admission(request));
        if let Some(repeat) = self.begin(&mut admission).await? {
            return repeat_response(repeat);
        }
        let reserved = match self.take_tokens(&mut admission, &bucket).await {
            Ok(()) => self.reserve_credits(&mut admission).await,
            Err(problem) => Err(problem),
        };
        if reserved.is_err() {
            self.undo(&admission).await;
        }
        *rate = admission.rate();
        reserved.map(|()| Admitted::Run(admission))
    }

    /// Gives everything back that an admission reserved: the upstream was not called. [`Admission::rate`] counts the
    /// tokens that came back.
    pub async fn undo(&self, admission: &Admission) {
        let owner = admission.principal.to_string();
        let begin = admission.begin(&owner, unix_ms());
        let undo = async {
            match admission.is_recorded {
                true => self.tasks.undo(&self.tables, &begin, admission.before.as_ref()).await,
                false => Ok(()),
            }
        };
        let back = self.tokens_back(admission, admission.tokens);
        let credits = self.credits_back(admission, &owner, admission.reserved);
        let (task, tokens, credits) = join3(undo, back, credits).await;
        complain(task.and(tokens).and(credits.map(drop)));
    }

    /// Records how the task ended, and gives back what was not used: the tokens of the calls on which the upstream
    /// provably did not start, and credits. Returns the credits that are left, where generations cost some.
    ///
    /// A failure here is logged and changes nothing for the user.
    pub async fn settle(&self, admission: &Admission, verdict: Result<&Success, Failure>, tally: Tally) -> Option<u64> {
        let owner = admission.principal.to_string();
        let now_ms = unix_ms();
        let images = verdict.map_or(0, |success| success.images.len());
        let spent = spent(admission.reserved, images, tally.own_faults.saturating_add(tally.abandoned_calls));
        let links = verdict.ok().filter(|_| admission.replays).and_then(StoredLinks::of);
        let end = TaskEnd {
            state: match verdict {
                Ok(_) => FinalState::Succeeded,
                Err(failure) => FinalState::Failed { code: failure.problem() },
            },
            images: u32::try_from(images).unwrap_or(u32::MAX),
            spent,
            links: links.as_ref(),
        };
        let begin = admission.begin(&owner, now_ms);
        let record = async {
            match admission.is_recorded {
                true => self.tasks.end(&self.tables, &begin, &end, now_ms).await,
                false => Ok(()),
            }
        };
        let (record, tokens) = join(record, self.tokens_back(admission, tally.unused_calls)).await;
        // After the record, which holds what was spent: if this process dies in between, the next request of this user
        // settles the hold by it. Not without the record: the task may then run again, and would be paid for twice.
        let credits = match record {
            Ok(()) => self.credits_back(admission, &owner, admission.reserved - spent).await,
            Err(code) => Err(code),
        };
        let left = credits.as_ref().ok().copied().flatten();
        complain(record.and(tokens).and(credits.map(drop)));
        left
    }

    /// One of the caller's own tasks.
    ///
    /// # Errors
    /// 503 if the table cannot be asked.
    pub async fn task(&self, principal: &Principal, task_id: &str) -> Result<Option<TaskRecord>, Problem> {
        Ok(self.tasks.get(&self.tables, &principal.to_string(), task_id).await?)
    }

    /// The caller's own tasks, newest first.
    ///
    /// # Errors
    /// 503 if the table cannot be asked.
    pub async fn tasks(
        &self,
        principal: &Principal,
        limit: u32,
        after: Option<&Cursor>,
    ) -> Result<(Vec<TaskRecord>, Option<Cursor>), Problem> {
        Ok(self.tasks.list(&self.tables, &principal.to_string(), limit, after).await?)
    }

    /// The state of the caller's limit.
    ///
    /// # Errors
    /// 503 if the table cannot be asked.
    pub async fn rate(&self, principal: &Principal) -> Result<Rate, Problem> {
        let bucket = self.bucket(principal);
        let standing = self.limiter.standing(&self.tables, &bucket).await?;
        Ok(Rate { policy: bucket.policy.clone(), standing })
    }

    /// The caller's credits, where generations cost some.
    ///
    /// # Errors
    /// 503 if the table cannot be asked.
    pub async fn credits(&self, principal: &Principal) -> Result<Option<u64>, Problem> {
        match &self.balances {
            None => Ok(None),
            Some(balances) => Ok(Some(balances.get(&self.tables, &principal.to_string()).await?)),
        }
    }

    /// The bucket that counts a caller's calls.
    fn bucket(&self, principal: &Principal) -> Bucket<'_> {
        match principal {
            Principal::User(_) => Bucket { key: principal.to_string(), policy: &self.user },
            // Guest accounts are free to make, so guests are counted by their address.
            Principal::Guest { source, .. } | Principal::Source(source) => {
                Bucket { key: Principal::Source(*source).to_string(), policy: &self.guest }
            }
        }
    }

    /// Answers a request that is refused from memory. Nothing is written. The task's record is read once, so that a
    /// repeated key gets its own answer; a caller beyond the limit of such look-ups is refused without one.
    async fn refuse_from_memory(
        &self,
        request: &AdmitRequest<'_>,
        bucket: &Bucket<'_>,
        refusal: Decision,
        rate: &mut Option<Rate>,
    ) -> Result<Admitted, Problem> {
        let repeat = match self.limiter.may_look_up(bucket) {
            true => self.look_up(request).await,
            false => None,
        };
        match repeat {
            None | Some(Repeat::Again | Repeat::Ours) => {
                *rate = Some(Rate { policy: bucket.policy.clone(), standing: refusal.standing });
                Err(limited(refusal.refused_for_ms.unwrap_or_default(), bucket.policy))
            }
            Some(repeat) => repeat_response(repeat),
        }
    }

    /// What a task's key means; `None` if it is new, or if the table cannot be asked.
    async fn look_up(&self, request: &AdmitRequest<'_>) -> Option<Repeat> {
        let record = self.tasks.get(&self.tables, &request.principal.to_string(), request.task_id).await.ok()??;
        Some(record.repeat(&request.fingerprint, "", unix_ms()))
    }

    /// An admission that has reserved nothing yet. Its deadline is the platform's, or that of the longest call.
    fn admission(&self, request: AdmitRequest<'_>) -> Admission {
        let now = now();
        let deadline = request.deadline.unwrap_or(now + self.longest_call + SETTLE_MARGIN);
        Admission {
            principal: request.principal.clone(),
            route: request.route,
            task_id: request.task_id.to_owned(),
            run: new_id(),
            fingerprint: request.fingerprint,
            deadline,
            lease_ms: unix_ms() + (deadline - now + LEASE_MARGIN).as_millis() as u64,
            replays: request.replays,
            calls: request.calls,
            credits: self.balances.as_ref().map_or(0, |_| request.images),
            tokens: 0,
            reserved: 0,
            is_recorded: false,
            before: None,
            rate: Mutex::default(),
        }
    }

    /// Begins the task. Returns what its key means, if it is not to be run.
    async fn begin(&self, admission: &mut Admission) -> Result<Option<Repeat>, Code> {
        let owner = admission.principal.to_string();
        match self.tasks.begin(&self.tables, &admission.begin(&owner, unix_ms())).await {
            Ok(Begun::Run { before }) => {
                admission.is_recorded = true;
                admission.before = before;
                Ok(None)
            }
            Ok(Begun::Not(repeat)) => Ok(Some(repeat)),
            Err(_) if self.fails_open && self.balances.is_none() => Ok(None),
            Err(code) => Err(code),
        }
    }

    /// Takes the tokens of the calls. After an error they count as not taken: the write may have been applied, but what
    /// is given back without having been taken would be a call too many.
    async fn take_tokens(&self, admission: &mut Admission, bucket: &Bucket<'_>) -> Result<(), Problem> {
        let decision = match self.limiter.take(&self.tables, bucket, admission.calls, &admission.run).await {
            Ok(decision) => decision,
            Err(_) if self.fails_open => return Ok(()),
            Err(code) => return Err(code.into()),
        };
        admission.set_rate(bucket.policy, decision.standing);
        if let Some(retry_after_ms) = decision.refused_for_ms {
            return Err(limited(retry_after_ms, bucket.policy));
        }
        admission.tokens = admission.calls;
        Ok(())
    }

    /// Reserves the credits, where generations cost some.
    async fn reserve_credits(&self, admission: &mut Admission) -> Result<(), Problem> {
        let Some(balances) = &self.balances else { return Ok(()) };
        let (owner, credits) = (admission.principal.to_string(), admission.credits);
        let record = sort_key(&admission.task_id);
        let hold = Hold { credits, record, expires_ms: admission.lease_ms };
        // Set before the call: the hold may exist even if the call returns an error.
        admission.reserved = credits;
        match balances.reserve(&self.tables, &self.tasks, &owner, &admission.run, hold, unix_ms()).await? {
            Reserved::Held => Ok(()),
            Reserved::TooFew { balance } => {
                admission.reserved = 0;
                Err(Problem::new(Code::InsufficientCredits).detail(Detail::Credits { needed: credits, balance }))
            }
        }
    }

    async fn tokens_back(&self, admission: &Admission, tokens: u32) -> Result<(), Code> {
        let tokens = tokens.min(admission.tokens);
        if tokens == 0 {
            return Ok(());
        }
        let bucket = self.bucket(&admission.principal);
        let standing = self.limiter.give_back(&self.tables, &bucket, tokens, &admission.run).await?;
        admission.set_rate(bucket.policy, standing);
        Ok(())
    }

    async fn credits_back(&self, admission: &Admission, owner: &str, back: u32) -> Result<Option<u64>, Code> {
        match &self.balances {
            Some(balances) if admission.reserved > 0 => {
                balances.settle(&self.tables, owner, &admission.run, back).await
            }
            _ => Ok(None),
        }
    }
}

impl Admission {
    /// When everything of this request must have ended, the terminal event included. Its lease ends only after that.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The state of the caller's limit after this request's last change to it: also [`Ledger::undo`] and
    /// [`Ledger::settle`] change it. `None` where the limiter fails open.
    pub fn rate(&self) -> Option<Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_rate(&self, policy: &Policy, standing: Standing) {
        let rate = Rate { policy: policy.clone(), standing };
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = Some(rate);
    }

    fn begin<'a>(&'a self, owner: &'a str, now_ms: u64) -> TaskBegin<'a> {
        TaskBegin {
            owner,
            task_id: &self.task_id,
            route: self.route,
            run: &self.run,
            fingerprint: &self.fingerprint,
            lease_ms: self.lease_ms,
            now_ms,
        }
    }
}

/// The answer to a repeated key.
fn repeat_response(repeat: Repeat) -> Result<Admitted, Problem> {
    match repeat {
        Repeat::Replay(success) => Ok(Admitted::Replay(success)),
        Repeat::InProgress => Err(Code::TaskInProgress.into()),
        Repeat::Completed => Err(Code::TaskAlreadyCompleted.into()),
        Repeat::Reused => Err(Code::TaskIdReused.into()),
        Repeat::Ours | Repeat::Again => Err(Code::InternalError.into()),
    }
}

fn limited(retry_after_ms: u64, policy: &Policy) -> Problem {
    let detail = Detail::RateLimit { limit: policy.limit, window_ms: policy.window_ms };
    Problem::new(Code::RateLimited).with_retry_after_ms(retry_after_ms).detail(detail)
}

fn complain(settled: Result<(), Code>) {
    if let Err(code) = settled {
        tracing::error!(code = code.as_str(), "releasing tokens or credits failed; the lease will expire them");
    }
}
