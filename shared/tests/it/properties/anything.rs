//! Bytes of any kind.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use shared::media::{self, MarkdownPart, Payload, Reference, ReferenceKind, Referred, Utf8};
use shared::upstream::AnyDialect;

use super::{cases, cuts, same_at_any_cut};
use crate::fuzz;
use crate::support::answer::read;

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn anything_is_read_alike_at_any_cut(Soup(bytes) in soup(), cuts in cuts(), status in select(&[200_u16, 400, 401, 403, 503][..])) {
        fuzz::answer::check(&bytes);
        same_at_any_cut(&bytes, &cuts, |pieces| read(AnyDialect::refusal(status), pieces));
        fuzz::json::check(&bytes);
        same_at_any_cut(&bytes, &cuts, finds);
        same_at_any_cut(&bytes, &cuts, decoded);
        same_at_any_cut(&bytes, &cuts, joined);
        for kind in [ReferenceKind::Picture, ReferenceKind::PictureOrLink, ReferenceKind::Any] {
            same_at_any_cut(&bytes, &cuts, |pieces| referred(kind, pieces));
        }
        fuzz::sse::check(&bytes);
        for string in bytes.split(|&byte| byte == b'"').filter(|string| Reference::is_nothing(string)) {
            let none = (Vec::new(), "none".to_owned());
            prop_assert_eq!(referred(ReferenceKind::Any, &mut [string].into_iter()), none, "{:?}", Soup(string.to_owned()));
        }
    }

    #[test]
    fn base64_survives_the_cutting(bytes in vec(any::<u8>(), 0..300), cuts in cuts()) {
        let mut text = Vec::new();
        media::encode(&bytes, &mut text);
        prop_assert_eq!(same_at_any_cut(&text, &cuts, decoded), (bytes, true));
    }

    #[test]
    fn text_survives_the_cutting(text in any::<String>(), cuts in cuts()) {
        prop_assert_eq!(same_at_any_cut(text.as_bytes(), &cuts, joined), (text, false));
    }
}

