//! The `size` of OpenAI's images API for an aspect ratio.

use crate::input::AspectRatio;

/// Width and height, in pixels.
type Size = (u16, u16);

/// The sizes of every GPT image model.
const GPT_IMAGE: &[Size] = &[(1024, 1024), (1536, 1024), (1024, 1536)];
const DALL_E_3: &[Size] = &[(1024, 1024), (1792, 1024), (1024, 1792)];
const DALL_E_2: &[Size] = &[(1024, 1024)];
/// For models that make any size: the exact size of each ratio. Sides must be multiples of 16, with at least 655 360 pixels
/// in all.
const ANY: &[Size] = &[
    (1024, 1024),
    (1024, 1536),
    (1536, 1024),
    (1152, 1536),
    (1536, 1152),
    (1024, 1280),
    (1280, 1024),
    (864, 1536),
    (1536, 864),
    (1680, 720),
];

/// The size of `model` that is nearest to `ratio`. Unknown models have the sizes of [`GPT_IMAGE`].
pub(super) fn image_size(model: &str, ratio: AspectRatio) -> String {
    // The factor by which the size is wider or narrower than the ratio.
    let distance = |&&(width, height): &&Size| {
        let asked = f64::from(ratio.width) / f64::from(ratio.height);
        let made = f64::from(width) / f64::from(height);
        (made / asked).max(asked / made)
    };
    let nearest = sizes(model).iter().min_by(|one, other| distance(one).total_cmp(&distance(other)));
    let (width, height) = nearest.copied().unwrap_or((1024, 1024));
    format!("{width}x{height}")
}

/// The size of ARK's Seedream models for `ratio`: about four megapixels, as in
/// [ARK's table](https://www.volcengine.com/docs/82379/1541523).
pub(super) fn ark_size(ratio: AspectRatio) -> &'static str {
    match ratio.name {
        "2:3" => "1664x2496",
        "3:2" => "2496x1664",
        "3:4" => "1728x2304",
        "4:3" => "2304x1728",
        "4:5" => "1824x2280",
        "5:4" => "2280x1824",
        "9:16" => "1440x2560",
        "16:9" => "2560x1440",
        "21:9" => "3024x1296",
        _ => "2048x2048",
    }
}

fn sizes(model: &str) -> &'static [Size] {
    // Relays prefix the vendor.
    let name = model.rsplit('/').next().unwrap_or_default();
    match name {
        "gpt-image-2" => ANY,
        _ if name.starts_with("gpt-image-2-") || name.starts_with("gpt-image-2.5-") => ANY,
        _ if name.starts_with("dall-e-3") => DALL_E_3,
        _ if name.starts_with("dall-e-2") => DALL_E_2,
        _ => GPT_IMAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_size_of_each_model() {
        // The order of `AspectRatio::ALL`.
        let any = "1024x1024 1024x1536 1536x1024 1152x1536 1536x1152 1024x1280 1280x1024 864x1536 1536x864 1680x720";
        let gpt_image =
            "1024x1024 1024x1536 1536x1024 1024x1536 1536x1024 1024x1536 1536x1024 1024x1536 1536x1024 1536x1024";
        let dall_e_3 =
            "1024x1024 1024x1792 1792x1024 1024x1792 1792x1024 1024x1024 1024x1024 1024x1792 1792x1024 1792x1024";
        let square = ["1024x1024"; 10].join(" ");
        let rows = [
            ("gpt-image-2", any),
            ("gpt-image-2-2026-04-21", any),
            ("openai/gpt-image-2.5-flare", any),
            ("gpt-image-2.6-flare", gpt_image),
            ("gpt-image-20", gpt_image),
            ("gpt-image-1.5", gpt_image),
            ("gpt-image-1-mini", gpt_image),
            ("chatgpt-image-latest", gpt_image),
            ("another", gpt_image),
            ("", gpt_image),
            ("dall-e-3", dall_e_3),
            ("dall-e-2", &square),
        ];
        for (model, sizes) in rows {
            assert_eq!(AspectRatio::ALL.map(|ratio| image_size(model, ratio)).join(" "), sizes, "{model}");
        }
    }

    #[test]
    fn the_size_for_ark_has_the_ratio() {
        for ratio in AspectRatio::ALL {
            let (width, height) = ark_size(ratio).split_once('x').unwrap();
            let made = width.parse::<f64>().unwrap() / height.parse::<f64>().unwrap();
            assert!((made / (f64::from(ratio.width) / f64::from(ratio.height)) - 1.0).abs() < 0.01, "{}", ratio.name);
        }
    }

    #[test]
    fn the_sizes_for_models_that_make_any_are_exact_and_allowed() {
        for (ratio, &(width, height)) in AspectRatio::ALL.iter().zip(ANY) {
            assert_eq!(u32::from(width) * u32::from(ratio.height), u32::from(height) * u32::from(ratio.width));
            assert!(width % 16 == 0 && height % 16 == 0, "{}", ratio.name);
            assert!((655_360..=8_294_400).contains(&(u32::from(width) * u32::from(height))), "{}", ratio.name);
        }
    }
}
