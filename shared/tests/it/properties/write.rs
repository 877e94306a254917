//! How answers are written: JSON and event streams in many layouts.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::sample::select;

/// The layout of an answer.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) seed: u64,
    pub(super) escape: Escape,
    pub(super) line_end: &'static str,
    pub(super) bom: bool,
    pub(super) delta_units: usize,
    pub(super) one_in_blank_missing: Option<u64>,
    pub(super) one_in_multi_line: Option<u64>,
    pub(super) comments: bool,
    pub(super) done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Escape {
    Needed,
    Slash,
    NonAscii,
    Plus,
}

pub(super) fn style() -> impl Strategy<Value = Style> {
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

/// Makes the small decisions about a layout.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    pub(super) fn one_in(&mut self, sides: Option<u64>) -> bool {
        sides.is_some_and(|sides| self.below(sides) == 0)
    }
}

/// The inside of a JSON string.
pub(super) fn escape(units: &[u16], how: Escape) -> String {
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

/// A string of JSON.
pub(super) fn string(text: &str, how: Escape) -> String {
    format!("\"{}\"", escape(&text.encode_utf16().collect::<Vec<_>>(), how))
}

/// An object of these members, in either order.
pub(super) fn object(dice: &mut Dice, mut members: Vec<String>) -> String {
    if dice.below(2) == 0 {
        members.reverse();
    }
    format!("{{{}}}", members.join([",", " ,", ",\n"][dice.below(3) as usize]))
}

/// Documents as events, with names or without.
pub(super) fn stream(dice: &mut Dice, documents: &[(String, String)], style: &Style) -> String {
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
