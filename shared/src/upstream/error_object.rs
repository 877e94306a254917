use super::failure::names_failure;
use super::{ErrorFields, Failure, RefusedParameter, classify};
use crate::json::Segment::Key;
use crate::json::{Segment, TokenValue};
use crate::media::Utf8;

const MAX_TEXT_BYTES: usize = 256;

/// Collects the fields of an error object that decide its class, in all forms that relays use.
///
/// Reads, like new-api's `GeneralErrorResponse`, `error` (an object or a sentence), `message`, `msg`, `err`,
/// `error_msg`, `header.message` and `response.error`; and at vLLM's `{"object":"error", …}`.
#[derive(Debug, Default)]
pub(super) struct ErrorObject {
    /// Fields of the error itself.
    fields: ErrorFields,
    /// Fields beside the error, used where its own are empty.
    beside: ErrorFields,
    /// A member that only errors have was read, and it is not empty.
    found: bool,
    object: String,
    /// Decodes the current string.
    text: Utf8,
}

impl ErrorObject {
    /// The member names that [`ErrorObject::token`] reads.
    pub(super) const KEYS: [&'static str; 13] = [
        "error",
        "code",
        "type",
        "message",
        "msg",
        "err",
        "error_msg",
        "header",
        "response",
        "object",
        "http_code",
        "status",
        "param",
    ];

    /// Reads one token. Tokens that are not part of an error are ignored.
    pub(super) fn token(&mut self, path: &[Segment], value: TokenValue<'_>) {
        if let [Key("error" | "err"), ..] | [Key("response"), Key("error"), ..] = path {
            // Some upstreams write every member always, with empty texts and zeros if there is no error.
            self.found |= match value {
                TokenValue::Text(text) => !text.is_empty(),
                TokenValue::Scalar(text) => !matches!(text, "null" | "false") && text.parse() != Ok(0.0),
                _ => false,
            };
        }
        let field = match path {
            [Key("error" | "err")] | [Key("response"), Key("error")] => &mut self.fields.message,
            [Key("error" | "err"), rest @ ..] | [Key("response"), Key("error"), rest @ ..] => match rest {
                [Key("code" | "http_code")] => &mut self.fields.code,
                [Key("type" | "status")] => &mut self.fields.kind,
                [Key("message" | "msg")] => &mut self.fields.message,
                [Key("param")] => &mut self.fields.param,
                _ => return,
            },
            [Key("code")] => &mut self.beside.code,
            [Key("type")] => &mut self.beside.kind,
            [Key("param")] => &mut self.beside.param,
            [Key("message" | "msg" | "error_msg")] | [Key("header"), Key("message")] => &mut self.beside.message,
            [Key("object")] => &mut self.object,
            _ => return,
        };
        match value {
            TokenValue::StringStart => {
                field.clear();
                self.text = Utf8::default();
            }
            TokenValue::Text(text) => self.text.push(text, |text| append(field, text)),
            TokenValue::StringEnd => self.text.finish(|text| append(field, text)),
            TokenValue::Scalar(text) if text != "null" && field.is_empty() => append(field, text),
            _ => {}
        }
    }

    /// The class of the fields collected so far; `status` as in [`classify`].
    pub(super) fn failure(&self, status: Option<u16>) -> Failure {
        classify(status, &self.all_fields())
    }

    /// The member of our request that the error names.
    pub(super) fn refused_parameter(&self) -> Option<&'static RefusedParameter> {
        RefusedParameter::of(&self.all_fields())
    }

    fn all_fields(&self) -> ErrorFields {
        let first = |own: &String, beside: &String| if own.is_empty() { beside.clone() } else { own.clone() };
        ErrorFields {
            code: first(&self.fields.code, &self.beside.code),
            kind: first(&self.fields.kind, &self.beside.kind),
            message: first(&self.fields.message, &self.beside.message),
            param: first(&self.fields.param, &self.beside.param),
        }
    }

    /// Whether a member that only errors have was read.
    pub(super) fn is_found(&self) -> bool {
        self.found
    }

    /// Whether the document is an error: it has an error member, or a message beside a code that only errors have.
    pub(super) fn is_error(&self) -> bool {
        let is_coded = || !self.beside.message.is_empty() && names_failure(&self.beside.code);
        self.found || self.object == "error" || is_coded()
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
