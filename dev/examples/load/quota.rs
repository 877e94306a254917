//! The CPU and memory that a Lambda function of some size has, as Linux control groups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// [A function with this much memory has one vCPU](https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html),
/// and others a part of it.
const MB_OF_ONE_CPU: u64 = 1_769;
/// AWS does not document its period.
const PERIOD_US: u64 = 20_000;
const ROOT: &str = "/sys/fs/cgroup";

/// A group for one process at a time. It is deleted when dropped, after its process has ended.
pub(crate) struct Quota {
    pub(crate) memory_mb: u64,
    groups: Vec<PathBuf>,
}

impl Quota {
    /// # Errors
    /// Without root, and on systems without control groups.
    pub(crate) fn new(memory_mb: u64) -> io::Result<Self> {
        let quota_us = PERIOD_US * memory_mb / MB_OF_ONE_CPU;
        let memory_bytes = (memory_mb * 1024 * 1024).to_string();
        let name = format!("load-{}-{memory_mb}", std::process::id());
        let files: Vec<(PathBuf, String)> = if Path::new(ROOT).join("cgroup.controllers").exists() {
            let group = Path::new(ROOT).join(name);
            vec![(group.join("cpu.max"), format!("{quota_us} {PERIOD_US}")), (group.join("memory.max"), memory_bytes)]
        } else {
            // Version 1. The groups are below those of this process, whose limits hold too.
            let own = fs::read_to_string("/proc/self/cgroup")?;
            let group = |controller: &str| {
                let mut lines = own.lines().map(|line| line.splitn(3, ':').skip(1).collect::<Vec<_>>());
                let path = lines.find_map(|line| line[0].split(',').any(|it| it == controller).then(|| line[1]));
                let path = path.ok_or_else(|| io::Error::other(format!("no control group for {controller}")))?;
                io::Result::Ok(Path::new(ROOT).join(controller).join(path.trim_start_matches('/')).join(&name))
            };
            let (cpu, memory) = (group("cpu")?, group("memory")?);
            vec![
                (cpu.join("cpu.cfs_period_us"), PERIOD_US.to_string()),
                (cpu.join("cpu.cfs_quota_us"), quota_us.to_string()),
                (memory.join("memory.limit_in_bytes"), memory_bytes),
            ]
        };
        let mut quota = Self { memory_mb, groups: Vec::new() };
        for (file, value) in files {
            let group = file.parent().unwrap_or(Path::new(ROOT)).to_owned();
            if !quota.groups.contains(&group) {
                fs::create_dir(&group)?;
                quota.groups.push(group);
            }
            fs::write(file, value)?;
        }
        Ok(quota)
    }

    /// Adds a process.
    pub(crate) fn add(&self, id: u32) -> io::Result<()> {
        self.groups.iter().try_for_each(|group| fs::write(group.join("cgroup.procs"), id.to_string()))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        for group in &self.groups {
            // A group that still has a process remains.
            let _ = fs::remove_dir(group);
        }
    }
}
