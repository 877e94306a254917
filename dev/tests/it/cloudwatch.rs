//! The reader of the embedded metric format accepts AWS's example and refuses what the specification does not allow.

use dev::cloudwatch::MetricStore;
use serde_json::{Value, json};

/// The example of the specification.
fn example() -> Value {
    json!({
        "_aws": {
            "Timestamp": 1_574_109_732_004_u64,
            "CloudWatchMetrics": [{
                "Namespace": "lambda-function-metrics",
                "Dimensions": [["functionVersion"]],
                "Metrics": [{ "Name": "time", "Unit": "Milliseconds", "StorageResolution": 60 }],
            }],
        },
        "functionVersion": "$LATEST",
        "time": 100,
        "requestId": "989ffbf8-9ace-4817-a57c-e4dd734019ee",
    })
}

#[test]
fn lines_add_up() {
    let mut store = MetricStore::default();
    let mut second = example();
    second["time"] = json!([1, 2.5]);
    for line in [example(), second] {
        store.read(&line.to_string()).unwrap();
    }
    let time = store.get("time", &[("functionVersion", "$LATEST")]);
    assert_eq!((time.sum, time.count, time.unit.as_str()), (103.5, 3, "Milliseconds"));
    assert_eq!(store.get("time", &[]).count, 0, "another metric");
    assert_eq!(store.metrics().count(), 1);
}

#[test]
fn what_the_specification_forbids_is_refused() {
    type Change = fn(&mut Value);
    let rows: [(&str, Change); 11] = [
        ("no metadata", |line| drop(line.as_object_mut().unwrap().remove("_aws"))),
        ("no time", |line| line["_aws"]["Timestamp"] = json!(1_574_109_732)),
        ("no namespace", |line| line["_aws"]["CloudWatchMetrics"][0]["Namespace"] = json!("")),
        ("no dimension set", |line| line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] = json!([])),
        ("another member", |line| line["_aws"]["CloudWatchMetrics"][0]["dimensions"] = json!([])),
        ("another unit", |line| line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Unit"] = json!("ms")),
        ("a dimension without a value", |line| drop(line.as_object_mut().unwrap().remove("functionVersion"))),
        ("a dimension that is a number", |line| line["functionVersion"] = json!(1)),
        ("a metric without a value", |line| drop(line.as_object_mut().unwrap().remove("time"))),
        ("a metric that is text", |line| line["time"] = json!("100")),
        ("too many values", |line| line["time"] = json!(vec![0; 101])),
    ];
    for (row, change) in rows {
        let (mut line, mut store) = (example(), MetricStore::default());
        change(&mut line);
        assert!(store.read(&line.to_string()).is_err(), "{row}");
        assert_eq!(store, MetricStore::default(), "{row}");
    }
    assert!(MetricStore::default().read(&format!("INFO {}", example())).is_err(), "text before the object");
}
