use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_dynamodb::config::Config;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::clock::unix_ms;
use super::tables::{
    Boxed, Refused, Tables, failed_update, number, read_number, read_text, refused, text, trouble, unless_changed,
};
use crate::problem::{Code, Problem};
use crate::quota::{Found, Look, Memory, Policy, Standing, Take};

/// Wrong guesses and lost races, together.
const MAX_TRIES: usize = 4;

/// The token buckets: one item a caller, one conditional write a decision.
#[derive(Debug)]
pub struct Limits {
    table: String,
    memory: Mutex<Memory>,
}

/// A decision, and how the bucket stands after it.
#[derive(Debug)]
pub struct Taken {
    /// How the bucket stands now.
    pub standing: Standing,
    /// When to come back, if there was no room.
    pub refused_for_ms: Option<u64>,
}

impl Limits {
    /// The buckets in this table.
    pub fn new(table: String) -> Self {
        Self { table, memory: Mutex::default() }
    }

    /// A refusal that needs no question: how long it lasts, and how the bucket stands.
    pub(super) fn refusal(&self, bucket: &str, policy: &Policy, cost: u32) -> Option<Taken> {
        match self.memory().look(bucket, policy, cost, unix_ms()) {
            Look::Ask(_) => None,
            Look::Refuse { retry_after_ms } => Some(empty(retry_after_ms)),
        }
    }

    /// Takes `cost` tokens, if they are there. `run` is this request's own number: however often it is sent, the
    /// tokens are taken once.
    ///
    /// # Errors
    /// 503 if the table cannot be asked, or too many asked at once.
    pub async fn take(
        &self,
        tables: &Tables,
        bucket: &str,
        policy: &Policy,
        cost: u32,
        run: &str,
    ) -> Result<Taken, Problem> {
        let was_known = self.memory().knows(bucket);
        let mut guess = match self.memory().look(bucket, policy, cost, unix_ms()) {
            Look::Ask(guess) => guess,
            Look::Refuse { retry_after_ms } => return Ok(empty(retry_after_ms)),
        };
        for _ in 0..MAX_TRIES {
            let now_ms = unix_ms();
            let take = policy.take(guess, cost, now_ms);
            let item = match self.write(tables, bucket, policy, take, run).await {
                Ok(arrival_ms) => {
                    self.memory().admitted(bucket, arrival_ms, now_ms);
                    return Ok(Taken { standing: policy.standing(arrival_ms, now_ms), refused_for_ms: None });
                }
                Err(Refused::Trouble(code)) => return Err(code.into()),
                Err(Refused::Condition(item)) => item,
            };
            let Some(stored) = item.as_ref().and_then(|item| item.get("tat")) else { continue };
            let Some(stored_ms) = item.as_ref().and_then(|item| read_number(item, "tat")) else {
                self.empty(tables, bucket, policy, stored).await?;
                continue;
            };
            let is_ours = item.as_ref().and_then(|item| read_text(item, "rid")) == Some(run);
            let found = policy.judge(stored_ms, is_ours, cost, now_ms);
            if !was_known {
                self.memory().expected(stored_ms > now_ms);
            }
            match found {
                Found::Ours => {
                    self.memory().admitted(bucket, stored_ms, now_ms);
                    return Ok(Taken { standing: policy.standing(stored_ms, now_ms), refused_for_ms: None });
                }
                Found::Refused { .. } => {
                    let refused_for_ms = self.memory().refused(bucket, policy, stored_ms, cost, now_ms, chance());
                    let standing = policy.standing(stored_ms, now_ms);
                    return Ok(Taken { standing, refused_for_ms: Some(refused_for_ms) });
                }
                Found::Again(other) => guess = other,
                Found::Impossible => self.empty(tables, bucket, policy, stored).await?,
            }
        }
        tracing::warn!("a bucket was fought for, and not got");
        Err(Code::LimiterUnavailable.into())
    }

