//! `cargo dev check`: checks the variables for the real upstreams, that users' tokens can be verified, and the bucket.

use std::io::{self, Write};

use shared::config::{ArkConfig, CommonConfig, Environment, FaceflipConfig, FunctionConfig, GenerateConfig, KeySource};
use shared::edge::{Routes, SignIn};
use shared::problem::Code;

use crate::check_bucket;
use crate::environment::StackEnvironment;

/// Six months, whatever their length.
const MIN_LOG_DAYS: u64 = 184;

/// Prints the result for each route. Returns whether all are ready.
pub(crate) async fn run() -> io::Result<bool> {
    let environment = StackEnvironment::with_file()?;
    let has_demo_users = environment.get("SUPABASE_URL").is_none();
    let variables = |name: &str| variable(&environment, name);
    let routes = Routes::read(&variables).await;
    let variables = routes.over(variables);
    let mut out = io::stdout().lock();
    let generate = report::<GenerateConfig>(&mut out, "POST /api/generate-stream", &variables, has_demo_users).await?;
    let faceflip = "POST /api/v1/faceflip/generate/stream";
    let faceflip = report::<FaceflipConfig>(&mut out, faceflip, &variables, has_demo_users).await?;
    let faceflip_config = FaceflipConfig::from_env(&variables).ok();
    if let Some(FaceflipConfig { ark, .. }) = &faceflip_config {
        writeln!(out, "         {}", request_to_ark(ark))?;
    }
    let bucket = check_bucket::run(&environment, &variables).await;
    let (result, line) = match &bucket {
        Ok(line) => (CheckResult::Ready, line),
        Err(line) => (CheckResult::Wrong, line),
    };
    write(&mut out, result, "pictures", std::slice::from_ref(line))?;
    for warning in faceflip_config.iter().flat_map(label_warnings) {
        writeln!(out, "warning  {warning}")?;
    }
    let next = match (generate && faceflip, bucket.is_ok()) {
        (true, true) => "cargo dev --real (calls the real upstreams; this costs money)",
        (true, false) => "correct the variables of the bucket, or set PICTURES_BUCKET to nothing",
        (false, _) => "cargo dev setup (asks for addresses and keys)",
    };
    writeln!(out, "Next: {next}")?;
    Ok(generate && faceflip && bucket.is_ok())
}

/// What the law asks for beside the implicit label: docs/labels.md.
fn label_warnings(config: &FaceflipConfig) -> Vec<&'static str> {
    if config.label_rules.as_ref().is_none_or(|rules| rules.codes.is_none()) {
        return Vec::new();
    }
    let watermark = "AIGC_PRODUCER is set and ARK_WATERMARK=false: ARK's pictures have no visible label";
    let log =
        "AIGC_PRODUCER is set and LOG_DAYS is below 184: a picture without a visible label needs logs of six months";
    let is_short = config.common.ledger.log_days < MIN_LOG_DAYS;
    [(!config.ark.watermark, watermark), (is_short, log)]
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, text)| text)
        .collect()
}

/// What ARK's model is sent, which its name or ARK_FAMILY decides.
fn request_to_ark(ark: &ArkConfig) -> String {
    let family = ark.family;
    let pictures = match family.takes("sequential_image_generation") {
        true => "up to ARK_MAX_IMAGES pictures per call",
        false => "one picture per call, whatever ARK_MAX_IMAGES is",
    };
    let answer = if family.takes("stream") { "as a stream" } else { "as one document" };
    format!("ARK_MODEL is taken for {}: {pictures}, {answer}; ARK_FAMILY changes that", family.name)
}

/// The result for a route: ready, a key is missing, or a value is wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CheckResult {
    Ready,
    Missing,
    Wrong,
}

async fn report<C: FunctionConfig>(
    out: &mut impl Write,
    route: &str,
    variables: Environment<'_>,
    has_demo_users: bool,
) -> io::Result<bool> {
    let (result, lines) = match C::from_env(variables) {
        Err(mistakes) => (CheckResult::Wrong, mistakes.0.iter().map(ToString::to_string).collect()),
        Ok(config) => {
            let keys = config.upstreams().into_iter().map(|(upstream, key)| of_key(upstream, key));
            let (keys, of_keys): (Vec<_>, Vec<_>) = keys.unzip();
            let key = keys.into_iter().max().unwrap_or(CheckResult::Wrong);
            let (users, of_users) = users(config.common(), has_demo_users).await;
            let open = (!config.common().sign_in.is_required)
                .then(|| "FACEFLIP_AUTH=anonymous: this route needs no token".to_owned());
            (key.max(users), of_keys.into_iter().chain([of_users]).chain(open).collect::<Vec<_>>())
        }
    };
    write(out, result, route, &lines)?;
    Ok(result == CheckResult::Ready)
}

/// Whether an upstream has a key.
fn of_key(upstream: &str, key: &KeySource) -> (CheckResult, String) {
    match key {
        KeySource::Given(_) => (CheckResult::Ready, format!("{upstream}: the key is set")),
        KeySource::Managed { id, .. } => (CheckResult::Ready, format!("{upstream}: the key is in the secret {id}")),
        KeySource::Missing { given, .. } => (CheckResult::Missing, format!("{upstream}: {given} is not set")),
    }
}

fn write(out: &mut impl Write, result: CheckResult, name: &str, lines: &[String]) -> io::Result<()> {
    let word = match result {
        CheckResult::Ready => "ready",
        CheckResult::Missing => "missing",
        CheckResult::Wrong => "wrong",
    };
    writeln!(out, "{word:<7}  {name}")?;
    lines.iter().try_for_each(|line| writeln!(out, "         {line}"))
}

/// A variable as a function with `--real` has it, which uses the fakes of Supabase and DynamoDB if no project and no
/// tables are set. Their ports do not matter here.
fn variable(environment: &StackEnvironment, name: &str) -> Option<String> {
    let fake = || match name {
        "SUPABASE_URL" => Some("http://127.0.0.1:8787".to_owned()),
        name => {
            let table = dev::tables::VARIABLES.iter().find(|(known, _)| *known == name);
            table.map(|(_, table)| (*table).to_owned())
        }
    };
    environment.get(name).or_else(fake)
}

/// Which users may call, and whether their tokens can be verified.
async fn users(config: &CommonConfig, has_demo_users: bool) -> (CheckResult, String) {
    if has_demo_users {
        return (CheckResult::Ready, "SUPABASE_URL is not set: the demo users may call".into());
    }
    let state = match SignIn::new(&config.sign_in, config.secrets_endpoint.as_ref()) {
        Some(sign_in) => sign_in.state().await,
        None => {
            return (
                CheckResult::Wrong,
                "this system has no root certificates, so HTTPS fails: install ca-certificates".into(),
            );
        }
    };
    match state {
        Ok(()) => (CheckResult::Ready, "the users of SUPABASE_URL may call: its key set was fetched".into()),
        Err(Code::ServiceMisconfigured) => {
            let message = "the key set of SUPABASE_URL has no usable key: create a signing key in Supabase (Settings, \
                           JWT keys), or set SUPABASE_JWT_SECRET";
            (CheckResult::Missing, message.into())
        }
        Err(_) => {
            let message = "the key set of SUPABASE_URL cannot be fetched: check the address and the network";
            (CheckResult::Wrong, message.into())
        }
    }
}
