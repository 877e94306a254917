//! `cargo dev smoke`: calls every route and prints the results.

mod deployed;
mod report;

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use dev::client::{StreamEvent, events};
use dev::supabase::Project;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::environment::StackEnvironment;
use crate::stores::Stores;
use crate::{ServeArgs, serve};

/// Timeout of a request. A picture may take minutes.
const WAIT: Duration = Duration::from_secs(660);
const GENERATE: &str = "/api/generate-stream";
const IMAGE: &str = "/api/generate-image";
const FACEFLIP: &str = "/api/v1/faceflip/generate/stream";
const GENERATIONS: &str = "/api/generations";

#[derive(Args)]
pub(crate) struct SmokeArgs {
    /// Address of the routes. Without it a local stack is started.
    url: Option<String>,
    /// Access token of a user. A local stack needs none.
    #[arg(long)]
    token: Option<String>,
    /// Name of a CloudFormation stack. Its addresses are read with the AWS CLI, and a report is written.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    stack: Option<String>,
    /// E-mail address of a user of the stack's Supabase project. The password is read from SMOKE_PASSWORD or the terminal.
    #[arg(long, requires = "stack", conflicts_with = "token")]
    email: Option<String>,
    /// Publishable key of that project.
    #[arg(long, value_name = "KEY", requires = "stack", default_value = "")]
    supabase_key: String,
    /// File of the report.
    #[arg(long, value_name = "FILE", requires = "stack", default_value = "deploy-report.md")]
    report: PathBuf,
}

