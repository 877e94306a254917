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

/// The way to DynamoDB. Nothing connects before it is used.
#[derive(Debug)]
pub struct Tables {
    endpoint: Option<Url>,
    client: OnceCell<Client>,
}

/// An item, or the values of an expression.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The SDK's futures are so large and so deep that every caller's would be too.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a table did not answer as it should.
#[derive(Debug)]
pub(super) enum Refused {
    /// The condition did not hold. The item as it is, if there is one.
    Condition(Option<Item>),
    /// It cannot be told whether anything was written.
    Trouble(Code),
}

impl Tables {
    /// At AWS, or at another address.
    pub fn new(endpoint: Option<Url>) -> Self {
        Self { endpoint, client: OnceCell::new() }
    }

    pub(super) async fn client(&self) -> &Client {
        let connect: Boxed<'_, Client> = Box::pin(connect(self.endpoint.as_ref()));
        self.client.get_or_init(|| connect).await
    }
}

/// What an error of the SDK comes down to; `condition` takes the item out of one that says that a condition failed.
pub(super) fn refused<E: ProvideErrorMetadata>(
    error: SdkError<E>,
    condition: impl FnOnce(E) -> Option<Option<Item>>,
) -> Refused {
    let code = error.code().unwrap_or("no answer").to_owned();
    if let SdkError::ServiceError(said) = error
        && let Some(item) = condition(said.into_err())
    {
        return Refused::Condition(item);
    }
    let is_ours = matches!(
        code.as_str(),
        "ResourceNotFoundException"
            | "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "MissingAuthenticationTokenException"
            | "ValidationException"
    );
    if is_ours {
        tracing::error!(
            code,
            alarm = true,
            "DynamoDB refused: do RATE_LIMITS_TABLE and LEDGER_TABLE exist in this region with the keys of template.yaml, \
             and may the function's role read and write them?"
        );
        Refused::Trouble(Code::ServiceUnavailable)
    } else {
        tracing::error!(code, "DynamoDB did not answer");
        Refused::Trouble(Code::LimiterUnavailable)
    }
}

/// Whether an update was refused for its condition, and what was found if that was asked for; see [`refused`].
pub(super) fn failed_update(error: UpdateItemError) -> Option<Option<Item>> {
    match error {
        UpdateItemError::ConditionalCheckFailedException(failed) => Some(failed.item),
        _ => None,
    }
}

/// For a write that is not needed any more where its condition has failed.
pub(super) fn unless_changed<T>(answer: Result<T, Refused>) -> Result<Option<T>, Code> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Refused::Condition(_)) => Ok(None),
        Err(Refused::Trouble(code)) => Err(code),
    }
}

/// For a request that has no condition.
pub(super) fn trouble(refused: Refused) -> Code {
    match refused {
        Refused::Trouble(code) => code,
        Refused::Condition(_) => Code::LimiterUnavailable,
    }
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A string of an item.
pub(super) fn read_text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// A number of an item that is whole and not negative.
pub(super) fn read_number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

async fn connect(endpoint: Option<&Url>) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(600))
        .operation_attempt_timeout(Duration::from_millis(600))
        .operation_timeout(Duration::from_millis(1_400))
        .build();
    // A lost answer is asked for once more: the request says whose it is, so nothing is taken twice.
    let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(50));
    let mut config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).retry_config(retries);
    if let Some(endpoint) = endpoint {
        // A stand-in knows no accounts.
        let nobody = Credentials::new("local", "local", None, None, "a stand-in");
        config = config.endpoint_url(endpoint.as_str()).region(Region::new("local")).credentials_provider(nobody);
    }
    Client::new(&config.load().await)
}
