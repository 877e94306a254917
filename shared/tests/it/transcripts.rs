//! Answers that no fixture shows, written out here: whole, byte by byte and at every cut.

use base64::{Engine, engine::general_purpose as base64_as};
use shared::image_url::LocalLinks;
use shared::upstream::{AnyDialect, Failure};

use crate::support::answer::{Answer, read};
use crate::support::pictures::{PNG, png};
use crate::support::rows::{BLUE, at_every_cut, finals, pictures};

const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
const WEBP: &str = "UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAQAcJaQAA3AA/v3AgAA=";
const SVG: &str = "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciPjwvc3ZnPg==";

fn chat(text: &str) -> Answer {
    at_every_cut(text, || AnyDialect::new(LocalLinks::Refused))
}

fn ark(text: &str) -> Answer {
    at_every_cut(text, || AnyDialect::ark(LocalLinks::Refused))
}

/// One chat chunk that says `delta`.
fn chunk(delta: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{{delta}}}}}]}}\n\n")
}

fn says(text: &str) -> String {
    chunk(&format!("\"content\":\"{text}\""))
}

fn stop() -> String {
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n".to_owned()
}

fn image(base64: &str) -> String {
    format!("![image](data:image/png;base64,{base64})")
}

// ---- chat content (c) ----

#[test]
fn c05_two_images_and_c07_the_same_twice() {
    let two = chat(&(says(&format!("{}\\n\\n{}", image(PNG), image(BLUE))) + &stop()));
    assert_eq!(pictures(&two), [PNG, BLUE]);
    assert_eq!(two.text(0), "\n\n");
    assert_eq!(finals(&two), [(0, BLUE.to_owned())]);
    let twice = chat(&(says(&image(PNG)) + &says(&image(PNG)) + &stop()));
    assert_eq!(finals(&twice), [(0, PNG.to_owned())]);
}

#[test]
fn c11_url_safe_and_unpadded_base64_and_c13_other_formats() {
    let bytes = png(&[0xFB, 0xFF, 0xBF, 0xFE]);
    let url_safe = base64_as::URL_SAFE_NO_PAD.encode(&bytes);
    assert!(url_safe.contains(['-', '_']) && !url_safe.len().is_multiple_of(4));
    let answer = chat(&(says(&image(&url_safe)) + &stop()));
    assert_eq!(answer.pictures, [(0, bytes)]);
    for (base64, name) in [(GIF, "Gif"), (WEBP, "Webp")] {
        let answer = chat(&(says(&image(base64)) + &stop()));
        assert_eq!(pictures(&answer), [base64]);
        assert!(format!("{:?}", answer.seen).contains(&format!("media_type: {name}")));
    }
}

#[test]
fn c21_upload_failed_and_the_picture_beside_it() {
    let answer = chat(
        &(says("![one-hub-gemini-image](image upload err)")
            + &chunk(&format!("\"image\":[{{\"data\":\"{BLUE}\"}}]"))
            + &stop()),
    );
    assert_eq!(finals(&answer), [(0, BLUE.to_owned())]);
    assert_eq!(answer.text(0), "![one-hub-gemini-image](image upload err)");
}

#[test]
fn c22_spellings_of_a_link() {
    let link = "https://cdn.example.com/a.png";
    for markdown in [
        format!("![a]({link})"),
        format!("![{link}]({link})"),
        format!("![a](<{link}>)"),
        format!("![a]({link} \\\"title\\\")"),
        format!("![a]({link}) [download]({link}?download)"),
    ] {
        assert_eq!(finals(&chat(&(says(&markdown) + &stop()))), [(0, link.to_owned())], "{markdown}");
    }
    let nested = "https://example.com/a_(b(c)).png";
    assert_eq!(finals(&chat(&(says(&format!("![a]({nested})")) + &stop()))), [(0, nested.to_owned())]);
    // A link without `!` is none.
    for markdown in ["[a](https://example.com/a.png)", "![a] [b](https://example.com/)"] {
        assert_eq!(chat(&(says(markdown) + &stop())).verdict, Err(Failure::NoImage), "{markdown}");
    }
}

