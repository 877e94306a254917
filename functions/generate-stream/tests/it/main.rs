//! Tests through the handler and the real binary, with every service behind a socket.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod canary;
mod crash;
mod credits;
mod failover;
mod faults;
mod kept;
mod kept_sequences;
mod labels;
mod lambda;
mod limits;
mod modes;
mod one_shot;
mod panics;
mod readers;
mod route;
mod secrets;
mod several;
mod shapes;
mod sign_in;
mod support;
mod tasks;
