use sha2::{Digest, Sha256};

use super::payload::Payload;
use super::sniff::{Flaw, Kind, MediaType, Sniffer};

/// One picture under way: payload in, bytes out, and at the end a verdict.
///
/// Holds no picture: at most the dozen bytes that tell its media type.
#[derive(Debug)]
pub struct Image {
    payload: Payload,
    sniffer: Sniffer,
    hash: Sha256,
    /// Bytes seen before the media type was known.
    head: Vec<u8>,
    started: bool,
    /// Something that is no base64 stands behind the end of the picture: it is over.
    is_over: bool,
    flaw: Option<Rejected>,
    max_bytes: u64,
}

/// What one more piece of payload made known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The bytes are those of a picture. Comes once, before any [`Progress::Bytes`].
    Started(MediaType),
    /// The next bytes of the picture.
    Bytes(&'a [u8]),
}

/// A picture whose last byte has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Told by the bytes, never by a label.
    pub media_type: MediaType,
    /// Size in bytes.
    pub bytes: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Hash of the bytes.
    pub sha256: [u8; 32],
}

impl Whole {
    /// The hash in hexadecimal.
    pub fn sha256_hex(&self) -> String {
        let digits = self.sha256.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
    }
}

/// Why something that claimed to be a picture is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// Other bytes: SVG, HTML, text.
    NotAnImage,
    /// A character that base64 does not have.
    BadPayload,
    /// The end of the file is missing.
    Truncated,
    /// More bytes than one picture may have.
    TooLarge,
    /// A link that is not passed on: not `https`, with credentials, to an address, too long.
    BadLink,
}

impl Image {
    /// A picture of at most `max_bytes` decoded bytes.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            payload: Payload::default(),
            sniffer: Sniffer::default(),
            hash: Sha256::new(),
            head: Vec::new(),
            started: false,
            is_over: false,
            flaw: None,
            max_bytes,
        }
    }

    /// Reads more base64 text.
    pub fn push(&mut self, mut text: &[u8], mut on: impl FnMut(Progress<'_>)) {
        while !text.is_empty() && self.flaw.is_none() && !self.is_over {
            match self.payload.step(&mut text) {
                Ok(bytes) => {
                    let taken = Taken { sniffer: &mut self.sniffer, hash: &mut self.hash, head: &mut self.head };
                    self.flaw = taken.bytes(bytes, &mut self.started, self.max_bytes, &mut on).err();
                }
                Err(_) => {
                    self.is_over = self.last_bytes(&mut on).is_ok() && self.sniffer.finish().is_ok();
                    self.flaw = (!self.is_over).then_some(Rejected::BadPayload);
                }
            }
        }
    }

    /// The payload has no more of them.
    fn last_bytes(&mut self, on: &mut impl FnMut(Progress<'_>)) -> Result<(), Rejected> {
        // One symbol too many is what a cut leaves behind.
        let bytes = self.payload.finish().map_err(|_| Rejected::Truncated)?;
        let taken = Taken { sniffer: &mut self.sniffer, hash: &mut self.hash, head: &mut self.head };
        taken.bytes(bytes, &mut self.started, self.max_bytes, on)
    }

    /// Whether its end has come; more may follow all the same.
    pub fn is_whole(&self) -> bool {
        self.flaw.is_none() && self.sniffer.finish().is_ok()
    }

    /// The payload has ended: what came of it?
    pub fn finish(mut self, mut on: impl FnMut(Progress<'_>)) -> Result<Whole, Rejected> {
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        if !self.is_over {
            self.last_bytes(&mut on)?;
        }
        let whole = self.sniffer.finish().map_err(|flaw| match flaw {
            Flaw::NotAnImage => Rejected::NotAnImage,
            Flaw::Truncated => Rejected::Truncated,
        })?;
        Ok(Whole {
            media_type: whole.media_type,
            bytes: whole.bytes,
            width: whole.width,
            height: whole.height,
            sha256: self.hash.finalize().into(),
        })
    }
}

/// The parts of an [`Image`] that see decoded bytes, apart from the payload that lends them.
struct Taken<'a> {
    sniffer: &'a mut Sniffer,
    hash: &'a mut Sha256,
    head: &'a mut Vec<u8>,
}

impl Taken<'_> {
    fn bytes(
        self,
        bytes: &[u8],
        started: &mut bool,
        max_bytes: u64,
        on: &mut impl FnMut(Progress<'_>),
    ) -> Result<(), Rejected> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.sniffer.push(bytes);
        self.hash.update(bytes);
        if self.sniffer.len() > max_bytes {
            return Err(Rejected::TooLarge);
        }
        if *started {
            on(Progress::Bytes(bytes));
            return Ok(());
        }
        match self.sniffer.kind() {
            Kind::Undecided => self.head.extend_from_slice(bytes),
            Kind::NotAnImage => return Err(Rejected::NotAnImage),
            Kind::Known(media_type) => {
                *started = true;
                on(Progress::Started(media_type));
                if !self.head.is_empty() {
                    on(Progress::Bytes(self.head));
                }
                on(Progress::Bytes(bytes));
            }
        }
        Ok(())
    }
}
