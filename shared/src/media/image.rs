use std::fmt;

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use super::label::LabelStatus;
use super::payload::Payload;
use super::sniff::{MagicMatch, MediaType, SniffFlaw, SniffedImage, Sniffer};

/// Decodes one picture: base64 text in, bytes out, and at the end the check whether it is whole.
///
/// Holds at most the 12 bytes that its media type is sniffed from.
#[derive(Debug)]
pub struct ImageDecoder {
    payload: Payload,
    sniffer: Sniffer,
    hash: RunningHash,
    /// Bytes decoded before the media type was known.
    head: Vec<u8>,
    started: bool,
    /// Invalid base64 follows the end of the picture: nothing more is read.
    is_over: bool,
    flaw: Option<ImageRejection>,
    max_bytes: u64,
}

/// How a picture is hashed while it is decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PictureHash {
    /// By SHA-256, which is delivered with the picture.
    #[default]
    Sha256,
    /// By a faster hash, for pictures that are labelled: what is delivered has other bytes, and its SHA-256 is computed from
    /// them. It only tells the pictures of one answer apart, and does not resist an attacker: an upstream that makes two
    /// pictures with one hash loses one of them.
    Fast,
}

enum RunningHash {
    Sha256(Sha256),
    Fast(Box<Xxh3>),
}

impl fmt::Debug for RunningHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunningHash")
    }
}

impl RunningHash {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Fast(hash) => hash.update(bytes),
        }
    }

    fn finalize(self) -> [u8; 32] {
        match self {
            Self::Sha256(hash) => hash.finalize().into(),
            Self::Fast(hash) => {
                let mut bytes = [0; 32];
                let (start, _) = bytes.split_at_mut(16);
                start.copy_from_slice(&hash.digest128().to_le_bytes());
                bytes
            }
        }
    }
}

/// What [`ImageDecoder::push`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageProgress<'a> {
    /// The first bytes have a known magic. Reported once, before any [`ImageProgress::Bytes`].
    Started(MediaType),
    /// The next bytes of the picture.
    Bytes(&'a [u8]),
}

/// A picture whose last byte has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeImage {
    /// Sniffed from the bytes; a label is never used.
    pub media_type: MediaType,
    /// Size in bytes.
    pub bytes: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Hash of the bytes: SHA-256, unless [`PictureHash::Fast`] was asked for.
    pub sha256: [u8; 32],
    /// Its label; `None` where pictures are not labelled.
    pub label: Option<LabelStatus>,
}

impl WholeImage {
    /// Checks a file as an [`ImageDecoder`] checks a payload.
    ///
    /// # Errors
    /// It is no picture, or its end is missing.
    pub fn of(file: &[u8]) -> Result<Self, ImageRejection> {
        let mut sniffer = Sniffer::default();
        sniffer.push(file);
        Self::sniffed(&sniffer, Sha256::digest(file).into())
    }

    fn sniffed(sniffer: &Sniffer, sha256: [u8; 32]) -> Result<Self, ImageRejection> {
        let SniffedImage { media_type, bytes, width, height } = sniffer.finish().map_err(|flaw| match flaw {
            SniffFlaw::NotAnImage => ImageRejection::NotAnImage,
            SniffFlaw::Truncated => ImageRejection::Truncated,
        })?;
        Ok(Self { media_type, bytes, width, height, sha256, label: None })
    }

    /// The hash in hexadecimal.
    pub fn sha256_hex(&self) -> String {
        let digits = self.sha256.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
    }
}

/// Why a value that stands for a picture was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageRejection {
    /// Other bytes: SVG, HTML, text.
    NotAnImage,
    /// A character outside the base64 alphabets.
    BadPayload,
    /// The end of the file is missing.
    Truncated,
    /// More bytes than allowed.
    TooLarge,
    /// A link that breaks the rules of [`check_generated`](crate::image_url::check_generated).
    BadLink,
}

