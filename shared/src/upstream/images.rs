//! OpenAI's images API: `POST {base}/v1/images/generations`, and `/v1/images/edits` with reference pictures.

use serde::Serialize;

use super::content::{Content, PictureResult, Place};
use super::error_object::{ErrorObject, error_of};
use super::member::{Member, MemberPath};
use super::number::number;
use super::path_facts::PathMarks;
use super::short::Short;
use super::{Failure, ModelFamily, Out};
use crate::json::Segment::Key;
use crate::json::TokenValue;
use crate::media::ReferenceKind;
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
/// The slot is `image_index`, or the position in `data`, or the next free one. A relay may write any number into
/// `image_index`: one that is too large, or that of a whole final picture, is replaced by the next free slot. A preview
/// belongs to the next picture, or to the last one: behind a final picture it may be a late preview of that one.
#[derive(Debug)]
pub(super) struct ImageItems {
    vendor: ImagesVendor,
    item: ImageItem,
    next_slot: u32,
    /// The slots of whole final pictures.
    whole: u32,
    short: Short,
}

/// ARK's largest number of pictures.
const MAX_SLOTS: u32 = 15;

#[derive(Debug, Default)]
struct ImageItem {
    slot: Option<u32>,
    preview: Option<u32>,
    pixels: Option<(u32, u32)>,
    error: ErrorObject,
    /// Where the current string is, until it ends.
    place: Option<Place>,
}

impl ImageItems {
    pub(super) fn new(vendor: ImagesVendor) -> Self {
        Self { vendor, item: ImageItem::default(), next_slot: 0, whole: 0, short: Short::default() }
    }

    /// The next token of the item at `position` of a list, of which strings of this kind are pictures.
    pub(super) fn listed(
        &mut self,
        (position, kind): (u32, ReferenceKind),
        path: &MemberPath,
        PathMarks { draft, may_be_error }: PathMarks,
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        if path.is_empty() && (value == TokenValue::Open || value.begins_string()) {
            self.item.clear();
            self.item.slot = Some(position);
        }
        match path {
            [] => {
                self.string(kind, draft, value, content, out);
                if value == TokenValue::Close || value.ends_string() {
                    self.settle_listed(content, out);
                }
            }
            path if may_be_error && error_of(path).is_some() => self.item.error.token(path, value),
            _ => self.token(path, draft, value, content, out),
        }
    }

    /// The next token of a picture. `draft`: known so far.
    pub(super) fn token(
        &mut self,
        path: &MemberPath,
        draft: bool,
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        match path {
            [Key(Member::ImageIndex)] => {
                if let Some(index) = number(value, &mut self.short) {
                    self.item.slot = index.filter(|&index| index < MAX_SLOTS).or(self.item.slot);
                }
            }
            [Key(Member::PartialImageIndex)] => {
                if let Some(index) = number(value, &mut self.short) {
                    self.item.preview = index.filter(|_| self.vendor == ImagesVendor::Ark);
                }
            }
            [Key(Member::Size)] => {
                if let Some(size) = self.short.read(value) {
                    self.item.pixels = pixels(size);
                }
            }
            [Key(Member::Url | Member::B64Json | Member::ImageUrl)] | [Key(Member::ImageUrl), Key(Member::Url)] => {
                self.string(ReferenceKind::Picture, draft, value, content, out);
            }
            [Key(Member::Image | Member::Output)]
            | [
                Key(Member::Data | Member::Image | Member::Output | Member::Result),
                Key(Member::Url | Member::ImageUrl | Member::B64Json | Member::Image),
            ] => {
                self.string(ReferenceKind::PictureOrLink, draft, value, content, out);
            }
            _ => self.string(ReferenceKind::Any, draft, value, content, out),
        }
    }

    /// The picture is complete. `failure` is the upstream's error for it, if any.
    pub(super) fn settle(&mut self, draft: bool, failure: Option<Failure>, content: &mut Content, out: &mut Out<'_>) {
        let (slot, final_slot) = (self.slot(draft || content.is_draft()), self.slot(false));
        let ImageItem { pixels, slot: own_slot, .. } = self.item;
        self.item.clear();
        let came = content.end_picture(slot, draft, pixels, out);
        if came == PictureResult::Nothing
            && let Some(failure) = failure
        {
            out(Update::ImageFailed { slot, failure });
            self.next_slot = slot.saturating_add(1);
            return;
        }
        let is_whole = came == PictureResult::Whole || (came == PictureResult::Found && own_slot.is_some());
        if is_whole || (came == PictureResult::Rejected && !draft) {
            self.next_slot = final_slot.saturating_add(1);
        }
        if is_whole {
            self.whole |= 1_u32.checked_shl(final_slot).unwrap_or(0);
        }
    }

    /// As [`ImageItems::settle`], for an item of a list, which contains its own error.
    fn settle_listed(&mut self, content: &mut Content, out: &mut Out<'_>) {
        let error = &self.item.error;
        let failure = error.is_found().then(|| error.failure(None));
        self.settle(false, failure, content, out);
    }

    /// The document broke off.
    pub(super) fn abandon(&mut self) {
        self.item.clear();
    }

    /// A string that is or may be the picture.
    fn string(
        &mut self,
        kind: ReferenceKind,
        draft: bool,
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        if value.begins_string() {
            let is_known = kind != ReferenceKind::Any || self.item.slot.is_some();
            self.item.place = Some(Place { slot: if is_known { self.slot(draft) } else { 0 }, draft, kind });
        }
        if let Some(place) = self.item.place {
            content.picture(place, value, out);
        }
    }

    fn slot(&self, draft: bool) -> u32 {
        let is_whole = |slot: u32| self.whole & 1_u32.checked_shl(slot).unwrap_or(0) != 0;
        match self.item {
            ImageItem { slot: Some(slot), .. } if draft || !is_whole(slot) => slot,
            ImageItem { slot: None, preview: Some(preview), .. } if draft => preview.min(self.next_slot),
            ImageItem { slot: None, .. } if draft && is_whole(self.next_slot.wrapping_sub(1)) => self.next_slot - 1,
            _ => (self.next_slot..).find(|&slot| !is_whole(slot)).unwrap_or(self.next_slot),
        }
    }
}

impl ImageItem {
    /// Drops everything, and keeps the memory.
    fn clear(&mut self) {
        let Self { slot, preview, pixels, error, place } = self;
        (*slot, *preview, *pixels, *place) = (None, None, None, None);
        error.clear();
    }
}

/// Pixels of `2496x1664`; `None` for a tier such as `2K`.
fn pixels(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once(['x', 'X', '*'])?;
    Some((width.parse().ok()?, height.parse().ok()?))
}
