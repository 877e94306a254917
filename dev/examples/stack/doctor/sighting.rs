//! Where pictures stand in an answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::recording::Recording;

/// The beginnings of base64 and what they decode to.
const MAGICS: [(&str, &str); 4] =
    [("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
/// Shorter base64 is no picture.
const MIN_BASE64_CHARS: usize = 64;

/// A picture, in any form.
#[derive(Debug)]
pub(super) struct PictureSighting {
    /// The JSON path, such as `choices[0].delta.content`.
    pub(super) path: String,
    pub(super) form: SightedForm,
    /// The base64 without white space, or the link.
    pub(super) payload: String,
    /// The media type that a data URL names.
    pub(super) label: Option<String>,
    /// The documents that contain it: the first and the last.
    pub(super) documents: (usize, usize),
    /// The Markdown image around it.
    pub(super) markdown: Option<SightedMarkdown>,
    /// Its base64 contains white space.
    pub(super) is_wrapped: bool,
}

/// The Markdown image around a picture.
#[derive(Debug)]
pub(super) struct SightedMarkdown {
    pub(super) alt: String,
    pub(super) is_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SightedForm {
    DataUrl,
    Base64,
    Link,
}

impl PictureSighting {
    /// The media type that the first bytes show.
    pub(super) fn sniffed(&self) -> Option<&'static str> {
        MAGICS.iter().find(|(magic, _)| self.payload.starts_with(magic)).map(|(_, media_type)| *media_type)
    }

    /// `text` as a picture, if it begins as one.
    fn of(text: &str, may_be_link: bool) -> Option<Self> {
        let text = text.trim();
        let (form, label, payload) = match text.strip_prefix("data:").and_then(|rest| rest.split_once("base64,")) {
            Some((label, payload)) => {
                let label = label.trim().trim_end_matches(';').to_owned();
                (SightedForm::DataUrl, Some(label).filter(|label| label.starts_with("image")), payload)
            }
            None if MAGICS.iter().any(|(magic, _)| text.starts_with(magic)) && text.len() >= MIN_BASE64_CHARS => {
                (SightedForm::Base64, None, text)
            }
            None if may_be_link && (text.starts_with("https://") || text.starts_with("http://")) => {
                (SightedForm::Link, None, text)
            }
            None => return None,
        };
        if form == SightedForm::DataUrl && label.is_none() {
            return None;
        }
        let without: String = payload.chars().filter(|char| !char.is_whitespace()).collect();
        let is_wrapped = without.len() != payload.trim_end().len();
        Some(Self { path: String::new(), form, payload: without, label, documents: (0, 0), markdown: None, is_wrapped })
    }
}

/// The text of one choice of a chat completion, joined from its chunks.
#[derive(Debug, Default)]
pub(super) struct ChoiceText {
    pub(super) text: String,
    path: String,
    /// For each chunk, the end of its part and the number of its document.
    parts: Vec<(usize, usize)>,
}

impl ChoiceText {
    fn document_at(&self, offset: usize) -> usize {
        let part = self.parts.iter().find(|(end, _)| offset < *end).or(self.parts.last());
        part.map_or(0, |(_, document)| *document)
    }

    /// The pictures in the text: Markdown images, or the whole text.
    fn sightings(&self) -> Vec<PictureSighting> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(at) = self.text[from..].find("![").map(|at| at + from) {
            let Some((alt, rest)) = self.text[at + 2..].split_once("](") else { break };
            let start = at + 2 + alt.len() + 2;
            let (target, is_closed) = match rest.split_once(')') {
                Some((target, _)) => (target, true),
                None => (rest, false),
            };
            from = start + target.len();
            if let Some(picture) = PictureSighting::of(target, true) {
                let documents = (self.document_at(at), self.document_at(from.saturating_sub(1)));
                let markdown = Some(SightedMarkdown { alt: alt.to_owned(), is_closed });
                found.push(PictureSighting { path: self.path.clone(), documents, markdown, ..picture });
            }
        }
        if found.is_empty()
            && let Some(picture) = PictureSighting::of(&self.text, !self.text.trim().contains(char::is_whitespace))
        {
            let documents = (self.document_at(0), self.document_at(self.text.len()));
            found.push(PictureSighting { path: self.path.clone(), documents, ..picture });
        }
        found
    }
}

/// The texts of the choices, by their index, and all pictures: those of the texts first.
pub(super) fn sightings(recording: &Recording) -> (BTreeMap<u64, ChoiceText>, Vec<PictureSighting>) {
    let mut texts: BTreeMap<u64, ChoiceText> = BTreeMap::new();
    let mut elsewhere = Vec::new();
    for (number, document) in recording.documents.iter().enumerate() {
        for (position, choice) in document.data["choices"].as_array().into_iter().flatten().enumerate() {
            for member in ["delta", "message"] {
                if let Some(part) = choice[member]["content"].as_str() {
                    let text = texts.entry(choice["index"].as_u64().unwrap_or(position as u64)).or_default();
                    text.text.push_str(part);
                    text.parts.push((text.text.len(), number));
                    text.path = format!("choices[{position}].{member}.content");
                }
            }
        }
        let mut path = String::new();
        walk(&document.data, &mut path, false, &mut |path, text, may_be_link| {
            if let Some(picture) = PictureSighting::of(text, may_be_link) {
                elsewhere.push(PictureSighting { path: path.to_owned(), documents: (number, number), ..picture });
            }
        });
    }
    let mut all: Vec<_> = texts.values().flat_map(ChoiceText::sightings).collect();
    all.extend(elsewhere.into_iter().filter(|picture| !is_text_path(&picture.path)));
    (texts, all)
}

/// Whether a path is that of a choice's text, which is read as a whole.
fn is_text_path(path: &str) -> bool {
    path.starts_with("choices[") && (path.ends_with("].delta.content") || path.ends_with("].message.content"))
}

/// Calls `on` for every string outside errors and reasoning: its path, its text, and whether its member may hold a link.
fn walk(value: &Value, path: &mut String, may_be_link: bool, on: &mut dyn FnMut(&str, &str, bool)) {
    let length = path.len();
    match value {
        Value::String(text) => on(path, text, may_be_link),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                walk(item, path, may_be_link, on);
                path.truncate(length);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if ["error", "reasoning", "thinking"].iter().any(|other| name.starts_with(other)) {
                    continue;
                }
                path.push_str(if length == 0 { "" } else { "." });
                path.push_str(name);
                let is_link = ["url", "image_url", "fileUri", "file_uri", "image", "images", "uri"].contains(&&**name);
                walk(member, path, is_link, on);
                path.truncate(length);
            }
        }
        _ => {}
    }
}
