use std::time::Duration;

use crate::alarm::Alarm;
use crate::auth::Principal;
use crate::edge::http::is_valid_id;
use crate::edge::metrics;
use crate::edge::store::UpstreamWork;
use crate::metrics::CallFigures;
use crate::outcome::{DeliveredImage, FailedSlot, ImageSource, Success};
use crate::upstream::{Failure, FailureLevel};

/// Names a request in its summary line in the log. The line holds sizes and codes, never the request or its result.
#[derive(Debug, Clone, Copy)]
pub struct CallLabels<'a> {
    /// The route's path.
    pub route: &'static str,
    /// The caller, logged as a hash.
    pub principal: &'a Principal,
    /// The request.
    pub request_id: &'a str,
    /// The task.
    pub task_id: &'a str,
}

impl CallLabels<'_> {
    /// The task id, unless it may be a user's text: some routes accept any text.
    fn logged_task_id(&self) -> &str {
        if is_valid_id(self.task_id) { self.task_id } else { "(free text)" }
    }

    /// Logs that an upstream did not start a call, which goes to another one.
    pub(super) fn moved_on(&self, upstream: &str, failure: Failure) {
        let (Self { route, request_id, .. }, task_id) = (*self, self.logged_task_id());
        let (class, (alarm, alarm_class)) = (failure.class(), alarm_fields(failure));
        tracing::warn!(
            route,
            request_id,
            task_id,
            upstream,
            class,
            alarm,
            alarm_class,
            "the upstream did not start: trying another"
        );
    }

    /// Writes the summary line, and the figures of the calls.
    pub(super) fn log(&self, ended: &Ended<'_>) {
        let (Self { route, request_id, principal, .. }, task_id) = (*self, self.logged_task_id());
        let caller = principal.log_id();
        let took_ms = ended.took.as_millis() as u64;
        let Ended { run, bytes_in, work: UpstreamWork { upstream, cost }, .. } = *ended;
        // An empty one is not logged.
        let not_started = Some(ended.not_started).filter(|names| !names.is_empty());
        let success = ended.verdict.ok();
        let images = success.map(|success| success.images.len());
        let failed = success.map(|success| success.failed.len());
        let cost = success.and_then(|_| Some(cost.as_ref()?.amount()));
        let labels = success.and_then(labels);
        let (stored, client_left) = success.map(|_| (ended.stored, ended.client_left)).unzip();
        let failure = ended.verdict.err();
        let code = failure.map(|failure| failure.problem().as_str());
        let is_clients_end = matches!(failure, Some(Failure::ClientClosed | Failure::Cancelled));
        let fault = failure.filter(|_| !is_clients_end);
        let class = fault.map(Failure::class);
        let (alarm, alarm_class) = fault.map(alarm_fields).unzip();
        macro_rules! summary {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    route,
                    request_id,
                    caller,
                    task_id,
                    run,
                    upstream,
                    not_started,
                    cost,
                    bytes_in,
                    took_ms,
                    images,
                    failed,
                    labels,
                    stored,
                    client_left,
                    class,
                    code,
                    alarm,
                    alarm_class = alarm_class.flatten(),
                    $message
                )
            };
        }
        for FailedSlot { slot, failure } in success.iter().flat_map(|success| &success.failed) {
            let (class, code, (alarm, alarm_class)) =
                (failure.class(), failure.problem().as_str(), alarm_fields(*failure));
            tracing::warn!(route, request_id, task_id, slot, class, code, alarm, alarm_class, "a picture failed");
        }
        if let Some(failure) = success.and_then(|success| success.cut_short) {
            let (class, code, (alarm, alarm_class)) =
                (failure.class(), failure.problem().as_str(), alarm_fields(failure));
            tracing::warn!(
                route,
                request_id,
                task_id,
                class,
                code,
                alarm,
                alarm_class,
                "a call failed after its pictures"
            );
        }
        match failure.map(|failure| (failure, failure.level())) {
            None => summary!(info, "succeeded"),
            Some((Failure::ClientClosed, _)) => summary!(info, "the client left"),
            Some((_, FailureLevel::Info)) => summary!(info, "failed"),
            Some((_, FailureLevel::Warn)) => summary!(warn, "failed"),
            Some((_, FailureLevel::Error)) => summary!(error, "failed"),
        }
        metrics::ended(ended.verdict.map(drop).map_err(Failure::problem));
        metrics::called(CallFigures {
            pictures: images.unwrap_or_default(),
            failed_pictures: failed.unwrap_or_default(),
            bytes_in,
            time: ended.upstream_time,
            cost: success.and(ended.work.cost),
        });
    }
}

/// The fields `alarm` and `alarm_class` of a line about a failure.
fn alarm_fields(failure: Failure) -> (bool, Option<&'static str>) {
    (failure.alarm().is_some(), failure.alarm().map(Alarm::as_str))
}

/// The type and the label of each picture, such as `image/png:written`. `None` where pictures are not labelled.
fn labels(success: &Success) -> Option<String> {
    let label = |image: &DeliveredImage| {
        let media_type = match &image.source {
            ImageSource::Inline(image) => image.media_type.as_str(),
            ImageSource::Link { .. } => "link",
        };
        Some(format!("{media_type}:{}", image.label?.as_str()))
    };
    success.images.iter().map(label).collect::<Option<Vec<_>>>().map(|labels| labels.join(" "))
}

/// How a request's calls ended, for its summary line.
pub(super) struct Ended<'a> {
    /// The id of the run: a picture's label contains it.
    pub(super) run: &'a str,
    pub(super) verdict: Result<&'a Success, Failure>,
    pub(super) work: &'a UpstreamWork,
    /// The upstreams that did not start a call.
    pub(super) not_started: &'a str,
    /// Pictures in the bucket.
    pub(super) stored: usize,
    /// Bytes the upstream sent.
    pub(super) bytes_in: u64,
    /// From the request to the verdict.
    pub(super) took: Duration,
    /// The same until the last answer had ended, without the time of a client that did not read.
    pub(super) upstream_time: Duration,
    /// The client left or stopped reading, and the work went on.
    pub(super) client_left: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::SourceIp;

    #[test]
    fn a_task_id_that_is_free_text_is_not_logged() {
        let principal = &Principal::Source(SourceIp::new(None));
        let logged = |task_id: &'static str| {
            CallLabels { route: "/", principal, request_id: "r", task_id }.logged_task_id().to_owned()
        };
        assert_eq!(logged("task_1795215600000"), "task_1795215600000");
        for text in ["a wedding photo of Ann", "任务", "line\nbreak", ""] {
            assert_eq!(logged(text), "(free text)", "{text:?}");
        }
    }
}
