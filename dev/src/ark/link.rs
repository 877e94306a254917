//! Links to generated pictures. A name says all that is needed to draw its picture again, so the
//! links of an earlier run stay alive.

use sha2::{Digest, Sha256};

use super::request::Tier;
use crate::picture::{Format, Picture, draw, hex};

/// Letters of the prompt that a name begins with.
const SLUG_CHARS: usize = 20;

/// One picture of one prompt.
pub(crate) struct Link {
    /// Readable letters and a hash: what the picture is drawn from.
    stem: String,
    tier: Tier,
    index: u32,
}

impl Link {
    pub(crate) fn new(prompt: &str, tier: Tier, index: u32) -> Self {
        let letters = prompt.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ');
        let slug: String = letters.take(SLUG_CHARS).collect();
        let hash = hex(&Sha256::digest(prompt));
        let words: Vec<_> = slug.split_whitespace().chain([&hash[..12]]).collect();
        Self { stem: words.join("-").to_ascii_lowercase(), tier, index }
    }

    /// The link as the storage under `host` hands it out.
    pub(crate) fn url(&self, host: &str) -> String {
        let name = self.name();
        let query = query(&name);
        format!("http://{host}/ark-files/{name}?{query}")
    }

    /// The link with this name, unless its query is not the one that was signed.
    pub(crate) fn parse(name: &str, given: Option<&str>) -> Option<Self> {
        if given != Some(query(name).as_str()) {
            return None;
        }
        let (rest, index) = name.strip_suffix(".jpeg")?.rsplit_once('_')?;
        let (stem, tier) = rest.rsplit_once('_')?;
        Some(Self { stem: stem.to_owned(), tier: Tier::parse(tier)?, index: index.parse().ok()? })
    }

    /// Draws the picture; a good part of a second of CPU.
    pub(crate) fn draw(&self) -> Picture {
        let (width, height) = self.tier.pixels();
        draw(&self.stem, self.index, Format::Jpeg, width, height)
    }

    fn name(&self) -> String {
        format!("{}_{}_{}.jpeg", self.stem, self.tier.name(), self.index)
    }
}

/// Signs `name`. There is nothing to protect: it only makes a changed link fail as a real one does.
fn query(name: &str) -> String {
    let signature = hex(&Sha256::digest(name));
    format!("X-Tos-Expires=86400&X-Tos-Signature={}", &signature[..32])
}
