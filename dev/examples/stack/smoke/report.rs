//! The report of a deployment as Markdown.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use shared::timestamp::rfc3339;

use super::{SmokeResult, SmokeTarget};

/// Writes what was tried. The texts of the results are fixed sentences and numbers.
pub(super) fn write(path: &Path, target: &SmokeTarget, results: &[SmokeResult]) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the date of a report")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let failed = results.iter().filter(|result| result.verdict.is_err()).count();
    let date = rfc3339(now.as_millis().try_into().unwrap_or_default());
    let mut text = format!(
        "# Deployment report: {}\n\nWritten by `cargo dev smoke --stack {}`, version {}, on {date}. It contains no token, key, \
         prompt or picture.\n\n**{}** {} tries, {failed} failed.\n\n| Route | Address |\n|---|---|\n",
        target.name,
        target.name,
        env!("CARGO_PKG_VERSION"),
        if failed == 0 { "Everything works." } else { "Something does not work." },
        results.len(),
    );
    for (path, url) in &target.urls {
        let _ = writeln!(text, "| `{path}` | {url} |");
    }
    text.push_str("\n| Result | Route | Try | Observed |\n|---|---|---|---|\n");
    for result in results {
        let (mark, observed) = result.line();
        let _ = writeln!(text, "| {mark} | {} | {} | {} |", result.route(), result.name, observed.replace('|', "\\|"));
    }
    fs::write(path, text)
}
