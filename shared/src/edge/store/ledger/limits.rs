//! The limits of a request: the caller's bucket and caps, and the budget of all callers.

use super::super::rate_limit::Bucket;
use super::{Admission, AdmitRequest, Admitted, Ledger, LimitsLeft, Rate, Refused};
use crate::auth::Principal;
use crate::caps::{Day, LimitClaim, LimitRefusal};
use crate::edge::clock::unix_ms;
use crate::problem::{Code, Detail, Problem};
use crate::rate_limit::{Policy, Standing};

impl Ledger {
    /// What the caller's limits leave.
    ///
    /// # Errors
    /// 503 if the table is unavailable.
    pub async fn limits_left(&self, principal: &Principal) -> Result<LimitsLeft, Code> {
        let bucket = self.bucket(principal);
        let (standing, usage) = self.limiter.usage(&bucket).await?;
        let now_ms = unix_ms();
        Ok(LimitsLeft {
            rate: Rate { policy: bucket.policy.clone(), standing },
            daily_limit: self.caps.daily_limit,
            daily_remaining: self.caps.daily_limit.saturating_sub(usage.pictures),
            daily_reset_ms: Day::at(now_ms).end_ms() - now_ms,
            max_in_flight: self.caps.max_in_flight,
            in_flight: u32::try_from(usage.running_at(now_ms)).unwrap_or(u32::MAX),
        })
    }

    /// Whether the operator has blocked a user. A caller without a user cannot be blocked.
    pub(super) fn is_blocked(&self, principal: &Principal) -> bool {
        match principal {
            Principal::User(id) | Principal::Guest { id, .. } => self.blocked_users.contains(id),
            Principal::Source(_) => false,
        }
    }

    /// The item that counts a caller's calls, pictures and running tasks.
    pub(super) fn bucket(&self, principal: &Principal) -> Bucket<'_> {
        match principal {
            Principal::User(_) => self.bucket_of(principal.to_string(), &self.user),
            // Guest accounts are free to make, so guests are counted by their address.
            Principal::Guest { source, .. } | Principal::Source(source) => {
                self.bucket_of(Principal::Source(*source).to_string(), &self.guest)
            }
        }
    }

    pub(super) fn bucket_of<'a>(&'a self, key: String, policy: &'a Policy) -> Bucket<'a> {
        Bucket { key, policy, caps: &self.caps }
    }

    /// Answers a request that is refused from memory. Nothing is written. The task's record is read once, so that a
    /// repeated key gets its own answer; a caller beyond the limit of such look-ups is refused without one.
    pub(super) async fn answer_from_memory(
        &self,
        request: &AdmitRequest<'_>,
        bucket: &Bucket<'_>,
        refusal: LimitRefusal,
        standing: Option<Standing>,
    ) -> Result<Admitted, Refused> {
        if self.limiter.may_look_up(bucket)
            && let Some(answer) = self.look_up(request).await
        {
            let owner = request.principal.to_string();
            return Ok(Admitted::Replay(self.with_links(&owner, request.task_id, answer?).await?));
        }
        let rate = standing.map(|standing| Box::new(Rate { policy: bucket.policy.clone(), standing }));
        Err(Refused { problem: refused(refusal, bucket), rate })
    }

    /// Reserves what the calls need: the limits, then credits.
    pub(super) async fn reserve(&self, admission: &mut Admission, bucket: &Bucket<'_>) -> Result<(), Problem> {
        self.reserve_limits(admission, bucket).await?;
        self.reserve_credits(admission).await
    }

    async fn reserve_limits(&self, admission: &mut Admission, bucket: &Bucket<'_>) -> Result<(), Problem> {
        let claim = LimitClaim { run: admission.run.id.clone(), cost: admission.cost, ends_ms: admission.run.lease_ms };
        let decision = match self.limiter.take(bucket, &claim).await {
            Ok(decision) => decision,
            Err(_) if self.fails_open => return Ok(()),
            Err(code) => {
                self.limiter.undo_unconfirmed(bucket, &claim, code).await;
                return Err(code.into());
            }
        };
        admission.set_rate(bucket.policy, decision.standing);
        let mut reservation = decision.result.map_err(|refusal| refused(refusal, bucket))?;
        let of_budget = self.limiter.take_budget(&mut reservation).await;
        admission.reservation = Some(reservation);
        match of_budget {
            Ok(taken) => taken.map_err(|refusal| refused(refusal, bucket)),
            Err(_) if self.fails_open => Ok(()),
            Err(code) => Err(code.into()),
        }
    }

    /// Frees the place of the run, and returns the tokens of `calls` and a number of pictures, if they were reserved.
    pub(super) async fn release_limits(&self, admission: &Admission, calls: u32, pictures: u32) -> Result<(), Code> {
        let Some(reservation) = &admission.reservation else { return Ok(()) };
        let bucket = self.bucket(&admission.principal);
        let standing = self.limiter.release(&bucket, reservation, calls, pictures).await?;
        admission.set_rate(bucket.policy, standing);
        Ok(())
    }
}

fn refused(refusal: LimitRefusal, bucket: &Bucket<'_>) -> Problem {
    let until = |ends_ms: u64| ends_ms.saturating_sub(unix_ms());
    let Bucket { policy, caps, .. } = bucket;
    match refusal {
        LimitRefusal::RateLimit { retry_after_ms } => {
            let detail = Detail::RateLimit { limit: policy.limit, window_ms: policy.window_ms };
            Problem::new(Code::RateLimited).with_retry_after_ms(retry_after_ms).detail(detail)
        }
        LimitRefusal::DailyLimit { ends_ms } => {
            let detail = Detail::DailyLimit { limit: caps.daily_limit, ends_ms };
            Problem::new(Code::DailyLimit).with_retry_after_ms(until(ends_ms)).detail(detail)
        }
        LimitRefusal::TooManyRunning => {
            Problem::new(Code::TooManyRunning).detail(Detail::RunningTasks { max: caps.max_in_flight })
        }
        LimitRefusal::BudgetExhausted { ends_ms } => {
            Problem::new(Code::BudgetExhausted).with_retry_after_ms(until(ends_ms)).detail(Detail::Budget { ends_ms })
        }
    }
}
