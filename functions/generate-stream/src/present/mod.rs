//! What only this function shows: an OpenAI chat stream, and the answer that is whole.

mod chunks;
mod relay;
mod whole;

pub(crate) use relay::{Relay, chat_error};
pub(crate) use whole::Pictures;
