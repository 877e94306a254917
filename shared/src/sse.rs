//! Event streams (`text/event-stream`), read and written.
//!
//! Implements the [WHATWG standard](https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).

mod decode;
mod encode;

pub use decode::{Decoder, DecoderPart, Stray, TooLarge};
pub use encode::{begin_event, comment, end_event, event};
