//! What a process uses, from `/proc`, and signals to it. Linux only.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

/// One clock tick of `/proc`, the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What a process uses at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessUse {
    /// Resident memory.
    pub resident_bytes: u64,
    /// The largest resident memory so far.
    pub peak_resident_bytes: u64,
    /// Open files and sockets.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Whether a signal has stopped it.
    pub is_stopped: bool,
}

impl ProcessUse {
    /// Reads it for the process with this id.
    ///
    /// # Errors
    /// If the process has ended or the system does not report it.
    pub fn of(id: u32) -> io::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.trim().split(' ').next());
            let number = line.and_then(|number| number.parse::<u64>().ok());
            number.ok_or_else(|| io::Error::other(format!("no {name}")))
        };
        Ok(Self {
            resident_bytes: number("VmRSS:")? * 1024,
            peak_resident_bytes: number("VmHWM:")? * 1024,
            descriptors: fs::read_dir(format!("/proc/{id}/fd"))?.count(),
            threads: number("Threads:")? as usize,
            is_stopped: status.lines().any(|line| line.starts_with("State:\tT")),
        })
    }
}

/// The CPU time of the process with this id, in user and system mode, rounded to 10 ms.
///
/// # Errors
/// If the process has ended or the system does not report it.
pub fn cpu_time(id: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The second field is a name that may contain spaces; `utime` and `stime` are the 14th and 15th.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(11).take(2);
    let ticks = fields.map(str::parse::<u32>).sum::<Result<u32, _>>().map_err(io::Error::other)?;
    Ok(TICK * ticks)
}

/// Sends a signal, such as `STOP`, to the process with this id.
///
/// # Errors
/// If there is no such process or no program `kill`.
pub fn signal(id: u32, name: &str) -> io::Result<()> {
    let status = Command::new("kill").args([format!("-{name}"), id.to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("kill: {status}"))) }
}
