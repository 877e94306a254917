//! PNG: an `iTXt` chunk before the first IDAT ([PNG, third edition](https://www.w3.org/TR/png-3/) §5.3, §11.3.3.4).

use super::Unit;
use super::xmp::LabelXmp;

pub(super) const SIGNATURE_BYTES: u64 = 8;
/// Length, type and checksum of a chunk.
const FRAME_BYTES: usize = 12;
/// Keyword, not compressed, no language, no translated keyword.
const ITXT_HEAD: &[u8] = b"XML:com.adobe.xmp\0\0\0\0\0";
const KEYWORD_BYTES: usize = 18;
const MAX_CHUNK_BYTES: u32 = 0x7FFF_FFFF;

pub(super) fn chunk(head: &[u8]) -> Unit {
    let Some((&[l0, l1, l2, l3, t0, t1, t2, t3], data)) = head.split_first_chunk() else { return Unit::Head(8) };
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    let bytes = u64::from(length) + FRAME_BYTES as u64;
    match &[t0, t1, t2, t3] {
        b"IDAT" | b"IEND" => Unit::Place,
        _ if length > MAX_CHUNK_BYTES => Unit::Lost,
        b"caBX" => Unit::Manifest { bytes },
        b"iTXt" if length as usize >= ITXT_HEAD.len() => itxt(data, bytes),
        b"tEXt" | b"zTXt" | b"iTXt" | b"eXIf" => Unit::Plain { bytes, is_searched: true },
        _ => Unit::Plain { bytes, is_searched: false },
    }
}

fn itxt(data: &[u8], bytes: u64) -> Unit {
    let Some(head) = data.get(..ITXT_HEAD.len()) else { return Unit::Head(8 + ITXT_HEAD.len()) };
    if head == ITXT_HEAD {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        return Unit::Packet { bytes, before: 8 + ITXT_HEAD.len(), after: 4 };
    }
    // Compressed, or with a language.
    if head.get(..KEYWORD_BYTES) == ITXT_HEAD.get(..KEYWORD_BYTES) {
        return Unit::Closed { bytes };
    }
    Unit::Plain { bytes, is_searched: true }
}

pub(super) fn label(xmp: &LabelXmp) -> Vec<u8> {
    let packet = xmp.packet(FRAME_BYTES + ITXT_HEAD.len());
    framed(ITXT_HEAD, packet.as_bytes()).unwrap_or_default()
}

pub(super) fn extended(head: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    framed(head.get(8..)?, text)
}

fn framed(head: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(head.len() + text.len()).ok()?;
    let mut chunk = [&length.to_be_bytes(), b"iTXt".as_slice(), head, text].concat();
    let checksum = crc32(chunk.get(4..)?);
    chunk.extend_from_slice(&checksum.to_be_bytes());
    Some(chunk)
}

/// PNG, annex D.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, step)
}
