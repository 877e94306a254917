use super::InputValue;
use crate::problem::{Detail, Problem};

const MAX_CHARS: usize = 4000;

/// A prompt: 1..=4000 characters, trimmed.
///
/// # Errors
/// 400 for anything else.
pub fn prompt(value: &InputValue<'_>) -> Result<String, Problem> {
    let text = value.text()?;
    let text = text.trim();
    match text.chars().count() {
        1..=MAX_CHARS => Ok(text.to_owned()),
        _ => Err(value.invalid(Detail::CharacterCount { min: 1, max: MAX_CHARS })),
    }
}
