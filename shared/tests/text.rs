//! Text that was cut, and text that is none.

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
fn what_becomes_of_it() {
    let rows: [(&[&[u8]], &str, bool); 19] = [
        (&[], "", false),
        (&[b"ab", b"c"], "abc", false),
        (&["图".as_bytes()], "图", false),
        (&[b"\xE5", b"\x9B", b"\xBE"], "图", false),
        (&[b"\xF0\x9F", b"\x98\x80!"], "😀!", false),
        // The halves of a pair, each as UTF-8 of its own, from one string or two.
        (&[b"\xED\xA0\xBD\xED\xB8\x80"], "😀", false),
        (&[b"\xED\xA0\xBD", b"\xED\xB8\x80"], "😀", false),
        (&[b"\xED", b"\xA0", b"\xBD", b"\xED", b"\xB8", b"\x80"], "😀", false),
        // A half alone is an upstream's slip.
        (&[b"a\xED\xA0\xBDb"], "a\u{FFFD}b", false),
        (&[b"a\xED\xB8\x80b"], "a\u{FFFD}b", false),
        (&[b"\xED\xA0\xBD"], "\u{FFFD}", false),
        (&[b"\xED\xA0\xBD\xED\xA0\xBD\xED\xB8\x80"], "\u{FFFD}😀", false),
        (&[b"\xED\xB8\x80\xED\xA0\xBD"], "\u{FFFD}\u{FFFD}", false),
        // U+D7FF is no surrogate, though it begins like one.
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
fn it_is_handed_on_at_once() {
    let mut utf8 = Utf8::default();
    let mut said = Vec::new();
    for piece in ["a图".as_bytes(), b"b\xE5", b"\x9B", b"\xBEc"] {
        let mut now = String::new();
        utf8.push(piece, |more| now.push_str(more));
        said.push(now);
    }
    assert_eq!(said, ["a图", "b", "", "图c"]);
}
