//! Measures how fast an answer is read: `cargo bench -p shared --no-default-features --bench answers`.
//!
//! Prints MB/s of each answer in pieces of 1400 bytes, 16 KiB and 64 KiB; with typed events written from it; and of a
//! simple pipeline that holds each event, parses it with `serde_json` and decodes the picture at the end. `floor` is the
//! time of reading, as a multiple of the time of its parts alone: two searches over the answer, base64 and SHA-256. All
//! columns of a row are measured in turn, and the best of several runs counts: other programs can only make a run slower.
//!
//! `cargo bench … -- text` measures the answers whose name contains `text`; `-- text 1` reads them once in pieces of
//! 16 KiB and measures nothing else, for a profiler that counts instructions.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement")]

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::{PAD, STANDARD};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};
use shared::events::{EventStyle, Events};
use shared::image_url::LocalLinks;
use shared::outcome::{AnswerEnd, Outcome};
use shared::problem::Lang;
use shared::upstream::{AnswerReader, AnyDialect};

const PIECES: [usize; 3] = [1400, 16 * 1024, 64 * 1024];
const PIECE_BYTES: usize = 16 * 1024;
const PICTURE_BYTES: usize = 3 * 1024 * 1024;
/// Of a picture in short deltas.
const SMALL_PICTURE_BYTES: usize = 768 * 1024;
const HOSTILE_BYTES: usize = 1024 * 1024;
const RUNS: u32 = 15;

/// An answer, and the picture in it.
struct Payload {
    name: &'static str,
    answer: String,
    picture: usize,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let only = arguments.next().unwrap_or_default();
    let runs: Option<u32> = arguments.next().and_then(|runs| runs.parse().ok());
    if let Some(runs) = runs {
        for Payload { name, answer, .. } in payloads(&only) {
            println!("{name}: {} bytes, {runs} times", answer.len());
            for _ in 0..runs {
                read(answer.as_bytes(), PIECE_BYTES);
            }
        }
        return;
    }
    floors();
    println!("\nMB/s{:40} 1400 B  16 KiB  64 KiB  events  simple | floor", "");
    for Payload { name, answer, picture } in payloads(&only) {
        let bytes = answer.as_bytes();
        let base64 = STANDARD.encode(png(picture));
        let floor = |_: &[u8]| {
            search(bytes);
            search(bytes);
            digest(&base64);
        };
        let with_pieces = PIECES.map(|piece| move |bytes: &[u8]| read(bytes, piece));
        let [tiny, usual, large] = &with_pieces;
        let times = best(bytes, &[tiny, usual, large, &write_events, &simple, &floor]);
        let line: String = times[..5].iter().map(|time| format!(" {:7.0}", rate(bytes, *time))).collect();
        let over_floor = times[1].as_secs_f64() / times[5].as_secs_f64();
        let over_floor = if picture > 0 { format!("{over_floor:5.2}") } else { "    –".to_owned() };
        println!("{name:44}{line} | {over_floor}");
    }
}

/// The parts alone, over a picture in one line.
fn floors() {
    let base64 = STANDARD.encode(png(PICTURE_BYTES));
    let answer = chunk(&format!("![image](data:image/png;base64,{base64})"));
    let document = answer.strip_prefix("data: ").unwrap_or_default().to_owned();
    let (mut copy, mut decoded) = (vec![0; answer.len()], vec![0; base64.len()]);
    let bytes = png(PICTURE_BYTES);
    let engine = Simd::standard(PAD);
    let row = |name: &str, bytes: &[u8], work: &mut dyn FnMut(&[u8])| {
        let best = (0..RUNS).map(|_| timed(|| work(bytes))).min().unwrap_or_default();
        println!("{name:44} {:7.0}", rate(bytes, best));
    };
    println!("MB/s of the parts alone");
    row("memcpy", answer.as_bytes(), &mut |bytes| {
        copy.copy_from_slice(bytes);
        black_box(&copy);
    });
    row("search for two bytes", answer.as_bytes(), &mut search);
    row("base64", base64.as_bytes(), &mut |bytes| {
        _ = black_box(engine.decode_slice(bytes, &mut decoded));
    });
    row("SHA-256", &bytes, &mut |bytes| _ = black_box(Sha256::digest(bytes)));
    row("serde_json", document.as_bytes(), &mut |bytes| {
        _ = black_box(serde_json::from_slice::<IgnoredAny>(bytes));
    });
}

