use crate::support::Log;

fn write_line() {
    tracing::info!("a line");
}

/// A test of another thread may be the first to reach a line, and have no log.
#[test]
fn a_line_is_logged_after_a_thread_without_a_log_reached_it_first() {
    let log = Log::default();
    let guard = log.record();
    std::thread::spawn(write_line).join().unwrap();
    write_line();
    drop(guard);
    assert_eq!(log.text().matches("a line").count(), 1, "{}", log.text());
}
