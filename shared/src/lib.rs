#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod alarm;
pub mod auth;
pub mod caps;
pub mod config;
pub mod credits;
#[cfg(feature = "edge")]
pub mod edge;
pub mod events;
pub mod held;
pub mod image_url;
pub mod input;
pub mod json;
pub mod kept_picture;
pub mod labelled;
pub mod media;
pub mod metrics;
pub mod outcome;
pub mod picture_key;
pub mod price;
pub mod problem;
pub mod rate_limit;
#[cfg(debug_assertions)]
pub mod scan;
#[cfg(not(debug_assertions))]
mod scan;
pub mod secret;
pub mod sse;
pub mod task;
pub mod timestamp;
pub mod update;
pub mod upstream;
