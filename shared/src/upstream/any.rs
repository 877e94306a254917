use super::chat::Choices;
use super::content::Content;
use super::error_object::{ErrorObject, error_of};
use super::finish_reason::stop;
use super::gemini::Candidates;
use super::images::{ImageItems, ImagesVendor};
use super::member::{Member, MemberPath};
use super::path_facts::{PathFacts, PathFactsStack, PathMarks};
use super::responses::OutputItems;
use super::short::Short;
use super::{Failure, Out, RefusedParameter};
use crate::image_url::LocalLinks;
use crate::json::Segment::{Index, Key};
use crate::json::{Segment, Token, TokenValue};
use crate::media::{PictureHash, ReferenceKind};
use crate::update::{Stop, Update, Usage};

/// Longest known event name.
const MAX_NAME_BYTES: usize = 64;
/// Text whose `type` comes behind it waits for the end of its document up to this size.
const MAX_PENDING_BYTES: usize = 64 * 1024;

/// All dialects at once: a relay may answer in another dialect than the request's.
///
/// Any string that begins as a picture is one, wherever it stands; a path that names a preview makes it a draft. The
/// dialects add what the members of their vendors mean: which text is for the user, where a link is a picture, slots, drafts
/// and failures. The members of a document tell the dialects apart: `choices` is chat, `candidates` is Gemini, `item` and
/// `output` are the Responses API, anything else the images APIs. Not read are thoughts, except a picture in a part that is
/// marked as one, which is a draft, and everything in an error.
///
/// An `error` member ends an answer, except in an event about one picture: there the `type` decides, and the rest of a group
/// goes on. An error deep in a document that has a picture is a note about another attempt.
#[derive(Debug)]
pub struct AnyDialect {
    content: Content,
    choices: Choices,
    candidates: Candidates,
    items: ImageItems,
    output: OutputItems,
    document: DocumentState,
    short: Short,
    /// Of the current path.
    facts: PathFactsStack,
    /// The `type` of any object.
    part_type: Short,
    /// The thoughts that the current token stands in.
    thought: Option<Thought>,
    /// Where the picture that has not been counted stands.
    pending: Option<Pending>,
    usage: Usage,
    /// The answer shows that the upstream has begun to work, also where no update tells it.
    has_begun: bool,
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

/// An object or list that is marked as a thought.
#[derive(Debug, Clone, Copy)]
struct Thought {
    depth: usize,
    /// By `thought`: its pictures are drafts. Otherwise by `type`, and nothing of it is read.
    has_drafts: bool,
}

/// A picture whose part has not ended: a mark may follow it.
#[derive(Debug, Clone, Copy)]
struct Pending {
    /// The depth of the innermost object or list around it that has not ended.
    depth: usize,
    /// The depth of its part, at whose end it counts: the innermost item of a list. `None` if its dialect counts it.
    part: Option<usize>,
}

/// State of the document being read.
#[derive(Debug, Default)]
struct DocumentState {
    /// `type`.
    kind: String,
    /// The event name or `type` marks its pictures as not final.
    is_preview: bool,
    /// The event name does.
    is_preview_event: bool,
    /// `text` or `delta`, until `type` decides whether it is text for the user.
    text: Vec<u8>,
    /// It is text for the user, and longer than what waits.
    is_streaming_text: bool,
    /// `phase` marks it as not meant for the user.
    is_internal: bool,
    stop: Option<Stop>,
    error: ErrorObject,
}

impl DocumentState {
    /// Drops everything, and keeps the memory.
    fn clear(&mut self) {
        let Self { kind, is_preview, is_preview_event, text, is_streaming_text, is_internal, stop, error } = self;
        kind.clear();
        text.clear();
        error.clear();
        *stop = None;
        for flag in [is_preview, is_preview_event, is_streaming_text, is_internal] {
            *flag = false;
        }
    }
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

    /// With this hash of pictures.
    #[must_use]
    pub fn with_hash(mut self, hash: PictureHash) -> Self {
        self.content.hash = hash;
        self
    }

    /// A reader of the body of an answer with an error status: always ends in [`Update::Failed`].
    pub fn refusal(status: u16) -> Self {
        Self { refusal: Some(HttpRefusal { status, failure: None, parameter: None }), ..Self::new(LocalLinks::Refused) }
    }

