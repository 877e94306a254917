//! The outputs of this function: an OpenAI chat stream, and one answer at the end.

mod chat;
mod one_shot;

pub(crate) use chat::{ChatOutput, chat_error};
pub(crate) use one_shot::{OneShotOutput, one_shot_json};
