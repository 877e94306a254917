//! The report of the doctor.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::time::Duration;

use shared::outcome::ImageSource;
use shared::problem::{Lang, Problem};
use shared::update::Usage;
use shared::upstream::ModelFamily;

use super::DoctorMode;
use super::reading::AnswerVerdict;
use super::recording::{AnswerForm, Recording};
use super::shape_name::{is_escaped, is_mislabelled, is_url_safe, shape_name};
use super::sighting::{PictureSighting, SightedForm, sightings};

/// Paths that are printed; a stream of previews has many.
const MAX_PATHS: usize = 4;

/// An answer, and what was asked.
pub(super) struct DoctorReport {
    pub(super) mode: DoctorMode,
    pub(super) source: ReportSource,
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    pub(super) verdict: AnswerVerdict,
    pub(super) body: Vec<u8>,
    pub(super) times: Option<AnswerTimes>,
}

/// Where the answer is from.
pub(super) enum ReportSource {
    File,
    Asked(Box<AskedUpstream>),
}

/// The upstream, and the variables that configure it.
pub(super) struct AskedUpstream {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) base: String,
    pub(super) base_variable: &'static str,
    pub(super) model: String,
    pub(super) model_variable: &'static str,
    pub(super) family: ModelFamily,
    pub(super) key_variable: &'static str,
    /// The variable that holds the key.
    pub(super) key_env: String,
    /// It is one of IMAGE_UPSTREAMS.
    pub(super) in_routes: bool,
}

/// When the parts of an answer arrived, since the request was sent.
#[derive(Default)]
pub(super) struct AnswerTimes {
    pub(super) head: Option<Duration>,
    pub(super) first_byte: Option<Duration>,
    /// The last whole picture.
    pub(super) picture: Option<Duration>,
    pub(super) end: Duration,
    /// Without a byte, after the head.
    pub(super) longest_silence: Duration,
}

impl DoctorReport {
    /// The text, and whether the functions can use the answer.
    pub(super) fn write(&self) -> (String, bool) {
        let recording = Recording::of(&self.body);
        let (texts, pictures) = sightings(&recording);
        let mut lines = ReportLines::default();
        if let ReportSource::Asked(asked) = &self.source {
            let AskedUpstream { host, path, model, family, .. } = &**asked;
            lines.add("Upstream", format_args!("POST {host}{path}, mode {}", self.mode.name()));
            lines.add("Model", format_args!("{model}, taken for the family: {}", family.name));
        }
        let has_answer = self.times.as_ref().is_none_or(|times| times.head.is_some());
        if has_answer {
            lines.add("Answer", format_args!("{}", self.answer(&recording)));
            match shape_name(&recording, &texts, &pictures) {
                Some((name, description)) => lines.add("Shape", format_args!("{name}: {description}")),
                None if self.status >= 300 => lines.add("Shape", format_args!("an error")),
                None if pictures.is_empty() => lines.add("Shape", format_args!("no picture was found")),
                None => lines.add("Shape", format_args!("none of the known ones")),
            }
            if self.status < 300 {
                self.pictures(&pictures, &mut lines);
                match recording.comments {
                    0 => lines.add("Pings", format_args!("none")),
                    1 => lines.add("Pings", format_args!("1 comment")),
                    comments => lines.add("Pings", format_args!("{comments} comments")),
                }
            }
        }
        if let Some(times) = &self.times {
            lines.add("Times", format_args!("{times}"));
        }
        match &self.verdict.result {
            Ok(success) => {
                let usage = success.usage.map_or_else(|| "none".to_owned(), usage);
                lines.add("Usage", format_args!("{usage}"));
                let pictures = match success.images.len() {
                    1 => "one final picture".to_owned(),
                    count => format!("{count} final pictures"),
                };
                lines.add("Verdict", format_args!("works: {pictures}"));
                if let Some(failure) = success.cut_short {
                    lines.add("", format_args!("after the pictures: {}", Problem::from(failure).message(Lang::En)));
                }
            }
            Err(failure) => {
                let problem = Problem::from(*failure);
                let (code, sentence) = (failure.problem().as_str(), problem.message(Lang::En));
                lines.add("Verdict", format_args!("does not work: {code}: {sentence}"));
                lines.add("Remedy", format_args!("{}", self.remedy(*failure, recording.form)));
            }
        }
        let is_usable = self.verdict.result.is_ok();
        for (number, unusual) in self.unusual(&recording, &pictures).iter().enumerate() {
            lines.add(if number == 0 { "Unusual" } else { "" }, format_args!("{unusual}"));
        }
        if let (true, ReportSource::Asked(asked)) = (is_usable, &self.source) {
            for (number, setting) in self.settings(asked).iter().enumerate() {
                lines.add(if number == 0 { "Settings" } else { "" }, format_args!("{setting}"));
            }
        }
        (lines.0, is_usable)
    }

