/// Lets panics log where they happened, and not what they say: a message may quote what it stumbled over.
///
/// For a function's `main`, once the log is there.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let (file, line) = panic.location().map_or(("", 0), |place| (place.file(), place.line()));
        tracing::error!(file, line, "panicked");
    }));
}
