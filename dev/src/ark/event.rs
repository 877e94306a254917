//! The events of ARK's stream mode, with the same members in the same order.

use serde::Serialize;

use super::request::SizeTier;
use crate::timed_body::unix_seconds;

/// One event. Its `event:` line and its member `type` hold the same name.
#[derive(Serialize)]
pub(crate) struct ArkEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    model: &'a str,
    created: u64,
    #[serde(flatten)]
    members: ArkEventMembers,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ArkEventMembers {
    Succeeded { image_index: u32, url: String, size: String },
    Completed { usage: ArkUsage },
}

#[derive(Serialize)]
struct ArkUsage {
    generated_images: u32,
    output_tokens: u32,
    total_tokens: u32,
}

impl<'a> ArkEvent<'a> {
    /// The event for a finished picture at `url`.
    pub(crate) fn succeeded(model: &'a str, image_index: u32, url: String, tier: SizeTier) -> Self {
        let (width, height) = tier.pixels();
        let members = ArkEventMembers::Succeeded { image_index, url, size: format!("{width}x{height}") };
        Self { kind: "image_generation.partial_succeeded", model, created: unix_seconds(), members }
    }

    /// The event that ends the list of `pictures` pictures.
    pub(crate) fn completed(model: &'a str, pictures: u32, tier: SizeTier) -> Self {
        let (width, height) = tier.pixels();
        let tokens = pictures * (width * height / 256);
        let usage = ArkUsage { generated_images: pictures, output_tokens: tokens, total_tokens: tokens };
        let members = ArkEventMembers::Completed { usage };
        Self { kind: "image_generation.completed", model, created: unix_seconds(), members }
    }

    /// The bytes of the event.
    #[expect(clippy::expect_used, reason = "strings and numbers always become JSON in memory")]
    pub(crate) fn encode(&self) -> String {
        let data = serde_json::to_string(self).expect("an event becomes JSON");
        format!("event: {}\ndata: {data}\n\n", self.kind)
    }
}
