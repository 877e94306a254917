//! The forms in which chat relays hand over a picture.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::image_api::Delta;
use crate::picture::Picture;

/// Base64 characters that one delta of [`Shape::Deltas`] adds.
const DELTA_CHARS: usize = 16 * 1024;

/// How a picture lies in the chunks. A request chooses one by `<model>@<shape>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `deltas`: Markdown cut into `!`, `[image`, `](data:…` and then 16 KiB of base64 a chunk.
    Deltas,
    /// `whole`: the whole Markdown image is one chunk, so one line of some megabytes (new-api).
    Whole,
}

impl Shape {
    /// Every shape.
    pub const ALL: &[Self] = &[Self::Deltas, Self::Whole];

    /// The name by which a request asks for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deltas => "deltas",
            Self::Whole => "whole",
        }
    }

    /// What the chunks add, one after another.
    pub(crate) fn deltas(self, picture: &Picture) -> Vec<Delta> {
        let base64 = STANDARD.encode(&picture.bytes);
        let head = format!("](data:{};base64,", picture.media_type);
        match self {
            Self::Whole => vec![Delta::text(format!("![image{head}{base64})"))],
            Self::Deltas => {
                let first = base64.len().min(DELTA_CHARS);
                let (first, rest) = base64.split_at(first);
                let mut deltas = vec![Delta::text("!"), Delta::text("[image")];
                deltas.push(Delta::text(head + first));
                // Base64 is ASCII, so any cut is between characters.
                deltas.extend(
                    rest.as_bytes().chunks(DELTA_CHARS).map(|piece| Delta::text(String::from_utf8_lossy(piece))),
                );
                deltas.push(Delta::text(")"));
                deltas
            }
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No [`Shape`] has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownShape(pub String);

impl fmt::Display for UnknownShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Shape::ALL.iter().map(|shape| shape.name()).collect();
        write!(f, "no shape is called `{}`; there are: {}", self.0, names.join(", "))
    }
}

impl std::error::Error for UnknownShape {}

impl FromStr for Shape {
    type Err = UnknownShape;

    fn from_str(name: &str) -> Result<Self, UnknownShape> {
        let found = Self::ALL.iter().find(|shape| shape.name() == name);
        found.copied().ok_or_else(|| UnknownShape(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_found_by_the_name_it_shows() {
        for shape in Shape::ALL {
            assert_eq!(shape.to_string().parse(), Ok(*shape));
        }
        let unknown = "spiral".parse::<Shape>().unwrap_err();
        assert_eq!(unknown.to_string(), "no shape is called `spiral`; there are: deltas, whole");
    }
}
