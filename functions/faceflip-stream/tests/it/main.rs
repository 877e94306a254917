//! Tests through the handler and the real binary, with every service behind a socket.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod canary;
mod faults;
mod kept;
mod lambda;
#[expect(dead_code, reason = "the tests of `generate-stream` use the rest")]
#[path = "../../../generate-stream/tests/it/log.rs"]
mod log;
mod route;
#[expect(dead_code, reason = "the tests of `generate-stream` use the rest")]
#[path = "../../../generate-stream/tests/it/support.rs"]
mod support;
mod tasks;
