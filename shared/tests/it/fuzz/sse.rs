//! The event stream decoder.

use shared::sse::{Decoder, DecoderPart};

use super::same_in_pieces;

/// The decoder and a second one, which splits the whole stream into lines, must find the same.
pub(crate) fn check(input: &[u8]) {
    let (found, rest) = same_in_pieces(input, |pieces| read(pieces, usize::MAX).expect("there is no cap"));
    assert_eq!((found, rest), by_lines(input));

    const CAP: usize = 48;
    let capped = same_in_pieces(input, |pieces| read(pieces, CAP).map(|(found, _)| found));
    match capped {
        None => assert!(input.len() > CAP, "a short stream is refused"),
        Some(found) => {
            let sizes = found.iter().map(|found| if let Found::Event { data, .. } = found { data.len() } else { 0 });
            assert!(sizes.max().is_none_or(|size| size <= CAP), "an event is longer than the cap");
        }
    }
}

#[derive(Debug, PartialEq)]
enum Found {
    Event {
        kind: Vec<u8>,
        data: Vec<u8>,
        id: Vec<u8>,
    },
    Blank {
        id: Vec<u8>,
    },
    Comment,
    /// A line with an unknown name.
    Stray(Vec<u8>),
}

/// The data of an event that has not ended, if one has begun, and the reconnection time.
type Rest = (Option<Vec<u8>>, Option<u64>);

/// `None` if an event is too large.
fn read(pieces: &mut dyn Iterator<Item = &[u8]>, max_event_bytes: usize) -> Option<(Vec<Found>, Rest)> {
    let mut decoder = Decoder::new(max_event_bytes);
    let (mut found, mut data, mut stray) = (Vec::new(), Vec::new(), None::<Vec<u8>>);
    for mut piece in pieces {
        loop {
            let before = piece.len();
            let part = decoder.step(&mut piece).ok()?;
            if let DecoderPart::Data(text) | DecoderPart::Stray(text) = part {
                assert!(!text.is_empty() && text.len() <= before - piece.len(), "a fragment of {} bytes", text.len());
            }
            match part {
                DecoderPart::Data(text) => data.extend_from_slice(text),
                DecoderPart::Newline => data.push(b'\n'),
                DecoderPart::StrayStart(start) => stray = Some(start.as_bytes().to_owned()),
                DecoderPart::Stray(text) => stray.as_mut().expect("the line has begun").extend_from_slice(text),
                DecoderPart::StrayEnd => found.push(Found::Stray(stray.take().expect("the line has begun"))),
                DecoderPart::Comment => found.push(Found::Comment),
                DecoderPart::End => {
                    let (kind, id) = (decoder.event_type().to_owned(), decoder.last_event_id().to_owned());
                    found.push(Found::Event { kind, data: std::mem::take(&mut data), id });
                }
                DecoderPart::Blank => found.push(Found::Blank { id: decoder.last_event_id().to_owned() }),
                DecoderPart::Idle => break,
            }
        }
        assert!(piece.is_empty(), "{} bytes were not read", piece.len());
    }
    let start = decoder.finish().map(|start| start.as_bytes().to_owned());
    found.extend(stray.or(start).map(Found::Stray));
    let pending = decoder.is_pending().then_some(data);
    Some((found, (pending, decoder.retry_ms())))
}

/// Reads a stream as the standard describes it, line by line, and then what the decoder hands on of the last line.
fn by_lines(stream: &[u8]) -> (Vec<Found>, Rest) {
    let (mut found, mut data, mut retry) = (Vec::new(), None::<Vec<u8>>, None);
    let (mut kind, mut next_id, mut id) = (Vec::new(), Vec::new(), Vec::new());
    // A line that begins with a part of a byte order mark is skipped.
    let (mut rest, mut is_skipped) = match stream.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => (rest, false),
        None => (stream, stream.first() == Some(&0xEF)),
    };
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        let after = after.strip_prefix(b"\r\n").or(after.get(1..)).unwrap_or_default();
        rest = after;
        if std::mem::take(&mut is_skipped) {
            continue;
        }
        if line.is_empty() {
            id.clone_from(&next_id);
            let kind = std::mem::take(&mut kind);
            found.push(match data.take() {
                Some(data) => Found::Event { kind, data, id: id.clone() },
                None => Found::Blank { id: id.clone() },
            });
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b": ").or(value.strip_prefix(b":")).unwrap_or_default();
        match (name, end) {
            (b"", _) => found.push(Found::Comment),
            // A name alone may go on.
            (b"data" | b"event" | b"id" | b"retry", None) if colon.is_none() => {}
            (b"data", _) => match &mut data {
                Some(data) => data.extend([b"\n", value].concat()),
                None => data = Some(value.to_owned()),
            },
            (b"event" | b"id" | b"retry", None) => {}
            (b"event", _) => kind = value.to_owned(),
            (b"id", _) if !value.contains(&0) => next_id = value.to_owned(),
            (b"retry", _) if value.iter().all(u8::is_ascii_digit) => {
                let ms = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                retry = ms.or(retry);
            }
            (b"id" | b"retry", _) => {}
            _ => found.push(Found::Stray(line.to_owned())),
        }
    }
    (found, (data, retry))
}
