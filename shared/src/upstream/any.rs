use super::chat::Choices;
use super::content::{Content, Place};
use super::finish_reason::stop;
use super::gemini::Candidates;
use super::images::{Items, Vendor};
use super::reader::Dialect;
use super::responses::OutputItems;
use super::short::Short;
use super::{ErrorObject, Out};
use crate::image_url::LocalLinks;
use crate::json::Segment::{self, Index, Key};
use crate::json::{Token, Value};
use crate::update::{Stop, Update, Usage};

/// No event that means anything has a longer name.
const MAX_NAME_BYTES: usize = 64;
/// Text that a document may or may not have meant for the user waits for its end up to this size.
const MAX_PENDING_BYTES: usize = 64 * 1024;

/// Every dialect at once: whichever way an upstream is asked, relays answer in whichever they like.
///
/// The members of a document tell them apart: `choices` is chat, `candidates` is Gemini, `item` and `output` are the
/// Responses API, anything else the images APIs. An `error` member ends an answer, except in an event about one
/// picture: there the `type` decides, and the rest of a group goes on.
#[derive(Debug)]
pub struct AnyDialect {
    content: Content,
    choices: Choices,
    candidates: Candidates,
    items: Items,
    output: OutputItems,
    document: Document,
    short: Short,
    usage: Usage,
}

/// The document under way.
#[derive(Debug, Default)]
struct Document {
    has_choices: bool,
    /// `type`.
    kind: String,
    /// The event or the `type` says that its picture is not the final one.
    is_preview: bool,
    /// `text` or `delta`, which some kinds mean for the user, until it is known whether this one does.
    text: Vec<u8>,
    /// It does, and there is more of it than waits.
    is_said: bool,
    /// `phase` says that it is not meant so.
    is_aside: bool,
    stop: Option<Stop>,
    error: ErrorObject,
}

impl AnyDialect {
    /// Reads one answer; links to this machine pass only in the local stack.
    pub fn new(links: LocalLinks) -> Self {
        Self::of(Vendor::OpenAi, links)
    }

    /// Reads one answer of Volcengine ARK, or of a relay in front of it.
    pub fn ark(links: LocalLinks) -> Self {
        Self::of(Vendor::Ark, links)
    }

    fn of(vendor: Vendor, links: LocalLinks) -> Self {
        Self {
            content: Content::new(links),
            choices: Choices::default(),
            candidates: Candidates::default(),
            items: Items::new(vendor),
            output: OutputItems::default(),
            document: Document::default(),
            short: Short::default(),
            usage: Usage::default(),
        }
    }

    fn begin(&mut self, event_type: &[u8]) {
        self.document = Document { is_preview: names_preview(event_type), ..Document::default() };
        self.content.begin_document();
    }

    fn member(&mut self, path: &[Segment], value: Value<'_>, out: &mut Out<'_>) {
        let Self { content, choices, candidates, items, output, document, .. } = self;
        match (path, value) {
            ([Key("choices")], Value::Open) => document.has_choices = true,
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
            ([Key("usage" | "usageMetadata" | "usage_metadata")], Value::Close)
            | ([Key("response"), Key("usage")], Value::Close) => out(Update::Usage(self.usage)),
            ([Key("usage" | "usageMetadata" | "usage_metadata"), Key(name)], Value::Scalar(count))
            | ([Key("response"), Key("usage"), Key(name)], Value::Scalar(count)) => self.usage.set(name, count),
            (path, value) => self.other(path, value, out),
        }
    }

