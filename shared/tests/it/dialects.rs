//! Answers of Gemini, of the images APIs and of the Responses API, and errors in any of them, that no fixture shows:
//! whole, byte by byte and at every cut.

use base64::{Engine, engine::general_purpose::STANDARD};
use shared::image_url::LocalLinks;
use shared::outcome::ImageSource;
use shared::update::Usage;
use shared::upstream::{AnyDialect, Failure};

use crate::support::answer::{Answer, Seen, read};
use crate::support::pictures::{PNG, png};
use crate::support::rows::{BLUE, at_every_cut, finals, pictures};

const LINKS: &str = "https://example.com/";

/// `<red>` and `<blue>` are pixels in base64, `<a>` and `<b>` are links.
fn fill(text: &str) -> String {
    let text = text.replace("<red>", PNG).replace("<blue>", BLUE);
    text.replace("<a>", &format!("{LINKS}a")).replace("<b>", &format!("{LINKS}b"))
}

/// Documents and `[DONE]` are data of an event, anything else is written as it is.
fn events(events: &[&str]) -> String {
    let event = |event: &&str| match event.starts_with(['{', '[']) {
        true => format!("data: {event}\n\n"),
        false => format!("{event}\n\n"),
    };
    fill(&events.iter().map(event).collect::<String>())
}

fn any(text: &str) -> Answer {
    at_every_cut(text, || AnyDialect::new(LocalLinks::Refused))
}

fn ark(text: &str) -> Answer {
    at_every_cut(text, || AnyDialect::ark(LocalLinks::Refused))
}

/// Says in one line what an answer comes to: the pictures that were whole in the order they came (`~` marks a draft),
/// then the final ones by slot and what failed beside them, or the failure, then errors behind them, then the text.
fn told(answer: &Answer) -> String {
    let name = |source: &str| match source {
        PNG => "red".to_owned(),
        BLUE => "blue".to_owned(),
        other => other.strip_prefix(LINKS).unwrap_or(other).to_owned(),
    };
    let mark = |draft: bool| if draft { "~" } else { "" };
    let mut parts = Vec::new();
    let whole = pictures(answer);
    let whole = whole.iter().zip(&answer.drafts).map(|(picture, draft)| name(picture) + mark(*draft));
    let whole = whole.collect::<Vec<_>>().join(" ");
    if !whole.is_empty() {
        parts.push(format!("[{whole}]"));
    }
    match &answer.verdict {
        Ok(success) => {
            let finals = finals(answer).into_iter().zip(&success.images);
            parts
                .extend(finals.map(|((slot, source), image)| format!("{slot}:{}{}", name(&source), mark(image.draft))));
            parts.extend(success.failed.iter().map(|failed| format!("{}!{}", failed.slot, failed.failure)));
            parts.extend(answer.seen.iter().filter_map(|seen| match seen {
                Seen::Other(update) => {
                    update.strip_prefix("Failed(").map(|why| format!("+{}", why.trim_end_matches(')')))
                }
                _ => None,
            }));
        }
        Err(failure) => parts.push(failure.to_string()),
    }
    let text = answer.text(0);
    if !text.is_empty() {
        parts.push(format!("{text:?}"));
    }
    parts.join(" ")
}

