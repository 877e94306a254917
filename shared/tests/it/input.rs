//! Request bodies: which members are found, what is refused and where, and what a hostile body costs.

use allocation_counter::measure;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::input::{InputValue, members, prompt};
use shared::problem::{Lang, Problem};

/// As large as a Lambda request can be.
const BODY_BYTES: usize = 6 * 1024 * 1024;

/// Code, pointer and English sentence of a refusal.
fn refusal(problem: &Problem) -> String {
    let pointer = problem.errors().first().map_or("-", |error| &error.pointer);
    format!("{} {pointer:?} {}", problem.code, problem.reason(Lang::En))
}

fn text(value: Option<InputValue<'_>>) -> String {
    value
        .map_or("-".to_owned(), |value| value.text().map_or_else(|problem| refusal(&problem), |text| text.into_owned()))
}

#[test]
fn members_are_found_wherever_they_stand() {
    let rows = [
        (r#"{"a":"1","b":"2"}"#, "1 2"),
        (r#" { "b" : "2" , "a" : "1" } "#, "1 2"),
        (r#"{"x":[{"a":"9"},{"b":[["a"]]}],"a":"1","y":{"b":"9"},"z":1e999}"#, "1 -"),
        (r#"{"\u0061":"\u0031","B":"2"}"#, "1 -"),
        (r#"{"a":null,"b":"null"}"#, "- null"),
        (r#"{"a":"\"\\\/\b\f\n\r\t\ud83d\ude00","b":"é"}"#, "\"\\/\u{8}\u{c}\n\r\t😀 é"),
        (r#"{"x":"\ud800","x":1,"x":2,"b":""}"#, "- "),
        ("{}", "- -"),
    ];
    for (body, found) in rows {
        let [a, b] = members(body, ["a", "b"]).unwrap_or_else(|problem| panic!("{body}: {problem}"));
        assert_eq!(format!("{} {}", text(a), text(b)), found, "{body}");
    }
}

#[test]
fn a_body_that_is_not_an_object_is_refused() {
    let json = "The request body is not valid JSON at line";
    let rows = [
        ("", format!("invalid_json \"-\" {json} 1, column 0")),
        (" \n", format!("invalid_json \"-\" {json} 2, column 0")),
        ("{", format!("invalid_json \"-\" {json} 1, column 1")),
        ("{\"a\":1,\n\"b\":}", format!("invalid_json \"-\" {json} 2, column 5")),
        ("{\"a\":1}}", format!("invalid_json \"-\" {json} 1, column 8")),
        ("{\"a\":1} {}", format!("invalid_json \"-\" {json} 1, column 9")),
        ("{\"x\":[1,]}", format!("invalid_json \"-\" {json} 1, column 9")),
        ("{\"x\":\"\u{1}\"}", format!("invalid_json \"-\" {json} 1, column 6")),
        ("{\"x\":\"\\q\"}", format!("invalid_json \"-\" {json} 1, column 8")),
        ("{'a':1}", format!("invalid_json \"-\" {json} 1, column 2")),
        ("{1:1}", format!("invalid_json \"-\" {json} 1, column 2")),
        ("{\"x\":01}", format!("invalid_json \"-\" {json} 1, column 7")),
        ("{\"x\":NaN}", format!("invalid_json \"-\" {json} 1, column 6")),
        ("\u{feff}{}", format!("invalid_json \"-\" {json} 1, column 1")),
        (r#"{"x\ud83d":1}"#, format!("invalid_json \"-\" {json} 1, column 10")),
        ("[]", "invalid_request \"\" The request body must be a JSON object".to_owned()),
        ("\"a\"", "invalid_request \"\" The request body must be a JSON object".to_owned()),
        ("null", "invalid_request \"\" The request body must be a JSON object".to_owned()),
        ("{\"a\":1,\"b\":2,\"b\":2}", "invalid_request \"/b\" b must not be given twice".to_owned()),
        ("{\"a\":null,\"\\u0061\":1}", "invalid_request \"/a\" a must not be given twice".to_owned()),
    ];
    for (body, expected) in rows {
        let problem = members(body, ["a", "b"]).map(|_| ()).unwrap_err();
        assert_eq!(refusal(&problem), expected, "{body}");
    }
}

#[test]
fn a_value_is_read_by_its_type() {
    type ReadValue = fn(&InputValue<'_>) -> Result<String, Problem>;
    let text: ReadValue = |value| value.text().map(|text| text.into_owned());
    let number: ReadValue = |value| value.whole_number(1..=4).map(|number| number.to_string());
    let list: ReadValue = |value| value.list(1..=2).map(|items| items.len().to_string());
    let second: ReadValue = |value| value.list(0..=9)?.get(1).unwrap().text().map(|text| text.into_owned());
    let not_text = "invalid_request \"/v\" v must be a string";
    let not_number = "invalid_request \"/v\" v must be a whole number from 1 to 4";
    let not_list = "invalid_request \"/v\" v must be a list of strings";
    let length = "invalid_request \"/v\" v must have 1 to 2 items";
    let half = "invalid_request \"/v\" v must not contain half of a Unicode surrogate pair";
    let rows = [
        (text, "1", not_text),
        (text, "true", not_text),
        (text, "[\"a\"]", not_text),
        (text, "{\"a\":\"a\"}", not_text),
        (text, r#""\ud83d""#, half),
        (text, r#""\ude00\ud83d""#, half),
        (text, r#""\uD83Dx""#, half),
        (number, "1", "1"),
        (number, "3.0", "3"),
        (number, "0.4e1", "4"),
        (number, "0", not_number),
        (number, "5", not_number),
        (number, "1.5", not_number),
        (number, "-1", not_number),
        (number, "1e999", not_number),
        (number, "18446744073709551617", not_number),
        (number, "\"1\"", not_number),
        (number, "false", not_number),
        (number, "[1]", not_number),
        (number, "{}", not_number),
        (list, "[1]", "1"),
        (list, " [ 1 , [[{}]] ] ", "2"),
        (list, "[]", length),
        (list, "[1,2,3]", length),
        (list, "[1,2,3,4]", length),
        (list, "\"a\"", not_list),
        (list, "{}", not_list),
        (list, "7", not_list),
        (second, r#"["a","b"]"#, "b"),
        (second, r#"["a",["b"]]"#, "invalid_request \"/v/1\" v[1] must be a string"),
        (second, r#"["a",null]"#, "invalid_request \"/v/1\" v[1] must be a string"),
    ];
    for (read, json, expected) in rows {
        let body = format!("{{\"v\":{json}}}");
        let [value] = members(&body, ["v"]).unwrap_or_else(|problem| panic!("{body}: {problem}"));
        assert_eq!(read(&value.unwrap()).unwrap_or_else(|problem| refusal(&problem)), expected, "{body}");
    }
}

#[test]
fn a_prompt_has_1_to_4000_characters() {
    let read = |json: String| {
        let body = format!("{{\"prompt\":{json}}}");
        let [value] = members(&body, ["prompt"]).unwrap_or_else(|problem| panic!("{problem}"));
        prompt(&value.unwrap()).map_err(|problem| refusal(&problem))
    };
    let refused = Err("invalid_request \"/prompt\" prompt must have 1 to 4000 characters".to_owned());
    assert_eq!(read("\" \u{3000}a b\\n\"".to_owned()), Ok("a b".to_owned()));
    assert_eq!(read(format!("\"{}\"", "长".repeat(4000))), Ok("长".repeat(4000)));
    assert_eq!(read(format!("\"{}\"", "\\ud83d\\ude00".repeat(4000))), Ok("😀".repeat(4000)));
    assert_eq!(read(format!("\"{}\"", "长".repeat(4001))), refused);
    assert_eq!(read("\" \\t\\u3000\"".to_owned()), refused);
    assert_eq!(read("\"\"".to_owned()), refused);
}

/// A body of [`BODY_BYTES`]: `unit` as often as it fits, between these.
fn body(before: &str, unit: &str, after: &str) -> String {
    let times = (BODY_BYTES - before.len() - after.len()) / unit.len();
    let filling = unit.repeat(times);
    [before, &filling, after].concat()
}

fn nested(before: &str, open: &str, inside: &str, close: &str) -> String {
    let depth = (BODY_BYTES - before.len() - inside.len() - 1) / (open.len() + close.len());
    [before, &open.repeat(depth), inside, &close.repeat(depth), "}"].concat()
}

/// The prompt of a body, or why there is none; and the most heap that was in use on the way.
fn prompt_of(body: &str) -> (String, u64) {
    let mut read = String::new();
    let peak = measure(|| {
        let result = members(body, ["prompt", "image_inputs"]).and_then(|[text, list]| {
            list.map(|list| list.list(0..=3)).transpose()?;
            text.map_or(Ok(String::new()), |text| prompt(&text))
        });
        read = result.unwrap_or_else(|problem| refusal(&problem));
    });
    (read, peak.bytes_max)
}

#[test]
fn a_hostile_body_costs_at_most_three_times_its_size() {
    let too_long = "invalid_request \"/prompt\" prompt must have 1 to 4000 characters";
    let too_many = "invalid_request \"/image_inputs\" image_inputs must have at most 3 items";
    let rows = [
        ("tiny objects", body(r#"{"prompt":"x","junk":[{"a":0}"#, r#",{"a":0}"#, "]}"), "x", 1 << 10),
        ("tiny values", body(r#"{"prompt":"x","junk":[0"#, ",0", "]}"), "x", 1 << 10),
        ("members", body(r#"{"prompt":"x""#, r#","a":0"#, "}"), "x", 1 << 10),
        ("escaped names", body(r#"{"prompt":"x""#, r#","\u0061\u0062":{}"#, "}"), "x", 1 << 10),
        ("one name", body("{\"prompt\":\"x\",\"", "\\n", "\":1}"), "x", 3),
        ("one number", body("{\"prompt\":\"x\",\"a\":1", "0", "}"), "x", 1 << 10),
        ("arrays in arrays", nested(r#"{"prompt":"x","a":"#, "[", "", "]"), "x", 3),
        ("objects in objects", nested(r#"{"prompt":"x","a":"#, r#"{"a":"#, "1", "}"), "x", 3),
        ("white space", body("{\"prompt\":\"x\"", " ", "}"), "x", 1 << 10),
        ("a long prompt", body("{\"prompt\":\"", "a", "\"}"), too_long, 1 << 10),
        ("a long escaped prompt", body("{\"prompt\":\"", "\\na", "\"}"), too_long, 3),
        ("a padded prompt", body("{\"prompt\":\"x", "\\n", "\"}"), "x", 3),
        ("items", body(r#"{"prompt":"x","image_inputs":["#, "0,", "0]}"), too_many, 1 << 10),
        ("large items", body(r#"{"image_inputs":["a","b","c",["#, r#"{"a":0},"#, "0]]}"), too_many, 1 << 10),
        ("deep items", nested(r#"{"image_inputs":"#, "[", "", "]"), "", 3),
        (
            "a member again and again",
            body(r#"{"prompt":"x""#, r#","prompt":"x""#, "}"),
            "invalid_request \"/prompt\" prompt must not be given twice",
            1 << 10,
        ),
    ];
    for (name, body, expected, share) in rows {
        assert!((BODY_BYTES - 64..=BODY_BYTES).contains(&body.len()), "{name}: {} bytes", body.len());
        let (read, peak) = prompt_of(&body);
        assert_eq!(read, expected, "{name}");
        // Either a multiple of the body, or a small part of it: 6 KiB.
        let most = if share > 3 { body.len() / share } else { body.len() * share } as u64;
        assert!(peak <= most, "{name}: {peak} bytes of heap for {}", body.len());
    }
}

#[test]
fn a_body_that_breaks_off_is_refused_wherever_it_does() {
    let body = r#"{"prompt":"\ud83d\ude00","image_inputs":["a",{"b":[1e5,true]}],"x":{"y":"z"}}"#;
    for end in 0..body.len() {
        let (read, _) = prompt_of(&body[..end]);
        assert!(read.starts_with("invalid_json "), "cut at {end}: {read}");
    }
    // Without an end, and deeper than any stack.
    for open in ["[", "{\"a\":", "[[{\"a\":"] {
        let (read, peak) = prompt_of(&self::body(r#"{"prompt":"x","a":"#, open, ""));
        assert!(read.starts_with("invalid_json "), "{read}");
        assert!(peak <= 3 * BODY_BYTES as u64, "{peak} bytes of heap");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("[ab\"\\\\é]{0,3}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// A reader that builds everything finds the same.
    #[test]
    fn members_are_those_of_the_whole_value(value in any_json()) {
        let body = json!({"before": value, "v": value, "after": value}).to_string();
        let [found] = members(&body, ["v"]).unwrap_or_else(|problem| panic!("{body}: {problem}"));
        prop_assert_eq!(found.is_none(), value.is_null());
        if let Some(found) = found {
            let text = found.text().ok();
            prop_assert_eq!(text.as_deref(), value.as_str());
            let items = found.list(0..=usize::MAX).ok().map(|items| items.len());
            prop_assert_eq!(items, value.as_array().map(Vec::len));
        }
    }

    /// `serde_json` unescapes the same, and refuses the same.
    #[test]
    fn a_string_is_unescaped(
        pieces in prop::collection::vec("\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\u[dD][89ab]0[0-9]\\\\u[dD][c-f]0[0-9]|[a-zé长😀]{1,3}", 0..8)
    ) {
        let json = format!("\"{}\"", pieces.concat());
        let body = format!("{{\"v\":{json}}}");
        let [found] = members(&body, ["v"]).unwrap_or_else(|problem| panic!("{body}: {problem}"));
        let found = found.unwrap();
        let text = found.text().ok();
        let expected = serde_json::from_str::<String>(&json).ok();
        prop_assert_eq!(text.as_deref(), expected.as_deref());
    }

    #[test]
    fn no_text_panics(body in "[\\[\\]{}\":,\\\\0-9.eE+a-z \\n]{0,60}") {
        if let Ok([Some(value)]) = members(&body, ["a"]) {
            let _ = (value.text(), value.list(0..=1).map(|_| ()), value.whole_number(0..=9));
        }
    }
}
