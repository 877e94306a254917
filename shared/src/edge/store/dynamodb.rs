use std::collections::HashMap;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Config, Credentials};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use tokio::sync::OnceCell;
use url::Url;

use super::expression::{Expression, ExpressionParts};
use crate::alarm::Alarm;
use crate::edge::metrics::Stopwatch;
use crate::problem::Code;

/// A DynamoDB client. It connects at the first request; its clones share the connection.
#[derive(Debug, Clone)]
pub struct DynamoDb {
    endpoint: Option<Url>,
    client: Arc<OnceCell<Client>>,
}

/// The requests to one table.
#[derive(Debug, Clone)]
pub(super) struct TableClient {
    dynamodb: DynamoDb,
    name: String,
}

/// The time limit of one request, with its retry.
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_millis(1_400);

/// The attributes of an item or of a key.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The SDK's futures are boxed, because they are large and deeply nested, and would make every caller's future so.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a write was not confirmed.
#[derive(Debug)]
pub(super) enum StoreError {
    /// The condition failed, and nothing was written. With the stored item, which is empty if there is none.
    ConditionFailed(Item),
    /// No usable answer: the write may or may not have been applied.
    Unavailable(Code),
}

impl DynamoDb {
    /// DynamoDB of AWS, or the one at `endpoint`.
    pub fn new(endpoint: Option<Url>) -> Self {
        Self { endpoint, client: Arc::default() }
    }

    pub(super) fn table(&self, name: &str) -> TableClient {
        TableClient { dynamodb: self.clone(), name: name.to_owned() }
    }
}

impl TableClient {
    /// Reads an item, with every write that was confirmed before.
    pub(super) async fn get(&self, key: Item) -> Result<Option<Item>, Code> {
        let _time = Stopwatch::of_tables();
        let get = self.client().await.get_item().table_name(&self.name).set_key(Some(key)).consistent_read(true);
        let answer: Boxed<'_, _> = Box::pin(get.send());
        Ok(answer.await.map_err(unavailable)?.item)
    }

    /// Reads some attributes of an item, as they were a moment ago: at half the price of [`Self::get`].
    pub(super) async fn get_recent(&self, key: Item, attributes: &[&str]) -> Result<Option<Item>, Code> {
        let names = attributes.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect::<HashMap<_, _>>();
        let projection = names.keys().cloned().collect::<Vec<_>>().join(", ");
        let get = self.client().await.get_item().table_name(&self.name).set_key(Some(key));
        let get = get.projection_expression(projection).set_expression_attribute_names(Some(names));
        let answer: Boxed<'_, _> = Box::pin(get.send());
        Ok(answer.await.map_err(unavailable)?.item)
    }

    /// Writes a whole item.
    pub(super) async fn put(&self, item: Item, expression: Expression) -> Result<(), StoreError> {
        let _time = Stopwatch::of_tables();
        let ExpressionParts { condition, names, values, .. } = expression.parts();
        let put = self.client().await.put_item().table_name(&self.name).set_item(Some(item));
        let put = put
            .set_condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let answer: Boxed<'_, _> = Box::pin(put.send());
        answer.await.map(drop).map_err(StoreError::of)
    }

    /// Changes an item, or creates it. Returns it as it is after the write.
    pub(super) async fn update(&self, key: Item, expression: Expression) -> Result<Item, StoreError> {
        let _time = Stopwatch::of_tables();
        let answer: Boxed<'_, _> = Box::pin(self.update_request(key, expression).await.send());
        Ok(answer.await.map_err(StoreError::of)?.attributes.unwrap_or_default())
    }

    /// [`Self::update`] without the SDK's retry, for a write that could be applied twice.
    pub(super) async fn update_once(&self, key: Item, expression: Expression) -> Result<Item, StoreError> {
        let _time = Stopwatch::of_tables();
        let once = Config::builder().retry_config(RetryConfig::disabled());
        let update = self.update_request(key, expression).await.customize().config_override(once);
        let answer: Boxed<'_, _> = Box::pin(update.send());
        Ok(answer.await.map_err(StoreError::of)?.attributes.unwrap_or_default())
    }

