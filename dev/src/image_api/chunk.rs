//! The chunks of each relay, with the same members in the same order.

use bytes::Bytes;

use super::answer::{PICTURE_TOKENS, quoted};
use crate::timed_body::unix_seconds;

/// The relay whose chunks are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChunkStyle {
    NewApi,
    /// new-api's, with `/` and `+` escaped.
    Escaped,
    /// new-api's, with the line ends of sse-starlette.
    Crlf,
    Gcli,
    OpenRouter,
    LiteLlm,
    CliProxy,
    Laisky,
}

/// The chunks of one answer. A delta is a JSON object.
pub(crate) struct Chunks {
    style: ChunkStyle,
    id: String,
    created: u64,
    model: String,
}

impl Chunks {
    pub(crate) fn new(style: ChunkStyle, model: &str, request_id: &str) -> Self {
        let id = match style {
            ChunkStyle::OpenRouter => format!("gen-{request_id}"),
            ChunkStyle::Gcli => uuid::Uuid::new_v4().to_string(),
            _ => format!("chatcmpl-{request_id}"),
        };
        // Laisky's one-api sends the family's name instead of the model's.
        let model = if style == ChunkStyle::Laisky { "gemini" } else { model };
        Self { style, id, created: unix_seconds(), model: model.to_owned() }
    }

