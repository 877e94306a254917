use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::picture::SlotPicture;
use super::repeats::Repeats;
use super::{Failure, MAX_TEXT_BYTES, Out};
use crate::image_url::{LocalLinks, read_generated};
use crate::json::TokenValue;
use crate::media::{self, ImageRejection, MarkdownPart, PictureHash, Reference, ReferenceKind, Referred, Utf8};
use crate::update::Update;

/// Text of slots beyond this one is ignored: one picture is requested, and each slot needs a reader.
pub(super) const MAX_SLOTS: u32 = 8;
/// Pictures that later ones are compared with.
const MAX_KNOWN: usize = 64;

/// The content of an answer in any dialect: text with pictures in it, and strings that are a picture.
#[derive(Debug)]
pub(super) struct Content {
    links: LocalLinks,
    pub(super) hash: PictureHash,
    texts: Vec<SlotText>,
    /// The member whose text each slot shows: the first one that had any.
    shown: Vec<(u32, TextSource)>,
    /// A string that may turn out to be a picture.
    candidate: Option<Reference>,
    value: Option<PictureValue>,
    /// An earlier form of the same picture, kept until the later form proves valid.
    earlier: Option<PictureValue>,
    /// How the values ended that `end_picture` has not reported yet.
    ended: PictureResult,
    finals: FinalPictures,
    /// The current document has a whole picture.
    has_picture: bool,
    text_bytes: usize,
}

/// The place of a string in an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) slot: u32,
    /// The upstream marks the picture as not final.
    pub(super) draft: bool,
    pub(super) kind: ReferenceKind,
}

/// The member of a choice that contains the text. Some relays write every chunk into both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextSource {
    Delta,
    Message,
}

/// How a value that stands for a picture ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PictureResult {
    /// No value, or an empty one.
    #[default]
    Nothing,
    /// A picture that is not final.
    Draft,
    /// Not a picture, or a broken one.
    Rejected,
    /// A picture in a member that no vendor has.
    Found,
    /// A final picture that came before.
    Repeated,
    /// A final picture, or a link to one.
    Whole,
}

/// The final pictures so far.
#[derive(Debug, Default)]
struct FinalPictures {
    /// Their hashes and links.
    known: Vec<KnownPicture>,
    /// The slots of those in texts and in members of vendors.
    slots: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum KnownPicture {
    Bytes([u8; 32]),
    /// The hash of a link.
    Link(u64),
}

/// The text of one slot, across documents.
#[derive(Debug)]
struct SlotText {
    slot: u32,
    source: TextSource,
    reader: media::MarkdownImages,
    picture: Option<SlotPicture>,
    utf8: Utf8,
    repeats: Repeats,
    /// The current document has some of it.
    is_in_document: bool,
}

/// A string that is a picture or a link to one.
#[derive(Debug)]
struct PictureValue {
    reference: Reference,
    picture: SlotPicture,
    /// The string has not ended.
    is_read: bool,
}

impl Content {
    pub(super) fn new(links: LocalLinks) -> Self {
        Self {
            links,
            hash: PictureHash::default(),
            texts: Vec::new(),
            shown: Vec::new(),
            candidate: None,
            value: None,
            earlier: None,
            ended: PictureResult::Nothing,
            finals: FinalPictures::default(),
            has_picture: false,
            text_bytes: 0,
        }
    }

    /// The next part of a slot's text, which may contain pictures.
    pub(super) fn text(&mut self, slot: u32, piece: &[u8], out: &mut Out<'_>) {
        self.text_of(TextSource::Delta, slot, piece, out);
    }

    /// As [`Content::text`], for one of the members that may contain it.
    pub(super) fn text_of(&mut self, source: TextSource, slot: u32, piece: &[u8], out: &mut Out<'_>) {
        if slot >= MAX_SLOTS || piece.is_empty() {
            return;
        }
        let at = self.texts.iter().position(|text| (text.slot, text.source) == (slot, source)).unwrap_or_else(|| {
            self.texts.push(SlotText::new(slot, source));
            self.texts.len() - 1
        });
        if self.shown.iter().all(|(shown, _)| *shown != slot) {
            self.shown.push((slot, source));
        }
        let Some(text) = self.texts.get_mut(at) else { return };
        text.is_in_document = true;
        let is_open = text.is_open();
        let mut repeats = std::mem::take(&mut text.repeats);
        for part in repeats.push(piece, is_open).into_iter().filter(|part| !part.is_empty()) {
            self.new_text(at, part, out);
        }
        if let Some(text) = self.texts.get_mut(at) {
            text.repeats = repeats;
        }
    }

