//! The limits of a hosted Lambda.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dev::runtime_api::ProcessStep;
use tokio::time::timeout;

use super::*;

const MIB: usize = 1024 * 1024;
const MAX_EVENT_BYTES: usize = 6_291_456;
const MAX_BUFFERED_BYTES: usize = 6_291_556;
/// Nothing happens within it that must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

impl Platform {
    /// With a process whose steps are noted.
    async fn controlled() -> (Self, Arc<Mutex<Vec<ProcessStep>>>) {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let noted = steps.clone();
        let control = move |step| noted.lock().unwrap().push(step);
        let api = RuntimeApi::hosted(Some(Box::new(control))).await.unwrap();
        (Self { api, client: Client::new() }, steps)
    }

    /// Without a process.
    async fn hosted() -> Self {
        Self { api: RuntimeApi::hosted(None).await.unwrap(), client: Client::new() }
    }

    /// Whether there is no event.
    async fn waits(&self) -> bool {
        let waits = timeout(A_WHILE, self.next()).await.is_err();
        // Until the platform knows that this request has ended: it would get the next event.
        tokio::time::sleep(A_WHILE).await;
        waits
    }

    async fn answers(&self) {
        let next = self.next().await;
        assert_eq!(self.respond(&next, vec![Bytes::from_static(ANSWER)]).await.unwrap().status(), 202);
    }
}

fn head() -> Bytes {
    Bytes::from_static(&ANSWER[..ANSWER.len() - b"one\0two".len()])
}

#[tokio::test]
async fn an_event_over_6_mb_is_answered_by_the_platform() {
    let platform = Platform::hosted().await;
    // Two quotes.
    let event = |json_bytes: usize| json!("x".repeat(json_bytes - 2));
    let too_large = event(MAX_EVENT_BYTES + 1);
    let refused = timeout(Duration::from_secs(30), platform.api.invoke(&too_large, SOON)).await;
    let mut refused = refused.expect("it does not wait for the function").unwrap();
    assert_eq!((refused.prelude.status_code, refused.is_streamed), (413, false));
    assert_eq!(refused.prelude.headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&refused.rest().await.unwrap()).unwrap();
    assert_eq!(body, json!({"Message": "Request must be smaller than 6291456 bytes"}));

    let largest = event(MAX_EVENT_BYTES);
    let function = async {
        let next = platform.next().await;
        assert_eq!(next.content_length(), Some(MAX_EVENT_BYTES as u64), "the first event that the function gets");
        platform.respond(&next, vec![Bytes::from_static(ANSWER)]).await.unwrap();
    };
    let client = async { platform.api.invoke(&largest, SOON).await.unwrap().rest().await.unwrap() };
    assert_eq!(tokio::join!(client, function).0, b"one\0two");
}

#[tokio::test]
async fn a_buffered_response_over_6_mb_is_refused() {
    let platform = Platform::hosted().await;
    for (bytes, expected) in [(MAX_BUFFERED_BYTES, 202), (MAX_BUFFERED_BYTES + 1, 413)] {
        let around = json!({"statusCode": 200, "body": ""}).to_string().len();
        let answer = json!({"statusCode": 200, "body": "x".repeat(bytes - around)}).to_string();
        let function = async {
            let next = platform.next().await;
            platform.to(&format!("invocation/{}/response", id(&next))).body(answer).send().await.unwrap().status()
        };
        let client = async { platform.api.invoke(&Value::Null, SOON).await?.rest().await };
        let (answered, status) = tokio::join!(client, function);
        assert_eq!(status, expected);
        match answered {
            Ok(body) => assert_eq!(body.len(), MAX_BUFFERED_BYTES - around),
            Err(failed) => {
                assert_eq!((failed.to_string(), expected), ("the response has more than 6 MB".to_owned(), 413))
            }
        }
    }
}

#[tokio::test]
async fn the_first_6_mb_are_read_at_full_speed_and_the_rest_at_2_mb_a_second() {
    let platform = Platform::hosted().await;
    let function = async {
        let next = platform.next().await;
        let pieces = [head()].into_iter().chain((0..160).map(|_| Bytes::from_static(&[b'x'; 64 * 1024])));
        assert_eq!(platform.respond(&next, pieces.collect()).await.unwrap().status(), 202);
    };
    let client = async {
        let mut response = platform.api.invoke(&Value::Null, SOON).await.unwrap();
        let (mut read, mut at_6_mb, mut end) = (0, response.prelude_at, response.prelude_at);
        while let Some(frame) = response.next().await.unwrap() {
            read += frame.bytes.len();
            end = frame.at;
            if read <= 6 * MIB {
                at_6_mb = frame.at;
            }
        }
        assert_eq!(read, 10 * MIB);
        (at_6_mb - response.prelude_at, end - at_6_mb)
    };
    let ((fast, slow), ()) = tokio::join!(client, function);
    assert!(slow >= Duration::from_millis(1900) && slow < Duration::from_secs(10), "{slow:?}");
    assert!(fast < slow, "6 MB in {fast:?}, 4 MB in {slow:?}");
}

