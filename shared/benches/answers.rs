//! Measures the time to read an answer: `cargo bench -p shared --no-default-features --bench answers`.
//!
//! Prints MB/s for each shape, as the best of several runs: other programs on the machine can only make a run slower.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement")]

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use shared::image_url::LocalLinks;
use shared::outcome::{AnswerEnd, Outcome};
use shared::upstream::{AnswerReader, AnyDialect};

const PIECE_BYTES: usize = 16 * 1024;
const PICTURE_BYTES: usize = 3 * 1024 * 1024;
const RUNS: u32 = 40;

fn main() {
    // `cargo bench … -- text` measures the shapes whose name contains `text`.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let picture = STANDARD.encode(png(PICTURE_BYTES));
    let markdown = format!("![image](data:image/png;base64,{picture})");
    let content = |text: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1795215600,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}\n\n"
        )
    };
    let deltas = |size: usize| -> String {
        markdown.as_bytes().chunks(size).map(|part| content(&String::from_utf8_lossy(part))).collect()
    };
    let words = "Here is a picture of a bird that sings in the garden. ";
    for (name, answer) in [
        ("Markdown in one chunk", content(&markdown)),
        ("Markdown in deltas of 16 KiB", deltas(16 * 1024)),
        ("Markdown in deltas of 64 bytes", deltas(64)),
        (
            "delta.images",
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"images\":[{{\"type\":\"image_url\",\"image_url\":{{\"url\":\"data:image/png;base64,{picture}\"}}}}]}}}}]}}\n\n"
            ),
        ),
        (
            "Gemini",
            format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"inlineData\":{{\"mimeType\":\"image/png\",\"data\":\"{picture}\"}}}}]}}}}]}}\n\n"
            ),
        ),
        ("images event", format!("data: {{\"type\":\"image_generation.completed\",\"b64_json\":\"{picture}\"}}\n\n")),
        ("JSON body", format!("{{\"created\":1,\"data\":[{{\"b64_json\":\"{picture}\"}}]}}")),
        ("text alone", (0..8_000).map(|_| content(words)).collect()),
        ("events without content", content("").repeat(8_000)),
        (
            "numbers that are nested deep",
            format!("data: {}[{}0]{}\n\n", "{\"a\":".repeat(62), "1,".repeat(500_000), "}".repeat(62)),
        ),
    ] {
        if !name.contains(&only) {
            continue;
        }
        let best = (0..RUNS).map(|_| read(answer.as_bytes())).min().unwrap_or_default();
        println!("{name:32} {:7.0} MB/s", answer.len() as f64 / 1e6 / best.as_secs_f64());
    }
}

fn read(answer: &[u8]) -> Duration {
    let begun = Instant::now();
    let (mut reader, mut outcome) = (AnswerReader::new(AnyDialect::new(LocalLinks::Refused)), Outcome::default());
    for piece in answer.chunks(PIECE_BYTES) {
        reader.push(piece, &mut |update| _ = outcome.note(update));
    }
    reader.finish(&mut |update| _ = outcome.note(update));
    let _ = std::hint::black_box(outcome.verdict(AnswerEnd::Clean));
    begun.elapsed()
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
