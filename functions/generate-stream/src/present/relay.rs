use std::time::Duration;

use shared::edge::Present;
use shared::media;
use shared::outcome::Outcome;
use shared::problem::{Lang, Problem};
use shared::sse;
use shared::update::{Nth, Update};
use shared::upstream::{AnyDialect, Reader};

use super::chunks::Chunks;

/// An event with this much in it and nothing wrong so far is not waited for any longer.
const MAX_HELD_BYTES: usize = 128 * 1024;
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Passes an upstream's chat stream on unchanged, as long as an older frontend reads it right; from the first thing
/// that it would misread (another spelling, a link, a second picture, an error) the chunks are ours.
///
/// An event is held until it is known to be harmless: until its end, and on until it is known that no picture begins
/// there, or until the first picture in the documented spelling has begun, which is then passed on as it comes.
#[derive(Debug)]
pub(crate) struct Relay {
    mode: Mode,
    /// Bytes that were not passed on yet.
    held: Vec<u8>,
    /// So many of them are whole events that are harmless, unless what they end in turns out to begin a picture.
    harmless: usize,
    /// A part of the event under way was passed on.
    is_half_sent: bool,
    /// What would end the JSON of that part.
    closers: String,
    /// The one picture that is passed on as it comes is under way.
    in_picture: bool,
    had_picture: bool,
    /// It is whole.
    is_picture_whole: bool,
    /// Its bytes since something was passed on last, and before them so many characters of base64 that were.
    tail: Vec<u8>,
    odd_characters: usize,
    /// What `held` says, in our words.
    ours: Chunks,
    /// What the other choices say. It waits while the picture is passed on, and is all that is shown of them.
    others: Chunks,
    /// Which choice the event under way speaks of.
    whose: Whose,
    out: Vec<u8>,
    has_sent: bool,
    /// The last byte passed on may be the first half of a line end.
    ends_in_cr: bool,
    /// How long the head may wait; a sign of life would send it.
    head_hold: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The upstream's bytes.
    Theirs,
    /// They were misreadable since the last cut.
    Leaving,
    /// Our chunks.
    Ours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Nothing was said yet.
    Unknown,
    /// The first choice, which is passed on.
    First,
    Others,
    Both,
}

/// A problem as the terminal event of a chat stream: there is no `[DONE]` after it.
pub(crate) fn chat_error(problem: &Problem, lang: Lang, request_id: &str) -> Vec<u8> {
    let mut out = b"event: error\ndata: ".to_vec();
    out.extend_from_slice(&problem.chat_error(lang, request_id));
    out.extend_from_slice(b"\n\n");
    out
}

impl Relay {
    /// For the answers of `calls` calls: what several say can only be told in our words.
    pub(crate) fn new(task_id: &str, model: &str, created: u64, calls: u32, head_hold: Duration) -> Self {
        Self {
            mode: if calls == 1 { Mode::Theirs } else { Mode::Ours },
            held: Vec::new(),
            harmless: 0,
            is_half_sent: false,
            closers: String::new(),
            in_picture: false,
            had_picture: false,
            is_picture_whole: false,
            tail: Vec::new(),
            odd_characters: 0,
            ours: Chunks::new(task_id, model, created),
            others: Chunks::new(task_id, model, created),
            whose: Whose::Unknown,
            out: Vec::new(),
            has_sent: false,
            ends_in_cr: false,
            head_hold,
        }
    }

    /// The end of a success.
    pub(crate) fn done(mut self) -> Vec<u8> {
        if self.mode == Mode::Ours {
            self.ours.stop();
        }
        self.out.extend_from_slice(&self.ours.take());
        self.out.extend_from_slice(b"data: [DONE]\n\n");
        self.out
    }

    /// What stands before a terminal error.
    pub(crate) fn interrupted(mut self) -> Vec<u8> {
        if self.is_half_sent {
            self.out.extend_from_slice(b"\n\n");
        }
        self.out
    }

