use serde_json::{Value, json};
use shared::problem::Lang;

use super::*;

const LINK: &str = "https://example.com/a.png";
const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";

fn parse(body: &Value) -> Result<FaceflipInput, Problem> {
    FaceflipInput::parse(&body.to_string(), LocalLinks::Refused)
}

fn good(body: &Value) -> FaceflipInput {
    parse(body).unwrap_or_else(|problem| panic!("{body}: {}", problem.reason(Lang::En)))
}

#[test]
fn a_body_becomes_an_input() {
    let body = json!({"x": [{"urls": 1}], "task_id": " 任务 ", "urls": [LINK, PIXEL], "prompt": " 换脸 "});
    let input = good(&body);
    assert_eq!((&*input.task_id, input.prompt.as_deref()), (" 任务 ", Some("换脸")));
    let urls: Vec<_> = input.pictures.iter().map(|picture| picture.url().unwrap()).collect();
    assert_eq!(urls, [LINK, PIXEL]);
    assert_eq!(input.links(), [LINK]);
    let input = good(&json!({"task_id": "t", "urls": vec![LINK; 10], "prompt": null}));
    assert_eq!((input.pictures.len(), input.prompt), (10, None));
}

/// Every wrong type at every place, and every other rule: code, pointer and sentence.
#[test]
fn a_refusal_names_its_place() {
    let right = json!({"task_id": "t", "urls": [LINK, LINK], "prompt": "x"});
    let mut rows: Vec<(Value, String)> = Vec::new();
    for value in [json!(7), json!(true), json!([LINK]), json!({"a": 1})] {
        for name in ["task_id", "prompt"] {
            let mut body = right.clone();
            body[name] = value.clone();
            rows.push((body, format!("invalid_request /{name} {name} must be a string")));
        }
        if !value.is_array() {
            let mut body = right.clone();
            body["urls"] = value.clone();
            rows.push((body, "invalid_request /urls urls must be a list of strings".to_owned()));
        }
        for index in 0..2 {
            let mut body = right.clone();
            body["urls"][index] = value.clone();
            rows.push((body, format!("invalid_request /urls/{index} urls[{index}] must be a string")));
        }
    }
    let with = |name: &str, value: Value| {
        let mut body = right.clone();
        body[name] = value;
        body
    };
    let url = |text: &str| with("urls", json!([LINK, text]));
    rows.extend(
        [
            (with("task_id", Value::Null), "invalid_request /task_id task_id is required"),
            (with("task_id", json!("")), "invalid_request /task_id task_id must have 1 to 256 characters"),
            (
                with("task_id", json!("任".repeat(257))),
                "invalid_request /task_id task_id must have 1 to 256 characters",
            ),
            (with("urls", Value::Null), "invalid_request /urls urls is required"),
            (with("urls", json!([])), "invalid_request /urls urls must have 1 to 10 items"),
            (with("urls", json!(vec![LINK; 11])), "invalid_request /urls urls must have 1 to 10 items"),
            (with("urls", json!("x")), "invalid_request /urls urls must be a list of strings"),
            (with("prompt", json!(" ")), "invalid_request /prompt prompt must have 1 to 4000 characters"),
            (url(""), "invalid_url /urls/1 urls[1] must have at most 2048 bytes"),
            (url("http://example.com/a"), "invalid_url /urls/1 urls[1] must be an https link to a public host name"),
            (url("data:,"), "unsupported_media_type /urls/1 urls[1] must be a PNG, JPEG or WebP picture"),
            (
                url("data:image/png;base64,AAAA"),
                "invalid_image /urls/1 urls[1] must be a picture as data:image/…;base64,…",
            ),
        ]
        .map(|(body, expected)| (body, expected.to_owned())),
    );
    for (body, expected) in rows {
        let problem = parse(&body).map(|_| ()).unwrap_err();
        let found = format!("{} {} {}", problem.code, problem.errors()[0].pointer, problem.reason(Lang::En));
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn another_request_has_another_fingerprint() {
    let body = json!({"task_id": "t", "urls": [LINK, PIXEL], "prompt": "x"});
    let fingerprint = good(&body).fingerprint();
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        good(&body).fingerprint()
    };
    let others = [
        with("prompt", json!("y")),
        with("prompt", Value::Null),
        with("urls", json!([LINK])),
        with("urls", json!([PIXEL, LINK])),
        with("urls", json!([LINK, LINK])),
    ];
    for (at, one) in others.iter().enumerate() {
        assert!(*one != fingerprint && !others[..at].contains(one), "{at}");
    }
    for same in [with("prompt", json!("x ")), with("task_id", json!("u")), with("unknown", json!(1))] {
        assert_eq!(same, fingerprint);
    }
}

#[test]
fn the_task_of_a_refused_body() {
    let rows: [(&str, Option<&str>); 8] = [
        (r#"{"task_id":"t","urls":7}"#, Some("t")),
        (r#"{"urls":[{"task_id":"u"}],"task_id":"t"}"#, Some("t")),
        (r#"{"task_id":7}"#, None),
        (r#"{"task_id":""}"#, None),
        (r#"{"task_id":"t","task_id":"u"}"#, None),
        (r#"{"task_id":"t""#, None),
        (r#"["t"]"#, None),
        ("", None),
    ];
    for (body, task_id) in rows {
        assert_eq!(FaceflipInput::task_id_of(body.as_bytes()).as_deref(), task_id, "{body}");
    }
    assert_eq!(FaceflipInput::task_id_of(b"{\"task_id\":\"t\",\"\xff\":1}"), None);
}
