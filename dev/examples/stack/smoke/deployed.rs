//! A deployed stack: its addresses, a user's sign-in, and what only an address on AWS can have wrong.

use std::io::{self, IsTerminal};
use std::process::Command;

use reqwest::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, HeaderMap};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{FACEFLIP, GENERATE, GENERATIONS, IMAGE, SmokeResult, SmokeTarget, error_chain};
use crate::environment::StackEnvironment;

/// The output with the address of each route.
const OUTPUTS: [(&str, &str); 4] = [
    (GENERATE, "GenerateStreamUrl"),
    (IMAGE, "GenerateImageUrl"),
    (FACEFLIP, "FaceflipStreamUrl"),
    (GENERATIONS, "GenerationsUrl"),
];
const PASSWORD: &str = "SMOKE_PASSWORD";
/// An origin that no stack allows.
const OTHER_ORIGIN: &str = "https://other-origin.example";
/// Headers of every response, as docs/api.md has them.
const HEADERS: [(&str, &str); 4] = [
    ("cache-control", "no-store, no-transform"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=31536000"),
];
/// A body over the platform's limit of 6 MB.
const TOO_LARGE_BYTES: usize = 6_400_000;

/// Reads the outputs and parameters of a stack with the AWS CLI.
pub(super) fn read(stack: &str) -> io::Result<SmokeTarget> {
    let mut command = Command::new("aws");
    command.args(["cloudformation", "describe-stacks", "--output", "json", "--stack-name", stack]);
    let answer = command.output().map_err(|error| {
        io::Error::new(error.kind(), format!("the AWS CLI cannot be started ({error}); install it and sign in to AWS"))
    })?;
    if !answer.status.success() {
        let cause = String::from_utf8_lossy(&answer.stderr);
        return Err(io::Error::other(format!("aws cloudformation describe-stacks failed: {}", cause.trim())));
    }
    let answer: Value = serde_json::from_slice(&answer.stdout).map_err(io::Error::other)?;
    let value = |list: &str, key: &str, of: &str| {
        let entries = answer["Stacks"][0][list].as_array().into_iter().flatten();
        let entry = entries.into_iter().find(|entry| entry[key] == of)?;
        entry[key.replace("Key", "Value")].as_str().map(str::to_owned)
    };
    let missing =
        |name: &str| io::Error::other(format!("the stack {stack} has no {name}: was it made of template.yaml?"));
    let url = |(path, output): (&'static str, &str)| -> io::Result<_> {
        Ok((path, value("Outputs", "OutputKey", output).ok_or_else(|| missing(output))?))
    };
    let [generate, image, faceflip, generations] = OUTPUTS.map(url);
    let parameter = |name: &str| value("Parameters", "ParameterKey", name).ok_or_else(|| missing(name));
    let origins = parameter("AllowedOrigins")?;
    Ok(SmokeTarget {
        name: stack.to_owned(),
        urls: [generate?, image?, faceflip?, generations?],
        project: parameter("SupabaseUrl")?.trim_end_matches('/').to_owned(),
        origin: origins.split(',').next().map(|origin| origin.trim().to_owned()),
    })
}

/// Signs a user in at Supabase. Returns the access token.
pub(super) async fn sign_in(client: &Client, project: &str, key: &str, email: &str) -> io::Result<String> {
    let user = json!({"email": email, "password": password(email)?});
    let mut request = client.post(format!("{project}/auth/v1/token?grant_type=password"));
    if !key.is_empty() {
        request = request.header("apikey", key);
    }
    let request = request.header("content-type", "application/json").body(user.to_string());
    let failed = |error: reqwest::Error| io::Error::other(error_chain("Supabase cannot be reached", error));
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    let session: Value = serde_json::from_slice(&response.bytes().await.map_err(failed)?).unwrap_or_default();
    session["access_token"].as_str().map(str::to_owned).ok_or_else(|| {
        let key = if key.is_empty() { "; a hosted project needs --supabase-key" } else { "" };
        io::Error::other(format!("Supabase refused the sign-in: {status}{key}"))
    })
}

/// The password of the environment or the terminal: an argument would be in the shell's history.
fn password(email: &str) -> io::Result<String> {
    if let Some(password) = StackEnvironment::of_process().any(PASSWORD) {
        return Ok(password);
    }
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("Password of {email}: "));
    }
    Err(io::Error::other(format!("{PASSWORD} is not set, and there is no terminal to ask for the password")))
}

