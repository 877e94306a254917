//! The commands of `cargo dev`, run as they are.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The example's binary lies beside the tests' own folder.
fn stack(folder: &PathBuf) -> Command {
    let tests = std::env::current_exe().unwrap();
    let binary = tests.parent().unwrap().parent().unwrap().join("examples/stack");
    let mut command = Command::new(binary);
    command.current_dir(folder).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &PathBuf, arguments: &[&str], typed: &str) -> (bool, String) {
    let mut child = stack(folder).args(arguments).spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.success(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("stack-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn setup_asks_and_check_is_content() {
    let folder = folder("setup");
    let (ready, said) = run(&folder, &["check"], "");
    assert!(!ready && said.contains("ARK_API_KEY is not set") && said.contains("cargo dev setup"), "{said}");

    fs::write(folder.join(".env"), "# mine\nPING_MS=5000\nARK_API_KEY='old'\n").unwrap();
    let (done, said) = run(&folder, &["setup"], "https://relay.example.com/v1\ncanary-1\n\ncanary-2\n");
    assert!(done && !said.contains("canary") && !said.contains("old"), "{said}");
    let written = fs::read_to_string(folder.join(".env")).unwrap();
    let expected = "# mine\nPING_MS=5000\nIMAGE_API_BASE_URL='https://relay.example.com/v1'\nIMAGE_API_KEY='canary-1'\n\
                    ARK_BASE_URL='https://ark.cn-beijing.volces.com/api/v3'\nARK_API_KEY='canary-2'\n";
    assert_eq!(written, expected);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(folder.join(".env")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    let (ready, said) = run(&folder, &["check"], "");
    assert!(ready && !said.contains("canary"), "{said}");
    let (kept, _) = run(&folder, &["setup"], "\n\n\n\n");
    assert!(kept && fs::read_to_string(folder.join(".env")).unwrap() == expected);
    let (done, said) = run(&folder, &["setup"], "");
    assert!(!done && said.contains("terminal"), "{said}");

    fs::write(folder.join(".env"), "ARK_API_KEY=\"canary\n").unwrap();
    let (ready, said) = run(&folder, &["check"], "");
    assert!(!ready && said.contains("cannot be read") && !said.contains("canary"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn smoke_runs_every_route() {
    let folder = folder("smoke");
    let (well, said) = run(&folder, &["smoke"], "");
    assert!(well, "{said}");
    assert_eq!(said.matches("\nok ").count(), 5, "{said}");
    let (well, said) = run(&folder, &["smoke", "http://127.0.0.1:9"], "");
    assert!(!well && said.matches("FAILED").count() == 5, "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn keys_of_the_environment_are_mentioned_and_not_used() {
    let folder = folder("keys");
    fs::write(folder.join(".env"), "IMAGE_API_KEY=canary\n").unwrap();
    let mut child = stack(&folder).args(["--port", "0"]).spawn().unwrap();
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        said.push_str(&line.unwrap());
        if said.contains("listening on http://127.0.0.1:") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said.contains("IMAGE_API_KEY is set and not used") && !said.contains("canary"), "{said}");

    let mut child = stack(&folder).args(["--port", "0", "--quiet"]).spawn().unwrap();
    let first = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.starts_with("listening on http://127.0.0.1:"), "{first}");
    fs::remove_dir_all(folder).unwrap();
}
