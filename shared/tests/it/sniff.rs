//! The sniffer's verdict on whole, cut and hostile pictures. The samples come from independent
//! encoders; layouts that those cannot write are put together here.

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use shared::media::sniff::{MagicMatch, MediaType, SniffFlaw, SniffedImage, Sniffer};

const WIDTH: u32 = 37;
const HEIGHT: u32 = 21;

#[test]
fn names() {
    let names = [
        (MediaType::Png, "image/png"),
        (MediaType::Jpeg, "image/jpeg"),
        (MediaType::Webp, "image/webp"),
        (MediaType::Gif, "image/gif"),
    ];
    for (media_type, name) in names {
        assert_eq!(media_type.as_str(), name);
    }
}

#[test]
fn whole_pictures_in_one_piece_and_byte_by_byte() {
    for sample in samples() {
        let expected = Ok(SniffedImage {
            media_type: sample.media_type,
            bytes: sample.bytes.len() as u64,
            width: WIDTH,
            height: HEIGHT,
        });
        assert_eq!(sniff(&sample.bytes).finish(), expected, "{}", sample.name);

        let mut slow = Sniffer::default();
        for byte in &sample.bytes {
            slow.push(&[]);
            slow.push(std::slice::from_ref(byte));
        }
        assert_eq!(slow.finish(), expected, "{} byte by byte", sample.name);
    }
}

