//! DynamoDB: an engine inside this process, and a proxy before it that plays its bad days.
//!
//! The engine is dynoxide, which keeps its items in SQLite. It is one machine that is never busy: it throttles nothing,
//! every read is consistent, no transaction meets another one, and signatures are not verified. What DynamoDB says when
//! it fails, [`Proxy`] says.

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

pub use self::proxy::{Call, Fault, Proxy, routes};
pub use self::table::{Index, Key, Kind, LEDGER, RATE_LIMITS, Table};

/// The file in the folder of [`Place::Folder`].
const FILE: &str = "dynamodb.sqlite";
/// The real one takes days; what matters is that an item goes without being deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(3);

/// Where an engine keeps its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory, until it ends.
    Memory,
    /// In a file of this folder, which is made if need be, for one engine at a time. What was answered is kept whatever
    /// happens to the process.
    Folder(PathBuf),
}

/// A running engine, on a free port of 127.0.0.1; ends when dropped.
pub struct Engine {
    /// Where it listens.
    pub address: SocketAddr,
    database: Database,
    stop: Option<oneshot::Sender<()>>,
    /// Not a task: the engine works while its thread waits, which would hold up everything else.
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Starts an engine. It deletes expired items by itself, every few seconds.
///
/// # Errors
/// When the folder or the file cannot be opened, or no port.
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
    // It warns of every condition that fails, which is what conditions are for.
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
        // Whoever started us waits for it.
        let _ = listening.send(listener.local_addr()?);
        let serving = pin!(serve_on(listener, database.clone()));
        let sweeping = pin!(sweep(database));
        select(select(serving, sweeping), stopped).await;
        Ok(())
    })
}

/// Sweeps for ever. Other requests go in between, so this is not done where they are.
async fn sweep(database: Database) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let database = database.clone();
        // What could not be deleted is tried again.
        let _ = tokio::task::spawn_blocking(move || database.sweep_ttl()).await;
    }
}

impl Engine {
    /// `http://127.0.0.1:<port>`, without a slash behind it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a table, unless it is there.
    ///
    /// # Errors
    /// When another table has the name, or DynamoDB would not take it: it has 3 to 255 characters.
    pub fn create(&self, name: &str, table: &Table) -> io::Result<()> {
        let wanted = table.request(name);
        match self.database.create_table(serde_json::from_value(wanted.clone())?) {
            Ok(_) => {}
            Err(DynoxideError::ResourceInUseException(_)) => self.compare(name, &wanted)?,
            Err(error) => return Err(io::Error::other(error)),
        }
        // Here, unlike there, it can be said again.
        let expires = json!({
            "TableName": name,
            "TimeToLiveSpecification": {"AttributeName": table.ttl, "Enabled": true},
        });
        self.database.update_time_to_live(serde_json::from_value(expires)?).map_err(io::Error::other)?;
        Ok(())
    }

    /// Deletes what has expired, now; gives how many items that were.
    ///
    /// # Errors
    /// When the file fails.
    pub fn sweep(&self) -> io::Result<usize> {
        self.database.sweep_ttl().map_err(io::Error::other)
    }

    /// Whether the table that is there has the keys of `wanted`.
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
        Err(io::Error::other(format!("the table {name} is there and has other keys")))
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
        // The file can be opened again as soon as we are gone.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
