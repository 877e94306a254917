//! Labels in the bytes of pictures: the vectors, every way to cut a picture, and what is held.

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::Value;
use shared::labelled::PictureLabels;
use shared::media::WholeImage;
use shared::media::label::{AigcCodes, LabelRules, LabelStatus, Labeler, MAX_PACKET_BYTES};
use shared::media::sniff::MediaType;
use shared::outcome::{DeliveredImage, ImageSource, Success};
use shared::update::Update;

const PRODUCE_ID: &str = "01JDEXAMPLE0000000000000000-0";
/// An invented code, as in the vectors.
const PRODUCER: &str = "001191110000100000000X10001";
const SOURCE_TYPE: &str = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";

#[test]
fn every_vector() {
    let vectors: Value = serde_json::from_str(include_str!("../data/vectors/label/vectors.json")).unwrap();
    let rows = vectors["vectors"].as_array().unwrap();
    assert_eq!(rows.len(), 9);
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap();
        let picture = vector(text("in"));
        let keeps_c2pa = text("c2pa_policy") == "keep";
        let (labelled, status) = label(&picture, &rules(keeps_c2pa));
        let expected = match text("status") {
            "labelled" => LabelStatus::Written,
            "already labelled" => LabelStatus::Kept,
            "c2pa kept, not labelled" => LabelStatus::Absent,
            other => panic!("unknown status {other}"),
        };
        assert_eq!(status, expected, "{}", text("in"));
        if status == LabelStatus::Written {
            check_labelled(&picture, &labelled, vectors["aigc_json"].as_str().unwrap());
        } else {
            assert!(labelled == picture, "{} has changed", text("in"));
        }
    }
}

#[test]
fn a_labelled_picture_is_not_labelled_again() {
    for (name, picture) in pictures() {
        for rules in [rules(false), rules(true), source_type_alone()] {
            let (labelled, first) = label(&picture, &rules);
            let (again, second) = label(&labelled, &other_rules());
            if first != LabelStatus::Absent && rules.codes.is_some() {
                assert_eq!(second, LabelStatus::Kept, "{name}");
                // Its label is found behind its header, which has announced one by then.
                assert!(again == labelled || name == "labelled-exif.webp", "{name} was labelled twice");
            }
            assert!(count(&again, b"<TC260:AIGC>") <= 1, "{name}");
        }
    }
}

/// The vectors in 20 000 random cuts, and every picture byte by byte.
#[test]
fn a_cut_changes_nothing() {
    let mut random = Random(7);
    for (name, picture) in pictures() {
        let whole = label(&picture, &rules(false));
        assert!(label_cut(&picture, &rules(false), |_| 1) == whole, "{name} byte by byte");
    }
    let pictures = pictures();
    for cut in 0..20_000 {
        let (name, picture) = &pictures[cut % pictures.len()];
        let rules = rules(cut % 3 == 0);
        let longest = 1 + random.below(if cut % 2 == 0 { 40 } else { 2_000 });
        let cut_up = label_cut(picture, &rules, |_| random.below(longest + 1));
        assert!(cut_up == label(picture, &rules), "{name} in pieces of at most {longest} bytes");
    }
}

#[test]
fn the_label_shifts_no_base64() {
    let vectors: Value = serde_json::from_str(include_str!("../data/vectors/label/vectors.json")).unwrap();
    let case = &vectors["base64_case"];
    let before = case["before"].as_str().unwrap();
    let after = STANDARD.encode(label(&STANDARD.decode(before).unwrap(), &rules(false)).0);
    assert_eq!(after, case["after"].as_str().unwrap());
    for (name, picture) in pictures().into_iter().filter(|(name, _)| name.ends_with("png") || name.ends_with("jpg")) {
        let (labelled, _) = label(&picture, &rules(false));
        assert_eq!((labelled.len() - picture.len()) % 3, 0, "{name}");
    }
}

