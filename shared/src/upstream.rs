//! The upstreams' wire formats: writes requests and reads answers into [`Update`]s. One file a dialect.

mod answer_reader;
mod any;
pub mod ark;
pub mod chat;
mod content;
mod cooldown;
mod error_object;
mod failure;
mod finish_reason;
pub mod gemini;
pub mod images;
mod member;
mod models;
mod number;
mod path_facts;
mod picture;
mod refused_parameter;
mod repeats;
mod responses;
mod short;

pub use answer_reader::AnswerReader;
pub use any::AnyDialect;
pub use cooldown::{Cooldowns, retry_after_ms};
pub use failure::{ErrorFields, Failure, FailureLevel, TokenPolicy, classify};
pub use models::ModelFamily;
pub use refused_parameter::RefusedParameter;

use crate::update::Update;

/// Receives the updates of a reader.
pub type Out<'o> = dyn FnMut(Update<'_>) + 'o;

/// Largest event, in bytes of data.
pub const MAX_EVENT_BYTES: usize = 32 * 1024 * 1024;
/// Largest picture, in decoded bytes.
pub const MAX_IMAGE_BYTES: u64 = 16 * 1024 * 1024;
/// Longest answer of one call, in bytes.
pub const MAX_CALL_BYTES: u64 = 64 * 1024 * 1024;
/// Longest text of one call, in bytes.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;
