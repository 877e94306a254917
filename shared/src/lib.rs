#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "edge"), forbid(unsafe_code))]

pub mod auth;
pub mod config;
#[cfg(feature = "edge")]
pub mod edge;
pub mod events;
pub mod image_url;
pub mod input_image;
pub mod json;
pub mod media;
pub mod outcome;
pub mod problem;
#[cfg(debug_assertions)]
pub mod scan;
#[cfg(not(debug_assertions))]
mod scan;
pub mod secret;
pub mod sse;
pub mod update;
pub mod upstream;