    /// Reads text that no earlier chunk contained.
    fn new_text(&mut self, at: usize, mut piece: &[u8], out: &mut Out<'_>) {
        loop {
            let is_shown = self.is_shown(at);
            let Self { texts, links, finals, has_picture, text_bytes, .. } = &mut *self;
            let Some(SlotText { slot, reader, picture, utf8, .. }) = texts.get_mut(at) else { return };
            let (slot, is_thought) = (*slot, reader.is_thought());
            let Some(found) = reader.next(&mut piece) else { return };
            match found {
                MarkdownPart::Text(bytes) if is_shown => show(slot, bytes, utf8, text_bytes, out),
                MarkdownPart::Text(_) | MarkdownPart::OnlyLink(_) => {}
                MarkdownPart::Image => {
                    *picture = None;
                    if !is_thought && !self.is_in_other_text(at) {
                        self.end_in_slot(slot, out);
                        if let Some(text) = self.texts.get_mut(at) {
                            text.picture = Some(SlotPicture::new(slot, false, self.hash));
                        }
                    }
                }
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
                        self.finish_picture(picture, false, true, out);
                    }
                }
                MarkdownPart::Link(_) if is_thought => {}
                MarkdownPart::Link(url) => *has_picture |= link(slot, url, *links, finals, out),
            }
        }
    }

    /// A string at `place`, which counts when [`Content::end_picture`] or [`Content::end_part`] is called, because further
    /// members of the picture may follow it.
    pub(super) fn picture(&mut self, place: Place, value: TokenValue<'_>, out: &mut Out<'_>) {
        let Place { slot, draft, kind } = place;
        match value {
            TokenValue::String(text) if kind == ReferenceKind::Any && self.is_nothing(text) => {}
            TokenValue::String(_) => value.fragments().for_each(|value| self.picture(place, value, out)),
            TokenValue::StringStart if kind == ReferenceKind::Picture => {
                self.end_earlier(slot, false, None, out);
                self.earlier = self.value.take();
                let (reference, picture) = (Reference::new(kind), SlotPicture::new(slot, draft, self.hash));
                self.value = Some(PictureValue { reference, picture, is_read: true });
                self.candidate = None;
            }
            TokenValue::StringStart => self.candidate = Some(Reference::new(kind)),
            TokenValue::Text(text) => match self.candidate.take() {
                Some(candidate) if candidate.is_unusable_before(text) => {}
                Some(candidate) => self.consider(candidate, place, text, out),
                None => self.read_value(text, out),
            },
            TokenValue::StringEnd => match self.candidate.take() {
                Some(reference) if matches!(reference.finish(), Referred::Link(_)) => {
                    self.end_value(out);
                    self.value = Some(PictureValue {
                        reference,
                        picture: SlotPicture::new(slot, draft, self.hash),
                        is_read: false,
                    });
                }
                Some(_) => {}
                None => {
                    if let Some(value) = &mut self.value {
                        value.is_read = false;
                    }
                }
            },
            _ => {}
        }
    }

    /// Whether a string in a member that no vendor has is not a picture, and ends none.
    pub(super) fn is_nothing(&self, text: &[u8]) -> bool {
        self.candidate.is_none() && self.value.is_none() && Reference::is_nothing(text)
    }

    /// Whether a string that is a picture is complete and has not been counted.
    pub(super) fn has_value(&self) -> bool {
        self.value.as_ref().is_some_and(|value| !value.is_read)
    }

    /// The upstream marks the current value as not final.
    pub(super) fn mark_draft(&mut self) {
        for value in [&mut self.earlier, &mut self.value].into_iter().flatten() {
            value.picture.mark_draft();
        }
    }

    /// Whether the upstream marks the current value as not final.
    pub(super) fn is_draft(&self) -> bool {
        self.value.as_ref().is_some_and(|value| value.picture.is_draft())
    }

    /// The current value stands in the thoughts of the model.
    pub(super) fn drop_value(&mut self, out: &mut Out<'_>) {
        for value in [self.earlier.take(), self.value.take()].into_iter().flatten() {
            if value.reference.is_payload() {
                out(Update::ImageRejected { slot: value.picture.slot(), why: ImageRejection::NotAnImage });
            }
        }
    }

    /// The part of the answer that contains the current value is complete.
    pub(super) fn end_part(&mut self, out: &mut Out<'_>) {
        self.end_value(out);
        self.ended = PictureResult::Nothing;
    }

    /// The current value is complete. A link belongs to `slot`, a picture to the slot in which it began. `draft`: the
    /// upstream marks all its forms as not final.
    pub(super) fn end_picture(
        &mut self,
        slot: u32,
        draft: bool,
        pixels: Option<(u32, u32)>,
        out: &mut Out<'_>,
    ) -> PictureResult {
        self.end_earlier(slot, draft, pixels, out);
        if let Some(value) = self.value.take() {
            self.end_one(value, slot, draft, pixels, out);
        }
        std::mem::take(&mut self.ended)
    }

    fn end_one(&mut self, value: PictureValue, slot: u32, draft: bool, pixels: Option<(u32, u32)>, out: &mut Out<'_>) {
        let PictureValue { reference, mut picture, .. } = value;
        let is_known = reference.kind() != ReferenceKind::Any;
        let draft = draft || picture.is_draft() || (!is_known && self.finals.has(picture.slot()));
        let came = match reference.finish() {
            Referred::Nothing => PictureResult::Nothing,
            Referred::Unusable => self.reject(slot, ImageRejection::NotAnImage, out),
            Referred::Link(url) => match read_generated(url, self.links) {
                Ok(url) => {
                    out(Update::ImageLinked { slot, url: &url, pixels, draft });
                    self.note(slot, KnownPicture::link(&url), draft)
                }
                Err(_) => self.reject(slot, ImageRejection::BadLink, out),
            },
            // A late preview of an earlier slot, which is marked behind its bytes.
            Referred::Payload(_) if draft && slot < picture.slot() => {
                out(Update::ImageRepeated { slot: picture.slot() });
                PictureResult::Nothing
            }
            Referred::Payload(rest) => {
                if !rest.is_empty() {
                    self.end_in_texts(picture.slot(), out);
                    picture.push(rest, out);
                }
                match self.finish_picture(picture, draft, is_known, out) {
                    PictureResult::Rejected if !is_known => PictureResult::Nothing,
                    came => came,
                }
            }
        };
        self.ended = self.ended.max(came);
    }

    /// A document has ended.
    pub(super) fn end_document(&mut self, out: &mut Out<'_>) {
        (self.ended, self.has_picture) = (PictureResult::Nothing, false);
        for at in 0..self.texts.len() {
            let Some(text) = self.texts.get_mut(at) else { return };
            text.is_in_document = false;
            if text.repeats.is_over() {
                continue;
            }
            let is_open = text.is_open();
            let mut repeats = std::mem::take(&mut text.repeats);
            self.new_text(at, repeats.end_chunk(is_open), out);
            if let Some(text) = self.texts.get_mut(at) {
                text.repeats = repeats;
            }
        }
    }

    /// The document broke off: a picture may already be whole. A link is dropped, because it may be incomplete.
    pub(super) fn abandon(&mut self, out: &mut Out<'_>) {
        self.candidate = None;
        // That one was complete.
        if let Some(PictureValue { picture, .. }) = &self.earlier {
            self.end_earlier(picture.slot(), false, None, out);
        }
        match &self.value {
            Some(value) if matches!(value.reference.finish(), Referred::Payload(_)) => self.end_value(out),
            _ => self.value = None,
        }
        self.end_document(out);
    }

    /// The answer has ended.
    pub(super) fn finish(&mut self, out: &mut Out<'_>) {
        self.abandon(out);
        for at in 0..self.texts.len() {
            self.end_text(at, out);
        }
    }

    fn end_text(&mut self, at: usize, out: &mut Out<'_>) {
        let is_shown = self.is_shown(at);
        let Self { texts, links, finals, text_bytes, .. } = &mut *self;
        let Some(SlotText { slot, reader, picture, utf8, .. }) = texts.get_mut(at) else { return };
        let (slot, is_thought) = (*slot, reader.is_thought());
        while let Some(found) = reader.finish() {
            match found {
                MarkdownPart::Text(bytes) if is_shown => show(slot, bytes, utf8, text_bytes, out),
                MarkdownPart::Link(_) if is_thought => {}
                MarkdownPart::Link(url) => _ = link(slot, url, *links, finals, out),
                MarkdownPart::OnlyLink(url) => match read_generated(url, *links) {
                    Ok(_) if finals.known.is_empty() => _ = link(slot, url, *links, finals, out),
                    _ if is_shown => show(slot, url.as_bytes(), utf8, text_bytes, out),
                    _ => {}
                },
                _ => {}
            }
        }
        utf8.finish(|text| out(Update::Text { slot, text }));
        if let Some(picture) = picture.take() {
            self.finish_picture(picture, false, true, out);
        }
    }

    /// Reads more of a string that stands for a picture, or that has turned out to be one.
    fn read_value(&mut self, text: &[u8], out: &mut Out<'_>) {
        let Some(mut value) = self.value.take_if(|value| value.is_read) else { return };
        let slot = value.picture.slot();
        for payload in value.reference.push(text) {
            // Beside a picture that has not ended, a preview is of no use.
            if value.picture.is_draft() && self.is_in_text(slot) {
                return;
            }
            self.end_earlier(slot, false, None, out);
            self.end_in_texts(slot, out);
            value.picture.push(payload, out);
        }
        self.value = Some(value);
    }

    /// Reads more of a string that may turn out to be a picture.
    fn consider(&mut self, mut reference: Reference, place: Place, text: &[u8], out: &mut Out<'_>) {
        let Place { slot, draft, .. } = place;
        let mut found = None;
        for payload in reference.push(text) {
            if found.is_none() && self.is_outweighed(place) {
                return;
            }
            let picture = found.get_or_insert_with(|| {
                self.end_value(out);
                self.end_in_texts(slot, out);
                SlotPicture::new(slot, draft, self.hash)
            });
            picture.push(payload, out);
        }
        match found {
            Some(picture) => self.value = Some(PictureValue { reference, picture, is_read: true }),
            None => self.candidate = Some(reference).filter(|reference| !reference.is_unusable()),
        }
    }

    /// Reports a rejected value, unless a picture in the text of the same slot is unfinished: that one must go on.
    fn reject(&self, slot: u32, why: ImageRejection, out: &mut Out<'_>) -> PictureResult {
        if !self.is_in_text(slot) {
            out(Update::ImageRejected { slot, why });
        }
        PictureResult::Rejected
    }

    /// Ends the earlier form of the current picture, which has its own marks.
    fn end_earlier(&mut self, slot: u32, draft: bool, pixels: Option<(u32, u32)>, out: &mut Out<'_>) {
        if let Some(value) = self.earlier.take() {
            self.end_one(value, slot, draft, pixels, out);
        }
    }

    /// Ends the current value because another picture begins.
    fn end_value(&mut self, out: &mut Out<'_>) {
        if let Some(PictureValue { picture, .. }) = &self.value {
            self.ended = self.end_picture(picture.slot(), false, None, out);
        }
    }

    /// Ends the pictures of a slot when another one begins in a text: a slot has one unfinished picture.
    fn end_in_slot(&mut self, slot: u32, out: &mut Out<'_>) {
        if self.value.as_ref().is_some_and(|value| value.picture.slot() == slot) {
            self.end_value(out);
        }
        self.end_in_texts(slot, out);
    }

    /// As [`Content::end_in_slot`], when one begins beside the text.
    fn end_in_texts(&mut self, slot: u32, out: &mut Out<'_>) {
        for at in 0..self.texts.len() {
            let text = self.texts.get_mut(at).filter(|text| text.slot == slot);
            if let Some(picture) = text.and_then(|text| text.picture.take()) {
                self.finish_picture(picture, false, true, out);
            }
        }
    }

    /// `is_known`: in a text, or in a member of a vendor.
    fn finish_picture(
        &mut self,
        picture: SlotPicture,
        draft: bool,
        is_known: bool,
        out: &mut Out<'_>,
    ) -> PictureResult {
        let slot = picture.slot();
        match picture.finish(draft, out) {
            Some(sha256) if is_known => self.note(slot, KnownPicture::Bytes(sha256), draft),
            Some(sha256) => {
                self.has_picture = true;
                match draft {
                    true => PictureResult::Draft,
                    false if self.finals.is_new(KnownPicture::Bytes(sha256)) => PictureResult::Found,
                    false => PictureResult::Repeated,
                }
            }
            None => PictureResult::Rejected,
        }
    }

    fn note(&mut self, slot: u32, picture: KnownPicture, draft: bool) -> PictureResult {
        self.has_picture = true;
        match draft {
            true => PictureResult::Draft,
            false if self.finals.note(slot, picture) => PictureResult::Whole,
            false => PictureResult::Repeated,
        }
    }

    /// Whether the current document has a whole picture so far, or a link to one.
    pub(super) fn has_picture(&self) -> bool {
        self.has_picture || self.forms().any(|value| self.is_usable(value))
    }

    /// Whether another picture outweighs one at this place: one in a text that has not ended, which must go on, or, in a
    /// member that no vendor has, any final one in a text or in a member of a vendor.
    fn is_outweighed(&self, Place { slot, kind, .. }: Place) -> bool {
        let is_final = |value: &PictureValue| {
            value.reference.kind() != ReferenceKind::Any && !value.picture.is_draft() && self.is_usable(value)
        };
        let is_unknown = kind == ReferenceKind::Any;
        self.is_in_text(slot) || (is_unknown && (self.finals.has(slot) || self.forms().any(is_final)))
    }

    /// Whether a text of the slot has a picture that has not ended.
    fn is_in_text(&self, slot: u32) -> bool {
        self.texts.iter().any(|text| text.slot == slot && text.picture.is_some())
    }

    /// The forms of the current picture.
    fn forms(&self) -> impl Iterator<Item = &PictureValue> {
        self.earlier.iter().chain(&self.value)
    }

    /// Whether a value that has ended is a whole picture or an acceptable link.
    fn is_usable(&self, value: &PictureValue) -> bool {
        match value.reference.finish() {
            _ if value.is_read => false,
            Referred::Link(url) => read_generated(url, self.links).is_ok(),
            Referred::Payload(_) => value.picture.is_whole(),
            Referred::Nothing | Referred::Unusable => false,
        }
    }

    fn is_shown(&self, at: usize) -> bool {
        let text = self.texts.get(at);
        text.is_some_and(|text| self.shown.contains(&(text.slot, text.source)))
    }

    /// Whether the other member of the same document contains a part of a picture, which this one repeats.
    fn is_in_other_text(&self, at: usize) -> bool {
        let Some(this) = self.texts.get(at) else { return false };
        let mut others = self.texts.iter().filter(|text| text.slot == this.slot && text.source != this.source);
        others.any(|other| other.is_in_document && other.is_open())
    }
}

