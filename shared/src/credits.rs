//! What a generation costs its user: one credit a picture, reserved before the upstream is called and settled after.
//!
//! What is reserved lies in a *hold* of its own beside the balance, so a function that dies in between loses nothing:
//! the hold tells how much it was and when it is over, and whoever comes next gives it back.

use std::collections::BTreeMap;

/// What a user has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balance {
    /// What can be spent.
    pub credits: u64,
    /// What is reserved, by the request that reserved it.
    pub holds: BTreeMap<String, Hold>,
}

/// Credits that a request has reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// How many: they are no longer in the balance.
    pub credits: u32,
    /// Where the record of its task is: it may have ended without having settled.
    pub record: String,
    /// The request is surely gone then; milliseconds since 1970.
    pub expires_ms: u64,
}

impl Balance {
    /// The holds whose requests are gone without having settled.
    pub fn abandoned(&self, now_ms: u64) -> impl Iterator<Item = (&str, &Hold)> {
        self.holds.iter().filter(move |(_, hold)| hold.expires_ms <= now_ms).map(|(run, hold)| (run.as_str(), hold))
    }
}

/// How many of the `reserved` credits are spent: one for each whole picture and one for each that the caller pays for
/// although it did not come (`others`). The rest comes back.
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
