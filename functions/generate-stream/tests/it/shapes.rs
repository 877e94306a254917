//! Every shape of a picture through the whole route: as typed events, as chat chunks, and in one answer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::client::{content, hash, pictures};
use dev::transcript::Transcript;
use generate_stream::{App, handle};
use regex::Regex;
use serde_json::{Value, json};

use crate::support::{Reply, Stand, Upstream, User, fixture};

const STREAM: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
/// A model that may send drafts, and the documented one, which does not.
const MODELS: [&str; 2] = [DRAFTING, "gemini-2.5-flash-image"];
const READ_REPORTS: [&str; 3] = ["/r20_", "/r48_", "/r53_"];
const DRAFTING: &str = "gemini-3-pro-image";

/// As the product's documentation has it: `/!\[image\]\(data:\s*image\/([^;]+);\s*base64,\s*\n?([^)]+)\)/i`.
fn documented_extractor() -> Regex {
    Regex::new(r"(?i)!\[image\]\(data:\s*image/([^;]+);\s*base64,\s*\n?([^)]+)\)").unwrap()
}

/// The picture that an older frontend finds in what it has gathered.
fn first_picture(content: &str) -> Option<Vec<u8>> {
    let found = documented_extractor().captures(content)?;
    let payload: String = found[2].chars().filter(|symbol| !symbol.is_whitespace()).collect();
    // `atob` and `fetch` of a data URL take white space, and want the rest as it should be.
    STANDARD.decode(payload).ok()
}

async fn ask(app: &Arc<App>, user: &User, path: &str, body: Value) -> Reply {
    Reply::read(handle(app.clone(), user.post(path, &body)).await).await
}

#[tokio::test]
async fn every_transcript_as_events_as_chunks_and_whole() {
    let manifest: Value = serde_json::from_slice(&fixture("MANIFEST.json")).unwrap();
    let reports: Value = serde_json::from_slice(&fixture("reports/MANIFEST.json")).unwrap();
    let stand = Stand::new().await;
    let mut rows = 0;
    // The reports whose answers are read; the others wait for the rule that finds a picture anywhere.
    let is_read = |row: &&Value| READ_REPORTS.iter().any(|name| row["file"].as_str().unwrap().contains(name));
    let reports = reports["fixtures"].as_array().unwrap().iter().filter(is_read);
    for recorded in manifest["fixtures"].as_array().unwrap().iter().chain(reports) {
        let name = recorded["file"].as_str().unwrap();
        let user = User::new(name);
        let expect = &recorded["expect"];
        let is_ok = expect["outcome"] == "ok";
        let content_type = match recorded["content_type"].as_str().unwrap() {
            "text/event-stream" => "text/event-stream",
            "text/html" => "text/html",
            _ => "application/json",
        };
        for piece_bytes in [usize::MAX, 701] {
            let status = recorded["status"].as_u64().unwrap() as u16;
            let bytes = fixture(name);
            let transcript = Transcript { status, content_type, piece_bytes, ..Transcript::events(bytes.clone()) };
            let upstream = Upstream::plays(transcript).await;
            let app = stand.app(&upstream, &[("RL_LIMIT", "1000"), ("IMAGE_MODELS", DRAFTING)]);

            let typed = ask(&app, &user, STREAM, json!({"prompt": "x", "format": "events"})).await;
            let done = typed.last();
            let code = done["code"].as_str().unwrap_or_default();
            assert_eq!(typed.ending(), if is_ok { "done".to_owned() } else { format!("error {code}") }, "{name}");
            let typed = typed.events();
            let whole: Vec<_> = pictures(&typed).iter().map(|(_, bytes)| hash(bytes)).collect();
            if let Some(images) = expect["images"].as_array() {
                let expected: Vec<_> = images.iter().map(|image| image["sha256"].as_str().unwrap()).collect();
                let drafts =
                    expect["previews"].as_u64().unwrap_or_default() as usize + usize::from(name.starts_with("g02"));
                assert_eq!(whole[drafts..], expected, "{name}");
            }
            let finals: Vec<_> =
                done["images"].as_array().unwrap().iter().map(|image| image["sha256"].clone()).collect();
            let finals: Vec<_> = finals.iter().filter_map(Value::as_str).collect();
            if let Some(urls) = expect["urls"].as_array() {
                assert_eq!(done["images"][0]["url"], urls[0], "{name}");
            }

            for model in MODELS {
                let chat = ask(&app, &user, STREAM, json!({"prompt": "x", "model": model})).await;
                if chat.status == 200 {
                    let ending = if is_ok { "[DONE]".to_owned() } else { format!("error {code}") };
                    assert_eq!(chat.ending(), ending, "{name}");
                    in_chat(name, model, &chat, &whole, &finals, expect);
                } else {
                    assert!(!is_ok, "{name}");
                    assert_eq!(chat.ending(), format!("problem {code}"), "{name}: both formats have the same code");
                }
            }

            let one_shot = ask(&app, &user, IMAGE, json!({"prompt": "x"})).await;
            let answer: Value = serde_json::from_slice(&one_shot.bytes).unwrap();
            if is_ok {
                assert_eq!(one_shot.status, 200, "{name}");
                let images = answer["data"].as_array().unwrap();
                let bytes_of = |image: &Value| image["b64_json"].as_str().map(|b64| STANDARD.decode(b64).unwrap());
                let hashes: Vec<_> = images.iter().filter_map(bytes_of).map(|bytes| hash(&bytes)).collect();
                assert_eq!(hashes, finals, "{name}: the final picture of each slot");
                let urls: Vec<_> = images.iter().filter_map(|image| image["url"].as_str()).collect();
                let told: Vec<_> =
                    done["images"].as_array().unwrap().iter().filter_map(|image| image["url"].as_str()).collect();
                assert_eq!(urls, told, "{name}");
            } else {
                assert_eq!(answer["code"], code, "{name}");
            }
            assert_eq!(upstream.requests(), 4, "{name}: one paid call a request");
        }
        rows += 1;
    }
    assert_eq!(rows, 86, "transcripts");
}

