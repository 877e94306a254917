//! Everything we talk to, and the clock. Nothing else in this crate is async or knows what time it is.

mod app;
mod balances;
mod body;
mod cache;
mod call;
mod clock;
mod jwks;
mod ledger;
mod limits;
mod nodelay;
mod panics;
mod reply;
mod secrets;
mod sign_in;
mod tables;
mod tasks;
mod turns;
mod upstream;

pub use app::{App, Ready};
pub use body::{Body, Sender, detached};
pub use call::{Call, CallLabels, Ended, Output, run};
pub use clock::unix_seconds;
pub use ledger::{Admission, Admitted, Ledger, Rate, Wanted};
pub use limits::{Limits, Taken};
pub use nodelay::RuntimeApi;
pub use panics::log_panics;
pub use reply::{
    Caller, Invocation, MAX_BODY_BYTES, Route, accepts, idempotency_key, json_body, new_id, set_rate, set_task_id,
};
pub use secrets::KeyStore;
pub use sign_in::SignIn;
pub use tables::Tables;
pub use tasks::Cursor;
pub use upstream::{Answer, Asked, File, KeyAs, Post, ReadingTime, Upstream};
