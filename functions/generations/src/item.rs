//! One generation as JSON for its owner.

use serde::Serialize;
use shared::problem::Code;
use shared::task::{StoredLinks, TaskRecord, TaskState};
use time::OffsetDateTime;
use time::macros::format_description;

/// A record of the log.
#[derive(Serialize)]
pub(crate) struct LogItem<'a> {
    task_id: &'a str,
    route: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    attempts: u32,
    images: u32,
    created: String,
    updated: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    urls: Option<Vec<&'a str>>,
}

impl<'a> LogItem<'a> {
    pub(crate) fn new(record: &'a TaskRecord, now_ms: u64) -> Self {
        let (status, code) = match record.state.at(now_ms) {
            TaskState::Running { .. } => ("running", None),
            TaskState::Succeeded => ("succeeded", None),
            // A code of another version of this service is unknown to clients.
            TaskState::Failed { code } => ("failed", Some(code.unwrap_or(Code::InternalError))),
        };
        Self {
            task_id: &record.task_id,
            route: &record.route,
            status,
            code,
            attempts: record.attempts,
            images: record.images,
            created: rfc3339(record.created_ms),
            updated: rfc3339(record.updated_ms),
            urls: record.links.as_ref().map(|links: &StoredLinks| links.urls().collect()),
        }
    }
}

/// `2026-11-21T08:00:00.123Z`, as [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) and JavaScript write it.
fn rfc3339(ms: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    // A time after the year 9999 is not valid; it is written as an empty string.
    time.ok().and_then(|time| time.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_248_000_120), "2026-11-21T08:00:00.120Z");
        assert_eq!(rfc3339(u64::MAX), "");
    }
}