    /// The next token of a document.
    pub(super) fn token(&mut self, token: Token<'_, Member>, out: &mut Out<'_>) {
        // Google's API without `alt=sse` answers with a list of documents.
        let (path, is_listed) = match token.path {
            [Index(_), rest @ ..] => (rest, true),
            path => (path, false),
        };
        let value = token.value;
        let is_listed_root = is_listed && path.is_empty();
        if is_listed_root && (value == TokenValue::Open || value.begins_string()) {
            self.document_begin(b"");
        }
        if self.refusal.is_some() {
            self.document.error.token(path, value);
        } else {
            self.value(path, value, out);
        }
        if is_listed_root && (value == TokenValue::Close || value.ends_string()) {
            self.document_end(b"", out);
        }
    }

    fn value(&mut self, path: &MemberPath, value: TokenValue<'_>, out: &mut Out<'_>) {
        let facts = match value {
            TokenValue::Close | TokenValue::Text(_) | TokenValue::StringEnd => self.facts.of(path),
            _ => self.facts.begin(path),
        };
        self.has_begun |= is_work(facts, path, value);
        match (path.last(), value) {
            (last, value) if self.is_of_no_meaning(facts, last, value) => {}
            // Only the end of the string tells whether it marks what it stands in as a thought.
            (Some(Key(Member::Type)), TokenValue::String(_)) => {
                value.fragments().for_each(|value| self.fragment(facts, path, value, out));
            }
            _ => self.fragment(facts, path, value, out),
        }
    }

    fn fragment(&mut self, facts: PathFacts, path: &MemberPath, value: TokenValue<'_>, out: &mut Out<'_>) {
        self.mark(path, value, out);
        let is_thought =
            facts.has_thoughts() || (facts.has_thought_member() && !matches!(value, TokenValue::Scalar(_)));
        let is_read = !is_thought && self.thought.is_none_or(|thought| thought.has_drafts);
        if is_read || facts.has_error() {
            self.member(facts, facts.document_path(path), value, out);
        }
        self.end_part(facts, path, value, out);
    }

    /// Whether a value means nothing to any dialect: it is not part of an error, and in a member that is not read it is not
    /// a picture either. The beginning and end of a member that is an object or list is read for a few members only.
    fn is_of_no_meaning(&self, facts: PathFacts, last: Option<&Segment<Member>>, value: TokenValue<'_>) -> bool {
        let (Some(Key(member)), false) = (last, facts.may_have_error()) else { return false };
        match value {
            TokenValue::Scalar(_) => *member == Member::Other,
            TokenValue::String(text) => *member == Member::Other && self.content.is_nothing(text),
            TokenValue::Open => !member.has_read_ends(),
            TokenValue::Close => !member.has_read_ends() && self.thought.is_none() && self.pending.is_none(),
            _ => false,
        }
    }

    /// Reads the marks of thoughts.
    fn mark(&mut self, path: &MemberPath, value: TokenValue<'_>, out: &mut Out<'_>) {
        let has_drafts = match path.last() {
            Some(Key(Member::Thought)) if value == TokenValue::Scalar("true") => true,
            Some(Key(Member::Type)) => match self.part_type.read(value) {
                Some(name) if Member::family(name.as_bytes()) == Member::AnyThoughts => false,
                _ => return,
            },
            _ => return,
        };
        self.has_begun |= error_of(path).is_none();
        let depth = path.len() - 1;
        self.thought = self.thought.or(Some(Thought { depth, has_drafts }));
        if self.pending.is_some_and(|pending| depth <= pending.depth) {
            match has_drafts {
                true => self.content.mark_draft(),
                false => self.content.drop_value(out),
            }
        }
    }

    /// Counts a picture when its part has ended.
    fn end_part(&mut self, facts: PathFacts, path: &MemberPath, value: TokenValue<'_>, out: &mut Out<'_>) {
        let depth = path.len();
        match value {
            value if value.ends_string() && self.content.has_value() => {
                let part = || path.iter().rposition(|segment| matches!(segment, Index(_))).map_or(0, |at| at + 1);
                let part = has_parts(facts.document_path(path)).then(part);
                self.pending = Some(Pending { depth: depth.saturating_sub(1), part });
            }
            TokenValue::Close => {
                self.thought = self.thought.filter(|thought| thought.depth < depth);
                if let Some(pending) = &mut self.pending
                    && depth <= pending.depth
                {
                    pending.depth = depth.saturating_sub(1);
                    if pending.part.is_some_and(|part| depth <= part) {
                        self.pending = None;
                        self.content.end_part(out);
                    }
                }
            }
            _ => {}
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
            facts: PathFactsStack::default(),
            part_type: Short::default(),
            thought: None,
            pending: None,
            usage: Usage::default(),
            has_begun: false,
            refusal: None,
        }
    }

