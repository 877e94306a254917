//! A push reader for JSON that never holds a string value: long strings are handed on in fragments, unescaped.
//!
//! The streaming crates were looked at first: all of them hold a whole value (`json-event-parser`, `picojson`,
//! `actson`, `struson` outside blocking readers), and a picture is one value of up to 22 MB.

mod tokenizer;

pub(crate) use tokenizer::MAX_DEPTH;
pub use tokenizer::{Malformed, Segment, Token, TokenValue, Tokenizer};
