//! A recorded answer, split into its documents.

use serde_json::Value;

/// What the first bytes of an answer announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerForm {
    Stream,
    Document,
    Page,
    Nothing,
}

/// A document of an answer.
#[derive(Debug)]
pub(super) struct RecordedDocument {
    pub(super) data: Value,
    /// As it was written.
    pub(super) raw: String,
}

/// An answer, all of it.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) form: AnswerForm,
    pub(super) documents: Vec<RecordedDocument>,
    pub(super) comments: usize,
    pub(super) has_done: bool,
    pub(super) has_crlf: bool,
    /// The document follows blank lines.
    pub(super) begins_blank: bool,
    /// Events that are not JSON.
    pub(super) malformed: usize,
}

impl Recording {
    /// Splits the bytes of an answer. An event without its blank line counts.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches('\u{feff}');
        let trimmed = text.trim_start();
        let form = match trimmed.as_bytes().first() {
            None => AnswerForm::Nothing,
            Some(b'{' | b'[') => AnswerForm::Document,
            Some(b'<') => AnswerForm::Page,
            Some(_) => AnswerForm::Stream,
        };
        let mut recording = Self {
            form,
            documents: Vec::new(),
            comments: 0,
            has_done: false,
            has_crlf: false,
            begins_blank: text.starts_with(['\n', '\r']),
            malformed: 0,
        };
        match form {
            AnswerForm::Document => recording.document(trimmed),
            AnswerForm::Stream => recording.events(text),
            AnswerForm::Page | AnswerForm::Nothing => {}
        }
        recording
    }

    fn events(&mut self, text: &str) {
        self.has_crlf = text.contains("\r\n");
        let mut data: Vec<&str> = Vec::new();
        for line in text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r')).chain([""]) {
            match line.split_once(':') {
                None if line.is_empty() => self.event(&std::mem::take(&mut data)),
                Some(("", _)) => self.comments += 1,
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
                // An error without a field name.
                _ if line.starts_with('{') => data.push(line),
                _ => {}
            }
        }
    }

    fn event(&mut self, data: &[&str]) {
        let whole = data.join("\n");
        match whole.trim() {
            "" => {}
            "[DONE]" => self.has_done = true,
            whole if serde_json::from_str::<Value>(whole).is_ok() => self.document(whole),
            // Some relays omit the blank lines.
            _ => data
                .iter()
                .for_each(|line| if line.trim() == "[DONE]" { self.has_done = true } else { self.document(line) }),
        }
    }

    fn document(&mut self, raw: &str) {
        match serde_json::from_str(raw) {
            Ok(Value::Array(list)) if list.first().is_some_and(Value::is_object) => {
                self.documents.extend(list.into_iter().map(|data| RecordedDocument { data, raw: raw.to_owned() }));
            }
            Ok(data) => self.documents.push(RecordedDocument { data, raw: raw.to_owned() }),
            Err(_) => self.malformed += 1,
        }
    }
}
