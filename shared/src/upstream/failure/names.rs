//! The names that upstreams give their errors.

use super::Failure::{
    self, Auth, BadRequest, ContentBlocked, Error, InputImageUnreachable, ModelUnavailable, Quota, RateLimited,
    Timeout, Unavailable,
};

/// Whole names, tried first.
pub(super) const WHOLE: &[(&str, Failure)] = &[
    // ARK (Volcengine)
    ("AuthenticationError", Auth),
    ("InvalidAccountStatus", Auth),
    ("AccountOverdueError", Quota),
    ("OperationDenied.ServiceOverdue", Quota),
    ("QuotaExceeded", Quota),
    ("SetLimitExceeded", Quota),
    ("ModelNotOpen", ModelUnavailable),
    ("UnsupportedModel", ModelUnavailable),
    ("ServerOverloaded", RateLimited),
    ("RequestBurstTooFast", RateLimited),
    ("InflightBatchsizeExceeded", RateLimited),
    ("BadRequest", BadRequest),
    ("InternalServiceError", Error),
    // The check itself failed: asking again may help.
    ("ContentSecurityDetectionError", Error),
    ("RequestCanceled", Error),
    // new-api, one-api and their kin
    ("insufficient_user_quota", Quota),
    ("pre_consume_token_quota_failed", Quota),
    ("insufficient_quota", Quota),
    ("prompt_blocked", ContentBlocked),
    ("sensitive_words_detected", ContentBlocked),
    ("model_not_found", ModelUnavailable),
    ("get_channel_failed", ModelUnavailable),
    ("access_denied", ModelUnavailable),
    // OpenAI and Azure
    ("moderation_blocked", ContentBlocked),
    ("content_policy_violation", ContentBlocked),
    ("image_content_policy_violation", ContentBlocked),
    ("content_filter", ContentBlocked),
    ("ResponsibleAIPolicyViolation", ContentBlocked),
    ("invalid_api_key", Auth),
    ("account_deactivated", Auth),
    ("billing_hard_limit_reached", Quota),
    ("billing_not_active", Quota),
    ("rate_limit_exceeded", RateLimited),
    ("unsupported_country_region_territory", ModelUnavailable),
    ("invalid_image_url", InputImageUnreachable),
    ("failed_to_download_image", InputImageUnreachable),
    ("image_file_not_found", InputImageUnreachable),
    ("invalid_image", BadRequest),
    ("invalid_image_format", BadRequest),
    ("invalid_base64_image", BadRequest),
    ("image_parse_error", BadRequest),
    ("image_too_large", BadRequest),
    ("image_too_small", BadRequest),
    ("unsupported_image_media_type", BadRequest),
    ("invalid_prompt", BadRequest),
    ("invalid_value", BadRequest),
    ("missing_required_parameter", BadRequest),
    ("unknown_parameter", BadRequest),
    ("string_above_max_length", BadRequest),
    ("context_length_exceeded", BadRequest),
    // Google
    ("RESOURCE_EXHAUSTED", RateLimited),
    ("NOT_FOUND", ModelUnavailable),
    ("FAILED_PRECONDITION", ModelUnavailable),
    ("PERMISSION_DENIED", Auth),
    ("UNAUTHENTICATED", Auth),
    ("INVALID_ARGUMENT", BadRequest),
    ("OUT_OF_RANGE", BadRequest),
    ("UNAVAILABLE", Unavailable),
    ("DEADLINE_EXCEEDED", Timeout),
    ("INTERNAL", Error),
];

/// Families by how they begin, tried next.
pub(super) const PREFIXES: &[(&str, Failure)] = &[
    ("InvalidImageURL", InputImageUnreachable),
    ("InvalidParameter", BadRequest),
    ("MissingParameter", BadRequest),
    ("AccessDenied", ModelUnavailable),
    ("OperationDenied.", ModelUnavailable),
    ("InvalidEndpointOrModel", ModelUnavailable),
    ("InvalidEndpoint.", ModelUnavailable),
    ("channel:", ModelUnavailable),
];

/// Families by what they contain, tried last.
pub(super) const PARTS: &[(&str, Failure)] = &[
    ("SensitiveContentDetected", ContentBlocked),
    ("RiskDetection", ContentBlocked),
    ("RateLimitExceeded", RateLimited),
];

/// Values of `type` that are too broad to overrule a status.
pub(super) const KINDS: &[(&str, Failure)] = &[
    ("authentication_error", Auth),
    ("permission_error", Auth),
    ("billing_error", Quota),
    ("not_found_error", ModelUnavailable),
    ("rate_limit_error", RateLimited),
    ("timeout_error", Timeout),
    ("invalid_request_error", BadRequest),
    ("image_generation_user_error", BadRequest),
];
