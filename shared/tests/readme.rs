//! The README says what the code does.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::fmt::Write;

use shared::config::VARIABLES;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap()
}

#[test]
fn every_variable_stands_in_the_table() {
    let mut table = String::from("| Variable | Holds | Default | For |\n|---|---|---|---|\n");
    for variable in VARIABLES {
        let default = variable.default.map_or("–".into(), |default| format!("`{default}`"));
        writeln!(table, "| `{}` | {} | {default} | {} |", variable.name, variable.values, variable.says).unwrap();
    }
    assert!(readme().contains(&table), "the table of variables in README.md should be:\n{table}");
}

#[test]
fn every_folder_of_the_map_exists() {
    let readme = readme();
    let map = readme.split("## Map").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut named = 0;
    for path in map.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(path, _)| path) {
        assert!(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path).exists(), "{path}");
        named += 1;
    }
    assert!(named > 5, "the map names {named} places");
}
