//! Pictures that the stack keeps.

use std::fs;
use std::time::Duration;

use dev::client::{data, events};
use dev::s3::{BucketFault, BucketProxy, KEY_PAIR, proxy_routes};
use serde_json::{Value, json};

use super::{folder, run, stack, start, stop};

/// Asks the stack that printed `said` for a picture, as the demo user. Returns the data of the last event.
async fn ask(said: &str, path: &str, body: Value) -> Value {
    let address = said.trim_end().rsplit(' ').next().unwrap();
    let client = reqwest::Client::new();
    let user = json!({"email": "demo@example.com", "password": "demo"}).to_string();
    let sign_in = client.post(format!("{address}/auth/v1/token?grant_type=password")).body(user);
    let session: Value = serde_json::from_slice(&sign_in.send().await.unwrap().bytes().await.unwrap()).unwrap();
    let request = client.post(format!("{address}{path}")).header("content-type", "application/json");
    let request = request.header("idempotency-key", "key").bearer_auth(session["access_token"].as_str().unwrap());
    let answer = request.body(body.to_string()).send().await.unwrap().bytes().await.unwrap();
    data(events(&answer).last().unwrap())
}

async fn generate(said: &str) -> Value {
    ask(said, "/api/generate-stream", json!({"prompt": "a lake", "format": "events"})).await
}

async fn read(link: &Value) -> (u16, Vec<u8>) {
    let answer = reqwest::get(link.as_str().unwrap()).await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_kept_and_in_a_folder_also_after_the_stack() {
    let folder = folder("kept");
    let arguments = ["--speed", "inf", "--data", "data"];
    let mut command = stack(&folder);
    let (child, said) = start({
        command.args(arguments);
        command
    });
    assert!(said.contains("Pictures:    are kept by the stack"), "{said}");
    let image = generate(&said).await["images"][0].clone();
    let (status, bytes) = read(&image["url"]).await;
    assert_eq!((status, dev::client::hash(&bytes)), (200, image["sha256"].as_str().unwrap().to_owned()));
    let urls = json!({"urls": ["https://example.com/a.jpg"], "task_id": "t"});
    let images = ask(&said, "/api/v1/faceflip/generate/stream", urls).await["images"].clone();
    for image in images.as_array().unwrap() {
        assert!(image["url_expires"].is_string(), "the links of the fake are copied: {image}");
        assert_eq!(read(&image["url"]).await.0, 200);
    }
    stop(child);

    let mut command = stack(&folder);
    command.args(arguments);
    let (child, said) = start(command);
    let again = generate(&said).await["images"][0].clone();
    assert_eq!((read(&again["url"]).await.1 == bytes, &again["sha256"]), (true, &image["sha256"]));
    stop(child);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_turns_the_bucket_off_or_names_another() {
    let folder = folder("bucket");
    let engine = dev::s3::start(None, Duration::from_secs(3_600)).await.unwrap();
    let (url, far) = (engine.url(), "https://canary.example.com");
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, bool, usize);
    let rows: [Row<'_>; 4] = [
        (&[("PICTURES_BUCKET", "")], "are not kept", false, 0),
        (&[("PICTURES_BUCKET", "pictures")], "are kept by the stack", true, 0),
        (&[("AWS_ENDPOINT_URL_S3", far), ("PICTURES_ENDPOINT", far)], "are kept by the stack", true, 0),
        (&[("AWS_ENDPOINT_URL_S3", &url)], "are kept in the bucket that the environment names", true, 1),
    ];
    for (variables, expected, is_kept, there) in rows {
        let mut command = stack(&folder);
        command.args(["--speed", "inf"]).envs(variables.iter().copied());
        let (child, said) = start(command);
        assert!(said.contains(expected) && !said.contains("canary"), "{variables:?}: {said}");
        let image = generate(&said).await["images"][0].clone();
        assert_eq!(image["url"].is_string(), is_kept, "{variables:?}: {image}");
        assert_eq!(engine.objects.keys().len(), there, "{variables:?}");
        stop(child);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tries_the_bucket() {
    let folder = folder("check-bucket");
    let engine = dev::s3::start(None, Duration::from_secs(3_600)).await.unwrap();
    let proxy = BucketProxy::default();
    let server = dev::start(proxy_routes(proxy.clone(), &engine.url())).await.unwrap();
    let upstreams = "IMAGE_API_BASE_URL=https://relay.example.com\nIMAGE_API_KEY=a\nARK_API_KEY=b\n";
    let check = |of_bucket: &str| {
        fs::write(folder.join(".env"), format!("{upstreams}{of_bucket}")).unwrap();
        run(&folder, &["check"], "")
    };
    let (ready, said) = check("");
    assert!(ready && said.contains("the local stack keeps pictures itself"), "{said}");
    let (ready, said) = check("PICTURES_BUCKET=\n");
    assert!(ready && said.contains("PICTURES_BUCKET is empty: pictures are not kept"), "{said}");
    let (ready, said) = check("PICTURES_BUCKET=pictures\n");
    assert!(!ready && said.contains("PICTURES_REGION is not set") && said.contains("was not tried"), "{said}");

    let endpoint = format!("PICTURES_ENDPOINT={}\nPICTURES_REGION=us-east-1\n", server.url(""));
    let bucket = format!(
        "{endpoint}PICTURES_BUCKET=pictures\nPICTURES_ACCESS_KEY_ID={}\nPICTURES_SECRET_ACCESS_KEY=",
        KEY_PAIR.0
    );
    let right = format!("{bucket}{}", KEY_PAIR.1);
    let (ready, said) = check(&right);
    assert!(ready && said.contains("PICTURES_BUCKET was written, read by a link, and cleaned\n"), "{said}");
    assert!(!said.contains("ERROR") && engine.objects.keys().is_empty(), "{said}");

    for (of_bucket, expected) in [
        (format!("{bucket}canary"), "code=\"SignatureDoesNotMatch\""),
        (right.replace("BUCKET=pictures", "BUCKET=another"), "code=\"NoSuchBucket\""),
    ] {
        let (ready, said) = check(&of_bucket);
        assert!(!ready && said.contains("PICTURES_BUCKET cannot be written: check its name"), "{said}");
        assert!(said.contains(expected) && !said.contains("canary") && said.contains("Next: correct"), "{said}");
    }
    let get_is_denied = |call: &dev::s3::BucketCall| (call.method == "GET").then_some(BucketFault::AccessDenied);
    proxy.script(get_is_denied);
    let (ready, said) = check(&right);
    assert!(!ready && said.contains("cannot be read by a signed link"), "{said}");
    proxy.fail(Some(BucketFault::Refuse));
    let (ready, said) = check(&right);
    assert!(!ready && said.contains("check PICTURES_ENDPOINT and the network"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}
