//! The tables of the local stack and those of `template.yaml`.

use std::fs;

use dev::dynamodb::{KeyAttribute, LEDGER, RATE_LIMITS, Table};

#[test]
fn the_tables_are_those_of_the_template() {
    let template = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml")).unwrap();
    let lines = template.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let template = lines.collect::<Vec<_>>().join("\n");
    let tables = [("RateLimitsTable", RATE_LIMITS), ("LedgerTable", LEDGER)];
    let deployed = template.matches("\n    Type: AWS::DynamoDB::Table\n").count();
    assert_eq!(deployed, tables.len(), "every table of the template");
    for (resource, table) in tables {
        let resource = block(&block(&template, "Resources"), resource);
        assert_eq!(resource.lines().next(), Some("Type: AWS::DynamoDB::Table"));
        let properties = block(&resource, "Properties");
        // The engine ignores these.
        let not_here = ["SSESpecification:", "PointInTimeRecoverySpecification:"];
        let here = properties.lines().filter(|line| !not_here.iter().any(|key| line.starts_with(key)));
        assert_eq!(here.collect::<Vec<_>>().join("\n"), written(&table));
    }
}

/// The YAML below a key.
fn block(yaml: &str, key: &str) -> String {
    let mut lines = yaml.lines();
    lines.find(|line| line.strip_suffix(':') == Some(key)).unwrap_or_else(|| panic!("no {key}"));
    lines.map_while(|line| line.strip_prefix("  ")).collect::<Vec<_>>().join("\n")
}

/// A table's properties, as the template writes them.
fn written(table: &Table) -> String {
    let mut lines = vec!["BillingMode: PAY_PER_REQUEST".to_owned(), "AttributeDefinitions:".to_owned()];
    let attribute =
        |key: KeyAttribute| format!("  - {{ AttributeName: {}, AttributeType: {} }}", key.name, key.kind.letter());
    lines.extend(table.keys().map(attribute));
    let schema = |indent: &str, sort: Option<KeyAttribute>| -> Vec<String> {
        let partition = format!("{indent}- {{ AttributeName: {}, KeyType: HASH }}", table.partition.name);
        let sort = sort.map(|key| format!("{indent}- {{ AttributeName: {}, KeyType: RANGE }}", key.name));
        [Some(partition), sort].into_iter().flatten().collect()
    };
    lines.push("KeySchema:".to_owned());
    lines.extend(schema("  ", table.sort));
    if let Some(index) = table.index {
        lines.push("LocalSecondaryIndexes:".to_owned());
        lines.push(format!("  - IndexName: {}", index.name));
        lines.push("    KeySchema:".to_owned());
        lines.extend(schema("      ", Some(index.sort)));
        lines.push("    Projection: { ProjectionType: ALL }".to_owned());
    }
    lines.push(format!("TimeToLiveSpecification: {{ AttributeName: {}, Enabled: true }}", table.ttl));
    lines.join("\n")
}
