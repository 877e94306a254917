use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::client::events;
use dev::picture::{Format, draw};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use regex::Regex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::image_url::LocalLinks;
use shared::outcome::{End, Source};

use super::*;

/// What a client gets for an answer that comes in these pieces, with the terminal event.
fn relay<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut relay = Relay::new("task", "model", 0, 1, Duration::ZERO);
    let mut reader = Reader::new(AnyDialect::new(LocalLinks::Refused));
    let mut outcome = Outcome::default();
    let mut sent = Vec::new();
    for piece in pieces {
        relay.piece(Nth::ONLY, piece, &mut reader, &mut outcome);
        // Taken off again below: between events it harms nobody.
        relay.silence(Duration::from_secs(10));
        let bytes = relay.take();
        let said = bytes.strip_suffix(b": ping\n\n");
        sent.extend_from_slice(said.unwrap_or(&bytes));
        let is_between =
            sent.is_empty() || [&b"\n\n"[..], b"\r\n\r\n", b"\r\n\r", b"\r\r"].iter().any(|end| sent.ends_with(end));
        assert!(
            said.is_none() || is_between,
            "a sign of life within an event: {:?}",
            String::from_utf8_lossy(&sent[sent.len().saturating_sub(60)..])
        );
    }
    relay.end(Nth::ONLY, &mut reader, &mut outcome);
    match outcome.verdict(End::Clean) {
        Ok(_) => sent.extend_from_slice(&relay.done()),
        Err(failure) => {
            sent.extend_from_slice(&relay.interrupted());
            sent.extend_from_slice(&chat_error(&failure.into(), Lang::En, "request"));
        }
    }
    sent
}

/// The content that an older frontend gathers: every chunk must be JSON on its own.
fn content(sent: &[u8]) -> String {
    let mut content = String::new();
    for event in events(sent) {
        let Ok(chunk) = serde_json::from_str::<Value>(&event.data) else { continue };
        content.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
    }
    content
}

fn pictures(content: &str) -> Vec<Vec<u8>> {
    let starts = content.match_indices("![image](data:image/").map(|(at, _)| &content[at..]);
    let payload = |text: &str| text.split_once("base64,")?.1.split_once(')').map(|(payload, _)| payload.to_owned());
    starts.filter_map(payload).filter_map(|payload| STANDARD.decode(payload.trim_end()).ok()).collect()
}

fn chunk(content: &str) -> String {
    format!(
        "data: {{\"id\":\"x\",\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}},\"logprobs\":null,\
         \"finish_reason\":null,\"index\":0}}],\"usage\":null}}\n\n"
    )
}

/// Some 200 KB of PNG, different for each `variant`: more than anything here holds back.
fn picture(variant: u32) -> (Vec<u8>, String) {
    let bytes = draw("relay", variant, Format::Png, 256, 256).bytes.to_vec();
    let base64 = STANDARD.encode(&bytes);
    (bytes, base64)
}

const CUTS: [usize; 6] = [1, 7, 1021, 16 * 1024, 100_003, usize::MAX];

#[test]
fn a_large_documented_picture_passes_unchanged_and_as_it_comes() {
    let (_, base64) = picture(0);
    let stream = chunk("here: ") + &chunk(&format!("![image](data:image/png;base64,{base64})")) + "data: [DONE]\n\n";
    for cut in CUTS {
        assert_eq!(relay(stream.as_bytes().chunks(cut)), stream.as_bytes(), "pieces of {cut}");
    }
    let mut relay = Relay::new("task", "model", 0, 1, Duration::ZERO);
    let mut reader = Reader::new(AnyDialect::new(LocalLinks::Refused));
    let mut outcome = Outcome::default();
    let (mut read, mut sent, mut behind) = (0, 0, 0);
    for piece in stream.as_bytes().chunks(4096) {
        relay.piece(Nth::ONLY, piece, &mut reader, &mut outcome);
        read += piece.len();
        sent += relay.take().len();
        behind = behind.max(read - sent);
    }
    assert!(behind < 100 * 1024, "up to {behind} bytes were held");
}

#[test]
fn a_second_picture_in_the_same_event_is_told_in_our_words() {
    let ((first, a), (second, b)) = (picture(1), picture(2));
    let text = format!("![image](data:image/png;base64,{a})\\n![image](data:image/png;base64,{b}) done");
    let stream = chunk(&text) + &chunk("more") + "data: [DONE]\n\n";
    for cut in CUTS {
        let sent = relay(stream.as_bytes().chunks(cut));
        let content = content(&sent);
        assert!(pictures(&content) == [first.clone(), second.clone()], "pieces of {cut}");
        // It is known to be the last one when the answer ends.
        assert!(content.contains(")\n donemore![image]("), "pieces of {cut}");
        assert!(sent.ends_with(b"data: [DONE]\n\n"));
    }
}

