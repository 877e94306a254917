//! What every store must do for the functions. It runs against the embedded engine and against another one.

use std::time::Duration;

use aws_credential_types::Credentials;
use bytes::Bytes;
use dev::client::hash;
use dev::s3::KEY_PAIR;
use futures_util::future::join_all;
use reqwest::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RANGE};
use reqwest::{Method, Response};
use sha2::{Digest, Sha256};
use shared::edge::{PictureError, Pictures};
use shared::media::sniff::MediaType;
use shared::picture_key::PictureKey;
use tokio::time::Instant;
use uuid::Uuid;

use super::signer::Signer;
use super::{BROWSER, EVER};

/// A run of its own, so that the suite can be repeated on one engine.
pub(crate) fn key(slot: u32) -> PictureKey {
    PictureKey::new("user:suite", &Uuid::new_v4().to_string(), slot)
}

pub(crate) async fn put(pictures: &Pictures, key: &PictureKey, bytes: &Bytes) -> Result<(), PictureError> {
    let sha256 = Sha256::digest(bytes).into();
    pictures.put(key, MediaType::Png, &sha256, bytes.clone(), ever()).await
}

#[expect(clippy::disallowed_methods, reason = "a deadline")]
pub(crate) fn ever() -> Instant {
    Instant::now() + EVER
}

pub(crate) async fn read(pictures: &Pictures, key: &PictureKey) -> Response {
    let link = pictures.sign(key, "task-0.png").await.unwrap();
    BROWSER.get(link.url).send().await.unwrap()
}

/// Everything, with the client of `shared` where it has a request for it.
pub(crate) async fn everything(pictures: &Pictures, url: &str) {
    pictures_are_stored_and_read(pictures).await;
    other_bytes_are_refused(pictures, url).await;
    links_are_verified(url).await;
    pictures_are_deleted(pictures).await;
    many_at_once(pictures).await;
}

async fn pictures_are_stored_and_read(pictures: &Pictures) {
    for mebibytes in [1, 4, 16] {
        let (key, bytes) = (key(0), Bytes::from(vec![mebibytes; usize::from(mebibytes) << 20]));
        put(pictures, &key, &bytes).await.unwrap();
        let answer = read(pictures, &key).await;
        assert_eq!(answer.status(), 200);
        let header = |name| answer.headers()[name].to_str().unwrap();
        assert_eq!(header(CONTENT_TYPE), "image/png");
        assert_eq!(header(CONTENT_DISPOSITION), "inline; filename=\"task-0.png\"");
        assert_eq!(header(CACHE_CONTROL), "private, max-age=31536000, immutable");
        assert!(answer.bytes().await.unwrap() == bytes, "{mebibytes} MiB");
    }
    let key = key(1);
    for body in ["first", "second"] {
        put(pictures, &key, &Bytes::from(body)).await.unwrap();
    }
    assert_eq!(read(pictures, &key).await.text().await.unwrap(), "second");
}

async fn other_bytes_are_refused(pictures: &Pictures, url: &str) {
    let signer = Signer::new(url);
    let missing = |key: PictureKey| async move { assert_eq!(read(pictures, &key).await.status(), 404, "{key}") };

    let wrong = key(0);
    let sha256 = Sha256::digest("other bytes").into();
    let answer = pictures.put(&wrong, MediaType::Png, &sha256, Bytes::from("bytes"), ever()).await;
    assert_eq!(answer, Err(PictureError::Digest));
    missing(wrong).await;

    let checksum = [("x-amz-checksum-sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    let wrong = key(1);
    let url = signer.object(wrong.as_str());
    let answer = signer.send(Method::PUT, &url, &checksum, &hash(b"bytes"), Bytes::from("bytes")).await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("<Code>BadDigest</Code>"));
    missing(wrong).await;
}

async fn links_are_verified(url: &str) {
    let signer = Signer::new(url);
    let (key, other) = (key(0).to_string(), key(1).to_string());
    for key in [&key, &other] {
        assert_eq!(signer.put(key, "0123456789").await.status(), 200);
    }
    let link = signer.link(&key);
    let answer = signer.client.get(&link).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let etag = answer.headers()[ETAG].clone();
    let part = signer.client.get(&link).header(RANGE, "bytes=2-4").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.headers()[CONTENT_RANGE].to_str().unwrap()), (206, "bytes 2-4/10"));
    assert_eq!(part.text().await.unwrap(), "234");
    let known = signer.client.get(&link).header(IF_NONE_MATCH, etag).send().await.unwrap();
    assert_eq!(known.status(), 304);

    assert_eq!(signer.status(&signer.object(&key)).await, 403, "without a signature");
    assert_eq!(signer.status(&link.replace(&key, &other)).await, 403, "for another picture");
    assert_eq!(signer.status(&link.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200")).await, 403, "prolonged");
    let ago =
        |minutes: u64| Signer { signed_at: signer.signed_at - Duration::from_secs(minutes * 60), ..signer.clone() };
    assert_eq!(signer.status(&ago(30).link(&key)).await, 200, "half of its life is over");
    assert_eq!(signer.status(&ago(61).link(&key)).await, 403, "expired");
    let forged = Signer { credentials: Credentials::new(KEY_PAIR.0, "another", None, None, "test"), ..signer.clone() };
    assert_eq!(signer.status(&forged.link(&key)).await, 403, "signed with another secret");
    assert_eq!(signer.status(&signer.link("p/0/0/0")).await, 404, "no such picture");
}

async fn pictures_are_deleted(pictures: &Pictures) {
    let key = key(0);
    put(pictures, &key, &Bytes::from("bytes")).await.unwrap();
    pictures.delete(&key).await.unwrap();
    assert_eq!(read(pictures, &key).await.status(), 404);
    pictures.delete(&key).await.unwrap();
}

async fn many_at_once(pictures: &Pictures) {
    let keys: Vec<_> = (0..96).map(key).collect();
    for keys in keys.chunks(16) {
        let put =
            keys.iter().map(|key| async move { put(pictures, key, &Bytes::from(key.to_string())).await.unwrap() });
        join_all(put).await;
    }
    for key in keys {
        assert_eq!(read(pictures, &key).await.text().await.unwrap(), key.as_str());
    }
}
