use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto};
use serde_json::Value;

use super::claims::{self, ClaimRules};
use super::key_set::{KeySet, VerifyingKey};
use super::{TokenRefusal, User, strict_json};

/// The longest JOSE header, decoded, in bytes.
const MAX_HEADER_BYTES: usize = 2048;
/// Header members that would change the meaning of the token or the source of its key.
const REFUSED_MEMBERS: [&str; 9] = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty"];

/// A well-formed token that is not verified.
pub struct AccessToken<'a> {
    /// The encoded header and claims, which are signed.
    signed: &'a str,
    signature: &'a str,
    claims: Vec<u8>,
    algorithm: Algorithm,
    kid: Option<String>,
}

impl<'a> AccessToken<'a> {
    /// Decodes three parts of canonical base64url and reads the first
    /// ([RFC 7515, section 7.1](https://www.rfc-editor.org/rfc/rfc7515#section-7.1)).
    ///
    /// # Errors
    /// [`TokenRefusal::Encoding`], [`TokenRefusal::Header`] or [`TokenRefusal::Algorithm`].
    pub fn parse(text: &'a str) -> Result<Self, TokenRefusal> {
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenRefusal::Encoding)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenRefusal::Encoding)?;
        // A fourth part would leave a dot here, which is not base64url.
        let decode = |part: &str| match part {
            "" => Err(TokenRefusal::Encoding),
            part => URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Encoding),
        };
        let (header, claims) = (decode(header)?, decode(claims)?);
        decode(signature)?;
        if header.len() > MAX_HEADER_BYTES {
            return Err(TokenRefusal::Header);
        }
        let header = strict_json::object(&header).ok_or(TokenRefusal::Header)?;
        let is_jwt =
            header.get("typ").is_none_or(|typ| typ.as_str().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT")));
        if !is_jwt || REFUSED_MEMBERS.iter().any(|name| header.contains_key(*name)) {
            return Err(TokenRefusal::Header);
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if is_kid(kid) => Some(kid.clone()),
            Some(_) => return Err(TokenRefusal::Header),
        };
        let algorithm = match header.get("alg").and_then(Value::as_str) {
            Some("ES256") => Algorithm::ES256,
            Some("RS256") => Algorithm::RS256,
            Some("EdDSA") => Algorithm::EdDSA,
            Some("HS256") => Algorithm::HS256,
            _ => return Err(TokenRefusal::Algorithm),
        };
        Ok(Self { signed, signature, claims, algorithm, kid })
    }

    /// Whether the token names HS256, the algorithm of the legacy secret.
    pub fn is_legacy(&self) -> bool {
        self.algorithm == Algorithm::HS256
    }

    /// Returns the key that the token names: one of the set, or else the legacy secret.
    ///
    /// # Errors
    /// [`TokenRefusal::UnknownKey`] if the set has no such key (a newer set may have it); [`TokenRefusal::Algorithm`]
    /// if the key is for another algorithm or there is no legacy secret; [`TokenRefusal::Header`] if the token names
    /// no key.
    pub fn key<'k>(&self, set: &'k KeySet, legacy: Option<&'k VerifyingKey>) -> Result<&'k VerifyingKey, TokenRefusal> {
        let listed = self.kid.as_ref().map(|kid| set.get(kid));
        let key = match (self.is_legacy(), listed) {
            (_, Some(Some(key))) => Some(key),
            (true, _) => legacy,
            (false, None) => return Err(TokenRefusal::Header),
            (false, Some(None)) => return Err(TokenRefusal::UnknownKey),
        };
        key.filter(|key| key.algorithm == self.algorithm).ok_or(TokenRefusal::Algorithm)
    }

    /// Returns the token's user if `key` signed it and its claims are valid at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenRefusal::Signature`], or the fault of the claims. [`TokenRefusal::Expired`] only if nothing else is
    /// wrong.
    pub fn user(&self, key: &VerifyingKey, rules: &ClaimRules, now: u64) -> Result<User, TokenRefusal> {
        let is_signed = crypto::verify(self.signature, self.signed.as_bytes(), &key.decoding, self.algorithm);
        if !matches!(is_signed, Ok(true)) {
            return Err(TokenRefusal::Signature);
        }
        let claims = strict_json::object(&self.claims).ok_or(TokenRefusal::Claim("set"))?;
        claims::check(&claims, rules, now)
    }
}

/// Whether a `kid` is well-formed: 1 to 128 printable ASCII characters.
fn is_kid(kid: &str) -> bool {
    (1..=128).contains(&kid.len()) && kid.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
