//! The log lines of one test, as Lambda writes them: JSON. Only for tests on one thread.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dev::thread_log::set_thread_log;
use serde_json::Value;
use tracing::subscriber::DefaultGuard;

/// Collects the lines that this thread writes until it is dropped.
pub(crate) struct Log {
    written: Written,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Written {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Writing a line with this text panics, once.
    panics_at: Arc<Mutex<Option<&'static str>>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self::start(None)
    }

    /// The code that writes the first line with this text panics there. The line is then written twice.
    pub(crate) fn that_panics_at(text: &'static str) -> Self {
        Self::start(Some(text))
    }

    fn start(panics_at: Option<&'static str>) -> Self {
        let written = Written { panics_at: Arc::new(Mutex::new(panics_at)), ..Written::default() };
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::INFO);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        Self { written, _guard: set_thread_log(subscriber) }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.written.bytes().clone()).unwrap()
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines with this text.
    pub(crate) fn with(&self, text: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line.to_string().contains(text)).collect()
    }

    /// The summary line of the only request that was settled.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        let mut summaries = self.summaries();
        assert_eq!(summaries.len(), 1, "{}", self.text());
        summaries.remove(0)
    }

    /// The summary lines of requests that were settled.
    pub(crate) fn summaries(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| !line["bytes_in"].is_null()).collect()
    }

    /// Lines that need an operator.
    pub(crate) fn alarms(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["alarm"] == true).collect()
    }

    /// Lines of this level and above it.
    pub(crate) fn of_level(&self, level: &str) -> Vec<Value> {
        let rank = |level: &str| ["INFO", "WARN", "ERROR"].iter().position(|known| *known == level).unwrap();
        self.lines().into_iter().filter(|line| rank(line["level"].as_str().unwrap()) >= rank(level)).collect()
    }
}

impl Written {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        let is_in_line = |text: &mut &str| String::from_utf8_lossy(bytes).contains(*text);
        let fatal = self.panics_at.lock().unwrap_or_else(PoisonError::into_inner).take_if(is_in_line);
        assert!(fatal.is_none(), "on purpose");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
