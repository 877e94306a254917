//! The one request that each route accepts. The real ones forgive much; a fake that did would hide our mistakes.

pub(super) mod chat;
pub(super) mod edits;
pub(super) mod gemini;
pub(super) mod generations;

use super::size::Size;
use crate::input::{Refused, require};

/// Pictures that a Gemini model takes with one prompt.
const MAX_GEMINI_IMAGES: usize = 3;

/// What was asked for, in a request that was checked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The model as it was asked for, with its shape.
    pub(crate) model: String,
    /// The text.
    pub(crate) prompt: String,
    /// How many pictures came with the text.
    pub(crate) image_count: usize,
    /// Whether it was asked as an edit of these.
    pub(crate) is_edit: bool,
    /// The size of the picture.
    pub(crate) size: Size,
}

impl Asked {
    /// What every route wants of a model and a prompt.
    fn new(model: String, prompt: String, image_count: usize, size: Option<Size>) -> Result<Self, Refused> {
        require(!model.is_empty(), "model must not be empty")?;
        require(!prompt.is_empty(), "the text must not be empty")?;
        Ok(Self { model, prompt, image_count, is_edit: false, size: size.unwrap_or(Size::SQUARE) })
    }

    /// The shape behind the model's `@`.
    pub(crate) fn shape(&self) -> Option<&str> {
        self.model.split_once('@').map(|(_, shape)| shape)
    }

    /// What the request costs before anything is drawn.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompt.chars().count() + 258 * self.image_count
    }
}
