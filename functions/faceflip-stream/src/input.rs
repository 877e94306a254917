//! The checked request body.

use shared::image_url::LocalLinks;
use shared::input::{InlineForm, InputPicture, InputValue, members, prompt};
use shared::problem::{Detail, Problem};
use shared::task::fingerprint;

const MAX_URLS: usize = 10;
const MAX_TASK_ID_CHARS: usize = 256;

/// A checked request. Not `Debug`, because none of it may be logged.
pub(crate) struct FaceflipInput {
    /// Any text: repeated in every event and used for nothing else.
    pub(crate) task_id: String,
    /// Links and data URLs: 1..=10.
    pub(crate) pictures: Vec<InputPicture>,
    /// Replaces the configured prompt.
    pub(crate) prompt: Option<String>,
}

impl FaceflipInput {
    /// Reads a JSON body. Unknown members are ignored, and `null` counts as absent.
    pub(crate) fn parse(body: &str, links: LocalLinks) -> Result<Self, Problem> {
        let [task_id, urls, text] = members(body, ["task_id", "urls", "prompt"])?;
        let task_id = self::task_id(task_id)?;
        let pictures = pictures(urls, links)?;
        let prompt = text.as_ref().map(prompt).transpose()?;
        Ok(Self { task_id, pictures, prompt })
    }

    /// The hash that identifies a repeated request.
    pub(crate) fn fingerprint(&self) -> String {
        let pictures: Vec<_> = self.pictures.iter().map(InputPicture::identity).collect();
        let prompt = self.prompt.as_deref().unwrap_or_default();
        fingerprint([prompt].into_iter().chain(pictures.iter().map(String::as_str)))
    }

    /// The task id of an invalid body, for the event that refuses it.
    pub(crate) fn task_id_of(body: &[u8]) -> Option<String> {
        let [task_id] = members(std::str::from_utf8(body).ok()?, ["task_id"]).ok()?;
        self::task_id(task_id).ok()
    }

    /// The pictures that are links, for `done`.
    pub(crate) fn links(&self) -> Vec<String> {
        let link = |picture: &InputPicture| match picture {
            InputPicture::Link(url) => Some(url.to_string()),
            InputPicture::Inline(_) => None,
        };
        self.pictures.iter().filter_map(link).collect()
    }
}

fn task_id(value: Option<InputValue<'_>>) -> Result<String, Problem> {
    let value = value.ok_or_else(|| Problem::invalid("/task_id", Detail::Required))?;
    let id = value.text()?;
    match id.chars().count() {
        1..=MAX_TASK_ID_CHARS => Ok(id.into_owned()),
        _ => Err(value.invalid(Detail::CharacterCount { min: 1, max: MAX_TASK_ID_CHARS })),
    }
}

fn pictures(value: Option<InputValue<'_>>, links: LocalLinks) -> Result<Vec<InputPicture>, Problem> {
    let value = value.ok_or_else(|| Problem::invalid("/urls", Detail::Required))?;
    let picture = |item: &InputValue<'_>| {
        let text = item.text()?;
        match text.starts_with("data:") {
            true => InputPicture::inline(item, &text, InlineForm::DataUrl),
            false => InputPicture::link(item, &text, links),
        }
    };
    value.list(1..=MAX_URLS)?.iter().map(picture).collect()
}

#[cfg(test)]
mod tests;
