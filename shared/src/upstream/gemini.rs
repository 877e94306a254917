//! Google's own API for Gemini: `POST {base}/v1beta/models/{model}:streamGenerateContent?alt=sse`.

use serde::Serialize;

use super::Out;
use super::content::{Content, Place};
use super::finish_reason::stop;
use super::member::{Member, MemberPath};
use super::short::Short;
use crate::json::Segment::{Index, Key};
use crate::json::TokenValue;
use crate::media::ReferenceKind;
use crate::update::{Stop, Update};

/// A part's text waits up to this size for `thought`; a longer text counts as text for the user.
const MAX_PENDING_BYTES: usize = 64 * 1024;

/// The request body for one picture.
///
/// Fields: [generateContent](https://ai.google.dev/api/generate-content).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GeminiRequest<'a> {
    contents: [Turn<'a>; 1],
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    parts: Vec<GeminiPart<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum GeminiPart<'a> {
    Text(&'a str),
    InlineData(Inline<'a>),
}

/// A reference picture.
#[derive(Serialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
pub struct Inline<'a> {
    /// `image/png`, `image/jpeg` or `image/webp`.
    pub mime_type: &'a str,
    /// Padded base64.
    pub data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    /// Required by some models, which otherwise answer with text only.
    response_modalities: [&'static str; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    image_config: Option<ImageConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageConfig<'a> {
    aspect_ratio: &'a str,
}

impl<'a> GeminiRequest<'a> {
    /// A request: prompt, reference pictures, and an aspect ratio such as `16:9`.
    pub fn new(prompt: &'a str, images: impl IntoIterator<Item = Inline<'a>>, aspect_ratio: Option<&'a str>) -> Self {
        let mut parts = vec![GeminiPart::Text(prompt)];
        parts.extend(images.into_iter().map(GeminiPart::InlineData));
        Self {
            contents: [Turn { role: "user", parts }],
            generation_config: GenerationConfig {
                response_modalities: ["TEXT", "IMAGE"],
                image_config: aspect_ratio.map(|aspect_ratio| ImageConfig { aspect_ratio }),
            },
        }
    }
}

/// Reads `candidates` and `promptFeedback`, in camel case as Google writes them or in snake case as some proxies do.
///
/// The slot is the candidate's position in the array: one candidate is requested. Text of thoughts is dropped. Any other
/// string may be a picture.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    is_thought: bool,
    text: Vec<u8>,
    /// The text is longer than what waits, so it counts as text for the user.
    is_shown: bool,
    short: Short,
}

impl Candidates {
    /// The next token of the candidate in `slot`. `draft`: a mark of the string's path.
    pub(super) fn token(
        &mut self,
        slot: u32,
        path: &MemberPath,
        draft: bool,
        value: TokenValue<'_>,
        content: &mut Content,
        out: &mut Out<'_>,
    ) {
        match path {
            [Key(Member::FinishReasonCamel | Member::FinishReason)] => {
                if let Some(stop) = self.short.read(value).and_then(stop) {
                    out(Update::Stopped(stop));
                }
            }
            [Key(Member::Content), Key(Member::Parts), Index(_)]
            | [Key(Member::Content), Key(Member::Parts), Index(_), Key(Member::Text | Member::Thought)] => {
                self.part(slot, path.get(3..).unwrap_or_default(), value, content, out);
            }
            path => {
                let kind = match path {
                    [.., Key(Member::InlineData), Key(Member::Data)]
                    | [.., Key(Member::FileData), Key(Member::FileUri)] => ReferenceKind::Picture,
                    _ => ReferenceKind::Any,
                };
                content.picture(Place { slot, draft, kind }, value, out);
            }
        }
    }

    /// The next token of `promptFeedback`.
    pub(super) fn feedback(&mut self, path: &MemberPath, value: TokenValue<'_>, out: &mut Out<'_>) {
        if let [Key(Member::BlockReason)] = path
            && let Some(reason) = self.short.read(value)
            && !matches!(reason, "" | "BLOCK_REASON_UNSPECIFIED")
        {
            out(Update::Stopped(Stop::Filtered));
        }
    }

    /// The document broke off.
    pub(super) fn abandon(&mut self) {
        (self.is_thought, self.is_shown) = (false, false);
        self.text.clear();
    }

    fn part(&mut self, slot: u32, path: &MemberPath, value: TokenValue<'_>, content: &mut Content, out: &mut Out<'_>) {
        match (path, value) {
            ([], TokenValue::Open) => self.abandon(),
            ([], TokenValue::Close) => {
                if !self.is_thought && !self.is_shown {
                    content.text(slot, &self.text, out);
                }
                self.abandon();
            }
            ([Key(Member::Thought)], TokenValue::Scalar(is_thought)) => self.is_thought = is_thought == "true",
            ([Key(Member::Text)], value) => {
                let more = value.text().unwrap_or_default();
                let (waits, rest) = more.split_at(more.len().min(MAX_PENDING_BYTES - self.text.len()));
                self.text.extend_from_slice(waits);
                if !rest.is_empty() && !self.is_shown && !self.is_thought {
                    self.is_shown = true;
                    content.text(slot, &self.text, out);
                }
                if self.is_shown {
                    content.text(slot, rest, out);
                }
            }
            _ => {}
        }
    }
}
