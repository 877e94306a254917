//! An answer read to its end, in a form that does not depend on the cuts between its pieces.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use shared::outcome::{AnswerEnd, Outcome, Success};
use shared::update::Update;
use shared::upstream::{AnswerReader, AnyDialect, Failure};

/// Updates in order; adjacent updates of the same kind are joined.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Text(u32, String),
    Bytes(u32, Vec<u8>),
    Other(String),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) seen: Vec<Seen>,
    /// The bytes of every picture that was whole, with its slot.
    pub(crate) pictures: Vec<(u32, Vec<u8>)>,
    /// Which of these are drafts.
    pub(crate) drafts: Vec<bool>,
    pub(crate) verdict: Result<Success, Failure>,
    damaged: usize,
}

impl Answer {
    pub(crate) fn text(&self, of: u32) -> String {
        let texts = self.seen.iter().map(|seen| match seen {
            Seen::Text(slot, text) if *slot == of => text.as_str(),
            _ => "",
        });
        texts.collect()
    }
}

/// Reads an answer, and checks that its bytes have the lengths and hashes of the updates.
pub(crate) fn read<'a>(dialect: AnyDialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Answer {
    let (mut seen, mut pictures, mut drafts, mut damaged) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut open: HashMap<u32, Vec<u8>> = HashMap::new();
    let mut outcome = Outcome::default();
    let mut on = |update: Update<'_>| {
        outcome.observe(&update);
        match &update {
            Update::ImageStarted { slot, .. } => drop(open.insert(*slot, Vec::new())),
            Update::ImageBytes { slot, bytes } => {
                assert!(!bytes.is_empty() && bytes.len() <= 12 * 1024, "{} bytes at once", bytes.len());
                open.get_mut(slot).expect("bytes of a picture that has begun").extend_from_slice(bytes);
            }
            Update::ImageFinished { slot, image, draft } => {
                let bytes = open.remove(slot).expect("the end of a picture that has begun");
                assert_eq!(bytes.len() as u64, image.bytes);
                assert_eq!(Sha256::digest(&bytes)[..], image.sha256);
                pictures.push((*slot, bytes));
                drafts.push(*draft);
            }
            Update::ImageRejected { slot, .. } => drop(open.remove(slot)),
            _ => {}
        }
        // Invalid UTF-8 is reported after the whole piece, so its place depends on the cuts.
        if matches!(update, Update::Failed(Failure::Protocol)) && matches!(seen.last(), Some(Seen::Text(..))) {
            damaged += 1;
            return;
        }
        match (update, seen.last_mut()) {
            (Update::Text { slot, text }, Some(Seen::Text(last, before))) if slot == *last => before.push_str(text),
            (Update::ImageBytes { slot, bytes }, Some(Seen::Bytes(last, before))) if slot == *last => {
                before.extend_from_slice(bytes);
            }
            (Update::Text { slot, text }, _) => seen.push(Seen::Text(slot, text.to_owned())),
            (Update::ImageBytes { slot, bytes }, _) => seen.push(Seen::Bytes(slot, bytes.to_owned())),
            (other, _) => seen.push(Seen::Other(format!("{other:?}"))),
        }
    };
    let mut reader = AnswerReader::new(dialect);
    for piece in pieces {
        reader.push(piece, &mut on);
    }
    reader.finish(&mut on);
    Answer { seen, pictures, drafts, verdict: outcome.verdict(AnswerEnd::Clean), damaged }
}
