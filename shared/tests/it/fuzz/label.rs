//! The writer of labels into pictures.

use shared::media::WholeImage;
use shared::media::label::{AigcCodes, LabelRules, LabelStatus, Labeler, MAX_PACKET_BYTES};
use shared::media::sniff::{MagicMatch, MediaType, Sniffer};

use super::same_in_pieces;

/// A whole picture stays whole and as large as it was; nothing of it is lost; a second label is never written.
pub(crate) fn check(input: &[u8]) {
    let mut sniffer = Sniffer::default();
    sniffer.push(input);
    let MagicMatch::Known(media_type) = sniffer.kind() else { return };
    for (has_codes, keeps_c2pa) in [(true, false), (true, true), (false, false)] {
        let codes = has_codes.then(|| AigcCodes { producer: "A".repeat(27), propagator: "B".repeat(27) });
        check_rules(input, media_type, &LabelRules { codes, writes_source_type: true, is_edit: false, keeps_c2pa });
    }
}

fn check_rules(picture: &[u8], media_type: MediaType, rules: &LabelRules) {
    let (labelled, status) = same_in_pieces(picture, |pieces| label(media_type, rules, pieces));
    match status {
        LabelStatus::Written => {
            let mark: &[u8] = if rules.codes.is_some() { b"<TC260:AIGC>" } else { b"DigitalSourceType" };
            assert!(labelled.windows(mark.len()).any(|window| window == mark), "no label is in the picture");
            let (again, status) = label(media_type, rules, &mut [&*labelled].into_iter());
            assert!(status != LabelStatus::Written && again == labelled, "a second label is written");
        }
        // A WebP may get an empty packet.
        _ => assert!(labelled == picture || media_type == MediaType::Webp, "a picture without a new label has changed"),
    }
    assert!(labelled.len() >= picture.len() && labelled.len() <= picture.len() + 4096, "{} bytes", labelled.len());
    // The label is written into an XMP packet, and the length and the checksum around it change.
    let is_extended = picture.windows(10).any(|window| window == b"</rdf:RDF>");
    if matches!(media_type, MediaType::Png | MediaType::Jpeg) && !is_extended {
        let same = |(a, b): &(&u8, &u8)| a == b;
        let before = picture.iter().zip(&labelled).take_while(same).count();
        let behind = picture.iter().rev().zip(labelled.iter().rev()).take_while(same).count();
        assert!(before + behind >= picture.len(), "bytes of the picture have changed");
    }
    if let Ok(whole) = WholeImage::of(picture) {
        let after = WholeImage::of(&labelled).expect("a whole picture stays whole");
        assert_eq!((after.media_type, after.width, after.height), (media_type, whole.width, whole.height));
    }
}

fn label(media_type: MediaType, rules: &LabelRules, pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<u8>, LabelStatus) {
    let (mut labeler, mut labelled) = (Labeler::new(media_type, rules, "01-0"), Vec::new());
    for piece in pieces {
        labeler.push(piece, &mut |bytes| labelled.extend_from_slice(bytes));
        assert!(labeler.held_bytes() <= MAX_PACKET_BYTES + 1024, "{} bytes are held", labeler.held_bytes());
    }
    let status = labeler.finish(&mut |bytes| labelled.extend_from_slice(bytes));
    (labelled, status)
}