    /// Deletes an item.
    pub(super) async fn delete(&self, key: Item, expression: Expression) -> Result<(), StoreError> {
        let _time = Stopwatch::of_tables();
        let ExpressionParts { condition, names, values, .. } = expression.parts();
        let delete = self.client().await.delete_item().table_name(&self.name).set_key(Some(key));
        let delete = delete
            .set_condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let answer: Boxed<'_, _> = Box::pin(delete.send());
        answer.await.map(drop).map_err(StoreError::of)
    }

    /// Reads a page of an index in descending order, after the key `after`. The condition names the partition. Returns
    /// the items, and the key after which the next page begins.
    pub(super) async fn query_descending(
        &self,
        index: &str,
        expression: Expression,
        limit: u32,
        after: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), Code> {
        let _time = Stopwatch::of_tables();
        let ExpressionParts { condition, names, values, .. } = expression.parts();
        let query = self.client().await.query().table_name(&self.name).index_name(index);
        let query = query
            .set_key_condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .set_exclusive_start_key(after)
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let answer: Boxed<'_, _> = Box::pin(query.send());
        let answer = answer.await.map_err(unavailable)?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }

    async fn update_request(&self, key: Item, expression: Expression) -> UpdateItemFluentBuilder {
        let ExpressionParts { update, condition, names, values } = expression.parts();
        let request = self.client().await.update_item().table_name(&self.name).set_key(Some(key));
        request
            .set_update_expression(update)
            .set_condition_expression(condition)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    async fn client(&self) -> &Client {
        let connect: Boxed<'_, Client> = Box::pin(connect(self.dynamodb.endpoint.as_ref()));
        self.dynamodb.client.get_or_init(|| connect).await
    }
}

impl StoreError {
    fn of(error: impl Into<aws_sdk_dynamodb::Error>) -> Self {
        match error.into() {
            aws_sdk_dynamodb::Error::ConditionalCheckFailedException(failed) => {
                Self::ConditionFailed(failed.item.unwrap_or_default())
            }
            error => Self::Unavailable(unavailable(error)),
        }
    }
}

/// The answer to a write that is not needed if its condition fails: `None` then.
pub(super) fn if_applied<T>(answer: Result<T, StoreError>) -> Result<Option<T>, Code> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(StoreError::ConditionFailed(_)) => Ok(None),
        Err(StoreError::Unavailable(code)) => Err(code),
    }
}

pub(super) fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn number(value: impl Into<u64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

/// A string attribute of an item.
pub(super) fn read_text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// A number attribute of an item, if it is in the range of `T`.
pub(super) fn read_number<T: FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Logs why a request failed, and returns the code for the client.
fn unavailable(error: impl Into<aws_sdk_dynamodb::Error>) -> Code {
    let error = error.into();
    let code = error.code().unwrap_or("no answer");
    let is_misconfigured = matches!(
        code,
        "ResourceNotFoundException"
            | "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "MissingAuthenticationTokenException"
            | "ValidationException"
    );
    if is_misconfigured {
        operator_alarm!(
            Alarm::Ledger,
            code,
            "DynamoDB refused a request: check that RATE_LIMITS_TABLE and LEDGER_TABLE exist in this region with the keys \
             of template.yaml, and that the function's role may read and write them"
        );
        return Code::ServiceUnavailable;
    }
    tracing::error!(code, "a request to DynamoDB failed");
    Code::LimiterUnavailable
}

async fn connect(endpoint: Option<&Url>) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(600))
        .operation_attempt_timeout(Duration::from_millis(600))
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    // A request whose answer was lost is sent once more. Every write that is retried carries the id of its run, and its
    // condition fails if that run has written already.
    let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(50));
    let mut config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).retry_config(retries);
    if let Some(endpoint) = endpoint {
        // A local engine has no accounts, or the account of the key `test`. The SDK signs every request.
        let credentials = Credentials::new("test", "test", None, None, "a local engine");
        config = config.endpoint_url(endpoint.as_str()).region(Region::new("local")).credentials_provider(credentials);
    }
    Client::new(&config.load().await)
}