#[test]
fn every_cut_into_two_pieces() {
    for sample in samples() {
        let expected = sniff(&sample.bytes).finish();
        for at in 0..=sample.bytes.len() {
            let (head, tail) = sample.bytes.split_at(at);
            let mut sniffer = Sniffer::default();
            sniffer.push(head);
            sniffer.push(tail);
            assert_eq!(sniffer.finish(), expected, "{} cut at {at}", sample.name);
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    for sample in samples() {
        let magic = magic_bytes(sample.media_type);
        let mut sniffer = Sniffer::default();
        for (at, byte) in sample.bytes.iter().enumerate() {
            let (kind, flaw) = if at < magic {
                (MagicMatch::Undecided, SniffFlaw::NotAnImage)
            } else {
                (MagicMatch::Known(sample.media_type), SniffFlaw::Truncated)
            };
            assert_eq!(sniffer.kind(), kind, "{} at {at}", sample.name);
            assert_eq!(sniffer.finish(), Err(flaw), "{} at {at}", sample.name);
            assert_eq!(sniffer.len(), at as u64);
            sniffer.push(&[*byte]);
        }
        assert!(sniffer.finish().is_ok(), "{}", sample.name);
    }
}

#[test]
fn dimensions_need_only_the_header() {
    let rows = [("png", 24), ("webp lossless", 25), ("webp lossy", 30), ("webp extended", 30), ("gif", 13)];
    let samples = samples();
    for (name, needed) in rows {
        let sample = samples.iter().find(|s| s.name == name).unwrap();
        assert_eq!(sniff(&sample.bytes[..needed - 1]).dimensions(), None);
        assert_eq!(sniff(&sample.bytes[..needed]).dimensions(), Some((WIDTH, HEIGHT)), "{name}");
    }
}

#[test]
fn bytes_behind_the_end_change_nothing_in_any_format() {
    let another = sample(JPEG_PROGRESSIVE);
    let labels = [segment(0xEB, &[0xFF, 0xD9].repeat(9_000)), segment(0xFE, b"made by a machine")].concat();
    let trailers: [&[u8]; 11] = [
        b"\n",
        b"\r\n \0\t",
        &[0; 5000],
        b"x",
        b"\xFF",
        b"\0\xD9",
        b"{\"watermark\":true}",
        &labels,
        // A multi-picture file (CIPA DC-007) holds whole JPEG files one after another.
        &another,
        &another[..100],
        &png_chunk(b"IDAT", b"more"),
    ];
    for sample in samples() {
        let end = sniff(&sample.bytes).finish().unwrap();
        for trailer in trailers {
            let bytes = [&sample.bytes, trailer].concat();
            let expected = Ok(SniffedImage { bytes: bytes.len() as u64, ..end });
            assert_eq!(sniff(&bytes).finish(), expected, "{} + {trailer:?}", sample.name);
            let mut slow = sniff(&sample.bytes);
            for byte in trailer {
                slow.push(&[*byte]);
                assert!(slow.finish().is_ok(), "{} within {trailer:?}", sample.name);
            }
            assert_eq!(slow.finish(), expected, "{} + {trailer:?} byte by byte", sample.name);
        }
    }
}

#[test]
fn a_jpeg_is_whole_from_its_own_end_on_and_not_before() {
    let tables = |content: &[u8]| [segment(0xC4, content), segment(0xFE, content), segment(0xDD, &[0, 4])].concat();
    let scan = |data: &[u8]| [&segment(0xDA, &[1, 1, 0, 0, 63, 0]), data].concat();
    let frame = segment(0xC2, &[8, 0, 21, 0, 37, 1, 1, 0x11, 0]);
    let thumbnail = sample(JPEG);
    let rows: [(&str, &[&[u8]]); 7] = [
        ("one scan", &[&scan(b"\x12\xFF\x00\xD9\x34")]),
        ("restart markers", &[&scan(b"\x12\xFF\xD0\x34\xFF\xD7\xD9\x56\xFF\xFF\xFF\xD1")]),
        ("FF at the end of the data, written as FF 00", &[&scan(b"\x12\xFF\x00")]),
        ("fill bytes before EOI", &[&scan(b"\x12\xFF\xFF\xFF")]),
        ("EOI within segments between two scans", &[&scan(b"\x12"), &tables(b"\xFF\xD9\xFF\xD9"), &scan(b"\x34")]),
        ("a reserved marker in a scan", &[&scan(b"\x12\xFF\x3F\xFF\xBF\x34")]),
        ("a whole JPEG in a segment between two scans", &[&scan(b"\x12"), &segment(0xE1, &thumbnail), &scan(b"\x34")]),
    ];
    for (name, scans) in rows {
        // The thumbnail in APP1 has scans and an end of its own.
        let start = [b"\xFF\xD8".as_slice(), &segment(0xE1, &thumbnail), &frame].concat();
        let picture = [&start, scans.concat().as_slice(), b"\xFF\xD9"].concat();
        let bytes = [&picture, b"appended \xFF\xD8\xFF label \xFF\xD9".as_slice()].concat();
        let mut slow = Sniffer::default();
        for (at, byte) in bytes.iter().enumerate() {
            let expected = at >= picture.len();
            assert_eq!(sniff(&bytes[..at]).finish().is_ok(), expected, "{name} cut at {at} of {}", picture.len());
            assert_eq!(slow.finish().is_ok(), expected, "{name} byte by byte at {at}");
            slow.push(&[*byte]);
        }
        let expected =
            Ok(SniffedImage { media_type: MediaType::Jpeg, bytes: bytes.len() as u64, width: WIDTH, height: HEIGHT });
        assert_eq!((slow.finish(), sniff(&bytes).finish()), (expected, expected), "{name}");
    }
}

#[test]
fn jpeg_with_200_kb_of_provenance_before_the_frame() {
    let plain = sample(JPEG);
    let mut bytes = plain[..2].to_vec();
    for _ in 0..4 {
        // A manifest is full of bytes that look like markers and like an end.
        bytes.extend(segment(0xEB, &[0xFF, 0xC0, 0xFF, 0xD9].repeat(12_500)));
    }
    bytes.extend(&plain[2..]);
    for size in [1, 3, 1400, 65_536, bytes.len()] {
        let mut sniffer = Sniffer::default();
        bytes.chunks(size).for_each(|piece| sniffer.push(piece));
        assert_eq!(sniffer.dimensions(), Some((WIDTH, HEIGHT)));
        assert!(sniffer.finish().is_ok());
    }
    assert_eq!(sniff(&bytes[..150_000]).finish(), Err(SniffFlaw::Truncated), "cut inside of the manifest");
}

#[test]
fn jpeg_markers() {
    let size = [8, 0, 21, 0, 37, 1, 1, 0x11, 0];
    let scan = [segment(0xDA, &[1, 1, 0, 0, 63, 0]), b"\x12\xFF\x00\x34".to_vec()].concat();
    let file = |middle: &[u8]| [b"\xFF\xD8", middle, &scan, b"\xFF\xD9"].concat();
    let frame = |code: u8| segment(code, &size);
    let thumbnail = segment(0xE1, &file(&segment(0xC0, &[8, 0, 1, 0, 1, 1, 1, 0x11, 0])));

    let whole = [
        ("fill bytes", [b"\xFF\xFF\xFF".as_slice(), &frame(0xC0)].concat()),
        ("TEM, RST and SOI stand alone", [b"\xFF\x01\xFF\xD3\xFF\xD8".as_slice(), &frame(0xC2)].concat()),
        ("a stray byte", [frame(0xC1), b"\0\xFF\0".to_vec()].concat()),
        ("a thumbnail is not the picture", [thumbnail, frame(0xC0)].concat()),
        (
            "tables are no frame",
            [segment(0xC4, &size), segment(0xC8, &size), segment(0xCC, &size), frame(0xC9)].concat(),
        ),
        ("the first frame counts", [frame(0xC0), segment(0xC5, &[8, 0, 9, 0, 9, 1, 1, 0x11, 0])].concat()),
    ];
    for (name, middle) in whole {
        let sniffer = sniff(&file(&middle));
        assert_eq!(sniffer.dimensions(), Some((WIDTH, HEIGHT)), "{name}");
        assert!(sniffer.finish().is_ok(), "{name}");
    }
    for code in 0xC0..=0xCF {
        let is_frame = ![0xC4, 0xC8, 0xCC].contains(&code);
        assert_eq!(sniff(&file(&frame(code))).finish().is_ok(), is_frame, "{code:X}");
    }
    let flawed = [
        ("no frame", vec![]),
        ("no lines (DNL)", segment(0xC0, &[8, 0, 0, 0, 37, 1, 1, 0x11, 0])),
        ("no columns", segment(0xC0, &[8, 0, 21, 0, 0, 1, 1, 0x11, 0])),
        ("length 1", b"\xFF\xE0\x00\x01".to_vec()),
        ("frame of length 7", [b"\xFF\xC0\x00\x07".as_slice(), &size].concat()),
        ("end before the scan", [b"\xFF\xD9".to_vec(), frame(0xC0)].concat()),
    ];
    for (name, middle) in flawed {
        assert_eq!(sniff(&file(&middle)).finish(), Err(SniffFlaw::Truncated), "{name}");
    }
    let no_scan = [b"\xFF\xD8".to_vec(), frame(0xC0), b"\xFF\xD9".to_vec()].concat();
    assert_eq!(sniff(&no_scan).finish(), Err(SniffFlaw::Truncated));
}

#[test]
fn png_chunks() {
    let ihdr = png_chunk(b"IHDR", &[0, 0, 0, 37, 0, 0, 0, 21, 8, 2, 0, 0, 0]);
    let idat = png_chunk(b"IDAT", b"data");
    let iend = png_chunk(b"IEND", b"");
    let file = |chunks: &[&[u8]]| [b"\x89PNG\r\n\x1A\n".as_slice(), &chunks.concat()].concat();

    assert!(sniff(&file(&[&ihdr, &idat, &iend])).finish().is_ok());
    let zero = png_chunk(b"IHDR", &[0, 0, 0, 0, 0, 0, 0, 21, 8, 2, 0, 0, 0]);
    let huge = png_chunk(b"IHDR", &[0x80, 0, 0, 0, 0, 0, 0, 21, 8, 2, 0, 0, 0]);
    let short = png_chunk(b"IHDR", &[0, 0, 0, 37, 0, 0, 0, 21, 8, 2, 0, 0]);
    for header in [&zero, &huge, &short, &idat] {
        let sniffer = sniff(&file(&[header, &idat, &iend]));
        assert_eq!(sniffer.dimensions(), None);
        assert_eq!(sniffer.finish(), Err(SniffFlaw::Truncated));
    }
    let negative = b"\x80\0\0\0IDAT";
    for chunks in [vec![&ihdr[..], &iend], vec![&ihdr, &idat], vec![&ihdr, negative, &idat, &iend]] {
        assert_eq!(sniff(&file(&chunks)).finish(), Err(SniffFlaw::Truncated));
    }
}

#[test]
fn the_body_of_a_chunk_is_skipped() {
    let mut sniffer = sniff(b"\x89PNG\r\n\x1A\n");
    sniffer.push(&png_chunk(b"IHDR", &[0, 0, 0, 37, 0, 0, 0, 21, 8, 2, 0, 0, 0]));
    sniffer.push(b"\x7F\xFF\xFF\xFFIDAT");
    // Two gigabytes would take half a minute if each byte were looked at.
    let piece = vec![0; 1 << 20];
    for _ in 0..2047 {
        sniffer.push(&piece);
    }
    sniffer.push(&piece[1..]);
    sniffer.push(b"crc.");
    assert_eq!(sniffer.finish(), Err(SniffFlaw::Truncated));
    sniffer.push(&png_chunk(b"IEND", b""));
    let whole = sniffer.finish().unwrap();
    assert_eq!(whole.bytes, 8 + 25 + 8 + 0x7FFF_FFFF + 4 + 12);
}

#[test]
fn webp_headers_that_disagree_with_themselves() {
    let lossy = webp(b"VP8 ", &vp8_header());
    assert!(sniff(&lossy).finish().is_ok());
    let spoiled: [(&str, usize, u8); 6] = [
        ("RIFF shorter than its first chunk", 4, 20),
        ("RIFF longer than the file", 4, 200),
        ("chunk longer than RIFF", 16, 200),
        ("chunk shorter than a frame header", 16, 9),
        ("no key frame", 20, 1),
        ("no start code", 23, 0),
    ];
    for (name, at, value) in spoiled {
        let mut bytes = lossy.clone();
        bytes[at] = value;
        assert_eq!(sniff(&bytes).finish(), Err(SniffFlaw::Truncated), "{name}");
    }
    let other = webp(b"ALPH", &[0; 20]);
    assert_eq!(sniff(&other).finish(), Err(SniffFlaw::Truncated));
    let only_a_header = webp(b"VP8X", &[0, 0, 0, 0, 36, 0, 0, 20, 0, 0]);
    assert_eq!(sniff(&only_a_header).finish(), Err(SniffFlaw::Truncated));
}

#[test]
fn gif_blocks() {
    let screen = b"GIF89a\x25\0\x15\0\0\0\0";
    let image = b"\x2C\0\0\0\0\x25\0\x15\0\0\x02\x01\x3B\0";
    let whole = [
        [screen.as_slice(), image, b"\x3B"].concat(),
        [screen.as_slice(), b"\x21\xFE\x02\x3B\x3B\0\0", image, b"\x3B\0"].concat(),
    ];
    for bytes in whole {
        assert!(sniff(&bytes).finish().is_ok());
    }
    let flawed = [
        [screen.as_slice(), b"\x3B"].concat(),
        [screen.as_slice(), image].concat(),
        [screen.as_slice(), &image[..13]].concat(),
        [screen.as_slice(), image, b"x\x3B"].concat(),
        b"GIF87a\0\0\x15\0\0\0\0\x3B".to_vec(),
    ];
    for bytes in flawed {
        assert_eq!(sniff(&bytes).finish(), Err(SniffFlaw::Truncated));
    }
}

#[test]
fn other_bytes_are_refused_early() {
    let rows: [(&[u8], usize); 8] = [
        (b"<html><body>", 1),
        (b"<svg xmlns=\"", 1),
        (b"%PDF-1.7\n   ", 1),
        (b"\x89PNG\n\x1A\n....", 5),
        (b"\xFF\xD9\xFF", 2),
        (b"GIF88a", 5),
        (b"RIFF....WAVEfmt ", 10),
        (b"\0\0\0\x18ftypheic", 1),
    ];
    for (bytes, decided) in rows {
        assert_eq!(sniff(&bytes[..decided - 1]).kind(), MagicMatch::Undecided);
        let sniffer = sniff(&bytes[..decided]);
        assert_eq!(sniffer.kind(), MagicMatch::NotAnImage, "{bytes:?}");
        assert_eq!(sniff(bytes).finish(), Err(SniffFlaw::NotAnImage));
        assert_eq!(sniff(bytes).len(), bytes.len() as u64);
    }
    assert_eq!(Sniffer::default().finish(), Err(SniffFlaw::NotAnImage));
}

proptest! {
    #[test]
    fn any_bytes_at_any_cut(
        start in prop::sample::select(vec![
            &b""[..], b"\x89PNG\r\n\x1A\n", b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR", b"\xFF\xD8\xFF",
            b"\xFF\xD8\xFF\xC0\0\x0B\x08", b"GIF89a", b"RIFF\xFF\0\0\0WEBP", b"RIFF\x40\0\0\0WEBPVP8X\x0A\0\0\0",
        ]),
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xFF), Just(0), Just(0x3B)], 0..600),
        cuts in prop::collection::vec(1_usize..40, 1..20),
    ) {
        let bytes = [start, &bytes].concat();
        let mut cut = Sniffer::default();
        let mut rest = bytes.as_slice();
        for size in cuts.iter().cycle() {
            let (piece, more) = rest.split_at((*size).min(rest.len()));
            cut.push(piece);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        let whole = sniff(&bytes);
        prop_assert_eq!(cut.kind(), whole.kind());
        prop_assert_eq!(cut.dimensions(), whole.dimensions());
        prop_assert_eq!(cut.len(), whole.len());
        prop_assert_eq!(cut.finish(), whole.finish());
    }
}

