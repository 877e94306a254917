use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use http_body::{Frame, SizeHint};
use reqwest::multipart::{Form, Part};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::alarm::Alarm;
use crate::config::{KeyAs, Timing};
use crate::edge::clock::{now, unix_ms};
use crate::edge::https::https_client;
use crate::edge::secrets::KeyStore;
use crate::problem::{Code, Problem};
use crate::secret::Secret;
use crate::update::Update;
use crate::upstream::{AnswerReader, AnyDialect, Failure, RefusedParameter, retry_after_ms};

/// Only this much of an error body is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);

/// The HTTP client for upstreams, one per process.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: reqwest::Client,
}

/// One paid call. Not `Debug`, because its body contains user input.
#[derive(Clone)]
pub struct Post<'a> {
    /// The address.
    pub url: Url,
    /// The upstream's name, for the log.
    pub upstream: &'a str,
    /// The upstream's key. If the upstream refuses it, a newer one is fetched once.
    pub keys: &'a KeyStore,
    /// The header that carries the key.
    pub key_as: KeyAs,
    /// The request body.
    pub body: RequestBody,
    /// Sent as `X-Client-Request-Id`, for the upstream's support.
    pub request_id: &'a str,
}

/// A call without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallFailure {
    /// Why.
    pub failure: Failure,
    /// The pause that the upstream asks for.
    pub retry_after_ms: Option<u64>,
}

impl From<Failure> for CallFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, retry_after_ms: None }
    }
}

/// The shortest and the longest pause that a client is asked for in the name of an upstream.
const RETRY_AFTER_MS: RangeInclusive<u64> = 1_000..=120_000;

impl From<CallFailure> for Problem {
    fn from(CallFailure { failure, retry_after_ms }: CallFailure) -> Self {
        let problem = Self::from(failure);
        match retry_after_ms.filter(|_| problem.code == Code::UpstreamBusy) {
            Some(ms) => problem.with_retry_after_ms(ms.clamp(*RETRY_AFTER_MS.start(), *RETRY_AFTER_MS.end())),
            None => problem,
        }
    }
}

/// The body of a paid call.
#[derive(Clone)]
pub struct RequestBody {
    content_type: String,
    bytes: Bytes,
}

/// A file of a form.
pub struct FormFile<'a> {
    /// The field it belongs to.
    pub field: &'static str,
    /// The file name; upstreams derive the type from its ending.
    pub name: String,
    /// The media type of the bytes.
    pub media_type: &'a str,
    /// The content.
    pub bytes: Vec<u8>,
}

impl RequestBody {
    /// JSON.
    ///
    /// # Errors
    /// 500 `internal_error` if serialisation fails, which plain structs never do.
    pub fn json(body: &impl serde::Serialize) -> Result<Self, Code> {
        let bytes = serde_json::to_vec(body).map_err(|_| Code::InternalError)?.into();
        Ok(Self { content_type: "application/json".to_owned(), bytes })
    }

    /// `multipart/form-data`, serialised, so that it can be sent twice.
    ///
    /// # Errors
    /// 500 `internal_error` for an invalid media type.
    pub fn form<'a>(
        fields: impl IntoIterator<Item = (&'static str, String)>,
        files: impl IntoIterator<Item = FormFile<'a>>,
    ) -> Result<Self, Code> {
        let mut form = Form::new();
        for (name, value) in fields {
            form = form.text(name, value);
        }
        for FormFile { field, name, media_type, bytes } in files {
            let part = Part::bytes(bytes).file_name(name).mime_str(media_type).map_err(|_| Code::InternalError)?;
            form = form.part(field, part);
        }
        let content_type = format!("multipart/form-data; boundary={}", form.boundary());
        let mut bytes = BytesMut::new();
        let mut pieces = form.into_stream();
        // Parts that are in memory are always ready.
        while let Some(Some(piece)) = pieces.next().now_or_never() {
            bytes.extend_from_slice(&piece.map_err(|_| Code::InternalError)?);
        }
        Ok(Self { content_type, bytes: bytes.freeze() })
    }
}

/// Whether a request was sent in full. An attempt before the last one does not count: its body may still be on its way when
/// the next one begins.
#[derive(Debug, Default)]
pub struct SentMark {
    attempts: AtomicU32,
    /// The last attempt that was sent in full.
    sent: AtomicU32,
}