#[test]
fn other_spellings_are_told_in_the_documented_one() {
    let (png, png64) = picture(3);
    let jpeg = draw("relay", 3, Format::Jpeg, 64, 64).bytes.to_vec();
    let jpeg64 = STANDARD.encode(&jpeg);
    for (kind, bytes, base64) in [("png", png, png64), ("jpeg", jpeg, jpeg64)] {
        let spellings = [
            format!("![a cat](data:image/{kind};base64,{base64})"),
            format!("data:image/{kind};base64,{base64}"),
            base64.clone(),
            format!("![image](data:image/{kind};charset=x;base64,{base64})"),
        ];
        for spelling in spellings {
            let stream = chunk(&spelling) + "data: [DONE]\n\n";
            for cut in CUTS {
                let content = content(&relay(stream.as_bytes().chunks(cut)));
                let is_documented = content.starts_with(&format!("![image](data:image/{kind};base64,"));
                assert!(is_documented, "{content:.40} for {spelling:.40} in pieces of {cut}");
                assert!(pictures(&content) == std::slice::from_ref(&bytes), "{spelling:.40} in pieces of {cut}");
            }
        }
    }
}

/// An upstream that breaks off, has not told everything, and has told a picture: small ones and large.
#[test]
fn a_picture_in_a_document_that_breaks_off_is_not_lost() {
    let small = (draw("relay", 9, Format::Png, 16, 16).bytes.to_vec(), String::new());
    for (bytes, _) in [small, picture(4)] {
        let image = format!("![image](data:image/png;base64,{})", STANDARD.encode(&bytes));
        let cases = [
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{image}\"}},\"finish"),
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{image}\"}},\"finish"),
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}", image.trim_end_matches(')')),
            chunk("a") + &format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{image}\"}},\n\ndata: [DONE]\n\n"),
        ];
        for case in cases {
            for cut in CUTS {
                let sent = relay(case.as_bytes().chunks(cut));
                assert!(pictures(&content(&sent)) == std::slice::from_ref(&bytes), "{:.90} in pieces of {cut}", case);
                assert!(sent.ends_with(b"data: [DONE]\n\n"));
            }
        }
    }
    let link = "https://example.com/a.png";
    let cut_off = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"![a]({link})\"}},\"fin");
    for cut in CUTS {
        let content = content(&relay(cut_off.as_bytes().chunks(cut)));
        assert_eq!(content, format!("![image]({link})"), "pieces of {cut}");
    }
}

#[test]
fn two_choices_in_one_event_while_a_picture_is_passed_on() {
    let (bytes, base64) = picture(5);
    let (head, tail) = base64.split_at(base64.len() / 2);
    let (middle, tail) = tail.split_at(1000);
    let both = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{middle}\"}}}},{{\"index\":1,\"delta\":{{\"content\":\"another voice\"}}}}]}}\n\n"
    );
    let stream = chunk(&format!("![image](data:image/png;base64,{head}"))
        + &both
        + &chunk(&format!("{tail})"))
        + &chunk("what follows")
        + "data: [DONE]\n\n";
    for cut in CUTS {
        let content = content(&relay(stream.as_bytes().chunks(cut)));
        assert!(pictures(&content) == std::slice::from_ref(&bytes), "pieces of {cut}");
        let (other, after) = (content.find("another voice"), content.find("what follows"));
        assert!(other.is_some() && other < after, "in pieces of {cut} it waits until the picture has ended");
    }
}

#[test]
fn two_choices_that_take_turns() {
    let ((first, a), (second, b)) = (picture(10), picture(11));
    let turn = |index: u32, content: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}},\"index\":{index}}}]}}\n\n")
    };
    // The index stands behind the content, which waits for it up to 64 KiB.
    let parts = |base64: &str| {
        let pieces = base64.as_bytes().chunks(16 * 1024).map(|piece| String::from_utf8_lossy(piece).into_owned());
        let opening = ["!", "[image", "](data:image/png;base64,"].map(str::to_owned);
        opening.into_iter().chain(pieces).chain([")".to_owned()]).collect::<Vec<_>>()
    };
    let turns: String = parts(&a).iter().zip(&parts(&b)).map(|(a, b)| turn(0, a) + &turn(1, b)).collect::<String>()
        + "data: [DONE]\n\n";
    for cut in CUTS {
        let content = content(&relay(turns.as_bytes().chunks(cut)));
        assert!(pictures(&content) == [first.clone(), second.clone()], "pieces of {cut}");
    }
}

#[test]
fn of_several_unmarked_pictures_in_our_words_only_the_final_one_is_shown() {
    let pictures_of = |variants: [u32; 3]| variants.map(picture);
    let three = pictures_of([6, 7, 8]);
    let preview = |base64: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":null,\"images\":[{{\"index\":0,\"image_url\":{{\"url\":\"data:image/png;base64,{base64}\"}}}}]}}}}]}}\n\n"
        )
    };
    let stream: String = three.iter().map(|(_, base64)| preview(base64)).collect::<String>() + "data: [DONE]\n\n";
    for cut in CUTS {
        assert!(pictures(&content(&relay(stream.as_bytes().chunks(cut)))) == [three[2].0.clone()], "pieces of {cut}");
    }
}

#[test]
fn what_stands_beside_a_chunk_is_not_passed_on() {
    let said = chunk("hello");
    let asides = [": canary\n", "Error: canary\n", "canary\n", ":\n: canary: 1\n"];
    for aside in asides {
        for stream in [format!("{aside}{said}"), format!("{}{aside}\n", said.trim_end_matches('\n').to_owned() + "\n")]
        {
            let stream = stream + &chunk("world") + "data: [DONE]\n\n";
            for cut in CUTS {
                let sent = String::from_utf8(relay(stream.as_bytes().chunks(cut))).unwrap();
                assert!(!sent.contains("canary"), "{aside:?} in pieces of {cut}: {sent}");
            }
        }
    }
}