fn payloads(only: &str) -> impl Iterator<Item = Payload> {
    let large = STANDARD.encode(png(PICTURE_BYTES));
    let markdown = |base64: &str| format!("![image](data:image/png;base64,{base64})");
    let deltas = |size: usize, picture: usize| -> String {
        let text = markdown(&STANDARD.encode(png(picture)));
        text.as_bytes().chunks(size).map(|part| chunk(&String::from_utf8_lossy(part))).collect()
    };
    let line = |before: &str, after: &str| format!("{before}{large}{after}");
    let words = "Here is a picture of a bird that sings in the garden. ";
    let pictures = [
        ("Markdown in one chunk", chunk(&markdown(&large)), PICTURE_BYTES),
        ("Markdown in deltas of 16 KiB", deltas(16 * 1024, PICTURE_BYTES), PICTURE_BYTES),
        ("Markdown in deltas of 1 KiB", deltas(1024, PICTURE_BYTES), PICTURE_BYTES),
        ("Markdown in deltas of 64 bytes", deltas(64, SMALL_PICTURE_BYTES), SMALL_PICTURE_BYTES),
        (
            "delta.images",
            line(
                "data: {\"choices\":[{\"index\":0,\"delta\":{\"images\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,",
                "\"}}]}}]}\n\n",
            ),
            PICTURE_BYTES,
        ),
        (
            "Gemini",
            line(
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"",
                "\"}}]}}]}\n\n",
            ),
            PICTURE_BYTES,
        ),
        (
            "images event",
            line("data: {\"type\":\"image_generation.completed\",\"b64_json\":\"", "\"}\n\n"),
            PICTURE_BYTES,
        ),
        (
            "Responses item",
            line(
                "data: {\"type\":\"response.output_item.done\",\"item\":{\"type\":\"image_generation_call\",\"result\":\"",
                "\"}}\n\n",
            ),
            PICTURE_BYTES,
        ),
        ("a member that no vendor has", line("data: {\"a\":[{\"b\":\"", "\"}]}\n\n"), PICTURE_BYTES),
        ("JSON body", line("{\"created\":1,\"data\":[{\"b64_json\":\"", "\"}]}"), PICTURE_BYTES),
        ("text alone", chunk(words).repeat(8_000), 0),
        ("events without content", chunk("").repeat(8_000), 0),
    ];
    let gemini_text = format!(
        "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{words}\"}}],\"role\":\"model\"}}}}]}}\n\n"
    );
    let in_content = |text: &str| chunk(&text.repeat(HOSTILE_BYTES / text.len()));
    let in_list =
        |before: &str, item: &str, after: &str| format!("{before}{}{after}", item.repeat(HOSTILE_BYTES / item.len()));
    let hostile = [
        ("text of Gemini", gemini_text.repeat(8_000)),
        ("hostile: ![", in_content("![")),
        ("hostile: starts of Markdown pictures", in_content("![image](data:image/png;base64,iVBORw0KGgo")),
        ("hostile: links", in_content("![a](https://example.com/a.png)")),
        ("hostile: magic in a text", in_content("/9j/ iVBORw0KGgo <thi data:i ")),
        ("hostile: the letter d", in_content("d")),
        ("hostile: escapes", in_content("\\u4e2d\\ud83d")),
        ("hostile: short strings", in_list("data: {\"a\":[", "\"d\",", "\"\"]}\n\n")),
        (
            "hostile: starts of pictures",
            in_list("data: {\"a\":[", "\"iVBORw0KGgo\",\"data:image/png;base64,\",", "\"\"]}\n\n"),
        ),
        ("hostile: heads of data URLs", in_list("data: {\"a\":\"", "data:image/png;base64,", "\"}\n\n")),
        (
            "hostile: numbers that are nested deep",
            in_list(
                &("data: ".to_owned() + &"{\"a\":".repeat(62) + "["),
                "1,",
                &("0]".to_owned() + &"}".repeat(62) + "\n\n"),
            ),
        ),
        ("hostile: nested objects", in_list("data: ", &("{\"a\":".repeat(63) + "{}" + &"}".repeat(63)), "\n\n")),
        ("hostile: nested errors", in_list("data: ", &("{\"error\":".repeat(60) + "\"m\"" + &"}".repeat(60)), "\n\n")),
        ("hostile: failed items", in_list("data: {\"data\":[", "{\"error\":1},", "{}]}\n\n")),
        ("hostile: empty items", in_list("data: {\"data\":[", "{},", "{}]}\n\n")),
        ("hostile: empty choices", in_list("data: {\"choices\":[", "{},", "{}]}\n\n")),
        (
            "hostile: thoughts",
            in_list(
                "data: {\"candidates\":[{\"content\":{\"parts\":[",
                "{\"text\":\"plan\",\"thought\":true},",
                "{}]}}]}\n\n",
            ),
        ),
        ("hostile: short unknown names", in_list("data: {", "\"a\":1,", "\"b\":2}\n\n")),
        ("hostile: names of families", in_list("data: {", "\"preview_of_thoughts\":{\"error_x\":1},", "\"b\":2}\n\n")),
        ("hostile: empty data", in_list("", "data\n", "\n")),
        ("hostile: comments", in_list("", ": PING\n\n", "\n")),
        ("hostile: empty documents", in_list("", "data: {}\n\n", "\n")),
        ("hostile: events that are not JSON", in_list("", "data: }\n\n", "\n")),
        ("hostile: empty pictures", in_list("", "data: {\"item\":{\"result\":\"\"}}\n\n", "\n")),
    ];
    let all = pictures.into_iter().chain(hostile.into_iter().map(|(name, answer)| (name, answer, 0)));
    let only = only.to_owned();
    all.map(|(name, answer, picture)| Payload { name, answer, picture })
        .filter(move |payload| payload.name.contains(&only))
}

