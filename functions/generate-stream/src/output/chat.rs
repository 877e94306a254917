use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use shared::edge::Output;
use shared::held::{Base64Slices, HeldContent, HeldPictures};
use shared::media::{self, sniff::MediaType};
use shared::outcome::{DeliveredImage, Success};
use shared::problem::{Lang, Problem};
use shared::sse;
use shared::update::{Nth, Stop, Update, Usage};

/// Picture bytes in one chunk: 16 KiB of base64. A multiple of three, so that only the last one needs padding.
const MAX_DELTA_BYTES: usize = 12 * 1024;
/// [`ChatOutput::take`] returns about this many bytes of a held picture at a time.
const MAX_TAKE_BYTES: usize = 64 * 1024;

/// Writes an answer as [chat completion chunks](https://platform.openai.com/docs/api-reference/chat-streaming), each
/// with exactly one choice. Text is written as it comes, a picture as `![image](data:<media type>;base64,…)`.
///
/// The first picture of a model that sends no drafts is written as it comes. Every other picture is held until its call
/// has ended and it is known to be whole and final, because written text cannot be replaced: a frontend that looks for
/// one picture finds the final one first. Held pictures are written in slot order.
///
/// Of several calls only the first one's text is written: models that talk at the same time are not understood.
#[derive(Debug)]
pub(crate) struct ChatOutput {
    /// Every chunk up to the value of `delta`.
    head: Vec<u8>,
    streamed: Streamed,
    /// Text that arrived while a picture was half written.
    waiting_text: String,
    /// The calls that have ended.
    ended: Vec<bool>,
    /// Pictures to write; the first one may be written in part.
    queue: VecDeque<Writing>,
    stop: Option<Stop>,
    out: Vec<u8>,
    has_begun: bool,
    /// How long the response's head may wait. A keep-alive before that would send the head.
    head_hold: Duration,
}

/// The picture that is written as it comes.
#[derive(Debug, PartialEq, Eq)]
enum Streamed {
    /// The next picture will be.
    Next,
    /// Half written, with the bytes that do not fill a chunk yet.
    Open { slot: u32, waiting: Vec<u8> },
    /// Broken off after a part of it was written.
    Broken,
    /// Written whole.
    Whole { slot: u32 },
    /// No picture is written as it comes.
    Never,
}

/// A held picture that is written in slices.
#[derive(Debug)]
enum Writing {
    Inline { media_type: MediaType, slices: Base64Slices, has_begun: bool },
    Link(String),
}

/// The members that all chunks share.
#[derive(Serialize)]
struct ChunkJson<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
}

/// Token counts under the names of chat completions.
#[derive(Serialize)]
struct ChatUsage {
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_tokens: Option<u64>,
}

/// The text of a chunk behind the value of `delta`, except for the last chunk.
const TAIL: &[u8] = b",\"finish_reason\":null}]}\n\n";

/// A problem as the terminal event of a chat stream: there is no `[DONE]` after it.
pub(crate) fn chat_error(problem: &Problem, lang: Lang, request_id: &str) -> Vec<u8> {
    let mut out = b"event: error\ndata: ".to_vec();
    out.extend_from_slice(&problem.chat_error(lang, request_id));
    out.extend_from_slice(b"\n\n");
    out
}

