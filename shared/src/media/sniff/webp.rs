//! The RIFF header and first chunk of a WebP file.

use super::{Sniffer, WalkStep};

impl Sniffer {
    /// RFC 9649 §2.5–2.7: the first chunk determines which of the three layouts the file has.
    pub(super) fn read_webp(&mut self) {
        let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, ..] = self.head;
        match self.step {
            WalkStep::WebpChunk => {
                let size = u64::from(u32::from_le_bytes([b4, b5, b6, b7]));
                let step = match &[b0, b1, b2, b3] {
                    _ if RIFF_AND_CHUNK_BYTES + size > self.declared => WalkStep::Lost,
                    b"VP8 " if size >= 10 => WalkStep::WebpLossy,
                    b"VP8L" if size >= 5 => WalkStep::WebpLossless,
                    b"VP8X" if size >= 10 => WalkStep::WebpExtended,
                    _ => WalkStep::Lost,
                };
                self.go(step, 0);
            }
            // RFC 6386 §9.1: bit 0 clear is a key frame; two bits of scale above each size.
            WalkStep::WebpLossy if b0 & 1 == 0 && [b3, b4, b5] == [0x9D, 0x01, 0x2A] => {
                let width = u32::from(u16::from_le_bytes([b6, b7]) & 0x3FFF);
                let height = u32::from(u16::from_le_bytes([b8, b9]) & 0x3FFF);
                self.pixels = true;
                self.sized(width, height, WalkStep::WebpBody, 0);
            }
            // RFC 9649 §3.4: signature, two 14-bit sizes less one, alpha, version 0.
            WalkStep::WebpLossless if b0 == 0x2F && b4 >> 5 == 0 => {
                let bits = u32::from_le_bytes([b1, b2, b3, b4]);
                self.pixels = true;
                self.sized((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, WalkStep::WebpBody, 0);
            }
            // §2.7.1: flags, reserved, two 24-bit sizes less one; the bitstream comes later.
            WalkStep::WebpExtended => {
                let width = u32::from_le_bytes([b4, b5, b6, 0]) + 1;
                let height = u32::from_le_bytes([b7, b8, b9, 0]) + 1;
                self.pixels = self.declared > RIFF_AND_CHUNK_BYTES + 10;
                self.sized(width, height, WalkStep::WebpBody, 0);
            }
            _ => self.go(WalkStep::Lost, 0),
        }
    }
}

/// `RIFF`, length, `WEBP`, and the name and length of the first chunk.
const RIFF_AND_CHUNK_BYTES: u64 = 20;
