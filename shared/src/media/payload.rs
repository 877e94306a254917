use std::sync::LazyLock;

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;

/// A character outside the base64 alphabets, or text after the padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64")]
pub struct BadPayload;

/// Symbols decoded at a time: 12 KiB of bytes.
const BLOCK: usize = 16 * 1024;
const NOT_A_SYMBOL: u8 = 64;
const BLANK: u8 = 65;
const PADDING: u8 = 66;

/// Decodes base64 text that comes in pieces, cut anywhere.
///
/// Reads the [forgiving base64](https://infra.spec.whatwg.org/#forgiving-base64-decode) of the web (white space
/// anywhere, padding optional, loose last bits) and the URL-safe alphabet: models and relays write all of these.
///
/// Blocks are decoded by the vector engine of the `base64` crate (its preset engines are scalar and 7 times slower);
/// a block that it refuses is decoded symbol by symbol.
#[derive(Debug, Default)]
pub struct Payload {
    /// Symbols (0..=63) that do not fill a group of four yet.
    group: [u8; 4],
    symbols: usize,
    padded: bool,
    bytes: Vec<u8>,
}

impl Payload {
    /// Decodes one block from the front of `text`, removes it, and returns the bytes.
    pub fn step(&mut self, text: &mut &[u8]) -> Result<&[u8], BadPayload> {
        self.bytes.clear();
        if self.symbols == 0 && !self.padded {
            let whole_groups = text.len().min(BLOCK) / 4 * 4;
            let (block, rest) = text.split_at(whole_groups);
            if block.last().is_some_and(|&last| last != b'=') {
                let bytes = whole_groups / 4 * 3;
                // `resize` alone would make room for two blocks when a larger block follows.
                self.bytes.reserve_exact(bytes.next_power_of_two().min(BLOCK / 4 * 3));
                self.bytes.resize(bytes, 0);
                if let Ok(written) = ENGINE.decode_slice(block, &mut self.bytes) {
                    self.bytes.truncate(written);
                    *text = rest;
                    return Ok(&self.bytes);
                }
                self.bytes.clear();
            }
        }
        let symbols = if self.symbols == 0 { BLOCK } else { 4 - self.symbols };
        let (block, rest) = text.split_at(text.len().min(symbols));
        for (at, &byte) in block.iter().enumerate() {
            if let Err(bad) = self.symbol(byte) {
                // The bytes before it are returned first, as if the text had been cut here.
                *text = text.get(at..).unwrap_or_default();
                return if self.bytes.is_empty() { Err(bad) } else { Ok(&self.bytes) };
            }
        }
        *text = rest;
        Ok(&self.bytes)
    }

    /// Decodes the rest when the text has ended: one or two bytes if the padding is missing.
    pub fn finish(&mut self) -> Result<&[u8], BadPayload> {
        self.bytes.clear();
        if !self.padded {
            self.last_group()?;
        }
        Ok(&self.bytes)
    }

    fn symbol(&mut self, byte: u8) -> Result<(), BadPayload> {
        match VALUES[usize::from(byte)] {
            BLANK => Ok(()),
            PADDING if self.padded => Ok(()),
            PADDING => {
                self.last_group()?;
                self.padded = true;
                Ok(())
            }
            value if value < NOT_A_SYMBOL && !self.padded => {
                self.group[self.symbols] = value;
                self.symbols += 1;
                if self.symbols == 4 {
                    self.symbols = 0;
                    let [a, b, c, d] = self.group;
                    self.bytes.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
                }
                Ok(())
            }
            _ => Err(BadPayload),
        }
    }

    fn last_group(&mut self) -> Result<(), BadPayload> {
        let [a, b, c, _] = self.group;
        match self.symbols {
            0 => {}
            2 => self.bytes.push(a << 2 | b >> 4),
            3 => self.bytes.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2]),
            _ => return Err(BadPayload),
        }
        self.symbols = 0;
        Ok(())
    }
}

/// Appends `bytes` as padded base64.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    if let Some(space) = out.get_mut(start..) {
        let written = ENGINE.encode_slice(bytes, space).unwrap_or(0);
        debug_assert_eq!(written, space.len());
    }
}

static ENGINE: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));

const VALUES: [u8; 256] = {
    let mut values = [NOT_A_SYMBOL; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0;
    while value < alphabet.len() {
        values[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values[b'=' as usize] = PADDING;
    values[b' ' as usize] = BLANK;
    values[b'\t' as usize] = BLANK;
    values[b'\n' as usize] = BLANK;
    values[b'\r' as usize] = BLANK;
    values[0x0C] = BLANK;
    values
};
