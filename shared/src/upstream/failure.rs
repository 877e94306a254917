//! The classes of failed upstream calls, and the classification of an upstream's error.
//!
//! Each class decides three things: the problem that the client gets, whether the rate-limit token
//! is given back, and whether the log line has an alarm for the operator.

mod names;

use crate::alarm::Alarm;
use crate::problem::{Code, Problem};
use std::fmt;

/// Why an upstream call delivered no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Our key was refused.
    Auth,
    /// Our account has no balance or quota left, or is overdue.
    Quota,
    /// The model is unknown, not open to our account, or has no channel at the relay.
    ModelUnavailable,
    /// Our account exceeded the upstream's rate limit.
    RateLimited,
    /// The upstream is overloaded or temporarily down.
    Unavailable,
    /// The upstream refused a parameter.
    BadRequest,
    /// The upstream could not fetch or read an input image by its link.
    InputImageUnreachable,
    /// Moderation refused the input or the output.
    ContentBlocked,
    /// The request was too large for the upstream.
    PayloadTooLarge,
    /// A clean end without an image.
    NoImage,
    /// The answer ended early.
    Truncated,
    /// No head, no byte or no progress in time; the upstream may still be working.
    Timeout,
    /// The upstream failed without a more precise reason.
    Error,
    /// Neither an event stream nor JSON, such as an HTML error page.
    BadContentType,
    /// Connection refused, or unknown host: no byte of the request was sent.
    Unreachable,
    /// The server speaks no TLS, or its certificate is not valid: no byte of the request was sent.
    Tls,
    /// No connection in time: no byte of the request was sent.
    ConnectTimeout,
    /// A redirect, which is never followed: the key must not be sent elsewhere.
    Redirect,
    /// Not HTTP, an encoding that was not requested, or beyond a cap.
    Protocol,
    /// The request's own deadline was reached.
    Deadline,
    /// The client left or stopped reading, so the call was dropped.
    ClientClosed,
    /// The task's owner cancelled it, so the call was dropped.
    Cancelled,
    /// A bug in this service.
    Internal,
}

/// Whether the rate-limit token is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenPolicy {
    /// Kept: the upstream may have done work, or the user caused the failure.
    Keep,
    /// Given back: the upstream provably did not start. Applies only if no content was received; after
    /// content the token is always kept.
    Refund,
}

/// The level of a failed request's summary line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureLevel {
    /// The user's own input or decision.
    Info,
    /// Upstreams that are busy, slow or unable: normal in small numbers.
    Warn,
    /// Something is broken.
    Error,
}

struct FailureFacts {
    class: &'static str,
    problem: Code,
    token: TokenPolicy,
    level: FailureLevel,
    alarm: Option<Alarm>,
}

