//! An answer as the functions read it.

use shared::image_url::LocalLinks;
use shared::outcome::{AnswerEnd, Outcome, Success};
use shared::update::Update;
use shared::upstream::{AnswerReader, AnyDialect, Failure, RefusedParameter};

/// The functions' own reader, and what it has found.
pub(super) struct AnswerReading {
    reader: AnswerReader,
    found: FoundPictures,
}

#[derive(Default)]
struct FoundPictures {
    outcome: Outcome,
    /// Whole pictures that differ.
    distinct: usize,
    repeated: usize,
    marked_drafts: usize,
}

/// The result of a reading.
pub(super) struct AnswerVerdict {
    pub(super) result: Result<Success, Failure>,
    /// Whole pictures that are not final, and how many of them the upstream marks.
    pub(super) drafts: usize,
    pub(super) marked_drafts: usize,
    pub(super) repeated: usize,
    pub(super) parameter: Option<&'static RefusedParameter>,
}

impl AnswerReading {
    pub(super) fn new(status: u16, is_ark: bool, links: LocalLinks) -> Self {
        let dialect = match status {
            300.. => AnyDialect::refusal(status),
            _ if is_ark => AnyDialect::ark(links),
            _ => AnyDialect::new(links),
        };
        Self { reader: AnswerReader::new(dialect), found: FoundPictures::default() }
    }

    /// Reads a piece. Returns whether a picture became whole.
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        let before = self.found.distinct;
        self.reader.push(piece, &mut |update| self.found.note(update));
        self.found.distinct > before
    }

    /// Whether the rest of the answer can be ignored.
    pub(super) fn is_over(&self) -> bool {
        self.reader.is_over()
    }

    pub(super) fn finish(mut self, end: AnswerEnd) -> AnswerVerdict {
        self.reader.finish(&mut |update| self.found.note(update));
        let parameter = self.reader.refused_parameter();
        let FoundPictures { outcome, distinct, repeated, marked_drafts } = self.found;
        let result = outcome.verdict(end);
        let finals = result.as_ref().map_or(0, |success| success.images.len());
        AnswerVerdict { result, drafts: distinct.saturating_sub(finals), marked_drafts, repeated, parameter }
    }
}

impl FoundPictures {
    fn note(&mut self, update: Update<'_>) {
        match self.outcome.note(update) {
            Some(Update::ImageRepeated { .. }) => self.repeated += 1,
            Some(Update::ImageFinished { draft, .. } | Update::ImageLinked { draft, .. }) => {
                self.distinct += 1;
                self.marked_drafts += usize::from(draft);
            }
            _ => {}
        }
    }
}
