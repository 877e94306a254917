//! openapi.yaml, the pages in `docs`, the template and the code have the same routes, events, codes and variables.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shared::config::VARIABLES;
use shared::problem::Code;

use super::{Specification, file};

/// The template's output with the address of a path, where it has one.
const OUTPUTS: [(&str, &str); 4] = [
    ("/api/generate-stream", "GenerateStreamUrl"),
    ("/api/generate-image", "GenerateImageUrl"),
    ("/api/v1/faceflip/generate/stream", "FaceflipStreamUrl"),
    ("/api/generations", "GenerationsUrl"),
];

/// The text in code type.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of the table below this beginning of its head, without the line under the head.
fn table<'a>(page: &'a str, head: &str) -> Vec<&'a str> {
    let (_, rows) = page.split_once(&format!("\n{head}")).unwrap_or_else(|| panic!("no table {head}"));
    rows.lines().skip(2).take_while(|line| line.starts_with('|')).collect()
}

fn is_name(text: &&str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn the_routes_are_those_of_the_code_the_pages_and_the_template() {
    let specification = Specification::read();
    let mut routes = BTreeMap::<String, BTreeSet<String>>::new();
    for (path, item) in specification.at("/paths").as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
        routes.insert(path.clone(), methods.map(|method| method.to_uppercase()).collect());
    }
    for page in ["docs/api.md", "README.md", "README.zh-CN.md"] {
        let page = file(page);
        let mut documented = BTreeMap::<String, BTreeSet<String>>::new();
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let route = code_spans(line).next().unwrap();
            let Some((method, path)) = route.split_once(' ').filter(|(_, path)| path.starts_with("/api/")) else {
                continue;
            };
            let path = path.split('?').next().unwrap().replace("{task id}", "{task_id}");
            documented.entry(path).or_default().insert(method.to_owned());
        }
        assert_eq!(documented, routes);
    }
    // The methods that the handlers name in `Allow` are tried by schemathesis; these are the paths that they compare.
    let sources =
        ["generate-stream", "faceflip-stream", "generations"].map(|name| file(&format!("functions/{name}/src/lib.rs")));
    let paths: BTreeSet<_> = sources.iter().flat_map(|source| source.split("path: \"").skip(1)).collect();
    let paths: BTreeSet<_> = paths.iter().map(|rest| rest.split('"').next().unwrap().trim_end_matches('/')).collect();
    assert_eq!(paths, routes.keys().map(|path| path.split("/{").next().unwrap()).collect());

    let template = file("template.yaml");
    for (path, output) in OUTPUTS {
        assert!(routes.contains_key(path), "{path}");
        let address = format!("\n  {output}:\n");
        let (_, value) = template.split_once(&address).unwrap_or_else(|| panic!("no output {output}"));
        assert!(value.lines().nth(1).unwrap().ends_with(&format!("FunctionUrl}}{}", &path[1..])), "{output}");
    }
    assert_eq!(paths.len(), OUTPUTS.len());
}

