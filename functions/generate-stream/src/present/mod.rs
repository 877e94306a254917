//! What only this function shows: an OpenAI chat stream.

mod chunks;
mod relay;

pub(crate) use relay::{Relay, chat_error};
