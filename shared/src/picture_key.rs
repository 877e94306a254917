//! Where a kept picture is in its bucket.

use std::fmt;

use sha2::{Digest, Sha256};

/// The key of an object: `p/<32 hexadecimal digits of SHA-256(owner)>/<run>/<slot>`.
///
/// It names no user, and the id of the run cannot be guessed. It consists of `[a-z0-9/.-]`, which every store and URL
/// reads alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureKey(String);

impl PictureKey {
    /// The picture in a slot of a run. `run` is an id that this service made: a UUID in lower case.
    pub fn new(owner: &str, run: &str, slot: u32) -> Self {
        debug_assert!(
            run.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-')),
            "the id of a run has another form"
        );
        let hash = Sha256::digest(owner);
        let owner: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("p/{owner}/{run}/{slot}"))
    }

    /// The text.
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
    }
}
