use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dev::client::events;
use dev::picture::{PictureFormat, draw};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use regex::Regex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::image_url::LocalLinks;
use shared::outcome::{AnswerEnd, ImageSource, Outcome};
use shared::upstream::{AnswerReader, AnyDialect};

use super::*;

const CUTS: [usize; 5] = [1, 7, 1021, 16 * 1024, usize::MAX];
/// Whether the model sends no drafts.
const MODES: [bool; 2] = [true, false];

/// One upstream answer on its way through an output.
struct Call {
    nth: Nth,
    reader: AnswerReader,
    outcome: Outcome,
}

impl Call {
    fn new(nth: Nth) -> Self {
        Self { nth, reader: AnswerReader::new(AnyDialect::new(LocalLinks::Refused)), outcome: Outcome::default() }
    }

    fn push(&mut self, piece: &[u8], output: &mut HeldOutput) {
        let Self { nth, reader, outcome } = self;
        reader.push(piece, &mut |update| {
            if let Some(news) = outcome.note(update) {
                output.record(&news.of(*nth));
            }
        });
    }

    fn finish(mut self, output: &mut HeldOutput) -> Result<Success, shared::upstream::Failure> {
        let Self { nth, reader, outcome } = &mut self;
        reader.finish(&mut |update| {
            if let Some(news) = outcome.note(update) {
                output.record(&news.of(*nth));
            }
        });
        output.chat.call_ended(self.nth, &mut output.held);
        self.outcome.verdict(AnswerEnd::Clean)
    }
}

/// An output and the pictures that are held for it.
struct HeldOutput {
    chat: ChatOutput,
    held: HeldPictures,
}

impl HeldOutput {
    fn record(&mut self, update: &Update<'_>) {
        let is_wanted = self.chat.update(update);
        self.held.update(update, is_wanted);
    }
}

fn output(calls: u32, streams_first: bool) -> HeldOutput {
    let mut chat = ChatOutput::new("task", "model", 7, calls, Duration::ZERO);
    chat.calls(!streams_first);
    HeldOutput { chat, held: HeldPictures::default() }
}

/// All that an output has to send now.
fn drain(HeldOutput { chat: output, .. }: &mut HeldOutput) -> Vec<u8> {
    let mut sent = Vec::new();
    loop {
        let bytes = output.take();
        if bytes.is_empty() {
            return sent;
        }
        sent.extend_from_slice(&bytes);
    }
}

/// What a client receives for an answer that comes in these pieces, with the terminal event: the same whether pictures
/// are kept in a bucket or not.
fn send<'a>(pieces: impl IntoIterator<Item = &'a [u8]> + Clone, streams_first: bool) -> Vec<u8> {
    let sent = send_to(output(1, streams_first), pieces.clone());
    let kept = send_to(HeldOutput { held: HeldPictures::for_bucket(), ..output(1, streams_first) }, pieces);
    assert!(sent == kept);
    sent
}

fn send_to<'a>(mut output: HeldOutput, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut call = Call::new(Nth::ONLY);
    let mut sent = Vec::new();
    for piece in pieces {
        call.push(piece, &mut output);
        output.chat.flush();
        sent.extend_from_slice(&drain(&mut output));
    }
    let verdict = call.finish(&mut output);
    sent.extend_from_slice(&drain(&mut output));
    match verdict {
        Ok(success) => sent.extend_from_slice(&output.chat.done(&success)),
        Err(failure) => sent.extend_from_slice(&chat_error(&failure.into(), Lang::En, "request")),
    }
    sent
}

/// The content that an older frontend gathers. Checks that every event is a whole chunk of ours.
fn content(sent: &[u8]) -> String {
    let mut content = String::new();
    let events = events(sent);
    let chunks: Vec<Value> = events
        .iter()
        .filter(|event| event.name != "error" && event.data != "[DONE]")
        .map(|event| serde_json::from_str(&event.data).unwrap())
        .collect();
    for (at, chunk) in chunks.iter().enumerate() {
        let choice = &chunk["choices"][0];
        assert_eq!(chunk["choices"].as_array().unwrap().len(), 1);
        assert_eq!((&chunk["id"], &chunk["object"]), (&"chatcmpl-task".into(), &"chat.completion.chunk".into()));
        assert_eq!((&chunk["created"], &chunk["model"]), (&7.into(), &"model".into()));
        assert_eq!(choice["delta"].get("role").is_some(), at == 0, "only the first chunk names the role");
        let text = choice["delta"]["content"].as_str().unwrap();
        assert!(!text.contains("base64,") || text.len() < 100);
        content.push_str(text);
    }
    content
}

