use crate::input::{RefusedInput, require, require_taken};
use crate::shape::Shape;

/// The members of an images request that only some models take.
#[derive(Debug, Default)]
pub(super) struct ImagesOptions {
    pub(super) stream: Option<bool>,
    pub(super) partial_images: Option<usize>,
    pub(super) response_format: Option<String>,
}

impl ImagesOptions {
    /// The shape of the answer. A refusal names the member that `model` does not take.
    pub(super) fn shape(&self, model: &str) -> Result<Shape, RefusedInput> {
        let name = model.split('@').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let is_gpt = name.starts_with("gpt-image-") || name.starts_with("chatgpt-image-");
        require_taken(is_gpt, &self.stream, "stream")?;
        require_taken(is_gpt && self.stream == Some(true), &self.partial_images, "partial_images")?;
        require_taken(name.starts_with("dall-e-"), &self.response_format, "response_format")?;
        require(self.partial_images.is_none_or(|previews| previews <= 3), "partial_images must be 0 to 3")?;
        match (self.stream, self.response_format.as_deref()) {
            (Some(true), _) => Ok(Shape::ImagesStream),
            (_, Some("url")) => Ok(Shape::ImagesUrl),
            (_, None | Some("b64_json")) => Ok(Shape::ImagesJson),
            _ => Err(RefusedInput::new("response_format must be url or b64_json")),
        }
    }
}
