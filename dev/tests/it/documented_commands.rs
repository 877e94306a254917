//! Every command in the documents, and every one of Cargo in `.ci`, names scripts, options, tests, variables and files
//! that exist.

use std::collections::HashMap;
use std::path::Path;

#[path = "../../../shared/tests/it/support/tree.rs"]
mod tree;

use tree::{ROOT, files};

use crate::stack::{folder, stack};

/// Programs that may begin a code span. Blocks may have others.
const PROGRAMS: &[&str] = &["cargo", "node", "npm", "python", "python3"];
/// Subcommands of Cargo and of its plugins that the documents name.
const SUBCOMMANDS: &[&str] = &["bench", "build", "clippy", "deny", "doc", "fmt", "lambda", "shear", "test", "update"];
/// The folder in which the project is in commands for an app beside it.
const BESIDE: &str = "../image-gateway/";

/// The commands of a page: lines of its shell blocks, and its code spans.
fn commands(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            let block = lines.by_ref().take_while(|line| *line != "```");
            if line == "```sh" {
                found.extend(block)
            } else {
                block.for_each(drop)
            }
            continue;
        }
        let spans = line.split('`').skip(1).step_by(2);
        found.extend(spans.filter(|span| span.split(' ').find(|word| !is_assignment(word)).is_some_and(is_program)));
    }
    found.into_iter().flat_map(|command| command.split(" && ")).collect()
}

fn is_program(word: &str) -> bool {
    PROGRAMS.contains(&word) || word.starts_with(".ci/")
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || "_0123456789".contains(c)))
}

/// What the commands may name.
struct Project {
    files: Vec<(String, String)>,
    /// The help of `cargo dev` by its subcommands.
    help: HashMap<Vec<String>, Option<String>>,
}

impl Project {
    fn exists(path: &str) -> bool {
        Path::new(ROOT).join(path).exists()
    }

    fn any(&self, is_right: impl Fn(&str, &str) -> bool) -> bool {
        self.files.iter().any(|(path, text)| is_right(path, text))
    }

    fn help(&mut self, subcommands: &[&str]) -> Option<&str> {
        let key = subcommands.iter().map(|word| (*word).to_owned()).collect();
        let help = self.help.entry(key).or_insert_with(|| {
            let output = stack(&folder("help")).args(subcommands).arg("--help").output().unwrap();
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        });
        help.as_deref()
    }