pub(crate) struct Sample {
    name: &'static str,
    media_type: MediaType,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn samples() -> Vec<Sample> {
    let extended = [webp(b"VP8X", &[0, 0, 0, 0, 36, 0, 0, 20, 0, 0]), sample(WEBP).split_off(12)].concat();
    let rows = [
        ("png", MediaType::Png, sample(PNG)),
        ("jpeg", MediaType::Jpeg, sample(JPEG)),
        ("jpeg progressive", MediaType::Jpeg, sample(JPEG_PROGRESSIVE)),
        ("webp lossless", MediaType::Webp, sample(WEBP)),
        ("webp lossy", MediaType::Webp, webp(b"VP8 ", &vp8_header())),
        ("webp extended", MediaType::Webp, with_riff_length(extended)),
        ("gif", MediaType::Gif, sample(GIF)),
    ];
    rows.map(|(name, media_type, bytes)| Sample { name, media_type, bytes }).into()
}

fn sample(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).unwrap()
}

fn sniff(bytes: &[u8]) -> Sniffer {
    let mut sniffer = Sniffer::default();
    sniffer.push(bytes);
    sniffer
}

fn magic_bytes(media_type: MediaType) -> usize {
    match media_type {
        MediaType::Png => 8,
        MediaType::Jpeg => 3,
        MediaType::Webp => 12,
        MediaType::Gif => 6,
    }
}

