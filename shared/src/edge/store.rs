//! The DynamoDB tables (one holds rate limits, the other tasks and credits), and the bucket of kept pictures.

mod balances;
mod dynamodb;
mod expression;
mod keeper;
mod ledger;
mod pictures;
mod rate_limit;
mod tasks;

pub use dynamodb::DynamoDb;
pub(super) use keeper::{KeepEnd, Keeper, StoredPicture};
pub use ledger::{Admission, AdmitRequest, Admitted, Ledger, LimitsLeft, Rate, Refused, UpstreamWork};
pub use pictures::{PictureError, Pictures};
pub use rate_limit::{Bucket, LimitClock, RateLimiter};
pub use tasks::{Cursor, Stopping};
