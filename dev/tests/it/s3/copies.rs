//! Copies of generated links.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use dev::RunningServer;
use dev::picture::{Picture, PictureFormat, draw};
use dev::s3::variables;
use futures_util::stream;
use shared::edge::{PictureError, Pictures};
use shared::image_url::LocalLinks;
use tokio::time::Instant;

use super::log::Log;
use super::pictures;
use super::suite::ever;

/// A host of generated links: `/<what>?canary` answers as its name says.
struct Host {
    server: RunningServer,
    requests: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Host {
    async fn new(picture: &Picture) -> Self {
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let (seen, bytes) = (requests.clone(), picture.bytes.clone());
        let answer = move |request: Request| {
            let path = request.uri().path().to_owned();
            let mut seen = seen.lock().unwrap();
            seen.push((path.clone(), request.headers().clone()));
            let nth = seen.iter().filter(|(other, _)| *other == path).count();
            std::future::ready(answer(&path, nth, &bytes))
        };
        Self { server: dev::start(Router::new().fallback(answer)).await.unwrap(), requests }
    }

    fn url(&self, path: &str) -> String {
        self.server.url(&format!("{path}?X-Tos-Signature=canary"))
    }

    fn calls(&self, path: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|(other, _)| other == path).count()
    }
}

fn answer(path: &str, nth: usize, picture: &Bytes) -> Response {
    let unsized_body = |bytes: Bytes| Body::from_stream(stream::iter([std::io::Result::Ok(bytes)]));
    match (path, nth) {
        ("/good", _) | ("/busy-once" | "/cut-once", 2) => {
            ([(header::CONTENT_TYPE, "text/html")], picture.clone()).into_response()
        }
        ("/without-length", _) => unsized_body(picture.clone()).into_response(),
        ("/busy-once" | "/busy", _) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        ("/cut-once" | "/cut", _) => dropped(),
        ("/gone", _) => StatusCode::FORBIDDEN.into_response(),
        ("/redirect", _) => Redirect::temporary("/good").into_response(),
        ("/page", _) => "<html>canary</html>".into_response(),
        ("/empty", _) => ().into_response(),
        ("/half", _) => picture.slice(..picture.len() / 2).into_response(),
        ("/too-large", _) => vec![0; (16 << 20) + 1].into_response(),
        ("/endless", _) => {
            Body::from_stream(stream::repeat_with(|| std::io::Result::Ok(vec![0; 1 << 16]))).into_response()
        }
        ("/encoded", _) => ([(header::CONTENT_ENCODING, "gzip")], picture.clone()).into_response(),
        ("/silent", _) => Body::from_stream(stream::pending::<std::io::Result<Bytes>>()).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The connection is closed before the head.
fn dropped() -> Response {
    let failed = std::io::Result::<Bytes>::Err(std::io::Error::other("dropped"));
    Body::from_stream(stream::iter([failed])).into_response()
}

fn client(hosts: &str) -> Pictures {
    let set = variables("http://127.0.0.1:9").into_iter().chain([("PICTURE_LINK_HOSTS", hosts.to_owned())]);
    pictures(&set.collect::<Vec<_>>())
}

#[tokio::test]
async fn whole_pictures_are_copied() {
    let picture = draw("a copy", 0, PictureFormat::Jpeg, 64, 48);
    let (host, pictures, log) = (Host::new(&picture).await, client("127.0.0.1"), Log::new());
    for (path, calls) in [("/good", 1), ("/without-length", 1), ("/busy-once", 2), ("/cut-once", 2)] {
        let (image, bytes) = pictures.copy_link(&host.url(path), LocalLinks::Allowed, ever()).await.unwrap();
        assert!(bytes == picture.bytes, "{path}");
        assert_eq!((image.media_type.as_str(), image.width, image.height), ("image/jpeg", 64, 48), "{path}");
        assert_eq!((image.sha256_hex(), image.bytes), (picture.sha256.clone(), bytes.len() as u64), "{path}");
        assert_eq!(host.calls(path), calls, "{path}");
    }
    let requests = host.requests.lock().unwrap();
    let names: Vec<_> = requests[0].1.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["accept", "accept-encoding", "host"], "nothing of a user");
    assert_eq!(
        (&requests[0].1["accept"], &requests[0].1["accept-encoding"]),
        (&"image/*".parse().unwrap(), &"identity".parse().unwrap())
    );
    assert!(log.lines().is_empty());
}

#[tokio::test]
async fn other_answers_are_not_copied() {
    let picture = draw("a copy", 0, PictureFormat::Png, 64, 48);
    let (host, pictures) = (Host::new(&picture).await, client("127.0.0.1"));
    let rows = [
        ("/busy", 2, "busy"),
        ("/cut", 2, "cut"),
        ("/gone", 1, "refused"),
        ("/redirect", 1, "refused"),
        ("/page", 1, "not_whole"),
        ("/empty", 1, "size"),
        ("/half", 1, "not_whole"),
        ("/too-large", 1, "size"),
        ("/endless", 1, "size"),
        ("/encoded", 1, "encoded"),
    ];
    for (path, calls, class) in rows {
        let log = Log::new();
        let answer = pictures.copy_link(&host.url(path), LocalLinks::Allowed, ever()).await;
        assert_eq!(answer.err(), Some(PictureError::NotCopied), "{path}");
        assert_eq!(host.calls(path), calls, "{path}");
        let lines = log.lines();
        let [line] = lines.as_slice() else { panic!("{path}: {lines:?}") };
        assert!(line.contains(" WARN ") && line.contains(&format!("class=\"{class}\"")), "{path}: {line}");
    }
    assert_eq!(host.calls("/good"), 0, "no redirect is followed");
}

#[tokio::test]
async fn a_silent_host_is_given_up_at_the_end() {
    let host = Host::new(&draw("a copy", 0, PictureFormat::Png, 64, 48)).await;
    #[expect(clippy::disallowed_methods, reason = "a deadline")]
    let end_by = Instant::now() + Duration::from_millis(300);
    let answer = client("127.0.0.1").copy_link(&host.url("/silent"), LocalLinks::Allowed, end_by).await;
    assert_eq!(answer.err(), Some(PictureError::NotCopied));
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_never_asked() {
    let host = Host::new(&draw("a copy", 0, PictureFormat::Png, 64, 48)).await;
    let rows = [
        ("", LocalLinks::Allowed),
        ("localhost,.example.com", LocalLinks::Allowed),
        ("127.0.0.1", LocalLinks::Refused),
    ];
    for (hosts, local) in rows {
        let answer = client(hosts).copy_link(&host.url("/good"), local, ever()).await;
        assert_eq!(answer.err(), Some(PictureError::NotCopied), "{hosts}");
    }
    assert!(host.requests.lock().unwrap().is_empty());
}
