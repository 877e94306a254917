//! The calls to an upstream: one HTTP client, and the run of a request's `n` calls.

mod call;
mod client;
mod client_end;
mod exchange;
mod output;
mod summary_line;
mod update_sink;

pub use call::{Delivered, MakePost, UpstreamCalls, run};
pub use client::{CallFailure, FormFile, Post, ReadingTime, RequestBody, SentMark, Upstream, UpstreamAnswer};
pub use exchange::CallTarget;
pub use output::Output;
pub use summary_line::CallLabels;