fn segment(code: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
    [&[0xFF, code, high, low], content].concat()
}

fn png_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&length, name.as_slice(), data, b"crc."].concat()
}

fn webp(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_le_bytes();
    with_riff_length([b"RIFF....WEBP", name.as_slice(), &length, data].concat())
}

fn with_riff_length(mut file: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(file.len() - 8).unwrap();
    file[4..8].copy_from_slice(&length.to_le_bytes());
    file
}

/// A VP8 key frame of 37 x 21 with both scales set, and some data.
fn vp8_header() -> Vec<u8> {
    let mut data = vec![0x30, 0x01, 0x00, 0x9D, 0x01, 0x2A, 37, 0x40, 21, 0xC0];
    data.extend([7; 40]);
    data
}

/// From the `png` crate.
const PNG: &str = "\
    iVBORw0KGgoAAAANSUhEUgAAACUAAAAVCAIAAABOhrD5AAAA0UlEQVR4Ae3AA6AkWZbG8f937o3IzKdyS2Oubdu2bdu2bdu2\
    bWmMnpZKr54yMyLu+Xa3anqmhztr1a/+8aMfzfPz5i/7yTw/P/+XX8zz8+Yv+8k8Pz//l1/MAwT/tYL/WsF/reC/VvBfK/iv\
    FfzX0ul3/W6en5//yy/m+Xnzl/1knp+f/8sv5vl585f9ZB4g+K8V/NcK/msF/7WC/1rBf63gv5b++NGP5vl585f9ZJ6fn//L\
    L+b5efOX/WSen5//yy/mAYL/WsF/reC/VvBf6x8BOaMVaUFMbiAAAAAASUVORK5CYII=";

