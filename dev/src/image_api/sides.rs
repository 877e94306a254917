//! The shape of a picture, as each route asks for it.

use crate::input::Refused;

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sides {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// The longer side of a picture that is asked for by its ratio.
const LONGER: u32 = 1024;
/// The ratios of Gemini's image models.
const RATIOS: [(&str, u32, u32); 10] = [
    ("1:1", 1, 1),
    ("2:3", 2, 3),
    ("3:2", 3, 2),
    ("3:4", 3, 4),
    ("4:3", 4, 3),
    ("4:5", 4, 5),
    ("5:4", 5, 4),
    ("9:16", 9, 16),
    ("16:9", 16, 9),
    ("21:9", 21, 9),
];

impl Sides {
    /// Where nothing is asked.
    pub(crate) const SQUARE: Self = Self { width: LONGER, height: LONGER };

    /// The sides for a ratio such as `16:9`.
    pub(crate) fn of_ratio(ratio: &str) -> Result<Self, Refused> {
        let found = RATIOS.iter().find(|(name, ..)| *name == ratio);
        let (_, width, height) = found.ok_or_else(|| Refused("unknown aspect ratio".to_owned()))?;
        let longer = (*width).max(*height);
        Ok(Self { width: LONGER * width / longer, height: LONGER * height / longer })
    }

    /// The sides of a size such as `1536x1024`.
    pub(crate) fn of_size(size: &str) -> Result<Self, Refused> {
        let side = |text: &str| text.parse::<u32>().ok().filter(|side| (256..=2048).contains(side));
        let sides = size.split_once('x').and_then(|(width, height)| Some((side(width)?, side(height)?)));
        let (width, height) = sides.ok_or_else(|| Refused("size must be like 1024x1024".to_owned()))?;
        Ok(Self { width, height })
    }

    /// The same shape whose longer side is `longer`.
    pub(crate) fn scaled(self, longer: u32) -> Self {
        let Self { width, height } = self;
        let of = width.max(height);
        Self { width: (width * longer / of).max(1), height: (height * longer / of).max(1) }
    }
}
