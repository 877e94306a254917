//! An answer as timed writes: what goes to the socket, and how long after the write before it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// A network hands over a long line in pieces; ours are at most this long.
const WRITE_BYTES: usize = 64 * 1024;

/// One write to the socket.
pub(crate) struct Step {
    /// How long after the write before it, at speed 1.
    pub(crate) after: Duration,
    /// What is written.
    pub(crate) bytes: Bytes,
}

impl Step {
    /// A write that follows the one before it after `seconds`.
    pub(crate) fn after(seconds: f64, bytes: impl Into<Bytes>) -> Self {
        Self { after: Duration::from_secs_f64(seconds), bytes: bytes.into() }
    }

    /// `events` as writes of at most 64 KiB that together take `seconds`.
    pub(crate) fn spread(events: impl IntoIterator<Item = Bytes>, seconds: f64) -> Vec<Self> {
        let mut writes = Vec::new();
        for mut event in events {
            while event.len() > WRITE_BYTES {
                writes.push(event.split_to(WRITE_BYTES));
            }
            writes.push(event);
        }
        let each = seconds / writes.len().max(1) as f64;
        writes.into_iter().map(|bytes| Self::after(each, bytes)).collect()
    }
}

/// A response body that performs `steps`, `speed` times as fast as they say. An error cuts the
/// connection. Nothing runs ahead of the reader, and a reader who leaves ends it.
pub(crate) fn body<S>(steps: S, speed: f64) -> Body
where
    S: Stream<Item = io::Result<Step>> + Send + 'static,
{
    Body::from_stream(steps.then(move |step| async move {
        let Step { after, bytes } = step?;
        let wait = Duration::try_from_secs_f64(after.as_secs_f64() / speed).unwrap_or_default();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        io::Result::Ok(bytes)
    }))
}

/// Seconds since 1970, for the `created` members.
#[expect(clippy::disallowed_methods, reason = "a real upstream tells its own time")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A request id that this process has not used before.
pub(crate) fn request_id() -> String {
    static REQUESTS: AtomicU64 = AtomicU64::new(1);
    format!("{}{:010}", unix_seconds(), REQUESTS.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_long_event_is_cut_into_writes_that_share_the_time() {
        let line = Bytes::from(vec![b'x'; 2 * WRITE_BYTES + 1]);
        let steps = Step::spread([line, Bytes::from_static(b"end")], 2.0);
        let sizes: Vec<_> = steps.iter().map(|step| step.bytes.len()).collect();
        assert_eq!(sizes, [WRITE_BYTES, WRITE_BYTES, 1, 3]);
        assert!(steps.iter().all(|step| step.after == Duration::from_millis(500)));
    }

    #[tokio::test(start_paused = true)]
    async fn speed_divides_the_time() {
        let three_seconds = || {
            let steps = (0..3).map(|_| Ok(Step::after(1.0, "x")));
            axum::body::to_bytes(body(stream::iter(steps), 2.0), 100)
        };
        let in_time = timeout(Duration::from_millis(1600), three_seconds()).await;
        assert_eq!(in_time.unwrap().unwrap(), "xxx");
        assert!(timeout(Duration::from_millis(1400), three_seconds()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_infinite_speed_never_waits() {
        let steps = [Ok(Step::after(3600.0, "x"))];
        let all = axum::body::to_bytes(body(stream::iter(steps), f64::INFINITY), 100);
        assert_eq!(timeout(Duration::from_millis(1), all).await.unwrap().unwrap(), "x");
    }
}
