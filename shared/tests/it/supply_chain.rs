//! The packages of other languages. `.ci/dependencies` checks those of Rust.

use crate::support::tree::files;

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