impl SentMark {
    /// Whether the last attempt was sent in full.
    pub fn is_sent(&self) -> bool {
        let attempts = self.attempts.load(Ordering::Relaxed);
        attempts > 0 && self.sent.load(Ordering::Relaxed) == attempts
    }

    fn begin(&self) -> u32 {
        self.attempts.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// A request body that records when its last bytes were passed to the connection.
struct NotedBody {
    rest: Bytes,
    mark: Arc<SentMark>,
    attempt: u32,
}

/// Bytes per frame. The connection requests the next frame when it has room, so frames show the progress of a large body.
const PART_BYTES: usize = 64 * 1024;

impl http_body::Body for NotedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part_bytes = self.rest.len().min(PART_BYTES);
        let part = self.rest.split_to(part_bytes);
        if self.rest.is_empty() {
            self.mark.sent.fetch_max(self.attempt, Ordering::Relaxed);
        }
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// A clock of the time in which this service was ready to read from the upstream. It stops while this service waits for its
/// own client, so that a slow client does not count as a slow upstream.
#[derive(Debug, Default)]
pub struct ReadingTime {
    paused_us: AtomicU64,
}

impl ReadingTime {
    /// Records that the clock was stopped for `duration`.
    pub(super) fn pause(&self, duration: Duration) {
        self.paused_us.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The real instant at which the clock reaches `at`, if it is not stopped again.
    fn to_real(&self, at: Instant) -> Instant {
        at + self.paused()
    }

    /// The real time without the pauses.
    pub(super) fn now(&self) -> Instant {
        let now = now();
        now.checked_sub(self.paused()).unwrap_or(now)
    }

    fn paused(&self) -> Duration {
        Duration::from_micros(self.paused_us.load(Ordering::Relaxed))
    }
}

/// An answer with a success status, read in pieces.
pub struct UpstreamAnswer {
    pieces: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    idle: Duration,
    progress: Duration,
    /// In reading time.
    progress_by: Instant,
    end_by: Instant,
}

impl Upstream {
    /// `None` where the system has no root certificates, which is logged.
    pub fn new(timing: &Timing) -> Option<Self> {
        Some(Self { client: https_client(timing.connect)?.build().ok()? })
    }

    /// Sends the request and waits for the answer's head. Repeats it once if no connection was made, and once if the
    /// key was refused and has changed since; never otherwise, because the upstream may have begun to work.
    ///
    /// `sent` records when the request was sent in full.
    pub async fn post(
        &self,
        post: &Post<'_>,
        timing: &Timing,
        end_by: Instant,
        reading_time: &ReadingTime,
        sent: &Arc<SentMark>,
    ) -> Result<UpstreamAnswer, CallFailure> {
        let key = timeout_at(end_by, post.keys.get()).await.map_err(|_| Failure::Deadline)?;
        let key = key.map_err(|_| Failure::Auth)?;
        match self.send(post, &key, timing, end_by, reading_time, sent).await {
            Err(CallFailure { failure: Failure::Auth, .. }) => {
                let newer = timeout_at(end_by, post.keys.renewed(&key)).await.ok().flatten();
                let key = newer.ok_or(Failure::Auth)?;
                self.send(post, &key, timing, end_by, reading_time, sent).await
            }
            answer => answer,
        }
    }

    async fn send(
        &self,
        post: &Post<'_>,
        key: &Secret,
        timing: &Timing,
        end_by: Instant,
        reading_time: &ReadingTime,
        sent: &Arc<SentMark>,
    ) -> Result<UpstreamAnswer, CallFailure> {
        let head_by = (now() + timing.head).min(end_by);
        let (name, value) = match post.key_as {
            KeyAs::Bearer => (AUTHORIZATION, HeaderValue::try_from(format!("Bearer {}", key.expose()))),
            KeyAs::GoogApiKey => (HeaderName::from_static("x-goog-api-key"), HeaderValue::try_from(key.expose())),
            KeyAs::ApiKey => (HeaderName::from_static("api-key"), HeaderValue::try_from(key.expose())),
        };
        let mut key = value.map_err(|_| Failure::Auth)?;
        key.set_sensitive(true);
        let (upstream, mut tried) = (post.upstream, false);
        let response = loop {
            let body = NotedBody { rest: post.body.bytes.clone(), mark: sent.clone(), attempt: sent.begin() };
            let request = self
                .client
                .post(post.url.clone())
                .header(&name, key.clone())
                .header(CONTENT_TYPE, &post.body.content_type)
                .header(ACCEPT, "text/event-stream")
                .header(ACCEPT_ENCODING, "identity")
                .header("x-client-request-id", post.request_id)
                .body(reqwest::Body::wrap(body));
            match timeout_at(head_by, request.send()).await {
                Err(_) if head_by == end_by => return Err(Failure::Deadline.into()),
                Err(_) => return Err(Failure::Timeout.into()),
                Ok(Ok(response)) => break response,
                Ok(Err(error)) if error.is_connect() && !tried && !error.is_timeout() => tried = true,
                Ok(Err(error)) => {
                    let error = error.without_url();
                    tracing::error!(upstream, error = error_chain(&error), "the upstream did not answer");
                    return Err(send_failure(&error).into());
                }
            }
        };
        let status = response.status().as_u16();
        let encoded = response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
        if !response.status().is_success() {
            let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after_ms = wait.and_then(|value| retry_after_ms(value, unix_ms()));
            let (failure, refused) = refusal(status, (!encoded).then_some(response), end_by).await;
            // A refused key may have been rotated: then the call is repeated with the new one, and no operator is needed.
            let alarm = failure.alarm().filter(|_| failure != Failure::Auth);
            let of_setting = refused.filter(|refused| refused.is_setting).map(|_| Alarm::UpstreamConfig);
            let alarm = alarm.or(of_setting);
            let (parameter, remedy) = refused.map(|refused| (refused.name, refused.remedy)).unzip();
            tracing::warn!(
                upstream,
                status,
                failure = failure.class(),
                alarm = alarm.is_some(),
                alarm_class = alarm.map(Alarm::as_str),
                parameter,
                remedy,
                "the upstream refused"
            );
            return Err(CallFailure { failure, retry_after_ms });
        }
        if encoded {
            return Err(Failure::Protocol.into());
        }
        Ok(UpstreamAnswer {
            pieces: Box::pin(response.bytes_stream()),
            idle: timing.idle,
            progress: timing.progress,
            progress_by: reading_time.now() + timing.progress,
            end_by,
        })
    }
}

impl UpstreamAnswer {
    /// The next piece, or `None` at the end. Can be dropped while it waits, and called again.
    pub async fn next(&mut self, reading_time: &ReadingTime) -> Result<Option<Bytes>, Failure> {
        let by = (reading_time.now() + self.idle).min(self.progress_by);
        loop {
            // Checked even if the next piece is ready: a slow client must not delay the deadline.
            if now() >= self.end_by {
                return Err(Failure::Deadline);
            }
            match timeout_at(reading_time.to_real(by).min(self.end_by), self.pieces.next()).await {
                Err(_) if reading_time.now() >= by => return Err(Failure::Timeout),
                // The clock was stopped meanwhile, or the deadline was reached.
                Err(_) => {}
                Ok(None) => return Ok(None),
                Ok(Some(Ok(piece))) => return Ok(Some(piece)),
                Ok(Some(Err(error))) => {
                    tracing::warn!(error = error_chain(&error.without_url()), "the upstream's answer was cut");
                    return Err(Failure::Truncated);
                }
            }
        }
    }

    /// Records that the answer had content: comments alone do not extend the progress limit.
    pub fn progressed(&mut self, reading_time: &ReadingTime) {
        self.progress_by = reading_time.now() + self.progress;
    }
}

impl std::fmt::Debug for UpstreamAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamAnswer").finish_non_exhaustive()
    }
}

fn send_failure(error: &reqwest::Error) -> Failure {
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => Failure::ConnectTimeout,
        (true, false) if causes(error).any(is_tls) => Failure::Tls,
        (true, false) => Failure::Unreachable,
        (false, true) => Failure::Timeout,
        (false, false) if causes(error).any(is_not_http) => Failure::Protocol,
        // The request may have arrived and may be processed.
        (false, false) => Failure::Error,
    }
}

