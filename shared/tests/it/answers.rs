//! What an upstream's answer is read as. The rows are in `tests/data/answers`; here are the answers that are too long to
//! write out.

use base64::{Engine, engine::general_purpose::STANDARD};
use shared::image_url::LocalLinks;
use shared::outcome::{AnswerEnd, Outcome};
use shared::update::{Update, Usage};
use shared::upstream::{AnswerReader, AnyDialect, Failure};

use crate::support::answer::{Answer, read};
use crate::support::pictures::{PNG, png};
use crate::support::rows::{at_every_cut, check, told};

#[test]
fn anywhere() {
    check("anywhere");
}

#[test]
fn ark() {
    check("ark");
}

#[test]
fn chat() {
    check("chat");
}

#[test]
fn deviations() {
    check("deviations");
}

#[test]
fn errors() {
    check("errors");
}

#[test]
fn framing() {
    check("framing");
}

#[test]
fn gemini() {
    check("gemini");
}

#[test]
fn images() {
    check("images");
}

#[test]
fn places() {
    check("places");
}

#[test]
fn responses() {
    check("responses");
}

/// A call that has begun is not repeated elsewhere, whatever the error behind it looks like.
#[test]
fn an_answer_tells_that_the_upstream_has_begun() {
    let begun = [
        r#"{"choices":[{"index":0,"delta":{"reasoning_content":"I plan"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning":"I plan"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"reasoning_details":[{"type":"reasoning.text","text":"I plan"}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"thinking":"I plan"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"<think>I plan"}}]}"#,
        r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"text":"I plan"}]}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"I plan","thought":true}]}}]}"#,
        r#"{"response":{"candidates":[{"content":{"parts":[{"thought":true,"text":"I plan"}]}}]}}"#,
        r#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"I plan"}}"#,
        r#"{"type":"response.in_progress","response":{}}"#,
        r#"{"type":"response.image_generation_call.generating"}"#,
        r#"{"type":"response.reasoning_summary_text.delta","delta":"I plan"}"#,
        r#"{"type":"image_generation.started"}"#,
        r#"{"usage":{"prompt_tokens":9}}"#,
    ];
    let not_begun = [
        r#"{"choices":[{"index":0,"delta":{"role":"assistant"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null},"finish_reason":null}]}"#,
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":"","thinking":{}}}],"usage":null}"#,
        r#"{"choices":[]}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"keepalive","sequence_number":1}"#,
        r#"{"type":"response.created","response":{"status":"in_progress","reasoning":{"effort":"low"},"output":[]}}"#,
        r#"{"type":"response.queued"}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":""}]}}]}"#,
    ];
    const BUSY: [&str; 3] = [
        r#"{"error":{"message":"slow down","code":429,"type":"thinking_limit","details":{"reasoning":"x"}}}"#,
        r#"{"error":{"code":"rate_limit_exceeded","message":"m"}}"#,
        r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
    ];
    let rows = begun.map(|first| (first, true)).into_iter().chain(not_begun.map(|first| (first, false)));
    for (first, has_begun) in rows {
        for busy in BUSY {
            let text = format!(": ping\n\ndata: {first}\n\ndata: {busy}\n\n");
            for piece in [text.len(), 1] {
                let mut reader = AnswerReader::new(AnyDialect::new(LocalLinks::Refused));
                let mut outcome = Outcome::default();
                let mut on = |update: Update<'_>| {
                    outcome.observe(&update);
                };
                text.as_bytes().chunks(piece).for_each(|piece| reader.push(piece, &mut on));
                reader.finish(&mut on);
                if reader.has_begun() {
                    outcome.begin();
                }
                let expected = (!has_begun).then_some(Failure::RateLimited);
                assert_eq!(outcome.not_started(AnswerEnd::Clean), expected, "{first} {busy}");
                assert_eq!(outcome.has_begun(), has_begun, "{first} {busy}");
            }
        }
    }
}

fn in_pieces_of(bytes: usize, text: &[u8]) -> Answer {
    read(AnyDialect::new(LocalLinks::Refused), text.chunks(bytes.min(text.len())))
}