/// One picture in deltas of 4 KiB, with `between` after each event.
fn picture_in_deltas(base64: &str, between: &str) -> String {
    let pieces = base64.as_bytes().chunks(4096).map(|piece| std::str::from_utf8(piece).unwrap());
    let parts = ["!", "[image", "](data:image/png;base64,"].into_iter().chain(pieces).chain([")"]);
    parts.map(|part| chunk(part) + between).collect()
}

#[test]
fn an_error_in_the_middle_of_a_picture_is_not_passed_on() {
    let (_, base64) = picture(12);
    let whole = picture_in_deltas(&base64, "");
    let half = &whole[..whole[..whole.len() / 2].rfind("data: ").unwrap()];
    let errors = [
        r#"data: {"error":{"message":"canary","type":"server_error"}}"#,
        r#"data:{ "error" : "canary"}"#,
        "event: error\ndata: {\"error\":{\"message\":\"canary\"}}",
        r#"data: {"id":"canary","choices":[],"error":{"message":"canary"}}"#,
        r#"data: {"choices":[{"index":0,"delta":{"content":"AA"}}],"error":{"message":"canary"}}"#,
        r#"data: {"error":{"message":"canary"},"choices":[{"index":0,"delta":{"content":"AA"}}]}"#,
        r#"{"error":{"message":"canary"}}"#,
    ];
    for error in errors {
        for rest in ["\n\n", "\n\ndata: [DONE]\n\n", ""] {
            let stream = format!("{half}{error}{rest}");
            for cut in CUTS {
                let sent = relay(stream.as_bytes().chunks(cut));
                let text = String::from_utf8_lossy(&sent);
                assert!(!text.contains("canary"), "{error} in pieces of {cut}");
                let last = events(&sent).pop().unwrap();
                assert_eq!((last.name.as_str(), text.matches("event: error").count()), ("error", 1), "{error}");
                assert!(pictures(&content(&sent)).is_empty());
            }
        }
    }
}

#[test]
fn a_picture_that_is_cut_short_is_not_closed_by_the_upstream() {
    let (_, base64) = picture(13);
    let half = &base64[..base64.len() / 2];
    for stream in [chunk(&format!("![image](data:image/png;base64,{half})")), picture_in_deltas(half, "")] {
        let stream = stream + "data: [DONE]\n\n";
        for cut in CUTS {
            let content = content(&relay(stream.as_bytes().chunks(cut)));
            assert!(!content.contains(')'), "pieces of {cut}: half a picture is not offered as a whole one");
        }
    }
}

#[test]
fn what_stands_between_the_parts_of_a_picture_does_not_harm_it() {
    let (bytes, base64) = picture(14);
    for between in [
        "",
        ": canary\n\n",
        ": canary\n",
        "canary\n",
        "Error: canary\n\n",
        "data: canary\n\n",
        "event: canary\ndata: {}\n\n",
    ] {
        let stream = picture_in_deltas(&base64, between) + "data: [DONE]\n\n";
        for cut in CUTS {
            let sent = relay(stream.as_bytes().chunks(cut));
            assert!(pictures(&content(&sent)) == std::slice::from_ref(&bytes), "{between:?} in pieces of {cut}");
            assert!(!String::from_utf8_lossy(&sent).contains("canary"), "{between:?} in pieces of {cut}");
        }
    }
}

#[test]
fn line_ends_of_two_characters_stay_whole() {
    let (_, base64) = picture(15);
    for between in ["", ": ping\n\n"] {
        let stream = picture_in_deltas(&base64, between) + "data: [DONE]\n\n";
        let expected = picture_in_deltas(&base64, "").replace('\n', "\r\n") + "data: [DONE]\n\n";
        for cut in CUTS {
            let sent = relay(stream.replace('\n', "\r\n").as_bytes().chunks(cut));
            assert!(sent == expected.as_bytes(), "{between:?} in pieces of {cut}");
        }
    }
}

#[test]
fn what_older_frontends_do_not_find_is_told_in_our_words_at_its_place() {
    let (bytes, base64) = picture(12);
    for event in [
        r#"{"type":"image_generation.text_chunk","text":"hello "}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"hello "}]}}]}"#,
        r#"{"choices":[{"message":{"content":"hello "},"index":0}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"hello "}]}}]}"#,
        r#"{"choices":[{"message":{"content":"hel"},"delta":{"content":"lo "},"index":0}]}"#,
        r#"{"choices":[{"delta":{"content":"hel"},"message":{"content":"lo "},"index":0}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"hello "}}]}"#,
    ] {
        let stream = format!("data: {event}\n\n")
            + &chunk("world")
            + &chunk(&format!("![image](data:image/png;base64,{base64})"))
            + "data: [DONE]\n\n";
        for cut in CUTS {
            let content = content(&relay(stream.as_bytes().chunks(cut)));
            assert!(content.starts_with("hello world![image]"), "{event} in pieces of {cut}: {content:.60}");
            assert!(pictures(&content) == std::slice::from_ref(&bytes), "{event} in pieces of {cut}");
        }
    }
    let image = format!("![image](data:image/png;base64,{base64})");
    for message in [
        format!("{{\"index\":0,\"message\":{{\"content\":\"{image}\"}}}}"),
        format!("{{\"index\":0,\"delta\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{image}\"}}]}}}}"),
        format!("{{\"index\":1,\"delta\":{{\"content\":\"{image}\"}}}}"),
    ] {
        let stream = format!("data: {{\"choices\":[{message}]}}\n\ndata: [DONE]\n\n");
        for cut in CUTS {
            let content = content(&relay(stream.as_bytes().chunks(cut)));
            assert!(pictures(&content) == std::slice::from_ref(&bytes), "{message:.60} in pieces of {cut}");
        }
    }
}

