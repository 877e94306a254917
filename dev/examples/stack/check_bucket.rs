//! The part of `cargo dev check` that tries the bucket of the pictures.

use std::io::{self, IsTerminal};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::config::CommonConfig;
use shared::edge::{PictureError, Pictures, new_id};
use shared::media::sniff::MediaType;
use shared::picture_key::PictureKey;
use tokio::time::Instant;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::environment::StackEnvironment;

/// The longest time that one request may take.
const WAIT: Duration = Duration::from_secs(10);

/// Stores a small object, reads it by its link, offers a wrong digest, and deletes the object. Returns a description of
/// what is right, or of what is wrong. The client logs the causes to standard error.
pub(crate) async fn run(
    environment: &StackEnvironment,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    if environment.is_set_empty("PICTURES_BUCKET") {
        return Ok("PICTURES_BUCKET is empty: pictures are not kept".into());
    }
    if environment.get("PICTURES_BUCKET").is_none() {
        return Ok("PICTURES_BUCKET is not set: the local stack keeps pictures itself".into());
    }
    let config = CommonConfig::from_env(&variable).map_err(|_| "PICTURES_BUCKET was not tried".to_owned())?;
    let pictures = Pictures::new(&config.pictures, config.secrets_endpoint.as_ref());
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_target(false).without_time();
    let log = log.with_ansi(io::stderr().is_terminal()).with_max_level(tracing::Level::WARN).finish();
    match pictures {
        Some(pictures) => try_bucket(&pictures).with_subscriber(log).await,
        None => Err("PICTURES_BUCKET was not tried".to_owned()),
    }
}

async fn try_bucket(pictures: &Pictures) -> Result<String, String> {
    let key = PictureKey::new("check", &new_id(), 0);
    let bytes = Bytes::from_static(b"cargo dev check");
    put(pictures, &key, &bytes, &bytes).await.map_err(|error| failed("cannot be written", error))?;
    let link = pictures.sign(&key, "check.png").await.map_err(|error| failed("cannot sign links", error))?;
    let read = reqwest::Client::new().get(link.url).timeout(WAIT).send().await;
    let read = match read {
        Ok(response) if response.status().is_success() => response.bytes().await.ok(),
        _ => None,
    };
    let other = PictureKey::new("check", &new_id(), 1);
    // The refusal is expected, so it is not logged.
    let refusal = put(pictures, &other, &bytes, b"other bytes").with_subscriber(NoSubscriber::default()).await;
    for key in [&key, &other] {
        pictures.delete(key).await.map_err(|error| failed("cannot be deleted from", error))?;
    }
    if read.as_ref() != Some(&bytes) {
        return Err(
            "PICTURES_BUCKET cannot be read by a signed link: check PICTURES_REGION, and whether the key or the \
                    role may get objects"
                .into(),
        );
    }
    let note = if refusal == Err(PictureError::Digest) {
        ""
    } else {
        "; the store does not compare digests, so it would store damaged pictures"
    };
    Ok(format!("PICTURES_BUCKET was written, read by a link, and cleaned{note}"))
}

/// Stores `bytes` with the digest of `hashed`.
async fn put(pictures: &Pictures, key: &PictureKey, bytes: &Bytes, hashed: &[u8]) -> Result<(), PictureError> {
    #[expect(clippy::disallowed_methods, reason = "a deadline")]
    let end_by = Instant::now() + WAIT;
    pictures.put(key, MediaType::Png, &Sha256::digest(hashed).into(), bytes.clone(), end_by).await
}

fn failed(what: &str, error: PictureError) -> String {
    let remedy = match error {
        PictureError::Unavailable => "check PICTURES_ENDPOINT and the network",
        PictureError::Refused | PictureError::NotCopied => {
            "check its name, PICTURES_REGION, PICTURES_PATH_STYLE and the key; if the store does not know the header \
             x-amz-checksum-sha256, set PICTURES_CHECKSUM=off"
        }
        PictureError::Digest => "the bytes were changed on the way",
    };
    format!("PICTURES_BUCKET {what}: {remedy}")
}
