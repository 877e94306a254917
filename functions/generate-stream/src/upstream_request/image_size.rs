//! The `size` of OpenAI's images API for an aspect ratio.

use shared::upstream::ModelFamily;

use crate::input::AspectRatio;

/// The size of `model` that is nearest to `ratio`.
pub(super) fn image_size(model: &str, ratio: AspectRatio) -> String {
    // The factor by which the size is wider or narrower than the ratio.
    let distance = |&&(width, height): &&(u16, u16)| {
        let asked = f64::from(ratio.width) / f64::from(ratio.height);
        let made = f64::from(width) / f64::from(height);
        (made / asked).max(asked / made)
    };
    let nearest = ModelFamily::of(model).sizes.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)));
    let (width, height) = nearest.copied().unwrap_or((1024, 1024));
    format!("{width}x{height}")
}

/// The size to request from ARK for `ratio`: about four megapixels, which all families of ARK make. `None` for a model of
/// another family.
pub(super) fn ark_size(family: ModelFamily, ratio: AspectRatio) -> Option<&'static str> {
    let size = match ratio.name {
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
    };
    ModelFamily::OF_ARK.contains(&family.name).then_some(size)
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
            let size = |model| ark_size(ModelFamily::of(model), ratio);
            assert_eq!(size("doubao-seedream-6-0"), None);
            let (width, height) = size("doubao-seedream-5-0-pro-260628").unwrap().split_once('x').unwrap();
            let [width, height] = [width, height].map(|side| side.parse::<f64>().unwrap());
            assert!((3_686_400.0..=4_624_220.0).contains(&(width * height)), "{}: every family makes it", ratio.name);
            let made = width / height;
            assert!((made / (f64::from(ratio.width) / f64::from(ratio.height)) - 1.0).abs() < 0.01, "{}", ratio.name);
        }
    }

    #[test]
    fn the_sizes_for_models_that_make_any_are_exact_and_allowed() {
        for (ratio, &(width, height)) in AspectRatio::ALL.iter().zip(ModelFamily::of("gpt-image-2").sizes) {
            assert_eq!(u32::from(width) * u32::from(ratio.height), u32::from(height) * u32::from(ratio.width));
            assert!(width % 16 == 0 && height % 16 == 0, "{}", ratio.name);
            assert!((655_360..=8_294_400).contains(&(u32::from(width) * u32::from(height))), "{}", ratio.name);
        }
    }
}
