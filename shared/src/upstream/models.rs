/// Models whose answers contain no drafts: no picture that a later one of the same answer replaces.
///
/// `gemini-2.5-flash-image` is the documented one. Gemini 3.x image models send up to two interim pictures
/// (<https://ai.google.dev/gemini-api/docs/image-generation>, "thinking"), which some relays turn into ordinary Markdown.
const WITHOUT_DRAFTS: [&str; 2] = ["gemini-2.5-flash-image", "gemini-2.5-flash-image-preview"];

/// Whether an answer of this model may contain pictures that are not final. A vendor's prefix (`google/…`) makes no
/// difference; an unknown model may.
pub fn may_send_drafts(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    !WITHOUT_DRAFTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_without_drafts() {
        assert!(!may_send_drafts("gemini-2.5-flash-image"));
        assert!(!may_send_drafts("google/gemini-2.5-flash-image"));
        for model in ["gemini-3-pro-image", "gemini-3.1-flash-image", "gpt-image-2", "gemini-2.5-flash-image-hd", ""] {
            assert!(may_send_drafts(model), "{model}");
        }
    }
}
