//! Answers of upstreams and what they are read as, row by row: the files of `tests/data/answers`.
//!
//! | Line | Meaning |
//! |---|---|
//! | `# text` | a comment |
//! | `== name [options]` | begins a group, whose rows are read as answers of an image API. Options, separated by commas: `ark` reads them as answers of ARK, `both` as both, `refusal` as bodies of failed calls after the status; `line ends` repeats that with each kind of line end |
//! | `<name> = text` | from here on, `<name>` stands for the text |
//! | `in template ⇒ expected` | each row of the group is read in place of `<row>`, as events; with several templates, in each. Without `⇒`, the row's own expectation holds, which is `<=>` otherwise |
//! | `as template ⇒ expected` | the same for the bytes of an answer that is written as it is |
//! | `= expected` | what the following rows are read as, see [`told`] |
//! | any other | a row |
//!
//! ` ¶ ` separates events. A JSON document is the data of an event, any other event is written as it is. `⏎`, `␍` and
//! `␠` are a line feed, a carriage return and a space. `<red>` and `<blue>` are pixels in base64, `<a>` and `<b>` links.

use std::collections::BTreeMap;
use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use shared::image_url::LocalLinks;
use shared::media::sniff::MediaType;
use shared::outcome::{ImageSource, Success};
use shared::upstream::{AnyDialect, Failure};

use super::answer::{Answer, Seen, read};
use super::pictures::{BLUE, PNG};

const LINKS: &str = "https://example.com/";

/// Reads every row of a file whole, byte by byte and in two pieces cut at every byte, and names all rows that are read
/// as something else than expected.
pub(crate) fn check(file: &str) {
    let (mut rows, mut wrong) = (0, Vec::new());
    for_each(file, |number, group, row| {
        assert!(!group.expected.is_empty(), "{file}.txt:{number} has no expectation");
        rows += 1;
        for (text, got, expected) in group.read(row) {
            if got != expected {
                let header = &group.header;
                let text = text.replace(PNG, "<red>").replace(BLUE, "<blue>");
                let text = text.replace('\n', "⏎").replace('\r', "␍");
                wrong.push(format!(
                    "{file}.txt:{number}, {header}: {text}\n    read as  {got}\n    expected {expected}"
                ));
            }
        }
    });
    assert!(wrong.is_empty(), "{} readings are wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows > 0);
}

/// The answers of all rows of all files, each in its first template.
pub(crate) fn texts() -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        for_each(path.file_stem().unwrap().to_str().unwrap(), |_, group, row| {
            let (is_events, template) = group.templates.first().cloned().unwrap_or((true, "<row>".to_owned()));
            let text = template.split(" ⇒ ").next().unwrap_or_default().replace("<row>", row);
            texts.push(unescaped(&if is_events { events(&text) } else { text }).into_bytes());
        });
    }
    texts.sort();
    texts
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/answers");

/// Calls `on` with the number, the group and the text of every row.
fn for_each(file: &str, mut on: impl FnMut(usize, &Group, &str)) {
    let (mut names, mut group) = (Names::default(), Group::default());
    for (line, number) in fs::read_to_string(format!("{FOLDER}/{file}.txt")).unwrap().lines().zip(1..) {
        if line.is_empty() || line.starts_with("# ") {
        } else if let Some(header) = line.strip_prefix("== ") {
            group = Group { header: header.to_owned(), ..Group::default() };
        } else if let Some((name, text)) = line.split_once("> = ").filter(|_| line.starts_with('<')) {
            names.0.insert(format!("{name}>"), names.expand(text));
        } else if let Some(template) = line.strip_prefix("in ") {
            group.templates.push((true, names.expand(template)));
        } else if let Some(template) = line.strip_prefix("as ") {
            group.templates.push((false, names.expand(template)));
        } else if let Some(expected) = line.strip_prefix("= ") {
            group.expected = names.expand(expected);
        } else {
            on(number, &group, &names.expand(line));
        }
    }
}

/// What `<name>` stands for.
struct Names(BTreeMap<String, String>);

impl Default for Names {
    fn default() -> Self {
        let names = [
            ("<red>", PNG),
            ("<blue>", BLUE),
            ("<a>", "https://example.com/a"),
            ("<b>", "https://example.com/b"),
            ("<nothing>", ""),
        ];
        Self(names.map(|(name, text)| (name.to_owned(), text.to_owned())).into())
    }
}

