//! What holds for every answer: pictures and text come out as they were put in, nothing panics, and the cutting of the
//! bytes makes no difference.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose as base64_as};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use shared::image_url::LocalLinks;
use shared::media::{MarkdownPart, Payload, Reference, Referred, Utf8};
use shared::upstream::AnyDialect;
use shared::{json, media, sse};

use crate::support::answer::{Answer, Seen, read};
use crate::support::pictures;

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
                content.push_str("\n\n");
                written.text.push_str("\n\n");
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
    let characters: Vec<char> = content.chars().collect();
    let deltas_of = characters.chunks(delta_units).map(|part| part.iter().collect::<String>().encode_utf16().collect());
    deltas.extend(deltas_of.map(Delta::Content));
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

/// What a part of an answer says that is no chat: the same for each of the other forms.
#[derive(Debug, Clone)]
enum Said {
    Text(String),
    /// Text that is not meant for the user.
    Aside(String),
    Picture(Vec<u8>),
    Draft(Vec<u8>),
    Link,
    DraftLink,
    /// A picture that could not be made.
    Failed,
    /// Nothing, in one spelling or another.
    Empty,
}

fn said() -> impl Strategy<Value = Said> {
    let text = || vec(select(TEXTS), 0..5).prop_map(|texts| texts.concat());
    prop_oneof![
        3 => text().prop_map(Said::Text),
        2 => text().prop_map(Said::Aside),
        3 => image_bytes().prop_map(Said::Picture),
        2 => image_bytes().prop_map(Said::Draft),
        1 => Just(Said::Link),
        1 => Just(Said::DraftLink),
        1 => Just(Said::Failed),
        1 => Just(Said::Empty),
    ]
}

/// What an answer should come to.
#[derive(Debug, Default)]
struct Known {
    text: String,
    /// Slot, bytes, and whether it is a draft.
    pictures: Vec<(u32, Vec<u8>, bool)>,
    links: Vec<(u32, String, bool)>,
    failed: Vec<u32>,
}

impl Known {
    fn check(&self, answer: &Answer) -> Result<(), TestCaseError> {
        prop_assert_eq!(answer.text(0), self.text.as_str());
        let pictures: Vec<_> = answer.pictures.iter().zip(&answer.drafts).collect();
        prop_assert_eq!(pictures.len(), self.pictures.len());
        for (((slot, bytes), draft), (of, known, is_draft)) in pictures.into_iter().zip(&self.pictures) {
            prop_assert_eq!((slot, draft), (of, is_draft));
            prop_assert!(bytes == known, "other bytes");
        }
        let told = |start: &str| {
            let told = answer.seen.iter().filter_map(|seen| match seen {
                Seen::Other(update) if update.starts_with(start) => Some(update.clone()),
                _ => None,
            });
            told.collect::<Vec<_>>()
        };
        let links = told("ImageLinked");
        prop_assert_eq!(links.len(), self.links.len());
        for (link, (slot, url, draft)) in links.iter().zip(&self.links) {
            prop_assert!(link.contains(&format!("slot: {slot}, url: \"{url}\"")), "{link} is not {url} in {slot}");
            prop_assert!(link.contains(&format!("draft: {draft}")), "{link}");
        }
        let failed = told("ImageFailed");
        prop_assert_eq!(failed.len(), self.failed.len());
        for (failed, slot) in failed.iter().zip(&self.failed) {
            prop_assert!(failed.contains(&format!("slot: {slot}, ")), "{failed} is not of {slot}");
        }
        prop_assert!(told("Failed").is_empty() && told("ImageRejected").is_empty());
        prop_assert_eq!(answer.verdict.is_ok(), !self.pictures.is_empty() || !self.links.is_empty());
        // A draft is final only where nothing else is; the same bytes are one picture, in whichever slot they came first.
        for image in answer.verdict.iter().flat_map(|success| &success.images) {
            let is_once = |bytes: &[u8]| self.pictures.iter().filter(|(_, known, _)| known == bytes).count() == 1;
            let others =
                self.pictures.iter().filter(|(_, bytes, _)| is_once(bytes)).map(|(slot, _, draft)| (slot, draft));
            let mut others = others.chain(self.links.iter().map(|(slot, _, draft)| (slot, draft)));
            prop_assert!(!image.draft || others.all(|(slot, draft)| *slot != image.slot || *draft));
        }
        Ok(())
    }
}

