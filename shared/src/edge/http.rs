//! Requests, responses and streamed bodies, independent of the runtime.

mod body;
mod request;
mod response;

pub use body::{Body, Sender, detached};
pub(super) use request::is_valid_id;
pub use request::{Caller, Invocation, MAX_BODY_BYTES, Route, accepts, idempotency_key, json_body, new_id};
pub use response::{set_rate, set_task_id};
