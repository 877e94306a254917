//! Every transcript of `data/fixtures/` and `data/fixtures/reports/`: outcome and hashes as the manifests expect, whole,
//! byte by byte, at every cut and in random cuts. Prints a table.

use std::fmt::Write;

use serde_json::{Value, json};
use shared::image_url::LocalLinks;
use shared::outcome::{AnswerEnd, ImageSource, Outcome};
use shared::update::Update;
use shared::upstream::{AnswerReader, AnyDialect};

use crate::fuzz::pieces;

/// The content of an answer, which does not depend on how its bytes were cut.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// `ok` or the failure's class.
    outcome: String,
    /// Hash and length of every whole inline picture that is no draft.
    images: Vec<(String, u64)>,
    /// The same for the final picture of each slot.
    finals: Vec<(String, u64)>,
    urls: Vec<String>,
    slots: Vec<u32>,
    failed: Vec<u32>,
    /// Something failed beside the delivered pictures.
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
    match outcome.verdict(AnswerEnd::Clean) {
        Ok(success) => {
            seen.outcome = "ok".into();
            seen.is_partial = success.cut_short.is_some() || !success.failed.is_empty();
            seen.failed = success.failed.iter().map(|failed| failed.slot).collect();
            seen.generated_images = success.usage.and_then(|usage| usage.generated_images);
            for image in success.images {
                seen.slots.push(image.slot);
                if let ImageSource::Inline(whole) = image.source {
                    seen.finals.push((hex(&whole.sha256), whole.bytes));
                }
            }
        }
        Err(failure) => seen.outcome = failure.class().into(),
    }
    seen
}

/// A row of a manifest, with the bytes of its file.
struct Transcript {
    name: String,
    status: u16,
    is_ark: bool,
    bytes: Vec<u8>,
    expect: Value,
}

impl Transcript {
    /// The rows of a manifest in `data/fixtures`.
    fn all(manifest: &str) -> Vec<Self> {
        let manifest = std::fs::read_to_string(format!("{FOLDER}/{manifest}")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let rows = manifest["fixtures"].as_array().unwrap().iter().map(|row| {
            let name = row["file"].as_str().unwrap();
            Self {
                name: name.to_owned(),
                status: row["status"].as_u64().unwrap() as u16,
                // Only the reports have a mode.
                is_ark: row["mode"] == "ark" || name.starts_with('a'),
                bytes: std::fs::read(format!("{FOLDER}/{name}")).unwrap(),
                expect: row["expect"].clone(),
            }
        });
        rows.collect()
    }

    fn read<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
        match self.is_ark {
            _ if self.status != 200 => read(AnyDialect::refusal(self.status), pieces),
            true => read(AnyDialect::ark(LocalLinks::Refused), pieces),
            false => read(AnyDialect::new(LocalLinks::Refused), pieces),
        }
    }

    /// Checks the answer `whole` and that every reading in pieces gives it again. Returns the number of readings.
    fn check(&self, whole: &Seen) -> usize {
        let Self { name, bytes, expect, .. } = self;
        assert_eq!(difference(expect, whole), None, "{name}: expected {expect}");
        for (sha256, _) in &whole.images {
            assert!(whole.rehashed.contains(sha256), "{name}: the bytes handed on are not those of {sha256}");
        }
        assert_eq!(self.read(bytes.chunks(1)), *whole, "{name} byte by byte");
        let mut readings = 2;
        // Each cut costs a reading of the whole. The long transcripts repeat themselves, and are cut at a step that
        // shares no factor with their period.
        let step = if bytes.len() > 8000 { 97 } else { 1 };
        for cut in (0..bytes.len()).step_by(step) {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(self.read([a, b]), *whole, "{name} cut at {cut}");
            readings += 1;
        }
        for seed in 0..64 {
            let most_bytes = [3, 40, 700, 5000][seed as usize % 4];
            assert_eq!(self.read(pieces(bytes, seed, most_bytes)), *whole, "{name} in random cuts, seed {seed}");
            readings += 1;
        }
        readings
    }
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/fixtures");

/// The first member of `expect` that the answer does not meet, with what was read instead.
fn difference(expect: &Value, seen: &Seen) -> Option<(String, Value)> {
    let images = |images: &[(String, u64)]| -> Value {
        images.iter().map(|(sha256, len)| json!({"sha256": sha256, "len": len})).collect()
    };
    expect.as_object().unwrap().iter().find_map(|(key, expected)| {
        let found = match key.as_str() {
            "outcome" => json!(if seen.outcome == "ok" { "ok" } else { "error" }),
            "code" => json!(seen.outcome),
            "images" => images(&seen.images),
            "images_total" => json!(seen.images.len()),
            "finals" => images(&seen.finals),
            "final_sha256" => seen.finals.iter().map(|(sha256, _)| sha256.as_str()).collect(),
            "urls" => json!(seen.urls),
            "text" => json!(seen.text),
            "mime" => seen.media_types.iter().copied().collect(),
            "indexes" => json!(seen.slots),
            "failed" => json!(seen.failed),
            "generated_images" => json!(seen.generated_images),
            "previews" => json!(seen.drafts),
            "partial" => json!(seen.is_partial),
            // Progress is text here.
            "progress" => {
                let steps = expected.as_array().unwrap().iter();
                steps.filter(|step| seen.text.contains(&step.to_string())).cloned().collect()
            }
            // The upstream's own code never reaches an `Update`.
            "upstream_code" => return None,
            other => panic!("the manifest expects {other}, which this test does not check"),
        };
        let expected = match key.as_str() {
            "final_sha256" | "mime" => &json!([expected]),
            _ => expected,
        };
        (found != *expected).then(|| (key.clone(), found))
    })
}

/// The files of a folder that are no manifest and no folder.
fn files(folder: &str) -> usize {
    let paths = std::fs::read_dir(format!("{FOLDER}/{folder}")).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file() && !path.ends_with("MANIFEST.json")).count()
}

#[test]
fn every_transcript_at_every_cut() {
    let transcripts = Transcript::all("MANIFEST.json");
    assert_eq!(transcripts.len(), files(""), "every file but the manifest is a row of it");
    println!("{:36} {:>7} {:>7} {:28} images links drafts failed", "transcript", "bytes", "readings", "outcome");
    for transcript in transcripts {
        let whole = transcript.read([&transcript.bytes[..]]);
        let readings = transcript.check(&whole);
        println!(
            "{:36} {:7} {readings:8} {:28} {:6} {:5} {:6} {:6}",
            transcript.name,
            transcript.bytes.len(),
            whole.outcome,
            whole.images.len(),
            whole.urls.len(),
            whole.drafts,
            whole.failed.len()
        );
    }
}

/// The bug reports whose expected answer is not read yet.
const NOT_READ_YET: &[&str] = &[];

#[test]
fn every_bug_report_at_every_cut() {
    let mut reports = Transcript::all("reports/MANIFEST.json");
    assert_eq!(reports.len(), files("reports"), "every file but the manifest is a row of it");
    let mut not_read = Vec::new();
    for report in &mut reports {
        // The images of a report are the final ones.
        let expect = report.expect.as_object_mut().unwrap();
        let finals = expect.remove("images");
        expect.extend(finals.map(|images| ("finals".to_owned(), images)));
        let whole = report.read([&report.bytes[..]]);
        match difference(&report.expect, &whole) {
            Some(_) => not_read.push(report.name.as_str()),
            None => _ = report.check(&whole),
        }
    }
    assert_eq!(not_read, NOT_READ_YET, "the reports that are not read");
}