#[test]
fn c32_each_chunk_a_better_preview() {
    let preview = |base64| {
        chunk(&format!(
            "\"content\":null,\"images\":[{{\"index\":0,\"image_url\":{{\"url\":\"data:image/png;base64,{base64}\"}}}}]"
        ))
    };
    let middle = base64_as::STANDARD.encode(png(b"middle"));
    let answer = chat(&(preview(PNG) + &preview(&middle) + &preview(&middle) + &preview(BLUE) + &stop()));
    assert_eq!(finals(&answer), [(0, BLUE.to_owned())]);
}

#[test]
fn c34_spellings_of_an_item() {
    let url = format!("data:image/png;base64,{PNG}");
    for delta in [
        format!("\"images\":[{{\"type\":\"image_url\",\"image_url\":{{\"url\":\"{url}\"}},\"index\":0}}]"),
        format!("\"images\":[{{\"image_url\":\"{url}\"}}]"),
        format!("\"images\":[{{\"url\":\"{url}\"}}]"),
        format!("\"images\":[{{\"b64_json\":\"{PNG}\"}}]"),
        format!("\"images\":[{{\"data\":\"{PNG}\"}}]"),
        format!("\"images\":[\"{url}\"]"),
        format!("\"images\":[\"{PNG}\"]"),
        format!("\"image\":[{{\"data\":\"{PNG}\"}}]"),
        format!("\"image\":{{\"url\":\"{url}\"}}"),
        format!("\"image_b64_json\":\"{PNG}\""),
        format!("\"content\":[{{\"type\":\"image_url\",\"image_url\":{{\"url\":\"{url}\"}}}}]"),
        format!("\"content\":[{{\"type\":\"text\",\"text\":\"{}\"}}]", image(PNG)),
        format!("\"content\":\"{PNG}\""),
        format!("\"content\":\"{url}\""),
        format!("\"content\":\"![Generated Image]({url})\""),
    ] {
        assert_eq!(finals(&chat(&(chunk(&delta) + &stop()))), [(0, PNG.to_owned())], "{delta}");
    }
    // A list of several, and a link where a picture may stand.
    let several = chunk(&format!("\"images\":[\"{PNG}\",{{\"url\":\"https://example.com/a.png\"}}]"));
    assert_eq!(finals(&chat(&(several + &stop()))), [(0, "https://example.com/a.png".to_owned())]);
}

#[test]
fn c36_message_in_a_stream() {
    let text = format!(
        "data: {{\"choices\":[{{\"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\"index\":0}}]}}\n\n",
        image(PNG)
    );
    assert_eq!(finals(&chat(&text)), [(0, PNG.to_owned())]);
}

#[test]
fn a_surrogate_pair_in_two_deltas_is_two_unknown_characters() {
    let answer = chat(&(says("a\\ud83d") + &says("\\ude00b\\ud83d") + &says("c") + &stop()));
    assert_eq!(answer.text(0), "a\u{FFFD}\u{FFFD}b\u{FFFD}c");
    assert_eq!(answer.verdict, Err(Failure::NoImage));
}

#[test]
fn a_picture_that_has_not_ended_beside_another() {
    let (head, tail) = PNG.split_at(60);
    let other = chunk(&format!("\"images\":[\"{BLUE}\"]"));
    // The one in the text is whole but for its parenthesis, or it is not.
    let whole = chat(&(says(&image(PNG).replace(')', "")) + &other + &stop()));
    assert_eq!(pictures(&whole), [PNG, BLUE]);
    let broken = chat(
        &(says(&format!("![image](data:image/png;base64,{head}")) + &other + &says(&format!("{tail})")) + &stop()),
    );
    assert_eq!(pictures(&broken), [BLUE]);
}

#[test]
fn base64_that_breaks_off_in_a_character_of_something_else() {
    // The bytes before it decide, however they were cut.
    let broken = |base64: &str| chat(&(says(&image(base64)) + &stop())).verdict;
    assert_eq!(broken(&format!("{SVG}<")), Err(Failure::NoImage));
    assert_eq!(broken(&format!("{}<", &PNG[..80])), Err(Failure::Truncated));
    assert_eq!(broken(&format!("{}=", &PNG[..81])), Err(Failure::Truncated));
    assert_eq!(broken(&PNG[..81]), Err(Failure::Truncated));
    assert_eq!(broken(SVG), Err(Failure::NoImage));
}

