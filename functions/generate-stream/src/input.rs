//! The checked request body.

mod aspect_ratio;

pub(crate) use self::aspect_ratio::AspectRatio;

use std::sync::Arc;

use shared::config::{ImageApiConfig, ImageApiMode, ImageRoute, ImageTarget};
use shared::image_url::LocalLinks;
use shared::input::{InlineForm, InputPicture, InputValue, members};
use shared::problem::{Code, Detail, Problem};
use shared::task::fingerprint;

const MAX_PICTURES: usize = 3;
const MAX_N: u32 = 4;

/// A checked request. Not `Debug`, because none of it may be logged.
pub(crate) struct GenerateInput {
    /// 1..=4000 characters, trimmed.
    pub(crate) prompt: String,
    /// At most three, in the form that the upstreams of the route need. Links only if one of them accepts links.
    pub(crate) pictures: Vec<InputPicture>,
    /// The requested model and its upstreams.
    pub(crate) route: Arc<ImageRoute>,
    /// Number of pictures: 1..=4.
    pub(crate) n: u32,
    pub(crate) aspect_ratio: Option<AspectRatio>,
    pub(crate) format: Format,
    /// Pictures are delivered as links to their copies in the bucket, where pictures are kept.
    pub(crate) as_links: bool,
}

/// The form of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Chat,
    Events,
}

impl GenerateInput {
    /// Reads a JSON body. Unknown members are ignored, and `null` counts as absent.
    pub(crate) fn parse(body: &str, api: &ImageApiConfig, links: LocalLinks) -> Result<Self, Problem> {
        let names = ["prompt", "image_inputs", "n", "model", "aspect_ratio", "format", "delivery"];
        let [prompt, pictures, n, model, aspect_ratio, format, delivery] = members(body, names)?;
        let prompt = prompt.ok_or_else(|| Problem::invalid("/prompt", Detail::Required))?;
        let prompt = shared::input::prompt(&prompt)?;
        let n = n.map_or(Ok(1), |n| n.whole_number(1..=MAX_N))?;
        let route = self::route(model.as_ref(), api)?;
        let pictures = pictures.map_or(Ok(Vec::new()), |pictures| self::pictures(&pictures, &route, links))?;
        let aspect_ratio = aspect_ratio.as_ref().map(self::aspect_ratio).transpose()?;
        let format = format.map_or(Ok(Format::Chat), |format| self::format(&format))?;
        let as_links = delivery.map_or(Ok(false), |delivery| self::as_links(&delivery))?;
        Ok(Self { prompt, pictures, route, n, aspect_ratio, format, as_links })
    }

    /// The hash that identifies a repeated request. The form of the response and the route are not part of it.
    pub(crate) fn fingerprint(&self) -> String {
        let (n, ratio) = (self.n.to_string(), self.aspect_ratio.map_or("", |ratio| ratio.name));
        let pictures: Vec<_> = self.pictures.iter().map(InputPicture::identity).collect();
        let parts = [&*self.route.model, &n, ratio, &self.prompt];
        fingerprint(parts.into_iter().chain(pictures.iter().map(String::as_str)))
    }

    /// The upstreams of the route that can be sent this request, at least one.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &ImageTarget> {
        let has_links = self.pictures.iter().any(|picture| matches!(picture, InputPicture::Link(_)));
        self.route.targets.iter().filter(move |target| !has_links || target.upstream.mode.accepts_links())
    }

    /// Refuses several pictures if the response is the bytes of one picture.
    pub(crate) fn check_one(&self) -> Result<(), Problem> {
        match self.n {
            1 => Ok(()),
            _ => Err(Problem::invalid("/n", Detail::OnePictureOnly)),
        }
    }
}

fn pictures(value: &InputValue<'_>, route: &ImageRoute, links: LocalLinks) -> Result<Vec<InputPicture>, Problem> {
    let modes = || route.targets.iter().map(|target| target.upstream.mode);
    let form = if modes().all(|mode| mode == ImageApiMode::Images) { InlineForm::Bytes } else { InlineForm::DataUrl };
    let picture = |item: &InputValue<'_>| {
        let text = item.text()?;
        match (text.starts_with("http"), modes().find(|mode| !mode.accepts_links())) {
            (false, _) => InputPicture::inline(item, &text, form),
            (true, Some(mode)) if !modes().any(ImageApiMode::accepts_links) => {
                Err(item.refuse(Code::InvalidImage, Detail::LinkInMode { mode: mode.name() }))
            }
            (true, _) => InputPicture::link(item, &text, links),
        }
    };
    value.list(0..=MAX_PICTURES)?.iter().map(picture).collect()
}

fn route(value: Option<&InputValue<'_>>, api: &ImageApiConfig) -> Result<Arc<ImageRoute>, Problem> {
    let model = value.map(InputValue::text).transpose()?;
    match (api.route(model.as_deref()), value) {
        (Some(route), _) => Ok(route.clone()),
        (None, Some(value)) => Err(value.refuse(Code::ModelNotAllowed, Detail::ModelNotListed)),
        (None, None) => Err(Code::ServiceMisconfigured.into()),
    }
}

fn aspect_ratio(value: &InputValue<'_>) -> Result<AspectRatio, Problem> {
    AspectRatio::named(&value.text()?).ok_or_else(|| value.invalid(Detail::OneOf(AspectRatio::NAMES)))
}

fn format(value: &InputValue<'_>) -> Result<Format, Problem> {
    match &*value.text()? {
        "chat" => Ok(Format::Chat),
        "events" => Ok(Format::Events),
        _ => Err(value.invalid(Detail::OneOf(&["chat", "events"]))),
    }
}

fn as_links(value: &InputValue<'_>) -> Result<bool, Problem> {
    match &*value.text()? {
        "inline" => Ok(false),
        "url" => Ok(true),
        _ => Err(value.invalid(Detail::OneOf(&["inline", "url"]))),
    }
}

#[cfg(test)]
mod tests;
