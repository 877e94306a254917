//! JPEG: an APP1 segment among the first segments ([XMP, part 3](https://github.com/adobe/xmp-docs/tree/master/XMPSpecifications) §1.1.3).

use super::Unit;
use super::xmp::LabelXmp;

pub(super) const SOI_BYTES: u64 = 2;
const IDENTIFIER: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// Marker and length.
const FRAME_BYTES: usize = 4;
/// The first bytes of a segment up to the type of the first JUMBF box.
const JUMBF_HEAD_BYTES: usize = 20;

pub(super) fn segment(head: &[u8]) -> Unit {
    let Some((&[marker, code, l0, l1], data)) = head.split_first_chunk() else {
        return match head {
            // Stray bytes, fill bytes, and segments that are neither APPn nor COM.
            [first, ..] if *first != 0xFF => Unit::Place,
            [_, code, ..] if !matches!(code, 0xE0..=0xEF | 0xFE) => Unit::Place,
            [_, _, ..] => Unit::Head(FRAME_BYTES),
            _ => Unit::Head(2),
        };
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if marker != 0xFF || !matches!(code, 0xE0..=0xEF | 0xFE) {
        return Unit::Place;
    }
    if length < 2 {
        return Unit::Lost;
    }
    let bytes = length + 2;
    let needed = match code {
        0xE1 => FRAME_BYTES + IDENTIFIER.len(),
        0xE2 => FRAME_BYTES + 4,
        0xEB => JUMBF_HEAD_BYTES,
        _ => 0,
    };
    if head.len() < needed.min(bytes) {
        return Unit::Head(needed.min(bytes));
    }
    match code {
        0xE1 if data.starts_with(IDENTIFIER) => {
            Unit::Packet { bytes, before: FRAME_BYTES + IDENTIFIER.len(), after: 0 }
        }
        0xE2 if data.starts_with(b"MPF\0") => Unit::Place,
        0xEB if data.starts_with(b"JP") && head.get(16..JUMBF_HEAD_BYTES) == Some(b"jumb") => {
            Unit::Manifest { bytes: bytes as u64 }
        }
        _ => Unit::Plain { bytes: bytes as u64, is_searched: true },
    }
}

pub(super) fn label(xmp: &LabelXmp) -> Vec<u8> {
    let packet = xmp.packet(FRAME_BYTES + IDENTIFIER.len());
    framed(packet.as_bytes()).unwrap_or_default()
}

pub(super) fn extended(head: &[u8], text: &[u8], tail: &[u8]) -> Option<Vec<u8>> {
    debug_assert!(head.ends_with(IDENTIFIER) && tail.is_empty());
    framed(text)
}

/// `None` if the segment would be too long.
fn framed(text: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(2 + IDENTIFIER.len() + text.len()).ok()?;
    Some([&[0xFF, 0xE1], length.to_be_bytes().as_slice(), IDENTIFIER, text].concat())
}
