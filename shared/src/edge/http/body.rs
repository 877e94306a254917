use std::convert::Infallible;
use std::iter::Peekable;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::Instrument;

use crate::edge::metrics::{Meter, in_current_request};
use crate::problem::{Code, Problem};

/// A response body that cannot fail and, as a stream, ends in exactly one terminal event.
///
/// The Lambda runtime writes a body's error into the response and continues, and a body whose producer panicked looks
/// like a complete one. Therefore the error type is [`Infallible`], and the body adds the terminal event that a
/// producer omits because it panics or returns early.
///
/// The producer is a separate task, so its deadlines and its settlement do not depend on a client that reads. It is at
/// most one message ahead of the client.
pub struct Body {
    first: Option<Bytes>,
    rest: BodyRest,
    /// `None` if the request is not measured.
    meter: Option<Arc<Meter>>,
}

enum BodyRest {
    End,
    Slices(Peekable<Box<dyn Iterator<Item = Vec<u8>> + Send>>),
    Stream(BodyStream),
}

struct BodyStream {
    messages: mpsc::Receiver<BodyMessage>,
    write_error: WriteError,
}

/// Encodes a problem as the terminal event of a stream.
type WriteError = Box<dyn FnOnce(&Problem) -> Vec<u8> + Send>;

enum BodyMessage {
    Bytes(Bytes),
    Last(Bytes),
    Failed(Box<Problem>),
}

/// The producer's end of a streamed [`Body`].
pub struct Sender {
    messages: mpsc::Sender<BodyMessage>,
    /// Reserved capacity for the last message, which never waits for the client.
    terminal: Option<OwnedPermit<BodyMessage>>,
    stall: Duration,
    is_given_up: bool,
}

impl Sender {
    fn new(stall: Duration) -> (Self, mpsc::Receiver<BodyMessage>) {
        let (messages, receiver) = mpsc::channel(2);
        let terminal = messages.clone().try_reserve_owned().ok();
        (Self { messages, terminal, stall, is_given_up: false }, receiver)
    }

    /// Sends bytes. Waits until the client has read the previous message, and gives the client up after the stall time.
    /// Returns whether the client still reads.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> bool {
        let bytes = bytes.into();
        if !bytes.is_empty() && !self.is_given_up {
            let sent = timeout(self.stall, self.messages.send(BodyMessage::Bytes(bytes))).await;
            self.is_given_up = !matches!(sent, Ok(Ok(())));
        }
        !self.is_given_up
    }

    /// Sends the bytes that end in the terminal event. Does not wait.
    pub fn last(self, bytes: impl Into<Bytes>) {
        self.end(BodyMessage::Last(bytes.into()));
    }

    /// Ends the stream with a problem. Before the first byte it can still become the response's status.
    pub fn fail(self, problem: Problem) {
        self.end(BodyMessage::Failed(Box::new(problem)));
    }

    /// Stops sending: later bytes are dropped, and the stream ends in `stream_interrupted`.
    pub fn give_up(&mut self) {
        self.is_given_up = true;
    }

    /// Whether later bytes are dropped, because the client has left or is too slow.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// Waits until the client has disconnected. A client that stops reading is still connected.
    pub async fn closed(&self) {
        self.messages.closed().await;
    }

    fn end(self, message: BodyMessage) {
        let message = match self.is_given_up {
            true => BodyMessage::Failed(Box::new(Code::StreamInterrupted.into())),
            false => message,
        };
        if let Some(terminal) = self.terminal {
            terminal.send(message);
        }
    }
}

