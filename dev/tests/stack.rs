//! The commands of `cargo dev`, run as they are.
#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use dev::supabase::{self, Fault, Project};
use serde_json::json;

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

/// A stack on a free port, and what it says until it listens.
fn start(mut stack: Command) -> (Child, String) {
    let mut child = stack.args(["--port", "0"]).spawn().unwrap();
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        said.push_str(&line.unwrap());
        said.push('\n');
        if said.contains("listening on http://127.0.0.1:") {
            break;
        }
    }
    (child, said)
}

fn stop(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
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
    let (done, said) = run(&folder, &["setup"], "https://relay.example.com/v1\ncanary-1\n\ncanary-2\n\n");
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
    assert_eq!(said.matches("SUPABASE_URL is not set: the demo users may call").count(), 2, "{said}");
    let (kept, _) = run(&folder, &["setup"], "\n\n\n\n\n");
    assert!(kept && fs::read_to_string(folder.join(".env")).unwrap() == expected);
    let (done, said) = run(&folder, &["setup"], "\n\n\n\nhttps://abc.supabase.co\n");
    assert!(done && said.contains("(SUPABASE_URL) [none]"), "{said}");
    let with_project = format!("{expected}SUPABASE_URL='https://abc.supabase.co'\n");
    assert_eq!(fs::read_to_string(folder.join(".env")).unwrap(), with_project);
    let (done, said) = run(&folder, &["setup"], "");
    assert!(!done && said.contains("terminal"), "{said}");

    fs::write(folder.join(".env"), "ARK_API_KEY=\"canary\n").unwrap();
    let (ready, said) = run(&folder, &["check"], "");
    assert!(!ready && said.contains("cannot be read") && !said.contains("canary"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_for_the_keys_that_tokens_are_checked_with() {
    let folder = folder("check");
    let project = Project::new();
    let supabase = dev::start(supabase::routes(project.clone())).await.unwrap();
    let upstreams = "IMAGE_API_BASE_URL=https://relay.example.com\nIMAGE_API_KEY=a\nARK_API_KEY=b\n";
    let check = |of_project: &str| {
        fs::write(folder.join(".env"), format!("{upstreams}SUPABASE_URL={}\n{of_project}", supabase.url(""))).unwrap();
        run(&folder, &["check"], "")
    };
    let (ready, said) = check("");
    assert!(ready && said.matches("the users of SUPABASE_URL may call").count() == 2, "{said}");
    let (ready, said) = check("FACEFLIP_AUTH=anonymous");
    assert!(ready && said.matches("FACEFLIP_AUTH=anonymous: so may anybody").count() == 1, "{said}");

    project.list(Some(json!({"keys": []})));
    let (ready, said) = check("");
    assert!(!ready && said.matches("missing").count() == 2 + 1, "{said}");
    assert!(
        said.contains("create a signing key in Supabase (Settings, JWT keys), or set SUPABASE_JWT_SECRET"),
        "{said}"
    );
    let (ready, said) = check("SUPABASE_JWT_SECRET=a-legacy-secret-of-at-least-32-bytes");
    assert!(ready && !said.contains("legacy"), "{said}");
    let (ready, said) = check("SUPABASE_JWT_SECRET=canary");
    assert!(!ready && said.contains("must have at least 32 bytes") && !said.contains("canary"), "{said}");

    project.list(None);
    project.fail(Some(Fault::Status(500)));
    let (ready, said) = check("");
    assert!(!ready && said.matches("cannot be fetched: is it the project's address").count() == 2, "{said}");
    drop(supabase);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn smoke_runs_every_route() {
    let folder = folder("smoke");
    let (well, said) = run(&folder, &["smoke"], "");
    assert!(well, "{said}");
    assert_eq!(said.matches("\nok ").count(), 13, "{said}");
    let (well, said) = run(&folder, &["smoke", "http://127.0.0.1:9"], "");
    assert!(!well && said.matches("FAILED").count() == 6, "{said}");

    let mut command = stack(&folder);
    command.args(["--quiet", "--speed", "inf"]);
    let (child, said) = start(command);
    let by_name = said.trim_end().rsplit(' ').next().unwrap().replace("127.0.0.1", "localhost");
    let (well, said) = run(&folder, &["smoke", &by_name], "");
    assert!(well, "a token is the same under both names: {said}");
    stop(child);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_takes_the_place_of_the_demo_users() {
    let folder = folder("project");
    let project = Project::new();
    let supabase = dev::start(supabase::routes(project.clone())).await.unwrap();
    let mut command = stack(&folder);
    command.env("SUPABASE_URL", supabase.url("")).args(["--speed", "inf"]);
    let (child, said) = start(command);
    assert!(said.contains("authorization: Bearer $TOKEN\"") && !said.contains("demo"), "{said}");
    let address = said.trim_end().rsplit(' ').next().unwrap();

    let (well, said) = run(&folder, &["smoke", address], "");
    assert!(!well && said.contains("needs a user's access token"), "{said}");
    assert_eq!((said.matches("\nok ").count(), said.matches("FAILED").count()), (6, 0), "{said}");
    let token = project.token(&Project::claims(&supabase.url("/auth/v1"), "someone@example.com"));
    let (well, said) = run(&folder, &["smoke", address, "--token", &token], "");
    assert!(well && said.matches("\nok ").count() == 13, "{said}");
    stop(child);

    fs::write(folder.join(".env"), format!("SUPABASE_URL={}\n", supabase.url(""))).unwrap();
    for (real, has_demo_users) in [(None, true), (Some("--real"), false)] {
        let mut command = stack(&folder);
        command.args(real);
        let (child, said) = start(command);
        stop(child);
        assert_eq!(said.contains("demo@example.com"), has_demo_users, "{said}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn keys_of_the_environment_are_mentioned_and_not_used() {
    let folder = folder("keys");
    fs::write(folder.join(".env"), "IMAGE_API_KEY=canary\n").unwrap();
    let (child, said) = start(stack(&folder));
    stop(child);
    assert!(said.contains("IMAGE_API_KEY is set and not used") && !said.contains("canary"), "{said}");

    let mut quiet = stack(&folder);
    quiet.arg("--quiet");
    let (child, said) = start(quiet);
    stop(child);
    assert!(said.starts_with("listening on http://127.0.0.1:"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

/// A stack on a free port with these arguments, and its address.
fn started(folder: &PathBuf, arguments: &[&str]) -> (std::process::Child, String) {
    let mut child = stack(folder).args(["--port", "0", "--quiet", "--speed", "inf"]).args(arguments).spawn().unwrap();
    let first = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let address = first.strip_prefix("listening on ").unwrap().to_owned();
    (child, address)
}

#[test]
fn credits_are_granted_and_kept_in_a_folder() {
    let folder = folder("credits");
    let data = folder.join("data");
    let data = data.to_str().unwrap();
    let grant = |address: &str, user: &str| run(&folder, &["credits", "grant", user, "7", "--url", address], "");

    let (mut child, address) = started(&folder, &["--data", data]);
    let (well, said) = grant(&address, "demo@example.com");
    assert!(well && said.contains("has 7 credits"), "{said}");
    let (well, said) = grant(&address, "nobody");
    assert!(!well && said.contains("e-mail address"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();

    let (mut child, address) = started(&folder, &["--data", data]);
    let (well, said) = grant(&address, "demo@example.com");
    assert!(well && said.contains("has 14 credits"), "kept: {said}");
    let id = said.split(['(', ')']).nth(1).unwrap().to_owned();
    let (well, said) = grant(&address, &id);
    assert!(well && said.contains("has 21 credits"), "the same user by his id: {said}");
    child.kill().unwrap();
    child.wait().unwrap();
    let (well, said) = grant(&address, &id);
    assert!(!well && said.contains("cargo dev"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}
