//! The calls to an upstream: one HTTP client, and the run of a request's `n` calls.

mod call;
mod client;

pub use call::{CallLabels, Ended, Output, UpstreamCalls, run};
pub use client::{FormFile, KeyAs, Post, ReadingTime, RequestBody, Upstream, UpstreamAnswer};