#[test]
fn a_link_that_is_too_long() {
    // A link that is cut to size would lead elsewhere.
    for space in ["", " ", "  "] {
        let long = format!("\"images\":[\"{space}https://example.com/{}\"]", "a".repeat(5000));
        let text = chunk(&long) + &stop();
        let whole = read(AnyDialect::new(LocalLinks::Refused), [text.as_bytes()]);
        assert_eq!(whole.verdict, Err(Failure::NoImage));
        assert_eq!(read(AnyDialect::new(LocalLinks::Refused), text.as_bytes().chunks(1)), whole);
    }
}

// ---- framing (f) ----

#[test]
fn f02_carriage_returns() {
    let text = (says("好") + &says(&image(PNG)) + &stop()).replace('\n', "\r");
    let answer = chat(&text);
    assert_eq!(finals(&answer), [(0, PNG.to_owned())]);
    assert_eq!(answer.text(0), "好");
}

#[test]
fn f05_a_document_in_many_lines() {
    let text = chunk(&format!("\n\"content\"\n:\n\"{}\"\n", image(PNG)))
        .replace('\n', "\ndata: ")
        .replace("data: \ndata: ", "\n");
    assert!(text.lines().count() > 5);
    assert_eq!(finals(&chat(&text)), [(0, PNG.to_owned())]);
    // One-api writes the line feeds of a text as line ends.
    let answer = chat(&(says("a\ndata: b") + &stop()));
    assert_eq!(answer.text(0), "a\nb");
}

#[test]
fn f09_the_last_event_is_not_ended() {
    for text in [says(&image(PNG)).trim_end().to_owned(), says(&image(PNG)).trim_end().to_owned() + "\n"] {
        assert_eq!(finals(&chat(&text)), [(0, PNG.to_owned())]);
    }
}

#[test]
fn f11_what_follows_done_is_not_read() {
    let error = "data: {\"error\":{\"message\":\"late\"}}\n\n";
    let answer = chat(&(says(&image(PNG)) + &stop() + &says(&image(BLUE)) + error));
    assert_eq!(pictures(&answer), [PNG]);
    assert!(!format!("{:?}", answer.seen).contains("Failed"));
}

#[test]
fn f13_one_line_of_garbage() {
    for garbage in
        ["data: {\"choices\":[{\"de\n\n", "data: garbage\n\n", "garbage\n\n", "data: <html>\n\n", "data: {]}\n\n"]
    {
        let answer = chat(&(says("a") + garbage + &says(&image(PNG)) + &stop()));
        assert_eq!(finals(&answer), [(0, PNG.to_owned())], "{garbage}");
    }
}

#[test]
fn f15_a_picture_in_reasoning_is_none() {
    for name in ["reasoning_content", "reasoning"] {
        let thought = chunk(&format!("\"{name}\":\"{}\"", image(PNG)));
        assert_eq!(chat(&(thought.clone() + &stop())).verdict, Err(Failure::NoImage));
        assert_eq!(finals(&chat(&(thought + &says(&image(BLUE)) + &stop()))), [(0, BLUE.to_owned())]);
    }
}

#[test]
fn what_only_begins_like_done_is_a_document() {
    let answer = chat(&("data: [DON]\n\n".repeat(3) + &says("a") + &stop()));
    assert_eq!(answer.verdict, Err(Failure::NoImage));
    let garbage = chat(&("data: DON]\n\n".repeat(3) + &says("a") + &stop()));
    assert_eq!(garbage.verdict, Err(Failure::Protocol));
}

// ---- failures (e) ----

#[test]
fn e03_the_end_within_json() {
    let picture = chunk(&format!("\"images\":[\"{PNG}\"]"));
    assert_eq!(chat(&picture[..60]).verdict, Err(Failure::Truncated));
    // What was whole before it stays.
    assert_eq!(finals(&chat(&(picture + "data: {\"choices\":[{"))), [(0, PNG.to_owned())]);
}

#[test]
fn e08_e10_e12_errors() {
    let overloaded = "{\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\"}}";
    let limited = "{\"error\":{\"message\":\"slow down\",\"type\":\"None\",\"param\":\"None\",\"code\":\"429\"}}";
    assert_eq!(chat(&(says("a") + &format!("data: {overloaded}\n\n"))).verdict, Err(Failure::Error));
    assert_eq!(chat(&format!("data: {limited}\n\ndata: [DONE]\n\n")).verdict, Err(Failure::RateLimited));
    assert_eq!(chat(limited).verdict, Err(Failure::RateLimited));
    assert_eq!(chat(&format!("\n\n{limited}\n")).verdict, Err(Failure::RateLimited));
}

