//! `load memory`: the peak resident memory of a function over many invocations.

use std::path::Path;

use crate::lambda_process::{LambdaProcess, LambdaProgram};
use crate::local_services::{BYTES, CHAT, EVENTS, FACEFLIP, JSON, LocalServices, upstream};
use crate::megabytes;
use crate::upstream::LoadPayload;

const INVOCATIONS: usize = 100;
const PAYLOADS: [(&str, LoadPayload); 2] =
    [("2 MB in deltas", LoadPayload::deltas(2 << 20)), ("14 MB in one line", LoadPayload::line(14 << 20))];

pub(crate) async fn measure(folder: &Path) {
    let services = LocalServices::start().await;
    println!("Peak resident memory in MB\n");
    println!("| Format | Answer | Bucket | First invocation | {INVOCATIONS} invocations |");
    println!("|---|---|---|---|---|");
    for (payload_name, payload) in PAYLOADS {
        let upstream = upstream(payload).await;
        for (kind, keeps_pictures) in [
            (EVENTS, false),
            (CHAT, false),
            (JSON, false),
            (BYTES, false),
            (EVENTS, true),
            (FACEFLIP, false),
            (FACEFLIP, true),
        ] {
            if kind.name == FACEFLIP.name && payload.is_line {
                continue;
            }
            let function = if kind.name == FACEFLIP.name { "faceflip-stream" } else { "generate-stream" };
            let program = LambdaProgram::function(folder, function);
            let variables = services.variables(&upstream, keeps_pictures);
            let process = LambdaProcess::spawn(&program, &variables, None, true).await;
            let mut first = 0;
            for _ in 0..INVOCATIONS {
                process.invoke(&kind.event(&services, 1), kind.terminal).await.unwrap();
                first = if first == 0 { process.peak_resident_bytes() } else { first };
            }
            let answer = if kind.name == FACEFLIP.name { "a link of ARK" } else { payload_name };
            println!(
                "| {} | {answer} | {} | {:.0} | {:.0} |",
                kind.name,
                if keeps_pictures { "yes" } else { "no" },
                megabytes(first),
                megabytes(process.peak_resident_bytes())
            );
        }
    }
}
