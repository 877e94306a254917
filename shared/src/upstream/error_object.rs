use super::failure::names_failure;
use super::member::{Member, MemberPath};
use super::short::Short;
use super::{ErrorFields, Failure, RefusedParameter, TokenPolicy, classify};
use crate::json::Segment::{Index, Key};
use crate::json::{Segment, TokenValue, Tokenizer};
use crate::media::Utf8;

const MAX_TEXT_BYTES: usize = 1024;
/// Objects and lists of an error whose fields are kept.
const MAX_OBJECTS: usize = 8;
/// JSON texts in messages are read down to this depth.
const MAX_NESTED: u32 = 3;

/// Where the error begins in a path. An error of Azure's filter is none of the answer's.
pub(super) fn error_of(path: &MemberPath) -> Option<usize> {
    if let [Key(Member::MinimaxStatus), ..] = path {
        return Some(0);
    }
    let begins = |segment: &Segment<Member>| matches!(segment, Key(member) if member.is_error() || *member == Member::FilterResults);
    path.iter().position(begins).filter(|at| path.get(*at) != Some(&Key(Member::FilterResults)))
}

/// Whether a token stands in the list or object that FastAPI writes into `detail`.
fn is_detail(path: &MemberPath, value: TokenValue<'_>) -> bool {
    let is_end = matches!(value, TokenValue::Open | TokenValue::Close);
    match path {
        [Key(Member::Detail), Index(_)] => true,
        [Key(Member::Detail)] => is_end,
        [Key(Member::Detail), Key(_)] | [Key(Member::Detail), Index(_), Key(_)] => !is_end,
        _ => false,
    }
}

/// Whether a text says that there is no error.
fn is_nothing(text: &str) -> bool {
    const NOTHING: [&str; 9] = ["", "0", "none", "null", "nil", "false", "ok", "success", "no error"];
    NOTHING.iter().any(|nothing| text.trim().eq_ignore_ascii_case(nothing))
}

/// Collects the fields of an error that decide its class, in all forms that relays use.
///
/// An error is a member `error`, `err` or `errors` at any depth: a sentence, a number, a list, or an object in which others
/// are nested, also as JSON in a message. Beside it, reads like new-api's `GeneralErrorResponse` `message`, `msg`,
/// `error_msg` and `header.message`, FastAPI's `detail`, and vLLM's `{"object":"error", …}`. Of several members with the
/// same meaning the first one counts that is not empty; of names the first one that is known, rather than a number.
#[derive(Debug, Default)]
pub(super) struct ErrorObject {
    errors: NestedErrors,
    /// Fields beside the error.
    beside: ErrorFields,
    object: String,
    /// Decodes the current string.
    text: Utf8,
    string: ErrorString,
    /// The error is a member of the document or of an item of it, not of something deep in it.
    is_own: bool,
    /// Something may have been collected.
    has_any: bool,
}

/// What to do with the current string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ErrorString {
    /// It is empty so far.
    #[default]
    Begun,
    Kept,
    /// Its field has a value.
    Skipped,
}

/// The members that are errors, with all that is nested in them.
#[derive(Debug, Default)]
struct NestedErrors {
    /// The objects and lists that have not ended, with their depth.
    open: Vec<(usize, ErrorFields)>,
    /// Those that have ended, inner ones first: they are more precise.
    ended: Vec<ErrorFields>,
    /// The error itself, if it is a sentence.
    own: ErrorFields,
    /// A member that only errors have was read, and it is not empty.
    found: bool,
    short: Short,
}

impl ErrorObject {
    /// Fields beside an error are at most this deep.
    pub(super) const MAX_DEPTH_BESIDE: usize = 3;

