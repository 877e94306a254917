//! openapi.yaml describes every answer of the functions, and nothing else.

mod documents;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use dev::client::StreamEvent;
use dev::s3;
use dev::transcript::Transcript;
use serde_json::{Map, Value, json};

use crate::support::{Reply, Stand, Upstream, User};

const STREAM: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
const FACEFLIP: &str = "/api/v1/faceflip/generate/stream";
const GENERATIONS: &str = "/api/generations";
/// A model that may send drafts.
const DRAFTING: &str = "gemini-3-pro-image";
/// An invented code with a valid check character.
const PRODUCER: &str = "001191110000100000000R10001";
const AT: &str = "http://openapi.example/";

pub(crate) fn file(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// openapi.yaml with its schemas.
struct Specification {
    document: Value,
    schemas: Schemas,
    compiler: Compiler,
    /// The names of the events that were checked.
    checked: BTreeSet<String>,
}

impl Specification {
    fn read() -> Self {
        let document: Value = serde_norway::from_str(&file("openapi.yaml")).unwrap();
        let mut closed = document.clone();
        close(&mut closed);
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        compiler.add_resource(AT, closed).unwrap();
        Self { document, schemas: Schemas::new(), compiler, checked: BTreeSet::new() }
    }

    fn at(&self, pointer: &str) -> &Value {
        self.document.pointer(pointer).unwrap_or_else(|| panic!("openapi.yaml has no {pointer}"))
    }

    fn compile(&mut self, pointer: &str) -> SchemaIndex {
        self.compiler.compile(&format!("{AT}#{pointer}"), &mut self.schemas).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Checks a document. Members that the schema does not list are mistakes.
    fn check(&mut self, pointer: &str, value: &Value) -> Result<(), String> {
        let schema = self.compile(pointer);
        self.schemas.validate(value, schema).map_err(|error| format!("{error:#}\n{value:.2000}"))
    }

    fn check_schema(&mut self, name: &str, value: &Value) -> Result<(), String> {
        self.check(&format!("/components/schemas/{name}"), value)
    }

    /// Checks the data of a typed event.
    fn check_event(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let known = self.at("/components/schemas/StreamEvent/discriminator/mapping")[name].as_str().map(str::to_owned);
        let known = known.ok_or_else(|| format!("openapi.yaml has no event {name}"))?;
        if value["event"] != name {
            return Err(format!("the event {name} repeats its name as {}", value["event"]));
        }
        self.check(known.trim_start_matches('#'), value)?;
        self.check_schema("StreamEvent", value)?;
        self.checked.insert(name.to_owned());
        Ok(())
    }

    /// Checks a stream of either format.
    fn check_stream(&mut self, events: &[StreamEvent]) -> Result<(), String> {
        if events.is_empty() {
            return Err("an empty stream".into());
        }
        for event in events.iter().filter(|event| event.data != "[DONE]") {
            let value: Value = serde_json::from_str(&event.data).map_err(|error| format!("{error}: {}", event.data))?;
            match (event.name.as_str(), value.get("event")) {
                ("", _) => self.check_schema("ChatChunk", &value)?,
                ("error", None) => self.check_schema("ChatError", &value)?,
                (name, _) => self.check_event(name, &value)?,
            }
        }
        Ok(())
    }

    /// Checks the status, the content type, the headers and the body of a response.
    fn check_reply(&mut self, path: &str, method: &str, reply: &Reply) -> Result<(), String> {
        let at = format!("/paths/{}/{method}/responses/{}", path.replace('/', "~1"), reply.status);
        let response = match self.at(&at)["$ref"].as_str() {
            Some(shared) => shared.trim_start_matches('#').to_owned(),
            None => at,
        };
        let headers = self.at(&response)["headers"].as_object().unwrap().clone();
        for (name, header) in headers {
            let schema = header["$ref"].as_str().map_or_else(
                || format!("{response}/headers/{name}"),
                |shared| shared.trim_start_matches('#').to_owned(),
            );
            let required = self.at(&schema)["required"] == true;
            match reply.header(&name) {
                None if required => return Err(format!("{path} {}: no {name}", reply.status)),
                None => {}
                Some(value) => {
                    let number = value.parse::<u64>().ok().map(Value::from);
                    let value = number.filter(|_| name == "Retry-After").unwrap_or_else(|| value.into());
                    self.check(&format!("{schema}/schema"), &value).map_err(|error| format!("{name}: {error}"))?;
                }
            }
        }
        let content = reply.header("content-type").unwrap_or_default();
        let content = content.split(';').next().unwrap_or_default();
        let media = format!("{response}/content/{}/schema", content.replace('/', "~1"));
        if self.document.pointer(&media).is_none() {
            return Err(format!("{path} {}: no content type {content:?}", reply.status));
        }
        match content {
            "text/event-stream" => self.check_stream(&reply.events()),
            content if content.starts_with("image/") => Ok(()),
            _ => {
                let value = serde_json::from_slice(&reply.bytes).map_err(|error| error.to_string())?;
                self.check(&media, &value)
            }
        }
    }
}

/// Forbids members that an object does not list, which the schemas allow because clients must ignore them.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_object = members.get("type") == Some(&json!("object"));
            if is_object && members.contains_key("properties") {
                members.insert("additionalProperties".into(), false.into());
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(format!("{}/../shared/tests/data/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The recorded answers of upstreams, and whether ARK sent them.
fn transcripts() -> Vec<(String, bool, Transcript)> {
    let rows = ["", "reports/"]
        .map(|folder| -> Value { serde_json::from_slice(&fixture(&format!("{folder}MANIFEST.json"))).unwrap() });
    let rows = rows.iter().flat_map(|manifest| manifest["fixtures"].as_array().unwrap());
    let transcript = |row: &Value| {
        let name = row["file"].as_str().unwrap();
        let content_type = match row["content_type"].as_str().unwrap() {
            "text/event-stream" => "text/event-stream",
            "text/html" => "text/html",
            _ => "application/json",
        };
        let status = row["status"].as_u64().unwrap() as u16;
        let is_ark = row["mode"] == "ark" || name.starts_with('a');
        (name.to_owned(), is_ark, Transcript { status, content_type, ..Transcript::events(fixture(name)) })
    };
    rows.map(transcript).collect()
}

/// Every transcript as each function delivers it, without and with kept and labelled pictures and credits.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_every_transcript_is_described() {
    let mut specification = Specification::read();
    let (stand, user) = (Stand::new().await, User::new("specification"));
    let engine = s3::start(None, Duration::from_secs(7 * 86_400)).await.unwrap();
    let bucket = s3::variables(&engine.url());
    let mut kept: Vec<_> = bucket.iter().map(|(name, value)| (*name, value.as_str())).collect();
    kept.extend([("CREDITS", "on"), ("CREDITS_INITIAL", "100000"), ("AIGC_PRODUCER", PRODUCER)]);
    let mut ways = vec![
        (STREAM, json!({"prompt": "x", "format": "events"})),
        (STREAM, json!({"prompt": "x"})),
        (STREAM, json!({"prompt": "x", "model": DRAFTING})),
        (IMAGE, json!({"prompt": "x"})),
    ];
    let mut answers = 0;
    for variables in [&[][..], &kept] {
        for (name, is_ark, transcript) in transcripts() {
            let upstream = Upstream::plays(transcript).await;
            let all = [&[("RL_LIMIT", "1000"), ("IMAGE_MODELS", DRAFTING)], variables].concat();
            let mut replies = Vec::new();
            if is_ark {
                let app: Arc<faceflip_stream::App> = stand.app(&upstream, &all);
                let body = json!({"urls": ["https://example.com/image1.jpg"], "task_id": format!("{name} {answers}")});
                replies.push((FACEFLIP, faceflip_stream::handle(app, user.post(FACEFLIP, &body)).await));
            } else {
                let app: Arc<generate_stream::App> = stand.app(&upstream, &all);
                for (path, body) in &ways {
                    replies.push((path, generate_stream::handle(app.clone(), user.post(path, body)).await));
                }
            }
            for (path, response) in replies {
                let reply = Reply::read(response).await;
                specification
                    .check_reply(path, "post", &reply)
                    .unwrap_or_else(|error| panic!("{name} by {path}: {error}"));
                answers += 1;
            }
        }
        ways.push((STREAM, json!({"prompt": "x", "format": "events", "delivery": "url"})));
    }
    let all = specification.at("/components/schemas/StreamEvent/discriminator/mapping").as_object().unwrap();
    assert_eq!(specification.checked, all.keys().cloned().collect(), "every event was checked");
    assert!(answers > 600, "{answers} answers");

    // The log of all that.
    let app: Arc<generations::App> = stand.app(&Upstream::gone(), &kept);
    let mut items = 0;
    let mut path = format!("{GENERATIONS}?limit=100");
    loop {
        let mut request = user.post(&path, &Value::Null);
        *request.method_mut() = http::Method::GET;
        let page = Reply::read(generations::handle(app.clone(), request).await).await;
        specification.check_reply(GENERATIONS, "get", &page).unwrap_or_else(|error| panic!("{error}"));
        let page = page.last();
        items += page["items"].as_array().unwrap().len();
        match page["next"].as_str() {
            Some(next) => path = format!("{GENERATIONS}?limit=100&cursor={next}"),
            None => break,
        }
    }
    assert!(items > 100, "{items} records");
}

/// The replies before a stream.
#[tokio::test]
async fn every_refusal_is_described() {
    let mut specification = Specification::read();
    let (stand, users) = (Stand::new().await, [User::new("refused"), User::new("refused-faceflip")]);
    // A call that is paid and has no picture.
    let upstream = Upstream::plays(Transcript::events("data: [DONE]\n\n")).await;
    let generate: Arc<generate_stream::App> = stand.app(&upstream, &[("RL_LIMIT", "1")]);
    let faceflip: Arc<faceflip_stream::App> = stand.app(&upstream, &[]);
    let link = json!(["https://example.com/image1.jpg"]);
    let bodies = [
        (STREAM, json!({"prompt": ""})),
        (STREAM, json!({"prompt": "x", "n": 2})),
        (STREAM, json!({"prompt": "x"})),
        (IMAGE, json!({"prompt": "x"})),
        (IMAGE, json!({"prompt": "x", "model": "unknown"})),
        (FACEFLIP, json!({"urls": [], "task_id": "t"})),
        (FACEFLIP, json!({"urls": link, "task_id": ""})),
        (FACEFLIP, json!({"urls": link, "task_id": "t"})),
        (FACEFLIP, json!({"urls": link, "task_id": "t"})),
    ];
    let mut statuses = BTreeSet::new();
    for (path, body) in bodies {
        for (header, value) in [("x-nothing", ""), ("content-type", "text/plain"), ("authorization", "Bearer x")] {
            let mut request = users[usize::from(path == FACEFLIP)].post(path, &body);
            request.headers_mut().insert(header, value.parse().unwrap());
            let response = match path {
                FACEFLIP => faceflip_stream::handle(faceflip.clone(), request).await,
                _ => generate_stream::handle(generate.clone(), request).await,
            };
            let reply = Reply::read(response).await;
            specification.check_reply(path, "post", &reply).unwrap_or_else(|error| panic!("{path} {body}: {error}"));
            statuses.insert(reply.status);
        }
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 400, 401, 415, 429, 502]);
}

#[test]
fn other_events_are_refused() {
    let mut specification = Specification::read();
    let event = |name: &str, data: Value| json!({"event": name, "data": data});
    let link = "https://example.com/1.png";
    let time = "2026-11-28T10:36:01.000Z";
    let error = json!({
        "task_id": "t", "error": "e", "message": "m", "code": "no_image", "retryable": true, "request_id": "r",
        "retry_after_ms": 1, "images": [],
    });
    let with = |base: &Value, name: &str, value: Value| {
        let mut changed = base.as_object().unwrap().clone();
        changed.insert(name.to_owned(), value);
        Value::Object(changed)
    };
    let without = |base: &Value, name: &str| {
        let kept: Map<_, _> =
            base.as_object().unwrap().clone().into_iter().filter(|(known, _)| known != name).collect();
        Value::Object(kept)
    };
    let done = json!({"task_id": "t", "images": [{"index": 0, "url": link}], "failed": []});
    let good = [
        event("error", error.clone()),
        event("done", done.clone()),
        event("image.stored", json!({"index": 0, "url": link, "url_expires": time})),
        event("image.delta", json!({"index": 3, "b64": "iVBO"})),
    ];
    for event in good {
        let name = event["event"].as_str().unwrap().to_owned();
        assert_eq!(specification.check_event(&name, &event), Ok(()));
    }
    let bad = [
        event("error", with(&error, "code", json!("unknown"))),
        event("error", with(&error, "retryable", json!(false))),
        event("error", without(&error, "retry_after_ms")),
        event("error", without(&error, "request_id")),
        event("error", with(&error, "images", json!([{"index": 0}]))),
        event("done", with(&done, "images", json!([]))),
        event("done", with(&done, "images", json!([{"index": 0}]))),
        event("done", with(&done, "upstream_text", json!("x"))),
        event("done", without(&done, "failed")),
        event("image.stored", json!({"index": 0, "url": link, "url_expires": "tomorrow"})),
        event("image.stored", json!({"index": 0, "url": "javascript:x", "url_expires": time})),
        event("image.delta", json!({"index": 0, "b64": "iVB*"})),
        event("image.delta", json!({"index": 0, "b64": "A".repeat(16385)})),
        event("image.delta", json!({"index": -1, "b64": "iVBO"})),
        event("image.start", json!({"index": 0, "media_type": "image/svg+xml", "draft": false})),
        event("image.done", json!({"index": 0, "media_type": "image/png"})),
        event("start", json!({"message": "m"})),
        event("text", json!({"index": 0, "text": null})),
        event("thought", json!({"index": 0, "text": "x"})),
    ];
    for event in bad {
        let name = event["event"].as_str().unwrap().to_owned();
        assert!(specification.check_event(&name, &event).is_err(), "{event}");
    }
    let chunk = |delta: Value, reason: Value| {
        json!({
            "id": "chatcmpl-t", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        })
    };
    let content = json!({"content": "x"});
    assert_eq!(specification.check_schema("ChatChunk", &chunk(content.clone(), Value::Null)), Ok(()));
    let bad = [
        chunk(json!({}), Value::Null),
        chunk(json!({"content": "x", "reasoning": "y"}), Value::Null),
        chunk(content.clone(), json!("content_filter")),
        with(&chunk(content, Value::Null), "choices", json!([])),
    ];
    for chunk in bad {
        assert!(specification.check_schema("ChatChunk", &chunk).is_err(), "{chunk}");
    }
}

#[test]
fn every_example_is_valid() {
    let mut specification = Specification::read();
    let (mut events, mut documents) = (0, 0);
    let document = specification.document.clone();
    for (pointer, content) in media_types(&document, String::new()) {
        for (name, example) in content["examples"].as_object().into_iter().flatten() {
            let value = &example["value"];
            let mut checked = specification.check(&format!("{pointer}/schema"), value);
            if pointer.ends_with("event-stream") {
                events += 1;
                let text = |member: &str| value[member].as_str().unwrap_or_default().to_owned();
                let name = text("event").replace("message", "");
                checked = checked.and(specification.check_stream(&[StreamEvent {
                    id: text("id"),
                    name,
                    data: text("data"),
                }]));
            }
            documents += 1;
            checked.unwrap_or_else(|error| panic!("{pointer} {name}: {error}"));
        }
    }
    assert!(events >= 15 && documents - events >= 6, "{events} events, {documents} documents");
}

/// Every member of `content`, with its JSON pointer.
fn media_types(value: &Value, pointer: String) -> Vec<(String, Value)> {
    let Some(members) = value.as_object() else { return Vec::new() };
    let inner = members.iter().flat_map(|(name, member)| {
        media_types(member, format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")))
    });
    let here = (pointer.ends_with("/content")).then(|| {
        let media_type =
            |(name, content): (&String, &Value)| (format!("{pointer}/{}", name.replace('/', "~1")), content.clone());
        members.iter().map(media_type).collect::<Vec<_>>()
    });
    inner.chain(here.into_iter().flatten()).collect()
}
