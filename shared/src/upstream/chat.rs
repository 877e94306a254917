//! OpenAI-compatible chat completions, as relays stream pictures through them.

use serde::Serialize;

use super::picture::Picture;
use super::reader::Dialect;
use super::{ErrorObject, Failure, MAX_TEXT_BYTES, Out};
use crate::image_url::{LocalLinks, check_generated};
use crate::json::Segment::{Index, Key};
use crate::json::{Segment, Token, Value};
use crate::media::{self, Found, Reference, Referred, Rejected, Utf8};
use crate::update::{Stop, Update, Usage};

/// Choices beyond this one are ignored: we ask for one, and each has a reader of its own.
const MAX_CHOICES: u32 = 8;
/// Content that comes before its choice's `index` waits for it up to this size, then belongs to choice 0.
const MAX_PENDING_BYTES: usize = 64 * 1024;
const MAX_SHORT_BYTES: usize = 64;

/// The body of `POST {base}/v1/chat/completions` that asks for one picture.
///
/// `content` is an array even for text alone (one relay refuses a string), there is no system message (Gemini's image
/// models refuse it), and `modalities` is what OpenRouter needs to make a picture at all.
#[derive(Serialize)]
pub struct Request<'a> {
    model: &'a str,
    stream: bool,
    stream_options: StreamOptions,
    modalities: [&'static str; 2],
    messages: [Message<'a>; 1],
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Content<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: &'a str,
}

impl<'a> Request<'a> {
    /// Asks `model` for a picture of `prompt`, with reference pictures as data URLs or links.
    pub fn new(model: &'a str, prompt: &'a str, images: impl IntoIterator<Item = &'a str>) -> Self {
        let mut content = vec![Content::Text { text: prompt }];
        content.extend(images.into_iter().map(|url| Content::ImageUrl { image_url: ImageUrl { url } }));
        Self {
            model,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            modalities: ["text", "image"],
            messages: [Message { role: "user", content }],
        }
    }
}

/// Reads chat completion chunks, and the whole completion some relays send instead.
///
/// A picture may stand in `delta.content` as Markdown, data URL, link or base64 alone, in a content part, or in
/// `delta.images` and its spellings; `delta` may be `message`. The slot is the choice's `index`. Reasoning is not looked at.
#[derive(Debug)]
pub struct Chat {
    links: LocalLinks,
    choices: Vec<Choice>,
    current: Current,
    referred: Option<(Reference, Picture)>,
    short: Vec<u8>,
    error: ErrorObject,
    usage: Usage,
    text_bytes: usize,
}

/// The text of one choice, across chunks.
#[derive(Debug)]
struct Choice {
    slot: u32,
    reader: media::Reader,
    picture: Option<Picture>,
    text: Utf8,
}

/// The item of `choices` under way in this chunk.
#[derive(Debug, Default)]
struct Current {
    slot: Option<u32>,
    pending: Vec<u8>,
}

impl Chat {
    /// Reads one answer; links to this machine pass only in the local stack.
    pub fn new(links: LocalLinks) -> Self {
        Self {
            links,
            choices: Vec::new(),
            current: Current::default(),
            referred: None,
            short: Vec::new(),
            error: ErrorObject::default(),
            usage: Usage::default(),
            text_bytes: 0,
        }
    }

    fn choice_token(&mut self, path: &[Segment], value: Value<'_>, out: &mut Out<'_>) {
        match (path, value) {
            ([], Value::Open) => self.current = Current::default(),
            ([], Value::Close) => self.settle(self.current.slot.unwrap_or(0), out),
            ([Key("index")], Value::Scalar(index)) => {
                self.settle(index.parse().unwrap_or(MAX_CHOICES), out);
            }
            ([Key("finish_reason" | "native_finish_reason")], value) => {
                if let Some(reason) = short_string(&mut self.short, value)
                    && let Some(stop) = stop(reason)
                {
                    out(Update::Stopped(stop));
                }
            }
            ([Key("delta" | "message"), rest @ ..], value) => self.content(rest, value, out),
            _ => {}
        }
    }

    fn content(&mut self, path: &[Segment], value: Value<'_>, out: &mut Out<'_>) {
        match path {
            [Key("content")] | [Key("content"), Index(_), Key("text")] => {
                if let Value::Text(text) = value {
                    self.text(text, out);
                }
            }
            [Key("content"), Index(_), Key("image_url")]
            | [Key("content"), Index(_), Key("image_url"), Key("url")]
            | [Key("images" | "image"), Index(_)]
            | [Key("images" | "image"), Index(_), Key("url" | "data" | "b64_json" | "image_url")]
            | [Key("images" | "image"), Index(_), Key("image_url"), Key("url")]
            | [Key("image"), Key("url" | "data" | "b64_json")]
            | [Key("image_b64_json")] => self.reference(value, out),
            _ => {}
        }
    }

    fn text(&mut self, text: &[u8], out: &mut Out<'_>) {
        if let Some(slot) = self.current.slot {
            self.read(slot, text, out);
        } else if self.current.pending.len() + text.len() <= MAX_PENDING_BYTES {
            self.current.pending.extend_from_slice(text);
        } else {
            self.settle(0, out);
            self.read(0, text, out);
        }
    }

    /// The slot of the choice under way is known: what waited for it is read.
    fn settle(&mut self, slot: u32, out: &mut Out<'_>) {
        self.current.slot = Some(slot);
        let mut pending = std::mem::take(&mut self.current.pending);
        self.read(slot, &pending, out);
        pending.clear();
        self.current.pending = pending;
    }

    fn read(&mut self, slot: u32, mut piece: &[u8], out: &mut Out<'_>) {
        if slot >= MAX_CHOICES || piece.is_empty() {
            return;
        }
        let at = self.choices.iter().position(|choice| choice.slot == slot).unwrap_or_else(|| {
            self.choices.push(Choice { slot, reader: Default::default(), picture: None, text: Utf8::default() });
            self.choices.len() - 1
        });
        let Some(Choice { reader, picture, text, .. }) = self.choices.get_mut(at) else { return };
        while let Some(found) = reader.next(&mut piece) {
            match found {
                Found::Text(bytes) => {
                    self.text_bytes += bytes.len();
                    if self.text_bytes > MAX_TEXT_BYTES {
                        if self.text_bytes - bytes.len() <= MAX_TEXT_BYTES {
                            out(Update::Failed(Failure::Protocol));
                        }
                        continue;
                    }
                    let was_invalid = text.is_invalid();
                    text.push(bytes, |text| out(Update::Text { slot, text }));
                    if text.is_invalid() && !was_invalid {
                        out(Update::Failed(Failure::Protocol));
                    }
                }
                Found::Image { documented } => *picture = Some(Picture::new(slot, false, documented)),
                Found::Payload(payload) => {
                    if let Some(picture) = picture {
                        picture.push(payload, out);
                    }
                }
                Found::ImageEnd => {
                    if let Some(picture) = picture.take() {
                        picture.finish(out);
                    }
                }
                Found::Link(url) => link(slot, url, self.links, out),
            }
        }
    }

    fn reference(&mut self, value: Value<'_>, out: &mut Out<'_>) {
        let slot = self.current.slot.unwrap_or(0);
        match value {
            Value::StringStart => {
                self.referred = Some((Reference::default(), Picture::new(slot, false, false)));
            }
            Value::Text(text) => {
                if let Some((reference, picture)) = &mut self.referred {
                    for payload in reference.push(text) {
                        end_picture(&mut self.choices, slot, out);
                        picture.push(payload, out);
                    }
                }
            }
            Value::StringEnd => {
                let Some((reference, mut picture)) = self.referred.take() else { return };
                match reference.finish() {
                    Some(Referred::Link(url)) => return link(slot, url, self.links, out),
                    Some(Referred::Payload(payload)) => {
                        end_picture(&mut self.choices, slot, out);
                        picture.push(payload, out);
                    }
                    None => {}
                }
                picture.finish(out);
            }
            _ => {}
        }
    }
}

impl Dialect for Chat {
    const KEYS: &'static [&'static str] = &[
        "choices",
        "index",
        "delta",
        "message",
        "content",
        "finish_reason",
        "native_finish_reason",
        "text",
        "image_url",
        "url",
        "images",
        "image",
        "data",
        "b64_json",
        "image_b64_json",
        "usage",
        "prompt_tokens",
        "input_tokens",
        "completion_tokens",
        "output_tokens",
        "total_tokens",
        "error",
        "code",
        "type",
        "msg",
        "err",
        "error_msg",
        "header",
        "response",
        "object",
        "http_code",
        "status",
        "param",
    ];

    fn token(&mut self, token: Token<'_>, out: &mut Out<'_>) {
        match (token.path, token.value) {
            ([Key("choices"), Index(_), rest @ ..], value) => self.choice_token(rest, value, out),
            ([Key("usage"), Key(name)], Value::Scalar(count)) => self.usage.set(name, count),
            ([Key("usage")], Value::Close) => out(Update::Usage(self.usage)),
            (path, value) => self.error.token(path, value),
        }
    }

    fn document_end(&mut self, event_type: &[u8], out: &mut Out<'_>) {
        if let Some(failure) = self.error.take(event_type) {
            out(Update::Failed(failure));
        }
    }

    fn finish(&mut self, out: &mut Out<'_>) {
        self.abandon(out);
        for Choice { slot, mut reader, picture, mut text } in std::mem::take(&mut self.choices) {
            if let Some(Found::Text(bytes)) = reader.finish() {
                text.push(bytes, |text| out(Update::Text { slot, text }));
            }
            text.finish(|text| out(Update::Text { slot, text }));
            if let Some(picture) = picture {
                picture.finish(out);
            }
        }
    }

    /// What came before the break stays: a picture may be whole by then. A link is not: it may be half of one.
    fn abandon(&mut self, out: &mut Out<'_>) {
        self.settle(self.current.slot.unwrap_or(0), out);
        self.current = Current::default();
        if let Some((_, picture)) = self.referred.take() {
            picture.finish(out);
        }
        self.error = ErrorObject::default();
    }

    fn in_documented_image(&self) -> bool {
        self.choices.iter().any(|choice| choice.reader.in_documented_image())
    }
}

