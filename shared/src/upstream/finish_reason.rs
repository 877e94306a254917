use crate::update::Stop;

/// The stop of a finish reason: OpenAI's names, and Gemini's in upper or lower case.
pub(super) fn stop(reason: &str) -> Option<Stop> {
    match reason.to_ascii_uppercase().as_str() {
        "" | "FINISH_REASON_UNSPECIFIED" => None,
        "LENGTH" | "MAX_TOKENS" | "MAX_OUTPUT_TOKENS" => Some(Stop::Length),
        "NO_IMAGE" => Some(Stop::NoImage),
        "ERROR" => Some(Stop::Error),
        "CONTENT_FILTER"
        | "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => Some(Stop::Filtered),
        _ => Some(Stop::Finished),
    }
}
