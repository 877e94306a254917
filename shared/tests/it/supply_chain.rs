//! The dependencies: their licences, where they are from, one TLS stack, and none that is not used.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::tree::{ROOT, files};

/// Licences that permit what MIT permits. `A OR B` needs one of them, `A AND B` both.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "IJG",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// A second TLS stack or crypto library, and libraries of the system that a function on AWS does not find.
const BANNED: &[&str] =
    &["boring", "boring-sys", "mbedtls", "native-tls", "openssl", "openssl-sys", "ring", "rsa", "schannel", "wolfssl"];
/// What a second version of would be a second HTTP or TLS stack.
const ONCE: &[&str] = &["aws-lc-rs", "aws-lc-sys", "h2", "http", "hyper", "hyper-rustls", "reqwest", "rustls", "tokio"];
/// Dependencies whose library has another name.
const LIBRARIES: &[(&str, &str)] = &[("dynoxide-rs", "dynoxide")];

struct Package {
    name: String,
    version: String,
    licence: String,
    is_ours: bool,
}

/// The packages that are built on this machine, with the tests.
fn packages() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(read_packages)
}

fn read_packages() -> Vec<Package> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none"]);
    cargo.args(["--format", "{p}|{l}", "--locked", "--offline"]).current_dir(ROOT);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()) {
        // A package that was listed before is marked.
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|').unwrap();
        let mut parts = package.split(' ');
        let (name, version) = (parts.next().unwrap(), parts.next().unwrap().trim_start_matches('v'));
        let is_ours = package.contains(" (/") || package.contains(":\\");
        let package = Package { name: name.into(), version: version.into(), licence: licence.into(), is_ours };
        found.insert((name.to_owned(), version.to_owned()), package);
    }
    assert!(found.len() > 200, "{} packages", found.len());
    found.into_values().collect()
}

/// Whether an expression of [SPDX](https://spdx.github.io/spdx-spec/v3.0.1/annexes/spdx-license-expressions/) is allowed.
/// Older packages write `/` for `OR`.
fn is_allowed(licence: &str) -> bool {
    let licence = licence.replace('/', " OR ");
    let licence = licence.trim();
    for (operator, all) in [(" AND ", true), (" OR ", false)] {
        let parts = split_outside_brackets(licence, operator);
        if parts.len() > 1 {
            let mut parts = parts.into_iter();
            return if all { parts.all(is_allowed) } else { parts.any(is_allowed) };
        }
    }
    match licence.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_allowed(inner),
        None => ALLOWED.contains(&licence),
    }
}

