//! Inline pictures of users: every case of `images.json`, and what those cases leave open.

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::image_url::LocalLinks;
use shared::input::{InlineContent, InlineForm, InlinePicture, InlineRefusal, MAX_BYTES, MAX_PIXELS, check_input};
use shared::media::sniff::MediaType;

#[test]
fn every_vector() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors/images.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let limits = &vectors["limits"];
    assert_eq!(limits["max_decoded_bytes_each"], MAX_BYTES);
    assert_eq!(limits["max_pixels"], MAX_PIXELS);
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 18);
    for case in cases {
        let input = case["input"].as_str().unwrap();
        let code = if input.starts_with("https:") {
            check_input(input, LocalLinks::Refused).err().map(|_| "invalid_url")
        } else {
            check(input).err().map(code)
        };
        assert_eq!(code, case["code"].as_str(), "{}", case["id"]);
        assert_eq!(code.is_none(), case["expect"] == "accept", "{}", case["id"]);
    }
}

#[test]
fn accepted_pictures_and_their_forms() {
    let rows = [
        ("image/png", png(201, 107), MediaType::Png),
        ("IMAGE/Png", png(201, 107), MediaType::Png),
        ("image/jpeg", jpeg(201, 107), MediaType::Jpeg),
        ("image/JPG", jpeg(201, 107), MediaType::Jpeg),
        ("Image/WebP", webp(201, 107), MediaType::Webp),
    ];
    for (label, header, media_type) in rows {
        // Long enough for several decoded blocks, and padded.
        let bytes = [header, vec![0x5A; 20_000]].concat();
        let payload = STANDARD.encode(&bytes);
        let input = format!("data:{label};base64,{payload}");
        let canonical = format!("data:{};base64,{payload}", media_type.as_str());
        let text = InlinePicture::read(&input, InlineForm::DataUrl).ok().unwrap();
        assert_eq!((text.data_url(), text.base64()), (Some(&*canonical), Some(&*payload)));
        let file = InlinePicture::read(&input, InlineForm::Bytes).ok().unwrap();
        assert_eq!((file.data_url(), file.base64()), (None, None));
        assert!(matches!(file.content, InlineContent::Bytes(kept) if kept == bytes), "{label}");
        for (kept_type, hash) in [(text.media_type, text.sha256), (file.media_type, file.sha256)] {
            assert_eq!((kept_type, hash), (media_type, Sha256::digest(&bytes).into()), "{label}");
        }
    }
}

#[test]
fn labels() {
    let payload = STANDARD.encode(png(2, 2));
    let rows = [
        ("", InlineRefusal::Invalid),
        ("data:", InlineRefusal::Invalid),
        ("data:image/png;base64", InlineRefusal::Invalid),
        ("DATA:image/png;base64,", InlineRefusal::Invalid),
        (" data:image/png;base64,", InlineRefusal::Invalid),
        ("data:image/png,", InlineRefusal::Invalid),
        ("data:image/png;,", InlineRefusal::Invalid),
        ("data:image/png;BASE64,", InlineRefusal::Invalid),
        ("data:image/png;base64;base64,", InlineRefusal::Invalid),
        ("data:image/png;base64 ,", InlineRefusal::Invalid),
        ("data:image/webp;base64,", InlineRefusal::Invalid),
        ("data:,", InlineRefusal::UnsupportedMediaType),
        ("data:image/heic;base64,", InlineRefusal::UnsupportedMediaType),
        ("data:text/html;base64,", InlineRefusal::UnsupportedMediaType),
        ("data: image/png;base64,", InlineRefusal::UnsupportedMediaType),
        ("data:image/png ;base64,", InlineRefusal::UnsupportedMediaType),
    ];
    for (label, refusal) in rows {
        assert_eq!(check(&format!("{label}{payload}")), Err(refusal), "{label}");
    }
}

