//! Pictures in OpenAI's images API, as events or as one JSON object.

use bytes::Bytes;

use super::answer::{Answer, EVENT_STREAM, JSON, PICTURE_TOKENS, Rest, quoted};
use super::chat::base64;
use super::easel::Easel;
use super::request::Asked;
use super::size::Size;
use crate::picture::Picture;
use crate::script::unix_seconds;
use crate::shape::Shape;

/// What every answer says of its picture; previews too, which are smaller here to be told apart.
fn facts(size: Size) -> String {
    format!(r#""size":"{size}","quality":"high","background":"opaque","output_format":"png""#)
}

/// The answer in a `shape` of the images API.
pub(crate) fn answer(shape: Shape, asked: &Asked) -> Answer {
    let prefix = if asked.is_edit { "image_edit" } else { "image_generation" };
    let usage = usage(asked);
    let revised = quoted(&asked.prompt);
    let created = unix_seconds();
    let rest = move |easel: &Easel| {
        let facts = facts(easel.size());
        let picture = match shape {
            Shape::ImagesJson => {
                let data = base64(&easel.picture());
                vec![
                    format!(r#"{{"created":{created},"data":[{{"b64_json":"{data}"}}],{facts},"usage":{usage}}}"#)
                        .into(),
                ]
            }
            Shape::ImagesUrl => {
                let url = quoted(&easel.link());
                vec![format!(r#"{{"created":{created},"data":[{{"url":{url},"revised_prompt":{revised}}}]}}"#).into()]
            }
            _ => {
                let drafts = easel.drafts();
                let previews = drafts.iter().enumerate().map(|(index, draft)| {
                    event(prefix, "partial_image", draft, created, &format!(r#"{facts},"partial_image_index":{index}"#))
                });
                let completed =
                    event(prefix, "completed", &easel.picture(), created, &format!(r#"{facts},"usage":{usage}"#));
                previews.chain([completed]).collect()
            }
        };
        Rest { picture, closing: Vec::new() }
    };
    let media_type = if shape == Shape::ImagesStream { EVENT_STREAM } else { JSON };
    Answer { media_type, opening: Vec::new(), rest: Box::new(rest) }
}

fn event(prefix: &str, name: &str, picture: &Picture, created: u64, more: &str) -> Bytes {
    let data = base64(picture);
    format!(
        "event: {prefix}.{name}\ndata: {{\"type\":\"{prefix}.{name}\",\"b64_json\":\"{data}\",\
         \"created_at\":{created},{more}}}\n\n"
    )
    .into()
}

fn usage(asked: &Asked) -> String {
    let input = asked.prompt_tokens();
    let (text, images) = (asked.prompt.chars().count(), 258 * asked.image_count);
    let total = input + PICTURE_TOKENS;
    format!(
        r#"{{"total_tokens":{total},"input_tokens":{input},"output_tokens":{PICTURE_TOKENS},"input_tokens_details":{{"text_tokens":{text},"image_tokens":{images}}}}}"#
    )
}
