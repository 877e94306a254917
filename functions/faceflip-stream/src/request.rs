//! The body of a request, once it is known to be right.

use serde::Deserialize;
use serde_json::Value;
use shared::image_url::LocalLinks;
use shared::input_image;
use shared::problem::{Detail, Problem};
use shared::request_body::{prompt, take};
use shared::task::fingerprint;

const MAX_URLS: usize = 10;
const MAX_TASK_ID_CHARS: usize = 256;

/// What to make. Not `Debug`: nothing of it belongs into a log.
pub(crate) struct FaceflipRequest {
    /// Any text: it is told again, and nothing else is done with it.
    pub(crate) task_id: String,
    /// Links and data URLs, in the form that is passed on.
    pub(crate) images: Vec<String>,
    /// Instead of the configured one.
    pub(crate) prompt: Option<String>,
}

impl FaceflipRequest {
    /// Reads a body. Members that are not known are ignored, and `null` is as good as absent.
    pub(crate) fn parse(body: Value, links: LocalLinks) -> Result<Self, Problem> {
        let Value::Object(mut body) = body else { return Err(Problem::invalid("", Detail::NotAnObject)) };
        let task_id = task_id(take(&mut body, "task_id"))?;
        let images = urls(take(&mut body, "urls"), links)?;
        let prompt = take(&mut body, "prompt").as_ref().map(prompt).transpose()?;
        Ok(Self { task_id, images, prompt })
    }

    /// What is asked, as a hash.
    pub(crate) fn fingerprint(&self, route: &str) -> String {
        let parts = [route, self.prompt.as_deref().unwrap_or_default()];
        fingerprint(parts.into_iter().chain(self.images.iter().map(String::as_str)))
    }

    /// The task of a body that is otherwise wrong, for the refusal that names it.
    pub(crate) fn task_id_of(body: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        struct Named {
            task_id: String,
        }
        // A list would be read as the members in their order.
        let object = body.trim_ascii_start().starts_with(b"{").then_some(body)?;
        let named: Named = serde_json::from_slice(object).ok()?;
        task_id(Some(Value::String(named.task_id))).ok()
    }

    /// The pictures that are links, for `done`.
    pub(crate) fn links(&self) -> Vec<String> {
        self.images.iter().filter(|image| !image.starts_with("data:")).cloned().collect()
    }
}

fn task_id(value: Option<Value>) -> Result<String, Problem> {
    const AT: &str = "/task_id";
    match value {
        None => Err(Problem::invalid(AT, Detail::Required)),
        Some(Value::String(id)) if (1..=MAX_TASK_ID_CHARS).contains(&id.chars().count()) => Ok(id),
        Some(Value::String(_)) => Err(Problem::invalid(AT, Detail::TaskIdLength { min: 1, max: MAX_TASK_ID_CHARS })),
        Some(_) => Err(Problem::invalid(AT, Detail::NotAString)),
    }
}

fn urls(value: Option<Value>, links: LocalLinks) -> Result<Vec<String>, Problem> {
    const AT: &str = "/urls";
    let items = match value {
        None => return Err(Problem::invalid(AT, Detail::Required)),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Problem::invalid(AT, Detail::NotAListOfStrings)),
    };
    if !(1..=MAX_URLS).contains(&items.len()) {
        return Err(Problem::invalid(AT, Detail::UrlCount { min: 1, max: MAX_URLS }));
    }
    let one = |(at, item): (usize, Value)| {
        let at = format!("{AT}/{at}");
        match item {
            Value::String(text) if text.starts_with("data:") => input_image::data(&text, &at),
            Value::String(text) => input_image::link(&text, links, &at),
            _ => Err(Problem::invalid(&at, Detail::NotAString)),
        }
    };
    items.into_iter().enumerate().map(one).collect()
}