impl Body {
    /// A body that is complete.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { first: Some(bytes.into()), rest: BodyRest::End, meter: None }
    }

    /// A complete body that is made slice by slice as the client reads.
    pub fn slices(slices: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Self {
        let slices: Box<dyn Iterator<Item = Vec<u8>> + Send> = Box::new(slices);
        Self { first: None, rest: BodyRest::Slices(slices.peekable()), meter: None }
    }

    /// A body from `producer`, which runs as a separate task. A client that reads nothing for `stall` is given up.
    /// `write_error` encodes a problem as the terminal event of the stream.
    pub fn stream<F: Future<Output = ()> + Send + 'static>(
        stall: Duration,
        producer: impl FnOnce(Sender) -> F,
        write_error: impl FnOnce(&Problem) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let (sender, messages) = Sender::new(stall);
        spawn(producer(sender));
        let rest = BodyRest::Stream(BodyStream { messages, write_error: Box::new(write_error) });
        Self { first: None, rest, meter: None }
    }

    /// Prepends bytes.
    #[must_use]
    pub fn after(mut self, mut bytes: Vec<u8>) -> Self {
        bytes.extend_from_slice(self.first.as_deref().unwrap_or_default());
        self.first = Some(bytes.into());
        self
    }

    /// Measures what is sent. The record is written before the last bytes.
    #[must_use]
    pub(in crate::edge) fn measured(mut self, meter: Arc<Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Waits at most `hold` for the first bytes, so that a failure before them can become a status.
    ///
    /// The bytes stay in the body. A problem before them ends the body and is returned.
    pub async fn hold(&mut self, hold: Duration) -> Option<Problem> {
        let BodyRest::Stream(stream) = &mut self.rest else { return None };
        let first = timeout(hold, stream.messages.recv()).await.ok()?;
        let problem = match first {
            Some(BodyMessage::Bytes(bytes)) => {
                self.first = Some(bytes);
                return None;
            }
            Some(BodyMessage::Last(bytes)) => {
                self.first = Some(bytes);
                None
            }
            Some(BodyMessage::Failed(problem)) => Some(*problem),
            None => Some(Code::InternalError.into()),
        };
        self.rest = BodyRest::End;
        problem
    }
}

