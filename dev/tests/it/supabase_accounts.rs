//! What supabase-js calls beside sign-in with a password: refresh, sign-up, anonymous users, codes, the user, sign-out.

use dev::supabase::{Algorithm, Project, routes};
use dev::{RunningServer, start};
use reqwest::{Client, Response};
use serde_json::{Value, json};

const USER: &str = "demo@example.com";

#[tokio::test]
async fn a_refresh_token_gets_a_fresh_access_token_of_the_same_session() {
    let (auth, project) = auth().await;
    let first = sign_in(&auth, USER, "demo").await;
    let second = session(refresh(&auth, &first).await).await;
    let (before, after) = (claims(&first), claims(&second));
    for member in ["sub", "session_id", "email", "amr", "iss"] {
        assert_eq!(before[member], after[member], "{member}");
    }
    assert_eq!(second["expires_at"], after["exp"]);
    assert_eq!(second["user"], first["user"]);
    assert_ne!(second["refresh_token"], first["refresh_token"]);

    // A new signing key is used at the next refresh.
    project.rotate(Algorithm::EdDsa);
    let third = session(refresh(&auth, &second).await).await;
    assert_eq!(claims(&third)["session_id"], before["session_id"]);
    assert_eq!(user(&auth, &third).await.status(), 200);
}

#[tokio::test]
async fn a_used_refresh_token_ends_its_session_unless_the_response_may_have_been_lost() {
    let (auth, _project) = auth().await;
    let first = sign_in(&auth, USER, "demo").await;
    let second = session(refresh(&auth, &first).await).await;
    let again = session(refresh(&auth, &first).await).await;
    assert_eq!(again["refresh_token"], second["refresh_token"], "the parent of the active token gets the active one");

    let third = session(refresh(&auth, &second).await).await;
    let used = refresh(&auth, &first).await;
    refused(used, 400, "refresh_token_already_used", "Invalid Refresh Token: Already Used").await;
    let unknown = ("refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found");
    refused(refresh(&auth, &third).await, 400, unknown.0, unknown.1).await;
    refused(user(&auth, &third).await, 403, NO_SESSION.0, NO_SESSION.1).await;

    let other = json!({"refresh_token": "another"});
    refused(refresh(&auth, &other).await, 400, unknown.0, unknown.1).await;
    refused(refresh(&auth, &json!({})).await, 400, "validation_failed", "refresh_token required").await;
    let number = refresh(&auth, &json!({"refresh_token": 1})).await;
    assert_eq!((number.status().as_u16(), error_code(number).await), (400, "bad_json".to_owned()));
}

#[tokio::test]
async fn the_user_is_that_of_a_valid_token() {
    let (auth, project) = auth().await;
    let signed_in = sign_in(&auth, USER, "demo").await;
    let answer = user(&auth, &signed_in).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(read(answer).await, signed_in["user"]);

    let get = |authorization: &str| {
        let request = Client::new().get(auth.url("/auth/v1/user")).header("authorization", authorization);
        async { request.send().await.unwrap() }
    };
    let token = signed_in["access_token"].as_str().unwrap();
    assert_eq!(get(&format!("bearer {token}")).await.status(), 200);
    let no_bearer = "This endpoint requires a Bearer token";
    for value in ["", "Bearer", "Bearer ", token] {
        refused(get(value).await, 401, "no_authorization", no_bearer).await;
    }
    let claims = claims(&signed_in);
    let with = |member: &str, value: Value| {
        let mut claims = claims.clone();
        claims[member] = value;
        claims
    };
    for (name, token) in [
        ("another project", Project::new().token(&claims)),
        ("cut", token[..token.len() - 4].to_owned()),
        ("no token", "a.b.c".to_owned()),
        ("expired", project.token(&with("exp", json!(1)))),
        ("without a time", project.token(&with("exp", json!(null)))),
    ] {
        let answer = get(&format!("Bearer {token}")).await;
        assert_eq!((answer.status().as_u16(), error_code(answer).await), (403, "bad_jwt".to_owned()), "{name}");
    }
    // A token of a session that Auth does not know, such as one of before a restart.
    let stranger = project.token(&with("session_id", json!("00000000-0000-4000-8000-000000000000")));
    refused(get(&format!("Bearer {stranger}")).await, 403, NO_SESSION.0, NO_SESSION.1).await;
}

