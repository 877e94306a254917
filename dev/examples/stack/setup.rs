//! `cargo dev setup`: asks for addresses and keys, and writes `.env`.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use crate::environment::{FILE, read_file};

/// A question: the variable, what it is, what Enter means where nothing is set yet, whether it is shown while typed.
struct Question {
    variable: &'static str,
    asks: &'static str,
    default: &'static str,
    is_secret: bool,
}

const QUESTIONS: [Question; 5] = [
    Question {
        variable: "IMAGE_API_BASE_URL",
        asks: "Address of the image API",
        default: "https://api.aioec.tech",
        is_secret: false,
    },
    Question { variable: "IMAGE_API_KEY", asks: "Its key", default: "", is_secret: true },
    Question {
        variable: "ARK_BASE_URL",
        asks: "Address of ARK",
        default: "https://ark.cn-beijing.volces.com/api/v3",
        is_secret: false,
    },
    Question { variable: "ARK_API_KEY", asks: "Its key", default: "", is_secret: true },
    Question {
        variable: "SUPABASE_URL",
        asks: "Address of the Supabase project whose users may call; none means the demo users",
        default: "",
        is_secret: false,
    },
];

/// Asks, and writes what was answered; what stands in the file beside stays as it is.
pub(crate) fn run() -> io::Result<()> {
    let path = Path::new(FILE);
    let known = read_file(path)?;
    let mut out = io::stdout().lock();
    writeln!(out, "Enter keeps what stands in brackets. What you type for a key is not shown.")?;
    let mut answers = Vec::new();
    for question in &QUESTIONS {
        let known = known.get(question.variable).map(String::as_str).unwrap_or_default();
        let shown = match (question.is_secret, known, question.default) {
            (_, "", "") => "none",
            (_, "", default) => default,
            (true, ..) => "unchanged",
            (false, known, _) => known,
        };
        write!(out, "{} ({}) [{shown}]: ", question.asks, question.variable)?;
        out.flush()?;
        let answer = if question.is_secret { read_hidden()? } else { read_line()? };
        let answer = match answer.trim() {
            "" if known.is_empty() => question.default,
            "" => known,
            typed => typed,
        };
        if answer.contains(['\'', '\n', '\r']) {
            return Err(io::Error::other(format!("{} cannot contain quotes or line breaks", question.variable)));
        }
        answers.push((question.variable, answer.to_owned()));
    }
    write_file(path, &answers)?;
    writeln!(out, "Written to {FILE}, which only you can read. Next: cargo dev check")
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "setup asks questions: run it in a terminal"));
    }
    Ok(line)
}

fn read_hidden() -> io::Result<String> {
    if io::stdin().is_terminal() { rpassword::read_password() } else { read_line() }
}

/// Replaces the lines of the answered variables. The new file is complete before it takes the old one's place.
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