    fn note(&mut self, update: &Update<'_>, nth: Nth) {
        // Models that talk at the same time are not understood.
        if nth.call > 0 && matches!(update, Update::Text { .. }) {
            return;
        }
        if let Some(slot) = update.slot() {
            let is_first = slot == 0;
            self.whose = match (self.whose, is_first) {
                (Whose::Unknown | Whose::First, true) => Whose::First,
                (Whose::Unknown | Whose::Others, false) => Whose::Others,
                _ => Whose::Both,
            };
            if !is_first {
                self.others.update(update);
                if !self.in_picture {
                    self.leave();
                }
                return;
            }
        }
        // Nothing better will come of this call.
        if matches!(update, Update::Stopped(_) | Update::Done) {
            self.show(nth, false);
        }
        match *update {
            Update::ImageBytes { bytes, .. } if self.in_picture => self.tail.extend_from_slice(bytes),
            Update::Text { .. } | Update::ImageBytes { .. } | Update::Usage(_) | Update::Stopped(_) => {}
            Update::ImageStarted { documented: true, draft: false, .. } if !self.had_picture => {
                self.had_picture = true;
                self.in_picture = true;
            }
            Update::ImageFinished { .. } if self.in_picture => {
                self.in_picture = false;
                self.is_picture_whole = true;
                self.ours.update(update);
                if self.mode != Mode::Ours {
                    // It is passed on, in whoever's words, so that what is shown does not depend on the pieces.
                    self.ours.show(|_| true, false);
                }
                return;
            }
            Update::Done => {}
            _ => {
                if std::mem::take(&mut self.in_picture) {
                    self.ours.leave_open();
                }
                self.leave();
            }
        }
        self.ours.update(update);
    }

    /// Writes the pictures of a call, in slot order.
    fn show(&mut self, nth: Nth, drafts: bool) {
        self.ours.show(|slot| slot % nth.of == nth.call, drafts);
        self.others.show(|slot| slot % nth.of == nth.call, drafts);
    }

    fn leave(&mut self) {
        if self.mode == Mode::Theirs {
            self.mode = Mode::Leaving;
        }
    }

    /// Decides about the bytes just read.
    fn cut(&mut self, was_in_picture: bool, reader: &mut Reader<AnyDialect>) {
        let picture_ended = was_in_picture && !self.in_picture;
        let is_long = self.held.len() - self.harmless > MAX_HELD_BYTES;
        let is_no_chunk = (is_long || reader.is_between_events()) && !reader.is_chunk() && !reader.is_done();
        let is_misreadable = reader.is_no_stream()
            || reader.is_irregular()
            || (self.is_picture_whole && reader.left_open())
            || (picture_ended && !self.others.is_empty())
            || (is_no_chunk && !self.ours.is_empty())
            || (is_long && !(reader.is_one_document() && reader.is_chunk()))
            || self.harmless > MAX_HELD_BYTES
            || self.whose == Whose::Both;
        // In the middle of a picture the rest of it would be lost.
        if is_misreadable && !(was_in_picture && self.in_picture) {
            self.leave();
        }
        match self.mode {
            Mode::Leaving => {
                self.held.clear();
                self.close_event();
                // The end of the picture that was passed on so far must not be lost; that of a broken one must.
                if was_in_picture && self.is_picture_whole {
                    self.end_picture();
                }
                self.mode = Mode::Ours;
                self.write();
            }
            Mode::Theirs if reader.is_done() => {
                self.held.truncate(self.harmless);
                self.pass_on_events(reader);
            }
            Mode::Theirs if self.whose == Whose::Others => self.held.truncate(self.harmless),
            Mode::Theirs if reader.is_between_events() => {
                // What is no event of a chat stream (a comment, an error in plain text) says nothing to a frontend.
                let is_line_end = self.held.get(..self.harmless).is_some_and(|events| events.ends_with(b"\r"))
                    && self.held.get(self.harmless..) == Some(b"\n");
                if (reader.is_one_document() && reader.is_chunk()) || self.is_half_sent || is_line_end {
                    self.harmless = self.held.len();
                }
                self.held.truncate(self.harmless);
                if !reader.is_undecided() {
                    self.pass_on_events(reader);
                }
            }
            Mode::Theirs if (was_in_picture || self.in_picture) && matches!(self.whose, Whose::First | Whose::Both) => {
                self.pass_on(reader);
            }
            Mode::Theirs if is_long && !reader.is_undecided() => self.pass_on(reader),
            Mode::Theirs | Mode::Ours => {}
        }
        if reader.is_between_events() {
            self.whose = Whose::Unknown;
        }
    }

    /// Writes what there is in our words.
    fn write(&mut self) {
        self.out.extend_from_slice(&self.ours.take());
        self.out.extend_from_slice(&self.others.take());
        self.has_sent |= !self.out.is_empty();
    }

