//! Pictures in text: what is one, what is a link to one, and what stays text.

use shared::media::{MarkdownImages, MarkdownPart};

/// Base64 that is long enough to be believed without a label.
const LONG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";

/// `text|{picture}|<link>`; a picture that has not ended is `{picture`.
fn read(text: &str, piece_bytes: usize) -> String {
    let mut reader = MarkdownImages::default();
    let mut out = String::new();
    let mut note = |found: MarkdownPart<'_>| match found {
        MarkdownPart::Text(text) => out.push_str(&String::from_utf8_lossy(text)),
        MarkdownPart::Image => out.push('{'),
        MarkdownPart::Payload(payload) => out.push_str(&String::from_utf8_lossy(payload)),
        MarkdownPart::ImageEnd => out.push('}'),
        MarkdownPart::Link(url) => out.push_str(&format!("<{url}>")),
        MarkdownPart::OnlyLink(url) => out.push_str(&format!("<<{url}>>")),
    };
    for mut piece in text.as_bytes().chunks(piece_bytes) {
        while let Some(found) = reader.next(&mut piece) {
            note(found);
        }
    }
    while let Some(found) = reader.finish() {
        note(found);
    }
    out
}

fn check(rows: &[(&str, &str)]) {
    for &(text, expected) in rows {
        assert_eq!(read(text, usize::MAX), expected, "{text}");
        if text.is_ascii() {
            assert_eq!(read(text, 1), expected, "{text} byte by byte");
        }
    }
}

#[test]
fn alternative_text_that_is_too_long_to_be_held() {
    for length in [1022, 1023, 1024, 1025, 12_000] {
        let alt = format!("![{}", "a".repeat(length));
        for (rest, expected) in [
            ("](https://example.com/)b", "<https://example.com/>b"),
            ("](data:image/png;base64,AAAA)b", "{AAAA}b"),
            (" [b] [[c] d]](data:image/png;base64,AAAA)e", " [b] [[c] d]{AAAA}e"),
            ("![b](data:image/png;base64,AAAA)", "{AAAA}"),
            (
                "! ![b](https://example.com/) ](https://example.com/)",
                "! <https://example.com/> ](https://example.com/)",
            ),
            (
                " [b](https://example.com/) c](https://example.com/)",
                " [b](https://example.com/) c<https://example.com/>",
            ),
            (" [b](data:image/png;base64,AAAA)", " [b]({AAAA})"),
            (" <data:image/png;base64,AAAA", " <{AAAA"),
            // Closed without a target.
            ("] (https://example.com/) ](https://example.com/)", "] (https://example.com/) ](https://example.com/)"),
            ("](c) ](https://example.com/)", "](c) ](https://example.com/)"),
            (" [", " ["),
            ("]", "]"),
            ("!", "!"),
        ] {
            let (text, expected) = (format!("{alt}{rest}"), format!("{alt}{expected}"));
            for piece in [usize::MAX, 1, 7, 1023, 1025] {
                assert_eq!(read(&text, piece), expected, "{rest} behind {length} bytes in pieces of {piece}");
            }
        }
    }
    let held = format!("![{}](https://example.com/)", "a".repeat(1021));
    check(&[(&held, "<https://example.com/>")]);
}

#[test]
fn pictures() {
    check(&[
        ("![image](data:image/png;base64,AAAA)", "{AAAA}"),
        ("a ![image](data:image/png;base64,AAAA) b ![x](data:image/gif;base64,BBBB) c", "a {AAAA} b {BBBB} c"),
        ("![](data:image/png;base64,AAAA)", "{AAAA}"),
        ("![a [b] c](data:image/png;base64,AAAA)", "{AAAA}"),
        ("![a [b](data:image/png;base64,AAAA)", "{AAAA}"),
        ("![https://example.com/](data:image/png;base64,AAAA)", "{AAAA}"),
        ("[link](data:image/png;base64,AAAA)", "[link]({AAAA})"),
        ("![a](data:;base64,AAAA)", "{AAAA}"),
        ("![a](data:text/html;base64,AAAA)", "{AAAA}"),
        ("![a](data:image/png;charset=utf-8;base64,AAAA)", "{AAAA}"),
        ("![a](DATA:IMAGE/PNG;BASE64,AAAA)", "{AAAA}"),
        ("![a]( \n<data:image/png;base64,AAAA>)b", "{AAAA>}b"),
        ("![a](data:image/png;base64,AA\nAA )b", "{AA\nAA }b"),
        // Titles, and what looks like one.
        ("![a](data:image/png;base64,AAAA \"t\")b", "{AAAA \"t\"}b"),
        ("![a](data:image/png;base64,AAAA> 't')b", "{AAAA> 't'}b"),
        // Never closed.
        ("![a](<data:image/png;base64,AAAA> b ![c](data:image/png;base64,BBBB)", "{AAAA> b }{BBBB}"),
        ("![image](data:image/png;base64,AA![image](data:image/png;base64,BBBB)", "{AA}{BBBB}"),
        ("![image](data:image/png;base64,AAAA\nit's it! Bye", "{AAAA\nit's it}! Bye"),
        // The end of the text.
        ("![image](data:image/png;base64,AAAA", "{AAAA"),
        ("![image](data:image/png;base64,", ""),
        ("![image](data:image/png;base64", "![image](data:image/png;base64"),
    ]);
}

