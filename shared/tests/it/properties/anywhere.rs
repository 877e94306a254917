//! A picture at any path of any document.

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use shared::image_url::LocalLinks;
use shared::outcome::ImageSource;
use shared::upstream::{AnyDialect, Failure};

use super::known::image_bytes;
use super::write::{Dice, Escape, string};
use super::{any_dialect, cases, cuts, same_at_any_cut};
use crate::support::answer::{Answer, read};
use crate::support::pictures::{BLUE, PNG};

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_whole_picture_is_found(place in place(), form in 0..FORMS, bytes in image_bytes(), cuts in cuts()) {
        let answer = place.read(&written(&bytes, form), &cuts);
        let success = answer.verdict.as_ref().map_err(|failure| TestCaseError::fail(format!("{failure}")))?;
        prop_assert_eq!(success.images.len(), 1);
        let is_it = |(_, other): &(u32, Vec<u8>)| *other == bytes;
        prop_assert!(answer.pictures.iter().all(is_it) && !answer.pictures.is_empty());
        prop_assert!(matches!(&success.images[0].source, ImageSource::Inline(image) if image.bytes == bytes.len() as u64));
    }

    #[test]
    fn a_broken_picture_is_not(place in place(), form in 0..FORMS, bytes in image_bytes(), cut in 1..30_usize, cuts in cuts()) {
        let cut = cut.min(bytes.len() - 4);
        let answer = place.read(&written(&bytes[..bytes.len() - cut], form), &cuts);
        prop_assert!(answer.pictures.is_empty());
        prop_assert!(matches!(answer.verdict, Err(Failure::Truncated | Failure::NoImage)), "{:?}", answer.verdict);
    }
}

const FORMS: usize = 7;

/// The string of a picture.
fn written(bytes: &[u8], form: usize) -> String {
    let base64 = STANDARD.encode(bytes);
    let head = "data:image/png;base64,";
    match form {
        // Short base64 needs a head.
        0 if base64.len() >= 64 => base64,
        1 if base64.len() >= 64 => format!(" \n{base64}\n"),
        2 => format!("data:IMAGE/jpeg;charset=utf-8;BASE64,{base64}"),
        3 => format!("{head}{head}{base64}"),
        4 => format!("data:{head} {base64}"),
        5 if base64.len() >= 64 => format!("data:application/octet-stream;base64,{base64}"),
        _ => format!("{head}{base64}"),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Member(&'static str),
    Item(u64),
}

/// Where a picture stands in an answer.
#[derive(Debug, Clone)]
struct Place {
    steps: Vec<Step>,
    shape: Shape,
    escape: Escape,
    seed: u64,
    ark: bool,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Body,
    List,
    Event,
    /// Among other events.
    Events,
    EventsWithoutData,
}

const SHAPES: &[Shape] = &[Shape::Body, Shape::List, Shape::Event, Shape::Events, Shape::EventsWithoutData];

const NAMES: &[&str] = &[
    "a",
    "new_member",
    "multi_mod_content",
    "inline_data",
    "x-y",
    "图",
    "payload",
    "",
    "data",
    "images",
    "image",
    "result",
    "output",
    "content",
    "message",
    "delta",
    "choices",
    "candidates",
    "parts",
    "item",
    "response",
    "url",
    "b64_json",
    "image_url",
    "text",
    "usage",
    "source",
    "inlineData",
    "preview",
    "partial_image_b64",
    "thumbnail",
    "event",
];

fn place() -> impl Strategy<Value = Place> {
    let step = prop_oneof![3 => select(NAMES).prop_map(Step::Member), 1 => (0..4_u64).prop_map(Step::Item)];
    let escape = select(&[Escape::Needed, Escape::Slash, Escape::Plus][..]);
    (vec(step, 0..8), select(NAMES), select(SHAPES), escape, any::<u64>(), any::<bool>()).prop_map(
        |(mut steps, first, shape, escape, seed, ark)| {
            steps.insert(0, Step::Member(first));
            Place { steps, shape, escape, seed, ark }
        },
    )
}

impl Place {
    fn read(&self, picture: &str, cuts: &[prop::sample::Index]) -> Answer {
        let text = self.answer(picture);
        let dialect = || if self.ark { AnyDialect::ark(LocalLinks::Refused) } else { any_dialect() };
        same_at_any_cut(text.as_bytes(), cuts, |pieces| read(dialect(), pieces))
    }

    fn answer(&self, picture: &str) -> String {
        let dice = &mut Dice(self.seed);
        let document = self.document(picture, dice);
        let other = |dice: &mut Dice| format!("data: {{{}}}\n\n", decoys(dice, 3).join(","));
        match self.shape {
            Shape::Body => document,
            Shape::List => format!("[{{{}}},\n{document}]", decoys(dice, 2).join(",")),
            Shape::Event => format!("data: {document}\n\ndata: [DONE]\n\n"),
            Shape::Events => format!(": PING\n\n{}data: data: {document}\n\n{}", other(dice), other(dice)),
            Shape::EventsWithoutData => format!("{}{document}\n\ndata: [DONE]\n\n", other(dice)),
        }
    }

    fn document(&self, picture: &str, dice: &mut Dice) -> String {
        let mut value = string(picture, self.escape);
        for step in self.steps.iter().rev() {
            value = match step {
                Step::Member(name) => {
                    let mut members = decoys(dice, 2);
                    members.push(format!("{}:{value}", string(name, Escape::Needed)));
                    members.extend(decoys(dice, 1));
                    format!("{{{}}}", members.join(","))
                }
                Step::Item(before) => {
                    let mut items = vec!["null", "1", "\"\"", "{}"][..*before as usize].to_vec();
                    items.push(&value);
                    format!("[{}]", items.join(" , "))
                }
            };
        }
        value
    }
}

/// Up to `most` members that contain no picture, or one that does not count.
fn decoys(dice: &mut Dice, most: u64) -> Vec<String> {
    let decoys = [
        format!("\"reasoning_content\":\"data:image/png;base64,{BLUE}\""),
        format!("\"thinking\":{{\"image\":[\"{BLUE}\"]}}"),
        format!("\"thoughtSignature\":\"{BLUE}\""),
        format!("\"last_error\":{{\"input\":\"data:image/png;base64,{BLUE}\"}}"),
        format!("\"step\":{{\"type\":\"reasoning\",\"image\":\"{BLUE}\"}}"),
        format!("\"broken\":\"{}\"", &PNG[..PNG.len() - 12]),
        format!("\"also_broken\":\"data:image/png;base64,{}\"", &PNG[..40]),
        format!("\"short\":\"{}\"", &PNG[..60]),
        format!("\"note\":\"Here it is: data:image/png;base64,{BLUE}\""),
        format!("\"word\":\"a{BLUE}\""),
        "\"icon\":\"data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciPjwvc3ZnPg==\""
            .to_owned(),
        "\"link\":\"https://example.com/a.png\"".to_owned(),
        "\"error\":null".to_owned(),
        "\"count\":12.5".to_owned(),
        "\"nothing\":[]".to_owned(),
    ];
    (0..dice.below(most + 1)).map(|_| decoys[dice.below(decoys.len() as u64) as usize].clone()).collect()
}
