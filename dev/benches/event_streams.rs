//! Measures how fast event streams are split into events: `cargo bench -p dev --bench event_streams`.
//!
//! Prints MB/s of this project's decoder, which passes on the data in pieces, and of two published crates, which hold each
//! event: `sse-stream`, the fastest one known, and `eventsource-stream`, the most used one. The streams come in pieces of 16
//! KiB. The best of several runs counts: other programs can only make a run slower.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement")]

use std::convert::Infallible;
use std::hint::black_box;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use eventsource_stream::Eventsource;
use futures_util::stream::{self, Stream};
use futures_util::{FutureExt, StreamExt};
use shared::sse::{Decoder, DecoderPart};
use sse_stream::SseByteStream;

const PIECE_BYTES: usize = 16 * 1024;
const PICTURE_BYTES: usize = 4 * 1024 * 1024;
const RUNS: u32 = 7;

fn main() {
    let picture = "A".repeat(PICTURE_BYTES);
    let deltas = |size: usize| -> String { picture.as_bytes().chunks(size).map(event).collect() };
    let streams = [
        ("a picture of 4 MiB in one line", event(picture.as_bytes())),
        ("the same in deltas of 16 KiB", deltas(16 * 1024)),
        ("the same in deltas of 64 bytes", deltas(64)),
        (
            "text in events of a few words",
            event(b"Here is a picture of a bird that sings in the garden.").repeat(50_000),
        ),
    ];
    println!("MB/s{:30} decoder  sse-stream  eventsource-stream", "");
    for (name, text) in streams {
        let pieces: Vec<Bytes> = text.as_bytes().chunks(PIECE_BYTES).map(Bytes::copy_from_slice).collect();
        let rate = |events: &dyn Fn(&[Bytes]) -> usize| {
            let expected = text.matches("\n\n").count();
            let took = (0..RUNS).map(|_| timed(|| assert_eq!(events(&pieces), expected))).min().unwrap();
            text.len() as f64 / 1e6 / took.as_secs_f64()
        };
        println!("{name:34} {:7.0} {:11.0} {:19.0}", rate(&decoder), rate(&sse_stream), rate(&eventsource_stream));
    }
}

/// A chunk of chat completions with this content.
fn event(content: &[u8]) -> String {
    let content = String::from_utf8_lossy(content);
    format!("data: {{\"id\":\"1\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n")
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn decoder(pieces: &[Bytes]) -> usize {
    let (mut decoder, mut events) = (Decoder::new(usize::MAX), 0);
    for piece in pieces {
        let mut piece = &piece[..];
        loop {
            match decoder.step(&mut piece).unwrap() {
                DecoderPart::Idle => break,
                DecoderPart::End => events += 1,
                part => _ = black_box(part),
            }
        }
    }
    events
}

fn sse_stream(pieces: &[Bytes]) -> usize {
    count(SseByteStream::new(received(pieces)))
}

fn eventsource_stream(pieces: &[Bytes]) -> usize {
    count(received(pieces).eventsource())
}

fn received(pieces: &[Bytes]) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin {
    stream::iter(pieces.iter().cloned().map(Ok))
}

/// Nothing is waited for, so the stream is always ready.
fn count<T>(events: impl Stream<Item = T>) -> usize {
    events.map(black_box).count().now_or_never().unwrap()
}