/// The kind that TLS gives an error of its own. A connection that breaks off during the handshake has another one.
fn is_tls(cause: &(dyn Error + 'static)) -> bool {
    // The source of an `io::Error` is not the error that it wraps.
    cause.downcast_ref::<io::Error>().is_some_and(|error| {
        error.kind() == io::ErrorKind::InvalidData || error.get_ref().is_some_and(|wrapped| is_tls(wrapped))
    })
}

/// Also a head that is too large.
fn is_not_http(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The failure of an answer with an error status, and the member of our request that it names, from the part of its body
/// that arrives in time.
async fn refusal(
    status: u16,
    response: Option<reqwest::Response>,
    end_by: Instant,
) -> (Failure, Option<&'static RefusedParameter>) {
    let by = (now() + ERROR_BODY_WAIT).min(end_by);
    let mut reader = AnswerReader::new(AnyDialect::refusal(status));
    let mut failure = Failure::Error;
    let mut on = |update: Update<'_>| {
        if let Update::Failed(found) = update {
            failure = found;
        }
    };
    let mut left = MAX_ERROR_BYTES;
    let mut pieces = response.map(|response| response.bytes_stream());
    while let Some(stream) = &mut pieces
        && left > 0
        && !reader.is_over()
        && let Ok(Some(Ok(piece))) = timeout_at(by, stream.next()).await
    {
        let piece = piece.get(..left).unwrap_or(&piece);
        left -= piece.len();
        reader.push(piece, &mut on);
    }
    reader.finish(&mut on);
    (failure, reader.refused_parameter())
}

/// The causes of an error, without the URL: texts of the operating system and of TLS, never of the upstream.
fn error_chain(error: &reqwest::Error) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;

    const PROGRESS: Duration = Duration::from_millis(400);

    /// An answer whose next piece comes after this time.
    fn answer(after: Duration, end: Duration) -> UpstreamAnswer {
        let piece = async move {
            sleep(after).await;
            Ok(Bytes::from_static(b"piece"))
        };
        UpstreamAnswer {
            pieces: Box::pin(stream::once(piece)),
            idle: PROGRESS,
            progress: PROGRESS,
            progress_by: now() + PROGRESS,
            end_by: now() + end,
        }
    }

    #[test]
    fn the_body_of_an_earlier_attempt_does_not_count_as_sent() {
        let mark = Arc::<SentMark>::default();
        let body = |bytes: usize| NotedBody { rest: vec![0; bytes].into(), mark: mark.clone(), attempt: mark.begin() };
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut send = |body: &mut NotedBody| {
            let _ = http_body::Body::poll_frame(Pin::new(body), &mut context);
            mark.is_sent()
        };
        let mut first = body(PART_BYTES + 1);
        assert!(!mark.is_sent() && !send(&mut first));
        let mut second = body(PART_BYTES + 1);
        assert!(!send(&mut first), "the first is whole only now");
        assert!(!send(&mut second) && send(&mut second));
        let mut third = body(1);
        assert!(!mark.is_sent() && send(&mut third));
    }

    #[tokio::test(start_paused = true)]
    async fn time_spent_waiting_for_the_client_is_not_the_upstream_s_silence() {
        let (ms, long) = (Duration::from_millis, Duration::from_secs(60));
        let reading_time = ReadingTime::default();
        let mut slow = answer(ms(500), long);
        assert_eq!(slow.next(&reading_time).await, Err(Failure::Timeout));

        // The client blocks before the first poll, and again during the wait.
        let mut waiting = answer(ms(300), long);
        sleep(ms(500)).await;
        reading_time.pause(ms(500));
        assert!(matches!(waiting.next(&reading_time).await, Ok(Some(_))));
        let mut waiting = answer(ms(700), long);
        let blocks = async {
            sleep(ms(350)).await;
            reading_time.pause(ms(350));
        };
        let (next, ()) = futures_util::future::join(waiting.next(&reading_time), blocks).await;
        assert!(matches!(next, Ok(Some(_))), "{next:?}");

        let mut late = answer(ms(300), ms(200));
        reading_time.pause(ms(500));
        assert_eq!(late.next(&reading_time).await, Err(Failure::Deadline), "the end does not stand still");
    }
}