#[test]
fn a_picture_that_was_held_is_shown_when_its_call_stops() {
    let (bytes, base64) = picture(13);
    let image = chunk(&format!("![a cat](data:image/png;base64,{base64})"));
    let stop = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    for last in [stop, "data: [DONE]\n\n"] {
        let mut relay = Relay::new("task", "model", 0, 1, Duration::ZERO);
        let mut reader = Reader::new(AnyDialect::new(LocalLinks::Refused));
        let mut outcome = Outcome::default();
        relay.piece(Nth::ONLY, image.as_bytes(), &mut reader, &mut outcome);
        relay.piece(Nth::ONLY, chunk("here").as_bytes(), &mut reader, &mut outcome);
        assert!(pictures(&content(&relay.take())).is_empty(), "a better one may come");
        relay.piece(Nth::ONLY, last.as_bytes(), &mut reader, &mut outcome);
        assert!(pictures(&content(&relay.take())) == std::slice::from_ref(&bytes), "{last}");
    }
}

#[test]
fn a_draft_behind_the_final_picture_is_not_shown() {
    let ((bytes, base64), (_, other)) = (picture(16), picture(17));
    let documented = chunk(&format!("![image](data:image/png;base64,{base64})"));
    let event = |kind: &str, base64: &str| {
        format!("data: {{\"type\":\"image_generation.{kind}\",\"image_index\":0,\"b64_json\":\"{base64}\"}}\n\n")
    };
    let (draft, done) = (event("partial_image", &other), event("completed", &base64));
    let part = |mark: &str, base64: &str| {
        let part = format!("{{\"inlineData\":{{\"mimeType\":\"image/png\",\"data\":\"{base64}\"}}{mark}}}");
        format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{part}]}}}}]}}\n\n")
    };
    for events in [
        [&documented, &draft],
        [&done, &draft],
        [&draft, &done],
        // Held when the draft comes.
        [&chunk(&format!("![a cat](data:image/png;base64,{base64})")), &draft],
        // The mark stands behind it.
        [&part("", &base64), &part(",\"thought\":true", &other)],
        // Some say at every event that they stop.
        [&part(",\"thought\":true", &other).replace("]}}]}", "]},\"finishReason\":\"STOP\"}]}"), &part("", &base64)],
    ] {
        let stream = events.map(String::as_str).concat() + "data: [DONE]\n\n";
        for cut in CUTS {
            let content = content(&relay(stream.as_bytes().chunks(cut)));
            assert!(pictures(&content) == std::slice::from_ref(&bytes), "{stream:.80} in pieces of {cut}");
        }
    }
    let link = |kind: &str, name: &str| {
        format!(
            "data: {{\"type\":\"image_generation.{kind}\",\"image_index\":0,\"url\":\"https://example.com/{name}\"}}\n\n"
        )
    };
    for events in
        [[link("completed", "a"), link("partial_image", "b")], [link("partial_image", "b"), link("completed", "a")]]
    {
        let stream = events.concat() + "data: [DONE]\n\n";
        for cut in CUTS {
            let content = content(&relay(stream.as_bytes().chunks(cut)));
            assert_eq!(content, "![image](https://example.com/a)", "{stream} in pieces of {cut}");
        }
    }
}

#[test]
fn pictures_are_shown_in_the_order_of_their_slots() {
    let three = [18, 19, 20].map(picture);
    let choice = |(slot, (_, base64)): (usize, &(Vec<u8>, String))| {
        format!("data: {{\"choices\":[{{\"index\":{slot},\"delta\":{{\"images\":[\"{base64}\"]}}}}]}}\n\n")
    };
    let stream = three.iter().enumerate().rev().map(choice).collect::<String>() + "data: [DONE]\n\n";
    for cut in CUTS {
        let found = pictures(&content(&relay(stream.as_bytes().chunks(cut))));
        assert!(found == three.each_ref().map(|(bytes, _)| bytes.clone()), "pieces of {cut}");
    }
}