    /// Reads one token. Tokens that are not part of an error are ignored.
    pub(super) fn token(&mut self, path: &MemberPath, value: TokenValue<'_>) {
        let Self { errors, beside, object, text: decoder, string, is_own, has_any } = self;
        let error_at = error_of(path);
        if let Some(at) = error_at
            && errors.notice(value)
        {
            let before = path.get(..at).unwrap_or_default();
            *is_own |= matches!(before, [] | [Key(Member::Response | Member::Data)] | [Key(Member::Choices), Index(_)]);
        }
        let field = if error_at.is_some() || is_detail(path, value) {
            *has_any = true;
            match errors.token(path, value) {
                Some(field) => field,
                None => return,
            }
        } else {
            match path {
                [Key(Member::Code | Member::ErrorCode)] => &mut beside.code,
                [Key(Member::Type)] => &mut beside.kind,
                [Key(Member::Param)] => &mut beside.param,
                [Key(Member::Message | Member::Msg | Member::ErrorMsg | Member::ErrorMessage | Member::Detail)]
                | [Key(Member::Header | Member::Response), Key(Member::Message)] => &mut beside.message,
                [Key(Member::Object)] => object,
                _ => return,
            }
        };
        *has_any = true;
        if value.begins_string() {
            (*decoder, *string) = (Utf8::default(), ErrorString::Begun);
        }
        if let Some(text) = value.text() {
            if *string == ErrorString::Begun {
                let is_name = matches!(
                    path.last(),
                    Some(Key(Member::Code
                        | Member::HttpCode
                        | Member::StatusCode
                        | Member::ErrorCode
                        | Member::Type
                        | Member::Status
                        | Member::Reason))
                );
                let is_weak = is_name && !names_failure(field);
                let is_kept = field.is_empty() || is_weak || field.parse::<f64>().is_ok();
                *string = if is_kept { ErrorString::Kept } else { ErrorString::Skipped };
                if is_kept {
                    field.clear();
                }
            }
            if *string == ErrorString::Kept {
                decoder.push(text, |text| append(field, text));
            }
        }
        if value.ends_string() {
            decoder.finish(|text| append(field, text));
        }
        if let TokenValue::Scalar(text) = value
            && text != "null"
            && field.is_empty()
        {
            if let [Key(Member::MinimaxStatus), ..] = path {
                append(field, "base_resp ");
            }
            append(field, text);
        }
    }

    /// Drops what was collected, and keeps the memory.
    pub(super) fn clear(&mut self) {
        if !std::mem::take(&mut self.has_any) {
            return;
        }
        let NestedErrors { open, ended, own, found, .. } = &mut self.errors;
        open.clear();
        ended.clear();
        own.clear();
        self.beside.clear();
        self.object.clear();
        (*found, self.is_own) = (false, false);
    }

    /// The class of the fields collected so far; `status` as in [`classify`].
    pub(super) fn failure(&self, status: Option<u16>) -> Failure {
        classify(status, &self.all(MAX_NESTED))
    }

