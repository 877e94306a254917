//! The DynamoDB tables (one holds rate limits, the other tasks and credits), and the bucket of kept pictures.

mod balances;
mod dynamodb;
mod expression;
mod ledger;
mod pictures;
mod rate_limit;
mod tasks;

pub use dynamodb::DynamoDb;
pub use ledger::{Admission, AdmitRequest, Admitted, Ledger, Rate, Refused};
pub use pictures::{PictureError, Pictures, SignedLink};
pub use rate_limit::{Bucket, RateLimiter};
pub use tasks::Cursor;
