//! The JSON reader: what it hands on of every string, and what it takes for a document.

use shared::json::{Malformed, Segment, TokenValue, Tokenizer};

const KEYS: &[&str] = &["a", "b", "content"];

fn known(name: &[u8]) -> &'static str {
    KEYS.iter().copied().find(|known| known.as_bytes() == name).unwrap_or("")
}

/// One line a token: path, then value; strings in one piece.
fn read(text: &[u8], piece_bytes: usize) -> Result<Vec<String>, Malformed> {
    let mut reader = Tokenizer::new(known);
    let (mut lines, mut string) = (Vec::new(), Vec::new());
    for mut piece in text.chunks(piece_bytes) {
        while let Some(token) = reader.next(&mut piece)? {
            let path: String = token
                .path
                .iter()
                .map(|segment| match segment {
                    Segment::Key(name) => format!(".{name}"),
                    Segment::Index(index) => format!("[{index}]"),
                })
                .collect();
            match token.value {
                TokenValue::String(text) => lines.push(format!("{path} \"{}\"", text.escape_ascii())),
                TokenValue::StringStart => string.clear(),
                TokenValue::Text(text) => string.extend_from_slice(text),
                TokenValue::StringEnd => lines.push(format!("{path} \"{}\"", string.escape_ascii())),
                TokenValue::Scalar(text) => lines.push(format!("{path} {text}")),
                TokenValue::Open => lines.push(format!("{path} open")),
                TokenValue::Close => lines.push(format!("{path} close")),
            }
        }
    }
    Ok(lines)
}

fn tokens(text: &str) -> Result<Vec<String>, Malformed> {
    let whole = read(text.as_bytes(), usize::MAX);
    assert_eq!(read(text.as_bytes(), 1), whole, "{text} byte by byte");
    whole
}

/// The string that stands alone in a document.
fn string(inside: &str) -> String {
    let mut tokens = tokens(&format!("\"{inside}\"")).unwrap();
    let token = tokens.pop().unwrap();
    token.strip_prefix(" \"").unwrap().strip_suffix('"').unwrap().to_owned()
}

