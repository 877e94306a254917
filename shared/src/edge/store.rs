//! What is kept in DynamoDB: rate limits in one table; tasks and credits in the other.

mod balances;
mod dynamodb;
mod ledger;
mod rate_limit;
mod tasks;

pub use dynamodb::DynamoDb;
pub use ledger::{Admission, AdmitRequest, Admitted, Ledger, Rate};
pub use rate_limit::{Bucket, RateLimiter};
pub use tasks::Cursor;