impl Failure {
    /// All classes.
    pub const ALL: &'static [Failure] = &[
        Failure::Auth,
        Failure::Quota,
        Failure::ModelUnavailable,
        Failure::RateLimited,
        Failure::Unavailable,
        Failure::BadRequest,
        Failure::InputImageUnreachable,
        Failure::ContentBlocked,
        Failure::PayloadTooLarge,
        Failure::NoImage,
        Failure::Truncated,
        Failure::Timeout,
        Failure::Error,
        Failure::BadContentType,
        Failure::Unreachable,
        Failure::Tls,
        Failure::ConnectTimeout,
        Failure::Redirect,
        Failure::Protocol,
        Failure::Deadline,
        Failure::ClientClosed,
        Failure::Cancelled,
        Failure::Internal,
    ];

    const fn facts(self) -> FailureFacts {
        use FailureLevel::{Error, Info, Warn};
        use TokenPolicy::{Keep, Refund};
        let (class, problem, token, level, alarm) = match self {
            Self::Auth => ("upstream_auth", Code::ServiceUnavailable, Refund, Error, Some(Alarm::UpstreamAuth)),
            Self::Quota => ("upstream_quota", Code::ServiceUnavailable, Refund, Error, Some(Alarm::UpstreamQuota)),
            Self::ModelUnavailable => {
                ("model_unavailable", Code::ServiceUnavailable, Refund, Error, Some(Alarm::UpstreamConfig))
            }
            Self::RateLimited => ("rate_limited", Code::UpstreamBusy, Refund, Warn, None),
            Self::Unavailable => ("upstream_unavailable", Code::UpstreamBusy, Refund, Warn, None),
            Self::BadRequest => ("bad_request", Code::UpstreamRejectedInput, Keep, Warn, None),
            Self::InputImageUnreachable => ("input_image_unreachable", Code::InvalidUrl, Keep, Warn, None),
            Self::ContentBlocked => ("content_blocked", Code::ContentRejected, Keep, Info, None),
            Self::PayloadTooLarge => ("payload_too_large", Code::PayloadTooLarge, Keep, Info, None),
            Self::NoImage => ("no_image", Code::NoImage, Keep, Warn, None),
            Self::Truncated => ("upstream_truncated", Code::StreamInterrupted, Keep, Error, None),
            Self::Timeout => ("upstream_timeout", Code::UpstreamTimeout, Keep, Warn, None),
            Self::Error => ("upstream_error", Code::UpstreamError, Keep, Error, None),
            Self::BadContentType => ("upstream_bad_content_type", Code::UpstreamProtocolError, Keep, Error, None),
            Self::Unreachable => ("upstream_unreachable", Code::UpstreamUnreachable, Refund, Error, None),
            Self::Tls => ("upstream_tls", Code::UpstreamUnreachable, Refund, Error, Some(Alarm::UpstreamConfig)),
            Self::ConnectTimeout => ("upstream_connect_timeout", Code::UpstreamTimeout, Refund, Error, None),
            Self::Redirect => {
                ("upstream_redirect", Code::UpstreamProtocolError, Refund, Error, Some(Alarm::UpstreamConfig))
            }
            Self::Protocol => ("upstream_protocol_error", Code::UpstreamProtocolError, Keep, Error, None),
            Self::Deadline => ("deadline_exceeded", Code::DeadlineExceeded, Keep, Error, None),
            Self::ClientClosed => ("client_closed", Code::ClientClosed, Keep, Info, None),
            Self::Cancelled => ("cancelled", Code::Cancelled, Keep, Info, None),
            Self::Internal => ("internal_error", Code::InternalError, Keep, Error, Some(Alarm::Internal)),
        };
        FailureFacts { class, problem, token, level, alarm }
    }

    /// The name in a log line.
    pub const fn class(self) -> &'static str {
        self.facts().class
    }

    /// The problem code for the client.
    pub const fn problem(self) -> Code {
        self.facts().problem
    }

    /// Whether the rate-limit token is given back.
    pub const fn token(self) -> TokenPolicy {
        self.facts().token
    }

    /// Whether the user's input is the cause, so that a retry of the same request cannot help.
    pub const fn is_users_fault(self) -> bool {
        matches!(self, Self::BadRequest | Self::InputImageUnreachable | Self::ContentBlocked | Self::PayloadTooLarge)
    }

    /// The level of the summary line.
    pub const fn level(self) -> FailureLevel {
        self.facts().level
    }

    /// The alarm, if an operator must act before calls can succeed again.
    pub const fn alarm(self) -> Option<Alarm> {
        self.facts().alarm
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class())
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Problem::new(failure.problem())
    }
}

/// The fields of an upstream's error that decide its class; empty where the error has none. Each is
/// capped at 256 bytes by its reader. They are never sent or logged, so `Debug` prints none.
#[derive(Clone, Default)]
pub struct ErrorFields {
    /// `code`: a name (`ModelNotOpen`), or a number in digits.
    pub code: String,
    /// `type`; for Google `status`.
    pub kind: String,
    /// `message`, or the first member with such a text.
    pub message: String,
    /// `param`: the member of the request that the error is about.
    pub param: String,
}

impl ErrorFields {
    /// Empties all fields, and keeps their memory.
    pub(super) fn clear(&mut self) {
        let Self { code, kind, message, param } = self;
        [code, kind, message, param].into_iter().for_each(String::clear);
    }
}

impl fmt::Debug for ErrorFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorFields").finish_non_exhaustive()
    }
}

/// Whether only errors have this code.
pub(super) fn names_failure(code: &str) -> bool {
    let code = code.trim();
    by_code(code).or_else(|| by_number(None, code)).is_some()
}

/// The class of an upstream's error, given the fields of its objects, most precise first. `status` is the HTTP status that
/// came with it; `None`, like a 2xx, means that the error was inside an answer with a success status. A code in the body
/// outweighs the status.
///
/// A message can quote the user's prompt. It decides only if its beginning is fixed, if the class
/// keeps the token, or if no user input can cause the status.
pub fn classify(status: Option<u16>, objects: &[ErrorFields]) -> Failure {
    let status = status.filter(|status| !(200..300).contains(status));
    if status.is_some_and(|status| (300..400).contains(&status)) {
        return Failure::Redirect;
    }
    let any = |class: &dyn Fn(&ErrorFields) -> Option<Failure>| objects.iter().find_map(class);
    let named = any(&|fields| by_opening(&fields.message))
        .or_else(|| any(&|fields| by_code(fields.code.trim())))
        .or_else(|| any(&|fields| by_code(fields.kind.trim()).filter(|_| !is_anthropic(status, fields))));
    let is_vague = matches!(named, None | Some(Failure::BadRequest | Failure::Error));
    named
        .filter(|_| !is_vague)
        .or_else(|| any(&|fields| by_moderation(status, fields)))
        .or(named)
        .or_else(|| any(&|fields| by_message(status, &fields.message).filter(|_| !is_anthropic(status, fields))))
        .or_else(|| any(&|fields| by_number(status, fields.code.trim())))
        .or_else(|| any(&|fields| by_number(status, fields.kind.trim())))
        .or_else(|| status.map(by_status))
        .or_else(|| any(&|fields| by_kind(fields.kind.trim())))
        .unwrap_or(Failure::Error)
}