/// Reads every row and names all that are not as told.
fn check<'a>(rows: impl IntoIterator<Item = (String, &'a str)>, read: impl Fn(&str) -> Answer) {
    let mut wrong = Vec::new();
    for (text, expected) in rows {
        let got = told(&read(&text));
        if got != expected {
            wrong.push(format!("{text}\n    is read as {got}\n    instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows\n{}", wrong.len(), wrong.join("\n"));
}

/// What comes of one event each, and a clean end.
fn check_events(rows: &[(&str, &str)]) {
    check(rows.iter().map(|(event, expected)| (events(&[event, "[DONE]"]), *expected)), any);
}

/// What comes of streams.
fn check_streams(rows: &[(&[&str], &str)]) {
    check(rows.iter().map(|(all, expected)| (events(all), *expected)), any);
}

/// What comes of JSON bodies, whichever vendor was asked.
fn check_bodies(rows: &[(&str, &str)]) {
    check(rows.iter().map(|(body, expected)| (fill(body), *expected)), any);
    check(rows.iter().map(|(body, expected)| (fill(body), *expected)), ark);
}

/// What the upstream counted.
fn usage(answer: &Answer) -> Option<Usage> {
    answer.verdict.as_ref().unwrap().usage
}

// ---- Gemini (g) ----

/// An answer of one event with these parts.
fn parts(parts: &str) -> String {
    let text = format!(
        "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{parts}],\"role\":\"model\"}},\"finishReason\":\"STOP\",\"index\":0}}],\"modelVersion\":\"m\"}}\r\n\r\n"
    );
    fill(&text)
}

fn check_parts(rows: &[(&str, &str)]) {
    check(rows.iter().map(|(all, expected)| (parts(all), *expected)), any);
}

#[test]
fn g01_g04_pictures_in_parts() {
    check_parts(&[
        (r#"{"inlineData":{"mimeType":"image/png","data":"<red>"}}"#, "[red] 0:red"),
        (r#"{"inlineData":{"data":"<red>","mimeType":"image/png"}}"#, "[red] 0:red"),
        (r#"{"inline_data":{"mime_type":"image/png","data":"<red>"}}"#, "[red] 0:red"),
        (r#"{"inlineData":{"data":"<red>"},"thoughtSignature":"AAAA"}"#, "[red] 0:red"),
        (r#"{"thoughtSignature":"<blue>","inlineData":{"data":"<red>"}}"#, "[red] 0:red"),
        (r#"{"inlineData":{"mimeType":"image/jpeg","data":"<red>"}}"#, "[red] 0:red"),
        (r#"{"inlineData":{"mimeType":"image/png","data":"data:image/png;base64,<red>"}}"#, "[red] 0:red"),
        (r#"{"inlineData":{"data":"<red>"}},{"inlineData":{"data":"<blue>"}}"#, "[red blue] 0:blue"),
        (r#"{"inlineData":{"data":"<red>"}},{"inlineData":{"data":"<red>"}}"#, "[red red] 0:red"),
        (r#"{"text":"Here "},{"inlineData":{"data":"<red>"}},{"text":"it is"}"#, r#"[red] 0:red "Here it is""#),
        (r#"{"executableCode":{"code":"x"}},{"inlineData":{"data":"<red>"}},{"new":{}}"#, "[red] 0:red"),
        (r#"{"text":"![image](data:image/png;base64,<red>)"}"#, "[red] 0:red"),
        (r#"{"text":"![a](<a>)"}"#, "0:a"),
        (r#"{"inlineData":{"mimeType":"text/plain","data":"aGVsbG8gd29ybGQ="}}"#, "no_image"),
        (r#"{"inlineData":{"mimeType":"image/svg+xml","data":"PHN2Zy8+"}}"#, "no_image"),
        (r#"{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgoAAAAN"}}"#, "upstream_truncated"),
        (r#"{"inlineData":{"mimeType":"image/png","data":""}}"#, "no_image"),
        (r#"{"inlineData":{"mimeType":"image/png","data":null}}"#, "no_image"),
        (r#"{"inlineData":null}"#, "no_image"),
        (r#"{"inlineData":{}},{}"#, "no_image"),
        ("null", "no_image"),
        ("", "no_image"),
        (r#"{"text":"I cannot do that."}"#, r#"no_image "I cannot do that.""#),
        (r#"{"text":""}"#, "no_image"),
        (r#"{"text":null}"#, "no_image"),
    ]);
}

#[test]
fn g02_g03_thoughts_are_drafts() {
    check_parts(&[
        (r#"{"thought":true,"inlineData":{"data":"<red>"}}"#, "[red~] 0:red~"),
        (r#"{"inlineData":{"data":"<red>"},"thought":true}"#, "[red~] 0:red~"),
        (r#"{"inline_data":{"data":"<red>"},"thought":true}"#, "[red~] 0:red~"),
        (r#"{"inlineData":{"data":"<red>"},"thought":false}"#, "[red] 0:red"),
        (r#"{"thought":null,"inlineData":{"data":"<red>"}}"#, "[red] 0:red"),
        (r#"{"inlineData":{"data":"<red>"},"thought":true},{"inlineData":{"data":"<blue>"}}"#, "[red~ blue] 0:blue"),
        (r#"{"inlineData":{"data":"<blue>"}},{"thought":true,"inlineData":{"data":"<red>"}}"#, "[blue red~] 0:blue"),
        (r#"{"thought":true,"inlineData":{"data":"<red>"}},{"inlineData":{"data":"<red>"}}"#, "[red~ red] 0:red"),
        (
            r#"{"thought":true,"inlineData":{"data":"<red>"}},{"inlineData":{"data":"<blue>"},"thought":true}"#,
            "[red~ blue~] 0:blue~",
        ),
        (r#"{"thought":true,"text":"plan"},{"inlineData":{"data":"<red>"}}"#, "[red] 0:red"),
        (r#"{"text":"plan","thought":true},{"text":"here"},{"inlineData":{"data":"<red>"}}"#, r#"[red] 0:red "here""#),
        (r#"{"text":"here","thought":false},{"text":"plan","thought":true}"#, r#"no_image "here""#),
        (r#"{"text":"![image](data:image/png;base64,<red>)","thought":true}"#, "no_image"),
        (r#"{"thought":true,"text":"![a](<a>)"}"#, "no_image"),
        // What one part says holds for no other.
        (r#"{"thought":true},{"text":"here"},{"inlineData":{"data":"<red>"}}"#, r#"[red] 0:red "here""#),
    ]);
    let only_drafts: &[&str] = &[
        r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<red>"},"thought":true}]}}]}"#,
        r#"{"candidates":[{"finishReason":"IMAGE_SAFETY","index":0}]}"#,
    ];
    check_streams(&[
        // The only picture is better than none, whatever is said behind it.
        (only_drafts, "[red~] 0:red~"),
        (&only_drafts[..1], "[red~] 0:red~"),
    ]);
}

#[test]
fn g08_files_elsewhere() {
    check_parts(&[
        (r#"{"fileData":{"mimeType":"image/png","fileUri":"<a>"}}"#, "0:a"),
        (r#"{"file_data":{"mime_type":"image/png","file_uri":"<a>"}}"#, "0:a"),
        (r#"{"fileData":{"fileUri":"<a>"},"thought":true}"#, "0:a~"),
        (r#"{"thought":true,"fileData":{"fileUri":"<a>"}},{"fileData":{"fileUri":"<b>"}}"#, "0:b"),
        (r#"{"fileData":{"fileUri":"gs://bucket/a.png"}}"#, "no_image"),
        (r#"{"fileData":{"fileUri":"gs://bucket/a.png"}},{"inlineData":{"data":"<red>"}}"#, "[red] 0:red"),
        (r#"{"fileData":{"fileUri":"http://example.com/a"}}"#, "no_image"),
        (r#"{"fileData":{"fileUri":""}}"#, "no_image"),
        (r#"{"fileData":{"fileUri":null}}"#, "no_image"),
        (r#"{"fileData":{"fileUri":"data:image/png;base64,<red>"}}"#, "[red] 0:red"),
    ]);
}

#[test]
fn g05_g07_why_it_stopped() {
    let rows = [
        ("STOP", "no_image"),
        ("MAX_TOKENS", "no_image"),
        ("LANGUAGE", "no_image"),
        ("OTHER", "no_image"),
        ("MALFORMED_FUNCTION_CALL", "no_image"),
        ("IMAGE_OTHER", "no_image"),
        ("NO_IMAGE", "no_image"),
        ("UNEXPECTED_TOOL_CALL", "no_image"),
        ("TOO_MANY_TOOL_CALLS", "no_image"),
        ("MISSING_THOUGHT_SIGNATURE", "no_image"),
        ("MALFORMED_RESPONSE", "no_image"),
        ("SOMETHING_NEW", "no_image"),
        ("SAFETY", "content_blocked"),
        ("RECITATION", "content_blocked"),
        ("BLOCKLIST", "content_blocked"),
        ("PROHIBITED_CONTENT", "content_blocked"),
        ("SPII", "content_blocked"),
        ("IMAGE_SAFETY", "content_blocked"),
        ("IMAGE_PROHIBITED_CONTENT", "content_blocked"),
        ("IMAGE_RECITATION", "content_blocked"),
        ("MODEL_ARMOR", "content_blocked"),
        // None of them is a reason.
        ("FINISH_REASON_UNSPECIFIED", "upstream_truncated"),
        ("", "upstream_truncated"),
    ];
    for (reason, expected) in rows {
        let spellings = |reason: &str| {
            [
                // g05: a candidate without content.
                format!("{{\"candidates\":[{{\"finishReason\":\"{reason}\",\"finishMessage\":\"m\",\"index\":0}}]}}"),
                format!("{{\"candidates\":[{{\"content\":{{}},\"finish_reason\":\"{reason}\"}}]}}"),
                format!("{{\"response\":{{\"candidates\":[{{\"finishReason\":\"{reason}\"}}]}}}}"),
                format!("{{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}"),
                format!("{{\"choices\":[{{\"finish_reason\":null,\"native_finish_reason\":\"{reason}\"}}]}}"),
            ]
        };
        let all = spellings(reason).into_iter().chain(spellings(&reason.to_ascii_lowercase()));
        check(all.map(|event| (events(&[&event]), expected)), any);
    }
    let picture =
        r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<red>"}}]},"finishReason":"IMAGE_SAFETY"}]}"#;
    let null = r#"{"candidates":[{"finishReason":null}]}"#;
    check_streams(&[
        (&[picture], "[red] 0:red"),
        (&[null], "upstream_truncated"),
        // A filter is the reason that matters.
        (
            &[r#"{"candidates":[{"finishReason":"SAFETY"}]}"#, r#"{"candidates":[{"finishReason":"STOP"}]}"#],
            "content_blocked",
        ),
    ]);
}

#[test]
fn finish_reasons_of_chat() {
    for (reasons, expected) in [
        (r#""finish_reason":"stop""#, "no_image"),
        (r#""finish_reason":"length""#, "no_image"),
        (r#""finish_reason":"tool_calls""#, "no_image"),
        (r#""finish_reason":"content_filter""#, "content_blocked"),
        (r#""finish_reason":"error""#, "upstream_error"),
        (r#""finish_reason":"stop","native_finish_reason":"STOP""#, "no_image"),
        (r#""finish_reason":"content_filter","native_finish_reason":"STOP""#, "content_blocked"),
        (r#""finish_reason":"stop","native_finish_reason":"image_safety""#, "content_blocked"),
        (r#""native_finish_reason":"completed","finish_reason":"stop""#, "no_image"),
        (r#""finish_reason":null,"native_finish_reason":null"#, "upstream_truncated"),
    ] {
        let event = format!("{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":null}},{reasons}}}]}}");
        check([(events(&[&event]), expected)], any);
    }
}

#[test]
fn g06_blocked_prompts() {
    for reason in
        ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK", "NEW"]
    {
        for event in [
            format!(
                "{{\"promptFeedback\":{{\"blockReason\":\"{reason}\",\"safetyRatings\":[]}},\"usageMetadata\":{{}}}}"
            ),
            format!("{{\"prompt_feedback\":{{\"block_reason_message\":\"m\",\"block_reason\":\"{reason}\"}}}}"),
            format!("{{\"response\":{{\"promptFeedback\":{{\"blockReason\":\"{reason}\"}}}}}}"),
        ] {
            check([(events(&[&event]), "content_blocked")], any);
        }
    }
    check_streams(&[
        (&[r#"{"promptFeedback":{"blockReason":"BLOCK_REASON_UNSPECIFIED"}}"#], "upstream_truncated"),
        (&[r#"{"promptFeedback":{"blockReason":""}}"#], "upstream_truncated"),
        (&[r#"{"promptFeedback":{"blockReason":null,"safetyRatings":[{"category":"c"}]}}"#], "upstream_truncated"),
        (&[r#"{"promptFeedback":null}"#], "upstream_truncated"),
    ]);
}

#[test]
fn a_list_of_documents_without_alt_sse() {
    let picture = r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<red>"}}]}}]}"#;
    let final_one = r#"{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<blue>"}}]}}]}"#;
    let stop = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":3}}"#;
    let error = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#;
    let list = |documents: &[&str], between: &str| fill(&format!("[{}]", documents.join(between)));
    let cut = |text: String, by: usize| text[..text.len() - by].to_owned();
    check(
        [
            (list(&[picture, stop], ",\r\n"), "[red] 0:red"),
            (list(&[picture, final_one, stop], "\n,\n"), "[red blue] 0:blue"),
            (list(&[picture], ""), "[red] 0:red"),
            ("\n".to_owned() + &list(&[picture], ""), "[red] 0:red"),
            (list(&[error], ""), "rate_limited"),
            (list(&[picture, error], ","), "[red] 0:red +RateLimited"),
            (list(&[r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#], ""), "content_blocked"),
            (
                list(&[r#"{"response":{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}}"#, stop], ","),
                r#"no_image "a""#,
            ),
            (list(&[stop], ""), "no_image"),
            (list(&[], ""), "no_image"),
            // Cut in the second document, and before anything was whole.
            (cut(list(&[picture, final_one], ","), 30), "[red] 0:red"),
            (cut(list(&[picture], ","), 30), "upstream_truncated"),
            // Other documents come in lists too.
            (list(&[r#"{"data":[{"b64_json":"<red>"}]}"#], ""), "[red] 0:red"),
            (list(&[r#"{"b64_json":"<red>"}"#, r#"{"url":"<a>"}"#], ","), "[red] 0:red 1:a"),
        ],
        any,
    );
    assert_eq!(usage(&any(&list(&[picture, stop], ","))).unwrap().total_tokens, Some(3));
}

#[test]
fn a_document_inside_response() {
    let picture = r#"{"response":{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<red>"}}]},"finishReason":"STOP"}],"usageMetadata":{"totalTokenCount":3}},"traceId":"t"}"#;
    let draft =
        r#"{"response":{"candidates":[{"content":{"parts":[{"thought":true,"inlineData":{"data":"<red>"}}]}}]}}"#;
    let text = r#"{"response":{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"b","thought":true}]}}]}}"#;
    let error = r#"{"response":{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}}"#;
    check_streams(&[
        (&[picture], "[red] 0:red"),
        (&[draft, picture], "[red~ red] 0:red"),
        (&[text, picture], r#"[red] 0:red "a""#),
        (&[error], "upstream_unavailable"),
        (&[picture, error], "[red] 0:red +Unavailable"),
    ]);
    check_bodies(&[(picture, "[red] 0:red"), (error, "upstream_unavailable")]);
    assert_eq!(usage(&any(&fill(picture))).unwrap().total_tokens, Some(3));
}

#[test]
fn what_was_counted() {
    let told = |answer: &Answer| {
        let Usage { input_tokens, output_tokens, total_tokens, generated_images } = usage(answer).unwrap();
        [input_tokens, output_tokens, total_tokens, generated_images]
    };
    for (body, expected) in [
        (
            r#"{"b64_json":"<red>","usageMetadata":{"promptTokenCount":6,"candidatesTokenCount":1290,"totalTokenCount":1296,"promptTokensDetails":[{"modality":"TEXT","tokenCount":7}]}}"#,
            [Some(6), Some(1290), Some(1296), None],
        ),
        (
            r#"{"b64_json":"<red>","usage_metadata":{"prompt_token_count":6,"candidates_token_count":1290,"total_token_count":1296}}"#,
            [Some(6), Some(1290), Some(1296), None],
        ),
        (
            r#"{"response":{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<red>"}}]}}],"usageMetadata":{"promptTokenCount":6}}}"#,
            [Some(6), None, None, None],
        ),
        (
            r#"{"data":[{"b64_json":"<red>"}],"usage":{"input_tokens":50,"input_tokens_details":{"image_tokens":40,"input_tokens":9},"output_tokens":51,"total_tokens":101}}"#,
            [Some(50), Some(51), Some(101), None],
        ),
        (
            r#"{"data":[{"url":"<a>"}],"usage":{"generated_images":1,"output_tokens":16320,"total_tokens":16320}}"#,
            [None, Some(16320), Some(16320), Some(1)],
        ),
        (
            r#"{"output":[{"result":"<red>"}],"usage":{"input_tokens":1,"output_tokens":null,"total_tokens":2.5}}"#,
            [Some(1), None, None, None],
        ),
        (
            r#"{"type":"response.completed","response":{"output":[{"result":"<red>"}],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}"#,
            [Some(1), Some(2), Some(3), None],
        ),
    ] {
        assert_eq!(told(&any(&fill(body))), expected, "{body}");
        assert_eq!(told(&any(&events(&[body]))), expected, "{body}");
    }
    assert_eq!(usage(&any(&fill(r#"{"b64_json":"<red>","usage":null}"#))), None);
}

#[test]
fn a_text_longer_than_may_wait() {
    // 64 KiB wait for the mark that makes them a thought. Cut at a step that shares no factor with anything.
    let at_some_cuts = |text: &str| {
        let read = |pieces: &[&[u8]]| read(AnyDialect::new(LocalLinks::Refused), pieces.iter().copied());
        let whole = read(&[text.as_bytes()]);
        assert_eq!(read(&text.as_bytes().chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
        for cut in (0..text.len()).step_by(9973) {
            let (a, b) = text.as_bytes().split_at(cut);
            assert_eq!(read(&[a, b]), whole, "cut at {cut}");
        }
        whole
    };
    for length in [65_535, 65_536, 65_537, 70_000, 200_000] {
        let long = "画".repeat(length / 3) + &"!".repeat(length % 3);
        for (part, is_shown) in [
            (format!(r#"{{"text":"{long}"}}"#), true),
            (format!(r#"{{"text":"{long}","thought":false}}"#), true),
            (format!(r#"{{"thought":true,"text":"{long}"}}"#), false),
        ] {
            let answer = at_some_cuts(&parts(&(part + r#",{"text":"end"},{"inlineData":{"data":"<red>"}}"#)));
            let shown = if is_shown { long.clone() + "end" } else { "end".to_owned() };
            assert!(answer.text(0) == shown, "{length} bytes, {} of them shown", answer.text(0).len());
            assert_eq!(pictures(&answer), [PNG]);
        }
    }
    // As many bytes as may wait are a thought when the mark comes.
    let part = format!(r#"{{"text":"{}","thought":true}}"#, "a".repeat(65_536));
    assert_eq!(at_some_cuts(&parts(&part)).text(0), "");
}

// ---- the images APIs (o) ----

#[test]
fn o01_o03_events_that_are_pictures() {
    check_events(&[
        (r#"{"type":"image_generation.completed","b64_json":"<red>","output_format":"png","usage":{}}"#, "[red] 0:red"),
        (r#"{"b64_json":"<red>","type":"image_generation.completed"}"#, "[red] 0:red"),
        (r#"{"type":"image_edit.completed","b64_json":"<red>"}"#, "[red] 0:red"),
        (r#"{"type":"image_generation.completed","url":"<a>"}"#, "0:a"),
        (r#"{"type":"image_edit.completed","url":"<a>","b64_json":null}"#, "0:a"),
        (r#"{"type":"image_generation.completed","url":"data:image/png;base64,<red>"}"#, "[red] 0:red"),
        (r#"{"type":"image_generation.completed","b64_json":"data:image/png;base64,<red>"}"#, "[red] 0:red"),
        (r#"{"type":"image_generation.completed","b64_json":"<red>","media_type":"image/webp"}"#, "[red] 0:red"),
        (r#"{"type":"image_generation.completed","image_url":{"url":"<a>"}}"#, "0:a"),
        (r#"{"type":"image_generation.completed","b64_json":"<red>","url":null}"#, "[red] 0:red"),
        (r#"{"type":"image_generation.completed","url":"","b64_json":"<red>"}"#, "[red] 0:red"),
        (r#"{"type":"image_generation.completed","b64_json":"<red>","url":""}"#, "[red] 0:red"),
        (r#"{"type":"image_generation.completed","b64_json":"<red>","url":"<a>"}"#, "[red] 0:a"),
        (r#"{"type":"image_generation.completed","url":"<a>","b64_json":"<red>"}"#, "[red] 0:red"),
        (r#"{"type":"image_generation.completed","b64_json":"<red>","error":null}"#, "[red] 0:red"),
        (r#"{"type":"image_generation.completed","b64_json":""}"#, "no_image"),
        (r#"{"type":"image_generation.completed","b64_json":null}"#, "no_image"),
        (r#"{"type":"image_generation.completed"}"#, "no_image"),
        (r#"{"type":"image_generation.completed","b64_json":"iVBORw0KGgoAAAAN"}"#, "upstream_truncated"),
        (r#"{"type":"image_generation.partial_image","b64_json":"<red>","partial_image_index":0}"#, "[red~] 0:red~"),
        (r#"{"b64_json":"<red>","type":"image_edit.partial_image","partial_image_index":2}"#, "[red~] 0:red~"),
        (r#"{"type":"image_generation.partial_image","url":"<a>"}"#, "0:a~"),
        ("event: image_generation.completed\ndata: {\"b64_json\":\"<red>\"}", "[red] 0:red"),
        ("event: image_generation.partial_image\ndata: {\"b64_json\":\"<red>\"}", "[red~] 0:red~"),
        ("data: {\"b64_json\":\"<red>\"}\nevent: image_edit.partial_image", "[red] 0:red"),
        ("event: x\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"<red>\"}", "[red~] 0:red~"),
        (
            r#"{"type":"image_generation.failed","error":{"code":"moderation_blocked","message":"m"}}"#,
            "content_blocked",
        ),
        (r#"{"type":"image_generation.error","error":{"message":"m"}}"#, "upstream_error"),
        (r#"{"type":"image_generation.queued","position":1}"#, "no_image"),
    ]);
}

#[test]
fn o01_previews_and_what_follows_them() {
    let red = r#"{"type":"image_generation.partial_image","b64_json":"<red>","partial_image_index":0}"#;
    let blue = r#"{"type":"image_generation.partial_image","b64_json":"<blue>","partial_image_index":1}"#;
    let done = r#"{"type":"image_generation.completed","b64_json":"<blue>"}"#;
    let done_red = r#"{"type":"image_generation.completed","b64_json":"<red>"}"#;
    let link = r#"{"type":"image_generation.completed","url":"<a>"}"#;
    let error = r#"{"type":"error","error":{"code":"moderation_blocked","message":"m"}}"#;
    let failed = r#"{"type":"image_generation.failed","error":{"code":"moderation_blocked","message":"m"}}"#;
    check_streams(&[
        (&[red, blue, done], "[red~ blue~ blue] 0:blue"),
        (&[red, blue, done, "[DONE]"], "[red~ blue~ blue] 0:blue"),
        (&[done], "[blue] 0:blue"),
        (&[red, red, done_red], "[red~ red~ red] 0:red"),
        (&[red, link], "[red~] 0:a"),
        (&[red, done, blue, done_red], "[red~ blue blue~ red] 0:blue 1:red"),
        (&[link, done], "[blue] 0:a 1:blue"),
        // Whole all the same, and the only one.
        (&[red], "[red~] 0:red~"),
        (&[red, blue], "[red~ blue~] 0:blue~"),
        (&[red, error], "[red~] 0:red~ +ContentBlocked"),
        (&[red, failed], "[red~] 0:red~"),
        (&[done, error], "[blue] 0:blue +ContentBlocked"),
        (&[done, failed], "[blue] 0:blue 1!content_blocked"),
        (&[failed, done], "[blue] 1:blue 0!content_blocked"),
        // The first one tells why.
        (&[error, &error.replace("moderation_blocked", "server_error")], "content_blocked"),
        (&[&error.replace("moderation_blocked", "server_error"), error], "upstream_error"),
        (&[failed, failed, done], "[blue] 2:blue 0!content_blocked 1!content_blocked"),
        (&[done, &failed.replace("generation", "edit")], "[blue] 0:blue 1!content_blocked"),
        // An index of previews, in whichever order.
        (
            &[r#"{"partial_image_index":1,"type":"image_generation.partial_image","b64_json":"<red>"}"#, done],
            "[red~ blue] 0:blue",
        ),
    ]);
    // The name of the event gives way to the type.
    check_events(&[
        (&format!("event: image_generation.partial_image\ndata: {done}"), "[blue] 0:blue"),
        (&format!("event: image_generation.partial_image\n\ndata: {done}"), "[blue] 0:blue"),
        ("event: image_generation.partial_image\n\ndata: {\"b64_json\":\"<red>\"}", "[red] 0:red"),
        ("event: error\n\ndata: {\"b64_json\":\"<red>\"}", "[red] 0:red"),
    ]);
}

#[test]
fn o05_text_beside_the_picture() {
    let picture = r#"{"type":"image_generation.completed","b64_json":"<red>"}"#;
    let said = |members: &str| format!("{{\"type\":\"image_generation.text_chunk\",{members}}}");
    for (members, expected) in [
        (r#""phase":"content","text":"hello 你好""#, r#"[red] 0:red "hello 你好""#),
        (r#""text":"hello","phase":"content""#, r#"[red] 0:red "hello""#),
        (r#""text":"hello","phase":null"#, r#"[red] 0:red "hello""#),
        (r#""text":"hello""#, r#"[red] 0:red "hello""#),
        (r#""phase":"reasoning","text":"hello""#, "[red] 0:red"),
        (r#""text":"hello","phase":"reasoning""#, "[red] 0:red"),
        (r#""phase":"draft","text":"hello""#, "[red] 0:red"),
        (r#""phase":"draft","text":"![a](<a>)""#, "[red] 0:red"),
        (r#""phase":"content","text":"""#, "[red] 0:red"),
        (r#""phase":"content","text":null"#, "[red] 0:red"),
    ] {
        check([(events(&[&said(members), picture]), expected)], any);
    }
    // Phases change, and none is remembered.
    let chunks = [
        said(r#""phase":"reasoning","text":"a""#),
        said(r#""phase":"content","text":"b""#),
        said(r#""phase":"draft","text":"c""#),
        said(r#""text":"d""#),
    ];
    let all: Vec<&str> = chunks.iter().map(String::as_str).chain([picture]).collect();
    check([(events(&all), r#"[red] 0:red "bd""#)], any);
    // The kind stands behind the text, or in the event's name, or it is another one.
    check_streams(&[
        (&[r#"{"text":"a","type":"image_generation.text_chunk"}"#, picture], r#"[red] 0:red "a""#),
        (&["event: image_generation.text_chunk\ndata: {\"text\":\"a\"}", picture], r#"[red] 0:red "a""#),
        (&[r#"{"type":"image_generation.note","text":"a"}"#, r#"{"text":"b"}"#, picture], "[red] 0:red"),
    ]);
}

#[test]
fn o06_o07_o09_items_of_a_body() {
    check_bodies(&[
        (r#"{"created":1,"data":[{"b64_json":"<red>"}],"usage":{"total_tokens":1}}"#, "[red] 0:red"),
        (r#"{"data":[{"b64_json":"<red>"},{"b64_json":"<blue>"}]}"#, "[red blue] 0:red 1:blue"),
        (r#"{"data":[{"b64_json":"<red>"},{"b64_json":"<red>"}]}"#, "[red red] 0:red"),
        (r#"{"data":[{"url":"<a>"},{"url":"<b>"},{"b64_json":"<red>"}]}"#, "[red] 0:a 1:b 2:red"),
        (r#"{"images":[{"b64_json":"<red>"},{"url":"<a>"}]}"#, "[red] 0:red 1:a"),
        (r#"{"images":[{"image_url":{"url":"<a>"}},{"image_url":"<b>"}]}"#, "0:a 1:b"),
        (r#"{"data":["<red>","<a>"]}"#, "[red] 0:red 1:a"),
        (r#"{"images":["data:image/png;base64,<red>","<blue>"]}"#, "[red blue] 0:red 1:blue"),
        (r#"{"data":[{"url":"<a>","revised_prompt":"p"}]}"#, "0:a"),
        (r#"{"data":[{"revised_prompt":"p <b>","url":"<a>"}]}"#, "0:a"),
        (r#"{"data":[{"url":"data:image/png;base64,<red>"}]}"#, "[red] 0:red"),
        (r#"{"data":[{"url":null,"b64_json":"<red>"}]}"#, "[red] 0:red"),
        (r#"{"data":[{"b64_json":"<red>","url":null}]}"#, "[red] 0:red"),
        (r#"{"data":[{"url":"","b64_json":"<red>"}]}"#, "[red] 0:red"),
        (r#"{"data":[{"b64_json":"<red>","url":""}]}"#, "[red] 0:red"),
        (r#"{"data":[{"b64_json":"","url":"<a>"}]}"#, "0:a"),
        (r#"{"data":[{"url":"<a>","b64_json":""}]}"#, "0:a"),
        (r#"{"data":[{"url":"<a>","b64_json":"<red>"}]}"#, "[red] 0:red"),
        (r#"{"data":[{"b64_json":"<red>","url":"<a>"}]}"#, "[red] 0:a"),
        (r#"{"data":[{"b64_json":"<red>","error":null}]}"#, "[red] 0:red"),
        (r#"{"data":[{"b64_json":"<red>","error":{"code":"","message":""}}]}"#, "[red] 0:red"),
        (
            r#"{"data":[{"b64_json":"<red>"},{"error":{"code":"moderation_blocked","message":"m"}}]}"#,
            "[red] 0:red 1!content_blocked",
        ),
        (r#"{"data":[{"error":{"code":"InternalServiceError","message":"m"}},{"url":"<a>"}]}"#, "1:a 0!upstream_error"),
        (r#"{"data":[{"error":"blocked"},{"url":"<a>"}]}"#, "1:a 0!upstream_error"),
        (
            r#"{"data":[{"url":null,"error":{"code":"moderation_blocked"}},{"url":"<a>","error":null}]}"#,
            "1:a 0!content_blocked",
        ),
        (r#"{"data":[{"url":"","error":{"code":"moderation_blocked"}}]}"#, "content_blocked"),
        (
            r#"{"data":[{"error":{"code":"moderation_blocked"}},{"error":{"code":"InternalServiceError"}}]}"#,
            "upstream_error",
        ),
        (r#"{"data":[{},{"b64_json":"<red>"},null,{"url":"<a>"}]}"#, "[red] 1:red 3:a"),
        (r#"{"data":[{"url":"http://example.com/a"},{"url":"<b>"}]}"#, "1:b 0!no_image"),
        // o09: Gemini answered in text, which a relay puts here.
        (r#"{"data":[{"b64_json":"","revised_prompt":"I cannot do that."}]}"#, "no_image"),
        (r#"{"data":[{"revised_prompt":"![a](<a>)","b64_json":"","url":""}]}"#, "no_image"),
        (r#"{"data":[{"url":null}]}"#, "no_image"),
        (r#"{"data":[{"url":" "}]}"#, "no_image"),
        (r#"{"data":[{"url":"\n ","error":{"code":"moderation_blocked"}}]}"#, "content_blocked"),
        (r#"{"data":["","<a>"]}"#, "1:a"),
        (r#"{"data":[{"url":"\n  data:image/png;base64,<red>"}]}"#, "[red] 0:red"),
        (r#"{"data":[{"url":"DATA:image/PNG;BASE64 ,<red>"}]}"#, "[red] 0:red"),
        (r#"{"data":[{"url":"\n <a> "}]}"#, "0:a"),
        (r#"{"images":["<red>",null," ","<a>"]}"#, "[red] 0:red 3:a"),
        (r#"{"data":[""]}"#, "no_image"),
        (r#"{"data":[null]}"#, "no_image"),
        (r#"{"data":[]}"#, "no_image"),
        (r#"{"data":null}"#, "no_image"),
        (r#"{"created":1}"#, "no_image"),
        ("{}", "no_image"),
        // On top and beside items.
        (r#"{"b64_json":"<red>"}"#, "[red] 0:red"),
        (r#"{"url":"<a>"}"#, "0:a"),
        (r#"{"error":{"message":"m"},"data":[]}"#, "upstream_error"),
        (r#"{"data":[{"url":"<a>"}],"error":{"message":"m"}}"#, "0:a +Error"),
        (r#"{"error":{"message":"m"},"data":[{"url":"<a>"}]}"#, "0:a +Error"),
        // Cut behind a whole item.
        (r#"{"data":[{"b64_json":"<red>"},{"b64_json":"iVBOR"#, "[red] 0:red 1!upstream_truncated"),
        (r#"{"data":[{"b64_json":"<red>""#, "[red] 0:red"),
        (r#"{"data":[{"url":"<a>"}"#, "0:a"),
        (r#"{"data":[{"url":"<a>"#, "upstream_truncated"),
        (r#"{"data":["#, "upstream_truncated"),
    ]);
}

#[test]
fn a_picture_that_came_did_not_fail() {
    for document in [
        r#"{"data":[{"b64_json":"<red>","error":{"code":"server_error","message":"m"}}]}"#,
        r#"{"images":[{"error":"m","url":"data:image/png;base64,<red>"}]}"#,
        r#"{"type":"image_generation.completed","b64_json":"<red>","error":{"message":"m"}}"#,
    ] {
        for text in [fill(document), events(&[document])] {
            let answer = any(&text);
            assert_eq!(told(&answer), "[red] 0:red", "{document}");
            assert!(!format!("{:?}", answer.seen).contains("ImageFailed"), "{document}");
        }
    }
}

#[test]
fn what_the_pixels_are() {
    for (size, expected) in [
        (r#""size":"2496x1664""#, Some((2496, 1664))),
        (r#""size":"1024X1024""#, Some((1024, 1024))),
        (r#""size":"1024*768""#, Some((1024, 768))),
        (r#""size":"2K""#, None),
        (r#""size":"auto""#, None),
        (r#""size":"""#, None),
        (r#""size":null"#, None),
        (r#""size":1024"#, None),
        (r#""size":"1x2x3""#, None),
        (r#""size":"99999999999x1""#, None),
        (r#""quality":"high""#, None),
    ] {
        for body in [
            format!("{{\"data\":[{{\"url\":\"<a>\",{size}}}]}}"),
            format!("{{\"data\":[{{{size},\"url\":\"<a>\"}}]}}"),
            format!("{{\"type\":\"image_generation.partial_succeeded\",\"image_index\":0,{size},\"url\":\"<a>\"}}"),
        ] {
            let source = ark(&fill(&body)).verdict.unwrap().images[0].source.clone();
            assert_eq!(source, ImageSource::Link { url: format!("{LINKS}a"), pixels: expected }, "{body}");
        }
    }
    // What one item says holds for no other.
    let images = any(&fill(r#"{"data":[{"url":"<a>","size":"2x3"},{"url":"<b>"}]}"#)).verdict.unwrap().images;
    assert_eq!(images[1].source, ImageSource::Link { url: format!("{LINKS}b"), pixels: None });
}

// ---- the Responses API (o) ----

const ITEM: &str = r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"ig_1","type":"image_generation_call","status":"completed","result":"<red>"}}"#;
const ITEM_2: &str = r#"{"type":"response.output_item.done","output_index":1,"item":{"id":"ig_2","type":"image_generation_call","status":"completed","result":"<blue>"}}"#;
const PREVIEW: &str = r#"{"type":"response.image_generation_call.partial_image","output_index":0,"partial_image_index":0,"partial_image_b64":"<blue>"}"#;
const LISTED: &str = r#"{"type":"response.completed","response":{"status":"completed","error":null,"incomplete_details":null,"output":[{"type":"image_generation_call","result":"<red>"}]}}"#;
const LISTED_2: &str = r#"{"type":"response.completed","response":{"output":[{"type":"reasoning","summary":[]},{"type":"image_generation_call","result":"<red>"},{"type":"image_generation_call","result":"<blue>"}]}}"#;
const EMPTY: &str = r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#;

#[test]
fn o10_o12_items_of_a_response() {
    check_streams(&[
        (&[ITEM, LISTED], "[red] 0:red"),
        (&[ITEM], "[red] 0:red"),
        (&[LISTED], "[red] 0:red"),
        (&[PREVIEW, ITEM, LISTED], "[blue~ red] 0:red"),
        (&[PREVIEW, PREVIEW, LISTED], "[blue~ blue~ red] 0:red"),
        (&[ITEM, ITEM_2, LISTED_2], "[red blue] 0:red 1:blue"),
        (&[PREVIEW, ITEM, PREVIEW, ITEM_2, EMPTY], "[blue~ red blue~ blue] 0:red 1:blue"),
        (&[LISTED_2], "[red blue] 0:red 1:blue"),
        (&[EMPTY], "no_image"),
        (&[&ITEM.replace("<red>", "iVBORw0KGgoAAAAN"), LISTED], "[red] 0:red"),
        (&[&ITEM.replace("<red>", "ftp://example.com/a"), LISTED], "[red] 0:red"),
        (&[LISTED, LISTED], "[red] 0:red"),
        (&[LISTED_2, LISTED_2], "[red blue] 0:red 1:blue"),
        (&[LISTED, ITEM_2], "[red blue] 0:red 1:blue"),
        (&[PREVIEW, EMPTY], "[blue~] 0:blue~"),
        (&[PREVIEW], "[blue~] 0:blue~"),
        // o12: `status` stays as it was.
        (
            &[
                &ITEM.replace("completed", "generating"),
                &LISTED.replace("output\":[{", "output\":[{\"status\":\"generating\","),
            ],
            "[red] 0:red",
        ),
        (&[&ITEM.replace("completed", "generating")], "[red] 0:red"),
        (&[&ITEM.replace("completed", "in_progress"), EMPTY], "[red] 0:red"),
        // An item that is no picture, or has none yet.
        (
            &[
                r#"{"type":"response.output_item.added","item":{"type":"image_generation_call","status":"in_progress","result":null}}"#,
                ITEM,
            ],
            "[red] 0:red",
        ),
        (
            &[
                r#"{"type":"response.output_item.done","item":{"type":"message","content":[{"type":"output_text","text":"a"}]}}"#,
                LISTED,
            ],
            "[red] 0:red",
        ),
        (
            &[r#"{"type":"response.output_item.done","item":{"type":"image_generation_call","result":""}}"#, LISTED],
            "[red] 0:red",
        ),
        (
            &[r#"{"type":"response.output_item.done","item":{"result":"data:image/png;base64,<red>"}}"#, EMPTY],
            "[red] 0:red",
        ),
        (&[r#"{"type":"response.output_item.done","item":{"result":"<a>"}}"#, EMPTY], "0:a"),
        (&[r#"{"type":"response.created","response":{"output":[],"error":null,"usage":null}}"#, ITEM], "[red] 0:red"),
        // Only the name of the event tells.
        (&["event: response.output_item.done\ndata: {\"item\":{\"result\":\"<red>\"}}"], "[red] 0:red"),
        (
            &["event: response.image_generation_call.partial_image\ndata: {\"partial_image_b64\":\"<red>\"}"],
            "[red~] 0:red~",
        ),
        // What the model says beside it.
        (
            &[
                r#"{"type":"response.output_text.delta","delta":"hello "}"#,
                r#"{"type":"response.output_text.delta","delta":"你好"}"#,
                r#"{"type":"response.output_text.done","text":"hello 你好"}"#,
                r#"{"type":"response.reasoning_summary_text.delta","delta":"plan"}"#,
                ITEM,
            ],
            r#"[red] 0:red "hello 你好""#,
        ),
        (
            &[r#"{"type":"response.output_text.delta","delta":"I cannot do that."}"#, EMPTY],
            r#"no_image "I cannot do that.""#,
        ),
    ]);
}

#[test]
fn how_a_response_ends() {
    let incomplete = |reason: &str| {
        format!(
            "{{\"type\":\"response.incomplete\",\"response\":{{\"status\":\"incomplete\",\"incomplete_details\":{{\"reason\":\"{reason}\"}},\"output\":[]}}}}"
        )
    };
    let (filtered, length) = (incomplete("content_filter"), incomplete("max_output_tokens"));
    let failed = r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"m"}}}"#;
    let bare = r#"{"type":"response.failed","response":{"status":"failed"}}"#;
    let error = r#"{"type":"error","code":"rate_limit_exceeded","message":"m","param":null,"sequence_number":3}"#;
    check_streams(&[
        (&[&filtered], "content_blocked"),
        (&[&length], "no_image"),
        (&[&filtered.replace("response.incomplete", "response.completed")], "content_blocked"),
        (&[r#"{"type":"response.incomplete","response":{"incomplete_details":null}}"#], "upstream_truncated"),
        (&[ITEM, &filtered], "[red] 0:red"),
        (&[PREVIEW, &filtered], "[blue~] 0:blue~"),
        (&[PREVIEW, &length], "[blue~] 0:blue~"),
        (&[failed], "rate_limited"),
        (&[bare], "upstream_error"),
        (&["event: response.failed\ndata: {\"response\":{\"error\":{\"code\":\"server_error\"}}}"], "upstream_error"),
        (&[PREVIEW, failed], "[blue~] 0:blue~ +RateLimited"),
        (&[ITEM, failed], "[red] 0:red +RateLimited"),
        (&[error], "rate_limited"),
        (&[&format!("event: error\ndata: {error}")], "rate_limited"),
        (&["event: error\ndata: {\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}"], "rate_limited"),
        (&[PREVIEW, error], "[blue~] 0:blue~ +RateLimited"),
        (&[ITEM, error], "[red] 0:red +RateLimited"),
        (&[r#"{"type":"response.created","response":{"output":[]}}"#], "upstream_truncated"),
        (&[r#"{"type":"response.image_generation_call.generating","output_index":0}"#], "upstream_truncated"),
    ]);
}

#[test]
fn a_response_that_is_one_body() {
    check_bodies(&[
        (
            r#"{"object":"response","status":"completed","error":null,"output":[{"type":"image_generation_call","status":"completed","result":"<red>"}],"usage":{"total_tokens":1}}"#,
            "[red] 0:red",
        ),
        (
            r#"{"output":[{"type":"reasoning","summary":[]},{"type":"image_generation_call","status":"generating","result":"<red>"},{"type":"message","content":[]}]}"#,
            "[red] 0:red",
        ),
        (r#"{"output":[{"result":"<red>"},{"result":"<blue>"}]}"#, "[red blue] 0:red 1:blue"),
        (r#"{"output":[{"result":null}]}"#, "no_image"),
        (r#"{"output":[{"type":"image_generation_call","result":""}]}"#, "no_image"),
        (r#"{"output":[]}"#, "no_image"),
        (r#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"m"},"output":[]}"#, "rate_limited"),
        (r#"{"output":[{"result":"<red>"}],"error":{"code":"server_error","message":"m"}}"#, "[red] 0:red +Error"),
    ]);
}

// ---- chat ----

#[test]
fn chat_with_everything_null() {
    check_events(&[
        // CLIProxyAPI's chunk.
        (
            r#"{"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":null,"tool_calls":null,"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,<red>"},"index":0}]},"finish_reason":null,"native_finish_reason":null}]}"#,
            "[red] 0:red",
        ),
        (
            r#"{"choices":[{"delta":{"images":null,"image":null,"content":null,"image_b64_json":null},"index":0}],"usage":null,"error":null}"#,
            "no_image",
        ),
        (r#"{"choices":[{"delta":{"images":[],"content":[]},"index":0}]}"#, "no_image"),
        (
            r#"{"choices":[{"delta":{"images":[null,{},{"image_url":null},{"image_url":{"url":null}},{"url":""},""]}}]}"#,
            "no_image",
        ),
        (r#"{"choices":[{"delta":null,"message":null,"index":null,"finish_reason":null}]}"#, "no_image"),
        (r#"{"choices":[null]}"#, "no_image"),
        (
            r#"{"choices":null,"data":null,"images":null,"candidates":null,"output":null,"item":null,"response":null}"#,
            "no_image",
        ),
        ("null", "no_image"),
        (r#"{"candidates":[null,{"content":null},{"content":{"parts":null}}],"promptFeedback":null}"#, "no_image"),
    ]);
}

#[test]
fn chat_content_in_parts() {
    let delta = |content: &str| format!("{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{content}}}}}]}}");
    let rows = [
        (r#"[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#, r#"no_image "ab""#),
        (
            r#"[{"type":"text","text":"a "},{"type":"image_url","image_url":{"url":"data:image/png;base64,<red>"}},{"type":"text","text":"b"}]"#,
            r#"[red] 0:red "a b""#,
        ),
        (r#"[{"image_url":{"url":"<a>"},"type":"image_url"}]"#, "0:a"),
        (r#"[{"type":"image_url","image_url":"<a>"}]"#, "0:a"),
        (r#"[{"type":"image_url","image_url":{"url":"gs://b/a.png"}}]"#, "no_image"),
        (
            r#"[{"type":"input_audio","input_audio":{"data":"<blue>","format":"wav"}},{"type":"text","text":"a"}]"#,
            r#"no_image "a""#,
        ),
        (r#"[{"type":"text","text":null},{"type":"image_url","image_url":null},null]"#, "no_image"),
        (r#"[{"type":"text","text":"![image](data:image/png;base64,<red>)"}]"#, "[red] 0:red"),
        (
            r#"[{"type":"text","text":"![image](data:image/png;base64,"},{"type":"text","text":"<red>)"}]"#,
            "[red] 0:red",
        ),
    ];
    for (content, expected) in rows {
        let in_message = delta(content).replace("delta", "message");
        check([delta(content), in_message].map(|event| (events(&[&event, "[DONE]"]), expected)), any);
    }
}

#[test]
fn c37_two_choices_whose_index_stands_behind() {
    let both = r#"{"choices":[{"delta":{"content":"a"},"index":1},{"delta":{"content":"b"},"index":0}]}"#;
    let pictures = r#"{"choices":[{"delta":{"content":"![image](data:image/png;base64,<red>)"},"index":1},{"delta":{"content":"![image](data:image/png;base64,<blue>)"},"index":0}]}"#;
    let halves = [
        r#"{"choices":[{"delta":{"content":"![image](data:image/png;base64,"},"index":1}]}"#,
        r#"{"choices":[{"delta":{"content":"![image](data:image/png;base64,"},"index":0}]}"#,
        r#"{"choices":[{"delta":{"content":"<red>)"},"index":1},{"delta":{"content":"<blue>)"},"index":0}]}"#,
        "[DONE]",
    ];
    let answer = any(&events(&[both, pictures, "[DONE]"]));
    assert_eq!((answer.text(0), answer.text(1)), ("b".to_owned(), "a".to_owned()));
    assert_eq!(told(&answer), r#"[red blue] 0:blue 1:red "b""#);
    assert_eq!(told(&any(&events(&halves))), "[red blue] 0:blue 1:red");
    // No index at all: the place in the list.
    check_events(&[(
        r#"{"choices":[{"delta":{"images":["<red>"]}},{"delta":{"images":["<blue>"]}}]}"#,
        "[red blue] 0:red 1:blue",
    )]);
}

#[test]
fn c24_links_that_lead_inside() {
    for link in [
        "http://example.com/a",
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/a",
        "https://127.0.0.1/a",
        "https://2130706433/a",
        "https://[::1]/a",
        "https://localhost/a",
        "https://user:pass@example.com/a",
        "https:///a",
        "ftp://example.com/a",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html;base64,PGI+",
    ] {
        for event in [
            r#"{"choices":[{"index":0,"delta":{"content":"![a](<link>)"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":0,"delta":{"images":[{"image_url":{"url":"<link>"}}]},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":[{"image_url":{"url":"<link>"}}]},"finish_reason":"stop"}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"fileData":{"fileUri":"<link>"}}]},"finishReason":"STOP"}]}"#,
            r#"{"type":"image_generation.completed","url":"<link>"}"#,
            r#"{"data":[{"url":"<link>"}],"type":"image_generation.completed"}"#,
            r#"{"type":"response.completed","response":{"output":[{"result":"<link>"}]}}"#,
        ] {
            let answer = any(&events(&[&event.replace("<link>", link)]));
            assert_eq!(answer.verdict, Err(Failure::NoImage), "{event} {link}");
        }
    }
}

#[test]
fn a_picture_of_many_pieces_in_every_shape() {
    let filling: Vec<u8> = (0..40_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let bytes = png(&filling);
    let base64 = STANDARD.encode(&bytes);
    for (document, draft) in [
        (r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"<red>"}}]}}]}"#, false),
        (r#"{"candidates":[{"content":{"parts":[{"inline_data":{"data":"<red>"},"thought":true}]}}]}"#, true),
        (r#"{"response":{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<red>"}}]}}]}}"#, false),
        (r#"[{"candidates":[{"content":{"parts":[{"inlineData":{"data":"<red>"}}]}}]}]"#, false),
        (r#"{"type":"image_generation.completed","b64_json":"<red>"}"#, false),
        (r#"{"b64_json":"<red>","type":"image_edit.partial_image"}"#, true),
        (r#"{"data":[{"url":"data:image/png;base64,<red>"}]}"#, false),
        (r#"{"images":["<red>"]}"#, false),
        (r#"{"type":"response.output_item.done","item":{"result":"<red>"}}"#, false),
        (r#"{"type":"response.completed","response":{"output":[{"result":"<red>"}]}}"#, false),
        (r#"{"output":[{"result":"<red>"}]}"#, false),
        (r#"{"type":"response.image_generation_call.partial_image","partial_image_b64":"<red>"}"#, true),
        (r#"{"choices":[{"message":{"content":[{"image_url":{"url":"data:image/png;base64,<red>"}}]}}]}"#, false),
    ] {
        for text in [document.to_owned(), format!("data: {document}\n\n"), format!(": bare\n\n{document}\n")] {
            if text.starts_with(": bare") && document.starts_with('[') {
                continue;
            }
            let text = text.replace("<red>", &base64);
            for piece in [usize::MAX, 16 * 1024, 1400, 1] {
                let pieces = text.as_bytes().chunks(piece.min(text.len()));
                let answer = read(AnyDialect::new(LocalLinks::Refused), pieces);
                assert!(answer.pictures == [(0, bytes.clone())], "{document} in pieces of {piece}");
                assert_eq!(answer.drafts, [draft], "{document} in pieces of {piece}");
            }
        }
    }
}

// ---- errors ----

#[test]
fn every_form_of_an_error() {
    let picture = r#"{"choices":[{"index":0,"delta":{"content":"![image](data:image/png;base64,<red>)"}}]}"#;
    let text = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let half = r#"{"choices":[{"index":0,"delta":{"content":"![image](data:image/png;base64,iVBORw0K"}}]}"#;
    let rows: &[(&str, Failure)] = &[
        (r#"{"error":{"message":"m","type":"server_error"}}"#, Failure::Error),
        (r#"{"error": {"message": "m", "type": "rate_limit_error"}}"#, Failure::RateLimited),
        (r#"{"error":{"message":"m","type":"server_error","param":null,"code":null}}"#, Failure::Error),
        // OpenRouter
        (
            r#"{"id":"g","error":{"code":"server_error","message":"m"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#,
            Failure::Error,
        ),
        (
            r#"{"id":"g","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":{"code":429,"message":"m","metadata":{"error_type":"x","provider_code":"y"}}}"#,
            Failure::RateLimited,
        ),
        (r#"{"error":{"code":502,"message":"Provider returned error"},"choices":[]}"#, Failure::Error),
        (
            r#"{"type":"error","error":{"code":"moderation_blocked","message":"m","param":null}}"#,
            Failure::ContentBlocked,
        ),
        // LiteLLM
        (
            "data: {\"error\":{\"message\":\"m\",\"type\":\"None\",\"param\":\"None\",\"code\":\"429\"}}\n\ndata: [DONE]",
            Failure::RateLimited,
        ),
        // Anthropic, ARK, MiniMax
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}",
            Failure::RateLimited,
        ),
        (
            "event: error\ndata: {\"error\":{\"code\":\"BadRequest\",\"message\":\"m Request ID: 1\"}}",
            Failure::BadRequest,
        ),
        (
            "event: error\ndata: {\"error\":{\"code\":\"AccountOverdueError\",\"message\":\"m\",\"param\":\"\",\"type\":\"\"}}",
            Failure::Quota,
        ),
        (
            "event: error\ndata: {\"error\":{\"message\":\"m\",\"http_code\":429},\"usage\":{\"generated_images\":0}}",
            Failure::RateLimited,
        ),
        ("event: error\ndata: {\"message\":\"m\"}", Failure::Error),
        ("event: error\ndata: {}", Failure::Error),
        ("event: error\ndata: {\"error\":null}", Failure::Error),
        // Google and ARK, without `data:`
        ("{\"error\":{\"code\":429,\"message\":\"m\",\"status\":\"RESOURCE_EXHAUSTED\"}}", Failure::RateLimited),
        (r#"{"error":{"message":"m","status":"RESOURCE_EXHAUSTED"}}"#, Failure::RateLimited),
        // vLLM
        (r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#, Failure::Error),
        (r#"{"message":"m","code":429,"object":"error"}"#, Failure::RateLimited),
        // OpenAI's Responses API
        (r#"{"type":"error","code":"server_error","message":"m","param":null,"sequence_number":3}"#, Failure::Error),
        (r#"{"type":"error","sequence_number":3,"code":"invalid_prompt","message":"m"}"#, Failure::BadRequest),
        (r#"{"type":"error"}"#, Failure::Error),
        // Others
        (r#"{"error":"m"}"#, Failure::Error),
        (r#"{"error":true}"#, Failure::Error),
        (r#"{"error":["m"]}"#, Failure::Error),
        (r#"{"err":"m"}"#, Failure::Error),
        (r#"{"err":{"msg":"m","code":503}}"#, Failure::Unavailable),
        (r#"{"response":{"error":{"message":"m","code":"insufficient_user_quota"}}}"#, Failure::Quota),
        (
            r#"{"error":{"message":"Your request was rejected by our safety system","code":null}}"#,
            Failure::ContentBlocked,
        ),
        (r#"{"error":{"message":"m","code":"prompt_blocked","type":"new_api_error"}}"#, Failure::ContentBlocked),
    ];
    for (event, failure) in rows {
        let class = failure.class();
        let (behind_text, behind_picture) = (format!("{class} \"a\""), format!("[red] 0:red +{failure:?}"));
        let (between, is_last) = (format!("{behind_picture} \"a\""), event.contains("[DONE]"));
        check_streams(&[
            (&[event], class),
            (&[text, event], &behind_text),
            (&[half, event], class),
            (&[picture, event], &behind_picture),
            (&[picture, event, text], if is_last { &behind_picture } else { &between }),
        ]);
        if let Some(body) = event.strip_prefix('{') {
            check_bodies(&[(&format!("\n{{{body}\n"), class)]);
        }
    }
}

#[test]
fn an_error_in_the_text_is_text() {
    // gcli2api writes its own errors as content; the picture is what counts.
    check_events(&[
        (
            r#"{"choices":[{"index":0,"delta":{"content":"[响应为空,请重新尝试]"},"finish_reason":"stop"}]}"#,
            r#"no_image "[响应为空,请重新尝试]""#,
        ),
        (
            r#"{"choices":[{"index":0,"delta":{"content":"{\"error\":{\"message\":\"m\"}}"},"finish_reason":"stop"}]}"#,
            r#"no_image "{\"error\":{\"message\":\"m\"}}""#,
        ),
        (
            r#"{"choices":[{"index":0,"delta":{"reasoning_content":"error"},"error":null,"finish_reason":"stop"}]}"#,
            "no_image",
        ),
    ]);
}

#[test]
fn what_says_nothing_is_no_error() {
    for nothing in [
        "null",
        "\"\"",
        "0",
        "false",
        "{}",
        "[]",
        r#"{"code":0,"message":""}"#,
        r#"{"code":null,"message":null,"type":null,"param":null}"#,
        r#"{"code":"","message":"","type":"","param":""}"#,
        r#"{"message":"","details":[],"inner":{"code":0}}"#,
    ] {
        for name in ["error", "err"] {
            let member = format!("\"{name}\":{nothing}");
            let documents = [
                r#"{"choices":[{"index":0,"delta":{"content":"![image](data:image/png;base64,<red>)"}}],<error>}"#,
                r#"{<error>,"choices":[{"index":0,"delta":{"images":["<red>"]},"finish_reason":"stop"}]}"#,
                r#"{<error>,"candidates":[{"content":{"parts":[{"inlineData":{"data":"<red>"}}]}}]}"#,
                r#"{"type":"image_generation.completed","b64_json":"<red>",<error>}"#,
                r#"{"type":"response.output_item.done",<error>,"item":{"result":"<red>"}}"#,
                r#"{"type":"response.completed","response":{<error>,"output":[{"result":"<red>"}]}}"#,
                r#"{"data":[{"b64_json":"<red>",<error>}],<error>}"#,
            ];
            for document in documents {
                let document = document.replace("<error>", &member);
                check([(events(&[&document]), "[red] 0:red"), (fill(&document), "[red] 0:red")], any);
            }
            let alone = format!("{{{member}}}");
            check([(events(&[&alone]), "upstream_truncated"), (events(&[&alone, "[DONE]"]), "no_image")], any);
            let item = format!("{{\"data\":[{{{member}}},{{\"url\":\"<a>\"}}]}}");
            check([(fill(&item), "1:a")], ark);
        }
    }
}

#[test]
fn a_bare_error_line() {
    let picture = "data: {\"choices\":[{\"index\":0,\"delta\":{\"images\":[\"<red>\"]}}]}\n";
    let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n";
    let error = "{\"error\":{\"code\":429,\"message\":\"m\",\"status\":\"RESOURCE_EXHAUSTED\"}}";
    let pretty = "{\n  \"error\": {\n    \"code\": 429,\n    \"message\": \"m\",\n    \"status\": \"RESOURCE_EXHAUSTED\"\n  }\n}";
    for error in [error, pretty] {
        let limited = "[red] 0:red +RateLimited";
        let rows = [
            (format!("{error}\n"), "rate_limited"),
            (format!("{error}\n\n{text}\n"), "rate_limited \"a\""),
            (format!(": PING\n\n{error}\n"), "rate_limited"),
            (format!("{text}\n{error}\n\n"), "rate_limited \"a\""),
            (format!("{text}\n{error}\n"), "rate_limited \"a\""),
            (format!("{text}{error}\n\n"), "rate_limited \"a\""),
            (format!("{text}\n   {error}\n\n"), "rate_limited \"a\""),
            (format!("{text}\n{error}\n\ndata: [DONE]\n\n"), "rate_limited \"a\""),
            (format!("{text}\n{error}\ndata: [DONE]\n\n"), "rate_limited \"a\""),
            (format!("{picture}\n{error}\n\n"), limited),
            (format!("{picture}{error}\n"), limited),
            (format!("{picture}\n{error}\n\n{text}\n"), "[red] 0:red +RateLimited \"a\""),
            (format!("{text}\n{error}\n\n{picture}\n"), "[red] 0:red +RateLimited \"a\""),
            (format!("{picture}\nevent: error\n{error}\n\n"), limited),
        ];
        for line_end in ["\n", "\r\n", "\r"] {
            check(rows.iter().skip(2).map(|(text, expected)| (fill(text).replace('\n', line_end), *expected)), any);
        }
        check([(fill(&rows[0].0), rows[0].1)], any);
    }
}

#[test]
fn a06_lines_without_data_as_the_vendor_prints_them() {
    let succeeded = "event: image_generation.partial_succeeded\ndata: {\n  \"type\": \"image_generation.partial_succeeded\",\n  \"model\": \"m\",\n  \"image_index\": 0,\n  \"url\": \"<a>\",\n  \"size\": \"2496x1664\"\n}\n\n";
    let failed = "event: image_generation.partial_failed\ndata: {\n    \"type\": \"image_generation.partial_failed\",\n    \"image_index\": 1,\n    \"error\": {\n        \"code\":\"OutputImageSensitiveContentDetected\",\n        \"message\":\"m\"\n    }\n}\n\n";
    let completed = "event: image_generation.completed\ndata: {\n  \"type\": \"image_generation.completed\",\n  \"usage\": {\n    \"generated_images\": 1\n  }\n}\n\n";
    let error = "event: error\ndata: {\n  \"error\": {\n    \"code\": \"InputImageSensitiveContentDetected\",\n    \"message\": \"m\"\n  }\n}\n\n";
    let done = "data: [DONE]\n\n";
    // A line that begins with a colon is a comment, so this is no document any more.
    let odd = "data: {\"type\":\"image_generation.partial_succeeded\"\n,\"url\"\n:\"<b>\"}\n\n";
    // Names of fields, tabs and commas where lines begin.
    let names = "data: {\"type\":\"image_generation.partial_succeeded\"\n,\"id\":1\n\t,\"data\":null,\n\"event\":\"x\",\"url\":\n\"<b>\",\n\"image_index\":\n2}\n\n";
    let rows = [
        ([succeeded, completed, done].concat(), "0:a"),
        ([succeeded, failed, completed, done].concat(), "0:a 1!content_blocked"),
        ([failed, succeeded].concat(), "0:a 1!content_blocked"),
        ([failed, completed, done].concat(), "content_blocked"),
        (error.to_owned(), "content_blocked"),
        ([succeeded, error].concat(), "0:a +ContentBlocked"),
        ([odd, completed].concat(), "no_image"),
        ([succeeded, odd, succeeded].concat(), "0:a"),
        ([succeeded, names].concat(), "0:a 2:b"),
        (succeeded.trim_end().to_owned() + "\n", "0:a"),
        (succeeded.replace("}\n\n", ""), "upstream_truncated"),
    ];
    for line_end in ["\n", "\r\n", "\r"] {
        check(rows.iter().map(|(text, expected)| (fill(text).replace('\n', line_end), *expected)), ark);
    }
    let answer = ark(&fill(&[succeeded, completed].concat()));
    assert_eq!(usage(&answer).unwrap().generated_images, Some(1));
}

#[test]
fn lines_that_are_nothing_are_not_read() {
    let picture = "data: {\"choices\":[{\"index\":0,\"delta\":{\"images\":[\"<red>\"]}}]}\n\n";
    for line in [
        "upstream says hello",
        "retrying: 1",
        "Data: {\"error\":1}",
        "error",
        "error: {\"message\":\"m\"}",
        "<p>",
        "}",
        "]}",
        "]",
        "[DONE]",
        "[1]",
        "[{\"error\":{\"code\":429,\"message\":\"m\"}}]",
        "\"a\"",
        "null",
        "1",
        "-",
        ",",
        "   ",
        " data: {\"error\":\"m\"}",
        "好",
    ] {
        let lines = format!("{line}\n").repeat(5);
        let events = format!("{line}\n\n").repeat(5);
        check(
            [
                (fill(&format!("{picture}{lines}\ndata: [DONE]\n\n")), "[red] 0:red"),
                (fill(&format!(": a\n\n{events}{picture}")), "[red] 0:red"),
                (fill(&format!(": a\n{lines}{picture}")), "[red] 0:red"),
                (format!(": a\n\n{lines}\ndata: [DONE]\n\n"), "no_image"),
            ],
            any,
        );
    }
}

#[test]
fn bodies_of_failed_calls() {
    for (status, body, failure) in [
        // h05, h08, h10, h11
        (400, r#"{"error":{"message":"m","type":"upstream_error","param":"","code":400}}"#, Failure::BadRequest),
        (500, r#"{"error":{"message":"m","type":"upstream_error","code":429}}"#, Failure::RateLimited),
        (500, r#"{"error":{"message":"m","type":"upstream_error","code":null}}"#, Failure::Error),
        (524, "<!DOCTYPE html>\n<html><head><title>524: A timeout occurred</title></head></html>", Failure::Timeout),
        (502, "<html><body>Bad Gateway</body></html>", Failure::Error),
        (504, "<html></html>", Failure::Timeout),
        (500, r#"{"error":{"code":"x","http_code":"429","message":"m"}}"#, Failure::RateLimited),
        (500, r#"{"error":{"code":"insufficient_user_quota","http_code":500,"message":"m"}}"#, Failure::Quota),
        (401, r#"{"error":"Unauthorized"}"#, Failure::Auth),
        (401, r#"{"error":"该令牌额度已用尽"}"#, Failure::Quota),
        (503, r#"{"msg":"当前分组 default 下对于模型 m 无可用渠道"}"#, Failure::ModelUnavailable),
        (503, r#"{"message":"当前分组 default 下对于模型 m 无可用渠道"}"#, Failure::ModelUnavailable),
        (503, r#"{"err":"当前分组 default 下对于模型 m 无可用渠道"}"#, Failure::ModelUnavailable),
        (503, r#"{"error_msg":"当前分组 default 下对于模型 m 无可用渠道"}"#, Failure::ModelUnavailable),
        (503, r#"{"header":{"message":"当前分组 default 下对于模型 m 无可用渠道"}}"#, Failure::ModelUnavailable),
        (
            503,
            r#"{"response":{"error":{"message":"当前分组 default 下对于模型 m 无可用渠道"}}}"#,
            Failure::ModelUnavailable,
        ),
        (503, r#"{"msg":"m"}"#, Failure::Unavailable),
        (429, "", Failure::RateLimited),
        (413, "Request Entity Too Large", Failure::PayloadTooLarge),
        // a21, a24, a30
        (
            400,
            r#"{"error":{"code":"InvalidParameter","message":"Timeout while downloading url=https://example.com/a Request id: 1","param":"image","type":""}}"#,
            Failure::InputImageUnreachable,
        ),
        (
            400,
            r#"{"error":{"code":"InputImageSensitiveContentDetected.PrivacyInformation","message":"m","param":"","type":"BadRequest"}}"#,
            Failure::ContentBlocked,
        ),
        (
            400,
            r#"{"error":{"code":"InvalidParameter","message":"m","param":"stream","type":"BadRequest"}}"#,
            Failure::BadRequest,
        ),
        // Google, in a list too
        (400, r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT"}}]"#, Failure::Auth),
        (
            429,
            r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"code":1}]}}"#,
            Failure::RateLimited,
        ),
    ] {
        let answer = at_every_cut(body, || AnyDialect::refusal(status));
        assert_eq!(answer.verdict, Err(failure), "{status} {body}");
    }
}

#[test]
fn text_longer_than_what_waits() {
    let long = "a".repeat(70_000);
    for event in [
        format!(r#"data: {{"type":"image_generation.text_chunk","phase":"content","text":"{long}"}}"#),
        format!(r#"data: {{"type":"response.output_text.delta","delta":"{long}"}}"#),
    ] {
        let text = event + "\n\n";
        let read =
            |piece: usize| read(AnyDialect::new(LocalLinks::Refused), text.as_bytes().chunks(piece)).text(0).len();
        assert_eq!([read(text.len()), read(16 * 1024), read(1400), read(1)], [long.len(); 4]);
    }
    for (event, shown) in [
        (format!(r#"{{"type":"image_generation.text_chunk","phase":"draft","text":"{long}"}}"#), 0),
        (format!(r#"{{"type":"image_generation.note","text":"{long}"}}"#), 0),
        // The index stands behind more than waits for it.
        (format!(r#"{{"choices":[{{"delta":{{"content":"{long}"}},"index":0}}]}}"#), long.len()),
        (format!(r#"{{"choices":[{{"message":{{"content":"{long}"}},"index":0}}]}}"#), long.len()),
    ] {
        let text = format!("data: {event}\n\n");
        for piece in [text.len(), 16 * 1024, 1400, 1] {
            let answer = read(AnyDialect::new(LocalLinks::Refused), text.as_bytes().chunks(piece));
            assert_eq!(answer.text(0).len(), shown, "{event:.60} in pieces of {piece}");
        }
    }
}

#[test]
fn a_thought_longer_than_what_waits_whose_mark_stands_behind() {
    let part = format!(r#"{{"text":"{}","thought":true}}"#, "a".repeat(70_000));
    let text = parts(&part);
    let read = |piece: usize| read(AnyDialect::new(LocalLinks::Refused), text.as_bytes().chunks(piece)).text(0).len();
    // Whatever is shown of it, the cutting makes no difference.
    assert_eq!([read(16 * 1024), read(1400), read(1)], [read(text.len()); 3]);
}

#[test]
fn a_short_last_line_without_its_end() {
    let picture = "event: image_generation.partial_succeeded\ndata: {\n  \"type\": \"image_generation.partial_succeeded\",\n  \"image_index\": 0,\n  \"url\": \"<a>\"\n}";
    let error = ": PING\n\n{\n  \"error\": {\n    \"code\": 429,\n    \"message\": \"m\"\n  }\n}";
    check([(fill(picture), "0:a"), (fill(error), "rate_limited")], ark);
}

#[test]
fn an_error_of_one_item_of_a_response() {
    let item = r#"{"type":"response.output_item.done","item":{"type":"image_generation_call","status":"failed","result":null,"error":{"code":"moderation_blocked","message":"m","moderation_details":{"moderation_stage":"output"}}}}"#;
    check_streams(&[
        (&[item, EMPTY], "content_blocked"),
        (&[ITEM, item, EMPTY], "[red] 0:red 1!content_blocked"),
        // Another try at the same one.
        (&[item, ITEM, EMPTY], "[red] 0:red"),
    ]);
    check_bodies(&[(
        r#"{"output":[{"type":"image_generation_call","status":"failed","error":{"code":"moderation_blocked","message":"m"}}]}"#,
        "content_blocked",
    )]);
}

#[test]
fn why_a_body_of_a_response_is_incomplete() {
    check_bodies(&[(
        r#"{"object":"response","status":"incomplete","incomplete_details":{"reason":"content_filter"},"output":[]}"#,
        "content_blocked",
    )]);
}

#[test]
fn a_completed_call_is_not_the_end() {
    check_streams(&[(
        &[r#"{"type":"response.image_generation_call.completed","output_index":0,"item_id":"ig_1"}"#],
        "upstream_truncated",
    )]);
}

#[test]
fn the_class_of_an_error_does_not_depend_on_the_order_of_members() {
    check_streams(&[
        (&[r#"{"type":"error","error":{"message":"m","type":"rate_limit_error"}}"#], "rate_limited"),
        (&[r#"{"error":{"message":"m","type":"rate_limit_error"},"type":"error"}"#], "rate_limited"),
        (
            &[r#"{"error":{"message":"m","type":"invalid_request_error"},"object":"error","type":"error"}"#],
            "bad_request",
        ),
        (&[r#"{"error":{"code":"ModelNotOpen","message":"m"},"code":""}"#], "model_unavailable"),
        (
            &[
                r#"{"error":{"message":"m","type":"rate_limit_error"},"image_index":0,"type":"image_generation.partial_failed"}"#,
            ],
            "rate_limited",
        ),
    ]);
    for body in [
        r#"{"error":{"message":"该令牌额度已用尽","type":"new_api_error"},"message":"error"}"#,
        r#"{"error":{"message":"该令牌额度已用尽","type":"new_api_error"},"message":"","msg":""}"#,
        r#"{"error":{"code":"insufficient_user_quota","message":"m"},"code":"error","type":"error"}"#,
    ] {
        assert_eq!(at_every_cut(body, || AnyDialect::refusal(401)).verdict, Err(Failure::Quota), "{body}");
    }
}

#[test]
fn a_link_beside_empty_base64() {
    let completed =
        |link: &str| format!(r#"{{"type":"image_generation.completed","url":"{link}","b64_json":"","size":"2x3"}}"#);
    check_streams(&[(&[&completed("<a>"), &completed("<b>")], "0:a 1:b")]);
    check_events(&[(r#"{"url":"<a>","b64_json":"","type":"image_generation.partial_image"}"#, "0:a~")]);
    let source = any(&events(&[&completed("<a>")])).verdict.unwrap().images[0].source.clone();
    assert_eq!(source, ImageSource::Link { url: format!("{LINKS}a"), pixels: Some((2, 3)) });
}

#[test]
fn an_event_named_error_whose_data_has_a_type_of_its_own() {
    check_events(&[
        ("event: error\ndata: {\"type\":\"server_error\",\"message\":\"m\"}", "upstream_error"),
        ("event: error\ndata: {\"type\":\"x\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}", "rate_limited"),
    ]);
}

#[test]
fn a_failed_picture_without_a_reason() {
    for error in ["", ",\"error\":null", ",\"error\":{}"] {
        let event = format!("{{\"type\":\"image_generation.partial_failed\",\"image_index\":1{error}}}");
        let succeeded = r#"{"type":"image_generation.partial_succeeded","image_index":0,"url":"<a>"}"#;
        check(
            [
                (events(&[succeeded, &event, r#"{"type":"image_generation.completed"}"#]), "0:a 1!upstream_error"),
                (events(&[&event, r#"{"type":"image_generation.completed"}"#]), "upstream_error"),
            ],
            ark,
        );
    }
}

#[test]
fn everything_written_twice() {
    let completed = r#"{"type":"image_generation.completed","b64_json":"<red>"}"#;
    check_streams(&[(&[completed, completed], "[red red] 0:red"), (&[ITEM, ITEM, LISTED], "[red red] 0:red")]);
}

#[test]
fn what_a_response_says_in_one_body() {
    check_bodies(&[(
        r#"{"output":[{"type":"message","content":[{"type":"output_text","text":"I cannot"}]}]}"#,
        "no_image \"I cannot\"",
    )]);
}

#[test]
fn several_forms_of_one_picture() {
    check_events(&[
        (r#"{"b64_json":"<red>","url":"data:image/png;base64,<blue>"}"#, "[red blue] 0:blue"),
        (r#"{"url":"data:image/png;base64,<red>","b64_json":"<blue>","image_url":"<a>"}"#, "[red blue] 0:a"),
        (r#"{"url":"<a>","b64_json":"","image_url":""}"#, "0:a"),
        (r#"{"url":"<a>","b64_json":"","image_url":{"url":""},"size":"1x1"}"#, "0:a"),
        (r#"{"url":"<a>","b64_json":"<red>","image_url":{"url":"<b>"}}"#, "[red] 0:b"),
    ]);
}

#[test]
fn what_breaks_off_behind_a_whole_picture() {
    let cut = |text: &str| (fill(text), "[red] 0:red");
    let cut_draft = |text: &str| (fill(text), "[red~] 0:red~");
    check(
        [
            cut(r#"{"type":"image_generation.completed","b64_json":"<red>","url":"https://example.com/"#),
            cut(r#"{"type":"image_generation.completed","b64_json":"<red>","url":"https"#),
            cut(r#"{"type":"image_generation.completed","b64_json":"<red>","url":""#),
            cut(r#"{"type":"image_generation.completed","b64_json":"<red>","url":nul"#),
            cut(r#"{"data":[{"b64_json":"<red>","url":"https://example.com/"#),
            cut_draft(r#"{"type":"image_generation.partial_image","b64_json":"<red>"#),
            cut_draft(r#"{"type":"image_generation.partial_image","b64_json":"<red>","url":"https://example.com/"#),
            cut_draft(r#"{"type":"response.image_generation_call.partial_image","partial_image_b64":"<red>"#),
            cut_draft(r#"{"candidates":[{"content":{"parts":[{"thought":true,"inlineData":{"data":"<red>"#),
        ],
        any,
    );
}

#[test]
fn what_a_document_says_holds_for_no_other() {
    let broken =
        "data: {\"type\":\"image_generation.partial_succeeded\",\"image_index\":3,\"size\":\"2x3\",\"url\":\"<b>";
    let succeeded = r#"{"type":"image_generation.partial_succeeded","url":"<a>"}"#;
    let error = r#"{"type":"error","image_index":3,"size":"2x3","error":{"code":"server_error","message":"m"}}"#;
    let failed = r#"{"type":"image_generation.partial_failed","image_index":1,"error":{"code":"moderation_blocked"}}"#;
    let third = r#"{"type":"image_generation.partial_succeeded","image_index":2,"url":"<a>"}"#;
    for (all, expected) in [
        (vec![broken, succeeded], "0:a"),
        (vec![error, succeeded], "0:a +Error"),
        // The next one.
        (vec![third, r#"{"url":"<b>"}"#], "2:a 3:b"),
        (vec![failed, r#"{"url":"<b>"}"#], "2:b 1!content_blocked"),
        // Told twice.
        (vec![failed, failed, third], "2:a 1!content_blocked"),
    ] {
        let answer = ark(&events(&all));
        assert_eq!(told(&answer), expected, "{all:?}");
        let success = answer.verdict.unwrap();
        assert!(
            success.images.iter().all(|image| matches!(image.source, ImageSource::Link { pixels: None, .. })),
            "{all:?}"
        );
    }
}

#[test]
fn as_many_as_are_looked_at() {
    for (index, expected) in [("7", "7:a"), ("8", "no_image"), ("-1", "0:a"), ("1.5", "0:a"), ("\"2\"", "0:a")] {
        let event = format!("{{\"choices\":[{{\"delta\":{{\"content\":\"![a](<a>)\"}},\"index\":{index}}}]}}");
        check([(events(&[&event, "[DONE]"]), expected)], any);
    }
    let items: Vec<_> = (0..70).map(|number| format!("\"{LINKS}{number}\"")).collect();
    let body = format!("{{\"data\":[{}]}}", items.join(","));
    let success = read(AnyDialect::new(LocalLinks::Refused), [body.as_bytes()]).verdict.unwrap();
    assert_eq!(success.images.len(), 64);
}

#[test]
fn a_document_over_lines_within_a_text() {
    check_streams(&[(&["data:   [DONE]"], "no_image"), (&["data:  {\"b64_json\":\"<red>\"}"], "[red] 0:red")]);
    check_events(&[
        (
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\ndata:   b\ndata: [DONE]\"}}]}",
            r#"no_image "a\n  b\n[DONE]""#,
        ),
        // Half a character at the end.
        (r#"{"choices":[{"index":0,"delta":{"content":"a\ud83d"}}]}"#, "no_image \"a\u{fffd}\""),
    ]);
}

#[test]
fn a_byte_order_mark_or_a_part_of_one() {
    let (stream, body) = (events(&[r#"{"b64_json":"<red>"}"#, "[DONE]"]), fill(r#"{"data":[{"b64_json":"<red>"}]}"#));
    for (text, expected) in
        [(stream, "[red] 0:red"), (body, "[red] 0:red"), ("<html>".into(), "upstream_bad_content_type")]
    {
        for mark in [&b"\xEF\xBB\xBF"[..], b"\xEF\xBB", b"\xEF"] {
            let text = [mark, text.as_bytes()].concat();
            for piece in [1, 2, text.len()] {
                let answer = read(AnyDialect::new(LocalLinks::Refused), text.chunks(piece));
                assert_eq!(told(&answer), expected, "{mark:?} in pieces of {piece}");
            }
        }
    }
}

/// One delta of chat content, and a normal stop.
fn says(text: &str) -> String {
    let stop = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    events(&[&format!("{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}"), stop])
}

#[test]
fn what_stands_behind_a_whole_picture_does_not_spoil_it() {
    let open = "![image](data:image/png;base64,<red>";
    let rows = [
        (format!("{open}\\n\\n→ Here it is."), "[red] 0:red"),
        (format!("{open} 'cat')!"), "[red] 0:red \"!\""),
        (format!("{open} (cat) )"), "[red] 0:red \" )\""),
        (format!("{open} \\\"cat\\\") b"), "[red] 0:red \" b\""),
        (format!("{open} =300x200)"), "[red] 0:red"),
        ("<img src='data:image/png;base64,<red>' alt='a'>".to_owned(), "[red] 0:red \"<img src='' alt='a'>\""),
        // Never closed, and another behind it.
        (format!("{open}\\n![image](data:image/png;base64,<blue>)"), "[red blue] 0:blue"),
        (format!("{open}\\n'Tis here: ![a](data:image/png;base64,<blue>)"), "[red blue] 0:blue"),
        (format!("![a](data:image/png;base64,iVBORw0KGgoAAAAN{open})"), "[red] 0:red"),
        (format!("![a](<a> 'a title {open})"), "[red] 0:red"),
        // A broken one stays broken.
        ("![a](data:image/png;base64,iVBORw0KGgoAAAAN. Oh)".to_owned(), "upstream_truncated"),
        // As MIME breaks it.
        (format!("data:image/png;base64,{}\\n{} ", &PNG[..76], &PNG[76..]), "[red] 0:red \" \""),
        (format!("{}\\r\\n{}", &PNG[..76], &PNG[76..]), "[red] 0:red"),
    ];
    check(rows.iter().map(|(text, expected)| (says(text), *expected)), any);
}

/// Its last line is as long as the others.
#[test]
fn what_stands_behind_wrapped_base64_is_text() {
    let bytes = (0..57).map(|filling| png(&vec![7; filling])).find(|bytes| bytes.len() % 57 == 0).unwrap();
    let base64 = STANDARD.encode(bytes);
    let lines: Vec<_> = base64.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let wrapped = lines.join("\\n");
    for label in ["data:image/png;base64,", ""] {
        let answer = any(&says(&format!("{label}{wrapped}\\nHere it is")));
        assert_eq!((pictures(&answer), answer.text(0).as_str()), (vec![base64.clone()], "\nHere it is"));
    }
}

#[test]
fn what_fails_beside_a_whole_picture_is_told() {
    let good = r#"{"type":"image_generation.partial_succeeded","image_index":0,"url":"<a>"}"#;
    let bad = |member: &str| format!("{{\"type\":\"image_generation.partial_succeeded\",\"image_index\":1,{member}}}");
    let (refused, cut) = (bad("\"url\":\"http://e.com/a\""), bad("\"b64_json\":\"iVBORw0KGgoAAAAN\""));
    let overdue = r#"{"error":{"code":"AccountOverdueError","message":"m"}}"#;
    for (then, expected, cut_short) in [
        (refused.as_str(), "0:a 1!no_image", None),
        (&cut, "0:a 1!upstream_truncated", None),
        (cut.trim_end_matches(['"', '}']), "0:a 1!upstream_truncated", None),
        (overdue, "0:a +Quota", Some(Failure::Quota)),
    ] {
        let answer = ark(&events(&[good, then]));
        assert_eq!(told(&answer), expected);
        assert_eq!(answer.verdict.unwrap().cut_short, cut_short, "{then}");
    }
    // What comes in its place after all has not failed.
    check([(events(&[&cut, good, &bad("\"url\":\"<b>\"")]), "0:a 1:b")], ark);
}

#[test]
fn a_code_and_a_message_without_an_error() {
    check_bodies(&[
        (r#"{"code":"insufficient_user_quota","message":"m"}"#, "upstream_quota"),
        (r#"{"success":false,"message":"invalid token","code":401}"#, "upstream_auth"),
        (r#"{"code":429,"msg":"m","data":null}"#, "rate_limited"),
        (r#"{"code":0,"msg":"success","data":[{"b64_json":"<red>"}]}"#, "[red] 0:red"),
        (r#"{"code":200,"message":"ok","data":[{"url":"<a>"}]}"#, "0:a"),
        (r#"{"code":200,"message":"ok"}"#, "no_image"),
        (r#"{"code":429,"message":""}"#, "no_image"),
        (r#"{"code":"unheard_of","message":"m"}"#, "no_image"),
    ]);
}

#[test]
fn plain_text_is_neither_a_stream_nor_json() {
    check_bodies(&[
        ("Service temporarily unavailable\n", "upstream_bad_content_type"),
        (
            "upstream connect error or disconnect/reset before headers. reset reason: overflow",
            "upstream_bad_content_type",
        ),
        ("no", "upstream_bad_content_type"),
        (": a comment\nService temporarily unavailable\n", "upstream_truncated"),
        ("data: Service temporarily unavailable\n\n", "upstream_truncated"),
        ("event: ping\n\n", "upstream_truncated"),
        ("", "upstream_truncated"),
    ]);
}

#[test]
fn lines_that_cannot_be_read_do_not_hide_why_it_failed() {
    let filtered = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"content_filter"}]}"#;
    let no_money = r#"{"error":{"code":"insufficient_user_quota","message":"m"}}"#;
    let garbage = ["data: }"; 3];
    for (said, expected) in [
        (no_money, "upstream_quota"),
        (filtered, "content_blocked"),
        (r#"{"b64_json":"<red>"}"#, "[red] 0:red +Protocol"),
        (r#"{"choices":[]}"#, "upstream_protocol_error"),
    ] {
        let (before, after) = ([&[said][..], &garbage].concat(), [&garbage[..], &[said]].concat());
        check([(events(&before), expected), (events(&after), expected)], any);
    }
}

#[test]
fn a_name_that_is_too_long() {
    for (letters, expected) in [(58, "upstream_error"), (59, "no_image")] {
        let event = format!("event: {}.error\ndata: {{\"message\":\"m\"}}", "a".repeat(letters));
        check_events(&[(&event, expected)]);
    }
}

#[test]
fn a_picture_under_way_beside_something_else() {
    let (head, tail) = PNG.split_at(60);
    let says = |text: &str| format!("{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}");
    let (head, tail) = (says(&format!("![image](data:image/png;base64,{head}")), says(&format!("{tail})")));
    // A link stands beside it, what is none says nothing; what begins like a picture ends it.
    let harmless = ["<a>", "", "http://example.com/a", "ftp://example.com/a", "https://127.0.0.1/a"];
    let rows = harmless.iter().map(|beside| (*beside, "[red] 0:red")).chain([("abc", "upstream_truncated")]);
    for (beside, expected) in rows {
        let images = format!("{{\"choices\":[{{\"index\":0,\"delta\":{{\"images\":[\"{beside}\"]}}}}]}}");
        check([(events(&[&head, &images, &tail, "[DONE]"]), expected)], any);
    }
}

#[test]
fn counts_of_several_calls() {
    let usage = |input_tokens, output_tokens, total_tokens, generated_images| Usage {
        input_tokens,
        output_tokens,
        total_tokens,
        generated_images,
    };
    let (some, none) = (usage(Some(1), Some(20), Some(300), Some(4000)), Usage::default());
    assert_eq!(some.plus(usage(Some(5), Some(6), Some(7), Some(8))), usage(Some(6), Some(26), Some(307), Some(4008)));
    assert_eq!((some.plus(none), none.plus(some), none.plus(none)), (some, some, none));
    assert_eq!(
        usage(Some(u64::MAX), None, None, None).plus(some),
        usage(Some(u64::MAX), Some(20), Some(300), Some(4000))
    );
}

#[test]
fn two_forms_of_one_preview() {
    check_events(&[
        (r#"{"type":"image_generation.partial_image","b64_json":"<red>","url":"<a>"}"#, "[red~] 0:a~"),
        (r#"{"b64_json":"<red>","url":"<a>","type":"image_generation.partial_image"}"#, "[red~] 0:a~"),
    ]);
}

#[test]
fn zeros_in_other_spellings() {
    check_bodies(&[
        (r#"{"data":[{"b64_json":"<red>"}],"error":0.0}"#, "[red] 0:red"),
        (r#"{"data":[{"b64_json":"<red>"}],"error":{"code":0,"message":"","retryable":false}}"#, "[red] 0:red"),
    ]);
}
