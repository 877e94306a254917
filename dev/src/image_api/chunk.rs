//! The chunks of each relay, member for member and in its order, as the protocol notes have them.

use bytes::Bytes;

use super::answer::{PICTURE_TOKENS, quoted};
use crate::script::unix_seconds;

/// Whose chunks they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
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
    style: Style,
    id: String,
    created: u64,
    model: String,
}

impl Chunks {
    pub(crate) fn new(style: Style, model: &str, request_id: &str) -> Self {
        let id = match style {
            Style::OpenRouter => format!("gen-{request_id}"),
            Style::Gcli => uuid::Uuid::new_v4().to_string(),
            _ => format!("chatcmpl-{request_id}"),
        };
        // Laisky's one-api names none but the family.
        let model = if style == Style::Laisky { "gemini" } else { model };
        Self { style, id, created: unix_seconds(), model: model.to_owned() }
    }

    /// The event that comes before all text, where there is one.
    pub(crate) fn role(&self) -> Option<Bytes> {
        match self.style {
            Style::NewApi | Style::Escaped | Style::Crlf => Some(self.add(r#"{"content":"","role":"assistant"}"#)),
            // Its heartbeat.
            Style::Gcli => Some(self.event(
                r#"{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}"#,
            )),
            Style::OpenRouter => Some(Bytes::from_static(b": OPENROUTER PROCESSING\n\n")),
            Style::LiteLlm | Style::CliProxy | Style::Laisky => None,
        }
    }

    /// An event with more text.
    pub(crate) fn text(&self, text: &str) -> Bytes {
        let text = self.quoted(text);
        self.add(&match self.style {
            Style::NewApi | Style::Escaped | Style::Crlf => format!(r#"{{"content":{text}}}"#),
            Style::Gcli => format!(r#"{{"role": "assistant", "content": {text}}}"#),
            Style::OpenRouter | Style::Laisky => format!(r#"{{"role":"assistant","content":{text}}}"#),
            Style::LiteLlm => format!(r#"{{"content":{text},"role":"assistant"}}"#),
            Style::CliProxy => {
                format!(r#"{{"role":"assistant","content":{text},"reasoning_content":null,"tool_calls":null}}"#)
            }
        })
    }

    /// An event with a picture in `delta.images`.
    pub(crate) fn image(&self, url: &str) -> Bytes {
        let images = self.images(url);
        self.add(&match self.style {
            Style::OpenRouter => format!(r#"{{"role":"assistant","content":"",{images}}}"#),
            Style::CliProxy => {
                format!(r#"{{"role":"assistant","content":null,"reasoning_content":null,"tool_calls":null,{images}}}"#)
            }
            _ => format!("{{{images}}}"),
        })
    }

    /// The member `images` with one picture.
    pub(crate) fn images(&self, url: &str) -> String {
        let url = self.quoted(url);
        match self.style {
            Style::LiteLlm => {
                format!(r#""images":[{{"image_url":{{"url":{url},"detail":"auto"}},"index":0,"type":"image_url"}}]"#)
            }
            _ => format!(r#""images":[{{"type":"image_url","image_url":{{"url":{url}}},"index":0}}]"#),
        }
    }

    /// An event whose only choice adds `delta`.
    pub(crate) fn add(&self, delta: &str) -> Bytes {
        self.add_to(0, delta)
    }

    /// The same for another choice.
    pub(crate) fn add_to(&self, index: u32, delta: &str) -> Bytes {
        self.chunk(&self.choice(index, delta, None), None)
    }

    /// The events behind the picture of each choice: the reason to stop, the token counts and `[DONE]`, as far as
    /// this relay sends them.
    pub(crate) fn closing(&self, choices: u32, prompt_tokens: usize) -> Vec<Bytes> {
        let usage = self.usage(prompt_tokens);
        let stop = |index, delta: &str, usage| self.chunk(&self.choice(index, delta, Some("stop")), usage);
        let empty = r#"{"role":"assistant","content":""}"#;
        let mut events: Vec<_> = match self.style {
            Style::NewApi | Style::Escaped | Style::Crlf => {
                (0..choices).map(|index| stop(index, "{}", None)).chain([self.chunk("", Some(&usage))]).collect()
            }
            Style::Gcli => vec![stop(0, r#"{"role": "assistant", "content": ""}"#, Some(&usage))],
            Style::OpenRouter => {
                vec![stop(0, empty, None), self.chunk(&self.choice(0, empty, None), Some(&usage))]
            }
            Style::LiteLlm => vec![stop(0, "{}", None)],
            Style::CliProxy => vec![stop(0, "{}", Some(&usage))],
            Style::Laisky => Vec::new(),
        };
        events.push(self.event("[DONE]"));
        events
    }

    /// An event with this data.
    pub(crate) fn event(&self, data: &str) -> Bytes {
        let end = if self.style == Style::Crlf { "\r\n\r\n" } else { "\n\n" };
        format!("data: {data}{end}").into()
    }

    /// A whole answer that is no chunk, with these members in its message.
    pub(crate) fn completion(&self, message: &str, prompt_tokens: usize) -> String {
        let (id, model, usage) = (quoted(&self.id), quoted(&self.model), self.usage(prompt_tokens));
        let created = self.created;
        let native = if self.style == Style::CliProxy { r#","native_finish_reason":"stop""# } else { "" };
        format!(
            r#"{{"id":{id},"object":"chat.completion","created":{created},"model":{model},"choices":[{{"index":0,"message":{{{message}}},"finish_reason":"stop"{native}}}],"usage":{usage}}}"#
        )
    }

    /// `text` as a JSON string, as this relay's language writes it.
    pub(crate) fn quoted(&self, text: &str) -> String {
        let text = quoted(text);
        match self.style {
            Style::Escaped => text.replace('/', r"\/").replace('+', r"\u002B"),
            Style::Gcli if !text.is_ascii() => ascii(&text),
            _ => text,
        }
    }

    fn choice(&self, index: u32, delta: &str, finish: Option<&str>) -> String {
        let native = finish.map_or("null".to_owned(), |reason| quoted(&reason.to_uppercase()));
        let finish = finish.map_or("null".to_owned(), quoted);
        match self.style {
            Style::NewApi | Style::Escaped | Style::Crlf => {
                format!(r#"{{"delta":{delta},"logprobs":null,"finish_reason":{finish},"index":{index}}}"#)
            }
            Style::Gcli => format!(r#"{{"index": {index}, "delta": {delta}, "finish_reason": {finish}}}"#),
            Style::OpenRouter => format!(
                r#"{{"index":{index},"delta":{delta},"finish_reason":{finish},"native_finish_reason":{native},"logprobs":null}}"#
            ),
            Style::CliProxy => format!(
                r#"{{"index":{index},"delta":{delta},"finish_reason":{finish},"native_finish_reason":{finish}}}"#
            ),
            Style::LiteLlm if finish != "null" => {
                format!(r#"{{"finish_reason":{finish},"index":{index},"delta":{delta}}}"#)
            }
            Style::LiteLlm | Style::Laisky => format!(r#"{{"index":{index},"delta":{delta}}}"#),
        }
    }

    fn chunk(&self, choices: &str, usage: Option<&str>) -> Bytes {
        let (id, model, created) = (quoted(&self.id), self.quoted(&self.model), self.created);
        let object = r#""object":"chat.completion.chunk""#;
        let counted = usage.map_or(String::new(), |usage| format!(r#","usage":{usage}"#));
        self.event(&match self.style {
            Style::NewApi | Style::Escaped | Style::Crlf => {
                let usage = usage.unwrap_or("null");
                format!(
                    r#"{{"id":{id},{object},"created":{created},"model":{model},"system_fingerprint":null,"choices":[{choices}],"usage":{usage}}}"#
                )
            }
            Style::Gcli => {
                let counted = counted.replace(",\"usage\":", ", \"usage\": ");
                format!(
                    r#"{{"id": {id}, "object": "chat.completion.chunk", "created": {created}, "model": {model}, "choices": [{choices}]{counted}}}"#
                )
            }
            Style::OpenRouter => format!(
                r#"{{"id":{id},"provider":"Google AI Studio","model":{model},{object},"created":{created},"choices":[{choices}]{counted}}}"#
            ),
            Style::LiteLlm => {
                format!(r#"{{"id":{id},"created":{created},"model":{model},{object},"choices":[{choices}]}}"#)
            }
            Style::CliProxy | Style::Laisky => {
                format!(r#"{{"id":{id},{object},"created":{created},"model":{model},"choices":[{choices}]{counted}}}"#)
            }
        })
    }

    fn usage(&self, prompt_tokens: usize) -> String {
        let total = prompt_tokens + PICTURE_TOKENS;
        let counts = [prompt_tokens, PICTURE_TOKENS, total];
        let names = ["prompt_tokens", "completion_tokens", "total_tokens"];
        let (comma, colon) = if self.style == Style::Gcli { (", ", ": ") } else { (",", ":") };
        let members = names.iter().zip(counts).map(|(name, count)| format!("\"{name}\"{colon}{count}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(comma))
    }
}

/// JSON with everything but ASCII as `\uXXXX`, surrogates included, as Python's `json.dumps` writes it.
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
