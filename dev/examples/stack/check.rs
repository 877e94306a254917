//! `cargo dev check`: is everything there that the real upstreams need?

use std::io::{self, Write};

use shared::config::{FaceflipConfig, FunctionConfig, GenerateConfig, Key, Mistakes};

use crate::environment::Environment;

/// Says it, and returns whether it is.
pub(crate) fn run() -> io::Result<bool> {
    let environment = Environment::read()?;
    let get = |name: &str| environment.get(name);
    let generate = GenerateConfig::from_env(&get).map(|config| config.image_api.key);
    let faceflip = FaceflipConfig::from_env(&get).map(|config| config.ark.key);
    let mut out = io::stdout().lock();
    let generate = report(&mut out, "POST /api/generate-stream", generate)?;
    let faceflip = report(&mut out, "POST /api/v1/faceflip/generate/stream", faceflip)?;
    if generate && faceflip {
        writeln!(out, "Run `cargo dev --real` to call the real upstreams. This costs money.")?;
    } else {
        writeln!(out, "Run `cargo dev setup` to be asked for what is missing.")?;
    }
    Ok(generate && faceflip)
}

fn report(out: &mut impl Write, route: &str, key: Result<Key, Mistakes>) -> io::Result<bool> {
    match key {
        Ok(Key::Given(_)) => writeln!(out, "ready    {route}")?,
        Ok(Key::Managed { id, .. }) => writeln!(out, "ready    {route} (its key is the secret {id})")?,
        Ok(Key::Missing { given, .. }) => {
            writeln!(out, "missing  {route}\n         {given} is not set")?;
            return Ok(false);
        }
        Err(mistakes) => {
            writeln!(out, "wrong    {route}")?;
            for mistake in mistakes.0 {
                writeln!(out, "         {} {}", mistake.variable, mistake.says)?;
            }
            return Ok(false);
        }
    }
    Ok(true)
}
