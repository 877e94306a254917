//! Measures the load, the start, the cost and the memory of the functions. docs/performance.md has the commands.
//!
//! Each program runs in a process of its own. Needs release builds of the functions and of `cargo dev`.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement")]

mod bench_process;
mod cold_start;
mod cost;
mod lambda_process;
mod local_services;
mod memory;
mod pass_through;
mod quota;
mod relay;
mod stream_client;
mod streams;
mod upstream;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use dev::dynamodb::Place;

use crate::upstream::LoadPayload;

/// Measure the functions, and print a table.
#[derive(Parser)]
struct LoadArgs {
    #[command(subcommand)]
    action: LoadAction,
    /// The functions: a folder with a binary of each name, or as `cargo lambda build` writes them.
    #[arg(long, global = true, default_value = "target/release")]
    functions: PathBuf,
}

#[derive(Subcommand)]
enum LoadAction {
    /// CPU, times and memory of streams through `cargo dev`, a bare pass-through and a Node pipe.
    Streams {
        /// How often everything is measured. The tables have the medians.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// From the start of a process to its first `/next` and its first event.
    Start,
    /// Times, memory and price with the CPU and memory of a Lambda function. Needs root.
    Cost,
    /// Peak memory over 100 invocations in each format.
    Memory,
    /// Serves answers with a picture of this size.
    #[command(hide = true)]
    Upstream { payload: LoadPayload },
    /// Serves the tables.
    #[command(hide = true)]
    Tables,
    /// Serves the bucket.
    #[command(hide = true)]
    Bucket,
    /// Passes requests to this address.
    #[command(hide = true)]
    PassThrough { upstream: String },
}

#[tokio::main]
async fn main() {
    let LoadArgs { action, functions } = LoadArgs::parse();
    match action {
        LoadAction::Streams { rounds } => streams::measure(rounds).await,
        LoadAction::Start => cold_start::measure(&functions).await,
        LoadAction::Cost => cost::measure(&functions).await,
        LoadAction::Memory => memory::measure(&functions).await,
        LoadAction::Upstream { payload } => {
            let server = dev::start(upstream::routes(payload)).await.unwrap();
            serve(&server.url("")).await;
        }
        LoadAction::Tables => {
            let engine = dev::tables::start(Place::Memory).unwrap();
            serve(&engine.url()).await;
        }
        LoadAction::Bucket => {
            let engine = dev::s3::start(None, Duration::from_secs(3600)).await.unwrap();
            serve(&engine.url()).await;
        }
        LoadAction::PassThrough { upstream } => {
            let server = dev::start(pass_through::routes(upstream)).await.unwrap();
            serve(&server.url("")).await;
        }
    }
}

/// Prints the address as `cargo dev` does, and runs until the process is killed.
async fn serve(url: &str) {
    println!("listening on {url}");
    std::future::pending().await
}

/// The middle value.
fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|one, other| one.partial_cmp(other).unwrap());
    *values.get(values.len() / 2).unwrap()
}

/// The value that this part of all does not exceed.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
