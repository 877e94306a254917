//! Time grows with the answer and not with its square, memory does not grow at all, and the caps hold.

use allocation_counter::measure;
use base64::{Engine, engine::general_purpose::STANDARD};
use shared::events::{EventStyle, Events};
use shared::image_url::LocalLinks;
use shared::outcome::{AnswerEnd, Outcome, Success};
use shared::problem::Lang;
use shared::update::Update;
use shared::upstream::{AnswerReader, AnyDialect, Failure};

use crate::support::pictures;

const MIB: usize = 1024 * 1024;
/// Whole, as TLS records, as network packets.
const PIECES: [usize; 3] = [usize::MAX, 16 * 1024, 1400];
/// Framing, JSON and Markdown look at a byte once each, and the reader once more for the end of a picture.
const MOST_LOOKS: u64 = 4;
const MOST_HEAP: u64 = 256 * 1024;
const MOST_HEAP_OF_EVENTS: u64 = 72 * 1024;

const CONTENT: &str = r#"data: {"choices":[{"index":0,"delta":{"content":""#;
const CONTENT_END: &str = "\"}}]}\n\n";
const CHAT_IMAGE: &str =
    r#"data: {"choices":[{"index":0,"delta":{"images":[{"image_url":{"url":"data:image/png;base64,"#;
const CHAT_IMAGE_END: &str = "\"}}]}}]}\n\n";
const ARK_IMAGE: &str = r#"data: {"type":"image_generation.partial_succeeded","image_index":0,"b64_json":""#;
const GEMINI_IMAGE: &str =
    r#"data: {"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":""#;
const GEMINI_IMAGE_END: &str = "\"}}],\"role\":\"model\"},\"finishReason\":\"STOP\"}]}\r\n\r\n";
const IMAGES_EVENT: &str =
    "event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"";
const RESPONSES_ITEM: &str =
    r#"data: {"type":"response.output_item.done","item":{"type":"image_generation_call","result":""#;
const RESPONSES_ITEM_END: &str = "\"}}\n\n";
const BODY: &str = r#"{"created":1,"data":[{"b64_json":""#;
const BODY_END: &str = "\"}]}";
/// A picture in a place that no vendor has.
const NEW_MEMBER: &str = r#"data: {"a":[{"b":{"c":"data:image/png;base64,data:image/png;base64,"#;
const NEW_MEMBER_END: &str = "\"}}]}\n\n";
/// A line without `data:`, which would be a body if it stood first.
const BARE: &str = ": PING\n\n{\"type\":\"image_generation.completed\",\"b64_json\":\"";
/// A picture alone in a document of each shape: what stands before and after its base64.
const SHAPES: &[(&str, Read, &str, &str)] = &[
    (
        "Markdown",
        chat,
        r#"data: {"choices":[{"index":0,"delta":{"content":"![image](data:image/png;base64,"#,
        ")\"}}]}\n\n",
    ),
    ("delta.images", chat, CHAT_IMAGE, CHAT_IMAGE_END),
    ("ARK", ark, ARK_IMAGE, "\"}\n\n"),
    ("Gemini", chat, GEMINI_IMAGE, GEMINI_IMAGE_END),
    ("images event", chat, IMAGES_EVENT, "\"}\n\n"),
    ("Responses item", chat, RESPONSES_ITEM, RESPONSES_ITEM_END),
    ("JSON body", chat, BODY, BODY_END),
    ("no data:", chat, BARE, "\"}\n"),
    ("a new member", chat, NEW_MEMBER, NEW_MEMBER_END),
];
const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

fn read(dialect: AnyDialect, bytes: &[u8], piece_bytes: usize) -> Result<Success, Failure> {
    let mut reader = AnswerReader::new(dialect);
    let mut outcome = Outcome::default();
    for piece in bytes.chunks(piece_bytes.min(bytes.len())) {
        reader.push(piece, &mut |update| _ = outcome.observe(&update));
    }
    reader.finish(&mut |update| _ = outcome.observe(&update));
    outcome.verdict(AnswerEnd::Clean)
}

