//! `cargo dev check`: is everything there that the real upstreams need, and can users sign in?

use std::io::{self, Write};

use shared::config::{CommonConfig, FaceflipConfig, FunctionConfig, GenerateConfig, KeySource};
use shared::edge::SignIn;
use shared::problem::Code;

use crate::environment::Environment;

/// Says it, and returns whether it is.
pub(crate) async fn run() -> io::Result<bool> {
    let environment = Environment::with_file()?;
    let mut out = io::stdout().lock();
    let generate = report::<GenerateConfig>(&mut out, "POST /api/generate-stream", &environment).await?;
    let faceflip = report::<FaceflipConfig>(&mut out, "POST /api/v1/faceflip/generate/stream", &environment).await?;
    if generate && faceflip {
        writeln!(out, "Run `cargo dev --real` to call the real upstreams. This costs money.")?;
    } else {
        writeln!(out, "Run `cargo dev setup` to be asked for what is missing.")?;
    }
    Ok(generate && faceflip)
}

/// What a line begins with: nothing is in the way, a key is missing, or something is there and wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Ready,
    Missing,
    Wrong,
}

async fn report<C: FunctionConfig>(out: &mut impl Write, route: &str, environment: &Environment) -> io::Result<bool> {
    let has_stand_in = environment.get("SUPABASE_URL").is_none();
    // `--real` takes the stand-ins where no project and no tables are given; their ports do not matter here.
    let tables = |name: &str| dev::tables::VARIABLES.iter().find(|(known, _)| *known == name);
    let stand_in = |name: &str| match name {
        "SUPABASE_URL" => Some("http://127.0.0.1:8787".to_owned()),
        name => tables(name).map(|(_, table)| (*table).to_owned()),
    };
    let (mark, lines) = match C::from_env(&|name| environment.get(name).or_else(|| stand_in(name))) {
        Err(mistakes) => {
            let lines = mistakes.0.iter().map(|mistake| format!("{} {}", mistake.variable, mistake.message));
            (Mark::Wrong, lines.collect())
        }
        Ok(config) => {
            let (key, of_key) = match config.key() {
                KeySource::Given(_) => (Mark::Ready, None),
                KeySource::Managed { id, .. } => (Mark::Ready, Some(format!("its key is the secret {id}"))),
                KeySource::Missing { given, .. } => (Mark::Missing, Some(format!("{given} is not set"))),
            };
            let (users, of_users) = users(config.common(), has_stand_in).await;
            let open = (!config.common().sign_in.is_required)
                .then(|| "FACEFLIP_AUTH=anonymous: callers without a token may call too".to_owned());
            (key.max(users), of_key.into_iter().chain([of_users]).chain(open).collect::<Vec<_>>())
        }
    };
    let word = match mark {
        Mark::Ready => "ready",
        Mark::Missing => "missing",
        Mark::Wrong => "wrong",
    };
    writeln!(out, "{word:<7}  {route}")?;
    lines.iter().try_for_each(|line| writeln!(out, "         {line}"))?;
    Ok(mark == Mark::Ready)
}

/// Who may call, and whether their tokens can be checked.
async fn users(config: &CommonConfig, has_stand_in: bool) -> (Mark, String) {
    if has_stand_in {
        return (Mark::Ready, "SUPABASE_URL is not set: the demo users may call".into());
    }
    let state = match SignIn::new(&config.sign_in, config.secrets_endpoint.as_ref()) {
        Some(sign_in) => sign_in.state().await,
        None => return (Mark::Wrong, "this system has no root certificates: nothing can be fetched".into()),
    };
    match state {
        Ok(()) => (Mark::Ready, "the users of SUPABASE_URL may call: its key set is there".into()),
        Err(Code::ServiceMisconfigured) => {
            let says = "the key set of SUPABASE_URL has no usable key: create a signing key in Supabase (Settings, JWT \
                        keys), or set SUPABASE_JWT_SECRET";
            (Mark::Missing, says.into())
        }
        Err(_) => {
            let says =
                "the key set of SUPABASE_URL cannot be fetched: is it the project's address, and can it be reached?";
            (Mark::Wrong, says.into())
        }
    }
}