    /// A document begins. `event_type` is the event's `event` field so far.
    pub(super) fn document_begin(&mut self, event_type: &[u8]) {
        (self.thought, self.pending) = (None, None);
        let is_preview = names_preview(event_type);
        self.document.clear();
        (self.document.is_preview, self.document.is_preview_event) = (is_preview, is_preview);
    }

    fn member(&mut self, facts: PathFacts, path: &MemberPath, value: TokenValue<'_>, out: &mut Out<'_>) {
        let Self { content, choices, candidates, items, output, .. } = self;
        let draft = self.thought.is_some() || facts.has_preview();
        let marks = PathMarks { draft: draft || self.document.is_preview, may_be_error: facts.may_have_error() };
        match (path, value) {
            ([Key(Member::Item), rest @ ..], value) => output.item(rest, marks, value, content, out),
            // A list of links is the output of other vendors.
            (
                [Key(Member::Output), Index(position)] | [Key(Member::Response), Key(Member::Output), Index(position)],
                TokenValue::String(_) | TokenValue::StringStart | TokenValue::Text(_) | TokenValue::StringEnd,
            ) => items.listed((*position, ReferenceKind::PictureOrLink), &[], marks, value, content, out),
            (
                [Key(Member::Output), Index(_), rest @ ..]
                | [Key(Member::Response), Key(Member::Output), Index(_), rest @ ..],
                value,
            ) => {
                output.listed(rest, marks, value, content, out);
            }
            ([Key(Member::Data | Member::Images), Index(position), rest @ ..], value) => {
                items.listed((*position, ReferenceKind::Picture), rest, marks, value, content, out);
            }
            ([Key(Member::Data | Member::Output | Member::Result), Key(list), Index(position), rest @ ..], value)
                if is_list(*list) =>
            {
                items.listed((*position, ReferenceKind::PictureOrLink), rest, marks, value, content, out);
            }
            (path, value) if facts.has_error() => self.document.error.token(path, value),
            ([Key(Member::Choices), Index(position), rest @ ..], value) => {
                choices.token(*position, rest, draft, value, content, out);
            }
            ([Key(Member::Candidates), Index(position), rest @ ..], value) => {
                candidates.token(*position, rest, draft, value, content, out);
            }
            ([Key(Member::PromptFeedback), rest @ ..], value) => candidates.feedback(rest, value, out),
            ([Key(Member::OutputIndex)], value) => output.index(value),
            ([Key(Member::PartialImageB64)], value) => output.preview(value, content, out),
            ([Key(Member::Usage | Member::UsageMetadata)], TokenValue::Close)
            | ([Key(Member::Response), Key(Member::Usage)], TokenValue::Close) => out(Update::Usage(self.usage)),
            ([Key(Member::Usage | Member::UsageMetadata), Key(name)], TokenValue::Scalar(count))
            | ([Key(Member::Response), Key(Member::Usage), Key(name)], TokenValue::Scalar(count)) => {
                self.count(*name, count)
            }
            (path, value) => self.other(path, draft, value, out),
        }
    }

    /// Stores one token count.
    fn count(&mut self, name: Member, count: &str) {
        let field = match name {
            Member::InputTokens => &mut self.usage.input_tokens,
            Member::OutputTokens => &mut self.usage.output_tokens,
            Member::TotalTokens => &mut self.usage.total_tokens,
            Member::GeneratedImages => &mut self.usage.generated_images,
            _ => return,
        };
        if let Ok(count) = count.parse() {
            *field = Some(count);
        }
    }

