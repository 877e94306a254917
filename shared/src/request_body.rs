//! Members of a request's body that several routes have.

use serde_json::{Map, Value};

use crate::problem::{Detail, Problem};

const MAX_PROMPT_CHARS: usize = 4000;

/// Takes a member out; `null` is as good as absent.
pub fn take(body: &mut Map<String, Value>, name: &str) -> Option<Value> {
    body.remove(name).filter(|value| !value.is_null())
}

/// The member `prompt`: 1..=4000 characters, trimmed.
///
/// # Errors
/// 400 for anything else.
pub fn prompt(value: &Value) -> Result<String, Problem> {
    const AT: &str = "/prompt";
    let text = value.as_str().ok_or_else(|| Problem::invalid(AT, Detail::NotAString))?.trim();
    match text.chars().count() {
        1..=MAX_PROMPT_CHARS => Ok(text.to_owned()),
        _ => Err(Problem::invalid(AT, Detail::PromptLength { max: MAX_PROMPT_CHARS })),
    }
}
