//! `cargo invoke events/<file>.json`: a real function binary, one event, the answer printed as it comes.
//!
//! The binary runs under a Lambda Runtime API with nothing in its environment but what Lambda has; the upstreams and
//! Supabase are the fakes of this crate. No account, no key, no Docker.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use dev::cut::Cut;
use dev::dynamodb::Place;
use dev::function::Function;
use dev::runtime_api::{Deadline, Failed, Invocation};
use dev::supabase::{self, Project};
use dev::{Running, Shape, ark, image_api, samples};
use serde_json::Value;

/// Runs the function that an event in `events/` is for, and prints its answer while it arrives. `$TOKEN` in an event
/// becomes a fresh token.
#[derive(Parser)]
#[command(name = "cargo invoke", version)]
struct Options {
    /// The event. Its name begins with the function's: `events/generate-stream-chat.json`.
    event: PathBuf,
    /// Run this binary instead of building one, such as `.aws-sam/build/GenerateStreamFunction/bootstrap`.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// How much faster than life the simulators draw; `inf` waits for nothing.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Show long lines whole. They are cut on a terminal only.
    #[arg(long)]
    full: bool,
}

type Failure = Box<dyn Error + Send + Sync>;

/// What the simulators take for a key. It opens nothing else.
const KEY: &str = "local-stack";
const USER: &str = "demo@example.com";
/// Characters of a line on a terminal.
const LINE_CHARS: usize = 200;
/// As the deployed functions have it.
const TIMEOUT: Duration = Duration::from_secs(660);
const FUNCTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions");

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = run(&Options::parse()).await;
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Nobody may be reading; the exit code says it as well.
            let _ = writeln!(io::stderr(), "no whole response: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    if options.speed.is_nan() || options.speed <= 0.0 {
        return Err("--speed must be above 0, such as 1, 10 or inf".into());
    }
    let project = Project::new();
    let stand_ins = stand_ins(options.speed, project.clone()).await?;
    let token = project.token(&Project::claims(&stand_ins.url("/auth/v1"), USER));
    let event = samples::event(&options.event, &token)?;
    let name = function_of(&options.event)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(&name)?,
    };
    let tables = dev::tables::start(Place::Memory)?;
    let (base, ark, dynamodb) = (stand_ins.url(""), stand_ins.url("/api/v3"), tables.url());
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
    let shown = match function.invoke(&event, Deadline::In(TIMEOUT)).await {
        Ok(invocation) => show(invocation, options.full).await,
        Err(failed) => Err(failed.into()),
    };
    if shown.is_err() {
        write!(io::stderr(), "{}", function.log())?;
    }
    shown
}

/// The function whose name the file's begins with.
fn function_of(event: &Path) -> Result<String, Failure> {
    let name = event.file_stem().unwrap_or_default().to_string_lossy();
    let folders = std::fs::read_dir(FUNCTIONS)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut functions: Vec<_> = folders.collect();
    functions.sort();
    let found = functions.iter().find(|function| samples::belongs(&name, function));
    let none = || format!("`{name}` is for none of the functions: {}", functions.join(", "));
    Ok(found.ok_or_else(none)?.clone())
}

/// Builds the function; cargo says where its binary is.
fn build(function: &str) -> Result<PathBuf, Failure> {
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--package", function, "--bin", function])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    if !built.status.success() {
        return Err(format!("{function} does not build").into());
    }
    let messages = built.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let binary = messages.filter_map(|message: Value| Some(message["executable"].as_str()?.into())).next_back();
    binary.ok_or_else(|| format!("cargo names no binary for {function}").into())
}

async fn stand_ins(speed: f64, project: Project) -> io::Result<Running> {
    let image_api = image_api::Options { key: KEY.into(), shape: Shape::Deltas, speed, log: false };
    let ark = ark::Options { key: KEY.into(), speed, log: false };
    dev::start(image_api::routes(image_api).merge(ark::routes(ark)).merge(supabase::routes(project))).await
}

async fn show(mut invocation: Invocation, full: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "HTTP {}", invocation.prelude.status_code)?;
    let mut headers: Vec<_> = invocation.prelude.headers.iter().collect();
    headers.sort();
    headers.iter().try_for_each(|(name, value)| writeln!(out, "{name}: {value}"))?;
    invocation.prelude.cookies.iter().try_for_each(|cookie| writeln!(out, "set-cookie: {cookie}"))?;
    writeln!(out)?;
    let is_picture = invocation.prelude.headers.get("content-type").is_some_and(|kind| kind.starts_with("image/"));
    if is_picture && out.is_terminal() {
        let bytes = invocation.rest().await.map_err(|failed: Failed| -> Failure { failed.into() })?;
        writeln!(out, "({} bytes of a picture)", bytes.len())?;
        return Ok(());
    }
    let mut cut = (out.is_terminal() && !full).then(|| Cut::after(LINE_CHARS));
    while let Some(frame) = invocation.next().await.map_err(|failed: Failed| -> Failure { failed.into() })? {
        match &mut cut {
            Some(cut) => out.write_all(&cut.piece(&frame.bytes))?,
            None => out.write_all(&frame.bytes)?,
        }
        out.flush()?;
    }
    writeln!(out)?;
    Ok(())
}