    /// Gives `cost` tokens back, at most once for each `run`.
    ///
    /// # Errors
    /// 503 if the table cannot be asked.
    pub async fn give_back(
        &self,
        tables: &Tables,
        bucket: &str,
        policy: &Policy,
        cost: u32,
        run: &str,
    ) -> Result<(), Code> {
        let now_ms = unix_ms();
        let update = tables
            .client()
            .await
            .update_item()
            .table_name(&self.table)
            .key("pk", text(bucket))
            .update_expression("SET #tat = #tat - :cost, #rfd = :rid")
            // A bucket that has filled up meanwhile has nothing to get back.
            .condition_expression("#tat > :now AND (attribute_not_exists(#rfd) OR #rfd <> :rid)")
            .expression_attribute_names("#tat", "tat")
            .expression_attribute_names("#rfd", "rfd")
            .expression_attribute_values(":cost", number(policy.cost_ms(cost)))
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":rid", text(run))
            .return_values(ReturnValue::UpdatedNew);
        // Only the last one that gave back is known, so who asks again could give back twice when others do so too.
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let answer: Boxed<'_, _> = Box::pin(update.customize().config_override(once).send());
        let answer = unless_changed(answer.await.map_err(|error| refused(error, failed_update)))?;
        if let Some(arrival_ms) = answer.as_ref().and_then(|answer| read_number(answer.attributes()?, "tat")) {
            self.memory().admitted(bucket, arrival_ms, now_ms);
        }
        Ok(())
    }

    /// How a bucket stands.
    pub(super) async fn standing(&self, tables: &Tables, bucket: &str, policy: &Policy) -> Result<Standing, Code> {
        let get = tables.client().await.get_item().table_name(&self.table).key("pk", text(bucket));
        let answer: Boxed<'_, _> = Box::pin(get.send());
        let answer = answer.await.map_err(|error| trouble(refused(error, |_| None)))?;
        let stored_ms = answer.item().and_then(|item| read_number(item, "tat")).unwrap_or_default();
        Ok(policy.standing(stored_ms, unix_ms()))
    }

    /// The arrival time that is left, if the condition held.
    async fn write(
        &self,
        tables: &Tables,
        bucket: &str,
        policy: &Policy,
        take: Take,
        run: &str,
    ) -> Result<u64, Refused> {
        let update = tables
            .client()
            .await
            .update_item()
            .table_name(&self.table)
            .key("pk", text(bucket))
            .expression_attribute_names("#tat", "tat")
            .expression_attribute_names("#rid", "rid")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":rid", text(run))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let (update, now_ms) = match take {
            Take::FromFull { now_ms, new_ms } => (
                update
                    .update_expression("SET #tat = :new, #rid = :rid, #ttl = :ttl")
                    .condition_expression("attribute_not_exists(#tat) OR (#tat <= :now AND #rid <> :rid)")
                    .expression_attribute_values(":new", number(new_ms))
                    .expression_attribute_values(":now", number(now_ms)),
                now_ms,
            ),
            Take::FromStarted { now_ms, cost_ms, latest_ms } => (
                update
                    .update_expression("SET #tat = if_not_exists(#tat, :now) + :cost, #rid = :rid, #ttl = :ttl")
                    .condition_expression(
                        "attribute_not_exists(#tat) OR (#tat > :now AND #tat <= :latest AND #rid <> :rid)",
                    )
                    .expression_attribute_values(":cost", number(cost_ms))
                    .expression_attribute_values(":latest", number(latest_ms))
                    .expression_attribute_values(":now", number(now_ms)),
                now_ms,
            ),
        };
        let update = update.expression_attribute_values(":ttl", number(policy.expires_s(now_ms)));
        let answer: Boxed<'_, _> = Box::pin(update.send());
        let answer = answer.await.map_err(|error| refused(error, failed_update))?;
        let stored = answer.attributes().and_then(|item| read_number(item, "tat"));
        stored.ok_or(Refused::Trouble(Code::LimiterUnavailable))
    }

    /// Replaces what cannot be by an empty bucket, if it still is what was seen: it fills up like any other, and gives
    /// nothing away.
    async fn empty(
        &self,
        tables: &Tables,
        bucket: &str,
        policy: &Policy,
        seen: &AttributeValue,
    ) -> Result<(), Problem> {
        tracing::error!(alarm = true, "a bucket holds what cannot be: is a clock wrong?");
        let now_ms = unix_ms();
        let update = tables
            .client()
            .await
            .update_item()
            .table_name(&self.table)
            .key("pk", text(bucket))
            .update_expression("SET #tat = :new, #rid = :none, #ttl = :ttl")
            .condition_expression("#tat = :seen")
            .expression_attribute_names("#tat", "tat")
            .expression_attribute_names("#rid", "rid")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":new", number(policy.empty_ms(now_ms)))
            .expression_attribute_values(":none", text("-"))
            .expression_attribute_values(":seen", seen.clone())
            .expression_attribute_values(":ttl", number(policy.expires_s(now_ms)));
        let answer: Boxed<'_, _> = Box::pin(update.send());
        unless_changed(answer.await.map_err(|error| refused(error, failed_update)))?;
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty(retry_after_ms: u64) -> Taken {
    let standing = Standing { remaining: 0, next_ms: Some(retry_after_ms) };
    Taken { standing, refused_for_ms: Some(retry_after_ms) }
}

/// Any number.
fn chance() -> u64 {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    high
}
