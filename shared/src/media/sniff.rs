//! Reads a picture's media type, dimensions and end marker from its bytes.
//!
//! A [`Sniffer`] accepts pieces cut anywhere, keeps at most 16 of their bytes, and skips
//! chunk and segment bodies without examining them; only the scans of a JPEG are searched for
//! markers. Nothing is decoded and no checksum is computed: only the header and the end are checked.
//! Bytes behind the end change nothing.
//!
//! | Type | Magic | Dimensions from | Whole when |
//! |---|---|---|---|
//! | PNG ([PNG, third edition] §5.2, §5.3, §11.2) | 8-byte signature | IHDR, which must come first | an IDAT was read and the chunk walk passed IEND |
//! | JPEG ([ITU-T T.81] B.1.1, B.2) | `FF D8 FF` | the first SOF marker | an SOS was read and the marker walk reached EOI |
//! | WebP ([RFC 9649] §2.4–2.7, §3.4; [RFC 6386] §9.1) | `RIFF….WEBP` | `VP8 `, `VP8L` or `VP8X`, which must come first | as many bytes as RIFF declares |
//! | GIF ([GIF89a] §17–27) | `GIF87a`, `GIF89a` | logical screen | an image was read and the block walk reached the trailer |
//!
//! Departures: a JPEG whose height is only in a DNL segment (T.81 B.2.5) has no dimensions here;
//! stray bytes between JPEG segments and NULs between GIF blocks are skipped, as decoders do.
//!
//! [PNG, third edition]: https://www.w3.org/TR/png-3/
//! [ITU-T T.81]: https://www.w3.org/Graphics/JPEG/itu-t81.pdf
//! [RFC 9649]: https://www.rfc-editor.org/rfc/rfc9649
//! [RFC 6386]: https://www.rfc-editor.org/rfc/rfc6386
//! [GIF89a]: https://www.w3.org/Graphics/GIF/spec-gif89a.txt

mod gif;
mod jpeg;
mod png;
mod webp;

use crate::scan::find;

/// The picture formats this service knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `image/png`
    Png,
    /// `image/jpeg`
    Jpeg,
    /// `image/webp`
    Webp,
    /// `image/gif`
    Gif,
}

impl MediaType {
    /// All types.
    pub const ALL: [Self; 4] = [Self::Png, Self::Jpeg, Self::Webp, Self::Gif];

    /// The type with this registered name, in lower case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|media_type| media_type.as_str() == name)
    }

    /// The usual end of a file name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Webp => "webp",
            Self::Gif => "gif",
        }
    }

    /// The registered name, in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
        }
    }
}

/// The media type according to the first bytes, at most 12.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MagicMatch {
    /// Too few bytes so far; all of them fit the start of some magic.
    #[default]
    Undecided,
    /// The magic of this type is complete.
    Known(MediaType),
    /// No known magic begins like this.
    NotAnImage,
}

/// A whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SniffedImage {
    /// From the magic; a label is never used.
    pub media_type: MediaType,
    /// Bytes that were pushed, including any behind the picture's own end.
    pub bytes: u64,
    /// Pixels, at least 1; orientation metadata is not applied.
    pub width: u32,
    /// Pixels, at least 1; orientation metadata is not applied.
    pub height: u32,
}

/// Why the bytes are not a whole picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SniffFlaw {
    /// No known magic, or fewer bytes than a magic has.
    NotAnImage,
    /// The magic is right, but the dimensions or the end are missing or cannot be reached.
    Truncated,
}

/// Examines the bytes of one picture as they pass.
#[derive(Clone, Default, Debug)]
pub struct Sniffer {
    kind: MagicMatch,
    dimensions: Option<(u32, u32)>,
    len: u64,
    step: WalkStep,
    /// Bytes to skip before `step` begins.
    skip: u64,
    head: [u8; HEAD_BYTES],
    filled: usize,
    /// Coded pixels were found: IDAT, SOS, a GIF image or a WebP bitstream header.
    pixels: bool,
    /// WebP only: the length of the file by its RIFF header.
    declared: u64,
}

