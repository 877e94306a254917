//! Labelled pictures in decoders that know nothing of labels.

use std::io::Cursor;

use dev::picture::{PictureFormat, draw};
use shared::labelled::{label_whole, produce_id};
use shared::media::WholeImage;
use shared::media::label::{AigcCodes, LabelRules, LabelStatus};

#[test]
fn the_pixels_are_the_same() {
    let code = "0".repeat(27);
    let codes = Some(AigcCodes { producer: code.clone(), propagator: code });
    let rules = LabelRules { codes, writes_source_type: true, is_edit: false, keeps_c2pa: false };
    for (format, decode) in [(PictureFormat::Png, png as fn(&[u8]) -> Vec<u8>), (PictureFormat::Jpeg, jpeg)] {
        let picture = draw("a lake", 1, format, 640, 480).bytes;
        let image = WholeImage::of(&picture).unwrap();
        let (labelled, bytes) = label_whole(&rules, &produce_id("a-b", 0, None), &image, &picture);
        assert_eq!(labelled.label, Some(LabelStatus::Written));
        assert_eq!(WholeImage { label: labelled.label, ..WholeImage::of(&bytes).unwrap() }, labelled);
        assert!(bytes.len() > picture.len());
        assert!(decode(&picture) == decode(&bytes), "{format:?}");
    }
}

fn png(file: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(Cursor::new(file)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    reader.finish().unwrap();
    pixels
}

fn jpeg(file: &[u8]) -> Vec<u8> {
    zune_jpeg::JpegDecoder::new(Cursor::new(file)).decode().unwrap()
}
