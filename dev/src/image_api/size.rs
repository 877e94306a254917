//! Sizes of pictures: the values that each vendor accepts, and the pixels that they stand for.

use crate::input::{RefusedInput, require};

/// Width and height, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Gemini's aspect ratios, with the size that `gemini-2.5-flash-image` generates for each.
const RATIOS: [(&str, Size); 10] = [
    ("1:1", Size::new(1024, 1024)),
    ("2:3", Size::new(832, 1248)),
    ("3:2", Size::new(1248, 832)),
    ("3:4", Size::new(864, 1184)),
    ("4:3", Size::new(1184, 864)),
    ("4:5", Size::new(896, 1152)),
    ("5:4", Size::new(1152, 896)),
    ("9:16", Size::new(768, 1344)),
    ("16:9", Size::new(1344, 768)),
    ("21:9", Size::new(1536, 672)),
];
const GPT_IMAGE: &[Size] = &[Size::new(1024, 1024), Size::new(1536, 1024), Size::new(1024, 1536)];
const DALL_E_3: &[Size] = &[Size::new(1024, 1024), Size::new(1792, 1024), Size::new(1024, 1792)];
const DALL_E_2: &[Size] = &[Size::new(1024, 1024), Size::new(512, 512), Size::new(256, 256)];
/// The longest side that any model accepts, in pixels.
const MAX_SIDE: u32 = 3840;

impl Size {
    /// The default size.
    pub(crate) const SQUARE: Self = Self::new(1024, 1024);

    const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Gemini's size for an aspect ratio.
    pub(crate) fn of_ratio(ratio: &str) -> Result<Self, RefusedInput> {
        let known = RATIOS.iter().find(|(name, _)| *name == ratio);
        known.map(|(_, size)| *size).ok_or_else(|| RefusedInput::new("aspect_ratio is not supported"))
    }

    /// OpenAI's `size`, if `model` supports it.
    pub(crate) fn of_openai(model: &str, size: &str) -> Result<Self, RefusedInput> {
        let size = Self::parse(size).ok_or_else(|| RefusedInput::new("size must be WIDTHxHEIGHT"))?;
        let is_made = match model.split('@').next().unwrap_or_default() {
            "dall-e-2" => DALL_E_2.contains(&size),
            "dall-e-3" => DALL_E_3.contains(&size),
            "gpt-image-2" | "gpt-image-2.5-sunburst" | "gpt-image-2.5-flare" => size.is_free(),
            _ => GPT_IMAGE.contains(&size),
        };
        require(is_made, "size is not supported by this model")?;
        Ok(size)
    }

    /// Parses a size such as `1536x1024`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (width, height) = text.split_once('x')?;
        let size = Self::new(width.parse().ok()?, height.parse().ok()?);
        let is_possible = [size.width, size.height].iter().all(|side| (1..=MAX_SIDE).contains(side));
        (is_possible && size.to_string() == text).then_some(size)
    }

    /// The size with both sides multiplied by `part / whole`.
    pub(crate) fn scaled(self, part: u32, whole: u32) -> Self {
        Self::new(self.width * part / whole, self.height * part / whole)
    }

    /// Whether models with free sizes accept it.
    fn is_free(self) -> bool {
        let (short, long) = (self.width.min(self.height), self.width.max(self.height));
        let pixels = self.width * self.height;
        short % 16 == 0 && long % 16 == 0 && long <= 3 * short && (655_360..=8_294_400).contains(&pixels)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}
