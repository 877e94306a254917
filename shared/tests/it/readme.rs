//! The README and the pages in `docs` agree with the code, and each translation with its original.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use shared::config::{FunctionConfig, GenerateConfig, VARIABLES};
use shared::problem::{Code, Problem};
use shared::upstream::ModelFamily;

use crate::support::tree::files;

/// Pages and their translations.
const TRANSLATED: [(&str, &str); 4] = [
    ("README.md", "README.zh-CN.md"),
    ("docs/migration.md", "docs/migration.zh-CN.md"),
    ("docs/labels.md", "docs/labels.zh-CN.md"),
    ("examples/README.md", "examples/README.zh-CN.md"),
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The parts of a page that a translation does not change.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    /// The levels of the headings.
    headings: Vec<usize>,
    /// The fenced blocks with their fences; of diagrams, all but the labels.
    blocks: Vec<String>,
    /// For each row of a table and each of its cells, the code spans.
    rows: Vec<Vec<Vec<String>>>,
    /// The targets of the links, in order; `x.md` stands for its translation too.
    links: Vec<String>,
}

impl Parts {
    fn of(page: &str) -> Self {
        let (mut parts, mut text) = (Self::default(), String::new());
        let mut lines = page.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("```") {
                let block = std::iter::once(line).chain(lines.by_ref().take_while(|line| *line != "```"));
                let block = block.collect::<Vec<_>>().join("\n");
                parts.blocks.push(if line == "```mermaid" { without_labels(&block) } else { block });
                continue;
            }
            if line.starts_with('#') {
                parts.headings.push(line.chars().take_while(|c| *c == '#').count());
            }
            if line.starts_with('|') {
                parts.rows.push(cells(line).iter().map(|cell| code_spans(cell)).collect());
            }
            text.push_str(line);
            text.push('\n');
        }
        let links = links(&text);
        parts.links = links.iter().map(|link| link.replace(".zh-CN.md", ".md")).collect();
        parts
    }
}

/// A diagram without what stands in brackets or quotes.
fn without_labels(diagram: &str) -> String {
    let (mut depth, mut is_quoted) = (0_usize, false);
    let is_outside = |c: &char| {
        match c {
            '"' => is_quoted = !is_quoted,
            '[' if !is_quoted => depth += 1,
            ']' if !is_quoted => depth -= 1,
            _ => return depth == 0 && !is_quoted,
        }
        false
    };
    diagram.chars().filter(is_outside).collect()
}

