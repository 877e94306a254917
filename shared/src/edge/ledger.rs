use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join3};
use tokio::time::Instant;

use super::balances::{Balances, Reserved};
use super::clock::{self, unix_ms};
use super::limits::{Limits, Taken};
use super::reply::new_id;
use super::tables::Tables;
use super::tasks::{Begin, Begun, Cursor, End, Tasks, sort_key};
use super::turns::Turns;
use crate::auth::Principal;
use crate::config;
use crate::credits::{Hold, spent};
use crate::outcome::{Success, Tally};
use crate::problem::{Code, Detail, Problem};
use crate::quota::{Policy, Standing};
use crate::task::{Links, Record, Repeat, State};
use crate::upstream::Failure;

/// After a deadline that is known, and after the longest call where none is.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// More tasks than this are not remembered at once.
const MAX_BEGUN: usize = 10_000;

/// Everything that is counted and written down: limits, tasks, credits.
#[derive(Debug)]
pub struct Ledger {
    tables: Tables,
    limits: Limits,
    tasks: Tasks,
    /// Where generations cost credits.
    balances: Option<Balances>,
    user: Policy,
    guest: Policy,
    /// Whether a table that cannot be reached lets everybody in.
    fails_open: bool,
    longest_call: Duration,
    /// Tasks that this process has begun.
    begun: Mutex<HashSet<String>>,
    turns: Turns,
}

/// What a request wants to do.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// The route's path.
    pub route: &'static str,
    /// The task's key.
    pub task_id: &'a str,
    /// What is asked, as a hash; see [`crate::task::fingerprint`].
    pub fingerprint: String,
    /// Upstream calls.
    pub calls: u32,
    /// The most pictures that can come of it.
    pub images: u32,
    /// Whether a success that consists of links is told again when its key comes again.
    pub replays: bool,
    /// When the platform ends us, if it says so.
    pub deadline: Option<Instant>,
}

/// What a request may do.
#[derive(Debug)]
pub enum Admitted {
    /// Call the upstream, then [`Ledger::settle`].
    Run(Box<Admission>),
    /// Tell again what was delivered before.
    Replay(Success),
}

/// What was taken for a request that may call the upstream.
#[derive(Debug)]
pub struct Admission {
    principal: Principal,
    route: &'static str,
    task_id: String,
    run: String,
    fingerprint: String,
    lease_ms: u64,
    replays: bool,
    /// Tokens.
    tokens: u32,
    /// Credits.
    reserved: u32,
    /// Whether the task is written down: not where a table could not be reached and all are let in.
    is_recorded: bool,
    before: Option<Record>,
}

/// How a caller's limit stands, for the headers of a response.
#[derive(Debug, Clone)]
pub struct Rate {
    /// Which limit.
    pub policy: Policy,
    /// How it stands.
    pub standing: Standing,
}

impl Ledger {
    /// Nothing is asked yet.
    pub fn new(config: &config::Ledger, longest_call: Duration) -> Self {
        let policy = |name, limit| Policy { name, limit, window_ms: config.window_ms };
        Self {
            tables: Tables::new(config.endpoint.clone()),
            limits: Limits::new(config.rate_limits_table.clone()),
            tasks: Tasks { table: config.ledger_table.clone(), log_days: config.log_days },
            balances: config.credits_initial.map(|initial| Balances { table: config.ledger_table.clone(), initial }),
            user: policy("user", config.limit),
            guest: policy("guest", config.guest_limit),
            fails_open: config.fails_open,
            longest_call,
            begun: Mutex::default(),
            turns: Turns::default(),
        }
    }

    /// Opens the connection that the first decision would wait for.
    pub async fn warm_up(&self) {
        // An answer or none: both have opened it.
        let _ = self.limits.standing(&self.tables, "warm-up", &self.user).await;
    }