/// As the product's documentation has it.
fn extractor() -> Regex {
    Regex::new(r"(?i)!\[image\]\(data:\s*image/([^;]+);\s*base64,\s*\n?([^)]+)\)").unwrap()
}

/// The pictures that the extractor of older frontends finds and a browser decodes, in their order.
fn pictures(content: &str) -> Vec<Vec<u8>> {
    let extractor = extractor();
    extractor.captures_iter(content).filter_map(|found| STANDARD.decode(found[2].trim_end()).ok()).collect()
}

fn chunk(content: &str) -> String {
    format!(
        "data: {{\"id\":\"canary\",\"choices\":[{{\"delta\":{{\"content\":\"{content}\"}},\"logprobs\":null,\
         \"finish_reason\":null,\"index\":0}}],\"usage\":null,\"provider\":\"canary\"}}\n\n"
    )
}

fn index_first(index: u32, content: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n")
}

fn part(mark: &str, base64: &str) -> String {
    let part = format!("{{\"inlineData\":{{\"mimeType\":\"image/png\",\"data\":\"{base64}\"}}{mark}}}");
    format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{part}]}}}}]}}\n\n")
}

const DONE: &str = "data: [DONE]\n\n";

/// About 200 KB of PNG and its base64, different for each `variant`.
fn picture(variant: u32) -> (Vec<u8>, String) {
    let bytes = draw("chat", variant, PictureFormat::Png, 256, 256).bytes.to_vec();
    let base64 = STANDARD.encode(&bytes);
    (bytes, base64)
}

fn small(variant: u32) -> (Vec<u8>, String) {
    let bytes = draw("chat", variant, PictureFormat::Png, 8, 8).bytes.to_vec();
    let base64 = STANDARD.encode(&bytes);
    (bytes, base64)
}

fn image(base64: &str) -> String {
    format!("![image](data:image/png;base64,{base64})")
}

/// At every cut and in both modes: the content, and whether the stream ended in `[DONE]`.
#[track_caller]
fn check(stream: &str, expected: &[&str], is_done: bool) {
    for streams_first in MODES {
        for cut in CUTS {
            let sent = send(stream.as_bytes().chunks(cut), streams_first);
            let content = content(&sent);
            let at = format!("{stream:.120} in pieces of {cut}, streams {streams_first}");
            assert!(
                expected.contains(&content.as_str()),
                "{} … {} for {at}",
                &content[..content.len().min(60)],
                &content[content.len().saturating_sub(60)..]
            );
            assert_eq!(sent.ends_with(DONE.as_bytes()), is_done, "{at}");
            assert_eq!(events(&sent).pop().unwrap().name == "error", !is_done, "{at}");
            assert!(!String::from_utf8_lossy(&sent).contains("canary"), "{at}");
        }
    }
}

#[test]
fn the_first_picture_of_a_model_without_drafts_is_written_as_it_comes() {
    let (bytes, base64) = picture(0);
    let stream = chunk("here: ") + &chunk(&image(&base64)) + DONE;
    let (mut output, mut call) = (output(1, true), Call::new(Nth::ONLY));
    let (mut read, mut sent, mut steps) = (0, Vec::new(), 0);
    for piece in stream.as_bytes().chunks(4096) {
        call.push(piece, &mut output);
        output.chat.flush();
        read += piece.len();
        let before = sent.len();
        sent.extend_from_slice(&drain(&mut output));
        steps += usize::from(sent.len() > before);
        assert!(read < sent.len() + 80 * 1024, "{} bytes are held", read - sent.len());
    }
    assert!(steps > 10, "{steps} steps");
    let success = call.finish(&mut output).unwrap();
    sent.extend_from_slice(&output.chat.done(&success));
    assert!(pictures(&content(&sent)) == [bytes], "the picture is whole");
}

#[test]
fn a_picture_of_another_model_is_written_at_the_end_of_its_call() {
    let (bytes, base64) = picture(1);
    let (mut output, mut call) = (output(1, false), Call::new(Nth::ONLY));
    call.push((chunk("here") + &chunk(&image(&base64)) + &chunk(" it is")).as_bytes(), &mut output);
    assert_eq!(content(&drain(&mut output)), "here it is", "a better picture may come");
    call.finish(&mut output).unwrap();
    let mut slices = 0;
    let mut gathered = String::new();
    loop {
        let slice = output.chat.take();
        assert!(slice.len() < 96 * 1024, "{} bytes at once", slice.len());
        if slice.is_empty() {
            break;
        }
        slices += 1;
        for event in events(&slice) {
            let chunk: Value = serde_json::from_str(&event.data).unwrap();
            gathered.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap());
        }
    }
    assert!(slices > 2, "the base64 comes in slices");
    assert!(pictures(&gathered) == [bytes]);
}