/// A chunk of chat completions with this content.
fn chunk(text: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1795215600,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}\n\n"
    )
}

type Work<'a> = &'a dyn Fn(&[u8]);

/// The shortest time of each piece of work.
fn best<const N: usize>(answer: &[u8], works: &[Work<'_>; N]) -> [Duration; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..RUNS {
        for (work, best) in works.iter().zip(&mut best) {
            *best = timed(|| work(answer)).min(*best);
        }
    }
    best
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn rate(bytes: &[u8], time: Duration) -> f64 {
    bytes.len() as f64 / 1e6 / time.as_secs_f64()
}

#[inline(never)]
fn read(answer: &[u8], piece_bytes: usize) {
    let (mut reader, mut outcome) = (AnswerReader::new(AnyDialect::new(LocalLinks::Refused)), Outcome::default());
    for piece in answer.chunks(piece_bytes) {
        reader.push(piece, &mut |update| _ = outcome.note(update));
    }
    reader.finish(&mut |update| _ = outcome.note(update));
    _ = black_box(outcome.verdict(AnswerEnd::Clean));
}

/// Reads the answer, and writes it as events.
fn write_events(answer: &[u8]) {
    let (mut reader, mut outcome) = (AnswerReader::new(AnyDialect::new(LocalLinks::Refused)), Outcome::default());
    let mut events = Events::new("task".to_owned(), Lang::En, EventStyle::Generate { n: 1 });
    for piece in answer.chunks(PIECE_BYTES) {
        reader.push(piece, &mut |update| {
            if let Some(news) = outcome.note(update) {
                events.update(&news);
            }
        });
        black_box(events.take());
    }
    reader.finish(&mut |update| _ = outcome.note(update));
    _ = black_box(outcome.verdict(AnswerEnd::Clean));
}

/// Holds each event, parses it with `serde_json`, and decodes the first picture when the answer has ended.
fn simple(answer: &[u8]) {
    let (mut held, mut content) = (Vec::new(), String::new());
    let mut event = |event: &[u8]| {
        let document = event.strip_prefix(b"data: ").unwrap_or(event);
        let strings = Strings {
            name: "",
            on: &mut |name, text| {
                if matches!(name, "content" | "text" | "url" | "data" | "b64_json" | "result" | "b") {
                    content.push_str(text);
                }
            },
        };
        _ = black_box(strings.deserialize(&mut serde_json::Deserializer::from_slice(document)));
    };
    for piece in answer.chunks(PIECE_BYTES) {
        let mut searched = held.len().saturating_sub(1);
        held.extend_from_slice(piece);
        let mut start = 0;
        while let Some(end) = held.get(searched..).and_then(|rest| memchr::memmem::find(rest, b"\n\n")) {
            event(held.get(start..searched + end).unwrap_or_default());
            searched += end + 2;
            start = searched;
        }
        held.drain(..start);
    }
    event(&held);
    if let Some(picture) = content.find("iVBORw0KGgo").and_then(|at| content.get(at..)) {
        digest(picture.trim_end_matches(')'));
    }
}

/// The two searches of a reader that looks at each byte once for lines and once for strings.
fn search(bytes: &[u8]) {
    black_box(memchr::memchr2_iter(b'\r', b'\n', bytes).count());
}

/// Decodes and hashes in blocks that stay in the cache.
fn digest(base64: &str) {
    let (engine, mut hash) = (Simd::standard(PAD), Sha256::new());
    let mut bytes = vec![0; PIECE_BYTES];
    for block in base64.as_bytes().chunks(PIECE_BYTES) {
        let written = engine.decode_slice(block, &mut bytes).unwrap_or_default();
        hash.update(bytes.get(..written).unwrap_or_default());
    }
    black_box(hash.finalize());
}

/// Passes each string of a document, with the name of its member, to `on`.
struct Strings<'f, 'n> {
    name: &'n str,
    on: &'f mut dyn FnMut(&str, &str),
}

impl<'de> DeserializeSeed<'de> for Strings<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strings<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        (self.on)(self.name, text);
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Strings { name: self.name, on: self.on })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<&str>()? {
            members.next_value_seed(Strings { name, on: self.on })?;
        }
        Ok(())
    }
}

/// A PNG with random bytes in a chunk that no decoder reads.
fn png(filling: usize) -> Vec<u8> {
    const HEAD: &[u8] = b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90\x77\x53\xDE";
    const TAIL: &[u8] =
        b"\0\0\0\x0CIDAT\x78\xDA\x63\xF8\xCF\xC0\0\0\x03\x01\x01\0\xF7\x03\x41\x43\0\0\0\0IEND\xAE\x42\x60\x82";
    let mut state = 1_u32;
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let length = (filling as u32).to_be_bytes();
    let filling: Vec<u8> = random.take(filling).collect();
    [HEAD, &length, b"fiLl", &filling, b"crc.", TAIL].concat()
}