impl FinalPictures {
    /// Records a final picture and returns whether it is new.
    fn note(&mut self, slot: u32, picture: KnownPicture) -> bool {
        self.slots |= 1_u32.checked_shl(slot).unwrap_or(0);
        self.is_new(picture)
    }

    /// As [`FinalPictures::note`], for one in a member that no vendor has.
    fn is_new(&mut self, picture: KnownPicture) -> bool {
        let is_new = !self.known.contains(&picture);
        if is_new && self.known.len() < MAX_KNOWN {
            self.known.push(picture);
        }
        is_new
    }

    /// Whether a slot has a final picture in a text or in a member of a vendor.
    fn has(&self, slot: u32) -> bool {
        self.slots & 1_u32.checked_shl(slot).unwrap_or(0) != 0
    }
}

impl KnownPicture {
    fn link(url: &str) -> Self {
        Self::Link(BuildHasherDefault::<DefaultHasher>::default().hash_one(url))
    }
}

impl SlotText {
    fn new(slot: u32, source: TextSource) -> Self {
        let (reader, utf8, repeats) = Default::default();
        Self { slot, source, reader, picture: None, utf8, repeats, is_in_document: false }
    }

    fn is_open(&self) -> bool {
        self.picture.as_ref().is_some_and(|picture| !picture.is_whole())
    }
}

fn show(slot: u32, bytes: &[u8], utf8: &mut Utf8, text_bytes: &mut usize, out: &mut Out<'_>) {
    let before = *text_bytes;
    *text_bytes += bytes.len();
    if *text_bytes > MAX_TEXT_BYTES {
        if before <= MAX_TEXT_BYTES {
            out(Update::Failed(Failure::Protocol));
        }
        return;
    }
    let was_invalid = utf8.is_invalid();
    utf8.push(bytes, |text| out(Update::Text { slot, text }));
    if utf8.is_invalid() && !was_invalid {
        out(Update::Failed(Failure::Protocol));
    }
}

/// A link in a text. Returns whether it is acceptable.
fn link(slot: u32, url: &str, links: LocalLinks, finals: &mut FinalPictures, out: &mut Out<'_>) -> bool {
    let read = read_generated(url, links);
    match &read {
        Ok(url) => {
            out(Update::ImageLinked { slot, url, pixels: None, draft: false });
            finals.note(slot, KnownPicture::link(url));
        }
        Err(_) => out(Update::ImageRejected { slot, why: ImageRejection::BadLink }),
    }
    read.is_ok()
}
