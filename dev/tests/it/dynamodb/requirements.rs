//! What an engine must do for the tables.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, TableStatus,
    TimeToLiveStatus,
};
use dev::dynamodb::{LEDGER, RATE_LIMITS};
use futures_util::future::join_all;
use uuid::Uuid;

use super::create::{attribute, create, describe, n, s, schema};
use super::requests::{charge, condition_failed, count, get, newest_first, put};

/// Creates both tables, checks the requirements, and deletes the tables.
pub(super) async fn create_and_check(client: &Client) {
    let id = Uuid::new_v4();
    let (limits, book) = (format!("rate-limits-{id}"), format!("ledger-{id}"));
    create(client, &limits, &RATE_LIMITS).await;
    create(client, &book, &LEDGER).await;
    requirements(client, &limits, &book).await;
    for table in [limits, book] {
        client.delete_table().table_name(table).send().await.unwrap();
    }
}

/// The requirements of every engine.
pub(super) async fn requirements(client: &Client, limits: &str, book: &str) {
    for (name, table) in [(limits, RATE_LIMITS), (book, LEDGER)] {
        let found = describe(client, name).await;
        assert_eq!(found.table_status, Some(TableStatus::Active));
        assert_eq!(found.key_schema(), schema(table.partition, table.sort));
        let sorted = |mut list: Vec<AttributeDefinition>| {
            list.sort_by(|one, other| one.attribute_name.cmp(&other.attribute_name));
            list
        };
        assert_eq!(sorted(found.attribute_definitions().to_vec()), sorted(table.keys().map(attribute).collect()));
        let indexes =
            found.local_secondary_indexes().iter().map(|index| (index.index_name(), index.key_schema().to_vec()));
        let expected = table.index.map(|index| (Some(index.name), schema(table.partition, Some(index.sort))));
        assert_eq!(indexes.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
        let ttl = client.describe_time_to_live().table_name(name).send().await.unwrap();
        let ttl = ttl.time_to_live_description.unwrap();
        assert_eq!(ttl.attribute_name(), Some(table.ttl));
        assert!(matches!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)));
    }
    conditions_hold(client, limits).await;
    concurrent_updates_are_counted_once(client, limits).await;
    a_hold_is_given_back_once(client, book).await;
    an_index_gives_the_newest_first(client, book).await;
}

async fn conditions_hold(client: &Client, limits: &str) {
    let done = charge(client, limits, "user", 1000, "run-1").await.unwrap();
    let new = done.attributes.unwrap();
    assert_eq!(new.len(), 3, "the attributes that were set, without the key: {new:?}");
    assert_eq!((&new["tat"], &new["rid"]), (&n(1000), &s("run-1")));

    for (time, writer) in [(2000, "run-1"), (999, "run-2")] {
        let error = charge(client, limits, "user", time, writer).await.unwrap_err();
        let old = condition_failed(error).unwrap();
        assert_eq!(old.len(), 4, "the whole item: {old:?}");
        assert_eq!((&old["pk"], &old["tat"], &old["rid"]), (&s("user"), &n(1000), &s("run-1")));
    }
    charge(client, limits, "user", 2000, "run-2").await.unwrap();
    assert_eq!(get(client, limits, "user").await.unwrap()["tat"], n(2000));

    // Without an item, the refusal contains none.
    let refused = client.update_item().table_name(limits).key("pk", s("missing"));
    let refused = refused
        .update_expression("SET #n = :one")
        .condition_expression("attribute_exists(pk)")
        .expression_attribute_names("#n", "n")
        .expression_attribute_values(":one", n(1))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    assert_eq!(condition_failed(refused.send().await.unwrap_err()), None);
    assert_eq!(get(client, limits, "missing").await, None);
}

async fn concurrent_updates_are_counted_once(client: &Client, limits: &str) {
    let takers = (0..40).map(|_| {
        let update = client.update_item().table_name(limits).key("pk", s("hot"));
        update
            .update_expression("ADD #n :one")
            .condition_expression("attribute_not_exists(#n) OR #n < :most")
            .expression_attribute_names("#n", "n")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":most", n(25))
            .send()
    });
    let answers = join_all(takers).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 25);
    for error in answers.into_iter().filter_map(Result::err) {
        condition_failed(error);
    }
    assert_eq!(count(client, limits, "hot").await, 25);
}

async fn a_hold_is_given_back_once(client: &Client, book: &str) {
    let credits =
        [("pk", s("user")), ("sk", s("BAL")), ("credits", n(5)), ("holds", AttributeValue::M(HashMap::new()))];
    put(client, book, credits).await;
    let update = || client.update_item().table_name(book).key("pk", s("user")).key("sk", s("BAL"));
    let hold = AttributeValue::M(HashMap::from([("c".to_owned(), n(3)), ("t".to_owned(), n(1000))]));
    let reserve = || {
        update()
            .update_expression("SET #credits = #credits - :c, #holds.#task = :hold")
            .condition_expression("#credits >= :c AND attribute_not_exists(#holds.#task)")
            .expression_attribute_names("#credits", "credits")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#task", "a task: of any name")
            .expression_attribute_values(":c", n(3))
            .expression_attribute_values(":hold", hold.clone())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
    };
    let give_back = || {
        update()
            .update_expression("SET #credits = #credits + #holds.#task.#c REMOVE #holds.#task")
            .condition_expression("attribute_exists(#holds.#task)")
            .expression_attribute_names("#credits", "credits")
            .expression_attribute_names("#holds", "holds")
            .expression_attribute_names("#task", "a task: of any name")
            .expression_attribute_names("#c", "c")
            .return_values(ReturnValue::UpdatedNew)
            .send()
    };
    reserve().await.unwrap();
    let old = condition_failed(reserve().await.unwrap_err()).unwrap();
    assert_eq!(old["credits"], n(2));
    assert_eq!(old["holds"].as_m().unwrap()["a task: of any name"], hold);
    let new = give_back().await.unwrap().attributes.unwrap();
    assert_eq!(new["credits"], n(5));
    assert_eq!(condition_failed(give_back().await.unwrap_err()), None, "the item was not requested");
}

async fn an_index_gives_the_newest_first(client: &Client, book: &str) {
    for (user, task, created) in [("user", "G#b", 2), ("user", "G#a", 10), ("user", "G#c", 9), ("other", "G#d", 5)] {
        put(client, book, [("pk", s(user)), ("sk", s(task)), ("created", n(created))]).await;
    }
    // Sorted as numbers, without the balance, which has no time, and without items of other users.
    assert_eq!(newest_first(client, book, "user").await, ["G#a", "G#c", "G#b"]);

    let mut pages = Vec::new();
    let mut start = None;
    loop {
        let query = client.query().table_name(book).index_name("created").scan_index_forward(false).limit(2);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", s("user"));
        let page = query.set_exclusive_start_key(start.take()).send().await.unwrap();
        pages.extend(page.items().iter().map(|item| item["sk"].as_s().unwrap().clone()));
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
        assert!(pages.len() <= 3, "{pages:?}");
    }
    assert_eq!(pages, ["G#a", "G#c", "G#b"], "page by page");
}
