//! Answers of the Responses API.

use base64::{Engine, engine::general_purpose as base64_as};
use proptest::collection::vec;
use proptest::prelude::*;

use super::known::{Known, Said, is_ambiguous, said};
use super::write::{Dice, Style, object, stream, string, style};
use super::{any_dialect, cases, cuts, same_at_any_cut};
use crate::support::answer::read;

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn responses_are_read_as_they_were_written(
        events in vec(said(), 0..7),
        style in style(),
        options in any::<(bool, bool, bool, bool)>(),
        cuts in cuts(),
    ) {
        let (written, known) = write(&events, &style, options);
        prop_assume!(!is_ambiguous(&known.chunks));
        known.check(&same_at_any_cut(written.as_bytes(), &cuts, |pieces| read(any_dialect(), pieces)))?;
    }
}

/// Writes an answer, and what it should be read as.
fn write(
    events: &[Said],
    style: &Style,
    (named, one_body, items_come, items_are_listed): (bool, bool, bool, bool),
) -> (String, Known) {
    let mut dice = Dice(style.seed);
    let (mut known, mut documents, mut items) = (Known::default(), Vec::new(), Vec::new());
    let items_come = items_come && !one_body;
    let mut listed = Known::default();
    let mut slot = 0;
    for said in events {
        if one_body && !matches!(said, Said::Picture(_) | Said::Link | Said::Empty) {
            continue;
        }
        let url = format!("https://example.com/{slot}");
        let mut is_new = true;
        let (kind, members) = match said {
            Said::Text(text) => {
                known.text.push_str(text);
                known.chunks.push(text.clone());
                (
                    "output_text.delta",
                    vec![format!("\"delta\":{}", string(text, style.escape)), "\"output_index\":1".to_owned()],
                )
            }
            Said::Aside(text) => {
                let kind = ["output_text.done", "reasoning_summary_text.delta"][dice.below(2) as usize];
                let name = kind.rsplit('.').next().unwrap().replace("done", "text");
                (kind, vec![format!("\"{name}\":{}", string(text, style.escape))])
            }
            // All that comes before an item is listed stands in one slot.
            Said::Draft(bytes) => {
                // Behind an item it may be a late preview of that one.
                known.pictures.push((if items_come { slot.max(1) - 1 } else { 0 }, bytes.clone(), true));
                let base64 = string(&base64_as::STANDARD.encode(bytes), style.escape);
                (
                    "image_generation_call.partial_image",
                    vec![format!("\"partial_image_b64\":{base64}"), "\"partial_image_index\":0".to_owned()],
                )
            }
            Said::Picture(_) | Said::Link | Said::Empty => {
                let into = if items_come { &mut known } else { &mut listed };
                let result = match said {
                    Said::Picture(bytes) => {
                        is_new = into.pictures.iter().all(|(_, other, draft)| other != bytes || *draft);
                        into.pictures.push((slot, bytes.clone(), false));
                        string(&base64_as::STANDARD.encode(bytes), style.escape)
                    }
                    Said::Link => {
                        into.links.push((slot, url.clone(), false));
                        string(&url, style.escape)
                    }
                    _ => ["null", "\"\""][dice.below(2) as usize].to_owned(),
                };
                slot += u32::from(is_new && !matches!(said, Said::Empty));
                let status = ["completed", "generating"][dice.below(2) as usize];
                let members = vec![
                    format!("\"result\":{result}"),
                    format!("\"status\":\"{status}\""),
                    "\"type\":\"image_generation_call\"".to_owned(),
                ];
                let item = object(&mut dice, members);
                items.push(item.clone());
                if !items_come {
                    continue;
                }
                ("output_item.done", vec![format!("\"item\":{item}"), "\"output_index\":0".to_owned()])
            }
            Said::DraftLink | Said::Failed => {
                ("in_progress", vec!["\"response\":{\"output\":[],\"error\":null}".to_owned()])
            }
        };
        documents.push((kind.to_owned(), members));
    }
    if !items_come || items_are_listed {
        let listed = vec![format!("\"output\":[{}]", items.join(" ,\n")), "\"error\":null".to_owned()];
        let response = object(&mut dice, listed);
        documents.push((
            "completed".to_owned(),
            vec![format!("\"response\":{response}"), "\"sequence_number\":1".to_owned()],
        ));
    }
    known.pictures.append(&mut listed.pictures);
    known.links.append(&mut listed.links);
    let out = if one_body {
        let body = vec![
            format!("\"output\":[{}]", items.join(",")),
            "\"object\":\"response\"".to_owned(),
            "\"error\":null".to_owned(),
        ];
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
        stream(&mut dice, &written, style)
    };
    (out, known)
}
