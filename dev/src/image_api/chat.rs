//! Pictures in chat completions, in every shape that relays send.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;

use super::answer::{DrawnEvents, EVENT_STREAM, ImageApiAnswer, JSON, quoted, text_before_picture};
use super::answer_pictures::AnswerPictures;
use super::chunk::{ChunkStyle, Chunks};
use super::request::ImageRequest;
use crate::picture::Picture;
use crate::shape::Shape;

/// Base64 characters per delta of [`Shape::Deltas`].
const DELTA_CHARS: usize = 16 * 1024;
/// Base64 characters per line of [`Shape::Wrapped`].
const LINE_CHARS: usize = 76;
/// The ping of sse-starlette. The time in it is a constant here; no client reads it.
const PING: &str = ": ping - 2026-11-20 23:00:00.000000+00:00\r\n\r\n";

/// The answer in a `shape` of chat completions.
pub(crate) fn answer(shape: Shape, request: &ImageRequest, request_id: &str) -> ImageApiAnswer {
    let chunks = Chunks::new(style(shape), &request.model, request_id);
    let opening = opening(shape, &chunks, request);
    let text = text_before_picture(request.image_count).concat();
    let tokens = request.prompt_tokens();
    let draw = move |pictures: &AnswerPictures| {
        let choices = if shape == Shape::Choices { 2 } else { 1 };
        let closing = match shape {
            Shape::Json => Vec::new(),
            Shape::Message => vec![chunks.event("[DONE]")],
            _ => chunks.closing(choices, tokens),
        };
        DrawnEvents { picture: picture(shape, &chunks, &text, tokens, pictures), closing }
    };
    let media_type = if shape == Shape::Json { JSON } else { EVENT_STREAM };
    ImageApiAnswer { media_type, opening, draw: Box::new(draw) }
}

fn style(shape: Shape) -> ChunkStyle {
    match shape {
        Shape::Alt => ChunkStyle::Gcli,
        Shape::Escaped => ChunkStyle::Escaped,
        Shape::Crlf => ChunkStyle::Crlf,
        Shape::Images | Shape::Both => ChunkStyle::OpenRouter,
        Shape::LiteLlm => ChunkStyle::LiteLlm,
        Shape::Previews | Shape::Json => ChunkStyle::CliProxy,
        Shape::Parts => ChunkStyle::Laisky,
        _ => ChunkStyle::NewApi,
    }
}

