//! Volcengine ARK's `POST {base}/images/generations` (Seedream), in stream mode.

use serde::Serialize;

use super::chat::short_string;
use super::picture::Picture;
use super::reader::Dialect;
use super::{ErrorObject, Out, classify};
use crate::image_url::{LocalLinks, check_generated};
use crate::json::Segment::{Index, Key};
use crate::json::{Segment, Token, Value};
use crate::media::Rejected;
use crate::update::{Stop, Update, Usage};

/// The body that asks for pictures. ARK ignores keys it does not know and charges all the same, so nothing else is sent.
///
/// Fields: [image generation API](https://www.volcengine.com/docs/82379/1541523).
#[derive(Serialize)]
pub struct Request<'a> {
    model: &'a str,
    prompt: &'a str,
    image: Images<'a>,
    sequential_image_generation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequential_image_generation_options: Option<SequentialOptions>,
    response_format: &'static str,
    size: &'a str,
    stream: bool,
    /// Always sent: ARK's default is `true`, and a marked picture costs the same.
    watermark: bool,
}

/// One picture is sent as a string, as in all of ARK's samples.
#[derive(Serialize)]
#[serde(untagged)]
enum Images<'a> {
    One(&'a str),
    Several(&'a [String]),
}

#[derive(Serialize)]
struct SequentialOptions {
    max_images: u32,
}

/// How ARK is asked.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Model or endpoint id.
    pub model: &'a str,
    /// What to do with the pictures.
    pub prompt: &'a str,
    /// Tier (`2K`) or `WxH`.
    pub size: &'a str,
    /// 1..=15; the model decides how many it makes.
    pub max_images: u32,
    /// Whether ARK marks the pictures.
    pub watermark: bool,
}

impl<'a> Request<'a> {
    /// Asks for pictures made from `images` (links or data URLs).
    pub fn new(settings: Settings<'a>, images: &'a [String]) -> Self {
        let several = settings.max_images > 1;
        Self {
            model: settings.model,
            prompt: settings.prompt,
            image: match images {
                [one] => Images::One(one),
                several => Images::Several(several),
            },
            sequential_image_generation: if several { "auto" } else { "disabled" },
            sequential_image_generation_options: several
                .then_some(SequentialOptions { max_images: settings.max_images }),
            response_format: "url",
            size: settings.size,
            stream: true,
            watermark: settings.watermark,
        }
    }
}

/// Reads ARK's events, and the JSON body that relays in front of it send instead. The slot is `image_index`.
///
/// An `error` member alone does not end anything: in `partial_failed` it belongs to one picture, and the official
/// SDKs lose the rest of the group by taking it for the end. The `type` decides.
#[derive(Debug)]
pub struct Ark {
    links: LocalLinks,
    item: Item,
    next_slot: u32,
    usage: Usage,
    error: ErrorObject,
    short: Vec<u8>,
}

/// One picture: the event itself, or an item of `data`.
#[derive(Debug, Default)]
struct Item {
    kind: String,
    slot: Option<u32>,
    url: Vec<u8>,
    pixels: Option<(u32, u32)>,
    picture: Option<Picture>,
    error: ErrorObject,
}

const MAX_URL_BYTES: usize = 4096;

impl Ark {
    /// Reads one answer; links to this machine pass only in the local stack.
    pub fn new(links: LocalLinks) -> Self {
        Self {
            links,
            item: Item::default(),
            next_slot: 0,
            usage: Usage::default(),
            error: ErrorObject::default(),
            short: Vec::new(),
        }
    }