/// The cells of a table's row. A `|` in a code span does not end a cell.
fn cells(row: &str) -> Vec<String> {
    let (mut cells, mut is_code) = (vec![String::new()], false);
    for c in row.chars() {
        is_code ^= c == '`';
        match c {
            '|' if !is_code => cells.push(String::new()),
            _ => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

fn code_spans(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The targets of the links outside code spans.
fn links(text: &str) -> Vec<String> {
    let prose: String = text.split('`').step_by(2).collect();
    prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect()
}

#[test]
fn readme_is_short() {
    for path in ["README.md", "README.zh-CN.md"] {
        let lines = page(path).lines().count();
        assert!(lines <= 130, "{path} has {lines} lines; details belong in docs/");
    }
}

#[test]
fn translations_have_the_same_commands_tables_and_links() {
    for (original, translation) in TRANSLATED {
        let (expected, found) = (Parts::of(&page(original)), Parts::of(&page(translation)));
        for (expected, found) in expected.blocks.iter().zip(&found.blocks) {
            assert_eq!(expected, found, "a code block of {translation}");
        }
        for (expected, found) in expected.rows.iter().zip(&found.rows) {
            assert_eq!(expected, found, "code in a table of {translation}");
        }
        assert_eq!(expected.links, found.links, "links of {translation}");
        assert_eq!(expected, found, "{translation} differs from {original}");
        // The page about labels is short.
        let (blocks, rows, links) = if original == "docs/labels.md" { (1, 12, 4) } else { (2, 20, 8) };
        let is_read = expected.blocks.len() >= blocks && expected.rows.len() >= rows && expected.links.len() >= links;
        assert!(is_read, "{original}");
    }
}

#[test]
fn every_link_leads_to_a_file() {
    let docs = std::fs::read_dir(repository().join("docs")).unwrap();
    let docs = docs.map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()));
    let pages = ["README.md", "README.zh-CN.md", "events/README.md"].map(str::to_owned);
    let mut broken = Vec::new();
    for path in pages.into_iter().chain(docs.filter(|path| path.ends_with(".md"))) {
        let folder = repository().join(&path).parent().unwrap().to_owned();
        for link in links(&page(&path)).into_iter().filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !folder.join(file).exists() {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_variable_is_in_the_table() {
    let mut table = String::from("| Variable | Holds | Default | For |\n|---|---|---|---|\n");
    for variable in VARIABLES {
        let default = variable.default.map_or("–".into(), |default| format!("`{default}`"));
        writeln!(table, "| `{}` | {} | {default} | {} |", variable.name, variable.values, variable.description)
            .unwrap();
    }
    assert!(page("docs/configuration.md").contains(&table), "the table in docs/configuration.md should be:\n{table}");
}

#[test]
fn every_family_of_models_is_in_the_table() {
    let code = |names: &[&str]| match names {
        [] => "–".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    let mut families = String::from("| Family | Models | Takes | `modalities` | Drafts |\n|---|---|---|---|---|\n");
    let mut sizes = String::from("| Family | Sizes |\n|---|---|\n");
    for family in ModelFamily::ALL {
        let name = if family.models.is_empty() { family.name.to_owned() } else { code(&[family.name]) };
        let drafts = if family.may_send_drafts { "possible" } else { "none" };
        let (models, takes, modalities) = (code(family.models), code(family.takes), code(family.modalities));
        writeln!(families, "| {name} | {models} | {takes} | {modalities} | {drafts} |").unwrap();
        let pixels: Vec<_> = family.sizes.iter().map(|(width, height)| format!("{width}x{height}")).collect();
        writeln!(sizes, "| {name} | {} |", pixels.join(", ")).unwrap();
    }
    let page = page("docs/upstream-requests.md");
    for table in [families, sizes] {
        assert!(page.contains(&format!("\n{table}\n")), "a table in docs/upstream-requests.md should be:\n{table}");
    }
    let of_ark = ModelFamily::ALL.iter().map(|family| family.name).filter(|name| name.starts_with("seedream"));
    assert_eq!(of_ark.collect::<Vec<_>>(), ModelFamily::OF_ARK);
}

#[test]
fn the_upstreams_and_routes_of_the_documents_are_valid() {
    let operate = page("docs/operate.md");
    let section = operate.split("\n## Several upstreams\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks: Vec<_> = section.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let lines = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let line = |name: &str| {
        let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("='")?.strip_suffix('\''));
        line.unwrap().replace('…', "a-key")
    };
    let documents = [
        (blocks[0].to_owned(), blocks[1].to_owned(), Some("generate-stream")),
        (line("IMAGE_UPSTREAMS"), line("IMAGE_ROUTES"), None),
    ];
    for (upstreams, routes, on_aws) in documents {
        let config = GenerateConfig::from_env(&|name| match name {
            "IMAGE_UPSTREAMS" => Some(upstreams.clone()),
            "IMAGE_ROUTES" => Some(routes.clone()),
            "AWS_LAMBDA_FUNCTION_NAME" => on_aws.map(str::to_owned),
            "SUPABASE_URL" => Some("https://abc.supabase.co".to_owned()),
            "RATE_LIMITS_TABLE" | "LEDGER_TABLE" => Some("table".to_owned()),
            _ => None,
        });
        let routes = config.unwrap_or_else(|mistakes| panic!("{mistakes}")).image_api.routes;
        assert_eq!(
            routes.iter().map(|route| &*route.model).collect::<Vec<_>>(),
            ["gemini-2.5-flash-image", "gpt-image-1"]
        );
    }
}

#[test]
fn every_code_is_in_the_table() {
    let api = page("docs/api.md");
    let table = api.split("| Status | Code |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows = table.lines().skip(2).map(|row| row.split(" | ").take(3).collect::<Vec<_>>().join(" | "));
    let seconds = |ms: u64| format!("{} s", ms / 1000);
    let expected = Code::ALL.iter().map(|code| {
        let wait = match (code, Problem::new(*code).retry_after_ms()) {
            (Code::RateLimited, _) => "exactly when a call is allowed".to_owned(),
            (Code::DailyLimit | Code::BudgetExhausted, _) => "exactly when the day ends".to_owned(),
            (_, wait) => wait.map_or("–".to_owned(), seconds),
        };
        format!("| {} | `{code}` | {wait}", code.status())
    });
    assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "the table of codes in docs/api.md");
}

#[test]
fn every_path_of_the_map_exists() {
    let readme = page("README.md");
    let map = readme.split("## Map").nth(1).unwrap().split("\n## ").next().unwrap();
    let paths = map.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(path, _)| path);
    let missing: Vec<_> = paths.clone().filter(|path| !repository().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(paths.count() > 5);

    // A row of the second map names a whole path first, then files below it.
    let files: Vec<_> = files().into_iter().map(|(path, _)| format!("/{path}")).collect();
    let is_path = |span: &String| [".rs", ".ts", ".yaml"].iter().any(|end| span.ends_with(end)) && !span.contains('{');
    let spans: Vec<_> = code_spans(&page("docs/architecture.md")).into_iter().filter(is_path).collect();
    let missing: Vec<_> =
        spans.iter().filter(|span| !files.iter().any(|path| path.ends_with(&format!("/{span}")))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(spans.len() > 100, "{} paths", spans.len());
}
