//! The DynamoDB tables: one holds rate limits, the other tasks and credits.

mod balances;
mod dynamodb;
mod expression;
mod ledger;
mod rate_limit;
mod tasks;

pub use dynamodb::DynamoDb;
pub use ledger::{Admission, AdmitRequest, Admitted, Ledger, Rate, Refused};
pub use rate_limit::{Bucket, RateLimiter};
pub use tasks::Cursor;