    /// Lets a request run, or says why not: refused from memory, the task's key, the limit, the credits. `rate` is how
    /// the limit stands, once that was asked. What a refusal has taken is given back before it is told.
    ///
    /// # Errors
    /// 409, 422, 429 or 402 for the caller; 503 if the tables cannot be asked.
    pub async fn admit(&self, wanted: Wanted<'_>, rate: &mut Option<Rate>) -> Result<Admitted, Problem> {
        let (policy, bucket) = self.limit_of(wanted.principal);
        if !policy.can_hold(wanted.calls) {
            return Err(Problem::new(Code::InvalidRequest).detail(Detail::MoreThanLimit { max: policy.limit }));
        }
        let mut note = |taken: &Taken| *rate = Some(Rate { policy: policy.clone(), standing: taken.standing });
        let refusal = || self.limits.refusal(&bucket, policy, wanted.calls);
        let _turn = match refusal() {
            Some(_) => None,
            None => Some(self.turns.wait(&bucket).await),
        };
        if let Some(taken) = refusal()
            && let Some(retry_after_ms) = taken.refused_for_ms
        {
            // Who may only want to hear again what he has, or that it runs, is not kept from that.
            match self.seen(&wanted).await {
                Some(Repeat::Again | Repeat::Ours) | None => {
                    note(&taken);
                    return Err(limited(retry_after_ms, policy));
                }
                Some(repeat) => return told(repeat),
            }
        }

        let now_ms = unix_ms();
        let left = wanted.deadline.map_or(self.longest_call, |deadline| deadline - clock::now());
        let mut admission = Box::new(Admission {
            principal: wanted.principal.clone(),
            route: wanted.route,
            task_id: wanted.task_id.to_owned(),
            run: new_id(),
            fingerprint: wanted.fingerprint,
            lease_ms: now_ms + (left + LEASE_MARGIN).as_millis() as u64,
            replays: wanted.replays,
            tokens: wanted.calls,
            reserved: 0,
            is_recorded: true,
            before: None,
        });
        let owner = wanted.principal.to_string();
        match self.tasks.begin(&self.tables, &admission.begin(&owner, now_ms)).await {
            Ok(Begun::Run { before }) => {
                admission.before = before;
                let mut begun = self.begun();
                if begun.len() >= MAX_BEGUN {
                    begun.clear();
                }
                begun.insert(begun_name(&owner, wanted.task_id));
            }
            Ok(Begun::Not(repeat)) => return told(repeat),
            Err(_) if self.fails_open && self.balances.is_none() => admission.is_recorded = false,
            Err(code) => return Err(code.into()),
        }
        match self.limits.take(&self.tables, &bucket, policy, wanted.calls, &admission.run).await {
            Ok(taken) => {
                note(&taken);
                if let Some(retry_after_ms) = taken.refused_for_ms {
                    admission.tokens = 0;
                    self.undo(&admission).await;
                    return Err(limited(retry_after_ms, policy));
                }
            }
            Err(_) if self.fails_open => admission.tokens = 0,
            Err(problem) => {
                // It may have been taken; nobody knows. What is given back twice would be too much.
                admission.tokens = 0;
                self.undo(&admission).await;
                return Err(problem);
            }
        }
        if let Some(balances) = &self.balances {
            let record = sort_key(wanted.task_id);
            let hold = Hold { credits: wanted.images, record, expires_ms: admission.lease_ms };
            // Also where nobody can tell whether it was.
            admission.reserved = wanted.images;
            let reserve = balances.reserve(&self.tables, &self.tasks, &owner, &admission.run, hold, now_ms);
            let refusal = match reserve.await {
                Ok(Reserved::Held) => None,
                Ok(Reserved::TooFew { balance }) => {
                    admission.reserved = 0;
                    let detail = Detail::Credits { needed: wanted.images, balance };
                    Some(Problem::new(Code::InsufficientCredits).detail(detail))
                }
                Err(code) => Some(code.into()),
            };
            if let Some(problem) = refusal {
                self.undo(&admission).await;
                return Err(problem);
            }
        }
        Ok(Admitted::Run(admission))
    }