/// What an older frontend makes of a success.
fn in_chat(name: &str, model: &str, chat: &Reply, whole: &[String], finals: &[&str], expect: &Value) {
    let content = content(&chat.events());
    if expect["outcome"] != "ok" {
        assert_eq!(first_picture(&content), None, "{name}: half a picture is not found");
        return;
    }
    if !finals.is_empty() {
        let found = first_picture(&content).unwrap_or_else(|| panic!("{name}: {content}"));
        let found = hash(&found);
        // The first picture of a model without drafts is written as it comes.
        let fits = if model == DRAFTING { found == finals[0] } else { whole.contains(&found) };
        assert!(fits, "{name} {model}: {content}");
    }
    for url in expect["urls"].as_array().into_iter().flatten() {
        assert!(content.contains(&format!("![image]({})", url.as_str().unwrap())), "{name}: {content}");
    }
}

#[tokio::test]
async fn a_marked_draft_is_shown_only_where_nothing_better_comes() {
    let draft = STANDARD.encode(picture("c01_newapi_one_giant_chunk.sse").await);
    let part = |thought: &str, base64: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"inlineData\":{{\"mimeType\":\"image/png\",\"data\":\"{base64}\"}}{thought}}}]}}}}]}}\n\n"
        )
    };
    let stop = "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n";
    let alone = part(",\"thought\":true", &draft) + stop;
    let (stand, user) = (Stand::new().await, User::new("draft"));
    let upstream = Upstream::plays(Transcript::events(alone)).await;
    let app = stand.app(&upstream, &[]);
    let chat = ask(&app, &user, STREAM, json!({"prompt": "x"})).await;
    assert_eq!(chat.ending(), "[DONE]");
    assert_eq!(STANDARD.encode(first_picture(&content(&chat.events())).unwrap()), draft);
    let whole = ask(&app, &user, IMAGE, json!({"prompt": "x"})).await;
    assert_eq!(whole.last()["data"][0]["b64_json"], draft.as_str());
    let typed = ask(&app, &user, STREAM, json!({"prompt": "x", "format": "events"})).await;
    assert_eq!(typed.ending(), "done");
}

/// The picture of a transcript.
async fn picture(name: &str) -> Vec<u8> {
    let (stand, user) = (Stand::new().await, User::new("picture"));
    let upstream = Upstream::recorded(name).await;
    let whole = ask(&stand.app(&upstream, &[]), &user, IMAGE, json!({"prompt": "x"})).await;
    STANDARD.decode(whole.last()["data"][0]["b64_json"].as_str().unwrap()).unwrap()
}
