//! Tests of the crate's interface; all of them run without the feature `edge`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod caps;
mod fixtures;
mod fuzz;
mod image_url;
mod inline_picture;
mod input;
mod json;
mod label;
mod linear;
mod markdown;
mod no_keys;
mod operator;
mod properties;
mod rate_limit;
mod readme;
mod sniff;
mod sse_vectors;
mod supply_chain;
mod support;
mod task;
mod template;
mod text;
mod tidy;
mod tokens;