    fn answer(&self, recording: &Recording) -> String {
        let form = match recording.form {
            AnswerForm::Stream => format!("an event stream of {} documents", recording.documents.len()),
            AnswerForm::Document => "one JSON document".to_owned(),
            AnswerForm::Page => "a page of HTML or XML".to_owned(),
            AnswerForm::Nothing => "an empty body".to_owned(),
        };
        let content_type = self.content_type.as_deref().map(|name| format!("{name}, ")).unwrap_or_default();
        format!("{}, {content_type}{form}, {}", self.status, size(self.body.len() as u64))
    }

    fn pictures(&self, pictures: &[PictureSighting], lines: &mut ReportLines) {
        let paths: BTreeSet<_> = pictures.iter().map(place).collect();
        for (number, path) in paths.iter().take(MAX_PATHS).enumerate() {
            lines.add(if number == 0 { "Places" } else { "" }, format_args!("{path}"));
        }
        if paths.len() > MAX_PATHS {
            lines.add("", format_args!("and {} more", paths.len() - MAX_PATHS));
        }
        let AnswerVerdict { result, drafts, marked_drafts, .. } = &self.verdict;
        for image in result.iter().flat_map(|success| &success.images) {
            let text = match &image.source {
                ImageSource::Inline(image) => {
                    let (width, height) = (image.width, image.height);
                    format!("{}, {width}x{height}, {}", image.media_type.as_str(), size(image.bytes))
                }
                ImageSource::Link { .. } => "a link".to_owned(),
            };
            let draft = if image.draft { ", marked as a draft" } else { "" };
            lines.add("Picture", format_args!("slot {}: {text}{draft}", image.slot));
        }
        let drafts = match drafts {
            0 => "none".to_owned(),
            drafts => format!("{drafts}, of which the upstream marks {marked_drafts}"),
        };
        lines.add("Drafts", format_args!("{drafts}"));
    }

