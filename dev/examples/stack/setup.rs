//! `cargo dev setup`: asks for addresses and keys, and writes `.env`.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use crate::environment::{FILE, read_file};

/// A question for the value of one variable.
struct SetupQuestion {
    variable: &'static str,
    text: &'static str,
    /// The value of an empty answer if the file has none.
    default: &'static str,
    /// Whether the answer is hidden while it is typed.
    is_secret: bool,
}

const QUESTIONS: [SetupQuestion; 5] = [
    SetupQuestion {
        variable: "IMAGE_API_BASE_URL",
        text: "Address of the image API",
        default: "https://api.aioec.tech",
        is_secret: false,
    },
    SetupQuestion { variable: "IMAGE_API_KEY", text: "Key of the image API", default: "", is_secret: true },
    SetupQuestion {
        variable: "ARK_BASE_URL",
        text: "Address of ARK",
        default: "https://ark.cn-beijing.volces.com/api/v3",
        is_secret: false,
    },
    SetupQuestion { variable: "ARK_API_KEY", text: "Key of ARK", default: "", is_secret: true },
    SetupQuestion {
        variable: "SUPABASE_URL",
        text: "Address of your Supabase project; empty for the demo users",
        default: "",
        is_secret: false,
    },
];

/// Asks the questions and writes the answers. Other lines of the file stay unchanged.
pub(crate) fn run() -> io::Result<()> {
    let path = Path::new(FILE);
    let known = read_file(path)?;
    let mut out = io::stdout().lock();
    writeln!(out, "Press Enter to keep the value in brackets. Keys are hidden while you type.")?;
    let mut answers = Vec::new();
    for question in &QUESTIONS {
        let known = known.get(question.variable).map(String::as_str).unwrap_or_default();
        let current = match (question.is_secret, known, question.default) {
            (_, "", "") => "none",
            (_, "", default) => default,
            (true, ..) => "unchanged",
            (false, known, _) => known,
        };
        write!(out, "{} ({}) [{current}]: ", question.text, question.variable)?;
        out.flush()?;
        let answer = if question.is_secret { read_hidden()? } else { read_line()? };
        let answer = match answer.trim() {
            "" if known.is_empty() => question.default,
            "" => known,
            typed => typed,
        };
        if answer.contains(['\'', '\n', '\r']) {
            return Err(io::Error::other(format!("{} must not contain quotes or line breaks", question.variable)));
        }
        answers.push((question.variable, answer.to_owned()));
    }
    write_file(path, &answers)?;
    writeln!(out, "Saved in {FILE}, readable by you only. Next: cargo dev check")
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "no answer on standard input: run cargo dev setup in a terminal",
        ));
    }
    Ok(line)
}

fn read_hidden() -> io::Result<String> {
    if io::stdin().is_terminal() { rpassword::read_password() } else { read_line() }
}

/// Replaces the lines of the answered variables. The new file is written completely and then renamed.
fn write_file(path: &Path, answers: &[(&str, String)]) -> io::Result<()> {
    let old = if path.exists() { fs::read_to_string(path)? } else { String::new() };
    let is_answered = |line: &&str| answers.iter().any(|(name, _)| line.trim_start().starts_with(&format!("{name}=")));
    let kept = old.lines().filter(|line| !is_answered(line)).map(str::to_owned);
    let new = answers.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}='{value}'"));
    let lines: Vec<String> = kept.chain(new).collect();
    let next = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&next)?;
    writeln!(file, "{}", lines.join("\n"))?;
    file.sync_all()?;
    fs::rename(next, path)
}
