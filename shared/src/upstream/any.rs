use super::chat::Choices;
use super::content::Content;
use super::error_object::ErrorObject;
use super::finish_reason::stop;
use super::gemini::Candidates;
use super::images::{ImageItems, ImagesVendor};
use super::responses::OutputItems;
use super::short::Short;
use super::{Failure, Out, RefusedParameter};
use crate::image_url::LocalLinks;
use crate::json::Segment::{self, Index, Key};
use crate::json::{Token, TokenValue};
use crate::update::{Stop, Update, Usage};

/// Longest known event name.
const MAX_NAME_BYTES: usize = 64;
/// Text whose `type` comes behind it waits for the end of its document up to this size.
const MAX_PENDING_BYTES: usize = 64 * 1024;

/// All dialects at once: a relay may answer in another dialect than the request's.
///
/// The members of a document tell them apart: `choices` is chat, `candidates` is Gemini, `item` and `output` are the
/// Responses API, anything else the images APIs. An `error` member ends an answer, except in an event about one
/// picture: there the `type` decides, and the rest of a group goes on.
#[derive(Debug)]
pub struct AnyDialect {
    content: Content,
    choices: Choices,
    candidates: Candidates,
    items: ImageItems,
    output: OutputItems,
    document: DocumentState,
    short: Short,
    usage: Usage,
    /// The error in the body of an answer with an error status; `None` for a 2xx status.
    refusal: Option<HttpRefusal>,
}

/// The body of an answer with an error status.
#[derive(Debug)]
struct HttpRefusal {
    status: u16,
    /// The class of the first document.
    failure: Option<Failure>,
    /// The member of our request that the first document names.
    parameter: Option<&'static RefusedParameter>,
}

/// State of the document being read.
#[derive(Debug, Default)]
struct DocumentState {
    /// `type`.
    kind: String,
    /// The event name or `type` marks its picture as not final.
    is_preview: bool,
    /// `text` or `delta`, until `type` decides whether it is text for the user.
    text: Vec<u8>,
    /// It is text for the user, and longer than what waits.
    is_streaming_text: bool,
    /// `phase` marks it as not meant for the user.
    is_internal: bool,
    stop: Option<Stop>,
    error: ErrorObject,
}

impl AnyDialect {
    /// A reader of one answer. Links to this machine are accepted only in the local stack.
    pub fn new(links: LocalLinks) -> Self {
        Self::of(ImagesVendor::OpenAi, links)
    }

    /// A reader of one answer of Volcengine ARK, or of a relay in front of ARK.
    pub fn ark(links: LocalLinks) -> Self {
        Self::of(ImagesVendor::Ark, links)
    }

    /// A reader of the body of an answer with an error status: always ends in [`Update::Failed`].
    pub fn refusal(status: u16) -> Self {
        Self { refusal: Some(HttpRefusal { status, failure: None, parameter: None }), ..Self::new(LocalLinks::Refused) }
    }

