//! Text that is cut or not valid.

use shared::media::Utf8;

fn join(pieces: &[&[u8]]) -> (String, bool) {
    let (mut utf8, mut text) = (Utf8::default(), String::new());
    for piece in pieces {
        utf8.push(piece, |more| text.push_str(more));
    }
    utf8.finish(|more| text.push_str(more));
    (text, utf8.is_invalid())
}

#[test]
fn text_that_is_cut_or_not_valid() {
    let rows: [(&[&[u8]], &str, bool); 13] = [
        (&[], "", false),
        (&[b"ab", b"c"], "abc", false),
        (&["图".as_bytes()], "图", false),
        (&[b"\xE5", b"\x9B", b"\xBE"], "图", false),
        (&[b"\xF0\x9F", b"\x98\x80!"], "😀!", false),
        // A surrogate is not UTF-8.
        (&[b"a\xED\xA0\xBDb"], "a\u{FFFD}\u{FFFD}\u{FFFD}b", true),
        (&[b"\xED\xA0"], "\u{FFFD}\u{FFFD}", true),
        // U+D7FF begins like a surrogate.
        (&[b"\xED", b"\x9F\xBF"], "\u{D7FF}", false),
        (&[b"a\xFFb"], "a\u{FFFD}b", true),
        (&[b"\xE5\x9B", b"x"], "\u{FFFD}x", true),
        (&[b"\xC0\x80"], "\u{FFFD}\u{FFFD}", true),
        (&[b"\xED\xA0", b"x"], "\u{FFFD}\u{FFFD}x", true),
        // The end cuts it.
        (&[b"ab\xE5\x9B"], "ab\u{FFFD}", false),
    ];
    for (pieces, text, invalid) in rows {
        assert_eq!(join(pieces), (text.to_owned(), invalid), "{pieces:?}");
        let bytes = pieces.concat();
        assert_eq!(join(&[&bytes]), (text.to_owned(), invalid), "{pieces:?} whole");
        let bytes: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(join(&bytes), (text.to_owned(), invalid), "{pieces:?} byte by byte");
    }
}

#[test]
fn text_is_handed_on_at_once() {
    let mut utf8 = Utf8::default();
    let mut handed_on = Vec::new();
    for piece in ["a图".as_bytes(), b"b\xE5", b"\x9B", b"\xBEc"] {
        let mut now = String::new();
        utf8.push(piece, |more| now.push_str(more));
        handed_on.push(now);
    }
    assert_eq!(handed_on, ["a图", "b", "", "图c"]);
}
