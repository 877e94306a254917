//! Inline pictures of users: the data URL, and the bytes in it.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use shared::input::{InlineForm, InlinePicture, MAX_BYTES, MAX_PIXELS};
use shared::media::sniff::{MagicMatch, MediaType, SniffedImage, Sniffer};
use shared::media::{ImageDecoder, ImageProgress, ImageRejection, WholeImage};

use super::same_in_pieces;

/// The input is read as a data URL and as the bytes of a picture.
pub(crate) fn check(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        check_text(text);
    }
    check_bytes(input);
    let sniffer = sniff(input);
    let label = if let MagicMatch::Known(media_type) = sniffer.kind() { media_type.as_str() } else { "image/png" };
    check_text(&format!("data:{label};base64,{}", STANDARD.encode(input)));
}

/// A data URL is accepted if and only if a second reader accepts it, with the same bytes.
fn check_text(text: &str) {
    let expected = accepted(text);
    for form in [InlineForm::DataUrl, InlineForm::Bytes] {
        match (InlinePicture::read(text, form), &expected) {
            (Ok(picture), Some((media_type, bytes))) => {
                assert_eq!(picture.media_type, *media_type);
                assert!(picture.bytes().as_ref() == Some(bytes), "other bytes");
                assert_eq!(picture.sha256[..], Sha256::digest(bytes)[..]);
                let canonical = format!("data:{};base64,{}", media_type.as_str(), STANDARD.encode(bytes));
                assert!(picture.data_url().is_none_or(|url| url == canonical), "another data URL");
                assert_eq!(picture.data_url().is_some(), form == InlineForm::DataUrl);
            }
            (Err(_), None) => {}
            (Ok(_), None) => panic!("a data URL is accepted"),
            (Err(refusal), Some(_)) => panic!("a data URL is refused: {refusal:?}"),
        }
    }
}

fn accepted(text: &str) -> Option<(MediaType, Vec<u8>)> {
    let (label, payload) = text.strip_prefix("data:")?.split_once(',')?;
    let media_type = match &*label.strip_suffix(";base64")?.to_ascii_lowercase() {
        "image/png" => MediaType::Png,
        "image/jpeg" | "image/jpg" => MediaType::Jpeg,
        "image/webp" => MediaType::Webp,
        _ => return None,
    };
    let bytes = STANDARD.decode(payload).ok().filter(|bytes| (1..=MAX_BYTES).contains(&bytes.len()))?;
    let sniffer = sniff(&bytes);
    let (width, height) = sniffer.dimensions().filter(|_| sniffer.kind() == MagicMatch::Known(media_type))?;
    (u64::from(width) * u64::from(height) <= MAX_PIXELS).then_some((media_type, bytes))
}

fn sniff(bytes: &[u8]) -> Sniffer {
    let mut sniffer = Sniffer::default();
    sniffer.push(bytes);
    sniffer
}

fn check_bytes(bytes: &[u8]) {
    let (kind, dimensions, whole) = same_in_pieces(bytes, |pieces| {
        let mut sniffer = Sniffer::default();
        pieces.for_each(|piece| sniffer.push(piece));
        assert_eq!(sniffer.len(), bytes.len() as u64);
        (sniffer.kind(), sniffer.dimensions(), sniffer.finish().ok())
    });
    assert!(dimensions.is_none_or(|(width, height)| width > 0 && height > 0));
    let four = |at: usize| -> [u8; 4] { bytes[at..at + 4].try_into().unwrap() };
    match (kind, dimensions) {
        (MagicMatch::Known(MediaType::Png), Some(found)) => {
            assert_eq!(<[u32; 2]>::from(found), [16, 20].map(|at| u32::from_be_bytes(four(at))));
        }
        (MagicMatch::Known(MediaType::Gif), Some((width, height))) => {
            assert_eq!(u32::from_le_bytes(four(6)), width | height << 16);
        }
        (MagicMatch::Known(_), Some((width, height))) => assert!(width <= 1 << 24 && height <= 1 << 24),
        (_, Some(_)) => panic!("bytes without a known type have dimensions"),
        _ => {}
    }
    if let Some(SniffedImage { media_type, bytes: len, width, height }) = whole {
        assert_eq!((kind, dimensions, len), (MagicMatch::Known(media_type), Some((width, height)), bytes.len() as u64));
        // What follows the end changes nothing but the length.
        let longer = sniff(&[bytes, b"\xFF\xD9 more"].concat()).finish();
        assert_eq!(longer, Ok(SniffedImage { media_type, bytes: len + 7, width, height }));
    }
    let base64 = STANDARD.encode(bytes);
    let decoded = same_in_pieces(base64.as_bytes(), |pieces| decode(pieces, u64::MAX));
    assert_eq!(decoded.1, WholeImage::of(bytes));
    // Nothing is handed on before the type is known.
    assert!(decoded.0 == if matches!(kind, MagicMatch::Known(_)) { bytes } else { b"" }, "other bytes");

    const CAP: u64 = 64;
    let (is_capped, is_refused) = same_in_pieces(base64.as_bytes(), |pieces| {
        let (start, whole) = decode(pieces, CAP);
        (start.len() as u64 <= CAP, whole.is_err())
    });
    assert!(is_capped && (is_refused || bytes.len() as u64 <= CAP), "more bytes than the cap");
}

fn decode(pieces: &mut dyn Iterator<Item = &[u8]>, max_bytes: u64) -> (Vec<u8>, Result<WholeImage, ImageRejection>) {
    let (mut decoder, mut bytes) = (ImageDecoder::new(max_bytes), Vec::new());
    let mut on = |progress: ImageProgress<'_>| {
        if let ImageProgress::Bytes(more) = progress {
            bytes.extend_from_slice(more);
        }
    };
    pieces.for_each(|piece| decoder.push(piece, &mut on));
    let whole = decoder.finish(&mut on);
    (bytes, whole)
}
