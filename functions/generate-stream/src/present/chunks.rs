//! Chat completion chunks in our own words.

use serde::Serialize;
use shared::media::{self, sniff::MediaType};
use shared::update::Update;

/// Base64 in one chunk: as much as in an `image.delta`.
const MAX_DELTA_BYTES: usize = 12 * 1024;

/// Writes what an answer shows as chunks that an older frontend reads right: text, and each final picture that is
/// whole as `![image](…)`, one after another.
///
/// A picture is held until its last byte is there: what is written cannot be taken back, and a frontend would take
/// the first part of a broken one, and everything up to the next `)`, for a picture. Drafts are not shown, but where
/// nothing better comes the last one is.
#[derive(Debug)]
pub(crate) struct Chunks {
    id: String,
    model: String,
    created: u64,
    pictures: Vec<Picture>,
    /// The last draft of each slot that has no final picture, as it would be written.
    drafts: Vec<Draft>,
    /// The slots that have one.
    finals: Vec<u32>,
    out: Vec<u8>,
}

#[derive(Debug)]
struct Draft {
    slot: u32,
    picture: Shown,
}

#[derive(Debug)]
enum Shown {
    Inline(Picture),
    Link(String),
}

#[derive(Debug)]
struct Picture {
    slot: u32,
    media_type: MediaType,
    bytes: Vec<u8>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Delta<'a>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl Chunks {
    pub(crate) fn new(task_id: &str, model: &str, created: u64) -> Self {
        let id = format!("chatcmpl-{task_id}");
        Self {
            id,
            model: model.to_owned(),
            created,
            pictures: Vec::new(),
            drafts: Vec::new(),
            finals: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(crate) fn update(&mut self, update: &Update<'_>) {
        match *update {
            Update::Text { text, .. } => self.content(text),
            Update::ImageStarted { slot, media_type, .. } => {
                self.forget(slot);
                self.pictures.push(Picture { slot, media_type, bytes: Vec::new() });
            }
            Update::ImageBytes { slot, bytes } => {
                if let Some(picture) = self.pictures.iter_mut().find(|picture| picture.slot == slot) {
                    picture.bytes.extend_from_slice(bytes);
                }
            }
            Update::ImageFinished { slot, draft, .. } => {
                match self.pictures.iter().position(|picture| picture.slot == slot) {
                    Some(at) => {
                        let picture = self.pictures.swap_remove(at);
                        self.whole(slot, draft, Shown::Inline(picture));
                    }
                    // It was passed on as it came.
                    None => self.finals.push(slot),
                }
            }
            Update::ImageLinked { slot, url, draft, .. } => self.whole(slot, draft, Shown::Link(url.to_owned())),
            Update::ImageRejected { slot, .. } => self.forget(slot),
            _ => {}
        }
    }

    /// Leaves out the picture under way in a slot.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.pictures.retain(|picture| picture.slot != slot);
    }

    /// Drops what was written; pictures under way stay.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
    }

    pub(crate) fn content(&mut self, text: &str) {
        self.chunk(Some(text), None);
    }

    /// Drafts that nothing followed are shown after all.
    pub(crate) fn show_drafts(&mut self) {
        for Draft { picture, .. } in std::mem::take(&mut self.drafts) {
            self.show(&picture);
        }
    }

    pub(crate) fn stop(&mut self) {
        self.chunk(None, Some("stop"));
    }

    /// Whether there is nothing to write, now or when a picture is whole.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.pictures.is_empty()
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn whole(&mut self, slot: u32, draft: bool, picture: Shown) {
        if self.finals.contains(&slot) && draft {
            return;
        }
        self.drafts.retain(|draft| draft.slot != slot);
        if draft {
            self.drafts.push(Draft { slot, picture });
        } else {
            self.finals.push(slot);
            self.show(&picture);
        }
    }

    fn show(&mut self, picture: &Shown) {
        match picture {
            Shown::Inline(picture) => self.picture(picture),
            Shown::Link(url) => self.content(&format!("![image]({url})")),
        }
    }

    fn picture(&mut self, picture: &Picture) {
        self.content(&format!("![image](data:{};base64,", picture.media_type.as_str()));
        let mut base64 = Vec::new();
        for bytes in picture.bytes.chunks(MAX_DELTA_BYTES) {
            base64.clear();
            media::encode(bytes, &mut base64);
            self.content(&String::from_utf8_lossy(&base64));
        }
        self.content(")");
    }

    fn chunk(&mut self, content: Option<&str>, finish_reason: Option<&'static str>) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            choices: [Choice { index: 0, delta: Delta { content }, finish_reason }],
        };
        self.out.extend_from_slice(b"data: ");
        // A struct of numbers and strings cannot fail to serialise.
        let _ = serde_json::to_writer(&mut self.out, &chunk);
        self.out.extend_from_slice(b"\n\n");
    }
}
