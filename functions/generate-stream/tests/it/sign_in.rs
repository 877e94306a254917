//! Sign-in: the key set over sockets, at any time of day, and the refusals of the handler.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use dev::dynamodb::{self, Proxy};
use dev::secrets::{self, Vault};
use dev::supabase::{self, Fault, Project, legacy_token};
use dev::transcript::{self, ReceivedRequests, Transcript};
use dev::{RunningServer, user};
use generate_stream::{App, handle};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::auth::{ClaimRules, Principal};
use shared::config::{self, KeySource};
use shared::edge::{Body, Caller, SignIn};
use shared::problem::Code;
use shared::secret::Secret;

const ISSUER: &str = "https://abcdefghijklmnopqrst.supabase.co/auth/v1";
pub(crate) const SECRET: &str = "a-legacy-secret-of-this-test-and-of-nothing-else";
const BODY: &str = r#"{"prompt":"x","format":"events"}"#;

/// A project behind a socket, and what checks its tokens at a time of our choosing.
pub(crate) struct SignInStand {
    pub(crate) project: Project,
    pub(crate) sign_in: SignIn,
    pub(crate) server: RunningServer,
}

impl SignInStand {
    pub(crate) async fn new(legacy_secret: Option<&str>) -> Self {
        let project = Project::new();
        let server = dev::start(supabase::routes(project.clone())).await.unwrap();
        let legacy_secret = match legacy_secret {
            Some(secret) => KeySource::Given(Secret::new(secret)),
            None => KeySource::Missing { given: "", managed: "" },
        };
        let key_set = server.url("/auth/v1/.well-known/jwks.json").parse().unwrap();
        let rules = ClaimRules { issuer: ISSUER.into(), allows_anonymous: false, oauth_clients: Vec::new() };
        let supabase = Some(config::SupabaseConfig { key_set, legacy_secret, rules });
        let sign_in = SignIn::new(&config::SignInConfig { supabase, is_required: true }, None).unwrap();
        Self { project, sign_in, server }
    }

    pub(crate) async fn check(&self, at: SystemTime, token: &str) -> Result<Principal, Code> {
        let request = Request::builder().header("authorization", format!("Bearer {token}")).body(()).unwrap();
        let checked = self.sign_in.check_at(at, &request, &Caller::of(&request)).await;
        checked.map_err(|problem| problem.code)
    }

    /// A token issued at this time and signed with the key in use.
    pub(crate) fn token(&self, at: SystemTime) -> String {
        self.project.token(&claims(at))
    }
}

pub(crate) fn claims(at: SystemTime) -> Value {
    let mut claims = Project::claims(ISSUER, "demo@example.com");
    let seconds = at.duration_since(UNIX_EPOCH).unwrap().as_secs();
    (claims["iat"], claims["exp"]) = (json!(seconds), json!(seconds + 3600));
    claims
}

/// A token with an unknown key.
pub(crate) fn made_up(number: usize) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.AAAA", part(json!({"alg": "ES256", "kid": format!("made-up-{number}")})), part(json!({})))
}

pub(crate) fn after(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_216_097 + seconds)
}

#[tokio::test]
async fn the_legacy_secret_alone_or_beside_the_set() {
    let stand = SignInStand::new(Some(SECRET)).await;
    stand.project.fail(Some(Fault::Status(500)));
    let legacy = |kid: Option<&str>| legacy_token(SECRET, kid, &claims(after(0)));
    assert!(stand.check(after(0), &legacy(None)).await.is_ok());
    assert!(stand.check(after(0), &legacy(Some("old"))).await.is_ok());
    assert_eq!(stand.project.fetches(), 0, "the set is not needed");
    let other = legacy_token(&SECRET.replace('a', "b"), None, &claims(after(0)));
    assert_eq!(stand.check(after(0), &other).await, Err(Code::TokenInvalid));

    stand.project.fail(None);
    assert!(stand.check(after(2), &stand.token(after(2))).await.is_ok(), "a project on its way to signing keys");
    let named = legacy(Some(&stand.project.kid()));
    assert_eq!(stand.check(after(2), &named).await, Err(Code::TokenInvalid), "that name is an ES256 key's");
}

