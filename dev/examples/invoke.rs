//! `cargo invoke events/<file>.json`: runs a real function binary with one event, and prints the response as it arrives.
//!
//! The binary runs under a Lambda Runtime API, with the environment variables of Lambda only. The upstreams and Supabase
//! are the fakes of this crate. It needs no account, no key and no Docker.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use dev::dynamodb::Place;
use dev::function::Function;
use dev::line_shortener::LineShortener;
use dev::runtime_api::{Deadline, FunctionResponse, InvokeError};
use dev::supabase::{self, Project};
use dev::{RunningServer, Shape, ark, image_api, samples};
use serde_json::Value;

/// Run a function with an event from `events/`, and print the response as it arrives. `$TOKEN` in the event is replaced
/// by a valid token.
#[derive(Parser)]
#[command(name = "cargo invoke", bin_name = "cargo invoke", version)]
struct InvokeArgs {
    /// The event. Its file name starts with the function's name: `events/generate-stream-chat.json`.
    event: PathBuf,
    /// Run this binary instead of building one: `.aws-sam/build/GenerateStreamFunction/bootstrap`.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Speed of the fake upstreams: 1 is that of real ones, 10 is ten times as fast, `inf` never waits.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Print long lines completely. By default they are shortened on a terminal.
    #[arg(long)]
    full: bool,
}

type BoxedError = Box<dyn Error + Send + Sync>;

/// The key of the fake upstreams. It is valid nowhere else.
const KEY: &str = "local-stack";
const USER: &str = "demo@example.com";
/// Characters per line on a terminal.
const LINE_CHARS: usize = 200;
/// The timeout of the deployed functions.
const TIMEOUT: Duration = Duration::from_secs(660);
const FUNCTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions");

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = run(&InvokeArgs::parse()).await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Standard error may be closed; the exit code reports the failure too.
            let _ = writeln!(io::stderr(), "cargo invoke: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &InvokeArgs) -> Result<(), BoxedError> {
    if options.speed.is_nan() || options.speed <= 0.0 {
        return Err("--speed must be above 0, such as 1, 10 or inf".into());
    }
    let project = Project::new();
    let fakes = fakes(options.speed, project.clone()).await?;
    let token = project.token(&Project::claims(&fakes.url("/auth/v1"), USER));
    let event = samples::event(&options.event, &token)?;
    let name = function_of(&options.event)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(&name)?,
    };
    let tables = dev::tables::start(Place::Memory)?;
    let (base, ark, dynamodb) = (fakes.url(""), fakes.url("/api/v3"), tables.url());
    let environment = [
        ("AWS_LAMBDA_FUNCTION_NAME", name.as_str()),
        ("SUPABASE_URL", base.as_str()),
        ("IMAGE_API_BASE_URL", base.as_str()),
        ("IMAGE_API_KEY", KEY),
        ("ARK_BASE_URL", ark.as_str()),
        ("ARK_API_KEY", KEY),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.as_str()),
    ];
    let function = Function::spawn(&binary, &[&environment[..], &dev::tables::VARIABLES].concat()).await?;
    let printed = match function.invoke(&event, Deadline::In(TIMEOUT)).await {
        Ok(response) => print(response, options.full).await,
        Err(failed) => Err(failed.into()),
    };
    if printed.is_err() {
        write!(io::stderr(), "{}", function.log())?;
    }
    printed
}

/// The function whose name is the start of the file name.
fn function_of(event: &Path) -> Result<String, BoxedError> {
    let name = event.file_stem().unwrap_or_default().to_string_lossy();
    let folders = std::fs::read_dir(FUNCTIONS)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut functions: Vec<_> = folders.collect();
    functions.sort();
    let found = functions.iter().find(|function| samples::belongs(&name, function));
    let none = || format!("the file name must start with a function's name ({}), not `{name}`", functions.join(", "));
    Ok(found.ok_or_else(none)?.clone())
}

/// Builds the function. Returns the path of the binary as cargo reports it.
fn build(function: &str) -> Result<PathBuf, BoxedError> {
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--package", function, "--bin", function])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    if !built.status.success() {
        return Err(format!("{function} does not compile").into());
    }
    let messages = built.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let binary = messages.filter_map(|message: Value| Some(message["executable"].as_str()?.into())).next_back();
    binary.ok_or_else(|| format!("cargo reported no binary for {function}").into())
}

async fn fakes(speed: f64, project: Project) -> io::Result<RunningServer> {
    let image_api = image_api::ImageApiOptions { key: KEY.into(), shape: Shape::Deltas, speed, log: false };
    let ark = ark::ArkOptions { key: KEY.into(), speed, log: false };
    dev::start(image_api::routes(image_api).merge(ark::routes(ark)).merge(supabase::routes(project))).await
}

async fn print(mut response: FunctionResponse, full: bool) -> Result<(), BoxedError> {
    let mut out = io::stdout().lock();
    writeln!(out, "HTTP {}", response.prelude.status_code)?;
    let mut headers: Vec<_> = response.prelude.headers.iter().collect();
    headers.sort();
    headers.iter().try_for_each(|(name, value)| writeln!(out, "{name}: {value}"))?;
    response.prelude.cookies.iter().try_for_each(|cookie| writeln!(out, "set-cookie: {cookie}"))?;
    writeln!(out)?;
    let is_picture = response.prelude.headers.get("content-type").is_some_and(|kind| kind.starts_with("image/"));
    if is_picture && out.is_terminal() {
        let bytes = response.rest().await.map_err(|error: InvokeError| -> BoxedError { error.into() })?;
        writeln!(out, "(a picture of {} bytes; redirect the output to a file to save it)", bytes.len())?;
        return Ok(());
    }
    let mut shortener = (out.is_terminal() && !full).then(|| LineShortener::new(LINE_CHARS));
    while let Some(frame) = response.next().await.map_err(|error: InvokeError| -> BoxedError { error.into() })? {
        match &mut shortener {
            Some(lines) => out.write_all(&lines.shorten(&frame.bytes))?,
            None => out.write_all(&frame.bytes)?,
        }
        out.flush()?;
    }
    writeln!(out)?;
    Ok(())
}
