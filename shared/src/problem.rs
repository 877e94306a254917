//! Every failure that a client can receive, as a document
//! ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) or in an event.
//!
//! A client receives a [`Code`], its fixed sentence and at most one [`Detail`], whose parameters are numbers and names
//! from this code. No type here contains free text, so upstream text, prompts, links and secrets cannot reach a client.
//! The pointer of a [`FieldError`] is a `String`, but consists of known names and indexes.

mod detail;
mod lang;

pub use detail::Detail;
pub use lang::Lang;

use serde::{Serialize, Serializer};
use std::fmt;

/// The media type of [`Problem::document`]
/// ([RFC 9457, section 3](https://www.rfc-editor.org/rfc/rfc9457#section-3)).
pub const CONTENT_TYPE: &str = "application/problem+json; charset=utf-8";

macro_rules! catalogue {
    ($($variant:ident $code:literal $status:literal $retry:expr, $zh:literal $en:literal;)+) => {
        /// One row of the catalogue: the kind of a failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $code, "` (", $status, "): ", $en, ".")] $variant,)+
        }

        impl Code {
            /// The whole catalogue, by status.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            const fn facts(self) -> CodeFacts {
                match self {
                    $(Code::$variant => CodeFacts { code: $code, status: $status, retry_after_ms: $retry, zh: $zh, en: $en },)+
                }
            }
        }
    };
}

struct CodeFacts {
    code: &'static str,
    status: u16,
    /// `None` if the same request will fail again.
    retry_after_ms: Option<u64>,
    zh: &'static str,
    en: &'static str,
}

