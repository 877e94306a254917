//! OpenAI-compatible chat completions, as relays stream pictures through them.

use serde::Serialize;

use super::content::{Content, MAX_SLOTS, Place, TextSource};
use super::finish_reason::stop;
use super::member::{Member, MemberPath};
use super::number::number;
use super::short::Short;
use super::{ModelFamily, Out};
use crate::json::Segment::{Index, Key};
use crate::json::TokenValue;
use crate::media::ReferenceKind;
use crate::update::Update;

/// Content before its choice's `index` waits for it up to this size, then counts as content of choice 0.
const MAX_PENDING_BYTES: usize = 64 * 1024;

/// The body of `POST {base}/v1/chat/completions` for one picture.
///
/// `content` is an array even for text alone (one relay refuses a string), there is no system message (Gemini's image
/// models refuse it), and `modalities` is what OpenRouter needs to make a picture at all. It refuses `text` for a model
/// that makes pictures only.
#[derive(Serialize)]
pub struct ChatRequest<'a> {
    model: &'a str,
    stream: bool,
    stream_options: StreamOptions,
    modalities: &'static [&'static str],
    messages: [ChatMessage<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_body: Option<ExtraBody<'a>>,
}

/// The member in which relays read Gemini's own settings. It is sent literally; OpenAI's Python client would unwrap its
/// `extra_body` parameter.
#[derive(Serialize)]
struct ExtraBody<'a> {
    google: Google<'a>,
}

#[derive(Serialize)]
struct Google<'a> {
    image_config: ImageConfig<'a>,
}

#[derive(Serialize)]
struct ImageConfig<'a> {
    aspect_ratio: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'static str,
    content: Vec<MessagePart<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum MessagePart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: &'a str,
}

impl<'a> ChatRequest<'a> {
    /// A request to `model`: prompt, reference pictures as data URLs or links, and an aspect ratio such as `16:9`.
    pub fn new(
        model: &'a str,
        prompt: &'a str,
        images: impl IntoIterator<Item = &'a str>,
        aspect_ratio: Option<&'a str>,
    ) -> Self {
        let mut content = vec![MessagePart::Text { text: prompt }];
        content.extend(images.into_iter().map(|url| MessagePart::ImageUrl { image_url: ImageUrl { url } }));
        Self {
            model,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            modalities: ModelFamily::of(model).modalities,
            messages: [ChatMessage { role: "user", content }],
            extra_body: aspect_ratio
                .map(|aspect_ratio| ExtraBody { google: Google { image_config: ImageConfig { aspect_ratio } } }),
        }
    }
}

/// Reads the `choices` of chat completion chunks, and of the whole completion some relays send instead.
///
/// Text is `content`, a string or a list of parts, of `delta` or of `message`; some relays write both. Any other string may
/// be a picture: the members in which vendors write pictures may also contain a link. The slot is the choice's `index`,
/// which relays write last: text waits for it; a picture outside the text does not wait and uses the choice's position in
/// the array, which also replaces an index that is too large or occurs twice. Reasoning is not read.
#[derive(Debug, Default)]
pub(super) struct Choices {
    slot: Option<u32>,
    /// The item's position in the array, used if there is no index.
    position: u32,
    /// The slots of the choices before this one.
    taken: u32,
    source: Option<TextSource>,
    pending: Vec<u8>,
    short: Short,
}

impl Choices {
    /// The next token of the item at `position`. `draft`: a mark of the string's path.
    pub(super) fn token(
        &mut self,
        position: u32,
        path: &MemberPath,
        draft: bool,
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        match (path, value) {
            ([], TokenValue::Open) => {
                self.taken = if position == 0 { 0 } else { self.taken };
                (self.slot, self.position, self.source) = (None, position, None);
                self.pending.clear();
            }
            ([], TokenValue::Close) => self.settle(self.slot.unwrap_or(position), content, out),
            ([Key(Member::Index)], value) => {
                if let Some(index) = number(value, &mut self.short) {
                    self.settle(index.filter(|&index| self.is_free(index)).unwrap_or(position), content, out);
                }
            }
            ([Key(Member::FinishReason | Member::NativeFinishReason)], value) => {
                if let Some(stop) = self.short.read(value).and_then(stop) {
                    out(Update::Stopped(stop));
                }
            }
            ([Key(member @ (Member::Delta | Member::Message)), Key(Member::Content)], value)
            | (
                [Key(member @ (Member::Delta | Member::Message)), Key(Member::Content), Index(_), Key(Member::Text)],
                value,
            ) => {
                // A draft is a thought here.
                if let Some(text) = value.text().filter(|_| !draft) {
                    let source = if *member == Member::Delta { TextSource::Delta } else { TextSource::Message };
                    self.text(source, text, content, out);
                }
            }
            (path, value) => {
                let kind = match path {
                    [Key(Member::Delta | Member::Message), rest @ ..] if is_picture(rest) => ReferenceKind::Picture,
                    [Key(Member::Delta | Member::Message), Key(Member::Image | Member::ImageUrl)]
                    | [Key(Member::Delta | Member::Message), Key(Member::ImageUrl), Key(Member::Url)]
                    | [Key(Member::Delta | Member::Message), Key(Member::Content), Index(_), Key(Member::Image)] => {
                        ReferenceKind::PictureOrLink
                    }
                    _ => ReferenceKind::Any,
                };
                content.picture(Place { slot: self.slot.unwrap_or(self.position), draft, kind }, value, out);
            }
        }
    }

    /// The document broke off.
    pub(super) fn abandon(&mut self, content: &mut Content, out: &mut Out<'_>) {
        self.settle(self.slot.unwrap_or(self.position), content, out);
        (self.slot, self.position) = (None, 0);
    }

    /// Whether a choice can have this slot.
    fn is_free(&self, slot: u32) -> bool {
        slot < MAX_SLOTS && self.taken & 1 << slot == 0
    }

    fn text(&mut self, source: TextSource, text: &[u8], content: &mut Content, out: &mut Out<'_>) {
        // The text of both members does not wait for the index together.
        if self.source.is_some_and(|waits| waits != source) && !self.pending.is_empty() {
            self.settle(self.slot.unwrap_or(self.position), content, out);
        }
        self.source = Some(source);
        if let Some(slot) = self.slot {
            content.text_of(source, slot, text, out);
        } else if self.pending.len() + text.len() <= MAX_PENDING_BYTES {
            self.pending.extend_from_slice(text);
        } else {
            self.settle(self.position, content, out);
            content.text_of(source, self.position, text, out);
        }
    }

    /// The slot of the current choice is known: reads the content that waited for it.
    fn settle(&mut self, slot: u32, content: &mut Content, out: &mut Out<'_>) {
        self.slot = Some(slot);
        self.taken |= 1_u32.checked_shl(slot).unwrap_or(0);
        content.text_of(self.source.unwrap_or(TextSource::Delta), slot, &self.pending, out);
        self.pending.clear();
    }
}

/// Whether this is a member of a message in which vendors write a picture or a link to one.
fn is_picture(path: &MemberPath) -> bool {
    match path {
        [Key(Member::Content), Index(_), Key(Member::ImageUrl)]
        | [Key(Member::Content), Index(_), Key(Member::ImageUrl), Key(Member::Url)]
        | [Key(Member::ImageB64Json)] => true,
        [Key(Member::Images | Member::Image), .., last] => match last {
            Key(member) => matches!(member, Member::Url | Member::Data | Member::B64Json | Member::ImageUrl),
            Index(_) => true,
        },
        _ => false,
    }
}
