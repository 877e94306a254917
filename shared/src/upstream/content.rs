use super::picture::SlotPicture;
use super::{Failure, MAX_TEXT_BYTES, Out};
use crate::image_url::{LocalLinks, check_generated};
use crate::json::TokenValue;
use crate::media::{self, ImageRejection, MarkdownPart, PictureHash, Reference, Referred, Utf8};
use crate::update::Update;

/// Text of slots beyond this one is ignored: one picture is requested, and each slot needs a reader.
const MAX_SLOTS: u32 = 8;

/// The content of an answer in any dialect: text with pictures in it, and values that stand for a picture.
#[derive(Debug)]
pub(super) struct Content {
    links: LocalLinks,
    pub(super) hash: PictureHash,
    texts: Vec<SlotText>,
    value: Option<PictureValue>,
    /// An earlier form of the same picture, kept until the later form proves valid.
    earlier: Option<PictureValue>,
    text_bytes: usize,
}

/// How a value that stands for a picture ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PictureResult {
    /// No value, or an empty one.
    Nothing,
    /// Not a picture, or a broken one.
    Rejected,
    /// A picture, or a link to one.
    Whole,
}

/// The text of one slot, across documents.
#[derive(Debug)]
struct SlotText {
    slot: u32,
    reader: media::MarkdownImages,
    picture: Option<SlotPicture>,
    utf8: Utf8,
}

/// A string that stands for a picture.
#[derive(Debug)]
struct PictureValue {
    reference: Reference,
    picture: SlotPicture,
}

impl Content {
    pub(super) fn new(links: LocalLinks) -> Self {
        Self { links, hash: PictureHash::default(), texts: Vec::new(), value: None, earlier: None, text_bytes: 0 }
    }

    /// The next part of a slot's text, which may contain pictures.
    pub(super) fn text(&mut self, slot: u32, mut piece: &[u8], out: &mut Out<'_>) {
        if slot >= MAX_SLOTS || piece.is_empty() {
            return;
        }
        let at = self.texts.iter().position(|text| text.slot == slot).unwrap_or_else(|| {
            let (reader, utf8) = Default::default();
            self.texts.push(SlotText { slot, reader, picture: None, utf8 });
            self.texts.len() - 1
        });
        let Some(SlotText { reader, picture, utf8, .. }) = self.texts.get_mut(at) else { return };
        while let Some(found) = reader.next(&mut piece) {
            match found {
                MarkdownPart::Text(bytes) => {
                    self.text_bytes += bytes.len();
                    if self.text_bytes > MAX_TEXT_BYTES {
                        if self.text_bytes - bytes.len() <= MAX_TEXT_BYTES {
                            out(Update::Failed(Failure::Protocol));
                        }
                        continue;
                    }
                    let was_invalid = utf8.is_invalid();
                    utf8.push(bytes, |text| out(Update::Text { slot, text }));
                    if utf8.is_invalid() && !was_invalid {
                        out(Update::Failed(Failure::Protocol));
                    }
                }
                MarkdownPart::Image => *picture = Some(SlotPicture::new(slot, false, self.hash)),
                MarkdownPart::Payload(payload) => {
                    if let Some(picture) = picture {
                        picture.push(payload, out);
                        if picture.is_whole() {
                            reader.picture_is_whole();
                        }
                    }
                }
                MarkdownPart::ImageEnd => {
                    if let Some(picture) = picture.take() {
                        picture.finish(false, out);
                    }
                }
                MarkdownPart::Link(url) => out(match check_generated(url, self.links) {
                    Ok(url) => Update::ImageLinked { slot, url, pixels: None, draft: false },
                    Err(_) => Update::ImageRejected { slot, why: ImageRejection::BadLink },
                }),
            }
        }
    }

