//! Updates: what the dialects read from an upstream's answer, and what the outputs write. Every dialect and every output
//! uses this one vocabulary.

use crate::media::sniff::MediaType;
use crate::media::{ImageRejection, WholeImage};
use crate::upstream::Failure;

/// One step of an upstream's answer. Borrows from the bytes read wherever possible.
#[derive(Debug, Clone, PartialEq)]
pub enum Update<'a> {
    /// Text of the model beside the pictures.
    Text {
        /// The slot it belongs to.
        slot: u32,
        /// The next part of the text.
        text: &'a str,
    },
    /// A picture began: its first bytes have a known magic. Replaces an unfinished picture in the slot.
    ImageStarted {
        /// The slot, from 0.
        slot: u32,
        /// Sniffed from the bytes.
        media_type: MediaType,
        /// The upstream marks the picture as not final.
        draft: bool,
    },
    /// The next bytes of the unfinished picture in the slot.
    ImageBytes {
        /// The slot.
        slot: u32,
        /// Decoded bytes, at most a few KiB.
        bytes: &'a [u8],
    },
    /// The unfinished picture in the slot is now whole.
    ImageFinished {
        /// The slot.
        slot: u32,
        /// As in `ImageStarted`; some upstreams mark a draft only behind the picture.
        draft: bool,
        /// Size, dimensions, hash.
        image: WholeImage,
    },
    /// A link to a picture. An unfinished picture in the slot goes on.
    ImageLinked {
        /// The slot.
        slot: u32,
        /// Has passed [`check_generated`](crate::image_url::check_generated).
        url: &'a str,
        /// Width and height in pixels, where the upstream sends them.
        pixels: Option<(u32, u32)>,
        /// As in `ImageStarted`.
        draft: bool,
    },
    /// A value that stands for a picture is not one, or is broken. Ends the unfinished picture in the slot.
    ImageRejected {
        /// The slot.
        slot: u32,
        /// The reason.
        why: ImageRejection,
    },
    /// The unfinished picture in the slot equals an earlier one, or is a late preview of one. Ends it.
    ImageRepeated {
        /// The slot.
        slot: u32,
    },
    /// The upstream reports that it could not make this picture.
    ImageFailed {
        /// The slot.
        slot: u32,
        /// The reason.
        failure: Failure,
    },
    /// Token counts; the last update counts.
    Usage(Usage),
    /// The upstream's reason for the end of the answer.
    Stopped(Stop),
    /// The whole call failed. Pictures that are already whole stay valid.
    Failed(Failure),
    /// The upstream marks the stream as complete. This does not prove that a picture came.
    Done,
}

impl Update<'_> {
    /// Maps the slot of one call to the slot of the request.
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

    /// Whether the update is about a picture whose bytes are in the answer.
    pub fn is_of_bytes(&self) -> bool {
        matches!(
            self,
            Update::ImageStarted { .. }
                | Update::ImageBytes { .. }
                | Update::ImageFinished { .. }
                | Update::ImageRejected { .. }
                | Update::ImageRepeated { .. }
        )
    }

    /// The slot of the update, if it has one.
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

/// The number of a call among the calls of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nth {
    /// From 0.
    pub call: u32,
    /// How many there are.
    pub of: u32,
}

impl Nth {
    /// The only call.
    pub const ONLY: Self = Self { call: 0, of: 1 };

    /// The request's slot for a slot of this call. Slot 0 of call `i` is slot `i`; further slots of a call come after
    /// those of all calls.
    pub fn slot(self, slot: u32) -> u32 {
        slot.saturating_mul(self.of).saturating_add(self.call)
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The answer is complete.
    Finished,
    /// A length limit was reached.
    Length,
    /// A safety filter stopped it.
    Filtered,
    /// The model reports that it made no picture.
    NoImage,
    /// The model reports an error.
    Error,
}

/// Token counts, as far as the upstream reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Input tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// All tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
    /// Pictures that the upstream charges for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated_images: Option<u64>,
}

impl Usage {
    /// The sum of both.
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
}
