//! The block walk of a GIF file.

use super::{Sniffer, WalkStep};

impl Sniffer {
    /// GIF89a §17–27: blocks by their first byte, data in sub-blocks of at most 255 bytes.
    pub(super) fn read_gif(&mut self) {
        let [b0, b1, b2, b3, b4, _, _, _, b8, ..] = self.head;
        match self.step {
            WalkStep::GifScreen => {
                let width = u32::from(u16::from_le_bytes([b0, b1]));
                let height = u32::from(u16::from_le_bytes([b2, b3]));
                self.sized(width, height, WalkStep::GifBlock, gif_table_bytes(b4));
            }
            WalkStep::GifBlock => match b0 {
                0x00 => self.go(WalkStep::GifBlock, 0),
                0x21 => self.go(WalkStep::GifExtension, 0),
                0x2C => self.go(WalkStep::GifImage, 0),
                0x3B => self.go(WalkStep::End, 0),
                _ => self.go(WalkStep::Lost, 0),
            },
            WalkStep::GifExtension => self.go(WalkStep::GifSubBlock, 0),
            WalkStep::GifImage => {
                self.pixels = true;
                // One more byte, the LZW code size, stands before the sub-blocks.
                self.go(WalkStep::GifSubBlock, gif_table_bytes(b8) + 1);
            }
            _ if b0 == 0 => self.go(WalkStep::GifBlock, 0),
            _ => self.go(WalkStep::GifSubBlock, u64::from(b0)),
        }
    }
}

/// GIF89a §18, §20: bit 7 is set if a colour table follows; bits 0–2 are its size.
fn gif_table_bytes(flags: u8) -> u64 {
    match flags & 0x80 {
        0 => 0,
        _ => 6 << (flags & 7),
    }
}
