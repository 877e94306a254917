//! The sample events in `events/`, with the results that its README lists.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

/// The folder of the sample events.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");
/// Placeholder for a user's token. A real token would expire.
const PLACEHOLDER: &str = "$TOKEN";

/// One sample event.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The file's name without `.json`: the function's name, optionally with `-<case>`.
    pub name: String,
    /// The event.
    pub event: Value,
    /// The expected status.
    pub status: u16,
    /// The expected end, in the form of [`client::endings`](crate::client::endings).
    pub ending: String,
}

/// The samples of `function` with `token` as the user's, in the order of the table in `events/README.md`.
///
/// # Errors
/// If a file cannot be read, or the folder and the table differ.
pub fn samples(function: &str, token: &str) -> io::Result<Vec<Sample>> {
    let rows = rows(&fs::read_to_string(Path::new(FOLDER).join("README.md"))?);
    let mut files = names()?;
    let mut named: Vec<_> = rows.iter().map(|row| row.0.clone()).collect();
    files.sort();
    named.sort();
    if files != named {
        return Err(io::Error::other(format!("events/ has the files {files:?}, its README lists {named:?}")));
    }
    let mine = rows.into_iter().filter(|(name, ..)| belongs(name, function));
    let sample = |(name, status, ending)| {
        let event = event(&Path::new(FOLDER).join(format!("{name}.json")), token)?;
        Ok(Sample { name, event, status, ending })
    };
    mine.map(sample).collect()
}

/// The event of one file, with `token` as the user's.
///
/// # Errors
/// If the file cannot be read or is not valid JSON.
pub fn event(file: &Path, token: &str) -> io::Result<Value> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(named)?.replace(PLACEHOLDER, token);
    serde_json::from_str(&text).map_err(|error| named(error.into()))
}

/// Whether a sample with this name belongs to `function`.
pub fn belongs(name: &str, function: &str) -> bool {
    name.strip_prefix(function).is_some_and(|case| case.is_empty() || case.starts_with('-'))
}

fn names() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(FOLDER)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".json").map(str::to_owned));
    }
    Ok(names)
}

/// Name, status and ending of every row: ``| `name` | 200 | `done` | … |``.
fn rows(table: &str) -> Vec<(String, u16, String)> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        Some((cells.next()?, cells.next()?.parse().ok()?, cells.next()?))
    };
    table.lines().filter_map(row).collect()
}
