//! Kept pictures in the log, and what `DELETE` does to a task and to its pictures.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dev::picture::{PictureFormat, draw};
use dev::s3::{self, S3Engine};
use dev::supabase::{Project, legacy_token};
use dev::user;
use generations::{App, handle};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use shared::auth::{Principal, UserId};
use shared::config::CommonConfig;
use shared::edge::{Admission, AdmitRequest, Admitted, Ledger, Pictures, UpstreamWork};
use shared::kept_picture::KeptPicture;
use shared::media::WholeImage;
use shared::media::label::LabelStatus;
use shared::outcome::{DeliveredImage, ImageSource, Success, Tally};
use shared::picture_key::PictureKey;
use shared::task::TaskRecord;

const WEEK: Duration = Duration::from_secs(7 * 86_400);
const FAR_MS: u64 = 4_000_000_000_000;

/// The function, a bucket, and the ledger as a function that generates has it.
struct KeptLog {
    app: Arc<App>,
    ledger: Ledger,
    pictures: Pictures,
    engine: S3Engine,
    principal: Principal,
    token: String,
}

impl KeptLog {
    async fn new(name: &str) -> Self {
        let engine = s3::start(None, WEEK).await.unwrap();
        let bucket = engine.variables();
        let variable = |name: &str| {
            let set = bucket.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
            set.or_else(|| user::variable(name))
        };
        let config = CommonConfig::from_env(&variable).unwrap();
        let pictures = Pictures::new(&config.pictures, None).unwrap();
        let issuer = format!("{}/auth/v1", user::variable("SUPABASE_URL").unwrap());
        let claims = Project::claims(&issuer, name);
        let id = UserId::parse(claims["sub"].as_str().unwrap()).unwrap();
        Self {
            app: Arc::new(App::from_env(&variable)),
            ledger: Ledger::new(&config.ledger, Some(pictures.clone()), Duration::from_secs(600)),
            pictures,
            engine,
            principal: Principal::User(id),
            token: legacy_token(&user::variable("SUPABASE_JWT_SECRET").unwrap(), None, &claims),
        }
    }

    async fn begin(&self, task_id: &str) -> Box<Admission> {
        let request = AdmitRequest {
            principal: &self.principal,
            route: "/api/generate-stream",
            task_id,
            fingerprint: String::new(),
            calls: 1,
            images: 1,
            replays: false,
            deadline: None,
        };
        match self.ledger.admit(request).await.unwrap() {
            Admitted::Run(admission) => admission,
            Admitted::Replay(_) => unreachable!("{task_id} is new"),
        }
    }

    /// Puts a picture into the bucket, without a word in the record.
    async fn put(&self, task_id: &str, slot: u32) -> WholeImage {
        let bytes: Bytes = draw(task_id, slot, PictureFormat::Png, 8, 8).bytes;
        let image = WholeImage { label: Some(LabelStatus::Written), ..WholeImage::of(&bytes).unwrap() };
        let run = self.record(task_id).await.run;
        let key = PictureKey::new(&self.principal.to_string(), &run, slot);
        #[expect(clippy::disallowed_methods, reason = "a bound of the test's own")]
        let end_by = tokio::time::Instant::now() + Duration::from_secs(30);
        self.pictures.put(&key, image.media_type, &image.sha256, bytes, end_by).await.unwrap();
        image
    }

    /// Ends a task with a picture in the bucket.
    async fn end(&self, admission: &Admission, task_id: &str, expires_ms: u64) {
        let image = self.put(task_id, 0).await;
        let source = ImageSource::Inline(image.clone());
        let images = vec![DeliveredImage::new(0, source, false)];
        let success = Success { images, failed: Vec::new(), usage: None, cut_short: None };
        let kept = KeptPicture { slot: 0, draft: false, image, expires_ms };
        self.ledger.settle(admission, Ok(&success), Tally::default(), &[kept], &UpstreamWork::default()).await;
    }

    async fn record(&self, task_id: &str) -> TaskRecord {
        self.ledger.task(&self.principal, task_id).await.unwrap().unwrap()
    }

    async fn send(&self, method: Method, path: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/api/generations/{path}"));
        let request = request.header("authorization", format!("Bearer {}", self.token));
        let response = handle(self.app.clone(), request.body(Bytes::new()).unwrap()).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

#[tokio::test]
async fn a_kept_picture_is_listed_with_a_link_that_works() {
    let log = KeptLog::new("kept").await;
    let admission = log.begin("task").await;
    log.end(&admission, "task", FAR_MS).await;
    let (status, item) = log.send(Method::GET, "task").await;
    let picture = &item["pictures"][0];
    assert_eq!((status, item["status"].as_str(), item["images"].as_u64()), (200, Some("succeeded"), Some(1)));
    assert_eq!(picture["expires"], "2096-10-02T07:06:40.000Z");
    let bytes = reqwest::get(picture["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
    assert_eq!(WholeImage::of(&bytes).unwrap().sha256_hex(), picture["sha256"]);
    assert_eq!(picture["label"], "written");
    for member in ["index", "media_type", "bytes", "width", "height", "url_expires"] {
        assert!(!picture[member].is_null(), "{member}");
    }
}

#[tokio::test]
async fn an_expired_picture_is_listed_without_a_link() {
    let log = KeptLog::new("expired").await;
    let admission = log.begin("task").await;
    log.end(&admission, "task", 1_000).await;
    let (_, item) = log.send(Method::GET, "task").await;
    let picture = &item["pictures"][0];
    assert_eq!((picture["expires"].as_str(), picture.get("url")), (Some("1970-01-01T00:00:01.000Z"), None));
}

#[tokio::test]
async fn a_running_task_is_asked_to_stop_and_an_ended_one_is_shown() {
    let log = KeptLog::new("stop").await;
    let admission = log.begin("task").await;
    for _ in 0..2 {
        let (status, item) = log.send(Method::DELETE, "task").await;
        assert_eq!((status, &item["status"], &item["cancelling"]), (202, &"running".into(), &true.into()));
    }
    assert_eq!(log.send(Method::GET, "task").await.1["cancelling"], true);
    let (status, problem) = log.send(Method::DELETE, "task/pictures").await;
    assert_eq!((status, &problem["code"]), (409, &"task_in_progress".into()));
    log.end(&admission, "task", FAR_MS).await;
    let (status, item) = log.send(Method::DELETE, "task").await;
    assert_eq!((status, &item["status"], item.get("cancelling")), (200, &"succeeded".into(), None));
    assert!(item["pictures"][0]["url"].is_string(), "the race with the end has no error");
}

#[tokio::test]
async fn the_pictures_of_an_ended_task_are_erased() {
    let log = KeptLog::new("erase").await;
    let admission = log.begin("task").await;
    log.end(&admission, "task", FAR_MS).await;
    // As if the answer to a put had been lost.
    log.put("task", 15).await;
    assert_eq!(log.engine.objects.keys().len(), 2);
    for _ in 0..2 {
        assert_eq!(log.send(Method::DELETE, "task/pictures").await, (204, Value::Null));
    }
    assert!(log.engine.objects.keys().is_empty());
    let (_, item) = log.send(Method::GET, "task").await;
    assert_eq!((&item["status"], item.get("pictures")), (&"succeeded".into(), None));
    assert_eq!(log.send(Method::DELETE, "other/pictures").await.1["code"], "task_not_found");
}
