//! What holds for every answer: pictures and text come out as they were put in, nothing panics, and the cutting of the
//! bytes makes no difference.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects")]

#[path = "support/answer.rs"]
mod answer;
#[path = "support/pictures.rs"]
mod pictures;

use std::fmt::Write;

use answer::{Answer, read};
use base64::{Engine, engine::general_purpose as base64_as};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use shared::image_url::LocalLinks;
use shared::media::{Found, Payload, Reference, Referred, Utf8};
use shared::upstream::{AnyDialect, Dialect, ErrorObject};
use shared::{json, media, sse};

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn chat() -> AnyDialect {
    AnyDialect::new(LocalLinks::Refused)
}

fn ark() -> AnyDialect {
    AnyDialect::ark(LocalLinks::Refused)
}

/// Where to cut, as shares of the whole.
fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..6)
}

fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|index| index.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

/// Reads `bytes` whole, cut and byte by byte; the three must agree.
fn same_at_any_cut<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    cuts: &[Index],
    read: impl Fn(&mut dyn Iterator<Item = &[u8]>) -> T,
) -> T {
    let whole = read(&mut [bytes].into_iter());
    assert_eq!(read(&mut cut(bytes, cuts).into_iter()), whole, "cut");
    assert_eq!(read(&mut bytes.chunks(1)), whole, "byte by byte");
    whole
}

// ---- answers that are known ----

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Picture(Picture),
}