/// Whether this is the error that Anthropic sends in a stream that has begun: the upstream has started to work.
fn is_anthropic(status: Option<u16>, fields: &ErrorFields) -> bool {
    status.is_none() && fields.kind == "overloaded_error"
}

/// Sentences that are more precise than the code beside them.
fn by_opening(message: &str) -> Option<Failure> {
    const OPENINGS: &[(&str, Failure)] = &[
        // ARK, under `InvalidParameter`.
        ("Timeout while downloading url", Failure::InputImageUnreachable),
        // Google, under 400 `INVALID_ARGUMENT`.
        ("API key not valid", Failure::Auth),
        ("API key expired", Failure::Auth),
    ];
    let message = message.trim_start();
    first(OPENINGS, |opening| message.starts_with(opening))
}

/// Names and prefixes of names. Some upstreams send them in `type`.
fn by_code(code: &str) -> Option<Failure> {
    if code.is_empty() {
        return None;
    }
    first(names::WHOLE, |name| code == name)
        .or_else(|| first(names::PREFIXES, |prefix| code.starts_with(prefix)))
        .or_else(|| first(names::PARTS, |part| code.contains(part)))
        .or_else(|| {
            let code = letters(code);
            first(names::SPELLINGS, |part| code.contains(part))
        })
}

/// The letters and digits of a name, in lower case: upstreams spell the same name in many ways.
fn letters(name: &str) -> String {
    name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// A refusal by moderation, whatever the status is.
fn by_moderation(status: Option<u16>, fields: &ErrorFields) -> Option<Failure> {
    let message = fields.message.to_lowercase();
    let is_in = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    let is_ours = matches!(status.or(fields.code.trim().parse().ok()), Some(401 | 403 | 404 | 429));
    (is_in(names::MODERATION) || (!is_ours && is_in(names::MODERATION_PARTS))).then_some(Failure::ContentBlocked)
}

fn by_message(status: Option<u16>, message: &str) -> Option<Failure> {
    // Refusals of relays without a code.
    const ACCOUNT: &[(&str, Failure)] = &[
        ("额度已用尽", Failure::Quota),
        ("额度不足", Failure::Quota),
        ("quota is not enough", Failure::Quota),
        ("quota exhausted", Failure::Quota),
    ];
    const CHANNEL: &[(&str, Failure)] =
        &[("无可用渠道", Failure::ModelUnavailable), ("no available channel", Failure::ModelUnavailable)];
    let phrases = match status {
        Some(401..=403) => ACCOUNT,
        Some(404 | 503) => CHANNEL,
        _ => &[],
    };
    let lower = message.to_lowercase();
    first(phrases, |phrase| lower.contains(phrase)).or_else(|| {
        let message = letters(message);
        let is_busy = names::BUSY.iter().any(|opening| message.starts_with(opening));
        is_busy.then_some(Failure::Unavailable)
    })
}

/// A code in digits is a status that the upstream passes on; other numbers are the upstream's own.
fn by_number(status: Option<u16>, code: &str) -> Option<Failure> {
    match code.parse().ok()? {
        // The request had been accepted, so the error is not a verdict on the user's input.
        400 | 422 if status.is_none() => Some(Failure::Error),
        number @ 400..=599 => Some(by_status(number)),
        _ => None,
    }
}

fn by_status(status: u16) -> Failure {
    match status {
        401 | 403 => Failure::Auth,
        402 => Failure::Quota,
        // 404, 405 and 410 mean that our address or model is wrong, not the user's input.
        404 | 405 | 410 => Failure::ModelUnavailable,
        // 524 is Cloudflare's: the origin accepted and stayed silent.
        408 | 504 | 524 => Failure::Timeout,
        413 => Failure::PayloadTooLarge,
        429 => Failure::RateLimited,
        400 | 406 | 409 | 411 | 415 | 422 => Failure::BadRequest,
        503 | 529 => Failure::Unavailable,
        _ => Failure::Error,
    }
}

/// Broad kinds, used only without a status.
fn by_kind(kind: &str) -> Option<Failure> {
    first(names::KINDS, |name| kind == name)
}

fn first(rows: &[(&str, Failure)], matches: impl Fn(&str) -> bool) -> Option<Failure> {
    rows.iter().find(|(name, _)| matches(name)).map(|&(_, failure)| failure)
}

#[cfg(test)]
mod tests;
