//! The members of a request's body.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::Value;
use shared::image_url::{LocalLinks, check_generated};
use shared::input::{InlineForm, InputPicture, InputValue, MAX_LINK_BYTES, members, prompt};
use shared::problem::{Code, Lang, Problem};

const NAMES: [&str; 5] = ["prompt", "image_inputs", "n", "task_id", "urls"];

/// `serde_json` must find the same members, and each refusal names one of them.
pub(crate) fn check(input: &[u8]) {
    let Ok(body) = std::str::from_utf8(input) else { return };
    // Half of a surrogate pair is refused in a name.
    let is_object = serde_json::from_str::<HashMap<String, IgnoredAny>>(body).is_ok();
    let values = match members(body, NAMES) {
        Ok(values) => values,
        Err(problem) => {
            assert!(problem.code != Code::InvalidJson || !is_object, "an object is refused as invalid JSON");
            return check_problem(&problem, &NAMES);
        }
    };
    assert!(is_object, "a body that is not an object is accepted");
    // It refuses numbers that are too large and half of a surrogate pair, also in members that are not read.
    let whole: Option<Value> = serde_json::from_str(body).ok();
    for (value, name) in values.into_iter().zip(NAMES) {
        let expected = whole.as_ref().map(|whole| &whole[name]);
        assert!(expected.is_none_or(|expected| expected.is_null() == value.is_none()), "{name} is not found");
        if let Some(value) = value {
            check_value(&value, expected);
        }
    }
}

fn check_value(value: &InputValue<'_>, expected: Option<&Value>) {
    match value.text() {
        Ok(text) => {
            assert!(expected.is_none_or(|expected| expected.as_str() == Some(&text)), "another text");
            check_picture(value, &text);
        }
        Err(problem) => {
            assert!(expected.is_none_or(|expected| !expected.is_string()), "a text is refused");
            check_problem(&problem, &NAMES);
        }
    }
    match prompt(value) {
        Ok(prompt) => assert!((1..=4000).contains(&prompt.chars().count()) && prompt.trim() == prompt),
        Err(problem) => check_problem(&problem, &NAMES),
    }
    match value.whole_number(1..=4) {
        Ok(number) => {
            assert!((1..=4).contains(&number));
            assert!(expected.is_none_or(|expected| expected.as_f64() == Some(number.into())), "another number");
        }
        Err(problem) => check_problem(&problem, &NAMES),
    }
    match value.list(0..=3) {
        Ok(items) => {
            let expected = expected.map(|expected| expected.as_array().expect("a list"));
            assert!(items.len() <= 3 && expected.is_none_or(|expected| expected.len() == items.len()));
            for (index, item) in items.iter().enumerate() {
                // Lists in lists would take time that grows with the square of the body.
                match item.text() {
                    Ok(text) => {
                        assert!(expected.is_none_or(|expected| expected[index].as_str() == Some(&text)));
                        check_picture(item, &text);
                    }
                    Err(problem) => check_problem(&problem, &NAMES),
                }
            }
        }
        Err(problem) => check_problem(&problem, &NAMES),
    }
}

fn check_picture(value: &InputValue<'_>, text: &str) {
    let read = |picture: Result<InputPicture, Problem>| match picture {
        Ok(picture) => check_accepted(&picture),
        Err(problem) => check_problem(&problem, &NAMES),
    };
    read(InputPicture::link(value, text, LocalLinks::Refused));
    read(InputPicture::inline(value, text, InlineForm::DataUrl));
}

/// A link has one spelling, and its rules are stricter than those for links of models.
pub(crate) fn check_accepted(picture: &InputPicture) {
    let InputPicture::Link(url) = picture else { return };
    let spelling = url.as_str();
    assert_eq!(url::Url::parse(spelling).as_ref(), Ok(url));
    assert!(url.scheme() == "https" && url.port().is_none() && url.username().is_empty() && url.fragment().is_none());
    assert!(spelling.is_ascii(), "a link is not ASCII");
    // The parser writes some characters in three bytes.
    assert!(spelling.len() <= 3 * MAX_LINK_BYTES + 1);
    if !spelling.contains(['\'', '`']) && spelling.len() <= MAX_LINK_BYTES {
        assert_eq!(check_generated(spelling, LocalLinks::Refused), Ok(spelling));
    }
}

/// A refusal names one of these members in its pointer and in both sentences, and repeats nothing else of the body.
pub(crate) fn check_problem(problem: &Problem, names: &[&str]) {
    assert!((400..500).contains(&problem.code.status()) && !problem.retryable(), "{}", problem.code);
    assert!(problem.document(Lang::Zh, "id").len() < 1500, "a refusal repeats the body");
    if problem.code == Code::InvalidJson {
        return assert_eq!(problem.errors(), []);
    }
    let [error] = problem.errors() else { panic!("{} errors", problem.errors().len()) };
    if error.pointer.is_empty() {
        return assert_eq!(problem.reason(Lang::En), "The request body must be a JSON object");
    }
    let pointer = error.pointer.strip_prefix('/').expect("a pointer");
    let (name, index) = pointer.split_once('/').map_or((pointer, None), |(name, index)| (name, Some(index)));
    assert!(names.contains(&name) && index.is_none_or(|index| index.parse::<u8>().is_ok()), "{pointer}");
    let place = index.map_or(name.to_owned(), |index| format!("{name}[{index}]"));
    for lang in [Lang::Zh, Lang::En] {
        assert!(problem.reason(lang).contains(&place), "{} does not name {place}", problem.reason(lang));
    }
}