#[derive(Debug, Clone)]
struct Picture {
    bytes: Vec<u8>,
    written: Written,
    label: &'static str,
    symbols: Symbols,
    /// White space every so many symbols.
    wrap: Option<(usize, &'static str)>,
}

#[derive(Debug, Clone)]
enum Written {
    Markdown {
        alt: String,
        after: &'static str,
    },
    /// A data URL with nothing around it.
    Bare,
    /// Base64 alone where a text begins.
    Alone,
    /// A member of `delta`, by its spelling.
    Member(usize),
}

#[derive(Debug, Clone, Copy)]
enum Symbols {
    Standard,
    Unpadded,
    UrlSafe,
}

const MEMBERS: [(&str, &str); 8] = [
    (r#""images":[{"type":"image_url","image_url":{"url":""#, r#""},"index":0}]"#),
    (r#""images":[{"image_url":{"url":""#, r#"","detail":"auto"},"index":0,"type":"image_url"}],"content":null"#),
    (r#""images":[{"image_url":""#, r#""}]"#),
    (r#""images":[""#, r#""]"#),
    (r#""images":[{"b64_json":""#, r#""}]"#),
    (r#""image":[{"data":""#, r#""}]"#),
    (r#""image_b64_json":""#, r#"""#),
    (r#""content":[{"type":"image_url","image_url":{"url":""#, r#""}}]"#),
];

/// No two of them make a picture or a link together.
const TEXTS: &[&str] = &[
    "Here you are: ",
    "好的，",
    "画像です",
    "😀",
    "👩‍👩‍👧",
    "é",
    "\u{FEFF}",
    "\0",
    "!",
    "![",
    "![x]",
    "![x](y",
    "](-",
    "](x",
    ")",
    "(-",
    "]",
    "<b>",
    "d",
    "D",
    "da",
    "data:",
    "data:image/png!",
    "data:text/plain;base64,",
    "![a](b.png)",
    "![a](/b.png)",
    "![a](hello)",
    "![a](data:,x)",
    "![a](h t)",
    "[a](c.png)",
    " https://example.com/",
    "/9j/ is how it begins",
    "iVBORw0KGgo.",
    "\n",
    "\r\n\t ",
    "\\",
    "\\u0041",
    "\"",
    "[DONE]",
    "data: [DONE]\n\n",
    "}]}",
];

fn filling() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(0..0xFF_u8, 0..40), 1 => vec(0..0xFF_u8, 3_000..20_000)]
}

/// The markers of a JPEG file around `filling`, which must hold no 0xFF.
fn jpeg(filling: &[u8]) -> Vec<u8> {
    let head = b"\xFF\xD8\xFF\xC0\x00\x0B\x08\x00\x01\x00\x01\x01\x01\x11\x00\xFF\xDA\x00\x08\x01\x01\x00\x00\x3F\x00";
    [head, filling, b"\xFF\xD9"].concat()
}

fn image_bytes() -> impl Strategy<Value = Vec<u8>> {
    (filling(), any::<bool>()).prop_map(|(filling, is_png)| match is_png {
        true => pictures::png(&filling),
        false => jpeg(&filling),
    })
}

fn picture() -> impl Strategy<Value = Picture> {
    let alt = vec(select(&["image", "a", "图", "😀", "[b]", " ", "!.", "c(d)", "data:image/png", "\\"][..]), 0..4);
    let after = select(&[")", " )", " \"title\")", ">)", "\n)"][..]);
    let written = prop_oneof![
        3 => Just(Written::Markdown { alt: "image".into(), after: ")" }),
        2 => (alt, after).prop_map(|(alt, after)| Written::Markdown { alt: alt.concat(), after }),
        1 => Just(Written::Bare),
        1 => Just(Written::Alone),
        2 => (0..MEMBERS.len()).prop_map(Written::Member),
    ];
    let label = select(
        &["image/png;base64,", "image/jpeg;base64,", "IMAGE/Png;Base64,", "image/jpg;charset=utf-8;base64,"][..],
    );
    let symbols = select(&[Symbols::Standard, Symbols::Standard, Symbols::Unpadded, Symbols::UrlSafe][..]);
    let wrap = prop_oneof![3 => Just(None), 1 => (20..100_usize, select(&["\n", "\r\n", " "][..])).prop_map(Some)];
    (image_bytes(), written, label, symbols, wrap).prop_map(|(bytes, written, label, symbols, wrap)| Picture {
        bytes,
        written,
        label,
        symbols,
        wrap,
    })
}

impl Picture {
    fn base64(&self) -> String {
        let mut text = match self.symbols {
            Symbols::Standard => base64_as::STANDARD.encode(&self.bytes),
            Symbols::Unpadded => base64_as::STANDARD_NO_PAD.encode(&self.bytes),
            Symbols::UrlSafe => base64_as::URL_SAFE_NO_PAD.encode(&self.bytes),
        };
        // What stands alone ends at white space.
        if let (Some((every, space)), Written::Markdown { .. } | Written::Member(_)) = (self.wrap, &self.written) {
            let lines: Vec<&str> =
                text.as_bytes().chunks(every).map(|line| std::str::from_utf8(line).unwrap()).collect();
            text = lines.join(space);
        }
        text
    }
}

/// A choice: what `delta.content` and its other members say, in order.
#[derive(Debug, Default)]
struct Choice {
    deltas: Vec<Delta>,
    text: String,
    pictures: Vec<Vec<u8>>,
}

#[derive(Debug)]
enum Delta {
    Content(Vec<u16>),
    Member(String),
}

/// How an answer is written.
#[derive(Debug, Clone)]
struct Style {
    seed: u64,
    escape: Escape,
    line_end: &'static str,
    bom: bool,
    delta_units: usize,
    one_in_blank_missing: Option<u64>,
    one_in_multi_line: Option<u64>,
    comments: bool,
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Escape {
    Needed,
    Slash,
    NonAscii,
    Plus,
}

fn style() -> impl Strategy<Value = Style> {
    (
        any::<u64>(),
        select(&[Escape::Needed, Escape::Slash, Escape::NonAscii, Escape::Plus][..]),
        select(&["\n", "\r", "\r\n"][..]),
        any::<bool>(),
        prop_oneof![1..40_usize, 100..5_000_usize, Just(usize::MAX)],
        select(&[None, Some(2), Some(1)][..]),
        select(&[None, Some(10), Some(2)][..]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(seed, escape, line_end, bom, delta_units, one_in_blank_missing, one_in_multi_line, comments, done)| {
                Style {
                    seed,
                    escape,
                    line_end,
                    bom,
                    delta_units,
                    one_in_blank_missing,
                    one_in_multi_line,
                    comments,
                    done,
                }
            },
        )
}

/// Small decisions about the layout.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, sides: Option<u64>) -> bool {
        sides.is_some_and(|sides| self.below(sides) == 0)
    }
}

fn write_choice(parts: &[Part], delta_units: usize) -> Choice {
    let mut written = Choice::default();
    let mut content = String::new();
    let bare =
        parts.iter().any(|part| matches!(part, Part::Picture(Picture { written: Written::Bare | Written::Alone, .. })));
    for part in parts {
        let picture = match part {
            Part::Text(text) => {
                // A data URL inside alternative text that never ends is not looked for.
                let text = if bare { text.replace("![", "!{") } else { text.clone() };
                content.push_str(&text);
                written.text.push_str(&text);
                continue;
            }
            Part::Picture(picture) => picture,
        };
        written.pictures.push(picture.bytes.clone());
        let base64 = picture.base64();
        let url = format!("data:{}{base64}", picture.label);
        match &picture.written {
            Written::Markdown { alt, after } => {
                let open = if *after == ">)" { "<" } else { "" };
                let _ = write!(content, "![{alt}]({open}{url}{after}");
            }
            Written::Alone if written.text.is_empty() && written.pictures.len() == 1 && base64.len() >= 64 => {
                content.push_str(&base64);
                content.push('\n');
                written.text.push('\n');
            }
            Written::Bare | Written::Alone => {
                content.push_str(&url);
                content.push(' ');
                written.text.push(' ');
            }
            Written::Member(spelling) => {
                flush(&mut content, delta_units, &mut written.deltas);
                let (before, after) = MEMBERS[*spelling];
                let value = if before.contains("url") || *spelling == 3 { &url } else { &base64 };
                let value: Vec<u16> = value.encode_utf16().collect();
                written.deltas.push(Delta::Member(format!("{before}{}{after}", escape(&value, Escape::Needed))));
            }
        }
    }
    flush(&mut content, delta_units, &mut written.deltas);
    written
}

fn flush(content: &mut String, delta_units: usize, deltas: &mut Vec<Delta>) {
    let units: Vec<u16> = content.encode_utf16().collect();
    deltas.extend(units.chunks(delta_units).map(|units| Delta::Content(units.to_vec())));
    content.clear();
}

/// The inside of a JSON string.
fn escape(units: &[u16], how: Escape) -> String {
    let mut text = String::new();
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok('"') => text.push_str("\\\""),
            Ok('\\') => text.push_str("\\\\"),
            Ok('\n') => text.push_str("\\n"),
            Ok('/') if how == Escape::Slash => text.push_str("\\/"),
            Ok('+') if how == Escape::Plus => text.push_str("\\u002B"),
            Ok(c @ ('\0'..'\u{20}')) => write!(text, "\\u{:04x}", u32::from(c)).unwrap(),
            Ok(c) if c.is_ascii() || how != Escape::NonAscii => text.push(c),
            Ok(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(text, "\\u{unit:04x}").unwrap();
                }
            }
            // Half a pair, cut off by the end of a delta.
            Err(half) => write!(text, "\\u{:04X}", half.unpaired_surrogate()).unwrap(),
        }
    }
    text
}

fn write_answer(choices: &mut [(u32, Choice)], style: &Style) -> Vec<u8> {
    let mut dice = Dice(style.seed);
    let end = style.line_end;
    let mut out = String::new();
    if style.bom {
        out.push('\u{FEFF}');
    }
    let mut queues: Vec<(u32, std::vec::IntoIter<Delta>)> =
        choices.iter_mut().map(|(slot, choice)| (*slot, std::mem::take(&mut choice.deltas).into_iter())).collect();
    while !queues.is_empty() {
        let at = dice.below(queues.len() as u64) as usize;
        let (slot, deltas) = &mut queues[at];
        let Some(delta) = deltas.next() else {
            queues.remove(at);
            continue;
        };
        let (member, index_may_follow) = match delta {
            Delta::Content(units) => (format!("\"content\":\"{}\"", escape(&units, style.escape)), true),
            Delta::Member(member) => (member, false),
        };
        let index = format!("\"index\":{slot}");
        let member = format!("\"delta\":{{\"role\":\"assistant\",\n{member}\n}}");
        let members = if index_may_follow && dice.below(2) == 0 { [member, index] } else { [index, member] };
        let document = format!(
            "{{\"object\":\"chat.completion.chunk\",\n\"choices\":\n[{{{},\n{}}}]\n,\"usage\":null}}",
            members[0], members[1]
        );
        if style.comments {
            out.push_str([": PING", ":", "id: 1", "event: message", "retry: 3", "data"][dice.below(6) as usize]);
            out.push_str(end);
        }
        out.push_str("data: ");
        // Line feeds between the tokens stand for places where a document may be cut into lines.
        for (number, line) in document.split('\n').enumerate() {
            if number > 0 && dice.one_in(style.one_in_multi_line) {
                out.push_str(end);
                out.push_str(["data: ", "data:", ": a comment\ndata:"][dice.below(3) as usize]);
            }
            out.push_str(line);
        }
        out.push_str(end);
        if !dice.one_in(style.one_in_blank_missing) {
            out.push_str(end);
        }
    }
    if style.done {
        out.push_str("data: [DONE]");
        out.push_str(end);
        out.push_str(end);
    }
    out.replace("a comment\ndata", &format!("a comment{end}data")).into_bytes()
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn chat_answers_are_read_as_they_were_written(
        choices in vec(vec(prop_oneof![
            vec(select(TEXTS), 0..6).prop_map(|texts| Part::Text(texts.concat())),
            picture().prop_map(Part::Picture),
        ], 0..6), 1..4),
        style in style(),
        cuts in cuts(),
    ) {
        let delta_units = style.delta_units;
        let mut choices: Vec<(u32, Choice)> =
            (0..).zip(choices.iter().map(|parts| write_choice(parts, delta_units))).collect();
        let bytes = write_answer(&mut choices, &style);
        let answer = same_at_any_cut(&bytes, &cuts, |pieces| read(chat(), pieces));
        for (slot, choice) in &choices {
            prop_assert_eq!(&answer.text(*slot), &choice.text);
            let pictures: Vec<&Vec<u8>> = answer.pictures.iter().filter(|(of, _)| of == slot).map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(pictures, choice.pictures.iter().collect::<Vec<_>>());
        }
        prop_assert_eq!(answer.verdict.is_ok(), choices.iter().any(|(_, choice)| !choice.pictures.is_empty()));
    }

    #[test]
    fn ark_answers_are_read_as_they_were_written(
        events in vec((0..15_u32, ark_event()), 0..6),
        line_end in select(&["\n", "\r", "\r\n"][..]),
        names in any::<bool>(),
        one_body in any::<bool>(),
        cuts in cuts(),
    ) {
        let (mut out, mut items) = (String::new(), Vec::new());
        let (mut pictures, mut links, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (index, event)) in (0..).zip(&events) {
            let slot = if one_body { number } else { *index };
            let (kind, member) = match event {
                ArkEvent::Draft(_) if one_body => continue,
                ArkEvent::Picture(bytes) | ArkEvent::Draft(bytes) => {
                    let draft = matches!(event, ArkEvent::Draft(_));
                    pictures.push((if one_body { items.len() as u32 } else { slot }, bytes.clone()));
                    let base64 = base64_as::STANDARD.encode(bytes);
                    (if draft { "partial_image" } else { "partial_succeeded" }, format!("\"b64_json\":\"{base64}\""))
                }
                ArkEvent::Link => {
                    let url = format!("https://example.com/{number}.jpeg");
                    links.push(url.clone());
                    ("partial_succeeded", format!("\"url\":\"{url}\",\"size\":\"2x3\""))
                }
                ArkEvent::Failed => {
                    failed.push(if one_body { items.len() as u32 } else { slot });
                    ("partial_failed", "\"error\":{\"code\":\"InternalServiceError\",\"message\":\"错误\"}".to_owned())
                }
            };
            let key = if kind == "partial_image" { "partial_image_index" } else { "image_index" };
            if names {
                let _ = write!(out, "event: image_generation.{kind}{line_end}");
            }
            let _ = write!(
                out,
                "data: {{\"type\":\"image_generation.{kind}\",\"{key}\":{slot},{member}}}{line_end}{line_end}"
            );
            items.push(format!("{{{member}}}"));
        }
        if one_body {
            out = format!("{line_end}{{\"model\":\"m\",\"data\":[{}],\"usage\":{{\"generated_images\":1}}}}", items.join(" ,\n"));
        }
        let answer: Answer = same_at_any_cut(out.as_bytes(), &cuts, |pieces| read(ark(), pieces));
        prop_assert_eq!(&answer.pictures, &pictures);
        let told = format!("{:?}", answer.seen);
        for url in &links {
            prop_assert!(told.contains(url.as_str()));
        }
        for slot in &failed {
            let wanted = format!("ImageFailed {{ slot: {slot},");
            prop_assert!(told.contains(&wanted));
        }
        prop_assert_eq!(answer.verdict.is_ok(), !pictures.is_empty() || !links.is_empty());
    }
}

#[derive(Debug, Clone)]
enum ArkEvent {
    Picture(Vec<u8>),
    Draft(Vec<u8>),
    Link,
    Failed,
}

fn ark_event() -> impl Strategy<Value = ArkEvent> {
    prop_oneof![
        image_bytes().prop_map(ArkEvent::Picture),
        image_bytes().prop_map(ArkEvent::Draft),
        Just(ArkEvent::Link),
        Just(ArkEvent::Failed),
    ]
}

// ---- anything at all ----

const SOUP: &[&[u8]] = &[
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
    b"data: {\"choices\":[{\"delta\":{\"content\":\"",
    b"data: {\"choices\":[{\"index\":0,\"delta\":{\"images\":[{\"image_url\":{\"url\":\"",
    b"data: {\"choices\":[{\"delta\":{\"content\":[{\"text\":\"",
    b"data: {\"choices\":[{\"finish_reason\":\"",
    b"data: {\"type\":\"image_generation.partial_succeeded\",\"image_index\":1,\"b64_json\":\"",
    b"data: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"",
    b"data: {\"type\":\"image_generation.partial_failed\",\"error\":{\"code\":\"",
    b"data: {\"data\":[{\"url\":\"",
    b"{\"data\":[{\"b64_json\":\"",
    b"data: {\"error\":{\"message\":\"",
    b"data: {\"type\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b".partial_image\",\"b64_json\":\"",
    b"{\"error\":{\"message\":\"",
    b"[{\"error\":{\"code\":401,\"message\":\"",
    b"\"}}]}",
    b"\"}]}",
    b"\"}}]}\n\n",
    b"\"}]}}]}\n\n",
    b"\"}\n\n",
    b"\"}]\n\n",
    b"\"},\"index\":1}]}",
    b"![image](data:image/png;base64,",
    b"![a](",
    b"![",
    b"!",
    b"](",
    b"](https://example.com/a.png)",
    b"](https://example.com/",
    b" \"title\")",
    b">",
    b"<",
    b"data:image/jpeg;base64,",
    b"data: image/jpeg",
    b";base64,",
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC",
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AA",
    b"iVBORw0KGgo",
    b"AAAMBAQD3A0FDAAAAAElFTkSuQmCC",
    b"R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
    b"PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciPjwvc3ZnPg==",
    b"/9j/",
    b"=",
    b"==",
    b")",
    b"(",
    b"]",
    b"\\",
    b"\\n",
    b"\\/",
    b"\\\"",
    b"\\u",
    b"\\ud83d",
    b"\\ude00",
    b"\xED\xA0\xBD",
    b"\xED\xB8\x80",
    b"\xF0\x9F\x98\x80",
    b"\xE8\xAF\xA5",
    b"\xE8",
    b"\xFF",
    "额度已用尽".as_bytes(),
    "无可用渠道".as_bytes(),
    b"stop",
    b"SAFETY",
    b"\"",
    b"{",
    b"}",
    b"[",
    b",",
    b":",
    b"1",
    b"null",
    b"\n",
    b"\n\n",
    b"\r",
    b"\r\n",
    b"data: ",
    b"data",
    b"data: [DONE]\n\n",
    b"[DO",
    b"event: error\n",
    b"event: image_generation.partial_image\n",
    b"id: 1\n",
    b": ping\n\n",
    b"\xEF\xBB\xBF",
    b"\xEF\xBB",
    b"<html>",
    b" ",
    b"                                        ",
];

/// Bytes that can be read in the report of a failure.
#[derive(Clone)]
struct Soup(Vec<u8>);

impl std::fmt::Debug for Soup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn soup() -> impl Strategy<Value = Soup> {
    let bytes = prop_oneof![
        6 => vec(select(SOUP), 0..40).prop_map(|parts| parts.concat()),
        1 => (vec(select(SOUP), 0..6), 0..5_000_usize, vec(select(SOUP), 0..6)).prop_map(|(before, count, after)| {
            [before.concat(), b"A".repeat(count), after.concat()].concat()
        }),
        1 => vec(any::<u8>(), 0..400),
    ];
    bytes.prop_map(Soup)
}

fn tokens(pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<(String, String, Vec<u8>)>, String) {
    let mut reader = json::Reader::new(AnyDialect::KEYS);
    let mut tokens: Vec<(String, String, Vec<u8>)> = Vec::new();
    for mut piece in pieces {
        loop {
            match reader.next(&mut piece) {
                Ok(Some(token)) => {
                    let path = format!("{:?}", token.path);
                    match (token.value, tokens.last_mut()) {
                        (json::Value::Text(text), Some((of, kind, before))) if *of == path && kind == "Text" => {
                            before.extend_from_slice(text);
                        }
                        (json::Value::Text(text), _) => tokens.push((path, "Text".into(), text.to_owned())),
                        (value, _) => tokens.push((path, format!("{value:?}"), Vec::new())),
                    }
                }
                Ok(None) => break,
                Err(_) => return (tokens, "malformed".into()),
            }
        }
    }
    (tokens, format!("{} {}", reader.closers(), reader.is_between_documents()))
}

fn finds(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<(String, Vec<u8>)> {
    let mut reader = media::Reader::default();
    let mut finds: Vec<(String, Vec<u8>)> = Vec::new();
    let mut note = |found: Found<'_>| {
        let (kind, bytes) = match found {
            Found::Text(text) => ("Text".to_owned(), text),
            Found::Payload(payload) => ("Payload".to_owned(), payload),
            other => (format!("{other:?}"), &[][..]),
        };
        match finds.last_mut() {
            Some((last, before)) if *last == kind && !bytes.is_empty() => before.extend_from_slice(bytes),
            _ => finds.push((kind, bytes.to_owned())),
        }
    };
    for mut piece in pieces {
        while let Some(found) = reader.next(&mut piece) {
            note(found);
        }
        assert!(piece.is_empty(), "{} bytes were not read", piece.len());
    }
    if let Some(found) = reader.finish() {
        note(found);
    }
    finds
}

fn decoded(pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<u8>, bool) {
    let (mut payload, mut bytes) = (Payload::default(), Vec::new());
    for mut piece in pieces {
        while !piece.is_empty() {
            match payload.step(&mut piece) {
                Ok(more) => bytes.extend_from_slice(more),
                Err(_) => return (bytes, false),
            }
        }
    }
    match payload.finish() {
        Ok(more) => bytes.extend_from_slice(more),
        Err(_) => return (bytes, false),
    }
    (bytes, true)
}

fn joined(pieces: &mut dyn Iterator<Item = &[u8]>) -> (String, bool) {
    let (mut utf8, mut text) = (Utf8::default(), String::new());
    for piece in pieces {
        utf8.push(piece, |more| text.push_str(more));
    }
    utf8.finish(|more| text.push_str(more));
    (text, utf8.is_invalid())
}

fn referred(pieces: &mut dyn Iterator<Item = &[u8]>) -> (Vec<u8>, String) {
    let (mut reference, mut payload) = (Reference::default(), Vec::new());
    for piece in pieces {
        reference.push(piece).for_each(|more| payload.extend_from_slice(more));
    }
    let link = match reference.finish() {
        Referred::Link(url) => url.to_owned(),
        Referred::Payload(more) => {
            payload.extend_from_slice(more);
            String::new()
        }
        Referred::Nothing | Referred::Unusable => "none".to_owned(),
    };
    (payload, link)
}

fn events(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<(String, Vec<u8>)> {
    let mut decoder = sse::Decoder::new(100_000);
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    for mut piece in pieces {
        loop {
            let part = decoder.step(&mut piece);
            let (kind, data) = match part.expect("no cap is reached") {
                sse::Part::Idle => break,
                sse::Part::Data(data) => ("Data".to_owned(), data),
                sse::Part::Stray(text) => ("Stray".to_owned(), text),
                other => (format!("{other:?} {:?} {:?}", decoder.event_type(), decoder.last_event_id()), &[][..]),
            };
            match parts.last_mut() {
                Some((last, before)) if matches!(kind.as_str(), "Data" | "Stray") && *last == kind => {
                    before.extend_from_slice(data)
                }
                _ => parts.push((kind, data.to_owned())),
            }
        }
    }
    parts.push((
        format!("{:?} {} {}", decoder.retry_ms(), decoder.is_pending(), decoder.is_between_events()),
        Vec::new(),
    ));
    parts
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn anything_is_read_alike_at_any_cut(Soup(bytes) in soup(), cuts in cuts(), status in select(&[200_u16, 400, 401, 403, 503][..])) {
        same_at_any_cut(&bytes, &cuts, |pieces| read(chat(), pieces));
        same_at_any_cut(&bytes, &cuts, |pieces| read(ark(), pieces));
        same_at_any_cut(&bytes, &cuts, |pieces| read(ErrorObject::with_status(status), pieces));
        same_at_any_cut(&bytes, &cuts, tokens);
        same_at_any_cut(&bytes, &cuts, finds);
        same_at_any_cut(&bytes, &cuts, decoded);
        same_at_any_cut(&bytes, &cuts, joined);
        same_at_any_cut(&bytes, &cuts, referred);
        same_at_any_cut(&bytes, &cuts, events);
    }

    #[test]
    fn base64_survives_the_cutting(bytes in vec(any::<u8>(), 0..300), cuts in cuts()) {
        let mut text = Vec::new();
        media::encode(&bytes, &mut text);
        prop_assert_eq!(same_at_any_cut(&text, &cuts, decoded), (bytes, true));
    }

    #[test]
    fn text_survives_the_cutting(text in any::<String>(), cuts in cuts()) {
        prop_assert_eq!(same_at_any_cut(text.as_bytes(), &cuts, joined), (text, false));
    }
}
