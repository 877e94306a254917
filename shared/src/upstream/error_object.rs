use super::failure::names_failure;
use super::{ErrorFields, Failure, RefusedParameter, TokenPolicy, classify};
use crate::json::Segment::{Index, Key};
use crate::json::{Segment, TokenValue, Tokenizer};
use crate::media::Utf8;

const MAX_TEXT_BYTES: usize = 1024;
/// Objects and lists of an error whose fields are kept.
const MAX_OBJECTS: usize = 8;
/// JSON texts in messages are read down to this depth.
const MAX_NESTED: u32 = 3;
/// The members that are an error.
const ERROR_NAMES: [&str; 3] = ["error", "err", "errors"];

/// Whether a member of this name is an error.
pub(super) fn is_error_name(name: &str) -> bool {
    name.starts_with("err") && ERROR_NAMES.contains(&name)
}

/// Where the error begins in a path.
pub(super) fn error_of(path: &[Segment]) -> Option<usize> {
    path.iter().position(|segment| matches!(segment, Key(name) if is_error_name(name)))
}

/// Collects the fields of an error that decide its class, in all forms that relays use.
///
/// An error is a member `error`, `err` or `errors` at any depth: a sentence, a number, a list, or an object in which others
/// are nested, also as JSON in a message. Beside it, reads like new-api's `GeneralErrorResponse` `message`, `msg`,
/// `error_msg` and `header.message`, FastAPI's `detail`, and vLLM's `{"object":"error", …}`.
#[derive(Debug, Default)]
pub(super) struct ErrorObject {
    errors: NestedErrors,
    /// Fields beside the error.
    beside: ErrorFields,
    object: String,
    /// Decodes the current string.
    text: Utf8,
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
}

impl ErrorObject {
    /// The member names that [`ErrorObject::token`] reads.
    pub(super) const KEYS: [&'static str; 19] = [
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
    ];

    /// Reads one token. Tokens that are not part of an error are ignored.
    pub(super) fn token(&mut self, path: &[Segment], value: TokenValue<'_>) {
        let Self { errors, beside, object, text: decoder, .. } = self;
        let field = match error_of(path) {
            Some(_) => match errors.token(path, value) {
                Some(field) => field,
                None => return,
            },
            None => match path {
                [Key("code" | "error_code")] => &mut beside.code,
                [Key("type")] => &mut beside.kind,
                [Key("param")] => &mut beside.param,
                [Key("message" | "msg" | "error_msg" | "error_message" | "detail")]
                | [Key("header" | "response"), Key("message")] => &mut beside.message,
                [Key("object")] => object,
                _ => return,
            },
        };
        match value {
            TokenValue::StringStart => {
                field.clear();
                *decoder = Utf8::default();
            }
            TokenValue::Text(text) => decoder.push(text, |text| append(field, text)),
            TokenValue::StringEnd => decoder.finish(|text| append(field, text)),
            TokenValue::Scalar(text) if text != "null" && field.is_empty() => append(field, text),
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

    /// Whether the document is an error: it has an error member, or a message beside a code that only errors have.
    pub(super) fn is_error(&self) -> bool {
        let is_coded = || !self.beside.message.is_empty() && names_failure(&self.beside.code);
        self.errors.found || self.object == "error" || is_coded()
    }
}

impl NestedErrors {
    /// Reads one token of the error. Returns the field that it belongs to.
    fn token(&mut self, path: &[Segment], value: TokenValue<'_>) -> Option<&mut String> {
        let Self { open, ended, own, found } = self;
        // Some upstreams write every member always, with empty texts and zeros if there is no error.
        *found |= match value {
            TokenValue::Text(text) => !text.is_empty(),
            TokenValue::Scalar(text) => !matches!(text, "null" | "false") && text.parse() != Ok(0.0),
            _ => false,
        };
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
            Key("message" | "msg" | "detail" | "error_msg" | "error_message") => Some(&mut fields.message),
            Key(name) if is_error_name(name) => Some(&mut fields.message),
            Index(_) => {
                // Each item of a list is an error.
                if value == TokenValue::StringStart && !fields.message.is_empty() && ended.len() < MAX_OBJECTS {
                    ended.push(std::mem::take(fields));
                }
                Some(&mut fields.message)
            }
            Key(_) => None,
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