#[test]
fn of_several_calls_the_first_is_heard_and_the_pictures_of_all_are_seen() {
    let ((first, a), (second, b)) = (picture(14), picture(15));
    let image = |base64: &str| chunk(&format!("![image](data:image/png;base64,{base64})"));
    let answers = [chunk("hello") + &image(&a), chunk("canary") + &image(&b) + &chunk("canary")];
    for cut in CUTS {
        let mut relay = Relay::new("task", "model", 0, 2, Duration::ZERO);
        let dialect = || Reader::new(AnyDialect::new(LocalLinks::Refused));
        let mut calls = [(dialect(), Outcome::default()), (dialect(), Outcome::default())];
        let mut pieces = answers.each_ref().map(|answer| answer.as_bytes().chunks(cut));
        loop {
            let mut is_over = true;
            for (call, (reader, outcome)) in (0..).zip(&mut calls) {
                if let Some(piece) = pieces[call as usize].next() {
                    relay.piece(Nth { call, of: 2 }, piece, reader, outcome);
                    is_over = false;
                }
            }
            if is_over {
                break;
            }
        }
        for (call, (reader, outcome)) in (0..).zip(&mut calls) {
            relay.end(Nth { call, of: 2 }, reader, outcome);
        }
        let content = content(&relay.done());
        assert!(content.starts_with("hello") && !content.contains("canary"), "pieces of {cut}: {content:.60}");
        assert!(pictures(&content) == [first.clone(), second.clone()], "pieces of {cut}");
    }
}

#[test]
fn a_comment_without_end_is_not_held() {
    let mut relay = Relay::new("task", "model", 0, 1, Duration::ZERO);
    let mut reader = Reader::new(AnyDialect::new(LocalLinks::Refused));
    let mut outcome = Outcome::default();
    relay.piece(Nth::ONLY, chunk("a").as_bytes(), &mut reader, &mut outcome);
    relay.piece(Nth::ONLY, b": ", &mut reader, &mut outcome);
    for _ in 0..1000 {
        relay.piece(Nth::ONLY, &[b'x'; 16 * 1024], &mut reader, &mut outcome);
        assert!(relay.held.len() <= 16, "{} bytes are held", relay.held.len());
    }
}

#[test]
fn a_forgotten_parenthesis_is_added_and_a_cut_picture_is_not_closed() {
    let (bytes, base64) = picture(4);
    let whole = chunk(&format!("![image](data:image/png;base64,{base64}"));
    for (stream, expected) in [
        (whole.clone() + "data: [DONE]\n\n", Some(&bytes)),
        (whole.trim_end().to_owned(), Some(&bytes)),
        // Cut behind the base64, inside the event.
        (whole[..whole.find("\"},\"logprobs").unwrap()].to_owned(), Some(&bytes)),
        (whole[..whole.len() / 2].to_owned(), None),
        (chunk(&format!("![image](data:image/png;base64,{}", &base64[..base64.len() / 2])) + "data: [DONE]\n\n", None),
    ] {
        for cut in CUTS {
            let sent = relay(stream.as_bytes().chunks(cut));
            let content = content(&sent);
            match expected {
                Some(bytes) => {
                    assert!(pictures(&content) == std::slice::from_ref(bytes), "pieces of {cut}");
                    assert!(sent.ends_with(b"data: [DONE]\n\n"), "pieces of {cut}");
                }
                None => {
                    assert!(pictures(&content).is_empty(), "pieces of {cut}");
                    // Half an event stays unreadable.
                    assert!(stream.ends_with("\n\n") || content.is_empty(), "pieces of {cut}: {content:.60}");
                    let last = events(&sent).pop().unwrap();
                    assert_eq!(last.name, "error", "pieces of {cut}");
                    assert!(last.data.contains("stream_interrupted"));
                }
            }
        }
    }
}

#[test]
fn an_error_object_is_never_passed_on() {
    let (bytes, base64) = picture(5);
    let secret = "sk-canary-of-the-upstream";
    let error = format!("data: {{\"error\":{{\"message\":\"key {secret} is bad\",\"type\":\"server_error\"}}}}\n\n");
    let inside = chunk(&format!("![image](data:image/png;base64,{base64})"))
        .replace("\"usage\":null", &format!("\"error\":{{\"message\":\"{secret}\"}}"));
    for (stream, has_picture) in [
        (chunk("hm") + &error, false),
        (error.clone() + "data: [DONE]\n\n", false),
        (chunk(&format!("![image](data:image/png;base64,{base64})")) + &error, true),
        (inside, true),
        // None of these is an object, and none is meant for a user's eyes.
        (format!("data: Error: {secret}\n\n") + "data: [DONE]\n\n", false),
        (format!("Error: {secret}\n"), false),
        (format!("Error: {secret}\n\n") + &chunk(&format!("![image](data:image/png;base64,{base64})")), true),
        (chunk("hm") + &format!(": {secret}\n\ndata: {{\"choices\":[{secret}\n\n"), false),
    ] {
        for cut in CUTS {
            let sent = relay(stream.as_bytes().chunks(cut));
            let text = String::from_utf8_lossy(&sent);
            assert!(!text.contains(secret), "{stream:.60} in pieces of {cut}: {text:.300}");
            let found = pictures(&content(&sent));
            assert!(
                found == if has_picture { vec![bytes.clone()] } else { vec![] },
                "{:.60} in pieces of {cut}: {:.300}",
                stream,
                String::from_utf8_lossy(&sent[sent.len().saturating_sub(300)..])
            );
            assert_eq!(sent.ends_with(b"data: [DONE]\n\n"), has_picture, "pieces of {cut}");
        }
    }
}