#[test]
fn chunks_around_the_content() {
    let (_, base64) = small(1);
    let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}"#;
    for (reason, ours) in [("stop", "stop"), ("length", "length"), ("MAX_TOKENS", "length")] {
        let stream = format!(
            "{}data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}],{usage}}}\n\n{DONE}",
            chunk(&image(&base64))
        );
        for streams_first in MODES {
            let sent = send([stream.as_bytes()], streams_first);
            let events = events(&sent);
            let first: Value = serde_json::from_str(&events[0].data).unwrap();
            assert_eq!(first["choices"][0]["delta"], serde_json::json!({"role": "assistant", "content": ""}));
            assert_eq!(first["choices"][0]["finish_reason"], Value::Null);
            let last: Value = serde_json::from_str(&events[events.len() - 2].data).unwrap();
            let expected = serde_json::json!({"index": 0, "delta": {"content": ""}, "finish_reason": ours});
            assert_eq!(last["choices"][0], expected);
            assert_eq!(
                last["usage"],
                serde_json::json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})
            );
            assert_eq!(events[events.len() - 1].data, "[DONE]");
        }
    }
}

#[test]
fn every_spelling_of_a_picture_becomes_the_documented_one() {
    let (_, png64) = picture(3);
    let jpeg = draw("chat", 3, PictureFormat::Jpeg, 64, 64).bytes.to_vec();
    let jpeg64 = STANDARD.encode(&jpeg);
    for (kind, base64) in [("png", png64), ("jpeg", jpeg64)] {
        let written = format!("![image](data:image/{kind};base64,{base64})");
        for spelling in [
            format!("![a cat](data:image/{kind};base64,{base64})"),
            format!("data:image/{kind};base64,{base64}"),
            base64.clone(),
            format!("![image](data:image/{kind};charset=x;base64,{base64})"),
            format!("![image](data:image/{kind};base64,{base64} 'title')"),
            written.replace('/', "\\/"),
            // Never closed.
            written.trim_end_matches(')').to_owned(),
        ] {
            check(&(chunk(&spelling) + DONE), &[&written], true);
        }
        for message in [
            format!("{{\"index\":0,\"message\":{{\"content\":\"{written}\"}}}}"),
            format!("{{\"index\":0,\"delta\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{written}\"}}]}}}}"),
            format!("{{\"index\":1,\"delta\":{{\"content\":\"{written}\"}}}}"),
            format!(
                "{{\"index\":0,\"delta\":{{\"images\":[{{\"image_url\":{{\"url\":\"data:image/{kind};base64,{base64}\"}}}}]}}}}"
            ),
        ] {
            check(&format!("data: {{\"choices\":[{message}]}}\n\n{DONE}"), &[&written], true);
        }
    }
    let link = "![image](https://e.com/a%281%29.png)";
    check(&(chunk("![a](https://e.com/a(1).png)") + DONE), &[link], true);
}