    /// Makes everything undone: the upstream was not called.
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

    /// Writes down how it ended, and gives back what was not used: the tokens of the calls on which the upstream
    /// provably did not start, and credits. Returns what credits are left, where generations cost some.
    ///
    /// What fails here is logged and changes nothing for the user.
    pub async fn settle(&self, admission: &Admission, verdict: Result<&Success, Failure>, tally: Tally) -> Option<u64> {
        let owner = admission.principal.to_string();
        let now_ms = unix_ms();
        let images = verdict.map_or(0, |success| success.images.len());
        let spent = spent(admission.reserved, images, tally.own_faults.saturating_add(tally.abandoned_calls));
        let links = verdict.ok().filter(|_| admission.replays).and_then(Links::of);
        let end = End {
            state: match verdict {
                Ok(_) => State::Succeeded,
                Err(failure) => State::Failed { code: Some(failure.problem()) },
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
        // After the record, which tells what was spent: whoever finds the hold, should we die before it is settled, goes
        // by that. And not without it: the task may be run again then, and its pictures would be paid twice.
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
    pub async fn task(&self, principal: &Principal, task_id: &str) -> Result<Option<Record>, Problem> {
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
    ) -> Result<(Vec<Record>, Option<Cursor>), Problem> {
        Ok(self.tasks.list(&self.tables, &principal.to_string(), limit, after).await?)
    }

    /// How the caller's limit stands.
    ///
    /// # Errors
    /// 503 if the table cannot be asked.
    pub async fn rate(&self, principal: &Principal) -> Result<Rate, Problem> {
        let (policy, bucket) = self.limit_of(principal);
        let standing = self.limits.standing(&self.tables, &bucket, policy).await?;
        Ok(Rate { policy: policy.clone(), standing })
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

    /// Which limit counts for a caller, and where.
    fn limit_of(&self, principal: &Principal) -> (&Policy, String) {
        match principal {
            Principal::User(_) => (&self.user, principal.to_string()),
            // Anybody can be a new guest at any time, but not at a new address.
            Principal::Guest { source, .. } | Principal::Source(source) => {
                (&self.guest, Principal::Source(*source).to_string())
            }
        }
    }

    /// What a key means that has come to this process before; `None` if it has not, or if that cannot be told. Who is
    /// refused from memory costs no more than that.
    async fn seen(&self, wanted: &Wanted<'_>) -> Option<Repeat> {
        let owner = wanted.principal.to_string();
        if !self.begun().contains(&begun_name(&owner, wanted.task_id)) {
            return None;
        }
        let record = self.tasks.get(&self.tables, &owner, wanted.task_id).await.ok()??;
        Some(record.repeat(&wanted.fingerprint, "", unix_ms()))
    }

    fn begun(&self) -> MutexGuard<'_, HashSet<String>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tokens_back(&self, admission: &Admission, tokens: u32) -> Result<(), Code> {
        let tokens = tokens.min(admission.tokens);
        if tokens == 0 {
            return Ok(());
        }
        let (policy, bucket) = self.limit_of(&admission.principal);
        self.limits.give_back(&self.tables, &bucket, policy, tokens, &admission.run).await
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
    fn begin<'a>(&'a self, owner: &'a str, now_ms: u64) -> Begin<'a> {
        Begin {
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

fn begun_name(owner: &str, task_id: &str) -> String {
    format!("{owner} {task_id}")
}

/// What a key that has come before is answered with.
fn told(repeat: Repeat) -> Result<Admitted, Problem> {
    match repeat {
        Repeat::Replay(success) => Ok(Admitted::Replay(success)),
        // Not the lease: most are done long before it is over.
        Repeat::InProgress { .. } => Err(Code::TaskInProgress.into()),
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
        tracing::error!(code = code.as_str(), "what a request had taken could not be settled: it expires by itself");
    }
}
