//! Pictures that a user sends: `data:image/…;base64,…`, taken strictly.
//!
//! A data URL ([RFC 2397]) may say much more than is allowed here: the scheme and `base64` in
//! lower case, a media type of `image/png`, `image/jpeg`, `image/jpg` or `image/webp` in any
//! case, no parameter, and standard base64 ([RFC 4648] §4) in its canonical form, with padding
//! and without white space. The magic bytes must agree with the type. Only the header of the
//! picture has to be there, not its end: phones export pictures with bytes missing or added, and
//! the upstream decides about those.
//!
//! [RFC 2397]: https://www.rfc-editor.org/rfc/rfc2397
//! [RFC 4648]: https://www.rfc-editor.org/rfc/rfc4648

use std::fmt;

use base64::engine::{DecodePaddingMode, Engine, GeneralPurposeConfig, Simd};

use super::sniff::{Kind, MediaType, Sniffer};

/// The largest picture taken, in decoded bytes: 4 MiB.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The largest picture taken, in pixels: width times height.
pub const MAX_PIXELS: u64 = 36_000_000;

/// A picture that passed [`check`], still as base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InputImage<'a> {
    /// What label and magic bytes agree on; never GIF.
    pub media_type: MediaType,
    /// Pixels, at least 1.
    pub width: u32,
    /// Pixels, at least 1.
    pub height: u32,
    /// Decoded size, 1..=[`MAX_BYTES`].
    pub bytes: u64,
    /// Canonical standard base64, with padding.
    pub payload: &'a str,
}

impl InputImage<'_> {
    /// The one spelling that every upstream takes: `data:<lower-case type>;base64,<payload>`.
    /// ARK refuses an upper-case type, and `image/jpg` is no registered type.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!("data:{};base64,{}", self.media_type.as_str(), self.payload)
    }
}

/// Never shows the payload.
impl fmt::Debug for InputImage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputImage")
            .field("media_type", &self.media_type)
            .field("width", &self.width)
            .field("height", &self.height)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// Why a picture is not taken.
///
/// | Refusal | Problem code | Status |
/// |---|---|---|
/// | [`UnsupportedMediaType`](Refusal::UnsupportedMediaType) | `unsupported_media_type` | 415 |
/// | [`Invalid`](Refusal::Invalid) | `invalid_image` | 400 |
/// | [`TooManyBytes`](Refusal::TooManyBytes) | `image_too_large` | 413 |
/// | [`TooManyPixels`](Refusal::TooManyPixels) | `image_too_large` | 413 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A data URL of another type than PNG, JPEG or WebP, or of none.
    UnsupportedMediaType,
    /// No data URL, a parameter, base64 that is not canonical, magic bytes that disagree with the
    /// type, or a header without dimensions.
    Invalid,
    /// More than [`MAX_BYTES`] when decoded.
    TooManyBytes,
    /// More than [`MAX_PIXELS`].
    TooManyPixels,
}

/// Media type and payload of a data URL that [`InputImage::canonical`] has written.
pub fn parts(canonical: &str) -> Option<(&str, &str)> {
    canonical.strip_prefix("data:")?.split_once(";base64,")
}

/// Checks one data URL without ever holding the decoded picture.
///
/// # Errors
///
/// [`Refusal`], for the first rule that is broken.
pub fn check(input: &str) -> Result<InputImage<'_>, Refusal> {
    let (label, payload) = input.strip_prefix("data:").and_then(|rest| rest.split_once(',')).ok_or(Refusal::Invalid)?;
    let (name, parameters) = label.split_once(';').unwrap_or((label, ""));
    let labelled = labelled_type(name).ok_or(Refusal::UnsupportedMediaType)?;
    if parameters != "base64" || payload.is_empty() || payload.len() % 4 != 0 {
        return Err(Refusal::Invalid);
    }
    let padding = payload.bytes().rev().take(2).filter(|b| *b == b'=').count();
    if payload.len() / 4 * 3 - padding > MAX_BYTES {
        return Err(Refusal::TooManyBytes);
    }

    let mut sniffer = Sniffer::default();
    decode(payload.as_bytes(), &mut sniffer)?;
    if sniffer.kind() != Kind::Known(labelled) {
        return Err(Refusal::Invalid);
    }
    let (width, height) = sniffer.dimensions().ok_or(Refusal::Invalid)?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Refusal::TooManyPixels);
    }
    Ok(InputImage { media_type: labelled, width, height, bytes: sniffer.len(), payload })
}

fn labelled_type(name: &str) -> Option<MediaType> {
    [
        ("image/png", MediaType::Png),
        ("image/jpeg", MediaType::Jpeg),
        ("image/jpg", MediaType::Jpeg),
        ("image/webp", MediaType::Webp),
    ]
    .into_iter()
    .find_map(|(known, media_type)| name.eq_ignore_ascii_case(known).then_some(media_type))
}

/// Symbols decoded at once; a multiple of four.
const BLOCK_SYMBOLS: usize = 8192;
const BLOCK_BYTES: usize = BLOCK_SYMBOLS / 4 * 3;

fn decode(payload: &[u8], sniffer: &mut Sniffer) -> Result<(), Refusal> {
    let strict = Simd::standard(
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(false)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    );
    let mut buffer = [0; BLOCK_BYTES];
    let mut blocks = payload.chunks(BLOCK_SYMBOLS).peekable();
    while let Some(block) = blocks.next() {
        let count = strict.decode_slice(block, &mut buffer).map_err(|_| Refusal::Invalid)?;
        // Each block is canonical by itself, so padding could stand between two of them.
        if blocks.peek().is_some() && count != BLOCK_BYTES {
            return Err(Refusal::Invalid);
        }
        sniffer.push(buffer.get(..count).unwrap_or_default());
    }
    Ok(())
}