/// From the `image-webp` crate, lossless.
const WEBP: &str = "\
    UklGRrQAAABXRUJQVlA4TKgAAAAvJAAFAM1VICICHgi2DQAAAIACAAAAAA6gAAAAAAAAAAAAAAAAAAAAAAAAAAgAAAAAAABs\
    AbgBPBAEAAAAAIDzDwAAIAAAAAAAAAAAAAAAAAAAAAAIAAAAAAAAAAACAADwQCQAAAAAAM4/AAAAAAAAAAAwAAAAAAAAAAAA\
    AAAAAAAGAAAAAAAAAACRL8GuBZsPdi3YfHCFmnjVxKs2wQV41cSrJn6CLwE=";

/// From the `gif` crate.
const GIF: &str = "\
    R0lGODlhJQAVAIAAAAAAAAAAACH5BAgAAAAALAAAAAAlABUAgBRaoMgoKAJUjG+gq4jMnEywzWrnwxoD7XgdBx7iRZbBKbGl\
    u1UqJaO1mYZ57GX6/et9bJCRcNja4Y7GIrHXjDxhS2eSOfXxkEHp1fpS0sAg6tgbBm4Xs5XYrS4AADs=";

/// From `jpeg-encoder`, baseline with restart markers.
const JPEG: &str = "\
    /9j/4AAQSkZJRgABAgAAAQABAAD/wAARCAAVACUDACIAAREBAhEB/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4p\
    MTAuKS0sMzpKPjM2RjcsLUBXQUZMTlJTUjI+WmFaUGBKUVJP/9sAQwEODg4TERMmFRUmTzUtNU9PT09PT09PT09PT09PT09P\
    T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P/8QAFQABAQAAAAAAAAAAAAAAAAAAAwX/xAAUEAEAAAAAAAAAAAAA\
    AAAAAAAA/8QAGAEBAAMBAAAAAAAAAAAAAAAAAAMEBQb/xAAlEQAAAggHAQAAAAAAAAAAAAAAgQUREhVRYpHBMTQ1QkOh4WP/\
    3QAEAAL/2gAIAQAAAD8AjBf/0IwX/9GMF//SjBf/04wX/9SMF//VjBf/1oz/2gAIAQERAD8AmyMzRYViGRmaLCsR/9CZ2Tde\
    gjNxXH//0ZkZuK4yh//aAAgBAhEAPwC3q8jBrXSAavIwa10gP//Qtv8A+ffgJ/jOw//Rtp/jOw6Mf//Z";