/// Checks CORS, headers and limits of each address. None of it is paid.
pub(super) async fn check(
    client: &Client,
    target: &SmokeTarget,
    origin: &str,
    token: Option<&str>,
    results: &mut Vec<SmokeResult>,
) -> io::Result<()> {
    for (path, url) in &target.urls {
        let mut add = |name, verdict: Result<String, String>| {
            SmokeResult { path, name, verdict: verdict.map(Some) }.add_to(results)
        };
        let method = if *path == GENERATIONS { Method::GET } else { Method::POST };
        add("cors", cors(client, url, &method, origin).await)?;
        add("headers", headers(client.request(method.clone(), url)).await)?;
        let Some(token) = token else { continue };
        match method {
            Method::GET => add("limit", limit(client.get(url).bearer_auth(token)).await)?,
            _ => add("6 MB", too_large(client.post(url).bearer_auth(token)).await)?,
        }
    }
    Ok(())
}

/// A page of `origin` may call, and one of another origin may not.
async fn cors(client: &Client, url: &str, method: &Method, origin: &str) -> Result<String, String> {
    let preflight = |origin: &str| {
        let request = client.request(Method::OPTIONS, url).header("origin", origin);
        let request = request.header("access-control-request-method", method.as_str());
        request.header("access-control-request-headers", "authorization,content-type")
    };
    let allowed = send(preflight(origin)).await?;
    let call = send(client.request(method.clone(), url).header("origin", origin)).await?;
    for (what, response) in [("the preflight", &allowed), ("the answer", &call)] {
        match values(response.headers(), ACCESS_CONTROL_ALLOW_ORIGIN.as_str())[..] {
            [value] if value == origin => {}
            [] => return Err(format!("{what} does not allow {origin}: add it to AllowedOrigins")),
            [value] => return Err(format!("{what} allows {value} instead of {origin}")),
            _ => return Err(format!("{what} has Access-Control-Allow-Origin twice, which browsers refuse")),
        }
    }
    let headers = values(allowed.headers(), ACCESS_CONTROL_ALLOW_HEADERS.as_str()).join(",").to_ascii_lowercase();
    if !headers.split(',').any(|header| header.trim() == "authorization") {
        return Err("the preflight does not allow Authorization".into());
    }
    let other = send(preflight(OTHER_ORIGIN)).await?;
    match values(other.headers(), ACCESS_CONTROL_ALLOW_ORIGIN.as_str())[..] {
        [OTHER_ORIGIN] | ["*"] => Err("pages of every origin may call".into()),
        _ => Ok(format!("pages of {origin} may call, others may not")),
    }
}

/// The headers of every response, each once.
async fn headers(request: RequestBuilder) -> Result<String, String> {
    let response = send(request).await?;
    for (name, expected) in HEADERS {
        let found = values(response.headers(), name);
        if found != [expected] {
            return Err(format!("{name} is {found:?} instead of {expected}"));
        }
    }
    match values(response.headers(), "x-request-id")[..] {
        [_] => Ok(format!("{} and x-request-id, each once", HEADERS.map(|(name, _)| name).join(", "))),
        _ => Err("x-request-id is missing or occurs twice".into()),
    }
}

async fn limit(request: RequestBuilder) -> Result<String, String> {
    let response = send(request).await?;
    let (policy, left) = (values(response.headers(), "ratelimit-policy"), values(response.headers(), "ratelimit"));
    match (&policy[..], &left[..]) {
        ([policy], [left]) => Ok(format!("{policy} {left}")),
        _ => Err("RateLimit-Policy and RateLimit are missing: the limits table cannot be read".into()),
    }
}

async fn too_large(request: RequestBuilder) -> Result<String, String> {
    let body = format!("{{\"prompt\":\"\",\"filling\":\"{}\"}}", "x".repeat(TOO_LARGE_BYTES));
    let response = send(request.header("content-type", "application/json").body(body)).await?;
    match response.status().as_u16() {
        413 => Ok("a body of more than 6 MB is 413".into()),
        status => Err(format!("a body of more than 6 MB is {status} instead of 413")),
    }
}

async fn send(request: RequestBuilder) -> Result<Response, String> {
    request.send().await.map_err(|error| error_chain("no answer", error))
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}
