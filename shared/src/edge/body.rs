use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;

use crate::problem::{Code, Problem};

/// A response body that cannot fail and, as a stream, ends in exactly one terminal event.
///
/// The runtime would write a body's error into the client's bytes and go on, and would end a body whose producer
/// panicked as if all were well. So the error type is [`Infallible`], and a producer that panics or stops without last
/// bytes is followed by a problem told in the form of the stream.
///
/// The producer runs inside the body, whoever polls it: dropping the body drops the upstream call, and nobody reads
/// faster than the client does.
pub struct Body {
    now: Option<Bytes>,
    stream: Option<Stream>,
}

struct Stream {
    producer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    messages: mpsc::Receiver<Message>,
    tell: Tell,
}

type Tell = Box<dyn FnOnce(&Problem) -> Vec<u8> + Send>;

enum Message {
    Bytes(Bytes),
    Last(Bytes),
    Failed(Box<Problem>),
}

/// The producer's end of a streamed [`Body`].
#[derive(Clone)]
pub struct Sender(mpsc::Sender<Message>);

impl Sender {
    /// Sends bytes; waits while the client has not taken the ones before.
    pub async fn send(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.message(Message::Bytes(bytes)).await;
        }
    }

    /// Sends the bytes that end in the terminal event.
    pub async fn last(&self, bytes: impl Into<Bytes>) {
        self.message(Message::Last(bytes.into())).await;
    }

    /// Ends the stream with a problem. Before the first byte it can still become the response's status.
    pub async fn fail(&self, problem: Problem) {
        self.message(Message::Failed(Box::new(problem))).await;
    }

    async fn message(&self, message: Message) {
        // The receiver lives in the body that polls us, so it is never gone while we run.
        let _ = self.0.send(message).await;
    }
}

impl Body {
    /// A body that is there already.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { now: Some(bytes.into()), stream: None }
    }

    /// A body made by `producer`. `tell` writes a problem as the terminal event of the stream.
    pub fn stream<F: Future<Output = ()> + Send + 'static>(
        producer: impl FnOnce(Sender) -> F,
        tell: impl FnOnce(&Problem) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let (sender, messages) = mpsc::channel(1);
        let producer = Box::pin(producer(Sender(sender)));
        Self { now: None, stream: Some(Stream { producer: Some(producer), messages, tell: Box::new(tell) }) }
    }

    /// Puts bytes in front of what is there.
    #[must_use]
    pub fn after(mut self, mut bytes: Vec<u8>) -> Self {
        bytes.extend_from_slice(self.now.as_deref().unwrap_or_default());
        self.now = Some(bytes.into());
        self
    }

    /// Waits at most `hold` for the first bytes, so that a failure before them can become a status.
    ///
    /// The bytes stay in the body. A problem that comes first ends the body and is returned.
    pub async fn hold(&mut self, hold: Duration) -> Option<Problem> {
        let first = tokio::time::timeout(hold, std::future::poll_fn(|cx| self.poll_message(cx))).await;
        match first {
            Err(_) => None,
            Ok(Some(Message::Failed(problem))) => {
                self.stream = None;
                Some(*problem)
            }
            Ok(Some(Message::Bytes(bytes))) => {
                self.now = Some(bytes);
                None
            }
            Ok(Some(Message::Last(bytes))) => {
                self.now = Some(bytes);
                self.stream = None;
                None
            }
            Ok(None) => None,
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        loop {
            if let Poll::Ready(Some(message)) = stream.messages.poll_recv(cx) {
                return Poll::Ready(Some(message));
            }
            let Some(producer) = &mut stream.producer else {
                return Poll::Ready(Some(Message::Failed(Box::new(Code::InternalError.into()))));
            };
            let polled = catch_unwind(AssertUnwindSafe(|| producer.as_mut().poll(cx)));
            match polled {
                Ok(Poll::Pending) => {
                    return match stream.messages.poll_recv(cx) {
                        Poll::Ready(Some(message)) => Poll::Ready(Some(message)),
                        _ => Poll::Pending,
                    };
                }
                Ok(Poll::Ready(())) => stream.producer = None,
                // The hook has logged it.
                Err(_) => stream.producer = None,
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(bytes) = self.now.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let bytes = match ready!(self.poll_message(cx)) {
            None => return Poll::Ready(None),
            Some(Message::Bytes(bytes)) => bytes,
            Some(Message::Last(bytes)) => {
                self.stream = None;
                bytes
            }
            Some(Message::Failed(problem)) => {
                let Some(stream) = self.stream.take() else { return Poll::Ready(None) };
                // A blank line first: the event before may be half sent.
                let mut bytes = b"\n\n".to_vec();
                bytes.extend_from_slice(&(stream.tell)(&problem));
                bytes.into()
            }
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.now.is_none() && self.stream.is_none()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    /// Everything a client gets.
    async fn read(mut body: Body) -> String {
        let mut text = String::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let Ok(frame) = frame;
            text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        assert!(body.is_end_stream());
        text
    }

    fn tell(problem: &Problem) -> Vec<u8> {
        format!("<{problem}>").into_bytes()
    }

    #[tokio::test]
    async fn a_producer_says_its_own_last_words() {
        let producer = |sender: Sender| async move {
            sender.send("a").await;
            sender.send("").await;
            sender.last("b").await;
            sender.send("after the end").await;
        };
        assert_eq!(read(Body::stream(producer, tell)).await, "ab");
    }

    #[tokio::test]
    async fn a_producer_that_panics_or_stops_is_followed_by_a_terminal_event() {
        let panics = |sender: Sender| async move {
            sender.send("half an ev").await;
            panic!("on purpose");
        };
        assert_eq!(read(Body::stream(panics, tell)).await, "half an ev\n\n<internal_error>");
        let stops = |sender: Sender| async move { sender.send("a").await };
        assert_eq!(read(Body::stream(stops, tell)).await, "a\n\n<internal_error>");
        let late = |sender: Sender| async move {
            sender.last("done").await;
            panic!("on purpose");
        };
        assert_eq!(read(Body::stream(late, tell)).await, "done");
    }

    #[tokio::test(start_paused = true)]
    async fn a_problem_before_the_first_bytes_can_be_a_status() {
        let hold = Duration::from_secs(8);
        let fails = |sender: Sender| async move { sender.fail(Code::UpstreamBusy.into()).await };
        let mut body = Body::stream(fails, tell);
        assert_eq!(body.hold(hold).await, Some(Code::UpstreamBusy.into()));

        let late = |sender: Sender| async move {
            tokio::time::sleep(Duration::from_secs(9)).await;
            sender.fail(Code::UpstreamBusy.into()).await;
        };
        let mut body = Body::stream(late, tell);
        assert_eq!(body.hold(hold).await, None);
        assert_eq!(read(body.after(b"first ".to_vec())).await, "first \n\n<upstream_busy>");

        let speaks = |sender: Sender| async move {
            sender.send("a").await;
            sender.last("b").await;
        };
        let mut body = Body::stream(speaks, tell);
        assert_eq!(body.hold(hold).await, None);
        assert_eq!(read(body.after(b"first ".to_vec())).await, "first ab");
    }

    #[tokio::test]
    async fn a_producer_does_not_run_ahead_of_the_client() {
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let count = sent.clone();
        let mut body = Body::stream(
            |sender| async move {
                for _ in 0..100 {
                    sender.send("x").await;
                    count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            },
            tell,
        );
        std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(sent.load(std::sync::atomic::Ordering::SeqCst) <= 2, "{sent:?}");
    }
}
