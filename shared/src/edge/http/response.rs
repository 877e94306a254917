use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use url::Url;

use super::body::Body;
use super::request::{Caller, JSON, Route, is_valid_id};
use crate::alarm::Alarm;
use crate::edge::metrics::ended;
use crate::edge::store::{Rate, Refused};
use crate::media::WholeImage;
use crate::problem::{CONTENT_TYPE, Code, Problem};

impl Caller {
    /// A response with a problem document.
    pub fn problem(&self, problem: &Problem) -> Response<Body> {
        let mut response = Response::new(Body::whole(problem.document(self.lang, &self.request_id)));
        self.set_problem(&mut response, problem);
        set(&mut response, header::CONTENT_TYPE, CONTENT_TYPE);
        response
    }

    /// A problem as the only event of a stream, for clients that read nothing but events.
    pub fn problem_event(&self, problem: &Problem, event: Vec<u8>) -> Response<Body> {
        let mut response = self.stream(Body::whole(event));
        self.set_problem(&mut response, problem);
        response
    }

    /// A refusal as a document, with the state of the caller's limit.
    pub fn refused(&self, route: &Route, Refused { problem, rate }: &Refused) -> Response<Body> {
        let mut response = route.allow(self.problem(problem));
        set_rate(&mut response, rate.as_deref());
        response
    }

    /// The route's answer or refusal; a panic becomes `internal_error`.
    pub async fn guard(
        &self,
        answer: impl Future<Output = Result<Response<Body>, Refused>>,
    ) -> Result<Response<Body>, Refused> {
        AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|_| {
            operator_alarm!(Alarm::Internal, request_id = self.request_id, "the handler panicked");
            Err(Code::InternalError.into())
        })
    }

    /// An event stream.
    pub fn stream(&self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        self.set_common_headers(&mut response);
        set(&mut response, header::CONTENT_TYPE, "text/event-stream; charset=utf-8");
        set(&mut response, HeaderName::from_static("x-accel-buffering"), "no");
        response
    }

    /// A JSON document.
    pub fn json(&self, body: Body) -> Response<Body> {
        self.document(body, JSON)
    }

    /// A picture. Its `ETag` is its SHA-256.
    pub fn image(&self, bytes: Bytes, image: &WholeImage) -> Response<Body> {
        let mut response = self.document(Body::whole(bytes), image.media_type.as_str());
        set(&mut response, header::ETAG, &format!("\"{}\"", image.sha256_hex()));
        response
    }

    /// A redirect to a link. `body` is for a client that does not follow it.
    pub fn see_other(&self, url: &str, body: Body) -> Response<Body> {
        let mut response = self.json(body);
        *response.status_mut() = StatusCode::SEE_OTHER;
        // The parser writes the URL in ASCII, as a header needs it.
        if let Ok(url) = Url::parse(url) {
            set(&mut response, header::LOCATION, url.as_str());
        }
        response
    }

    /// A response without a body.
    pub fn no_content(&self) -> Response<Body> {
        let mut response = Response::new(Body::whole(Bytes::new()));
        self.set_common_headers(&mut response);
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }

    fn document(&self, body: Body, content_type: &str) -> Response<Body> {
        let mut response = Response::new(body);
        self.set_common_headers(&mut response);
        set(&mut response, header::CONTENT_TYPE, content_type);
        response
    }

    fn set_problem(&self, response: &mut Response<Body>, problem: &Problem) {
        ended(Err(problem.code));
        self.set_common_headers(response);
        *response.status_mut() =
            StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        set(response, header::CONTENT_LANGUAGE, self.lang.as_tag());
        set(response, header::VARY, "Accept-Language");
        match problem.code {
            Code::AuthRequired => set(response, header::WWW_AUTHENTICATE, "Bearer"),
            Code::TokenInvalid | Code::TokenExpired | Code::ApiKeyNotAccepted => {
                set(response, header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"");
            }
            _ => {}
        }
        if let Some(seconds) = problem.retry_after_seconds() {
            set(response, header::RETRY_AFTER, &seconds.to_string());
        }
    }

    /// Sets the headers of every response.
    fn set_common_headers(&self, response: &mut Response<Body>) {
        set(response, header::CACHE_CONTROL, "no-store, no-transform");
        set(response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(response, header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
        set(response, header::REFERRER_POLICY, "no-referrer");
        set(response, header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
        set(response, HeaderName::from_static("cross-origin-resource-policy"), "cross-origin");
        set(response, HeaderName::from_static("x-request-id"), &self.request_id);
    }
}

impl Route {
    /// Adds `Allow` to a 405.
    pub fn allow(&self, mut response: Response<Body>) -> Response<Body> {
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            let methods: Vec<_> = self.methods.iter().map(Method::as_str).collect();
            set(&mut response, header::ALLOW, &methods.join(", "));
        }
        response
    }
}

/// Sets `X-Task-Id`, if the id is valid in a header.
pub fn set_task_id(response: &mut Response<Body>, task_id: &str) {
    if is_valid_id(task_id) {
        set(response, HeaderName::from_static("x-task-id"), task_id);
    }
}

/// Adds the state of the caller's limit, where it is known, in the headers of
/// [the draft](https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-10).
pub fn set_rate(response: &mut Response<Body>, rate: Option<&Rate>) {
    let Some(Rate { policy, standing }) = rate else { return };
    let window_s = policy.window_ms.div_ceil(1_000);
    let next = standing.next_ms.map_or_else(String::new, |next_ms| format!(";t={}", next_ms.div_ceil(1_000)));
    let limit = format!("\"{}\";q={};w={window_s}", policy.name, policy.limit);
    set(response, HeaderName::from_static("ratelimit-policy"), &limit);
    set(response, HeaderName::from_static("ratelimit"), &format!("\"{}\";r={}{next}", policy.name, standing.remaining));
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
