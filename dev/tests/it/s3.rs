//! S3 over its wire: the embedded engine, another one if it is configured, and the client of `shared` with faults.

mod client;
mod copies;
mod engine;
mod log;
mod signer;
mod suite;

use std::sync::LazyLock;
use std::time::Duration;

use reqwest::Client;
use shared::config::{CommonConfig, PicturesConfig};
use shared::edge::Pictures;

/// Longer than anything here takes.
const EVER: Duration = Duration::from_secs(60);

/// A browser. It keeps no connection, because every test has a runtime of its own.
static BROWSER: LazyLock<Client> = LazyLock::new(|| Client::builder().pool_max_idle_per_host(0).build().unwrap());

/// The client that a function with these variables has.
fn pictures(variables: &[(&'static str, String)]) -> Pictures {
    Pictures::new(&config(variables), None).unwrap()
}

fn config(variables: &[(&'static str, String)]) -> PicturesConfig {
    let required = |name: &str| match name {
        "SUPABASE_URL" => Some("https://abc.supabase.co".to_owned()),
        "RATE_LIMITS_TABLE" | "LEDGER_TABLE" => Some("table".to_owned()),
        _ => None,
    };
    let set = |name: &str| variables.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    CommonConfig::from_env(&|name| set(name).or_else(|| required(name))).unwrap().pictures
}

/// An engine in memory, which keeps its objects for an hour.
async fn engine() -> dev::s3::S3Engine {
    dev::s3::start(None, Duration::from_secs(3_600)).await.unwrap()
}
