//! What must be true after a round, calculated from the scripts of the upstreams that were called.

use std::collections::BTreeSet;

use dev::client::hash;

use super::case::{Case, Form, Reading, Round};
use super::client::{Received, ReceivedPictures};
use super::script::{Facts, Script, png};
use super::stage::{Fired, Play, Snapshot};
use crate::support::{number, text};

/// A table that cannot be reached.
const UNAVAILABLE: [&str; 2] = ["limiter_unavailable", "service_unavailable"];

/// A round that was played.
pub(super) struct Played<'a> {
    pub(super) case: &'a Case,
    pub(super) round: &'a Round,
    pub(super) before: Snapshot,
    pub(super) after: Snapshot,
    /// What the upstreams did, and which pictures they sent.
    pub(super) scripts: Vec<(Script, u32)>,
    pub(super) received: Vec<Received>,
    pub(super) fired: Fired,
    /// The memory of a process may lag behind the bucket: another process has changed that, or an answer was lost.
    pub(super) memory_lags: bool,
}

impl Played<'_> {
    /// What a round was, for the counts.
    pub(super) fn kind(&self) -> &'static str {
        match (self.runs(), self.before.state()) {
            _ if self.has_died() => "killed",
            (0, "succeeded") => "repeated after success",
            (0, _) => "refused",
            _ if self.is_interrupted() => "interrupted",
            (1, _) => "run to the end",
            _ => "run twice",
        }
    }

    fn has_died(&self) -> bool {
        matches!(self.round.reading, Reading::Die { .. })
    }

    /// Something other than the upstreams may have ended calls.
    fn is_interrupted(&self) -> bool {
        let Round { reading, cancel_after_ms, .. } = self.round;
        let needs_client =
            !self.case.keeps_pictures && matches!(reading, Reading::Leave { .. } | Reading::Stall { .. });
        self.has_died() || cancel_after_ms.is_some() || self.case.total_ms.is_some() || needs_client
    }

    /// The largest number of calls of one run.
    fn calls(&self) -> u64 {
        let again = self.round.again_after_ms.map_or(0, |(_, form)| form.calls(self.case.n));
        u64::from(self.round.form.calls(self.case.n).max(again))
    }

    fn count(&self, is: impl Fn(Script) -> bool) -> u64 {
        self.scripts.iter().filter(|(script, _)| is(*script)).count() as u64
    }

    fn started(&self) -> u64 {
        self.count(|script| script.facts().is_started)
    }

    fn made(&self) -> u64 {
        self.count(|script| script.facts().is_whole)
    }

    fn runs(&self) -> u64 {
        self.after.runs().saturating_sub(self.before.runs())
    }

    /// Checks a round, all but the pictures in its responses.
    pub(super) fn check(&self) {
        self.check_calls();
        self.check_tokens();
        self.check_credits();
        self.check_record();
    }

    /// Every paid picture is one call, and a task that has succeeded is not paid again.
    fn check_calls(&self) {
        assert!(self.started() <= self.calls() * self.runs(), "calls without a run");
        assert!(self.scripts.len() as u64 <= 2 * self.calls() * self.runs(), "calls without a run");
        if self.before.state() == "succeeded" {
            assert!(self.scripts.is_empty() && self.runs() == 0, "a task that has succeeded is paid again");
        }
        if !self.is_interrupted() {
            assert!(self.made() <= self.calls(), "two runs have made pictures");
        }
    }

    fn check_tokens(&self) {
        let taken = self.after.tokens as i64 - self.before.tokens as i64;
        let started = self.started() as i64;
        if self.fired.limits == 0 && !self.is_interrupted() {
            assert_eq!(taken, started, "tokens of the calls that may have started");
        }
        let attempts = 1 + i64::from(self.round.again_after_ms.is_some());
        assert!((started..=attempts * self.calls() as i64).contains(&taken), "{taken} tokens for {started} calls");
    }

    fn check_credits(&self) {
        let spent = self.spent();
        let (made, runs) = (self.made() as i64, self.runs() as i64);
        let own_faults = self.count(|script| script.facts().is_own_fault) as i64;
        if self.fired.ledger == 0 && !self.has_died() {
            assert!(self.after.holds.is_subset(&self.before.holds), "a hold is left");
        }
        if !self.is_interrupted() {
            assert!(
                spent <= made + own_faults,
                "{spent} credits for {made} pictures and {own_faults} faults of the user"
            );
            assert!(spent == made + own_faults || self.fired.ledger > 0, "{spent} credits for {made} pictures");
        }
        assert!((0..=runs * self.calls() as i64).contains(&spent), "{spent} credits for {runs} runs");
        match runs {
            0 => assert_eq!(spent, 0, "credits without a run"),
            1 => {
                assert_eq!(spent, self.after.cost() as i64, "credits that the record does not have");
                assert!(spent >= self.after.kept().len() as i64, "a kept picture is not charged");
            }
            // The record has only the credits of the last run.
            _ => {}
        }
        if self.abandons_calls() {
            let silent = self.count(Script::is_silent) as i64;
            assert!(spent >= silent, "{spent} credits for {silent} calls that the client has abandoned");
        }
    }

    fn spent(&self) -> i64 {
        self.before.worth as i64 - self.after.worth as i64
    }

    /// The round has ended the calls that were still open.
    fn abandons_calls(&self) -> bool {
        let Round { reading, again_after_ms, .. } = self.round;
        let is_alone = again_after_ms.is_none() && self.case.total_ms.is_none() && self.fired.ledger == 0;
        let has_left = matches!(reading, Reading::Leave { .. }) && !self.case.keeps_pictures;
        let code = self.after.record.as_ref().and_then(|record| record.get("code")?.as_s().ok());
        let is_cancelled = self.runs() == 1 && code.is_some_and(|code| code == "cancelled");
        is_alone && !self.has_died() && (has_left || is_cancelled)
    }

    fn check_record(&self) {
        let kept = self.after.kept();
        if !self.case.keeps_pictures {
            assert!(kept.is_empty());
        }
        assert!(!self.scripts.is_empty() || self.runs() > 0 || kept == self.before.kept());
        let Some(record) = &self.after.record else { return };
        if self.after.state() == "failed" {
            assert!(kept.is_empty(), "a failed task lists pictures");
        }
        if self.fired.ledger > 0 || self.has_died() {
            return;
        }
        let images = number(record, "images");
        if text(record, "st") == "running" {
            // A run of an earlier round has died.
            assert!(self.runs() == 0 && images == 0);
            return;
        }
        assert_eq!(images > 0, self.after.state() == "succeeded");
        if self.runs() == 1 && !self.is_interrupted() {
            assert_eq!(images, self.made(), "the pictures in the record");
        }
        if self.runs() > 0 && self.fired.bucket == 0 && self.case.keeps_pictures {
            assert_eq!(kept.len() as u64, images, "every picture is kept");
        }
        assert!(kept.len() as u64 <= images);
    }

    /// The objects of the last run, whatever has happened to it.
    pub(super) fn check_objects(&self, play: &Play<'_>) {
        let Some(record) = &self.after.record else { return };
        let kept = self.after.kept();
        let objects = play.stage().objects(text(record, "run"));
        for (slot, sha256) in &kept {
            let key = objects.get(slot).unwrap();
            let bytes = play.stage().object(key).unwrap();
            let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash(&bytes), hex, "the object is the picture of the record");
        }
        if self.fired.ledger == 0 && self.fired.bucket == 0 && !self.has_died() && self.runs() > 0 {
            assert!(objects.keys().eq(kept.keys()), "objects {objects:?}, record {:?}", kept.keys());
        }
    }

    /// Checks the responses.
    pub(super) async fn check_received(&self) {
        let made: BTreeSet<_> =
            self.scripts.iter().filter(|(script, _)| script.facts().is_whole).map(|(_, number)| png(*number)).collect();
        let kept: BTreeSet<_> = self.before.kept().into_values().collect();
        let (mut paid, mut delivered) = (0, BTreeSet::new());
        for (at, received) in self.received.iter().enumerate() {
            let ending = received.ending();
            let pictures = received.pictures().await;
            let is_replay = !pictures.whole.is_empty() && self.before.state() == "succeeded";
            for whole in &pictures.whole {
                if is_replay {
                    assert!(kept.contains(&sha256(whole)), "a repeated key delivers a picture that is not its own");
                } else {
                    assert!(made.contains(whole.as_slice()), "a picture that no upstream has made");
                    delivered.insert(whole.clone());
                }
            }
            let once: BTreeSet<_> = pictures.whole.iter().collect();
            assert_eq!(once.len(), pictures.whole.len(), "a picture is delivered twice");
            match ending.as_deref() {
                Some("done") => assert!(!pictures.whole.is_empty(), "a success without a picture"),
                Some("stream_interrupted") => {}
                Some(_) => assert!(pictures.whole.is_empty(), "a failure with whole pictures"),
                None => {}
            }
            let form = if at == 0 { self.round.form } else { self.round.again_after_ms.unwrap().1 };
            if let Some(ending) = &ending {
                self.check_ending(at, form, ending);
            }
            if ending.as_deref() == Some("done") && !is_replay {
                paid += 1;
                self.check_success(form, &pictures, made.len());
            }
        }
        if self.fired.ledger == 0 {
            assert!(self.spent() >= delivered.len() as i64, "a delivered picture is not charged");
        }
        // Also a request that comes after the end of the other one is answered with its pictures.
        assert!(paid <= 1 || self.case.keeps_pictures, "two runs have succeeded");
    }

    /// A response whose run has just succeeded, or a repeated one of the same round.
    fn check_success(&self, form: Form, pictures: &ReceivedPictures, made: usize) {
        let is_alone = self.round.again_after_ms.is_none() && !self.is_interrupted();
        if is_alone {
            assert_eq!(pictures.whole.len(), made, "every picture that was made is delivered");
            if let Some(failed) = pictures.failed {
                assert_eq!(failed as u64, u64::from(form.calls(self.case.n)) - made as u64, "the other slots failed");
            }
        }
        if self.fired.ledger == 0
            && let Some(links) = pictures.links
        {
            assert_eq!(links, self.after.kept().len(), "links to kept pictures");
        }
    }

    fn check_ending(&self, at: usize, form: Form, ending: &str) {
        let Round { reading, cancel_after_ms, again_after_ms, .. } = self.round;
        let is_alone = again_after_ms.is_none();
        let is_stalled = at == 0 && matches!(reading, Reading::Stall { .. });
        if is_stalled && ending == "stream_interrupted" {
            return;
        }
        let codes = || self.scripts.iter().map(|(script, _)| script.facts());
        // The upstream's fault is more important than the user's, unless another upstream was asked after it.
        let is_last = |facts: &Facts| facts.is_started || self.case.second.is_none();
        let has_other_fault = codes().any(|facts| !facts.is_whole && !facts.is_own_fault && is_last(&facts));
        let is_failure = |ending: &str| {
            codes().any(|facts| facts.code == ending && !facts.is_whole && !(facts.is_own_fault && has_other_fault))
        };
        let is_unavailable = self.fired.limits + self.fired.ledger > 0 && UNAVAILABLE.contains(&ending);
        if is_unavailable {
            return;
        }
        let refusal = self.refusal(form);
        if is_alone && refusal == Some(ending) {
            return;
        }
        let may_differ = !is_alone || self.fired != Fired::default() || self.memory_lags && ending == "rate_limited";
        assert!(may_differ || refusal.is_none(), "{ending} instead of {refusal:?}");
        match ending {
            "done" => {}
            "cancelled" => assert!(cancel_after_ms.is_some(), "no one has cancelled it"),
            "deadline_exceeded" => assert!(self.case.total_ms.is_some(), "there was time"),
            "task_in_progress" | "task_already_completed" => {
                assert!(!is_alone || self.fired.ledger > 0, "no other request has this key");
            }
            // A key whose record cannot be read is like a new one.
            "rate_limited" => assert!(!is_alone || self.memory_lags || self.fired.limits + self.fired.ledger > 0),
            "insufficient_credits" => assert!(!is_alone || self.fired.ledger > 0),
            _ => assert!(is_failure(ending) || self.is_interrupted() && codes().any(|f| f.code == ending), "{ending}"),
        }
        if is_alone && !self.is_interrupted() && self.made() > 0 {
            assert_eq!(ending, "done", "a success");
        }
        if is_alone && self.fired.ledger == 0 && self.runs() == 1 {
            let record = self.after.record.as_ref().unwrap();
            match ending {
                "done" => assert_eq!(text(record, "st"), "succeeded"),
                code => assert_eq!((text(record, "st"), text(record, "code")), ("failed", code)),
            }
        }
    }

    /// The answer to the round's request without a run, if no fault comes in between. `None` if it runs.
    fn refusal(&self, form: Form) -> Option<&'static str> {
        let calls = u64::from(form.calls(self.case.n));
        Some(match self.before.state() {
            "succeeded" if self.before.kept().is_empty() => "task_already_completed",
            "succeeded" => "done",
            _ if self.before.tokens + calls > self.case.limit => "rate_limited",
            _ if self.before.worth < calls => "insufficient_credits",
            _ => return None,
        })
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).to_vec()
}
