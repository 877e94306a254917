//! A picture that a user sends as `data:image/…;base64,…`.
//!
//! Only a part of [RFC 2397] passes: scheme and `base64` in lower case; a media type of `image/png`, `image/jpeg`,
//! `image/jpg` or `image/webp` in any case; no parameter; standard base64 ([RFC 4648] §4) in its canonical form, with
//! padding and without white space. The magic bytes must agree with the type. The picture must have its header; its
//! end marker may be missing: phones export pictures with bytes missing or added, and the upstream decides about those.
//!
//! [RFC 2397]: https://www.rfc-editor.org/rfc/rfc2397
//! [RFC 4648]: https://www.rfc-editor.org/rfc/rfc4648

use base64::engine::{DecodePaddingMode, Engine, GeneralPurposeConfig, Simd};
use sha2::{Digest, Sha256};

use crate::media::sniff::{MagicMatch, MediaType, Sniffer};

/// The largest picture, in decoded bytes: 4 MiB.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The largest picture, in pixels: width times height.
pub const MAX_PIXELS: u64 = 36_000_000;

/// A checked picture. Not `Debug`, because it must not be logged.
pub struct InlinePicture {
    /// The label and the magic bytes agree; never GIF.
    pub media_type: MediaType,
    /// Of the decoded bytes.
    pub sha256: [u8; 32],
    /// The content, in the requested form.
    pub content: InlineContent,
}

/// The form in which a picture is stored: the one that is sent to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlineForm {
    /// Text. The decoded picture is never held.
    DataUrl,
    /// Decoded.
    Bytes,
}

/// The content of a picture.
pub enum InlineContent {
    /// `data:<lower-case type>;base64,<canonical payload>`. ARK refuses an upper-case type, and `image/jpg` is not
    /// registered.
    DataUrl(String),
    /// 1..=[`MAX_BYTES`].
    Bytes(Vec<u8>),
}

/// Why a picture is refused.
///
/// | Refusal | Problem code | Status |
/// |---|---|---|
/// | [`UnsupportedMediaType`](InlineRefusal::UnsupportedMediaType) | `unsupported_media_type` | 415 |
/// | [`Invalid`](InlineRefusal::Invalid) | `invalid_image` | 400 |
/// | [`TooManyBytes`](InlineRefusal::TooManyBytes) | `image_too_large` | 413 |
/// | [`TooManyPixels`](InlineRefusal::TooManyPixels) | `image_too_large` | 413 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InlineRefusal {
    /// A data URL of another type than PNG, JPEG or WebP, or without a type.
    UnsupportedMediaType,
    /// Not a data URL, a parameter, base64 that is not canonical, magic bytes that disagree with the type, or a header
    /// without dimensions.
    Invalid,
    /// More than [`MAX_BYTES`] when decoded.
    TooManyBytes,
    /// More than [`MAX_PIXELS`].
    TooManyPixels,
}

impl InlinePicture {
    /// Checks and decodes a data URL in one pass.
    ///
    /// # Errors
    /// [`InlineRefusal`], for the first rule that is broken.
    pub fn read(text: &str, form: InlineForm) -> Result<Self, InlineRefusal> {
        let (label, payload) =
            text.strip_prefix("data:").and_then(|rest| rest.split_once(',')).ok_or(InlineRefusal::Invalid)?;
        let (name, parameters) = label.split_once(';').unwrap_or((label, ""));
        let media_type = labelled_type(name).ok_or(InlineRefusal::UnsupportedMediaType)?;
        if parameters != "base64" || payload.is_empty() || payload.len() % 4 != 0 {
            return Err(InlineRefusal::Invalid);
        }
        let padding = payload.bytes().rev().take(2).filter(|b| *b == b'=').count();
        let byte_count = payload.len() / 4 * 3 - padding;
        if byte_count > MAX_BYTES {
            return Err(InlineRefusal::TooManyBytes);
        }

        let mut bytes = Vec::with_capacity(if form == InlineForm::Bytes { byte_count } else { 0 });
        let (mut sniffer, mut hash) = (Sniffer::default(), Sha256::new());
        decode(payload.as_bytes(), |block| {
            sniffer.push(block);
            hash.update(block);
            if form == InlineForm::Bytes {
                bytes.extend_from_slice(block);
            }
        })?;
        if sniffer.kind() != MagicMatch::Known(media_type) {
            return Err(InlineRefusal::Invalid);
        }
        let (width, height) = sniffer.dimensions().ok_or(InlineRefusal::Invalid)?;
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(InlineRefusal::TooManyPixels);
        }
        let content = match form {
            InlineForm::DataUrl => InlineContent::DataUrl([&*prefix(media_type), payload].concat()),
            InlineForm::Bytes => InlineContent::Bytes(bytes),
        };
        Ok(Self { media_type, sha256: hash.finalize().into(), content })
    }

    /// The data URL, if the picture is stored as one.
    pub fn data_url(&self) -> Option<&str> {
        match &self.content {
            InlineContent::DataUrl(url) => Some(url),
            InlineContent::Bytes(_) => None,
        }
    }

    /// The decoded bytes.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match &self.content {
            InlineContent::Bytes(bytes) => Some(bytes.clone()),
            InlineContent::DataUrl(_) => {
                let mut bytes = Vec::new();
                decode(self.base64()?.as_bytes(), |block| bytes.extend_from_slice(block)).ok()?;
                Some(bytes)
            }
        }
    }

    /// The payload of the data URL: canonical base64, with padding.
    pub fn base64(&self) -> Option<&str> {
        self.data_url()?.strip_prefix(&*prefix(self.media_type))
    }
}

/// The data URL up to its payload, as it is sent to the upstream.
fn prefix(media_type: MediaType) -> String {
    format!("data:{};base64,", media_type.as_str())
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

fn decode(payload: &[u8], mut out: impl FnMut(&[u8])) -> Result<(), InlineRefusal> {
    let strict = Simd::standard(
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(false)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    );
    let mut buffer = [0; BLOCK_BYTES];
    let mut blocks = payload.chunks(BLOCK_SYMBOLS).peekable();
    while let Some(block) = blocks.next() {
        let count = strict.decode_slice(block, &mut buffer).map_err(|_| InlineRefusal::Invalid)?;
        // Each block is canonical, so padding could be between two of them.
        if blocks.peek().is_some() && count != BLOCK_BYTES {
            return Err(InlineRefusal::Invalid);
        }
        out(buffer.get(..count).unwrap_or_default());
    }
    Ok(())
}
