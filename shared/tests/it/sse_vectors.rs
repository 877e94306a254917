//! Every case of `data/vectors/sse.json`, whole, byte by byte and at every cut.

use serde_json::Value;
use shared::sse::{Decoder, DecoderPart};

#[derive(Debug, PartialEq)]
struct Seen {
    events: Vec<(String, String, String)>,
    last_event_id: String,
    retry_ms: Option<u64>,
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut decoder = Decoder::new(1 << 20);
    let (mut events, mut data) = (Vec::new(), Vec::new());
    for mut piece in pieces {
        loop {
            match decoder.step(&mut piece).unwrap() {
                DecoderPart::Data(text) => data.extend_from_slice(text),
                DecoderPart::Newline => data.push(b'\n'),
                DecoderPart::End => {
                    let event_type = match decoder.event_type() {
                        b"" => "message".into(),
                        name => String::from_utf8_lossy(name).into_owned(),
                    };
                    let id = String::from_utf8_lossy(decoder.last_event_id()).into_owned();
                    events.push((event_type, String::from_utf8_lossy(&data).into_owned(), id));
                    data.clear();
                }
                DecoderPart::Blank
                | DecoderPart::Comment
                | DecoderPart::StrayStart(_)
                | DecoderPart::Stray(_)
                | DecoderPart::StrayEnd => {}
                DecoderPart::Idle => break,
            }
        }
    }
    let last_event_id = String::from_utf8_lossy(decoder.last_event_id()).into_owned();
    Seen { events, last_event_id, retry_ms: decoder.retry_ms() }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_vector_at_every_cut() {
    let vectors: Value = serde_json::from_str(include_str!("../data/vectors/sse.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let events = case["events"].as_array().unwrap().iter();
        let expected = Seen {
            events: events.map(|e| (text(&e["type"]), text(&e["data"]), text(&e["lastEventId"]))).collect(),
            last_event_id: text(&case["lastEventId"]),
            retry_ms: case["retry"].as_u64(),
        };
        let input = bytes(case["input_hex"].as_str().unwrap());
        let id = &case["id"];
        assert_eq!(read([&input[..]]), expected, "{id} whole");
        assert_eq!(read(input.chunks(1)), expected, "{id} byte by byte");
        for cut in 0..=input.len() {
            let (a, b) = input.split_at(cut);
            assert_eq!(read([a, b]), expected, "{id} cut at {cut}");
            if input.len() <= 64 {
                for second in 0..=b.len() {
                    assert_eq!(read([a, &b[..second], &b[second..]]), expected, "{id} cut at {cut} and {second}");
                }
            }
        }
    }
    assert!(cases.len() >= 50, "{} cases", cases.len());
}
