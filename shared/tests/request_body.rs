//! Request bodies: what is read of them, what they cost, and how a refusal names the place.

use allocation_counter::measure;
use shared::input::members;
use shared::problem::{Code, Lang};

const NAMES: [&str; 3] = ["prompt", "n", "image_inputs"];
const BODY_BYTES: usize = 6 * 1024 * 1024;

/// A body of about 6 MB with a good prompt and an unknown member of `item`s.
fn hostile(open: &str, item: &str, close: &str) -> String {
    let (head, tail) = (format!("{{\"prompt\":\"x\",\"junk\":{open}"), format!("{close},\"n\":2}}"));
    let count = (BODY_BYTES - head.len() - tail.len()) / item.len();
    head + item.repeat(count).trim_end_matches(',') + &tail
}

#[test]
fn unknown_manycost_no_memory() {
    let many = (0..10_000).map(|at| format!("\"member{at}\":[{{}},{{\"a\":null}}],")).collect::<String>();
    let bodies = [
        hostile("[", "{\"a\":0},", "]"),
        hostile("[", "[],", "]"),
        hostile("[", "0,", "]"),
        hostile("[", "\"\\u0041\",", "]"),
        hostile("", "[", &"]".repeat(10)).replace(",\"n\":2}", ""),
        format!("{{\"prompt\":\"x\",{many}\"n\":2}}"),
        format!("{{\"prompt\":\"x\",\"junk\":{}{},\"n\":2}}", "[".repeat(2_000_000), "]".repeat(2_000_000)),
        format!("{{\"prompt\":\"x\",\"junk\":{}0{},\"n\":2}}", "{\"a\":".repeat(900_000), "}".repeat(900_000)),
    ];
    for body in bodies {
        let is_json = body.ends_with(",\"n\":2}");
        let mut read = None;
        let heap = measure(|| read = Some(members(&body, NAMES)));
        // One byte for each bracket that is open, and the room that grows for them.
        let most = 3 * body.len() as u64;
        assert!(heap.bytes_max <= most, "{} bytes for {:.40}", heap.bytes_max, body);
        match read.unwrap() {
            Ok([prompt, n, pictures]) => {
                assert!(is_json);
                assert_eq!(prompt.unwrap().text().unwrap(), "x");
                assert_eq!(n.unwrap().whole_number(1..=4).unwrap(), 2);
                assert!(pictures.is_none());
            }
            Err(problem) => assert!(!is_json && problem.code == Code::InvalidJson, "{:.40}", body),
        }
    }
}

#[test]
fn a_list_is_read_up_to_its_longest_length() {
    let items = "\"data:image/png;base64,AAAA\",".repeat(200_000);
    let body = format!("{{\"image_inputs\":[{}]}}", items.trim_end_matches(','));
    let heap = measure(|| {
        let [_, _, pictures] = members(&body, NAMES).unwrap();
        let problem = pictures.unwrap().list(0..=3).err().unwrap();
        assert_eq!(problem.reason(Lang::En), "image_inputs must have at most 3 items");
    });
    assert!(heap.bytes_max < 64 * 1024, "{} bytes", heap.bytes_max);
}

#[test]
fn a_member_that_stands_twice_is_refused_and_named() {
    for (body, expected) in [
        (r#"{"prompt":"a","prompt":"b"}"#, "prompt"),
        (r#"{"prompt":null,"n":1,"prompt":"b"}"#, "prompt"),
        (r#"{"\u0070rompt":"a","prompt":"b"}"#, "prompt"),
        (r#"{"n":1,"n":1}"#, "n"),
    ] {
        let problem = members(body, NAMES).err().unwrap();
        let sentence = problem.reason(Lang::En);
        assert!(sentence.starts_with(&format!("{expected} ")), "{body}: {sentence}");
    }
    assert!(members(r#"{"junk":1,"junk":2,"prompt":"a"}"#, NAMES).is_ok(), "an unknown member is skipped");
}
