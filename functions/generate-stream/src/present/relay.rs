use std::time::Duration;

use shared::edge::Present;
use shared::media;
use shared::outcome::Outcome;
use shared::problem::{Lang, Problem};
use shared::sse;
use shared::update::{Nth, Update};
use shared::upstream::{AnyDialect, Reader};

use super::chunks::Chunks;

/// An event with this much in it, other than the picture that is passed on, is not waited for any longer.
const MAX_HELD_BYTES: usize = 128 * 1024;
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Passes an upstream's chat stream on unchanged, as long as an older frontend reads it right; from the first thing
/// that it would misread (another spelling, a link, a second picture, an error) the chunks are ours.
///
/// An event is held until it is known to be harmless: until its end, and on until it is known that no picture begins
/// there, or until the first picture in the documented spelling has begun, which is then passed on as it comes. If the
/// chunks become ours within that picture, the rest of its base64 is told in them, and all else waits for its end.
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
    had_picture: bool,
    /// The one picture that is passed on as it comes is under way.
    in_picture: bool,
    /// A part of it was passed on.
    is_partly_sent: bool,
    /// Its bytes since then, and before them so many characters of base64 that were passed on.
    tail: Vec<u8>,
    odd_characters: usize,
    is_picture_whole: bool,
    /// It is, and its end was not passed on yet.
    is_end_due: bool,
    /// It broke off: nothing but another picture is reason to close it.
    is_open: bool,
    /// What `held` says, in our words.
    ours: Chunks,
    /// What the other choices say.
    others: Chunks,
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
            had_picture: false,
            in_picture: false,
            is_partly_sent: false,
            tail: Vec::new(),
            odd_characters: 0,
            is_picture_whole: false,
            is_end_due: false,
            is_open: false,
            ours: Chunks::new(task_id, model, created),
            others: Chunks::new(task_id, model, created),
            out: Vec::new(),
            has_sent: false,
            ends_in_cr: false,
            head_hold,
        }
    }

    /// The end of a success.
    pub(crate) fn done(mut self) -> Vec<u8> {
        self.close_event();
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
        if update.slot().is_some_and(|slot| slot != 0) {
            self.others.update(update);
            self.leave();
            return;
        }
        // Nothing better will come of this call.
        if matches!(update, Update::Stopped(_) | Update::Done) {
            self.show(nth, false);
        }
        match *update {
            Update::ImageStarted { documented: true, .. } if self.mode == Mode::Theirs && !self.had_picture => {
                (self.had_picture, self.in_picture) = (true, true);
            }
            Update::ImageBytes { bytes, .. } if self.in_picture => self.tail.extend_from_slice(bytes),
            Update::ImageFinished { .. } | Update::ImageRepeated { .. } if self.in_picture => {
                self.in_picture = false;
                (self.is_picture_whole, self.is_end_due) = (true, true);
                self.ours.update(update);
                if self.mode != Mode::Ours {
                    // It is passed on, in whoever's words, so that what is shown does not depend on the pieces.
                    self.ours.show(|_| true, false);
                }
                return;
            }
            Update::ImageRejected { .. } if self.in_picture => {
                self.in_picture = false;
                self.is_open = self.is_partly_sent;
                self.leave();
            }
            Update::Text { .. } | Update::ImageBytes { .. } | Update::Usage(_) | Update::Stopped(_) | Update::Done => {}
            _ => self.leave(),
        }
        self.ours.update(update);
    }

    /// Writes the pictures of a call, in slot order.
    fn show(&mut self, nth: Nth, drafts: bool) {
        if self.in_picture {
            return;
        }
        let of = |slot: u32| slot % nth.of == nth.call;
        if self.is_open && (self.ours.is_due(of, drafts) || self.others.is_due(of, drafts)) {
            self.is_open = false;
            self.ours.content(")\n\n");
        }
        self.ours.show(of, drafts);
        self.others.show(of, drafts);
    }

    fn leave(&mut self) {
        if self.mode == Mode::Theirs {
            self.mode = Mode::Leaving;
        }
    }

    /// Decides about the bytes just read.
    fn cut(&mut self, reader: &mut Reader<AnyDialect>) {
        let is_passable = self.in_picture && reader.is_within_content();
        let is_long = self.held.len() > MAX_HELD_BYTES && !is_passable && !reader.closers().is_empty();
        let is_no_chunk = reader.is_between_events() && !reader.is_chunk() && !reader.is_done();
        let is_misreadable = reader.is_no_stream()
            || reader.is_irregular()
            || (self.is_picture_whole && reader.left_open())
            || (self.had_picture && reader.is_picture_over())
            || (is_no_chunk && (!self.ours.is_empty() || !self.tail.is_empty() || reader.has_untold_text()))
            || is_long
            || self.harmless > MAX_HELD_BYTES;
        if is_misreadable {
            self.leave();
        }
        match self.mode {
            Mode::Leaving => self.go_on_in_our_words(),
            Mode::Theirs if reader.is_done() => {
                self.held.truncate(self.harmless);
                self.pass_on_events(reader);
            }
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
            Mode::Theirs if is_passable => self.pass_on(reader),
            Mode::Theirs | Mode::Ours => {}
        }
    }

    fn go_on_in_our_words(&mut self) {
        self.mode = Mode::Ours;
        self.held.clear();
        self.close_event();
        if !self.is_partly_sent {
            // All of it is told in our words, like any other.
            (self.in_picture, self.is_end_due) = (false, false);
            self.tail.clear();
        }
        self.write();
    }

    /// Writes what there is in our words, but not into a picture that has been passed on in part.
    fn write(&mut self) {
        if self.in_picture {
            return;
        }
        if std::mem::take(&mut self.is_end_due) && self.is_partly_sent {
            self.end_picture();
        }
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
        self.is_end_due = false;
        self.tail.clear();
        self.odd_characters = reader.odd_characters();
        self.ours.clear();
        reader.was_passed_on();
        if self.in_picture {
            self.is_partly_sent = true;
            self.ours.forget(0);
        }
    }
}

impl Present for Relay {
    fn piece(&mut self, nth: Nth, mut piece: &[u8], reader: &mut Reader<AnyDialect>, outcome: &mut Outcome) {
        while !piece.is_empty() && !reader.is_over() {
            let before = piece;
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
            self.cut(reader);
        }
    }

    fn end(&mut self, nth: Nth, reader: &mut Reader<AnyDialect>, outcome: &mut Outcome) {
        let was_theirs = self.mode == Mode::Theirs;
        let all_is_passed_on = self.held.len() == self.harmless;
        // The last event may lack its blank line and still be whole.
        let is_last_whole = reader.closers().is_empty() && reader.is_one_document() && reader.is_chunk();
        if was_theirs && all_is_passed_on {
            self.pass_on_events(reader);
        } else if was_theirs && is_last_whole {
            self.pass_on(reader);
        } else {
            self.leave();
        }
        reader.finish(&mut |update| {
            if let Some(news) = outcome.note(update) {
                self.note(&news.of(nth), nth);
            }
        });
        self.show(nth, true);
        let is_end_due = self.is_end_due && self.is_partly_sent;
        // A part of a broken picture is not made readable, unless something follows.
        if is_end_due || self.ours.has_written() || self.others.has_written() {
            self.close_event();
        }
        if self.mode == Mode::Leaving {
            self.mode = Mode::Ours;
        }
        self.held.clear();
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
