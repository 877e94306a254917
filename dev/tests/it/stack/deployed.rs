//! `cargo dev smoke --stack`, with a program in place of the AWS CLI.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{folder, stack, started, stop};

const EMAIL: &str = "demo@example.com";
const ORIGIN: &str = "http://localhost:5173";

/// Writes an `aws` that answers as the real one does for this stack.
#[cfg(unix)]
fn write_aws(folder: &Path, address: &str, origins: &str) {
    use std::os::unix::fs::PermissionsExt;
    let output = |(key, path): (&str, &str)| json!({"OutputKey": key, "OutputValue": format!("{address}{path}")});
    let outputs = [
        ("GenerateStreamUrl", "/api/generate-stream"),
        ("GenerateImageUrl", "/api/generate-image"),
        ("FaceflipStreamUrl", "/api/v1/faceflip/generate/stream"),
        ("GenerationsUrl", "/api/generations"),
    ];
    let answer = json!({"Stacks": [{
        "StackName": "image-gateway",
        "Outputs": outputs.map(output),
        "Parameters": [
            {"ParameterKey": "AllowedOrigins", "ParameterValue": origins},
            {"ParameterKey": "SupabaseUrl", "ParameterValue": format!("{address}/")},
        ],
    }]});
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = 'cloudformation describe-stacks --output json --stack-name image-gateway' ] || {{\n\
         echo 'Stack with id other does not exist' >&2; exit 254; }}\ncat <<'JSON'\n{answer}\nJSON\n"
    );
    let program = folder.join("aws");
    fs::write(&program, script).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs smoke with this password. Returns whether every try succeeded, and the output.
fn smoke(folder: &std::path::PathBuf, password: Option<&str>, arguments: &[&str]) -> (bool, String) {
    let mut command = stack(folder);
    // The script needs `cat`.
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    command.envs(password.map(|password| ("SMOKE_PASSWORD", password)));
    let output = command.arg("smoke").args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[cfg(unix)]
#[test]
fn smoke_tries_a_deployment_and_writes_a_report() {
    let folder = folder("deployed");
    let (child, address) = started(&folder, &[]);
    write_aws(&folder, &address, &format!("{ORIGIN},https://app.example.com"));
    let as_user = ["--stack", "image-gateway", "--email", EMAIL, "--supabase-key", "sb_publishable_x"];

    let (well, said) = smoke(&folder, Some("demo"), &as_user);
    assert!(well, "{said}");
    let report = fs::read_to_string(folder.join("deploy-report.md")).unwrap();
    assert_eq!(report.matches("\n| ok |").count(), 25, "{report}");
    assert!(report.contains("**Everything works.** 25 tries, 0 failed."), "{report}");
    for (text, times) in [
        ("| cors | pages of http://localhost:5173 may call, others may not |", 4),
        ("| 6 MB | a body of more than 6 MB is 413 |", 3),
        ("| limit | \"user\";q=5;w=60 ", 1),
        ("first bytes after ", 3),
        (&format!("{address}/api/generations |"), 1),
    ] {
        assert_eq!(report.matches(text).count(), times, "{text}: {report}");
    }
    for secret in ["eyJ", EMAIL, "sb_publishable", "Bearer", "red house"] {
        assert!(!report.contains(secret) && !said.contains(secret), "{secret}: {report}");
    }

    // Without a user nothing is paid.
    let (well, said) = smoke(&folder, None, &["--stack", "image-gateway", "--report", "free.md"]);
    assert!(!well && said.contains("No picture was requested"), "{said}");
    let report = fs::read_to_string(folder.join("free.md")).unwrap();
    assert_eq!((report.matches("\n| ok |").count(), report.matches("FAILED").count()), (14, 0), "{report}");

    let (well, said) = smoke(&folder, Some("wrong"), &as_user);
    assert!(!well && said.contains("Supabase refused the sign-in: 400") && !said.contains("wrong"), "{said}");
    let (well, said) = smoke(&folder, None, &as_user);
    assert!(!well && said.contains("SMOKE_PASSWORD is not set"), "{said}");
    let (well, said) = smoke(&folder, None, &["--stack", "other"]);
    assert!(!well && said.contains("Stack with id other does not exist"), "{said}");

    // A page that may not call.
    write_aws(&folder, &address, "https://app.example.com");
    let (well, said) = smoke(&folder, None, &["--stack", "image-gateway"]);
    assert!(!well && said.matches("does not allow https://app.example.com: add it to AllowedOrigins").count() == 4);
    let report = fs::read_to_string(folder.join("deploy-report.md")).unwrap();
    assert!(report.contains("**Something does not work.** 14 tries, 4 failed."), "{report}");

    // An output that leads nowhere.
    write_aws(&folder, &format!("{address}/elsewhere"), ORIGIN);
    let (well, said) = smoke(&folder, None, &["--stack", "image-gateway"]);
    assert!(!well && said.matches("404 at the address of its output").count() == 6, "{said}");
    stop(child);
    fs::remove_dir_all(folder).unwrap();
}
