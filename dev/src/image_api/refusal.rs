//! Error responses: a status and an `error` object in each vendor's format.

use std::fmt::Display;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::timed_body;

/// The vendor whose error format a route uses.
#[derive(Clone, Copy)]
pub(crate) enum Vendor {
    NewApi,
    OpenAi,
    Google,
}

impl Vendor {
    /// The key is wrong or missing.
    pub(crate) fn key(self) -> ImageApiRefusal {
        let error = match self {
            Self::NewApi => {
                let message = format!("无效的令牌 (request id: {})", timed_body::request_id());
                json!({"message": message, "type": "new_api_error"})
            }
            Self::OpenAi => json!({
                "message": "Incorrect API key provided.", "type": "invalid_request_error", "param": null,
                "code": "invalid_api_key",
            }),
            Self::Google => json!({
                "code": 401, "message": "Request had invalid authentication credentials.", "status": "UNAUTHENTICATED",
            }),
        };
        ImageApiRefusal { status: StatusCode::UNAUTHORIZED, error }
    }

    /// The request is not the one that the route accepts.
    pub(crate) fn request(self, why: &dyn Display) -> ImageApiRefusal {
        self.parameter(why, None)
    }

    /// The same, because of this member of it.
    pub(crate) fn parameter(self, why: &dyn Display, param: Option<&str>) -> ImageApiRefusal {
        let error = match self {
            Self::NewApi => {
                let message = format!("{why} (request id: {})", timed_body::request_id());
                json!({"message": message, "type": "new_api_error", "param": "", "code": "invalid_request"})
            }
            Self::OpenAi => json!({
                "message": why.to_string(), "type": "invalid_request_error", "param": param,
                "code": param.map(|_| "unknown_parameter"),
            }),
            Self::Google => json!({"code": 400, "message": why.to_string(), "status": "INVALID_ARGUMENT"}),
        };
        ImageApiRefusal { status: StatusCode::BAD_REQUEST, error }
    }
}

/// An error response.
pub(crate) struct ImageApiRefusal {
    status: StatusCode,
    error: Value,
}

impl ImageApiRefusal {
    /// Google's error for an unknown method of a model.
    pub(crate) fn method() -> Self {
        let message = "The method is not found, or is not supported.";
        Self { status: StatusCode::NOT_FOUND, error: json!({"code": 404, "message": message, "status": "NOT_FOUND"}) }
    }
}

impl IntoResponse for ImageApiRefusal {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
        (self.status, headers, json!({"error": self.error}).to_string()).into_response()
    }
}