    /// Ends an event of which only a part was passed on, so that this part can be read.
    fn close_event(&mut self) {
        if std::mem::take(&mut self.is_half_sent) {
            self.out.extend_from_slice(self.closers.as_bytes());
            self.out.extend_from_slice(b"\n\n");
        }
    }

    /// Writes the rest of the picture that was passed on so far, before all else that there is in our words.
    fn end_picture(&mut self) {
        let after = self.ours.take();
        let mut base64 = Vec::new();
        media::encode(&self.tail, &mut base64);
        if base64.is_empty() {
            base64.resize((4 - self.odd_characters) % 4, b'=');
        } else {
            base64.drain(..self.odd_characters);
        }
        base64.push(b')');
        self.ours.content(&String::from_utf8_lossy(&base64));
        self.out.extend_from_slice(&self.ours.take());
        self.out.extend_from_slice(&after);
    }

    /// Passes on what is whole events.
    fn pass_on_events(&mut self, reader: &mut Reader<AnyDialect>) {
        if !self.held.is_empty() {
            self.pass_on(reader);
            self.is_half_sent = false;
        }
    }

    fn pass_on(&mut self, reader: &mut Reader<AnyDialect>) {
        let bytes = if self.has_sent { &self.held } else { self.held.strip_prefix(BOM).unwrap_or(&self.held) };
        if !bytes.is_empty() {
            self.out.extend_from_slice(bytes);
            self.ends_in_cr = bytes.ends_with(b"\r");
            self.has_sent = true;
            self.is_half_sent = true;
            self.closers = reader.closers();
        }
        self.held.clear();
        self.harmless = 0;
        self.tail.clear();
        self.odd_characters = reader.odd_characters();
        self.ours.clear();
        reader.was_passed_on();
        if self.in_picture {
            self.ours.forget(0);
        }
    }
}

impl Present for Relay {
    fn piece(&mut self, nth: Nth, mut piece: &[u8], reader: &mut Reader<AnyDialect>, outcome: &mut Outcome) {
        while !piece.is_empty() && !reader.is_over() {
            let before = piece;
            let was_in_picture = self.in_picture;
            reader.advance(&mut piece, &mut |update| {
                if let Some(news) = outcome.note(update) {
                    self.note(&news.of(nth), nth);
                }
            });
            if self.mode == Mode::Ours {
                self.write();
                continue;
            }
            let read = before.get(..before.len() - piece.len()).unwrap_or_default();
            if let Some(bytes) = reader.aside() {
                self.held.extend_from_slice(read);
                self.held.truncate(self.held.len().saturating_sub(bytes));
            }
            // The second half of a line end whose first was passed on.
            if self.ends_in_cr && self.held == b"\n" {
                self.out.append(&mut self.held);
                self.ends_in_cr = false;
                continue;
            }
            self.cut(was_in_picture, reader);
        }
    }

    fn end(&mut self, nth: Nth, reader: &mut Reader<AnyDialect>, outcome: &mut Outcome) {
        let (was_theirs, was_in_picture) = (self.mode == Mode::Theirs, self.in_picture);
        // The last event may lack its blank line and still be whole.
        let is_last_whole =
            self.whose != Whose::Others && reader.closers().is_empty() && reader.is_one_document() && reader.is_chunk();
        let is_between = self.held.len() == self.harmless;
        let is_told = was_theirs && (is_between || is_last_whole);
        if is_told && is_between {
            self.pass_on_events(reader);
        } else if is_told {
            self.pass_on(reader);
        }
        let mut is_whole = false;
        reader.finish(&mut |update| {
            if let Some(news) = outcome.note(update) {
                is_whole |= matches!(news, Update::ImageFinished { slot: 0, .. });
                self.note(&news.of(nth), nth);
            }
        });
        if was_theirs && !is_told {
            self.leave();
        }
        if is_whole || !was_in_picture {
            self.close_event();
        }
        if was_theirs && was_in_picture && is_whole {
            self.end_picture();
        }
        if self.mode == Mode::Leaving {
            self.mode = Mode::Ours;
        }
        self.held.clear();
        self.show(nth, true);
        self.write();
    }

    fn silence(&mut self, elapsed: Duration) {
        if !self.is_half_sent && (self.has_sent || elapsed > self.head_hold) {
            sse::comment(&mut self.out, "ping");
        }
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

#[cfg(test)]
mod tests;
