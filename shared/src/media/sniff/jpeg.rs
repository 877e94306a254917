//! The marker walk of a JPEG file, and how its scans end.

use super::{Sniffer, Step};

impl Sniffer {
    /// T.81 B.1.1.2–B.1.1.4: a marker is FF (repeatedly, as fill) and a code; most are followed
    /// by a length that counts itself.
    pub(super) fn read_jpeg(&mut self) {
        let [b0, b1, _, y0, y1, x0, x1, ..] = self.head;
        let length = u64::from(u16::from_be_bytes([b0, b1]));
        match self.step {
            Step::JpegMarker => self.go(
                match b0 {
                    0xFF => Step::JpegMarker,
                    // FF 00 is no marker; TEM, RSTn and a second SOI stand alone.
                    0x00 | 0x01 | 0xD0..=0xD8 => Step::JpegSeek,
                    // EOI before any scan: tables only, no picture.
                    0xD9 => Step::Lost,
                    0xDA => Step::JpegScanHeader,
                    // DHT, JPG and DAC share the range of SOF0–SOF15 (Table B.1).
                    0xC4 | 0xC8 | 0xCC => Step::JpegSegment,
                    0xC0..=0xCF => Step::JpegFrame,
                    _ => Step::JpegSegment,
                },
                0,
            ),
            // B.2.2: length, precision, lines, samples per line; the rest is skipped.
            Step::JpegFrame if length >= 8 => {
                let width = u32::from(u16::from_be_bytes([x0, x1]));
                let height = u32::from(u16::from_be_bytes([y0, y1]));
                if self.dimensions.is_some() {
                    self.go(Step::JpegSeek, length - 7);
                } else {
                    self.sized(width, height, Step::JpegSeek, length - 7);
                }
            }
            Step::JpegSegment if length >= 2 => self.go(Step::JpegSeek, length - 2),
            Step::JpegScanHeader if length >= 2 && self.dimensions.is_some() => {
                self.pixels = true;
                self.go(Step::JpegScan, length - 2);
            }
            _ => self.go(Step::Lost, 0),
        }
    }
}

/// The last two bytes of the scans before trailing NULs and white space.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Ending {
    pub(super) last_two: [u8; 2],
    last: u8,
}

impl Ending {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut back = bytes.iter().rev().copied().skip_while(|b| is_padding(*b));
        if let Some(second) = back.next() {
            self.last_two = [back.next().unwrap_or(self.last), second];
        }
        self.last = bytes.last().copied().unwrap_or(self.last);
    }
}

fn is_padding(byte: u8) -> bool {
    byte == 0 || byte.is_ascii_whitespace()
}
