//! The events of ARK's stream mode, field for field and in its order.

use serde::Serialize;

use super::request::Tier;
use crate::script::unix_seconds;

/// One event, typed by its `event:` line and by `type`.
#[derive(Serialize)]
pub(crate) struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    model: &'a str,
    created: u64,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Rest {
    Succeeded { image_index: u32, url: String, size: String },
    Completed { usage: Usage },
}

#[derive(Serialize)]
struct Usage {
    generated_images: u32,
    output_tokens: u32,
    total_tokens: u32,
}

impl<'a> Event<'a> {
    /// Picture `image_index` lies at `url`.
    pub(crate) fn succeeded(model: &'a str, image_index: u32, url: String, tier: Tier) -> Self {
        let (width, height) = tier.pixels();
        let rest = Rest::Succeeded { image_index, url, size: format!("{width}x{height}") };
        Self { kind: "image_generation.partial_succeeded", model, created: unix_seconds(), rest }
    }

    /// All `pictures` are made.
    pub(crate) fn completed(model: &'a str, pictures: u32, tier: Tier) -> Self {
        let (width, height) = tier.pixels();
        let tokens = pictures * (width * height / 256);
        let usage = Usage { generated_images: pictures, output_tokens: tokens, total_tokens: tokens };
        let rest = Rest::Completed { usage };
        Self { kind: "image_generation.completed", model, created: unix_seconds(), rest }
    }

    /// The event as it stands on the wire.
    #[expect(clippy::expect_used, reason = "strings and numbers always become JSON in memory")]
    pub(crate) fn encode(&self) -> String {
        let data = serde_json::to_string(self).expect("an event becomes JSON");
        format!("event: {}\ndata: {data}\n\n", self.kind)
    }
}
