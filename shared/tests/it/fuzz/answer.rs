//! The reader of upstreams' answers.

use base64::{Engine, engine::general_purpose::STANDARD};
use shared::image_url::{LocalLinks, check_generated};
use shared::media::WholeImage;
use shared::outcome::ImageSource;
use shared::upstream::{AnswerReader, AnyDialect};

use super::same_in_pieces;
use crate::support::answer::{Answer, Seen, read};
use crate::support::pictures::PNG;

/// Each dialect reads any answer alike in any pieces, finds nothing but whole pictures, makes no more of it than was in it,
/// and finds the picture of the next event.
pub(crate) fn check(input: &[u8]) {
    let dialects: [fn() -> AnyDialect; 3] =
        [|| AnyDialect::new(LocalLinks::Refused), || AnyDialect::ark(LocalLinks::Refused), || AnyDialect::refusal(400)];
    for dialect in dialects {
        check_answer(&same_in_pieces(input, |pieces| read(dialect(), pieces)), input.len());
        check_looks(dialect, input);
    }
    let [any, ark, refusal] = dialects;
    check_next_event(any, input);
    check_next_event(ark, input);
    let answer = read(refusal(), [input]);
    assert!(answer.verdict.is_err() && answer.pictures.is_empty(), "the body of a refusal has a picture");
}

fn check_answer(answer: &Answer, input_bytes: usize) {
    let picture_bytes: usize = answer.pictures.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(picture_bytes <= input_bytes / 4 * 3 + 3, "pictures of {picture_bytes} bytes in {input_bytes} bytes");
    let text_bytes = |seen: &Seen| if let Seen::Text(_, text) = seen { text.len() } else { 0 };
    let text_bytes: usize = answer.seen.iter().map(text_bytes).sum();
    // Invalid bytes become U+FFFD.
    assert!(text_bytes <= 3 * input_bytes, "{text_bytes} bytes of text in {input_bytes} bytes");
    for (slot, bytes) in &answer.pictures {
        assert!(WholeImage::of(bytes).is_ok(), "the picture in slot {slot} is not whole");
    }
    let Ok(success) = &answer.verdict else { return };
    assert!(success.images.is_sorted_by_key(|image| image.slot) && !success.images.is_empty());
    for image in &success.images {
        match &image.source {
            ImageSource::Link { url, .. } => assert_eq!(check_generated(url, LocalLinks::Refused), Ok(&**url)),
            ImageSource::Inline(whole) => {
                let is_it = |(_, bytes): &(u32, Vec<u8>)| WholeImage::of(bytes).as_ref() == Ok(whole);
                assert!(answer.pictures.iter().any(is_it), "a picture of slot {} was not read", image.slot);
            }
        }
    }
}

/// Searches look at a byte a few times only.
fn check_looks(dialect: fn() -> AnyDialect, input: &[u8]) {
    #[cfg(debug_assertions)]
    {
        let before = shared::scan::examined();
        let mut reader = AnswerReader::new(dialect());
        reader.push(input, &mut |_| {});
        reader.finish(&mut |_| {});
        let looks = shared::scan::examined() - before;
        assert!(looks <= 4 * input.len() as u64 + 1000, "{looks} looks at {} bytes", input.len());
    }
    let _ = (dialect, input);
}

/// Nothing in an event stream hides the picture of a later event.
fn check_next_event(dialect: fn() -> AnyDialect, input: &[u8]) {
    let stream = [b": ping\n\n", input, b"\n\n"].concat();
    let mut reader = AnswerReader::new(dialect());
    reader.push(&stream, &mut |_| {});
    if !reader.is_over() {
        let event = format!("data: {{\"data\":[{{\"b64_json\":\"{PNG}\"}}]}}\n\n");
        let answer = read(dialect(), [&*stream, event.as_bytes()]);
        let is_it = |(_, bytes): &(u32, Vec<u8>)| STANDARD.encode(bytes) == PNG;
        assert!(answer.pictures.iter().any(is_it), "the picture of the last event is not found");
    }
}