    /// A string that stands for a picture: a data URL, a link, or base64 alone. It counts when [`Content::end_picture`]
    /// is called, because further members of the picture may follow it.
    pub(super) fn picture(&mut self, slot: u32, draft: bool, value: TokenValue<'_>, out: &mut Out<'_>) {
        match value {
            TokenValue::StringStart => {
                self.end_earlier(slot, draft, None, out);
                self.earlier = self.value.take();
                let (reference, picture) = (Reference::default(), SlotPicture::new(slot, draft, self.hash));
                self.value = Some(PictureValue { reference, picture });
            }
            TokenValue::Text(text) => {
                let Some(PictureValue { mut reference, mut picture }) = self.value.take() else { return };
                for payload in reference.push(text) {
                    self.end_earlier(slot, draft, None, out);
                    end_picture_in_text(&mut self.texts, picture.slot(), out);
                    picture.push(payload, out);
                }
                self.value = Some(PictureValue { reference, picture });
            }
            _ => {}
        }
    }

    /// The current value is complete. A link belongs to `slot`, a picture to the slot in which it began.
    pub(super) fn end_picture(
        &mut self,
        slot: u32,
        draft: bool,
        pixels: Option<(u32, u32)>,
        out: &mut Out<'_>,
    ) -> PictureResult {
        let Some(PictureValue { reference, mut picture }) = self.value.take() else { return PictureResult::Nothing };
        let earlier = self.end_earlier(slot, draft, pixels, out);
        let is_whole = match reference.finish() {
            Referred::Nothing => return earlier,
            Referred::Unusable => {
                self.reject(slot, ImageRejection::NotAnImage, out);
                false
            }
            Referred::Link(url) => match check_generated(url, self.links) {
                Ok(url) => {
                    out(Update::ImageLinked { slot, url, pixels, draft });
                    true
                }
                Err(_) => {
                    self.reject(slot, ImageRejection::BadLink, out);
                    false
                }
            },
            Referred::Payload(rest) => {
                if !rest.is_empty() {
                    end_picture_in_text(&mut self.texts, picture.slot(), out);
                    picture.push(rest, out);
                }
                picture.finish(draft, out)
            }
        };
        if is_whole || earlier == PictureResult::Whole { PictureResult::Whole } else { PictureResult::Rejected }
    }

    /// Reports a rejected value, unless a picture in the text of the same slot is unfinished: that one must go on.
    fn reject(&self, slot: u32, why: ImageRejection, out: &mut Out<'_>) {
        let is_under_way = self.texts.iter().any(|text| text.slot == slot && text.picture.is_some());
        if !is_under_way {
            out(Update::ImageRejected { slot, why });
        }
    }

    fn end_earlier(&mut self, slot: u32, draft: bool, pixels: Option<(u32, u32)>, out: &mut Out<'_>) -> PictureResult {
        let later = self.value.take();
        self.value = self.earlier.take();
        let came = match self.value {
            Some(_) => self.end_picture(slot, draft, pixels, out),
            None => PictureResult::Nothing,
        };
        self.value = later;
        came
    }

    /// The document broke off: a picture may already be whole. A link is dropped, because it may be incomplete.
    pub(super) fn abandon(&mut self, out: &mut Out<'_>) {
        // That one was complete.
        if let Some(PictureValue { picture, .. }) = &self.earlier {
            let (slot, draft) = (picture.slot(), picture.is_draft());
            self.end_earlier(slot, draft, None, out);
        }
        if let Some(PictureValue { reference, picture }) = &self.value {
            let (slot, draft) = (picture.slot(), picture.is_draft());
            match reference.finish() {
                Referred::Payload(_) => _ = self.end_picture(slot, draft, None, out),
                _ => self.value = None,
            }
        }
    }

    /// The answer has ended.
    pub(super) fn finish(&mut self, out: &mut Out<'_>) {
        self.abandon(out);
        for SlotText { slot, mut reader, picture, mut utf8, .. } in std::mem::take(&mut self.texts) {
            if let Some(MarkdownPart::Text(bytes)) = reader.finish() {
                utf8.push(bytes, |text| out(Update::Text { slot, text }));
            }
            utf8.finish(|text| out(Update::Text { slot, text }));
            if let Some(picture) = picture {
                picture.finish(false, out);
            }
        }
    }
}

/// Ends the picture in a slot's text when another one begins beside the text: a slot has one unfinished picture.
fn end_picture_in_text(texts: &mut [SlotText], slot: u32, out: &mut Out<'_>) {
    let text = texts.iter_mut().find(|text| text.slot == slot);
    if let Some(picture) = text.and_then(|text| text.picture.take()) {
        picture.finish(false, out);
    }
}