fn opening(shape: Shape, chunks: &Chunks, request: &ImageRequest) -> Vec<Bytes> {
    let mut events: Vec<_> = chunks.role().into_iter().collect();
    match shape {
        // Blank lines keep the connection alive until the JSON is sent.
        Shape::Json => events.extend([Bytes::from_static(b"\n"), Bytes::from_static(b"\n"), Bytes::from_static(b"\n")]),
        // In these shapes the picture is the whole text, or the text is in the message.
        Shape::DataUrl | Shape::Base64 | Shape::Message => {}
        Shape::Choices => events.push(chunks.add_to(1, r#"{"content":"","role":"assistant"}"#)),
        Shape::Progress => {
            let fence =
                format!("```json\n{{\n  \"prompt\": {},\n  \"ratio\": \"1:1\"\n}}\n```\n\n", quoted(&request.prompt));
            let texts = [&fence, "> ID: `task_01k8sxz17gewz8kac074xz4crh`\n", "> 排队中..", ".", " 生成中.\n\n"];
            events.extend(texts.map(|text| chunks.text(text)));
        }
        _ => {
            if shape == Shape::Crlf {
                events.push(PING.into());
            }
            events.extend(text_before_picture(request.image_count).iter().map(|word| chunks.text(word)));
        }
    }
    events
}

/// The events that hold the picture.
fn picture(shape: Shape, chunks: &Chunks, text_before: &str, tokens: usize, pictures: &AnswerPictures) -> Vec<Bytes> {
    let drawn = || pictures.picture();
    let text = |text: String| vec![chunks.text(&text)];
    match shape {
        Shape::Whole | Shape::Escaped => text(markdown("image", &data_url(&drawn()))),
        Shape::Alt => text(format!("给你！\n\n{}", markdown("gemini-generated-content", &data_url(&drawn())))),
        Shape::Wrapped => text(wrapped(&drawn())),
        Shape::UrlSafe => {
            text(markdown("image", &format!("data:image/png;base64,{}", URL_SAFE_NO_PAD.encode(drawn().bytes))))
        }
        Shape::Mislabelled => text(markdown("image", &data_url(&drawn()).replace("image/png", "image/jpeg"))),
        Shape::Unclosed => text(format!("![image]({}", data_url(&drawn()))),
        Shape::DataUrl => text(data_url(&drawn())),
        Shape::Base64 => text(base64(&drawn())),
        Shape::Link => vec![one_hub(chunks, &pictures.link(), "")],
        Shape::UploadFailed => {
            let image = format!(r#","image":[{{"data":"{}"}}]"#, base64(&drawn()));
            vec![one_hub(chunks, "image upload err", &image)]
        }
        Shape::Progress => {
            let picture = format!("{}\n\n", markdown("gen_01jrw0e7j2fc2rp7evwe19y0q7", &pictures.link()));
            let download = format!("[点击下载]({})\n", pictures.download());
            let texts = ["> 🏃 进度 42..", "54..67..", "81..\n\n", "> 生成完成 ✅\n\n", &picture, &download];
            texts.map(|text| chunks.text(text)).into()
        }
        Shape::Drafts => every(pictures, |picture| chunks.text(&markdown("image", &data_url(picture)))),
        Shape::Twice => {
            let markdown = markdown("image", &data_url(&drawn()));
            vec![chunks.text(&markdown), chunks.text(&format!("\n{markdown}"))]
        }
        Shape::Several => {
            let both = [drawn(), pictures.further()].map(|picture| markdown("image", &data_url(&picture)));
            text(both.join("\n"))
        }
        Shape::Images | Shape::LiteLlm => vec![chunks.image(&data_url(&drawn()))],
        Shape::Previews => every(pictures, |picture| chunks.image(&data_url(picture))),
        Shape::Both => {
            let url = data_url(&drawn());
            let content = chunks.quoted(&markdown("image", &url));
            vec![chunks.add(&format!(r#"{{"role":"assistant","content":{content},{}}}"#, chunks.images(&url)))]
        }
        Shape::Parts => {
            let url = data_url(&drawn());
            let parts =
                format!(r#"[{{"type":"text","text":"给你："}},{{"type":"image_url","image_url":{{"url":"{url}"}}}}]"#);
            vec![chunks.add(&format!(r#"{{"role":"assistant","content":{parts}}}"#))]
        }
        Shape::Items => vec![chunks.add(&format!(r#"{{"images":[{{"b64_json":"{}"}}]}}"#, base64(&drawn())))],
        Shape::Message => {
            let content = quoted(&format!("{text_before}{}", markdown("image", &data_url(&drawn()))));
            vec![chunks.event(&chunks.completion(&format!(r#""role":"assistant","content":{content}"#), tokens))]
        }
        Shape::Json => {
            let (content, images) = (quoted(text_before), chunks.images(&data_url(&drawn())));
            let message = format!(
                r#""role":"assistant","content":{content},"reasoning_content":null,"tool_calls":null,{images}"#
            );
            vec![chunks.completion(&message, tokens).into()]
        }
        Shape::Choices => {
            let (first, second) = (pieces(&drawn()), pieces(&pictures.further()));
            in_turns(first, second)
                .map(|(choice, piece)| chunks.add_to(choice, &format!(r#"{{"content":{}}}"#, quoted(&piece))))
                .collect()
        }
        Shape::Crlf => {
            let pieces = pieces(&drawn());
            let half = pieces.len() / 2;
            let mut events: Vec<_> = pieces.iter().map(|piece| chunks.text(piece)).collect();
            events.insert(half, PING.into());
            events
        }
        // `deltas`. The shapes of other protocols do not reach this function.
        _ => pieces(&drawn()).iter().map(|piece| chunks.text(piece)).collect(),
    }
}

/// One event per draft, then one for the picture.
fn every(pictures: &AnswerPictures, event: impl Fn(&Picture) -> Bytes) -> Vec<Bytes> {
    pictures.drafts().iter().chain([&pictures.picture()]).map(event).collect()
}

/// one-hub's chunk, with `more` members after the text.
fn one_hub(chunks: &Chunks, link: &str, more: &str) -> Bytes {
    let content = quoted(&markdown("one-hub-gemini-image", link));
    chunks.add(&format!(r#"{{"role":"assistant","content":{content}{more}}}"#))
}

pub(crate) fn base64(picture: &Picture) -> String {
    STANDARD.encode(&picture.bytes)
}

fn data_url(picture: &Picture) -> String {
    format!("data:{};base64,{}", picture.media_type, base64(picture))
}

fn markdown(alt: &str, url: &str) -> String {
    format!("![{alt}]({url})")
}

/// The Markdown image in the pieces of the documented relay.
fn pieces(picture: &Picture) -> Vec<String> {
    let base64 = base64(picture);
    let (first, rest) = base64.split_at(base64.len().min(DELTA_CHARS));
    let mut pieces = vec!["!".to_owned(), "[image".to_owned()];
    pieces.push(format!("](data:{};base64,{first}", picture.media_type));
    pieces.extend(lines(rest, DELTA_CHARS));
    pieces.push(")".to_owned());
    pieces
}

/// The Markdown image with white space in every place where a client must accept it.
fn wrapped(picture: &Picture) -> String {
    let lines: Vec<_> = lines(&base64(picture), LINE_CHARS).collect();
    format!("![image](data: {}; base64,\n{}\n)", picture.media_type, lines.join("\n"))
}

/// Base64 in pieces of at most `chars` characters. It is ASCII, so every cut is between characters.
fn lines(base64: &str, chars: usize) -> impl Iterator<Item = String> {
    base64.as_bytes().chunks(chars).map(|piece| String::from_utf8_lossy(piece).into_owned())
}

/// The pieces of two choices in alternation, each with the number of its choice.
fn in_turns(first: Vec<String>, second: Vec<String>) -> impl Iterator<Item = (u32, String)> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let turns = std::iter::from_fn(move || {
        let turn: Vec<_> =
            first.next().map(|piece| (0, piece)).into_iter().chain(second.next().map(|piece| (1, piece))).collect();
        (!turn.is_empty()).then_some(turn)
    });
    turns.flatten()
}
