use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;

use crate::secret::Secret;

/// The usable public keys of a project, by `kid`.
///
/// Each member is read alone. An unusable one, such as a key of a future type, does not affect the others.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: HashMap<String, VerifyingKey>,
    has_secrets: bool,
}

/// A key and its only algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

impl KeySet {
    /// The most members of a set.
    pub const MAX_KEYS: usize = 64;
    /// The longest text of a set, in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Reads a set ([RFC 7517, section 5](https://www.rfc-editor.org/rfc/rfc7517#section-5)). `None` if the text
    /// is not a key set. A set without a usable key is valid.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > Self::MAX_BYTES {
            return None;
        }
        let set: Map<String, Value> = serde_json::from_slice(text).ok()?;
        let members = set.get("keys")?.as_array()?;
        if members.len() > Self::MAX_KEYS {
            return None;
        }
        let members: Vec<_> = members.iter().filter_map(Value::as_object).collect();
        let name = |member: &Map<String, Value>| member.get("kid").and_then(Value::as_str).map(str::to_owned);
        let is_duplicate = |kid: &str| members.iter().filter(|other| name(other).as_deref() == Some(kid)).count() > 1;
        let keys = members.iter().filter_map(|member| {
            let kid = name(member).filter(|kid| !is_duplicate(kid))?;
            Some((kid, VerifyingKey::public(member)?))
        });
        let has_secrets = members.iter().any(|member| ["d", "p", "k"].iter().any(|name| member.contains_key(*name)));
        Some(Self { keys: keys.collect(), has_secrets })
    }

    /// The key with this `kid`.
    pub fn get(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.get(kid)
    }

    /// Whether the set has no usable key. The set of a project that signs with a shared secret is empty.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the set publishes a private or a shared key. Such a key is not used.
    pub fn has_secrets(&self) -> bool {
        self.has_secrets
    }
}

impl VerifyingKey {
    /// The shortest legacy secret, in bytes: the length of an HS256 signature
    /// ([RFC 7518, section 3.2](https://www.rfc-editor.org/rfc/rfc7518#section-3.2)).
    pub const MIN_SECRET_BYTES: usize = 32;

    /// The key of a project that signs with HS256. `None` if the secret is too short.
    pub fn legacy(secret: &Secret) -> Option<Self> {
        let bytes = secret.expose().as_bytes();
        let decoding = (bytes.len() >= Self::MIN_SECRET_BYTES).then(|| DecodingKey::from_secret(bytes))?;
        Some(Self { algorithm: Algorithm::HS256, decoding })
    }

    fn public(member: &Map<String, Value>) -> Option<Self> {
        let has = |name: &str| member.contains_key(name);
        let text = |name: &str| member.get(name).and_then(Value::as_str);
        let verifies = |value: &Value| {
            value.as_array().is_some_and(|operations| operations.iter().any(|operation| operation == "verify"))
        };
        let is_for_signatures = !has("use") || text("use") == Some("sig");
        if !is_for_signatures || member.get("key_ops").is_some_and(|value| !verifies(value)) {
            return None;
        }
        if has("d") || has("p") || has("k") {
            return None;
        }
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let (algorithm, named, decoding) = match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                let fits = x.len() == 32 && y.len() == 32;
                let key = fits.then(|| DecodingKey::from_ec_components(text("x")?, text("y")?).ok())??;
                (Algorithm::ES256, "ES256", key)
            }
            ("OKP", Some("Ed25519")) => {
                let key = (bytes("x")?.len() == 32).then(|| DecodingKey::from_ed_components(text("x")?).ok())??;
                (Algorithm::EdDSA, "EdDSA", key)
            }
            ("RSA", None) => {
                let fits = is_modulus(&bytes("n")?) && is_exponent(&bytes("e")?);
                let key = fits.then(|| DecodingKey::from_rsa_components(text("n")?, text("e")?).ok())??;
                (Algorithm::RS256, "RS256", key)
            }
            _ => return None,
        };
        let agrees = !has("alg") || text("alg") == Some(named);
        agrees.then_some(Self { algorithm, decoding })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?})", self.algorithm)
    }
}

/// Whether an RSA modulus has 2048 to 8192 bits.
fn is_modulus(n: &[u8]) -> bool {
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    n.first() != Some(&0) && (2048..=8192).contains(&bits)
}

/// Whether an RSA exponent is odd, at least 65537 and at most 64 bits long.
fn is_exponent(e: &[u8]) -> bool {
    let value = e.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    e.len() <= 8 && value % 2 == 1 && value >= 65_537
}