    /// What most upstreams do differently.
    fn unusual(&self, recording: &Recording, pictures: &[PictureSighting]) -> Vec<String> {
        let mut all = Vec::new();
        let mut add = |is_so: bool, text: &str| {
            if is_so {
                all.push(text.to_owned());
            }
        };
        let asked_for_stream = match &self.source {
            ReportSource::File => false,
            ReportSource::Asked(asked) => match self.mode {
                DoctorMode::Chat | DoctorMode::Gemini => true,
                DoctorMode::Images | DoctorMode::Ark => asked.family.takes("stream"),
            },
        };
        let is_stream = recording.form == AnswerForm::Stream;
        let is_success = self.status < 300;
        let kind = self.content_type.as_deref().unwrap_or_default();
        let is_chat = recording.documents.iter().any(|document| document.data["choices"].is_array());
        add(
            is_success && asked_for_stream && recording.form == AnswerForm::Document,
            "one JSON document although a stream was requested: no picture is shown before the end",
        );
        add(
            is_stream && !kind.is_empty() && !kind.starts_with("text/event-stream"),
            "an event stream under another Content-Type",
        );
        add(recording.form == AnswerForm::Document && kind.starts_with("text/"), "JSON under another Content-Type");
        add(is_stream && recording.has_crlf, "CRLF line ends");
        add(recording.begins_blank, "blank lines before the document, as a keep-alive");
        add(is_stream && is_chat && !recording.has_done, "no [DONE] at the end");
        add(recording.malformed > 0, "events that are not JSON");
        let unmarked = self.verdict.drafts.saturating_sub(self.verdict.marked_drafts);
        add(unmarked > 0, "interim pictures that are not marked: the last picture of a slot is the final one");
        add(self.verdict.repeated > 0 || repeats(pictures), "the same picture more than once: it is delivered once");
        let finals = self.verdict.result.as_ref().map_or(0, |success| success.images.len());
        let is_asked = matches!(self.source, ReportSource::Asked(_));
        add(is_asked && finals > 1, "several pictures although one was requested: they may all be billed");
        add(pictures.iter().any(is_mislabelled), "a wrong media type on a picture: the bytes decide");
        add(pictures.iter().any(is_url_safe), "the URL-safe alphabet of base64");
        add(pictures.iter().any(|picture| picture.is_wrapped), "white space within base64");
        add(
            pictures.iter().filter_map(|picture| picture.markdown.as_ref()).any(|markdown| !markdown.is_closed),
            "a Markdown image without its closing parenthesis",
        );
        add(
            pictures.iter().filter_map(|picture| picture.markdown.as_ref()).any(|markdown| markdown.alt != "image"),
            "a Markdown image with another text than `image`: older clients of the relay itself do not find it",
        );
        let raw =
            |picture: &PictureSighting| recording.documents.get(picture.documents.0).map(|document| &document.raw);
        add(pictures.iter().filter_map(raw).any(|raw| is_escaped(raw)), "characters of base64 are escaped in JSON");
        add(
            pictures.iter().any(|picture| picture.form == SightedForm::Link),
            "a link instead of bytes: it expires when the upstream decides so, and is passed on to the browser",
        );
        let largest = recording.documents.iter().map(|document| document.raw.len()).max().unwrap_or_default();
        add(is_stream && largest > 1_000_000, "events of more than 1 MB: other clients may have a line limit");
        let has_usage = self.verdict.result.as_ref().is_ok_and(|success| success.usage.is_some());
        add(self.verdict.result.is_ok() && !has_usage, "no token counts");
        add(
            is_success && self.verdict.result.is_err() && !pictures.is_empty(),
            "a picture that the functions do not accept: it is broken, or at a place that they do not read",
        );
        all
    }
}

/// Where a picture stands and in which form.
fn place(picture: &PictureSighting) -> String {
    let form = match picture.form {
        SightedForm::DataUrl => "a data URL",
        SightedForm::Base64 => "base64",
        SightedForm::Link => "a link",
    };
    let (first, last) = picture.documents;
    let chunks = if first == last { String::new() } else { format!(", over {} documents", last - first + 1) };
    let markdown = if picture.markdown.is_some() { " in Markdown" } else { "" };
    format!("{}: {form}{markdown}{chunks}", picture.path)
}

fn repeats(pictures: &[PictureSighting]) -> bool {
    let payloads: BTreeSet<_> = pictures.iter().map(|picture| &picture.payload).collect();
    payloads.len() < pictures.len()
}

fn usage(usage: Usage) -> String {
    let Usage { input_tokens, output_tokens, total_tokens, generated_images } = usage;
    let counts =
        [("input", input_tokens), ("output", output_tokens), ("total", total_tokens), ("pictures", generated_images)];
    let known = counts.into_iter().filter_map(|(name, count)| Some(format!("{name} {}", count?)));
    known.collect::<Vec<_>>().join(", ")
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{} KB", bytes / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

impl fmt::Display for AnswerTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds =
            |time: Option<Duration>| time.map_or("none".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        let [head, first, picture] = [self.head, self.first_byte, self.picture].map(seconds);
        let [end, silence] = [self.end, self.longest_silence].map(|time| seconds(Some(time)));
        write!(f, "head {head}, first byte {first}, whole picture {picture}, end {end}; longest silence {silence}")
    }
}

/// Lines of a name and a text.
#[derive(Default)]
struct ReportLines(String);

impl ReportLines {
    fn add(&mut self, name: &str, text: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name:<9} {text}");
    }
}