impl Names {
    fn expand(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

#[derive(Default)]
struct Group {
    header: String,
    /// Whether it is made of events, and the text.
    templates: Vec<(bool, String)>,
    expected: String,
}

impl Group {
    /// Every reading of a row: the answer, what it was read as, and what it should be read as.
    fn read(&self, row: &str) -> Vec<(String, String, String)> {
        let plain = [(true, "<row>".to_owned())];
        let templates = if self.templates.is_empty() { &plain[..] } else { &self.templates };
        let options =
            self.header.strip_suffix(']').and_then(|header| header.rsplit_once(" [")).map_or("", |(_, all)| all);
        let has = |option: &str| options.split(", ").any(|given| given == option);
        let any: fn() -> AnyDialect = || AnyDialect::new(LocalLinks::Refused);
        let ark: fn() -> AnyDialect = || AnyDialect::ark(LocalLinks::Refused);
        let dialects = if has("both") { vec![any, ark] } else { vec![if has("ark") { ark } else { any }] };
        let line_ends = if has("line ends") { &["\n", "\r\n", "\r"][..] } else { &["\n"] };
        let mut readings = Vec::new();
        for (is_events, template) in templates {
            let (template, expected) = template.split_once(" ⇒ ").unwrap_or((template, "<=>"));
            let expected = expected.replace("<=>", &self.expected);
            if has("refusal") {
                let (status, body) = row.split_once(' ').unwrap();
                let (status, body) = (status.parse().unwrap(), unescaped(body));
                let got = told(&at_every_cut(&body, || AnyDialect::refusal(status)));
                readings.push((row.to_owned(), got, expected));
                continue;
            }
            let text = template.replace("<row>", row);
            let text = unescaped(&if *is_events { events(&text) } else { text });
            for line_end in line_ends {
                let text = text.replace('\n', line_end);
                for dialect in &dialects {
                    readings.push((text.clone(), told(&at_every_cut(&text, dialect)), expected.clone()));
                }
            }
        }
        readings
    }
}

fn events(text: &str) -> String {
    let event = |event: &str| match event.starts_with(['{', '[']) {
        true => format!("data: {event}⏎⏎"),
        false => format!("{event}⏎⏎"),
    };
    text.split(" ¶ ").map(event).collect()
}

fn unescaped(text: &str) -> String {
    text.replace('⏎', "\n").replace('␍', "\r").replace('␠', " ")
}

/// Reads an answer whole, byte by byte and in two pieces cut at every byte; all must agree.
pub(crate) fn at_every_cut(text: &str, dialect: impl Fn() -> AnyDialect) -> Answer {
    let bytes = text.as_bytes();
    let whole = read(dialect(), [bytes]);
    assert_eq!(read(dialect(), bytes.chunks(1)), whole, "{text} byte by byte");
    for cut in 0..bytes.len() {
        let (a, b) = bytes.split_at(cut);
        assert_eq!(read(dialect(), [a, b]), whole, "{text} cut at {cut}");
    }
    whole
}

/// An answer in one line:
///
/// - in brackets, the pictures that were whole, in the order in which they came; `~` marks a draft;
/// - the failure, or each final picture as `slot:picture` with the size of a link or a media type other than PNG, each
///   failed one as `slot!class`, `+class` for each error after them, and `usage`: input, output, total tokens, pictures;
/// - the text, that of other slots than 0 after the number of the slot.
pub(crate) fn told(answer: &Answer) -> String {
    let name = |source: &str| match source {
        PNG => "red".to_owned(),
        BLUE => "blue".to_owned(),
        other => other.strip_prefix(LINKS).unwrap_or(other).to_owned(),
    };
    let mark = |draft: bool| if draft { "~" } else { "" };
    let mut parts = Vec::new();
    let whole = answer.pictures.iter().zip(&answer.drafts);
    let whole: Vec<_> = whole.map(|((_, bytes), draft)| name(&STANDARD.encode(bytes)) + mark(*draft)).collect();
    if !whole.is_empty() {
        parts.push(format!("[{}]", whole.join(" ")));
    }
    match &answer.verdict {
        Ok(success) => parts.extend(success_parts(answer, success, name)),
        Err(failure) => parts.push(failure.to_string()),
    }
    for slot in 0..8 {
        let (text, number) = (answer.text(slot), if slot > 0 { slot.to_string() } else { String::new() });
        parts.extend((!text.is_empty()).then(|| format!("{number}{text:?}")));
    }
    parts.join(" ")
}

fn success_parts(answer: &Answer, success: &Success, name: impl Fn(&str) -> String) -> Vec<String> {
    let mut parts = Vec::new();
    for image in &success.images {
        let source = match &image.source {
            ImageSource::Link { url, pixels: None } => name(url),
            ImageSource::Link { url, pixels: Some((width, height)) } => format!("{}({width}x{height})", name(url)),
            ImageSource::Inline(whole) => {
                let is_it = |(_, bytes): &&(u32, Vec<u8>)| Sha256::digest(bytes)[..] == whole.sha256;
                let picture = name(&STANDARD.encode(&answer.pictures.iter().find(is_it).unwrap().1));
                match whole.media_type {
                    MediaType::Png => picture,
                    other => format!("{picture}({})", other.as_str()),
                }
            }
        };
        parts.push(format!("{}:{source}{}", image.slot, if image.draft { "~" } else { "" }));
    }
    parts.extend(success.failed.iter().map(|failed| format!("{}!{}", failed.slot, failed.failure)));
    let errors = answer.seen.iter().filter_map(|seen| match seen {
        Seen::Other(update) => Failure::ALL.iter().find(|failure| *update == format!("Failed({failure:?})")).copied(),
        _ => None,
    });
    let errors: Vec<_> = errors.collect();
    assert_eq!(success.cut_short, errors.first().copied());
    parts.extend(errors.iter().map(|failure| format!("+{failure}")));
    parts.extend(success.usage.map(|usage| {
        let counts = [usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.generated_images];
        let counts = counts.map(|count| count.map_or("-".to_owned(), |count| count.to_string()));
        format!("usage({})", counts.join(" "))
    }));
    parts
}
