use std::collections::VecDeque;

use serde::Serialize;
use shared::edge::Output;
use shared::held::{Base64Slices, HeldContent, HeldPicture};
use shared::media::label::LabelStatus;
use shared::outcome::{DeliveredImage, ImageSource, Success};
use shared::problem::{Code, Lang};
use shared::timestamp::rfc3339;
use shared::update::{Update, Usage};

/// Needs every picture at the end and writes nothing before it.
#[derive(Debug)]
pub(crate) struct OneShotOutput;

#[derive(Serialize)]
struct DataItem<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url_expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'static str>,
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

/// The answer as JSON, in the form of OpenAI's images API, in slices. A picture that is not among the held ones is a link.
pub(crate) fn one_shot_json(
    success: &Success,
    held: Vec<HeldPicture>,
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
    for (at, image) in success.images.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&open_object(&DataItem::new(image)));
        let content = held.iter().find(|held| held.slot == image.slot).map(|held| &held.content);
        if let Some(HeldContent::Inline { bytes, .. }) = content {
            // Written without serde: base64 needs no escaping, and serde would hold the whole text.
            text.extend_from_slice(br#","b64_json":""#);
            parts.push_back(JsonPart::Text(std::mem::take(&mut text)));
            parts.push_back(JsonPart::Base64(Base64Slices::new(bytes.clone())));
            text.push(b'"');
        }
        text.push(b'}');
    }
    text.extend_from_slice(b"]}");
    parts.push_back(JsonPart::Text(text));
    JsonSlices(parts)
}

impl<'a> DataItem<'a> {
    fn new(image: &'a DeliveredImage) -> Self {
        let (url, expires_ms) = image.link().unzip();
        let (media_type, bytes, pixels) = match &image.source {
            ImageSource::Inline(whole) => {
                (Some(whole.media_type.as_str()), Some(whole.bytes), Some((whole.width, whole.height)))
            }
            ImageSource::Link { pixels, .. } => (None, None, *pixels),
        };
        let (width, height) = pixels.unzip();
        let url_expires = expires_ms.flatten().map(rfc3339);
        let label = image.label.map(LabelStatus::as_str);
        Self { index: image.slot, url, url_expires, media_type, bytes, width, height, label }
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
    fn update(&mut self, _update: &Update<'_>) -> bool {
        true
    }

    fn take(&mut self) -> Vec<u8> {
        Vec::new()
    }
}
