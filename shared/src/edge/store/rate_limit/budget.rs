use std::sync::{Mutex, PoisonError};

use super::super::dynamodb::{Item, StoreError, TableClient, if_applied, item, number, read_number, text};
use super::super::expression::Expression;
use super::{IS_NEW_RUN, SET_RUN, is_run_of};
use crate::alarm::Alarm;
use crate::caps::{Budget, BudgetAlarm, Day, LimitClaim, LimitRefusal};
use crate::problem::Code;
use crate::rate_limit::SeenRefusal;

/// The time for which the item of a day is kept after the day, in seconds.
const BUDGET_KEPT_S: u64 = 86_400;

/// The pictures of all callers in a day: one item per day, one conditional write per request.
///
/// If the answer to a write is lost and five other runs write before it is repeated, the pictures count twice. Pictures
/// that a run does not return, because its function died or the table was unavailable, stay counted. So the budget can
/// end early, and is never exceeded.
#[derive(Debug)]
pub(super) struct DailyBudget {
    table: TableClient,
    budget: Budget,
    seen: Mutex<Option<SeenRefusal>>,
}

impl DailyBudget {
    pub(super) fn new(table: TableClient, budget: Budget) -> Self {
        Self { table, budget, seen: Mutex::default() }
    }

    /// The refusal that this process remembers.
    pub(super) fn remembered_refusal(&self, pictures: u32, now_ms: u64) -> Option<LimitRefusal> {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen?.refusal(pictures, now_ms)
    }

    /// Reserves the pictures of a claim. Returns the day in which they count.
    pub(super) async fn take(&self, claim: &LimitClaim, now_ms: u64) -> Result<Result<Day, LimitRefusal>, Code> {
        let day = Day::at(now_ms);
        let pictures = claim.cost.pictures;
        let refusal = LimitRefusal::BudgetExhausted { ends_ms: day.end_ms() };
        let Some(room) = self.budget.room_for(pictures) else { return Ok(Err(refusal)) };
        let write = Expression::default()
            .set(SET_RUN)
            .assign("ttl", number(day.end_ms() / 1_000 + BUDGET_KEPT_S))
            .add("#made :pictures")
            .condition(format!("attribute_not_exists(#made) OR (#made <= :room AND {IS_NEW_RUN})"))
            .value("pictures", number(pictures))
            .value("room", number(room))
            .value("rid", text(&claim.run))
            .value("none", text("-"));
        let (item, is_taken) = match self.table.update(key(day), write).await {
            Ok(item) => (item, true),
            Err(StoreError::ConditionFailed(item)) => {
                let is_ours = is_run_of(&item, &claim.run);
                (item, is_ours)
            }
            Err(StoreError::Unavailable(code)) => return Err(code),
        };
        for alarm in self.budget.alarms(read_number(&item, "made").unwrap_or(0), !is_taken) {
            if !item.contains_key(attribute(alarm)) {
                self.alarm(day, alarm, now_ms).await;
            }
        }
        if is_taken {
            return Ok(Ok(day));
        }
        let seen = SeenRefusal::new(refusal, pictures, now_ms);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(Err(refusal))
    }

    /// Returns pictures to a day.
    pub(super) async fn give_back(&self, day: Day, pictures: u32) -> Result<(), Code> {
        let write = Expression::default()
            .set("#made = #made - :pictures")
            .condition("#made >= :pictures")
            .value("pictures", number(pictures));
        // A retry could return them twice.
        if_applied(self.table.update_once(key(day), write).await)?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// Logs an alarm, once a day: the write that marks it decides which process does. Pictures that come back do not
    /// remove the mark.
    async fn alarm(&self, day: Day, alarm: BudgetAlarm, now_ms: u64) {
        let mark = Expression::default()
            .set("#mark = :now")
            .condition("attribute_not_exists(#mark)")
            .name("mark", attribute(alarm))
            .value("now", number(now_ms));
        // If the write fails, the next request tries again.
        let Ok(Some(item)) = if_applied(self.table.update_once(key(day), mark).await) else { return };
        let (made, budget) = (read_number(&item, "made").unwrap_or(0_u32), self.budget.daily);
        match alarm {
            BudgetAlarm::Most => {
                operator_alarm!(Alarm::Budget, made, budget, "80 % of DAILY_BUDGET is used; it ends at 00:00 UTC");
            }
            BudgetAlarm::All => operator_alarm!(
                Alarm::Budget,
                made,
                budget,
                "DAILY_BUDGET does not leave enough: requests are refused with budget_exhausted until 00:00 UTC"
            ),
        }
    }
}

fn key(day: Day) -> Item {
    item([("pk", text(format!("budget:{}", day.attribute())))])
}

/// The mark of an alarm that was logged.
fn attribute(alarm: BudgetAlarm) -> &'static str {
    match alarm {
        BudgetAlarm::Most => "alarm80",
        BudgetAlarm::All => "alarm100",
    }
}
