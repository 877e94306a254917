//! `POST /v1/images/edits`.

use dev::Shape;
use serde_json::json;

use super::{KEY, PNG, PROMPT, assert_refused, relay};

/// A part: its name, its filename, its media type and its bytes.
type Part = (&'static str, Option<&'static str>, Option<&'static str>, &'static [u8]);

const JPEG: &[u8] = b"\xff\xd8\xff\xe0";
const WEBP: &[u8] = b"RIFF\x04\0\0\0WEBP";

const fn file(name: &'static str, media_type: &'static str, bytes: &'static [u8]) -> Part {
    (name, Some("photo"), Some(media_type), bytes)
}

const fn text(name: &'static str, value: &'static str) -> Part {
    (name, None, None, value.as_bytes())
}

/// The text fields, and these files behind them.
fn form(files: &[Part]) -> Vec<Part> {
    let texts = [text("model", "gpt-image-2"), text("prompt", PROMPT), text("n", "1"), text("stream", "true")];
    texts.into_iter().chain(files.iter().copied()).collect()
}

async fn ask(key: &str, parts: &[Part]) -> reqwest::Response {
    let mut body = Vec::new();
    for (name, filename, media_type, bytes) in parts {
        body.extend(format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"").bytes());
        body.extend(filename.map_or(String::new(), |filename| format!("; filename=\"{filename}\"")).bytes());
        body.extend(media_type.map_or(String::new(), |media_type| format!("\r\nContent-Type: {media_type}")).bytes());
        body.extend(b"\r\n\r\n");
        body.extend_from_slice(bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--cut--\r\n");
    let relay = relay(Shape::Deltas).await;
    let post = reqwest::Client::new().post(relay.url("/v1/images/edits")).header("authorization", key);
    post.header("content-type", "multipart/form-data; boundary=cut").body(body).send().await.unwrap()
}

#[tokio::test]
async fn one_picture_is_image_and_several_are_image_each() {
    let photo = file("image[]", "image/webp", WEBP);
    for files in [
        vec![file("image", "image/png", PNG)],
        vec![file("image[]", "image/jpeg", JPEG), file("image[]", "image/png", PNG)],
        vec![photo; 16],
    ] {
        let mut parts = form(&files);
        parts.push(text("partial_images", "1"));
        let answer = ask(&format!("Bearer {KEY}"), &parts).await;
        assert_eq!(answer.status(), 200, "{} files", files.len());
        let body = answer.text().await.unwrap();
        let names: Vec<_> = body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(names, ["image_edit.partial_image", "image_edit.completed"]);
        assert!(body.contains(&format!("\"image_tokens\":{}", 258 * files.len())));
    }
}

#[tokio::test]
async fn the_size_is_that_of_the_form() {
    let parts = form(&[file("image", "image/png", PNG), text("size", "1536x1024")]);
    let body = ask(&format!("Bearer {KEY}"), &parts).await.text().await.unwrap();
    let picture = super::decoded(body[body.rfind("iVBOR").unwrap()..].split('"').next().unwrap());
    let frame = png::Decoder::new(std::io::Cursor::new(picture)).read_info().unwrap();
    assert_eq!((frame.info().width, frame.info().height), (1536, 1024));
    assert!(body.contains(r#""size":"1536x1024""#));
}

#[tokio::test]
async fn every_other_form_is_refused() {
    let photo = file("image", "image/png", PNG);
    let photos = file("image[]", "image/png", PNG);
    let other = |index: usize, part: Part| {
        let mut parts = form(&[photo]);
        parts[index] = part;
        parts
    };
    let mut deviations = vec![
        form(&[]),
        form(&[photos]),
        form(&[photo, photo]),
        form(&[photo, photos]),
        form(&[photos; 17]),
        form(&[file("image", "image/png", JPEG)]),
        form(&[file("image", "image/gif", b"GIF89a")]),
        form(&[file("image", "application/octet-stream", PNG)]),
        form(&[("image", Some("photo"), None, PNG)]),
        form(&[("image", None, Some("image/png"), PNG)]),
        form(&[("image", Some(""), Some("image/png"), PNG)]),
        form(&[photo, file("mask", "image/png", PNG)]),
        form(&[photo, text("size", "auto")]),
        form(&[photo, text("size", "1024x1024"), text("size", "1024x1024")]),
        form(&[photo, text("n", "1")]),
        other(0, text("model", "gpt-image-2@spiral")),
        other(1, text("prompt", "")),
        other(1, ("prompt", None, None, b"\xff")),
        other(1, ("prompt", Some("prompt"), None, b"a")),
        other(1, ("prompt", None, Some("application/json"), b"a")),
        other(2, text("n", "2")),
        other(3, text("stream", "yes")),
        form(&[photo, text("partial_images", "4")]),
    ];
    deviations.extend((0..3).map(|index| {
        let mut parts = form(&[photo]);
        parts.remove(index);
        parts
    }));
    for parts in deviations {
        let error = json!({"type": "invalid_request_error", "param": null, "code": null});
        assert_refused(ask(&format!("Bearer {KEY}"), &parts).await, 400, error, &format!("{parts:?}")).await;
    }
}

#[tokio::test]
async fn another_key_and_another_media_type_are_refused() {
    let unauthorized = json!({"type": "invalid_request_error", "param": null, "code": "invalid_api_key"});
    let parts = form(&[file("image", "image/png", PNG)]);
    assert_refused(ask("Bearer another", &parts).await, 401, unauthorized, "key").await;

    let relay = relay(Shape::Deltas).await;
    for (media_type, body) in [
        ("application/json", json!({"model": "gpt-image-2", "prompt": PROMPT, "n": 1, "stream": true}).to_string()),
        ("multipart/form-data", "--cut--\r\n".to_owned()),
        ("multipart/form-data; boundary=cut", "--cut\r\nno form".to_owned()),
    ] {
        let post = reqwest::Client::new().post(relay.url("/v1/images/edits")).header("content-type", media_type);
        let answer = post.header("authorization", format!("Bearer {KEY}")).body(body).send().await.unwrap();
        let error = json!({"type": "invalid_request_error", "param": null, "code": null});
        assert_refused(answer, 400, error, media_type).await;
    }
}