#[test]
fn e14_an_error_after_a_whole_picture() {
    let error = "event: error\ndata: {\"error\":{\"message\":\"gone\",\"code\":\"503\"}}\n\n";
    assert_eq!(finals(&chat(&(says(&image(PNG)) + error))), [(0, PNG.to_owned())]);
    assert_eq!(chat(error).verdict, Err(Failure::Unavailable));
}

#[test]
fn e17_json_with_line_feeds_before_it() {
    let text = format!(
        "\n\n  {{\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"好\",\"images\":[{{\"image_url\":{{\"url\":\"data:image/png;base64,{PNG}\"}}}}]}},\"finish_reason\":\"stop\"}}]}}"
    );
    let answer = chat(&text);
    assert_eq!(finals(&answer), [(0, PNG.to_owned())]);
    assert_eq!(answer.text(0), "好");
}

#[test]
fn the_message_of_an_error_is_read_alike_at_any_cut() {
    for (status, message, failure) in [
        (401, "该令牌额度已用尽", Failure::Quota),
        (503, "当前分组 default 下对于模型 m 无可用渠道", Failure::ModelUnavailable),
        (503, "\\u65e0\\u53ef\\u7528\\u6e20\\u9053", Failure::ModelUnavailable),
        (401, "无效的令牌", Failure::Auth),
    ] {
        let body = format!("{{\"error\":{{\"message\":\"{message}\"}}}}");
        assert_eq!(at_every_cut(&body, || AnyDialect::refusal(status)).verdict, Err(failure), "{message}");
    }
    // The cap of 256 bytes falls into a character.
    for before in 240..260 {
        let body = format!("{{\"error\":{{\"message\":\"{}渠道 quota exhausted\"}}}}", "a".repeat(before));
        at_every_cut(&body, || AnyDialect::refusal(401));
    }
}

// ---- ARK (a) ----

fn succeeded(index: u32, url: &str) -> String {
    format!(
        "event: image_generation.partial_succeeded\ndata: {{\"type\":\"image_generation.partial_succeeded\",\"image_index\":{index},\"url\":\"{url}\",\"size\":\"2496x1664\"}}\n\n"
    )
}

fn failed(index: u32, code: &str) -> String {
    format!(
        "event: image_generation.partial_failed\ndata: {{\"type\":\"image_generation.partial_failed\",\"image_index\":{index},\"error\":{{\"code\":\"{code}\",\"message\":\"m\"}}}}\n\n"
    )
}

fn completed() -> String {
    "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"usage\":{\"generated_images\":1}}\n\ndata: [DONE]\n\n".to_owned()
}

const A: &str = "https://example.com/a.jpeg";
const B: &str = "https://example.com/b.jpeg";

#[test]
fn a03_the_rest_of_the_group_is_not_made() {
    let answer = ark(&(succeeded(0, A) + &failed(1, "InternalServiceError") + &completed()));
    let success = answer.verdict.as_ref().unwrap();
    assert_eq!(finals(&answer), [(0, A.to_owned())]);
    assert_eq!((success.failed.len(), success.failed[0].slot, success.failed[0].failure), (1, 1, Failure::Error));
}

#[test]
fn a06_a_document_over_lines_that_all_begin_with_data() {
    // Without `data:` before each line, as the vendor's pages print it: `dialects.rs`.
    let text = format!(
        "event: image_generation.partial_succeeded\ndata: {{\ndata:   \"type\": \"image_generation.partial_succeeded\",\ndata:   \"image_index\": 0,\ndata:   \"url\": \"{A}\"\ndata: }}\n\n"
    );
    assert_eq!(finals(&ark(&(text + &completed()))), [(0, A.to_owned())]);
}

#[test]
fn a09_the_end_without_completed() {
    assert_eq!(finals(&ark(&succeeded(0, A))), [(0, A.to_owned())]);
    assert_eq!(ark(&failed(0, "OutputImageSensitiveContentDetected")).verdict, Err(Failure::ContentBlocked));
}

