use url::Url;

use super::InputValue;
use super::inline_picture::{InlineForm, InlinePicture, InlineRefusal, MAX_BYTES, MAX_PIXELS};
use super::link::{MAX_LINK_BYTES, check_input};
use crate::image_url::{LocalLinks, UrlRefusal};
use crate::problem::{Code, Detail, Problem};

/// A reference picture of a request. Not `Debug`, because it must not be logged.
pub enum InputPicture {
    /// Passed on to the upstream, which fetches it.
    Link(Url),
    /// Part of the request.
    Inline(InlinePicture),
}

impl InputPicture {
    /// Reads `text`, the string of `value`, as a link.
    ///
    /// # Errors
    /// 400 that names `value`.
    pub fn link(value: &InputValue<'_>, text: &str, links: LocalLinks) -> Result<Self, Problem> {
        check_input(text, links).map(Self::Link).map_err(|refusal| {
            let detail = match refusal {
                UrlRefusal::Length => Detail::UrlLength { max: MAX_LINK_BYTES },
                _ => Detail::UrlNotAllowed,
            };
            value.refuse(Code::InvalidUrl, detail)
        })
    }

    /// Reads `text`, the string of `value`, as a data URL.
    ///
    /// # Errors
    /// 400, 413 or 415 that names `value`.
    pub fn inline(value: &InputValue<'_>, text: &str, form: InlineForm) -> Result<Self, Problem> {
        InlinePicture::read(text, form).map(Self::Inline).map_err(|refusal| match refusal {
            InlineRefusal::UnsupportedMediaType => value.refuse(Code::UnsupportedMediaType, Detail::ImageMediaType),
            InlineRefusal::Invalid => value.refuse(Code::InvalidImage, Detail::NotAnImage),
            InlineRefusal::TooManyBytes => {
                value.refuse(Code::ImageTooLarge, Detail::ImageBytes { max_bytes: MAX_BYTES })
            }
            InlineRefusal::TooManyPixels => {
                value.refuse(Code::ImageTooLarge, Detail::ImagePixels { max_pixels: MAX_PIXELS })
            }
        })
    }

    /// The link, or the data URL; `None` for an inline picture that is stored as bytes.
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Link(url) => Some(url.as_str()),
            Self::Inline(picture) => picture.data_url(),
        }
    }

    /// The picture's identity for a task's fingerprint: the link, or the SHA-256 of the bytes.
    pub fn identity(&self) -> String {
        match self {
            Self::Link(url) => url.as_str().to_owned(),
            Self::Inline(picture) => picture.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}
