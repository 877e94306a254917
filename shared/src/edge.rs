//! Sockets, the clock and the runtime. Nothing else in this crate is async or reads the time.

/// Logs an error with its [class](crate::alarm::Alarm), for which CloudWatch has an alarm.
macro_rules! operator_alarm {
    ($class:expr, $($line:tt)+) => {
        tracing::error!(alarm = true, alarm_class = $class.as_str(), $($line)+)
    };
}

mod app;
mod cache;
mod clock;
mod http;
mod https;
pub mod lambda;
mod late_app;
mod metrics;
mod routes_secret;
mod secrets;
mod sign_in;
mod store;
mod upstream;

pub use self::http::{
    Body, Caller, Invocation, MAX_BODY_BYTES, Route, Sender, accepts, detached, idempotency_key, json_body, new_id,
    set_rate, set_task_id,
};
pub use app::{App, FromEnvironment, Generator};
pub use clock::unix_seconds;
pub use late_app::LateApp;
pub use metrics::Metrics;
pub use routes_secret::Routes;
pub use secrets::KeyStore;
pub use sign_in::SignIn;
pub use store::{
    Admission, AdmitRequest, Admitted, Bucket, Cursor, DynamoDb, Ledger, LimitClock, LimitsLeft, PictureError,
    Pictures, Rate, RateLimiter, Refused, Stopping, UpstreamWork,
};
pub use upstream::{
    CallFailure, CallLabels, CallTarget, Delivered, FormFile, MakePost, Output, Post, ReadingTime, RequestBody,
    SentMark, Upstream, UpstreamAnswer, UpstreamCalls, run,
};