    /// The event before the text, if this relay sends one.
    pub(crate) fn role(&self) -> Option<Bytes> {
        match self.style {
            ChunkStyle::NewApi | ChunkStyle::Escaped | ChunkStyle::Crlf => {
                Some(self.add(r#"{"content":"","role":"assistant"}"#))
            }
            // gcli2api's heartbeat.
            ChunkStyle::Gcli => Some(self.event(
                r#"{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}"#,
            )),
            ChunkStyle::OpenRouter => Some(Bytes::from_static(b": OPENROUTER PROCESSING\n\n")),
            ChunkStyle::LiteLlm | ChunkStyle::CliProxy | ChunkStyle::Laisky => None,
        }
    }

    /// An event that adds text.
    pub(crate) fn text(&self, text: &str) -> Bytes {
        let text = self.quoted(text);
        self.add(&match self.style {
            ChunkStyle::NewApi | ChunkStyle::Escaped | ChunkStyle::Crlf => format!(r#"{{"content":{text}}}"#),
            ChunkStyle::Gcli => format!(r#"{{"role": "assistant", "content": {text}}}"#),
            ChunkStyle::OpenRouter | ChunkStyle::Laisky => format!(r#"{{"role":"assistant","content":{text}}}"#),
            ChunkStyle::LiteLlm => format!(r#"{{"content":{text},"role":"assistant"}}"#),
            ChunkStyle::CliProxy => {
                format!(r#"{{"role":"assistant","content":{text},"reasoning_content":null,"tool_calls":null}}"#)
            }
        })
    }

    /// An event with a picture in `delta.images`.
    pub(crate) fn image(&self, url: &str) -> Bytes {
        let images = self.images(url);
        self.add(&match self.style {
            ChunkStyle::OpenRouter => format!(r#"{{"role":"assistant","content":"",{images}}}"#),
            ChunkStyle::CliProxy => {
                format!(r#"{{"role":"assistant","content":null,"reasoning_content":null,"tool_calls":null,{images}}}"#)
            }
            _ => format!("{{{images}}}"),
        })
    }

    /// The member `images` with one picture.
    pub(crate) fn images(&self, url: &str) -> String {
        let url = self.quoted(url);
        match self.style {
            ChunkStyle::LiteLlm => {
                format!(r#""images":[{{"image_url":{{"url":{url},"detail":"auto"}},"index":0,"type":"image_url"}}]"#)
            }
            _ => format!(r#""images":[{{"type":"image_url","image_url":{{"url":{url}}},"index":0}}]"#),
        }
    }

    /// An event that adds `delta` to choice 0.
    pub(crate) fn add(&self, delta: &str) -> Bytes {
        self.add_to(0, delta)
    }

    /// An event that adds `delta` to choice `index`.
    pub(crate) fn add_to(&self, index: u32, delta: &str) -> Bytes {
        self.chunk(&self.choice(index, delta, None), None)
    }

    /// The events after the pictures: the finish reason of each choice, the token counts and `[DONE]`, as far as this
    /// relay sends them.
    pub(crate) fn closing(&self, choices: u32, prompt_tokens: usize) -> Vec<Bytes> {
        let usage = self.usage(prompt_tokens);
        let stop = |index, delta: &str, usage| self.chunk(&self.choice(index, delta, Some("stop")), usage);
        let empty = r#"{"role":"assistant","content":""}"#;
        let mut events: Vec<_> = match self.style {
            ChunkStyle::NewApi | ChunkStyle::Escaped | ChunkStyle::Crlf => {
                (0..choices).map(|index| stop(index, "{}", None)).chain([self.chunk("", Some(&usage))]).collect()
            }
            ChunkStyle::Gcli => vec![stop(0, r#"{"role": "assistant", "content": ""}"#, Some(&usage))],
            ChunkStyle::OpenRouter => {
                vec![stop(0, empty, None), self.chunk(&self.choice(0, empty, None), Some(&usage))]
            }
            ChunkStyle::LiteLlm => vec![stop(0, "{}", None)],
            ChunkStyle::CliProxy => vec![stop(0, "{}", Some(&usage))],
            ChunkStyle::Laisky => Vec::new(),
        };
        events.push(self.event("[DONE]"));
        events
    }

    /// An event with this data.
    pub(crate) fn event(&self, data: &str) -> Bytes {
        let end = if self.style == ChunkStyle::Crlf { "\r\n\r\n" } else { "\n\n" };
        format!("data: {data}{end}").into()
    }

    /// A complete `chat.completion` object with these members in its message.
    pub(crate) fn completion(&self, message: &str, prompt_tokens: usize) -> String {
        let (id, model, usage) = (quoted(&self.id), quoted(&self.model), self.usage(prompt_tokens));
        let created = self.created;
        let native = if self.style == ChunkStyle::CliProxy { r#","native_finish_reason":"stop""# } else { "" };
        format!(
            r#"{{"id":{id},"object":"chat.completion","created":{created},"model":{model},"choices":[{{"index":0,"message":{{{message}}},"finish_reason":"stop"{native}}}],"usage":{usage}}}"#
        )
    }

    /// `text` as a JSON string with the escapes of this relay's language.
    pub(crate) fn quoted(&self, text: &str) -> String {
        let text = quoted(text);
        match self.style {
            ChunkStyle::Escaped => text.replace('/', r"\/").replace('+', r"\u002B"),
            ChunkStyle::Gcli if !text.is_ascii() => ascii(&text),
            _ => text,
        }
    }

    fn choice(&self, index: u32, delta: &str, finish: Option<&str>) -> String {
        let native = finish.map_or("null".to_owned(), |reason| quoted(&reason.to_uppercase()));
        let finish = finish.map_or("null".to_owned(), quoted);
        match self.style {
            ChunkStyle::NewApi | ChunkStyle::Escaped | ChunkStyle::Crlf => {
                format!(r#"{{"delta":{delta},"logprobs":null,"finish_reason":{finish},"index":{index}}}"#)
            }
            ChunkStyle::Gcli => format!(r#"{{"index": {index}, "delta": {delta}, "finish_reason": {finish}}}"#),
            ChunkStyle::OpenRouter => format!(
                r#"{{"index":{index},"delta":{delta},"finish_reason":{finish},"native_finish_reason":{native},"logprobs":null}}"#
            ),
            ChunkStyle::CliProxy => format!(
                r#"{{"index":{index},"delta":{delta},"finish_reason":{finish},"native_finish_reason":{finish}}}"#
            ),
            ChunkStyle::LiteLlm if finish != "null" => {
                format!(r#"{{"finish_reason":{finish},"index":{index},"delta":{delta}}}"#)
            }
            ChunkStyle::LiteLlm | ChunkStyle::Laisky => format!(r#"{{"index":{index},"delta":{delta}}}"#),
        }
    }

    fn chunk(&self, choices: &str, usage: Option<&str>) -> Bytes {
        let (id, model, created) = (quoted(&self.id), self.quoted(&self.model), self.created);
        let object = r#""object":"chat.completion.chunk""#;
        let counted = usage.map_or(String::new(), |usage| format!(r#","usage":{usage}"#));
        self.event(&match self.style {
            ChunkStyle::NewApi | ChunkStyle::Escaped | ChunkStyle::Crlf => {
                let usage = usage.unwrap_or("null");
                format!(
                    r#"{{"id":{id},{object},"created":{created},"model":{model},"system_fingerprint":null,"choices":[{choices}],"usage":{usage}}}"#
                )
            }
            ChunkStyle::Gcli => {
                let counted = counted.replace(",\"usage\":", ", \"usage\": ");
                format!(
                    r#"{{"id": {id}, "object": "chat.completion.chunk", "created": {created}, "model": {model}, "choices": [{choices}]{counted}}}"#
                )
            }
            ChunkStyle::OpenRouter => format!(
                r#"{{"id":{id},"provider":"Google AI Studio","model":{model},{object},"created":{created},"choices":[{choices}]{counted}}}"#
            ),
            ChunkStyle::LiteLlm => {
                format!(r#"{{"id":{id},"created":{created},"model":{model},{object},"choices":[{choices}]}}"#)
            }
            ChunkStyle::CliProxy | ChunkStyle::Laisky => {
                format!(r#"{{"id":{id},{object},"created":{created},"model":{model},"choices":[{choices}]{counted}}}"#)
            }
        })
    }

    fn usage(&self, prompt_tokens: usize) -> String {
        let total = prompt_tokens + PICTURE_TOKENS;
        let counts = [prompt_tokens, PICTURE_TOKENS, total];
        let names = ["prompt_tokens", "completion_tokens", "total_tokens"];
        let (comma, colon) = if self.style == ChunkStyle::Gcli { (", ", ": ") } else { (",", ":") };
        let members = names.iter().zip(counts).map(|(name, count)| format!("\"{name}\"{colon}{count}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(comma))
    }
}

/// JSON with non-ASCII characters as `\uXXXX` (UTF-16 units), as Python's `json.dumps` writes it.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            out.extend(char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}