catalogue! {
    InvalidJson           "invalid_json"             400 None,         "请求体不是合法的 JSON" "The request body is not valid JSON";
    InvalidRequest        "invalid_request"          400 None,         "请求参数不正确" "The request is invalid";
    InvalidImage          "invalid_image"            400 None,         "参考图片无效" "A reference image is invalid";
    InvalidUrl            "invalid_url"              400 None,         "图片链接无效或不被允许" "An image URL is invalid or not allowed";
    ModelNotAllowed       "model_not_allowed"        400 None,         "不支持该模型" "This model is not available";
    AuthRequired          "auth_required"            401 None,         "请先登录" "Please sign in";
    TokenExpired          "token_expired"            401 None,         "登录已过期，请刷新后重试" "Your session has expired";
    TokenInvalid          "token_invalid"            401 None,         "登录凭证无效" "Your sign-in token is not valid";
    ApiKeyNotAccepted     "api_key_not_accepted"     401 None,         "不接受 API Key，请使用用户登录凭证" "API keys are not accepted here";
    InsufficientCredits   "insufficient_credits"     402 None,         "积分不足" "Not enough credits";
    AnonymousNotAllowed   "anonymous_not_allowed"    403 None,         "匿名用户无法使用此功能，请先注册" "Anonymous users cannot use this feature";
    OauthClientNotAllowed "oauth_client_not_allowed" 403 None,         "该应用无权调用此接口" "This application may not call the API";
    UserBlocked           "user_blocked"             403 None,         "该账户已被停用" "This account is blocked";
    RouteNotFound         "route_not_found"          404 None,         "接口不存在" "No such endpoint";
    TaskNotFound          "task_not_found"           404 None,         "没有这个任务" "No such task";
    MethodNotAllowed      "method_not_allowed"       405 None,         "不支持的请求方法" "Method not allowed";
    TaskInProgress        "task_in_progress"         409 Some(1_000),  "相同任务正在处理中" "This task is already running";
    TaskAlreadyCompleted  "task_already_completed"   409 None,         "该任务已完成" "This task is already completed";
    Cancelled             "cancelled"                409 None,         "任务已取消" "The task was cancelled";
    PayloadTooLarge       "payload_too_large"        413 None,         "请求内容过大（上限 6 MB）" "The request is too large (6 MB limit)";
    ImageTooLarge         "image_too_large"          413 None,         "图片尺寸过大" "An image is too large";
    UnsupportedMediaType  "unsupported_media_type"   415 None,         "不支持的内容类型" "Unsupported content type";
    ContentRejected       "content_rejected"         422 None,         "内容未通过安全审核，请更换后重试" "The content was rejected by safety checks";
    UpstreamRejectedInput "upstream_rejected_input"  422 None,         "生成服务无法处理该输入" "The generator could not use this input";
    TaskIdReused          "task_id_reused"           422 None,         "任务编号已用于其他请求" "This task id was used for a different request";
    RateLimited           "rate_limited"             429 Some(1_000),  "请求过于频繁，请稍后再试" "Too many requests";
    DailyLimit            "daily_limit"              429 Some(3_600_000), "今日生成数量已达上限" "Today's limit is reached";
    TooManyRunning        "too_many_running"         429 Some(5_000),  "同时进行的任务过多，请等待其中一个完成" "Too many of your tasks are running";
    ClientClosed          "client_closed"            499 None,         "客户端已断开" "The client closed the request";
    InternalError         "internal_error"           500 Some(1_000),  "服务内部错误" "Internal error";
    ServiceMisconfigured  "service_misconfigured"    500 None,         "服务配置错误" "The service is misconfigured";
    UpstreamUnreachable   "upstream_unreachable"     502 Some(2_000),  "无法连接生成服务" "The generator cannot be reached";
    UpstreamError         "upstream_error"           502 Some(1_000),  "生成服务出错" "The generator failed";
    UpstreamProtocolError "upstream_protocol_error"  502 Some(1_000),  "生成服务返回了无法识别的数据" "The generator returned unreadable data";
    StreamInterrupted     "stream_interrupted"       502 Some(1_000),  "生成过程中断，请重试" "The stream was interrupted";
    NoImage               "no_image"                 502 Some(1_000),  "未生成图片，请重试" "No image was produced";
    AuthUnavailable       "auth_unavailable"         503 Some(5_000),  "暂时无法验证登录" "Sign-in verification is unavailable";
    LimiterUnavailable    "limiter_unavailable"      503 Some(2_000),  "服务繁忙，请稍后再试" "The service is busy";
    UpstreamBusy          "upstream_busy"            503 Some(10_000), "生成服务繁忙，请稍后再试" "The generator is busy";
    BudgetExhausted       "budget_exhausted"         503 Some(3_600_000), "今日生成总量已用完，请明天再试" "The service has reached its limit for today";
    ServiceUnavailable    "service_unavailable"      503 Some(1_000),  "服务暂不可用" "The service is unavailable";
    UpstreamTimeout       "upstream_timeout"         504 Some(1_000),  "生成超时，请重试" "The generator timed out";
    DeadlineExceeded      "deadline_exceeded"        504 Some(1_000),  "处理超时，请重试" "Processing took too long";
}

impl Code {
    /// The name on the wire, such as `rate_limited`.
    pub const fn as_str(self) -> &'static str {
        self.facts().code
    }

    /// The HTTP status. 499 ([`Code::ClientClosed`]) occurs only in the log.
    pub const fn status(self) -> u16 {
        self.facts().status
    }

    /// The sentence of this code: `title` of a document, `message` of an event.
    pub const fn title(self, lang: Lang) -> &'static str {
        match lang {
            Lang::Zh => self.facts().zh,
            Lang::En => self.facts().en,
        }
    }

    /// Whether the same request can succeed later. An expired session is not retryable: it needs a new token.
    pub const fn retryable(self) -> bool {
        self.facts().retry_after_ms.is_some()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One wrong member of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The member, as a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)).
    pub pointer: String,
    /// The kind of the error.
    pub code: Code,
}

/// One failure, for a client: a document before the response's head, an event after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of the failure.
    pub code: Code,
    detail: Option<Detail>,
    errors: Vec<FieldError>,
    retry_after_ms: Option<u64>,
}

