use super::failure::names_failure;
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
/// The member of MiniMax's answers that is an error if its code is not 0.
const MINIMAX: &str = "base_resp";
/// The member in which Azure reports what its filter found, and that the filter itself failed.
const FILTER: &str = "content_filter_results";
/// The members that are an error.
const ERROR_NAMES: [&str; 3] = ["error", "err", "errors"];

/// Whether a member of this name is an error.
pub(super) fn is_error_name(name: &str) -> bool {
    name.starts_with("err") && ERROR_NAMES.contains(&name)
}

/// Where the error begins in a path. An error of Azure's filter is none of the answer's.
pub(super) fn error_of(path: &[Segment]) -> Option<usize> {
    if let [Key(MINIMAX), ..] = path {
        return Some(0);
    }
    let begins = |segment: &Segment| matches!(segment, Key(name) if is_error_name(name) || *name == FILTER);
    path.iter().position(begins).filter(|at| path.get(*at) != Some(&Key(FILTER)))
}

/// Whether a token stands in the list or object that FastAPI writes into `detail`.
fn is_detail(path: &[Segment], value: TokenValue<'_>) -> bool {
    let is_end = matches!(value, TokenValue::Open | TokenValue::Close);
    match path {
        [Key("detail"), Index(_)] => true,
        [Key("detail")] => is_end,
        [Key("detail"), Key(_)] | [Key("detail"), Index(_), Key(_)] => !is_end,
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
    /// The member names that [`ErrorObject::token`] reads.
    pub(super) const KEYS: [&'static str; 23] = [
        "error",
        "errors",
        "code",
        "type",
        "message",
        "msg",
        "err",
        "error_msg",
        "error_code",
        "error_message",
        "header",
        "response",
        "object",
        "http_code",
        "status_code",
        "status",
        "reason",
        "detail",
        "param",
        "raw",
        "status_msg",
        MINIMAX,
        FILTER,
    ];

    /// Fields beside an error are at most this deep.
    pub(super) const MAX_DEPTH_BESIDE: usize = 3;

    /// Reads one token. Tokens that are not part of an error are ignored.
    pub(super) fn token(&mut self, path: &[Segment], value: TokenValue<'_>) {
        let Self { errors, beside, object, text: decoder, string, is_own } = self;
        let error_at = error_of(path);
        if let Some(at) = error_at
            && errors.notice(value)
        {
            let before = path.get(..at).unwrap_or_default();
            *is_own |= matches!(before, [] | [Key("response" | "data")] | [Key("choices"), Index(_)]);
        }
        let field = if error_at.is_some() || is_detail(path, value) {
            match errors.token(path, value) {
                Some(field) => field,
                None => return,
            }
        } else {
            match path {
                [Key("code" | "error_code")] => &mut beside.code,
                [Key("type")] => &mut beside.kind,
                [Key("param")] => &mut beside.param,
                [Key("message" | "msg" | "error_msg" | "error_message" | "detail")]
                | [Key("header" | "response"), Key("message")] => &mut beside.message,
                [Key("object")] => object,
                _ => return,
            }
        };
        match value {
            TokenValue::StringStart => (*decoder, *string) = (Utf8::default(), ErrorString::Begun),
            TokenValue::Text(text) if !text.is_empty() => {
                if *string == ErrorString::Begun {
                    let is_name = matches!(
                        path.last(),
                        Some(Key("code" | "http_code" | "status_code" | "error_code" | "type" | "status" | "reason"))
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
            TokenValue::StringEnd => decoder.finish(|text| append(field, text)),
            TokenValue::Scalar(text) if text != "null" && field.is_empty() => {
                if let [Key(MINIMAX), ..] = path {
                    append(field, "base_resp ");
                }
                append(field, text);
            }
            _ => {}
        }
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
        let mut json = Tokenizer::new(Self::KEYS);
        let mut text = message.get(start..).unwrap_or_default().as_bytes();
        let mut path = Vec::new();
        while let Ok(Some(token)) = json.next(&mut text) {
            path.clear();
            path.push(Key("error"));
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
    fn token(&mut self, path: &[Segment], value: TokenValue<'_>) -> Option<&mut String> {
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
            Key("code" | "http_code" | "status_code" | "error_code") => Some(&mut fields.code),
            Key("type" | "status" | "reason") => Some(&mut fields.kind),
            Key("param") => Some(&mut fields.param),
            Key("message" | "msg" | "detail" | "error_msg" | "error_message" | "status_msg" | "raw") => {
                Some(&mut fields.message)
            }
            last => {
                // Each item of a list is an error, and each member of `errors` in which the names are those of parameters.
                let is_error = match last {
                    Index(_) => true,
                    Key(name) => is_error_name(name) || path.iter().rev().nth(1) == Some(&Key("errors")),
                };
                if !is_error {
                    return None;
                }
                if value == TokenValue::StringStart && !fields.message.is_empty() && ended.len() < MAX_OBJECTS {
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
