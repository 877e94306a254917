//! A program under its own Runtime API: a function, or the same pass-through in another language.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dev::function::ALLOCATOR;
use dev::process::ProcessUse;
use dev::runtime_api::{Deadline, RuntimeApi};
use serde_json::Value;

use crate::quota::Quota;
use crate::relay::AcknowledgingRelay;
use crate::stream_client::keep_tail;

const TIMEOUT: Duration = Duration::from_secs(660);
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/load");

/// A command that asks for events.
pub(crate) struct LambdaProgram {
    pub(crate) name: &'static str,
    command: Vec<OsString>,
    variables: &'static [(&'static str, &'static str)],
}

impl LambdaProgram {
    /// A function of this workspace.
    pub(crate) fn function(folder: &Path, name: &'static str) -> Self {
        let deployed = folder.join(name).join("bootstrap");
        let binary = if deployed.exists() { deployed } else { folder.join(name) };
        Self { name, command: vec![binary.canonicalize().unwrap().into()], variables: &ALLOCATOR }
    }

    /// The pass-throughs in other languages that this machine can run.
    pub(crate) fn others() -> Vec<Self> {
        let known = [("Node pipe", "node", "lambda_pipe.mjs"), ("Python pipe", "python3", "lambda_pipe.py")];
        known
            .into_iter()
            .filter_map(|(name, program, script)| {
                let program = path_of(program)?;
                let command = vec![program, format!("{SCRIPTS}/{script}").into()];
                Some(Self { name, command, variables: &[] })
            })
            .collect()
    }
}

/// Where this program is, which the shims of version managers hide. Prints a sentence if it is missing.
pub(crate) fn path_of(program: &str) -> Option<OsString> {
    let script = match program {
        "node" => ["-p", "process.execPath"],
        _ => ["-c", "import sys; print(sys.executable)"],
    };
    match Command::new(program).args(script).output() {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).trim().into()),
        _ => {
            println!("({program} is not installed, so it is not measured)");
            None
        }
    }
}

/// A running program. It is killed when dropped.
pub(crate) struct LambdaProcess {
    api: RuntimeApi,
    child: Mutex<Child>,
    spawned: Instant,
    _relay: Option<AcknowledgingRelay>,
}

/// The times of an invocation.
pub(crate) struct InvocationTimes {
    /// From the start of the process to its request for the event. Means nothing but for the first event.
    pub(crate) next: Duration,
    /// From the start of the process to the first byte of the body.
    pub(crate) first: Duration,
    /// From the event to the last byte of the body.
    pub(crate) total: Duration,
}

impl LambdaProcess {
    /// Starts the program: in a quota, or without limits. `acknowledges`: whether the platform acknowledges each segment at
    /// once.
    pub(crate) async fn spawn(
        program: &LambdaProgram,
        variables: &[(&str, String)],
        quota: Option<&Quota>,
        acknowledges: bool,
    ) -> Self {
        let api = RuntimeApi::start().await.unwrap();
        let relay = if acknowledges { Some(AcknowledgingRelay::start(api.address()).await.unwrap()) } else { None };
        let address = relay.as_ref().map_or(api.address(), |relay| relay.address);
        // A shell waits until it is in the quota, and becomes the program then.
        let mut command =
            Command::new(if quota.is_some() { "/bin/sh".as_ref() } else { program.command[0].as_os_str() });
        match quota {
            Some(_) => command.args(["-c", r#"read go; exec "$@""#, "sh"]).args(&program.command),
            None => command.args(&program.command[1..]),
        };
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", program.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", quota.map_or(512, |quota| quota.memory_mb).to_string())
            .envs(program.variables.iter().copied())
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let before = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut spawned = before;
        if let Some(quota) = quota {
            quota.add(child.id()).unwrap();
            spawned = Instant::now();
            child.stdin.take().unwrap().write_all(b"\n").unwrap();
        }
        Self { api, child: Mutex::new(child), spawned, _relay: relay }
    }

    /// Sends an event and reads the whole response, which must end with `terminal`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] if the program has ended; another kind if it answers something else.
    pub(crate) async fn invoke(&self, event: &Value, terminal: &str) -> io::Result<InvocationTimes> {
        let ended = || io::Error::from(io::ErrorKind::NotConnected);
        let times = tokio::select! {
            times = self.answer(event, terminal) => times,
            () = self.ended() => Err(ended()),
        };
        match times {
            // A process that is killed closes its connections first.
            Err(_) if tokio::time::timeout(Duration::from_secs(1), self.ended()).await.is_ok() => Err(ended()),
            times => times,
        }
    }

    async fn answer(&self, event: &Value, terminal: &str) -> io::Result<InvocationTimes> {
        let mut response = self.api.invoke(event, Deadline::In(TIMEOUT)).await.map_err(io::Error::other)?;
        let (mut first, mut tail) = (None, Vec::new());
        while let Some(frame) = response.next().await.map_err(io::Error::other)? {
            first.get_or_insert(frame.at);
            keep_tail(&mut tail, &frame.bytes);
        }
        let (total, tail) = (response.handed_out.elapsed(), String::from_utf8_lossy(&tail));
        match first {
            Some(first) if response.prelude.status_code == 200 && tail.contains(terminal) => {
                Ok(InvocationTimes { next: response.handed_out - self.spawned, first: first - self.spawned, total })
            }
            _ => Err(io::Error::other(format!("{}: {tail}", response.prelude.status_code))),
        }
    }

    async fn ended(&self) {
        while matches!(self.child.lock().unwrap().try_wait(), Ok(None)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        ProcessUse::of(self.child.lock().unwrap().id()).unwrap().peak_resident_bytes
    }
}

impl Drop for LambdaProcess {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        // Both fail if the process has already ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}
