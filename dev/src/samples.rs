//! The sample events in `events/`, and what its README says of each.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

/// Where they are.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");
/// Stands for a user's token, since a real one would expire.
const PLACEHOLDER: &str = "$TOKEN";

/// One sample event.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The file's name without `.json`: a function's, and perhaps `-<case>`.
    pub name: String,
    /// The event.
    pub event: Value,
    /// The status that comes.
    pub status: u16,
    /// How the answer ends, in the words of [`client::endings`](crate::client::endings).
    pub ending: String,
}

/// The samples of `function` with `token` as the user's, in the order of the table in `events/README.md`.
///
/// # Errors
/// When a file cannot be read, or the folder and the table do not name the same ones.
pub fn samples(function: &str, token: &str) -> io::Result<Vec<Sample>> {
    let rows = rows(&fs::read_to_string(Path::new(FOLDER).join("README.md"))?);
    let mut files = names()?;
    let mut named: Vec<_> = rows.iter().map(|row| row.0.clone()).collect();
    files.sort();
    named.sort();
    if files != named {
        return Err(io::Error::other(format!("events/ has {files:?}, and its table {named:?}")));
    }
    let mine = rows.into_iter().filter(|(name, ..)| belongs(name, function));
    let sample = |(name, status, ending)| {
        let event = event(&Path::new(FOLDER).join(format!("{name}.json")), token)?;
        Ok(Sample { name, event, status, ending })
    };
    mine.map(sample).collect()
}

/// One file's event, with `token` as the user's.
///
/// # Errors
/// When it cannot be read, or is no JSON.
pub fn event(file: &Path, token: &str) -> io::Result<Value> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    let text = fs::read_to_string(file).map_err(named)?.replace(PLACEHOLDER, token);
    serde_json::from_str(&text).map_err(|error| named(error.into()))
}

/// Whether a sample of this name is for `function`.
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
