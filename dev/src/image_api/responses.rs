//! Pictures in OpenAI's Responses API: the picture is in the item that is done, and once more at the end.

use bytes::Bytes;

use super::answer::{Answer, EVENT_STREAM, PICTURE_TOKENS, Rest};
use super::chat::base64;
use super::easel::Easel;
use super::request::Asked;

/// The answer as a stream of the Responses API.
pub(crate) fn answer(asked: &Asked, request_id: &str) -> Answer {
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
    let (before, input) = (opening.len(), asked.prompt_tokens());
    let rest = move |easel: &Easel| {
        let [_, draft] = easel.drafts();
        let (draft, picture) = (base64(&draft), base64(&easel.picture()));
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
        Rest { picture: numbered(before, events), closing: Vec::new() }
    };
    Answer { media_type: EVENT_STREAM, opening, rest: Box::new(rest) }
}

/// Events with their names and their numbers, the first of which is `from`.
fn numbered<const N: usize>(from: usize, events: [(&str, String); N]) -> Vec<Bytes> {
    let events = events.into_iter().zip(from..).map(|((name, members), number)| {
        format!(
            "event: response.{name}\ndata: {{\"type\":\"response.{name}\",\"sequence_number\":{number},{members}}}\n\n"
        )
        .into()
    });
    events.collect()
}
