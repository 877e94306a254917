//! `cargo dev`: the product on one port of this machine, without an account or a key.
//!
//! The handlers are the ones that Lambda runs. Supabase and the upstreams are the fakes of this crate, or the real ones
//! with `--real`.

mod check;
mod check_bucket;
mod credits;
mod doctor;
mod environment;
mod label;
mod page;
mod serve;
mod setup;
mod smoke;
mod stores;

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use dev::Shape;
use dev::fault::StackFault;
use tokio::net::TcpListener;

use environment::StackEnvironment;
use stores::Stores;

/// Run the whole product on this machine. Then open the printed address in a browser, or paste a printed command.
#[derive(Parser)]
#[command(name = "cargo dev", bin_name = "cargo dev", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Users: demo@example.com and demo+<word>@example.com. Password: demo.")]
struct Command {
    #[command(subcommand)]
    action: Option<StackAction>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Args)]
struct ServeArgs {
    /// Port on 127.0.0.1; 0 selects a free one.
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Also listen on this address of this machine, for a phone on the same network; 0.0.0.0 finds it. Everyone on that
    /// network can then use the stack.
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// Speed of the fake upstreams: 1 is that of real ones, 10 is ten times as fast, `inf` never waits.
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// How the fake upstreams send a picture. A request overrides it with the model `<model>@<shape>`.
    #[arg(long, default_value_t = Shape::Deltas, value_parser = shapes())]
    shape: Shape,
    /// Store limits, log, credits and pictures in this folder. Without it they are lost when the stack ends.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A fault of every request, such as first-upstream: its calls go to the second image upstream. The numbers are those
    /// of docs/faults.md. A request chooses another with the header `x-dev-fault`.
    #[arg(long, value_parser = faults())]
    fault: Option<StackFault>,
    /// Print the address only.
    #[arg(long)]
    quiet: bool,
    /// Call the real upstreams with the keys of the environment or of `.env`. This costs money. Users are those of
    /// SUPABASE_URL if it is set there, otherwise the demo users.
    #[arg(long)]
    real: bool,
    /// Publishable key of the project in SUPABASE_URL. The page signs in with it.
    #[arg(long, value_name = "KEY", default_value = "")]
    supabase_key: String,
}

#[derive(Subcommand)]
enum StackAction {
    /// Ask for addresses and keys and write them to `.env`.
    Setup,
    /// Check that the environment and `.env` have everything for the real upstreams, and try PICTURES_BUCKET.
    Check,
    /// Ask an upstream for one picture, which it bills, and print what its answer is and the settings for it.
    Doctor(doctor::DoctorArgs),
    /// Print the labels of a picture: the implicit label of AI content, the digital source type, and whether it has C2PA.
    Label {
        /// A PNG, JPEG, WebP or GIF file.
        file: PathBuf,
    },
    /// Manage the users' credits. They are used with CREDITS=on.
    Credits {
        #[command(subcommand)]
        action: CreditsAction,
    },
    /// Call every route and print the results. On a deployed function this costs money.
    Smoke(smoke::SmokeArgs),
}

#[derive(Subcommand)]
enum CreditsAction {
    /// Add credits to a user of a running stack.
    Grant {
        /// E-mail address of a demo user, such as demo@example.com, or a user id.
        user: String,
        /// Number of credits to add.
        credits: u32,
        /// Address of the stack.
        #[arg(long, default_value = "http://127.0.0.1:8787")]
        url: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Command::parse();
    let result = match command.action {
        None => serve(command.serve).await.map(|()| true),
        Some(StackAction::Setup) => setup::run().map(|()| true),
        Some(StackAction::Check) => check::run().await,
        Some(StackAction::Doctor(options)) => doctor::run(options).await,
        Some(StackAction::Label { file }) => label::run(&file),
        Some(StackAction::Credits { action: CreditsAction::Grant { user, credits, url } }) => {
            credits::grant(&url, &user, credits).await.and_then(|result| print(&result)).map(|()| true)
        }
        Some(StackAction::Smoke(options)) => smoke::run(options).await,
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: ServeArgs) -> io::Result<()> {
    if !options.quiet {
        let log = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(tracing::Level::INFO);
        log.with_target(false).with_ansi(io::stderr().is_terminal()).init();
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await.map_err(|error| {
        let port = options.port;
        io::Error::new(error.kind(), format!("port {port} of 127.0.0.1 cannot be opened ({error}); try --port 0"))
    })?;
    let address = listener.local_addr()?;
    let host = options.host.map(page::on_network).transpose()?.filter(|host| *host != Ipv4Addr::LOCALHOST);
    let environment = if options.real { StackEnvironment::with_file()? } else { StackEnvironment::of_process() };
    let stores = Stores::start(&options, &environment).await?;
    if host.is_some() && options.real && !serve::has_own_users(&environment) {
        return Err(io::Error::other(
            "--host with --real needs SUPABASE_URL: anyone on the network could spend money as a demo user",
        ));
    }
    let gate = serve::gate(&options, address).await?;
    let router = serve::routes(&options, &environment, address, host, &stores, &gate).await;
    let on_network = match host {
        None => None,
        Some(host) => Some(TcpListener::bind((host, address.port())).await.map_err(|error| {
            io::Error::new(error.kind(), format!("port {} of {host} cannot be opened ({error})", address.port()))
        })?),
    };
    serve::announce(&options, &environment, address, host, &stores)?;
    match on_network {
        None => dev::serve(listener, router).await,
        Some(other) => tokio::try_join!(dev::serve(listener, router.clone()), dev::serve(other, router)).map(|_| ()),
    }
}

impl Default for ServeArgs {
    fn default() -> Self {
        let (shape, speed) = (Shape::Deltas, 1.0);
        let (data, fault, supabase_key) = (None, None, String::new());
        Self { port: 0, host: None, speed, shape, data, fault, quiet: false, real: false, supabase_key }
    }
}

/// The names of the shapes, with their descriptions.
fn shapes() -> impl TypedValueParser<Value = Shape> {
    let names = Shape::ALL.iter().map(|shape| PossibleValue::new(shape.name()).help(shape.description()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Shape>())
}

/// The names of the faults, with their descriptions.
fn faults() -> impl TypedValueParser<Value = StackFault> {
    let names = StackFault::all().map(|fault| PossibleValue::new(fault.name()).help(fault.description()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<StackFault>())
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if speed > 0.0 => Ok(speed),
        _ => Err("must be a number above 0, such as 1, 10 or inf".into()),
    }
}

fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

#[expect(clippy::print_stderr, reason = "a command prints why it failed")]
fn print_error(error: &io::Error) {
    eprintln!("cargo dev: {error}");
}
