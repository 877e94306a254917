//! Pictures in the events of Google's `streamGenerateContent`: one event per picture.

use bytes::Bytes;

use super::answer::{DrawnEvents, EVENT_STREAM, ImageApiAnswer, PICTURE_TOKENS, quoted, text_before_picture};
use super::answer_pictures::AnswerPictures;
use super::chat::base64;
use super::request::ImageRequest;
use crate::picture::Picture;
use crate::shape::Shape;

/// The answer in a `shape` of `streamGenerateContent`.
pub(crate) fn answer(shape: Shape, request: &ImageRequest, request_id: &str) -> ImageApiAnswer {
    let events = GeminiEvents {
        // Google ends lines with CRLF. Proxies that write protobuf's names end them with LF.
        end: if shape == Shape::GeminiSnake { "\n\n" } else { "\r\n\r\n" },
        model: quoted(&request.model),
        id: quoted(request_id),
    };
    let text = text_before_picture(request.image_count);
    let opening = match shape {
        Shape::GeminiDrafts => vec![events.part(r#"{"text":"构思画面。","thought":true}"#)],
        _ => text.iter().map(|word| events.part(&format!(r#"{{"text":{}}}"#, quoted(word)))).collect(),
    };
    let prompt_tokens = request.prompt_tokens();
    let draw = move |pictures: &AnswerPictures| DrawnEvents {
        picture: picture(shape, &events, pictures),
        closing: vec![events.last(prompt_tokens)],
    };
    ImageApiAnswer { media_type: EVENT_STREAM, opening, draw: Box::new(draw) }
}

fn picture(shape: Shape, events: &GeminiEvents, pictures: &AnswerPictures) -> Vec<Bytes> {
    match shape {
        Shape::GeminiSnake => {
            let picture = pictures.picture();
            let (media_type, data) = (picture.media_type, base64(&picture));
            vec![events.part(&format!(r#"{{"inline_data":{{"mime_type":"{media_type}","data":"{data}"}}}}"#))]
        }
        Shape::GeminiFile => {
            let uri = quoted(&pictures.link());
            vec![events.part(&format!(r#"{{"fileData":{{"mimeType":"image/png","fileUri":{uri}}}}}"#))]
        }
        Shape::GeminiDrafts => {
            let [first, second] = pictures.drafts();
            vec![
                events.part(&inline(&first, r#","thought":true"#)),
                events.part(r#"{"text":"调整光线与构图。","thought":true}"#),
                events.part(&inline(&second, r#","thought":true"#)),
                events.part(&inline(&pictures.picture(), r#","thoughtSignature":"QUJD""#)),
            ]
        }
        _ => vec![events.part(&inline(&pictures.picture(), ""))],
    }
}

fn inline(picture: &Picture, more: &str) -> String {
    let (media_type, data) = (picture.media_type, base64(picture));
    format!(r#"{{"inlineData":{{"mimeType":"{media_type}","data":"{data}"}}{more}}}"#)
}

/// The parts that are the same in all events of one answer.
struct GeminiEvents {
    end: &'static str,
    model: String,
    id: String,
}

impl GeminiEvents {
    fn part(&self, part: &str) -> Bytes {
        self.event(&format!(r#""content":{{"parts":[{part}],"role":"model"}}"#), "")
    }

    /// The event with the finish reason and the token counts.
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
