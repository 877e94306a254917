use std::collections::VecDeque;

use serde::Serialize;
use shared::edge::Output;
use shared::held::{Base64Slices, HeldContent, HeldPicture, HeldPictures};
use shared::outcome::{ImageSource, Success};
use shared::problem::{Code, Lang};
use shared::update::{Update, Usage};

/// Holds the final picture of each slot and writes nothing before the end.
#[derive(Debug, Default)]
pub(crate) struct OneShotOutput(HeldPictures);

#[derive(Serialize)]
struct DataItem<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
}

#[derive(Serialize)]
struct FailedItem<'a> {
    index: u32,
    code: Code,
    message: &'a str,
}

/// The members before the pictures.
#[derive(Serialize)]
struct DataHead<'a> {
    created: u64,
    failed: Vec<FailedItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits_remaining: Option<u64>,
}

/// A document whose long base64 strings are encoded slice by slice.
struct JsonSlices(VecDeque<JsonPart>);

enum JsonPart {
    Text(Vec<u8>),
    Base64(Base64Slices),
}

impl OneShotOutput {
    /// The answer as JSON, in the form of OpenAI's images API, in slices.
    pub(crate) fn json(
        mut self,
        success: &Success,
        credits_remaining: Option<u64>,
        created: u64,
        lang: Lang,
    ) -> impl Iterator<Item = Vec<u8>> + Send + use<> {
        let failed = success.failed.iter().map(|failed| FailedItem {
            index: failed.slot,
            code: failed.code(),
            message: failed.code().title(lang),
        });
        let head = DataHead { created, failed: failed.collect(), usage: success.usage, credits_remaining };
        let mut parts = VecDeque::new();
        let mut text = open_object(&head);
        text.extend_from_slice(br#","data":["#);
        let mut held = self.0.take(|_| true);
        for (at, image) in success.images.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            let mut item =
                DataItem { index: image.slot, url: None, media_type: None, bytes: None, width: None, height: None };
            match &image.source {
                ImageSource::Inline(whole) => {
                    item.media_type = Some(whole.media_type.as_str());
                    item.bytes = Some(whole.bytes);
                    (item.width, item.height) = (Some(whole.width), Some(whole.height));
                    text.extend_from_slice(&open_object(&item));
                    // Written without serde: base64 needs no escaping, and serde would hold the whole text.
                    text.extend_from_slice(br#","b64_json":""#);
                    parts.push_back(JsonPart::Text(std::mem::take(&mut text)));
                    parts.push_back(JsonPart::Base64(Base64Slices::new(
                        bytes_of(&mut held, image.slot).unwrap_or_default(),
                    )));
                    text.push(b'"');
                }
                ImageSource::Link { url, pixels } => {
                    item.url = Some(url);
                    (item.width, item.height) = pixels.unzip();
                    text.extend_from_slice(&open_object(&item));
                }
            }
            text.push(b'}');
        }
        text.extend_from_slice(b"]}");
        parts.push_back(JsonPart::Text(text));
        JsonSlices(parts)
    }

    /// The bytes of the first picture; `None` for a link.
    pub(crate) fn first(mut self, success: &Success) -> Option<Vec<u8>> {
        let slot = success.images.first()?.slot;
        bytes_of(&mut self.0.take(|_| true), slot)
    }
}

fn bytes_of(held: &mut Vec<HeldPicture>, slot: u32) -> Option<Vec<u8>> {
    let at = held.iter().position(|picture| picture.slot == slot);
    debug_assert!(at.is_some(), "every inline picture of a success is held");
    match held.swap_remove(at?).content {
        HeldContent::Inline { bytes, .. } => Some(bytes),
        HeldContent::Link(_) => None,
    }
}

impl Iterator for JsonSlices {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.0.front_mut()? {
                JsonPart::Text(text) => {
                    let text = std::mem::take(text);
                    self.0.pop_front();
                    return Some(text);
                }
                JsonPart::Base64(slices) => {
                    let mut slice = Vec::new();
                    if slices.write(&mut slice) {
                        return Some(slice);
                    }
                    self.0.pop_front();
                }
            }
        }
    }
}

/// A JSON object without its closing brace.
fn open_object(value: &impl Serialize) -> Vec<u8> {
    // Serialising structs of numbers and strings cannot fail.
    let mut object = serde_json::to_vec(value).unwrap_or_default();
    object.pop();
    object
}

impl Output for OneShotOutput {
    fn update(&mut self, update: &Update<'_>) {
        self.0.update(update);
    }

    fn take(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn lost(&self) -> &[u32] {
        self.0.lost()
    }
}
