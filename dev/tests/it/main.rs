//! Tests of the local stack over sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::duplicate_mod, reason = "the tests of `generate-stream` use dynamodb/create.rs too")]

mod ark;
mod cloudwatch;
mod doctor;
mod documented_commands;
mod dynamodb;
mod function;
mod image_api;
mod labels;
mod runtime_api;
mod s3;
mod specification;
mod stack;
mod supabase;
mod supabase_accounts;
#[expect(dead_code, reason = "the tests of `generate-stream` use the rest")]
#[path = "../../../functions/generate-stream/tests/it/support.rs"]
mod support;
mod thread_log;
