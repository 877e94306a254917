//! Answers in chat chunks.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose as base64_as};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::known::{TEXTS, image_bytes, is_ambiguous};
use super::write::{Dice, Escape, Style, escape, style};
use super::{any_dialect, cases, cuts, same_at_any_cut};
use crate::support::answer::read;

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
        for (_, choice) in &choices {
            let chunks: Vec<String> = choice.deltas.iter().map(|delta| match delta {
                Delta::Content(units) => String::from_utf16_lossy(units),
                Delta::Member(_) => String::new(),
            }).collect();
            prop_assume!(!is_ambiguous(&chunks));
        }
        let bytes = write_answer(&mut choices, &style);
        let answer = same_at_any_cut(&bytes, &cuts, |pieces| read(any_dialect(), pieces));
        for (slot, choice) in &choices {
            prop_assert_eq!(&answer.text(*slot), &choice.text);
            let pictures: Vec<&Vec<u8>> = answer.pictures.iter().filter(|(of, _)| of == slot).map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(pictures, choice.pictures.iter().collect::<Vec<_>>());
        }
        prop_assert_eq!(answer.verdict.is_ok(), choices.iter().any(|(_, choice)| !choice.pictures.is_empty()));
    }
}

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
    /// White space after every group of symbols.
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

/// A choice: its deltas, and its expected text and pictures.
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
