//! Supabase Auth over a socket: the key set with and without faults, sign-in, and tokens that a library checks which
//! did not sign them.

use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use dev::supabase::{Algorithm, Fault, Project, legacy_token, routes};
use dev::{RunningServer, start};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use reqwest::{Client, Response, StatusCode, redirect};
use serde_json::{Value, json};
use tokio::time::timeout;
use uuid::Uuid;

const KEY_SET: &str = "/auth/v1/.well-known/jwks.json";
const SIGN_IN: &str = "/auth/v1/token?grant_type=password";
const ISSUER: &str = "https://project.example.com/auth/v1";
const USER: &str = "demo@example.com";
const SECRET: &str = "a legacy secret that has more than thirty-two bytes";
/// Longer than anything here takes.
const EVER: Duration = Duration::from_secs(60);
/// Longer than an answer takes that is not held.
const A_WHILE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn the_key_set_lists_the_public_half_of_the_key_in_use() {
    let (auth, project) = auth().await;
    let answer = fetch(&auth).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "public, max-age=600");
    let set = read(answer).await;
    assert_eq!(members(&set), ["keys"]);
    let [key] = set["keys"].as_array().unwrap().as_slice() else { panic!("not one key: {set}") };
    assert_eq!(members(key), ["alg", "crv", "ext", "key_ops", "kid", "kty", "use", "x", "y"]);
    assert_eq!((&key["kty"], &key["crv"]), (&json!("EC"), &json!("P-256")));
    assert_eq!(key["kid"], project.kid());
    let kid = Uuid::parse_str(&project.kid()).unwrap();
    assert_eq!((kid.get_version_num(), kid.to_string()), (4, project.kid()));
    assert_eq!([decoded(&key["x"]).len(), decoded(&key["y"]).len()], [32, 32]);
    assert_ne!(Project::default().kid(), project.kid(), "every project has a key of its own");
}

#[tokio::test]
async fn every_algorithm_is_listed_and_verifies() {
    let (auth, project) = auth().await;
    let cases = [
        (Algorithm::Es256, "ES256", json!({"kty": "EC", "crv": "P-256"}), vec![("x", 32), ("y", 32)]),
        (Algorithm::Rs256, "RS256", json!({"kty": "RSA", "e": "AQAB"}), vec![("n", 256)]),
        (Algorithm::EdDsa, "EdDSA", json!({"kty": "OKP", "crv": "Ed25519"}), vec![("x", 32)]),
    ];
    for (algorithm, name, fixed, numbers) in cases {
        let kid = project.rotate(algorithm);
        assert_eq!(project.kid(), kid);
        let key = key(&auth, &kid).await;
        let mut expected = fixed;
        for (number, bytes) in numbers {
            assert_eq!(decoded(&key[number]).len(), bytes, "{number} of {name}");
            expected[number] = key[number].clone();
        }
        let common = json!({"kid": kid, "alg": name, "use": "sig", "key_ops": ["verify"], "ext": true});
        expected.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
        assert_eq!(key, expected);

        let claims = Project::claims(ISSUER, USER);
        let token = project.token(&claims);
        assert_eq!(header(&token), json!({"alg": name, "kid": kid, "typ": "JWT"}));
        assert_eq!(verified(&token, &key), Some(claims), "{name}");
        assert_eq!(verified(&tampered(&token), &key), None, "{name}");
    }
}

#[tokio::test]
async fn a_key_of_another_project_does_not_verify() {
    let (auth, project) = auth().await;
    let claims = Project::claims(ISSUER, USER);
    let key = key(&auth, &project.kid()).await;
    assert!(verified(&project.token(&claims), &key).is_some());
    assert_eq!(verified(&Project::new().token(&claims), &key), None);
}

#[test]
fn legacy_tokens_are_signed_with_the_secret() {
    let claims = Project::claims(ISSUER, USER);
    for (kid, expected) in [
        (None, json!({"alg": "HS256", "typ": "JWT"})),
        (Some("a-kid"), json!({"alg": "HS256", "kid": "a-kid", "typ": "JWT"})),
    ] {
        let token = legacy_token(SECRET, kid, &claims);
        assert_eq!(header(&token), expected);
        let right = DecodingKey::from_secret(SECRET.as_bytes());
        let wrong = DecodingKey::from_secret(b"another secret");
        let validation = validation(jsonwebtoken::Algorithm::HS256);
        assert_eq!(decode::<Value>(&token, &right, &validation).unwrap().claims, claims);
        assert!(decode::<Value>(&token, &wrong, &validation).is_err());
        assert!(decode::<Value>(&tampered(&token), &right, &validation).is_err());
    }
}

