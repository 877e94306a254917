//! What each Seedream model takes, as the vendor's documentation lists it.

use super::request::SizeTier;

/// A model of ARK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeedreamModel {
    /// Takes `stream`.
    pub(crate) streams: bool,
    /// Takes `sequential_image_generation`.
    pub(crate) makes_groups: bool,
    /// Takes `output_format`.
    pub(crate) has_formats: bool,
    pub(crate) tiers: &'static [SizeTier],
    /// Limit of input pictures.
    pub(crate) max_inputs: usize,
}

impl SeedreamModel {
    /// The model with this id of Volcengine or BytePlus. An endpoint id stands for a 4.0 model.
    pub(crate) fn of(id: &str) -> Option<Self> {
        use SizeTier::{FourK, OneAndHalfK, OneK, ThreeK, TwoK};
        let group =
            Self { streams: true, makes_groups: true, has_formats: false, tiers: &[OneK, TwoK, FourK], max_inputs: 14 };
        let single = Self {
            streams: false,
            makes_groups: false,
            has_formats: true,
            tiers: &[OneK, OneAndHalfK, TwoK],
            max_inputs: 10,
        };
        let id = ["doubao-", "dola-"].iter().find_map(|vendor| id.strip_prefix(vendor)).unwrap_or(id);
        let is_dated = |name: &str| {
            let date = id.strip_prefix(name).and_then(|rest| rest.strip_prefix('-'));
            date.is_some_and(|date| date.len() >= 6 && date.bytes().all(|byte| byte.is_ascii_digit()))
        };
        match () {
            () if id.starts_with("ep-") || is_dated("seedream-4-0") => Some(group),
            () if is_dated("seedream-4-5") => Some(Self { tiers: &[TwoK, FourK], ..group }),
            () if is_dated("seedream-5-0") || is_dated("seedream-5-0-lite") => {
                Some(Self { has_formats: true, tiers: &[TwoK, ThreeK, FourK], ..group })
            }
            () if is_dated("seedream-5-0-pro") => Some(single),
            // The documents that list `output_format` do not name it.
            () if is_dated("seedream-5-0-flash") => Some(Self { has_formats: false, ..single }),
            () => None,
        }
    }
}