#[tokio::test]
async fn a_token_of_every_algorithm_is_verified() {
    let (auth, project) = auth().await;
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa] {
        project.rotate(algorithm);
        let session = sign_in(&auth, USER, "demo").await;
        assert_eq!(user(&auth, &session).await.status(), 200, "{algorithm:?}");
        let token = session["access_token"].as_str().unwrap();
        let (message, _) = token.rsplit_once('.').unwrap();
        let forged = json!({"access_token": format!("{message}.{}", "A".repeat(86))});
        assert_eq!(user(&auth, &forged).await.status(), 403, "{algorithm:?}");
    }
}

#[tokio::test]
async fn signing_out_ends_the_sessions_of_its_scope() {
    let (auth, _project) = auth().await;
    for (scope, own, other) in [
        ("", false, false),
        ("?scope=global", false, false),
        ("?scope=local", false, true),
        ("?scope=others", true, false),
    ] {
        let mine = sign_in(&auth, USER, "demo").await;
        let elsewhere = sign_in(&auth, USER, "demo").await;
        let stranger = sign_in(&auth, "demo+anna@example.com", "demo").await;
        let answer = log_out(&auth, scope, &mine).await;
        assert_eq!(answer.status(), 204, "{scope}");
        for (session, lives) in [(&mine, own), (&elsewhere, other), (&stranger, true)] {
            let status = if lives { 200 } else { 403 };
            assert_eq!(user(&auth, session).await.status(), status, "{scope}");
            let status = if lives { 200 } else { 400 };
            assert_eq!(refresh(&auth, session).await.status(), status, "{scope}");
        }
    }
    let mine = sign_in(&auth, USER, "demo").await;
    let message = "Unsupported logout scope \"all\"";
    refused(log_out(&auth, "?scope=all", &mine).await, 400, "validation_failed", message).await;
    let none = json!({"access_token": ""});
    assert_eq!(log_out(&auth, "", &none).await.status(), 401);
}

#[tokio::test]
async fn a_new_user_is_signed_in_and_can_sign_in_again() {
    let (auth, _project) = auth().await;
    let body = json!({"email": "Li.Lei@example.cn", "password": "correct horse", "data": {"name": "李雷"}});
    let new = session(post(&auth, "/auth/v1/signup", &body).await).await;
    assert_eq!(new["user"]["email"], "li.lei@example.cn");
    assert_eq!(new["user"]["user_metadata"], json!({"name": "李雷"}));
    assert_eq!(claims(&new)["user_metadata"], json!({"name": "李雷"}));
    assert_eq!(claims(&new)["amr"][0]["method"], "password");

    let again = sign_in(&auth, "li.lei@EXAMPLE.cn", "correct horse").await;
    assert_eq!(again["user"], new["user"]);
    let wrong = password_sign_in(&auth, "li.lei@example.cn", "demo").await;
    refused(wrong, 400, "invalid_credentials", "Invalid login credentials").await;

    for email in ["li.lei@example.cn", "LI.LEI@example.cn", USER, "demo+anna@example.com"] {
        let body = json!({"email": email, "password": "another one"});
        let answer = post(&auth, "/auth/v1/signup", &body).await;
        refused(answer, 422, "user_already_exists", "User already registered").await;
    }
}

