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
        let made = read_number(&item, "made").unwrap_or(0);
        for alarm in self.budget.alarms(made, !is_taken) {
            if !item.contains_key(attribute(alarm)) && self.take_alarm(day, alarm, &claim.run).await {
                self.log(alarm, made);
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

    /// Marks an alarm as logged. Returns whether this run is to log it: one run of the day, or more where the answer to a
    /// write is lost. Pictures that come back do not remove the mark.
    async fn take_alarm(&self, day: Day, alarm: BudgetAlarm, run: &str) -> bool {
        let mark = Expression::default()
            .set("#mark = :run")
            .condition("attribute_not_exists(#mark) OR #mark = :run")
            .name("mark", attribute(alarm))
            .value("run", text(run));
        !matches!(self.table.update(key(day), mark).await, Err(StoreError::ConditionFailed(_)))
    }

    fn log(&self, alarm: BudgetAlarm, made: u32) {
        let budget = self.budget.daily;
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

/// The mark of an alarm: the run that logs it.
fn attribute(alarm: BudgetAlarm) -> &'static str {
    match alarm {
        BudgetAlarm::Most => "alarm80",
        BudgetAlarm::All => "alarm100",
    }
}