#[test]
fn the_events_are_those_of_the_page() {
    let specification = Specification::read();
    let (page, schemas) = (file("docs/api.md"), specification.at("/components/schemas"));
    let resolve = |schema: &Value| match schema["$ref"].as_str() {
        Some(shared) => specification.at(shared.trim_start_matches('#')).clone(),
        None => schema.clone(),
    };
    let names = |schema: &Value| schema["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all_text = serde_json::to_string(schemas).unwrap();
    let rows = table(&page, "| Event | Members of `data` |");
    let mut documented = BTreeSet::new();
    for row in &rows {
        let name = code_spans(row).next().unwrap();
        documented.insert(name.to_owned());
        let event = schemas["StreamEvent"]["discriminator"]["mapping"][name].as_str();
        let event = specification.at(event.unwrap_or_else(|| panic!("no event {name}")).trim_start_matches('#'));
        let known = names(&resolve(&event["properties"]["data"]));
        // `task_id` of `image.done` is in the example of the faceflip route.
        for member in known
            .iter()
            .filter(|member| (name, member.as_str()) != ("image.done", "task_id") && *member != "url_expires")
        {
            assert!(
                code_spans(row).any(|span| span.split(':').next() == Some(member)),
                "docs/api.md: {name} has {member}"
            );
        }
        for span in code_spans(row).skip(1).filter(is_name) {
            let is_known = known.iter().any(|member| member == span) || all_text.contains(&format!("\"{span}\""));
            assert!(is_known, "openapi.yaml: {name} has no {span}");
        }
    }
    let mapping = schemas["StreamEvent"]["discriminator"]["mapping"].as_object().unwrap();
    assert_eq!(documented, mapping.keys().cloned().collect());
    let listed: Vec<_> =
        schemas["StreamEvent"]["oneOf"].as_array().unwrap().iter().map(|event| &event["$ref"]).collect();
    assert!(mapping.values().all(|event| listed.contains(&event)) && listed.len() == mapping.len());
}

#[test]
fn the_log_and_the_requests_are_those_of_the_page() {
    let specification = Specification::read();
    let page = file("docs/api.md");
    let section = |name: &str| page.split(&format!("\n## {name}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    for (schema, name) in [("GenerationPage", "Generations"), ("Generation", "Generations"), ("Problem", "Errors")] {
        let members = specification.at(&format!("/components/schemas/{schema}/properties")).as_object().unwrap();
        for member in members.keys() {
            let text = section(name);
            assert!(
                text.contains(&format!("`{member}`")) || text.contains(&format!("\"{member}\":")),
                "{name}: {member}"
            );
        }
    }
    for (schema, name) in [("GenerateRequest", "Generate request"), ("FaceflipRequest", "Faceflip")] {
        let members = specification.at(&format!("/components/schemas/{schema}/properties")).as_object().unwrap();
        let rows = table(section(name), "| Field | Type | Rule |");
        let fields: BTreeSet<_> = rows.iter().map(|row| code_spans(row).next().unwrap()).collect();
        assert_eq!(fields, members.keys().map(String::as_str).collect(), "{name}");
        for row in rows {
            let field = code_spans(row).next().unwrap();
            let values = members[field]["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
            for value in values {
                assert!(code_spans(row).any(|span| span == value), "{field}: {value}");
            }
        }
    }
}

#[test]
fn the_codes_are_those_of_the_code() {
    let specification = Specification::read();
    let mut expected = BTreeMap::<String, Vec<&str>>::new();
    for code in Code::ALL {
        expected.entry(format!("ProblemCode{}", code.status())).or_default().push(code.as_str());
    }
    let schemas = specification.at("/components/schemas").as_object().unwrap();
    let of_status = schemas.iter().filter(|(name, _)| name.starts_with("ProblemCode") && *name != "ProblemCode");
    let words = |schema: &Value| {
        schema["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let found: BTreeMap<_, _> = of_status.map(|(name, schema)| (name.clone(), words(schema))).collect();
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, codes)| (name, codes.into_iter().map(str::to_owned).collect())).collect();
    assert_eq!(found, expected, "openapi.yaml has the codes of each status");
    let all = schemas["ProblemCode"]["anyOf"].as_array().unwrap();
    let all: BTreeSet<_> = all.iter().map(|one| one["$ref"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
    assert_eq!(all, found.keys().map(String::as_str).collect());
    for status in found.keys().filter_map(|name| name.strip_prefix("ProblemCode")).filter(|status| *status != "499") {
        specification.at(&format!("/components/responses/Problem{status}"));
    }
}

#[test]
fn the_variables_exist() {
    let text = file("openapi.yaml");
    let is_variable =
        |word: &&str| word.len() > 1 && word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(is_variable) {
        assert!(VARIABLES.iter().any(|variable| variable.name == word), "{word}");
    }
}

#[test]
fn the_version_is_that_of_the_workspace() {
    let specification = Specification::read();
    let version = specification.at("/info/version").as_str().unwrap();
    assert!(file("Cargo.toml").contains(&format!("\nversion = \"{version}\"\n")), "{version}");
}
