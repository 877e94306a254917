//! Answers of ARK.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose as base64_as};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use shared::image_url::LocalLinks;
use shared::upstream::AnyDialect;

use super::known::image_bytes;
use super::{cases, cuts, same_at_any_cut};
use crate::support::answer::{Answer, read};

proptest! {
    #![proptest_config(cases(400))]

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
        let (mut whole, mut next, mut finals) = (Vec::new(), 0, Vec::new());
        for (number, (index, event)) in (0..).zip(&events) {
            let is_draft = matches!(event, ArkEvent::Draft(_));
            // A preview belongs to no picture behind the next one, and an index of a whole picture is replaced.
            let slot = match is_draft {
                true => (*index).min(next),
                false if whole.contains(index) => (next..).find(|slot| !whole.contains(slot)).unwrap(),
                false => *index,
            };
            let is_new = match event {
                ArkEvent::Picture(bytes) if finals.contains(bytes) => false,
                ArkEvent::Picture(bytes) => {
                    finals.push(bytes.clone());
                    true
                }
                _ => !is_draft,
            };
            if is_new {
                next = slot + 1;
            }
            if is_new && !matches!(event, ArkEvent::Failed) {
                whole.push(slot);
            }
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
                "data: {{\"type\":\"image_generation.{kind}\",\"{key}\":{index},{member}}}{line_end}{line_end}"
            );
            items.push(format!("{{{member}}}"));
        }
        if one_body {
            out = format!("{line_end}{{\"model\":\"m\",\"data\":[{}],\"usage\":{{\"generated_images\":1}}}}", items.join(" ,\n"));
        }
        let answer: Answer = same_at_any_cut(out.as_bytes(), &cuts, |pieces| read(AnyDialect::ark(LocalLinks::Refused), pieces));
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
