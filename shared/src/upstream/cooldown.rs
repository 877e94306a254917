//! Which upstreams are left out for a while, after calls that they did not start. Time is an argument.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::Failure;

/// The longest time that `Retry-After` leaves an upstream out.
const MAX_PAUSE_MS: u64 = 600_000;

/// The state of all targets: of each model of each upstream.
#[derive(Debug, Clone)]
pub struct Cooldowns {
    pause_ms: u64,
    targets: Vec<TargetState>,
}

#[derive(Debug, Clone)]
struct TargetState {
    upstream: usize,
    /// In milliseconds since 1970; 0 if the target is not left out.
    out_until_ms: u64,
}

impl Cooldowns {
    /// No target is left out. `upstreams` is the upstream of each target.
    pub fn new(upstreams: impl IntoIterator<Item = usize>, pause_ms: u64) -> Self {
        let targets = upstreams.into_iter().map(|upstream| TargetState { upstream, out_until_ms: 0 }).collect();
        Self { pause_ms, targets }
    }

    /// The place in `route` of the target to call next: the first that is not left out and that `tried` does not contain.
    /// If there is none, the first of the route, unless it was tried.
    ///
    /// The end of a pause lets one call through; the others wait for its result, or for another pause.
    pub fn choose(&mut self, route: &[usize], tried: &[usize], now_ms: u64) -> Option<usize> {
        for (place, id) in route.iter().enumerate().filter(|(place, _)| !tried.contains(place)) {
            let Some(target) = self.targets.get_mut(*id) else { continue };
            // A time far ahead was set before the clock was set back.
            let is_out =
                now_ms < target.out_until_ms && target.out_until_ms - now_ms <= MAX_PAUSE_MS.max(self.pause_ms);
            if is_out {
                continue;
            }
            if target.out_until_ms > 0 {
                target.out_until_ms = now_ms + self.pause_ms;
            }
            return Some(place);
        }
        (!route.is_empty() && !tried.contains(&0)).then_some(0)
    }

    /// A target did not start a call. All models of its upstream are left out, unless only this one is unavailable.
    pub fn failed(&mut self, id: usize, failure: Failure, retry_after_ms: Option<u64>, now_ms: u64) {
        let pause_ms = retry_after_ms.map_or(self.pause_ms, |ms| ms.min(MAX_PAUSE_MS));
        let Some(upstream) = self.targets.get(id).map(|target| target.upstream) else { return };
        for (other, target) in self.targets.iter_mut().enumerate() {
            if other == id || (target.upstream == upstream && failure != Failure::ModelUnavailable) {
                target.out_until_ms = now_ms + pause_ms;
            }
        }
    }

    /// A target has started a call.
    pub fn started(&mut self, id: usize) {
        if let Some(target) = self.targets.get_mut(id) {
            target.out_until_ms = 0;
        }
    }
}

/// The pause that a `Retry-After` header asks for: seconds, or a date.
pub fn retry_after_ms(value: &str, now_ms: u64) -> Option<u64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let date = OffsetDateTime::parse(&value.replace("GMT", "+0000"), &Rfc2822).ok()?;
    let date_ms = u64::try_from(date.unix_timestamp()).ok()?.saturating_mul(1_000);
    Some(date_ms.saturating_sub(now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE_MS: u64 = 30_000;
    const NOW: u64 = 1_795_845_600_000;
    /// Two models of upstream 0, one of upstream 1.
    const UPSTREAMS: [usize; 3] = [0, 0, 1];

    fn cooldowns() -> Cooldowns {
        Cooldowns::new(UPSTREAMS, PAUSE_MS)
    }

    #[test]
    fn a_dead_upstream_is_left_out_with_all_its_models() {
        let mut all = cooldowns();
        assert_eq!(all.choose(&[0, 2], &[], NOW), Some(0));
        all.failed(0, Failure::Unreachable, None, NOW);
        assert_eq!(all.choose(&[0, 2], &[0], NOW), Some(1));
        for now in [NOW, NOW + PAUSE_MS - 1] {
            assert_eq!((all.choose(&[0, 2], &[], now), all.choose(&[1, 2], &[], now)), (Some(1), Some(1)));
        }
        let mut all = cooldowns();
        all.failed(0, Failure::ModelUnavailable, None, NOW);
        assert_eq!((all.choose(&[0, 2], &[], NOW), all.choose(&[1, 2], &[], NOW)), (Some(1), Some(0)));
    }

    #[test]
    fn after_the_pause_one_call_is_let_through() {
        let mut all = cooldowns();
        all.failed(0, Failure::Unavailable, None, NOW);
        let later = NOW + PAUSE_MS;
        let chosen = |all: &mut Cooldowns, now| [(); 3].map(|()| all.choose(&[0, 2], &[], now).unwrap());
        assert_eq!(chosen(&mut all, later), [0, 1, 1]);
        assert_eq!(chosen(&mut all, later + PAUSE_MS), [0, 1, 1], "the result of the first never came");
        all.started(0);
        assert_eq!(chosen(&mut all, later + PAUSE_MS), [0, 0, 0]);
    }

    #[test]
    fn if_all_are_left_out_the_first_is_called_once() {
        let mut all = cooldowns();
        all.failed(0, Failure::Auth, None, NOW);
        all.failed(2, Failure::RateLimited, None, NOW);
        assert_eq!(all.choose(&[0, 2], &[], NOW), Some(0));
        assert_eq!(all.choose(&[0, 2], &[0], NOW), None);
        assert_eq!(all.choose(&[0, 2], &[1], NOW), Some(0), "the second has failed in this call");
        assert_eq!((all.choose(&[], &[], NOW), all.choose(&[7], &[], NOW)), (None, Some(0)));
    }

    #[test]
    fn retry_after_replaces_the_pause() {
        let mut all = cooldowns();
        all.failed(0, Failure::RateLimited, Some(2_000), NOW);
        assert_eq!((all.choose(&[0, 2], &[], NOW + 1_999), all.choose(&[0, 2], &[], NOW + 2_000)), (Some(1), Some(0)));
        all.failed(0, Failure::RateLimited, Some(u64::MAX), NOW);
        let end = NOW + MAX_PAUSE_MS;
        assert_eq!((all.choose(&[0, 2], &[], end - 1), all.choose(&[0, 2], &[], end)), (Some(1), Some(0)));
        all.failed(0, Failure::RateLimited, None, NOW);
        assert_eq!(all.choose(&[0, 2], &[], NOW - 2 * MAX_PAUSE_MS), Some(0), "the clock was set back");

        let date = "Sun, 29 Nov 2026 06:00:07 GMT";
        let at = |now_ms| retry_after_ms(date, now_ms);
        assert_eq!((at(1_795_932_000_000), at(1_795_932_008_000)), (Some(7_000), Some(0)));
        assert_eq!((retry_after_ms(" 20 ", NOW), retry_after_ms("soon", NOW)), (Some(20_000), None));
    }
}
