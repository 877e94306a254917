//! The faults of an upstream, each as the bytes that its server writes. Their numbers are those of `docs/faults.md`.
//!
//! A test plays every case of a fault; the local stack plays the first one.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::fault_server::{Script, Step};
use crate::picture::{PictureFormat, draw};

/// The wire format of a faulty upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultWire {
    /// Chat completions.
    Chat,
    /// ARK's picture generation.
    Ark,
}

/// A fault and the forms in which it occurs.
#[derive(Clone, Copy)]
pub struct UpstreamFault {
    /// The number, such as `u24`.
    pub name: &'static str,
    /// What breaks, without a full stop.
    pub description: &'static str,
    cases: fn(Wire) -> Vec<(&'static str, Script)>,
}

impl UpstreamFault {
    /// Every fault that bytes on a connection can show. The others lie before the connection, or between two.
    pub const ALL: &[Self] = FAULTS;

    /// The fault with this number.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|fault| fault.name == name)
    }

    /// Its forms with their names; none if an upstream of this kind cannot fail so.
    pub fn cases(&self, wire: FaultWire) -> Vec<(&'static str, Script)> {
        (self.cases)(Wire(wire))
    }
}

impl PartialEq for UpstreamFault {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for UpstreamFault {}

impl fmt::Debug for UpstreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn fault(
    name: &'static str,
    description: &'static str,
    cases: fn(Wire) -> Vec<(&'static str, Script)>,
) -> UpstreamFault {
    UpstreamFault { name, description, cases }
}

/// A text in every message of an upstream. A correct response or log does not contain it.
pub const UPSTREAM_TEXT: &str = "text-of-the-upstream";

/// Bytes of a connection that has not ended get this time before it is reset.
const BEFORE_RESET: Duration = Duration::from_millis(50);
const MIB: usize = 1024 * 1024;

const FAULTS: &[UpstreamFault] = &[
    fault("u5", "the upstream closes the connection without a response", |_| {
        vec![("closed", vec![Step::Request, Step::Close]), ("reset", vec![Step::Request, Step::Reset])]
    }),
    fault("u6", "the upstream does not answer", |_| vec![("", vec![Step::Request, Step::Stall])]),
    fault("u7", "the upstream does not speak HTTP", |_| {
        let header = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(MIB));
        let early = Step::Repeat {
            bytes: "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".into(),
            times: u32::MAX,
            pause: Duration::from_millis(1),
        };
        vec![
            ("not HTTP", vec![Step::Request, write("SSH-2.0-OpenSSH_9.2\r\n"), Step::Stall]),
            ("1 MB header", vec![Step::Request, write(header), Step::Stall]),
            ("flood of 1xx", vec![Step::Request, early]),
        ]
    }),
    fault("u8", "the upstream redirects", |_| {
        let to =
            |status| vec![Step::Request, write(format!("HTTP/1.1 {status} Moved\r\nlocation: /elsewhere\r\n{END}"))];
        vec![("302", to(302)), ("308", to(308))]
    }),
    fault("u9", "the upstream refuses a parameter", |wire| {
        let code = wire.either("invalid_value", "InvalidParameter");
        vec![("", refuse(400, code, "The value of a parameter is not valid.", ""))]
    }),
    fault("u10", "the upstream's moderation refuses the request", |wire| {
        let codes = wire.either(
            ["content_policy_violation", "moderation_blocked"],
            ["InputTextSensitiveContentDetected", "InputImageRiskDetection"],
        );
        codes.into_iter().map(|code| (code, refuse(400, code, "The request was refused.", ""))).collect()
    }),
    fault("u11", "the upstream refuses the key", |wire| {
        let code = wire.either("invalid_api_key", "AuthenticationError");
        vec![("", refuse(401, code, "Incorrect API key provided.", ""))]
    }),
    fault("u12", "the account has no balance or quota left", |_| {
        vec![
            ("402", refuse(402, "", "Payment required.", "")),
            ("insufficient_quota", refuse(429, "insufficient_quota", "You exceeded your current quota.", "")),
            ("overdue", refuse(403, "AccountOverdueError", "Your account has an overdue balance.", "")),
        ]
    }),
    fault("u13", "the model is not open to the account", |_| {
        vec![
            ("AccessDenied", refuse(403, "AccessDenied", "You have no access to the model.", "")),
            ("ModelNotOpen", refuse(404, "ModelNotOpen", "Your account has not activated the model.", "")),
        ]
    }),
    fault("u14", "the request is too large for the upstream", |_| {
        vec![("", respond(413, "text/html", "", &html("413 Request Entity Too Large")))]
    }),
    fault("u15", "the upstream's rate limit is reached", |_| {
        let limited = |header| refuse(429, "rate_limit_exceeded", "Slow down.", header);
        vec![
            ("seconds", limited("retry-after: 7\r\n")),
            ("a date long ahead", limited("retry-after: Fri, 31 Dec 2100 23:59:59 GMT\r\n")),
            ("a date that has passed", limited("retry-after: Fri, 31 Dec 1999 23:59:59 GMT\r\n")),
            ("absent", limited("")),
            ("too many seconds", limited("retry-after: 99999999999999999\r\n")),
            ("zero", limited("retry-after: 0\r\n")),
            ("not a time", limited("retry-after: soon\r\n")),
            ("negative", limited("retry-after: -5\r\n")),
        ]
    }),
    fault("u16", "the upstream fails", |_| {
        let failed = |status| refuse(status, "server_error", "Something went wrong.", "");
        vec![("500", failed(500)), ("502", failed(502))]
    }),
    fault("u17", "the upstream is overloaded", |_| {
        let busy = |status, header| refuse(status, "service_unavailable", "The service is overloaded.", header);
        vec![("503", busy(503, "")), ("529", busy(529, "")), ("503 with a time", busy(503, "retry-after: 30\r\n"))]
    }),
    fault("u18", "the upstream's own time limit is reached", |_| {
        let late = |status| respond(status, "text/html", "", &html("Time-out"));
        vec![("504", late(504)), ("408", late(408))]
    }),
    fault("u19", "the upstream sends a page of HTML with status 200", |_| {
        vec![("", respond(200, "text/html", "", &html("Welcome to nginx!")))]
    }),
    fault("u20", "the upstream sends one JSON document with status 200", |wire| {
        let error = |code: &str| respond(200, "application/json", "", &error_object(code, "It did not work."));
        let mut cases = vec![
            ("rate limit", error("rate_limit_exceeded")),
            ("moderation", error("content_policy_violation")),
            ("key", error("invalid_api_key")),
            ("unknown", error("strange")),
        ];
        if let FaultWire::Ark = wire.0 {
            let whole = json!({"model": ARK_MODEL, "created": 1, "data": [{"url": ark_link(0), "size": "2048x2048"}]});
            cases.push(("success", respond(200, "application/json", "", &whole.to_string())));
        }
        cases
    }),
    fault("u21", "the upstream compresses its answer", |_| {
        let packed = |encoding| {
            vec![
                Step::Request,
                write(head(200, EVENTS, &format!("content-encoding: {encoding}\r\n"))),
                write("\x1f\x08"),
            ]
        };
        vec![("gzip", packed("gzip")), ("br", packed("br"))]
    }),
    fault("u22", "the upstream's answer is empty", |_| vec![("", respond(200, EVENTS, "", ""))]),
    fault("u23", "the upstream sends no picture", |wire| vec![("", stream(&[wire.nothing(), wire.done()]))]),
    fault("u24", "the upstream stops sending in the middle of its answer", |wire| {
        vec![
            ("before a picture", stalls(&[wire.begin()])),
            ("in a picture", stalls(&[wire.begin(), wire.half()])),
            ("behind a picture", stalls(&[wire.begin(), wire.picture(0)])),
        ]
    }),
    fault("u25", "the upstream sends comments without end", |_| {
        let ping = Step::Repeat { bytes: chunk(": ping\n\n"), times: u32::MAX, pause: Duration::from_millis(50) };
        vec![("", vec![Step::Request, write(head(200, EVENTS, CHUNKED)), ping])]
    }),
    fault("u26", "the upstream sends its answer byte by byte", |wire| {
        let answer = [wire.begin(), wire.picture(0), wire.stop(), wire.done()].concat();
        let drip = Step::Drip([chunk(&answer), LAST_CHUNK.into()].concat().into(), Duration::from_millis(1));
        vec![("", vec![Step::Request, write(head(200, EVENTS, CHUNKED)), drip])]
    }),
    fault("u27", "the upstream resets the connection in the middle of its answer", |wire| {
        let reset = |parts: &[String]| [opens(parts), vec![Step::Sleep(BEFORE_RESET), Step::Reset]].concat();
        let unclosed = wire.picture(0).replace(")\"}", "\"}");
        vec![
            ("in a picture", reset(&[wire.begin(), wire.half()])),
            ("behind a picture", reset(&[wire.begin(), unclosed])),
        ]
    }),
    fault("u28", "the framing of the upstream's answer breaks", |wire| {
        let begin = || opens(&[wire.begin(), wire.half()]);
        let short = [wire.begin(), wire.half()].concat();
        let fixed = format!("content-length: {}\r\n", short.len() + 1000);
        vec![
            ("EOF in a chunk", [begin(), vec![write("ffff\r\nabc")]].concat()),
            ("short content-length", vec![Step::Request, write(head(200, EVENTS, &fixed)), write(short)]),
            ("bad chunk size", [begin(), vec![write("zz\r\n\r\n"), Step::Stall]].concat()),
        ]
    }),
    fault("u29", "the upstream's answer ends without `[DONE]`", |wire| {
        vec![("", stream(&[wire.begin(), wire.picture(0), wire.stop()]))]
    }),
    fault("u30", "the upstream's answer ends early, without a sign of that", |wire| {
        vec![
            ("before a picture", stream(&[wire.begin()])),
            ("in a picture", stream(&[wire.begin(), wire.half()])),
            ("behind a picture", stream(&[wire.begin(), wire.picture(0)])),
        ]
    }),
    fault("u31", "the upstream sends an error in its stream before anything else", |_| {
        let error = |code: &str| stream(&[event(&error_object(code, "It did not work."))]);
        vec![
            ("rate limit", error("rate_limit_exceeded")),
            ("moderation", error("content_policy_violation")),
            ("balance", error("insufficient_quota")),
            ("unknown", error("strange")),
        ]
    }),
    fault("u32", "the upstream sends an error in its stream behind something else", |wire| {
        let error = event(&error_object("rate_limit_exceeded", "Slow down."));
        let behind = ("behind a picture", stream(&[wire.begin(), wire.picture(0), error.clone()]));
        // A link is whole or not there.
        wire.either(vec![("in a picture", stream(&[wire.begin(), wire.half(), error])), behind.clone()], vec![behind])
    }),
    fault("u33", "ARK fails to make some of the pictures", |wire| {
        let refused = |index| ark_failed(index, "OutputImageSensitiveContentDetected");
        match wire.0 {
            FaultWire::Chat => Vec::new(),
            FaultWire::Ark => vec![
                ("some", stream(&[wire.picture(0), refused(1), wire.picture(2), wire.stop(), wire.done()])),
                ("all", stream(&[refused(0), refused(1), wire.nothing(), wire.done()])),
                (
                    "all, by a fault of ARK",
                    stream(&[ark_failed(0, "InternalServiceError"), wire.nothing(), wire.done()]),
                ),
            ],
        }
    }),
    fault("u34", "the upstream's moderation ends the answer", |wire| match wire.0 {
        FaultWire::Chat => vec![
            ("before content", stream(&[finish("content_filter"), wire.done()])),
            ("behind text", stream(&[chat_text("好的"), finish("content_filter"), wire.done()])),
        ],
        FaultWire::Ark => {
            let error = error_object("OutputImageSensitiveContentDetected", "The output may be sensitive.");
            vec![("", stream(&[event(&error)]))]
        }
    }),
    fault("u35", "the upstream's answer reaches its length limit", |wire| match wire.0 {
        FaultWire::Chat => vec![
            ("in a picture", stream(&[wire.begin(), wire.half(), finish("length"), wire.done()])),
            ("behind a picture", stream(&[wire.begin(), wire.picture(0), finish("length"), wire.done()])),
        ],
        FaultWire::Ark => Vec::new(),
    }),
    fault("u36", "the upstream sends one line of 64 MB", |_| {
        let megabyte = Step::Repeat { bytes: chunk(&"A".repeat(MIB)), times: 64, pause: Duration::ZERO };
        let begin = opens(&["data: {\"id\":\"".to_owned()]);
        vec![("", [begin, vec![megabyte, write(LAST_CHUNK)]].concat())]
    }),
    fault("u37", "the upstream sends more than 64 MB in all", |_| {
        let filler = event(&json!({"id": "A".repeat(MIB)}).to_string());
        let megabyte = Step::Repeat { bytes: chunk(&filler), times: 70, pause: Duration::ZERO };
        vec![("", [opens(&[]), vec![megabyte, write(LAST_CHUNK)]].concat())]
    }),
    fault("u38", "the upstream sends invalid UTF-8", |wire| {
        // Two of its bytes in the place of a mark.
        let broken = |text: &str| {
            let parts: Vec<_> = text.split("@@").map(str::as_bytes).collect();
            let body = parts.join(&b"\xc3\x28"[..]);
            let ends = [wire.stop(), wire.done()].map(|event| write(chunk(&event)));
            let parts = [Step::Request, write(head(200, EVENTS, CHUNKED)), write(chunk_of(&body))];
            parts.into_iter().chain(ends).chain([write(LAST_CHUNK)]).collect::<Script>()
        };
        let picture = wire.picture(0);
        let in_member = picture.replace("\"created\":1", "\"created\":1,\"id\":\"@@\"");
        let (in_picture, text) = match wire.0 {
            FaultWire::Chat => {
                (picture.replace("iVBORw0KGgoAAAANSUhEUgAAA", "iVBORw0KGgoAAAANSUhEUgAAA@@"), chat_text("@@"))
            }
            FaultWire::Ark => (picture.replace(".jpeg", "@@.jpeg"), String::new()),
        };
        let mut cases =
            vec![("in the picture", broken(&in_picture)), ("in a member without a meaning", broken(&in_member))];
        if !text.is_empty() {
            cases.push(("in a text", broken(&text)));
        }
        cases
    }),
    fault("u39", "the upstream sends malformed JSON", |wire| {
        let broken = || "data: {\"choices\":[{\"index\":0,\n\n".to_owned();
        let ends = [wire.begin(), wire.picture(0), wire.stop(), wire.done()].concat();
        vec![
            ("one event", stream(&[broken(), ends])),
            ("three events", stream(&[wire.begin(), broken(), broken(), broken(), wire.done()])),
            ("every event", stream(&[broken(), wire.done()])),
        ]
    }),
    fault("u40", "the upstream uses every form that an event stream may have", |wire| {
        let plain = [wire.begin(), wire.picture(0), wire.stop(), wire.done()].concat();
        let without_space = plain.replace("data: ", "data:");
        let extra = format!("\u{feff}: a comment\n\ndata\n\nid: 7\nretry: 10\n\n{plain}");
        // A line break between two members of the document.
        let two_lines = plain
            .replace("\"index\":0,", "\"index\":0,\ndata: ")
            .replace("\"image_index\":0,", "\"image_index\":0,\ndata: ");
        let whole = |text: &str| stream(&[text.to_owned()]);
        let pieces = plain.bytes().map(|byte| chunk_of(&[byte])).collect::<Vec<_>>().concat();
        vec![
            ("LF", whole(&plain)),
            ("CRLF", whole(&plain.replace('\n', "\r\n"))),
            ("CR", whole(&plain.replace('\n', "\r"))),
            ("no space", whole(&without_space)),
            ("BOM, comment, empty and unknown fields", whole(&extra)),
            ("data in two lines", whole(&two_lines)),
            ("a chunk per byte", [opens(&[]), vec![write(pieces), write(LAST_CHUNK), Step::Close]].concat()),
        ]
    }),
    fault("u41", "the upstream continues after `[DONE]`", |wire| {
        let whole = [wire.begin(), wire.picture(0), wire.stop(), wire.done()].concat();
        vec![
            ("twice", stream(&[whole.clone(), wire.done(), wire.done()])),
            ("more events", stream(&[whole.clone(), wire.picture(1), wire.stop()])),
            ("garbage", stalls(&[whole, "\u{0}{]]garbage\n\n".to_owned()])),
        ]
    }),
    fault("u42", "the upstream sends JSON that breaks readers", |wire| {
        let deep = event(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)));
        let odd = [
            ("NUL", event("{\"id\":\"\u{0}\"}")),
            ("escaped NUL", event(r#"{"id":"\u0000","choices":[{"delta":{"content":"\u0000"}}]}"#)),
            ("lone surrogate", event(r#"{"id":"\ud800","choices":[{"delta":{"content":"\udc00 \ud800x"}}]}"#)),
            ("deep nesting", deep),
            ("duplicate members", event(r#"{"choices":[],"choices":{"a":1},"error":null,"id":1,"id":[2]}"#)),
            ("huge number", event(r#"{"created":1e99999,"index":123456789012345678901234567890}"#)),
        ];
        let ends = [wire.begin(), wire.picture(0), wire.stop(), wire.done()].concat();
        odd.into_iter().map(|(name, odd)| (name, stream(&[odd, ends.clone()]))).collect()
    }),
    fault("u43", "the upstream sends a link that is not accepted", |wire| {
        let links = [
            ("http", "http://example.com/a.png".to_owned()),
            ("user", "https://user:word@example.com/a.png".to_owned()),
            ("5000 long", format!("https://example.com/{}.png", "a".repeat(5000))),
            ("IP address", "https://169.254.169.254/a.png".to_owned()),
            ("localhost", "https://localhost/a.png".to_owned()),
            ("script", "javascript:alert(1)".to_owned()),
        ];
        match wire.0 {
            FaultWire::Chat => Vec::new(),
            FaultWire::Ark => {
                let mut cases: Vec<_> = links
                    .iter()
                    .map(|(name, link)| (*name, stream(&[ark_linked(0, link), wire.stop(), wire.done()])))
                    .collect();
                let bad = ark_linked(0, &links[0].1);
                cases.push(("beside a good one", stream(&[bad, wire.picture(1), wire.stop(), wire.done()])));
                cases
            }
        }
    }),
];

/// The events of a wire format.
#[derive(Clone, Copy)]
struct Wire(FaultWire);

impl Wire {
    fn either<T>(self, chat: T, ark: T) -> T {
        match self.0 {
            FaultWire::Chat => chat,
            FaultWire::Ark => ark,
        }
    }

    /// A first sign that is not a picture.
    fn begin(self) -> String {
        self.either(chat_text("好的"), ": ping\n\n".to_owned())
    }

    /// The whole content of an answer without a picture.
    fn nothing(self) -> String {
        self.either(chat_text("我不能画这个。") + &finish("stop"), ark_completed(0))
    }

    fn picture(self, index: u32) -> String {
        self.either(chat_picture(index, usize::MAX), ark_linked(index, &ark_link(index)))
    }

    /// The first part of a picture: an ended event that contains half of it, or half of an event.
    fn half(self) -> String {
        let mut event = ark_linked(0, &ark_link(0));
        event.truncate(event.len() / 2);
        self.either(chat_picture(0, 100), event)
    }

    fn stop(self) -> String {
        self.either(finish("stop"), ark_completed(1))
    }

    fn done(self) -> String {
        event("[DONE]")
    }
}

const ARK_MODEL: &str = "doubao-seedream-4-0-250828";
const EVENTS: &str = "text/event-stream";
const CHUNKED: &str = "transfer-encoding: chunked\r\n";
const LAST_CHUNK: &str = "0\r\n\r\n";
const END: &str = "content-length: 0\r\n\r\n";

fn write(bytes: impl Into<Bytes>) -> Step {
    Step::Write(bytes.into())
}

fn head(status: u16, content_type: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status} Status\r\ncontent-type: {content_type}\r\n{headers}\r\n")
}

/// A response whose body is sent at once.
fn respond(status: u16, content_type: &str, headers: &str, body: &str) -> Script {
    let headers = format!("{headers}content-length: {}\r\n", body.len());
    vec![Step::Request, write(head(status, content_type, &headers) + body)]
}

fn html(title: &str) -> String {
    format!("<html><title>{title}</title>{UPSTREAM_TEXT}</html>")
}

fn refuse(status: u16, code: &str, message: &str, headers: &str) -> Script {
    respond(status, "application/json", headers, &error_object(code, message))
}

fn error_object(code: &str, message: &str) -> String {
    let message = format!("{message} {UPSTREAM_TEXT}");
    json!({"error": {"code": code, "message": message, "param": "", "type": ""}}).to_string()
}

/// The head of an event stream and its first parts, each as a chunk.
fn opens(parts: &[String]) -> Script {
    let begin = [Step::Request, write(head(200, EVENTS, CHUNKED))];
    begin.into_iter().chain(parts.iter().map(|part| write(chunk(part)))).collect()
}

fn stream(parts: &[String]) -> Script {
    [opens(parts), vec![write(LAST_CHUNK), Step::Close]].concat()
}

fn stalls(parts: &[String]) -> Script {
    [opens(parts), vec![Step::Stall]].concat()
}

fn chunk(text: &str) -> Bytes {
    chunk_of(text.as_bytes()).into()
}

/// A chunk of HTTP/1.1.
fn chunk_of(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

fn chat_chunk(delta: &Value, finish_reason: &Value) -> String {
    // Written by hand so that `index` is first, as upstreams send it.
    event(&format!(
        r#"{{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish_reason}}}]}}"#
    ))
}

fn chat_text(text: &str) -> String {
    chat_chunk(&json!({"content": text}), &Value::Null)
}

/// Markdown with a small picture, up to this many characters.
fn chat_picture(variant: u32, characters: usize) -> String {
    let picture = draw("fault", variant, PictureFormat::Png, 4, 4).bytes;
    let mut text = format!("![image](data:image/png;base64,{})", STANDARD.encode(picture));
    text.truncate(characters);
    chat_text(&text)
}

fn finish(reason: &str) -> String {
    chat_chunk(&json!({}), &reason.into())
}

fn ark_link(index: u32) -> String {
    format!("https://ark-pictures.example.com/{index}.jpeg?X-Tos-Expires=86400&X-Tos-Signature=abc")
}

fn ark_linked(index: u32, link: &str) -> String {
    let data = format!(
        r#"{{"type":"image_generation.partial_succeeded","model":"{ARK_MODEL}","created":1,"image_index":{index},"url":{},"size":"2048x2048"}}"#,
        json!(link)
    );
    format!("event: image_generation.partial_succeeded\n{}", event(&data))
}

fn ark_failed(index: u32, code: &str) -> String {
    let data = json!({
        "type": "image_generation.partial_failed", "model": ARK_MODEL, "created": 1, "image_index": index,
        "error": {"code": code, "message": UPSTREAM_TEXT},
    });
    format!("event: image_generation.partial_failed\n{}", event(&data.to_string()))
}

fn ark_completed(pictures: u32) -> String {
    let usage = json!({"generated_images": pictures, "output_tokens": 100 * pictures, "total_tokens": 100 * pictures});
    let data = json!({"type": "image_generation.completed", "model": ARK_MODEL, "created": 1, "usage": usage});
    format!("event: image_generation.completed\n{}", event(&data.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_number_and_a_case() {
        let rows = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md")).unwrap();
        let mut last = 0;
        for fault in UpstreamFault::ALL {
            let number: u32 = fault.name[1..].parse().unwrap();
            assert!(number > last && fault.name.starts_with('u'), "{fault:?}");
            last = number;
            assert!(rows.contains(&format!("\n| {} | ", fault.name.to_uppercase())), "{fault:?} in docs/faults.md");
            assert!(!fault.description.is_empty() && !fault.description.ends_with('.'), "{fault:?}");
            let cases = [FaultWire::Chat, FaultWire::Ark].map(|wire| fault.cases(wire));
            assert!(cases.iter().any(|cases| !cases.is_empty()), "{fault:?}");
            for cases in cases {
                let names: std::collections::HashSet<_> = cases.iter().map(|(name, _)| name).collect();
                assert_eq!(names.len(), cases.len(), "{fault:?}");
            }
            assert_eq!(UpstreamFault::find(fault.name), Some(fault));
        }
    }
}
