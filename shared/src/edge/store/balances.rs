use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::dynamodb::{
    Boxed, DynamoDb, Item, StoreError, classify, code_of, failed_update, number, read_number, read_text, text,
    unless_changed,
};
use super::tasks::Tasks;
use crate::credits::{Balance, Hold};
use crate::problem::Code;

const SORT_KEY: &str = "BAL";
/// A new balance, an abandoned hold or a conflict needs one more try each.
const MAX_TRIES: usize = 4;

/// Users' credit balances: one item each, beside the user's task records.
#[derive(Debug)]
pub(super) struct Balances {
    pub(super) table: String,
    /// The balance of a new user.
    pub(super) initial: u64,
}

/// The outcome of [`Balances::reserve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserved {
    /// The credits are reserved, as a hold of this run.
    Held,
    /// The balance is too small.
    TooFew {
        /// The balance.
        balance: u64,
    },
}

impl Balances {
    /// Reserves credits for a run, once however often the write is sent. Also settles the user's expired holds.
    pub(super) async fn reserve(
        &self,
        tables: &DynamoDb,
        tasks: &Tasks,
        owner: &str,
        run: &str,
        hold: Hold,
        now_ms: u64,
    ) -> Result<Reserved, Code> {
        for _ in 0..MAX_TRIES {
            let values = HashMap::from([
                ("c".to_owned(), number(hold.credits.into())),
                ("t".to_owned(), number(hold.expires_ms)),
                ("g".to_owned(), text(&hold.record)),
            ]);
            let update = self
                .update(tables, owner)
                .await
                .update_expression("SET #credits = #credits - :cost, #holds.#run = :hold")
                .condition_expression(
                    "#credits >= :cost AND attribute_exists(#holds) AND attribute_not_exists(#holds.#run)",
                )
                .expression_attribute_names("#credits", "credits")
                .expression_attribute_names("#holds", "holds")
                .expression_attribute_names("#run", run)
                .expression_attribute_values(":cost", number(hold.credits.into()))
                .expression_attribute_values(":hold", AttributeValue::M(values))
                .return_values(ReturnValue::AllNew)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let answer: Boxed<'_, _> = Box::pin(update.send());
            let (item, is_held) = match answer.await.map_err(|error| classify(error, failed_update)) {
                Ok(answer) => (answer.attributes, true),
                Err(StoreError::ConditionFailed(item)) => (item, false),
                Err(StoreError::Unavailable(code)) => return Err(code),
            };
            let Some(balance) = item.as_ref().filter(|item| item.contains_key("holds")).map(read) else {
                self.open(tables, owner).await?;
                continue;
            };
            let mut was_abandoned = false;
            for (abandoned, hold) in balance.abandoned(now_ms).filter(|(abandoned, _)| *abandoned != run) {
                was_abandoned = true;
                let spent = tasks.spent(tables, owner, &hold.record, abandoned).await?;
                self.settle(tables, owner, abandoned, hold.credits.saturating_sub(spent)).await?;
            }
            match is_held || balance.holds.contains_key(run) {
                true => return Ok(Reserved::Held),
                false if was_abandoned => {}
                false => return Ok(Reserved::TooFew { balance: balance.credits }),
            }
        }
        Err(Code::LimiterUnavailable)
    }

    /// Ends a reservation and returns `back` credits to the balance. Returns the new balance; `None` if it had ended
    /// before.
    pub(super) async fn settle(
        &self,
        tables: &DynamoDb,
        owner: &str,
        run: &str,
        back: u32,
    ) -> Result<Option<u64>, Code> {
        let update = self
            .update(tables, owner)
            .await
            .update_expression("SET #credits = #credits + :back REMOVE #holds.#run")
            .condition_expression("attribute_exists(#holds.#run)")
            .expression_attribute_names("#credits", "credits")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#run", run)
            .expression_attribute_values(":back", number(back.into()))
            .return_values(ReturnValue::UpdatedNew);
        let answer: Boxed<'_, _> = Box::pin(update.send());
        let answer = unless_changed(answer.await.map_err(|error| classify(error, failed_update)))?;
        Ok(answer.and_then(|answer| read_number(answer.attributes()?, "credits")))
    }

    /// An owner's balance.
    pub(super) async fn get(&self, tables: &DynamoDb, owner: &str) -> Result<u64, Code> {
        let get = tables
            .client()
            .await
            .get_item()
            .table_name(&self.table)
            .key("pk", text(owner))
            .key("sk", text(SORT_KEY))
            .consistent_read(true);
        let answer: Boxed<'_, _> = Box::pin(get.send());
        let answer = answer.await.map_err(|error| code_of(classify(error, |_| None)))?;
        Ok(answer.item().map_or(self.initial, |item| read(item).credits))
    }

    /// Creates the balance of a new user, and completes one that exists only through a grant.
    async fn open(&self, tables: &DynamoDb, owner: &str) -> Result<(), Code> {
        let update = self
            .update(tables, owner)
            .await
            .update_expression(
                "SET #credits = if_not_exists(#credits, :initial), #holds = if_not_exists(#holds, :none)",
            )
            .expression_attribute_names("#credits", "credits")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_values(":initial", number(self.initial))
            .expression_attribute_values(":none", AttributeValue::M(HashMap::new()));
        let answer: Boxed<'_, _> = Box::pin(update.send());
        unless_changed(answer.await.map_err(|error| classify(error, failed_update)))?;
        Ok(())
    }

    async fn update(&self, tables: &DynamoDb, owner: &str) -> UpdateItemFluentBuilder {
        let update = tables.client().await.update_item().table_name(&self.table);
        update.key("pk", text(owner)).key("sk", text(SORT_KEY))
    }
}

fn read(item: &Item) -> Balance {
    let hold = |value: &AttributeValue| {
        let hold = value.as_m().ok()?;
        let credits = u32::try_from(read_number(hold, "c")?).ok()?;
        let record = read_text(hold, "g").unwrap_or_default().to_owned();
        Some(Hold { credits, record, expires_ms: read_number(hold, "t")? })
    };
    let holds = item.get("holds").and_then(|holds| holds.as_m().ok());
    let holds = holds.into_iter().flatten().filter_map(|(run, value)| Some((run.clone(), hold(value)?)));
    Balance { credits: read_number(item, "credits").unwrap_or_default(), holds: holds.collect() }
}
