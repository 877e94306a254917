//! The upstreams' wire formats: a request out, events in, [`Update`]s on. One file a dialect.

mod answer_reader;
mod any;
pub mod ark;
pub mod chat;
mod content;
mod error_object;
mod failure;
mod finish_reason;
pub mod gemini;
pub mod images;
mod models;
mod picture;
mod responses;
mod short;

pub use answer_reader::AnswerReader;
pub use any::AnyDialect;
pub use failure::{ErrorFields, Failure, TokenPolicy, classify};
pub use models::may_send_drafts;

use crate::update::Update;

/// Where a reader sends what it finds.
pub type Out<'o> = dyn FnMut(Update<'_>) + 'o;

/// Data of one event.
pub const MAX_EVENT_BYTES: usize = 32 * 1024 * 1024;
/// One picture, decoded.
pub const MAX_IMAGE_BYTES: u64 = 16 * 1024 * 1024;
/// All that one call may answer.
pub const MAX_CALL_BYTES: u64 = 64 * 1024 * 1024;
/// Text beside the pictures.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;
