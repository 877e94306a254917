//! The forms in which upstreams hand over a picture, and their names.

use std::fmt;
use std::str::FromStr;

/// The wire format that a [`Shape`] belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Chat completions, streamed or not.
    Chat,
    /// OpenAI's images API.
    Images,
    /// Google's `streamGenerateContent`.
    Gemini,
    /// OpenAI's Responses API.
    Responses,
}

/// One list for the enum, the names and what `--help` says, so that none can be forgotten.
macro_rules! shapes {
    ($($protocol:ident { $($shape:ident $name:literal $says:literal)* })*) => {
        /// How a picture lies in an answer. A request chooses one by `<model>@<shape>`, whatever its route.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Shape {
            $($(#[doc = concat!("`", $name, "`: ", $says, ".")] $shape,)*)*
        }

        impl Shape {
            /// Every shape.
            pub const ALL: &[Self] = &[$($(Self::$shape,)*)*];

            /// The name by which a request asks for it.
            pub fn name(self) -> &'static str {
                match self { $($(Self::$shape => $name,)*)* }
            }

            /// What it is and who sends it, without a full stop.
            pub fn says(self) -> &'static str {
                match self { $($(Self::$shape => $says,)*)* }
            }

            /// The wire format that it is told in.
            pub fn protocol(self) -> Protocol {
                match self { $($(Self::$shape => Protocol::$protocol,)*)* }
            }
        }
    };
}

shapes! {
    Chat {
        Deltas "deltas" "Markdown cut into `!`, `[image`, `](data:…` and then 16 KiB of base64 a chunk (the documented relay)"
        Whole "whole" "the whole Markdown image in one chunk, so one line of some megabytes (new-api)"
        Alt "alt" "`![gemini-generated-content](data:…)` behind a block of text, non-ASCII as \\uXXXX (gcli2api)"
        Escaped "escaped" "`/` and `+` of the base64 escaped as JSON allows (relays in PHP and .NET)"
        Wrapped "wrapped" "spaces and line feeds in the data URL (nobody known, but the documented client expects it)"
        UrlSafe "url-safe" "the URL-safe alphabet without padding (nobody known; Python relays are suspected)"
        Mislabelled "mislabelled" "a PNG that calls itself image/jpeg (relays that label every picture alike)"
        Unclosed "unclosed" "Markdown whose `)` never comes (relays that stop early)"
        DataUrl "data-url" "a data URL without Markdown as the whole text (small relays)"
        Base64 "base64" "base64 without anything else as the whole text (small relays)"
        Link "link" "`![one-hub-gemini-image](https…)`, a link into the relay's storage (one-hub)"
        UploadFailed "upload-failed" "`image upload err` where that link should be, base64 in `delta.image` (one-hub)"
        Progress "progress" "a code fence, progress in words, a link, and the same once more to download (gpt-4o-image, Sora)"
        Drafts "drafts" "two drafts and then the picture, all as Markdown (new-api before a thinking Gemini)"
        Twice "twice" "the same picture twice (relays that repeat an event)"
        Several "several" "two different pictures in one chunk (new-api, which joins the parts of an event)"
        Images "images" "`delta.images` with data URLs (OpenRouter, Vercel AI Gateway)"
        LiteLlm "litellm" "`delta.images` with members in another order and `detail` (LiteLLM)"
        Previews "previews" "`delta.images` that grow sharper, each with index 0 and nulls beside it (CLIProxyAPI)"
        Both "both" "the same picture as Markdown and in `delta.images` (gateways that serve both kinds of client)"
        Parts "parts" "`delta.content` as an array of parts (Laisky's one-api, bifrost)"
        Message "message" "`choices[0].message` within a stream (WebAI-to-API, fake streams)"
        Items "items" "`delta.images` with `b64_json` for the data URL (seen in the field, author unknown)"
        Choices "choices" "two choices whose pieces come in turns, with a picture each (OpenAI's own form of `n`)"
        Crlf "crlf" "as `deltas`, with CRLF line ends and `: ping` comments (relays on sse-starlette)"
        Json "json" "one JSON chat completion behind blank lines, no stream (CLIProxyAPI)"
    }
    Images {
        ImagesStream "images-stream" "`partial_image` events, then `completed` with the picture (OpenAI images)"
        ImagesJson "images-json" "one JSON object with `data[].b64_json`, no stream (OpenAI images, new-api)"
        ImagesUrl "images-url" "one JSON object with `data[].url`, no stream (DALL·E, relays with a storage)"
    }
    Gemini {
        Gemini "gemini" "`inlineData` in CRLF events without `[DONE]` (Google)"
        GeminiDrafts "gemini-drafts" "thoughts in words and pictures before the picture (Google's thinking models)"
        GeminiSnake "gemini-snake" "`inline_data` and `mime_type` (proxies that write protobuf's names)"
        GeminiFile "gemini-file" "`fileData` with a link (Vertex AI, proxies with a storage)"
    }
    Responses {
        Responses "responses" "an `image_generation_call` with a partial image (OpenAI Responses, sub2api)"
    }
}

impl Shape {
    /// How many different pictures an answer holds, drafts apart.
    pub fn pictures(self) -> u32 {
        match self {
            Self::Several | Self::Choices => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No [`Shape`] has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownShape(pub String);

impl fmt::Display for UnknownShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Shape::ALL.iter().map(|shape| shape.name()).collect();
        write!(f, "no shape is called `{}`; there are: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownShape {}

impl FromStr for Shape {
    type Err = UnknownShape;

    fn from_str(name: &str) -> Result<Self, UnknownShape> {
        let found = Self::ALL.iter().find(|shape| shape.name() == name);
        found.copied().ok_or_else(|| UnknownShape(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_found_by_the_name_it_shows() {
        for shape in Shape::ALL {
            assert_eq!(shape.to_string().parse(), Ok(*shape));
        }
        let unknown = "spiral".parse::<Shape>().unwrap_err().to_string();
        assert!(unknown.starts_with("no shape is called `spiral`; there are: deltas, whole, "), "{unknown}");
    }

    #[test]
    fn the_page_can_show_what_a_shape_says() {
        assert!(Shape::ALL.iter().all(|shape| !shape.says().contains(['"', '<', '&'])));
    }

    #[test]
    fn a_name_fits_behind_a_model_in_a_list() {
        for name in Shape::ALL.iter().map(|shape| shape.name()) {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{name}"
            );
        }
    }
}
