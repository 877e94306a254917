//! Clients and requests of these tests.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_dynamodb::error::{DisplayErrorContext, SdkError};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::EVER;
use super::create::{n, s};

pub(super) fn client(url: &str, attempts: u32) -> Client {
    waiting(url, attempts, EVER)
}

/// A client with an attempt timeout of one second.
pub(super) fn impatient(url: &str, attempts: u32) -> Client {
    waiting(url, attempts, Duration::from_secs(1))
}

pub(super) fn waiting(url: &str, attempts: u32, patience: Duration) -> Client {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).build();
    let retries = RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(Duration::from_millis(10));
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(Credentials::new("test", "test", None, None, "a test"))
        .retry_config(retries)
        .timeout_config(timeouts);
    Client::from_conf(config.build())
}

pub(super) async fn put<const N: usize>(client: &Client, table: &str, item: [(&str, AttributeValue); N]) {
    let item = item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
}

pub(super) async fn get(client: &Client, table: &str, user: &str) -> Option<HashMap<String, AttributeValue>> {
    client.get_item().table_name(table).key("pk", s(user)).consistent_read(true).send().await.unwrap().item
}

pub(super) async fn add(
    client: &Client,
    table: &str,
    user: &str,
) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
    let update = client.update_item().table_name(table).key("pk", s(user));
    update
        .update_expression("ADD #n :one")
        .expression_attribute_names("#n", "n")
        .expression_attribute_values(":one", n(1))
        .send()
        .await
}

/// The number of successful [`add`]s.
pub(super) async fn count(client: &Client, table: &str, user: &str) -> u64 {
    let item = get(client, table, user).await.unwrap_or_default();
    item.get("n").map_or(0, |count| count.as_n().unwrap().parse().unwrap())
}

/// Writes a time and its writer, unless the item has a later time or the same writer.
pub(super) async fn charge(
    client: &Client,
    table: &str,
    user: &str,
    time: u64,
    writer: &str,
) -> Result<UpdateItemOutput, SdkError<UpdateItemError>> {
    let update = client.update_item().table_name(table).key("pk", s(user));
    update
        .update_expression("SET #tat = :new, #rid = :rid, #ttl = :ttl")
        .condition_expression("attribute_not_exists(#tat) OR (#tat <= :new AND #rid <> :rid)")
        .expression_attribute_names("#tat", "tat")
        .expression_attribute_names("#rid", "rid")
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":new", n(time))
        .expression_attribute_values(":rid", s(writer))
        .expression_attribute_values(":ttl", n(4_000_000_000))
        .return_values(ReturnValue::UpdatedNew)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
}

#[track_caller]
pub(super) fn condition_failed(error: SdkError<UpdateItemError>) -> Option<HashMap<String, AttributeValue>> {
    match error {
        SdkError::ServiceError(error) => match error.into_err() {
            UpdateItemError::ConditionalCheckFailedException(failed) => failed.item,
            other => panic!("{}", DisplayErrorContext(other)),
        },
        other => panic!("{}", DisplayErrorContext(other)),
    }
}

pub(super) async fn newest_first(client: &Client, table: &str, user: &str) -> Vec<String> {
    let query = client.query().table_name(table).index_name("created").scan_index_forward(false);
    let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s(user));
    let items = query.send().await.unwrap().items.unwrap_or_default();
    items.iter().map(|item| item["sk"].as_s().unwrap().clone()).collect()
}
