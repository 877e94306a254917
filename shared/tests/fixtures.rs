//! Every transcript of `data/fixtures/`: outcome and hashes as the manifest says, whole, byte by byte, at every cut and
//! in random cuts. Prints a table.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects")]

use std::fmt::Write;

use serde_json::Value;
use shared::image_url::LocalLinks;
use shared::outcome::{End, Outcome, Source};
use shared::update::Update;
use shared::upstream::{AnswerReader, AnyDialect};

/// What can be told of an answer, independent of how its bytes were cut.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// `ok` or the failure's class.
    outcome: String,
    /// Hash and length of every whole inline picture that is no draft.
    images: Vec<(String, u64)>,
    finals: Vec<String>,
    urls: Vec<String>,
    slots: Vec<u32>,
    failed: Vec<u32>,
    /// Something failed beside what came.
    is_partial: bool,
    drafts: usize,
    text: String,
    generated_images: Option<u64>,
    media_types: Vec<&'static str>,
    /// The bytes themselves, hashed by us.
    rehashed: Vec<String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read<'a>(dialect: AnyDialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    use sha2::{Digest, Sha256};
    let mut seen = Seen::default();
    let mut outcome = Outcome::default();
    let mut bytes: Vec<Vec<u8>> = vec![Vec::new(); 16];
    let mut reader = AnswerReader::new(dialect);
    let mut on = |update: Update<'_>| {
        let is_new = outcome.observe(&update);
        match update {
            Update::Text { text, .. } => seen.text.push_str(text),
            Update::ImageStarted { slot, media_type, .. } => {
                bytes[slot as usize].clear();
                if !seen.media_types.contains(&media_type.as_str()) {
                    seen.media_types.push(media_type.as_str());
                }
            }
            Update::ImageBytes { slot, bytes: more } => bytes[slot as usize].extend_from_slice(more),
            Update::ImageFinished { slot, draft, image } if is_new => {
                let whole = std::mem::take(&mut bytes[slot as usize]);
                assert_eq!(whole.len() as u64, image.bytes);
                seen.rehashed.push(hex(&Sha256::digest(&whole)));
                if draft {
                    seen.drafts += 1;
                } else {
                    seen.images.push((hex(&image.sha256), image.bytes));
                }
            }
            Update::ImageLinked { url, .. } if is_new => seen.urls.push(url.to_owned()),
            _ => {}
        }
    };
    for piece in pieces {
        reader.push(piece, &mut on);
    }
    reader.finish(&mut on);
    match outcome.verdict(End::Clean) {
        Ok(success) => {
            seen.outcome = "ok".into();
            seen.is_partial = success.cut_short.is_some() || !success.failed.is_empty();
            seen.failed = success.failed.iter().map(|failed| failed.slot).collect();
            seen.generated_images = success.usage.and_then(|usage| usage.generated_images);
            for image in success.images {
                seen.slots.push(image.slot);
                if let Source::Inline(whole) = image.source {
                    seen.finals.push(hex(&whole.sha256));
                }
            }
        }
        Err(failure) => seen.outcome = failure.class().into(),
    }
    seen
}

