use std::time::Duration;

use crate::auth::Principal;
use crate::edge::http::is_valid_id;
use crate::edge::store::UpstreamWork;
use crate::outcome::{DeliveredImage, FailedSlot, ImageSource, Success};
use crate::price::Price;
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
        let (class, alarm) = (failure.class(), failure.alarm());
        tracing::warn!(
            route,
            request_id,
            task_id,
            upstream,
            class,
            alarm,
            "the upstream did not start: trying another"
        );
    }

    /// Writes the summary line.
    pub(super) fn log(&self, ended: &Ended<'_>) {
        let (Self { route, request_id, principal, .. }, task_id) = (*self, self.logged_task_id());
        let caller = principal.log_id();
        let took_ms = ended.took.as_millis() as u64;
        let Ended { run, bytes_in, stored, client_left, work: UpstreamWork { upstream, cost }, .. } = *ended;
        let cost = cost.map(Price::amount);
        // An empty one is not logged.
        let not_started = Some(ended.not_started).filter(|names| !names.is_empty());
        match ended.verdict {
            Ok(success) => {
                let (images, failed) = (success.images.len(), success.failed.len());
                for FailedSlot { slot, failure } in &success.failed {
                    let (class, code, alarm) = (failure.class(), failure.problem().as_str(), failure.alarm());
                    tracing::warn!(route, request_id, task_id, slot, class, code, alarm, "a picture failed");
                }
                if let Some(failure) = success.cut_short {
                    let (class, code, alarm) = (failure.class(), failure.problem().as_str(), failure.alarm());
                    tracing::warn!(route, request_id, task_id, class, code, alarm, "a call failed after its pictures");
                }
                let labels = labels(success);
                tracing::info!(
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
                    "succeeded"
                );
            }
            Err(failure) => {
                let (class, code, alarm) = (failure.class(), failure.problem().as_str(), failure.alarm());
                let message = if failure == Failure::ClientClosed { "the client left" } else { "failed" };
                macro_rules! summary {
                    ($level:ident) => {
                        tracing::$level!(
                            route,
                            request_id,
                            caller,
                            task_id,
                            run,
                            upstream,
                            not_started,
                            bytes_in,
                            took_ms,
                            class,
                            code,
                            alarm,
                            "{message}"
                        )
                    };
                }
                match failure.level() {
                    FailureLevel::Info => summary!(info),
                    FailureLevel::Warn => summary!(warn),
                    FailureLevel::Error => summary!(error),
                }
            }
        }
    }
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