#[tokio::test]
async fn a_sign_up_without_an_address_or_a_good_password_is_refused() {
    let (auth, _project) = auth().await;
    let invalid = "Unable to validate email address: invalid format";
    let both = "Only an email address or phone number should be provided on signup.";
    for (body, status, code, message) in [
        (json!({"email": "a@b.cn"}), 400, "validation_failed", "Signup requires a valid password"),
        (
            json!({"email": "a@b.cn", "password": "12345"}),
            422,
            "weak_password",
            "Password should be at least 6 characters.",
        ),
        (json!({"email": "a@b.cn", "phone": "1", "password": "123456"}), 400, "validation_failed", both),
        (json!({"phone": "1", "password": "123456"}), 400, "phone_provider_disabled", "Phone signups are disabled"),
        (json!({"email": "ab.cn", "password": "123456"}), 400, "validation_failed", invalid),
        (json!({"email": "@b.cn", "password": "123456"}), 400, "validation_failed", invalid),
        (json!({"email": "a@b@c.cn", "password": "123456"}), 400, "validation_failed", invalid),
        (json!({"email": "a@b..cn", "password": "123456"}), 400, "validation_failed", invalid),
        (json!({"email": "a\n@b.cn", "password": "123456"}), 400, "validation_failed", invalid),
    ] {
        let answer = post(&auth, "/auth/v1/signup", &body).await;
        assert_eq!(answer.status(), status, "{body}");
        let error = read(answer).await;
        assert_eq!((&error["error_code"], &error["msg"]), (&json!(code), &json!(message)), "{body}");
        let reasons = (code == "weak_password").then(|| json!({"reasons": ["length"]}));
        assert_eq!(error.get("weak_password").cloned(), reasons, "{body}");
    }
    let data = post(&auth, "/auth/v1/signup", &json!({"data": "a name"})).await;
    assert_eq!((data.status().as_u16(), error_code(data).await), (400, "bad_json".to_owned()));
}

#[tokio::test]
async fn an_anonymous_user_has_no_address_and_is_new_every_time() {
    let (auth, _project) = auth().await;
    let first = session(post(&auth, "/auth/v1/signup", &json!({"data": {}})).await).await;
    let second = session(post(&auth, "/auth/v1/signup", &json!({})).await).await;
    assert_ne!(first["user"]["id"], second["user"]["id"]);
    let claims = claims(&first);
    assert_eq!((&claims["is_anonymous"], &claims["email"]), (&json!(true), &json!("")));
    assert_eq!((&claims["app_metadata"], &claims["amr"][0]["method"]), (&json!({}), &json!("anonymous")));
    assert_eq!(first["user"]["is_anonymous"], true);
    assert_eq!(first["user"].get("email_confirmed_at"), None);
    let refreshed = session(refresh(&auth, &first).await).await;
    assert_eq!(refreshed["user"], first["user"]);
}

#[tokio::test]
async fn a_code_signs_a_user_in_once() {
    let (auth, project) = auth().await;
    for email in ["new@example.cn", USER] {
        let sent = post(&auth, "/auth/v1/otp", &json!({"email": email, "create_user": true, "data": {"a": 1}})).await;
        assert_eq!((sent.status().as_u16(), read(sent).await), (200, json!({})));
        let code = project.code(email).unwrap();
        assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");

        let wrong = if code == "000000" { "000001" } else { "000000" };
        let expired = ("otp_expired", "Token has expired or is invalid");
        refused(verify(&auth, email, wrong, "email").await, 403, expired.0, expired.1).await;
        refused(verify(&auth, "other@example.cn", &code, "email").await, 403, expired.0, expired.1).await;
        refused(verify(&auth, email, &code, "recovery").await, 403, expired.0, expired.1).await;
        let signed_in = session(verify(&auth, email, &code, "email").await).await;
        assert_eq!(signed_in["user"]["email"], email);
        assert_eq!(claims(&signed_in)["amr"][0]["method"], "otp");
        assert_eq!(user(&auth, &signed_in).await.status(), 200);
        let data = if email == USER { json!({}) } else { json!({"a": 1}) };
        assert_eq!(signed_in["user"]["user_metadata"], data, "metadata of a user that exists is not changed");
        refused(verify(&auth, email, &code, "email").await, 403, expired.0, expired.1).await;
        assert_eq!(project.code(email), None);
    }
    // A user with codes has no password.
    let empty = password_sign_in(&auth, "new@example.cn", "").await;
    refused(empty, 400, "invalid_credentials", "Invalid login credentials").await;
}

#[tokio::test]
async fn a_code_replaces_the_one_before_it() {
    let (auth, project) = auth().await;
    let mut codes = Vec::new();
    for _ in 0..2 {
        post(&auth, "/auth/v1/otp", &json!({"email": USER})).await;
        codes.push(project.code(USER).unwrap());
    }
    if codes[0] != codes[1] {
        assert_eq!(verify(&auth, USER, &codes[0], "email").await.status(), 403);
    }
    assert_eq!(verify(&auth, USER, &codes[1], "magiclink").await.status(), 200);
}

