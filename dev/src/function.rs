//! Runs a real function binary in an environment like Lambda's.

use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, select};
use serde_json::Value;

use crate::process::{ProcessUse, signal};
use crate::runtime_api::{Deadline, FunctionResponse, InvokeError, RuntimeApi};

/// Polling interval for the process state and the log.
const POLL_EVERY: Duration = Duration::from_millis(10);
/// The longest wait for a line of the log.
const LOG_WAIT: Duration = Duration::from_secs(5);

/// Shorter texts are not searched in the log: they match by chance.
const MIN_PRIVATE_BYTES: usize = 8;

/// A running function. It is killed when dropped; the drop panics if the log contains a key, a token, a prompt or a
/// link of a user.
pub struct Function {
    api: RuntimeApi,
    child: Mutex<Child>,
    log: Arc<Mutex<Vec<u8>>>,
    /// Texts of its environment and events that must not be in the log.
    private: Mutex<Vec<String>>,
}

impl Function {
    /// Starts `binary` under its own Runtime API. Its environment has the variables of Lambda and those of
    /// `environment`, and none of this process. With `AWS_LAMBDA_MAX_CONCURRENCY` it runs several events at once.
    ///
    /// # Errors
    /// If no port can be opened or the binary cannot be run.
    pub async fn spawn(binary: &Path, environment: &[(&str, &str)]) -> io::Result<Self> {
        let api = RuntimeApi::start().await?;
        let (mut reader, writer) = io::pipe()?;
        let name = binary.file_stem().unwrap_or_default();
        let child = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            // Another crate of the build may enable colours; a log on Lambda has none.
            .env("NO_COLOR", "1")
            .envs(environment.iter().copied())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", binary.display())))?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                lock(&written).extend_from_slice(&buffer[..count]);
            }
        });
        let is_key = |name: &str| ["KEY", "SECRET"].iter().any(|end| name.ends_with(end));
        let keys = environment.iter().filter(|(name, _)| is_key(name)).map(|(_, value)| (*value).to_owned());
        Ok(Self { api, child: Mutex::new(child), log, private: Mutex::new(keys.collect()) })
    }

    /// Sends an event and waits until its response has begun.
    ///
    /// # Errors
    /// As [`RuntimeApi::invoke`], and if the process has ended or ends.
    pub async fn invoke(&self, event: &Value, deadline: Deadline) -> Result<FunctionResponse, InvokeError> {
        let ended = async {
            let status = self.ended().await.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(InvokeError(format!("the process has ended: {status}")))
        };
        lock(&self.private).extend(private(event));
        first(self.api.invoke(event, deadline), ended).await
    }

    /// Whether the process is running.
    pub fn is_running(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// The peak resident memory of the process, in bytes. Linux only.
    ///
    /// # Errors
    /// If the process has ended or the system does not report it.
    pub fn peak_resident_bytes(&self) -> io::Result<u64> {
        Ok(self.usage()?.peak_resident_bytes)
    }

    /// What the process uses now. Linux only.
    ///
    /// # Errors
    /// As [`ProcessUse::of`].
    pub fn usage(&self) -> io::Result<ProcessUse> {
        ProcessUse::of(lock(&self.child).id())
    }

    /// Stops the process for this time, as AWS does between two requests.
    ///
    /// # Errors
    /// If the process has ended.
    pub async fn freeze(&self, time: Duration) -> io::Result<()> {
        let id = lock(&self.child).id();
        signal(id, "STOP")?;
        tokio::time::sleep(time).await;
        signal(id, "CONT")
    }

    /// The text written so far to standard output and standard error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&lock(&self.log)).into_owned()
    }

    /// Whether the log contains `text` now or within five seconds.
    pub async fn has_logged(&self, text: &str) -> bool {
        let found = async {
            while !self.log().contains(text) {
                tokio::time::sleep(POLL_EVERY).await;
            }
        };
        tokio::time::timeout(LOG_WAIT, found).await.is_ok()
    }

    async fn ended(&self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = lock(&self.child).try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("api", &self.api).finish_non_exhaustive()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // Both fail if the process has already ended.
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        let log = self.log();
        let logged: Vec<_> = lock(&self.private)
            .iter()
            .filter(|text| text.len() >= MIN_PRIVATE_BYTES && log.contains(text.as_str()))
            .cloned()
            .collect();
        assert!(logged.is_empty() || thread::panicking(), "the log contains {logged:?}:\n{log}");
    }
}

/// The token of an event, and the prompt and links in its body.
fn private(event: &Value) -> Vec<String> {
    let token = event["headers"]["authorization"].as_str().and_then(|value| value.split_once(' '));
    let body: Value = serde_json::from_str(event["body"].as_str().unwrap_or_default()).unwrap_or_default();
    let lists = ["urls", "image_inputs"].iter().filter_map(|name| body[name].as_array()).flatten();
    let texts = lists.chain([&body["prompt"]]).filter_map(Value::as_str);
    token.map(|(_, token)| token).into_iter().chain(texts).map(str::to_owned).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    match select(pin!(one), pin!(other)).await {
        Either::Left((value, _)) | Either::Right((value, _)) => value,
    }
}
