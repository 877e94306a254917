//! The price of a generation: one credit per picture, reserved before the call of the upstream and settled after it.
//!
//! Each reservation is a *hold* beside the balance, with its amount and its end. So no credits are lost when a function
//! dies in between: the user's next request settles the hold.

use std::collections::BTreeMap;

/// A user's credits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balance {
    /// The credits that can be reserved.
    pub credits: u64,
    /// The reserved credits, by the id of the run that reserved them.
    pub holds: BTreeMap<String, Hold>,
}

/// The credits that a run has reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Their number. The balance no longer contains them.
    pub credits: u32,
    /// The sort key of the task's record: the run may have ended and not settled.
    pub record: String,
    /// The time at which the run has certainly ended, in milliseconds since 1970.
    pub expires_ms: u64,
}

impl Balance {
    /// The holds of runs that have ended and not settled, with the ids of the runs.
    pub fn abandoned(&self, now_ms: u64) -> impl Iterator<Item = (&str, &Hold)> {
        self.holds.iter().filter(move |(_, hold)| hold.expires_ms <= now_ms).map(|(run, hold)| (run.as_str(), hold))
    }
}

/// The number of `reserved` credits that are spent: one for each delivered picture, and one for each of the `others`,
/// which the caller pays for although they were not delivered. The rest returns to the balance.
pub fn spent(reserved: u32, delivered: usize, others: u32) -> u32 {
    let delivered = u32::try_from(delivered).unwrap_or(reserved);
    reserved.min(delivered.saturating_add(others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_delivered_is_spent_and_what_is_not_comes_back() {
        assert_eq!(spent(1, 1, 0), 1);
        assert_eq!(spent(3, 2, 0), 2);
        assert_eq!(spent(3, 1, 1), 2);
        assert_eq!(spent(3, 0, 0), 0);
        assert_eq!(spent(3, 9, 0), 3, "never more than was reserved");
        assert_eq!(spent(3, 1, u32::MAX), 3);
        assert_eq!(spent(3, usize::MAX, 1), 3);
    }

    #[test]
    fn abandoned_holds() {
        let hold = |expires_ms| Hold { credits: 1, record: String::new(), expires_ms };
        let holds = [("a".to_owned(), hold(10)), ("b".to_owned(), hold(11))].into();
        let balance = Balance { credits: 0, holds };
        assert_eq!(balance.abandoned(10).collect::<Vec<_>>(), [("a", &hold(10))]);
        assert_eq!(balance.abandoned(9).count(), 0);
    }
}