impl Sniffer {
    /// Reads the next piece, cut anywhere. Costs O(1) for skipped bodies.
    pub fn push(&mut self, bytes: &[u8]) {
        self.len = self.len.saturating_add(bytes.len() as u64);
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.advance(rest);
        }
    }

    /// The type by its magic, as soon as it is known.
    #[must_use]
    pub fn kind(&self) -> MagicMatch {
        self.kind
    }

    /// Width and height in pixels, both at least 1, once the header was read.
    #[must_use]
    pub fn dimensions(&self) -> Option<(u32, u32)> {
        self.dimensions
    }

    /// Bytes pushed so far.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a count of what went by; nothing is contained")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Checks the pushed bytes as a complete file.
    ///
    /// # Errors
    ///
    /// [`SniffFlaw`] when it is not one whole picture.
    pub fn finish(&self) -> Result<SniffedImage, SniffFlaw> {
        let MagicMatch::Known(media_type) = self.kind else {
            return Err(SniffFlaw::NotAnImage);
        };
        let ended = self.skip == 0
            && match self.step {
                WalkStep::End => true,
                WalkStep::WebpBody => self.len >= self.declared,
                _ => false,
            };
        match self.dimensions {
            Some((width, height)) if ended && self.pixels => {
                Ok(SniffedImage { media_type, bytes: self.len, width, height })
            }
            _ => Err(SniffFlaw::Truncated),
        }
    }

    /// Consumes at least one byte and returns the rest.
    fn advance<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.skip > 0 {
            let left = usize::try_from(self.skip).unwrap_or(usize::MAX);
            let run = left.min(bytes.len());
            self.skip -= run as u64;
            return bytes.get(run..).unwrap_or_default();
        }
        match self.step {
            WalkStep::WebpBody | WalkStep::End | WalkStep::Lost => &[],
            WalkStep::JpegSeek => {
                let Some(at) = find(0xFF, bytes) else {
                    return &[];
                };
                self.go(WalkStep::JpegMarker, 0);
                bytes.get(at + 1..).unwrap_or_default()
            }
            _ => self.fill(bytes),
        }
    }

    /// Adds one byte to the head of the step and reads the head when it is complete.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((&byte, rest)) = bytes.split_first() else {
            return bytes;
        };
        if let Some(slot) = self.head.get_mut(self.filled) {
            *slot = byte;
        }
        self.filled += 1;
        if self.step == WalkStep::Magic {
            self.read_magic();
        } else if self.filled >= self.step.head_bytes() {
            self.read_head();
        }
        rest
    }

    fn read_magic(&mut self) {
        self.kind = recognise(self.head.get(..self.filled).unwrap_or_default());
        match self.kind {
            MagicMatch::Undecided => {}
            MagicMatch::NotAnImage => self.go(WalkStep::Lost, 0),
            MagicMatch::Known(MediaType::Png) => self.go(WalkStep::PngHeader, 0),
            // The third byte of the magic is the first of the next marker.
            MagicMatch::Known(MediaType::Jpeg) => self.go(WalkStep::JpegMarker, 0),
            MagicMatch::Known(MediaType::Gif) => self.go(WalkStep::GifScreen, 0),
            MagicMatch::Known(MediaType::Webp) => {
                let [_, _, _, _, a, b, c, d, ..] = self.head;
                self.declared = u64::from(u32::from_le_bytes([a, b, c, d])) + 8;
                self.go(WalkStep::WebpChunk, 0);
            }
        }
    }

    fn read_head(&mut self) {
        match self.step {
            WalkStep::PngHeader | WalkStep::PngChunk => self.read_png(),
            WalkStep::JpegMarker | WalkStep::JpegSegment | WalkStep::JpegFrame | WalkStep::JpegScanHeader => {
                self.read_jpeg()
            }
            WalkStep::WebpChunk | WalkStep::WebpLossy | WalkStep::WebpLossless | WalkStep::WebpExtended => {
                self.read_webp();
            }
            WalkStep::GifScreen
            | WalkStep::GifBlock
            | WalkStep::GifExtension
            | WalkStep::GifImage
            | WalkStep::GifSubBlock => self.read_gif(),
            WalkStep::Magic | WalkStep::JpegSeek | WalkStep::WebpBody | WalkStep::End | WalkStep::Lost => {}
        }
    }

    fn go(&mut self, step: WalkStep, skip: u64) {
        self.step = step;
        self.skip = skip;
        self.filled = 0;
    }

    fn sized(&mut self, width: u32, height: u32, step: WalkStep, skip: u64) {
        if width == 0 || height == 0 {
            return self.go(WalkStep::Lost, 0);
        }
        self.dimensions = Some((width, height));
        self.go(step, skip);
    }
}

/// The longest head of a step: a PNG chunk's length and type, IHDR's width and height.
const HEAD_BYTES: usize = 16;
/// The meaning of the next bytes, after the skipped ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WalkStep {
    #[default]
    Magic,
    PngHeader,
    PngChunk,
    /// Between two segments, or in the entropy-coded data of a scan.
    JpegSeek,
    JpegMarker,
    JpegSegment,
    JpegFrame,
    JpegScanHeader,
    WebpChunk,
    WebpLossy,
    WebpLossless,
    WebpExtended,
    WebpBody,
    GifScreen,
    GifBlock,
    GifExtension,
    GifImage,
    GifSubBlock,
    /// The end marker was read; further bytes change nothing.
    End,
    /// These bytes can no longer become a whole picture.
    Lost,
}

impl WalkStep {
    fn head_bytes(self) -> usize {
        match self {
            Self::PngHeader => HEAD_BYTES,
            Self::WebpLossy | Self::WebpExtended => 10,
            Self::GifImage => 9,
            Self::PngChunk | Self::WebpChunk => 8,
            Self::JpegFrame | Self::GifScreen => 7,
            Self::WebpLossless => 5,
            Self::JpegSegment | Self::JpegScanHeader => 2,
            _ => 1,
        }
    }
}

/// Implements the table of the module. No magic is a prefix of another.
fn recognise(start: &[u8]) -> MagicMatch {
    const MAGICS: [(&[u8], MediaType); 4] = [
        (b"\x89PNG\r\n\x1A\n", MediaType::Png),
        (b"\xFF\xD8\xFF", MediaType::Jpeg),
        (b"GIF87a", MediaType::Gif),
        (b"GIF89a", MediaType::Gif),
    ];
    let form = start.get(8..).unwrap_or_default();
    let (magic_bytes, media_type) =
        if let Some((magic, media_type)) = MAGICS.iter().find(|(magic, _)| agree(start, magic)) {
            (magic.len(), *media_type)
        } else if agree(start, b"RIFF") && agree(form, b"WEBP") {
            (12, MediaType::Webp)
        } else {
            return MagicMatch::NotAnImage;
        };
    if start.len() < magic_bytes { MagicMatch::Undecided } else { MagicMatch::Known(media_type) }
}

fn agree(start: &[u8], magic: &[u8]) -> bool {
    start.iter().zip(magic).all(|(a, b)| a == b)
}
