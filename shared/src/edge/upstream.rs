//! The calls to an upstream: one HTTP client, and the run of a request's `n` calls.

mod call;
mod client;

pub use call::{Call, CallLabels, Ended, Output, run};
pub use client::{Answer, Asked, File, KeyAs, Post, ReadingTime, Upstream};
