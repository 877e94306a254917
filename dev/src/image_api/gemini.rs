//! Pictures in Google's own events: one picture is one event.

use bytes::Bytes;

use super::answer::{Answer, EVENT_STREAM, PICTURE_TOKENS, Rest, quoted, said_beside};
use super::chat::base64;
use super::easel::Easel;
use super::request::Asked;
use crate::picture::Picture;
use crate::shape::Shape;

/// The answer in a `shape` of `streamGenerateContent`.
pub(crate) fn answer(shape: Shape, asked: &Asked, request_id: &str) -> Answer {
    let events = Events {
        // Google ends lines with CRLF; who writes protobuf's names is no Google, and does not.
        end: if shape == Shape::GeminiSnake { "\n\n" } else { "\r\n\r\n" },
        model: quoted(&asked.model),
        id: quoted(request_id),
    };
    let said = said_beside(asked.image_count);
    let opening = match shape {
        Shape::GeminiDrafts => vec![events.part(r#"{"text":"构思画面。","thought":true}"#)],
        _ => said.iter().map(|word| events.part(&format!(r#"{{"text":{}}}"#, quoted(word)))).collect(),
    };
    let prompt_tokens = asked.prompt_tokens();
    let rest = move |easel: &Easel| Rest {
        picture: picture(shape, &events, easel),
        closing: vec![events.last(prompt_tokens)],
    };
    Answer { media_type: EVENT_STREAM, opening, rest: Box::new(rest) }
}

fn picture(shape: Shape, events: &Events, easel: &Easel) -> Vec<Bytes> {
    match shape {
        Shape::GeminiSnake => {
            let picture = easel.picture();
            let (media_type, data) = (picture.media_type, base64(&picture));
            vec![events.part(&format!(r#"{{"inline_data":{{"mime_type":"{media_type}","data":"{data}"}}}}"#))]
        }
        Shape::GeminiFile => {
            let uri = quoted(&easel.link());
            vec![events.part(&format!(r#"{{"fileData":{{"mimeType":"image/png","fileUri":{uri}}}}}"#))]
        }
        Shape::GeminiDrafts => {
            let [first, second] = easel.drafts();
            vec![
                events.part(&inline(&first, r#","thought":true"#)),
                events.part(r#"{"text":"调整光线与构图。","thought":true}"#),
                events.part(&inline(&second, r#","thought":true"#)),
                events.part(&inline(&easel.picture(), r#","thoughtSignature":"QUJD""#)),
            ]
        }
        _ => vec![events.part(&inline(&easel.picture(), ""))],
    }
}

fn inline(picture: &Picture, more: &str) -> String {
    let (media_type, data) = (picture.media_type, base64(picture));
    format!(r#"{{"inlineData":{{"mimeType":"{media_type}","data":"{data}"}}{more}}}"#)
}

/// What all events of one answer share.
struct Events {
    end: &'static str,
    model: String,
    id: String,
}

impl Events {
    fn part(&self, part: &str) -> Bytes {
        self.event(&format!(r#""content":{{"parts":[{part}],"role":"model"}}"#), "")
    }

    /// The one with the reason to stop and the token counts.
    fn last(&self, prompt_tokens: usize) -> Bytes {
        let total = prompt_tokens + PICTURE_TOKENS;
        let usage = format!(
            r#""usageMetadata":{{"promptTokenCount":{prompt_tokens},"candidatesTokenCount":{PICTURE_TOKENS},"totalTokenCount":{total},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{prompt_tokens}}}],"candidatesTokensDetails":[{{"modality":"IMAGE","tokenCount":{PICTURE_TOKENS}}}]}},"#
        );
        self.event(r#""content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP""#, &usage)
    }

    fn event(&self, candidate: &str, usage: &str) -> Bytes {
        let Self { end, model, id } = self;
        format!(
            r#"data: {{"candidates":[{{{candidate},"index":0}}],{usage}"modelVersion":{model},"responseId":{id}}}{end}"#
        )
        .into()
    }
}