#[test]
fn claims_are_all_that_auth_writes() {
    let before = now();
    let claims = Project::claims(ISSUER, "Demo@Example.com");
    let iat = claims["iat"].as_u64().unwrap();
    assert!((before..=now()).contains(&iat), "{iat}");
    let expected = json!({
        "iss": ISSUER,
        "sub": claims["sub"],
        "aud": "authenticated",
        "exp": iat + 3600,
        "iat": iat,
        "email": "demo@example.com",
        "phone": "",
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {},
        "role": "authenticated",
        "aal": "aal1",
        "amr": [{"method": "password", "timestamp": iat}],
        "session_id": claims["session_id"],
        "is_anonymous": false,
    });
    assert_eq!(claims, expected);
    for id in ["sub", "session_id"] {
        let id = claims[id].as_str().unwrap();
        let parsed = Uuid::parse_str(id).unwrap();
        assert_eq!(parsed.to_string(), id, "canonical");
        assert_eq!((parsed.get_version_num(), parsed.get_variant()), (4, uuid::Variant::RFC4122));
    }
}

#[test]
fn a_user_is_the_address_and_a_session_is_new_every_time() {
    let claims = |user: &str| Project::claims(ISSUER, user);
    let demo = claims(USER);
    assert_eq!(claims(USER)["sub"], demo["sub"]);
    assert_eq!(claims("DEMO@example.COM")["sub"], demo["sub"]);
    assert_ne!(claims("demo+two@example.com")["sub"], demo["sub"]);
    assert_ne!(claims(USER)["session_id"], demo["session_id"]);
}

#[tokio::test]
async fn sign_in_returns_a_token_that_the_listed_key_verifies() {
    let (auth, project) = auth().await;
    let request = Client::new().post(auth.url(SIGN_IN)).header("apikey", "sb_publishable_anything");
    let answer = request.body(credentials(USER, "demo")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let session = read(answer).await;
    let token = session["access_token"].as_str().unwrap();
    let claims = verified(token, &key(&auth, &project.kid()).await).unwrap();

    assert_eq!(claims["iss"], auth.url("/auth/v1"));
    let model = Project::claims(ISSUER, USER);
    assert_eq!(members(&claims), members(&model));
    assert_eq!((&claims["sub"], &claims["email"]), (&model["sub"], &json!(USER)));

    let user = &session["user"];
    assert!(session["refresh_token"].as_str().unwrap().len() >= 12);
    let expected = json!({
        "access_token": token,
        "token_type": "bearer",
        "expires_in": 3600,
        "expires_at": claims["exp"],
        "refresh_token": session["refresh_token"],
        "user": {
            "id": claims["sub"],
            "aud": "authenticated",
            "role": "authenticated",
            "email": USER,
            "email_confirmed_at": user["email_confirmed_at"],
            "phone": "",
            "confirmed_at": user["confirmed_at"],
            "app_metadata": {"provider": "email", "providers": ["email"]},
            "user_metadata": {},
            "identities": [],
            "created_at": user["created_at"],
            "updated_at": user["updated_at"],
            "is_anonymous": false,
        },
    });
    assert_eq!(session, expected);
    for date in ["email_confirmed_at", "confirmed_at", "created_at", "updated_at"] {
        assert!(user[date].as_str().unwrap().ends_with('Z'), "{date}");
    }

    // Neither an `apikey` nor a `Content-Type` is asked for.
    let again = read(sign_in(&auth, SIGN_IN, &credentials(USER, "demo")).await).await;
    assert_eq!(again["user"]["id"], claims["sub"]);
    assert_ne!(again["refresh_token"], session["refresh_token"]);
}

#[tokio::test]
async fn the_issuer_is_the_host_of_the_request() {
    let (auth, _project) = auth().await;
    let request = Client::new().post(auth.url(SIGN_IN)).header("host", "localhost:54321");
    let session = read(request.body(credentials(USER, "demo")).send().await.unwrap()).await;
    assert_eq!(payload(session["access_token"].as_str().unwrap())["iss"], "http://localhost:54321/auth/v1");
}

#[tokio::test]
async fn every_demo_address_is_a_user_and_no_other() {
    let (auth, _project) = auth().await;
    let longest = format!("demo+{}@example.com", "a".repeat(32));
    let mut ids = Vec::new();
    for email in [USER, "demo+1@example.com", "demo+two2@example.com", &longest] {
        let answer = sign_in(&auth, SIGN_IN, &credentials(email, "demo")).await;
        assert_eq!(answer.status(), 200, "{email}");
        let session = read(answer).await;
        ids.push(session["user"]["id"].as_str().unwrap().to_owned());
    }
    let capitals = sign_in(&auth, SIGN_IN, &credentials("Demo+TWO2@Example.com", "demo")).await;
    let capitals = read(capitals).await;
    assert_eq!(capitals["user"]["id"], ids[2], "Auth compares addresses in lower case");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);

    let too_long = format!("demo+{}@example.com", "a".repeat(33));
    let unknown = [
        "demo@example.org",
        "demo@example.com.example.org",
        "xdemo@example.com",
        "demos@example.com",
        "demo+@example.com",
        "demo+a+b@example.com",
        "demo+a.b@example.com",
        "demo+é@example.com",
        " demo@example.com",
        "demo",
        &too_long,
    ];
    for email in unknown {
        wrong_credentials(sign_in(&auth, SIGN_IN, &credentials(email, "demo")).await, email).await;
    }
    for password in ["", "Demo", "demo ", "another"] {
        wrong_credentials(sign_in(&auth, SIGN_IN, &credentials(USER, password)).await, password).await;
    }
    let none = json!({"email": USER}).to_string();
    wrong_credentials(sign_in(&auth, SIGN_IN, &none).await, "no password").await;
}