#[test]
fn a11_out_of_order_twice_and_unknown() {
    let unknown = "event: image_generation.queued\ndata: {\"type\":\"image_generation.queued\",\"position\":3}\n\n";
    let usage = "data: {\"type\":\"image_generation.usage\",\"usage\":{\"total_tokens\":1}}\n\n";
    let answer =
        ark(&(unknown.to_owned() + &succeeded(2, B) + usage + &succeeded(0, A) + &succeeded(2, B) + &completed()));
    assert_eq!(finals(&answer), [(0, A.to_owned()), (2, B.to_owned())]);
}

#[test]
fn a13_no_event_lines() {
    let text = succeeded(0, A) + &failed(1, "OutputImageRiskDetection") + &completed();
    let text: String = text.lines().filter(|line| !line.starts_with("event")).map(|line| format!("{line}\n")).collect();
    let answer = ark(&text);
    assert_eq!(finals(&answer), [(0, A.to_owned())]);
    assert_eq!(answer.verdict.unwrap().failed.len(), 1);
}

#[test]
fn a15_json_with_one_of_three_failed() {
    let text = format!(
        "{{\"model\":\"m\",\"data\":[{{\"url\":\"{A}\",\"size\":\"2x3\"}},{{\"error\":{{\"code\":\"InternalServiceError\",\"message\":\"m\"}}}},{{\"url\":\"{B}\"}}],\"usage\":{{\"generated_images\":2}}}}"
    );
    let answer = ark(&text);
    assert_eq!(finals(&answer), [(0, A.to_owned()), (2, B.to_owned())]);
    assert_eq!(answer.verdict.unwrap().failed[0].slot, 1);
}

#[test]
fn a16_json_with_an_error_on_top() {
    let text = "{\"model\":\"m\",\"error\":{\"code\":\"InputImageSensitiveContentDetected\",\"message\":\"m\"}}";
    assert_eq!(ark(text).verdict, Err(Failure::ContentBlocked));
}

#[test]
fn a_document_that_broke_off_leaves_nothing_behind() {
    let broken = format!("data: {{\"type\":\"image_generation.partial_succeeded\",\"url\":\"{A}\",\n\n");
    assert_eq!(ark(&(broken + &completed())).verdict, Err(Failure::NoImage));
}

#[test]
fn a_type_that_is_too_long_is_none_that_is_known() {
    let named = |name: &str| format!("data: {{\"type\":\"{}{name}\"}}\n\n", "a".repeat(58)) + &completed();
    assert_eq!(ark(&named(".error")).verdict, Err(Failure::Error));
    assert_eq!(ark(&named(".errors")).verdict, Err(Failure::NoImage));
    assert_eq!(ark(&named("....................error")).verdict, Err(Failure::NoImage));
}

#[test]
fn a_final_picture_with_the_bytes_of_its_draft_is_final() {
    let event = |kind: &str, base64: &str| {
        format!("data: {{\"type\":\"image_generation.{kind}\",\"image_index\":0,\"b64_json\":\"{base64}\"}}\n\n")
    };
    let answer = ark(&(event("partial_image", PNG) + &event("partial_succeeded", PNG) + &completed()));
    assert!(!answer.verdict.unwrap().images[0].draft);
    let answer = ark(&(event("partial_succeeded", PNG) + &event("partial_image", BLUE)));
    assert_eq!(finals(&answer), [(0, PNG.to_owned())]);
}

#[test]
fn a_document_that_breaks_off_behind_a_whole_picture_keeps_it() {
    let cases = [
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"![image](data:image/png;base64,{PNG})\"}},\"finish"),
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"![image](data:image/png;base64,{PNG}"),
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"images\":[{{\"image_url\":{{\"url\":\"data:image/png;base64,{PNG}"
        ),
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"![image](data:image/png;base64,{PNG})\"}},\n\ndata: [DONE]\n\n"
        ),
    ];
    let cut_link = "data: {\"choices\":[{\"delta\":{\"images\":[{\"image_url\":{\"url\":\"https://cdn.example.com/a.p";
    assert_eq!(chat(cut_link).verdict, Err(Failure::Truncated));
    for case in cases {
        assert_eq!(pictures(&chat(&case)).len(), 1, "{case}");
    }
}