impl ChatOutput {
    /// For the answers of `calls` calls.
    pub(crate) fn new(task_id: &str, model: &str, created: u64, calls: u32, head_hold: Duration) -> Self {
        let chunk = ChunkJson { id: &format!("chatcmpl-{task_id}"), object: "chat.completion.chunk", created, model };
        let mut head = b"data: ".to_vec();
        // Serialising a struct of numbers and strings cannot fail.
        let _ = serde_json::to_writer(&mut head, &chunk);
        head.pop();
        head.extend_from_slice(br#","choices":[{"index":0,"delta":"#);
        Self {
            head,
            streamed: Streamed::Never,
            waiting_text: String::new(),
            ended: vec![false; calls as usize],
            queue: VecDeque::new(),
            stop: None,
            out: Vec::new(),
            has_begun: false,
            head_hold,
        }
    }

    /// The stored result of a finished task, as links.
    pub(crate) fn replay(mut self, success: &Success) -> Vec<u8> {
        self.begin();
        for (url, _) in success.images.iter().filter_map(DeliveredImage::link) {
            self.link(url);
        }
        self.done(success)
    }

    /// The end of a success.
    pub(crate) fn done(mut self, success: &Success) -> Vec<u8> {
        self.begin();
        self.write_waiting_text();
        let reason = if self.stop == Some(Stop::Length) { "length" } else { "stop" };
        // With `content`, because older frontends append it without a check.
        self.out.extend_from_slice(&self.head);
        self.out.extend_from_slice(format!("{{\"content\":\"\"}},\"finish_reason\":\"{reason}\"}}]").as_bytes());
        if let Some(usage) = success.usage.and_then(ChatUsage::new) {
            self.out.extend_from_slice(br#","usage":"#);
            let _ = serde_json::to_writer(&mut self.out, &usage);
        }
        self.out.extend_from_slice(b"}\n\ndata: [DONE]\n\n");
        self.out
    }

    fn start_picture(&mut self, slot: u32, media_type: MediaType, draft: bool) {
        match self.streamed {
            // A model that marks drafts is one that sends drafts.
            Streamed::Next if draft => self.streamed = Streamed::Never,
            Streamed::Next => {
                self.begin();
                self.content(&picture_head(media_type));
                self.streamed = Streamed::Open { slot, waiting: Vec::new() };
            }
            Streamed::Open { slot: open, .. } if open == slot => self.streamed = Streamed::Broken,
            _ => {}
        }
    }

    fn picture_bytes(&mut self, slot: u32, mut more: &[u8]) {
        let Streamed::Open { slot: open, waiting } = &mut self.streamed else { return };
        if *open != slot {
            return;
        }
        while waiting.len() + more.len() >= MAX_DELTA_BYTES {
            let (now, rest) = more.split_at(MAX_DELTA_BYTES - waiting.len());
            waiting.extend_from_slice(now);
            write_base64(&mut self.out, &self.head, waiting);
            waiting.clear();
            more = rest;
        }
        waiting.extend_from_slice(more);
    }

    /// The unfinished picture of a slot ended.
    fn end_picture(&mut self, slot: u32, is_whole: bool) {
        let Streamed::Open { slot: open, waiting } = &mut self.streamed else { return };
        if *open != slot {
            return;
        }
        if !is_whole {
            self.streamed = Streamed::Broken;
            return;
        }
        if !waiting.is_empty() {
            write_base64(&mut self.out, &self.head, waiting);
        }
        self.streamed = Streamed::Whole { slot };
        self.content(")");
        self.write_waiting_text();
    }

    /// Queues the pictures that are final now: those of a call are when it and all calls before it have ended.
    fn queue_pictures(&mut self, held: &mut HeldPictures) {
        let leading = self.ended.iter().take_while(|has_ended| **has_ended).count();
        let all_ended = leading == self.ended.len();
        let mut due = held.take(|slot| all_ended || (slot as usize) < leading);
        if let Streamed::Whole { slot } = self.streamed {
            due.retain(|picture| picture.slot != slot || !picture.draft);
        }
        if due.is_empty() {
            return;
        }
        self.begin();
        if self.streamed.is_half_written() {
            self.streamed = Streamed::Never;
            self.content(")\n\n");
            self.write_waiting_text();
        }
        self.queue.extend(due.into_iter().map(|picture| match picture.content {
            HeldContent::Inline { image, bytes } => {
                Writing::Inline { media_type: image.media_type, slices: Base64Slices::new(bytes), has_begun: false }
            }
            HeldContent::Link(url) => Writing::Link(url),
        }));
    }

    /// Writes the next part of the queue; the queue is empty when nothing was written.
    fn write_queue(&mut self) {
        while self.out.len() < MAX_TAKE_BYTES {
            match self.queue.front_mut() {
                None => {
                    if !self.streamed.is_half_written() {
                        self.write_waiting_text();
                    }
                    return;
                }
                Some(Writing::Link(url)) => {
                    let url = std::mem::take(url);
                    self.queue.pop_front();
                    self.link(&url);
                }
                Some(Writing::Inline { media_type, has_begun, .. }) if !*has_begun => {
                    *has_begun = true;
                    let head = picture_head(*media_type);
                    self.content(&head);
                }
                Some(Writing::Inline { slices, .. }) => match slices.next_bytes(MAX_DELTA_BYTES) {
                    Some(bytes) => write_base64(&mut self.out, &self.head, bytes),
                    None => {
                        self.queue.pop_front();
                        self.content(")");
                    }
                },
            }
        }
    }

    fn link(&mut self, url: &str) {
        // A regular expression for Markdown images ends the link at the first `)`.
        let url = url.replace('(', "%28").replace(')', "%29");
        self.content(&format!("![image]({url})"));
    }

    fn text(&mut self, text: &str) {
        if !self.queue.is_empty() || self.streamed.is_half_written() {
            self.waiting_text.push_str(text);
        } else {
            self.begin();
            self.content(text);
        }
    }

    fn write_waiting_text(&mut self) {
        let text = std::mem::take(&mut self.waiting_text);
        if !text.is_empty() {
            self.content(&text);
        }
    }

    /// The first chunk names the role.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.out.extend_from_slice(&self.head);
            self.out.extend_from_slice(br#"{"role":"assistant","content":""}"#);
            self.out.extend_from_slice(TAIL);
        }
    }

    fn content(&mut self, text: &str) {
        self.out.extend_from_slice(&self.head);
        self.out.extend_from_slice(br#"{"content":"#);
        // Serialising a string cannot fail.
        let _ = serde_json::to_writer(&mut self.out, text);
        self.out.push(b'}');
        self.out.extend_from_slice(TAIL);
    }
}

impl Streamed {
    fn is_half_written(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Broken)
    }
}

impl ChatUsage {
    /// `None` if no count is known.
    fn new(usage: Usage) -> Option<Self> {
        let Usage { input_tokens, output_tokens, total_tokens, .. } = usage;
        let is_known = input_tokens.or(output_tokens).or(total_tokens).is_some();
        is_known.then_some(Self { prompt_tokens: input_tokens, completion_tokens: output_tokens, total_tokens })
    }
}

fn picture_head(media_type: MediaType) -> String {
    format!("![image](data:{};base64,", media_type.as_str())
}

/// Written without serde, which would search for characters to escape: base64 has none.
fn write_base64(out: &mut Vec<u8>, head: &[u8], bytes: &[u8]) {
    out.extend_from_slice(head);
    out.extend_from_slice(br#"{"content":""#);
    media::encode(bytes, out);
    out.extend_from_slice(br#""}"#);
    out.extend_from_slice(TAIL);
}

impl Output for ChatOutput {
    fn update(&mut self, update: &Update<'_>) -> bool {
        match *update {
            Update::Text { slot, text } => {
                if (slot as usize).is_multiple_of(self.ended.len()) {
                    self.text(text);
                }
            }
            Update::ImageStarted { slot, media_type, draft } => {
                self.start_picture(slot, media_type, draft);
                return !matches!(self.streamed, Streamed::Open { slot: open, .. } if open == slot);
            }
            Update::ImageBytes { slot, bytes } => self.picture_bytes(slot, bytes),
            Update::ImageFinished { slot, .. } => self.end_picture(slot, true),
            Update::ImageRejected { slot, .. } | Update::ImageRepeated { slot } => self.end_picture(slot, false),
            Update::ImageLinked { .. } => {
                if self.streamed == Streamed::Next {
                    self.streamed = Streamed::Never;
                }
                return true;
            }
            Update::Stopped(stop) => self.stop = Some(stop),
            Update::ImageFailed { .. } | Update::Usage(_) | Update::Failed(_) | Update::Done => {}
        }
        false
    }

    fn calls(&mut self, may_send_drafts: bool) {
        // An upstream that is replaced by another has sent nothing.
        let streams_first = !may_send_drafts && self.ended.len() == 1;
        self.streamed = if streams_first { Streamed::Next } else { Streamed::Never };
    }

    fn call_ended(&mut self, nth: Nth, held: &mut HeldPictures) {
        if let Some(has_ended) = self.ended.get_mut(nth.call as usize) {
            *has_ended = true;
        }
        self.queue_pictures(held);
    }

    fn take(&mut self) -> Vec<u8> {
        if self.out.is_empty() {
            self.write_queue();
        }
        std::mem::take(&mut self.out)
    }

    fn flush(&mut self) {
        if let Streamed::Open { waiting, .. } = &mut self.streamed {
            let rest = waiting.split_off(waiting.len() / 3 * 3);
            let whole_groups = std::mem::replace(waiting, rest);
            if !whole_groups.is_empty() {
                write_base64(&mut self.out, &self.head, &whole_groups);
            }
        }
    }

    fn keep_alive(&mut self, elapsed: Duration) {
        if self.has_begun || elapsed > self.head_hold {
            sse::comment(&mut self.out, "ping");
        }
    }
}

#[cfg(test)]
mod tests;
