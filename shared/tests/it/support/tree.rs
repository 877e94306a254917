//! The texts of the project.

use std::fs;
use std::path::Path;

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Every file of the project with its text, apart from what is built, what git does not know, and recorded data.
pub(crate) fn files() -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(Path::new(ROOT), &mut found);
    assert!(found.len() > 150, "{} files", found.len());
    found
}

fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_ours = !name.starts_with('.') || [".ci", ".cargo", ".gitignore", ".github"].contains(&name.as_str());
        let is_recorded = path.ends_with("tests/data/fixtures") || path.ends_with("tests/data/vectors");
        // The built client is committed, the built examples are not.
        let is_built = ["target", "node_modules", "__pycache__"].contains(&name.as_str())
            || (name == "dist" && path.components().any(|part| part.as_os_str() == "examples"));
        if !is_ours || is_recorded || is_built {
            continue;
        }
        match path.is_dir() {
            true => walk(&path, found),
            false => found.push((
                path.strip_prefix(ROOT).unwrap().to_string_lossy().into_owned(),
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            )),
        }
    }
}
