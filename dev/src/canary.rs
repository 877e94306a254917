//! Canary texts that must never appear in a response or a log, and upstream answers that contain all of them.

use axum::http::header::{HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use serde_json::json;

use crate::transcript::{Ending, Transcript};

/// A user's prompt.
pub const PROMPT: &str = "canaryprompt of a bride";
/// A user's link to a picture, with a signature in the query.
pub const LINK: &str = "https://canarylink.example.com/private.png?sig=canarysignature";
/// A text for headers and for names that a user chose.
pub const HEADER: &str = "canaryheader";

/// A key in the usual form. It is put together here so that no key stands in the source.
pub fn key() -> String {
    ["sk", &"canaryKey0".repeat(4)].join("-")
}

/// The texts that a correct response or log does not contain.
#[derive(Clone, Debug)]
pub struct Canaries(Vec<String>);

impl Canaries {
    /// All texts of this module, parts of them, and this user's token.
    pub fn new(token: &str) -> Self {
        let key = key();
        let whole = [key.as_str(), PROMPT, LINK, HEADER, token];
        let parts = [&key[..12], &key[key.len() - 12..], "canaryprompt", "canarylink", "canarysignature"];
        // The header is the same in every token, so it is no secret.
        let token = token.split('.').skip(1);
        Self(whole.into_iter().chain(parts).chain(token).map(str::to_owned).collect())
    }

    /// The first canary that `text` contains.
    pub fn find(&self, text: &str) -> Option<&str> {
        self.0.iter().map(String::as_str).find(|canary| text.contains(canary))
    }
}

/// Failed answers with the canaries in every place that a function could copy: bodies, headers, events, comments.
pub fn transcripts() -> Vec<Transcript> {
    let (key, secrets) = (key(), format!("{} {PROMPT} {LINK}", key()));
    let error = json!({"error": {"message": secrets, "type": secrets, "param": secrets, "code": secrets}}).to_string();
    let html = format!("<html><title>{secrets}</title></html>");
    let header = |name: HeaderName, value: &str| HeaderValue::from_str(value).ok().map(|value| (name, value));
    let answer = |status: u16, content_type: &'static str, body: &str| Transcript {
        status,
        content_type,
        ..Transcript::events(body.to_owned())
    };
    let chunk = |content: &str| {
        let choice = json!({"index": 0, "delta": {"content": content}});
        json!({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
    };
    let statuses = [400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529];
    let statuses = statuses
        .iter()
        .flat_map(|status| [answer(*status, "application/json", &error), answer(*status, "text/html", &html)]);
    let others = [
        Transcript {
            header: header(LOCATION, &format!("https://elsewhere.example.com/?key={key}")),
            ..answer(302, "text/html", &html)
        },
        Transcript {
            header: header(WWW_AUTHENTICATE, &format!("Bearer realm=\"{key}\"")),
            ..answer(401, "text/plain", &secrets)
        },
        Transcript {
            header: header(HeaderName::from_static("content-encoding"), &key),
            ..Transcript::events(error.clone())
        },
        answer(200, "text/html", &html),
        answer(200, "application/json", &error),
        answer(200, "text/plain", &secrets),
        Transcript::events(format!("data: {error}\n\n")),
        Transcript::events(format!("event: error\ndata: {error}\n\n")),
        Transcript::events(format!(": {secrets}\n\nunknown: {key}\n\ndata: [DONE]\n\n")),
        Transcript::events(format!("data: {{\"broken\": \"{secrets}\n\ndata: {secrets}\n\n")),
        Transcript::events(format!("data: {}\n\ndata: {error}\n\n", chunk("好的"))),
        Transcript::events(format!("data: {}\n\ndata: {error}\n\n", chunk("![image](data:image/png;base64,iVBOR"))),
        Transcript { ending: Ending::Abort, ..Transcript::events(format!(": {secrets}\n\n")) },
        Transcript::events(String::new()),
    ];
    statuses.chain(others).collect()
}
