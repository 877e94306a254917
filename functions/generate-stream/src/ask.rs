//! What the image API is asked, in its mode.

use shared::config::{ImageApi, Mode};
use shared::edge::{Asked, File, KeyAs, KeyStore, Post};
use shared::media::{self, data_url};
use shared::problem::Code;
use shared::secret::Secret;
use shared::upstream::{chat, gemini, images};

use crate::request::GenerateRequest;

/// Asks for one picture. Several are asked for by asking several times.
pub(crate) async fn ask<'a>(
    api: &ImageApi,
    wanted: &GenerateRequest,
    key: Secret,
    keys: &'a KeyStore,
    request_id: &'a str,
) -> Result<Post<'a>, Code> {
    let GenerateRequest { prompt, images, model, .. } = wanted;
    // Links pass in mode chat only.
    let inline = images.iter().filter_map(|image| data_url::parts(image));
    let (url, key_as, body) = match api.mode {
        Mode::Chat => {
            let body = chat::Request::new(model, prompt, images.iter().map(String::as_str));
            (api.endpoint("/v1/chat/completions"), KeyAs::Bearer, Asked::json(&body)?)
        }
        Mode::Images if images.is_empty() => {
            let body = images::Request::new(model, prompt);
            (api.endpoint("/v1/images/generations"), KeyAs::Bearer, Asked::json(&body)?)
        }
        Mode::Images => {
            let field = images::edit_image_field(images.len());
            let mut files = Vec::new();
            for ((media_type, payload), number) in inline.zip(1..) {
                let ending = media_type.rsplit('/').next().unwrap_or_default();
                let bytes = media::decode(payload).ok_or(Code::InternalError)?;
                files.push(File { field, name: format!("image-{number}.{ending}"), media_type, bytes });
            }
            let body = Asked::form(images::edit_fields(model, prompt), files).await?;
            (api.endpoint("/v1/images/edits"), KeyAs::Bearer, body)
        }
        Mode::Gemini => {
            let inline = inline.map(|(mime_type, data)| gemini::Inline { mime_type, data });
            let body = gemini::Request::new(prompt, inline);
            (api.gemini_endpoint(model), KeyAs::GoogApiKey, Asked::json(&body)?)
        }
    };
    Ok(Post { url, key, key_as, keys, body, request_id })
}
