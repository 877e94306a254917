//! Nothing in the tree looks like a key: what is committed once is public for ever.

use std::fs;
use std::path::Path;

use regex_lite::Regex;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What keys look like: those of relays, of AWS, signed tokens, Supabase's, and private keys.
fn looks_like_a_key() -> Regex {
    let shapes = [
        r"\bsk-(proj-)?[A-Za-z0-9]{20}",
        r"(AKIA|ASIA)[0-9A-Z]{16}",
        r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.",
        r"sb_secret_[A-Za-z0-9]",
        r"-----BEGIN [A-Z ]*PRIVATE KEY",
    ];
    Regex::new(&shapes.join("|")).unwrap()
}

/// Every file of the project with its text, apart from what is built, what git does not know, and recorded data.
fn files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_ours = !name.starts_with('.') || [".ci", ".cargo", ".gitignore", ".github"].contains(&name.as_str());
        if !is_ours || ["target", "node_modules"].contains(&name.as_str()) || path.ends_with("shared/tests/data") {
            continue;
        }
        match path.is_dir() {
            true => files(&path, found),
            false => found.push((
                path.strip_prefix(ROOT).unwrap().to_string_lossy().into_owned(),
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            )),
        }
    }
}

#[test]
fn no_file_has_one() {
    let shapes = looks_like_a_key();
    let mut found = Vec::new();
    files(Path::new(ROOT), &mut found);
    assert!(found.len() > 150, "{} files", found.len());
    assert!(found.iter().any(|(name, _)| name == "events/generate-stream.json"), "samples are looked at");
    for (name, text) in found {
        // The text itself is not told: a log is public too.
        let line = shapes.find(&text).map(|key| text[..key.start()].lines().count());
        assert_eq!(line, None, "{name} has something that looks like a key");
    }
}

#[test]
fn keys_are_known_when_they_are_seen() {
    let shapes = looks_like_a_key();
    let keys = [
        ["sk", &"a1B2".repeat(5)].join("-"),
        ["sk", "proj", &"a1B2".repeat(5)].join("-"),
        ["AKIA", &"A1B2".repeat(4)].concat(),
        ["eyJ", &"a".repeat(20), ".eyJ", &"b".repeat(20), ".c"].concat(),
        ["sb", "secret", "x"].join("_"),
        ["-----BEGIN", "EC", "PRIVATE", "KEY-----"].join(" "),
    ];
    for key in keys {
        assert!(shapes.is_match(&format!("key = \"{key}\"")), "{key}");
    }
    for text in ["task-12345678901234567890", "sb_publishable_example", "Bearer not.a.token", "sk-canary"] {
        assert!(!shapes.is_match(text), "{text}");
    }
}
