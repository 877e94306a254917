//! Pictures in OpenAI's Responses API: the picture is in `output_item.done` and again in `completed`.

use bytes::Bytes;

use super::answer::{DrawnEvents, EVENT_STREAM, ImageApiAnswer, PICTURE_TOKENS};
use super::answer_pictures::AnswerPictures;
use super::chat::base64;
use super::request::ImageRequest;

/// The answer as a stream of the Responses API.
pub(crate) fn answer(request: &ImageRequest, request_id: &str) -> ImageApiAnswer {
    let response = format!(r#""id":"resp_{request_id}""#);
    let item = format!(r#""id":"ig_{request_id}","type":"image_generation_call""#);
    let call = format!(r#""output_index":0,"item_id":"ig_{request_id}""#);
    let opening = [
        ("created", format!(r#""response":{{{response},"status":"in_progress","output":[]}}"#)),
        ("output_item.added", format!(r#""output_index":0,"item":{{{item},"status":"in_progress"}}"#)),
        ("image_generation_call.in_progress", call.clone()),
        ("image_generation_call.generating", call.clone()),
    ];
    let opening = numbered(0, opening);
    let (before, input) = (opening.len(), request.prompt_tokens());
    let draw = move |pictures: &AnswerPictures| {
        let [_, draft] = pictures.drafts();
        let (draft, picture) = (base64(&draft), base64(&pictures.picture()));
        let item = format!(r#"{item},"status":"completed","result":"{picture}","output_format":"png""#);
        let (output, total) = (PICTURE_TOKENS, input + PICTURE_TOKENS);
        let usage = format!(r#"{{"input_tokens":{input},"output_tokens":{output},"total_tokens":{total}}}"#);
        let events = [
            (
                "image_generation_call.partial_image",
                format!(r#"{call},"partial_image_index":0,"partial_image_b64":"{draft}""#),
            ),
            ("image_generation_call.completed", call),
            ("output_item.done", format!(r#""output_index":0,"item":{{{item}}}"#)),
            (
                "completed",
                format!(r#""response":{{{response},"status":"completed","output":[{{{item}}}],"usage":{usage}}}"#),
            ),
        ];
        DrawnEvents { picture: numbered(before, events), closing: Vec::new() }
    };
    ImageApiAnswer { media_type: EVENT_STREAM, opening, draw: Box::new(draw) }
}

/// Encodes the events with sequence numbers that start at `from`.
fn numbered<const N: usize>(from: usize, events: [(&str, String); N]) -> Vec<Bytes> {
    let events = events.into_iter().zip(from..).map(|((name, members), number)| {
        format!(
            "event: response.{name}\ndata: {{\"type\":\"response.{name}\",\"sequence_number\":{number},{members}}}\n\n"
        )
        .into()
    });
    events.collect()
}