/// One picture at a time in a slot: the one in the text ends where another begins beside it.
fn end_picture(choices: &mut [Choice], slot: u32, out: &mut Out<'_>) {
    let choice = choices.iter_mut().find(|choice| choice.slot == slot);
    if let Some(picture) = choice.and_then(|choice| choice.picture.take()) {
        picture.finish(out);
    }
}

fn link(slot: u32, url: &str, links: LocalLinks, out: &mut Out<'_>) {
    out(match check_generated(url, links) {
        Ok(url) => Update::ImageLinked { slot, url, pixels: None, draft: false },
        Err(_) => Update::ImageRejected { slot, why: Rejected::BadLink },
    });
}

/// Gathers a string of which only a few values matter; returns it when it ends, or U+FFFD if it is none of them.
pub(super) fn short_string<'a>(short: &'a mut Vec<u8>, value: Value<'_>) -> Option<&'a str> {
    match value {
        Value::StringStart => short.clear(),
        Value::Text(text) => {
            let room = (MAX_SHORT_BYTES + 1).saturating_sub(short.len()).min(text.len());
            short.extend_from_slice(text.get(..room).unwrap_or_default());
        }
        Value::StringEnd => {
            let text = std::str::from_utf8(short).ok().filter(|text| text.len() <= MAX_SHORT_BYTES);
            return Some(text.unwrap_or("\u{FFFD}"));
        }
        _ => {}
    }
    None
}

/// OpenAI's reasons, and Gemini's as relays pass them on in either case.
fn stop(reason: &str) -> Option<Stop> {
    match reason.to_ascii_uppercase().as_str() {
        "" => None,
        "STOP" => Some(Stop::Finished),
        "LENGTH" | "MAX_TOKENS" => Some(Stop::Length),
        "NO_IMAGE" => Some(Stop::NoImage),
        "ERROR" => Some(Stop::Error),
        "CONTENT_FILTER"
        | "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => Some(Stop::Filtered),
        _ => Some(Stop::Finished),
    }
}
