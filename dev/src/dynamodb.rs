//! DynamoDB: an engine inside this process, and a proxy that adds DynamoDB's failures.
//!
//! The engine is dynoxide, which stores items in SQLite. It differs from DynamoDB: it never throttles, every read is
//! consistent, transactions do not conflict, and signatures are not verified. [`Proxy`] sends DynamoDB's error
//! responses.

mod proxy;
mod table;

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dynoxide::server::serve_on;
use dynoxide::{Database, DynoxideError};
use futures_util::future::select;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;
use tracing::subscriber::{NoSubscriber, with_default};

pub use self::proxy::{Proxy, TableCall, TableFault, routes};
pub use self::table::{AttributeType, Index, KeyAttribute, LEDGER, RATE_LIMITS, Table};

/// Name of the file in [`Place::Folder`].
const FILE: &str = "dynamodb.sqlite";
/// Interval between deletions of expired items. DynamoDB takes up to days.
const SWEEP_EVERY: Duration = Duration::from_secs(3);

/// Where an engine stores its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory. The items are lost when the engine ends.
    Memory,
    /// In a file of this folder, for one engine at a time. The folder is created if it is missing. A write is on disk
    /// before its response is sent.
    Folder(PathBuf),
}

/// A running engine on a free port of 127.0.0.1. It ends when dropped.
pub struct Engine {
    /// The address that it listens on.
    pub address: SocketAddr,
    database: Database,
    stop: Option<oneshot::Sender<()>>,
    /// A thread, not a task: the engine blocks its thread.
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Starts an engine. It deletes expired items every few seconds.
///
/// # Errors
/// If the folder, the file or a port cannot be opened.
pub fn start(place: Place) -> io::Result<Engine> {
    let database = match place {
        Place::Memory => Database::memory(),
        Place::Folder(folder) => {
            fs::create_dir_all(&folder)?;
            let file = folder.join(FILE);
            let file = file.to_str().ok_or_else(|| io::Error::other(format!("not Unicode: {}", file.display())))?;
            Database::new(file)
        }
    };
    let database = database.map_err(io::Error::other)?;
    let (stop, stopped) = oneshot::channel();
    let (listening, address) = mpsc::channel();
    let served = database.clone();
    // The engine logs a warning for every failed condition, and failed conditions are normal here.
    let run = || with_default(NoSubscriber::default(), || run(served, listening, stopped));
    let thread = thread::Builder::new().name("dynamodb".into()).spawn(run)?;
    match address.recv() {
        Ok(address) => Ok(Engine { address, database, stop: Some(stop), thread: Some(thread) }),
        Err(_) => Err(match thread.join() {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => io::Error::other("the engine did not start"),
        }),
    }
}

fn run(database: Database, listening: mpsc::Sender<SocketAddr>, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        // `start` waits for this address; it may have been dropped.
        let _ = listening.send(listener.local_addr()?);
        let serving = pin!(serve_on(listener, database.clone()));
        let sweeping = pin!(sweep(database));
        select(select(serving, sweeping), stopped).await;
        Ok(())
    })
}

/// Deletes expired items until it is dropped. Each sweep runs on a blocking thread, so requests are served meanwhile.
async fn sweep(database: Database) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let database = database.clone();
        // A failed sweep is repeated after the next interval.
        let _ = tokio::task::spawn_blocking(move || database.sweep_ttl()).await;
    }
}

impl Engine {
    /// `http://127.0.0.1:<port>`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Creates a table unless it exists.
    ///
    /// # Errors
    /// If a table with this name and other keys exists, or the name is not valid (3 to 255 characters).
    pub fn create(&self, name: &str, table: &Table) -> io::Result<()> {
        let wanted = table.request(name);
        match self.database.create_table(serde_json::from_value(wanted.clone())?) {
            Ok(_) => {}
            Err(DynoxideError::ResourceInUseException(_)) => self.compare(name, &wanted)?,
            Err(error) => return Err(io::Error::other(error)),
        }
        // DynamoDB rejects this request if time to live is already enabled; the engine accepts it.
        let expires = json!({
            "TableName": name,
            "TimeToLiveSpecification": {"AttributeName": table.ttl, "Enabled": true},
        });
        self.database.update_time_to_live(serde_json::from_value(expires)?).map_err(io::Error::other)?;
        Ok(())
    }

    /// Deletes the expired items now. Returns how many were deleted.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn sweep(&self) -> io::Result<usize> {
        self.database.sweep_ttl().map_err(io::Error::other)
    }

    /// Checks that the existing table has the keys of `wanted`.
    fn compare(&self, name: &str, wanted: &Value) -> io::Result<()> {
        let request = serde_json::from_value(json!({"TableName": name}))?;
        let found = serde_json::to_value(self.database.describe_table(request).map_err(io::Error::other)?)?;
        let found = &found["Table"];
        let keys = |table: &Value| {
            let indexes = table["LocalSecondaryIndexes"].as_array().cloned().unwrap_or_default();
            let indexes: Vec<_> = indexes.iter().map(|it| (it["IndexName"].clone(), it["KeySchema"].clone())).collect();
            (table["KeySchema"].clone(), table["AttributeDefinitions"].clone(), indexes)
        };
        if keys(found) == keys(wanted) {
            return Ok(());
        }
        Err(io::Error::other(format!("the table {name} exists with other keys")))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.stop.take());
        // After this the file can be opened again.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
