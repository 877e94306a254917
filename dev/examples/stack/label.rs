//! `cargo dev label`: prints the labels of a picture and the parts of the file that have them. It reads the file's structure
//! by itself, so that it does not repeat a mistake of the code that writes labels.

use std::io::{self, Write};
use std::path::Path;

use shared::media::WholeImage;

/// Prints what the file has. Returns whether it has exactly one implicit label.
pub(crate) fn run(path: &Path) -> io::Result<bool> {
    let file = std::fs::read(path)?;
    let mut out = io::stdout().lock();
    let Ok(image) = WholeImage::of(&file) else {
        return Err(io::Error::other("the file is not a whole PNG, JPEG, WebP or GIF"));
    };
    let (media_type, width, height) = (image.media_type.as_str(), image.width, image.height);
    writeln!(out, "picture      {media_type}, {width} x {height}, {} bytes", image.bytes)?;
    let parts = parts(&file);
    let labels: Vec<_> = parts.iter().flat_map(|part| part.labels().map(move |json| (part, json))).collect();
    for (part, json) in &labels {
        writeln!(out, "AIGC label   {json}\n             in {}", part.name)?;
    }
    if labels.is_empty() {
        writeln!(out, "AIGC label   none")?;
    }
    let source_type = parts.iter().find_map(FilePart::source_type);
    writeln!(out, "source type  {}", source_type.as_deref().unwrap_or("none"))?;
    let c2pa = parts.iter().find(|part| part.is_c2pa());
    match c2pa {
        Some(part) => writeln!(out, "C2PA         a manifest in {}; it is not verified here", part.name)?,
        None => writeln!(out, "C2PA         none")?,
    }
    Ok(labels.len() == 1)
}

/// A part of a file that may have a label.
struct FilePart<'a> {
    name: String,
    bytes: &'a [u8],
}

impl FilePart<'_> {
    /// The JSON objects with the member `Label`.
    fn labels(&self) -> impl Iterator<Item = String> {
        let text = String::from_utf8_lossy(self.bytes).replace("&quot;", "\"");
        let from_brace = text.match_indices("{\"Label\"").map(|(at, _)| text.get(at..).unwrap_or_default());
        let objects = from_brace.filter_map(|rest| Some(rest.get(..=rest.find('}')?)?.to_owned()));
        objects.collect::<Vec<_>>().into_iter()
    }

    fn source_type(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.bytes);
        let value = text.split("DigitalSourceType").nth(1)?.trim_start_matches(['>', '=', '"', '\'']);
        Some(value.split(['<', '"', '\'']).next()?.to_owned())
    }

    fn is_c2pa(&self) -> bool {
        ["the chunk caBX", "the chunk C2PA"].contains(&self.name.as_str())
            || (self.name == "the segment APP11" && self.bytes.windows(4).any(|bytes| bytes == b"jumb"))
    }
}

/// The parts of a file, without its pixels.
fn parts(file: &[u8]) -> Vec<FilePart<'_>> {
    match file {
        [0x89, ..] => chunks(file, 8, |head| u32::from_be_bytes([head[0], head[1], head[2], head[3]]), 4),
        [b'R', ..] => chunks(file, 12, |head| u32::from_le_bytes([head[4], head[5], head[6], head[7]]), 0),
        [0xFF, ..] => segments(file),
        // The extensions of a GIF are few, and its pixels cannot contain this text.
        _ => vec![FilePart { name: "a GIF extension".to_owned(), bytes: file }],
    }
}

/// The chunks of a PNG, whose name is behind the length, or of a WebP, whose name is before it.
fn chunks(file: &[u8], mut at: usize, length: fn(&[u8; 8]) -> u32, name_at: usize) -> Vec<FilePart<'_>> {
    let is_png = name_at == 4;
    let mut found = Vec::new();
    while let Some(head) = file.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let bytes = length(head) as usize;
        let data = file.get(at + 8..).unwrap_or_default();
        let data = data.get(..bytes).unwrap_or(data);
        let name = String::from_utf8_lossy(head.get(name_at..name_at + 4).unwrap_or_default()).trim_end().to_owned();
        if !["IDAT", "VP8", "VP8L", "ALPH", "ANMF"].contains(&name.as_str()) {
            let keyword =
                data.split(|byte| *byte == 0).next().filter(|_| ["tEXt", "zTXt", "iTXt"].contains(&name.as_str()));
            let keyword = keyword.map_or_else(String::new, |word| format!(" {}", String::from_utf8_lossy(word)));
            found.push(FilePart { name: format!("the chunk {name}{keyword}"), bytes: data });
        }
        at += 8 + bytes + if is_png { 4 } else { bytes % 2 };
    }
    found
}

/// The segments of a JPEG before its pixels.
fn segments(file: &[u8]) -> Vec<FilePart<'_>> {
    let (mut at, mut found) = (2, Vec::new());
    while let Some(&[0xFF, code, high, low]) = file.get(at..).and_then(|rest| rest.first_chunk()) {
        if code == 0xDA {
            break;
        }
        let bytes = usize::from(u16::from_be_bytes([high, low])).max(2);
        let data = file.get(at + 4..at + 2 + bytes).unwrap_or_default();
        let name = match code {
            0xE0..=0xEF => format!("the segment APP{}", code - 0xE0),
            0xFE => "a comment".to_owned(),
            _ => "another segment".to_owned(),
        };
        found.push(FilePart { name, bytes: data });
        at += 2 + bytes;
    }
    found
}
