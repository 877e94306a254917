//! Links to generated pictures. A name says all that is needed to draw its picture again, so the links of an earlier
//! run stay alive.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::picture::{LABEL_CHARS, Sketch, hex};

/// Where the pictures are.
pub(crate) const FILES: &str = "/image-files/";
/// Where they are once more, for those who would rather keep them.
pub(crate) const DOWNLOADS: &str = "/image-files/download/";

/// The link to the picture of `sketch` under `folder` of `host`. We have no TLS, and lead to this machine only.
pub(crate) fn url(host: &str, folder: &str, sketch: &Sketch) -> String {
    let Sketch { seed, variant, words } = sketch;
    format!("http://{host}{folder}{}-{variant}-{}.png", hex(seed), URL_SAFE_NO_PAD.encode(words))
}

/// What the picture with this name is drawn from.
pub(crate) fn sketch(name: &str) -> Option<Sketch> {
    // The words may hold a `-` too: they come last.
    let [seed, variant, words] = name.strip_suffix(".png")?.splitn(3, '-').collect::<Vec<_>>().try_into().ok()?;
    let words = String::from_utf8(URL_SAFE_NO_PAD.decode(words).ok()?).ok()?;
    let is_ours = words.len() <= LABEL_CHARS && words.is_ascii();
    is_ours.then_some(Sketch { seed: unhex(seed)?, variant: variant.parse().ok()?, words })
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
    fn a_name_leads_back_to_its_sketch() {
        for prompt in ["a quiet lake", "", "猫", "??>>~~-- ?>?>", &"long ".repeat(1000)] {
            let sketch = Sketch::new(prompt, 7);
            let url = url("127.0.0.1:1", FILES, &sketch);
            let name = url.strip_prefix("http://127.0.0.1:1/image-files/").unwrap();
            assert!(name.len() < 120, "{name}");
            assert_eq!(self::sketch(name), Some(sketch));
        }
    }

    #[test]
    fn another_name_leads_nowhere() {
        let seed = "00".repeat(32);
        assert!(sketch(&format!("{seed}-0-.png")).is_some());
        for name in
            ["", ".png", "a-b-c.png", &format!("{seed}-0-"), &format!("{seed}-x-.png"), &format!("{seed}0-0-.png")]
        {
            assert_eq!(sketch(name), None, "{name}");
        }
    }
}