/// Runs work as a separate task and waits for its result. `None` if it panicked.
///
/// If the caller is dropped, the work continues and its sender reports that the client has disconnected. The bytes of
/// that sender are never read.
pub async fn detached<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    work: impl FnOnce(Sender) -> F,
) -> Option<T> {
    let (sender, _receiver) = Sender::new(Duration::MAX);
    spawn(work(sender)).await.ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where work outlives its request: a Sender reports whether the client is connected"
)]
fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    // Boxed, because the work is large and is moved into each future around it.
    tokio::spawn(in_current_request(Box::pin(work)).in_current_span())
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut end = Ok(());
        let bytes: Option<Bytes> = match std::mem::replace(&mut self.rest, BodyRest::End) {
            rest if self.first.is_some() => {
                self.rest = rest;
                self.first.take()
            }
            BodyRest::End => None,
            BodyRest::Slices(mut slices) => {
                let slice = slices.next();
                if slices.peek().is_some() {
                    self.rest = BodyRest::Slices(slices);
                }
                slice.map(Bytes::from)
            }
            BodyRest::Stream(mut stream) => match stream.messages.poll_recv(cx) {
                Poll::Pending => {
                    self.rest = BodyRest::Stream(stream);
                    return Poll::Pending;
                }
                Poll::Ready(Some(BodyMessage::Bytes(bytes))) => {
                    self.rest = BodyRest::Stream(stream);
                    Some(bytes)
                }
                Poll::Ready(Some(BodyMessage::Last(bytes))) => Some(bytes),
                Poll::Ready(message) => {
                    let problem = match message {
                        Some(BodyMessage::Failed(problem)) => *problem,
                        _ => Code::InternalError.into(),
                    };
                    end = Err(problem.code);
                    Some((stream.write_error)(&problem).into())
                }
            },
        };
        if let Some(meter) = &self.meter {
            meter.sent(bytes.as_ref().map_or(0, Bytes::len));
            if self.is_end_stream() {
                meter.write(end);
            }
        }
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && matches!(self.rest, BodyRest::End)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use http_body::Body as _;
    use tokio::sync::oneshot;

    use super::*;
    use crate::edge::clock::now;

    const STALL: Duration = Duration::from_secs(30);

    async fn next(body: &mut Body) -> Option<String> {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        let Ok(frame) = frame;
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    /// Everything a client receives.
    async fn read(mut body: Body) -> String {
        let mut text = String::new();
        while let Some(more) = next(&mut body).await {
            text.push_str(&more);
        }
        assert!(body.is_end_stream());
        text
    }

    fn stream<F: Future<Output = ()> + Send + 'static>(producer: impl FnOnce(Sender) -> F) -> Body {
        Body::stream(STALL, producer, |problem| format!("<{problem}>").into_bytes())
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_last_bytes_of_its_producer() {
        let body = stream(|mut sender| async move {
            assert!(sender.send("a").await);
            assert!(sender.send("").await);
            sender.last("b");
        });
        assert_eq!(read(body).await, "ab");
    }

    #[tokio::test]
    async fn a_body_adds_the_terminal_event_that_its_producer_omits() {
        let panics = stream(|mut sender| async move {
            sender.send("a").await;
            panic!("on purpose");
        });
        assert_eq!(read(panics).await, "a<internal_error>");
        let stops = stream(|mut sender| async move {
            sender.send("a").await;
        });
        assert_eq!(read(stops).await, "a<internal_error>");
        let late = stream(|sender| async move {
            sender.last("done");
            panic!("on purpose");
        });
        assert_eq!(read(late).await, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_problem_before_the_first_bytes_can_become_a_status() {
        let hold = Duration::from_secs(8);
        let mut fails = stream(|sender| async move { sender.fail(Code::UpstreamBusy.into()) });
        assert_eq!(fails.hold(hold).await, Some(Code::UpstreamBusy.into()));

        let mut panics = stream(|_| async { panic!("on purpose") });
        assert_eq!(panics.hold(hold).await, Some(Code::InternalError.into()));

        let mut late = stream(|sender| async move {
            tokio::time::sleep(Duration::from_secs(9)).await;
            sender.fail(Code::UpstreamBusy.into());
        });
        assert_eq!(late.hold(hold).await, None);
        assert_eq!(read(late.after(b"first ".to_vec())).await, "first <upstream_busy>");

        let mut sends = stream(|mut sender| async move {
            sender.send("a").await;
            sender.last("b");
        });
        assert_eq!(sends.hold(hold).await, None);
        assert_eq!(read(sends.after(b"first ".to_vec())).await, "first ab");
    }

    #[tokio::test(start_paused = true)]
    async fn a_producer_is_at_most_one_message_ahead_of_the_client() {
        let sent = Arc::new(AtomicU32::new(0));
        let count = sent.clone();
        let mut body = stream(|mut sender| async move {
            while sender.send("x").await {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        next(&mut body).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(sent.load(Ordering::SeqCst) <= 2, "{sent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_is_given_up_and_the_producer_continues() {
        let (settled, is_settled) = oneshot::channel();
        let mut body = stream(|mut sender| async move {
            assert!(sender.send("a").await, "the channel holds one message");
            assert!(!sender.send("b").await, "the second message is dropped after the stall time");
            assert!(!sender.send("c").await);
            settled.send(now()).unwrap();
            sender.last("done");
        });
        let begun = now();
        assert_eq!(is_settled.await.unwrap() - begun, STALL, "no client reads the body");
        assert_eq!(next(&mut body).await.as_deref(), Some("a"));
        assert_eq!(read(body).await, "<stream_interrupted>");
    }

    #[tokio::test]
    async fn a_producer_notices_that_the_client_has_disconnected() {
        let (settled, is_settled) = oneshot::channel();
        let body = stream(|mut sender| async move {
            sender.closed().await;
            settled.send(sender.send("a").await).unwrap();
        });
        drop(body);
        assert!(!is_settled.await.unwrap());
    }

    #[tokio::test]
    async fn detached_work_outlives_its_caller_and_a_panic_in_it_is_contained() {
        assert_eq!(detached(|_| async { 1 }).await, Some(1));
        assert_eq!(
            detached(|_| async {
                if true {
                    panic!("on purpose")
                }
            })
            .await,
            None
        );
        let (settled, is_settled) = oneshot::channel();
        let caller = detached(|sender| async move {
            sender.closed().await;
            settled.send(()).unwrap();
        });
        assert!(timeout(Duration::from_millis(50), caller).await.is_err());
        is_settled.await.unwrap();
    }

    #[tokio::test]
    async fn slices_are_made_one_by_one() {
        let mut body = Body::slices(["a", "b"].into_iter().map(Vec::from));
        assert!(!body.is_end_stream());
        assert_eq!(next(&mut body).await.as_deref(), Some("a"));
        assert_eq!(read(body).await, "b");
    }
}
