//! Everything we talk to, and the clock. Nothing else in this crate is async or knows what time it is.

mod app;
mod body;
mod cache;
mod call;
mod clock;
mod jwks;
mod nodelay;
mod panics;
mod reply;
mod secrets;
mod sign_in;
mod store;
mod upstream;

pub use app::{App, Ready};
pub use body::{Body, Sender, detached};
pub use call::{Call, CallLabels, Ended, Output, run};
pub use clock::unix_seconds;
pub use nodelay::RuntimeApi;
pub use panics::log_panics;
pub use reply::{
    Caller, Invocation, MAX_BODY_BYTES, Route, accepts, idempotency_key, json_body, new_id, set_rate, set_task_id,
};
pub use secrets::KeyStore;
pub use sign_in::SignIn;
pub use store::{Admission, AdmitRequest, Admitted, Bucket, Cursor, DynamoDb, Ledger, Rate, RateLimiter};
pub use upstream::{Answer, Asked, File, KeyAs, Post, ReadingTime, Upstream};
