//! Which tables there are, as the template deploys them.

use serde_json::{Value, json};

/// One item a user and policy.
pub const RATE_LIMITS: Table = Table { partition: Key::text("pk"), sort: None, index: None, ttl: "ttl" };

/// Balances, and the log of generations, which can be read by time.
pub const LEDGER: Table = Table {
    partition: Key::text("pk"),
    sort: Some(Key::text("sk")),
    index: Some(Index { name: "created", sort: Key::number("created") }),
    ttl: "ttl",
};

/// A table, whatever its name. It is paid by request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its partition key.
    pub partition: Key,
    /// Its sort key, where an item needs one.
    pub sort: Option<Key>,
    /// Another order of the items of a partition.
    pub index: Option<Index>,
    /// The attribute that says when an item expires, in seconds since 1970.
    pub ttl: &'static str,
}

/// A local secondary index: all attributes, under the table's partition key and another sort key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// What a query calls it.
    pub name: &'static str,
    /// Its sort key. Items without it are not in the index.
    pub sort: Key,
}

/// An attribute that is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The attribute's name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
}

/// The type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, `S`.
    Text,
    /// A number, `N`.
    Number,
}

impl Key {
    const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text }
    }

    const fn number(name: &'static str) -> Self {
        Self { name, kind: Kind::Number }
    }
}

impl Kind {
    /// `S` or `N`, as the wire has it.
    pub fn letter(self) -> &'static str {
        match self {
            Self::Text => "S",
            Self::Number => "N",
        }
    }
}

impl Table {
    /// Every key: of the table, then of the index.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
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

fn schema(partition: Key, sort: Option<Key>) -> Value {
    let sort = sort.map(|key| json!({"AttributeName": key.name, "KeyType": "RANGE"}));
    let partition = json!({"AttributeName": partition.name, "KeyType": "HASH"});
    [Some(partition), sort].into_iter().flatten().collect()
}
