//! The request to the image API in each mode. `docs/upstream-requests.md` lists the bodies and their sources.

mod image_size;

use shared::config::{GenerateConfig, ImageApiMode, ImageTarget};
use shared::edge::{FormFile, KeyStore, Post, RequestBody};
use shared::input::InputPicture;
use shared::problem::Code;
use shared::upstream::ark::{ArkRequest, ArkSettings};
use shared::upstream::{chat, gemini, images};

use self::image_size::{ark_size, image_size};
use crate::input::GenerateInput;

/// The request for one picture. Several pictures are several such requests. `shows_previews`: so does the response.
pub(crate) fn upstream_request<'a>(
    config: &GenerateConfig,
    target: &'a ImageTarget,
    input: &GenerateInput,
    shows_previews: bool,
    keys: &'a KeyStore,
    request_id: &'a str,
) -> Result<Post<'a>, Code> {
    let GenerateInput { prompt, pictures, aspect_ratio, .. } = input;
    let (api, model) = (&*target.upstream, target.model.as_str());
    let ratio = aspect_ratio.map(|ratio| ratio.name);
    let size = aspect_ratio.map(|ratio| image_size(model, ratio));
    let previews = if shows_previews { config.image_api.previews } else { 0 };
    let images = || images::ImagesRequest::new(model, prompt, previews, size.as_deref());
    let (url, body) = match api.mode {
        ImageApiMode::Chat => {
            let urls = all(pictures.iter().map(InputPicture::url))?;
            let body = chat::ChatRequest::new(model, prompt, urls, ratio);
            (api.endpoint("/v1/chat/completions"), RequestBody::json(&body)?)
        }
        ImageApiMode::Images if pictures.is_empty() => {
            (api.endpoint("/v1/images/generations"), RequestBody::json(&images())?)
        }
        ImageApiMode::Images => {
            let field = images::edit_image_field(pictures.len());
            let files = all(pictures.iter().zip(1..).map(|(picture, number)| file(picture, field, number)))?;
            let body = RequestBody::form(images().form_fields(), files)?;
            (api.endpoint("/v1/images/edits"), body)
        }
        ImageApiMode::Gemini => {
            let inline = all(pictures.iter().map(inline))?;
            let body = gemini::GeminiRequest::new(prompt, inline, ratio);
            (api.gemini_endpoint(model), RequestBody::json(&body)?)
        }
        ImageApiMode::Ark => {
            let urls = all(pictures.iter().map(InputPicture::url))?;
            let family = target.family;
            let size = aspect_ratio.and_then(|ratio| ark_size(family, ratio)).unwrap_or(&config.ark_size);
            let watermark = config.ark_watermark;
            let settings = ArkSettings { model, family, prompt, size, max_images: 1, watermark };
            (api.endpoint("/images/generations"), RequestBody::json(&ArkRequest::new(settings, &urls))?)
        }
    };
    Ok(Post { url, upstream: &api.name, keys, key_as: api.key_as, body, request_id })
}

/// All pictures in the form that the mode needs; [`GenerateInput::targets`] has no mode that cannot have them.
fn all<T>(pictures: impl Iterator<Item = Option<T>>) -> Result<Vec<T>, Code> {
    pictures.collect::<Option<_>>().ok_or(Code::InternalError)
}

fn inline(picture: &InputPicture) -> Option<gemini::Inline<'_>> {
    let InputPicture::Inline(picture) = picture else { return None };
    Some(gemini::Inline { mime_type: picture.media_type.as_str(), data: picture.base64()? })
}

fn file(picture: &InputPicture, field: &'static str, number: usize) -> Option<FormFile<'static>> {
    let InputPicture::Inline(picture) = picture else { return None };
    let media_type = picture.media_type.as_str();
    let ending = media_type.rsplit('/').next()?;
    Some(FormFile { field, name: format!("image-{number}.{ending}"), media_type, bytes: picture.bytes()? })
}