#[tokio::test]
async fn sign_in_without_address_and_password_is_refused_as_by_auth() {
    let (auth, _project) = auth().await;
    let missing = "missing email or phone";
    let cases = [
        ("{}", 400, "validation_failed", missing),
        ("null", 400, "validation_failed", missing),
        (r#"{"email": "", "password": "demo"}"#, 400, "validation_failed", missing),
        (r#"{"email": null, "password": "demo"}"#, 400, "validation_failed", missing),
        (
            r#"{"email": "demo@example.com", "phone": "1", "password": "demo"}"#,
            400,
            "validation_failed",
            "Only an email address or phone number should be provided on login.",
        ),
        (r#"{"phone": "1", "password": "demo"}"#, 422, "phone_provider_disabled", "Phone logins are disabled"),
    ];
    for (body, status, code, message) in cases {
        let answer = sign_in(&auth, SIGN_IN, body).await;
        refused(answer, status, code, message, body).await;
    }
    let unreadable = [
        "",
        "{",
        "email=demo@example.com&password=demo",
        "[]",
        r#""demo@example.com""#,
        r#"{"email": 1, "password": "demo"}"#,
        r#"{"email": "demo@example.com", "password": ["demo"]}"#,
        r#"{"email": "demo@example.com", "password": "demo"} more"#,
    ];
    for body in unreadable {
        let answer = sign_in(&auth, SIGN_IN, body).await;
        assert_eq!(answer.status(), 400, "{body}");
        assert_eq!(answer.headers()["x-sb-error-code"], "bad_json");
        let told = read(answer).await;
        assert_eq!((&told["code"], &told["error_code"]), (&json!(400), &json!("bad_json")), "{body}");
        assert!(told["msg"].as_str().unwrap().starts_with("Could not parse request body as JSON: "), "{told}");
    }
}

#[tokio::test]
async fn other_grant_types_are_refused_before_the_body_is_read() {
    let (auth, _project) = auth().await;
    for query in ["", "?grant_type=", "?grant_type=refresh", "?grant_type=passwords", "?grant=password"] {
        for body in [credentials(USER, "demo"), "{".to_owned()] {
            let answer = sign_in(&auth, &format!("/auth/v1/token{query}"), &body).await;
            refused(answer, 400, "invalid_credentials", "unsupported_grant_type", query).await;
        }
    }
    let among_others = sign_in(&auth, "/auth/v1/token?a=b&grant_type=password", &credentials(USER, "demo")).await;
    assert_eq!(among_others.status(), 200);
}

#[tokio::test]
async fn a_rotation_signs_with_the_new_key_and_lists_both() {
    let (auth, project) = auth().await;
    let claims = Project::claims(ISSUER, USER);
    let (first, earlier) = (project.kid(), project.token(&claims));
    let second = project.rotate(Algorithm::EdDsa);
    let later = project.token(&claims);
    assert_ne!(first, second);
    assert_eq!(kids(&auth).await, [&*second, &first]);
    assert_eq!(decode_header(&later).unwrap().kid, Some(second.clone()));
    assert!(verified(&earlier, &key(&auth, &first).await).is_some());
    assert!(verified(&later, &key(&auth, &second).await).is_some());
    let third = project.rotate(Algorithm::Es256);
    assert_eq!(kids(&auth).await, [third, second, first]);
}

#[tokio::test]
async fn a_revoked_key_is_not_listed() {
    let (auth, project) = auth().await;
    let first = project.kid();
    let second = project.rotate(Algorithm::Es256);
    project.revoke("an unknown kid");
    assert_eq!(kids(&auth).await, [&*second, &first]);
    project.revoke(&first);
    assert_eq!(kids(&auth).await, [&*second]);

    let key = key(&auth, &second).await;
    project.revoke(&second);
    assert_eq!(body(fetch(&auth).await).await, json!({"keys": []}));
    let claims = Project::claims(ISSUER, USER);
    assert_eq!(verified(&project.token(&claims), &key), Some(claims), "it still signs");
}

#[tokio::test]
async fn another_key_list_is_served_until_it_is_reset() {
    let (auth, project) = auth().await;
    let other = json!({"keys": [{"kty": "unheard of"}, 7], "more": null});
    project.list(Some(other.clone()));
    assert_eq!(body(fetch(&auth).await).await, other);
    project.list(None);
    assert_eq!(kids(&auth).await, [project.kid()]);
}

#[tokio::test]
async fn faults_of_status_and_content() {
    let (auth, project) = auth().await;
    let good = fetch(&auth).await.bytes().await.unwrap();
    for status in [203, 404, 429, 500, 503] {
        project.fail(Some(Fault::Status(status)));
        let answer = fetch(&auth).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.bytes().await.unwrap(), good, "only the status differs");
    }

    project.fail(Some(Fault::Html));
    let answer = fetch(&auth).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert!(answer.text().await.unwrap().starts_with("<!doctype html>"));

    project.fail(Some(Fault::Huge));
    let answer = fetch(&auth).await;
    assert_eq!((answer.status(), answer.content_length()), (StatusCode::OK, None));
    assert_eq!(answer.headers()["content-type"], "application/json");
    let huge = answer.bytes().await.unwrap();
    assert!((190_000..220_000).contains(&huge.len()), "{}", huge.len());
    assert_eq!(serde_json::from_slice::<Value>(&huge).unwrap(), serde_json::from_slice::<Value>(&good).unwrap());

    project.fail(None);
    assert_eq!(fetch(&auth).await.bytes().await.unwrap(), good);
}

#[tokio::test]
async fn a_redirect_leads_to_a_good_set_and_counts_followers() {
    let (auth, project) = auth().await;
    project.fail(Some(Fault::Redirect));
    let careful = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
    let answer = careful.get(auth.url(KEY_SET)).send().await.unwrap();
    assert_eq!(answer.status(), 302);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert_ne!(location, KEY_SET);
    assert_eq!((project.fetches(), project.redirected()), (1, 0));

    assert_eq!(kids(&auth).await, [project.kid()]);
    assert_eq!((project.fetches(), project.redirected()), (2, 1));
    careful.get(auth.url(&location)).send().await.unwrap();
    assert_eq!((project.fetches(), project.redirected()), (2, 2));
}

#[tokio::test]
async fn a_dropped_connection_ends_in_the_middle_of_the_body() {
    let (auth, project) = auth().await;
    let good = fetch(&auth).await.bytes().await.unwrap();
    project.fail(Some(Fault::Drop));
    let mut answer = fetch(&auth).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let mut came = Vec::new();
    let error = loop {
        match answer.chunk().await {
            Ok(Some(piece)) => came.extend_from_slice(&piece),
            Ok(None) => panic!("the body ended as it should"),
            Err(error) => break error,
        }
    };
    assert!(!error.is_timeout(), "{error}");
    assert_eq!(came, good[..good.len() / 2]);
}

#[tokio::test]
async fn a_hanging_key_set_never_answers_and_is_counted() {
    let (auth, project) = auth().await;
    project.fail(Some(Fault::Hang));
    comes_and_waits(&auth, &project).await;
    project.fail(None);
    assert_eq!(timeout(EVER, kids(&auth)).await.unwrap(), [project.kid()]);
}

#[tokio::test]
async fn a_delay_holds_every_answer_and_is_counted_at_once() {
    let (auth, project) = auth().await;
    for fault in [None, Some(Fault::Status(500)), Some(Fault::Html), Some(Fault::Redirect)] {
        project.fail(fault);
        project.delay(EVER);
        comes_and_waits(&auth, &project).await;
        project.delay(Duration::from_millis(1));
        timeout(EVER, fetch(&auth)).await.unwrap();
    }
}

#[tokio::test]
async fn every_fetch_counts_and_signing_in_does_not() {
    let (auth, project) = auth().await;
    assert_eq!((project.fetches(), project.redirected()), (0, 0));
    for fault in [None, Some(Fault::Status(503)), Some(Fault::Html), Some(Fault::Huge), Some(Fault::Drop)] {
        project.fail(fault);
        fetch(&auth).await;
    }
    assert_eq!((project.fetches(), project.redirected()), (5, 0));
    assert_eq!(sign_in(&auth, SIGN_IN, &credentials(USER, "demo")).await.status(), 200);
    assert_eq!(project.fetches(), 5);
}

#[tokio::test]
async fn faults_and_delays_are_of_the_key_set_only() {
    let (auth, project) = auth().await;
    project.delay(EVER);
    for fault in [Fault::Status(503), Fault::Hang] {
        project.fail(Some(fault));
        let signed_in = timeout(EVER / 2, sign_in(&auth, SIGN_IN, &credentials(USER, "demo"))).await.unwrap();
        assert_eq!(signed_in.status(), 200);
    }
}

#[test]
fn no_private_key_in_the_debug_form() {
    let project = Project::new();
    let shown = format!("{project:?}");
    assert!(shown.contains(&project.kid()) && shown.contains("public_key"), "{shown}");
    assert!(!shown.contains("private"), "{shown}");
}

async fn auth() -> (RunningServer, Project) {
    let project = Project::new();
    (start(routes(project.clone())).await.unwrap(), project)
}

async fn fetch(auth: &RunningServer) -> Response {
    reqwest::get(auth.url(KEY_SET)).await.unwrap()
}

/// A request for the key set is counted when it comes, and gets no answer for a while.
async fn comes_and_waits(auth: &RunningServer, project: &Project) {
    let before = project.fetches();
    let mut answer = pin!(fetch(auth));
    let counted = async {
        while project.fetches() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = &mut answer => panic!("answered: {}", answer.status()),
        counted = timeout(EVER, counted) => counted.unwrap(),
    }
    assert_eq!(project.fetches(), before + 1);
    assert!(timeout(A_WHILE, answer).await.is_err());
}

async fn body(answer: Response) -> Value {
    assert_eq!(answer.status(), 200);
    read(answer).await
}

async fn read(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

async fn kids(auth: &RunningServer) -> Vec<String> {
    let set = body(fetch(auth).await).await;
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn key(auth: &RunningServer, kid: &str) -> Value {
    let set = body(fetch(auth).await).await;
    set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone()
}

async fn sign_in(auth: &RunningServer, path: &str, body: &str) -> Response {
    Client::new().post(auth.url(path)).body(body.to_owned()).send().await.unwrap()
}

fn credentials(email: &str, password: &str) -> String {
    json!({"email": email, "password": password, "gotrue_meta_security": {}}).to_string()
}

async fn wrong_credentials(answer: Response, case: &str) {
    refused(answer, 400, "invalid_credentials", "Invalid login credentials", case).await;
}

async fn refused(answer: Response, status: u16, code: &str, message: &str, case: &str) {
    assert_eq!(answer.status(), status, "{case}");
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["x-sb-error-code"], code);
    let told = read(answer).await;
    assert_eq!(told, json!({"code": status, "error_code": code, "msg": message}), "{case}");
}

/// The claims, if the listed key verifies the token by the algorithm that is listed with it.
fn verified(token: &str, key: &Value) -> Option<Value> {
    let listed: Jwk = serde_json::from_value(key.clone()).unwrap();
    let algorithm = key["alg"].as_str().unwrap().parse().unwrap();
    let decoded = decode(token, &DecodingKey::from_jwk(&listed).unwrap(), &validation(algorithm));
    decoded.ok().map(|token| token.claims)
}

fn validation(algorithm: jsonwebtoken::Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["authenticated"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation
}

/// The same signature under other claims.
fn tampered(token: &str) -> String {
    let [header, _, signature] = parts(token);
    let mut claims = payload(token);
    claims["sub"] = json!("00000000-0000-4000-8000-000000000000");
    format!("{header}.{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts(token)[0]).unwrap()).unwrap()
}

fn payload(token: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts(token)[1]).unwrap()).unwrap()
}

fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

fn decoded(number: &Value) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(number.as_str().unwrap()).unwrap()
}

fn members(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[expect(clippy::disallowed_methods, reason = "the tokens tell the real time")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
