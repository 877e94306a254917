//! Answers that are no picture: a status and an `error` object, as each vendor writes them.

use std::fmt::Display;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::script;

/// Whose words a route speaks.
#[derive(Clone, Copy)]
pub(crate) enum Vendor {
    NewApi,
    OpenAi,
    Google,
}

impl Vendor {
    /// The key is another one, or somewhere else.
    pub(crate) fn key(self) -> Refusal {
        let error = match self {
            Self::NewApi => {
                let message = format!("无效的令牌 (request id: {})", script::request_id());
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
        Refusal { status: StatusCode::UNAUTHORIZED, error }
    }

    /// The request is none that we mean to send.
    pub(crate) fn request(self, why: &dyn Display) -> Refusal {
        let error = match self {
            Self::NewApi => {
                let message = format!("{why} (request id: {})", script::request_id());
                json!({"message": message, "type": "new_api_error", "param": "", "code": "invalid_request"})
            }
            Self::OpenAi => json!({
                "message": why.to_string(), "type": "invalid_request_error", "param": null, "code": null,
            }),
            Self::Google => json!({"code": 400, "message": why.to_string(), "status": "INVALID_ARGUMENT"}),
        };
        Refusal { status: StatusCode::BAD_REQUEST, error }
    }
}

/// An answer that is no picture.
pub(crate) struct Refusal {
    status: StatusCode,
    error: Value,
}

impl Refusal {
    /// Google knows no such method of a model.
    pub(crate) fn method() -> Self {
        let message = "The method is not found, or is not supported.";
        Self { status: StatusCode::NOT_FOUND, error: json!({"code": 404, "message": message, "status": "NOT_FOUND"}) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
        (self.status, headers, json!({"error": self.error}).to_string()).into_response()
    }
}