#[tokio::test]
async fn every_recorded_token_over_a_socket() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/tests/data/vectors/tokens.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(vectors["now"].as_u64().unwrap());
    for case in vectors["cases"].as_array().unwrap() {
        let Ok(authorization) = http::HeaderValue::try_from(format!("Bearer {}", case["token"].as_str().unwrap()))
        else {
            continue;
        };
        let mode = case["mode"].as_str().unwrap();
        let stand = SignInStand::new((mode != "jwks").then(|| vectors["hs_secret"].as_str().unwrap())).await;
        let set = case.get("jwks").unwrap_or(&vectors["jwks"]).clone();
        stand.project.list(Some(if mode == "hs" { json!({"keys": []}) } else { set }));
        let request = Request::builder().header("authorization", authorization).body(()).unwrap();
        let verdict = stand.sign_in.check_at(now, &request, &Caller::of(&request)).await;
        match case["expect"].as_str().unwrap() {
            "accept" => assert!(verdict.is_ok(), "{}: {verdict:?}", case["id"]),
            // It has no key that could check anything, so it is not about the token.
            _ if case["group"] == "jwks" => assert!(verdict.is_err(), "{}", case["id"]),
            _ => assert_eq!(verdict.unwrap_err().code, Code::TokenInvalid, "{}", case["id"]),
        }
        assert!(stand.project.fetches() <= 2, "{}", case["id"]);
    }
}

/// The whole route, with everything that costs something behind sockets that count.
pub(crate) struct Route {
    pub(crate) project: Project,
    pub(crate) upstream: ReceivedRequests,
    pub(crate) vault: Vault,
    pub(crate) tables: Proxy,
    app: Arc<App>,
    issuer: String,
    _servers: [RunningServer; 4],
}

impl Route {
    pub(crate) async fn new(variables: &[(&str, &str)]) -> Self {
        let (router, upstream) = transcript::routes(Transcript::events("data: [DONE]\n\n"));
        let (project, vault, tables) = (Project::new(), Vault::default(), Proxy::default());
        vault.put("image-api-key", "a-key-of-this-test");
        let engine = user::variable("AWS_ENDPOINT_URL_DYNAMODB").unwrap();
        let servers = [
            dev::start(router).await.unwrap(),
            dev::start(supabase::routes(project.clone())).await.unwrap(),
            dev::start(secrets::routes(vault.clone())).await.unwrap(),
            dev::start(dynamodb::routes(tables.clone(), &engine)).await.unwrap(),
        ];
        let [image_api, auth, manager, dynamodb] = &servers;
        let app = App::from_env(&|name| match name {
            "IMAGE_API_BASE_URL" => Some(image_api.url("")),
            "IMAGE_API_KEY_SECRET_ARN" => Some("image-api-key".to_owned()),
            "AWS_ENDPOINT_URL_SECRETS_MANAGER" => Some(manager.url("")),
            "AWS_ENDPOINT_URL_DYNAMODB" => Some(dynamodb.url("")),
            "SUPABASE_URL" => Some(auth.url("")),
            "SUPABASE_JWT_SECRET" => None,
            _ => variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
                .or_else(|| user::variable(name)),
        });
        let issuer = auth.url("/auth/v1");
        Self { project, upstream, vault, tables, app: Arc::new(app), issuer, _servers: servers }
    }

    pub(crate) async fn ask(&self, authorization: Option<&[u8]>, body: &str) -> Response<Body> {
        let mut request = Request::post("/api/generate-stream").header("content-type", "application/json");
        if let Some(value) = authorization {
            request = request.header("authorization", http::HeaderValue::from_bytes(value).unwrap());
        }
        handle(self.app.clone(), request.body(Bytes::from(body.to_owned())).unwrap()).await
    }