    fn other(&mut self, path: &[Segment], value: Value<'_>, out: &mut Out<'_>) {
        let Document { kind, is_preview, text, is_said, is_aside, stop: stopped, error, .. } = &mut self.document;
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
                    *is_aside = phase != "content";
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
            ([Key("text" | "delta")], Value::Text(more)) => {
                let (waits, rest) = more.split_at(more.len().min(MAX_PENDING_BYTES - text.len()));
                text.extend_from_slice(waits);
                if !rest.is_empty() && !*is_said && says(kind, *is_aside) {
                    *is_said = true;
                    self.content.text(0, Place::Elsewhere, text, out);
                }
                if *is_said {
                    self.content.text(0, Place::Elsewhere, rest, out);
                }
            }
            _ => {}
        }
        self.items.token(*is_preview, path, value, &mut self.content, out);
        error.token(path, value);
    }

    fn end(&mut self, event_type: &[u8], out: &mut Out<'_>) {
        let Document { has_choices, kind, is_preview, text, is_said, is_aside, stop, error } =
            std::mem::take(&mut self.document);
        self.document.has_choices = has_choices;
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
            return out(Update::Failed(error.failure()));
        }
        let error = (last == "partial_failed" || error.is_found()).then_some(&error);
        self.items.settle(is_preview, error, &mut self.content, out);
        if says(name, is_aside) {
            self.output.has_text = true;
            if !is_said {
                self.content.text(0, Place::Elsewhere, &text, out);
            }
        }
        let is_completed = matches!(name, "image_generation.completed" | "image_edit.completed" | "response.completed");
        if let Some(stop) = stop.or(is_completed.then_some(Stop::Finished)) {
            out(Update::Stopped(stop));
        }
    }
}

const VOCABULARIES: [&[&str]; 7] = [
    Choices::KEYS,
    Candidates::KEYS,
    Items::KEYS,
    OutputItems::KEYS,
    &ErrorObject::KEYS,
    &Usage::KEYS,
    &["usage", "type", "text", "phase"],
];

const NAMES: usize = {
    let (mut names, mut list) = (0, 0);
    while list < VOCABULARIES.len() {
        names += VOCABULARIES[list].len();
        list += 1;
    }
    names
};

/// All of them in one: a constant cannot be joined from others in any shorter way.
const VOCABULARY: [&str; NAMES] = {
    let mut vocabulary = [""; NAMES];
    let (mut at, mut list) = (0, 0);
    while list < VOCABULARIES.len() {
        let mut name = 0;
        while name < VOCABULARIES[list].len() {
            vocabulary[at] = VOCABULARIES[list][name];
            (at, name) = (at + 1, name + 1);
        }
        list += 1;
    }
    vocabulary
};

impl Dialect for AnyDialect {
    const KEYS: &'static [&'static str] = &VOCABULARY;

    fn token(&mut self, token: Token<'_>, out: &mut Out<'_>) {
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
            ([], Value::Open) if is_listed => self.begin(b""),
            ([], Value::Close) if is_listed => self.end(b"", out),
            ([], _) => {}
            (path, value) => self.member(path, value, out),
        }
    }

    fn document_begin(&mut self, event_type: &[u8]) {
        self.begin(event_type);
    }

    fn document_end(&mut self, event_type: &[u8], out: &mut Out<'_>) {
        self.end(event_type, out);
    }

    fn finish(&mut self, out: &mut Out<'_>) {
        self.abandon(out);
        self.content.finish(out);
    }

    /// What came before the break stays: a picture may be whole by then.
    fn abandon(&mut self, out: &mut Out<'_>) {
        self.choices.abandon(&mut self.content, out);
        self.candidates.abandon();
        self.items.abandon();
        self.content.abandon(out);
        self.document = Document::default();
    }

    fn in_documented_image(&self) -> bool {
        self.content.in_documented_image()
    }

    fn is_undecided(&self) -> bool {
        self.content.is_undecided()
    }

    fn left_open(&self) -> bool {
        self.content.left_open()
    }

    fn is_picture_over(&self) -> bool {
        self.content.is_picture_over()
    }

    fn has_untold_text(&self) -> bool {
        self.content.has_untold_text()
    }

    fn is_within_content(&self) -> bool {
        self.choices.is_in_first_content() && !self.content.is_elsewhere() && !self.document.error.is_error()
    }

    fn odd_characters(&self) -> usize {
        self.content.odd_characters()
    }

    fn text_was_told(&mut self) {
        self.content.text_was_told();
    }

    fn is_chunk(&self) -> bool {
        self.document.has_choices && !self.content.is_elsewhere()
    }
}

/// Whether the text of a document of this name is meant for the user.
fn says(name: &str, is_aside: bool) -> bool {
    !is_aside && matches!(name, "image_generation.text_chunk" | "response.output_text.delta")
}

/// Whether an event or a `type` of this name says that its picture is not the final one.
fn names_preview(name: &[u8]) -> bool {
    name.ends_with(b".partial_image")
}