#[test]
fn of_several_pictures_in_a_slot_the_final_one_comes_first() {
    let three = [6, 7, 8].map(|variant| small(variant).1);
    let preview = |base64: &String| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"images\":[\"{base64}\"]}}}}]}}\n\n")
    };
    let unmarked = three.iter().map(preview).collect::<String>() + DONE;
    let markdown = three.iter().map(|base64| chunk(&image(base64))).collect::<String>() + DONE;
    for stream in [unmarked, markdown] {
        for cut in CUTS {
            assert_eq!(content(&send(stream.as_bytes().chunks(cut), false)), image(&three[2]), "pieces of {cut}");
            // A model that sends no drafts means both.
            let both = image(&three[0]) + &image(&three[2]);
            assert_eq!(content(&send(stream.as_bytes().chunks(cut), true)), both, "pieces of {cut}");
        }
    }
    let event = |kind: &str, base64: &str| {
        format!("data: {{\"type\":\"image_generation.{kind}\",\"image_index\":0,\"b64_json\":\"{base64}\"}}\n\n")
    };
    let [base64, other, _] = &three;
    let (draft, done) = (event("partial_image", other), event("completed", base64));
    let documented = chunk(&image(base64));
    for events in [
        [&documented, &draft],
        [&done, &draft],
        [&draft, &done],
        // The mark stands behind the picture.
        [&part("", base64), &part(",\"thought\":true", other)],
        // An upstream with a finish reason in every event.
        [&part(",\"thought\":true", other).replace("]}}]}", "]},\"finishReason\":\"STOP\"}]}"), &part("", base64)],
    ] {
        // A mark behind a streamed draft comes too late; a model without drafts sends none.
        let first = events[0].clone();
        let late = image(other) + &image(base64);
        let expected = [image(base64), if first.contains("thought") { late } else { String::from("-") }];
        check(&(events.map(String::as_str).concat() + DONE), &expected.each_ref().map(String::as_str), true);
    }
    for events in [[&documented, &draft], [&draft, &done]] {
        let content = content(&send([(events.map(String::as_str).concat() + DONE).as_bytes()], false));
        assert_eq!(content, image(base64));
    }
    // Nothing better comes.
    check(&(part(",\"thought\":true", other) + DONE), &[&image(other)], true);
    // The same picture twice.
    check(&(chunk(&image(base64)) + &preview(base64) + DONE), &[&image(base64)], true);
}

#[test]
fn pictures_are_written_in_the_order_of_their_slots() {
    let three = [18, 19, 20].map(|variant| small(variant).1);
    let choice = |(slot, base64): (usize, &String)| {
        format!("data: {{\"choices\":[{{\"index\":{slot},\"delta\":{{\"images\":[\"{base64}\"]}}}}]}}\n\n")
    };
    let stream = three.iter().enumerate().rev().map(choice).collect::<String>() + DONE;
    let [a, b, c] = three.each_ref().map(|base64| image(base64));
    for cut in CUTS {
        assert_eq!(content(&send(stream.as_bytes().chunks(cut), false)), format!("{a}{b}{c}"), "pieces of {cut}");
        assert_eq!(content(&send(stream.as_bytes().chunks(cut), true)), format!("{c}{a}{b}"), "pieces of {cut}");
    }
}

#[test]
fn the_pictures_of_several_calls_come_in_order_and_the_first_call_s_text() {
    let ((_, a), (_, b), (_, c)) = (picture(14), small(15), small(16));
    let answers = [chunk("hello") + &chunk(&image(&a)), chunk("canary") + &chunk(&image(&b)), chunk(&image(&c))];
    // Ends in the order 1, 2, 0: the first picture is not ready before.
    let mut output = output(3, true);
    let mut calls: Vec<_> = (0..3).map(|call| Call::new(Nth { call, of: 3 })).collect();
    for (call, answer) in calls.iter_mut().zip(&answers) {
        call.push(answer.as_bytes(), &mut output);
    }
    let first = calls.remove(0);
    let mut sent = drain(&mut output);
    assert_eq!(content(&sent), "hello");
    let mut verdicts = Vec::new();
    for call in calls {
        verdicts.push(call.finish(&mut output));
        assert!(drain(&mut output).is_empty(), "pictures come in the order of their slots");
    }
    verdicts.insert(0, first.finish(&mut output));
    sent.extend_from_slice(&drain(&mut output));
    sent.extend_from_slice(&output.chat.done(&Success::of_all(verdicts).unwrap()));
    assert_eq!(content(&sent), format!("hello{}{}{}", image(&a), image(&b), image(&c)));
}

#[test]
fn a_picture_that_breaks_off_ends_in_an_error_and_is_closed_only_for_a_whole_one() {
    let ((_, a), (_, b)) = (picture(19), picture(20));
    let half = format!("![image](data:image/png;base64,{}", &a[..a.len() / 2]);
    for cut in CUTS {
        for end in [DONE, ""] {
            let stream = chunk(&half) + end;
            let sent = send(stream.as_bytes().chunks(cut), true);
            assert!(half.starts_with(&content(&sent)) && content(&sent).len() > 1000, "pieces of {cut}");
            let last = events(&sent).pop().unwrap();
            assert_eq!(last.name, "error", "pieces of {cut}");
            assert!(last.data.contains("stream_interrupted"), "{}", last.data);
            assert_eq!(content(&send(stream.as_bytes().chunks(cut), false)), "", "nothing of a broken picture");
        }
        let stream = chunk(&half) + &chunk(&(image(&b) + " bye")) + DONE;
        let sent = send(stream.as_bytes().chunks(cut), true);
        let gathered = content(&sent);
        let (broken, rest) = gathered.split_once(")\n\n").unwrap();
        assert!(half.starts_with(broken), "pieces of {cut}");
        assert_eq!(rest, " bye".to_owned() + &image(&b), "pieces of {cut}");
        let held = content(&send(stream.as_bytes().chunks(cut), false));
        assert_eq!(held, " bye".to_owned() + &image(&b), "pieces of {cut}");
    }
}

