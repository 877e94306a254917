//! The forms in which upstreams send a picture, and their names.

use std::fmt;
use std::str::FromStr;

/// The wire format of a [`Shape`].
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

/// One list for the enum, the names and the descriptions, so that none is missing.
macro_rules! shapes {
    ($($protocol:ident { $($shape:ident $name:literal $description:literal)* })*) => {
        /// The form of a picture in an answer. A request on any route chooses it with `<model>@<shape>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Shape {
            $($(#[doc = concat!("`", $name, "`: ", $description, ".")] $shape,)*)*
        }

        impl Shape {
            /// Every shape.
            pub const ALL: &[Self] = &[$($(Self::$shape,)*)*];

            /// The name in a request.
            pub fn name(self) -> &'static str {
                match self { $($(Self::$shape => $name,)*)* }
            }

            /// What the shape is and which upstreams send it, without a full stop.
            pub fn description(self) -> &'static str {
                match self { $($(Self::$shape => $description,)*)* }
            }

            /// The wire format of the shape.
            pub fn protocol(self) -> Protocol {
                match self { $($(Self::$shape => Protocol::$protocol,)*)* }
            }
        }
    };
}

shapes! {
    Chat {
        Deltas "deltas" "Markdown cut into `!`, `[image`, `](data:…` and then 16 KiB of base64 a chunk (the documented relay)"
        Whole "whole" "the whole Markdown image in one chunk, a line of some megabytes (new-api)"
        Alt "alt" "`![gemini-generated-content](data:…)` after a block of text, non-ASCII as \\uXXXX (gcli2api)"
        Escaped "escaped" "base64 with `/` and `+` escaped in JSON (relays in PHP and .NET)"
        Wrapped "wrapped" "spaces and line feeds in the data URL (no known upstream; the documented client accepts it)"
        UrlSafe "url-safe" "the URL-safe base64 alphabet without padding (no known upstream)"
        Mislabelled "mislabelled" "a PNG labelled image/jpeg (relays with one label for all pictures)"
        Unclosed "unclosed" "Markdown without its closing `)` (relays that stop early)"
        DataUrl "data-url" "the whole text is a data URL (small relays)"
        Base64 "base64" "the whole text is base64 (small relays)"
        Link "link" "`![one-hub-gemini-image](https…)`, a link to the relay's storage (one-hub)"
        UploadFailed "upload-failed" "`image upload err` instead of the link, base64 in `delta.image` (one-hub)"
        Progress "progress" "a code fence, progress as text, a link and a download link (gpt-4o-image, Sora)"
        Drafts "drafts" "two drafts and then the picture, all as Markdown (new-api with a thinking Gemini model)"
        Twice "twice" "the same picture twice (relays that repeat an event)"
        Several "several" "two different pictures in one chunk (new-api, which joins the parts of an event)"
        Images "images" "`delta.images` with data URLs (OpenRouter, Vercel AI Gateway)"
        LiteLlm "litellm" "`delta.images` with members in another order and `detail` (LiteLLM)"
        Previews "previews" "`delta.images` with previews, each with index 0 and null members (CLIProxyAPI)"
        Both "both" "the same picture as Markdown and in `delta.images` (gateways that serve both kinds of client)"
        Parts "parts" "`delta.content` as an array of parts (Laisky's one-api, bifrost)"
        Message "message" "`choices[0].message` within a stream (WebAI-to-API, fake streams)"
        Items "items" "`delta.images` with `b64_json` instead of a data URL (seen in the field, relay unknown)"
        Choices "choices" "two choices with interleaved pieces and a picture each (OpenAI's form of `n`)"
        Crlf "crlf" "as `deltas`, with CRLF line ends and `: ping` comments (relays on sse-starlette)"
        Json "json" "one JSON chat completion after blank lines, no stream (CLIProxyAPI)"
    }
    Images {
        ImagesStream "images-stream" "`partial_image` events, then `completed` with the picture (OpenAI images)"
        ImagesJson "images-json" "one JSON object with `data[].b64_json`, no stream (OpenAI images, new-api)"
        ImagesUrl "images-url" "one JSON object with `data[].url`, no stream (DALL·E, relays with storage)"
    }
    Gemini {
        Gemini "gemini" "`inlineData` in CRLF events without `[DONE]` (Google)"
        GeminiDrafts "gemini-drafts" "thoughts as text and pictures before the picture (Google's thinking models)"
        GeminiSnake "gemini-snake" "`inline_data` and `mime_type` (proxies that write protobuf's names)"
        GeminiFile "gemini-file" "`fileData` with a link (Vertex AI, proxies with storage)"
    }
    Responses {
        Responses "responses" "an `image_generation_call` with a partial image (OpenAI Responses, sub2api)"
    }
}

impl Shape {
    /// Number of different pictures in an answer, without drafts.
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

/// The error for a name without a [`Shape`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownShape(pub String);

impl fmt::Display for UnknownShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Shape::ALL.iter().map(|shape| shape.name()).collect();
        write!(f, "unknown shape `{}`; known shapes: {}", self.0, names.join(", "))
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
    fn a_shape_parses_from_its_name() {
        for shape in Shape::ALL {
            assert_eq!(shape.to_string().parse(), Ok(*shape));
        }
        let unknown = "spiral".parse::<Shape>().unwrap_err().to_string();
        assert!(unknown.starts_with("unknown shape `spiral`; known shapes: deltas, whole, "), "{unknown}");
    }

    #[test]
    fn descriptions_need_no_html_escapes() {
        assert!(Shape::ALL.iter().all(|shape| !shape.description().contains(['"', '<', '&'])));
    }

    #[test]
    fn names_have_no_separator_of_a_model_list() {
        for name in Shape::ALL.iter().map(|shape| shape.name()) {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{name}"
            );
        }
    }
}
