//! `load memory`: the peak resident memory of a function over many invocations.

use std::path::Path;

use crate::lambda_process::{LambdaProcess, LambdaProgram};
use crate::local_services::{BYTES, CHAT, EVENTS, FACEFLIP, JSON, LocalServices, RequestKind, upstream};
use crate::megabytes;
use crate::upstream::LoadPayload;

const INVOCATIONS: usize = 100;
const TWO: (&str, LoadPayload) = ("2 MB in deltas", LoadPayload::deltas(2 << 20));
const FOURTEEN: (&str, LoadPayload) = ("14 MB in one line", LoadPayload::line(14 << 20));
const LARGEST: (&str, LoadPayload) = ("16 MiB picture in one line", LoadPayload::LARGEST);
/// Requests for `n` pictures, and whether pictures are kept.
const ROWS: [(RequestKind, (&str, LoadPayload), u32, bool); 16] = [
    (EVENTS, TWO, 1, false),
    (CHAT, TWO, 1, false),
    (JSON, TWO, 1, false),
    (BYTES, TWO, 1, false),
    (EVENTS, TWO, 1, true),
    (FACEFLIP, ("a link of ARK", TWO.1), 1, false),
    (FACEFLIP, ("a link of ARK", TWO.1), 1, true),
    (EVENTS, FOURTEEN, 1, false),
    (CHAT, FOURTEEN, 1, false),
    (JSON, FOURTEEN, 1, false),
    (BYTES, FOURTEEN, 1, false),
    (EVENTS, FOURTEEN, 1, true),
    (EVENTS, LARGEST, 4, false),
    (JSON, LARGEST, 4, false),
    (EVENTS, LARGEST, 4, true),
    (FACEFLIP, ("a link to a picture of 16 MiB", LARGEST.1), 1, true),
];

pub(crate) async fn measure(folder: &Path) {
    let services = LocalServices::start().await;
    println!("Peak resident memory in MB\n");
    println!("| Format | Answer | Bucket | First invocation | {INVOCATIONS} invocations |");
    println!("|---|---|---|---|---|");
    for (kind, (answer, payload), n, keeps_pictures) in ROWS {
        let upstream = upstream(payload).await;
        let function = if kind.name == FACEFLIP.name { "faceflip-stream" } else { "generate-stream" };
        let program = LambdaProgram::function(folder, function);
        let variables = services.variables(&upstream, keeps_pictures);
        let process = LambdaProcess::spawn(&program, &variables, None, true).await;
        let mut first = 0;
        for _ in 0..INVOCATIONS {
            process.invoke(&kind.event(&services, n), kind.terminal).await.unwrap();
            first = if first == 0 { process.peak_resident_bytes() } else { first };
        }
        println!(
            "| {} | {n} × {answer} | {} | {:.0} | {:.0} |",
            kind.name,
            if keeps_pictures { "yes" } else { "no" },
            megabytes(first),
            megabytes(process.peak_resident_bytes())
        );
    }
}