/// Cut inside an event, or without the end of the picture's Markdown.
#[test]
fn a_whole_picture_in_a_document_that_breaks_off_is_written() {
    for (_, base64) in [small(9), picture(4)] {
        let image = image(&base64);
        for stream in [
            format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{image}\"}},\"finish"),
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}", image.trim_end_matches(')')),
            chunk("") + &format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{image}\"}},\n\n{DONE}"),
        ] {
            check(&stream, &[&image], true);
        }
    }
    let link = "![image](https://example.com/a.png)";
    check(&format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{link}\"}},\"fin"), &[link], true);
}

#[test]
fn text_waits_while_a_picture_is_half_written() {
    let (_, base64) = picture(5);
    let (head, tail) = base64.split_at(base64.len() / 2);
    let both = |middle: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":1,\"delta\":{{\"content\":\" voice\"}}}},{{\"index\":0,\"delta\":{{\"content\":\"{middle}\"}}}}]}}\n\n"
        )
    };
    let (middle, tail) = tail.split_at(1000);
    let stream = chunk(&format!("a![image](data:image/png;base64,{head}"))
        + &both(middle)
        + &chunk(&format!("{tail})"))
        + &chunk(" end")
        + DONE;
    let streamed = format!("a{} voice end", image(&base64));
    let held = format!("a voice end{}", image(&base64));
    check(&stream, &[&streamed, &held], true);
}

/// Comments, errors, unknown lines and members, other documents: nothing of them reaches the client.
#[test]
fn nothing_but_text_and_pictures_is_passed_on() {
    let (_, base64) = picture(12);
    let deltas: Vec<_> = base64.as_bytes().chunks(4096).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
    for between in [
        "",
        ": canary\n\n",
        "canary\n",
        "Error: canary\n\n",
        "data: canary\n\n",
        "event: canary\ndata: {}\n\n",
        "data: {\"choices\":[],\"warning\":\"canary\"}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"canary\",\"reasoning\":\"canary\"}}]}\n\n",
    ] {
        let parts = ["!", "[image", "](data:image/png;base64,"].into_iter().chain(deltas.iter().copied()).chain([")"]);
        let stream = parts.map(|part| chunk(part) + between).collect::<String>() + DONE;
        for stream in [stream.replace('\n', "\r\n"), format!("\u{FEFF}{stream}"), stream] {
            if between == "data: canary\n\n" {
                // Unreadable lines hide no picture.
                assert_eq!(content(&send([stream.as_bytes()], true)), image(&base64));
                continue;
            }
            check(&stream, &[&image(&base64)], true);
        }
    }
    let whole = chunk(&image(&base64));
    let half = chunk(&format!("![image](data:image/png;base64,{}", &base64[..base64.len() / 2]));
    for error in [
        r#"data: {"error":{"message":"canary","type":"server_error"}}"#,
        "event: error\ndata: {\"error\":{\"message\":\"canary\"}}",
        r#"data: {"id":"canary","choices":[],"error":{"message":"canary"}}"#,
        r#"data: {"choices":[{"index":0,"delta":{"content":"AA"}}],"error":{"message":"canary"}}"#,
        r#"{"error":{"message":"canary"}}"#,
    ] {
        for (before, is_done) in [("", false), (half.as_str(), false), (whole.as_str(), true)] {
            for rest in ["\n\n", "\n\ndata: [DONE]\n\n", ""] {
                let stream = format!("{before}{error}{rest}");
                for streams_first in MODES {
                    for cut in [7, usize::MAX] {
                        let sent = send(stream.as_bytes().chunks(cut), streams_first);
                        assert!(!String::from_utf8_lossy(&sent).contains("canary"), "{error} in pieces of {cut}");
                        assert_eq!(sent.ends_with(DONE.as_bytes()), is_done, "{error}");
                        assert_eq!(pictures(&content(&sent)).len(), usize::from(is_done), "{error}");
                    }
                }
            }
        }
    }
}

