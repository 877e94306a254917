//! One generation as JSON for its owner.

use serde::Serialize;
use shared::kept_picture::{KeptPicture, SignedLink};
use shared::media::label::LabelStatus;
use shared::price::Price;
use shared::problem::Code;
use shared::task::{StoredResult, TaskRecord, TaskState};
use shared::timestamp::rfc3339;

/// A record of the log.
#[derive(Serialize)]
pub(crate) struct LogItem<'a> {
    task_id: &'a str,
    route: &'a str,
    status: &'static str,
    /// The owner has asked it to stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cancelling: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    attempts: u32,
    images: u32,
    created: String,
    updated: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Price>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    urls: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pictures: Vec<LogPicture>,
}

/// A picture in the bucket.
#[derive(Serialize)]
struct LogPicture {
    index: u32,
    media_type: &'static str,
    bytes: u64,
    sha256: String,
    width: u32,
    height: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    draft: bool,
    /// Absent, with `url_expires`, if the picture has expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url_expires: Option<String>,
    expires: String,
}

impl<'a> LogItem<'a> {
    pub(crate) fn new(record: &'a TaskRecord, pictures: Vec<(KeptPicture, Option<SignedLink>)>, now_ms: u64) -> Self {
        let (status, code) = match record.state_at(now_ms) {
            TaskState::Running { .. } => ("running", None),
            TaskState::Succeeded => ("succeeded", None),
            // A code of another version of this service is unknown to clients.
            TaskState::Failed { code } => ("failed", Some(code.unwrap_or(Code::InternalError))),
        };
        Self {
            task_id: &record.task_id,
            route: &record.route,
            status,
            cancelling: record.is_cancelled && status == "running",
            code,
            attempts: record.attempts,
            images: record.images_made(),
            created: rfc3339(record.created_ms),
            updated: rfc3339(record.updated_ms),
            credits: record.credits,
            upstream: record.upstream.as_deref(),
            cost: record.cost,
            urls: record.result.iter().flat_map(StoredResult::urls).collect(),
            pictures: pictures.into_iter().map(LogPicture::new).collect(),
        }
    }
}

impl LogPicture {
    fn new((KeptPicture { slot, draft, image, expires_ms }, link): (KeptPicture, Option<SignedLink>)) -> Self {
        let (url, url_expires) = link.map(|link| (link.url, rfc3339(link.expires_ms))).unzip();
        Self {
            index: slot,
            media_type: image.media_type.as_str(),
            bytes: image.bytes,
            sha256: image.sha256_hex(),
            width: image.width,
            height: image.height,
            label: image.label.map(LabelStatus::as_str),
            draft,
            url,
            url_expires,
            expires: rfc3339(expires_ms),
        }
    }
}
