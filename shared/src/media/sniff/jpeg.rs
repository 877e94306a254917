//! The marker walk of a JPEG file, through its scans to EOI.

use super::{Sniffer, WalkStep};

impl Sniffer {
    /// T.81 B.1.1.2–B.1.1.5: a marker is FF (repeatedly, as fill) and a code; most are followed
    /// by a length that counts itself. Entropy-coded data writes FF as FF 00, so the walk goes
    /// through it as well: only RSTn, another segment or EOI can follow there.
    pub(super) fn read_jpeg(&mut self) {
        let [b0, b1, _, y0, y1, x0, x1, ..] = self.head;
        let length = u64::from(u16::from_be_bytes([b0, b1]));
        match self.step {
            WalkStep::JpegMarker => self.go(
                match b0 {
                    0xFF => WalkStep::JpegMarker,
                    // FF 00 is not a marker; reserved codes, TEM, RSTn and a second SOI stand alone.
                    0x00..=0xBF | 0xD0..=0xD8 => WalkStep::JpegSeek,
                    0xD9 if self.pixels => WalkStep::End,
                    // EOI before any scan: tables only, not a picture.
                    0xD9 => WalkStep::Lost,
                    0xDA => WalkStep::JpegScanHeader,
                    // DHT, JPG and DAC share the range of SOF0–SOF15 (Table B.1).
                    0xC4 | 0xC8 | 0xCC => WalkStep::JpegSegment,
                    0xC0..=0xCF => WalkStep::JpegFrame,
                    _ => WalkStep::JpegSegment,
                },
                0,
            ),
            // B.2.2: length, precision, lines, samples per line; the rest is skipped.
            WalkStep::JpegFrame if length >= 8 => {
                let width = u32::from(u16::from_be_bytes([x0, x1]));
                let height = u32::from(u16::from_be_bytes([y0, y1]));
                if self.dimensions.is_some() {
                    self.go(WalkStep::JpegSeek, length - 7);
                } else {
                    self.sized(width, height, WalkStep::JpegSeek, length - 7);
                }
            }
            WalkStep::JpegSegment if length >= 2 => self.go(WalkStep::JpegSeek, length - 2),
            WalkStep::JpegScanHeader if length >= 2 && self.dimensions.is_some() => {
                self.pixels = true;
                self.go(WalkStep::JpegSeek, length - 2);
            }
            _ => self.go(WalkStep::Lost, 0),
        }
    }
}