#[test]
fn text_is_written_once_and_only_what_may_begin_a_picture_waits() {
    let mut output = output(1, true);
    let mut call = Call::new(Nth::ONLY);
    let mut written = String::new();
    for (text, so_far) in
        [("A bird!", "A bird"), (" ![", "A bird! "), ("not", "A bird! "), ("] this", "A bird! ![not] this")]
    {
        call.push(chunk(text).as_bytes(), &mut output);
        for event in events(&drain(&mut output)) {
            let chunk: Value = serde_json::from_str(&event.data).unwrap();
            written.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap());
        }
        assert_eq!(written, so_far);
    }
    let (_, base64) = small(18);
    let picture = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"images\":[\"{base64}\"]}}}}]}}\n\n");
    for text in ["Here is your picture!", "A red bird", "![", "data:image"] {
        let stream = chunk(text) + &picture + DONE;
        let orders = [format!("{text}{}", image(&base64)), format!("{}{text}", image(&base64))];
        // The last character may begin another picture.
        let (most, last) = text.split_at(text.len() - 1);
        let split = format!("{most}{}{last}", image(&base64));
        check(&stream, &[&orders[0], &orders[1], &split], true);
    }
}

#[test]
fn every_transcript_has_the_same_content_at_every_cut() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/tests/data/fixtures");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // ARK belongs to another function, and an answer with a bad status is no stream.
        if !matches!(name.as_bytes()[0], b'c' | b'e' | b'f' | b'g' | b'o') {
            continue;
        }
        read += 1;
        let bytes = std::fs::read(&path).unwrap();
        for streams_first in MODES {
            let summary = |sent: &[u8]| {
                let last = events(sent).pop();
                (content(sent), last.map(|event| (event.name, event.data)))
            };
            let whole = summary(&send([&bytes[..]], streams_first));
            let step = if bytes.len() > 8000 { 4999 } else { 13 };
            for at in (0..bytes.len()).step_by(step) {
                let (a, b) = bytes.split_at(at);
                assert_eq!(summary(&send([a, b], streams_first)), whole, "{name} cut at {at}");
            }
            assert_eq!(summary(&send(bytes.chunks(1), streams_first)), whole, "{name} byte by byte");
        }
    }
    assert!(read >= 55, "{read} transcripts");
}

#[test]
fn a_keep_alive_does_not_send_the_head_before_its_time() {
    let mut output = output(1, true);
    output.chat.head_hold = Duration::from_secs(8);
    output.chat.keep_alive(Duration::from_secs(7));
    assert!(output.chat.take().is_empty());
    output.chat.keep_alive(Duration::from_secs(9));
    assert_eq!(output.chat.take(), b": ping\n\n");
    let mut call = Call::new(Nth::ONLY);
    call.push(chunk("a").as_bytes(), &mut output);
    drain(&mut output);
    output.chat.keep_alive(Duration::from_secs(1));
    assert_eq!(output.chat.take(), b": ping\n\n", "after the first chunk");
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
    // Something stands behind the picture.
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
        let [red, blue] = [1, 2].map(|variant| small(variant).1);
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
        let mut stream = deltas.collect::<String>() + DONE;
        if let Some(end) = breaks_off {
            let end = end.index(stream.len());
            stream.truncate((0..=end).rev().find(|end| stream.is_char_boundary(*end)).unwrap());
        }

        let mut outcome = Outcome::default();
        let mut reader = AnswerReader::new(AnyDialect::new(LocalLinks::Refused));
        reader.push(stream.as_bytes(), &mut |update| _ = outcome.observe(&update));
        reader.finish(&mut |update| _ = outcome.observe(&update));
        if let Ok(success) = outcome.verdict(AnswerEnd::Clean) {
            for streams_first in MODES {
                let whole = content(&send([stream.as_bytes()], streams_first));
                let in_pieces = content(&send(stream.as_bytes().chunks(piece), streams_first));
                for content in [&whole, &in_pieces] {
                    let found = pictures(content);
                    let is_found = match &success.images[0].source {
                        ImageSource::Link { url, .. } => {
                            content.contains(&format!("({})", url.replace('(', "%28").replace(')', "%29")))
                        }
                        // A model that may send drafts: the first one found is the final one.
                        ImageSource::Inline(whole) if !streams_first => {
                            found.first().is_some_and(|picture| Sha256::digest(picture)[..] == whole.sha256)
                        }
                        ImageSource::Inline(whole) => {
                            found.iter().any(|picture| Sha256::digest(picture)[..] == whole.sha256)
                        }
                    };
                    prop_assert!(is_found, "streams {}\n{}", streams_first, content);
                }
            }
        }
    }
}