#[test]
fn sizes() {
    // A header with nothing behind it but zeros is enough for this check.
    let sized = |bytes: usize| {
        let mut file = png(6000, 6000);
        file.resize(bytes, 0);
        check(&url(&file))
    };
    for bytes in [MAX_BYTES - 2, MAX_BYTES - 1, MAX_BYTES] {
        assert_eq!(sized(bytes), Ok(()));
    }
    for bytes in [MAX_BYTES + 1, MAX_BYTES + 2, MAX_BYTES + 3] {
        assert_eq!(sized(bytes), Err(InlineRefusal::TooManyBytes));
    }
    let pixels = |width, height| check(&url(&png(width, height)));
    assert_eq!(pixels(6000, 6000), Ok(()));
    assert_eq!(pixels(36_000_000, 1), Ok(()));
    assert_eq!(pixels(6000, 6001), Err(InlineRefusal::TooManyPixels));
    assert_eq!(pixels(0x7FFF_FFFF, 0x7FFF_FFFF), Err(InlineRefusal::TooManyPixels));
    assert_eq!(pixels(0, 6000), Err(InlineRefusal::Invalid));
}

#[test]
fn a_picture_of_a_user_needs_no_end_marker() {
    for (label, header) in [("png", png(64, 48)), ("jpeg", jpeg(64, 48)), ("webp", webp(64, 48))] {
        let input = |bytes: &[u8]| format!("data:image/{label};base64,{}", STANDARD.encode(bytes));
        assert!(check(&input(&header)).is_ok(), "{label}");
        for at in 0..header.len() {
            assert_eq!(check(&input(&header[..at])), Err(InlineRefusal::Invalid), "{label} cut at {at}");
        }
    }
}

#[test]
fn padding_only_at_the_very_end() {
    let mut file = png(2, 2);
    file.resize(100_000, 0);
    let good = url(&file);
    assert!(check(&good).is_ok());
    let start = good.find(',').unwrap() + 1;
    // 8192 is where one decoded block ends and the next begins.
    for at in [4, 4096, 8192, 16_384, 65_536] {
        for padding in ["=", "=="] {
            let mut bad = good.clone();
            let end = start + at;
            bad.replace_range(end - padding.len()..end, padding);
            assert_eq!(check(&bad), Err(InlineRefusal::Invalid), "{padding} before {at}");
        }
    }
    for more in ["=", "A", "AA=", "====", "\n", "%3D"] {
        assert_eq!(check(&format!("{good}{more}")), Err(InlineRefusal::Invalid));
    }
}

proptest! {
    #[test]
    fn every_foreign_character_is_noticed(at in 0_usize..40_000, foreign in "[^A-Za-z0-9+/]") {
        let mut file = png(2, 2);
        file.resize(30_000, 0xA5);
        let mut bad = url(&file);
        let at = bad.find(',').unwrap() + 1 + at;
        bad.replace_range(at..at + 1, &foreign);
        // Bytes of A5 leave bits set under a last symbol that becomes padding.
        prop_assert_eq!(check(&bad), Err(InlineRefusal::Invalid));
    }

    #[test]
    fn no_text_panics(text in "(data:)?(image/(png|gif|jpg))?(;base64)?,?\\PC{0,40}") {
        let _ = check(&text);
    }
}

/// The verdict, which does not depend on the form.
fn check(text: &str) -> Result<(), InlineRefusal> {
    let [one, other] = [InlineForm::DataUrl, InlineForm::Bytes].map(|form| InlinePicture::read(text, form).map(|_| ()));
    assert_eq!(one, other);
    one
}

fn code(refusal: InlineRefusal) -> &'static str {
    match refusal {
        InlineRefusal::UnsupportedMediaType => "unsupported_media_type",
        InlineRefusal::Invalid => "invalid_image",
        InlineRefusal::TooManyBytes | InlineRefusal::TooManyPixels => "image_too_large",
    }
}

fn url(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

/// The signature and IHDR, without its last fields.
fn png(width: u32, height: u32) -> Vec<u8> {
    let sizes = [width.to_be_bytes(), height.to_be_bytes()].concat();
    [b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR".as_slice(), &sizes].concat()
}

/// A whole SOF0 segment would be longer; its sizes are all that is read.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let sizes = [height.to_be_bytes(), width.to_be_bytes()].concat();
    [b"\xFF\xD8\xFF\xC0\0\x11\x08".as_slice(), &sizes].concat()
}

/// VP8X, in a file that declares more bytes than will come.
fn webp(width: u8, height: u8) -> Vec<u8> {
    let sizes = [width - 1, 0, 0, height - 1, 0, 0];
    [b"RIFF\0\x10\0\0WEBPVP8X\x0A\0\0\0\0\0\0\0".as_slice(), &sizes].concat()
}