/// Where the routes are.
struct SmokeTarget {
    name: String,
    urls: [(&'static str, String); 4],
    /// The address of the Supabase project.
    project: String,
    /// An origin whose pages may call, if the deployment was read.
    origin: Option<String>,
}

/// A try and its result: the text of what was expected, `None` if the route is not at this address, or the mistake.
struct SmokeResult {
    path: &'static str,
    name: &'static str,
    verdict: Result<Option<String>, String>,
}

/// Calls every route. Returns whether every route that exists at this address answered as expected, and pictures were
/// requested.
pub(crate) async fn run(options: SmokeArgs) -> io::Result<bool> {
    let mut stack = JoinSet::new();
    let SmokeArgs { url, token, stack: deployment, email, supabase_key, report } = options;
    let client = Client::builder().timeout(WAIT).build().map_err(io::Error::other)?;
    // The stores end when they are dropped.
    let (target, _stores) = match (deployment, url) {
        (Some(name), _) => (deployed::read(&name)?, None),
        // The outputs of a deployment include the route's path.
        (None, Some(url)) => {
            let url = [GENERATE, IMAGE, FACEFLIP, GENERATIONS]
                .iter()
                .fold(url.trim_end_matches('/'), |url, path| url.strip_suffix(path).unwrap_or(url));
            (SmokeTarget::at(url), None)
        }
        (None, None) => {
            let (base, stores) = start(&mut stack).await?;
            (SmokeTarget::at(&base), stores)
        }
    };
    let token = match (token, email) {
        (Some(token), _) => Some(token),
        (None, Some(email)) => Some(deployed::sign_in(&client, &target.project, &supabase_key, &email).await?),
        (None, None) if target.origin.is_some() => None,
        (None, None) => sign_in(&client, &target.project).await,
    };
    let mut results = Vec::new();
    print(&target.name)?;
    for SmokeTry { path, name, request, expect } in tries(&client, &target, token.as_deref()) {
        let verdict = match check(request, expect).await {
            Ok(None) if target.origin.is_some() => Err("404 at the address of its output".into()),
            verdict => verdict,
        };
        SmokeResult { path, name, verdict }.add_to(&mut results)?;
    }
    if let Some(origin) = &target.origin {
        deployed::check(&client, &target, origin, token.as_deref(), &mut results).await?;
        report::write(&report, &target, &results)?;
        print(&format!("The report is in {}", report.display()))?;
    }
    if token.is_none() {
        print(
            "No picture was requested, because that needs a user's access token. Next: run smoke with --token <token>",
        )?;
    }
    let found = results.iter().any(|result| matches!(result.verdict, Ok(Some(_))));
    Ok(found && token.is_some() && results.iter().all(|result| result.verdict.is_ok()))
}

/// A request and the answer that it must get.
struct SmokeTry {
    path: &'static str,
    name: &'static str,
    request: RequestBuilder,
    expect: ExpectedAnswer,
}

/// The tries of every route; those that need a user only with its token.
fn tries(client: &Client, target: &SmokeTarget, token: Option<&str>) -> Vec<SmokeTry> {
    let post = |path: &str, token: Option<&str>, body: Value| {
        let request = client.post(target.url(path)).header("content-type", "application/json");
        let request = request.body(body.to_string());
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    let prompt = "a small red house by the sea";
    let picture = "https://ark-project.tos-cn-beijing.volces.com/doc_image/seedream4_imagesToimages_1.png";
    let task_id = format!("smoke-{}", std::process::id());
    // An invalid body costs nothing, even where no token is needed.
    let bad = |path| match path {
        GENERATE => json!({"prompt": ""}),
        _ => json!({"urls": [], "task_id": task_id}),
    };
    let forged = Project::new().token(&Project::claims(&format!("{}/auth/v1", target.project), "demo@example.com"));
    let mut tries = Vec::new();
    let mut add = |path, name, request, expect| tries.push(SmokeTry { path, name, request, expect });
    for path in [GENERATE, FACEFLIP] {
        let closed =
            if path == GENERATE { ExpectedAnswer::Refusal("auth_required") } else { ExpectedAnswer::FaceflipAuth };
        add(path, "no token", post(path, None, bad(path)), closed);
        add(path, "forged", post(path, Some(&forged), bad(path)), ExpectedAnswer::Refusal("token_invalid"));
        let Some(token) = token else { continue };
        let post = |body| post(path, Some(token), body);
        match path {
            GENERATE => {
                let events = post(json!({"prompt": prompt, "format": "events"}));
                add(path, "events", events, ExpectedAnswer::Picture);
                add(path, "chat", post(json!({"prompt": prompt})), ExpectedAnswer::Picture);
            }
            _ => {
                add(path, "events", post(json!({"urls": [picture], "task_id": task_id})), ExpectedAnswer::Picture);
            }
        }
        add(path, "bad", post(bad(path)), ExpectedAnswer::Refusal("invalid_request"));
    }
    add(IMAGE, "no token", post(IMAGE, None, bad(GENERATE)), ExpectedAnswer::Refusal("auth_required"));
    if let Some(token) = token {
        let one_shot = post(IMAGE, Some(token), json!({"prompt": prompt})).header("accept", "image/*");
        add(IMAGE, "image", one_shot, ExpectedAnswer::Bytes);
    }
    let log = || client.get(target.url(GENERATIONS));
    add(GENERATIONS, "no token", log(), ExpectedAnswer::Refusal("auth_required"));
    if let Some(token) = token {
        add(GENERATIONS, "log", log().bearer_auth(token), ExpectedAnswer::Log);
    }
    tries
}

impl SmokeTarget {
    /// All routes at one address, which is also that of Supabase.
    fn at(base: &str) -> Self {
        let urls = [GENERATE, IMAGE, FACEFLIP, GENERATIONS].map(|path| (path, format!("{base}{path}")));
        Self { name: base.to_owned(), urls, project: base.to_owned(), origin: None }
    }

    fn url(&self, path: &str) -> &str {
        self.urls.iter().find(|(known, _)| *known == path).map_or("", |(_, url)| url)
    }
}

impl SmokeResult {
    fn route(&self) -> &'static str {
        match self.path {
            GENERATE => "generate",
            IMAGE => "image",
            FACEFLIP => "faceflip",
            _ => "generations",
        }
    }

    /// The mark and the text of the result.
    fn line(&self) -> (&'static str, &str) {
        match &self.verdict {
            Ok(Some(text)) => ("ok", text),
            Ok(None) => ("-", "not at this address; run smoke with that function's address too"),
            Err(text) => ("FAILED", text),
        }
    }

    /// Prints the result and keeps it.
    fn add_to(self, results: &mut Vec<Self>) -> io::Result<()> {
        let (mark, text) = self.line();
        print(&format!("{mark:<6}  {:<11}  {:<8}  {text}", self.route(), self.name))?;
        results.push(self);
        Ok(())
    }
}

fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Signs in the demo user of a local stack. Returns the access token.
async fn sign_in(client: &Client, base: &str) -> Option<String> {
    if !["http://127.0.0.1:", "http://localhost:"].iter().any(|local| base.starts_with(local)) {
        return None;
    }
    let user = json!({"email": "demo@example.com", "password": "demo"});
    let request = client.post(format!("{base}/auth/v1/token?grant_type=password")).body(user.to_string());
    let session = request.send().await.ok()?.bytes().await.ok()?;
    let session: Value = serde_json::from_slice(&session).ok()?;
    session["access_token"].as_str().map(str::to_owned)
}

async fn start(stack: &mut JoinSet<io::Result<()>>) -> io::Result<(String, Option<Stores>)> {
    let options = ServeArgs { speed: 20.0, quiet: true, ..ServeArgs::default() };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let environment = StackEnvironment::of_process();
    let stores = Stores::start(&options, &environment).await?;
    let gate = serve::gate(&options, address).await?;
    let router = serve::routes(&options, &environment, address, None, &stores, &gate).await;
    stack.spawn(async move {
        let _gate = gate;
        dev::serve(listener, router).await
    });
    Ok((format!("http://{address}"), Some(stores)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpectedAnswer {
    Picture,
    /// A picture in the body, or a link to it.
    Bytes,
    /// The user's own log.
    Log,
    /// A problem with this code.
    Refusal(&'static str),
    /// `auth_required`, or `invalid_request` if the route needs no token.
    FaceflipAuth,
}

/// Sends the request. Returns a description of the expected answer, `None` if the route is not at this address, or a
/// description of the mistake.
async fn check(request: RequestBuilder, expect: ExpectedAnswer) -> Result<Option<String>, String> {
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    let begun = Instant::now();
    let mut response = request.send().await.map_err(|error| error_chain("no answer", error))?;
    let status = response.status();
    let content_type = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let (mut bytes, mut first) = (Vec::new(), None);
    while let Some(piece) = response.chunk().await.map_err(|error| error_chain("the answer is incomplete", error))? {
        first.get_or_insert_with(|| begun.elapsed());
        bytes.extend_from_slice(&piece);
    }
    let (first, whole) = (first.unwrap_or_default(), begun.elapsed());
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let events = events(&bytes);
    let problem = problem_text(&bytes, &events);
    let code = problem.split(':').next().unwrap_or_default();
    let refused = |expected: &str| match code == expected {
        true => Ok(Some(format!("{status}, {code}, as expected"))),
        false => Err(format!("{status}, {problem}; expected {expected}")),
    };
    match expect {
        ExpectedAnswer::Refusal(expected) => refused(expected),
        ExpectedAnswer::FaceflipAuth if code == "invalid_request" => {
            Ok(Some("this route needs no token: FACEFLIP_AUTH=anonymous".into()))
        }
        ExpectedAnswer::FaceflipAuth => refused("auth_required"),
        ExpectedAnswer::Log => {
            let log: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            match (log["items"].as_array(), log["rate"]["remaining"].as_u64(), log["rate"]["limit"].as_u64()) {
                (Some(items), Some(left), Some(limit)) => {
                    Ok(Some(format!("{} generations, {left} of {limit} calls left", items.len())))
                }
                _ => Err(format!("{status}, {problem}")),
            }
        }
        ExpectedAnswer::Bytes if content_type.starts_with("image/") => {
            Ok(Some(format!("{content_type}, {} KiB in {whole:.1?}", bytes.len() / 1024)))
        }
        ExpectedAnswer::Bytes => {
            let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            match answer["data"][0]["url"].is_string() {
                true => Ok(Some(format!("a link in {whole:.1?}"))),
                false => Err(format!("{status}, {problem}")),
            }
        }
        ExpectedAnswer::Picture if status != StatusCode::OK => Err(format!("{status}, {problem}")),
        ExpectedAnswer::Picture => {
            let last = events.last().ok_or("an empty stream")?;
            if last.name != "done" && last.data != "[DONE]" {
                return Err(problem);
            }
            if whole > Duration::from_secs(2) && first > whole / 10 * 9 {
                return Err(format!(
                    "not streamed: everything arrived at once after {whole:.1?}; set the Function URL's invoke mode to RESPONSE_STREAM"
                ));
            }
            let (kilobytes, first_ms) = (bytes.len() / 1024, first.as_millis());
            let pictures = pictures(last).await?;
            Ok(Some(format!("first bytes after {first_ms} ms, {kilobytes} KiB in {whole:.1?}{pictures}")))
        }
    }
}

fn error_chain(what: &str, error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    causes.fold(format!("{what}: {error}"), |text, cause| format!("{text}: {cause}"))
}

/// The number of pictures in a `done` event and of those that are kept, as the end of a sentence. Reads one of them.
async fn pictures(last: &StreamEvent) -> Result<String, String> {
    let data: Value = serde_json::from_str(&last.data).unwrap_or_default();
    let Some(images) = data["data"]["images"].as_array() else { return Ok(String::new()) };
    let kept: Vec<_> = images.iter().filter(|image| image["url_expires"].is_string()).collect();
    let Some(link) = kept.first().and_then(|image| image["url"].as_str()) else {
        return Ok(format!(", pictures: {}", images.len()));
    };
    let answer = reqwest::get(link).await.map_err(|error| error_chain("a kept picture cannot be read", error))?;
    match answer.status() {
        StatusCode::OK => Ok(format!(", pictures: {}, kept: {}", images.len(), kept.len())),
        status => Err(format!("a kept picture cannot be read: {status}")),
    }
}

/// The code and sentence of a problem: of an event, an error object or a document.
fn problem_text(bytes: &[u8], events: &[StreamEvent]) -> String {
    let last = events.last().map_or(bytes, |event| event.data.as_bytes());
    let data: Value = serde_json::from_slice(last).unwrap_or_default();
    let problem = [&data["data"], &data["error"], &data].into_iter().find(|problem| problem["code"].is_string());
    match problem {
        Some(problem) => format!("{}: {}", problem["code"], problem["message"]).replace('"', ""),
        None => "the stream is incomplete".into(),
    }
}
