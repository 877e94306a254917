use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use tokio::sync::OnceCell;
use url::Url;

use crate::problem::Code;

/// A DynamoDB client. It connects at the first request.
#[derive(Debug)]
pub struct DynamoDb {
    endpoint: Option<Url>,
    client: OnceCell<Client>,
}

/// The time limit of one request, with its retry.
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_millis(1_400);

/// An item, or the values of an expression.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Boxed, because the SDK's futures are large and deeply nested, and would make every caller's future so.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a request to a table failed.
#[derive(Debug)]
pub(super) enum StoreError {
    /// The condition did not hold, and nothing was written. With the stored item, if there is one and the request asked
    /// for it.
    ConditionFailed(Option<Item>),
    /// No usable answer: a write may or may not have been applied.
    Unavailable(Code),
}

impl DynamoDb {
    /// DynamoDB of AWS, or the one at `endpoint`.
    pub fn new(endpoint: Option<Url>) -> Self {
        Self { endpoint, client: OnceCell::new() }
    }

    pub(super) async fn client(&self) -> &Client {
        let connect: Boxed<'_, Client> = Box::pin(connect(self.endpoint.as_ref()));
        self.client.get_or_init(|| connect).await
    }
}

/// Classifies an error of the SDK. `condition` returns the item of an error that reports a failed condition.
pub(super) fn classify<E: ProvideErrorMetadata>(
    error: SdkError<E>,
    condition: impl FnOnce(E) -> Option<Option<Item>>,
) -> StoreError {
    let code = error.code().unwrap_or("no answer").to_owned();
    if let SdkError::ServiceError(answer) = error
        && let Some(item) = condition(answer.into_err())
    {
        return StoreError::ConditionFailed(item);
    }
    let is_misconfigured = matches!(
        code.as_str(),
        "ResourceNotFoundException"
            | "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "MissingAuthenticationTokenException"
            | "ValidationException"
    );
    if is_misconfigured {
        tracing::error!(
            code,
            alarm = true,
            "DynamoDB refused a request: check that RATE_LIMITS_TABLE and LEDGER_TABLE exist in this region with the keys \
             of template.yaml, and that the function's role may read and write them"
        );
        StoreError::Unavailable(Code::ServiceUnavailable)
    } else {
        tracing::error!(code, "a request to DynamoDB failed");
        StoreError::Unavailable(Code::LimiterUnavailable)
    }
}

/// The stored item of an update whose condition failed; for [`classify`].
pub(super) fn failed_update(error: UpdateItemError) -> Option<Option<Item>> {
    match error {
        UpdateItemError::ConditionalCheckFailedException(failed) => Some(failed.item),
        _ => None,
    }
}

/// For a write that is no longer needed where its condition fails: `None` then.
pub(super) fn unless_changed<T>(answer: Result<T, StoreError>) -> Result<Option<T>, Code> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(StoreError::ConditionFailed(_)) => Ok(None),
        Err(StoreError::Unavailable(code)) => Err(code),
    }
}

/// The code of an error; for a request without a condition.
pub(super) fn code_of(error: StoreError) -> Code {
    match error {
        StoreError::Unavailable(code) => code,
        StoreError::ConditionFailed(_) => Code::LimiterUnavailable,
    }
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A string attribute of an item.
pub(super) fn read_text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// A number attribute of an item, if it is whole and not negative.
pub(super) fn read_number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

async fn connect(endpoint: Option<&Url>) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(600))
        .operation_attempt_timeout(Duration::from_millis(600))
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    // A request whose answer was lost is sent once more. Every write carries the id of its run, and its condition fails
    // if that run has written already.
    let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(50));
    let mut config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).retry_config(retries);
    if let Some(endpoint) = endpoint {
        // A local engine has no accounts, but the SDK signs every request.
        let credentials = Credentials::new("local", "local", None, None, "a local engine");
        config = config.endpoint_url(endpoint.as_str()).region(Region::new("local")).credentials_provider(credentials);
    }
    Client::new(&config.load().await)
}
