//! Pictures: found in text, decoded piece by piece, judged by their own bytes.

mod image;
mod markdown;
mod payload;
mod reference;
pub mod sniff;
mod text;

pub use image::{ImageDecoder, ImageProgress, ImageRejection, WholeImage};
pub use markdown::{MarkdownImages, MarkdownPart};
pub use payload::{BadPayload, Payload, encode};
pub use reference::{Reference, Referred};
pub use text::Utf8;