#[tokio::test]
async fn a_code_is_refused_to_strangers_if_the_page_asks_for_no_new_users() {
    let (auth, project) = auth().await;
    let stranger = json!({"email": "stranger@example.cn", "create_user": false});
    let answer = post(&auth, "/auth/v1/otp", &stranger).await;
    refused(answer, 422, "otp_disabled", "Signups not allowed for otp").await;
    assert_eq!(project.code("stranger@example.cn"), None);
    assert_eq!(post(&auth, "/auth/v1/otp", &json!({"email": USER, "create_user": false})).await.status(), 200);

    let rows = [
        ("/auth/v1/otp", json!({}), "One of email or phone must be set"),
        (
            "/auth/v1/otp",
            json!({"email": "a@b.cn", "phone": "1"}),
            "Only an email address or phone number should be provided",
        ),
        ("/auth/v1/verify", json!({"email": USER, "token": "1"}), "Verify requires a verification type"),
        ("/auth/v1/verify", json!({"email": USER, "type": "email"}), "Verify requires either a token or a token hash"),
        (
            "/auth/v1/verify",
            json!({"token": "1", "type": "email"}),
            "Only an email address or phone number should be provided on verify",
        ),
    ];
    for (path, body, message) in rows {
        refused(post(&auth, path, &body).await, 400, "validation_failed", message).await;
    }
}

const NO_SESSION: (&str, &str) = ("session_not_found", "Session from session_id claim in JWT does not exist");

async fn auth() -> (RunningServer, Project) {
    let project = Project::new();
    (start(routes(project.clone())).await.unwrap(), project)
}

async fn post(auth: &RunningServer, path: &str, body: &Value) -> Response {
    Client::new().post(auth.url(path)).body(body.to_string()).send().await.unwrap()
}

async fn password_sign_in(auth: &RunningServer, email: &str, password: &str) -> Response {
    post(auth, "/auth/v1/token?grant_type=password", &json!({"email": email, "password": password})).await
}

async fn sign_in(auth: &RunningServer, email: &str, password: &str) -> Value {
    session(password_sign_in(auth, email, password).await).await
}

async fn refresh(auth: &RunningServer, session: &Value) -> Response {
    let body = json!({"refresh_token": session["refresh_token"]});
    post(auth, "/auth/v1/token?grant_type=refresh_token", &body).await
}

async fn verify(auth: &RunningServer, email: &str, code: &str, kind: &str) -> Response {
    post(auth, "/auth/v1/verify", &json!({"email": email, "token": code, "type": kind})).await
}

async fn user(auth: &RunningServer, session: &Value) -> Response {
    let request = Client::new().get(auth.url("/auth/v1/user"));
    request.bearer_auth(session["access_token"].as_str().unwrap()).send().await.unwrap()
}

async fn log_out(auth: &RunningServer, scope: &str, session: &Value) -> Response {
    let request = Client::new().post(auth.url(&format!("/auth/v1/logout{scope}")));
    request.bearer_auth(session["access_token"].as_str().unwrap()).send().await.unwrap()
}

async fn session(answer: Response) -> Value {
    let status = answer.status();
    let session = read(answer).await;
    assert_eq!(status, 200, "{session}");
    assert!(session["refresh_token"].as_str().unwrap().len() >= 12);
    assert_eq!((&session["token_type"], &session["expires_in"]), (&json!("bearer"), &json!(3600)));
    session
}

async fn refused(answer: Response, status: u16, code: &str, message: &str) {
    let header = answer.headers()["x-sb-error-code"].clone();
    let found = answer.status().as_u16();
    assert_eq!(read(answer).await, json!({"code": status, "error_code": code, "msg": message}));
    assert_eq!((found, header.to_str().unwrap()), (status, code));
}

async fn error_code(answer: Response) -> String {
    read(answer).await["error_code"].as_str().unwrap().to_owned()
}

async fn read(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// The claims of the access token, not verified.
fn claims(session: &Value) -> Value {
    use base64::Engine;
    let payload = session["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