    /// The first word of a command that names nothing.
    fn wrong<'a>(&mut self, folder: &str, command: &'a str) -> Option<&'a str> {
        let is_next = |word: &&str| ["#", "|"].contains(word) || word.trim_start_matches('2').starts_with('>');
        let mut words: Vec<_> = command.split_whitespace().take_while(|word| !is_next(word)).collect();
        let assignments = words.iter().take_while(|word| is_assignment(word)).count();
        let variables: Vec<_> = words.drain(..assignments).collect();
        let program = *words.first()?;
        let is_read = |name: &str| {
            let is_in =
                |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name);
            name.starts_with("CARGO_") || self.any(|path, text| !path.ends_with(".md") && is_in(text))
        };
        if is_program(program)
            && let Some(unread) = variables.into_iter().find(|word| !is_read(word.split('=').next().unwrap()))
        {
            return Some(unread);
        }
        let arguments = &words[1..];
        let missing = match program {
            "cargo" => self.wrong_in_cargo(arguments),
            "npm" if arguments[0] == "run" => {
                let script = format!("\n    \"{}\": \"", arguments[1]);
                let is_there = self.any(|path, text| path.ends_with("package.json") && text.contains(&script));
                (!is_there).then_some(arguments[1])
            }
            "node" | "python" | "python3" => {
                let script = arguments.iter().find(|word| word.ends_with(".py") || word.ends_with(".mjs"));
                let is_there = |path: &str| {
                    ["", folder, "examples/python/"].iter().any(|folder| Self::exists(&format!("{folder}{path}")))
                };
                script.copied().filter(|path| !is_there(path))
            }
            _ => None,
        };
        missing.or_else(|| words.into_iter().find(|word| is_missing_path(word.trim_start_matches(BESIDE))))
    }

    fn wrong_in_cargo<'a>(&mut self, arguments: &[&'a str]) -> Option<&'a str> {
        let (subcommand, arguments) = arguments.split_first()?;
        match *subcommand {
            "dev" => {
                let is_name = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase());
                let subcommands: Vec<_> = arguments.iter().take_while(is_name).copied().collect();
                let Some(help) = self.help(&subcommands) else { return subcommands.last().copied() };
                let mut options = arguments.iter().filter(|word| word.starts_with("--"));
                return options
                    .find(|option| !help.contains(&format!("{option} ")) && !help.contains(&format!("{option}\n")))
                    .copied();
            }
            "test" | "bench" => {}
            other => {
                let alias = format!("\n{other} = ");
                let is_known = SUBCOMMANDS.contains(&other)
                    || self.any(|path, text| path == ".cargo/config.toml" && text.contains(&alias));
                return (!is_known).then_some(other);
            }
        }
        let mut arguments = arguments.iter().copied();
        while let Some(argument) = arguments.next() {
            let value = match argument {
                "-p" | "--bench" | "--test" => arguments.next()?,
                _ => argument,
            };
            let is_there = match argument {
                "-p" => self.any(|path, text| {
                    path.ends_with("Cargo.toml") && text.contains(&format!("\nname = \"{value}\"\n"))
                }),
                "--bench" => self.any(|path, _| path.ends_with(&format!("/benches/{value}.rs"))),
                "--test" => self.any(|path, _| path.ends_with(&format!("/tests/{value}/main.rs"))),
                option if option.starts_with('-') => true,
                filter => {
                    // Modules, and part of a test's name.
                    let (modules, name) = filter.rsplit_once("::").unwrap_or(("", filter));
                    let is_module = |part: &str| self.any(|path, _| path.ends_with(&format!("/{part}.rs")));
                    let is_test = |line: &str| line.contains("fn ") && line.contains(name);
                    let is_in = |path: &str, text: &str| path.contains("/tests/it/") && text.lines().any(is_test);
                    modules.split("::").filter(|part| !part.is_empty()).all(is_module)
                        && (name.is_empty() || is_module(name) || self.any(is_in))
                }
            };
            if !is_there {
                return Some(value);
            }
        }
        None
    }
}

/// Whether a word looks like a path of the project and leads to no file.
fn is_missing_path(word: &str) -> bool {
    let Some((first, _)) = word.split_once('/') else { return false };
    let is_ours = first != "target" && first != ".." && Project::exists(first) && !first.is_empty();
    is_ours && !word.contains(['<', '$', '*', '…']) && !Project::exists(word)
}

#[test]
fn every_command_names_what_exists() {
    // Without this file, which has commands that are wrong.
    let files = files().into_iter().filter(|(path, _)| !path.ends_with("documented_commands.rs")).collect();
    let mut project = Project { files, help: HashMap::new() };
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (path, text) in project.files.clone() {
        let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
        let commands = match path.as_str() {
            path if path.ends_with(".md") => commands(&text),
            // Cargo runs no test where the filter has a mistake, and succeeds.
            path if path.starts_with(".ci/") => {
                text.lines().map(str::trim).filter(|line| line.starts_with("cargo ")).collect()
            }
            _ => Vec::new(),
        };
        for command in commands {
            checked += 1;
            wrong.extend(project.wrong(folder, command).map(|word| format!("{path}: {word} in {command}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 150, "{checked} commands");

    for command in [
        "cargo dev --shapes plain",
        "cargo dev credit grant demo@example.com 10",
        "cargo dev smoke --stacks NAME",
        "cargo kore",
        "cargo test -p sharedd",
        "cargo test --workspace --test it readers::",
        "cargo test --workspace whatever_happened",
        "cargo bench -p shared --bench answer",
        "RL_LIMITS=100 cargo dev",
        "SECONDS=600 .ci/open",
        "npm run builds",
        "python3 tests.py",
        "cp web/dist/demos page",
    ] {
        assert!(project.wrong("", command).is_some(), "{command}");
    }
}
