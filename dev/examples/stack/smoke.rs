//! `cargo dev smoke`: runs every route and says what came.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dev::client::{Event, events};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::environment::Environment;
use crate::{Serve, serve};

/// A picture may take minutes.
const WAIT: Duration = Duration::from_secs(660);
const GENERATE: &str = "/api/generate-stream";
const FACEFLIP: &str = "/api/v1/faceflip/generate/stream";

/// Runs every route at `url`, or of a local stack. Returns whether all is well.
pub(crate) async fn run(url: Option<String>, token: Option<String>) -> io::Result<bool> {
    let mut stack = JoinSet::new();
    let base = match url {
        // The outputs of a deployment name a route's whole address.
        Some(url) => [GENERATE, FACEFLIP]
            .iter()
            .fold(url.trim_end_matches('/'), |url, path| url.strip_suffix(path).unwrap_or(url))
            .to_owned(),
        None => start(&mut stack).await?,
    };
    let client = Client::builder().timeout(WAIT).build().map_err(io::Error::other)?;
    let post = |path: &str, body: Value| {
        let request = client.post(format!("{base}{path}")).header("content-type", "application/json");
        let request = request.body(body.to_string());
        match &token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    let prompt = "a small red house by the sea";
    let picture = "https://ark-project.tos-cn-beijing.volces.com/doc_image/seedream4_imagesToimages_1.png";
    let task_id = format!("smoke-{}", std::process::id());
    let tries = [
        ("events", post(GENERATE, json!({"prompt": prompt, "format": "events"})), Expect::Picture),
        ("chat", post(GENERATE, json!({"prompt": prompt})), Expect::Picture),
        ("refused", post(GENERATE, json!({"prompt": ""})), Expect::Refusal),
        ("faceflip", post(FACEFLIP, json!({"urls": [picture], "task_id": task_id})), Expect::Picture),
        ("refused", post(FACEFLIP, json!({"urls": [], "task_id": task_id})), Expect::Refusal),
    ];
    let mut out = io::stdout().lock();
    writeln!(out, "{base}")?;
    let mut all_well = true;
    let mut found = 0;
    for (name, request, expect) in tries {
        let verdict = look(request, expect).await;
        let (mark, text) = match &verdict {
            Ok(Some(text)) => ("ok    ", text.clone()),
            Ok(None) => ("-     ", "not at this address: each deployed function has its own".into()),
            Err(text) => ("FAILED", text.clone()),
        };
        writeln!(out, "{mark}  {name:<9} {text}")?;
        out.flush()?;
        all_well &= verdict.is_ok();
        found += usize::from(matches!(verdict, Ok(Some(_))));
    }
    Ok(all_well && found > 0)
}

async fn start(stack: &mut JoinSet<io::Result<()>>) -> io::Result<String> {
    let options = Serve { port: 0, speed: 20.0, shape: dev::Shape::Deltas, quiet: true, real: false };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let router = serve::routes(&options, &Environment::read()?, address);
    stack.spawn(dev::serve(listener, router));
    Ok(format!("http://{address}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Picture,
    Refusal,
}

/// What came, `None` if the route is elsewhere, or what is wrong.
async fn look(request: RequestBuilder, expect: Expect) -> Result<Option<String>, String> {
    #[expect(clippy::disallowed_methods, reason = "this measures")]
    let begun = Instant::now();
    let mut response = request.send().await.map_err(|error| chain("no answer", error))?;
    let status = response.status();
    let (mut bytes, mut first) = (Vec::new(), None);
    while let Some(piece) = response.chunk().await.map_err(|error| chain("cut", error))? {
        first.get_or_insert_with(|| begun.elapsed());
        bytes.extend_from_slice(&piece);
    }
    let (first, whole) = (first.unwrap_or_default(), begun.elapsed());
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let events = events(&bytes);
    match expect {
        Expect::Refusal if status == StatusCode::BAD_REQUEST => Ok(Some(format!("{status}, as it should be"))),
        Expect::Refusal => Err(format!("{status} where 400 was expected")),
        Expect::Picture if status != StatusCode::OK => Err(format!("{status}: {}", what_is_said(&bytes, &events))),
        Expect::Picture => {
            let last = events.last().ok_or("an empty stream")?;
            if last.name != "done" && last.data != "[DONE]" {
                return Err(what_is_said(&bytes, &events));
            }
            if whole > Duration::from_secs(2) && first > whole / 10 * 9 {
                return Err(format!(
                    "all of it came at once after {whole:.1?}: is the Function URL's invoke mode RESPONSE_STREAM?"
                ));
            }
            let (kilobytes, first_ms) = (bytes.len() / 1024, first.as_millis());
            Ok(Some(format!("first bytes after {first_ms} ms, {kilobytes} KiB in {whole:.1?}{}", pictures(last))))
        }
    }
}

fn chain(what: &str, error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    causes.fold(format!("{what}: {error}"), |text, cause| format!("{text}: {cause}"))
}

/// How many pictures a `done` tells of.
fn pictures(last: &Event) -> String {
    let data: Value = serde_json::from_str(&last.data).unwrap_or_default();
    match data["data"]["images"].as_array() {
        Some(images) => format!(", pictures: {}", images.len()),
        None => String::new(),
    }
}

/// The code and sentence of a problem, in whichever form it came.
fn what_is_said(bytes: &[u8], events: &[Event]) -> String {
    let last = events.last().map_or(bytes, |event| event.data.as_bytes());
    let data: Value = serde_json::from_slice(last).unwrap_or_default();
    let problem = [&data["data"], &data["error"], &data].into_iter().find(|problem| problem["code"].is_string());
    match problem {
        Some(problem) => format!("{}: {}", problem["code"], problem["message"]).replace('"', ""),
        None => "the stream broke off".into(),
    }
}
