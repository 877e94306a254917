//! Draws a picture for a prompt. The same prompt always gives the same file, byte for byte.

use std::error::Error;
use std::io::{self, Write};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{landscape, pixel_font};

/// Number of characters of the prompt that are written into the picture.
pub(crate) const LABEL_CHARS: usize = 24;
/// Chosen so that the files are as large as those of Seedream.
const JPEG_QUALITY: u8 = 93;

/// File format of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// `image/png`, RGB, 8 bits.
    Png,
    /// `image/jpeg`, three channels.
    Jpeg,
}

impl PictureFormat {
    /// The media type of files in this format.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }
}

/// A drawn picture as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The whole file.
    pub bytes: Bytes,
    /// `image/png` or `image/jpeg`.
    pub media_type: &'static str,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// SHA-256 of `bytes`, as lower-case hex.
    pub sha256: String,
}

impl Picture {
    /// Writes one line to standard error: `prefix`, then size, type, bytes and hash.
    pub(crate) fn log(&self, prefix: &str) {
        let Self { bytes, media_type, width, height, sha256 } = self;
        let size = bytes.len();
        // A closed standard error loses the line, not the picture.
        let _ = writeln!(io::stderr(), "{prefix} {width}x{height} {media_type} {size} bytes sha256 {sha256}");
    }
}

/// Draws picture number `variant` for `prompt`: a landscape that depends on a hash of both, with the start of the
/// prompt and of the hash written into it.
///
/// Takes up to half a second of CPU time: call it on a blocking thread. Sides are 1..=65535 pixels.
pub fn draw(prompt: &str, variant: u32, format: PictureFormat, width: u32, height: u32) -> Picture {
    Sketch::new(prompt, variant).draw(format, width, height)
}

/// The input of a drawing. It is small enough for a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sketch {
    pub(crate) seed: [u8; 32],
    pub(crate) variant: u32,
    /// The start of the prompt: at most [`LABEL_CHARS`] of ASCII.
    pub(crate) words: String,
}

impl Sketch {
    pub(crate) fn new(prompt: &str, variant: u32) -> Self {
        let hash = Sha256::new().chain_update(prompt).chain_update([0]).chain_update(variant.to_le_bytes());
        let words: String = prompt.chars().filter(char::is_ascii).take(LABEL_CHARS).collect();
        Self { seed: hash.finalize().into(), variant, words: words.trim().to_owned() }
    }

    /// Draws the sketch, as [`draw`] does.
    pub(crate) fn draw(&self, format: PictureFormat, width: u32, height: u32) -> Picture {
        let Self { seed, variant, words } = self;
        let mut pixels = landscape::paint(seed, width, height);
        let number = format!("#{} / {variant}", &hex(seed)[..8]);
        pixel_font::stamp(&mut pixels, width, &[&number, words]);

        let bytes = encode(&pixels, format, width, height);
        Picture {
            sha256: hex(&Sha256::digest(&bytes)),
            bytes: Bytes::from(bytes),
            media_type: format.media_type(),
            width,
            height,
        }
    }
}

/// Lower-case hex of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[expect(clippy::expect_used, reason = "writing to memory cannot fail, and callers pass valid sizes")]
fn encode(pixels: &[u8], format: PictureFormat, width: u32, height: u32) -> Vec<u8> {
    match format {
        PictureFormat::Png => png(pixels, width, height).expect("a PNG of this size can be written"),
        PictureFormat::Jpeg => jpeg(pixels, width, height).expect("a JPEG of this size can be written"),
    }
}

fn png(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::with_capacity(pixels.len());
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Sub);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

fn jpeg(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, Box<dyn Error>> {
    let (width, height) = (u16::try_from(width)?, u16::try_from(height)?);
    let mut file = Vec::with_capacity(pixels.len() / 4);
    let encoder = jpeg_encoder::Encoder::new(&mut file, JPEG_QUALITY);
    encoder.encode(pixels, width, height, jpeg_encoder::ColorType::Rgb)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_png_decodes_to_its_stated_size() {
        let picture = draw("a quiet lake", 0, PictureFormat::Png, 320, 200);
        let mut reader = png::Decoder::new(Cursor::new(&picture.bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), (picture.width, picture.height));
        assert_eq!((frame.width, frame.height), (320, 200));
        assert_eq!(picture.media_type, "image/png");
        assert_eq!(picture.sha256, hex(&Sha256::digest(&picture.bytes)));
    }

    #[test]
    fn a_jpeg_decodes_to_its_stated_size() {
        let picture = draw("a quiet lake", 0, PictureFormat::Jpeg, 320, 200);
        let mut decoder = zune_jpeg::JpegDecoder::new(Cursor::new(&picture.bytes));
        let pixels = decoder.decode().unwrap();
        assert_eq!(decoder.dimensions(), Some((320, 200)));
        assert_eq!(pixels.len(), 320 * 200 * 3);
        assert_eq!(picture.media_type, "image/jpeg");
    }

    #[test]
    fn equal_prompts_give_equal_bytes_and_different_prompts_different_bytes() {
        let one = draw("猫", 0, PictureFormat::Png, 200, 100);
        assert_eq!(one, draw("猫", 0, PictureFormat::Png, 200, 100));
        assert_ne!(one.sha256, draw("狗", 0, PictureFormat::Png, 200, 100).sha256);
        assert_ne!(one.sha256, draw("猫", 1, PictureFormat::Png, 200, 100).sha256);
    }

    #[test]
    fn files_are_as_large_as_those_of_real_models() {
        let mib =
            |format, width, height| draw("a portrait in the rain", 0, format, width, height).bytes.len() as f64 / 1e6;
        let png = mib(PictureFormat::Png, 1024, 1024);
        assert!((1.0..3.0).contains(&png), "{png} MB");
        let jpeg = mib(PictureFormat::Jpeg, 2496, 1664);
        assert!((0.7..3.0).contains(&jpeg), "{jpeg} MB");
    }
}
