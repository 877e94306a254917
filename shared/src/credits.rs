//! What a generation costs its user: one credit a picture, reserved before the upstream is called and settled after.
//!
//! What is reserved lies in a *hold* of its own beside the balance, so a function that dies in between loses nothing:
//! the hold tells how much it was and when it is over, and whoever comes next gives it back.

use crate::outcome::Success;
use crate::upstream::Failure;
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

/// How many of the `reserved` credits are spent: one for each picture that was delivered, and one for each that was not
/// delivered by the user's own fault. The others come back.
///
/// Where all of `calls` have failed by that, each is spent: the same input meets the same refusal.
pub fn spent(reserved: u32, calls: u32, verdict: Result<&Success, Failure>) -> u32 {
    let spent = match verdict {
        Ok(success) => {
            let own_fault = success.failed.iter().filter(|failed| failed.failure.is_users_fault()).count();
            u32::try_from(success.images.len() + own_fault).unwrap_or(reserved)
        }
        Err(failure) if failure.is_users_fault() => calls,
        Err(_) => 0,
    };
    reserved.min(spent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Failed, Image, Source};

    #[test]
    fn what_is_delivered_is_spent_and_what_is_not_comes_back() {
        let success = |images: u32, failures: &[Failure]| Success {
            images: (0..images)
                .map(|slot| Image { slot, source: Source::Link { url: String::new(), pixels: None }, draft: false })
                .collect(),
            failed: failures.iter().map(|failure| Failed { slot: 9, failure: *failure }).collect(),
            usage: None,
        };
        assert_eq!(spent(1, 1, Ok(&success(1, &[]))), 1);
        assert_eq!(spent(3, 1, Ok(&success(2, &[Failure::Error]))), 2);
        assert_eq!(spent(3, 1, Ok(&success(1, &[Failure::ContentBlocked, Failure::Timeout]))), 2);
        assert_eq!(spent(3, 1, Ok(&success(9, &[]))), 3, "never more than was reserved");
        for failure in Failure::ALL {
            let own_fault = matches!(
                failure,
                Failure::BadRequest
                    | Failure::InputImageUnreachable
                    | Failure::ContentBlocked
                    | Failure::PayloadTooLarge
            );
            assert_eq!(spent(3, 1, Err(*failure)), u32::from(own_fault), "{failure}");
            assert_eq!(spent(4, 4, Err(*failure)), 4 * u32::from(own_fault), "{failure}");
        }
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
