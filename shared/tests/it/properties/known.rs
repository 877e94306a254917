//! Answers whose reading is known, for the dialects other than chat.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::answer::{Answer, Seen};
use crate::support::pictures;

/// No two of them make a picture or a link together.
pub(super) const TEXTS: &[&str] = &[
    "Here you are: ",
    "好的，",
    "画像です",
    "😀",
    "👩‍👩‍👧",
    "é",
    "\u{FEFF}",
    "\0",
    "!",
    "![",
    "![x]",
    "![x](y",
    "](-",
    "](x",
    ")",
    "(-",
    "]",
    "<b>",
    "d",
    "D",
    "da",
    "data:",
    "data:image/png!",
    "data:text/plain;base64,",
    "![a](b.png)",
    "![a](/b.png)",
    "![a](hello)",
    "![a](data:,x)",
    "![a](h t)",
    "[a](c.png)",
    " at https://example.com/",
    "/9j/ is how it begins",
    "iVBORw0KGgo.",
    "\n",
    "\r\n\t ",
    "\\",
    "\\u0041",
    "\"",
    "[DONE]",
    "data: [DONE]\n\n",
    "}]}",
];

fn filling() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(0..0xFF_u8, 0..40), 1 => vec(0..0xFF_u8, 3_000..20_000)]
}

/// The markers of a JPEG file around `filling`, which must hold no 0xFF.
fn jpeg(filling: &[u8]) -> Vec<u8> {
    let head = b"\xFF\xD8\xFF\xC0\x00\x0B\x08\x00\x01\x00\x01\x01\x01\x11\x00\xFF\xDA\x00\x08\x01\x01\x00\x00\x3F\x00";
    [head, filling, b"\xFF\xD9"].concat()
}

pub(super) fn image_bytes() -> impl Strategy<Value = Vec<u8>> {
    (filling(), any::<bool>()).prop_map(|(filling, is_png)| match is_png {
        true => pictures::png(&filling),
        false => jpeg(&filling),
    })
}

/// A part of an answer.
#[derive(Debug, Clone)]
pub(super) enum Said {
    Text(String),
    /// Text that is not for the user.
    Aside(String),
    Picture(Vec<u8>),
    Draft(Vec<u8>),
    Link,
    DraftLink,
    /// A picture that could not be made.
    Failed,
    /// An empty part, in one of several spellings.
    Empty,
}

pub(super) fn said() -> impl Strategy<Value = Said> {
    let text = || vec(select(TEXTS), 0..5).prop_map(|texts| texts.concat());
    prop_oneof![
        3 => text().prop_map(Said::Text),
        2 => text().prop_map(Said::Aside),
        3 => image_bytes().prop_map(Said::Picture),
        2 => image_bytes().prop_map(Said::Draft),
        1 => Just(Said::Link),
        1 => Just(Said::DraftLink),
        1 => Just(Said::Failed),
        1 => Just(Said::Empty),
    ]
}

/// The expected reading of an answer.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) text: String,
    /// The same by document.
    pub(super) chunks: Vec<String>,
    /// Slot, bytes, and whether it is a draft.
    pub(super) pictures: Vec<(u32, Vec<u8>, bool)>,
    pub(super) links: Vec<(u32, String, bool)>,
    pub(super) failed: Vec<u32>,
}

/// Whether the second text begins with all of the first one, as it does if each text repeats everything before it.
pub(super) fn is_ambiguous(chunks: &[String]) -> bool {
    let mut chunks = chunks.iter().filter(|chunk| !chunk.is_empty());
    chunks.next().zip(chunks.next()).is_some_and(|(first, second)| second.starts_with(first.as_str()))
}

impl Known {
    pub(super) fn check(&self, answer: &Answer) -> Result<(), TestCaseError> {
        prop_assert_eq!(answer.text(0), self.text.as_str());
        let pictures: Vec<_> = answer.pictures.iter().zip(&answer.drafts).collect();
        prop_assert_eq!(pictures.len(), self.pictures.len());
        for (((slot, bytes), draft), (of, known, is_draft)) in pictures.into_iter().zip(&self.pictures) {
            prop_assert_eq!((slot, draft), (of, is_draft));
            prop_assert!(bytes == known, "other bytes");
        }
        let told = |start: &str| {
            let told = answer.seen.iter().filter_map(|seen| match seen {
                Seen::Other(update) if update.starts_with(start) => Some(update.clone()),
                _ => None,
            });
            told.collect::<Vec<_>>()
        };
        let links = told("ImageLinked");
        prop_assert_eq!(links.len(), self.links.len());
        for (link, (slot, url, draft)) in links.iter().zip(&self.links) {
            prop_assert!(link.contains(&format!("slot: {slot}, url: \"{url}\"")), "{link} is not {url} in {slot}");
            prop_assert!(link.contains(&format!("draft: {draft}")), "{link}");
        }
        let failed = told("ImageFailed");
        prop_assert_eq!(failed.len(), self.failed.len());
        for (failed, slot) in failed.iter().zip(&self.failed) {
            prop_assert!(failed.contains(&format!("slot: {slot}, ")), "{failed} is not of {slot}");
        }
        prop_assert!(told("Failed").is_empty() && told("ImageRejected").is_empty());
        prop_assert_eq!(answer.verdict.is_ok(), !self.pictures.is_empty() || !self.links.is_empty());
        // A draft is final only where nothing else is; the same bytes are one picture, in whichever slot they came first.
        for image in answer.verdict.iter().flat_map(|success| &success.images) {
            let is_once = |bytes: &[u8]| self.pictures.iter().filter(|(_, known, _)| known == bytes).count() == 1;
            let others =
                self.pictures.iter().filter(|(_, bytes, _)| is_once(bytes)).map(|(slot, _, draft)| (slot, draft));
            let mut others = others.chain(self.links.iter().map(|(slot, _, draft)| (slot, draft)));
            prop_assert!(!image.draft || others.all(|(slot, draft)| *slot != image.slot || *draft));
        }
        Ok(())
    }
}