    fn other(&mut self, path: &MemberPath, draft: bool, value: TokenValue<'_>, out: &mut Out<'_>) {
        let DocumentState {
            kind,
            is_preview,
            is_preview_event,
            text,
            is_streaming_text,
            is_internal,
            stop: stopped,
            error,
        } = &mut self.document;
        match (path, value) {
            ([Key(Member::Type)], value) => {
                if let Some(name) = self.short.read(value) {
                    kind.clear();
                    kind.push_str(name);
                    *is_preview = names_preview(name.as_bytes()) || (*is_preview_event && !names_end(name));
                }
            }
            ([Key(Member::Phase)], value) => {
                if let Some(phase) = self.short.read(value) {
                    *is_internal = phase != "content";
                }
            }
            (
                [Key(Member::IncompleteDetails), Key(Member::Reason)]
                | [Key(Member::Response), Key(Member::IncompleteDetails), Key(Member::Reason)],
                value,
            ) => {
                if let Some(reason) = self.short.read(value) {
                    *stopped = stop(reason);
                }
            }
            ([Key(Member::Text | Member::Delta)], value) => {
                let more = value.text().unwrap_or_default();
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
        // Text for the user is read for pictures at the end of its document.
        if !(is_user_text(kind, false) && matches!(path, [Key(Member::Text | Member::Delta)])) {
            self.items.token(path, draft || *is_preview, value, &mut self.content, out);
        }
        // Here are the fields beside an error, which do not stand deeper.
        if path.len() <= ErrorObject::MAX_DEPTH_BESIDE {
            error.token(path, value);
        }
    }

    /// A document ended. `event_type` is the event's `event` field.
    pub(super) fn document_end(&mut self, event_type: &[u8], out: &mut Out<'_>) {
        self.settle(event_type, out);
        self.document.clear();
    }

    fn settle(&mut self, event_type: &[u8], out: &mut Out<'_>) {
        let DocumentState { kind, is_preview, text, is_streaming_text, is_internal, stop, error, .. } = &self.document;
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
        let is_note = error.is_within() && self.content.has_picture();
        if is_failure || (error.is_error() && !is_about_a_picture && !is_note) {
            self.content.abandon(out);
            self.items.abandon();
            return out(Update::Failed(error.failure(None)));
        }
        self.has_begun |= is_progress(name);
        let is_failed = last == "partial_failed" || (error.is_found() && !is_note);
        self.items.settle(*is_preview, is_failed.then(|| error.failure(None)), &mut self.content, out);
        if is_user_text(name, *is_internal) {
            self.output.has_text = true;
            if !is_streaming_text {
                self.content.text(0, text, out);
            }
        }
        let is_completed = matches!(name, "image_generation.completed" | "image_edit.completed" | "response.completed");
        if let Some(stop) = stop.or(is_completed.then_some(Stop::Finished)) {
            out(Update::Stopped(stop));
        }
        self.content.end_document(out);
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
        self.document.clear();
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

    /// Whether the answer so far shows that the upstream has begun to work.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The failure for an answer that is an HTML page.
    pub(super) fn page(&self) -> Failure {
        match &self.refusal {
            Some(refusal) => ErrorObject::default().failure(Some(refusal.status)),
            None => Failure::BadContentType,
        }
    }
}

/// Whether a token is work of the model: text, or a thought, which no update tells. A first chunk that has a role only is
/// none; nor is a setting that is repeated in `response`.
fn is_work(facts: PathFacts, path: &MemberPath, value: TokenValue<'_>) -> bool {
    if value.text().is_none() || facts.has_error() {
        return false;
    }
    match facts.document_path(path) {
        [Key(Member::Choices), Index(_), Key(Member::Delta | Member::Message), Key(Member::Content), ..]
        | [Key(Member::Candidates), Index(_), Key(Member::Content), Key(Member::Parts), Index(_), Key(Member::Text)] => {
            true
        }
        path => (facts.has_reasoning() || facts.has_thought_member()) && !matches!(path, [Key(Member::Response), ..]),
    }
}

/// Whether an event of this name tells that the upstream works. The first events of the Responses API come before that.
fn is_progress(name: &str) -> bool {
    let is_known = ["response.", "image_generation.", "image_edit."].iter().any(|prefix| name.starts_with(prefix));
    is_known && !matches!(name, "response.created" | "response.queued")
}

/// Whether the text of a document of this name is meant for the user.
fn is_user_text(name: &str, is_internal: bool) -> bool {
    !is_internal && matches!(name, "image_generation.text_chunk" | "response.output_text.delta")
}

/// Whether an event name or `type` marks its picture as not final. `partial_succeeded` does not.
fn names_preview(name: &[u8]) -> bool {
    let is_partial = name.windows(b"partial_image".len()).any(|part| part == b"partial_image");
    is_partial
        || (Member::family(name) == Member::AnyPreview
            && !name.windows(b"partial".len()).any(|part| part == b"partial"))
}

/// Whether a `type` names the end of an answer or of a picture.
fn names_end(name: &str) -> bool {
    let last = name.rsplit(['.', '_']).next().unwrap_or(name);
    matches!(last, "completed" | "complete" | "succeeded" | "success" | "finished" | "final" | "done")
}

/// Whether vendors list pictures in a member of this name, within another one.
fn is_list(member: Member) -> bool {
    matches!(member, Member::Data | Member::Images | Member::Results | Member::ImageUrls | Member::ImageBase64)
}

/// Whether a picture at this path counts when its part ends: the dialect does not count it.
fn has_parts(path: &MemberPath) -> bool {
    matches!(
        path,
        [Key(Member::Choices | Member::Candidates | Member::Output), Index(_), ..]
            | [Key(Member::Item), _, ..]
            | [Key(Member::Response), Key(Member::Output), _, ..]
    )
}
