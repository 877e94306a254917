//! CloudWatch's end of the embedded metric format: reads log lines by
//! [the specification](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html)
//! and collects what it would store.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The metrics of a namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricStore(BTreeMap<MetricId, Statistics>);

/// What identifies a metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricId {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Names and values of its dimensions.
    pub dimensions: BTreeMap<String, String>,
}

/// The values of a metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// Their sum.
    pub sum: f64,
    /// Their number.
    pub count: u32,
    /// Their unit.
    pub unit: String,
}

const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

impl MetricStore {
    /// Reads a log line.
    ///
    /// # Errors
    /// What the specification does not allow. Nothing of the line is stored then.
    pub fn read(&mut self, line: &str) -> Result<(), String> {
        let root: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
        let root = root.as_object().ok_or("not an object")?;
        let metadata = object(root, "_aws")?;
        only(metadata, &["Timestamp", "CloudWatchMetrics"])?;
        member(metadata, "Timestamp")?
            .as_u64()
            .filter(|ms| *ms > 1_500_000_000_000)
            .ok_or("Timestamp: no time in ms")?;
        let mut found = Vec::new();
        for directive in list(metadata, "CloudWatchMetrics")? {
            let directive = directive.as_object().ok_or("a directive is not an object")?;
            only(directive, &["Namespace", "Dimensions", "Metrics"])?;
            let namespace = text(member(directive, "Namespace")?, 1_024)?;
            let sets = list(directive, "Dimensions")?;
            let metrics = list(directive, "Metrics")?;
            if sets.is_empty() || metrics.len() > 100 {
                return Err("no dimension set, or more than 100 metrics".into());
            }
            for set in sets {
                let dimensions = dimensions(root, set)?;
                for metric in metrics {
                    let (name, statistics) = values(root, metric)?;
                    let id = MetricId { namespace: namespace.clone(), name, dimensions: dimensions.clone() };
                    found.push((id, statistics));
                }
            }
        }
        for (id, Statistics { sum, count, unit }) in found {
            let stored = self.0.entry(id).or_default();
            *stored = Statistics { sum: stored.sum + sum, count: stored.count + count, unit };
        }
        Ok(())
    }

    /// All metrics.
    pub fn metrics(&self) -> impl Iterator<Item = (&MetricId, &Statistics)> {
        self.0.iter()
    }

    /// The statistics of a metric; empty ones if it has no values.
    pub fn get(&self, name: &str, dimensions: &[(&str, &str)]) -> Statistics {
        let is_it = |id: &MetricId| {
            let is = |(name, value): &(&str, &str)| id.dimensions.get(*name).is_some_and(|stored| stored == value);
            id.name == name && id.dimensions.len() == dimensions.len() && dimensions.iter().all(is)
        };
        self.0.iter().find(|(id, _)| is_it(id)).map(|(_, statistics)| statistics.clone()).unwrap_or_default()
    }
}

/// The values of a set of dimensions, which are members of the root.
fn dimensions(root: &Map<String, Value>, set: &Value) -> Result<BTreeMap<String, String>, String> {
    let set = set.as_array().ok_or("a dimension set is not a list")?;
    if set.len() > 30 {
        return Err("more than 30 dimensions".into());
    }
    let dimension = |name: &Value| {
        let name = text(name, 250)?;
        let value = text(member(root, &name)?, 1_024)?;
        Ok((name, value))
    };
    set.iter().map(dimension).collect()
}

/// The name and the values of a metric, which are a member of the root.
fn values(root: &Map<String, Value>, metric: &Value) -> Result<(String, Statistics), String> {
    let metric = metric.as_object().ok_or("a metric is not an object")?;
    only(metric, &["Name", "Unit", "StorageResolution"])?;
    let name = text(member(metric, "Name")?, 1_024)?;
    let unit = metric.get("Unit").map_or(Some("None"), Value::as_str).filter(|unit| UNITS.contains(unit));
    let unit = unit.ok_or_else(|| format!("{name} has another unit"))?.to_owned();
    if metric.get("StorageResolution").is_some_and(|resolution| ![Some(1), Some(60)].contains(&resolution.as_u64())) {
        return Err(format!("{name} has another resolution"));
    }
    let values = match member(root, &name)? {
        Value::Array(values) if values.len() <= 100 => values.iter().map(Value::as_f64).collect(),
        value => value.as_f64().map(|value| vec![value]),
    };
    let values: Vec<f64> = values.ok_or_else(|| format!("{name} is not a number or a list of at most 100"))?;
    let count = u32::try_from(values.len()).unwrap_or_default();
    Ok((name, Statistics { sum: values.iter().sum(), count, unit }))
}

fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a Value, String> {
    object.get(name).ok_or_else(|| format!("{name} is missing"))
}

fn object<'a>(parent: &'a Map<String, Value>, name: &str) -> Result<&'a Map<String, Value>, String> {
    member(parent, name)?.as_object().ok_or_else(|| format!("{name} is not an object"))
}

fn list<'a>(parent: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], String> {
    Ok(member(parent, name)?.as_array().ok_or_else(|| format!("{name} is not a list"))?)
}

fn text(value: &Value, max: usize) -> Result<String, String> {
    let text = value.as_str().filter(|text| (1..=max).contains(&text.chars().count()));
    text.map(str::to_owned).ok_or_else(|| format!("{value} is not a text of 1 to {max} characters"))
}

fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("{name} is not a member of this object")),
        None => Ok(()),
    }
}
