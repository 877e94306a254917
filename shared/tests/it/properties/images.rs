//! Answers of the images APIs.

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
    fn images_answers_are_read_as_they_were_written(
        events in vec(said(), 0..7),
        style in style(),
        options in any::<(bool, bool, bool)>(),
        cuts in cuts(),
    ) {
        let (written, known) = write(&events, &style, options);
        prop_assume!(!is_ambiguous(&known.chunks));
        known.check(&same_at_any_cut(written.as_bytes(), &cuts, |pieces| read(any_dialect(), pieces)))?;
    }
}

/// Writes an answer, and what it should be read as.
fn write(events: &[Said], style: &Style, (edit, named, one_body): (bool, bool, bool)) -> (String, Known) {
    let mut dice = Dice(style.seed);
    let (mut known, mut documents, mut items) = (Known::default(), Vec::new(), Vec::new());
    let (mut slot, mut whole) = (0, Vec::new());
    for said in events {
        let is_draft = matches!(said, Said::Draft(_) | Said::DraftLink);
        if one_body && (is_draft || matches!(said, Said::Text(_) | Said::Aside(_))) {
            continue;
        }
        let (mut is_bare, mut is_new) = (false, true);
        let is_late = is_draft && slot > 0 && whole.contains(&(slot - 1));
        let (kind, mut members) = match said {
            Said::Text(text) => {
                known.text.push_str(text);
                known.chunks.push(text.clone());
                let phase = [",\"phase\":\"content\"", ",\"phase\":null", ""][dice.below(3) as usize];
                ("text_chunk", vec![format!("\"text\":{}{phase}", string(text, style.escape))])
            }
            Said::Aside(text) => {
                let phase = ["reasoning", "draft"][dice.below(2) as usize];
                (
                    "text_chunk",
                    vec![format!("\"text\":{}", string(text, style.escape)), format!("\"phase\":\"{phase}\"")],
                )
            }
            Said::Picture(bytes) | Said::Draft(bytes) => {
                is_new = is_draft || known.pictures.iter().all(|(_, other, draft)| other != bytes || *draft);
                known.pictures.push((slot - u32::from(is_late), bytes.clone(), is_draft));
                let mut base64 = base64_as::STANDARD.encode(bytes);
                let name = ["b64_json", "url"][dice.below(2) as usize];
                if name == "url" {
                    base64.insert_str(0, "data:image/webp;base64,");
                }
                let value = string(&base64, style.escape);
                is_bare = one_body && dice.below(3) == 0;
                let kind = if is_draft { "partial_image" } else { "completed" };
                (
                    kind,
                    vec![
                        if is_bare { value } else { format!("\"{name}\":{value}") },
                        "\"partial_image_index\":3".to_owned(),
                    ],
                )
            }
            Said::Link | Said::DraftLink => {
                let url = format!("https://example.com/{}", known.links.len());
                known.links.push((slot - u32::from(is_late), url.clone(), is_draft));
                let kind = if is_draft { "partial_image" } else { "completed" };
                (kind, vec![format!("\"url\":{}", string(&url, style.escape)), "\"size\":\"2x3\"".to_owned()])
            }
            Said::Failed => {
                known.failed.push(slot);
                ("failed", vec!["\"error\":{\"code\":\"server_error\",\"message\":\"错误\"}".to_owned()])
            }
            Said::Empty => (
                "generating",
                vec!["\"url\":null".to_owned(), "\"b64_json\":\"\"".to_owned(), "\"error\":{\"code\":0}".to_owned()],
            ),
        };
        if kind == "completed" && is_new {
            whole.push(slot);
        }
        if one_body || (matches!(kind, "completed" | "failed") && is_new) {
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
        let document = match is_late && !named {
            // A late preview whose mark follows its bytes is dropped.
            true => format!("{{{}}}", members.into_iter().rev().collect::<Vec<_>>().join(",")),
            false => object(&mut dice, members),
        };
        documents.push((if named { kind } else { String::new() }, document));
    }
    let out = match one_body {
        false => stream(&mut dice, &documents, style),
        true => {
            let name = ["data", "images"][dice.below(2) as usize];
            let members = vec![format!("\"{name}\":[{}]", items.join(" ,\n")), "\"created\":1".to_owned()];
            format!("{}{}", style.line_end, object(&mut dice, members))
        }
    };
    (out, known)
}