    fn item_token(&mut self, path: &[Segment], value: Value<'_>, out: &mut Out<'_>) {
        let item = &mut self.item;
        match path {
            [Key("type")] => {
                if let Some(kind) = short_string(&mut self.short, value) {
                    item.kind.clear();
                    item.kind.push_str(kind);
                }
            }
            [Key("image_index" | "partial_image_index")] => {
                if let Value::Scalar(index) = value {
                    item.slot = index.parse().ok();
                }
            }
            [Key("size")] => {
                if let Some(size) = short_string(&mut self.short, value) {
                    item.pixels = pixels(size);
                }
            }
            [Key("url")] => match value {
                // One byte more than a link may have stays, so that the rules refuse it.
                Value::Text(text) if item.url.len() <= MAX_URL_BYTES => item.url.extend_from_slice(text),
                _ => {}
            },
            [Key("b64_json")] => match value {
                Value::StringStart => {
                    let slot = *item.slot.get_or_insert(self.next_slot);
                    item.picture = Some(Picture::new(slot, is_draft(&item.kind), false));
                }
                Value::Text(text) => {
                    if let Some(picture) = &mut item.picture {
                        picture.push(text, out);
                    }
                }
                _ => {}
            },
            [Key("error"), ..] => item.error.token(path, value),
            _ => {}
        }
    }

    /// The picture is complete, whichever way it came.
    fn settle(&mut self, out: &mut Out<'_>) {
        let item = std::mem::take(&mut self.item);
        let slot = item.slot.unwrap_or(self.next_slot);
        let mut came = true;
        if let Some(picture) = item.picture {
            picture.finish(out);
        } else if !item.url.is_empty() {
            let draft = is_draft(&item.kind);
            out(match std::str::from_utf8(&item.url).map(|url| check_generated(url, self.links)) {
                Ok(Ok(url)) => Update::ImageLinked { slot, url, pixels: item.pixels, draft },
                _ => Update::ImageRejected { slot, why: Rejected::BadLink },
            });
        } else if item.error.is_found() {
            out(Update::ImageFailed { slot, failure: classify(None, item.error.fields()) });
        } else {
            came = false;
        }
        if came && !is_draft(&item.kind) {
            self.next_slot = slot.saturating_add(1);
        }
    }
}

impl Dialect for Ark {
    const KEYS: &'static [&'static str] = &[
        "type",
        "image_index",
        "partial_image_index",
        "url",
        "b64_json",
        "size",
        "data",
        "usage",
        "generated_images",
        "output_tokens",
        "total_tokens",
        "input_tokens",
        "prompt_tokens",
        "completion_tokens",
        "error",
        "code",
        "message",
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
            ([Key("data"), Index(index)], Value::Open) => {
                self.item = Item { slot: Some(*index), ..Item::default() };
            }
            ([Key("data"), Index(_)], Value::Close) => self.settle(out),
            ([Key("data"), Index(_), rest @ ..], value) => self.item_token(rest, value, out),
            ([Key("usage"), Key(name)], Value::Scalar(count)) => self.usage.set(name, count),
            ([Key("usage")], Value::Close) => out(Update::Usage(self.usage)),
            (path, value) => {
                self.item_token(path, value, out);
                self.error.token(path, value);
            }
        }
    }

    fn document_end(&mut self, event_type: &[u8], out: &mut Out<'_>) {
        let name = if self.item.kind.is_empty() {
            String::from_utf8_lossy(event_type).into_owned()
        } else {
            self.item.kind.clone()
        };
        let error = std::mem::take(&mut self.error);
        match name.rsplit_once('.').map_or(name.as_str(), |(_, last)| last) {
            "partial_succeeded" | "partial_failed" | "partial_image" => self.settle(out),
            "error" => {
                self.item = Item::default();
                out(Update::Failed(classify(None, error.fields())));
            }
            last => {
                let whole_body = name.is_empty();
                if whole_body && error.is_found() {
                    self.item = Item::default();
                    out(Update::Failed(classify(None, error.fields())));
                    return;
                }
                self.settle(out);
                if whole_body || last == "completed" {
                    out(Update::Stopped(Stop::Finished));
                }
            }
        }
    }

    fn finish(&mut self, out: &mut Out<'_>) {
        self.abandon(out);
    }

    fn abandon(&mut self, out: &mut Out<'_>) {
        // A link that was cut is none, but a picture may be whole.
        if let Some(picture) = std::mem::take(&mut self.item).picture {
            picture.finish(out);
        }
        self.error = ErrorObject::default();
    }
}

fn is_draft(kind: &str) -> bool {
    kind.ends_with(".partial_image")
}

/// `2496x1664`; a tier such as `2K` tells no pixels.
fn pixels(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once(['x', 'X', '*'])?;
    Some((width.parse().ok()?, height.parse().ok()?))
}
