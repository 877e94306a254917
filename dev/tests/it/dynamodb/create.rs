//! Tables created through the SDK. `functions/generate-stream/tests/it/support.rs` uses this file too.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, LocalSecondaryIndex, Projection,
    ProjectionType, ScalarAttributeType, TableDescription, TableStatus, TimeToLiveSpecification,
};
use dev::dynamodb::{AttributeType, KeyAttribute, Table};
use tokio::time::timeout;

use super::EVER;

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) async fn create(client: &Client, name: &str, table: &Table) {
    let partition = || element(table.partition, KeyType::Hash);
    let index = table.index.map(|index| {
        LocalSecondaryIndex::builder()
            .index_name(index.name)
            .key_schema(partition())
            .key_schema(element(index.sort, KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::All).build())
            .build()
            .unwrap()
    });
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(table.keys().map(attribute).collect()))
        .set_key_schema(Some(schema(table.partition, table.sort)))
        .set_local_secondary_indexes(index.map(|index| vec![index]))
        .send()
        .await
        .unwrap();
    let active = async {
        while describe(client, name).await.table_status != Some(TableStatus::Active) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(EVER, active).await.unwrap();
    let expires = TimeToLiveSpecification::builder().attribute_name(table.ttl).enabled(true).build().unwrap();
    client.update_time_to_live().table_name(name).time_to_live_specification(expires).send().await.unwrap();
}

pub(crate) async fn describe(client: &Client, table: &str) -> TableDescription {
    client.describe_table().table_name(table).send().await.unwrap().table.unwrap()
}

pub(crate) fn element(key: KeyAttribute, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(key.name).key_type(kind).build().unwrap()
}

pub(crate) fn schema(partition: KeyAttribute, sort: Option<KeyAttribute>) -> Vec<KeySchemaElement> {
    let sort = sort.map(|key| element(key, KeyType::Range));
    [Some(element(partition, KeyType::Hash)), sort].into_iter().flatten().collect()
}

pub(crate) fn attribute(key: KeyAttribute) -> AttributeDefinition {
    let kind = match key.kind {
        AttributeType::Text => ScalarAttributeType::S,
        AttributeType::Number => ScalarAttributeType::N,
    };
    AttributeDefinition::builder().attribute_name(key.name).attribute_type(kind).build().unwrap()
}