#[test]
fn a_picture_starts_over_inside_another() {
    check(&[
        ("![![image](data:image/png;base64,AAAA)", "![{AAAA}"),
        ("![a ![![image](data:image/png;base64,AAAA)", "![a ![{AAAA}"),
        ("![a](![image](data:image/png;base64,AAAA)", "![a]({AAAA}"),
        ("![a](data:![image](data:image/png;base64,AAAA)", "![a](data:{AAAA}"),
        ("![a](x![image](data:image/png;base64,AAAA)", "![a](x{AAAA}"),
        ("![a]![image](data:image/png;base64,AAAA)", "![a]{AAAA}"),
        ("!![image](data:image/png;base64,AAAA)", "!{AAAA}"),
    ]);
}

/// A picture begins in every spelling of its data URL.
#[test]
fn spellings_of_a_data_url() {
    for spelling in [
        "![image](data:image/png;base64,AAAA)",
        "![IMAGE](DATA:Image/Png;Base64,AAAA)",
        "![image](data: \n image/svg+xml;\tbase64, \nAAAA)",
        "![image](data:image/x y;base64,AAAA)",
        "![Image 1](data:image/png;base64,AAAA)",
        "![](data:image/png;base64,AAAA)",
        "![image]( data:image/png;base64,AAAA)",
        "![image](<data:image/png;base64,AAAA>)",
        "![image](data:image/png;charset=utf-8;base64,AAAA)",
        "![image](data:image/png;base64 ,AAAA)",
        "![image](data:image/;base64,AAAA)",
        "![image](data:;base64,AAAA)",
        "![image](data:application/octet-stream;base64,AAAA)",
        "[image](data:image/png;base64,AAAA)",
        "data:image/png;base64,AAAA",
    ] {
        let seen = read(spelling, usize::MAX);
        assert!(seen.contains("AAAA}") || seen.contains("AAAA>}") || seen.ends_with("{AAAA"), "{spelling}: {seen}");
    }
    for text in ["![image](data:image/png,AAAA)", "![image](data:image/png;base32,AAAA)", "![image](data:base64,AAAA)"]
    {
        assert_eq!(read(text, usize::MAX), text);
    }
}

#[test]
fn links() {
    check(&[
        ("![a](https://example.com/a.png)b", "<https://example.com/a.png>b"),
        ("![a](HTTP://example.com/)", "<HTTP://example.com/>"),
        ("![](<https://example.com/a.png>)b", "<https://example.com/a.png>b"),
        ("![a](https://example.com/a.png \"a title\")b", "<https://example.com/a.png>b"),
        ("![a](https://example.com/a.png 'a title' )b", "<https://example.com/a.png>b"),
        ("![a](https://example.com/a.png \"Oh! A [title]!\")b", "<https://example.com/a.png>b"),
        ("![a](https://example.com/a.png 'a ![c](https://d/)b", "<https://example.com/a.png><https://d/>b"),
        ("![a](https://example.com/a.png (a title))b", "<https://example.com/a.png>b"),
        ("![a](https://example.com/a_(b)_(c(d)).png)e", "<https://example.com/a_(b)_(c(d)).png>e"),
        ("![https://example.com/a.png](https://example.com/a.png)", "<https://example.com/a.png>"),
        ("![a](https://例子.cn/图.png)", "<https://例子.cn/图.png>"),
        // The parenthesis is missing: what follows is no title.
        ("![a](https://example.com/a.png b ![c](https://d/)", "<https://example.com/a.png> b <https://d/>"),
        ("![a](https://example.com/a.png", "![a](https://example.com/a.png"),
    ]);
    let long = format!("![a](https://example.com/{})b", "c".repeat(4096));
    check(&[(&long, &long)]);
}