#[test]
fn escapes() {
    for (inside, expected) in [
        (r"\/\\\b\f\n\r\t", r"/\\\x08\x0c\n\r\t"),
        (r#"\""#, r#"\""#),
        (r"\u0041\u002B\u003d", "A+="),
        (r"\u0000", r"\x00"),
        (r"\u00e9\u4e2d", r"\xc3\xa9\xe4\xb8\xad"),
        (r"\uD83D\uDE00", r"\xf0\x9f\x98\x80"),
        // Half of a surrogate pair.
        (r"\uD83D", r"\xef\xbf\xbd"),
        (r"\uDE00", r"\xef\xbf\xbd"),
        (r"\uD83Dx", r"\xef\xbf\xbdx"),
        (r"\uD83D\n", r"\xef\xbf\xbd\n"),
        (r"\uD83D\u0041", r"\xef\xbf\xbdA"),
        (r"\uD83D\uD83D\uDE00", r"\xef\xbf\xbd\xf0\x9f\x98\x80"),
        (r"\uDE00\uD83D", r"\xef\xbf\xbd\xef\xbf\xbd"),
        // No hexadecimal digit.
        (r"\u00g1", r"\xef\xbf\xbdg1"),
        (r"\u", r"\xef\xbf\xbd"),
        (r"\q", "q"),
    ] {
        assert_eq!(string(inside), expected, "{inside}");
    }
    // Raw control characters are let through.
    assert_eq!(string("a\nb\t"), r"a\nb\t");
}

#[test]
fn long_strings_between_escapes() {
    for (run, count) in [(1, 10_000), (511, 30), (512, 30), (5_000, 3), (0, 9_000)] {
        let inside = ("x".repeat(run) + "\\/").repeat(count);
        assert_eq!(string(&inside), ("x".repeat(run) + "/").repeat(count), "{run}");
    }
}

#[test]
fn paths() {
    let text = r#" {"a": [1, {"b" : "x"}, [], {}], "other": {"content": null}, "a\u0062": 1, "\u0061": 2, "": 3} "#;
    let expected = [
        " open",
        ".a open",
        ".a[0] 1",
        ".a[1] open",
        ".a[1].b \"x\"",
        ".a[1] close",
        ".a[2] open",
        ".a[2] close",
        ".a[3] open",
        ".a[3] close",
        ".a close",
        ". open",
        "..content null",
        ". close",
        // A name with an escape is not matched.
        ". 1",
        ". 2",
        ". 3",
        " close",
    ];
    assert_eq!(tokens(text).unwrap(), expected);
    let long = format!(r#"{{"{}": 1, "content{}": 2}}"#, "a".repeat(40), "x".repeat(40));
    assert_eq!(tokens(&long).unwrap(), [" open", ". 1", ". 2", " close"]);
    assert_eq!(tokens(r#"{"a":1,"a":2}"#).unwrap(), [" open", ".a 1", ".a 2", " close"]);
}

#[test]
fn loose_scalars() {
    for text in ["1", "-1.5e+3", "true", "null", "NaN", "undefined", "01", "1.2.3", "-"] {
        assert_eq!(tokens(&format!("[{text}]")).unwrap()[1], format!("[0] {text}"));
    }
    let long = "1".repeat(100);
    assert_eq!(tokens(&format!("[{long}]")).unwrap()[1], format!("[0] {}", &long[..32]));
}

#[test]
fn text_after_a_document() {
    assert_eq!(tokens(r#"{"a":1}{"b":2} [3]"#).unwrap().len(), 9);
    assert_eq!(tokens(r#"{"a":1} null "x" "#).unwrap()[3..], [" null", " \"x\""]);
    for junk in ["}", "]", ",", ":", ";", "data: x"] {
        let mut reader = Tokenizer::new(known);
        let text = format!("{{\"a\":1}}{junk}");
        let mut piece = text.as_bytes();
        for _ in 0..3 {
            assert!(reader.next(&mut piece).unwrap().is_some());
        }
        assert!(reader.is_between_documents());
        assert!((0..3).any(|_| reader.next(&mut piece).is_err()), "{junk}");
    }
}

#[test]
fn no_documents() {
    for text in [
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{\"a\" 1}",
        "{a:1}",
        "{1:1}",
        "[1 2]",
        "[}",
        "{]",
        "{\"a\":}",
        "[,1]",
        "'x'",
        "[+1]",
        "[.5]",
        "\u{FEFF}{}",
    ] {
        let ended = tokens(text).is_ok_and(|tokens| tokens.last().is_some_and(|last| last == " close"));
        assert!(!ended, "{text}");
    }
}

#[test]
fn depth() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(tokens(&nested(64)).unwrap().len(), 128);
    assert!(tokens(&nested(65)).is_err());
    assert!(tokens(&"{\"a\":".repeat(10_000)).is_err());
}

#[test]
fn a_reset_reader_starts_afresh() {
    let mut reader = Tokenizer::new(known);
    for broken in ["{\"a\":\"x\\", "{\"a\\", "[[[\"\\ud83d", "[1", "{\"a\":\"\\u00"] {
        let mut piece = broken.as_bytes();
        while reader.next(&mut piece).unwrap().is_some() {}
        assert!(!reader.is_between_documents());
        reader.reset();
        assert!(reader.is_between_documents());
        let mut piece = &br#"{"a":"\ude00"}"#[..];
        let mut values = Vec::new();
        while let Some(token) = reader.next(&mut piece).unwrap() {
            values.push(format!("{:?}", token.value));
        }
        assert_eq!(values, ["Open", "StringStart", "Text([239, 191, 189])", "StringEnd", "Close"], "after {broken}");
    }
}
