//! The commands of `cargo dev`.

mod deployed;
mod pictures;
mod soak;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use dev::supabase::{self, Fault, Project};
use dev::transcript::{self, ReceivedRequests, Transcript};
use serde_json::{Value, json};

/// The example's binary lies beside the tests' own folder.
pub(crate) fn stack(folder: &PathBuf) -> Command {
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

/// A stack on a free port, and its output until it listens.
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

pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("stack-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn setup_asks_for_values_and_check_passes() {
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
    assert!(!ready && said.contains("invalid line") && !said.contains("canary"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn check_warns_of_what_a_label_needs_beside_it() {
    let folder = folder("label-check");
    let check = |lines: &str| {
        fs::write(folder.join(".env"), lines).unwrap();
        run(&folder, &["check"], "").1
    };
    let warned = |said: &str| (said.contains("no visible label\n"), said.contains("LOG_DAYS is below 184"));
    // An invented code with a valid check character.
    let code = "AIGC_PRODUCER=001191110000100000000R10001\n";
    assert_eq!(warned(&check("ARK_WATERMARK=false\n")), (false, false));
    assert_eq!(warned(&check(code)), (false, true));
    assert_eq!(warned(&check(&format!("{code}ARK_WATERMARK=false\nLOG_DAYS=184\n"))), (true, false));
    let wrong = check("AIGC_PRODUCER=001191110000100000000X10001\n");
    assert!(wrong.contains("AIGC_PRODUCER must be a provider code"), "{wrong}");
}

#[test]
fn label_prints_what_a_file_has() {
    let folder = folder("label");
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/tests/data/vectors/label/");
    let json = r#"AIGC label   {"Label":"1","ContentProducer":"001191110000100000000X10001","#;
    for (file, is_labelled, expected) in [
        ("out/png-1x1.png", true, [json, "in the chunk iTXt XML:com.adobe.xmp", "C2PA         none"]),
        ("out/jpeg-jfif.jpg", true, [json, "in the segment APP1", "trainedAlgorithmicMedia"]),
        ("out/webp-lossy.webp", true, [json, "in the chunk XMP", "trainedAlgorithmicMedia"]),
        ("out/gif.gif", true, [json, "in a GIF extension", "trainedAlgorithmicMedia"]),
        ("in/jpeg-labelled-usercomment.jpg", true, ["AIGC label   {", "in the segment APP1", "source type  none"]),
        ("in/png-c2pa.png", false, ["AIGC label   none", "C2PA         a manifest in the chunk caBX", "image/png"]),
        ("in/gif.gif", false, ["AIGC label   none", "source type  none", "image/gif"]),
    ] {
        let (found, said) = run(&folder, &["label", &format!("{vectors}{file}")], "");
        assert_eq!(found, is_labelled, "{file}: {said}");
        for text in expected {
            assert!(said.contains(text), "{file}: no {text} in {said}");
        }
    }
    assert!(!run(&folder, &["label", &format!("{vectors}vectors.json")], "").0);
}

#[test]
fn check_goes_over_all_upstreams() {
    let folder = folder("check-routes");
    let check = |upstreams: &str| {
        let routes = r#"{"gemini-2.5-flash-image":["relay","backup"]}"#;
        let lines = format!("IMAGE_UPSTREAMS='{upstreams}'\nIMAGE_ROUTES='{routes}'\nARK_API_KEY=b\n");
        fs::write(folder.join(".env"), lines).unwrap();
        run(&folder, &["check"], "")
    };
    let relay = r#""relay":{"mode":"chat","base_url":"https://relay.example.com","key":"canary"}"#;
    let backup = r#""backup":{"mode":"gemini","base_url":"https://backup.example.com","key_secret_arn":"backup-key"}"#;
    let (ready, said) = check(&format!("{{{relay},{backup}}}"));
    assert!(ready && said.contains("relay: the key is set"), "{said}");
    assert!(said.contains("backup: the key is in the secret backup-key") && !said.contains("canary"), "{said}");
    let (ready, said) = check(&format!("{{{relay}}}"));
    assert!(!ready && said.contains("IMAGE_ROUTES.gemini-2.5-flash-image[1] is not the name of an upstream"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn either_image_upstream_can_be_broken() {
    for (fault, expected) in [("first-upstream", "backup"), ("second-upstream", "relay")] {
        let folder = folder(fault);
        let (child, address) = started(&folder, &["--fault", fault]);
        let client = reqwest::Client::new();
        let user = json!({"email": "demo@example.com", "password": "demo"}).to_string();
        let sign_in = client.post(format!("{address}/auth/v1/token?grant_type=password")).body(user);
        let session: Value = serde_json::from_slice(&sign_in.send().await.unwrap().bytes().await.unwrap()).unwrap();
        let token = session["access_token"].as_str().unwrap();
        let models = [("/api/generate-stream", "gemini-2.5-flash-image"), ("/api/generate-image", "gpt-image-2")];
        for (path, model) in models {
            let body = json!({"prompt": "a lake", "model": model}).to_string();
            let request = client.post(format!("{address}{path}")).bearer_auth(token).body(body);
            let response = request.header("content-type", "application/json").send().await.unwrap();
            let (status, body) = (response.status(), response.text().await.unwrap());
            assert_eq!(status, 200, "{fault} {model}: {body}");
        }
        let log = client.get(format!("{address}/api/generations")).bearer_auth(token).send().await.unwrap();
        let log: Value = serde_json::from_slice(&log.bytes().await.unwrap()).unwrap();
        let names = [1, 0].map(|at| log["items"][at]["upstream"].as_str().unwrap());
        assert_eq!(names, [expected, &format!("{expected}-images")], "{fault}");
        stop(child);
        fs::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_fetches_the_keys_that_verify_tokens() {
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
    assert!(said.contains("ARK_MODEL is taken for seedream-4.0: up to ARK_MAX_IMAGES pictures"), "{said}");
    let (ready, said) = check("ARK_MODEL=ep-1\nARK_FAMILY=seedream-5.0-pro");
    assert!(ready && said.contains("taken for seedream-5.0-pro: one picture per call"), "{said}");
    let (ready, said) = check("ARK_FAMILY=seedream-9");
    assert!(!ready && said.contains("ARK_FAMILY must be seedream-4.0, "), "{said}");
    let (ready, said) = check("FACEFLIP_AUTH=anonymous");
    assert!(ready && said.matches("FACEFLIP_AUTH=anonymous: this route needs no token").count() == 1, "{said}");

    project.list(Some(json!({"keys": []})));
    let (ready, said) = check("");
    assert!(!ready && said.matches("missing").count() == 2, "{said}");
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
    assert!(!ready && said.matches("cannot be fetched: check the address and the network").count() == 2, "{said}");
    drop(supabase);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn smoke_runs_every_route() {
    let folder = folder("smoke");
    let (well, said) = run(&folder, &["smoke"], "");
    assert!(well, "{said}");
    assert_eq!(said.matches("\nok ").count(), 13, "{said}");
    assert_eq!(said.matches(", kept: ").count(), 2, "events of both routes: {said}");
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

/// The line that names variables, without its beginning.
fn unused(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("Ignored variables: "))
}

#[test]
fn variables_that_the_stack_does_not_use_are_named_at_its_start() {
    let folder = folder("unused");
    let without_real = "(keys, models and addresses of other machines need --real)";
    type Row<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let rows: [Row<'_>; 8] = [
        (&[], &[("IMAGE_API_KEY", "canary"), ("ARK_API_KEY", "canary")], "ARK_API_KEY, IMAGE_API_KEY"),
        (
            &[],
            &[
                ("IMAGE_API_BASE_URL", "https://canary.example.com"),
                ("ARK_BASE_URL", "http://127.0.0.1@canary.example"),
            ],
            "ARK_BASE_URL, IMAGE_API_BASE_URL",
        ),
        (
            &[],
            &[
                ("AWS_ENDPOINT_URL_DYNAMODB", "https://canary.example.com"),
                ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://canary.example.com"),
                ("LEDGER_TABLE", "canary"),
            ],
            "AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL_SECRETS_MANAGER, LEDGER_TABLE",
        ),
        (
            &[],
            &[("IMAGE_CHAT_MODEL", "canary"), ("SUPABASE_JWT_SECRET", "canary")],
            "IMAGE_CHAT_MODEL, SUPABASE_JWT_SECRET",
        ),
        (&[], &[("RL_LIMIT", "7"), ("CREDITS", "off"), ("IMAGE_API_KEY", ""), ("PATH", "/canary")], ""),
        (&[], &[("ARK_BASE_URL", "http://[::1]:9"), ("SUPABASE_URL", "https://canary.supabase.co")], ""),
        // Mode chat reads no other mode's model.
        (
            &["--real"],
            &[
                ("IMAGE_API_BASE_URL", "http://127.0.0.1:9"),
                ("IMAGE_API_KEY", "canary"),
                ("IMAGE_IMAGES_MODEL", "canary"),
            ],
            "IMAGE_IMAGES_MODEL",
        ),
        (&["--quiet"], &[("IMAGE_API_KEY", "canary")], ""),
    ];
    for (arguments, variables, expected) in rows {
        let mut command = stack(&folder);
        command.args(arguments).envs(variables.iter().copied());
        let (child, said) = start(command);
        stop(child);
        let is_real = arguments.contains(&"--real");
        let expected = match expected {
            "" => None,
            names if is_real => Some(names.to_owned()),
            names => Some(format!("{names} {without_real}")),
        };
        assert_eq!(unused(&said), expected.as_deref(), "{variables:?}: {said}");
        assert!(!said.contains("canary"), "values are never printed: {said}");
        assert_eq!(said.contains("This costs money"), is_real, "{said}");
    }
    let mut quiet = stack(&folder);
    quiet.arg("--quiet");
    let (child, said) = start(quiet);
    stop(child);
    assert!(said.starts_with("listening on http://127.0.0.1:"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

/// Asks both upstream routes of the stack at `address` for a picture. Returns the statuses; an error event is 500.
async fn ask(address: &str, model: Option<&str>) -> [u16; 2] {
    let client = reqwest::Client::new();
    let user = json!({"email": "demo@example.com", "password": "demo"}).to_string();
    let sign_in = client.post(format!("{address}/auth/v1/token?grant_type=password")).body(user);
    let session: Value = serde_json::from_slice(&sign_in.send().await.unwrap().bytes().await.unwrap()).unwrap();
    let post = async |path: &str, body: Value| {
        let request = client.post(format!("{address}{path}")).header("content-type", "application/json");
        let request = request.bearer_auth(session["access_token"].as_str().unwrap()).body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.text().await.unwrap();
        if body.contains("event: error") { 500 } else { status }
    };
    let mut picture = json!({"prompt": "a lake"});
    if let Some(model) = model {
        picture["model"] = model.into();
    }
    let urls = json!({"urls": ["https://example.com/a.jpg"], "task_id": "t"});
    [post("/api/generate-image", picture).await, post("/api/v1/faceflip/generate/stream", urls).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn models_with_and_without_drafts_can_be_asked_for_in_every_shape() {
    let folder = folder("models");
    let mut command = stack(&folder);
    command.args(["--quiet", "--speed", "inf"]).env("RL_LIMIT", "50");
    let (child, said) = start(command);
    let address = said.trim_end().rsplit(' ').next().unwrap();
    for (model, status) in [
        ("gemini-2.5-flash-image", 200),
        ("gemini-2.5-flash-image@drafts", 200),
        ("gemini-3-pro-image", 200),
        ("gemini-3-pro-image@drafts", 200),
        ("gemini-3-pro-image@previews", 200),
        ("gemini-3-pro-image@spiral", 400),
    ] {
        assert_eq!(ask(address, Some(model)).await[0], status, "{model}");
    }
    stop(child);
    fs::remove_dir_all(folder).unwrap();
}

/// The keys that an upstream was sent.
fn keys(upstream: &ReceivedRequests) -> Vec<String> {
    let asked = upstream.received();
    asked.iter().map(|asked| asked.headers["authorization"].to_str().unwrap().to_owned()).collect()
}

/// An upstream that refuses every request.
fn refusing() -> (axum::Router, ReceivedRequests) {
    transcript::routes(Transcript { status: 400, ..Transcript::events("") })
}

#[tokio::test(flavor = "multi_thread")]
async fn without_real_an_address_replaces_a_simulator_if_it_is_loopback() {
    let folder = folder("addresses");
    let (router, seen) = refusing();
    let upstream = dev::start(router).await.unwrap();
    for (name, is_loopback) in [("127.0.0.1", true), ("localhost", true), ("relay.example.com", false)] {
        let at = format!("http://{name}:{}", upstream.address.port());
        let mut command = stack(&folder);
        command.args(["--speed", "inf"]).env("IMAGE_API_BASE_URL", &at).env("ARK_BASE_URL", &at);
        command.env("IMAGE_API_KEY", "canary").env("ARK_API_KEY", "canary");
        let (child, said) = start(command);
        let before = seen.requests();
        let statuses = ask(said.trim_end().rsplit(' ').next().unwrap(), None).await;
        stop(child);
        assert_eq!(statuses == [200, 200], !is_loopback, "{name}: the simulators answered {statuses:?}");
        assert_eq!(seen.requests() - before, if is_loopback { 2 } else { 0 }, "{name}");
        assert_eq!(said.contains("ARK_BASE_URL"), !is_loopback, "{said}");
    }
    assert!(keys(&seen).iter().all(|key| key == "Bearer local-stack"), "{:?}", keys(&seen));
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn real_calls_use_the_keys_of_the_environment_or_of_the_file() {
    let folder = folder("real");
    let (router, seen) = refusing();
    let upstream = dev::start(router).await.unwrap();
    let variables = [
        ("IMAGE_API_BASE_URL", upstream.url("")),
        ("IMAGE_API_KEY", "canary-of-the-image-api".to_owned()),
        ("ARK_BASE_URL", upstream.url("/api/v3")),
        ("ARK_API_KEY", "canary-of-ark".to_owned()),
    ];
    for in_file in [false, true] {
        let mut command = stack(&folder);
        command.arg("--real");
        match in_file {
            true => {
                let lines = variables.iter().map(|(name, value)| format!("{name}={value}\n"));
                fs::write(folder.join(".env"), lines.collect::<String>()).unwrap();
            }
            false => _ = command.envs(variables.clone()),
        }
        let (child, said) = start(command);
        let before = seen.requests() as usize;
        ask(said.trim_end().rsplit(' ').next().unwrap(), None).await;
        stop(child);
        let keys = keys(&seen);
        assert_eq!(keys[before..], ["Bearer canary-of-the-image-api", "Bearer canary-of-ark"], "in file: {in_file}");
        assert!(said.contains("This costs money") && !said.contains("canary"), "{said}");
        assert_eq!(unused(&said), None, "{said}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_file_is_read_with_real_only() {
    let folder = folder("file");
    fs::write(folder.join(".env"), "RL_LIMIT=canary\nIMAGE_API_KEY=\"canary\n").unwrap();
    let (child, said) = start(stack(&folder));
    stop(child);
    assert!(said.contains("\nlistening on "), "a broken file does not matter: {said}");
    assert!(said.contains(".env is ignored; it is read with --real only.") && !said.contains("canary"), "{said}");
    let (well, said) = run(&folder, &["--real", "--port", "0"], "");
    assert!(!well && said.contains(".env has an invalid line") && !said.contains("canary"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_on_any_port_of_this_machine_may_call_every_route() {
    let folder = folder("cors");
    let (child, address) = started(&folder, &[]);
    let client = reqwest::Client::new();
    let ours = "authorization,content-type,accept,idempotency-key,x-request-id,apikey,x-client-info";
    let rows = [
        ("/api/generate-stream", ours.to_owned()),
        ("/api/generate-image", ours.to_owned()),
        ("/api/v1/faceflip/generate/stream", ours.to_owned()),
        ("/api/generations", ours.to_owned()),
        ("/api/generations/some-task", ours.to_owned()),
        // supabase-js sends one more header to Supabase itself.
        ("/auth/v1/token?grant_type=password", format!("{ours},x-supabase-api-version")),
        ("/auth/v1/.well-known/jwks.json", format!("{ours},x-supabase-api-version")),
    ];
    for (path, allowed) in rows {
        for (origin, is_local) in [
            ("http://localhost:3000", true),
            ("http://127.0.0.1:5173", true),
            ("https://localhost:3000", false),
            ("http://localhost.example.com", false),
            ("https://example.com", false),
        ] {
            let url = format!("{address}{path}");
            let preflight = client.request(reqwest::Method::OPTIONS, &url).header("origin", origin);
            let preflight = preflight.header("access-control-request-method", "POST").send().await.unwrap();
            let call = client.post(&url).header("origin", origin).send().await.unwrap();
            for response in [&preflight, &call] {
                let origins: Vec<_> = response.headers().get_all("access-control-allow-origin").iter().collect();
                let expected: &[&str] = if is_local { &[origin] } else { &[] };
                assert_eq!(origins, expected, "{path} from {origin}");
            }
            let header = |response: &reqwest::Response, name: &str| -> String {
                let all: Vec<_> =
                    response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
                assert_eq!(all.len(), 1, "{name} of {path}");
                all[0].to_owned()
            };
            assert!(preflight.status().is_success(), "{path}: {}", preflight.status());
            assert_eq!(header(&preflight, "access-control-allow-headers"), allowed, "{path}");
            assert_eq!(header(&preflight, "access-control-allow-methods"), "GET,POST,DELETE", "{path}");
            assert_eq!(header(&preflight, "access-control-max-age"), "86400", "{path}");
            let exposed = "x-task-id,x-request-id,retry-after,ratelimit,ratelimit-policy";
            assert_eq!(header(&call, "access-control-expose-headers"), exposed, "{path}");
        }
    }
    stop(child);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_configured_for_the_fakes_or_for_a_project() {
    let folder = folder("page");
    type Row<'a> = (&'a [&'a str], bool, (usize, bool, bool));
    let rows: [Row<'_>; 4] = [
        (&[], false, (3, true, true)),
        (&["--supabase-key", "sb_publishable_x"], true, (0, true, true)),
        (&["--real"], false, (3, false, true)),
        (&["--real", "--supabase-key", "sb_publishable_x"], true, (0, false, false)),
    ];
    for (arguments, has_project, (users, has_shapes, is_local)) in rows {
        let mut command = stack(&folder);
        command.args(arguments).args(["--quiet", "--speed", "inf"]);
        if has_project {
            command.env("SUPABASE_URL", "https://abc.supabase.co");
        }
        let (child, said) = start(command);
        let address = said.trim_end().rsplit(' ').next().unwrap();
        let get = async |path: &str| reqwest::get(format!("{address}{path}")).await.unwrap();
        let page = get("/").await;
        assert_eq!(page.headers()["content-security-policy"], "frame-ancestors 'none'");
        let page = page.text().await.unwrap();
        assert!(page.contains("default-src 'none'; script-src 'self'") && !page.contains("unsafe"), "{page}");
        for file in ["/app.js", "/photos-worker.js", "/style.css", "/icon.svg"] {
            assert!(page.contains(&file[1..]) || file == "/photos-worker.js", "{file}");
            assert_eq!(get(file).await.status(), 200, "{file}");
        }
        let config: Value = serde_json::from_slice(&get("/config.json").await.bytes().await.unwrap()).unwrap();
        let expected = if has_project { ("https://abc.supabase.co", "sb_publishable_x") } else { ("", "local") };
        assert_eq!((&config["supabase"]["url"], &config["supabase"]["key"]), (&json!(expected.0), &json!(expected.1)));
        assert_eq!(config["local"].is_object(), is_local, "{config}");
        let count = |name: &str| config["local"][name].as_array().map_or(0, Vec::len);
        assert_eq!((count("users"), count("shapes") > 30, count("faults") > 5), (users, has_shapes, has_shapes));
        stop(child);
    }
    fs::remove_dir_all(folder).unwrap();
}

/// Events of a stream, or the code of a refusal; `cut` if it ends without a terminal event.
async fn ending(request: reqwest::RequestBuilder) -> String {
    let Ok(response) = request.send().await else { return "offline".to_owned() };
    let mut response = response;
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
    }
    let text = String::from_utf8_lossy(&body);
    let is_whole = text.contains("event: done") && text.ends_with("\n\n");
    let code =
        text.rsplit("\"code\":\"").next().filter(|_| text.contains("\"code\"")).and_then(|rest| rest.split('"').next());
    match (is_whole, code) {
        (true, code) => code.map_or("done".to_owned(), |code| format!("done, {code}")),
        (false, Some(code)) => code.to_owned(),
        (false, None) => format!("{} cut", response.status().as_u16()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_chooses_its_fault() {
    let folder = folder("faults");
    let mut command = stack(&folder);
    command.args(["--quiet", "--speed", "20"]).env("RL_LIMIT", "50");
    let (child, said) = start(command);
    let address = said.trim_end().rsplit(' ').next().unwrap();
    let client = reqwest::Client::new();
    let user = json!({"email": "demo@example.com", "password": "demo"}).to_string();
    let sign_in = client.post(format!("{address}/auth/v1/token?grant_type=password")).body(user);
    let session: Value = serde_json::from_slice(&sign_in.send().await.unwrap().bytes().await.unwrap()).unwrap();
    let token = session["access_token"].as_str().unwrap();
    let ask = async |path: &str, fault: &str, body: Value| {
        let request = client.post(format!("{address}{path}")).bearer_auth(token).header("x-dev-fault", fault);
        ending(request.header("content-type", "application/json").body(body.to_string())).await
    };
    let pictures = |n: u32| json!({"prompt": "a lake", "format": "events", "n": n});
    let photo = |task: &str| json!({"urls": ["https://example.com/a.jpg"], "task_id": task});
    for (fault, expected) in [
        ("cut", "200 cut"),
        ("offline", "offline"),
        ("platform-502", "502 cut"),
        ("upstream-cut", "stream_interrupted"),
        ("second-upstream", "done"),
        ("first-upstream", "done"),
        ("upstream-busy", "upstream_busy"),
        ("moderated", "content_rejected"),
        ("no-picture", "no_image"),
        ("upstream-slow", "done"),
        ("u7", "upstream_protocol_error"),
        ("u15", "upstream_busy"),
        ("u16", "upstream_error"),
        ("u27", "stream_interrupted"),
        ("u29", "done"),
        ("u34", "content_rejected"),
    ] {
        assert_eq!(ask("/api/generate-stream", fault, pictures(1)).await, expected, "{fault}");
    }
    assert_eq!(ask("/api/generate-stream", "upstream-cut", pictures(2)).await, "done, stream_interrupted");
    assert_eq!(ask("/api/generate-stream", "thunder", pictures(1)).await, "400 cut");
    let faceflip = "/api/v1/faceflip/generate/stream";
    for (fault, expected) in [
        ("cut", "200 cut"),
        ("moderated", "content_rejected"),
        ("upstream-cut", "done"),
        ("u30", "stream_interrupted"),
        ("u33", "done, content_rejected"),
    ] {
        assert_eq!(ask(faceflip, fault, photo(fault)).await, expected, "faceflip, {fault}");
    }
    stop(child);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn drawn_pictures_can_be_compared_with_those_that_arrived() {
    let folder = folder("drawings");
    let (child, address) = started(&folder, &[]);
    let drawings = async |after: &str| -> Vec<Value> {
        let list = reqwest::get(format!("{address}/dev/drawings?after={after}")).await.unwrap();
        serde_json::from_slice(&list.bytes().await.unwrap()).unwrap()
    };
    assert_eq!(drawings("0").await, Vec::<Value>::new());
    assert_eq!(ask(&address, None).await, [200, 200]);
    let drawn = drawings("0").await;
    assert_eq!(drawn.len(), 4, "one, and those of ARK, whose links the service has copied");
    let picture = reqwest::get(format!("{address}/dev/drawings/1")).await.unwrap().bytes().await.unwrap();
    assert_eq!(drawn[0]["bytes"].as_u64().unwrap(), picture.len() as u64);
    assert_eq!(drawn[0]["sha256"], dev::image_api::picture_for("a lake").sha256);
    assert_eq!(drawings("1").await, drawn[1..]);
    stop(child);
    fs::remove_dir_all(folder).unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_address_serves_a_phone() {
    let folder = folder("host");
    let mut command = stack(&folder);
    command.args(["--host", "127.0.0.2", "--speed", "inf"]);
    let (child, said) = start(command);
    let address = said.trim_end().rsplit(' ').next().unwrap();
    let on_network = address.replace("127.0.0.1", "127.0.0.2");
    assert!(said.contains(&format!("On a phone:  {on_network}/\n")), "{said}");
    assert!(said.lines().filter(|line| line.contains('█')).count() > 10, "a QR code: {said}");
    let client = reqwest::Client::new();
    for (origin, is_allowed) in [("http://127.0.0.2:3000", true), ("http://127.0.0.3:3000", false)] {
        let response =
            client.get(format!("{on_network}/api/generations")).header("origin", origin).send().await.unwrap();
        assert_eq!(response.headers().contains_key("access-control-allow-origin"), is_allowed, "{origin}");
    }
    // A phone cannot follow links to this machine's loopback address.
    for (target, status) in [
        (format!("{address}/icon.svg"), 200),
        ("http://127.0.0.1:9/icon.svg".to_owned(), 403),
        ("http://example.com/".to_owned(), 403),
    ] {
        let link = reqwest::Url::parse_with_params(&format!("{on_network}/dev/link"), [("to", &target)]).unwrap();
        assert_eq!(reqwest::get(link).await.unwrap().status().as_u16(), status, "{target}");
    }
    stop(child);
    let (well, said) = run(&folder, &["--real", "--host", "127.0.0.2"], "");
    assert!(!well && said.contains("needs SUPABASE_URL"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused_as_expired() {
    let folder = folder("expired");
    let (child, address) = started(&folder, &[]);
    let expired = reqwest::get(format!("{address}/dev/expired-token?email=demo%2Banna%40example.com")).await.unwrap();
    let token = expired.text().await.unwrap();
    let response =
        reqwest::Client::new().get(format!("{address}/api/generations")).bearer_auth(token).send().await.unwrap();
    assert_eq!(response.status(), 401);
    let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "token_expired");
    stop(child);
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
    let (well, said) = grant(&address, "unknown");
    assert!(!well && said.contains("e-mail address"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();

    let (mut child, address) = started(&folder, &["--data", data]);
    let (well, said) = grant(&address, "demo@example.com");
    assert!(well && said.contains("has 14 credits"), "kept: {said}");
    let id = said.split(['(', ')']).nth(1).unwrap().to_owned();
    let (well, said) = grant(&address, &id);
    assert!(well && said.contains("has 21 credits"), "the same user by id: {said}");
    child.kill().unwrap();
    child.wait().unwrap();
    let (well, said) = grant(&address, &id);
    assert!(!well && said.contains("cargo dev"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}
