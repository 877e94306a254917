//! The chunks of a new-api relay, field for field and in its order.

use bytes::Bytes;
use serde::Serialize;

use crate::script::unix_seconds;

/// Tokens that a 1K picture of this model costs.
const PICTURE_TOKENS: usize = 1290;

/// What one chunk adds to the message.
#[derive(Default, Serialize)]
pub(crate) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
}

impl Delta {
    /// The first delta: it says who speaks.
    pub(crate) fn role() -> Self {
        Self { role: Some("assistant"), ..Self::text("") }
    }

    /// More text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { content: Some(text.into()), ..Self::default() }
    }
}

/// What all chunks of one answer share.
pub(crate) struct Envelope {
    id: String,
    created: u64,
    model: String,
}

impl Envelope {
    pub(crate) fn new(request_id: &str, model: &str) -> Self {
        let id = format!("chatcmpl-{request_id}");
        Self { id, created: unix_seconds(), model: model.to_owned() }
    }

    /// An event with one delta.
    pub(crate) fn chunk(&self, delta: Delta) -> Bytes {
        self.event(&[Choice::new(delta, None)], None)
    }

    /// The event that says the model is done.
    pub(crate) fn stop(&self) -> Bytes {
        self.event(&[Choice::new(Delta::default(), Some("stop"))], None)
    }

    /// The event with the token counts.
    pub(crate) fn usage(&self, prompt_tokens: usize) -> Bytes {
        let usage =
            Usage { prompt_tokens, completion_tokens: PICTURE_TOKENS, total_tokens: prompt_tokens + PICTURE_TOKENS };
        self.event(&[], Some(usage))
    }

    fn event(&self, choices: &[Choice], usage: Option<Usage>) -> Bytes {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            system_fingerprint: None,
            choices,
            usage,
        };
        let mut event = b"data: ".to_vec();
        write_json(&mut event, &chunk);
        event.extend_from_slice(b"\n\n");
        event.into()
    }
}

#[expect(clippy::expect_used, reason = "strings and numbers always become JSON in memory")]
fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("a chunk becomes JSON");
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: Option<()>,
    choices: &'a [Choice],
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Choice {
    delta: Delta,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
    index: usize,
}

impl Choice {
    fn new(delta: Delta, finish_reason: Option<&'static str>) -> Self {
        Self { delta, logprobs: None, finish_reason, index: 0 }
    }
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
}
