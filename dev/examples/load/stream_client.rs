//! Reads streams, some at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use tokio::task::JoinSet;

/// The end of a stream that is searched for its terminal event.
const TAIL_BYTES: usize = 16 * 1024;

/// The times of one stream, from its request on.
#[derive(Clone, Copy)]
pub(crate) struct StreamTimes {
    /// To the first byte of the body.
    pub(crate) first: Duration,
    /// To the last byte.
    pub(crate) total: Duration,
}

/// Sends `request` until `streams` answers were read, `at_once` at a time. Each must end with `terminal`.
pub(crate) async fn read(
    request: &RequestBuilder,
    terminal: &'static str,
    streams: usize,
    at_once: usize,
) -> Vec<StreamTimes> {
    let left = Arc::new(AtomicUsize::new(streams));
    let mut readers = JoinSet::new();
    for _ in 0..at_once {
        let (request, left) = (request.try_clone().unwrap(), left.clone());
        readers.spawn(async move {
            let mut times = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                times.push(read_one(request.try_clone().unwrap(), terminal).await);
            }
            times
        });
    }
    readers.join_all().await.concat()
}

async fn read_one(request: RequestBuilder, terminal: &str) -> StreamTimes {
    let begun = Instant::now();
    let mut response = request.send().await.unwrap();
    let status = response.status();
    let (mut first, mut tail) = (None, Vec::new());
    while let Some(piece) = response.chunk().await.unwrap() {
        first.get_or_insert_with(|| begun.elapsed());
        keep_tail(&mut tail, &piece);
    }
    let total = begun.elapsed();
    let tail = String::from_utf8_lossy(&tail);
    assert!(status == 200 && tail.contains(terminal), "{status}: {tail}");
    StreamTimes { first: first.unwrap(), total }
}

/// Keeps the last bytes of a body.
pub(crate) fn keep_tail(tail: &mut Vec<u8>, piece: &[u8]) {
    let new = &piece[piece.len().saturating_sub(TAIL_BYTES)..];
    let surplus = (tail.len() + new.len()).saturating_sub(TAIL_BYTES);
    tail.drain(..surplus.min(tail.len()));
    tail.extend_from_slice(new);
}
