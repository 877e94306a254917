//! What an operator can do: the settings for an upstream that works, and the remedy for a failure.

use std::time::Duration;

use shared::upstream::Failure;

use super::DoctorMode;
use super::recording::AnswerForm;
use super::report::{AskedUpstream, DoctorReport, ReportSource};

/// The longest limit of a function.
const LONGEST_MS: u128 = 900_000;

impl DoctorReport {
    /// Lines for `.env`.
    pub(super) fn settings(&self, asked: &AskedUpstream) -> Vec<String> {
        let AskedUpstream { base, base_variable, model, model_variable, key_variable, key_env, .. } = asked;
        let mut lines = Vec::new();
        if !asked.in_routes {
            if self.mode != DoctorMode::Ark {
                lines.push(format!("IMAGE_API_MODE={}", self.mode.name()));
            }
            lines.push(format!("{base_variable}={}", base.trim_end_matches('/')));
            lines.push(format!("{model_variable}={model}"));
            if key_env != key_variable {
                lines.push(format!("{key_variable}=<the value of {key_env}>"));
            }
            if self.mode == DoctorMode::Ark && model.starts_with("ep-") {
                lines.push(format!("ARK_FAMILY={}", asked.family.name));
            }
        }
        let Some(times) = &self.times else { return lines };
        let limits = [
            ("UPSTREAM_HEAD_MS", times.head.unwrap_or_default(), 150_000),
            ("UPSTREAM_IDLE_MS", times.longest_silence, 120_000),
            ("UPSTREAM_PROGRESS_MS", times.end, 150_000),
            ("UPSTREAM_TOTAL_MS", times.end, 600_000),
        ];
        for (variable, measured, default_ms) in limits {
            let wanted = with_room(measured).min(LONGEST_MS);
            if wanted > default_ms {
                lines.push(format!("{variable}={wanted}"));
            }
        }
        lines
    }

    /// What an operator can do about a failure.
    pub(super) fn remedy(&self, failure: Failure, form: AnswerForm) -> String {
        let (key, model, address) = match &self.source {
            ReportSource::Asked(asked) => (
                format!("the key in {}", asked.key_env),
                format!("--model ({})", asked.model),
                format!("The request went to {}{}.", asked.host, asked.path),
            ),
            ReportSource::File => ("the key".to_owned(), "the model".to_owned(), String::new()),
        };
        let base_url = match self.mode {
            DoctorMode::Ark => "ARK's base URL ends in /api/v3; a key of an Agent Plan needs /api/plan/v3.",
            _ => "The base URL is given without the route, with or without /v1; a relay below a path needs that path.",
        };
        let page = match form {
            AnswerForm::Page => "The answer is a page and not an API's: check the base URL. ",
            _ => "",
        };
        let advice = match failure {
            Failure::Auth => format!("check {key}: it is wrong, or not for this API. {base_url}"),
            Failure::Quota => "top up the account of the upstream, or raise its limit".to_owned(),
            Failure::ModelUnavailable => format!("check {model} and the base URL. {address} {base_url}"),
            Failure::RateLimited | Failure::Unavailable => {
                "try again later; the upstream is busy or limits the account".to_owned()
            }
            Failure::BadRequest => match self.verdict.parameter {
                Some(parameter) => format!("it refuses `{}`: {}", parameter.name, parameter.remedy),
                None => format!("it refuses the request: try another --mode, or check {model}"),
            },
            Failure::InputImageUnreachable => {
                "the upstream cannot fetch the sample picture: check its network".to_owned()
            }
            Failure::ContentBlocked => "its moderation refuses a harmless prompt: ask the vendor".to_owned(),
            Failure::NoImage => format!("choose a model that makes pictures instead of {model}, or try another --mode"),
            Failure::Truncated => {
                "the answer ended early: the relay, or a proxy before it, has a time limit".to_owned()
            }
            Failure::Timeout | Failure::Deadline => {
                "nothing came in time: try again, or raise UPSTREAM_HEAD_MS, UPSTREAM_IDLE_MS or UPSTREAM_TOTAL_MS"
                    .to_owned()
            }
            Failure::BadContentType => format!("{address} {base_url}"),
            Failure::Unreachable | Failure::ConnectTimeout => {
                "no connection: check the host, the port and the network; TLS needs root certificates".to_owned()
            }
            Failure::Protocol => {
                "the answer is encoded (Content-Encoding) although `identity` was requested, or larger than the limits"
                    .to_owned()
            }
            Failure::Redirect => "a redirect is never followed: use the address that it leads to".to_owned(),
            _ => format!("the upstream failed: try again, then another --mode. {address}"),
        };
        format!("{page}{advice}")
    }
}

/// A time limit that leaves room for this duration.
fn with_room(measured: Duration) -> u128 {
    (measured.as_millis() * 2).div_ceil(30_000) * 30_000
}
