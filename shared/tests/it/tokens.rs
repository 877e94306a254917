//! Which tokens are accepted: recorded attacks, and every rule broken once.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::auth::{AccessToken, ClaimRules, KeySet, TokenRefusal, User, VerifyingKey, bearer};
use shared::problem::Code;
use shared::secret::Secret;

const SECRET: &str = "a-legacy-secret-of-this-test-and-of-nothing-else";
const ISSUER: &str = "https://abcdefghijklmnopqrst.supabase.co/auth/v1";
const NOW: u64 = 1_795_216_097;
const SUB: &str = "0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60";

fn rules() -> ClaimRules {
    ClaimRules { issuer: ISSUER.into(), allows_anonymous: false, oauth_clients: Vec::new() }
}

fn verify(
    authorization: &[u8],
    set: &KeySet,
    legacy: Option<&VerifyingKey>,
    rules: &ClaimRules,
    now: u64,
) -> Result<User, TokenRefusal> {
    let token = AccessToken::parse(bearer([authorization].into_iter())?)?;
    token.user(token.key(set, legacy)?, rules, now)
}

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors/tokens.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_recorded_token() {
    let vectors = vectors();
    let now = vectors["now"].as_u64().unwrap();
    let secret = VerifyingKey::legacy(&Secret::new(vectors["hs_secret"].as_str().unwrap())).unwrap();
    let rules = ClaimRules { issuer: vectors["iss"].as_str().unwrap().into(), ..rules() };
    let cases = vectors["cases"].as_array().unwrap();
    for case in cases {
        let set = case.get("jwks").unwrap_or(&vectors["jwks"]);
        let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
        let (set, legacy) = match case["mode"].as_str().unwrap() {
            "jwks" => (set, None),
            "hs" => (KeySet::default(), Some(&secret)),
            "both" => (set, Some(&secret)),
            mode => panic!("{mode}?"),
        };
        let authorization = format!("Bearer {}", case["token"].as_str().unwrap());
        let verdict = verify(authorization.as_bytes(), &set, legacy, &rules, now);
        assert_eq!(verdict.is_ok(), case["expect"] == "accept", "{}: {verdict:?}", case["id"]);
        if let Err(refusal) = verdict {
            // `empty` is a header of a scheme and nothing else.
            assert_eq!(refusal.code(), Code::TokenInvalid, "{}", case["id"]);
        }
    }
    assert_eq!(cases.len(), 101);
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with this content, signed with the legacy secret.
fn signed(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{signed}.{signature}")
}

fn check(token: &str, rules: &ClaimRules) -> Result<User, TokenRefusal> {
    let legacy = VerifyingKey::legacy(&Secret::new(SECRET)).unwrap();
    verify(format!("bearer {token}").as_bytes(), &KeySet::default(), Some(&legacy), rules, NOW)
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": SUB, "aud": "authenticated", "exp": NOW + 3600, "iat": NOW, "role": "authenticated",
        "session_id": "7a8b9c0d-1e2f-4a3b-8c4d-5e6f7a8b9c0d", "is_anonymous": false,
    })
}

/// The claims with one replaced, or removed where the value is missing.
fn with(name: &str, value: Option<Value>) -> String {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(name.into(), value),
        None => members.remove(name),
    };
    claims.to_string()
}

#[test]
fn the_header_of_the_request() {
    type Row<'a> = (&'a [&'a [u8]], Result<&'a str, TokenRefusal>);
    let rows: [Row<'_>; 17] = [
        (&[b"Bearer a.b.c"], Ok("a.b.c")),
        (&[b"bEARER A_-9.b.c"], Ok("A_-9.b.c")),
        (&[], Err(TokenRefusal::NoToken)),
        (&[b""], Err(TokenRefusal::NotBearer)),
        (&[b"Bearer"], Err(TokenRefusal::NotBearer)),
        (&[b"Bearer "], Err(TokenRefusal::NotBearer)),
        (&[b"Bearer  a.b.c"], Err(TokenRefusal::NotBearer)),
        (&[b"Bearer a.b.c "], Err(TokenRefusal::NotBearer)),
        (&[b" Bearer a.b.c"], Err(TokenRefusal::NotBearer)),
        (&[b"Bearer\ta.b.c"], Err(TokenRefusal::NotBearer)),
        (&[b"Basic a.b.c"], Err(TokenRefusal::NotBearer)),
        (&[b"a.b.c"], Err(TokenRefusal::NotBearer)),
        (&[b"Bearer a.b.c,Bearer a.b.c"], Err(TokenRefusal::NotBearer)),
        (&[b"Bearer a.b.c", b"Bearer a.b.c"], Err(TokenRefusal::NotBearer)),
        (&[b"Bearer a.b.\xff"], Err(TokenRefusal::NotBearer)),
        (&[b"Bearer sb_publishable_x"], Err(TokenRefusal::ApiKey)),
        (&[b"Bearer sb_secret x"], Err(TokenRefusal::ApiKey)),
    ];
    for (values, expected) in rows {
        assert_eq!(bearer(values.iter().copied()), expected, "{values:?}");
    }
    let longest = format!("Bearer {}", "a".repeat(8192 - 7));
    assert!(bearer([longest.as_bytes()].into_iter()).is_ok());
    let longer = format!("{longest}a");
    assert_eq!(bearer([longer.as_bytes()].into_iter()), Err(TokenRefusal::NotBearer));
}