#[test]
fn a_byte_order_mark_is_dropped() {
    let (_, base64) = picture(6);
    let stream = chunk(&format!("![image](data:image/png;base64,{base64})")) + "data: [DONE]\n\n";
    let marked = [BOM, stream.as_bytes()].concat();
    for cut in CUTS {
        assert_eq!(relay(marked.chunks(cut)), stream.as_bytes(), "pieces of {cut}");
    }
}

#[test]
fn every_transcript_says_the_same_at_every_cut() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/tests/data/fixtures");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // ARK is another function's, and what has a bad status is no stream.
        if !matches!(name.as_bytes()[0], b'c' | b'e' | b'f' | b'g' | b'o') {
            continue;
        }
        read += 1;
        let bytes = std::fs::read(&path).unwrap();
        let summary = |sent: &[u8]| {
            let last = events(sent).pop();
            (content(sent), last.map(|event| (event.name, event.data)))
        };
        let whole = summary(&relay([&bytes[..]]));
        let step = if bytes.len() > 8000 { 4999 } else { 13 };
        for at in (0..bytes.len()).step_by(step) {
            let (a, b) = bytes.split_at(at);
            assert_eq!(summary(&relay([a, b])), whole, "{name} cut at {at}");
        }
        assert_eq!(summary(&relay(bytes.chunks(1))), whole, "{name} byte by byte");
    }
    assert_eq!(read, 55, "transcripts");
}

/// The content of these deltas, then `[DONE]`, as a client gets it; the same at any cut.
fn content_of(deltas: &[&str]) -> String {
    let stream = deltas.iter().map(|delta| chunk(delta)).collect::<String>() + "data: [DONE]\n\n";
    let whole = content(&relay([stream.as_bytes()]));
    for cut in CUTS {
        assert_eq!(content(&relay(stream.as_bytes().chunks(cut))), whole, "{deltas:?} in pieces of {cut}");
    }
    whole
}

#[test]
fn what_begins_a_picture_that_is_told_in_our_words_is_not_told_twice() {
    let [red, blue] = [1, 2].map(|variant| STANDARD.encode(draw("relay", variant, Format::Png, 8, 8).bytes));
    let markdown = |base64: &str| format!("![image](data:image/png;base64,{base64})");
    let (first, second) = (markdown(&red), markdown(&blue));
    let pieces = ["![", "image", "](data", ":image/png;base64,"];
    let both: Vec<_> = pieces.into_iter().chain([&*red, ")"]).chain(pieces).chain([&*blue, ")"]).collect();
    let rows: [(&[&str], String); 6] = [
        (&both, format!("{first}{second}")),
        (
            &["a ", "![", "image", "](https", "://e.com/a(1)", ".png)", " b"],
            "a  b![image](https://e.com/a%281%29.png)".to_owned(),
        ),
        (&["![image](data:image/png;base64,", "PHN2Zy8+)", &first], first.clone()),
        (&["wow! ![no", " picture](", "x)", " d", "!"], "wow! ![no picture](x) d!".to_owned()),
        (&["![", "cat", "](data:image/png;base64,", &red, ")"], first.clone()),
        (&["It is a bird", "![cat](https://e.com/a.png)"], "It is a bird![image](https://e.com/a.png)".to_owned()),
    ];
    for (deltas, expected) in rows {
        assert_eq!(content_of(deltas), expected, "{deltas:.60?}");
    }
}

#[test]
fn the_last_character_of_a_text_is_told_once() {
    let (_, base64) = picture(18);
    let image = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"images\":[{{\"image_url\":{{\"url\":\"data:image/png;base64,{base64}\"}}}}]}}}}]}}\n\n"
    );
    for text in ["Here is your picture!", "A red bird", "![", "data:image"] {
        let stream = chunk(text) + &image + "data: [DONE]\n\n";
        for cut in CUTS {
            let content = content(&relay(stream.as_bytes().chunks(cut)));
            let told = content.replace(&format!("![image](data:image/png;base64,{base64})"), "<>");
            let expected =
                if text.len() > 20 || text == "A red bird" { format!("{text}<>") } else { format!("<>{text}") };
            assert_eq!(told, expected, "pieces of {cut}");
        }
    }
}

#[test]
fn text_that_may_begin_a_picture_waits_and_nothing_else() {
    let mut relay = Relay::new("task", "model", 0, 1, Duration::ZERO);
    let mut reader = Reader::new(AnyDialect::new(LocalLinks::Refused));
    let mut outcome = Outcome::default();
    for (text, told) in [("A bird!", "A bird!"), (" ![", ""), ("not", ""), ("] this", " ![not] this"), (" d", " d")] {
        relay.piece(Nth::ONLY, chunk(text).as_bytes(), &mut reader, &mut outcome);
        assert_eq!(content(&relay.take()), told);
    }
    // More than anybody writes between the brackets.
    relay.piece(Nth::ONLY, chunk("![").as_bytes(), &mut reader, &mut outcome);
    for _ in 0..1000 {
        relay.piece(Nth::ONLY, chunk("abc").as_bytes(), &mut reader, &mut outcome);
        assert!(relay.held.len() <= 2 * MAX_HELD_BYTES);
    }
    assert!(content(&relay.take()).len() > 2900);
}