impl Problem {
    /// A problem without a detail.
    pub const fn new(code: Code) -> Self {
        Self { code, detail: None, errors: Vec::new(), retry_after_ms: None }
    }

    /// A problem with one member of the request.
    pub fn invalid(at: &str, detail: Detail) -> Self {
        Self::new(Code::InvalidRequest).at(at, Code::InvalidRequest).detail(detail)
    }

    /// Adds one wrong member of the request. `pointer` consists of known member names and indexes (`/image_inputs/0`),
    /// never of names from the client.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, code: Code) -> Self {
        self.errors.push(FieldError { pointer: pointer.into(), code });
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: Detail) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Sets the exact retry delay. Has no effect if the code is not retryable.
    #[must_use]
    pub fn with_retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }

    /// The code's sentence.
    pub const fn message(&self, lang: Lang) -> &'static str {
        self.code.title(lang)
    }

    /// The detail's sentence, or else the code's.
    pub fn reason(&self, lang: Lang) -> String {
        let pointer = self.errors.first().map_or("", |error| &error.pointer);
        self.detail.map_or_else(|| self.message(lang).to_owned(), |detail| detail.sentence(lang, pointer))
    }

    /// Whether the same request can succeed later.
    pub const fn retryable(&self) -> bool {
        self.code.retryable()
    }

    /// The retry delay in milliseconds. Present if and only if [`Self::retryable`].
    pub fn retry_after_ms(&self) -> Option<u64> {
        let default_ms = self.code.facts().retry_after_ms?;
        Some(self.retry_after_ms.unwrap_or(default_ms))
    }

    /// [`Self::retry_after_ms`] for a `Retry-After` header: whole seconds, rounded up, at least one
    /// ([RFC 9110, section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)).
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_ms().map(|ms| ms.div_ceil(1_000).max(1))
    }

    /// The wrong members of the request, in the order in which they were added.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// Encodes the problem as a document: the members of
    /// [RFC 9457, section 3.1](https://www.rfc-editor.org/rfc/rfc9457#section-3.1), extension members, and `error` and
    /// `message` for older frontends: the title, or the sentence that names the wrong member.
    pub fn document(&self, lang: Lang, request_id: &str) -> Vec<u8> {
        let (title, detail) = (self.code.title(lang), self.reason(lang));
        let sentence = if self.errors.is_empty() { title } else { &detail };
        json(&ProblemDocument {
            kind: self.kind(),
            title,
            status: self.code.status(),
            detail: &detail,
            instance: format!("urn:imagegw:request:{request_id}"),
            code: self.code,
            request_id,
            retryable: self.retryable(),
            retry_after_ms: self.retry_after_ms(),
            errors: &self.errors,
            error: sentence,
            message: sentence,
        })
    }

    /// Encodes the problem as the data of an `error` event among chat chunks: `{"error":{…}}`.
    pub fn chat_error(&self, lang: Lang, request_id: &str) -> Vec<u8> {
        json(&ChatError {
            error: ChatErrorFields {
                code: self.code,
                message: self.message(lang),
                kind: self.kind(),
                retryable: self.retryable(),
                request_id,
                retry_after_ms: self.retry_after_ms(),
            },
        })
    }

    fn kind(&self) -> String {
        format!("urn:imagegw:problem:{}", self.code)
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)
    }
}

impl std::error::Error for Problem {}

#[derive(Serialize)]
struct ProblemDocument<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: String,
    code: Code,
    request_id: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    error: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct ChatError<'a> {
    error: ChatErrorFields<'a>,
}

#[derive(Serialize)]
struct ChatErrorFields<'a> {
    code: Code,
    message: &'a str,
    #[serde(rename = "type")]
    kind: String,
    retryable: bool,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// Encodes strings, numbers and booleans, for which serde_json cannot fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
