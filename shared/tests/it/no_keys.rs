//! No file of the project contains a key. A key that was committed once must be replaced.

use regex_lite::Regex;

use crate::support::tree::files;

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

#[test]
fn no_file_contains_a_key() {
    let shapes = looks_like_a_key();
    let found = files();
    assert!(found.iter().any(|(name, _)| name == "events/generate-stream.json"), "the samples are searched");
    for (name, text) in found {
        // The text itself is not printed: the log of a test may be public.
        let line = shapes.find(&text).map(|key| text[..key.start()].lines().count());
        assert_eq!(line, None, "{name} has something that looks like a key");
    }
}

#[test]
fn keys_are_found() {
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
