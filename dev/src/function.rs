//! Runs a real function binary in an environment like Lambda's.
//!
//! With `DEV_HOSTED=on` in the environment of the tests, or of `cargo invoke`, every function is hosted: it has the limits of
//! [`RuntimeApi::hosted`].

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
use crate::runtime_api::{Deadline, FunctionResponse, InvokeError, ProcessStep, RuntimeApi};

/// Polling interval for the process state and the log.
const POLL_EVERY: Duration = Duration::from_millis(10);
/// The longest wait for a line of the log.
const LOG_WAIT: Duration = Duration::from_secs(5);

/// The settings of glibc's allocator that `template.yaml` gives to every function.
pub const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "262144")];

/// Shorter texts are not searched in the log: they match by chance.
const MIN_PRIVATE_BYTES: usize = 8;

/// A running function. It is killed when dropped; the drop panics if the log contains a key, a token, a prompt or a
/// link of a user.
///
/// It is one execution environment: further events wait until an invocation has ended.
pub struct Function {
    api: RuntimeApi,
    is_hosted: bool,
    process: SharedProcess,
    log: Arc<Mutex<Vec<u8>>>,
    /// Texts of its environment and events that must not be in the log.
    private: Mutex<Vec<String>>,
}

impl Function {
    /// Starts `binary` under its own Runtime API. Its environment has the variables of Lambda and those of
    /// `environment`, and none of this process. With `AWS_LAMBDA_MAX_CONCURRENCY` it runs several events at once.
    ///
    /// # Errors
    /// If no port can be opened, the binary cannot be run, or `DEV_HOSTED` is not `on`.
    pub async fn spawn(binary: &Path, environment: &[(&str, &str)]) -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "chooses the platform of all tests")]
        let hosted = std::env::var("DEV_HOSTED").ok();
        match hosted.as_deref() {
            None => Self::start(binary, environment, false).await,
            Some("on") => Self::start(binary, environment, true).await,
            Some(_) => Err(io::Error::other("DEV_HOSTED must be `on`")),
        }
    }

    /// As [`Function::spawn`], always hosted: see [`RuntimeApi::hosted`]. With `AWS_LAMBDA_MAX_CONCURRENCY` it is a managed
    /// instance, which is neither frozen nor replaced.
    ///
    /// # Errors
    /// If no port can be opened or the binary cannot be run.
    pub async fn spawn_hosted(binary: &Path, environment: &[(&str, &str)]) -> io::Result<Self> {
        Self::start(binary, environment, true).await
    }

    async fn start(binary: &Path, environment: &[(&str, &str)], is_hosted: bool) -> io::Result<Self> {
        let process = SharedProcess::default();
        let is_managed = environment.iter().any(|(name, _)| *name == "AWS_LAMBDA_MAX_CONCURRENCY");
        let controlled = Arc::clone(&process);
        let control = move |step| {
            if let Some(process) = &mut *lock(&controlled) {
                // Each step fails only if the process has ended.
                let _ = process.control(step);
            }
        };
        let api = match is_hosted {
            false => RuntimeApi::start().await?,
            true if is_managed => RuntimeApi::hosted(None).await?,
            true => RuntimeApi::hosted(Some(Box::new(control))).await?,
        };
        let (mut reader, writer) = io::pipe()?;
        let name = binary.file_stem().unwrap_or_default();
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            // Another crate of the build may enable colours; a log on Lambda has none.
            .env("NO_COLOR", "1")
            .envs(ALLOCATOR)
            .envs(environment.iter().copied())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", binary.display()));
        {
            // Locked until the process is known, because its first request of an event freezes it.
            let mut known = lock(&process);
            let child = command.spawn().map_err(failed)?;
            *known = Some(FunctionProcess { command, child });
        }
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
        Ok(Self { api, is_hosted, process, log, private: Mutex::new(keys.collect()) })
    }

    /// Sends an event and waits until its response has begun.
    ///
    /// # Errors
    /// As [`RuntimeApi::invoke`], and if the process has ended or ends. A hosted function that has ended is started again
    /// before the event.
    pub async fn invoke(&self, event: &Value, deadline: Deadline) -> Result<FunctionResponse, InvokeError> {
        let ended = async {
            let status = self.ended().await.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(InvokeError(format!("the process has ended: {status}")))
        };
        if self.is_hosted
            && !self.is_running()
            && let Some(process) = &mut *lock(&self.process)
        {
            process.control(ProcessStep::Replace).map_err(|error| InvokeError(error.to_string()))?;
        }
        lock(&self.private).extend(private(event));
        first(self.api.invoke(event, deadline), ended).await
    }

    /// Whether the process is running.
    pub fn is_running(&self) -> bool {
        self.with_process(|process| Ok(process.child.try_wait()?.is_none())).unwrap_or(false)
    }

    /// The id of the process.
    ///
    /// # Errors
    /// None while the function is running.
    pub fn id(&self) -> io::Result<u32> {
        self.with_process(|process| Ok(process.child.id()))
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
        ProcessUse::of(self.id()?)
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
            if let Some(status) = self.with_process(|process| process.child.try_wait())? {
                return Ok(status);
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    fn with_process<T>(&self, work: impl FnOnce(&mut FunctionProcess) -> io::Result<T>) -> io::Result<T> {
        let mut process = lock(&self.process);
        work(process.as_mut().ok_or_else(|| io::Error::other("the function is not running"))?)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("api", &self.api).finish_non_exhaustive()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // Taken out, so that no deadline starts another process.
        if let Some(mut process) = lock(&self.process).take() {
            // Both fail if the process has already ended.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
        let log = self.log();
        let logged: Vec<_> = lock(&self.private)
            .iter()
            .filter(|text| text.len() >= MIN_PRIVATE_BYTES && log.contains(text.as_str()))
            .cloned()
            .collect();
        assert!(logged.is_empty() || thread::panicking(), "the log contains {logged:?}:\n{log}");
    }
}

/// The process of a function. It is missing before the start and after the end.
type SharedProcess = Arc<Mutex<Option<FunctionProcess>>>;

struct FunctionProcess {
    command: Command,
    child: Child,
}

impl FunctionProcess {
    fn control(&mut self, step: ProcessStep) -> io::Result<()> {
        match step {
            ProcessStep::Freeze => signal(self.child.id(), "STOP"),
            ProcessStep::Continue => signal(self.child.id(), "CONT"),
            ProcessStep::Replace => {
                self.child.kill()?;
                self.child.wait()?;
                self.child = self.command.spawn()?;
                Ok(())
            }
        }
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
