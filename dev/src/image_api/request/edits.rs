//! The only request that is accepted at `POST /v1/images/edits`: a form with files.

use std::collections::BTreeMap;

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header;

use super::ImageRequest;
use super::images_options::ImagesOptions;
use crate::image_api::size::Size;
use crate::input::{self, RefusedInput};

/// OpenAI's limit of input pictures per prompt.
const MAX_IMAGES: usize = 16;
/// The names of the text fields.
const TEXTS: [&str; 7] = ["model", "n", "partial_images", "prompt", "response_format", "size", "stream"];

/// Parses a request. The error is a sentence that names the first mistake.
pub(crate) async fn parse(request: Request) -> Result<ImageRequest, RefusedInput> {
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|why| RefusedInput::new(format!("the body must be multipart/form-data: {why}")))?;
    let (mut texts, mut images) = (BTreeMap::new(), Vec::new());
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        let known = [header::CONTENT_DISPOSITION, header::CONTENT_TYPE];
        input::require(
            field.headers().keys().all(|header| known.contains(header)),
            "a part may have Content-Disposition and Content-Type only",
        )?;
        match TEXTS.iter().find(|text| **text == name) {
            Some(text) => {
                let is_new = texts.insert(*text, self::text(field).await?).is_none();
                input::require(is_new, &format!("duplicate field `{text}`"))?;
            }
            None => {
                input::require(["image", "image[]"].contains(&name.as_str()), &format!("unknown field `{name}`"))?;
                check_file(field).await?;
                images.push(name);
            }
        }
    }
    input::require((1..=MAX_IMAGES).contains(&images.len()), "there must be 1 to 16 images")?;
    let image = if images.len() == 1 { "image" } else { "image[]" };
    input::require(images.iter().all(|name| name == image), "the field of one image is `image`, of several `image[]`")?;

    let size = texts.remove("size");
    let stream = texts.remove("stream").map(|stream| stream.parse()).transpose();
    let previews = texts.remove("partial_images").map(|previews| previews.parse()).transpose();
    let (Ok(stream), Ok(partial_images)) = (stream, previews) else {
        return Err(RefusedInput::new("stream must be true or false, partial_images a number"));
    };
    let options = ImagesOptions { stream, partial_images, response_format: texts.remove("response_format") };
    let mut text = |name: &str| texts.remove(name).ok_or_else(|| RefusedInput::new(format!("missing field `{name}`")));
    let (model, prompt) = (text("model")?, text("prompt")?);
    input::require(text("n")? == "1", "n must be 1")?;
    let (images_shape, previews) = (Some(options.shape(&model)?), Some(partial_images.unwrap_or(0)));
    let size = size.map(|size| Size::of_openai(&model, &size)).transpose()?;
    let request = ImageRequest::new(model, prompt, images.len(), size)?;
    Ok(ImageRequest { is_edit: true, images_shape, previews, ..request })
}

/// The value of a text field. It has no filename and no Content-Type.
async fn text(field: Field<'_>) -> Result<String, RefusedInput> {
    let is_text = field.file_name().is_none() && field.content_type().is_none();
    input::require(is_text, "a text field has neither a filename nor a Content-Type")?;
    let bytes = field.bytes().await.map_err(broken)?;
    String::from_utf8(bytes.into()).map_err(|_| RefusedInput::new("a text field must be UTF-8"))
}

async fn check_file(field: Field<'_>) -> Result<(), RefusedInput> {
    input::require(field.file_name().is_some_and(|name| !name.is_empty()), "an image must have a filename")?;
    let media_type = field.content_type().unwrap_or_default().to_owned();
    let bytes = field.bytes().await.map_err(broken)?;
    input::check_file(&media_type, &bytes)
}

fn broken(error: MultipartError) -> RefusedInput {
    RefusedInput::new(error.body_text())
}