/// A relay that starts over after a cut, and one that forgets parentheses.
#[test]
fn a_picture_behind_one_that_was_never_closed() {
    let ((whole, a), (other, b)) = (picture(19), picture(20));
    let open = |base64: &str| format!("![image](data:image/png;base64,{base64}");
    let half = open(&a[..a.len() / 2]);
    for (deltas, expected) in [
        ([half.clone(), format!("{})", open(&b))], vec![other.clone()]),
        ([open(&a), format!("{})", open(&b))], vec![whole.clone(), other.clone()]),
        ([open(&a) + "\\n\\n" + &open(&b), ") bye".to_owned()], vec![whole.clone(), other.clone()]),
    ] {
        let stream = chunk(&deltas[0]) + &chunk(&deltas[1]) + "data: [DONE]\n\n";
        for cut in CUTS {
            let sent = relay(stream.as_bytes().chunks(cut));
            assert!(sent.ends_with(b"data: [DONE]\n\n"), "{:.60} in pieces of {cut}", deltas[1]);
            let content = content(&sent);
            let found = pictures(&content);
            assert!(found == expected, "{:.60} in pieces of {cut}: {} found", deltas[1], found.len());
        }
    }
}

/// What the older frontends find.
fn extracted(content: &str) -> Option<Vec<u8>> {
    let extractor = Regex::new(r"(?i)!\[image\]\(data:\s*image/([^;]+);\s*base64,\s*\n?([^)]+)\)").unwrap();
    let found = extractor.captures(content)?;
    STANDARD.decode(found[2].trim_end()).ok()
}

fn index_first(index: u32, content: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n")
}

/// In the middle of the picture that is passed on, or right behind it.
#[test]
fn what_would_spoil_the_picture_is_told_in_our_words_or_not_at_all() {
    let [base64, other] = [21, 22].map(|variant| STANDARD.encode(draw("relay", variant, Format::Png, 64, 64).bytes));
    let open = |base64: &str| format!("![image](data:image/png;base64,{base64}");
    let (start, rest) = base64.split_at(base64.len() / 2 + 1);
    let (middle, end) = rest.split_at(2001);
    let (begin, finish, all) = (chunk(&open(start)), chunk(&format!("{end})")), chunk(&open(&base64)));
    let event = |document: &str| format!("data: {document}\n\n");
    let says = |delta: &str| event(&format!("{{\"choices\":[{{\"index\":0,{delta}}}]}}"));
    let reasoning = "x".repeat(150_000);
    let middles = [
        says(&format!("\"delta\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{middle}\"}}]}}")),
        says(&format!("\"message\":{{\"content\":\"{middle}\"}}")),
        // Two documents in one event, one that breaks off, a line that is none.
        chunk(middle).trim_end().to_owned() + "\n" + &chunk(""),
        event(&format!("{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{middle}\"")),
        event(&format!("{{\"choices\":[{{\"delta\":{{\"content\":\"{middle}\"")),
        index_first(0, middle).trim_end().to_owned() + "\nError: canary\n\n",
        // Another choice beside it.
        event(&format!(
            "{{\"choices\":[{{\"index\":1,\"delta\":{{\"content\":\"voice\"}}}},{{\"index\":0,\"delta\":{{\"content\":\"{middle}\"}}}}]}}"
        )),
        index_first(1, &format!("{})", open(&base64))) + &chunk(middle),
        index_first(1, &format!("{})", open(&other))) + &chunk(middle),
        event(&format!(
            "{{\"choices\":[{{\"delta\":{{\"reasoning\":\"{reasoning}\",\"content\":\"voice\"}},\"index\":1}}]}}"
        )) + &chunk(middle),
        chunk(middle) + "data: {\"choices\":[],\"error\":{\"message\":\"canary\"}}\n\n",
    ];
    let streams = middles.iter().map(|middle| format!("{begin}{middle}{finish}")).chain([
        chunk(&format!("{} \\\"a cat\\\")", open(&base64))),
        chunk(&format!("{}; more)", open(&base64))),
        chunk(&open(&base64).replace('/', "\\u002F").replace("image\\u002Fpng", "image/png")) + &chunk("\\u0029"),
        // Never closed.
        all.clone(),
        all.clone() + "event: error\ndata: {\"error\":{\"message\":\"canary\"}}\n\n",
        all.clone() + &event("{\"choices\":[],\"error\":{\"message\":\"canary\"}}"),
        all.clone() + &event("{\"type\":\"image_generation.partial_failed\",\"error\":{\"code\":\"canary\"}}"),
        all.clone() + &says("\"delta\":{\"images\":[\"https://e.com/a.png\"]}"),
        all + &chunk("\\n\\n→ Here it is"),
        begin.clone() + index_first(0, rest).trim_end() + "\ndata: [DONE]\n\n",
    ]);
    let whole = STANDARD.decode(&base64).unwrap();
    for stream in streams {
        for stream in [format!("{stream}data: [DONE]\n\n"), stream] {
            for cut in [1, 7, 613, 4096, 16 * 1024, usize::MAX] {
                let sent = relay(stream.as_bytes().chunks(cut));
                let told = extracted(&content(&sent));
                let near = &stream[stream.len().min(begin.len())..];
                assert!(told.as_ref() == Some(&whole), "{near:.120} in pieces of {cut}");
                assert!(sent.ends_with(b"data: [DONE]\n\n"), "{near:.120} in pieces of {cut}");
                assert!(!String::from_utf8_lossy(&sent).contains("canary"), "{near:.120} in pieces of {cut}");
            }
        }
    }
}