fn read_as<'a>(name: &str, status: u16, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    match name.as_bytes()[0] {
        _ if status != 200 => read(AnyDialect::refusal(status), pieces),
        b'a' => read(AnyDialect::ark(LocalLinks::Refused), pieces),
        _ => read(AnyDialect::new(LocalLinks::Refused), pieces),
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn check(name: &str, expect: &Value, seen: &Seen) {
    for (key, expected) in expect.as_object().unwrap() {
        match key.as_str() {
            "outcome" if expected == "ok" => assert_eq!(seen.outcome, "ok", "{name}"),
            "outcome" => assert_ne!(seen.outcome, "ok", "{name}"),
            "code" => assert_eq!(seen.outcome, expected.as_str().unwrap(), "{name}"),
            "images" => {
                let expected: Vec<(String, u64)> = expected
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|image| (image["sha256"].as_str().unwrap().to_owned(), image["len"].as_u64().unwrap()))
                    .collect();
                assert_eq!(seen.images, expected, "{name}");
            }
            "images_total" => assert_eq!(seen.images.len() as u64, expected.as_u64().unwrap(), "{name}"),
            "final_sha256" => assert_eq!(seen.finals, [expected.as_str().unwrap()], "{name}"),
            "urls" => assert_eq!(seen.urls, strings(expected), "{name}"),
            "text" => assert_eq!(seen.text, expected.as_str().unwrap(), "{name}"),
            "mime" => assert_eq!(seen.media_types, [expected.as_str().unwrap()], "{name}"),
            "indexes" => {
                let expected: Vec<u64> = expected.as_array().unwrap().iter().map(|i| i.as_u64().unwrap()).collect();
                assert_eq!(seen.slots.iter().map(|slot| u64::from(*slot)).collect::<Vec<_>>(), expected, "{name}");
            }
            "failed" => {
                let expected: Vec<u64> = expected.as_array().unwrap().iter().map(|i| i.as_u64().unwrap()).collect();
                assert_eq!(seen.failed.iter().map(|slot| u64::from(*slot)).collect::<Vec<_>>(), expected, "{name}");
            }
            "generated_images" => assert_eq!(seen.generated_images, expected.as_u64(), "{name}"),
            "previews" => assert_eq!(seen.drafts as u64, expected.as_u64().unwrap(), "{name}"),
            "partial" => assert_eq!(seen.is_partial, expected.as_bool().unwrap(), "{name}"),
            // Progress is text here; the upstream's own code is never shown.
            "progress" => {
                for step in expected.as_array().unwrap() {
                    assert!(seen.text.contains(&step.to_string()), "{name}: {step} in {}", seen.text);
                }
            }
            "upstream_code" => {}
            other => panic!("{name}: the manifest expects {other}, which this test does not look at"),
        }
    }
    let (hashes, rehashed) = (seen.images.iter().map(|(hash, _)| hash), seen.rehashed.iter());
    for hash in hashes {
        assert!(rehashed.clone().any(|other| other == hash), "{name}: the bytes handed on are not those of {hash}");
    }
}

/// Cuts a transcript at random places, again and again.
fn random_cuts(bytes: &[u8], seed: u32) -> Vec<&[u8]> {
    let mut state = seed;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = [3, 40, 700, 5000][(seed % 4) as usize];
        let (piece, after) = rest.split_at((1 + (state >> 16) as usize % most).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[test]
fn every_transcript_at_every_cut() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fixtures");
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{folder}/MANIFEST.json")).unwrap()).unwrap();
    let mut rows = 0;
    println!("{:36} {:>7} {:>7} {:28} images links drafts failed", "transcript", "bytes", "readings", "outcome");
    for fixture in manifest["fixtures"].as_array().unwrap() {
        let name = fixture["file"].as_str().unwrap();
        let status = fixture["status"].as_u64().unwrap() as u16;
        let bytes = std::fs::read(format!("{folder}/{name}")).unwrap();
        let whole = read_as(name, status, [&bytes[..]]);
        check(name, &fixture["expect"], &whole);
        assert_eq!(read_as(name, status, bytes.chunks(1)), whole, "{name} byte by byte");
        let mut readings = 2;
        // Each cut costs a reading of the whole. The one long transcript says the same thing again and again, and is
        // cut at a step that shares no factor with its period.
        let step = if bytes.len() > 8000 { 97 } else { 1 };
        for cut in (0..bytes.len()).step_by(step) {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(read_as(name, status, [a, b]), whole, "{name} cut at {cut}");
            readings += 1;
        }
        for seed in 0..64 {
            let pieces = random_cuts(&bytes, seed);
            assert_eq!(read_as(name, status, pieces), whole, "{name} in random cuts, seed {seed}");
            readings += 1;
        }
        println!(
            "{name:36} {:7} {readings:8} {:28} {:6} {:5} {:6} {:6}",
            bytes.len(),
            whole.outcome,
            whole.images.len(),
            whole.urls.len(),
            whole.drafts,
            whole.failed.len()
        );
        rows += 1;
    }
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(rows, files - 1, "every file but the manifest is a row of it");
}
