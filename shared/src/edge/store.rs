//! The DynamoDB tables, one with rate limits, the other with tasks and credits; and the bucket with pictures.

mod balances;
mod dynamodb;
mod expression;
mod keeper;
mod ledger;
mod pictures;
mod rate_limit;
mod tasks;

pub use dynamodb::DynamoDb;
pub(super) use keeper::{KeepEnd, Keeper};
pub use ledger::{Admission, AdmitRequest, Admitted, Ledger, Rate, Refused, Stopping};
pub use pictures::Pictures;
pub use rate_limit::{Bucket, RateLimiter};
pub use tasks::Cursor;
