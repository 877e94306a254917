//! Copies of ARK's links in the bucket.

use std::sync::Arc;
use std::time::Duration;

use dev::RunningServer;
use dev::ark::{ArkOptions, routes};
use dev::client::data;
use dev::s3::{self, S3Engine};
use faceflip_stream::{App, handle};
use serde_json::{Value, json};
use shared::auth::{Principal, UserId};
use shared::media::WholeImage;

use crate::support::{Reply, Stand, Upstream, User};

const PATH: &str = "/api/v1/faceflip/generate/stream";
const KEY: &str = "a key of this test's ARK";
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Tables, a bucket, and an ARK whose links are on this machine.
struct KeptStand {
    stand: Stand,
    engine: S3Engine,
    ark: RunningServer,
}

impl KeptStand {
    async fn new() -> Self {
        let ark = dev::start(routes(ArkOptions { key: KEY.into(), speed: 1000.0, log: false })).await.unwrap();
        Self { stand: Stand::new().await, engine: s3::start(None, WEEK).await.unwrap(), ark }
    }

    fn app(&self, more: &[(&str, &str)]) -> Arc<App> {
        let base = self.ark.url("/api/v3");
        let ark = [("ARK_BASE_URL", base.as_str()), ("ARK_API_KEY", KEY), ("ARK_API_KEY_SECRET_ARN", "")];
        let bucket = self.engine.variables();
        let bucket = bucket.iter().map(|(name, value)| (*name, value.as_str()));
        self.stand.app(&Upstream::gone(), &more.iter().copied().chain(ark).chain(bucket).collect::<Vec<_>>())
    }
}

async fn ask(app: &Arc<App>, user: &User) -> Reply {
    let request = user.post(PATH, &json!({"urls": ["https://example.com/image1.jpg"], "task_id": "task"}));
    Reply::read(handle(app.clone(), request).await).await
}

fn named(reply: &Reply, name: &str) -> Vec<Value> {
    reply.events().iter().filter(|event| event.name == name).map(data).collect()
}

#[tokio::test]
async fn links_of_listed_hosts_are_copied() {
    let (stand, user) = (KeptStand::new().await, User::new("copied"));
    let app = stand.app(&[("PICTURE_LINK_HOSTS", "127.0.0.1")]);
    let reply = ask(&app, &user).await;
    assert_eq!(reply.ending(), "done");
    let (images, stored, done) = (named(&reply, "image.done"), named(&reply, "image.stored"), reply.last());
    assert_eq!((images.len(), stored.len(), stand.engine.objects.keys().len()), (3, 3, 3));
    for (at, image) in images.iter().enumerate() {
        let vendors = image["url"].as_str().unwrap();
        assert!(vendors.starts_with(&stand.ark.url("")), "the event has ARK's own link: {vendors}");
        let copy = done["images"][at]["url"].as_str().unwrap();
        assert_eq!(done["generated_images"][at]["url"], copy);
        assert!(copy.starts_with(&stand.engine.url()), "{copy}");
        let [original, kept] = [vendors, copy].map(reqwest::get);
        let (original, kept) = tokio::join!(original, kept);
        assert_eq!(original.unwrap().bytes().await.unwrap(), kept.unwrap().bytes().await.unwrap());
    }

    // ARK's links have expired.
    let owner = user.owner();
    let ready = app.ready().unwrap();
    let principal = Principal::User(UserId::parse(owner.strip_prefix("user:").unwrap()).unwrap());
    let mut record = stand.stand.tables.record(&owner, "task").await.unwrap();
    record.insert("updated".into(), crate::support::n(1));
    stand.stand.tables.put(&stand.stand.tables.ledger, record).await;
    let again = ask(&app, &user).await;
    assert_eq!(again.ending(), "done");
    for image in named(&again, "image.done") {
        assert_eq!((&image["task_id"], &image["size"]), (&"task".into(), &"2K".into()), "the documented members");
        let bytes = reqwest::get(image["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        assert_eq!(WholeImage::of(&bytes).unwrap().sha256_hex(), image["sha256"]);
    }
    assert_eq!(again.last()["generated_images"].as_array().unwrap().len(), 3);
    let record = ready.ledger.task(&principal, "task").await.unwrap().unwrap();
    assert_eq!((record.attempts, record.pictures.len()), (1, 3));
}

#[tokio::test]
async fn copies_of_links_are_labelled() {
    let (stand, user) = (KeptStand::new().await, User::new("labelled"));
    // An invented code with a valid check character.
    let code = ("AIGC_PRODUCER", "001191110000100000000R10001");
    let app = stand.app(&[("PICTURE_LINK_HOSTS", "127.0.0.1"), code]);
    let reply = ask(&app, &user).await;
    let (images, done) = (named(&reply, "image.done"), reply.last());
    assert_eq!((reply.ending().as_str(), images.len()), ("done", 3));
    let record = stand.stand.tables.record(&user.owner(), "task").await.unwrap();
    let run = record["run"].as_s().unwrap().replace('-', "");
    for (at, image) in images.iter().enumerate() {
        assert_eq!(image["label"], "none", "ARK's own link");
        assert_eq!(done["images"][at]["label"], "written");
        let copy = reqwest::get(done["images"][at]["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8_lossy(&copy);
        assert_eq!(text.matches("<TC260:AIGC>").count(), 1);
        assert!(text.contains(&format!("&quot;ProduceID&quot;:&quot;{run}-{at}&quot;")));
        let kept = record["pics"].as_m().unwrap()[&at.to_string()].as_m().unwrap();
        assert_eq!(kept["bytes"].as_n().unwrap(), &copy.len().to_string());
        assert_eq!(kept["label"].as_s().unwrap(), "written");
    }
    // The same task again: ARK's links are still valid.
    let again = ask(&app, &user).await;
    assert_eq!(again.last()["images"][0]["label"], "written");
    let repeated = &named(&again, "image.done")[0];
    assert_eq!((&repeated["url"], &repeated["label"]), (&images[0]["url"], &"none".into()), "ARK's own link again");
}

#[tokio::test]
async fn links_of_other_hosts_are_never_fetched() {
    for hosts in ["", ".volces.com,.bytepluses.com"] {
        let (stand, user) = (KeptStand::new().await, User::new("not-listed"));
        let reply = ask(&stand.app(&[("PICTURE_LINK_HOSTS", hosts)]), &user).await;
        assert_eq!(reply.ending(), "done");
        assert!(named(&reply, "image.stored").is_empty() && stand.engine.objects.keys().is_empty());
        for image in reply.last()["images"].as_array().unwrap() {
            assert!(
                image["url"].as_str().unwrap().starts_with(&stand.ark.url("")) && image.get("url_expires").is_none()
            );
        }
    }
}

#[tokio::test]
async fn nothing_is_kept_for_a_caller_without_a_user() {
    let stand = KeptStand::new().await;
    let app = stand.app(&[("PICTURE_LINK_HOSTS", "127.0.0.1"), ("FACEFLIP_AUTH", "anonymous")]);
    let body = json!({"urls": ["https://example.com/image1.jpg"], "task_id": "task"}).to_string();
    let request = http::Request::post(PATH).header("content-type", "application/json").body(body.into()).unwrap();
    let reply = Reply::read(handle(app, request).await).await;
    assert_eq!(reply.ending(), "done");
    assert!(named(&reply, "image.stored").is_empty() && stand.engine.objects.keys().is_empty());
}
