//! `cargo dev doctor`: asks an upstream for one picture, or reads a recorded answer, and prints what the answer is, whether
//! the functions can use it, and the settings for it.

mod advice;
mod asking;
mod reading;
mod recording;
mod report;
mod shape_name;
mod sighting;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use shared::image_url::LocalLinks;
use shared::outcome::AnswerEnd;

use self::asking::DoctorRequest;
use self::reading::AnswerReading;
use self::report::{DoctorReport, ReportSource};
use crate::environment::StackEnvironment;

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Base URL of the upstream, with or without /v1. ARK's ends in /api/v3. Without it every model of every upstream in
    /// IMAGE_ROUTES is asked.
    #[arg(value_name = "BASE_URL")]
    base_url: Option<String>,
    /// The API to call.
    #[arg(long, value_enum, default_value_t = DoctorMode::Chat)]
    mode: DoctorMode,
    /// Model to ask. Without it the one of the environment or of `.env`, or the default.
    #[arg(long)]
    model: Option<String>,
    /// Variable of the environment or of `.env` with the key, if not IMAGE_API_KEY or, in mode ark, ARK_API_KEY.
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    /// Confirm that the picture is billed.
    #[arg(long)]
    yes: bool,
    /// Read this recorded answer instead: an event stream or JSON. Nothing is sent.
    #[arg(long, conflicts_with_all = ["base_url", "yes", "key_env"])]
    file: Option<PathBuf>,
    /// HTTP status of the recorded answer.
    #[arg(long, requires = "file", default_value_t = 200)]
    status: u16,
}

/// The API of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorMode {
    /// /v1/chat/completions
    Chat,
    /// /v1/images/generations
    Images,
    /// Google's :streamGenerateContent
    Gemini,
    /// ARK's /images/generations
    Ark,
}

impl DoctorMode {
    /// The value of `IMAGE_API_MODE`.
    fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Images => "images",
            Self::Gemini => "gemini",
            Self::Ark => "ark",
        }
    }
}

/// Prints the report. Returns whether the functions can use the answer.
pub(crate) async fn run(options: DoctorArgs) -> io::Result<bool> {
    let report = match (&options.file, &options.base_url) {
        (Some(file), _) => {
            let body =
                fs::read(file).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
            let mut reading = AnswerReading::new(options.status, options.mode == DoctorMode::Ark, LocalLinks::Refused);
            reading.push(&body);
            DoctorReport {
                mode: options.mode,
                source: ReportSource::File,
                status: options.status,
                content_type: None,
                verdict: reading.finish(AnswerEnd::Clean),
                body,
                times: None,
            }
        }
        (None, Some(base_url)) => {
            let request = DoctorRequest::new(&options, base_url, &StackEnvironment::with_file()?)?;
            if !options.yes {
                let host = request.host();
                return Err(io::Error::other(format!(
                    "this asks {host} for one picture, which {host} bills; run it again with --yes"
                )));
            }
            writeln!(io::stdout(), "Asking {} for one picture. This may take some minutes.", request.host())?;
            request.ask().await
        }
        (None, None) => return run_all(options.yes).await,
    };
    let (text, is_usable) = report.write();
    write!(io::stdout(), "{text}")?;
    Ok(is_usable)
}

/// Asks every upstream of IMAGE_ROUTES. Returns whether the functions can use all answers.
async fn run_all(yes: bool) -> io::Result<bool> {
    let requests = DoctorRequest::of_routes(&StackEnvironment::with_file()?)?;
    if !yes {
        let names: Vec<_> = requests.iter().map(DoctorRequest::name).collect();
        return Err(io::Error::other(format!(
            "this asks for one picture each, which is billed: {}; run it again with --yes",
            names.join(", ")
        )));
    }
    let mut are_usable = true;
    for request in requests {
        writeln!(io::stdout(), "Asking {} for one picture. This may take some minutes.", request.name())?;
        let (text, is_usable) = request.ask().await.write();
        writeln!(io::stdout(), "{text}")?;
        are_usable &= is_usable;
    }
    Ok(are_usable)
}
