//! The embedded engine, and where it is more than the suite asks for.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use aws_credential_types::Credentials;
use bytes::Bytes;
use dev::client::hash;
use dev::s3::{KEY_PAIR, start};
use reqwest::Method;
use tokio::time::timeout;

use super::signer::Signer;
use super::suite::{everything, key, put, read};
use super::{EVER, engine, pictures};

const ANOTHER: &str = "AWS_ENDPOINT_URL_S3";
const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn the_engine_does_what_the_functions_need() {
    let engine = engine().await;
    everything(&pictures(&engine.variables()), &engine.url()).await;
}

#[tokio::test]
async fn a_folder_does_the_same() {
    let folder = Folder::new();
    let engine = start(Some(folder.0.clone()), HOUR).await.unwrap();
    everything(&pictures(&engine.variables()), &engine.url()).await;
    let keys = engine.objects.keys();
    assert_eq!(folder.files(), keys.len(), "refused and deleted objects have no file");
}

/// The same against an engine that is not ours: `AWS_ENDPOINT_URL_S3=http://127.0.0.1:4566 cargo test …`. Its key must
/// be `test`, its secret `test`.
#[tokio::test]
async fn another_engine_does_the_same() {
    #[expect(clippy::disallowed_methods, reason = "a test has no main that could have read it")]
    let Ok(url) = std::env::var(ANOTHER) else { return };
    let signer = Signer::new(&url);
    let bucket = signer.object("").trim_end_matches('/').to_owned();
    let created = signer.send(Method::PUT, &bucket, &[], &hash(b""), Bytes::new()).await.status();
    assert!(created == 200 || created == 409, "{created}");
    everything(&pictures(&dev::s3::variables(&url)), &url).await;
}

#[tokio::test]
async fn a_folder_keeps_the_pictures() {
    let folder = Folder::new();
    let (kept, bytes) = (key(0), Bytes::from(vec![7; 100_000]));
    {
        let engine = start(Some(folder.0.clone()), HOUR).await.unwrap();
        put(&pictures(&engine.variables()), &kept, &bytes).await.unwrap();
    }
    // A put that was interrupted.
    fs::write(folder.0.join("1.new"), b"{").unwrap();
    let engine = start(Some(folder.0.clone()), HOUR).await.unwrap();
    assert_eq!(engine.objects.keys(), [kept.as_str()]);
    let answer = read(&pictures(&engine.variables()), &kept).await;
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert!(answer.bytes().await.unwrap() == bytes);
}

#[tokio::test]
async fn expired_pictures_are_deleted() {
    let folder = Folder::new();
    let engine = start(Some(folder.0.clone()), Duration::from_millis(200)).await.unwrap();
    let pictures = pictures(&engine.variables());
    let key = key(0);
    put(&pictures, &key, &Bytes::from("bytes")).await.unwrap();
    assert_eq!(engine.objects.sweep(HOUR), 0);
    let deleted = async {
        while read(&pictures, &key).await.status() == 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(EVER, deleted).await.unwrap();
    assert_eq!(folder.files(), 0);
}

/// The suite cannot ask this of another engine: ministack compares checksums only.
#[tokio::test]
async fn the_signed_digest_alone_is_compared() {
    let engine = engine().await;
    let signer = Signer::new(&engine.url());
    let url = signer.object(key(0).as_str());
    let answer = signer.send(Method::PUT, &url, &[], &hash(b"other"), Bytes::from("bytes")).await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("<Code>XAmzContentSHA256Mismatch</Code>"));
    assert!(engine.objects.keys().is_empty());
}

/// The credentials of a function's role come with a token. ministack knows its own tokens only.
#[tokio::test]
async fn session_tokens_are_signed() {
    let engine = engine().await;
    let credentials = Credentials::new(KEY_PAIR.0, KEY_PAIR.1, Some("to/ken+with=signs".into()), None, "test");
    let signer = Signer { credentials, ..Signer::new(&engine.url()) };
    let key = key(0).to_string();
    assert_eq!(signer.put(&key, "bytes").await.status(), 200);
    let link = signer.link(&key);
    assert!(link.contains("X-Amz-Security-Token=to%2Fken%2Bwith%3Dsigns"), "{link}");
    assert_eq!(signer.status(&link).await, 200);
}

#[tokio::test]
async fn only_its_bucket_exists_and_it_cannot_be_listed() {
    let engine = engine().await;
    let signer = Signer::new(&engine.url());
    let url = format!("{}/another/p/0/0/0", engine.url());
    let answer = signer.send(Method::PUT, &url, &[], &hash(b"bytes"), Bytes::from("bytes")).await;
    assert_eq!(answer.status(), 404);
    assert!(answer.text().await.unwrap().contains("<Code>NoSuchBucket</Code>"));
    let list = signer.object("?list-type=2").replace("/?", "?");
    assert_eq!(signer.send(Method::GET, &list, &[], &hash(b""), Bytes::new()).await.status(), 501);
}

#[tokio::test]
async fn pages_of_this_machine_may_read_pictures() {
    let engine = engine().await;
    let signer = Signer::new(&engine.url());
    let key = key(0).to_string();
    signer.put(&key, "bytes").await;
    let get = |origin: &'static str| signer.client.get(signer.link(&key)).header("origin", origin).send();
    let answer = get("http://localhost:5173").await.unwrap();
    let allowed: Vec<_> = answer.headers().get_all("access-control-allow-origin").iter().collect();
    assert_eq!(allowed, ["http://localhost:5173"]);
    assert_eq!(answer.headers()["access-control-expose-headers"], "etag,content-length,content-range");
    assert!(get("https://evil.test").await.unwrap().headers().get("access-control-allow-origin").is_none());
    let preflight = signer.client.request(Method::OPTIONS, signer.link(&key)).header("origin", "http://localhost:5173");
    let preflight = preflight.header("access-control-request-method", "GET").send().await.unwrap();
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-methods"], "GET,HEAD");
}

/// A folder that is deleted at the end of a test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("s3-{}", uuid::Uuid::new_v4())))
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
