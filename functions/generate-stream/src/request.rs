//! The body of a request, once it is known to be right.

use serde_json::Value;
use shared::config::{ImageApi, Mode};
use shared::image_url::LocalLinks;
use shared::input_image;
use shared::problem::{Code, Detail, Problem};
use shared::request_body;
use shared::task::fingerprint;

const MAX_IMAGES: usize = 3;
const MAX_N: u32 = 4;

/// What to make, and how to tell it. Not `Debug`: nothing of it belongs into a log.
pub(crate) struct GenerateRequest {
    /// 1..=4000 characters, trimmed.
    pub(crate) prompt: String,
    /// Data URLs and links, in the form that is passed on.
    pub(crate) images: Vec<String>,
    /// On the configured list.
    pub(crate) model: String,
    /// Pictures: 1..=4.
    pub(crate) n: u32,
    pub(crate) format: Format,
}

/// The form of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Chat,
    Events,
}

impl GenerateRequest {
    /// Reads a body. Members that are not known are ignored, and `null` is as good as absent.
    pub(crate) fn parse(body: Value, api: &ImageApi, links: LocalLinks) -> Result<Self, Problem> {
        let Value::Object(mut body) = body else { return Err(Problem::invalid("", Detail::NotAnObject)) };
        let mut take = |name: &str| request_body::take(&mut body, name);
        let prompt = take("prompt").ok_or_else(|| Problem::invalid("/prompt", Detail::Required))?;
        let prompt = request_body::prompt(&prompt)?;
        let images = images(take("image_inputs"), api.mode, links)?;
        let n = n(take("n"))?;
        let model = model(take("model"), api)?;
        let format = format(take("format"))?;
        Ok(Self { prompt, images, model, n, format })
    }

    /// What is asked, as a hash. In which form it is told is no part of it.
    pub(crate) fn fingerprint(&self, route: &str) -> String {
        let n = self.n.to_string();
        let parts = [route, &self.model, &n, &self.prompt];
        fingerprint(parts.into_iter().chain(self.images.iter().map(String::as_str)))
    }

    /// Where the answer is one picture and nothing else.
    pub(crate) fn check_one(&self) -> Result<(), Problem> {
        match self.n {
            1 => Ok(()),
            _ => Err(Problem::invalid("/n", Detail::OnePictureOnly)),
        }
    }
}

fn images(value: Option<Value>, mode: Mode, links: LocalLinks) -> Result<Vec<String>, Problem> {
    const AT: &str = "/image_inputs";
    let items = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Problem::invalid(AT, Detail::NotAListOfStrings)),
    };
    if items.len() > MAX_IMAGES {
        return Err(Problem::invalid(AT, Detail::TooManyImages { max: MAX_IMAGES }));
    }
    let one = |(at, item): (usize, Value)| {
        let at = format!("{AT}/{at}");
        match item {
            Value::String(text) if text.starts_with("http") && mode == Mode::Chat => {
                input_image::link(&text, links, &at)
            }
            Value::String(text) if text.starts_with("http") => {
                let detail = Detail::LinkInMode { mode: mode.name() };
                Err(Problem::new(Code::InvalidImage).at(&at, Code::InvalidImage).detail(detail))
            }
            Value::String(text) => input_image::data(&text, &at),
            _ => Err(Problem::invalid(&at, Detail::NotAString)),
        }
    };
    items.into_iter().enumerate().map(one).collect()
}

fn n(value: Option<Value>) -> Result<u32, Problem> {
    const AT: &str = "/n";
    let Some(value) = value else { return Ok(1) };
    let n = value.as_f64().filter(|n| n.fract() == 0.0).ok_or_else(|| Problem::invalid(AT, Detail::NotAWholeNumber))?;
    let range = || Problem::invalid(AT, Detail::NRange { min: 1, max: MAX_N });
    (1..=MAX_N).find(|&whole| f64::from(whole) == n).ok_or_else(range)
}

fn model(value: Option<Value>, api: &ImageApi) -> Result<String, Problem> {
    match value {
        None => Ok(api.model.clone()),
        Some(Value::String(model)) if api.allows(&model) => Ok(model),
        Some(Value::String(_)) => Err(Problem::new(Code::ModelNotAllowed).at("/model", Code::ModelNotAllowed)),
        Some(_) => Err(Problem::invalid("/model", Detail::NotAString)),
    }
}

fn format(value: Option<Value>) -> Result<Format, Problem> {
    match value.as_ref().map(Value::as_str) {
        None | Some(Some("chat")) => Ok(Format::Chat),
        Some(Some("events")) => Ok(Format::Events),
        Some(_) => Err(Problem::invalid("/format", Detail::FormatValues)),
    }
}
