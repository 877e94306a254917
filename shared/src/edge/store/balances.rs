use aws_sdk_dynamodb::types::AttributeValue;

use super::dynamodb::{Item, StoreError, TableClient, if_applied, item, number, read_number, read_text, text};
use super::expression::Expression;
use super::tasks::{TaskRun, Tasks, ledger_key};
use crate::credits::{Balance, Hold};
use crate::edge::metrics::expired_hold;
use crate::problem::Code;
use crate::task::TaskRecord;

const SORT_KEY: &str = "BAL";
/// A new balance, an abandoned hold or a conflict needs one more try each.
const MAX_TRIES: usize = 4;

/// Users' credit balances: one item each, beside the user's task records.
#[derive(Debug)]
pub(super) struct Balances {
    pub(super) table: TableClient,
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
    /// Reserves credits for a run, once however often the write is sent. Also settles the user's abandoned holds.
    pub(super) async fn reserve(
        &self,
        tasks: &Tasks,
        run: &TaskRun,
        hold: &Hold,
        now_ms: u64,
    ) -> Result<Reserved, Code> {
        for _ in 0..MAX_TRIES {
            let (item, is_held) = match self.try_reserve(run, hold).await {
                Ok(item) => (item, true),
                Err(StoreError::ConditionFailed(item)) => (item, false),
                Err(StoreError::Unavailable(code)) => return Err(code),
            };
            if !item.contains_key("holds") {
                self.open(&run.owner).await?;
                continue;
            }
            let balance = read(&item);
            let has_settled = self.settle_abandoned(tasks, run, &balance, now_ms).await?;
            if is_held || balance.holds.contains_key(&run.id) {
                return Ok(Reserved::Held);
            }
            if !has_settled {
                return Ok(Reserved::TooFew { balance: balance.credits });
            }
        }
        Err(Code::LimiterUnavailable)
    }

    /// Ends a reservation and returns `back` credits to the balance. Returns the new balance; `None` if the reservation
    /// had ended before.
    pub(super) async fn settle(&self, owner: &str, run: &str, back: u32) -> Result<Option<u64>, Code> {
        let write = Expression::default()
            .set("#credits = #credits + :back")
            .remove("#holds.#run")
            .condition("attribute_exists(#holds.#run)")
            .name("run", run)
            .value("back", number(back));
        let item = if_applied(self.table.update(key(owner), write).await)?;
        Ok(item.and_then(|item| read_number(&item, "credits")))
    }

    /// Settles the hold of a task's last run, if there still is one: the run has ended and its process died first.
    pub(super) async fn settle_by_record(&self, owner: &str, record: &TaskRecord, now_ms: u64) -> Result<(), Code> {
        let item = self.table.get(key(owner)).await?.unwrap_or_default();
        let Some(hold) = read(&item).holds.remove(&record.run) else { return Ok(()) };
        let back = hold.credits.saturating_sub(record.credits.unwrap_or_default());
        self.settle_expired(owner, &record.run, &hold, back, now_ms).await
    }

    /// An owner's balance.
    pub(super) async fn get(&self, owner: &str) -> Result<u64, Code> {
        let item = self.table.get(key(owner)).await?;
        Ok(item.map_or(self.initial, |item| read(&item).credits))
    }

    /// Moves credits from the balance to a hold. Returns the item; also the error does.
    async fn try_reserve(&self, run: &TaskRun, hold: &Hold) -> Result<Item, StoreError> {
        let stored = item([("c", number(hold.credits)), ("t", number(hold.expires_ms)), ("g", text(&hold.record))]);
        let write = Expression::default()
            .set("#credits = #credits - :cost, #holds.#run = :hold")
            .condition("#credits >= :cost AND attribute_exists(#holds) AND attribute_not_exists(#holds.#run)")
            .name("run", &run.id)
            .value("cost", number(hold.credits))
            .value("hold", AttributeValue::M(stored));
        self.table.update(key(&run.owner), write).await
    }

    /// Settles the holds that other runs have abandoned, by what their records say was spent. Returns whether there
    /// were any.
    async fn settle_abandoned(
        &self,
        tasks: &Tasks,
        run: &TaskRun,
        balance: &Balance,
        now_ms: u64,
    ) -> Result<bool, Code> {
        let mut has_settled = false;
        for (abandoned, hold) in balance.abandoned(now_ms).filter(|(abandoned, _)| *abandoned != run.id) {
            has_settled = true;
            let spent = tasks.spent(&run.owner, &hold.record, abandoned).await?;
            let back = hold.credits.saturating_sub(spent);
            self.settle_expired(&run.owner, abandoned, hold, back, now_ms).await?;
        }
        Ok(has_settled)
    }

    /// Ends the reservation of a run that has ended and not settled. It is counted once, also if several requests find it.
    async fn settle_expired(&self, owner: &str, run: &str, hold: &Hold, back: u32, now_ms: u64) -> Result<(), Code> {
        if self.settle(owner, run, back).await?.is_some() {
            let (credits, age_ms) = (hold.credits, now_ms.saturating_sub(hold.expires_ms));
            tracing::warn!(credits, age_ms, "a reservation of credits was left by a function that died");
            expired_hold(age_ms);
        }
        Ok(())
    }

    /// Creates the balance of a new user, and completes one that exists only through a grant.
    async fn open(&self, owner: &str) -> Result<(), Code> {
        let write = Expression::default()
            .set("#credits = if_not_exists(#credits, :initial), #holds = if_not_exists(#holds, :none)")
            .value("initial", number(self.initial))
            .value("none", AttributeValue::M(Item::new()));
        if_applied(self.table.update(key(owner), write).await).map(drop)
    }
}

fn key(owner: &str) -> Item {
    ledger_key(owner, SORT_KEY)
}

/// Reads a balance. Malformed credits count as none, and a malformed hold as absent.
fn read(item: &Item) -> Balance {
    let hold = |value: &AttributeValue| {
        let hold = value.as_m().ok()?;
        let record = read_text(hold, "g").unwrap_or_default().to_owned();
        Some(Hold { credits: read_number(hold, "c")?, record, expires_ms: read_number(hold, "t")? })
    };
    let holds = item.get("holds").and_then(|holds| holds.as_m().ok());
    let holds = holds.into_iter().flatten().filter_map(|(run, value)| Some((run.clone(), hold(value)?)));
    Balance { credits: read_number(item, "credits").unwrap_or_default(), holds: holds.collect() }
}
