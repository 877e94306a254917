//! What the rows of answers written out share.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use shared::outcome::ImageSource;
use shared::upstream::AnyDialect;

use super::answer::{Answer, read};

/// A blue pixel.
pub(crate) const BLUE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNgYPgPAAEDAQA2dBFAAAAAAElFTkSuQmCC";

/// Reads an answer whole, byte by byte and in two pieces cut at every byte; all must agree.
pub(crate) fn at_every_cut(text: &str, dialect: impl Fn() -> AnyDialect) -> Answer {
    let bytes = text.as_bytes();
    let whole = read(dialect(), [bytes]);
    assert_eq!(read(dialect(), bytes.chunks(1)), whole, "{text} byte by byte");
    for cut in 0..bytes.len() {
        let (a, b) = bytes.split_at(cut);
        assert_eq!(read(dialect(), [a, b]), whole, "{text} cut at {cut}");
    }
    whole
}

/// Base64 of the pictures that were whole, in order.
pub(crate) fn pictures(answer: &Answer) -> Vec<String> {
    answer.pictures.iter().map(|(_, bytes)| STANDARD.encode(bytes)).collect()
}

/// The final picture of each slot: its link, or base64.
pub(crate) fn finals(answer: &Answer) -> Vec<(u32, String)> {
    let success = answer.verdict.as_ref().unwrap();
    let told = success.images.iter().map(|image| match &image.source {
        ImageSource::Link { url, .. } => (image.slot, url.clone()),
        ImageSource::Inline(whole) => {
            let (_, bytes) =
                answer.pictures.iter().find(|(_, bytes)| Sha256::digest(bytes)[..] == whole.sha256).unwrap();
            (image.slot, STANDARD.encode(bytes))
        }
    });
    told.collect()
}