#[test]
fn the_header_of_the_token() {
    let accepted = [
        HEADER,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"jwt","kid":"k"}"#,
        r#"{"alg":"HS256","other":[{"a":1,"b":{"a":1}}]}"#,
    ];
    for header in accepted {
        assert!(check(&signed(header, &claims().to_string()), &rules()).is_ok(), "{header}");
    }
    let long = format!(r#"{{"alg":"HS256","other":"{}"}}"#, "x".repeat(2048));
    let kid = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "x".repeat(129));
    let mut refused = vec![
        (String::from(r#"{"typ":"JWT"}"#), TokenRefusal::Algorithm),
        (String::from(r#"{"alg":"HS256","typ":"at+jwt"}"#), TokenRefusal::Header),
        (String::from(r#"{"alg":"HS256","typ":null}"#), TokenRefusal::Header),
        (String::from(r#"{"alg":"HS256","kid":""}"#), TokenRefusal::Header),
        (String::from(r#"{"alg":"HS256","kid":7}"#), TokenRefusal::Header),
        (String::from(r#"{"alg":"HS256","kid":"\n"}"#), TokenRefusal::Header),
        (String::from(r#"{"alg":"HS256","kid":"é"}"#), TokenRefusal::Header),
        (String::from(r#"{"alg":"HS256","alg":"HS256"}"#), TokenRefusal::Header),
        (String::from(r#"{"alg":"HS256","a":{"b":1,"b":1}}"#), TokenRefusal::Header),
        (String::from(r#"{"alg":"HS256","a":[{"b":1,"b":1}]}"#), TokenRefusal::Header),
        (String::from(r#"["HS256"]"#), TokenRefusal::Header),
        (String::from(r#"{"alg":"HS256"} {}"#), TokenRefusal::Header),
        (format!("\u{feff}{HEADER}"), TokenRefusal::Header),
        (long, TokenRefusal::Header),
        (kid, TokenRefusal::Header),
    ];
    for name in ["crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty"] {
        refused.push((format!(r#"{{"alg":"HS256","{name}":null}}"#), TokenRefusal::Header));
    }
    for algorithm in ["none", "HS384", "HS512", "hs256", "ES384", "PS256", "RS512", "", "Ed25519"] {
        refused.push((format!(r#"{{"alg":"{algorithm}"}}"#), TokenRefusal::Algorithm));
    }
    for (header, refusal) in refused {
        assert_eq!(check(&signed(&header, &claims().to_string()), &rules()), Err(refusal), "{header}");
    }
}

#[test]
fn the_three_parts() {
    let token = signed(HEADER, &claims().to_string());
    assert!(check(&token, &rules()).is_ok());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let rows = [
        (signed.to_owned(), TokenRefusal::Encoding),
        (format!("{signed}."), TokenRefusal::Encoding),
        (format!(".{payload}.{signature}"), TokenRefusal::Encoding),
        (format!("{header}..{signature}"), TokenRefusal::Encoding),
        (format!("{token}.{signature}"), TokenRefusal::Encoding),
        (format!("{signed}.{signature}A"), TokenRefusal::Signature),
        (format!("{signed}.{signature}AA"), TokenRefusal::Encoding),
        (format!("{signed}.{signature}="), TokenRefusal::NotBearer),
        // 32 bytes are 43 characters, the last of which has two bits too many.
        (format!("{signed}.{}", [&signature[..42], next(&signature[42..])].concat()), TokenRefusal::Encoding),
        (format!("{signed}.{}", base64url(&[0; 32])), TokenRefusal::Signature),
        (
            format!("{header}.{}.{signature}", base64url(with("sub", Some(json!(SUB))).as_bytes()).to_lowercase()),
            TokenRefusal::Signature,
        ),
    ];
    for (token, refusal) in rows {
        assert_eq!(check(&token, &rules()), Err(refusal), "{token}");
    }
}

/// The next character of the alphabet: it differs in the last bit only.
fn next(character: &str) -> &'static str {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = ALPHABET.find(character).unwrap() + 1;
    &ALPHABET[at..=at]
}

#[test]
fn every_claim() {
    let accepted = [
        ("exp", json!(NOW - 29)),
        ("exp", json!(NOW as f64 + 0.9)),
        ("exp", json!(NOW + 604_800)),
        ("iat", json!(NOW + 30)),
        ("nbf", json!(NOW + 30)),
        ("nbf", json!(0)),
        ("aud", json!(["other", "authenticated"])),
        ("session_id", json!("7A8B9C0D-1E2F-4A3B-8C4D-5E6F7A8B9C0D")),
        ("client_id", json!("")),
        ("user_metadata", json!({"role": "service_role", "sub": "x", "is_anonymous": true})),
    ];
    for (name, value) in accepted {
        let claims = match name {
            // Issued before it expires.
            "exp" if value.as_f64().unwrap() < NOW as f64 + 1.0 => {
                let mut claims = claims();
                (claims["exp"], claims["iat"]) = (value.clone(), json!(NOW - 3600));
                claims.to_string()
            }
            name => with(name, Some(value.clone())),
        };
        let user = check(&signed(HEADER, &claims), &rules());
        assert_eq!(user.as_ref().map(|user| user.id.as_str()), Ok(SUB), "{name} {value}");
    }

    for name in ["exp", "iat", "iss", "sub", "aud", "role", "session_id", "is_anonymous"] {
        assert_eq!(
            check(&signed(HEADER, &with(name, None)), &rules()),
            Err(TokenRefusal::Claim(name)),
            "without {name}"
        );
        assert_eq!(check(&signed(HEADER, &with(name, Some(Value::Null))), &rules()), Err(TokenRefusal::Claim(name)));
    }
    let refused = [
        ("exp", json!((NOW + 3600).to_string())),
        ("exp", json!(-1)),
        ("exp", json!(1_u64 << 40)),
        ("exp", json!(1e19)),
        ("exp", json!(NOW + 604_801)),
        ("exp", json!(NOW)),
        ("iat", json!(NOW + 31)),
        ("iat", json!(true)),
        ("nbf", json!(NOW + 31)),
        ("nbf", json!("0")),
        ("nbf", json!(-1)),
        ("nbf", json!(null)),
        ("iss", json!([ISSUER])),
        ("iss", json!(format!("{ISSUER}/"))),
        ("iss", json!("supabase")),
        ("aud", json!("Authenticated")),
        ("aud", json!([])),
        ("aud", json!(["authenticated", 7])),
        ("aud", json!({"authenticated": true})),
        ("sub", json!(SUB.to_uppercase())),
        ("sub", json!("")),
        ("role", json!("anon")),
        ("role", json!(["authenticated"])),
        ("session_id", json!("")),
        ("session_id", json!("7a8b9c0d1e2f4a3b8c4d5e6f7a8b9c0d")),
        ("is_anonymous", json!(0)),
        ("client_id", json!(7)),
    ];
    for (name, value) in refused {
        let verdict = check(&signed(HEADER, &with(name, Some(value.clone()))), &rules());
        assert_eq!(verdict, Err(TokenRefusal::Claim(name)), "{name} {value}");
    }
    let text = claims().to_string();
    let sets = [
        text.replacen('{', r#"{"role":"authenticated","#, 1),
        text.replacen('{', r#"{"x":{"y":[{"a":1,"a":2}]},"#, 1),
        text.replacen('{', r#"{"x":"\ud800","#, 1),
        format!("{text}\0"),
        format!("[{text}]"),
        String::new() + "null",
    ];
    for set in sets {
        assert_eq!(check(&signed(HEADER, &set), &rules()), Err(TokenRefusal::Claim("set")), "{set}");
    }
}

#[test]
fn expired_is_reported_only_if_the_rest_is_valid() {
    let expired = |name: &str, value: Value| {
        let mut claims = claims();
        (claims["exp"], claims["iat"]) = (json!(NOW - 30), json!(NOW - 3630));
        claims[name] = value;
        check(&signed(HEADER, &claims.to_string()), &rules())
    };
    assert_eq!(expired("aal", json!("aal1")), Err(TokenRefusal::Expired));
    assert_eq!(TokenRefusal::Expired.code(), Code::TokenExpired);
    for (name, value) in [("role", json!("anon")), ("sub", json!("x")), ("iss", json!("x")), ("aud", json!("x"))] {
        assert_eq!(expired(name, value), Err(TokenRefusal::Claim(name)));
    }
    let token = signed(HEADER, &with("exp", Some(json!(NOW - 3600))));
    let forged = format!("{}.{}", token.rsplit_once('.').unwrap().0, base64url(&[7; 32]));
    assert_eq!(check(&forged, &rules()), Err(TokenRefusal::Signature));
}

#[test]
fn guests_and_applications_by_policy() {
    let guest = signed(HEADER, &with("is_anonymous", Some(json!(true))));
    assert_eq!(check(&guest, &rules()).unwrap_err().code(), Code::AnonymousNotAllowed);
    let allowing = ClaimRules { allows_anonymous: true, ..rules() };
    assert!(check(&guest, &allowing).unwrap().is_anonymous);

    let application = signed(HEADER, &with("client_id", Some(json!("app-1"))));
    assert_eq!(check(&application, &rules()).unwrap_err().code(), Code::OauthClientNotAllowed);
    let clients = |id: &str| ClaimRules { oauth_clients: vec![id.into()], ..rules() };
    assert!(check(&application, &clients("app-1")).is_ok());
    assert_eq!(check(&application, &clients("app-10")), Err(TokenRefusal::OauthClient));
}

#[test]
fn a_key_is_found_by_its_name_and_used_for_its_algorithm() {
    let vectors = vectors();
    let set = KeySet::parse(vectors["jwks"].to_string().as_bytes()).unwrap();
    let kid = vectors["jwks"]["keys"][0]["kid"].as_str().unwrap();
    let legacy = VerifyingKey::legacy(&Secret::new(SECRET)).unwrap();
    let key = |header: Value, legacy: Option<&VerifyingKey>| {
        let token = signed(&header.to_string(), "{}");
        AccessToken::parse(&token).unwrap().key(&set, legacy).map(|_| ())
    };
    assert_eq!(key(json!({"alg": "ES256", "kid": kid}), None), Ok(()));
    assert_eq!(key(json!({"alg": "ES256"}), None), Err(TokenRefusal::Header));
    assert_eq!(key(json!({"alg": "ES256", "kid": "other"}), Some(&legacy)), Err(TokenRefusal::UnknownKey));
    assert_eq!(key(json!({"alg": "RS256", "kid": kid}), None), Err(TokenRefusal::Algorithm));
    assert_eq!(key(json!({"alg": "HS256"}), None), Err(TokenRefusal::Algorithm));
    assert_eq!(key(json!({"alg": "HS256", "kid": "other"}), Some(&legacy)), Ok(()));
    assert_eq!(key(json!({"alg": "HS256", "kid": kid}), Some(&legacy)), Err(TokenRefusal::Algorithm));

    assert!(VerifyingKey::legacy(&Secret::new("x".repeat(31))).is_none());
    assert!(!format!("{:?}", legacy).contains("secret"));
}

/// Which keys of a set are used, by name.
fn usable(members: &Value, kids: &[&str]) -> Vec<String> {
    let set = KeySet::parse(json!({"keys": members, "other": 1}).to_string().as_bytes()).unwrap();
    kids.iter().filter(|kid| set.get(kid).is_some()).map(|kid| (*kid).to_owned()).collect()
}

#[test]
fn one_bad_member_never_discards_the_others() {
    let vectors = vectors();
    let keys = vectors["jwks"]["keys"].as_array().unwrap();
    let (ec, rsa, okp) = (&keys[0], &keys[2], &keys[3]);
    let good = ec["kid"].as_str().unwrap();
    let change = |key: &Value, changes: Value| {
        let mut key = key.clone();
        key["kid"] = json!("changed");
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(key.as_object_mut().unwrap().remove(name)),
                value => key[name] = value.clone(),
            }
        }
        key
    };
    let short = base64url(&[7; 31]);
    let modulus = |bytes: usize| base64url(&vec![0x80; bytes]);
    let refused = [
        json!("a string"),
        json!([]),
        json!({}),
        change(ec, json!({"kid": null})),
        change(ec, json!({"kid": 7})),
        change(ec, json!({"use": "enc"})),
        change(ec, json!({"use": 7})),
        change(ec, json!({"key_ops": ["sign"]})),
        change(ec, json!({"key_ops": "verify"})),
        change(ec, json!({"d": short})),
        change(rsa, json!({"p": short})),
        change(okp, json!({"d": short})),
        change(ec, json!({"kty": "oct", "k": short})),
        change(ec, json!({"kty": "oct"})),
        change(ec, json!({"crv": "P-384"})),
        change(ec, json!({"crv": null})),
        change(ec, json!({"alg": "ES384"})),
        change(ec, json!({"alg": "HS256"})),
        change(ec, json!({"alg": 7})),
        change(ec, json!({"x": short})),
        change(ec, json!({"y": modulus(33)})),
        change(ec, json!({"x": "=="})),
        change(ec, json!({"y": null})),
        change(rsa, json!({"alg": "PS256"})),
        change(rsa, json!({"e": base64url(&[3])})),
        change(rsa, json!({"e": base64url(&[1, 0, 0])})),
        change(rsa, json!({"e": base64url(&[1, 0, 2])})),
        change(rsa, json!({"e": base64url(&[1; 9])})),
        change(rsa, json!({"n": modulus(255)})),
        change(rsa, json!({"n": modulus(1025)})),
        change(rsa, json!({"n": base64url(&[[0].as_slice(), &[0x80; 256]].concat())})),
        change(okp, json!({"crv": "X25519"})),
        change(okp, json!({"crv": "Ed448"})),
        change(okp, json!({"x": short})),
        change(okp, json!({"x": modulus(33)})),
    ];
    for member in refused {
        assert_eq!(usable(&json!([member, ec]), &["changed", good]), [good], "{member}");
        assert_eq!(usable(&json!([ec, member]), &["changed", good]), [good], "{member}");
    }
    for key in [ec, rsa, okp] {
        for changes in [json!({}), json!({"alg": null}), json!({"use": null, "key_ops": null})] {
            assert_eq!(usable(&json!([change(key, changes.clone())]), &["changed"]), ["changed"], "{changes}");
        }
    }
    assert_eq!(
        usable(&json!([ec, change(rsa, json!({"kid": good})), okp]), &[good, okp["kid"].as_str().unwrap()]).len(),
        1
    );
}

#[test]
fn bodies_that_are_not_a_key_set() {
    for text in ["", "null", "[]", "{}", r#"{"keys":{}}"#, "<html>", "{\"keys\":[]}x"] {
        assert!(KeySet::parse(text.as_bytes()).is_none(), "{text}");
    }
    assert!(KeySet::parse(br#"{"keys":[]}"#).unwrap().is_empty());
    let filled = |bytes: usize| [r#"{"keys":[]}"#, &" ".repeat(bytes - 11)].concat();
    assert!(KeySet::parse(filled(KeySet::MAX_BYTES).as_bytes()).is_some());
    assert!(KeySet::parse(filled(KeySet::MAX_BYTES + 1).as_bytes()).is_none());
    let members = |count: usize| json!({"keys": vec![json!({}); count]}).to_string();
    assert!(KeySet::parse(members(KeySet::MAX_KEYS).as_bytes()).is_some());
    assert!(KeySet::parse(members(KeySet::MAX_KEYS + 1).as_bytes()).is_none());
    assert!(KeySet::parse(br#"{"keys":[{"kty":"oct","k":"x"}]}"#).unwrap().has_secrets());
    assert!(!KeySet::parse(vectors()["jwks"].to_string().as_bytes()).unwrap().has_secrets());
}

proptest! {
    #[test]
    fn no_header_panics_or_is_accepted(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let legacy = VerifyingKey::legacy(&Secret::new(SECRET)).unwrap();
        let _ = KeySet::parse(&bytes);
        for authorization in [bytes.clone(), [b"Bearer ", &bytes[..]].concat()] {
            prop_assert!(verify(&authorization, &KeySet::default(), Some(&legacy), &rules(), NOW).is_err());
        }
    }

    /// Of the right form and of any content, with a good signature.
    #[test]
    fn no_signed_text_panics(header in "\\PC{0,60}", claims in "\\PC{0,200}", now in any::<u64>()) {
        let legacy = VerifyingKey::legacy(&Secret::new(SECRET)).unwrap();
        for token in [signed(&header, &claims), signed(HEADER, &claims)] {
            let authorization = format!("Bearer {token}");
            let verdict = verify(authorization.as_bytes(), &KeySet::default(), Some(&legacy), &rules(), now);
            prop_assert!(verdict.is_err());
        }
    }

    /// One bit changed anywhere in a good token makes it a bad one.
    #[test]
    fn one_changed_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let mut token = signed(HEADER, &claims().to_string()).into_bytes();
        let at = at.index(token.len());
        token[at] ^= 1 << bit;
        let legacy = VerifyingKey::legacy(&Secret::new(SECRET)).unwrap();
        let authorization = [b"Bearer ", &token[..]].concat();
        prop_assert!(verify(&authorization, &KeySet::default(), Some(&legacy), &rules(), NOW).is_err());
    }
}
