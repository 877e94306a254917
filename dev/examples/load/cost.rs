//! `load cost`: what a function does with the CPU and memory of some sizes of Lambda, and its price.

use std::io;
use std::path::Path;

use crate::lambda_process::{LambdaProcess, LambdaProgram};
use crate::local_services::{BYTES, CHAT, EVENTS, FACEFLIP, JSON, LocalServices, RequestKind, upstream};
use crate::quota::Quota;
use crate::upstream::LoadPayload;
use crate::{median, megabytes, ms};

const MEMORY_MB: [u64; 4] = [128, 256, 512, 1769];
/// Starts, and invocations after the first one.
const RUNS: usize = 5;
/// `us-east-1`, x86 and ARM: <https://aws.amazon.com/lambda/pricing/>.
const DOLLARS_PER_GB_SECOND: [f64; 2] = [0.000_016_666_7, 0.000_013_333_4];
const DOLLARS_PER_REQUEST: f64 = 0.000_000_2;
const PICTURE_SECONDS: f64 = 40.0;

/// A row: requests to one program.
struct CostRow {
    program: LambdaProgram,
    kind: RequestKind,
    payload: (&'static str, LoadPayload),
    n: u32,
    keeps_pictures: bool,
}

/// A cell: medians in ms, and the peak.
struct CostCell {
    first_ms: f64,
    total_ms: f64,
    peak_bytes: u64,
}

pub(crate) async fn measure(folder: &Path) {
    if let Err(error) = Quota::new(MEMORY_MB[0]) {
        println!("(not measured: control groups need root: {error})");
        return;
    }
    println!(
        "First byte after the start of the process in ms / whole answer of a later request in ms / peak resident MB. The upstream sends at once.\n"
    );
    let sizes = MEMORY_MB.map(|mb| format!("{mb} MB"));
    println!("| Program | Format | Answer | {} |", sizes.join(" | "));
    println!("|---|---|---|{}", "---|".repeat(sizes.len()));
    let services = LocalServices::start().await;
    let mut prices = Vec::new();
    for row in rows(folder) {
        let mut cells = Vec::new();
        for memory_mb in MEMORY_MB {
            cells.push(cell(&services, &row, &Quota::new(memory_mb).unwrap()).await);
        }
        let texts = cells.iter().map(|cell| match cell {
            Some(CostCell { first_ms, total_ms, peak_bytes }) => {
                format!("{first_ms:.0} / {total_ms:.0} / {:.0}", megabytes(*peak_bytes))
            }
            None => "killed".to_owned(),
        });
        let answer = if row.n > 1 { format!("{} × {}", row.n, row.payload.0) } else { row.payload.0.to_owned() };
        let bucket = if row.keeps_pictures { ", bucket" } else { "" };
        println!(
            "| {} | {}{bucket} | {answer} | {} |",
            row.program.name,
            row.kind.name,
            texts.collect::<Vec<_>>().join(" | ")
        );
        if row.n == 1 && !row.payload.1.is_line && row.kind.format != CHAT.format {
            prices.push((format!("{}{bucket}", row.program.name), cells));
        }
    }
    println!("\nDollars for 1000 pictures of {PICTURE_SECONDS} s, x86 / ARM\n");
    println!("| Program | {} |\n|---|{}", sizes.join(" | "), "---|".repeat(sizes.len()));
    for (name, cells) in prices {
        let texts = cells.iter().zip(MEMORY_MB).map(|(cell, memory_mb)| match cell {
            Some(cell) => {
                let gb_seconds = (PICTURE_SECONDS + cell.total_ms / 1e3) * memory_mb as f64 / 1024.0;
                let [x86, arm] = DOLLARS_PER_GB_SECOND.map(|price| 1e3 * (gb_seconds * price + DOLLARS_PER_REQUEST));
                format!("{x86:.3} / {arm:.3}")
            }
            None => "–".to_owned(),
        });
        println!("| {name} | {} |", texts.collect::<Vec<_>>().join(" | "));
    }
}

const TWO: (&str, LoadPayload) = ("2 MB", LoadPayload::deltas(2 << 20));
const LARGE: (&str, LoadPayload) = ("16 MiB picture in one line", LoadPayload::LARGEST);
const LINK: (&str, LoadPayload) = ("a link", TWO.1);
const LARGE_LINK: (&str, LoadPayload) = ("a link to a picture of 16 MiB", LoadPayload::LARGEST);

fn rows(folder: &Path) -> Vec<CostRow> {
    let generate = |kind, payload, n, keeps_pictures| CostRow {
        program: LambdaProgram::function(folder, "generate-stream"),
        kind,
        payload,
        n,
        keeps_pictures,
    };
    let mut rows = vec![
        generate(EVENTS, TWO, 1, false),
        generate(CHAT, TWO, 1, false),
        generate(JSON, TWO, 1, false),
        generate(BYTES, TWO, 1, false),
        generate(EVENTS, TWO, 1, true),
        generate(EVENTS, TWO, 4, false),
        generate(JSON, TWO, 4, false),
        generate(EVENTS, LARGE, 1, false),
        generate(CHAT, LARGE, 1, false),
        generate(JSON, LARGE, 1, false),
        generate(BYTES, LARGE, 1, false),
        generate(EVENTS, LARGE, 1, true),
        generate(JSON, LARGE, 4, false),
        generate(EVENTS, LARGE, 4, true),
    ];
    for (payload, keeps_pictures) in [(LINK, false), (LINK, true), (LARGE_LINK, true)] {
        let program = LambdaProgram::function(folder, "faceflip-stream");
        rows.push(CostRow { program, kind: FACEFLIP, payload, n: 1, keeps_pictures });
    }
    for program in LambdaProgram::others() {
        let kind = RequestKind { name: "as it comes", terminal: "[DONE]", ..EVENTS };
        rows.push(CostRow { program, kind, payload: TWO, n: 1, keeps_pictures: false });
    }
    rows
}

/// `None` if the program is killed for lack of memory.
async fn cell(services: &LocalServices, row: &CostRow, quota: &Quota) -> Option<CostCell> {
    let upstream = upstream(row.payload.1).await;
    let variables = services.variables(&upstream, row.keeps_pictures);
    let (mut first, mut total, mut peak) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        let process = LambdaProcess::spawn(&row.program, &variables, Some(quota), true).await;
        for is_first in [true, false] {
            let times = match process.invoke(&row.kind.event(services, row.n), row.kind.terminal).await {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return None,
                times => times.unwrap(),
            };
            if is_first { first.push(ms(times.first)) } else { total.push(ms(times.total)) }
        }
        peak = peak.max(process.peak_resident_bytes());
    }
    Some(CostCell { first_ms: median(first), total_ms: median(total), peak_bytes: peak })
}
