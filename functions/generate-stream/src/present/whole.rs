//! The one-shot answer: everything at once, when it is whole.

use std::time::Duration;

use serde::Serialize;
use shared::edge::Present;
use shared::media;
use shared::outcome::{Outcome, Source, Success, supersedes};
use shared::problem::{Code, Lang};
use shared::update::{Nth, Update, Usage};
use shared::upstream::{AnyDialect, Reader};

/// Bytes for all of an answer but its pictures.
const ROOM: usize = 4096;

/// Holds the final picture of each slot, and shows nothing before the end.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    under_way: Vec<Picture>,
    whole: Vec<Picture>,
}

#[derive(Debug)]
struct Picture {
    slot: u32,
    draft: bool,
    bytes: Vec<u8>,
}

#[derive(Serialize)]
struct Item<'a> {
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

/// What stands before the pictures.
#[derive(Serialize)]
struct Head<'a> {
    created: u64,
    failed: Vec<FailedItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits_remaining: Option<u64>,
}

impl Pictures {
    /// The answer as JSON, in the form of OpenAI's images API.
    pub(crate) fn json(&self, success: &Success, credits_remaining: Option<u64>, created: u64, lang: Lang) -> Vec<u8> {
        let failed = success.failed.iter().map(|failed| FailedItem {
            index: failed.slot,
            code: failed.code(),
            message: failed.code().title(lang),
        });
        let head = Head { created, failed: failed.collect(), usage: success.usage, credits_remaining };
        // As long as the answer becomes: growing would copy pictures of many megabytes again and again.
        let base64: usize = self.whole.iter().map(|picture| picture.bytes.len().div_ceil(3) * 4).sum();
        let mut out = Vec::with_capacity(base64 + ROOM);
        object(&mut out, &head);
        out.extend_from_slice(br#","data":["#);
        for (at, image) in success.images.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let mut item =
                Item { index: image.slot, url: None, media_type: None, bytes: None, width: None, height: None };
            match &image.source {
                Source::Inline(whole) => {
                    item.media_type = Some(whole.media_type.as_str());
                    item.bytes = Some(whole.bytes);
                    (item.width, item.height) = (Some(whole.width), Some(whole.height));
                    object(&mut out, &item);
                    // By hand: base64 needs no escaping, and serde would hold it twice.
                    out.extend_from_slice(br#","b64_json":""#);
                    media::encode(self.bytes_of(image.slot), &mut out);
                    out.extend_from_slice(b"\"}");
                }
                Source::Link { url, pixels } => {
                    item.url = Some(url);
                    (item.width, item.height) = pixels.unzip();
                    object(&mut out, &item);
                    out.push(b'}');
                }
            }
        }
        out.extend_from_slice(b"]}");
        out
    }

    /// The bytes of the first picture, where they went through here.
    pub(crate) fn first(mut self, success: &Success) -> Option<Vec<u8>> {
        let slot = success.images.first()?.slot;
        let at = self.whole.iter().position(|picture| picture.slot == slot)?;
        Some(self.whole.swap_remove(at).bytes)
    }

    fn bytes_of(&self, slot: u32) -> &[u8] {
        let picture = self.whole.iter().find(|picture| picture.slot == slot);
        debug_assert!(picture.is_some(), "what counts as delivered is held here");
        picture.map(|picture| picture.bytes.as_slice()).unwrap_or_default()
    }

    fn update(&mut self, update: &Update<'_>) {
        match *update {
            Update::ImageStarted { slot, draft, .. } => {
                self.drop(slot);
                self.under_way.push(Picture { slot, draft, bytes: Vec::new() });
            }
            Update::ImageBytes { slot, bytes } => {
                if let Some(picture) = self.under_way.iter_mut().find(|picture| picture.slot == slot) {
                    picture.bytes.extend_from_slice(bytes);
                }
            }
            Update::ImageFinished { slot, draft, .. } => {
                let Some(at) = self.under_way.iter().position(|picture| picture.slot == slot) else { return };
                let picture = Picture { draft, ..self.under_way.swap_remove(at) };
                match self.whole.iter_mut().find(|other| other.slot == slot) {
                    Some(other) if supersedes(draft, other.draft) => *other = picture,
                    Some(_) => {}
                    None => self.whole.push(picture),
                }
            }
            Update::ImageRejected { slot, .. } | Update::ImageRepeated { slot } => self.drop(slot),
            _ => {}
        }
    }

    fn drop(&mut self, slot: u32) {
        self.under_way.retain(|picture| picture.slot != slot);
    }
}

/// Appends a JSON object without its closing brace.
fn object(out: &mut Vec<u8>, value: &impl Serialize) {
    // Plain structs of numbers and strings cannot fail to serialise.
    let _ = serde_json::to_writer(&mut *out, value);
    out.pop();
}

impl Present for Pictures {
    fn piece(&mut self, nth: Nth, piece: &[u8], reader: &mut Reader<AnyDialect>, outcome: &mut Outcome) {
        reader.push(piece, &mut |update| {
            if let Some(news) = outcome.note(update) {
                self.update(&news.of(nth));
            }
        });
    }

    fn end(&mut self, nth: Nth, reader: &mut Reader<AnyDialect>, outcome: &mut Outcome) {
        reader.finish(&mut |update| {
            if let Some(news) = outcome.note(update) {
                self.update(&news.of(nth));
            }
        });
    }

    fn silence(&mut self, _elapsed: Duration) {}

    fn take(&mut self) -> Vec<u8> {
        Vec::new()
    }
}