fn chat(bytes: &[u8], piece_bytes: usize) -> Result<Success, Failure> {
    read(AnyDialect::new(LocalLinks::Refused), bytes, piece_bytes)
}

fn ark(bytes: &[u8], piece_bytes: usize) -> Result<Success, Failure> {
    read(AnyDialect::ark(LocalLinks::Refused), bytes, piece_bytes)
}

type Read = fn(&[u8], usize) -> Result<Success, Failure>;

/// Base64 of a picture, about `symbols` long.
fn base64_of(symbols: usize) -> String {
    let mut state = 1_u32;
    let filling: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(symbols / 4 * 3)
    .collect();
    STANDARD.encode(pictures::png(&filling))
}

fn one_line(before: &str, base64: &str, after: &str) -> Vec<u8> {
    [before, base64, after].concat().into_bytes()
}

fn markdown_line(size: usize) -> Vec<u8> {
    let after = r#")"},"finish_reason":null,"logprobs":null,"index":0}],"usage":null}"#.to_owned() + "\n\n" + STOP;
    let before = r#"data: {"id":"1","choices":[{"delta":{"content":"![image](data:image/png;base64,"#;
    one_line(before, &base64_of(size), &after)
}

fn images_line(size: usize) -> Vec<u8> {
    one_line(CHAT_IMAGE, &base64_of(size), &(CHAT_IMAGE_END.to_owned() + STOP))
}

fn ark_line(size: usize) -> Vec<u8> {
    one_line(ARK_IMAGE, &base64_of(size), "\"}\n\ndata: [DONE]\n\n")
}

/// One Markdown picture in deltas of `delta` characters.
fn deltas(size: usize, delta: usize) -> Vec<u8> {
    let content = format!("![image](data:image/png;base64,{})", base64_of(size));
    let mut out = String::new();
    for part in content.as_bytes().chunks(delta) {
        out.extend([CONTENT, std::str::from_utf8(part).unwrap(), CONTENT_END]);
    }
    (out + STOP).into_bytes()
}

fn content(text: &str, size: usize) -> Vec<u8> {
    one_line(CONTENT, &text.repeat(size / text.len()), CONTENT_END)
}

/// Every `every` characters something stands in the base64.
fn broken_up(size: usize, every: usize, by: &str) -> Vec<u8> {
    let base64 = base64_of(size);
    let lines: Vec<&str> = base64.as_bytes().chunks(every).map(|line| std::str::from_utf8(line).unwrap()).collect();
    one_line(
        &(CONTENT.to_owned() + "![image](data:image/png;base64,"),
        &lines.join(by),
        &(")".to_owned() + CONTENT_END),
    )
}

/// A Gemini event of many parts.
fn parts(part: &str, size: usize) -> Vec<u8> {
    one_line("data: {\"candidates\":[{\"content\":{\"parts\":[", &part.repeat(size / part.len()), "{}]}}]}\n\n")
}

type Write = fn(usize) -> Vec<u8>;

