//! Pictures: found in text, decoded from base64 in pieces, and checked by their bytes.

mod image;
pub mod label;
mod markdown;
mod payload;
mod reference;
pub mod sniff;
mod text;

pub use image::{ImageDecoder, ImageProgress, ImageRejection, PictureHash, WholeImage};
pub use markdown::{MarkdownImages, MarkdownPart};
pub use payload::{BadPayload, Payload, encode};
pub use reference::{Reference, ReferenceKind, Referred};
pub use text::Utf8;
