//! `cargo dev doctor` against the simulators, against broken upstreams, and on recorded answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use dev::ark::ArkOptions;
use dev::image_api::ImageApiOptions;
use dev::transcript::{self, Ending, ReceivedRequests, Transcript};
use dev::{RunningServer, Shape, image_api, start};
use serde_json::Value;

use crate::stack::{folder, stack};

const KEY: &str = "canary-key-of-the-doctor";
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/tests/data/fixtures");

/// Whether the command succeeded, and its output. The key is in the variable of this name.
async fn doctor(folder: &Path, key_env: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = stack(&folder.to_owned());
    command.arg("doctor").args(arguments).env(key_env, KEY);
    let run = move || command.output().unwrap();
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.unwrap();
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(!said.contains(KEY), "the key is printed: {said}");
    assert!(!said.contains("iVBOR") && !said.contains("/9j/"), "a picture is printed: {said}");
    (status.success(), said)
}

/// The text behind a name.
fn line<'a>(said: &'a str, name: &str) -> &'a str {
    let found = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no line {name}: {said}")).trim()
}

async fn relay() -> RunningServer {
    let options = ImageApiOptions { key: KEY.into(), shape: Shape::Deltas, speed: f64::INFINITY, log: false };
    start(image_api::routes(options)).await.unwrap()
}

async fn recorded(transcript: Transcript) -> (RunningServer, ReceivedRequests) {
    let (router, received) = transcript::routes(transcript);
    (start(router).await.unwrap(), received)
}