#[test]
fn what_stays_text() {
    check(&[
        ("", ""),
        ("!", "!"),
        ("wow! [image](https://example.com/a.png)", "wow! [image](https://example.com/a.png)"),
        ("![a] and [a link](https://example.com/)", "![a] and [a link](https://example.com/)"),
        ("![a][b] [b]: https://example.com/", "![a][b] [b]: https://example.com/"),
        ("![a](hello)", "![a](hello)"),
        ("![a](hello world) b", "![a](hello world) b"),
        ("![a](https:example)b", "![a](https:example)b"),
        ("![a](http://)b", "<http://>b"),
        ("![a](b.png)", "![a](b.png)"),
        ("![a](javascript:alert(1))", "![a](javascript:alert(1))"),
        ("![a](data:text/plain,hello)", "![a](data:text/plain,hello)"),
        ("![a](download/a.png)", "![a](download/a.png)"),
        ("the data: word, data:text/plain;base64,AAAA", "the data: word, data:text/plain;base64,AAAA"),
        ("data:image/png is how it begins", "data:image/png is how it begins"),
        ("data:image/svg+xml,<svg/>", "data:image/svg+xml,<svg/>"),
        ("/9j/ is how a JPEG begins", "/9j/ is how a JPEG begins"),
        ("iVBORw0KGgo", "iVBORw0KGgo"),
        (&LONG[..63], &LONG[..63]),
        (&format!("a{LONG}"), &format!("a{LONG}")),
        (&format!("a {}", &LONG[..63]), &format!("a {}", &LONG[..63])),
        ("image upload err", "image upload err"),
        ("![image](image upload err)", "![image](image upload err)"),
    ]);
}

#[test]
fn data_urls_and_base64_without_markdown() {
    check(&[
        (LONG, &format!("{{{LONG}")),
        (&LONG[..64], &format!("{{{}", &LONG[..64])),
        (&format!(" \n{LONG}\nb"), &format!(" \n{{{LONG}}}\nb")),
        (&format!("data:image/png;base64,{LONG}"), &format!("{{{LONG}")),
        ("a data:image/png;base64,AAAA b", "a {AAAA} b"),
        ("\"data:image/jpeg;base64,AA-_\"", "\"{AA-_}\""),
        ("dadata:image/png;base64,AAAA.", "da{AAAA}."),
    ]);
}

#[test]
fn nothing_is_held_without_bound() {
    for endless in
        ["![", "![]", "![[", "![a](", "![a](data:image/png;", "![a](https://b", "![a](https://b/(", "data:image/"]
    {
        for with in ["a", "]", "[", "(", ")", "!", " ", ";"] {
            let mut reader = MarkdownImages::default();
            let (mut read, mut told) = (0, 0);
            for piece in [endless, &with.repeat(20_000)] {
                let mut piece = piece.as_bytes();
                read += piece.len();
                while let Some(found) = reader.next(&mut piece) {
                    if let MarkdownPart::Text(text) = found {
                        told += text.len();
                    }
                }
            }
            // A link has no text, and white space before a closing parenthesis is not text.
            let is_link = endless.contains("https") && (with == " " || with == ")");
            assert!(is_link || told + 6 * 1024 >= read, "{endless}{with}…: {told} of {read}");
        }
    }
}

/// As MIME and PEM break it.
#[test]
fn bare_base64_in_lines() {
    let line = |symbols: usize| LONG.repeat(2)[..symbols].to_owned();
    for (written, expected) in [
        (format!("{}\n{}\nAAAA", line(76), line(76)), format!("{{{}{}AAAA", line(76), line(76))),
        (format!("{}\r\nAAAA.", line(64)), format!("{{{}AAAA}}.", line(64))),
        (format!("{}\r\n\r\nbye", line(64)), format!("{{{}}}\r\n\r\nbye", line(64))),
        (format!("{}\n. bye", line(76)), format!("{{{}}}\n. bye", line(76))),
        (format!("{}\n", line(76)), format!("{{{}\n", line(76))),
        (format!("{}\nbye", line(72)), format!("{{{}}}\nbye", line(72))),
        (format!("{}=\nbye", line(75)), format!("{{{}=}}\nbye", line(75))),
        // Padding within a line does not begin a line.
        (format!("{}={}\nbye", line(20), line(64)), format!("{{{}={}}}\nbye", line(20), line(64))),
    ] {
        let labelled = format!("data:image/png;base64,{written}");
        check(&[(&written, &expected), (&labelled, &expected)]);
    }
}

#[test]
fn only_text_that_may_begin_a_picture_is_held() {
    // Not in two parts, although a link begins with the same letter.
    let mut beginning = &b"hello"[..];
    assert_eq!(MarkdownImages::default().next(&mut beginning), Some(MarkdownPart::Text(b"hello")));
    let mut reader = MarkdownImages::default();
    for (mut piece, found) in [
        (&b"A sad dune. Wow! Data, d! "[..], &b"A sad dune. Wow! Data, d! "[..]),
        (b"A bird", b"A bir"),
        (b"s.", b"ds."),
        (b"Wow!", b"Wow"),
        (b" bye", b"! bye"),
        (b"![", b""),
        (b"no] picture", b"![no] picture"),
    ] {
        let mut text = Vec::new();
        while let Some(MarkdownPart::Text(more)) = reader.next(&mut piece) {
            text.extend_from_slice(more);
        }
        assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(found));
    }
    assert_eq!(reader.finish(), None);
}
