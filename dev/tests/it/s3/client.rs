//! The client of `shared` before a store that fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use bytes::Bytes;
use dev::RunningServer;
use dev::s3::{BUCKET, BucketFault, BucketProxy, S3Engine, proxy_routes, variables};
use dev::secrets::Vault;
use sha2::{Digest, Sha256};
use shared::edge::{PictureError, Pictures};
use shared::media::sniff::MediaType;
use tokio::time::{Instant, timeout};

use super::log::Log;
use super::suite::{ever, key, put, read};
use super::{EVER, config, engine, pictures};

/// An engine behind a proxy, and a client of the proxy.
struct Store {
    engine: S3Engine,
    proxy: BucketProxy,
    server: RunningServer,
}

impl Store {
    async fn new() -> Self {
        let (engine, proxy) = (engine().await, BucketProxy::default());
        let server = dev::start(proxy_routes(proxy.clone(), &engine.url())).await.unwrap();
        Self { engine, proxy, server }
    }

    fn client(&self, set: &[(&'static str, &str)]) -> Pictures {
        let set = set.iter().map(|(name, value)| (*name, (*value).to_owned()));
        pictures(&variables(&self.server.url("")).into_iter().chain(set).collect::<Vec<_>>())
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn a_good_put_is_one_request_and_no_line() {
    let (store, log) = (Store::new().await, Log::new());
    let (pictures, key) = (store.client(&[]), key(0));
    put(&pictures, &key, &Bytes::from("bytes")).await.unwrap();
    let link = pictures.sign(&key, "a.png").await.unwrap();
    assert_eq!((store.proxy.calls_to("PUT"), store.proxy.calls()), (1, 1), "a link needs no request");
    assert!(link.url.starts_with(&store.server.url(&format!("/{BUCKET}/{key}?"))));
    pictures.delete(&key).await.unwrap();
    assert_eq!((store.proxy.calls_to("DELETE"), store.proxy.calls()), (1, 2));
    assert!(log.lines().is_empty(), "{:?}", log.lines());
}

#[tokio::test]
async fn faults_that_pass_are_tried_again() {
    let faults = [
        (BucketFault::Refuse, 2, 3),
        (BucketFault::Swallow, 2, 3),
        (BucketFault::SlowDown, 2, 3),
        (BucketFault::InternalError, 1, 2),
        (BucketFault::NotS3, 1, 2),
        (BucketFault::HalfRequest, 1, 2),
    ];
    for (fault, times, calls) in faults {
        let (store, log) = (Store::new().await, Log::new());
        let (pictures, key) = (store.client(&[]), key(0));
        store.proxy.fail_next(times, fault);
        put(&pictures, &key, &Bytes::from("all of it")).await.unwrap();
        assert_eq!(store.proxy.calls(), calls, "{fault:?}");
        assert_eq!(read(&pictures, &key).await.text().await.unwrap(), "all of it", "{fault:?}");
        store.proxy.fail_next(times, fault);
        pictures.delete(&key).await.unwrap();
        assert!(store.engine.objects.keys().is_empty(), "{fault:?}");
        assert!(log.lines().is_empty(), "{fault:?}: {:?}", log.lines());
    }
}

#[tokio::test]
async fn faults_that_stay_are_logged_once() {
    let unavailable = PictureError::Unavailable;
    let rows = [
        (BucketFault::Refuse, unavailable, 3, "class=\"cut\""),
        (BucketFault::SlowDown, unavailable, 3, "class=\"busy\" status=503 code=\"SlowDown\""),
        (BucketFault::InternalError, unavailable, 3, "class=\"busy\" status=500"),
        (BucketFault::NotS3, unavailable, 3, "class=\"busy\" status=502"),
        (BucketFault::HalfRequest, PictureError::Digest, 2, "class=\"digest\" status=400"),
        (BucketFault::AccessDenied, PictureError::Refused, 1, "class=\"denied\" status=403 code=\"AccessDenied\""),
        (BucketFault::NoSuchBucket, PictureError::Refused, 1, "class=\"no_bucket\" status=404"),
        (BucketFault::PermanentRedirect, PictureError::Refused, 1, "class=\"other_region\" status=301"),
    ];
    let store = Store::new().await;
    let pictures = store.client(&[]);
    for (fault, error, calls, class) in rows {
        let (log, before) = (Log::new(), store.proxy.calls());
        store.proxy.fail(Some(fault));
        assert_eq!(put(&pictures, &key(0), &Bytes::from("bytes")).await, Err(error), "{fault:?}");
        assert_eq!(store.proxy.calls() - before, calls, "{fault:?}");
        let lines = log.lines();
        let [line] = lines.as_slice() else { panic!("{fault:?}: {lines:?}") };
        assert!(line.contains("ERROR ") && line.contains(class), "{fault:?}: {line}");
        assert!(line.contains("alarm=true"), "{line}");
        assert!(line.contains(&format!("attempts={calls}")) && line.contains("operation=\"PUT\""), "{line}");
        // A deletion has no body that could be changed.
        if fault != BucketFault::HalfRequest {
            assert_eq!(pictures.delete(&key(0)).await, Err(error), "{fault:?}");
        }
    }
    assert!(store.engine.objects.keys().is_empty());
}

#[tokio::test]
async fn a_store_that_is_down_is_unavailable() {
    let (url, log) = (dev::start(Router::new()).await.unwrap().url(""), Log::new());
    let pictures = pictures(&variables(&url));
    assert_eq!(put(&pictures, &key(0), &Bytes::from("bytes")).await, Err(PictureError::Unavailable));
    let lines = log.lines();
    assert!(lines.len() == 1 && lines[0].contains("class=\"connect\"") && lines[0].contains("attempts=3"), "{lines:?}");
}

#[tokio::test]
async fn a_slow_store_costs_no_more_than_the_time_limit() {
    let (store, log) = (Store::new().await, Log::new());
    let bytes = Bytes::from("bytes");
    let pictures = store.client(&[("PICTURE_PUT_MS", "1000")]);
    let sha256 = Sha256::digest(&bytes).into();
    store.proxy.fail(Some(BucketFault::Hang));
    let second = Duration::from_secs(1);
    for (until, expected) in [(ever(), second), (now() + second / 4, second / 4)] {
        let begun = now();
        let answer = timeout(EVER, pictures.put(&key(0), MediaType::Png, &sha256, bytes.clone(), until)).await.unwrap();
        assert_eq!(answer, Err(PictureError::Unavailable));
        let took = now() - begun;
        assert!(took <= expected + second, "{took:?} instead of {expected:?}");
    }
    // It stores, and answers too late.
    store.proxy.fail(None);
    store.proxy.delay(second * 3);
    assert_eq!(put(&pictures, &key(0), &bytes).await, Err(PictureError::Unavailable));
    assert_eq!(store.engine.objects.keys().len(), 1);
    let lines = log.lines();
    assert!(lines.len() == 3 && lines.iter().all(|line| line.contains("class=\"timeout\"")), "{lines:?}");
}

#[tokio::test]
async fn a_hanging_attempt_is_given_up_for_another() {
    let store = Store::new().await;
    store.proxy.fail_next(1, BucketFault::Hang);
    let begun = now();
    put(&store.client(&[]), &key(0), &Bytes::from("bytes")).await.unwrap();
    assert!(now() - begun >= Duration::from_secs(4), "an attempt has four seconds");
    assert_eq!(store.proxy.calls(), 2);
}

#[tokio::test]
async fn a_wrong_key_is_an_alarm() {
    let store = Store::new().await;
    for (variable, code) in
        [("PICTURES_ACCESS_KEY_ID", "InvalidAccessKeyId"), ("PICTURES_SECRET_ACCESS_KEY", "SignatureDoesNotMatch")]
    {
        let log = Log::new();
        let pictures = store.client(&[(variable, "canary")]);
        assert_eq!(put(&pictures, &key(0), &Bytes::from("bytes")).await, Err(PictureError::Refused));
        let lines = log.lines();
        assert!(lines.len() == 1 && lines[0].contains("alarm=true") && lines[0].contains(code), "{lines:?}");
    }
}

#[tokio::test]
async fn a_missing_picture_counts_as_deleted() {
    let store = Store::new().await;
    let pictures = store.client(&[]);
    pictures.delete(&key(0)).await.unwrap();
    // MinIO and others answer 404.
    let missing = || async { (axum::http::StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>") };
    let server = dev::start(Router::new().fallback(missing)).await.unwrap();
    let pictures = self::pictures(&variables(&server.url("")));
    pictures.delete(&key(0)).await.unwrap();
    assert_eq!(put(&pictures, &key(0), &Bytes::new()).await, Err(PictureError::Refused));
}

#[tokio::test]
async fn the_key_can_be_a_secret() {
    let (store, vault) = (Store::new().await, Vault::default());
    vault.put("store-key", r#"{"access_key_id": "test", "secret_access_key": " test\n"}"#);
    let secrets = dev::start(dev::secrets::routes(vault.clone())).await.unwrap();
    let client = |id: &str| {
        let given = ["PICTURES_ACCESS_KEY_ID", "PICTURES_SECRET_ACCESS_KEY"];
        let set = variables(&store.server.url("")).into_iter().filter(|(name, _)| !given.contains(name));
        let set: Vec<_> = set.chain([("PICTURES_KEY_SECRET_ARN", id.to_owned())]).collect();
        Pictures::new(&config(&set), Some(&secrets.url("").parse().unwrap())).unwrap()
    };
    let (pictures, key) = (client("store-key"), key(0));
    put(&pictures, &key, &Bytes::from("bytes")).await.unwrap();
    assert_eq!(read(&pictures, &key).await.text().await.unwrap(), "bytes");
    assert_eq!(vault.calls(), 1, "the secret is cached");

    let log = Log::new();
    vault.put("not-a-pair", r#"{"key": "canary"}"#);
    assert_eq!(put(&client("not-a-pair"), &key, &Bytes::from("bytes")).await, Err(PictureError::Refused));
    let lines = log.lines();
    assert!(lines[0].contains("access_key_id") && lines[1].contains("class=\"no_credentials\""), "{lines:?}");
    assert_eq!(store.proxy.calls_to("PUT"), 1);
}

#[tokio::test]
async fn a_put_has_no_header_that_a_store_refuses() {
    let headers = Arc::new(Mutex::new(Vec::new()));
    let seen = headers.clone();
    let record = move |request: Request| {
        let names = request.headers().keys().map(|name| name.as_str().to_owned());
        seen.lock().unwrap().push(names.collect::<std::collections::BTreeSet<_>>());
        std::future::ready(())
    };
    let server = dev::start(Router::new().fallback(record)).await.unwrap();
    let expected = "accept authorization cache-control content-length content-type host x-amz-checksum-sha256 \
                    x-amz-content-sha256 x-amz-date";
    for (checksum, expected) in [("on", expected.to_owned()), ("off", expected.replace("x-amz-checksum-sha256 ", ""))] {
        let set = variables(&server.url("")).into_iter().chain([("PICTURES_CHECKSUM", checksum.to_owned())]);
        put(&pictures(&set.collect::<Vec<_>>()), &key(0), &Bytes::from("bytes")).await.unwrap();
        let names: Vec<_> = headers.lock().unwrap().pop().unwrap().into_iter().collect();
        assert_eq!(names.join(" "), expected);
    }
}
