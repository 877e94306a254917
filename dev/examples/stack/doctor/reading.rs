//! An answer as the functions read it.

use shared::image_url::LocalLinks;
use shared::outcome::{AnswerEnd, Outcome, Success};
use shared::update::Update;
use shared::upstream::{AnswerReader, AnyDialect, Failure, RefusedParameter};

/// The functions' own reader, and what it has found.
pub(super) struct AnswerReading {
    reader: AnswerReader,
    outcome: Outcome,
    status: u16,
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
        let (reader, outcome) = (AnswerReader::new(dialect), Outcome::default());
        Self { reader, outcome, status, distinct: 0, repeated: 0, marked_drafts: 0 }
    }

    /// Reads a piece. Returns whether a picture became whole.
    pub(super) fn push(&mut self, piece: &[u8]) -> bool {
        let before = self.distinct;
        let Self { reader, outcome, distinct, repeated, marked_drafts, .. } = self;
        reader.push(piece, &mut |update| note(update, outcome, distinct, repeated, marked_drafts));
        self.distinct > before
    }

    /// Whether the rest of the answer can be ignored.
    pub(super) fn is_over(&self) -> bool {
        self.reader.is_over()
    }

    pub(super) fn finish(mut self, end: AnswerEnd) -> AnswerVerdict {
        let Self { reader, outcome, distinct, repeated, marked_drafts, .. } = &mut self;
        reader.finish(&mut |update| note(update, outcome, distinct, repeated, marked_drafts));
        let parameter = self.reader.refused_parameter();
        let Self { outcome, status, distinct, repeated, marked_drafts, .. } = self;
        let result = match outcome.verdict(end) {
            Ok(success) if status < 300 => Ok(success),
            Ok(_) => Err(Failure::Error),
            Err(failure) => Err(failure),
        };
        let finals = result.as_ref().map_or(0, |success| success.images.len());
        AnswerVerdict { result, drafts: distinct.saturating_sub(finals), marked_drafts, repeated, parameter }
    }
}

fn note(
    update: Update<'_>,
    outcome: &mut Outcome,
    distinct: &mut usize,
    repeated: &mut usize,
    marked_drafts: &mut usize,
) {
    let is_picture = matches!(update, Update::ImageFinished { .. } | Update::ImageLinked { .. });
    let is_draft =
        matches!(update, Update::ImageFinished { draft: true, .. } | Update::ImageLinked { draft: true, .. });
    match outcome.note(update) {
        Some(Update::ImageRepeated { .. }) => *repeated += 1,
        Some(_) if is_picture => {
            *distinct += 1;
            *marked_drafts += usize::from(is_draft);
        }
        _ => {}
    }
}
