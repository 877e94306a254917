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
    /// The time up to which one call tries the target again, and the others wait for its result.
    tried_until_ms: u64,
    /// The time of the last failure.
    failed_at_ms: u64,
}

impl Cooldowns {
    /// No target is left out. `upstreams` is the upstream of each target.
    pub fn new(upstreams: impl IntoIterator<Item = usize>, pause_ms: u64) -> Self {
        let new = |upstream| TargetState { upstream, out_until_ms: 0, tried_until_ms: 0, failed_at_ms: 0 };
        Self { pause_ms, targets: upstreams.into_iter().map(new).collect() }
    }

    /// The place in `route` of the target to call next: the first that is not left out and that `tried` does not contain.
    /// If there is none, the first that was not tried: a call that no upstream has started costs nothing.
    pub fn next(&self, route: &[usize], tried: &[usize], now_ms: u64) -> Option<usize> {
        let mut left = (0..route.len()).filter(|place| !tried.contains(place));
        let is_in = |place: &usize| {
            let target = route.get(*place).and_then(|id| self.targets.get(*id));
            target.is_some_and(|target| {
                ![target.out_until_ms, target.tried_until_ms].iter().any(|until_ms| self.is_ahead(*until_ms, now_ms))
            })
        };
        left.clone().find(is_in).or_else(|| left.next())
    }

    /// As [`Self::next`], for a call that begins now. The end of a pause lets one call through; the others wait for its
    /// result, or for another pause.
    pub fn choose(&mut self, route: &[usize], tried: &[usize], now_ms: u64) -> Option<usize> {
        let place = self.next(route, tried, now_ms)?;
        if let Some(target) = self.targets.get_mut(*route.get(place)?)
            && target.out_until_ms > 0
        {
            target.tried_until_ms = now_ms + self.pause_ms;
            // A later time was set before the clock was set back.
            target.failed_at_ms = target.failed_at_ms.min(now_ms.saturating_sub(1));
        }
        Some(place)
    }

    /// A target did not start a call. All models of its upstream are left out, unless only this one is unavailable.
    pub fn failed(&mut self, id: usize, failure: Failure, retry_after_ms: Option<u64>, now_ms: u64) {
        let until_ms = now_ms + retry_after_ms.map_or(self.pause_ms, |ms| ms.min(MAX_PAUSE_MS));
        let Some(upstream) = self.targets.get(id).map(|target| target.upstream) else { return };
        for other in 0..self.targets.len() {
            let is_ahead = self.targets.get(other).is_some_and(|target| self.is_ahead(target.out_until_ms, now_ms));
            let Some(target) = self.targets.get_mut(other) else { return };
            if other == id || (target.upstream == upstream && failure != Failure::ModelUnavailable) {
                target.out_until_ms = if is_ahead { target.out_until_ms.max(until_ms) } else { until_ms };
                (target.tried_until_ms, target.failed_at_ms) = (0, now_ms);
            }
        }
    }

    /// A target has started a call that began at `begun_ms`. Of a failure after that it proves nothing.
    pub fn started(&mut self, id: usize, begun_ms: u64) {
        if let Some(target) = self.targets.get_mut(id)
            && begun_ms > target.failed_at_ms
        {
            (target.out_until_ms, target.tried_until_ms) = (0, 0);
        }
    }

    /// Whether a time of this state is to come. A time far ahead was set before the clock was set back.
    fn is_ahead(&self, until_ms: u64, now_ms: u64) -> bool {
        now_ms < until_ms && until_ms - now_ms <= MAX_PAUSE_MS.max(self.pause_ms)
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
        all.started(0, NOW);
        assert_eq!(chosen(&mut all, later + PAUSE_MS), [1, 1, 1], "that call began before the failure");
        all.started(0, later);
        assert_eq!(chosen(&mut all, later + PAUSE_MS), [0, 0, 0]);
    }

    #[test]
    fn a_slow_call_that_began_before_the_failure_does_not_end_the_pause() {
        let mut all = cooldowns();
        all.failed(0, Failure::Unreachable, None, NOW);
        for begun_ms in [0, NOW - 60_000, NOW] {
            all.started(0, begun_ms);
            assert_eq!(all.choose(&[0, 2], &[], NOW + 1), Some(1));
        }
        all.started(0, NOW + 1);
        assert_eq!(all.choose(&[0, 2], &[], NOW + 2), Some(0));
        // The clock is set back by an hour after the failure.
        all.failed(0, Failure::Unreachable, None, NOW);
        let now = NOW - 3_600_000;
        assert_eq!(all.choose(&[0, 2], &[], now), Some(0));
        all.started(0, now);
        assert_eq!([(); 2].map(|()| all.choose(&[0, 2], &[], now + 1)), [Some(0); 2]);
    }

    #[test]
    fn a_failure_does_not_shorten_a_pause() {
        let mut all = cooldowns();
        all.failed(0, Failure::RateLimited, Some(600_000), NOW);
        all.failed(0, Failure::Unavailable, Some(1_000), NOW + 1_000);
        all.failed(1, Failure::Unavailable, None, NOW + 2_000);
        assert_eq!(all.choose(&[0, 2], &[], NOW + 599_999), Some(1));
        // The call that tries again is no pause.
        assert_eq!(all.choose(&[0, 2], &[], NOW + 600_000), Some(0));
        all.failed(0, Failure::RateLimited, Some(2_000), NOW + 600_001);
        assert_eq!(all.next(&[0, 2], &[], NOW + 602_000), Some(1));
        assert_eq!(all.next(&[0, 2], &[], NOW + 602_001), Some(0));
    }

    #[test]
    fn if_all_are_left_out_each_is_called_once_in_order() {
        let mut all = cooldowns();
        all.failed(0, Failure::Auth, None, NOW);
        all.failed(2, Failure::RateLimited, None, NOW);
        assert_eq!(all.choose(&[0, 2], &[], NOW), Some(0));
        assert_eq!(all.choose(&[0, 2], &[0], NOW), Some(1), "the first has failed in this call");
        assert_eq!(all.choose(&[0, 2], &[1], NOW), Some(0), "the second has failed in this call");
        assert_eq!(all.choose(&[0, 2], &[0, 1], NOW), None);
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
