//! WebP: an `XMP ` chunk at the end of the file ([RFC 9649](https://www.rfc-editor.org/rfc/rfc9649) §2.7). The RIFF size
//! and the flags stand at the beginning, so the length of the label is decided there.

use super::xmp::LabelXmp;
use super::{LabelStatus, Unit};

/// `RIFF`, size, `WEBP`.
const RIFF_BYTES: usize = 12;
const CHUNK_HEAD_BYTES: usize = 8;
/// A `VP8X` chunk.
const EXTENDED_BYTES: usize = 18;
/// The RIFF header, and the first chunk as far as its dimensions.
const HEAD_BYTES: usize = 30;
const ALPHA_FLAG: u8 = 0x10;
const XMP_FLAG: u8 = 0x04;

#[derive(Debug)]
pub(super) struct WebpUnits {
    /// Nothing is written into a file that may have a C2PA manifest behind its pixels.
    keeps_c2pa: bool,
    is_begun: bool,
    /// The position of the next unit in the file as it came.
    at: u64,
    /// The end by the RIFF size.
    end: u64,
    /// The length of the label's chunk with its padding, if the header announces it.
    announced: Option<usize>,
    /// A chunk goes beyond the end.
    is_broken: bool,
}

impl WebpUnits {
    pub(super) fn new(keeps_c2pa: bool) -> Self {
        Self { keeps_c2pa, is_begun: false, at: 0, end: 0, announced: None, is_broken: false }
    }

    pub(super) fn is_committed(&self) -> bool {
        self.announced.is_some()
    }

    pub(super) fn next(&mut self, held: &mut Vec<u8>, unit: usize, xmp: &LabelXmp) -> Unit {
        let head = held.get(unit..).unwrap_or_default();
        if !self.is_begun {
            let Some(&first) = head.first_chunk::<HEAD_BYTES>() else { return Unit::Head(HEAD_BYTES) };
            self.is_begun = true;
            return self.begin(&first, held, xmp);
        }
        if self.at >= self.end {
            return Unit::Place;
        }
        let left = self.end - self.at;
        let Some((&[n0, n1, n2, n3, s0, s1, s2, s3], _)) = head.split_first_chunk() else {
            if left < CHUNK_HEAD_BYTES as u64 {
                return self.chunk(left + 1, false);
            }
            return Unit::Head(CHUNK_HEAD_BYTES);
        };
        let size = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
        let name = &[n0, n1, n2, n3];
        // The padding of the last chunk may be missing.
        let bytes = (CHUNK_HEAD_BYTES as u64 + size + size % 2).min(left.max(CHUNK_HEAD_BYTES as u64 + size));
        self.chunk(bytes, matches!(name, b"XMP " | b"EXIF"))
    }

    /// The label's chunk, or one of the same length that says nothing if the picture has turned out to have a label.
    pub(super) fn label(&self, xmp: &LabelXmp, has_label: bool) -> (Vec<u8>, LabelStatus) {
        let Some(announced) = self.announced else { return (Vec::new(), LabelStatus::Absent) };
        let mut packet = xmp.packet(CHUNK_HEAD_BYTES);
        if has_label {
            packet = xmp.empty_packet(packet.len());
        }
        let size = u32::try_from(packet.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut chunk =
            [if self.end.is_multiple_of(2) { [].as_slice() } else { &[0] }, b"XMP ", &size, packet.as_bytes()].concat();
        chunk.resize(announced, 0);
        (chunk, if self.is_broken { LabelStatus::Absent } else { LabelStatus::Written })
    }

    /// A chunk of the file as it came.
    fn chunk(&mut self, bytes: u64, is_searched: bool) -> Unit {
        let left = self.end - self.at;
        self.is_broken |= bytes > left;
        let bytes = bytes.min(left);
        self.at += bytes;
        Unit::Plain { bytes, is_searched }
    }

    /// Reads the header, and announces the label in it if one can be written.
    fn begin(&mut self, first: &[u8; HEAD_BYTES], held: &mut Vec<u8>, xmp: &LabelXmp) -> Unit {
        let [_, _, _, _, r0, r1, r2, r3, _, _, _, _, n0, n1, n2, n3, s0, s1, s2, s3, flags, rest @ ..] = *first;
        let [a, b, c, d, _, f, g, h, i] = rest;
        let riff_size = u32::from_le_bytes([r0, r1, r2, r3]);
        let size = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
        (self.at, self.end) = (RIFF_BYTES as u64, u64::from(riff_size) + 8);
        let behind_first = self.at + CHUNK_HEAD_BYTES as u64 + size + size % 2;
        let is_simple = behind_first >= self.end;
        let unit = Unit::Plain { bytes: RIFF_BYTES as u64, is_searched: false };
        // RFC 6386 §9.1 and RFC 9649 §3.4: the dimensions, and whether a lossless picture has alpha.
        let (alpha, width, height) = match &[n0, n1, n2, n3] {
            b"VP8X" if flags & XMP_FLAG != 0 || self.keeps_c2pa => return unit,
            b"VP8X" => (0, 0, 0),
            _ if !is_simple && self.keeps_c2pa => return unit,
            b"VP8 " => {
                let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
                (0, side(f, g), side(h, i))
            }
            b"VP8L" => {
                let bits = u32::from_le_bytes([a, b, c, d]);
                let alpha = if bits >> 28 & 1 == 0 { 0 } else { ALPHA_FLAG };
                (alpha, (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
            }
            _ => return Unit::Lost,
        };
        let is_extended = [n0, n1, n2, n3] == *b"VP8X";
        let added = if is_extended { 0 } else { EXTENDED_BYTES };
        let packet = xmp.packet(CHUNK_HEAD_BYTES).len();
        let announced = (self.end % 2) as usize + CHUNK_HEAD_BYTES + packet + packet % 2;
        let grown = u32::try_from(announced + added).ok().and_then(|more| riff_size.checked_add(more));
        let (Some(grown), false) = (grown, !is_extended && (width == 0 || height == 0)) else { return unit };
        self.announced = Some(announced);
        if let Some(size) = held.get_mut(4..8) {
            size.copy_from_slice(&grown.to_le_bytes());
        }
        if is_extended {
            if let Some(flags) = held.get_mut(20) {
                *flags |= XMP_FLAG;
            }
            return unit;
        }
        let ([w0, w1, w2, _], [h0, h1, h2, _]) = ((width - 1).to_le_bytes(), (height - 1).to_le_bytes());
        let chunk = [b"VP8X\x0A\0\0\0".as_slice(), &[alpha | XMP_FLAG, 0, 0, 0, w0, w1, w2, h0, h1, h2]].concat();
        held.splice(RIFF_BYTES..RIFF_BYTES, chunk);
        Unit::Plain { bytes: (RIFF_BYTES + EXTENDED_BYTES) as u64, is_searched: false }
    }
}
