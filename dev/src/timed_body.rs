//! Response bodies as timed writes: bytes, and the delay before each write.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// Largest write. A network also splits long lines.
const WRITE_BYTES: usize = 64 * 1024;

/// One write to the socket.
pub(crate) struct TimedWrite {
    /// Delay after the previous write, at speed 1.
    pub(crate) after: Duration,
    /// The bytes.
    pub(crate) bytes: Bytes,
}

impl TimedWrite {
    /// A write `seconds` after the previous one.
    pub(crate) fn after(seconds: f64, bytes: impl Into<Bytes>) -> Self {
        Self { after: Duration::from_secs_f64(seconds), bytes: bytes.into() }
    }

    /// Splits `events` into writes of at most 64 KiB that together take `seconds`.
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

/// A response body that performs `writes`, with their delays divided by `speed`. An error closes the connection. The
/// body runs only while the client reads, and ends if the client disconnects.
pub(crate) fn body<S>(writes: S, speed: f64) -> Body
where
    S: Stream<Item = io::Result<TimedWrite>> + Send + 'static,
{
    Body::from_stream(writes.then(move |step| async move {
        let TimedWrite { after, bytes } = step?;
        let wait = Duration::try_from_secs_f64(after.as_secs_f64() / speed).unwrap_or_default();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        io::Result::Ok(bytes)
    }))
}

/// Seconds since 1970, for members such as `created`.
#[expect(clippy::disallowed_methods, reason = "a real upstream has its own clock")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A request id that is unique in this process.
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
    fn a_long_event_is_split_into_writes_with_equal_delays() {
        let line = Bytes::from(vec![b'x'; 2 * WRITE_BYTES + 1]);
        let writes = TimedWrite::spread([line, Bytes::from_static(b"end")], 2.0);
        let sizes: Vec<_> = writes.iter().map(|step| step.bytes.len()).collect();
        assert_eq!(sizes, [WRITE_BYTES, WRITE_BYTES, 1, 3]);
        assert!(writes.iter().all(|step| step.after == Duration::from_millis(500)));
    }

    #[tokio::test(start_paused = true)]
    async fn speed_divides_the_time() {
        let three_seconds = || {
            let writes = (0..3).map(|_| Ok(TimedWrite::after(1.0, "x")));
            axum::body::to_bytes(body(stream::iter(writes), 2.0), 100)
        };
        let in_time = timeout(Duration::from_millis(1600), three_seconds()).await;
        assert_eq!(in_time.unwrap().unwrap(), "xxx");
        assert!(timeout(Duration::from_millis(1400), three_seconds()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_infinite_speed_never_waits() {
        let writes = [Ok(TimedWrite::after(3600.0, "x"))];
        let all = axum::body::to_bytes(body(stream::iter(writes), f64::INFINITY), 100);
        assert_eq!(timeout(Duration::from_millis(1), all).await.unwrap().unwrap(), "x");
    }
}
