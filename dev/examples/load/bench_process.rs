//! A server in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use dev::process::{ProcessUse, cpu_time};

/// A running server. It is killed when dropped.
pub(crate) struct BenchProcess {
    child: Child,
    /// `http://127.0.0.1:<port>`.
    pub(crate) url: String,
}

impl BenchProcess {
    /// Starts a server that prints `listening on <url>`.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.by_ref().find_map(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned));
        // A full pipe would stop the server.
        thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.unwrap() }
    }

    /// Starts an action of this program.
    pub(crate) fn action(arguments: &[&str]) -> Self {
        Self::start(Command::new(std::env::current_exe().unwrap()).args(arguments))
    }

    /// The CPU time so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_time(self.child.id()).unwrap()
    }

    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        ProcessUse::of(self.child.id()).unwrap().peak_resident_bytes
    }
}

impl Drop for BenchProcess {
    fn drop(&mut self) {
        // Both fail if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