/// From `jpeg-encoder`, progressive with restart markers.
const JPEG_PROGRESSIVE: &str = "\
    /9j/4AAQSkZJRgABAgAAAQABAAD/wgARCAAVACUDACIAAREBAhEB/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4p\
    MTAuKS0sMzpKPjM2RjcsLUBXQUZMTlJTUjI+WmFaUGBKUVJP/9sAQwEODg4TERMmFRUmTzUtNU9PT09PT09PT09PT09PT09P\
    T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P/8QAFQABAQAAAAAAAAAAAAAAAAAAAwX/xAAUEAEAAAAAAAAAAAAA\
    AAAAAAAA/8QAGAEBAAMBAAAAAAAAAAAAAAAAAAMEBQb/xAAlEQEAAAMGBwEAAAAAAAAAAAAAARFiBRIVcYGRMTQ1QkOh4WP/\
    3QAEAAL/2gAIAQAAAAAAjD//0Iw//9GMP//SjD//04w//9SMP//VjD//1o3/2gAIAQERAAAAmf/Qmf/Rmyv/2gAIAQIRAAAA\
    tv/Qtv/Rt9H/AP/aAAgBAAABFAA//9A//9E//9I//9M//9Q//9U//9Z//9oACAEBEQEUAORqvORqvP/Qwyr1Zndo/9GzO7Q/\
    /9oACAECEQEUAOr0XHV6Lj//0Mf/AD92/wCPV//Rt/x6n//aAAgBAAAVKQA//9A//9E//9I//9M//9Q//9U//9Z//9oACAEB\
    ERUpAJcN0uG7/9D6zf/RzP/aAAgBAhEVKQCc57Jzns//0PjJ/9HI/9oACAEAACo/AD//0D//0T//0j//0z//1D//1T//1n//\
    2gAIAQERKj8Aii//0D//0T//2gAIAQIRKj8Agg//0D//0T//2Q==";
