//! The request to the image API in each mode. `docs/upstream-requests.md` lists the bodies and their sources.

mod image_size;

use shared::config::{ImageApiConfig, ImageApiMode};
use shared::edge::{FormFile, KeyAs, KeyStore, Post, RequestBody};
use shared::input::{InlineContent, InputPicture};
use shared::problem::Code;
use shared::secret::Secret;
use shared::upstream::{chat, gemini, images};

use self::image_size::image_size;
use crate::input::GenerateInput;

/// The request for one picture. Several pictures are several such requests. `shows_previews`: so does the response.
pub(crate) async fn upstream_request<'a>(
    api: &ImageApiConfig,
    input: GenerateInput,
    shows_previews: bool,
    key: Secret,
    keys: &'a KeyStore,
    request_id: &'a str,
) -> Result<Post<'a>, Code> {
    let GenerateInput { prompt, pictures, model, aspect_ratio, .. } = input;
    let ratio = aspect_ratio.map(|ratio| ratio.name);
    let size = aspect_ratio.map(|ratio| image_size(&model, ratio));
    let previews = if shows_previews { api.previews } else { 0 };
    let images = || images::ImagesRequest::new(&model, &prompt, previews, size.as_deref());
    let (url, key_as, body) = match api.mode {
        ImageApiMode::Chat => {
            let urls = all(pictures.iter().map(InputPicture::url))?;
            let body = chat::ChatRequest::new(&model, &prompt, urls, ratio);
            (api.endpoint("/v1/chat/completions"), KeyAs::Bearer, RequestBody::json(&body)?)
        }
        ImageApiMode::Images if pictures.is_empty() => {
            (api.endpoint("/v1/images/generations"), KeyAs::Bearer, RequestBody::json(&images())?)
        }
        ImageApiMode::Images => {
            let field = images::edit_image_field(pictures.len());
            let files = all(pictures.into_iter().zip(1..).map(|(picture, number)| file(picture, field, number)))?;
            let body = RequestBody::form(images().form_fields(), files).await?;
            (api.endpoint("/v1/images/edits"), KeyAs::Bearer, body)
        }
        ImageApiMode::Gemini => {
            let inline = all(pictures.iter().map(inline))?;
            let body = gemini::GeminiRequest::new(&prompt, inline, ratio);
            (api.gemini_endpoint(&model), KeyAs::GoogApiKey, RequestBody::json(&body)?)
        }
    };
    Ok(Post { url, key, key_as, keys, body, request_id })
}

/// All pictures in the form that the mode needs, as [`GenerateInput::parse`] has stored them.
fn all<T>(pictures: impl Iterator<Item = Option<T>>) -> Result<Vec<T>, Code> {
    pictures.collect::<Option<_>>().ok_or(Code::InternalError)
}

fn inline(picture: &InputPicture) -> Option<gemini::Inline<'_>> {
    let InputPicture::Inline(picture) = picture else { return None };
    Some(gemini::Inline { mime_type: picture.media_type.as_str(), data: picture.base64()? })
}

fn file(picture: InputPicture, field: &'static str, number: usize) -> Option<FormFile<'static>> {
    let InputPicture::Inline(picture) = picture else { return None };
    let InlineContent::Bytes(bytes) = picture.content else { return None };
    let media_type = picture.media_type.as_str();
    let ending = media_type.rsplit('/').next()?;
    Some(FormFile { field, name: format!("image-{number}.{ending}"), media_type, bytes })
}
