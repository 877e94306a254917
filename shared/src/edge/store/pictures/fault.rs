use std::time::Duration;

use tokio::time::timeout_at;

use super::{ATTEMPTS, PictureError};
use crate::alarm::Alarm;
use crate::edge::clock::now;

/// Why a request to the store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreFault {
    /// The system has no root certificates.
    NoTls,
    NoCredentials,
    /// The credentials contain characters that no header can carry.
    Unsigned,
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection was closed before the answer.
    Cut,
    /// The store's answer, with its code if it is one of [`CODES`].
    Answered {
        status: u16,
        code: Option<&'static str>,
    },
}

/// Only this much of an error body is read.
const MAX_ERROR_BYTES: usize = 4 * 1024;
const ERROR_BODY_WAIT: Duration = Duration::from_millis(500);

/// The codes that the log names
/// ([S3's error responses](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html)).
const CODES: [&str; 18] = [
    "AccessDenied",
    "AuthorizationHeaderMalformed",
    "BadDigest",
    "EntityTooLarge",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidPathAccess",
    "InvalidRequest",
    "InvalidToken",
    "NoSuchBucket",
    "NoSuchKey",
    "NotImplemented",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "SignatureDoesNotMatch",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
];

impl StoreFault {
    pub(super) fn of(error: &reqwest::Error) -> Self {
        match (error.is_builder(), error.is_timeout(), error.is_connect()) {
            (true, ..) => Self::Unsigned,
            (_, true, _) => Self::Timeout,
            (_, _, true) => Self::Connect,
            _ => Self::Cut,
        }
    }

    /// Reads the code of an error answer, from the part of its body that arrives in time.
    pub(super) async fn answered(mut response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let (by, mut body) = (now() + ERROR_BODY_WAIT, Vec::new());
        while body.len() < MAX_ERROR_BYTES
            && let Ok(Ok(Some(piece))) = timeout_at(by, response.chunk()).await
        {
            body.extend(piece.iter().take(MAX_ERROR_BYTES));
        }
        let body = String::from_utf8_lossy(&body);
        let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        let code = code.and_then(|(code, _)| CODES.iter().find(|known| **known == code).copied());
        Self::Answered { status, code }
    }

    /// Whether the object does not exist, and the bucket does, or may.
    pub(super) fn is_missing_object(self) -> bool {
        matches!(self, Self::Answered { status: 404, code: Some("NoSuchKey") | None })
    }

    /// How often a request that fails like this is sent.
    pub(super) fn attempts(self) -> u32 {
        match self.error() {
            PictureError::Unavailable => ATTEMPTS,
            PictureError::Digest => 2,
            PictureError::Refused | PictureError::NotCopied => 1,
        }
    }

    /// Logs the fault and returns the error for the caller.
    pub(super) fn log(self, operation: &str, attempts: u32) -> PictureError {
        let class = self.class();
        let (status, code) = match self {
            Self::Answered { status, code } => (Some(status), code),
            _ => (None, None),
        };
        let error = self.error();
        match error {
            PictureError::Unavailable => operator_alarm!(
                Alarm::Store,
                class,
                status,
                code,
                operation,
                attempts,
                "the store of the pictures is not available"
            ),
            PictureError::NotCopied => {
                tracing::warn!(class, status, code, operation, attempts, "the picture behind a link was not copied");
            }
            PictureError::Digest => operator_alarm!(
                Alarm::Store,
                class,
                status,
                code,
                operation,
                attempts,
                "the store received other bytes than were sent"
            ),
            PictureError::Refused => operator_alarm!(
                Alarm::Store,
                class,
                status,
                code,
                operation,
                attempts,
                "the store of the pictures refused a request: check PICTURES_BUCKET, PICTURES_REGION and, for a store \
                 that is not S3, PICTURES_ENDPOINT, PICTURES_PATH_STYLE and its key; on AWS, that the function's role \
                 may put, get or delete objects of the bucket. `cargo dev check` tries the bucket"
            ),
        }
        error
    }

    fn error(self) -> PictureError {
        match self {
            Self::Connect | Self::Timeout | Self::Cut => PictureError::Unavailable,
            Self::NoTls | Self::NoCredentials | Self::Unsigned => PictureError::Refused,
            Self::Answered { code: Some("BadDigest" | "XAmzContentSHA256Mismatch"), .. } => PictureError::Digest,
            Self::Answered { code: Some("RequestTimeout"), .. } => PictureError::Unavailable,
            // 501: the store does not know a header.
            Self::Answered { status: 501, .. } => PictureError::Refused,
            Self::Answered { status: 408 | 409 | 429 | 500.., .. } => PictureError::Unavailable,
            Self::Answered { .. } => PictureError::Refused,
        }
    }

    fn class(self) -> &'static str {
        match (self, self.error()) {
            (Self::NoTls, _) => "no_tls",
            (Self::NoCredentials, _) => "no_credentials",
            (Self::Unsigned, _) => "unsigned",
            (Self::Connect, _) => "connect",
            (Self::Timeout, _) => "timeout",
            (Self::Cut, _) => "cut",
            (Self::Answered { .. }, PictureError::Digest) => "digest",
            (Self::Answered { .. }, PictureError::Unavailable) => "busy",
            (Self::Answered { status: 401 | 403, .. }, _) => "denied",
            (Self::Answered { status: 404, .. }, _) => "no_bucket",
            (Self::Answered { status: 300..=399, .. }, _) => "other_region",
            (Self::Answered { .. }, _) => "refused",
        }
    }
}