    /// The member names that any of the dialects reads.
    pub(super) fn vocabulary() -> impl Iterator<Item = &'static str> {
        let others = ["usage", "type", "text", "phase"];
        let lists =
            [Choices::KEYS, Candidates::KEYS, ImageItems::KEYS, OutputItems::KEYS, &ErrorObject::KEYS, &Usage::KEYS];
        lists.into_iter().flatten().copied().chain(others)
    }

    /// The next token of a document.
    pub(super) fn token(&mut self, token: Token<'_>, out: &mut Out<'_>) {
        // Google's API without `alt=sse` answers with a list of documents.
        let (path, is_listed) = match token.path {
            [Index(_), rest @ ..] => (rest, true),
            path => (path, false),
        };
        // The API behind Google's command line tools, and proxies in front of it, wrap the document.
        let path = match path {
            [Key("response"), rest @ ..] if matches!(rest, [Key(name), ..] if Candidates::ROOTS.contains(name)) => rest,
            path => path,
        };
        match (path, token.value) {
            ([], TokenValue::Open) if is_listed => self.document_begin(b""),
            ([], TokenValue::Close) if is_listed => self.document_end(b"", out),
            ([], _) => {}
            (path, value) if self.refusal.is_some() => self.document.error.token(path, value),
            (path, value) => self.member(path, value, out),
        }
    }

    fn of(vendor: ImagesVendor, links: LocalLinks) -> Self {
        Self {
            content: Content::new(links),
            choices: Choices::default(),
            candidates: Candidates::default(),
            items: ImageItems::new(vendor),
            output: OutputItems::default(),
            document: DocumentState::default(),
            short: Short::default(),
            usage: Usage::default(),
            refusal: None,
        }
    }

    /// A document begins. `event_type` is the event's `event` field so far.
    pub(super) fn document_begin(&mut self, event_type: &[u8]) {
        self.document = DocumentState { is_preview: names_preview(event_type), ..DocumentState::default() };
    }

    fn member(&mut self, path: &[Segment], value: TokenValue<'_>, out: &mut Out<'_>) {
        let Self { content, choices, candidates, items, output, .. } = self;
        match (path, value) {
            ([Key("choices"), Index(position), rest @ ..], value) => {
                choices.token(*position, rest, value, content, out);
            }
            ([Key("candidates"), Index(position), rest @ ..], value) => {
                candidates.token(*position, rest, value, content, out);
            }
            ([Key("promptFeedback" | "prompt_feedback"), rest @ ..], value) => candidates.feedback(rest, value, out),
            ([Key("item"), rest @ ..], value) => output.item(rest, value, content, out),
            ([Key("output"), Index(_), rest @ ..] | [Key("response"), Key("output"), Index(_), rest @ ..], value) => {
                output.listed(rest, value, content, out);
            }
            ([Key("partial_image_b64")], value) => output.preview(value, content, out),
            ([Key("data" | "images"), Index(position), rest @ ..], value) => {
                items.listed(*position, rest, value, content, out);
            }
            ([Key("usage" | "usageMetadata" | "usage_metadata")], TokenValue::Close)
            | ([Key("response"), Key("usage")], TokenValue::Close) => out(Update::Usage(self.usage)),
            ([Key("usage" | "usageMetadata" | "usage_metadata"), Key(name)], TokenValue::Scalar(count))
            | ([Key("response"), Key("usage"), Key(name)], TokenValue::Scalar(count)) => self.usage.set(name, count),
            (path, value) => self.other(path, value, out),
        }
    }

    fn other(&mut self, path: &[Segment], value: TokenValue<'_>, out: &mut Out<'_>) {
        let DocumentState { kind, is_preview, text, is_streaming_text, is_internal, stop: stopped, error, .. } =
            &mut self.document;
        match (path, value) {
            ([Key("type")], value) => {
                if let Some(name) = self.short.read(value) {
                    kind.clear();
                    kind.push_str(name);
                    *is_preview = names_preview(name.as_bytes());
                }
            }
            ([Key("phase")], value) => {
                if let Some(phase) = self.short.read(value) {
                    *is_internal = phase != "content";
                }
            }
            (
                [Key("incomplete_details"), Key("reason")]
                | [Key("response"), Key("incomplete_details"), Key("reason")],
                value,
            ) => {
                if let Some(reason) = self.short.read(value) {
                    *stopped = stop(reason);
                }
            }
            ([Key("text" | "delta")], TokenValue::Text(more)) => {
                let (waits, rest) = more.split_at(more.len().min(MAX_PENDING_BYTES - text.len()));
                text.extend_from_slice(waits);
                if !rest.is_empty() && !*is_streaming_text && is_user_text(kind, *is_internal) {
                    *is_streaming_text = true;
                    self.content.text(0, text, out);
                }
                if *is_streaming_text {
                    self.content.text(0, rest, out);
                }
            }
            _ => {}
        }
        self.items.token(*is_preview, path, value, &mut self.content, out);
        error.token(path, value);
    }

    /// A document ended. `event_type` is the event's `event` field.
    pub(super) fn document_end(&mut self, event_type: &[u8], out: &mut Out<'_>) {
        let DocumentState { kind, is_preview, text, is_streaming_text, is_internal, stop, error } =
            std::mem::take(&mut self.document);
        if let Some(HttpRefusal { status, failure, parameter }) = &mut self.refusal {
            if failure.is_none() {
                *failure = Some(error.failure(Some(*status)));
                *parameter = error.refused_parameter();
            }
            return;
        }
        let event_type = if event_type.len() > MAX_NAME_BYTES { b"" } else { event_type };
        let name = match kind.as_str() {
            "" => std::str::from_utf8(event_type).unwrap_or_default(),
            kind => kind,
        };
        self.output.end_document();
        let last = name.rsplit_once('.').map_or(name, |(_, last)| last);
        let is_about_a_picture = name.starts_with("image_generation.") || name.starts_with("image_edit.");
        let is_failure = event_type == b"error" || last == "error" || name == "response.failed";
        if is_failure || (error.is_error() && !is_about_a_picture) {
            self.content.abandon(out);
            self.items.abandon();
            return out(Update::Failed(error.failure(None)));
        }
        let error = (last == "partial_failed" || error.is_found()).then_some(&error);
        self.items.settle(is_preview, error, &mut self.content, out);
        if is_user_text(name, is_internal) {
            self.output.has_text = true;
            if !is_streaming_text {
                self.content.text(0, &text, out);
            }
        }
        let is_completed = matches!(name, "image_generation.completed" | "image_edit.completed" | "response.completed");
        if let Some(stop) = stop.or(is_completed.then_some(Stop::Finished)) {
            out(Update::Stopped(stop));
        }
    }

    /// A document broke off. Its content so far counts: a picture may already be whole.
    pub(super) fn abandon(&mut self, out: &mut Out<'_>) {
        if self.refusal.is_some() {
            return self.document_end(b"", out);
        }
        self.choices.abandon(&mut self.content, out);
        self.candidates.abandon();
        self.items.abandon();
        self.content.abandon(out);
        self.document = DocumentState::default();
    }

    /// The answer ended.
    pub(super) fn finish(&mut self, out: &mut Out<'_>) {
        match &self.refusal {
            Some(refusal) => out(Update::Failed(refusal.failure.unwrap_or_else(|| self.page()))),
            None => {
                self.abandon(out);
                self.content.finish(out);
            }
        }
    }

    /// The member of our request that the body of an answer with an error status names, if it is a refused request.
    pub(super) fn refused_parameter(&self) -> Option<&'static RefusedParameter> {
        let refusal = self.refusal.as_ref().filter(|refusal| refusal.failure == Some(Failure::BadRequest));
        refusal.and_then(|refusal| refusal.parameter)
    }

    /// The failure for an answer that is an HTML page.
    pub(super) fn page(&self) -> Failure {
        match &self.refusal {
            Some(refusal) => ErrorObject::default().failure(Some(refusal.status)),
            None => Failure::BadContentType,
        }
    }
}

/// Whether the text of a document of this name is meant for the user.
fn is_user_text(name: &str, is_internal: bool) -> bool {
    !is_internal && matches!(name, "image_generation.text_chunk" | "response.output_text.delta")
}

/// Whether an event name or `type` marks its picture as not final.
fn names_preview(name: &[u8]) -> bool {
    name.ends_with(b".partial_image")
}
