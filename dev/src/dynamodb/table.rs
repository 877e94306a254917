//! The tables that `template.yaml` deploys.

use serde_json::{Value, json};

/// The rate limits: one item per user and policy.
pub const RATE_LIMITS: Table = Table { partition: KeyAttribute::text("pk"), sort: None, index: None, ttl: "ttl" };

/// Credit balances, and the log of generations with an index by time.
pub const LEDGER: Table = Table {
    partition: KeyAttribute::text("pk"),
    sort: Some(KeyAttribute::text("sk")),
    index: Some(Index { name: "created", sort: KeyAttribute::number("created") }),
    ttl: "ttl",
};

/// The schema of a table, without its name. The billing mode is pay per request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its partition key.
    pub partition: KeyAttribute,
    /// Its sort key, if it has one.
    pub sort: Option<KeyAttribute>,
    /// Its local secondary index, if it has one.
    pub index: Option<Index>,
    /// The attribute with an item's expiry time, in seconds since 1970.
    pub ttl: &'static str,
}

/// A local secondary index: all attributes, under the table's partition key and another sort key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// The index name in a query.
    pub name: &'static str,
    /// Its sort key. Items without it are not in the index.
    pub sort: KeyAttribute,
}

/// A key attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAttribute {
    /// The attribute's name.
    pub name: &'static str,
    /// Its type.
    pub kind: AttributeType,
}

/// The type of a key attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeType {
    /// Text, `S`.
    Text,
    /// A number, `N`.
    Number,
}

impl KeyAttribute {
    const fn text(name: &'static str) -> Self {
        Self { name, kind: AttributeType::Text }
    }

    const fn number(name: &'static str) -> Self {
        Self { name, kind: AttributeType::Number }
    }
}

impl AttributeType {
    /// The type's letter in a request: `S` or `N`.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Text => "S",
            Self::Number => "N",
        }
    }
}

impl Table {
    /// Every key attribute: those of the table, then that of the index.
    pub fn keys(&self) -> impl Iterator<Item = KeyAttribute> {
        [Some(self.partition), self.sort, self.index.map(|index| index.sort)].into_iter().flatten()
    }

    /// The body of `CreateTable`.
    pub(super) fn request(&self, name: &str) -> Value {
        let attributes: Vec<_> =
            self.keys().map(|key| json!({"AttributeName": key.name, "AttributeType": key.kind.letter()})).collect();
        let mut request = json!({
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": attributes,
            "KeySchema": schema(self.partition, self.sort),
        });
        if let Some(index) = self.index {
            request["LocalSecondaryIndexes"] = json!([{
                "IndexName": index.name,
                "KeySchema": schema(self.partition, Some(index.sort)),
                "Projection": {"ProjectionType": "ALL"},
            }]);
        }
        request
    }
}

fn schema(partition: KeyAttribute, sort: Option<KeyAttribute>) -> Value {
    let sort = sort.map(|key| json!({"AttributeName": key.name, "KeyType": "RANGE"}));
    let partition = json!({"AttributeName": partition.name, "KeyType": "HASH"});
    [Some(partition), sort].into_iter().flatten().collect()
}
