//! Pictures in text: what is one, what is a link to one, and what stays text.

use shared::media::{Found, Reader};

/// Base64 that is long enough to be believed without a label.
const LONG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";

/// `text|{picture}|<link>`; a picture that looks as documented is `{{picture}}`, one that has not ended `{picture`.
fn read(text: &str, piece_bytes: usize) -> String {
    let mut reader = Reader::default();
    let (mut out, mut close) = (String::new(), "");
    let mut note = |found: Found<'_>| match found {
        Found::Text(text) => out.push_str(&String::from_utf8_lossy(text)),
        Found::Image { documented } => {
            close = if documented { "}}" } else { "}" };
            out.push_str(if documented { "{{" } else { "{" });
        }
        Found::Payload(payload) => out.push_str(&String::from_utf8_lossy(payload)),
        Found::ImageEnd => out.push_str(close),
        Found::Link(url) => out.push_str(&format!("<{url}>")),
    };
    for mut piece in text.as_bytes().chunks(piece_bytes) {
        while let Some(found) = reader.next(&mut piece) {
            note(found);
        }
    }
    if let Some(found) = reader.finish() {
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
fn pictures() {
    check(&[
        ("![image](data:image/png;base64,AAAA)", "{{AAAA}}"),
        ("a ![image](data:image/png;base64,AAAA) b ![x](data:image/gif;base64,BBBB) c", "a {{AAAA}} b {BBBB} c"),
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
        ("![image](data:image/png;base64,AA![image](data:image/png;base64,BBBB)", "{{AA}}{{BBBB}}"),
        ("![image](data:image/png;base64,AAAA\nit's it! Bye", "{{AAAA\nit's it}}! Bye"),
        // The end of the text.
        ("![image](data:image/png;base64,AAAA", "{{AAAA"),
        ("![image](data:image/png;base64,", "{{"),
        ("![image](data:image/png;base64", "![image](data:image/png;base64"),
    ]);
}

#[test]
fn a_picture_starts_over_inside_another() {
    check(&[
        ("![![image](data:image/png;base64,AAAA)", "![{{AAAA}}"),
        ("![a ![![image](data:image/png;base64,AAAA)", "![a ![{{AAAA}}"),
        ("![a](![image](data:image/png;base64,AAAA)", "![a]({{AAAA}}"),
        ("![a](data:![image](data:image/png;base64,AAAA)", "![a](data:{{AAAA}}"),
        ("![a](x![image](data:image/png;base64,AAAA)", "![a](x{{AAAA}}"),
        ("![a]![image](data:image/png;base64,AAAA)", "![a]{{AAAA}}"),
        ("!![image](data:image/png;base64,AAAA)", "!{{AAAA}}"),
    ]);
}

/// What `/!\[image\]\(data:\s*image\/([^;]+);\s*base64,\s*\n?([^)]+)\)/i` finds.
#[test]
fn the_documented_spelling() {
    for yes in [
        "![image](data:image/png;base64,AAAA)",
        "![IMAGE](DATA:Image/Png;Base64,AAAA)",
        "![image](data: \n image/svg+xml;\tbase64, \nAAAA)",
        "![image](data:image/x y;base64,AAAA)",
    ] {
        assert!(read(yes, usize::MAX).starts_with("{{"), "{yes}");
    }
    for no in [
        "![Image 1](data:image/png;base64,AAAA)",
        "![image ](data:image/png;base64,AAAA)",
        "![](data:image/png;base64,AAAA)",
        "![image]( data:image/png;base64,AAAA)",
        "![image](<data:image/png;base64,AAAA>)",
        "![image](data:image/png;charset=utf-8;base64,AAAA)",
        "![image](data:image/png;base64 ,AAAA)",
        "![image](data:image/;base64,AAAA)",
        "![image](data:application/octet-stream;base64,AAAA)",
        "[image](data:image/png;base64,AAAA)",
        "data:image/png;base64,AAAA",
    ] {
        let seen = read(no, usize::MAX);
        assert!(seen.contains('{') && !seen.contains("{{"), "{no}: {seen}");
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
        ("![a](https://example.com/a.png (a title))b", "<https://example.com/a.png>)b"),
        ("![a](https://example.com/a_(b)_(c(d)).png)e", "<https://example.com/a_(b)_(c(d)).png>e"),
        ("![https://example.com/a.png](https://example.com/a.png)", "<https://example.com/a.png>"),
        ("![a](https://例子.cn/图.png)", "<https://例子.cn/图.png>"),
        // The parenthesis is missing: what follows is no title.
        ("![a](https://example.com/a.png b ![c](https://d/)", "<https://example.com/a.png>b <https://d/>"),
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
        (&format!("a {LONG}"), &format!("a {LONG}")),
        ("image upload err", "image upload err"),
        ("![image](image upload err)", "![image](image upload err)"),
    ]);
    let long = format!("![{}](https://example.com/)", "a".repeat(1024));
    check(&[(&long, &long)]);
}

#[test]
fn what_needs_no_markdown() {
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
            let mut reader = Reader::default();
            let (mut read, mut told) = (0, 0);
            for piece in [endless, &with.repeat(20_000)] {
                let mut piece = piece.as_bytes();
                read += piece.len();
                while let Some(found) = reader.next(&mut piece) {
                    if let Found::Text(text) = found {
                        told += text.len();
                    }
                }
            }
            // A link has no text, and white space before a closing parenthesis is none.
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
    ] {
        let labelled = format!("data:image/png;base64,{written}");
        check(&[(&written, &expected), (&labelled, &expected)]);
    }
}

#[test]
fn only_what_may_become_a_picture_is_held() {
    let mut reader = Reader::default();
    for (mut text, found, held) in [
        (&b"A sad dune. Wow! Data, d! "[..], Some(&b"A sad dune. Wow! Data, d! "[..]), 0),
        (b"A bird", Some(b"A bir"), 1),
        (b"s.", Some(b"d"), 0),
        (b"Wow!", Some(b"Wow"), 1),
    ] {
        assert_eq!(reader.next(&mut text), found.map(Found::Text));
        while reader.next(&mut text).is_some() {}
        assert_eq!(reader.held_bytes(), held);
    }
    // Somebody else has told it.
    reader.held_was_told();
    let mut text = &b" bye"[..];
    assert_eq!(reader.next(&mut text), Some(Found::Text(b"")));
    assert_eq!(reader.next(&mut text), Some(Found::Text(b" bye")));
    for mut text in [&b"!["[..], b"image](data:image/png;base64,"] {
        assert!(!matches!(reader.next(&mut text), Some(Found::Text(_))));
        reader.held_was_told();
    }
    assert_eq!(reader.next(&mut &b"AAAA"[..]), Some(Found::Payload(b"AAAA")));
    for mut text in [&b")!["[..], b"im"] {
        while reader.next(&mut text).is_some() {}
        reader.held_was_told();
    }
    assert_eq!(reader.finish(), Some(Found::Text(b"")));
}