    async fn ask_with(&self, token: &str) -> (StatusCode, Value) {
        let response = self.ask(Some(format!("Bearer {token}").as_bytes()), BODY).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    pub(crate) fn claims(&self) -> Value {
        Project::claims(&self.issuer, "demo@example.com")
    }

    /// A token of the key in use with one claim replaced.
    fn with(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims[name] = value;
        self.project.token(&claims)
    }
}

#[tokio::test]
async fn a_request_without_a_token_makes_no_call() {
    let route = Route::new(&[]).await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/tests/data/vectors/tokens.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let recorded = vectors["cases"].as_array().unwrap().iter().map(|case| case["token"].as_str().unwrap().to_owned());
    // Others cannot be sent.
    let recorded = recorded.filter(|token| http::HeaderValue::from_bytes(token.as_bytes()).is_ok());
    let forged = {
        let token = route.project.token(&route.claims());
        format!("{}.{}", token.rsplit_once('.').unwrap().0, URL_SAFE_NO_PAD.encode([7; 64]))
    };
    let own = [
        forged,
        Project::new().token(&route.claims()),
        legacy_token(SECRET, None, &route.claims()),
        route.with("iss", json!("https://another.supabase.co/auth/v1")),
        route.with("role", json!("service_role")),
        route.with("sub", json!("0F5E3C1E-6A0B-4A56-9F5E-2B1D3C4E5F60")),
    ];
    let mut bodies = Vec::new();
    for token in recorded.chain(own).chain((0..1000).map(made_up)) {
        // The body is not valid, and is not parsed.
        let response = route.ask(Some(format!("Bearer {token}").as_bytes()), "{").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
        let problem = response.into_body().collect().await.unwrap().to_bytes();
        let mut problem: Value = serde_json::from_slice(&problem).unwrap();
        for own in ["request_id", "instance"] {
            assert!(problem.as_object_mut().unwrap().remove(own).is_some());
        }
        bodies.push(problem);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "all forgeries read alike: {bodies:?}");
    assert_eq!(bodies[0]["code"], "token_invalid");

    let others = [
        (None, "auth_required", "Bearer"),
        (Some("Bearer sb_publishable_0123456789".to_owned()), "api_key_not_accepted", "Bearer error=\"invalid_token\""),
        (Some(format!("Bearer {}", expired(&route))), "token_expired", "Bearer error=\"invalid_token\""),
    ];
    for (authorization, code, challenge) in others {
        let response = route.ask(authorization.as_deref().map(str::as_bytes), BODY).await;
        assert_eq!(response.headers()["www-authenticate"], challenge);
        let problem = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!((&problem["code"], &problem["retryable"]), (&json!(code), &json!(false)));
    }
    assert_eq!((route.upstream.requests(), route.vault.calls(), route.tables.calls()), (0, 0, 0));
    assert!(route.project.fetches() <= 2, "{} fetches", route.project.fetches());

    let (status, _) = route.ask_with(&route.project.token(&route.claims())).await;
    assert_eq!((status, route.upstream.requests(), route.vault.calls()), (StatusCode::OK, 1, 1));
    assert!(route.tables.calls() > 0, "they are counted");
}

fn expired(route: &Route) -> String {
    let mut claims = route.claims();
    let now = claims["iat"].as_u64().unwrap();
    (claims["iat"], claims["exp"]) = (json!(now - 3700), json!(now - 100));
    route.project.token(&claims)
}

#[tokio::test]
async fn guests_and_applications_only_where_allowed() {
    let strict = Route::new(&[]).await;
    let open = Route::new(&[("ALLOW_ANONYMOUS", "true"), ("ALLOWED_OAUTH_CLIENTS", "app-1,app-2")]).await;
    let rows = [
        ("is_anonymous", json!(true), "anonymous_not_allowed"),
        ("client_id", json!("app-2"), "oauth_client_not_allowed"),
    ];
    for (name, value, code) in rows {
        let (status, problem) = strict.ask_with(&strict.with(name, value.clone())).await;
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!(code)));
        assert_eq!(open.ask_with(&open.with(name, value)).await.0, StatusCode::OK, "{name}");
    }
    assert_eq!((strict.upstream.requests(), strict.vault.calls()), (0, 0));
}

#[tokio::test]
async fn a_token_is_read_from_one_place() {
    let route = Route::new(&[]).await;
    let token = route.project.token(&route.claims());
    let post = |uri: &str| Request::post(uri.to_owned()).header("content-type", "application/json");
    let requests = [
        post(&format!("/api/generate-stream?access_token={token}")),
        post("/api/generate-stream").header("cookie", format!("sb-access-token={token}")),
        post("/api/generate-stream").header("apikey", &token),
        post("/api/generate-stream").header("x-forwarded-authorization", format!("Bearer {token}")),
    ];
    for request in requests {
        let body = json!({"prompt": "x", "access_token": token}).to_string();
        let response = handle(route.app.clone(), request.body(body.into()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    let bearer = format!("Bearer {token}");
    let twice = post("/api/generate-stream").header("authorization", &bearer).header("authorization", &bearer);
    let response = handle(route.app.clone(), twice.body(Bytes::from(BODY)).unwrap()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(route.upstream.requests(), 0);
}

#[tokio::test]
async fn the_legacy_secret_comes_from_secrets_manager() {
    let route = Route::new(&[("SUPABASE_JWT_SECRET_ARN", "jwt-secret")]).await;
    let token = legacy_token(SECRET, None, &route.claims());
    assert_eq!(route.ask_with(&token).await.0, StatusCode::SERVICE_UNAVAILABLE, "there is no such secret");

    let route = Route::new(&[("SUPABASE_JWT_SECRET_ARN", "jwt-secret")]).await;
    route.vault.put("jwt-secret", &json!({"SUPABASE_JWT_SECRET": SECRET}).to_string());
    let token = legacy_token(SECRET, None, &route.claims());
    assert_eq!(route.ask_with(&token).await.0, StatusCode::OK);

    let route = Route::new(&[("SUPABASE_JWT_SECRET_ARN", "jwt-secret")]).await;
    route.vault.put("jwt-secret", "too short");
    let token = legacy_token("too short", None, &route.claims());
    assert_eq!(route.ask_with(&token).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(route.upstream.requests(), 0);
}
