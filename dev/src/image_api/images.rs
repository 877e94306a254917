//! Pictures in OpenAI's images API, as events or as one JSON object.

use bytes::Bytes;

use super::answer::{DrawnEvents, EVENT_STREAM, ImageApiAnswer, JSON, PICTURE_TOKENS, quoted};
use super::answer_pictures::AnswerPictures;
use super::chat::base64;
use super::request::ImageRequest;
use super::size::Size;
use crate::picture::Picture;
use crate::shape::Shape;
use crate::timed_body::unix_seconds;

/// The members that describe the picture. Previews have the same ones, although they are smaller here.
fn facts(size: Size) -> String {
    format!(r#""size":"{size}","quality":"high","background":"opaque","output_format":"png""#)
}

/// The answer in a `shape` of the images API.
pub(crate) fn answer(shape: Shape, request: &ImageRequest) -> ImageApiAnswer {
    let prefix = if request.is_edit { "image_edit" } else { "image_generation" };
    let usage = usage(request);
    let revised = quoted(&request.prompt);
    let created = unix_seconds();
    // All, if the shape is played on another route.
    let previews = request.previews.unwrap_or(usize::MAX);
    let draw = move |pictures: &AnswerPictures| {
        let facts = facts(pictures.size());
        let picture = match shape {
            Shape::ImagesJson => {
                let data = base64(&pictures.picture());
                vec![
                    format!(r#"{{"created":{created},"data":[{{"b64_json":"{data}"}}],{facts},"usage":{usage}}}"#)
                        .into(),
                ]
            }
            Shape::ImagesUrl => {
                let url = quoted(&pictures.link());
                vec![format!(r#"{{"created":{created},"data":[{{"url":{url},"revised_prompt":{revised}}}]}}"#).into()]
            }
            _ => {
                let drafts = pictures.drafts();
                let previews = drafts.iter().take(previews).enumerate().map(|(index, draft)| {
                    event(prefix, "partial_image", draft, created, &format!(r#"{facts},"partial_image_index":{index}"#))
                });
                let completed =
                    event(prefix, "completed", &pictures.picture(), created, &format!(r#"{facts},"usage":{usage}"#));
                previews.chain([completed]).collect()
            }
        };
        DrawnEvents { picture, closing: Vec::new() }
    };
    let media_type = if shape == Shape::ImagesStream { EVENT_STREAM } else { JSON };
    ImageApiAnswer { media_type, opening: Vec::new(), draw: Box::new(draw) }
}

fn event(prefix: &str, name: &str, picture: &Picture, created: u64, more: &str) -> Bytes {
    let data = base64(picture);
    format!(
        "event: {prefix}.{name}\ndata: {{\"type\":\"{prefix}.{name}\",\"b64_json\":\"{data}\",\
         \"created_at\":{created},{more}}}\n\n"
    )
    .into()
}

fn usage(request: &ImageRequest) -> String {
    let input = request.prompt_tokens();
    let (text, images) = (request.prompt.chars().count(), 258 * request.image_count);
    let total = input + PICTURE_TOKENS;
    format!(
        r#"{{"total_tokens":{total},"input_tokens":{input},"output_tokens":{PICTURE_TOKENS},"input_tokens_details":{{"text_tokens":{text},"image_tokens":{images}}}}}"#
    )
}
