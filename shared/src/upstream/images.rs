//! OpenAI's images API: `POST {base}/v1/images/generations`, and `/v1/images/edits` with reference pictures.

use serde::Serialize;

use super::content::{Content, PictureResult};
use super::error_object::ErrorObject;
use super::short::Short;
use super::{ModelFamily, Out};
use crate::json::Segment::Key;
use crate::json::{Segment, TokenValue};
use crate::update::Update;

/// The request body for one picture from a prompt alone. The optional members are sent to the families of models that
/// take them.
///
/// Fields: [create image](https://platform.openai.com/docs/api-reference/images/create).
#[derive(Serialize)]
pub struct ImagesRequest<'a> {
    model: &'a str,
    prompt: &'a str,
    n: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_images: Option<u8>,
    /// The default of the models that take it is a link, which expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<&'a str>,
}

impl<'a> ImagesRequest<'a> {
    /// A request to `model`: prompt, number of previews (0 to 3) and size, such as `1536x1024`.
    pub fn new(model: &'a str, prompt: &'a str, previews: u8, size: Option<&'a str>) -> Self {
        let family = ModelFamily::of(model);
        Self {
            model,
            prompt,
            n: 1,
            stream: family.takes("stream").then_some(true),
            partial_images: (previews > 0 && family.takes("partial_images")).then_some(previews),
            response_format: family.takes("response_format").then_some("b64_json"),
            size,
        }
    }

    /// The same as the fields of a form, for a request with reference pictures.
    ///
    /// Fields: [create image edit](https://platform.openai.com/docs/api-reference/images/createEdit).
    pub fn form_fields(self) -> impl Iterator<Item = (&'static str, String)> {
        let Self { model, prompt, n, stream, partial_images, response_format, size } = self;
        let always = [("model", model.to_owned()), ("prompt", prompt.to_owned()), ("n", n.to_string())];
        let optional = [
            stream.map(|stream| ("stream", stream.to_string())),
            partial_images.map(|previews| ("partial_images", previews.to_string())),
            response_format.map(|format| ("response_format", format.to_owned())),
            size.map(|size| ("size", size.to_owned())),
        ];
        always.into_iter().chain(optional.into_iter().flatten())
    }
}

/// The form field for each of `count` pictures: a single one has another name than several.
pub fn edit_image_field(count: usize) -> &'static str {
    if count == 1 { "image" } else { "image[]" }
}

/// The vendor, because the index of a preview has two meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImagesVendor {
    /// `partial_image_index` counts the previews of one picture.
    OpenAi,
    /// It is the picture's own index.
    Ark,
}

/// Reads pictures that are documents or items of `data`: OpenAI's and OpenRouter's image events, ARK's, and the JSON
/// bodies of each.
///
/// The slot is `image_index`, or the position in `data`, or the next free one.
#[derive(Debug)]
pub(super) struct ImageItems {
    vendor: ImagesVendor,
    item: ImageItem,
    next_slot: u32,
    short: Short,
}

#[derive(Debug, Default)]
struct ImageItem {
    slot: Option<u32>,
    pixels: Option<(u32, u32)>,
    error: ErrorObject,
}

impl ImageItems {
    pub(super) const KEYS: &'static [&'static str] =
        &["data", "images", "image_index", "partial_image_index", "url", "b64_json", "image_url", "size"];

    pub(super) fn new(vendor: ImagesVendor) -> Self {
        Self { vendor, item: ImageItem::default(), next_slot: 0, short: Short::default() }
    }

    /// The next token of the item at `position` of a list.
    pub(super) fn listed(
        &mut self,
        position: u32,
        path: &[Segment],
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        match (path, value) {
            ([], TokenValue::Open | TokenValue::StringStart) => {
                self.item = ImageItem { slot: Some(position), ..ImageItem::default() }
            }
            ([], TokenValue::Close) => self.settle_listed(content, out),
            _ => {}
        }
        match (path, value) {
            ([], value) => {
                content.picture(position, false, value, out);
                if value == TokenValue::StringEnd {
                    self.settle_listed(content, out);
                }
            }
            ([Key("error"), ..], value) => self.item.error.token(path, value),
            _ => self.token(false, path, value, content, out),
        }
    }

    /// The next token of a picture. `draft`: known so far.
    pub(super) fn token(
        &mut self,
        draft: bool,
        path: &[Segment],
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        let index = match value {
            TokenValue::Scalar(text) => text.parse().ok(),
            _ => None,
        };
        match path {
            [Key("image_index")] => self.item.slot = index.or(self.item.slot),
            [Key("partial_image_index")] if self.vendor == ImagesVendor::Ark => {
                self.item.slot = index.or(self.item.slot)
            }
            [Key("size")] => {
                if let Some(size) = self.short.read(value) {
                    self.item.pixels = pixels(size);
                }
            }
            [Key("url" | "b64_json" | "image_url")] | [Key("image_url"), Key("url")] => {
                content.picture(self.item.slot.unwrap_or(self.next_slot), draft, value, out);
            }
            _ => {}
        }
    }

    /// The picture is complete. `error` is the upstream's error for it, if any.
    pub(super) fn settle(
        &mut self,
        draft: bool,
        error: Option<&ErrorObject>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        let ImageItem { slot, pixels, .. } = std::mem::take(&mut self.item);
        let slot = slot.unwrap_or(self.next_slot);
        let mut came = content.end_picture(slot, draft, pixels, out) != PictureResult::Nothing;
        if !came && let Some(error) = error {
            out(Update::ImageFailed { slot, failure: error.failure(None) });
            came = true;
        }
        if came && !draft {
            self.next_slot = slot.saturating_add(1);
        }
    }

    /// As [`ImageItems::settle`], for an item of a list, which contains its own error.
    fn settle_listed(&mut self, content: &mut Content, out: &mut Out<'_>) {
        let error = std::mem::take(&mut self.item.error);
        self.settle(false, Some(&error).filter(|error| error.is_found()), content, out);
    }

    /// The document broke off.
    pub(super) fn abandon(&mut self) {
        self.item = ImageItem::default();
    }
}

/// Pixels of `2496x1664`; `None` for a tier such as `2K`.
fn pixels(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once(['x', 'X', '*'])?;
    Some((width.parse().ok()?, height.parse().ok()?))
}
