use super::*;
use crate::config::BucketKey;
use crate::image_url::LocalLinks;
use crate::secret::Secret;

fn pictures(link_hosts: &[&str]) -> Pictures {
    let bucket = BucketConfig {
        url: Url::parse("https://pictures.s3.us-east-1.amazonaws.com/").unwrap(),
        region: "us-east-1".into(),
        sends_checksum: true,
        key: BucketKey::Given { id: Secret::new("AKIDEXAMPLE"), secret: Secret::new("canary") },
    };
    let config = PicturesConfig {
        bucket: Some(bucket),
        days: 7,
        put: Duration::from_secs(8),
        link: Duration::from_secs(3_600),
        link_hosts: link_hosts.iter().map(|host| (*host).to_owned()).collect(),
    };
    Pictures::new(&config, None).unwrap()
}

#[tokio::test]
async fn a_link_names_its_life_and_its_file() {
    let pictures = pictures(&[]);
    let key = PictureKey::new("user:1", "run-1", 2);
    let before = wall().duration_since(UNIX_EPOCH).unwrap().as_secs() * 1_000;
    let link = pictures.sign(&key, "任务\"; x=\r\n-0.png").await.unwrap();
    assert!((before + 3_600_000..before + 3_660_000).contains(&link.expires_ms));
    let start = format!("https://pictures.s3.us-east-1.amazonaws.com/{key}?");
    let query = link.url.strip_prefix(&start).unwrap();
    let query: std::collections::HashMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).collect();
    assert_eq!(query["X-Amz-Expires"], "3600");
    assert_eq!(query["response-content-disposition"], "inline; filename=\"_____x___-0.png\"");
    assert!(query["X-Amz-Credential"].starts_with("AKIDEXAMPLE/") && query["X-Amz-Signature"].len() == 64);
    assert!(!link.url.contains("canary") && !format!("{link:?} {pictures:?}").contains("canary"));
    assert!(!format!("{link:?}").contains("Signature"));
    assert_eq!(pictures.kept_until_ms(1), 1 + 7 * DAY_MS);
}

#[test]
fn only_links_of_listed_hosts_are_copied() {
    let pictures = pictures(&[".volces.com", "img.example.com", "127.0.0.1"]);
    let rows = [
        ("https://a.tos-cn-beijing.volces.com/x.jpeg?X-Tos-Expires=86400", true, true),
        ("https://A.VOLCES.COM/x", true, true),
        ("https://img.example.com:443/x", true, true),
        ("https://img.example.com:8443/x", false, false),
        ("https://volces.com/x", false, false),
        ("https://evilvolces.com/x", false, false),
        ("https://volces.com.evil.test/x", false, false),
        ("https://a.volces.com.", false, false),
        ("https://u@a.volces.com/x", false, false),
        ("https://a.volces.com@evil.test/x", false, false),
        ("http://a.volces.com/x", false, false),
        ("https://sub.img.example.com/x", false, false),
        ("https://127.0.0.1/x", false, false),
        ("http://127.0.0.1:8787/x", false, true),
        ("http://localhost:8787/x", false, false),
        ("data:image/png;base64,", false, false),
    ];
    for (url, listed, beside_a_local_upstream) in rows {
        assert_eq!(pictures.copies(url, LocalLinks::Refused), listed, "{url}");
        assert_eq!(pictures.copies(url, LocalLinks::Allowed), beside_a_local_upstream, "{url}");
    }
    assert!(!self::pictures(&[]).copies("https://a.volces.com/x", LocalLinks::Allowed));
}

#[test]
fn faults_that_pass_are_tried_again() {
    let answered = |status, code| StoreFault::Answered { status, code };
    let rows = [
        (StoreFault::Connect, PictureError::Unavailable, 3),
        (StoreFault::Timeout, PictureError::Unavailable, 3),
        (answered(503, Some("SlowDown")), PictureError::Unavailable, 3),
        (answered(500, None), PictureError::Unavailable, 3),
        (answered(409, None), PictureError::Unavailable, 3),
        (answered(429, None), PictureError::Unavailable, 3),
        (answered(400, Some("RequestTimeout")), PictureError::Unavailable, 3),
        (answered(400, Some("BadDigest")), PictureError::Digest, 2),
        (answered(400, Some("XAmzContentSHA256Mismatch")), PictureError::Digest, 2),
        (answered(403, Some("AccessDenied")), PictureError::Refused, 1),
        (answered(404, Some("NoSuchBucket")), PictureError::Refused, 1),
        (answered(301, Some("PermanentRedirect")), PictureError::Refused, 1),
        (answered(501, Some("NotImplemented")), PictureError::Refused, 1),
        (StoreFault::NoCredentials, PictureError::Refused, 1),
    ];
    for (fault, error, attempts) in rows {
        assert_eq!((fault.log("PUT", 1), fault.attempts()), (error, attempts), "{fault:?}");
    }
}

#[test]
fn pauses_differ_and_stay_in_their_range() {
    let pauses: std::collections::BTreeSet<_> = (0..100).map(|_| pause()).collect();
    assert!(pauses.len() > 10);
    assert!(pauses.iter().all(|pause| (100..=300).contains(&pause.as_millis())));
}
