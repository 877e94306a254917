//! The one vocabulary between the dialects of the upstreams and those who show what came.

use crate::media::sniff::MediaType;
use crate::media::{ImageRejection, WholeImage};
use crate::upstream::Failure;

/// One thing that an upstream's answer made known. Borrowed from the bytes it stands in wherever possible.
#[derive(Debug, Clone, PartialEq)]
pub enum Update<'a> {
    /// What the model says beside the picture.
    Text {
        /// The slot it belongs to.
        slot: u32,
        /// The next part of the text.
        text: &'a str,
    },
    /// A picture began: its first bytes are those of a picture. Replaces what was under way in the slot.
    ImageStarted {
        /// The slot, from 0.
        slot: u32,
        /// Told by the bytes.
        media_type: MediaType,
        /// The wire says that this is not the final picture.
        draft: bool,
    },
    /// The next bytes of the picture under way in the slot.
    ImageBytes {
        /// The slot.
        slot: u32,
        /// A few KiB at most.
        bytes: &'a [u8],
    },
    /// The picture under way in the slot is whole.
    ImageFinished {
        /// The slot.
        slot: u32,
        /// As in `ImageStarted`, or known only now: some say it behind the picture.
        draft: bool,
        /// Size, dimensions, hash.
        image: WholeImage,
    },
    /// A picture is elsewhere. One that is under way in the slot goes on.
    ImageLinked {
        /// The slot.
        slot: u32,
        /// Passes the rules for generated links.
        url: &'a str,
        /// Width and height in pixels, where the upstream tells them.
        pixels: Option<(u32, u32)>,
        /// As in `ImageStarted`.
        draft: bool,
    },
    /// What claimed to be a picture is none, or is broken. Ends what was under way in the slot.
    ImageRejected {
        /// The slot.
        slot: u32,
        /// What is wrong with it.
        why: ImageRejection,
    },
    /// The picture under way in the slot is whole, and came before. Ends it.
    ImageRepeated {
        /// The slot.
        slot: u32,
    },
    /// The upstream says that it could not make this picture.
    ImageFailed {
        /// The slot.
        slot: u32,
        /// Its reason.
        failure: Failure,
    },
    /// Token counts; the last one stands.
    Usage(Usage),
    /// The upstream says why it stopped.
    Stopped(Stop),
    /// The call as a whole failed. Pictures that are whole already stay valid.
    Failed(Failure),
    /// The upstream says that the stream is complete, which proves nothing.
    Done,
}

impl Update<'_> {
    /// The update of one call as the request's.
    #[must_use]
    pub fn of(mut self, nth: Nth) -> Self {
        match &mut self {
            Update::Text { slot, .. }
            | Update::ImageStarted { slot, .. }
            | Update::ImageBytes { slot, .. }
            | Update::ImageFinished { slot, .. }
            | Update::ImageLinked { slot, .. }
            | Update::ImageRejected { slot, .. }
            | Update::ImageRepeated { slot }
            | Update::ImageFailed { slot, .. } => *slot = nth.slot(*slot),
            Update::Usage(_) | Update::Stopped(_) | Update::Failed(_) | Update::Done => {}
        }
        self
    }

    /// The slot that the update is about, if it is about one.
    pub fn slot(&self) -> Option<u32> {
        match *self {
            Update::Text { slot, .. }
            | Update::ImageStarted { slot, .. }
            | Update::ImageBytes { slot, .. }
            | Update::ImageFinished { slot, .. }
            | Update::ImageLinked { slot, .. }
            | Update::ImageRejected { slot, .. }
            | Update::ImageRepeated { slot }
            | Update::ImageFailed { slot, .. } => Some(slot),
            Update::Usage(_) | Update::Stopped(_) | Update::Failed(_) | Update::Done => None,
        }
    }
}

/// Which of the calls of one request: each makes a picture of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nth {
    /// From 0.
    pub call: u32,
    /// How many there are.
    pub of: u32,
}

impl Nth {
    /// The only one.
    pub const ONLY: Self = Self { call: 0, of: 1 };

    /// The request's slot for a slot of this call. The first of each call come first; what a call brings beyond that
    /// lies behind them all.
    pub fn slot(self, slot: u32) -> u32 {
        slot.saturating_mul(self.of).saturating_add(self.call)
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It had no more to say.
    Finished,
    /// It ran into a length limit.
    Length,
    /// A safety filter stopped it.
    Filtered,
    /// It says that it made no picture.
    NoImage,
    /// It says that an error stopped it.
    Error,
}

/// Token counts as far as the upstream tells them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Tokens read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// Pictures that the upstream charges for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated_images: Option<u64>,
}

impl Usage {
    /// The names under which upstreams report these counts: OpenAI's, Google's in either case, ARK's.
    pub const KEYS: [&'static str; 12] = [
        "prompt_tokens",
        "input_tokens",
        "promptTokenCount",
        "prompt_token_count",
        "completion_tokens",
        "output_tokens",
        "candidatesTokenCount",
        "candidates_token_count",
        "total_tokens",
        "totalTokenCount",
        "total_token_count",
        "generated_images",
    ];

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        Self {
            input_tokens: sum(self.input_tokens, other.input_tokens),
            output_tokens: sum(self.output_tokens, other.output_tokens),
            total_tokens: sum(self.total_tokens, other.total_tokens),
            generated_images: sum(self.generated_images, other.generated_images),
        }
    }

    /// Notes one count as it stands on the wire.
    pub fn set(&mut self, key: &str, value: &str) {
        let count = match key {
            "prompt_tokens" | "input_tokens" | "promptTokenCount" | "prompt_token_count" => &mut self.input_tokens,
            "completion_tokens" | "output_tokens" | "candidatesTokenCount" | "candidates_token_count" => {
                &mut self.output_tokens
            }
            "total_tokens" | "totalTokenCount" | "total_token_count" => &mut self.total_tokens,
            "generated_images" => &mut self.generated_images,
            _ => return,
        };
        if let Ok(value) = value.parse() {
            *count = Some(value);
        }
    }
}
