//! The access token and the key set.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::Value;
use shared::auth::{AccessToken, ClaimRules, KeySet, TokenRefusal, User, UserId, VerifyingKey, bearer};
use shared::secret::Secret;

use super::json::value_count;

/// The project whose tokens were recorded.
struct Project {
    set: KeySet,
    secret: String,
    legacy: VerifyingKey,
    rules: ClaimRules,
    now: u64,
    /// The header and claims of each recorded token.
    signed: Vec<String>,
}

static PROJECT: LazyLock<Project> = LazyLock::new(|| {
    let vectors: Value = serde_json::from_str(include_str!("../../data/vectors/tokens.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let tokens = vectors["cases"].as_array().unwrap().iter().map(|case| text(&case["token"]));
    let secret = text(&vectors["hs_secret"]);
    Project {
        set: KeySet::parse(vectors["jwks"].to_string().as_bytes()).unwrap(),
        legacy: VerifyingKey::legacy(&Secret::new(&secret)).unwrap(),
        secret,
        rules: ClaimRules { issuer: text(&vectors["iss"]), allows_anonymous: false, oauth_clients: Vec::new() },
        now: vectors["now"].as_u64().unwrap(),
        signed: tokens.filter_map(|token| Some(token.rsplit_once('.')?.0.to_owned())).collect(),
    }
});

/// The input is read as a value of `Authorization`, as the content of a token that the project signs, and as a key set.
pub(crate) fn check(input: &[u8]) {
    if verify(input).is_ok() {
        let signed = bearer([input].into_iter()).ok().and_then(|token| token.rsplit_once('.'));
        let signed = signed.expect("an accepted token has three parts").0;
        assert!(PROJECT.signed.iter().any(|known| known == signed), "a token that no key has signed is accepted");
    }
    if let Some((header, claims)) = content(input) {
        check_content(header, claims);
    }
    check_key_set(input);
}

/// The first line is a header, the rest are claims.
fn content(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = input.iter().position(|byte| *byte == b'\n')?;
    Some((&input[..at], &input[at + 1..]))
}

/// Whether a token with this content is accepted if the project has signed it.
#[cfg(test)]
pub(crate) fn is_accepted_if_signed(input: &[u8]) -> bool {
    content(input).is_some_and(|(header, claims)| {
        let signed = signed(header, claims);
        verify(format!("Bearer {signed}.{}", sign(&signed, &PROJECT.secret)).as_bytes()).is_ok()
    })
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn sign(signed: &str, secret: &str) -> String {
    crypto::sign(signed.as_bytes(), &EncodingKey::from_secret(secret.as_bytes()), Algorithm::HS256).unwrap()
}

fn verify(authorization: &[u8]) -> Result<User, TokenRefusal> {
    let Project { set, legacy, rules, now, .. } = &*PROJECT;
    let token = AccessToken::parse(bearer([authorization].into_iter())?)?;
    token.user(token.key(set, Some(legacy))?, rules, *now)
}

fn check_content(header: &[u8], claims: &[u8]) {
    let Project { secret, rules, now, .. } = &*PROJECT;
    let signed = signed(header, claims);
    let forged = ["", &sign(&signed, "another-secret-0123456789-0123456789")];
    let forged = forged.map(|signature| format!("Bearer {signed}.{signature}"));
    for token in forged {
        assert!(verify(token.as_bytes()).is_err(), "a token with another signature is accepted");
    }
    let Ok(user) = verify(format!("Bearer {signed}.{}", sign(&signed, secret)).as_bytes()) else { return };

    let parts = [header, claims].map(|part| {
        let value: Value = serde_json::from_slice(part).expect("an accepted part is JSON");
        assert_eq!(
            value_count(part),
            value_count(value.to_string().as_bytes()),
            "an accepted part has duplicate members"
        );
        value
    });
    let [header, claims] = &parts;
    assert_eq!(header["alg"], "HS256");
    for name in ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty"] {
        assert!(header.get(name).is_none(), "an accepted header has {name}");
    }
    for (name, expected) in [("iss", &*rules.issuer), ("role", "authenticated"), ("sub", user.id.as_str())] {
        assert_eq!(claims[name], expected, "an accepted token has another {name}");
    }
    assert_eq!(UserId::parse(user.id.as_str()).as_ref(), Some(&user.id));
    let audience = &claims["aud"];
    let is_own = |audience: &Value| audience == "authenticated";
    assert!(is_own(audience) || audience.as_array().is_some_and(|list| list.iter().any(is_own)));
    let time = |name: &str| claims[name].as_f64().map(f64::floor);
    let (expires, issued, now) = (time("exp").unwrap(), time("iat").unwrap(), *now as f64);
    assert!(now < expires + 30.0 && issued <= now + 30.0 && issued < expires && expires - issued <= 604_800.0);
    assert!(time("nbf").is_none_or(|begins| begins <= now + 30.0));
    assert!(claims["is_anonymous"] == false && !user.is_anonymous);
    assert!(claims.get("client_id").is_none_or(|client| client == ""));
}

fn check_key_set(text: &[u8]) {
    let Some(set) = KeySet::parse(text) else { return };
    let value: Value = serde_json::from_slice(text).expect("a key set is JSON");
    let members = value["keys"].as_array().expect("a key set has keys");
    assert!(text.len() <= KeySet::MAX_BYTES && members.len() <= KeySet::MAX_KEYS);
    let is_secret = |member: &Value| ["d", "p", "k"].iter().any(|name| member.get(name).is_some());
    assert_eq!(set.has_secrets(), members.iter().any(is_secret));
    for member in members {
        let Some(kid) = member["kid"].as_str() else { continue };
        if set.get(kid).is_some() {
            let count = members.iter().filter(|other| other["kid"] == kid).count();
            assert!(count == 1 && !is_secret(member), "a key that must not be used is in the set");
            assert!(member["kty"] != "oct" && member["use"] != "enc");
        }
    }
}