/// Where nothing of a broken picture was passed on, there is nothing to close.
#[test]
fn only_what_was_passed_on_is_closed() {
    let [red, blue] = [1, 2].map(|variant| STANDARD.encode(draw("relay", variant, Format::Png, 8, 8).bytes));
    let (half, whole) = (
        format!("![image](data:image/png;base64,{}", &red[..red.len() / 2]),
        format!("![image](data:image/png;base64,{blue})"),
    );
    let link = "![image](https://e.com/a.png)";
    assert_eq!(content_of(&[&format!("{half}{whole}")]), whole);
    assert_eq!(content_of(&[link, &half, &whole]), whole);
    assert_eq!(content_of(&[&half, &whole]), format!("{half})\n\n{whole}"));
    let beside = chunk(&half) + &index_first(1, &whole) + "data: [DONE]\n\n";
    for cut in CUTS {
        assert_eq!(content(&relay(beside.as_bytes().chunks(cut))), format!("{half})\n\n{whole}"), "pieces of {cut}");
    }
}

#[test]
fn text_that_is_held_is_told_also_when_its_event_is_not() {
    let elsewhere =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"d\"}]}}]}\n\n";
    let (_, base64) = picture(23);
    let image = format!("![image](data:image/png;base64,{base64})");
    let stream = elsewhere.to_owned() + &chunk("og") + &chunk(&image) + "data: [DONE]\n\n";
    for cut in CUTS {
        assert_eq!(content(&relay(stream.as_bytes().chunks(cut))), format!("dog{image}"), "pieces of {cut}");
    }
}

/// `RED` and `BLUE` stand for small pictures.
const PARTS: &[&str] = &[
    "Here it is: ",
    "a red bird",
    "wow!",
    "d",
    "![",
    "![not](x)",
    "[data](y)",
    "data:",
    "![image](data:image/png;base64,RED)",
    "![image](data:image/png;base64,BLUE)",
    "![a cat](data:image/png;base64,RED)",
    "![a](<data:image/png;base64,BLUE> 'title')",
    "![image](https://e.com/a_(b).png)",
    // Cut short, no picture, never closed.
    "![image](data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEA",
    "![image](data:image/png;base64,PHN2Zy8+)",
    "![image](data:image/png;base64,BLUE!",
    "![image](data:image/png;base64,RED\\n\\n→ Here it is. ",
    // With something behind it.
    "![image](data:image/png;base64,RED 'title')",
    "![image](data:image/png;base64,BLUE; charset=utf-8)",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_final_picture_is_found_whatever_stands_beside_it(
        parts in vec(select(PARTS), 0..6),
        cuts in vec((any::<Index>(), any::<bool>()), 0..6),
        piece in 1_usize..200,
        breaks_off in any::<Option<Index>>(),
    ) {
        let [red, blue] = [1, 2].map(|variant| STANDARD.encode(draw("relay", variant, Format::Png, 8, 8).bytes));
        let text = parts.concat().replace("RED", &red).replace("BLUE", &blue);
        let mut cuts: Vec<_> = cuts.iter().map(|(cut, is_index_first)| (cut.index(text.len() + 1), *is_index_first)).collect();
        // Not between the two characters of an escape.
        cuts.retain(|(cut, _)| text.is_char_boundary(*cut) && !text[..*cut].ends_with('\\'));
        cuts.extend([(0, false), (text.len(), false)]);
        cuts.sort_unstable();
        let deltas = cuts.windows(2).map(|pair| match (&text[pair[0].0..pair[1].0], pair[0].1) {
            (delta, true) => index_first(0, delta),
            (delta, false) => chunk(delta),
        });
        let mut stream = deltas.collect::<String>() + "data: [DONE]\n\n";
        if let Some(end) = breaks_off {
            let end = end.index(stream.len());
            stream.truncate((0..=end).rev().find(|end| stream.is_char_boundary(*end)).unwrap());
        }

        let sent = relay([stream.as_bytes()]);
        let told = content(&sent);
        let in_pieces = content(&relay(stream.as_bytes().chunks(piece)));
        let mut outcome = Outcome::default();
        let mut reader = Reader::new(AnyDialect::new(LocalLinks::Refused));
        reader.push(stream.as_bytes(), &mut |update| _ = outcome.observe(&update));
        reader.finish(&mut |update| _ = outcome.observe(&update));
        if let Ok(success) = outcome.verdict(End::Clean) {
            let is_shown = |told: &str| match &success.images[0].source {
                Source::Link { url, .. } => told.contains(&format!("({})", url.replace('(', "%28").replace(')', "%29"))),
                Source::Inline(whole) => {
                    pictures(told).iter().any(|picture| Sha256::digest(picture)[..] == whole.sha256)
                }
            };
            prop_assert!(is_shown(&told) && is_shown(&in_pieces), "{}\n{}", told, in_pieces);
        }
    }
}
