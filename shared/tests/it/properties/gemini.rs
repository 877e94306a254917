//! Answers of Gemini.

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
    fn gemini_answers_are_read_as_they_were_written(
        events in vec(vec(said(), 0..4), 0..4),
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
fn write(events: &[Vec<Said>], style: &Style, (snake, wrapped, listed): (bool, bool, bool)) -> (String, Known) {
    let mut dice = Dice(style.seed);
    let (mut known, mut documents) = (Known::default(), Vec::new());
    let [inline, mime, file, uri] = match snake {
        false => ["inlineData", "mimeType", "fileData", "fileUri"],
        true => ["inline_data", "mime_type", "file_data", "file_uri"],
    };
    for (number, event) in events.iter().enumerate() {
        let (mut parts, mut chunk) = (Vec::new(), String::new());
        for said in event {
            let is_thought = matches!(said, Said::Aside(_) | Said::Draft(_) | Said::DraftLink);
            let mut members = vec![match said {
                Said::Text(text) => {
                    known.text.push_str(text);
                    chunk.push_str(text);
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
                    ["\"text\":null", "\"inlineData\":null", "\"fileData\":{}", "\"new\":[1]"][dice.below(4) as usize]
                        .to_owned()
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
        known.chunks.push(chunk);
        let content = vec![format!("\"parts\":[{}]", parts.join(",\n")), "\"role\":\"model\"".to_owned()];
        let content = object(&mut dice, content);
        let mut candidate = vec![format!("\"content\":{content}"), "\"index\":0".to_owned()];
        if number + 1 == events.len() {
            candidate.push("\"finishReason\":\"STOP\"".to_owned());
        }
        let candidate = object(&mut dice, candidate);
        let document =
            vec![format!("\"candidates\":[{candidate}]"), "\"usageMetadata\":{\"totalTokenCount\":1}".to_owned()];
        let document = object(&mut dice, document);
        documents.push((String::new(), if wrapped { format!("{{\"response\":{document}}}") } else { document }));
    }
    let out = match listed {
        false => stream(&mut dice, &documents, style),
        true => format!("[{}]", documents.into_iter().map(|(_, document)| document).collect::<Vec<_>>().join("\r\n,")),
    };
    (out, known)
}