/// A string of JSON.
fn string(text: &str, how: Escape) -> String {
    format!("\"{}\"", escape(&text.encode_utf16().collect::<Vec<_>>(), how))
}

/// An object of these members, in either order.
fn object(dice: &mut Dice, mut members: Vec<String>) -> String {
    if dice.below(2) == 0 {
        members.reverse();
    }
    format!("{{{}}}", members.join([",", " ,", ",\n"][dice.below(3) as usize]))
}

/// Documents as events, with names or without.
fn stream(dice: &mut Dice, documents: &[(String, String)], style: &Style) -> String {
    let end = style.line_end;
    let mut out = String::new();
    for (kind, document) in documents {
        if style.comments {
            out.push_str([": PING", "id: 1", "stray"][dice.below(3) as usize]);
            out.push_str(end);
        }
        if !kind.is_empty() {
            let _ = write!(out, "event: {kind}{end}");
        }
        // Line feeds between the tokens: a document over several lines, each with `data:` or none.
        let bare = dice.one_in(style.one_in_multi_line);
        let between = if bare { end.to_owned() } else { format!("{end}data: ") };
        let _ = write!(out, "data: {}{end}{end}", document.replace('\n', &between));
    }
    if style.done {
        let _ = write!(out, "data: [DONE]{end}{end}");
    }
    out
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn gemini_answers_are_read_as_they_were_written(
        events in vec(vec(said(), 0..4), 0..4),
        style in style(),
        (snake, wrapped, listed) in any::<(bool, bool, bool)>(),
        cuts in cuts(),
    ) {
        let mut dice = Dice(style.seed);
        let (mut known, mut documents) = (Known::default(), Vec::new());
        let [inline, mime, file, uri] = match snake {
            false => ["inlineData", "mimeType", "fileData", "fileUri"],
            true => ["inline_data", "mime_type", "file_data", "file_uri"],
        };
        for (number, event) in events.iter().enumerate() {
            let mut parts = Vec::new();
            for said in event {
                let is_thought = matches!(said, Said::Aside(_) | Said::Draft(_) | Said::DraftLink);
                let mut members = vec![match said {
                    Said::Text(text) => {
                        known.text.push_str(text);
                        format!("\"text\":{}", string(text, style.escape))
                    }
                    Said::Aside(text) => format!("\"text\":{}", string(text, style.escape)),
                    Said::Picture(bytes) | Said::Draft(bytes) => {
                        known.pictures.push((0, bytes.clone(), is_thought));
                        let base64 = string(&base64_as::STANDARD.encode(bytes), style.escape);
                        let members = vec![format!("\"{mime}\":\"image/png\""), format!("\"data\":{base64}")];
                        format!("\"{inline}\":{}", object(&mut dice, members))
                    }
                    Said::Link | Said::DraftLink => {
                        let url = format!("https://example.com/{}", known.links.len());
                        known.links.push((0, url.clone(), is_thought));
                        let members = vec![format!("\"{mime}\":\"image/png\""), format!("\"{uri}\":\"{url}\"")];
                        format!("\"{file}\":{}", object(&mut dice, members))
                    }
                    Said::Failed | Said::Empty => {
                        ["\"text\":null", "\"inlineData\":null", "\"fileData\":{}", "\"new\":[1]"][dice.below(4) as usize].to_owned()
                    }
                }];
                match (is_thought, dice.below(3)) {
                    (true, _) => members.push("\"thought\":true".to_owned()),
                    (false, 0) => members.push("\"thought\":false".to_owned()),
                    (false, 1) => members.push("\"thoughtSignature\":\"AAAA\"".to_owned()),
                    _ => {}
                }
                parts.push(object(&mut dice, members));
            }
            let content = vec![format!("\"parts\":[{}]", parts.join(",\n")), "\"role\":\"model\"".to_owned()];
            let content = object(&mut dice, content);
            let mut candidate = vec![format!("\"content\":{content}"), "\"index\":0".to_owned()];
            if number + 1 == events.len() {
                candidate.push("\"finishReason\":\"STOP\"".to_owned());
            }
            let candidate = object(&mut dice, candidate);
            let document = vec![format!("\"candidates\":[{candidate}]"), "\"usageMetadata\":{\"totalTokenCount\":1}".to_owned()];
            let document = object(&mut dice, document);
            documents.push((String::new(), if wrapped { format!("{{\"response\":{document}}}") } else { document }));
        }
        let out = match listed {
            false => stream(&mut dice, &documents, &style),
            true => format!("[{}]", documents.into_iter().map(|(_, document)| document).collect::<Vec<_>>().join("\r\n,")),
        };
        known.check(&same_at_any_cut(out.as_bytes(), &cuts, |pieces| read(chat(), pieces)))?;
    }

    #[test]
    fn images_answers_are_read_as_they_were_written(
        events in vec(said(), 0..7),
        style in style(),
        (edit, named, one_body) in any::<(bool, bool, bool)>(),
        cuts in cuts(),
    ) {
        let mut dice = Dice(style.seed);
        let (mut known, mut documents, mut items) = (Known::default(), Vec::new(), Vec::new());
        let mut slot = 0;
        for said in &events {
            let is_draft = matches!(said, Said::Draft(_) | Said::DraftLink);
            if one_body && (is_draft || matches!(said, Said::Text(_) | Said::Aside(_))) {
                continue;
            }
            let mut is_bare = false;
            let (kind, mut members) = match said {
                Said::Text(text) => {
                    known.text.push_str(text);
                    let phase = [",\"phase\":\"content\"", ",\"phase\":null", ""][dice.below(3) as usize];
                    ("text_chunk", vec![format!("\"text\":{}{phase}", string(text, style.escape))])
                }
                Said::Aside(text) => {
                    let phase = ["reasoning", "draft"][dice.below(2) as usize];
                    ("text_chunk", vec![format!("\"text\":{}", string(text, style.escape)), format!("\"phase\":\"{phase}\"")])
                }
                Said::Picture(bytes) | Said::Draft(bytes) => {
                    known.pictures.push((slot, bytes.clone(), is_draft));
                    let mut base64 = base64_as::STANDARD.encode(bytes);
                    let name = ["b64_json", "url"][dice.below(2) as usize];
                    if name == "url" {
                        base64.insert_str(0, "data:image/webp;base64,");
                    }
                    let value = string(&base64, style.escape);
                    is_bare = one_body && dice.below(3) == 0;
                    let kind = if is_draft { "partial_image" } else { "completed" };
                    (kind, vec![if is_bare { value } else { format!("\"{name}\":{value}") }, "\"partial_image_index\":3".to_owned()])
                }
                Said::Link | Said::DraftLink => {
                    let url = format!("https://example.com/{}", known.links.len());
                    known.links.push((slot, url.clone(), is_draft));
                    let kind = if is_draft { "partial_image" } else { "completed" };
                    (kind, vec![format!("\"url\":{}", string(&url, style.escape)), "\"size\":\"2x3\"".to_owned()])
                }
                Said::Failed => {
                    known.failed.push(slot);
                    ("failed", vec!["\"error\":{\"code\":\"server_error\",\"message\":\"错误\"}".to_owned()])
                }
                Said::Empty => ("generating", vec!["\"url\":null".to_owned(), "\"b64_json\":\"\"".to_owned(), "\"error\":{\"code\":0}".to_owned()]),
            };
            if one_body || matches!(kind, "completed" | "failed") {
                slot += 1;
            }
            if is_bare {
                items.push(members.swap_remove(0));
                continue;
            }
            if one_body {
                items.push(object(&mut dice, members));
                continue;
            }
            let kind = match kind {
                "text_chunk" => format!("image_generation.{kind}"),
                _ => format!("image_{}.{kind}", if edit { "edit" } else { "generation" }),
            };
            members.push("\"created\":1".to_owned());
            // The name stands in the document or before it.
            if !named || dice.below(2) == 0 {
                members.push(format!("\"type\":\"{kind}\""));
            }
            documents.push((if named { kind } else { String::new() }, object(&mut dice, members)));
        }
        let out = match one_body {
            false => stream(&mut dice, &documents, &style),
            true => {
                let name = ["data", "images"][dice.below(2) as usize];
                let members = vec![format!("\"{name}\":[{}]", items.join(" ,\n")), "\"created\":1".to_owned()];
                format!("{}{}", style.line_end, object(&mut dice, members))
            }
        };
        known.check(&same_at_any_cut(out.as_bytes(), &cuts, |pieces| read(chat(), pieces)))?;
    }

    #[test]
    fn responses_are_read_as_they_were_written(
        events in vec(said(), 0..7),
        style in style(),
        (named, one_body, items_come, items_are_listed) in any::<(bool, bool, bool, bool)>(),
        cuts in cuts(),
    ) {
        let mut dice = Dice(style.seed);
        let (mut known, mut documents, mut items) = (Known::default(), Vec::new(), Vec::new());
        let items_come = items_come && !one_body;
        let mut listed = Known::default();
        let mut slot = 0;
        for said in &events {
            if one_body && !matches!(said, Said::Picture(_) | Said::Link | Said::Empty) {
                continue;
            }
            let url = format!("https://example.com/{slot}");
            let (kind, members) = match said {
                Said::Text(text) => {
                    known.text.push_str(text);
                    ("output_text.delta", vec![format!("\"delta\":{}", string(text, style.escape)), "\"output_index\":1".to_owned()])
                }
                Said::Aside(text) => {
                    let kind = ["output_text.done", "reasoning_summary_text.delta"][dice.below(2) as usize];
                    let name = kind.rsplit('.').next().unwrap().replace("done", "text");
                    (kind, vec![format!("\"{name}\":{}", string(text, style.escape))])
                }
                // All that comes before an item is listed stands in one slot.
                Said::Draft(bytes) => {
                    known.pictures.push((if items_come { slot } else { 0 }, bytes.clone(), true));
                    let base64 = string(&base64_as::STANDARD.encode(bytes), style.escape);
                    ("image_generation_call.partial_image", vec![format!("\"partial_image_b64\":{base64}"), "\"partial_image_index\":0".to_owned()])
                }
                Said::Picture(_) | Said::Link | Said::Empty => {
                    let into = if items_come { &mut known } else { &mut listed };
                    let result = match said {
                        Said::Picture(bytes) => {
                            into.pictures.push((slot, bytes.clone(), false));
                            string(&base64_as::STANDARD.encode(bytes), style.escape)
                        }
                        Said::Link => {
                            into.links.push((slot, url.clone(), false));
                            string(&url, style.escape)
                        }
                        _ => ["null", "\"\""][dice.below(2) as usize].to_owned(),
                    };
                    slot += u32::from(!matches!(said, Said::Empty));
                    let status = ["completed", "generating"][dice.below(2) as usize];
                    let members = vec![format!("\"result\":{result}"), format!("\"status\":\"{status}\""), "\"type\":\"image_generation_call\"".to_owned()];
                    let item = object(&mut dice, members);
                    items.push(item.clone());
                    if !items_come {
                        continue;
                    }
                    ("output_item.done", vec![format!("\"item\":{item}"), "\"output_index\":0".to_owned()])
                }
                Said::DraftLink | Said::Failed => ("in_progress", vec!["\"response\":{\"output\":[],\"error\":null}".to_owned()]),
            };
            documents.push((kind.to_owned(), members));
        }
        if !items_come || items_are_listed {
            let listed = vec![format!("\"output\":[{}]", items.join(" ,\n")), "\"error\":null".to_owned()];
            let response = object(&mut dice, listed);
            documents.push(("completed".to_owned(), vec![format!("\"response\":{response}"), "\"sequence_number\":1".to_owned()]));
        }
        known.pictures.append(&mut listed.pictures);
        known.links.append(&mut listed.links);
        let out = if one_body {
            let body = vec![format!("\"output\":[{}]", items.join(",")), "\"object\":\"response\"".to_owned(), "\"error\":null".to_owned()];
            format!("{}{}", style.line_end, object(&mut dice, body))
        } else {
            let mut written = Vec::new();
            for (kind, mut members) in documents {
                let kind = format!("response.{kind}");
                if !named || dice.below(2) == 0 {
                    members.push(format!("\"type\":\"{kind}\""));
                }
                written.push((if named { kind } else { String::new() }, object(&mut dice, members)));
            }
            stream(&mut dice, &written, &style)
        };
        known.check(&same_at_any_cut(out.as_bytes(), &cuts, |pieces| read(chat(), pieces)))?;
    }
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
    b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{\"data\":\"",
    b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"",
    b"data: {\"response\":{\"candidates\":[{\"content\":{\"parts\":[{\"fileData\":{\"fileUri\":\"",
    b"[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"",
    b"\"},\"thought\":true}]}}]}",
    b"\",\"thought\":true},{\"text\":\"",
    b"data: {\"promptFeedback\":{\"blockReason\":\"",
    b"data: {\"type\":\"image_generation.text_chunk\",\"text\":\"",
    b"data: {\"type\":\"response.output_text.delta\",\"delta\":\"",
    b"data: {\"type\":\"response.output_item.done\",\"item\":{\"result\":\"",
    b"data: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"result\":\"",
    b"data: {\"type\":\"response.incomplete\",\"response\":{\"incomplete_details\":{\"reason\":\"",
    b"data: {\"partial_image_b64\":\"",
    b"{\"output\":[{\"result\":\"",
    b"\",\"url\":\"",
    b"\n{\n  \"error\": {\n",
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
    let mut reader = json::Tokenizer::new([
        "choices",
        "index",
        "delta",
        "content",
        "images",
        "image_url",
        "url",
        "error",
        "data",
        "b64_json",
    ]);
    let mut tokens: Vec<(String, String, Vec<u8>)> = Vec::new();
    for mut piece in pieces {
        loop {
            match reader.next(&mut piece) {
                Ok(Some(token)) => {
                    let path = format!("{:?}", token.path);
                    match (token.value, tokens.last_mut()) {
                        (json::TokenValue::Text(text), Some((of, kind, before))) if *of == path && kind == "Text" => {
                            before.extend_from_slice(text);
                        }
                        (json::TokenValue::Text(text), _) => tokens.push((path, "Text".into(), text.to_owned())),
                        (value, _) => tokens.push((path, format!("{value:?}"), Vec::new())),
                    }
                }
                Ok(None) => break,
                Err(_) => return (tokens, "malformed".into()),
            }
        }
    }
    (tokens, reader.is_between_documents().to_string())
}

fn finds(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<(String, Vec<u8>)> {
    let mut reader = media::MarkdownImages::default();
    let mut finds: Vec<(String, Vec<u8>)> = Vec::new();
    let mut note = |found: MarkdownPart<'_>| {
        let (kind, bytes) = match found {
            MarkdownPart::Text(text) => ("Text".to_owned(), text),
            MarkdownPart::Payload(payload) => ("Payload".to_owned(), payload),
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
                sse::DecoderPart::Idle => break,
                sse::DecoderPart::Data(data) => ("Data".to_owned(), data),
                sse::DecoderPart::Stray(text) => ("Stray".to_owned(), text),
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
    parts.push((format!("{:?} {}", decoder.retry_ms(), decoder.is_pending()), Vec::new()));
    parts
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn anything_is_read_alike_at_any_cut(Soup(bytes) in soup(), cuts in cuts(), status in select(&[200_u16, 400, 401, 403, 503][..])) {
        same_at_any_cut(&bytes, &cuts, |pieces| read(chat(), pieces));
        same_at_any_cut(&bytes, &cuts, |pieces| read(ark(), pieces));
        same_at_any_cut(&bytes, &cuts, |pieces| read(AnyDialect::refusal(status), pieces));
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
