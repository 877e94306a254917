//! Links to generated pictures. A name contains everything that is needed to draw its picture again, so links of an
//! earlier run stay valid.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::size::Size;
use crate::picture::{LABEL_CHARS, Sketch, hex};

/// Path of the pictures.
pub(crate) const FILES: &str = "/image-files/";
/// Path of the same pictures, sent as attachments.
pub(crate) const DOWNLOADS: &str = "/image-files/download/";

/// The link to the picture of `sketch` in this size, under `folder` of `host`. It is `http`: the local stack has no TLS.
pub(crate) fn url(host: &str, folder: &str, sketch: &Sketch, size: Size) -> String {
    let Sketch { seed, variant, words } = sketch;
    format!("http://{host}{folder}{}-{variant}-{size}-{}.png", hex(seed), URL_SAFE_NO_PAD.encode(words))
}

/// The sketch and size of the picture with this name.
pub(crate) fn parse(name: &str) -> Option<(Sketch, Size)> {
    // The words are last because they may contain `-`.
    let [seed, variant, size, words] = name.strip_suffix(".png")?.splitn(4, '-').collect::<Vec<_>>().try_into().ok()?;
    let words = String::from_utf8(URL_SAFE_NO_PAD.decode(words).ok()?).ok()?;
    let is_ours = words.len() <= LABEL_CHARS && words.is_ascii();
    let sketch = Sketch { seed: unhex(seed)?, variant: variant.parse().ok()?, words };
    is_ours.then_some((sketch, Size::parse(size)?))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let bytes = digits.chunks(2).map(|pair| u8::try_from(pair.first()? * 16 + pair.get(1)?).ok());
    bytes.collect::<Option<Vec<_>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_parses_to_its_sketch() {
        for prompt in ["a quiet lake", "", "猫", "??>>~~-- ?>?>", &"long ".repeat(1000)] {
            let sketch = Sketch::new(prompt, 7);
            let size = Size { width: 864, height: 1184 };
            let url = url("127.0.0.1:1", FILES, &sketch, size);
            let name = url.strip_prefix("http://127.0.0.1:1/image-files/").unwrap();
            assert!(name.len() < 120, "{name}");
            assert_eq!(parse(name), Some((sketch, size)));
        }
    }

    #[test]
    fn an_invalid_name_is_rejected() {
        let seed = "00".repeat(32);
        assert!(parse(&format!("{seed}-0-1024x1024-.png")).is_some());
        for name in [
            "",
            ".png",
            "a-b-c-d.png",
            &format!("{seed}-0-1024x1024-"),
            &format!("{seed}-x-1024x1024-.png"),
            &format!("{seed}0-0-1024x1024-.png"),
            &format!("{seed}-0-.png"),
            &format!("{seed}-0-0x1-.png"),
            &format!("{seed}-0-1x3841-.png"),
            &format!("{seed}-0-01x1-.png"),
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