pub(crate) const SOUP: &[&[u8]] = &[
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
    b"data: {\"choices\":[{\"delta\":{\"content\":\"",
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"images\":[{\"image_url\":{\"url\":\"",
    b"data: {\"choices\":[{\"delta\":{\"content\":[{\"text\":\"",
    b"data: {\"choices\":[{\"finish_reason\":\"",
    b"data: {\"type\":\"image_generation.partial_succeeded\",\"image_index\":1,\"b64_json\":\"",
    b"data: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"",
    b"data: {\"type\":\"image_generation.partial_failed\",\"error\":{\"code\":\"",
    b"data: {\"data\":[{\"url\":\"",
    b"{\"data\":[{\"b64_json\":\"",
    b"data: {\"error\":{\"message\":\"",
    b"data: {\"type\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b".partial_image\",\"b64_json\":\"",
    b"{\"error\":{\"message\":\"",
    b"[{\"error\":{\"code\":401,\"message\":\"",
    b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{\"data\":\"",
    b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"",
    b"data: {\"response\":{\"candidates\":[{\"content\":{\"parts\":[{\"fileData\":{\"fileUri\":\"",
    b"[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"",
    b"\"},\"thought\":true}]}}]}",
    b"\",\"thought\":true},{\"text\":\"",
    b"data: {\"promptFeedback\":{\"blockReason\":\"",
    b"data: {\"type\":\"image_generation.text_chunk\",\"text\":\"",
    b"data: {\"type\":\"response.output_text.delta\",\"delta\":\"",
    b"data: {\"type\":\"response.output_item.done\",\"item\":{\"result\":\"",
    b"data: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"result\":\"",
    b"data: {\"type\":\"response.incomplete\",\"response\":{\"incomplete_details\":{\"reason\":\"",
    b"data: {\"partial_image_b64\":\"",
    b"{\"output\":[{\"result\":\"",
    b"\",\"url\":\"",
    b"\n{\n  \"error\": {\n",
    b"\"}}]}",
    b"\"}]}",
    b"\"}}]}\n\n",
    b"\"}]}}]}\n\n",
    b"\"}\n\n",
    b"\"}]\n\n",
    b"\"},\"index\":1}]}",
    b"![image](data:image/png;base64,",
    b"![a](",
    b"![",
    b"!",
    b"](",
    b"](https://example.com/a.png)",
    b"](https://example.com/",
    b" \"title\")",
    b">",
    b"<",
    b"data:image/jpeg;base64,",
    b"data: image/jpeg",
    b";base64,",
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC",
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AA",
    b"iVBORw0KGgo",
    b"AAAMBAQD3A0FDAAAAAElFTkSuQmCC",
    b"R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
    b"PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciPjwvc3ZnPg==",
    b"/9j/",
    b"=",
    b"==",
    b")",
    b"(",
    b"]",
    b"\\",
    b"\\n",
    b"\\/",
    b"\\\"",
    b"\\u",
    b"\\ud83d",
    b"\\ude00",
    b"\xED\xA0\xBD",
    b"\xED\xB8\x80",
    b"\xF0\x9F\x98\x80",
    b"\xE8\xAF\xA5",
    b"\xE8",
    b"\xFF",
    "额度已用尽".as_bytes(),
    "无可用渠道".as_bytes(),
    b"stop",
    b"SAFETY",
    b"\"",
    b"{",
    b"}",
    b"[",
    b",",
    b":",
    b"1",
    b"null",
    b"\n",
    b"\n\n",
    b"\r",
    b"\r\n",
    b"data: ",
    b"data",
    b"data: [DONE]\n\n",
    b"[DO",
    b"event: error\n",
    b"event: image_generation.partial_image\n",
    b"id: 1\n",
    b": ping\n\n",
    b"\xEF\xBB\xBF",
    b"\xEF\xBB",
    b"<html>",
    b" ",
    b"                                        ",
];

/// Bytes that can be read in the report of a failure.
#[derive(Clone)]
struct Soup(Vec<u8>);

impl std::fmt::Debug for Soup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn soup() -> impl Strategy<Value = Soup> {
    let bytes = prop_oneof![
        6 => vec(select(SOUP), 0..40).prop_map(|parts| parts.concat()),
        1 => (vec(select(SOUP), 0..6), 0..5_000_usize, vec(select(SOUP), 0..6)).prop_map(|(before, count, after)| {
            [before.concat(), b"A".repeat(count), after.concat()].concat()
        }),
        1 => vec(any::<u8>(), 0..400),
    ];
    bytes.prop_map(Soup)
}

fn finds(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<(String, Vec<u8>)> {
    let mut reader = media::MarkdownImages::default();
    let mut finds: Vec<(String, Vec<u8>)> = Vec::new();
    let mut note = |found: MarkdownPart<'_>| {
        let (kind, bytes) = match found {
            MarkdownPart::Text(text) => ("Text".to_owned(), text),
            MarkdownPart::Payload(payload) => ("Payload".to_owned(), payload),
            other => (format!("{other:?}"), &[][..]),
        };
        match finds.last_mut() {
            Some((last, before)) if *last == kind && !bytes.is_empty() => before.extend_from_slice(bytes),
            _ => finds.push((kind, bytes.to_owned())),
        }
    };
    for mut piece in pieces {
        while let Some(found) = reader.next(&mut piece) {
            note(found);
        }
        assert!(piece.is_empty(), "{} bytes were not read", piece.len());
    }
    while let Some(found) = reader.finish() {
        note(found);
    }
    finds
}

fn decoded(pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<u8>, bool) {
    let (mut payload, mut bytes) = (Payload::default(), Vec::new());
    for mut piece in pieces {
        while !piece.is_empty() {
            match payload.step(&mut piece) {
                Ok(more) => bytes.extend_from_slice(more),
                Err(_) => return (bytes, false),
            }
        }
    }
    match payload.finish() {
        Ok(more) => bytes.extend_from_slice(more),
        Err(_) => return (bytes, false),
    }
    (bytes, true)
}

fn joined(pieces: &mut dyn Iterator<Item = &[u8]>) -> (String, bool) {
    let (mut utf8, mut text) = (Utf8::default(), String::new());
    for piece in pieces {
        utf8.push(piece, |more| text.push_str(more));
    }
    utf8.finish(|more| text.push_str(more));
    (text, utf8.is_invalid())
}

fn referred(kind: ReferenceKind, pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<u8>, String) {
    let (mut reference, mut payload) = (Reference::new(kind), Vec::new());
    for piece in pieces {
        reference.push(piece).for_each(|more| payload.extend_from_slice(more));
    }
    let link = match reference.finish() {
        Referred::Link(url) => url.to_owned(),
        Referred::Payload(more) => {
            payload.extend_from_slice(more);
            String::new()
        }
        Referred::Nothing | Referred::Unusable => "none".to_owned(),
    };
    (payload, link)
}
