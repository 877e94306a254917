//! The chunk walk of a PNG file.

use super::{Sniffer, WalkStep};

impl Sniffer {
    /// PNG §5.3: length, type, data, CRC; a length is at most 2³¹−1.
    pub(super) fn read_png(&mut self) {
        let [l0, l1, l2, l3, t0, t1, t2, t3, w0, w1, w2, w3, h0, h1, h2, h3] = self.head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if length > PNG_MAX {
            return self.go(WalkStep::Lost, 0);
        }
        let data_and_crc = u64::from(length) + 4;
        match (self.step, &[t0, t1, t2, t3]) {
            (WalkStep::PngHeader, b"IHDR") if length == 13 => {
                let width = u32::from_be_bytes([w0, w1, w2, w3]);
                let height = u32::from_be_bytes([h0, h1, h2, h3]);
                if width > PNG_MAX || height > PNG_MAX {
                    return self.go(WalkStep::Lost, 0);
                }
                // Eight bytes of the data are already read.
                self.sized(width, height, WalkStep::PngChunk, data_and_crc - 8);
            }
            (WalkStep::PngHeader, _) => self.go(WalkStep::Lost, 0),
            (_, b"IEND") => self.go(WalkStep::End, data_and_crc),
            (_, name) => {
                self.pixels |= name == b"IDAT";
                self.go(WalkStep::PngChunk, data_and_crc);
            }
        }
    }
}

/// PNG §7.1: the largest four-byte unsigned integer.
const PNG_MAX: u32 = 0x7FFF_FFFF;
