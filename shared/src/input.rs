//! User input: a JSON body and its members, the prompt, links and inline pictures.
//!
//! Each value is checked once, here, and becomes a type. A refusal names the member by its JSON pointer and in
//! its sentence. Nothing is fetched.

mod inline_picture;
mod link;
mod members;
mod picture;
mod prompt;

pub use inline_picture::{InlineContent, InlineForm, InlinePicture, InlineRefusal, MAX_BYTES, MAX_PIXELS};
pub use link::{MAX_LINK_BYTES, check_input};
pub use members::{InputValue, members};
pub use picture::InputPicture;
pub use prompt::prompt;
