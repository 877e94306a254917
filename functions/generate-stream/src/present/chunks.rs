//! Chat completion chunks in our own words.

use serde::Serialize;
use shared::media::{self, sniff::MediaType};
use shared::outcome::supersedes;
use shared::update::Update;

/// Base64 in one chunk: as much as in an `image.delta`.
const MAX_DELTA_BYTES: usize = 12 * 1024;

/// Writes what an answer shows as chunks that an older frontend reads right: text as it comes, and the final picture of
/// each slot as `![image](…)`, one after another.
///
/// A picture is held until it is known to be whole and the final one: what is written cannot be taken back. A frontend
/// would take the first part of a broken one, and everything up to the next `)`, for a picture, and the first of several
/// for the one that was meant.
#[derive(Debug)]
pub(crate) struct Chunks {
    id: String,
    model: String,
    created: u64,
    under_way: Vec<Picture>,
    /// The last whole one of each slot that was not written yet.
    whole: Vec<Picture>,
    /// The slots whose final picture was told.
    told: Vec<u32>,
    out: Vec<u8>,
}

#[derive(Debug)]
struct Picture {
    slot: u32,
    draft: bool,
    source: Source,
}

impl Picture {
    fn is_due(&self, of: impl Fn(u32) -> bool, drafts: bool) -> bool {
        of(self.slot) && (drafts || !self.draft)
    }
}

#[derive(Debug)]
enum Source {
    Inline { media_type: MediaType, bytes: Vec<u8> },
    Link(String),
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
        Self {
            id: format!("chatcmpl-{task_id}"),
            model: model.to_owned(),
            created,
            under_way: Vec::new(),
            whole: Vec::new(),
            told: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(crate) fn update(&mut self, update: &Update<'_>) {
        match *update {
            Update::Text { text, .. } => self.content(text),
            Update::ImageStarted { slot, media_type, draft, .. } => {
                self.forget(slot);
                self.under_way.push(Picture { slot, draft, source: Source::Inline { media_type, bytes: Vec::new() } });
            }
            Update::ImageBytes { slot, bytes: more } => {
                let picture = self.under_way.iter_mut().find(|picture| picture.slot == slot);
                if let Some(Picture { source: Source::Inline { bytes, .. }, .. }) = picture {
                    bytes.extend_from_slice(more);
                }
            }
            Update::ImageFinished { slot, draft, .. } => {
                match self.under_way.iter().position(|picture| picture.slot == slot) {
                    Some(at) => {
                        let picture = self.under_way.swap_remove(at);
                        self.hold(Picture { draft, ..picture });
                    }
                    // It was passed on as it came.
                    None => self.told.push(slot),
                }
            }
            Update::ImageLinked { slot, url, draft, .. } => {
                self.hold(Picture { slot, draft, source: Source::Link(url.to_owned()) });
            }
            Update::ImageRejected { slot, .. } | Update::ImageRepeated { slot } => self.forget(slot),
            _ => {}
        }
    }

    /// Leaves out the picture under way in a slot.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.under_way.retain(|picture| picture.slot != slot);
    }

    /// What was noted has been told by somebody else; pictures under way stay.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
        self.told.extend(self.whole.drain(..).map(|picture| picture.slot));
    }

    /// Writes the pictures that are held in these slots: no better ones will come.
    pub(crate) fn show(&mut self, of: impl Fn(u32) -> bool, drafts: bool) {
        let (mut due, kept): (Vec<_>, _) =
            std::mem::take(&mut self.whole).into_iter().partition(|picture| picture.is_due(&of, drafts));
        due.sort_by_key(|picture| picture.slot);
        self.whole = kept;
        for picture in due {
            self.told.push(picture.slot);
            self.picture(&picture.source);
        }
    }

    /// Whether [`Chunks::show`] would write any.
    pub(crate) fn is_due(&self, of: impl Fn(u32) -> bool, drafts: bool) -> bool {
        self.whole.iter().any(|picture| picture.is_due(&of, drafts))
    }

    pub(crate) fn content(&mut self, text: &str) {
        self.chunk(Some(text), None);
    }

    pub(crate) fn stop(&mut self) {
        self.chunk(None, Some("stop"));
    }

    /// Whether there is nothing to write, now or later.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.under_way.is_empty() && self.whole.is_empty()
    }

    /// Whether there is something to write now.
    pub(crate) fn has_written(&self) -> bool {
        !self.out.is_empty()
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn hold(&mut self, picture: Picture) {
        if picture.draft && self.told.contains(&picture.slot) {
            return;
        }
        match self.whole.iter_mut().find(|other| other.slot == picture.slot) {
            Some(other) if supersedes(picture.draft, other.draft) => *other = picture,
            Some(_) => {}
            None => self.whole.push(picture),
        }
    }

    fn picture(&mut self, source: &Source) {
        match source {
            Source::Link(url) => {
                // The first `)` is the end for most who read Markdown with a regular expression.
                let url = url.replace('(', "%28").replace(')', "%29");
                self.content(&format!("![image]({url})"));
            }
            Source::Inline { media_type, bytes } => {
                self.content(&format!("![image](data:{};base64,", media_type.as_str()));
                let mut base64 = Vec::new();
                for bytes in bytes.chunks(MAX_DELTA_BYTES) {
                    base64.clear();
                    media::encode(bytes, &mut base64);
                    self.content(&String::from_utf8_lossy(&base64));
                }
                self.content(")");
            }
        }
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
