//! The only request that each route accepts. The real services ignore many mistakes; this fake reports them.

pub(super) mod chat;
pub(super) mod edits;
pub(super) mod gemini;
pub(super) mod generations;
mod images_options;

use super::size::Size;
use crate::input::{RefusedInput, require};
use crate::shape::Shape;

/// Limit of input pictures per prompt of a Gemini model.
const MAX_GEMINI_IMAGES: usize = 3;

/// A valid request of any route.
#[derive(Debug)]
pub(crate) struct ImageRequest {
    /// The model as requested, with its shape.
    pub(crate) model: String,
    /// The prompt.
    pub(crate) prompt: String,
    /// Number of input pictures.
    pub(crate) image_count: usize,
    /// Whether the request is an edit.
    pub(crate) is_edit: bool,
    /// The size of the picture, in pixels.
    pub(crate) size: Size,
    /// In the images API: the shape that the request asks for.
    pub(crate) images_shape: Option<Shape>,
    /// In the images API: the number of previews that it asks for.
    pub(crate) previews: Option<usize>,
}

impl ImageRequest {
    /// Checks the rules that all routes share.
    fn new(model: String, prompt: String, image_count: usize, size: Option<Size>) -> Result<Self, RefusedInput> {
        require(!model.is_empty(), "model must not be empty")?;
        require(!prompt.is_empty(), "the text must not be empty")?;
        let size = size.unwrap_or(Size::SQUARE);
        Ok(Self { model, prompt, image_count, is_edit: false, size, images_shape: None, previews: None })
    }

    /// The shape after the `@` of the model.
    pub(crate) fn shape(&self) -> Option<&str> {
        self.model.split_once('@').map(|(_, shape)| shape)
    }

    /// Prompt tokens: one per character, 258 per picture.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompt.chars().count() + 258 * self.image_count
    }
}
