use std::net::IpAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, Request};
use tokio::time::Instant;
use uuid::Uuid;

use crate::edge::clock;
use crate::problem::{Code, Detail, Lang, Problem};

/// The largest accepted body, in bytes. On Lambda the whole event has at most 6 MB
/// ([quotas](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)).
pub const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;
/// The decoded bytes of pictures that fit into such a body as base64, beside the other members.
const IMAGE_BYTES: usize = MAX_BODY_BYTES * 11 / 15;
pub(super) const JSON: &str = "application/json";

const MAX_ID_CHARS: usize = 128;

/// What the runtime knows about an invocation. It is in the request's extensions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Invocation {
    /// When the platform ends the invocation. `None` if that is unknown.
    pub deadline: Option<Instant>,
    /// The address of the connection. It never comes from a header, which a client can forge.
    pub source_ip: Option<IpAddr>,
}

impl Invocation {
    /// `deadline` is a time of the wall clock. One in the past is ignored: `cargo lambda watch` sends such deadlines.
    pub fn new(deadline: Option<SystemTime>, source_ip: Option<&str>) -> Self {
        Self {
            deadline: deadline.and_then(clock::from_now).map(|left| clock::now() + left),
            source_ip: source_ip.and_then(|address| address.parse().ok()),
        }
    }
}

/// A route: its path and its methods.
#[derive(Debug, Clone)]
pub struct Route {
    /// The exact path, or its beginning where the rest is a parameter.
    pub path: &'static str,
    /// Another method is answered with 405.
    pub methods: &'static [Method],
}

/// The parts of a request that every response needs.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The client's `X-Request-Id` if it is valid, or else a new id.
    pub request_id: String,
    /// The language of sentences.
    pub lang: Lang,
    /// See [`Invocation`].
    pub deadline: Option<Instant>,
}

impl Caller {
    /// Reads these parts of a request.
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
    /// Checks that a request is for this route.
    ///
    /// # Errors
    /// 404 for another path, 405 for another method.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        if request.uri().path() != self.path {
            return Err(Code::RouteNotFound.into());
        }
        self.check_method(request)
    }

    /// Checks the method of a request.
    ///
    /// # Errors
    /// 405 for another method.
    pub fn check_method<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        match self.methods.contains(request.method()) {
            true => Ok(()),
            false => Err(Code::MethodNotAllowed.into()),
        }
    }
}

/// Returns the text of a JSON body.
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

/// Whether `Accept` lists `media_type`, or a wildcard of its type such as `image/*`. The exact name has precedence.
/// `q=0` excludes; other weights and `*/*` have no effect
/// ([RFC 9110, section 12.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1)).
pub fn accepts<B>(request: &Request<B>, media_type: &str) -> bool {
    let main_type = media_type.split('/').next().unwrap_or_default();
    let (mut exact, mut wildcard) = (None, None);
    let lines = request.headers().get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| {
            let (name, weight) = part.split_once('=')?;
            name.trim_end().eq_ignore_ascii_case("q").then(|| weight.trim_start().parse::<f32>().ok())?
        });
        let is_accepted = weight != Some(0.0);
        let is_wildcard = name.strip_suffix("/*").is_some_and(|name| name.eq_ignore_ascii_case(main_type));
        match name.eq_ignore_ascii_case(media_type) {
            true => exact = Some(exact.unwrap_or(false) || is_accepted),
            false if is_wildcard => wildcard = Some(wildcard.unwrap_or(false) || is_accepted),
            false => {}
        }
    }
    exact.or(wildcard).unwrap_or(false)
}

/// Returns the task id in a request's `Idempotency-Key`, if it has one.
///
/// # Errors
/// 400 if the key is malformed or occurs twice.
pub fn idempotency_key<B>(request: &Request<B>) -> Result<Option<String>, Problem> {
    let mut keys = request.headers().get_all("idempotency-key").iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) if key.to_str().is_ok_and(is_valid_id) => Ok(key.to_str().ok().map(str::to_owned)),
        _ => Err(Problem::new(Code::InvalidRequest).detail(Detail::IdempotencyKeyForm { max: MAX_ID_CHARS })),
    }
}

/// Makes a new random id.
pub fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// Whether an id has the form `[A-Za-z0-9_.:-]{1,128}`, which is safe in headers and logs.
pub(crate) fn is_valid_id(id: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