#[tokio::test]
async fn every_shape_of_the_simulators_is_named() {
    let (relay, folder) = (relay().await, folder("doctor-shapes"));
    for shape in Shape::ALL {
        let model = format!("m@{shape}");
        let arguments = [&relay.url("/v1"), "--model", &model, "--yes"];
        let (is_usable, said) = doctor(&folder, "IMAGE_API_KEY", &arguments).await;
        assert!(is_usable, "{shape}: {said}");
        assert!(line(&said, "Shape").starts_with(&format!("{shape}: ")), "{shape}: {said}");
        assert!(line(&said, "Verdict").starts_with("works"), "{shape}: {said}");
        let has_link = matches!(shape, Shape::Link | Shape::Progress | Shape::ImagesUrl | Shape::GeminiFile);
        assert_eq!(line(&said, "Picture").ends_with("a link"), has_link, "{shape}: {said}");
        let has_drafts = matches!(
            shape,
            Shape::Drafts
                | Shape::Previews
                | Shape::ImagesStream
                | Shape::GeminiDrafts
                | Shape::Responses
                | Shape::Several
        );
        assert_eq!(line(&said, "Drafts") != "none", has_drafts, "{shape}: {said}");
        let twice = matches!(shape, Shape::Twice | Shape::Both | Shape::Responses);
        assert_eq!(said.contains("the same picture more than once"), twice, "{shape}: {said}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn places_pings_and_settings_are_printed() {
    let (relay, folder) = (relay().await, folder("doctor-places"));
    for (model, place, comments, unusual) in [
        ("m@deltas", "choices[0].delta.content: a data URL in Markdown, over ", "none", ""),
        ("m@crlf", "choices[0].delta.content: a data URL in Markdown, over ", "2 ", "CRLF line ends"),
        ("m@litellm", "choices[0].delta.images[0].image_url.url: a data URL", "none", ""),
        ("m@items", "choices[0].delta.images[0].b64_json: base64", "none", ""),
        ("m@parts", "choices[0].delta.content[1].image_url.url: a data URL", "none", ""),
        ("m@gemini-snake", "candidates[0].content.parts[0].inline_data.data: base64", "none", "more than 1 MB"),
        ("m@images-url", "data[0].url: a link", "none", "a link instead of bytes"),
        ("m@json", "choices[0].message.images[0].image_url.url: a data URL", "none", "one JSON document although"),
        ("m@mislabelled", "choices[0].delta.content: a data URL in Markdown", "none", "a wrong media type"),
    ] {
        let arguments = [&relay.url("/v1"), "--model", model, "--yes", "--key-env", "RELAY_KEY"];
        let (is_usable, said) = doctor(&folder, "RELAY_KEY", &arguments).await;
        assert!(is_usable, "{model}: {said}");
        assert!(line(&said, "Places").starts_with(place), "{model}: {said}");
        assert!(line(&said, "Pings").starts_with(comments), "{model}: {said}");
        assert!(said.contains(unusual), "{model}: {said}");
        assert_eq!(line(&said, "Settings"), "IMAGE_API_MODE=chat", "{model}");
        let settings = [&format!("IMAGE_API_BASE_URL={}", relay.url("")), &format!("IMAGE_CHAT_MODEL={model}")];
        assert!(settings.iter().all(|setting| said.contains(*setting)), "{model}: {said}");
        assert!(said.contains("IMAGE_API_KEY=<the value of RELAY_KEY>"), "{model}: {said}");
        assert!(line(&said, "Times").starts_with("head 0."), "{model}: {said}");
        assert_eq!(line(&said, "Upstream"), format!("POST {}/v1/chat/completions, mode chat", relay.address));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn every_mode_sends_the_request_of_its_model() {
    let (relay, folder) = (relay().await, folder("doctor-modes"));
    let ark = dev::ark::routes(ArkOptions { key: KEY.into(), speed: f64::INFINITY, log: false });
    let ark = start(ark).await.unwrap();
    for (base_url, mode, model, shape) in [
        (relay.url(""), "images", "gpt-image-2", "images-stream"),
        (relay.url(""), "images", "dall-e-3", "images-json"),
        (relay.url("/v1"), "images", "a-new-model", "images-json"),
        (relay.url(""), "gemini", "gemini-3-pro-image", "gemini"),
        (ark.url("/api/v3"), "ark", "doubao-seedream-4-5-251128", "ark-stream"),
        (ark.url("/api/v3/"), "ark", "dola-seedream-5-0-pro-260628", "ark-json"),
        (ark.url("/api/v3"), "ark", "ep-1", "ark-stream"),
    ] {
        let key_env = if mode == "ark" { "ARK_API_KEY" } else { "IMAGE_API_KEY" };
        let arguments = [&*base_url, "--mode", mode, "--model", model, "--yes"];
        let (is_usable, said) = doctor(&folder, key_env, &arguments).await;
        assert!(is_usable && line(&said, "Shape").starts_with(&format!("{shape}: ")), "{model}: {said}");
        assert_eq!(said.contains("ARK_FAMILY=seedream-4.0"), model == "ep-1", "{model}: {said}");
        let usage = if mode == "ark" { "pictures 1" } else { "output 1290" };
        assert!(line(&said, "Usage").contains(usage), "{model}: {said}");
    }
    let arguments = [&ark.url("/api/v3"), "--mode", "ark", "--model", "doubao-seedream-9", "--yes"];
    let (is_usable, said) = doctor(&folder, "ARK_API_KEY", &arguments).await;
    assert!(!is_usable && line(&said, "Remedy").starts_with("check --model (doubao-seedream-9)"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn nothing_is_sent_without_a_confirmation_or_a_key() {
    let (upstream, received) = recorded(Transcript::events("data: [DONE]\n\n")).await;
    let folder = folder("doctor-unsent");
    let url = upstream.url("");
    for (key_env, arguments, reason) in [
        ("IMAGE_API_KEY", &[&*url][..], "run it again with --yes"),
        ("ANOTHER", &[&url, "--yes"], "IMAGE_API_KEY is not set"),
        // The key in place of the name.
        ("ANOTHER", &[&url, "--yes", "--key-env", KEY], "the variable that --key-env names is not set"),
        ("IMAGE_API_KEY", &["http://relay.example.com", "--yes"], "plain http is for loopback hosts only"),
        ("IMAGE_API_KEY", &["https://user:secret@relay.example.com", "--yes"], "must not contain a user name"),
        ("IMAGE_API_KEY", &[], "a base URL or --file is needed"),
    ] {
        let (is_usable, said) = doctor(&folder, key_env, arguments).await;
        assert!(!is_usable && said.contains(reason) && !said.contains("secret@"), "{said}");
    }
    fs::write(folder.join(".env"), format!("IMAGE_API_KEY={KEY}\nIMAGE_CHAT_MODEL=of-the-file\n")).unwrap();
    let (is_usable, said) = doctor(&folder, "ANOTHER", &[&url, "--yes"]).await;
    assert!(!is_usable && line(&said, "Model").starts_with("of-the-file,"), "{said}");
    assert_eq!(received.requests(), 1);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_failure_is_printed_with_the_remedy() {
    let folder = folder("doctor-failures");
    let refusal = |status: u16, body: &str| Transcript { status, ..Transcript::events(body.to_owned()) };
    let file = |name: &str| fs::read_to_string(format!("{FIXTURES}/{name}")).unwrap();
    let unsupported =
        r#"{"error":{"code":"InvalidParameter","message":"m","param":"stream_options","type":"BadRequest"}}"#;
    for (transcript, code, remedy) in [
        (refusal(401, &file("h01_newapi_401.json")), "service_unavailable", "check the key in IMAGE_API_KEY"),
        (refusal(404, "404 page not found"), "service_unavailable", "with or without /v1"),
        (
            refusal(404, &file("h09_google_404_model.json")),
            "service_unavailable",
            "check --model (gemini-2.5-flash-image)",
        ),
        (refusal(403, &file("h02_newapi_403_quota.json")), "service_unavailable", "top up the account"),
        (refusal(429, &file("h03_newapi_429.json")), "upstream_busy", "try again later"),
        (refusal(400, unsupported), "upstream_rejected_input", "it refuses `stream_options`"),
        (refusal(301, ""), "upstream_protocol_error", "use the address that it leads to"),
        (Transcript::events(file("e15_html_200.html")), "upstream_protocol_error", "The answer is a page"),
        (Transcript::events(file("e06_text_refusal_stop.sse")), "no_image", "choose a model that makes pictures"),
        (Transcript::events(file("e01_eof_mid_base64.sse")), "stream_interrupted", "the answer ended early"),
    ] {
        let (upstream, _) = recorded(transcript).await;
        let (is_usable, said) = doctor(&folder, "IMAGE_API_KEY", &[&upstream.url(""), "--yes"]).await;
        assert!(!is_usable && line(&said, "Verdict").starts_with(&format!("does not work: {code}: ")), "{said}");
        assert!(line(&said, "Remedy").contains(remedy), "{remedy}: {said}");
        assert!(!said.contains("Settings"), "{said}");
        assert_eq!(said.contains("a picture that the functions do not accept"), remedy.contains("early"), "{said}");
    }
    fs::write(folder.join(".env"), "UPSTREAM_IDLE_MS=200\n").unwrap();
    let stalled = Transcript { ending: Ending::Stall, ..Transcript::events(": ping\n\n") };
    let (upstream, _) = recorded(stalled).await;
    let (is_usable, said) = doctor(&folder, "IMAGE_API_KEY", &[&upstream.url(""), "--yes"]).await;
    assert!(!is_usable && line(&said, "Verdict").contains("upstream_timeout: "), "{said}");
    assert!(line(&said, "Remedy").contains("raise UPSTREAM_HEAD_MS, UPSTREAM_IDLE_MS"), "{said}");
    assert_eq!(line(&said, "Pings"), "1 comment");
    let (is_usable, said) = doctor(&folder, "IMAGE_API_KEY", &["http://127.0.0.1:9", "--yes"]).await;
    assert!(!is_usable && line(&said, "Remedy").contains("check the host, the port"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn every_upstream_of_the_routes_is_asked() {
    let (relay, folder) = (relay().await, folder("doctor-routes"));
    let (busy, _) = recorded(Transcript { status: 503, ..Transcript::events("{}") }).await;
    let upstreams = format!(
        r#"{{"relay":{{"mode":"chat","base_url":"{}","key":"{KEY}"}},"backup":{{"mode":"gemini","base_url":"{}","key":"{KEY}"}}}}"#,
        relay.url(""),
        busy.url("")
    );
    let routes = r#"{"gemini-2.5-flash-image":["relay","backup"],"other":[{"upstream":"backup","model":"gemini-2.5-flash-image"}]}"#;
    fs::write(folder.join(".env"), format!("IMAGE_UPSTREAMS='{upstreams}'\nIMAGE_ROUTES='{routes}'\n")).unwrap();
    let (are_usable, said) = doctor(&folder, "UNUSED", &[]).await;
    assert!(!are_usable && said.contains("run it again with --yes"), "{said}");
    let (are_usable, said) = doctor(&folder, "UNUSED", &["--yes"]).await;
    let verdicts: Vec<_> = said.lines().filter(|line| line.starts_with("Verdict ")).collect();
    assert!(!are_usable && verdicts.len() == 2, "{said}");
    assert!(verdicts[0].contains("works") && verdicts[1].contains("does not work: upstream_busy"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn recorded_answers_are_judged_as_their_manifest_says() {
    let folder = folder("doctor-files");
    let manifest: Value = serde_json::from_slice(&fs::read(format!("{FIXTURES}/MANIFEST.json")).unwrap()).unwrap();
    let mut judged = 0;
    for fixture in manifest["fixtures"].as_array().unwrap() {
        let name = fixture["file"].as_str().unwrap();
        let path = PathBuf::from(FIXTURES).join(name);
        let mode = if name.starts_with('a') { "ark" } else { "chat" };
        let status = fixture["status"].to_string();
        let arguments = ["--file", path.to_str().unwrap(), "--mode", mode, "--status", &status];
        let (is_usable, said) = doctor(&folder, "UNUSED", &arguments).await;
        assert_eq!(is_usable, fixture["expect"]["outcome"] == "ok", "{name}: {said}");
        assert!(!said.contains("Times"), "{name}: {said}");
        judged += 1;
    }
    assert!(judged > 60, "{judged}");
    fs::remove_dir_all(folder).unwrap();
}
