//! A picture that a user sends: checked, and in the form that is passed on. Nothing is fetched.

use crate::image_url::{self, LocalLinks, UrlRefusal};
use crate::media::data_url::{self, Refusal};
use crate::problem::{Code, Detail, Problem};

/// A link; `at` is where it stands in the request, as a JSON pointer.
pub fn link(text: &str, links: LocalLinks, at: &str) -> Result<String, Problem> {
    image_url::check_input(text, links).map(String::from).map_err(|refusal| {
        let detail = match refusal {
            UrlRefusal::Length => Detail::UrlLength { max: image_url::MAX_INPUT_BYTES },
            _ => Detail::UrlNotAllowed,
        };
        Problem::new(Code::InvalidUrl).at(at, Code::InvalidUrl).detail(detail)
    })
}

/// A data URL.
pub fn data(text: &str, at: &str) -> Result<String, Problem> {
    data_url::check(text).map(|image| image.canonical()).map_err(|refusal| {
        let (code, detail) = match refusal {
            Refusal::UnsupportedMediaType => (Code::UnsupportedMediaType, Detail::ImageMediaType),
            Refusal::Invalid => (Code::InvalidImage, Detail::NotAnImage),
            Refusal::TooManyBytes => (Code::ImageTooLarge, Detail::ImageBytes { max_bytes: data_url::MAX_BYTES }),
            Refusal::TooManyPixels => (Code::ImageTooLarge, Detail::ImagePixels { max_pixels: data_url::MAX_PIXELS }),
        };
        Problem::new(code).at(at, code).detail(detail)
    })
}
