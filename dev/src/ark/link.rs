//! Links to generated pictures. A name contains everything that is needed to draw its picture again, so links of an
//! earlier run stay valid.

use sha2::{Digest, Sha256};

use super::request::SizeTier;
use crate::picture::{Picture, PictureFormat, draw, hex};

/// Number of characters of the prompt at the start of a name.
const SLUG_CHARS: usize = 20;

/// One picture of one prompt.
pub(crate) struct ArkLink {
    /// Readable letters and a hash. The picture is drawn from this text.
    stem: String,
    tier: SizeTier,
    index: u32,
}

impl ArkLink {
    pub(crate) fn new(prompt: &str, tier: SizeTier, index: u32) -> Self {
        let letters = prompt.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ');
        let slug: String = letters.take(SLUG_CHARS).collect();
        let hash = hex(&Sha256::digest(prompt));
        let words: Vec<_> = slug.split_whitespace().chain([&hash[..12]]).collect();
        Self { stem: words.join("-").to_ascii_lowercase(), tier, index }
    }

    /// The signed URL of the link on `host`.
    pub(crate) fn url(&self, host: &str) -> String {
        let name = self.name();
        let query = query(&name);
        format!("http://{host}/ark-files/{name}?{query}")
    }

    /// Parses a name and its query. Returns `None` if the signature or the name is not valid.
    pub(crate) fn parse(name: &str, given: Option<&str>) -> Option<Self> {
        if given != Some(query(name).as_str()) {
            return None;
        }
        let (rest, index) = name.strip_suffix(".jpeg")?.rsplit_once('_')?;
        let (stem, tier) = rest.rsplit_once('_')?;
        Some(Self { stem: stem.to_owned(), tier: SizeTier::parse(tier)?, index: index.parse().ok()? })
    }

    /// Draws the picture. Takes up to half a second of CPU time.
    pub(crate) fn draw(&self) -> Picture {
        let (width, height) = self.tier.pixels();
        draw(&self.stem, self.index, PictureFormat::Jpeg, width, height)
    }

    fn name(&self) -> String {
        format!("{}_{}_{}.jpeg", self.stem, self.tier.name(), self.index)
    }
}

/// Signs `name`. The signature protects nothing; it makes a changed link fail as a real one does.
fn query(name: &str) -> String {
    let signature = hex(&Sha256::digest(name));
    format!("X-Tos-Expires=86400&X-Tos-Signature={}", &signature[..32])
}
