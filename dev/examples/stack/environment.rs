//! The variables of this process, and behind them those of `.env`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use shared::config::VARIABLES;

/// The file of a developer's own settings. It is never committed.
pub(crate) const FILE: &str = ".env";

/// What is set, and where.
pub(crate) struct Environment {
    process: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
}

impl Environment {
    /// Reads both. Having no file is fine; a line in it that cannot be read is not.
    pub(crate) fn read() -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
        let process = std::env::vars().filter(|(name, _)| is_ours(name)).collect();
        Ok(Self { process, file: read_file(Path::new(FILE))? })
    }

    /// A variable of the process.
    pub(crate) fn of_process(&self, name: &str) -> Option<String> {
        self.process.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A variable of the process, or else of the file.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.of_process(name).or_else(|| self.file.get(name).filter(|value| !value.is_empty()).cloned())
    }

    /// The keys that are set somewhere.
    pub(crate) fn keys(&self) -> Vec<&'static str> {
        ["IMAGE_API_KEY", "ARK_API_KEY"].into_iter().filter(|name| self.get(name).is_some()).collect()
    }
}

/// The variables of a file in the form of `.env`.
pub(crate) fn read_file(path: &Path) -> io::Result<BTreeMap<String, String>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let lines = dotenvy::from_path_iter(path).map_err(io::Error::other)?;
    // The error of a line quotes it, and a line may hold a key.
    let unreadable = |_| io::Error::other(format!("{FILE} has a line that cannot be read: NAME=value is expected"));
    lines.map(|line| line.map_err(unreadable)).collect()
}

fn is_ours(name: &str) -> bool {
    VARIABLES.iter().any(|variable| variable.name == name)
}
