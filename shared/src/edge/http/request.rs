use std::net::IpAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, Request};
use tokio::time::Instant;
use uuid::Uuid;

use crate::edge::clock;
use crate::problem::{Code, Detail, Lang, Problem};

/// The largest body we read. The platform's own limit is 6 MB for the whole event, so a larger one never arrives there.
pub const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;
/// What fits into that once base64 and the rest are taken off.
const IMAGE_BYTES: usize = MAX_BODY_BYTES * 11 / 15;
pub(super) const JSON: &str = "application/json";

const MAX_ID_CHARS: usize = 128;

/// What the runtime knows of an invocation and the request does not say. Travels in the request's extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Invocation {
    /// When the platform ends us; `None` where it does not say.
    pub deadline: Option<Instant>,
    /// Whose connection it is. No header says that: anybody can send one.
    pub source_ip: Option<IpAddr>,
}

impl Invocation {
    /// Ends at a wall clock time. One in the past is what `cargo lambda watch` sends, and tells nothing.
    pub fn new(deadline: Option<SystemTime>, source_ip: Option<&str>) -> Self {
        Self {
            deadline: deadline.and_then(clock::from_now).map(|left| clock::now() + left),
            source_ip: source_ip.and_then(|address| address.parse().ok()),
        }
    }
}

/// A route: its path and the one method it knows.
#[derive(Debug, Clone)]
pub struct Route {
    /// Compared exactly.
    pub path: &'static str,
    /// Any other is answered with 405.
    pub method: Method,
}

/// Who asks, as far as answering goes.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Ours, or the client's own if it has a decent form.
    pub request_id: String,
    /// For sentences.
    pub lang: Lang,
    /// See [`Invocation`].
    pub deadline: Option<Instant>,
}

impl Caller {
    /// Reads what a request says about its sender.
    pub fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let request_id = text(headers, HeaderName::from_static("x-request-id")).filter(|id| is_valid_id(id));
        Self {
            request_id: request_id.map_or_else(new_id, str::to_owned),
            lang: Lang::from_accept_language(text(headers, header::ACCEPT_LANGUAGE)),
            deadline: request.extensions().get::<Invocation>().and_then(|invocation| invocation.deadline),
        }
    }
}

impl Route {
    /// Whether a request is for this route; the problem and the `Allow` header if not.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        if request.uri().path() != self.path {
            return Err(Code::RouteNotFound.into());
        }
        if request.method() != self.method {
            return Err(Code::MethodNotAllowed.into());
        }
        Ok(())
    }
}

/// The text of a JSON body.
///
/// # Errors
/// 415 for another `Content-Type` or any `Content-Encoding`, 413 for too many bytes, 400 if it is not UTF-8.
pub fn json_body(request: &Request<Bytes>) -> Result<&str, Problem> {
    let headers = request.headers();
    let media_type = text(headers, header::CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case(JSON) || headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(Code::UnsupportedMediaType).detail(Detail::JsonOnly));
    }
    if request.body().len() > MAX_BODY_BYTES {
        let detail = Detail::BodyBytes { max_bytes: MAX_BODY_BYTES, image_bytes: IMAGE_BYTES };
        return Err(Problem::new(Code::PayloadTooLarge).detail(detail));
    }
    std::str::from_utf8(request.body()).map_err(|_| Problem::new(Code::InvalidJson).detail(Detail::NotUtf8))
}

/// Whether `Accept` names `media_type`: itself, or else all of its kind, as `image/*` does. `q=0` names what the client
/// refuses; other weights make no difference, and neither does `*/*`
/// ([RFC 9110, section 12.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1)).
pub fn accepts<B>(request: &Request<B>, media_type: &str) -> bool {
    let kind = media_type.split('/').next().unwrap_or_default();
    let (mut itself, mut all_of_its_kind) = (None, None);
    let lines = request.headers().get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| {
            let (name, weight) = part.split_once('=')?;
            name.trim_end().eq_ignore_ascii_case("q").then(|| weight.trim_start().parse::<f32>().ok())?
        });
        let is_accepted = weight != Some(0.0);
        let is_all = name.strip_suffix("/*").is_some_and(|name| name.eq_ignore_ascii_case(kind));
        match name.eq_ignore_ascii_case(media_type) {
            true => itself = Some(itself.unwrap_or(false) || is_accepted),
            false if is_all => all_of_its_kind = Some(all_of_its_kind.unwrap_or(false) || is_accepted),
            false => {}
        }
    }
    itself.or(all_of_its_kind).unwrap_or(false)
}

/// The task that a request names by `Idempotency-Key`, if it does.
///
/// # Errors
/// 400 if the key has another form, or comes twice.
pub fn idempotency_key<B>(request: &Request<B>) -> Result<Option<String>, Problem> {
    let mut keys = request.headers().get_all("idempotency-key").iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) if key.to_str().is_ok_and(is_valid_id) => Ok(key.to_str().ok().map(str::to_owned)),
        _ => Err(Problem::new(Code::InvalidRequest).detail(Detail::IdempotencyKeyForm { max: MAX_ID_CHARS })),
    }
}

/// A fresh identifier.
pub fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// Whether an id has the form `[A-Za-z0-9_.:-]{1,128}`: fit for a header and for a log.
pub(crate) fn is_valid_id(id: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