impl ImageDecoder {
    /// A picture of at most `max_bytes` decoded bytes.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            payload: Payload::default(),
            sniffer: Sniffer::default(),
            hash: RunningHash::Sha256(Sha256::new()),
            head: Vec::new(),
            started: false,
            is_over: false,
            flaw: None,
            max_bytes,
        }
    }

    /// With this hash in [`WholeImage::sha256`].
    #[must_use]
    pub fn with_hash(self, hash: PictureHash) -> Self {
        let hash = match hash {
            PictureHash::Sha256 => RunningHash::Sha256(Sha256::new()),
            PictureHash::Fast => RunningHash::Fast(Box::new(Xxh3::new())),
        };
        Self { hash, ..self }
    }

    /// Reads more base64 text.
    pub fn push(&mut self, mut text: &[u8], mut on: impl FnMut(ImageProgress<'_>)) {
        while !text.is_empty() && self.flaw.is_none() && !self.is_over {
            match self.payload.step(&mut text) {
                Ok(bytes) => {
                    let taken = DecodedBytes { sniffer: &mut self.sniffer, hash: &mut self.hash, head: &mut self.head };
                    self.flaw = taken.bytes(bytes, &mut self.started, self.max_bytes, &mut on).err();
                }
                Err(_) => {
                    self.is_over = self.last_bytes(&mut on).is_ok() && self.sniffer.finish().is_ok();
                    self.flaw = (!self.is_over).then_some(ImageRejection::BadPayload);
                }
            }
        }
    }

    /// Decodes what remains when the payload has ended.
    fn last_bytes(&mut self, on: &mut impl FnMut(ImageProgress<'_>)) -> Result<(), ImageRejection> {
        // A cut base64 text can end with one symbol too many.
        let bytes = self.payload.finish().map_err(|_| ImageRejection::Truncated)?;
        let taken = DecodedBytes { sniffer: &mut self.sniffer, hash: &mut self.hash, head: &mut self.head };
        taken.bytes(bytes, &mut self.started, self.max_bytes, on)
    }

    /// Whether the picture's end marker was read. More bytes may follow.
    pub fn is_whole(&self) -> bool {
        self.flaw.is_none() && self.sniffer.finish().is_ok()
    }

    /// The payload has ended. Returns the picture, or the reason why it is not whole.
    pub fn finish(mut self, mut on: impl FnMut(ImageProgress<'_>)) -> Result<WholeImage, ImageRejection> {
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        if !self.is_over {
            self.last_bytes(&mut on)?;
        }
        WholeImage::sniffed(&self.sniffer, self.hash.finalize())
    }
}

/// The parts of an [`ImageDecoder`] that read decoded bytes, borrowed apart from the payload that holds them.
struct DecodedBytes<'a> {
    sniffer: &'a mut Sniffer,
    hash: &'a mut RunningHash,
    head: &'a mut Vec<u8>,
}

impl DecodedBytes<'_> {
    fn bytes(
        self,
        bytes: &[u8],
        started: &mut bool,
        max_bytes: u64,
        on: &mut impl FnMut(ImageProgress<'_>),
    ) -> Result<(), ImageRejection> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.sniffer.push(bytes);
        self.hash.update(bytes);
        if self.sniffer.len() > max_bytes {
            return Err(ImageRejection::TooLarge);
        }
        if *started {
            on(ImageProgress::Bytes(bytes));
            return Ok(());
        }
        match self.sniffer.kind() {
            MagicMatch::Undecided => self.head.extend_from_slice(bytes),
            MagicMatch::NotAnImage => return Err(ImageRejection::NotAnImage),
            MagicMatch::Known(media_type) => {
                *started = true;
                on(ImageProgress::Started(media_type));
                if !self.head.is_empty() {
                    on(ImageProgress::Bytes(self.head));
                }
                on(ImageProgress::Bytes(bytes));
            }
        }
        Ok(())
    }
}
