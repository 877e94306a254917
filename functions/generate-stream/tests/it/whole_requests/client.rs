//! A client of one request, and what it has received.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dev::client::{content, data, endings, events, pictures};
use generate_stream::{App, handle};
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;

use super::case::Reading;

pub(super) const STALL_MS: u64 = 1_000;

/// The part of a response that a client has read.
#[derive(Debug, Default)]
pub(super) struct Received {
    status: u16,
    content_type: String,
    location: Option<String>,
    bytes: Vec<u8>,
    /// It was read to its end.
    pub(super) is_whole: bool,
}

/// The pictures of a response.
#[derive(Debug, Default)]
pub(super) struct ReceivedPictures {
    pub(super) whole: Vec<Vec<u8>>,
    /// How many of them are links to kept pictures, where the response tells.
    pub(super) links: Option<usize>,
    /// The slots that it lists as failed, where it does.
    pub(super) failed: Option<usize>,
}

pub(super) async fn send(
    app: Arc<App>,
    request: Request<Bytes>,
    reading: Reading,
    is_called: impl Fn() -> bool,
) -> Received {
    let mut received = Received::default();
    let read = async {
        let (head, mut body) = handle(app, request).await.into_parts();
        let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        received.status = head.status.as_u16();
        received.content_type = header("content-type").unwrap_or_default();
        received.location = header("location");
        let mut frames = 0;
        loop {
            match reading {
                Reading::Slow { pause_ms } => tokio::time::sleep(Duration::from_millis(pause_ms)).await,
                Reading::Stall { after_frames } if after_frames == frames => {
                    tokio::time::sleep(Duration::from_millis(STALL_MS + 300)).await;
                }
                _ => {}
            }
            let Some(frame) = body.frame().await else { break };
            received.bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
            frames += 1;
        }
        received.is_whole = true;
    };
    match reading {
        Reading::Leave { after_ms } => {
            let leave = async {
                while !is_called() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
            };
            tokio::select! {
                () = read => {}
                () = leave => {}
            }
        }
        _ => read.await,
    }
    received
}

impl Received {
    /// `done`, or the code of a failure. `None` if the client has left before.
    pub(super) fn ending(&self) -> Option<String> {
        let media_type = self.content_type.split(';').next().unwrap_or_default();
        let mut endings = match (self.status, media_type) {
            (200, "application/json" | "image/png") | (303, _) => vec!["done".to_owned()],
            _ => endings(&self.content_type, &self.bytes),
        };
        match self.is_whole {
            true => assert_eq!(endings.len(), 1, "exactly one terminal event: {self:?}"),
            false => assert!(endings.len() <= 1, "at most one terminal event: {self:?}"),
        }
        let ending = self.is_whole.then(|| endings.remove(0))?;
        Some(match ending.as_str() {
            "[DONE]" => "done".to_owned(),
            failed => failed.trim_start_matches("error ").trim_start_matches("problem ").to_owned(),
        })
    }

    /// Fetches links, too.
    pub(super) async fn pictures(&self) -> ReceivedPictures {
        let media_type = self.content_type.split(';').next().unwrap_or_default();
        if let Some(link) = &self.location {
            return ReceivedPictures { whole: vec![fetch(link).await], ..ReceivedPictures::default() };
        }
        match media_type {
            "image/png" => ReceivedPictures { whole: vec![self.bytes.clone()], ..ReceivedPictures::default() },
            "application/json" if self.is_whole => {
                let answer: Value = serde_json::from_slice(&self.bytes).unwrap();
                let images = answer["data"].as_array().unwrap();
                let mut whole = Vec::new();
                for image in images {
                    whole.push(match image["b64_json"].as_str() {
                        Some(base64) => STANDARD.decode(base64).unwrap(),
                        None => fetch(image["url"].as_str().unwrap()).await,
                    });
                }
                let links = images.iter().filter(|image| image["url"].is_string()).count();
                let failed = answer["failed"].as_array().unwrap().len();
                ReceivedPictures { whole, links: Some(links), failed: Some(failed) }
            }
            "text/event-stream" => self.streamed().await,
            _ => ReceivedPictures::default(),
        }
    }

    async fn streamed(&self) -> ReceivedPictures {
        let events = events(&self.bytes);
        let mut inline: Vec<_> = pictures(&events).into_iter().map(|(_, bytes)| bytes).collect();
        let mut received = ReceivedPictures::default();
        match events.iter().find(|event| event.name == "done") {
            Some(done) => {
                let done = data(done);
                let images = done["images"].as_array().unwrap();
                let slots: BTreeSet<_> = images.iter().map(|image| image["index"].as_u64().unwrap()).collect();
                assert_eq!(slots.len(), images.len(), "one picture a slot: {done}");
                for image in images {
                    let is_it = |bytes: &Vec<u8>| image["sha256"] == dev::client::hash(bytes).as_str();
                    received.whole.push(match inline.iter().position(is_it) {
                        Some(at) => inline.remove(at),
                        None => fetch(image["url"].as_str().unwrap()).await,
                    });
                }
                assert!(inline.is_empty(), "a picture that `done` does not list: {done}");
                received.links = Some(images.iter().filter(|image| image["url"].is_string()).count());
                received.failed = Some(done["failed"].as_array().unwrap().len());
            }
            None => {
                received.whole = inline;
                for target in content(&events).split("![image](").skip(1).filter_map(|rest| rest.split_once(')')) {
                    received.whole.push(match target.0.strip_prefix("data:image/png;base64,") {
                        Some(base64) => STANDARD.decode(base64).unwrap(),
                        None => fetch(target.0).await,
                    });
                }
            }
        }
        received
    }
}

async fn fetch(link: &str) -> Vec<u8> {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
    let response = CLIENT.get(link).send().await.unwrap();
    assert_eq!(response.status(), 200, "a link to a kept picture");
    response.bytes().await.unwrap().to_vec()
}
