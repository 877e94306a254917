//! Tests through the handler and the real binary, with every service behind a socket.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod kept;
mod lambda;
mod route;