#[test]
fn an_existing_packet_is_extended() {
    let foreign =
        packet(r#"<rdf:Description rdf:about="uuid:1" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="x"/>"#);
    let with_type = foreign.replace("/>", "><a:DigitalSourceType>z</a:DigitalSourceType></rdf:Description>");
    for (name, picture) in [
        ("png", png_with(&itxt(foreign.as_bytes(), 0))),
        ("jpeg", jpeg_with(&xmp_segment(foreign.as_bytes()))),
        ("png with a text behind", png_with(&[itxt(foreign.as_bytes(), 0), chunk(b"tEXt", b"Title\0x")].concat())),
    ] {
        let (labelled, status) = label(&picture, &rules(false));
        assert_eq!(status, LabelStatus::Written, "{name}");
        assert_eq!(count(&labelled, b"<?xpacket begin"), 1, "{name} has one packet");
        assert_eq!(count(&labelled, br#"<rdf:Description rdf:about="uuid:1""#), 2, "{name}");
        assert_eq!(count(&labelled, b"purl.org/dc"), 1, "{name} keeps the other properties");
        assert_eq!(count(&labelled, SOURCE_TYPE.as_bytes()), 1, "{name}");
        check_pixels_stay(&picture, &labelled);
    }
    let (labelled, _) = label(&png_with(&itxt(with_type.as_bytes(), 0)), &rules(false));
    assert_eq!(count(&labelled, b"DigitalSourceType>"), 2, "no second one is added");
}

#[test]
fn a_picture_that_cannot_be_labelled_stays_as_it_is() {
    let foreign = packet("");
    let unusual = "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"/>";
    let large = packet(&" ".repeat(MAX_PACKET_BYTES));
    let long = packet(&" ".repeat(65_000 - foreign.len()));
    let rows = [
        ("compressed", png_with(&itxt(foreign.as_bytes(), 1)), LabelStatus::Absent),
        ("no rdf:RDF", png_with(&itxt(unusual.as_bytes(), 0)), LabelStatus::Absent),
        ("over 64 KiB", png_with(&itxt(large.as_bytes(), 0)), LabelStatus::Absent),
        (
            "over 64 KiB with a label",
            png_with(&itxt(large.replace("</rdf", "TC260:AIGC>{&quot;Label</rdf").as_bytes(), 0)),
            LabelStatus::Kept,
        ),
        ("a segment that would be too long", jpeg_with(&xmp_segment(long.as_bytes())), LabelStatus::Absent),
        ("a tEXt chunk", png_with(&chunk(b"tEXt", b"AIGC\0{\"Label\":\"1\"}")), LabelStatus::Kept),
        (
            "an attribute",
            png_with(&itxt(packet("<a TC260:AIGC=\"{&quot;Label&quot;:&quot;1&quot;}\"/>").as_bytes(), 0)),
            LabelStatus::Kept,
        ),
        (
            "a tEXt chunk behind a packet",
            png_with(&[itxt(foreign.as_bytes(), 0), chunk(b"tEXt", b"AIGC\0{\"Label\":\"1\"}")].concat()),
            LabelStatus::Kept,
        ),
        ("UTF-16 in EXIF", jpeg_with(&segment(0xE1, &utf16("{\"AIGC\":{\"Label\":\"1\"}}"))), LabelStatus::Kept),
        ("a bare segment", jpeg_with(&segment(0xED, b"AIGC{\"Label\":\"1\"}")), LabelStatus::Kept),
        ("a WebP with XMP", extended_webp(0x04, &riff_chunk(b"XMP ", foreign.as_bytes())), LabelStatus::Absent),
        ("a WebP with a label", extended_webp(0x04, &riff_chunk(b"XMP ", b"AIGC>{&quot;Label")), LabelStatus::Kept),
        ("a GIF with XMP", gif_with(b"\x21\xFF\x0BXMP DataXMP\x04abcd\0"), LabelStatus::Absent),
        ("a GIF with a label", gif_with(b"\x21\xFF\x0BXMP DataXMP\x0bAIGC>{Label\0"), LabelStatus::Kept),
        ("a huge RIFF size", webp_of_size(u32::MAX - 1), LabelStatus::Absent),
        ("cut in the header", vector("webp-lossy.webp")[..29].to_vec(), LabelStatus::Absent),
        ("cut before the pixels", vector("png-1x1.png")[..40].to_vec(), LabelStatus::Absent),
        ("no picture", b"\x89PNG\r\n\x1A\n\xFF\xFF\xFF\xFFabcdefg".to_vec(), LabelStatus::Absent),
    ];
    for (name, picture, expected) in rows {
        let (bytes, status) = label(&picture, &rules(false));
        assert_eq!(status, expected, "{name}");
        assert!(bytes == picture, "{name} has changed");
    }
}

#[test]
fn a_webp_is_labelled_at_its_declared_end() {
    let simple = vector("webp-lossy.webp");
    let behind = [simple.clone(), b"behind the end".to_vec()].concat();
    let (labelled, status) = label(&behind, &rules(false));
    assert_eq!(status, LabelStatus::Written);
    assert!(labelled.ends_with(b"behind the end"));
    assert_eq!(riff_end(&labelled), labelled.len() - b"behind the end".len());

    // A chunk that is longer than the file says: no reader finds the label behind it.
    let mut lying = simple.clone();
    lying[4] -= 2;
    assert_eq!(label(&lying, &rules(false)).1, LabelStatus::Absent);

    // A label is found only when the header is gone: the announced length is filled with an empty packet.
    let exif = extended_webp(0x08, &riff_chunk(b"EXIF", br#"{"AIGC":{"Label":"1"}}"#));
    let (bytes, status) = label(&exif, &rules(false));
    assert_eq!(status, LabelStatus::Kept);
    assert_eq!(count(&bytes, b"TC260"), 0);
    assert_eq!((riff_end(&bytes), bytes[20] & 0x04), (bytes.len(), 0x04));

    // An odd size is made even before the label.
    let mut odd = extended_webp(0, &riff_chunk(b"ABCD", b"x"));
    odd.pop();
    let odd_size = (odd.len() as u32 - 8).to_le_bytes();
    odd[4..8].copy_from_slice(&odd_size);
    let (bytes, status) = label(&odd, &rules(false));
    assert_eq!((status, riff_end(&bytes)), (LabelStatus::Written, bytes.len()));
    assert_eq!(bytes[odd.len()..odd.len() + 5], *b"\0XMP ");
    assert_eq!(label(&extended_webp(0, &[]), &rules(true)).1, LabelStatus::Absent, "C2PA may follow the pixels");
}

#[test]
fn a_segment_with_offsets_stays_in_front_of_its_images() {
    let mpf = segment(0xE2, b"MPF\0II*\0\x08\0\0\0");
    let picture = jpeg_with(&mpf);
    let (labelled, status) = label(&picture, &rules(false));
    assert_eq!(status, LabelStatus::Written);
    let [label_at, mpf_at] = [b"TC260".as_slice(), b"MPF\0"].map(|text| find(&labelled, text).unwrap());
    assert!(label_at < mpf_at, "its offsets count from itself");
    check_pixels_stay(&picture, &labelled);
}

/// The key is a word that a prompt may contain, and some generators write the prompt into the file.
#[test]
fn the_word_alone_is_no_label() {
    let text = |text: &[u8]| png_with(&chunk(b"tEXt", text));
    let pictures = [
        text(b"parameters\0a poster that says \"AIGC\", Steps: 20"),
        text(b"prompt\0{\"filename_prefix\":\"AIGC\"}"),
        text(b"Comment\0TC260:AIGC"),
        jpeg_with(&segment(0xE1, b"Exif\0\0AIGC\0")),
        jpeg_with(&segment(0xFE, b"AIGC{}")),
        gif_with(b"\x21\xFE\x04AIGC\0"),
    ];
    for picture in pictures {
        let (labelled, status) = label(&picture, &rules(false));
        assert_eq!(status, LabelStatus::Written, "{}", String::from_utf8_lossy(&picture));
        check_pixels_stay(&picture, &labelled);
    }
    let forms: [&[u8]; 3] =
        [b"AIGC\0{\"Label\":\"1\"}", b"Comment\0{\"AIGC\": {\n  \"Label\": \"1\"}}", b"Comment\0AIGC{\"Label\":\"1\"}"];
    for form in forms {
        for cut in 1..form.len() {
            let (same, status) = label_cut(&text(form), &rules(false), |_| cut);
            assert!(status == LabelStatus::Kept && same == text(form), "{}", String::from_utf8_lossy(form));
        }
    }
}

#[test]
fn an_edit_of_the_users_picture_has_another_source_type() {
    let edits = LabelRules { is_edit: true, ..rules(false) };
    let (labelled, status) = label(&vector("png-1x1.png"), &edits);
    let uri = b">http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia<";
    assert_eq!((status, count(&labelled, uri)), (LabelStatus::Written, 1));
    assert_eq!(count(&labelled, b"/trainedAlgorithmicMedia"), 0);
}

#[test]
fn a_final_picture_with_the_bytes_of_a_draft_is_delivered_as_it_was_labelled() {
    let (picture, rules) = (vector("png-1x1.png"), rules(false));
    let image = WholeImage::of(&picture).unwrap();
    let mut labels = PictureLabels::new(&rules, "run");
    let mut finished = Vec::new();
    for draft in [true, false] {
        let updates = [
            Update::ImageStarted { slot: 0, media_type: image.media_type, draft },
            Update::ImageBytes { slot: 0, bytes: &picture },
            Update::ImageFinished { slot: 0, draft, image: image.clone() },
        ];
        for update in &updates {
            labels.update(update, &mut |update| {
                if let Update::ImageFinished { image, .. } = update {
                    finished.push(image.sha256);
                }
            });
        }
    }
    let images = vec![DeliveredImage::new(0, ImageSource::Inline(image), false)];
    let mut success = Success { images, failed: Vec::new(), usage: None, cut_short: None };
    labels.apply(&mut success);
    let [DeliveredImage { source: ImageSource::Inline(delivered), .. }] = &success.images[..] else { unreachable!() };
    assert!(finished[0] != finished[1] && delivered.sha256 == finished[1]);
}

#[test]
fn c2pa_by_policy() {
    let jumbf = segment(0xEB, b"JP\0\x01\0\0\0\x01\0\0\0\x20jumb\0\0\0\x18jumdc2pa");
    for (name, picture) in [("png", vector("png-c2pa.png")), ("jpeg", jpeg_with(&jumbf))] {
        assert_eq!(label(&picture, &rules(false)).1, LabelStatus::Written, "{name}");
        assert_eq!(label(&picture, &source_type_alone()).1, LabelStatus::Absent, "{name}");
        assert_eq!(label(&picture, &rules(true)), (picture, LabelStatus::Absent), "{name}");
    }
}

#[test]
fn the_source_type_can_be_written_alone() {
    for (name, picture) in unlabelled() {
        let (labelled, status) = label(&picture, &source_type_alone());
        if status == LabelStatus::Written {
            assert_eq!((count(&labelled, SOURCE_TYPE.as_bytes()), count(&labelled, b"AIGC")), (1, 0), "{name}");
            let again = label(&labelled, &source_type_alone());
            assert!(again.0 == labelled && again.1 != LabelStatus::Written, "{name}");
        }
    }
    let foreign = packet("<a:DigitalSourceType/>");
    assert_eq!(label(&png_with(&itxt(foreign.as_bytes(), 0)), &source_type_alone()).1, LabelStatus::Kept);
}

/// The most bytes that are held, as the module's table has them; behind the place of the label none are.
#[test]
fn little_is_held() {
    let foreign = packet(&" ".repeat(60_000));
    let rows = [
        ("png", vector("png-1x1.png"), 30),
        ("png with 2 MB before its pixels", png_with(&chunk(b"abCd", &vec![b'x'; 2_000_000])), 30),
        ("png with a long text", png_with(&chunk(b"iTXt", &vec![b'x'; 100_000])), 30),
        ("png with a packet", png_with(&itxt(foreign.as_bytes(), 0)), MAX_PACKET_BYTES),
        (
            "png with a packet and much behind it",
            png_with(&[itxt(foreign.as_bytes(), 0), chunk(b"abCd", &vec![b'x'; 500_000])].concat()),
            MAX_PACKET_BYTES + 30,
        ),
        ("jpeg", jpeg_with(&segment(0xE1, &[b'x'; 60_000])), 33),
        ("webp", extended_webp(0, &riff_chunk(b"ABCD", &[b'x'; 60_000])), 48),
        ("gif", gif_with(b"\x21\xFE\x03abc\0"), 795),
    ];
    for (name, picture, most) in rows {
        let mut labeler = labeler(&picture, &rules(false));
        let mut out = Vec::new();
        for byte in &picture {
            labeler.push(std::slice::from_ref(byte), &mut |bytes| out.extend_from_slice(bytes));
            assert!(labeler.held_bytes() <= most, "{name} holds {} bytes", labeler.held_bytes());
        }
        assert_eq!(labeler.held_bytes(), 0, "{name}");
        assert_eq!(labeler.finish(&mut |_| panic!("{name}")), LabelStatus::Written, "{name}");
        check_pixels_stay(&picture, &out);
    }
}

proptest! {
    /// Whatever the bytes are, the label is inserted and nothing is lost.
    #[test]
    fn anything_passes(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..4_usize, keep in any::<bool>()) {
        let magics: [&[u8]; 4] = [b"\x89PNG\r\n\x1A\n", b"\xFF\xD8", b"RIFF\x40\x01\0\0WEBPVP8X", b"GIF89a"];
        let picture = [magics[kind], &bytes].concat();
        let (labelled, status) = label_as(MediaType::ALL[kind], &picture, &rules(keep), |_| usize::MAX);
        if status != LabelStatus::Written && kind != 2 {
            prop_assert_eq!(&labelled, &picture);
        }
        prop_assert!(labelled.len() >= picture.len());
        let tail = picture.len().min(1);
        prop_assert!(labelled.ends_with(&picture[picture.len() - tail..]) || kind == 2);
    }
}

/// Writes labelled files for the readers of other programs, which `.ci/label` calls.
#[test]
fn files_for_other_programs() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("label");
    for sub in ["in", "out"] {
        std::fs::create_dir_all(folder.join(sub)).unwrap();
    }
    let foreign = pictures().into_iter().filter(|(name, _)| name.starts_with("foreign"));
    for (name, picture) in unlabelled().into_iter().chain(foreign) {
        let (labelled, status) = label(&picture, &rules(false));
        assert_eq!(status, LabelStatus::Written, "{name}");
        std::fs::write(folder.join("in").join(&name), &picture).unwrap();
        std::fs::write(folder.join("out").join(&name), labelled).unwrap();
    }
}

/// The label is there once, its JSON is the expected one, and without it the picture is as it was.
fn check_labelled(picture: &[u8], labelled: &[u8], json: &str) {
    assert_eq!(count(labelled, b"<TC260:AIGC>"), 1);
    let from = find(labelled, b"<TC260:AIGC>").unwrap() + b"<TC260:AIGC>".len();
    let to = find(labelled, b"</TC260:AIGC>").unwrap();
    let text = String::from_utf8(labelled[from..to].to_vec()).unwrap().replace("&quot;", "\"");
    assert_eq!(text, json);
    assert_eq!(count(labelled, SOURCE_TYPE.as_bytes()), 1);
    check_pixels_stay(picture, labelled);
}

/// The same type and dimensions, and the bytes of the pixels are the same.
fn check_pixels_stay(picture: &[u8], labelled: &[u8]) {
    let (before, after) = (WholeImage::of(picture).unwrap(), WholeImage::of(labelled).unwrap());
    assert_eq!((before.media_type, before.width, before.height), (after.media_type, after.width, after.height));
    let (from, to) = match before.media_type {
        MediaType::Png => (find(picture, b"IDAT").unwrap(), picture.len()),
        MediaType::Jpeg => (find(picture, b"\xFF\xDB").unwrap(), picture.len()),
        MediaType::Gif => (find(picture, b"\x2C\0\0").unwrap(), picture.len()),
        MediaType::Webp => (find(picture, b"VP8").unwrap() + 20, riff_end(picture)),
    };
    assert!(find(labelled, &picture[from..to]).is_some(), "the pixels have changed");
}

fn rules(keeps_c2pa: bool) -> LabelRules {
    let codes = AigcCodes { producer: PRODUCER.to_owned(), propagator: PRODUCER.to_owned() };
    LabelRules { codes: Some(codes), writes_source_type: true, is_edit: false, keeps_c2pa }
}

fn other_rules() -> LabelRules {
    let codes = AigcCodes { producer: "A".repeat(27), propagator: "B".repeat(27) };
    LabelRules { codes: Some(codes), writes_source_type: true, is_edit: false, keeps_c2pa: false }
}

fn source_type_alone() -> LabelRules {
    LabelRules { codes: None, writes_source_type: true, is_edit: false, keeps_c2pa: false }
}

fn label(picture: &[u8], rules: &LabelRules) -> (Vec<u8>, LabelStatus) {
    label_cut(picture, rules, |_| usize::MAX)
}

fn label_cut(picture: &[u8], rules: &LabelRules, piece: impl FnMut(usize) -> usize) -> (Vec<u8>, LabelStatus) {
    label_as(media_type(picture), picture, rules, piece)
}

fn label_as(
    media_type: MediaType,
    picture: &[u8],
    rules: &LabelRules,
    mut piece: impl FnMut(usize) -> usize,
) -> (Vec<u8>, LabelStatus) {
    let mut labeler = Labeler::new(media_type, rules, PRODUCE_ID);
    let (mut out, mut rest) = (Vec::new(), picture);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece(rest.len()).min(rest.len()));
        labeler.push(now, &mut |bytes| out.extend_from_slice(bytes));
        rest = later;
    }
    let status = labeler.finish(&mut |bytes| out.extend_from_slice(bytes));
    (out, status)
}

fn labeler(picture: &[u8], rules: &LabelRules) -> Labeler {
    Labeler::new(media_type(picture), rules, PRODUCE_ID)
}

fn media_type(picture: &[u8]) -> MediaType {
    match picture {
        [0x89, ..] => MediaType::Png,
        [0xFF, ..] => MediaType::Jpeg,
        [b'R', ..] => MediaType::Webp,
        _ => MediaType::Gif,
    }
}

/// Every vector, and layouts that no vector has.
pub(crate) fn pictures() -> Vec<(String, Vec<u8>)> {
    let foreign = packet("");
    let labelled = ["png-labelled-doubao-form.png", "jpeg-labelled-usercomment.jpg", "png-c2pa.png"];
    let made = [
        ("foreign.png", png_with(&[itxt(foreign.as_bytes(), 0), chunk(b"tIME", b"1234567")].concat())),
        ("foreign.jpg", jpeg_with(&[segment(0xFE, b"comment"), xmp_segment(foreign.as_bytes())].concat())),
        ("labelled-exif.webp", extended_webp(0x08, &riff_chunk(b"EXIF", br#"{"AIGC":{"Label":"1"}}"#))),
        ("comment.gif", gif_with(b"\x21\xFE\x03abc\0\x21\xFF\x0BNETSCAPE2.0\x03\x01\0\0\0")),
    ];
    let vectors = labelled.map(|name| (name.to_owned(), vector(name)));
    let made = made.map(|(name, picture)| (name.to_owned(), picture));
    unlabelled().into_iter().chain(vectors).chain(made).collect()
}

/// The vectors without a label.
fn unlabelled() -> Vec<(String, Vec<u8>)> {
    let names = ["png-1x1.png", "jpeg-jfif.jpg", "jpeg-exif.jpg", "webp-lossy.webp", "gif.gif"];
    names.map(|name| (name.to_owned(), vector(name))).into()
}

fn vector(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors/label/in/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

fn packet(description: &str) -> String {
    format!(
        "<?xpacket begin=\"\" id=\"x\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF \
         xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">{description}</rdf:RDF></x:xmpmeta><?xpacket end=\"w\"?>"
    )
}

/// The smallest PNG with chunks before its pixels.
/// Behind the header of EXIF.
fn utf16(text: &str) -> Vec<u8> {
    b"Exif\0\0".iter().copied().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}

fn png_with(chunks: &[u8]) -> Vec<u8> {
    let picture = vector("png-1x1.png");
    [&picture[..33], chunks, &picture[33..]].concat()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0xEDB8_8320 })
    };
    let crc = !name.iter().chain(data).fold(u32::MAX, step);
    [&(data.len() as u32).to_be_bytes(), name.as_slice(), data, &crc.to_be_bytes()].concat()
}

fn itxt(text: &[u8], compression: u8) -> Vec<u8> {
    chunk(b"iTXt", &[b"XML:com.adobe.xmp\0".as_slice(), &[compression, 0, 0, 0], text].concat())
}

/// The JFIF vector with segments behind its first one.
fn jpeg_with(segments: &[u8]) -> Vec<u8> {
    let picture = vector("jpeg-jfif.jpg");
    [&picture[..20], segments, &picture[20..]].concat()
}

fn segment(code: u8, data: &[u8]) -> Vec<u8> {
    [&[0xFF, code], (data.len() as u16 + 2).to_be_bytes().as_slice(), data].concat()
}

fn xmp_segment(text: &[u8]) -> Vec<u8> {
    segment(0xE1, &[b"http://ns.adobe.com/xap/1.0/\0", text].concat())
}

fn gif_with(extensions: &[u8]) -> Vec<u8> {
    let picture = vector("gif.gif");
    let table = if picture[10] & 0x80 == 0 { 0 } else { 6 << (picture[10] & 7) };
    [&picture[..13 + table], extensions, &picture[13 + table..]].concat()
}

fn riff_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = [name.as_slice(), &(data.len() as u32).to_le_bytes(), data].concat();
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

/// The lossy vector with `VP8X` and further chunks.
fn extended_webp(flags: u8, chunks: &[u8]) -> Vec<u8> {
    let picture = vector("webp-lossy.webp");
    let extended = riff_chunk(b"VP8X", &[flags, 0, 0, 0, 7, 0, 0, 7, 0, 0]);
    let body = [b"WEBP", extended.as_slice(), &picture[12..], chunks].concat();
    [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
}

fn webp_of_size(size: u32) -> Vec<u8> {
    let mut picture = vector("webp-lossy.webp");
    picture[4..8].copy_from_slice(&size.to_le_bytes());
    picture
}

fn riff_end(picture: &[u8]) -> usize {
    u32::from_le_bytes(picture[4..8].try_into().unwrap()) as usize + 8
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

fn count(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).filter(|window| *window == text).count()
}

/// A linear congruential generator, so that every run is the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}
