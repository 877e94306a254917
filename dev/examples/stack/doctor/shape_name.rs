//! The name of an answer's shape: that of the simulators, or of ARK.

use std::collections::{BTreeMap, BTreeSet};

use dev::Shape;
use serde_json::Value;

use super::recording::{AnswerForm, Recording};
use super::sighting::{ChoiceText, PictureSighting, SightedForm};

/// The name and a description. `None` if the answer has none of the known shapes.
pub(super) fn shape_name(
    recording: &Recording,
    texts: &BTreeMap<u64, ChoiceText>,
    pictures: &[PictureSighting],
) -> Option<(&'static str, &'static str)> {
    let has = |test: &dyn Fn(&Value) -> bool| recording.documents.iter().any(|document| test(&document.data));
    let kind = |data: &Value| data["type"].as_str().unwrap_or_default().to_owned();
    let shape = if has(&|data| data.get("candidates").is_some() || data["response"].get("candidates").is_some()) {
        gemini(recording, pictures)
    } else if has(&|data| kind(data).starts_with("response.") || data["object"] == "response") {
        Some(Shape::Responses)
    } else if has(&|data| kind(data).starts_with("image_generation.partial_") && kind(data).ends_with("ed")) {
        return Some(("ark-stream", "one event per picture with a link, then the usage (ARK, Seedream)"));
    } else if has(&|data| kind(data).starts_with("image_generation.") || kind(data).starts_with("image_edit.")) {
        Some(Shape::ImagesStream)
    } else if has(&|data| data["choices"].is_array()) {
        chat(recording, texts, pictures)
    } else if has(&|data| data["data"].is_array() && data["usage"].get("generated_images").is_some()) {
        return Some((
            "ark-json",
            "one JSON object with `data[]` and the number of pictures, no stream (ARK, Seedream)",
        ));
    } else {
        match pictures.first()? {
            picture if !picture.path.starts_with("data[") => None,
            picture if picture.form == SightedForm::Link => Some(Shape::ImagesUrl),
            _ => Some(Shape::ImagesJson),
        }
    };
    shape.map(|shape| (shape.name(), shape.description()))
}

fn gemini(recording: &Recording, pictures: &[PictureSighting]) -> Option<Shape> {
    let is_thought = |part: &Value| {
        part["thought"] == true && (part.get("inlineData").is_some() || part.get("inline_data").is_some())
    };
    let candidates = recording.documents.iter().flat_map(|document| {
        let data = &document.data;
        [&data["candidates"], &data["response"]["candidates"]].into_iter().filter_map(Value::as_array).flatten()
    });
    let mut parts = candidates.flat_map(|candidate| candidate["content"]["parts"].as_array()).flatten();
    if parts.any(is_thought) {
        return Some(Shape::GeminiDrafts);
    }
    match &pictures.first()?.path {
        path if path.contains("inline_data") => Some(Shape::GeminiSnake),
        path if path.contains("fileData") || path.contains("file_data") => Some(Shape::GeminiFile),
        path if path.contains("inlineData") => Some(Shape::Gemini),
        _ => None,
    }
}

fn chat(recording: &Recording, texts: &BTreeMap<u64, ChoiceText>, pictures: &[PictureSighting]) -> Option<Shape> {
    if recording.form == AnswerForm::Document {
        return Some(Shape::Json);
    }
    let in_text = |picture: &&PictureSighting| picture.path.ends_with(".content");
    let has_part = |part: &str| pictures.iter().any(|picture| picture.path.contains(part));
    let choices = recording.documents.iter().filter_map(|document| document.data["choices"].as_array()).flatten();
    let choices: Vec<_> = choices.collect();
    let payloads = |part: &str| -> BTreeSet<&str> {
        pictures.iter().filter(|picture| picture.path.contains(part)).map(|picture| &*picture.payload).collect()
    };
    if choices.iter().any(|choice| choice["message"].is_object()) {
        return Some(Shape::Message);
    }
    if has_part(".content[") {
        return Some(Shape::Parts);
    }
    if has_part(".images[") {
        let has_detail = |choice: &&Value| {
            let images = choice["delta"]["images"].as_array().into_iter().flatten();
            images.into_iter().any(|image| image["image_url"].get("detail").is_some())
        };
        return Some(match () {
            () if pictures.iter().any(|picture| in_text(&picture)) => Shape::Both,
            () if has_part(".b64_json") => Shape::Items,
            () if choices.iter().any(has_detail) => Shape::LiteLlm,
            () if payloads(".images[").len() > 1 => Shape::Previews,
            () => Shape::Images,
        });
    }
    if has_part(".image[") || has_part(".image.") {
        return Some(Shape::UploadFailed);
    }
    let of_text: Vec<_> = pictures.iter().filter(in_text).collect();
    let first = of_text.first()?;
    let text = texts.values().next().map_or("", |text| &text.text);
    if texts.values().filter(|text| text.text.contains("![")).count() > 1 {
        return Some(Shape::Choices);
    }
    let Some(markdown) = &first.markdown else {
        return match first.form {
            SightedForm::DataUrl => Some(Shape::DataUrl),
            SightedForm::Base64 => Some(Shape::Base64),
            SightedForm::Link => None,
        };
    };
    if first.form == SightedForm::Link {
        let has_progress = text.matches("](http").count() > 1 || text.contains("```");
        return Some(if has_progress { Shape::Progress } else { Shape::Link });
    }
    let distinct: BTreeSet<_> = of_text.iter().map(|picture| &*picture.payload).collect();
    let documents: BTreeSet<_> = of_text.iter().map(|picture| picture.documents.0).collect();
    let raw = recording.documents.get(first.documents.0).map_or("", |document| &document.raw);
    Some(match () {
        () if of_text.len() > 1 && distinct.len() == 1 => Shape::Twice,
        () if distinct.len() > 1 && documents.len() == 1 => Shape::Several,
        () if distinct.len() > 1 => Shape::Drafts,
        () if !markdown.is_closed => Shape::Unclosed,
        () if first.is_wrapped => Shape::Wrapped,
        () if is_url_safe(first) => Shape::UrlSafe,
        () if is_mislabelled(first) => Shape::Mislabelled,
        () if is_escaped(raw) => Shape::Escaped,
        () if markdown.alt != "image" => Shape::Alt,
        () if recording.has_crlf => Shape::Crlf,
        () if first.documents.0 != first.documents.1 => Shape::Deltas,
        () => Shape::Whole,
    })
}

/// Whether the base64 has the URL-safe alphabet.
pub(super) fn is_url_safe(picture: &PictureSighting) -> bool {
    picture.form != SightedForm::Link && picture.payload.contains(['-', '_'])
}

/// Whether the media type of a data URL is not that of its bytes.
pub(super) fn is_mislabelled(picture: &PictureSighting) -> bool {
    let label = picture.label.as_deref().map(|label| label.replace("image/jpg", "image/jpeg"));
    picture.sniffed().is_some_and(|sniffed| label.is_some_and(|label| !label.starts_with(sniffed)))
}

/// Whether a document escapes characters of base64.
pub(super) fn is_escaped(raw: &str) -> bool {
    ["image\\/", "\\u002B", "\\u002b", "\\u002F", "\\u002f", "\\u003D", "\\u003d"]
        .iter()
        .any(|escape| raw.contains(escape))
}
