//! The CPU time of a 2 MB picture from an upstream's answer to events, with and without a label, side by side.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints times")]

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use shared::events::{EventStyle, Events};
use shared::image_url::LocalLinks;
use shared::labelled::PictureLabels;
use shared::media::PictureHash;
use shared::media::label::{AigcCodes, LabelRules, Labeler};
use shared::media::sniff::MediaType;
use shared::outcome::Outcome;
use shared::problem::Lang;
use shared::update::Update;
use shared::upstream::{AnswerReader, AnyDialect};

const ROUNDS: u32 = 1000;
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";

fn main() {
    let picture = picture(2_000_000);
    let answer = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"![image](data:image/png;base64,{})\"}}}}]}}\n\ndata: [DONE]\n\n",
        STANDARD.encode(&picture)
    );
    let codes = Some(AigcCodes { producer: "0".repeat(27), propagator: "0".repeat(27) });
    let rules = LabelRules { codes, writes_source_type: true, is_edit: false, keeps_c2pa: false };
    // The shortest time of each: other processes only add to it.
    let mut times = [Duration::MAX; 4];
    for _ in 0..ROUNDS {
        for (nth, time) in times.iter_mut().enumerate() {
            let begun = Instant::now();
            let bytes = match nth {
                0 => deliver(&answer, None),
                1 => deliver(&answer, Some(PictureLabels::new(&rules, "run"))),
                2 => label(&picture, &rules),
                _ => Sha256::digest(&picture).len(),
            };
            *time = begun.elapsed().min(*time);
            assert!(bytes > 0);
        }
    }
    let names = ["without a label", "with a label", "the filter alone", "one more SHA-256 alone"];
    for (name, time) in names.iter().zip(times) {
        println!("{name:<24} {:>8.3} ms", time.as_secs_f64() * 1000.0);
    }
    println!("more with a label        {:>8.2} %", (times[1].as_secs_f64() / times[0].as_secs_f64() - 1.0) * 100.0);
}

/// Reads the answer in pieces of TLS records, and writes it as events.
fn deliver(answer: &str, mut labels: Option<PictureLabels>) -> usize {
    let hash = if labels.is_some() { PictureHash::Fast } else { PictureHash::Sha256 };
    let mut reader = AnswerReader::new(AnyDialect::new(LocalLinks::Refused).with_hash(hash));
    let mut outcome = Outcome::default();
    let mut events = Events::new("task".into(), Lang::En, EventStyle::Generate { n: 1 });
    let mut sent = 0;
    for piece in answer.as_bytes().chunks(16 * 1024) {
        reader.push(piece, &mut |update: Update<'_>| {
            let Some(update) = outcome.note(update) else { return };
            let mut write = |update: &Update<'_>| _ = events.update(update);
            match &mut labels {
                Some(labels) => labels.update(&update, &mut write),
                None => write(&update),
            }
        });
        sent += events.take().len();
    }
    sent
}

fn label(picture: &[u8], rules: &LabelRules) -> usize {
    let mut labeler = Labeler::new(MediaType::Png, rules, "run-0");
    let mut bytes = 0;
    for piece in picture.chunks(3 * 1024) {
        labeler.push(piece, &mut |labelled| bytes += labelled.len());
    }
    labeler.finish(&mut |labelled| bytes += labelled.len());
    bytes
}

/// A pixel, with filling in its IDAT chunk.
fn picture(bytes: usize) -> Vec<u8> {
    let pixel = STANDARD.decode(PIXEL).unwrap();
    let mut state = 1_u32;
    let filling = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let filling: Vec<u8> = filling.take(bytes).collect();
    [&pixel[..33], &(bytes as u32).to_be_bytes(), b"IDAT", &filling, b"crc.", &pixel[33..]].concat()
}
