//! What an operator sees: the alarms and the dashboard of the template name metrics that exist, and docs/operate.md
//! describes all of them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use serde_json::Value;
use shared::alarm::Alarm;
use shared::metrics::METRICS;

use crate::support::tree::{ROOT, files};

const NAMESPACE: &str = "!Ref AWS::StackName";
/// The metric that the filters of the log lines make.
const ALARM_LINES: (&str, &[&str]) = ("Alarms", &["Class"]);

fn file(path: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

/// The template's resources of a type, with their name and text.
fn resources(kind: &str) -> Vec<(String, String)> {
    let template = file("template.yaml");
    let resources = template.split("\nResources:\n").nth(1).unwrap().split("\nOutputs:\n").next().unwrap();
    let blocks = format!("\n{resources}").replace("\n  ", "\n\u{1}").replace("\n\u{1} ", "\n   ");
    let blocks = blocks.split("\n\u{1}").filter(|block| !block.starts_with('#'));
    let of_kind = blocks.filter(|block| block.contains(&format!("    Type: {kind}\n")));
    of_kind.map(|block| (block.split(':').next().unwrap().to_owned(), block.to_owned())).collect()
}

/// The alarms: name and text.
fn alarms() -> Vec<(String, String)> {
    let alarms = resources("AWS::CloudWatch::Alarm").into_iter().map(|(_, text)| {
        let name = text.split("AlarmName: !Sub ${AWS::StackName}-").nth(1).unwrap().lines().next().unwrap().to_owned();
        (name, text)
    });
    alarms.collect()
}

/// Names and dimensions of all metrics of the stack's namespace.
fn known() -> Vec<(&'static str, Vec<&'static str>)> {
    let of_requests = METRICS.iter().map(|metric| {
        let dimensions = metric.dimensions.iter().map(|dimension| dimension.as_str());
        (metric.name, dimensions.collect())
    });
    of_requests.chain([(ALARM_LINES.0, ALARM_LINES.1.to_vec())]).collect()
}

fn dashboard() -> Vec<Value> {
    let [(_, text)] = <[_; 1]>::try_from(resources("AWS::CloudWatch::Dashboard")).unwrap();
    let body = text.split("DashboardBody: !Sub |\n").nth(1).unwrap();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    body["widgets"].as_array().unwrap().clone()
}

#[test]
fn every_class_of_lines_has_an_alarm_and_every_alarm_a_section() {
    let (alarms, operate) = (alarms(), file("docs/operate.md"));
    let names: Vec<_> = alarms.iter().map(|(name, _)| name.as_str()).collect();
    let classes: Vec<_> = Alarm::ALL.iter().map(|class| class.as_str()).collect();
    assert_eq!(names[..classes.len()], classes);
    for (name, text) in &alarms {
        assert!(operate.contains(&format!("\n### {name}\n\n")), "docs/operate.md has no section {name}");
        assert!(text.contains(&format!(". See docs/operate.md, section {name}\"")), "{name}");
        let actions = ["AlarmActions: [!Ref AlarmTopic]", "OKActions: [!Ref AlarmTopic]"];
        assert!(actions.iter().all(|action| text.contains(action)), "{name} notifies the topic");
        assert!(text.contains("TreatMissingData: notBreaching"), "{name}: no traffic is not a fault");
        if classes.contains(&name.as_str()) {
            assert!(
                text.contains(&format!("MetricName: Alarms\n      Dimensions: [{{ Name: Class, Value: {name} }}]\n"))
            );
        }
    }
    let filters = resources("AWS::Logs::MetricFilter");
    assert_eq!(filters.len(), resources("AWS::Logs::LogGroup").len());
    for (name, text) in filters {
        // The Lambda runtime's log puts the fields of a line there.
        assert!(text.contains("FilterPattern: \"{ $.fields.alarm IS TRUE }\"\n"), "{name}");
        assert!(text.contains("Dimensions: [{ Key: Class, Value: $.fields.alarm_class }]\n"), "{name}");
        assert!(text.contains(&format!("MetricNamespace: {NAMESPACE}\n          MetricName: Alarms\n")), "{name}");
    }
    assert!(alarms.len() == 13 && operate.contains("\nThirteen CloudWatch alarms"), "{}", alarms.len());
}

/// A line with `alarm` and without a class would start no alarm.
#[test]
fn every_line_with_an_alarm_names_its_class() {
    let mut lines = 0;
    for (name, text) in files().into_iter().filter(|(name, _)| name.ends_with(".rs") && name.contains("/src/")) {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for call in code.split("tracing::").skip(1) {
            let call = call.split_inclusive(");").next().unwrap();
            let fields: Vec<_> = call.split(['(', ',']).map(|field| field.split('=').next().unwrap().trim()).collect();
            if fields.contains(&"alarm") {
                assert!(fields.contains(&"alarm_class"), "{name}: use operator_alarm!, or log the class:\n{call}");
                lines += 1;
            }
        }
    }
    assert!(lines >= 5, "{lines} lines were found");
}

#[test]
fn the_template_names_metrics_that_exist() {
    let known = known();
    let mut found = BTreeSet::new();
    for (alarm, text) in alarms() {
        for metric in text.split(&format!("Namespace: {NAMESPACE}")).skip(1) {
            let name = metric.split("MetricName: ").nth(1).unwrap();
            let name = name.split([' ', '\n']).next().unwrap();
            let dimensions = if alarm_class(&alarm) { vec!["Class"] } else { Vec::new() };
            assert!(known.contains(&(name, dimensions)), "{alarm} reads {name}");
            found.insert(name.to_owned());
        }
    }
    for metric in dashboard().iter().flat_map(|widget| shown(&widget["properties"])) {
        if !metric.name.contains('/') {
            let dimensions: Vec<_> = metric.dimensions.iter().map(String::as_str).collect();
            assert!(known.contains(&(metric.name.as_str(), dimensions)), "the dashboard shows {metric:?}");
            found.insert(metric.name);
        }
    }
    let unused: Vec<_> = known.iter().map(|(name, _)| *name).filter(|name| !found.contains(*name)).collect();
    assert!(unused.is_empty(), "neither an alarm nor the dashboard reads {unused:?}");
}

fn alarm_class(name: &str) -> bool {
    Alarm::ALL.iter().any(|class| class.as_str() == name)
}

/// A metric on the dashboard.
#[derive(Debug, PartialEq)]
struct Shown {
    name: String,
    dimensions: Vec<String>,
    statistic: String,
    label: Option<String>,
}

/// The metrics of a widget. Those of other namespaces have theirs before the name.
fn shown(properties: &Value) -> Vec<Shown> {
    let metrics = properties["metrics"].as_array().into_iter().flatten();
    let mut found = Vec::new();
    for metric in metrics.map(|metric| metric.as_array().unwrap()) {
        let options = metric.last().unwrap();
        let label = options["label"].as_str().map(str::to_owned);
        if let Some(expression) = options["expression"].as_str() {
            // Others compute with metrics of the same widget.
            let Some(search) = expression.strip_prefix("SEARCH('{\"${AWS::StackName}\",") else { continue };
            let (dimensions, rest) = search.split_once("} MetricName=\"").unwrap();
            let (name, rest) = rest.split_once("\"', '").unwrap();
            let dimensions = dimensions.split(',').map(str::to_owned).collect();
            let statistic = rest.strip_suffix("')").unwrap().to_owned();
            found.push(Shown { name: name.to_owned(), dimensions, statistic, label });
            continue;
        }
        let text: Vec<_> = metric.iter().filter_map(Value::as_str).collect();
        let name = match text[0] {
            "${AWS::StackName}" => text[1].to_owned(),
            other => format!("{other} {}", text[1]),
        };
        let dimensions = text[2..].iter().step_by(2).map(|name| (*name).to_owned()).collect();
        let statistic = options["stat"].as_str().unwrap().to_owned();
        let shown = Shown { name, dimensions, statistic, label };
        // One line for each function is one metric.
        if !found.iter().any(|known: &Shown| known.name == shown.name && known.statistic == shown.statistic) {
            found.push(shown);
        }
    }
    found
}

/// The dashboard as a table.
fn dashboard_table() -> String {
    let mut table = "| Question | Widget | Shows |\n|---|---|---|\n".to_owned();
    let mut question = String::new();
    for widget in dashboard() {
        let properties = &widget["properties"];
        if let Some(markdown) = properties["markdown"].as_str() {
            question = markdown.trim_start_matches("## ").to_owned();
            continue;
        }
        let mut shows: Vec<String> = Vec::new();
        if let Some(alarms) = properties["alarms"].as_array() {
            shows.push(format!("the state of the {} alarms", alarms.len()));
        }
        for Shown { name, dimensions, statistic, .. } in shown(properties) {
            let by = if dimensions.is_empty() { String::new() } else { format!(" by {}", dimensions.join(" and ")) };
            match shows.last_mut().filter(|last| last.starts_with(&format!("`{name}`{by}:"))) {
                Some(last) => write!(last, ", {statistic}").unwrap(),
                None => shows.push(format!("`{name}`{by}: {statistic}")),
            }
        }
        writeln!(table, "| {question} | {} | {} |", properties["title"].as_str().unwrap(), shows.join("; ")).unwrap();
        question.clear();
    }
    table
}

fn metrics_table() -> String {
    let mut table = "| Metric | Unit | Dimensions | A request adds |\n|---|---|---|---|\n".to_owned();
    for metric in METRICS {
        let dimensions: Vec<_> =
            metric.dimensions.iter().map(|dimension| format!("`{}`", dimension.as_str())).collect();
        let dimensions = if dimensions.is_empty() { "–".to_owned() } else { dimensions.join(", ") };
        let unit = format!("{:?}", metric.unit);
        writeln!(table, "| `{}` | {unit} | {dimensions} | {} |", metric.name, metric.description).unwrap();
    }
    writeln!(table, "| `Alarms` | Count | `Class` | 1 for each of its log lines with `\"alarm\":true` |").unwrap();
    table
}

#[test]
fn the_dashboard_and_the_metrics_are_in_the_documentation() {
    let operate = file("docs/operate.md");
    for table in [dashboard_table(), metrics_table()] {
        assert!(operate.contains(&format!("\n\n{table}\n")), "docs/operate.md must contain this table:\n{table}");
    }
}

#[test]
fn the_dashboard_shows_every_alarm_and_its_widgets_do_not_overlap() {
    let widgets = dashboard();
    let listed: Vec<_> =
        widgets.iter().flat_map(|widget| widget["properties"]["alarms"].as_array()).flatten().collect();
    let expected: Vec<_> =
        resources("AWS::CloudWatch::Alarm").iter().map(|(name, _)| format!("${{{name}.Arn}}")).collect();
    assert_eq!(listed, expected.iter().collect::<Vec<_>>());
    let mut cells = BTreeSet::new();
    for widget in &widgets {
        let at = |name: &str| widget[name].as_u64().unwrap();
        assert!(at("x") + at("width") <= 24, "{widget}");
        for cell in
            (at("x")..at("x") + at("width")).flat_map(|x| (at("y")..at("y") + at("height")).map(move |y| (x, y)))
        {
            assert!(cells.insert(cell), "{widget}");
        }
    }
}
