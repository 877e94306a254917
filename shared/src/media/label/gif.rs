//! GIF: an application extension behind the colour table and the other extensions of the file
//! ([GIF89a](https://www.w3.org/Graphics/GIF/spec-gif89a.txt) §17, §26; XMP, part 3 §1.1.2).

use super::Unit;
use super::xmp::LabelXmp;

/// Signature, version, logical screen.
const SCREEN_BYTES: usize = 13;
const EXTENSION_HEAD: &[u8] = b"\x21\xFF\x0BXMP DataXMP";

#[derive(Debug, Default)]
pub(super) struct GifUnits {
    place: GifPlace,
}

#[derive(Debug, Default)]
enum GifPlace {
    #[default]
    Screen,
    Block,
    SubBlock,
}

impl GifUnits {
    pub(super) fn next(&mut self, head: &[u8]) -> Unit {
        match (&self.place, head) {
            (GifPlace::Screen, _) => {
                let Some(flags) = head.get(10).filter(|_| head.len() >= SCREEN_BYTES) else {
                    return Unit::Head(SCREEN_BYTES);
                };
                let table = if flags & 0x80 == 0 { 0 } else { 6_usize << (flags & 7) };
                self.place = GifPlace::Block;
                Unit::Held { bytes: SCREEN_BYTES + table }
            }
            (GifPlace::SubBlock, [length, ..]) => {
                if *length == 0 {
                    self.place = GifPlace::Block;
                }
                Unit::Plain { bytes: u64::from(*length) + 1, is_searched: true }
            }
            (_, []) => Unit::Head(1),
            (GifPlace::Block, [0x21]) => Unit::Head(2),
            (GifPlace::Block, [0x21, 0xFF, ..]) if head.len() < EXTENSION_HEAD.len() => {
                Unit::Head(EXTENSION_HEAD.len())
            }
            (GifPlace::Block, [0x21, kind @ (0xFF | 0xFE), ..]) => {
                self.place = GifPlace::SubBlock;
                match *kind == 0xFF && head.starts_with(EXTENSION_HEAD) {
                    true => Unit::Closed { bytes: EXTENSION_HEAD.len() as u64 },
                    false => Unit::Plain { bytes: 2, is_searched: false },
                }
            }
            (GifPlace::Block, _) => Unit::Place,
        }
    }
}

/// Extensions are of version 89a, so the version in the held header becomes that.
pub(super) fn label(xmp: &LabelXmp, held: &mut [u8]) -> Vec<u8> {
    if held.starts_with(b"GIF87a")
        && let Some(version) = held.get_mut(4)
    {
        *version = b'9';
    }
    // A reader that takes the packet for sub-blocks lands somewhere in these bytes, and each of them leads to the end.
    let trailer: Vec<u8> = [1].into_iter().chain((0..=255).rev()).chain([0]).collect();
    let packet = xmp.packet(EXTENSION_HEAD.len() + trailer.len());
    [EXTENSION_HEAD, packet.as_bytes(), &trailer].concat()
}
