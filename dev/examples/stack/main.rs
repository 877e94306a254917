//! `cargo dev`: the product on one port of this machine, with no account and no key.
//!
//! The handlers are the ones that Lambda runs; Supabase and the upstreams are the fakes of this crate, or with `--real`
//! the real ones.

mod check;
mod credits;
mod environment;
mod serve;
mod setup;
mod smoke;

use std::io::{self, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use dev::Shape;
use dev::dynamodb::Engine;
use tokio::net::TcpListener;

use environment::Environment;

/// The whole product on this machine: open the printed address in a browser, or paste the printed command.
#[derive(Parser)]
#[command(name = "cargo dev", bin_name = "cargo dev", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Users: demo@example.com and demo+<word>@example.com, with the password demo.")]
struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Args)]
struct Serve {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// How much faster than life the simulators draw; `inf` waits for nothing.
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// How the simulators send a picture; a model with `@<shape>` behind it asks for another.
    #[arg(long, default_value_t = Shape::Deltas, value_parser = shapes())]
    shape: Shape,
    /// Keep limits, log and credits in this folder, not only until the stack ends.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print nothing but the address.
    #[arg(long)]
    quiet: bool,
    /// Call the real upstreams with the keys of the environment or of `.env`. This costs money. The users are those of
    /// SUPABASE_URL there, or else the demo users.
    #[arg(long)]
    real: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Ask for addresses and keys, and write them to `.env`.
    Setup,
    /// Say what the environment and `.env` lack for the real upstreams.
    Check,
    /// What users can spend where CREDITS=on.
    Credits {
        #[command(subcommand)]
        action: Credits,
    },
    /// Run every route and say what came: of a local stack, or of a deployed function (which costs money).
    Smoke {
        /// Where the routes are; without it a local stack is started.
        url: Option<String>,
        /// The access token of a user; a local stack needs none.
        #[arg(long)]
        token: Option<String>,
    },
}

#[derive(Subcommand)]
enum Credits {
    /// Give a user of a running stack so many credits more.
    Grant {
        /// An e-mail address, such as demo@example.com, or a user id.
        user: String,
        /// How many.
        credits: u32,
        /// Where the stack is.
        #[arg(long, default_value = "http://127.0.0.1:8787")]
        url: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::parse();
    let result = match command.action {
        None => serve(command.serve).await.map(|()| true),
        Some(Action::Setup) => setup::run().map(|()| true),
        Some(Action::Check) => check::run().await,
        Some(Action::Credits { action: Credits::Grant { user, credits, url } }) => {
            credits::grant(&url, &user, credits).await.and_then(|said| say(&said)).map(|()| true)
        }
        Some(Action::Smoke { url, token }) => smoke::run(url, token).await,
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Serve) -> io::Result<()> {
    if !options.quiet {
        let log = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(tracing::Level::INFO);
        log.with_target(false).with_ansi(io::stderr().is_terminal()).init();
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await.map_err(|error| {
        let port = options.port;
        io::Error::new(error.kind(), format!("port {port} of 127.0.0.1 cannot be opened ({error}): try --port 0"))
    })?;
    let address = listener.local_addr()?;
    let environment = if options.real { Environment::with_file()? } else { Environment::of_process() };
    let tables = serve::tables(&options, &environment)?;
    let router = serve::routes(&options, &environment, address, tables.as_ref().map(Engine::url));
    serve::announce(&options, &environment, address)?;
    dev::serve(listener, router).await
}

/// The names of the shapes, with what they are.
fn shapes() -> impl TypedValueParser<Value = Shape> {
    let names = Shape::ALL.iter().map(|shape| PossibleValue::new(shape.name()).help(shape.says()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Shape>())
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if speed > 0.0 => Ok(speed),
        _ => Err("a number above 0 is expected, such as 1, 10 or inf".into()),
    }
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

#[expect(clippy::print_stderr, reason = "a command says why it failed")]
fn complain(error: &io::Error) {
    eprintln!("cargo dev: {error}");
}