/// The clock stands still while bytes are on their way.
#[tokio::test(start_paused = true)]
async fn a_stream_is_cut_at_200_mb_and_its_writer_waits_for_the_platform() {
    let (platform, written) = (Platform::hosted().await, Arc::new(AtomicUsize::new(0)));
    let function = async {
        let next = platform.next().await;
        let written = written.clone();
        let pieces = stream::iter(0..).map(move |_| {
            written.fetch_add(1, Ordering::Relaxed);
            io::Result::Ok(Bytes::from_static(&[b'x'; MIB]))
        });
        let body = stream::iter([Ok(head())]).chain(pieces);
        // The platform may close the connection before it has read everything.
        platform.post(&next, Body::wrap_stream(body)).await.map(|response| response.status())
    };
    let client = async {
        #[expect(clippy::disallowed_methods, reason = "measures how long it takes")]
        let begun = tokio::time::Instant::now();
        let mut response = platform.api.invoke(&Value::Null, Deadline::Unknown).await.unwrap();
        let mut read = 0;
        let cut = loop {
            match response.next().await {
                Ok(frame) => read += frame.unwrap().bytes.len(),
                Err(cut) => break cut,
            }
            assert!(read <= 200 * MIB, "{read}");
            let ahead = written.load(Ordering::Relaxed) * MIB - read;
            assert!(ahead < 32 * MIB, "{ahead} bytes are written and not read");
        };
        assert_eq!(cut.to_string(), "the response is truncated");
        (read, begun.elapsed())
    };
    let (status, (read, took)) = tokio::join!(function, client);
    assert!(read > 198 * MIB, "{read}");
    // 194 MB at 2 MB a second.
    assert!(took >= Duration::from_secs(96) && took < Duration::from_secs(100), "{took:?}");
    assert!(status.as_ref().map_or(true, |status| *status == 413), "{status:?}");
}

#[tokio::test]
async fn the_process_is_frozen_while_no_event_waits_and_has_one_invocation_at_a_time() {
    use ProcessStep::{Continue, Freeze};
    let (platform, steps) = Platform::controlled().await;
    let seen = || steps.lock().unwrap().clone();
    assert!(platform.waits().await);
    assert_eq!(seen(), [Freeze]);

    let invoke = async || platform.api.invoke(&Value::Null, SOON).await.unwrap().rest().await.unwrap();
    let function = async {
        let first = platform.next().await;
        assert_eq!(seen().last(), Some(&Continue), "it runs before it gets the event");
        assert!(platform.waits().await, "the second event waits for the first invocation");
        let begun = platform.respond(&first, vec![Bytes::from_static(ANSWER)]);
        assert_eq!(begun.await.unwrap().status(), 202);
        platform.answers().await;
        let frozen = seen().into_iter().filter(|step| *step == Freeze).count();
        assert_eq!(frozen, 1, "it is not frozen while an event waits");
    };
    tokio::join!(invoke(), invoke(), function);
    assert!(platform.waits().await);
    assert_eq!(seen().last(), Some(&Freeze));
}

#[tokio::test]
async fn a_process_that_reaches_its_deadline_is_replaced() {
    const SHORT: Duration = Duration::from_millis(400);
    let (platform, steps) = Platform::controlled().await;
    let replaced = || steps.lock().unwrap().iter().filter(|step| **step == ProcessStep::Replace).count();
    #[expect(clippy::disallowed_methods, reason = "measures how long it takes")]
    let begun = Instant::now();

    let (failed, _) = tokio::join!(platform.api.invoke(&Value::Null, Deadline::In(SHORT)), platform.next());
    assert_eq!(failed.unwrap_err().to_string(), "the function has reached its deadline");
    assert_eq!(replaced(), 1);
    assert!(begun.elapsed() >= SHORT);

    let stalls = async {
        let next = platform.next().await;
        let begun = stream::iter([Ok(head()), Ok("one".into())]).chain(stream::pending::<io::Result<Bytes>>());
        platform.post(&next, Body::wrap_stream(begun)).await.map(|response| response.status())
    };
    let client = async {
        let mut response = platform.api.invoke(&Value::Null, Deadline::In(SHORT)).await.unwrap();
        assert_eq!(response.rest().await.unwrap_err().to_string(), "the response is truncated");
    };
    let (_, ()) = tokio::join!(stalls, client);
    assert_eq!(replaced(), 2);

    // One that ends in time is not replaced later, nor one without a known deadline.
    for deadline in [Deadline::In(SHORT), Deadline::Unknown] {
        let invoke = async { platform.api.invoke(&Value::Null, deadline).await.unwrap().rest().await.unwrap() };
        tokio::join!(invoke, platform.answers());
    }
    tokio::time::sleep(SHORT + A_WHILE).await;
    assert_eq!(replaced(), 2);
}