const INPUTS: &[(&str, Read, Write)] = &[
    ("a Markdown picture in one line", chat, markdown_line),
    ("delta.images in one line", chat, images_line),
    ("b64_json in one line", ark, ark_line),
    ("deltas of 16 KiB", chat, |size| deltas(size, 16 * 1024)),
    ("deltas of 16 characters", chat, |size| deltas(size / 4, 16)),
    ("![", chat, |size| content("![", size)),
    ("![](", chat, |size| content("![](", size)),
    ("![image](data:image/png;base64,)", chat, |size| content("![image](data:image/png;base64,)", size)),
    ("no closing parenthesis", chat, |size| content("](data:image/png;base64,", size)),
    ("pictures in pictures", chat, |size| content("![image](data:image/png;base64,iVBORw0KGgo", size)),
    ("brackets", chat, |size| one_line(CONTENT, &("![".to_owned() + &"]".repeat(size)), CONTENT_END)),
    ("open brackets", chat, |size| one_line(CONTENT, &("![".to_owned() + &"[".repeat(size)), CONTENT_END)),
    ("links", chat, |size| content("![a](https://example.com/a.png)", size)),
    ("links that differ", chat, |size| {
        let links: String = (0..size / 30).map(|number| format!("![a](https://example.com/{number})")).collect();
        one_line(CONTENT, &links, CONTENT_END)
    }),
    ("failed items", ark, |size| one_line("data: {\"data\":[", &"{\"error\":1},".repeat(size / 12), "{}]}\n\n")),
    ("one long link", chat, |size| {
        one_line(CONTENT, &("![](https://a.b/".to_owned() + &"(".repeat(size)), CONTENT_END)
    }),
    ("titles", chat, |size| content("![a](https://example.com/a.png \\\"", size)),
    ("d", chat, |size| content("d", size)),
    ("white space", chat, |size| content(" ", size)),
    ("a slash in every group", chat, |size| broken_up(size, 4, "\\/")),
    ("lines of 76", chat, |size| broken_up(size, 76, "\\n")),
    ("white space in every group", chat, |size| broken_up(size, 3, " ")),
    ("escapes", chat, |size| content("\\u4e2d\\ud83d", size)),
    ("quotes", chat, |size| one_line(CONTENT, &"\\\"".repeat(size / 2), CONTENT_END)),
    ("nested", chat, |size| {
        let document = "{\"a\":".repeat(63) + "{}" + &"}".repeat(63);
        one_line("data: ", &document.repeat(size / document.len()), "\n\n")
    }),
    ("numbers that are nested deep", chat, |size| {
        one_line(
            &("data: ".to_owned() + &"{\"a\":".repeat(62) + "["),
            &"1,".repeat(size / 2),
            &("1]".to_owned() + &"}".repeat(62) + "\n\n"),
        )
    }),
    ("a long alternative text", chat, |size| {
        one_line(CONTENT, &("![".to_owned() + &"a [b] ".repeat(size / 6)), CONTENT_END)
    }),
    ("brackets in a long alternative text", chat, |size| {
        one_line(CONTENT, &("![".to_owned() + &"a".repeat(2000) + &"[!]".repeat(size / 3)), CONTENT_END)
    }),
    ("nested too deep", chat, |size| one_line("data: ", &"{\"a\":".repeat(size / 5), "\n\n")),
    ("empty data", chat, |size| "data\n".repeat(size / 5).into_bytes()),
    ("empty data in a picture", chat, |size| {
        let before = CONTENT.to_owned() + "![image](data:image/png;base64,iVBORw0KGgo";
        one_line(&before, &"\ndata:".repeat(size / 6), CONTENT_END)
    }),
    ("comments", chat, |size| (": PING\n\n".repeat(size / 8) + "data: {}\n\n").into_bytes()),
    ("empty documents", chat, |size| "data: {}\n\n".repeat(size / 10).into_bytes()),
    ("events that are not JSON", chat, |size| "data: }\n\n".repeat(size / 9).into_bytes()),
    ("empty items", ark, |size| one_line("data: {\"data\":[", &"{},".repeat(size / 3), "{}]}\n\n")),
    ("inlineData in one line", chat, |size| one_line(GEMINI_IMAGE, &base64_of(size), GEMINI_IMAGE_END)),
    ("an images event in one line", chat, |size| one_line(IMAGES_EVENT, &base64_of(size), "\"}\n\n")),
    ("a Responses item in one line", chat, |size| one_line(RESPONSES_ITEM, &base64_of(size), RESPONSES_ITEM_END)),
    ("a JSON body in one line", chat, |size| one_line(BODY, &base64_of(size), BODY_END)),
    ("a new member in one line", chat, |size| one_line(NEW_MEMBER, &base64_of(size), NEW_MEMBER_END)),
    ("a new member of bare base64 in one line", chat, |size| one_line("data: {\"a\":\"", &base64_of(size), "\"}\n\n")),
    ("a string that is almost a picture in one line", chat, |size| {
        one_line("data: {\"a\":\"iVBORw0KGgo", &"A ".repeat(size / 2), "\"}\n\n")
    }),
    ("a string of a thought in one line", chat, |size| {
        one_line("data: {\"reasoning\":\"data:image/png;base64,", &base64_of(size), "\"}\n\n")
    }),
    ("short strings", chat, |size| one_line("data: {\"a\":[", &"\"d\",".repeat(size / 4), "\"\"]}\n\n")),
    ("starts of pictures", chat, |size| {
        one_line("data: {\"a\":[", &"\"iVBORw0KGgo\",\"data:image/png;base64,\",".repeat(size / 38), "\"\"]}\n\n")
    }),
    ("heads of data URLs", chat, |size| {
        one_line("data: {\"a\":\"", &"data:image/png;base64,".repeat(size / 22), "\"}\n\n")
    }),
    ("heads of data URLs in a text", chat, |size| content("data:image/png;base64,", size)),
    ("heads of data URLs in Markdown", chat, |size| {
        one_line(&(CONTENT.to_owned() + "![]("), &"data:image/png;base64,".repeat(size / 22), CONTENT_END)
    }),
    ("broken pictures", chat, |size| {
        let picture = format!("\"{}\",", &pictures::PNG[..80]);
        one_line("data: {\"a\":[", &picture.repeat(size / picture.len()), "\"\"]}\n\n")
    }),
    ("magic in a text", chat, |size| content("/9j/ iVBORw0KGgo <thi data:i ", size)),
    ("tags", chat, |size| content("<think></think>", size)),
    ("links with spaces", chat, |size| content("![a](https://example.com/a b", size)),
    ("one link with spaces", chat, |size| content("https://example.com/a b ", size)),
    ("unknown keys of known families", chat, |size| {
        one_line("data: {", &"\"preview_of_thoughts\":{\"error_x\":1},".repeat(size / 36), "\"b\":2}\n\n")
    }),
    ("everything so far in each chunk", chat, |size| {
        let content = format!("![image](data:image/png;base64,{})", base64_of(100_000));
        let chunks = (size / content.len() * 2).max(1);
        let mut out = String::new();
        for chunk in 1..=chunks {
            out.extend([CONTENT, &content[..content.len() * chunk / chunks], CONTENT_END]);
        }
        (out + STOP).into_bytes()
    }),
    ("chunks that repeat a little", chat, |size| {
        let chunk = CONTENT.to_owned() + "aa" + CONTENT_END;
        chunk.repeat(size / chunk.len()).into_bytes()
    }),
    ("delta and message", chat, |size| {
        let content = format!("![image](data:image/png;base64,{})", base64_of(size / 4));
        let mut out = String::new();
        for part in content.as_bytes().chunks(1000) {
            let part = std::str::from_utf8(part).unwrap();
            let delta = format!("\"delta\":{{\"content\":\"{part}\"}},\"message\":{{\"content\":\"{part}\"}}");
            out.extend(["data: {\"choices\":[{\"index\":0,", &delta, "}]}\n\n"]);
        }
        (out + STOP).into_bytes()
    }),
    ("nested errors", chat, |size| {
        let document = "{\"error\":".repeat(60) + "\"m\"" + &"}".repeat(60);
        one_line("data: ", &document.repeat(size / document.len()), "\n\n")
    }),
    ("a list of errors", chat, |size| one_line("data: {\"errors\":[", &"\"m\",".repeat(size / 4), "\"\"]}\n\n")),
    ("JSON in a message", chat, |size| {
        let text = "{\\\"error\\\":".repeat(size / 11);
        one_line("data: {\"error\":{\"message\":\"", &text, "\"}}\n\n")
    }),
    ("no data: in one line", chat, |size| one_line(BARE, &base64_of(size), "\"}\n")),
    ("a list without alt=sse", chat, |size| {
        let event = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
        one_line("[", &format!("{event},\r\n").repeat(size / (event.len() + 3)), "{}]")
    }),
    ("stray lines", chat, |size| one_line(": PING\n", &"upstream says hello\n\n".repeat(size / 21), "data: {}\n\n")),
    ("short stray lines", chat, |size| one_line(": PING\n", &"}\n".repeat(size / 2), "\n")),
    ("one long stray line", chat, |size| one_line(": PING\n", &"a".repeat(size), "\n\n")),
    ("stray documents", chat, |size| one_line(": PING\n", &"{}\n".repeat(size / 3), "\n")),
    ("a document of short lines", chat, |size| one_line("data: {\"a\":[\n", &"0,\n".repeat(size / 3), "0]}\n\n")),
    ("thoughts", chat, |size| parts("{\"text\":\"plan\",\"thought\":true},", size)),
    ("drafts", chat, |size| parts("{\"inlineData\":{\"data\":\"iVBORw0KGgo=\"},\"thought\":true},", size)),
    ("one long thought", chat, |size| {
        let before = r#"data: {"candidates":[{"content":{"parts":[{"thought":true,"text":""#;
        one_line(before, &"a".repeat(size), "\"}]}}]}\n\n")
    }),
    ("one long text before its mark", chat, |size| {
        let before = r#"data: {"candidates":[{"content":{"parts":[{"text":""#;
        one_line(before, &"a".repeat(size), "\",\"thought\":false}]}}]}\n\n")
    }),
    ("one long text before its index", chat, |size| {
        one_line("data: {\"choices\":[{\"delta\":{\"content\":\"", &"a".repeat(size), "\"},\"index\":0}]}\n\n")
    }),
    ("text chunks", chat, |size| {
        let chunk = "data: {\"text\":\"a\",\"type\":\"image_generation.text_chunk\"}\n\n";
        chunk.repeat(size / chunk.len()).into_bytes()
    }),
    ("empty parts", chat, |size| parts("{},", size)),
    ("empty pictures in parts", chat, |size| parts("{\"inlineData\":{\"data\":\"\"}},", size)),
    ("empty candidates", chat, |size| one_line("data: {\"candidates\":[", &"{},".repeat(size / 3), "{}]}\n\n")),
    ("empty choices", chat, |size| one_line("data: {\"choices\":[", &"{},".repeat(size / 3), "{}]}\n\n")),
    ("empty images", chat, |size| one_line("{\"images\":[", &"\"\",".repeat(size / 3), "null]}")),
    ("null items", chat, |size| one_line("{\"data\":[", &"null,".repeat(size / 5), "null]}")),
    ("empty output", chat, |size| one_line("{\"output\":[", &"{\"result\":\"\"},".repeat(size / 14), "{}]}")),
    ("empty items of a response", chat, |size| "data: {\"item\":{\"result\":\"\"}}\n\n".repeat(size / 31).into_bytes()),
    ("empty previews", chat, |size| "data: {\"partial_image_b64\":\"\"}\n\n".repeat(size / 32).into_bytes()),
    ("nothing for errors", chat, |size| {
        "data: {\"error\":{\"code\":0,\"message\":\"\"}}\n\n".repeat(size / 42).into_bytes()
    }),
    ("short unknown keys", chat, |size| one_line("data: {", &"\"a\":1,".repeat(size / 6), "\"b\":2}\n\n")),
    ("short unknown keys within", chat, |size| parts("{\"a\":1,\"b\":{\"c\":[]}},", size)),
    ("long unknown keys", chat, |size| one_line("data: {\"", &"a".repeat(size), "\":1}\n\n")),
    ("keys that are almost known", chat, |size| {
        one_line("data: {", &"\"choice\":{},".repeat(size / 12), "\"b\":2}\n\n")
    }),
];