fn split_outside_brackets<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, symbol) in text.char_indices() {
        match symbol {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= from && text[at..].starts_with(separator) => {
                parts.push(&text[from..at]);
                from = at + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

#[test]
fn every_licence_is_allowed() {
    for (licence, expected) in [
        ("MIT OR GPL-3.0-only", true),
        ("GPL-3.0-only", false),
        ("", false),
        ("MIT AND GPL-3.0-only", false),
        ("(GPL-3.0-only OR MIT) AND Apache-2.0", true),
        ("ISC AND (Apache-2.0 OR ISC) AND (GPL-2.0 AND MIT)", false),
        ("Apache-2.0/MIT", true),
        ("Apache-2.0 WITH LLVM-exception", false),
    ] {
        assert_eq!(is_allowed(licence), expected, "{licence}");
    }
    let packages = packages();
    let others = packages.iter().filter(|package| !is_allowed(&package.licence));
    let others: Vec<_> = others.map(|package| format!("{}: {}", package.name, package.licence)).collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn every_package_is_from_the_registry_with_its_hash() {
    let lock = fs::read_to_string(format!("{ROOT}/Cargo.lock")).unwrap();
    let (mut ours, mut others) = (0, 0);
    for package in lock.split("[[package]]").skip(1) {
        let line = |key: &str| package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        let Some(source) = line("source") else {
            ours += 1;
            continue;
        };
        others += 1;
        assert_eq!(source, "\"registry+https://github.com/rust-lang/crates.io-index\"", "{package}");
        assert!(line("checksum").is_some_and(|hash| hash.len() == 66), "{package}");
    }
    let members = packages().iter().filter(|package| package.is_ours).count();
    assert!(ours == members && others > 200, "{ours} of {members}, {others}");
}

#[test]
fn one_tls_stack_and_one_crypto_library() {
    let packages = packages();
    for banned in BANNED {
        assert!(!packages.iter().any(|package| package.name == *banned), "{banned}");
    }
    for once in ONCE {
        let of_it = packages.iter().filter(|package| package.name == *once).map(|package| &package.version);
        let versions: Vec<_> = of_it.collect();
        assert_eq!(versions.len(), 1, "{once}: {versions:?}");
    }
}

/// The names below the heads of the sections that end in `dependencies`, with the section.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => section = name,
            None if section.ends_with("dependencies") && line.starts_with(|first: char| first.is_ascii_lowercase()) => {
                found.push((section, line.split(['.', ' ', '=']).next().unwrap()));
            }
            None => {}
        }
    }
    found
}

#[test]
fn every_dependency_is_used() {
    let files = files();
    let mut unused = Vec::new();
    let mut checked = 0;
    // The fuzz targets include sources of other packages.
    let is_checked = |path: &str| path.ends_with("Cargo.toml") && path != "shared/fuzz/Cargo.toml";
    for (path, manifest) in files.iter().filter(|(path, _)| is_checked(path)) {
        let folder = path.trim_end_matches("Cargo.toml");
        // A test may include a file of another function's tests.
        let is_included = |path: &str| {
            let attribute = path.strip_prefix("functions/").map(|path| format!("{path}\"]"));
            attribute.is_some_and(|attribute| {
                files
                    .iter()
                    .any(|(path, text)| path.starts_with(&format!("{folder}tests/")) && text.contains(&attribute))
            })
        };
        for (section, name) in dependencies(manifest) {
            let library = LIBRARIES.iter().find(|(package, _)| *package == name).map(|(_, library)| *library);
            let library = library.map_or_else(|| name.replace('-', "_"), str::to_owned);
            let uses = [format!("{library}::"), format!("use {library};"), format!("{library}!")];
            let is_source = |path: &str| match section {
                "dependencies" => path.starts_with(&format!("{folder}src/")),
                _ => path.ends_with(".rs") && (path.starts_with(folder) || is_included(path)),
            };
            let is_used = match section {
                "workspace.dependencies" => files.iter().any(|(other, text)| {
                    other != path
                        && other.ends_with("Cargo.toml")
                        && dependencies(text).iter().any(|(_, used)| *used == name)
                }),
                _ => {
                    let mut sources = files.iter().filter(|(path, _)| is_source(path));
                    sources.any(|(_, text)| uses.iter().any(|word| text.contains(word)))
                }
            };
            checked += 1;
            if !is_used {
                unused.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(checked > 100, "{checked} dependencies");
    assert!(unused.is_empty(), "{unused:#?}");
}

/// A file of `.ci` or a package names each package with its version and hash.
#[test]
fn python_and_node_packages_are_pinned_by_hash() {
    let (mut python, mut node) = (0, 0);
    for (path, text) in files() {
        if path.starts_with(".ci/") && path.ends_with("requirements.txt") {
            let packages = text.split("\\\n    --hash=sha256:");
            assert!(packages.count() > 3, "{path} has no hashes");
            for line in text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric())) {
                assert!(line.contains("==") && line.ends_with(" \\"), "{path}: {line}");
                python += 1;
            }
        }
        if path.ends_with("package-lock.json") {
            let places = text.matches("\"version\": \"").count();
            // The package itself and its folder have none.
            assert!(text.matches("\"integrity\": \"sha512-").count() + 3 >= places, "{path}");
            node += 1;
        }
        if path.ends_with("package.json") {
            let ranges =
                ["\"^", "\"~", "\"latest\"", "\"*\""].into_iter().filter(|range| text.contains(&format!(": {range}")));
            assert_eq!(ranges.collect::<Vec<_>>(), [""; 0], "{path} has a range");
        }
    }
    assert!(python > 100 && node >= 4, "{python} {node}");
}
