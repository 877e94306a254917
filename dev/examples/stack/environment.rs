//! The variables of this process and, with `--real`, those of `.env`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use reqwest::Url;
use shared::config::{VARIABLES, is_loopback};

/// The file with a developer's settings. Git ignores it.
pub(crate) const FILE: &str = ".env";

/// The product's variables with a value, and a record of those that were read.
pub(crate) struct StackEnvironment {
    process: BTreeMap<String, String>,
    empty: BTreeSet<String>,
    file: BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
}

impl StackEnvironment {
    /// Reads the variables of the process only.
    pub(crate) fn of_process() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
        let ours = std::env::vars().filter(|(name, _)| is_ours(name));
        let (empty, process): (BTreeMap<_, _>, _) = ours.partition(|(_, value)| value.is_empty());
        Self { process, empty: empty.into_keys().collect(), file: BTreeMap::new(), used: RefCell::default() }
    }

    /// Reads `.env` too. A missing file is allowed; an invalid line is an error.
    pub(crate) fn with_file() -> io::Result<Self> {
        Ok(Self { file: read_file(Path::new(FILE))?, ..Self::of_process() })
    }

    /// A variable of the process, otherwise of the file.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        if let Some(value) = self.process.get(name) {
            self.used.borrow_mut().insert(name.to_owned());
            return Some(value.clone());
        }
        self.file.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A variable of any name: of the process, otherwise of the file.
    pub(crate) fn any(&self, name: &str) -> Option<String> {
        #[expect(clippy::disallowed_methods, reason = "the user names the variable")]
        let value = std::env::var(name).ok().filter(|value| !value.is_empty());
        value.or_else(|| self.file.get(name).filter(|value| !value.is_empty()).cloned())
    }

    /// Whether the variable is set, and to nothing.
    pub(crate) fn is_set_empty(&self, name: &str) -> bool {
        let in_file = || !self.process.contains_key(name) && self.file.get(name).is_some_and(String::is_empty);
        self.empty.contains(name) || in_file()
    }

    /// A variable of the process with a loopback URL.
    pub(crate) fn loopback(&self, name: &str) -> Option<String> {
        let is_local = |value: &String| Url::parse(value).is_ok_and(|url| is_loopback(&url));
        self.process.get(name).filter(|value| is_local(value))?;
        self.get(name)
    }

    /// The names of the process's variables that were never read.
    pub(crate) fn unused(&self) -> Vec<&str> {
        let used = self.used.borrow();
        self.process.keys().map(String::as_str).filter(|name| !used.contains(*name)).collect()
    }
}

/// The variables of a file in `.env` format.
pub(crate) fn read_file(path: &Path) -> io::Result<BTreeMap<String, String>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let lines = dotenvy::from_path_iter(path).map_err(io::Error::other)?;
    // The parser's error quotes the line, which may hold a key.
    let unreadable = |_| io::Error::other(format!("{FILE} has an invalid line; each line must be NAME=value"));
    lines.map(|line| line.map_err(unreadable)).collect()
}

fn is_ours(name: &str) -> bool {
    VARIABLES.iter().any(|variable| variable.name == name)
}