    /// The member of our request that the error names.
    pub(super) fn refused_parameter(&self) -> Option<&'static RefusedParameter> {
        self.all(MAX_NESTED).iter().find_map(RefusedParameter::of)
    }

    /// The fields, most precise first.
    fn all(&self, nested: u32) -> Vec<ErrorFields> {
        let NestedErrors { open, ended, own, .. } = &self.errors;
        let open = open.iter().rev().map(|(_, fields)| fields);
        let all = ended.iter().chain(open).chain([own, &self.beside]);
        let with_nested = |fields: &ErrorFields| {
            let mut all = if nested > 0 { Self::nested(&fields.message, nested - 1) } else { Vec::new() };
            all.push(fields.clone());
            all
        };
        all.flat_map(with_nested).collect()
    }

    /// The fields of JSON in a message. A message can quote the prompt: what does not begin it must not give the token back.
    fn nested(message: &str, nested: u32) -> Vec<ErrorFields> {
        let message = message.trim_start();
        let Some(start) = message.find('{') else { return Vec::new() };
        let mut error = Self::default();
        let mut json = Tokenizer::new(Member::of);
        let mut text = message.get(start..).unwrap_or_default().as_bytes();
        let mut path = Vec::new();
        while let Ok(Some(token)) = json.next(&mut text) {
            path.clear();
            path.push(Key(Member::Error));
            path.extend_from_slice(token.path);
            error.token(&path, token.value);
            if token.path.is_empty() && token.value == TokenValue::Close {
                break;
            }
        }
        let all = error.all(nested);
        let is_safe = start == 0 || message.starts_with('[') || classify(None, &all).token() == TokenPolicy::Keep;
        if is_safe { all } else { Vec::new() }
    }

    /// Whether a member that only errors have was read.
    pub(super) fn is_found(&self) -> bool {
        self.errors.found
    }

    /// Whether the only error is one deep in the document.
    pub(super) fn is_within(&self) -> bool {
        self.errors.found && !self.is_own && self.object != "error"
    }

    /// Whether the document is an error: it has an error member, or a message beside a code that only errors have.
    pub(super) fn is_error(&self) -> bool {
        let is_coded = || !self.beside.message.is_empty() && names_failure(&self.beside.code);
        self.errors.found || self.object == "error" || is_coded()
    }
}

impl NestedErrors {
    /// Returns whether a value in an error shows that there is one: some upstreams write every member always, with empty
    /// texts and zeros if there is no error.
    fn notice(&mut self, value: TokenValue<'_>) -> bool {
        let is_something = match value {
            TokenValue::Scalar(text) => !matches!(text, "null" | "false") && text.parse() != Ok(0.0),
            value => self.short.read(value).is_some_and(|text| !is_nothing(text)),
        };
        self.found |= is_something;
        is_something
    }

    /// Reads one token of the error. Returns the field that it belongs to.
    fn token(&mut self, path: &MemberPath, value: TokenValue<'_>) -> Option<&mut String> {
        let Self { open, ended, own, .. } = self;
        match value {
            TokenValue::Open => {
                if open.len() < MAX_OBJECTS {
                    open.push((path.len(), ErrorFields::default()));
                }
                return None;
            }
            TokenValue::Close => {
                if let Some((_, fields)) = open.pop_if(|(depth, _)| *depth == path.len())
                    && ended.len() < MAX_OBJECTS
                {
                    ended.push(fields);
                }
                return None;
            }
            _ => {}
        }
        let fields = open.last_mut().map_or(own, |(_, fields)| fields);
        match path.last()? {
            Key(Member::Code | Member::HttpCode | Member::StatusCode | Member::ErrorCode) => Some(&mut fields.code),
            Key(Member::Type | Member::Status | Member::Reason) => Some(&mut fields.kind),
            Key(Member::Param) => Some(&mut fields.param),
            Key(
                Member::Message
                | Member::Msg
                | Member::Detail
                | Member::ErrorMsg
                | Member::ErrorMessage
                | Member::StatusMsg
                | Member::Raw,
            ) => Some(&mut fields.message),
            last => {
                // Each item of a list is an error, and each member of `errors` in which the names are those of parameters.
                let is_error = match last {
                    Index(_) => true,
                    Key(member) => member.is_error() || path.iter().rev().nth(1) == Some(&Key(Member::Errors)),
                };
                if !is_error {
                    return None;
                }
                if value.begins_string() && !fields.message.is_empty() && ended.len() < MAX_OBJECTS {
                    ended.push(std::mem::take(fields));
                }
                Some(&mut fields.message)
            }
        }
    }
}

/// Appends until the longest character would not fit, so the result does not depend on how the text was cut.
fn append(field: &mut String, text: &str) {
    if field.len() + text.len() + char::MAX_LEN_UTF8 <= MAX_TEXT_BYTES {
        return field.push_str(text);
    }
    for character in text.chars() {
        if field.len() + char::MAX_LEN_UTF8 > MAX_TEXT_BYTES {
            return;
        }
        field.push(character);
    }
}