#[test]
fn a_delivered_picture_with_an_error_is_not_a_failed_one() {
    for document in [
        r#"{"data":[{"b64_json":"<red>","error":{"code":"server_error","message":"m"}}]}"#,
        r#"{"images":[{"error":"m","url":"data:image/png;base64,<red>"}]}"#,
        r#"{"type":"image_generation.completed","b64_json":"<red>","error":{"message":"m"}}"#,
    ] {
        let body = document.replace("<red>", PNG);
        for text in [format!("data: {body}\n\n"), body] {
            let answer = at_every_cut(&text, || AnyDialect::new(LocalLinks::Refused));
            assert_eq!(told(&answer), "[red] 0:red", "{document}");
            assert!(!format!("{:?}", answer.seen).contains("ImageFailed"), "{document}");
        }
    }
}

#[test]
fn a_picture_of_54_kilobytes_in_every_dialect() {
    let filling: Vec<u8> = (0..40_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let bytes = png(&filling);
    let base64 = STANDARD.encode(&bytes);
    for (document, draft) in [
        (r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"<it>"}}]}}]}"#, false),
        (r#"{"candidates":[{"content":{"parts":[{"inline_data":{"data":"<it>"},"thought":true}]}}]}"#, true),
        (r#"{"response":{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<it>"}}]}}]}}"#, false),
        (r#"[{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<it>"}}]}}]}]"#, false),
        (r#"{"type":"image_generation.completed","b64_json":"<it>"}"#, false),
        (r#"{"b64_json":"<it>","type":"image_edit.partial_image"}"#, true),
        (r#"{"data":[{"url":"data:image/png;base64,<it>"}]}"#, false),
        (r#"{"images":["<it>"]}"#, false),
        (r#"{"type":"response.output_item.done","item":{"result":"<it>"}}"#, false),
        (r#"{"type":"response.completed","response":{"output":[{"result":"<it>"}]}}"#, false),
        (r#"{"output":[{"result":"<it>"}]}"#, false),
        (r#"{"type":"response.image_generation_call.partial_image","partial_image_b64":"<it>"}"#, true),
        (r#"{"choices":[{"message":{"content":[{"image_url":{"url":"data:image/png;base64,<it>"}}]}}]}"#, false),
    ] {
        for text in [document.to_owned(), format!("data: {document}\n\n"), format!(": bare\n\n{document}\n")] {
            if text.starts_with(": bare") && document.starts_with('[') {
                continue;
            }
            let text = text.replace("<it>", &base64);
            for piece in [usize::MAX, 16 * 1024, 1400, 1] {
                let answer = in_pieces_of(piece, text.as_bytes());
                assert!(answer.pictures == [(0, bytes.clone())], "{document} in pieces of {piece}");
                assert_eq!(answer.drafts, [draft], "{document} in pieces of {piece}");
            }
        }
    }
}

/// The parts of a Gemini answer.
fn parts(parts: &str) -> String {
    format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{parts}]}},\"finishReason\":\"STOP\"}}]}}\r\n\r\n")
}

#[test]
fn a_part_waits_for_its_thought_member_up_to_64_kib() {
    // Cut at a step that shares no factor with anything.
    let at_some_cuts = |text: &str| {
        let read = |pieces: &[&[u8]]| read(AnyDialect::new(LocalLinks::Refused), pieces.iter().copied());
        let whole = read(&[text.as_bytes()]);
        assert_eq!(read(&text.as_bytes().chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
        for cut in (0..text.len()).step_by(9973) {
            let (a, b) = text.as_bytes().split_at(cut);
            assert_eq!(read(&[a, b]), whole, "cut at {cut}");
        }
        whole
    };
    for length in [65_535, 65_536, 65_537, 70_000, 200_000] {
        let long = "画".repeat(length / 3) + &"!".repeat(length % 3);
        for (part, is_shown) in [
            (format!(r#"{{"text":"{long}"}}"#), true),
            (format!(r#"{{"text":"{long}","thought":false}}"#), true),
            (format!(r#"{{"thought":true,"text":"{long}"}}"#), false),
        ] {
            let text = parts(&(part + r#",{"text":"end"},{"inlineData":{"data":"<red>"}}"#)).replace("<red>", PNG);
            let answer = at_some_cuts(&text);
            let shown = if is_shown { long.clone() + "end" } else { "end".to_owned() };
            assert!(answer.text(0) == shown, "{length} bytes, {} of them shown", answer.text(0).len());
            assert_eq!(answer.pictures.len(), 1);
        }
    }
    let part = |length| parts(&format!(r#"{{"text":"{}","thought":true}}"#, "a".repeat(length)));
    assert_eq!(at_some_cuts(&part(65_536)).text(0), "");
    // Of a longer part, the same text is shown at any cut.
    let shown = |bytes| in_pieces_of(bytes, part(70_000).as_bytes()).text(0).len();
    assert_eq!([16 * 1024, 1400, 1].map(shown), [shown(usize::MAX); 3]);
}

#[test]
fn text_that_is_longer_than_64_kib() {
    let long = "a".repeat(70_000);
    for (event, shown) in [
        (format!(r#"{{"type":"image_generation.text_chunk","phase":"content","text":"{long}"}}"#), long.len()),
        (format!(r#"{{"type":"response.output_text.delta","delta":"{long}"}}"#), long.len()),
        (format!(r#"{{"type":"image_generation.text_chunk","phase":"draft","text":"{long}"}}"#), 0),
        (format!(r#"{{"type":"image_generation.note","text":"{long}"}}"#), 0),
        // The index comes after more text than waits for it.
        (format!(r#"{{"choices":[{{"delta":{{"content":"{long}"}},"index":0}}]}}"#), long.len()),
        (format!(r#"{{"choices":[{{"message":{{"content":"{long}"}},"index":0}}]}}"#), long.len()),
    ] {
        let text = format!("data: {event}\n\n");
        for piece in [usize::MAX, 16 * 1024, 1400, 1] {
            assert_eq!(in_pieces_of(piece, text.as_bytes()).text(0).len(), shown, "{event:.60} in pieces of {piece}");
        }
    }
}

#[test]
fn a_byte_order_mark_or_a_part_of_one_is_skipped() {
    for (text, expected) in [
        ("data: {\"b64_json\":\"<red>\"}\n\ndata: [DONE]\n\n", "[red] 0:red"),
        ("{\"data\":[{\"b64_json\":\"<red>\"}]}", "[red] 0:red"),
        ("<html>", "upstream_bad_content_type"),
    ] {
        for mark in [&b"\xEF\xBB\xBF"[..], b"\xEF\xBB", b"\xEF"] {
            let text = [mark, text.replace("<red>", PNG).as_bytes()].concat();
            for piece in [1, 2, usize::MAX] {
                assert_eq!(told(&in_pieces_of(piece, &text)), expected, "{mark:?} in pieces of {piece}");
            }
        }
    }
}

#[test]
fn the_first_64_items_of_a_body_are_read() {
    let items: Vec<_> = (0..70).map(|number| format!("\"https://example.com/{number}\"")).collect();
    let body = format!("{{\"data\":[{}]}}", items.join(","));
    assert_eq!(in_pieces_of(usize::MAX, body.as_bytes()).verdict.unwrap().images.len(), 64);
}

/// A link that is cut to size would lead elsewhere.
#[test]
fn a_link_that_is_too_long_is_not_a_picture() {
    for space in ["", " ", "  "] {
        let link = format!("{space}https://example.com/{}", "a".repeat(5000));
        let text = format!("data: {{\"choices\":[{{\"delta\":{{\"images\":[\"{link}\"]}}}}]}}\n\ndata: [DONE]\n\n");
        let whole = in_pieces_of(usize::MAX, text.as_bytes());
        assert_eq!(whole.verdict, Err(Failure::NoImage));
        assert_eq!(in_pieces_of(1, text.as_bytes()), whole);
    }
}

#[test]
fn the_cap_of_an_error_message_falls_into_a_character() {
    for before in 240..260 {
        let body = format!("{{\"error\":{{\"message\":\"{}渠道 quota exhausted\"}}}}", "a".repeat(before));
        at_every_cut(&body, || AnyDialect::refusal(401));
    }
}

#[test]
fn usage_of_several_calls_is_added() {
    let usage = |[input_tokens, output_tokens, total_tokens, generated_images]: [Option<u64>; 4]| Usage {
        input_tokens,
        output_tokens,
        total_tokens,
        generated_images,
    };
    let (some, none) = (usage([1, 20, 300, 4000].map(Some)), Usage::default());
    assert_eq!(some.plus(usage([5, 6, 7, 8].map(Some))), usage([6, 26, 307, 4008].map(Some)));
    assert_eq!((some.plus(none), none.plus(some), none.plus(none)), (some, some, none));
    let most = usage([Some(u64::MAX), None, None, None]);
    assert_eq!(most.plus(some), usage([u64::MAX, 20, 300, 4000].map(Some)));
}
