//! A value that is never printed: it has no `Display` and no `Serialize`, and its `Debug` prints
//! nothing of the value. The value is not wiped from memory before the process ends.

use std::fmt;
use thiserror::Error;

/// A key, a token or a shared secret.
#[derive(Clone)]
pub struct Secret(String);

/// Why a raw value is not a secret. Never quotes the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// More than [`Secret::MAX_BYTES`].
    #[error("is longer than {} bytes", Secret::MAX_BYTES)]
    TooLong,
    /// A control character inside, such as a line break: probably two values or a damaged one.
    #[error("contains a control character")]
    ControlCharacter,
}

impl Secret {
    /// The longest secret that [`Self::parse`] accepts, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// A secret of exactly this value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Reads a value as it is commonly stored: white space at both ends is removed.
    ///
    /// # Errors
    /// Empty, longer than [`Self::MAX_BYTES`], or with a control character inside.
    pub fn parse(raw: &str) -> Result<Self, SecretError> {
        let value = raw.trim();
        if value.is_empty() {
            Err(SecretError::Empty)
        } else if value.len() > Self::MAX_BYTES {
            Err(SecretError::TooLong)
        } else if value.chars().any(char::is_control) {
            Err(SecretError::ControlCharacter)
        } else {
            Ok(Self(value.to_owned()))
        }
    }

    /// The value itself, for the code that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_nothing() {
        #[derive(Debug)]
        struct Holder {
            _key: Option<Secret>,
        }
        assert_eq!(format!("{:?}", Secret::new("canary")), "Secret(..)");
        let holder = Holder { _key: Some(Secret::new("canary")) };
        assert!(!format!("{holder:?} {holder:#?}").contains("canary"));
    }

    #[test]
    fn parse() {
        let check = |raw: &str, expected: Result<&str, SecretError>| {
            let parsed = Secret::parse(raw);
            assert_eq!(parsed.as_ref().map(Secret::expose).map_err(|e| *e), expected);
        };
        check("abc", Ok("abc"));
        check(" abc\r\n", Ok("abc"));
        check("", Err(SecretError::Empty));
        check(" \n\t", Err(SecretError::Empty));
        check("a\nb", Err(SecretError::ControlCharacter));
        check("a\0b", Err(SecretError::ControlCharacter));
        check(&"x".repeat(512), Ok(&"x".repeat(512)));
        check(&"x".repeat(513), Err(SecretError::TooLong));
    }
}
