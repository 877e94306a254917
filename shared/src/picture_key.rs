//! Where a kept picture is in its bucket.

use std::fmt;

use sha2::{Digest, Sha256};

/// The key of an object: `p/<32 hexadecimal digits of SHA-256(owner)>/<run>/<slot>`.
///
/// It names no user, and the id of the run cannot be guessed. It consists of `[a-z0-9/.-]`, which every store and URL
/// reads alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureKey(String);

/// The longest key that [`PictureKey::parse`] accepts.
const MAX_BYTES: usize = 128;

impl PictureKey {
    /// The picture in a slot of a run. `run` is an id that this service made: a UUID in lower case.
    pub fn new(owner: &str, run: &str, slot: u32) -> Self {
        let hash = Sha256::digest(owner);
        let owner: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let key = format!("p/{owner}/{run}/{slot}");
        debug_assert!(Self::parse(&key).is_some(), "the id of a run has another form");
        Self(key)
    }

    /// A key that was stored.
    pub fn parse(key: &str) -> Option<Self> {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
        let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_allowed);
        let mut parts = key.strip_prefix("p/")?.split('/');
        (key.len() <= MAX_BYTES && parts.clone().count() == 3 && parts.all(is_part)).then(|| Self(key.to_owned()))
    }

    /// The text, as the record stores it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PictureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_hash_of_its_owner() {
        let run = "4e3f0c2a-3c9d-4b7e-9a53-0d8ad5b4b3f1";
        let key = PictureKey::new("user:a b/中", run, 14);
        // printf 'user:a b/中' | sha256sum | cut -c1-32
        assert_eq!(key.as_str(), format!("p/6e5b44e49f0529166fa2d7ea929dbab3/{run}/14"));
        assert_eq!(PictureKey::parse(key.as_str()), Some(key));
    }

    #[test]
    fn only_keys_of_pictures_are_parsed() {
        assert!(PictureKey::parse("p/0f/r-1/0").is_some());
        for key in [
            "",
            "p/",
            "p/a/b",
            "p/a/b/c/d",
            "q/a/b/0",
            "p/a/../0",
            "p//b/0",
            "p/A/b/0",
            "p/a/b c/0",
            "p/a/b/%30",
            "p/a/b/é",
        ] {
            assert!(PictureKey::parse(key).is_none(), "{key}");
        }
        assert!(PictureKey::parse(&format!("p/{}/b/0", "a".repeat(128))).is_none());
    }
}
