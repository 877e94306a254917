//! The checks of the fuzz targets are those of the tests in `shared/tests/it/fuzz`; here they are built without the tests.

mod bodies;

#[path = "../../tests/it"]
#[expect(dead_code, reason = "some of it serves other tests")]
mod checks {
    pub(crate) mod fuzz;

    pub(crate) mod support {
        pub(crate) mod answer;
        pub(crate) mod pictures;
    }
}

use checks::{fuzz, support};

/// Checks the event stream decoder.
pub fn sse(input: &[u8]) {
    fuzz::sse::check(input);
}

/// Checks the JSON tokenizer.
pub fn json(input: &[u8]) {
    fuzz::json::check(input);
}

/// Checks the reader of answers.
pub fn answer(input: &[u8]) {
    fuzz::answer::check(input);
}

/// Checks the access token and the key set.
pub fn token(input: &[u8]) {
    fuzz::token::check(input);
}

/// Checks the bodies of requests.
pub fn request(input: &[u8]) {
    fuzz::request::check(input);
    bodies::check(input);
}

/// Checks inline pictures.
pub fn data_url(input: &[u8]) {
    fuzz::data_url::check(input);
}

/// Checks the labels in pictures.
pub fn label(input: &[u8]) {
    fuzz::label::check(input);
}
