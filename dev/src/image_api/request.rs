//! The one chat request that the relay accepts. The real ones forgive much; a fake that did would
//! hide our mistakes.

use axum::http::HeaderMap;
use serde::Deserialize;

use crate::input::{self, Refused};

/// Pictures that the model takes with one prompt.
const MAX_IMAGES: usize = 3;

/// A request that was checked.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    model: String,
    prompt: String,
    images: Vec<String>,
}

impl ChatRequest {
    /// Reads a request, or says in words what is wrong with it.
    pub(crate) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refused> {
        let wire: Wire = input::read_json(headers, body)?;
        input::require(!wire.model.is_empty(), "model must not be empty")?;
        input::require(wire.stream, "only stream: true is served")?;
        input::require(wire.stream_options.include_usage, "include_usage must be true")?;
        input::require(wire.modalities == ["text", "image"], "modalities must be text, image")?;
        let [message] =
            <[Message; 1]>::try_from(wire.messages).map_err(|_| Refused("there must be one message".to_owned()))?;
        input::require(message.role == "user", "the message must be the user's")?;

        let mut parts = message.content.into_iter();
        let Some(Part::Text { text: prompt }) = parts.next() else {
            return Err(Refused("the first part must be the text".to_owned()));
        };
        input::require(!prompt.is_empty(), "the text must not be empty")?;
        let images = parts.map(image).collect::<Result<Vec<_>, _>>()?;
        input::require(images.len() <= MAX_IMAGES, "there must be at most 3 images")?;
        Ok(Self { model: wire.model, prompt, images })
    }

    /// The model as it was asked for, with its shape.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The shape behind the model's `@`.
    pub(crate) fn shape(&self) -> Option<&str> {
        self.model.split_once('@').map(|(_, shape)| shape)
    }

    /// The text part.
    pub(crate) fn prompt(&self) -> &str {
        &self.prompt
    }

    /// How many images came with the text.
    pub(crate) fn image_count(&self) -> usize {
        self.images.len()
    }
}

fn image(part: Part) -> Result<String, Refused> {
    let Part::ImageUrl { image_url } = part else {
        return Err(Refused("every part after the first must be an image".to_owned()));
    };
    input::check_image(&image_url.url)?;
    Ok(image_url.url)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    model: String,
    stream: bool,
    stream_options: StreamOptions,
    modalities: Vec<String>,
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: String,
    content: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Part {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageUrl {
    url: String,
}
