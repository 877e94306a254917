//! The invariants of the layout and of the texts, checked in the sources.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::tree::{ROOT, files};

/// The Rust sources below a folder (or the one file), with their text.
fn sources(path: &str) -> Vec<(String, String)> {
    fn walk(path: &Path, found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| walk(&entry.unwrap().path(), found));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.to_owned());
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(ROOT).join(path), &mut found);
    assert!(!found.is_empty(), "{path} has no sources");
    let name = |path: &Path| path.strip_prefix(ROOT).unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Code without its comments and test modules: those may name what they like.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn none_of(path: &str, except: &[&str], words: &[&str]) {
    for (name, text) in sources(path) {
        if except.iter().any(|part| name.contains(part)) || name.ends_with("/tests.rs") {
            continue;
        }
        let code = code(&text);
        for word in words {
            assert!(!code.contains(word), "{name} names {word}");
        }
    }
}

#[test]
fn one_file_names_the_lambda_runtime() {
    let lambda = ["lambda_http", "lambda_runtime"];
    none_of("functions", &[], &lambda);
    none_of("shared", &["src/edge/lambda.rs", "tests/it/tidy.rs"], &lambda);
    none_of("dev", &[], &lambda);
    for (name, text) in sources("functions").iter().filter(|(name, _)| name.ends_with("/src/main.rs")) {
        assert!(text.contains("edge::lambda::serve"), "{name}");
        assert!(text.lines().count() < 10, "{name} does more than hand over");
    }
}

#[test]
fn the_core_is_pure() {
    let impure = ["async ", "tokio", "reqwest", "std::net", "std::env", "std::fs", "SystemTime", "Instant", "futures"];
    none_of("shared/src", &["shared/src/edge/"], &impure);
}

#[test]
fn each_part_can_be_read_alone() {
    none_of("shared/src/sse", &[], &["json", "crate::media", "crate::upstream", "crate::update"]);
    none_of("shared/src/json", &[], &["crate::sse", "crate::media", "crate::upstream", "choices", "delta"]);
    none_of(
        "shared/src/media",
        &[],
        &["crate::sse", "crate::json", "crate::upstream", "crate::update", "crate::problem"],
    );
    none_of("shared/src/upstream", &[], &["http::", "crate::edge", "crate::events"]);
    none_of("shared/src/input", &[], &["crate::json", "crate::upstream", "crate::edge", "http::"]);
    none_of("shared/src/auth", &[], &["http::", "crate::edge", "crate::config"]);
    none_of("shared/src/events.rs", &[], &["upstream::chat", "upstream::ark", "crate::json"]);
    none_of("functions/generate-stream/src/output", &[], &["http::", "upstream::ark", "shared::json"]);
}

#[test]
fn functions_do_not_know_each_other() {
    none_of("functions/generate-stream/src", &[], &["faceflip"]);
    none_of("functions/faceflip-stream/src", &[], &["generate_stream"]);
}

#[test]
fn fakes_know_nothing_of_our_code() {
    none_of("dev/src", &[], &["shared::", "generate_stream", "faceflip_stream"]);
    let manifest = fs::read_to_string(format!("{ROOT}/dev/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(dependencies.contains("axum"), "this looks at the right part");
    assert!(!dependencies.lines().any(|line| line.starts_with("shared") || line.contains("-stream")), "{dependencies}");
}

/// The phrases in code type of the first column of the table.
fn banned_phrases() -> Vec<String> {
    let style = fs::read_to_string(format!("{ROOT}/docs/style.md")).unwrap();
    let table = style.split("## Banned phrases").nth(1).unwrap().split("\n## ").next().unwrap();
    let first_cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    first_cells
        .flat_map(|cell| format!("`{cell}").split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The places of a phrase as whole words.
fn places(words: &str, phrase: &str) -> Vec<usize> {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let is_whole = |at: &usize| {
        !is_letter(words[..*at].chars().next_back()) && !is_letter(words[at + phrase.len()..].chars().next())
    };
    words.match_indices(phrase).map(|(at, _)| at).filter(is_whole).collect()
}

#[test]
fn no_text_contains_a_banned_phrase() {
    let phrases = banned_phrases();
    assert!(phrases.len() > 30, "{phrases:?}");
    assert_eq!(places("not no(no) no's", "no"), [4, 7, 11]);
    let mut found = Vec::new();
    for (name, text) in files() {
        // A file with bytes that are no text, such as a picture, was read with replacement characters.
        let is_text = !text.contains('\u{fffd}');
        if !is_text || name == "docs/style.md" || name.starts_with("web/dist/") || name.ends_with("package-lock.json") {
            continue;
        }
        // A phrase may continue on the next line of a comment.
        let (mut words, mut starts) = (String::new(), Vec::new());
        for line in text.lines() {
            starts.push(words.len());
            words.push_str(line.trim_start_matches([' ', '/', '!', '#', '*', '>', '|', '-']));
            words.push(' ');
        }
        let words = words.replace('_', " ").to_ascii_lowercase();
        for phrase in &phrases {
            let lines = places(&words, phrase).into_iter().map(|at| starts.partition_point(|start| *start <= at));
            found.extend(lines.map(|line| format!("{name}:{line}: {phrase}")));
        }
    }
    assert!(found.is_empty(), "{} banned phrases, see docs/style.md:\n{}", found.len(), found.join("\n"));
}
