//! Tests of the local stack over sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ark;
mod cloudwatch;
mod doctor;
mod dynamodb;
mod image_api;
mod labels;
mod runtime_api;
mod s3;
mod stack;
mod supabase;
mod supabase_accounts;