#[test]
#[cfg(debug_assertions)]
fn bytes_looked_at_grow_with_the_answer() {
    let looks = |read: Read, bytes: &[u8], piece: usize| {
        let before = shared::scan::examined();
        let _ = read(bytes, piece);
        shared::scan::examined() - before
    };
    for &(name, read, write) in INPUTS {
        let (small, large) = (write(MIB / 2), write(MIB));
        let mut line = format!("{name:>40}");
        for piece in PIECES {
            let (a, b) = (looks(read, &small, piece), looks(read, &large, piece));
            line += &format!(" {:5.2}", b as f64 / large.len() as f64);
            assert!(b as f64 <= 2.2 * a as f64 + 1000.0, "{name} in pieces of {piece}: {a} and then {b}");
            assert!(
                b <= MOST_LOOKS * large.len() as u64 + 1000,
                "{name} in pieces of {piece}: {b} for {}",
                large.len()
            );
        }
        // Single bytes cost a call each, so fewer of them.
        let tiny = write(MIB / 16);
        let one = looks(read, &tiny, 1);
        println!("{line} {:5.2} looks at a byte", one as f64 / tiny.len() as f64);
        assert!(one <= MOST_LOOKS * tiny.len() as u64 + 1000, "{name} byte by byte: {one} for {}", tiny.len());
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_picture_in_one_line_of_any_length() {
    for size in [1, 2, 4, 8, 16, 20] {
        // 16 MiB decoded is the cap, so at most 21 MiB of base64.
        let bytes = markdown_line(size * MIB);
        for piece in PIECES {
            let before = shared::scan::examined();
            assert!(chat(&bytes, piece).is_ok(), "{size} MiB in pieces of {piece}");
            let looks = shared::scan::examined() - before;
            assert!(looks <= MOST_LOOKS * bytes.len() as u64, "{looks} for {} in pieces of {piece}", bytes.len());
        }
    }
    let bytes = markdown_line(31 * MIB - 1024);
    for piece in PIECES {
        let before = shared::scan::examined();
        assert_eq!(chat(&bytes, piece), Err(Failure::Protocol), "over 16 MiB decoded");
        assert!(shared::scan::examined() - before <= MOST_LOOKS * bytes.len() as u64);
    }
}

/// Reads an answer, and returns the largest heap beyond the input.
fn heap(read: Read, bytes: &[u8], piece: usize) -> (Result<Success, Failure>, u64) {
    let mut verdict = Err(Failure::Error);
    let peak = measure(|| verdict = read(bytes, piece)).bytes_max;
    (verdict, peak)
}

#[test]
fn memory_does_not_grow_with_the_answer() {
    for &(name, read, write) in INPUTS {
        let mut line = format!("{name:>40}");
        let is_long = name.contains("in one line") || name.contains("16 KiB");
        let sizes = if is_long { &[MIB, 8 * MIB, 31 * MIB][..] } else { &[MIB / 4, MIB][..] };
        for size in sizes {
            let bytes = write(size - 1024);
            for piece in PIECES {
                let (_, peak) = heap(read, &bytes, piece);
                line += &format!(" {:4}", peak / 1024);
                assert!(peak <= MOST_HEAP, "{name}, {size} bytes in pieces of {piece}: {peak} bytes");
            }
        }
        println!("{line} KiB");
    }
}

/// A picture of 4 MB in one line, in pieces of 16 KiB, passed on as typed events.
#[test]
fn typed_events_need_little_heap() {
    for &(name, _, before, after) in SHAPES {
        let bytes = one_line(before, &base64_of(4 * MIB), after);
        let write = || {
            let mut reader = AnswerReader::new(AnyDialect::new(LocalLinks::Refused));
            let mut outcome = Outcome::default();
            let mut events = Events::new("task".to_owned(), Lang::En, EventStyle::Generate { n: 1 });
            for piece in bytes.chunks(16 * 1024) {
                reader.push(piece, &mut |update| {
                    if let Some(news) = outcome.note(update) {
                        events.update(&news);
                    }
                });
                events.take();
            }
        };
        let peak = measure(write).bytes_max;
        println!("{name:>40} {:4} KiB", peak / 1024);
        assert!(peak <= MOST_HEAP_OF_EVENTS, "{name}: {peak} bytes");
    }
}

#[cfg(debug_assertions)]
fn looks_so_far() -> u64 {
    shared::scan::examined()
}

/// They are not counted.
#[cfg(not(debug_assertions))]
fn looks_so_far() -> u64 {
    0
}

/// Reads an answer in pieces within both bounds, and returns the figures.
fn bounded(name: &str, read: Read, bytes: &[u8], piece: usize) -> (Result<Success, Failure>, String) {
    let before = looks_so_far();
    let (verdict, peak) = heap(read, bytes, piece);
    let looks = looks_so_far() - before;
    assert!(peak <= MOST_HEAP, "{name} in pieces of {piece}: {peak} bytes");
    assert!(looks <= MOST_LOOKS * bytes.len() as u64 + 1000, "{name} in pieces of {piece}: {looks} looks");
    let piece = if piece == usize::MAX { "whole".to_owned() } else { format!("in pieces of {piece}") };
    let told = format!(
        "{name:>40} {:9} bytes {piece:18} {:6.1} KiB of heap, {:4.2} looks at a byte",
        bytes.len(),
        peak as f64 / 1024.0,
        looks as f64 / bytes.len() as f64
    );
    (verdict, told)
}

#[test]
fn answers_of_many_megabytes() {
    const PIECES: [usize; 2] = [usize::MAX, 16 * 1024];
    let bounded = |name: &str, read: Read, bytes: &[u8], piece: usize| {
        let (verdict, told) = bounded(name, read, bytes, piece);
        println!("{told}");
        verdict
    };
    // A 4K picture: 13.9 MB in one line.
    let picture = base64_of(13_900_000);
    assert!((13_800_000..14_000_000).contains(&picture.len()));
    for &(name, read, before, after) in SHAPES {
        let bytes = one_line(before, &picture, after);
        for piece in PIECES {
            let success = bounded(name, read, &bytes, piece).unwrap();
            assert!(matches!(&success.images[..], [image] if !image.draft), "{name}");
        }
    }
    // A line of 33 MiB ends the call, and does not take it down. A body is no event: the cap on a picture ends it.
    let long = "A".repeat(33 * MIB);
    for &(name, read, before, after) in SHAPES {
        let symbols = if before == BODY { base64_of(33 * MIB) } else { long.clone() };
        let bytes = one_line(before, &symbols, after);
        for piece in PIECES {
            assert_eq!(bounded(name, read, &bytes, piece), Err(Failure::Protocol), "{name} in pieces of {piece}");
        }
    }
    // 200 000 chunks of 16 characters.
    let small = format!("![image](data:image/png;base64,{})", base64_of(3_200_000));
    for (name, before, after) in [
        ("chat chunks", CONTENT, CONTENT_END),
        ("Gemini events", r#"data: {"candidates":[{"content":{"parts":[{"text":""#, "\"}]}}]}\r\n\r\n"),
        ("text chunks", r#"data: {"type":"image_generation.text_chunk","text":""#, "\"}\n\n"),
        ("text deltas", r#"data: {"type":"response.output_text.delta","delta":""#, "\"}\n\n"),
    ] {
        let mut bytes = Vec::new();
        for part in small.as_bytes().chunks(16) {
            bytes.extend([before.as_bytes(), part, after.as_bytes()].concat());
        }
        assert!(small.len() / 16 >= 200_000);
        bytes.extend_from_slice(STOP.as_bytes());
        for piece in PIECES {
            assert_eq!(bounded(name, chat, &bytes, piece).unwrap().images.len(), 1, "{name}");
        }
    }
    // Markdown that never becomes a picture.
    let open = "](data:image/png;base64,";
    for (name, text, expected) in [
        ("![![![![", "![".repeat(500_000), Failure::NoImage),
        ("![](", "![](".repeat(250_000), Failure::NoImage),
        ("no closing parenthesis", "!".to_owned() + "[image" + open + &"A".repeat(8_000_000), Failure::NoImage),
        ("no closing parenthesis, a picture", "![image".to_owned() + open + &picture[..8_000_000], Failure::Truncated),
        ("no opening bracket", open.repeat(8_000_000 / open.len()), Failure::NoImage),
    ] {
        for (shape, before, after) in [
            ("chat", CONTENT, CONTENT_END),
            ("Gemini", r#"data: {"candidates":[{"content":{"parts":[{"text":""#, "\"}]}}]}\n\n"),
        ] {
            let bytes = [before.as_bytes(), text.as_bytes(), after.as_bytes(), STOP.as_bytes()].concat();
            for piece in PIECES {
                let name = format!("{name} ({shape})");
                assert_eq!(bounded(&name, chat, &bytes, piece), Err(expected), "{name} in pieces of {piece}");
            }
        }
    }
}

#[test]
fn pictures_beyond_any_that_were_asked_for_are_dropped() {
    let links = |count: usize| {
        let links: String = (0..count).map(|number| format!("![a](https://example.com/{number})")).collect();
        one_line(CONTENT, &links, CONTENT_END)
    };
    // Each is compared with those before it.
    let news = |mut reader: AnswerReader, bytes: &[u8]| {
        let (mut outcome, mut news) = (Outcome::default(), 0);
        reader.push(bytes, &mut |update| {
            news += usize::from(matches!(
                outcome.note(update),
                Some(Update::ImageLinked { .. } | Update::ImageFailed { .. })
            ));
        });
        news
    };
    assert_eq!(news(AnswerReader::new(AnyDialect::new(LocalLinks::Refused)), &links(10_000)), 64);
    let items = one_line("data: {\"data\":[", &"{\"error\":1},".repeat(10_000), "{}]}\n\n");
    assert_eq!(news(AnswerReader::new(AnyDialect::ark(LocalLinks::Refused)), &items), 64);
}

/// Every picture equals an earlier one, so nothing is kept, whatever its slot is.
#[test]
fn finished_pictures_leave_nothing_to_send() {
    let mut events = Events::new("task".to_owned(), Lang::En, EventStyle::Generate { n: 1 });
    let (mut outcome, mut reader) = (Outcome::default(), AnswerReader::new(AnyDialect::new(LocalLinks::Refused)));
    for slot in 0..100 {
        let document = format!("data: {{\"image_index\":{slot},\"b64_json\":\"{}\"}}\n\n", pictures::PNG);
        reader.push(document.as_bytes(), &mut |update| {
            if let Some(news) = outcome.note(update) {
                events.update(&news);
            }
        });
    }
    events.take();
    events.flush();
    assert_eq!(events.take(), b"");
}

#[test]
fn caps() {
    let long = "A".repeat(33 * MIB);
    let picture = base64_of(22 * MIB);
    let calls: Vec<u8> = (CONTENT.to_owned() + &"A".repeat(MIB) + CONTENT_END).into_bytes();
    let reasoning = one_line("data: {\"reasoning\":\"", &long[..30 * MIB], "\"}\n\n");
    let rows: [(&str, Read, Vec<u8>); 8] = [
        ("an event in one line", chat, one_line(CONTENT, &long, CONTENT_END)),
        ("an event of no interest", chat, one_line("data: {\"id\":\"", &long, "\"}\n\n")),
        ("an event in many lines", chat, format!("data: {}\ndata: ", "0,".repeat(1000)).repeat(17_000).into_bytes()),
        (
            "a picture in Markdown",
            chat,
            one_line(&(CONTENT.to_owned() + "![image](data:image/png;base64,"), &picture, CONTENT_END),
        ),
        ("a picture in delta.images", chat, one_line(CHAT_IMAGE, &picture, CHAT_IMAGE_END)),
        ("a picture of ARK's", ark, one_line(ARK_IMAGE, &picture, "\"}\n\n")),
        ("a call", chat, [reasoning.as_slice(), &reasoning, &reasoning].concat()),
        ("text", chat, [calls.as_slice(), &calls].concat()),
    ];
    for (name, read, bytes) in rows {
        for piece in PIECES {
            let (verdict, peak) = heap(read, &bytes, piece);
            assert_eq!(verdict, Err(Failure::Protocol), "{name} in pieces of {piece}");
            assert!(peak <= MOST_HEAP, "{name} in pieces of {piece}: {peak} bytes");
        }
    }
}

#[test]
fn a_picture_before_the_cap_stays() {
    let picture = one_line(CHAT_IMAGE, pictures::PNG, CHAT_IMAGE_END);
    let text = (CONTENT.to_owned() + &"A".repeat(2 * MIB) + CONTENT_END).into_bytes();
    for piece in PIECES {
        assert_eq!(chat(&[picture.as_slice(), &text].concat(), piece).unwrap().images.len(), 1);
    }
}

#[test]
fn a_document_that_nests_too_deep_is_skipped() {
    let picture = one_line(CHAT_IMAGE, pictures::PNG, CHAT_IMAGE_END);
    for open in ["[", "{\"choices\":"] {
        let deep = one_line("data: ", &open.repeat(10_000), "\n\n");
        for piece in PIECES {
            assert_eq!(chat(&[deep.as_slice(), &picture].concat(), piece).unwrap().images.len(), 1);
        }
    }
}
