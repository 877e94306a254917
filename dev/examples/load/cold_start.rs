//! `load start`: from the start of a process to its first request for an event, and to the first byte of its answer.

use std::path::Path;

use crate::lambda_process::{InvocationTimes, LambdaProcess, LambdaProgram};
use crate::local_services::{EVENTS, FACEFLIP, LocalServices, RequestKind, upstream};
use crate::upstream::LoadPayload;
use crate::{megabytes, ms, quantile};

const RUNS: usize = 20;
const PAYLOAD: LoadPayload = LoadPayload::deltas(64 * 1024);

pub(crate) async fn measure(folder: &Path) {
    let (services, upstream) = (LocalServices::start().await, upstream(PAYLOAD).await);
    let variables = services.variables(&upstream, false);
    println!("ms from the start of a process; {RUNS} runs\n");
    println!(
        "| Program | First `/next`: median, least | First byte of the body, acknowledged at once: median, p90 | acknowledged late: p50, p90 | MB resident |"
    );
    println!("|---|---|---|---|---|");
    let ours = [("generate-stream", EVENTS), ("faceflip-stream", FACEFLIP)];
    let ours = ours.into_iter().map(|(name, kind)| (LambdaProgram::function(folder, name), kind));
    let others =
        LambdaProgram::others().into_iter().map(|program| (program, RequestKind { terminal: "[DONE]", ..EVENTS }));
    for (program, kind) in ours.chain(others) {
        let (mut next, mut first, mut late, mut resident) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..RUNS {
            for acknowledges in [true, false] {
                let process = LambdaProcess::spawn(&program, &variables, None, acknowledges).await;
                let times: InvocationTimes = process.invoke(&kind.event(&services, 1), kind.terminal).await.unwrap();
                let firsts = if acknowledges { &mut first } else { &mut late };
                firsts.push(ms(times.first));
                next.push(ms(times.next));
                resident = resident.max(process.peak_resident_bytes());
            }
        }
        println!(
            "| {} | {:.1}, {:.1} | {:.1}, {:.1} | {:.1}, {:.1} | {:.0} |",
            program.name,
            quantile(&next, 0.5),
            quantile(&next, 0.0),
            quantile(&first, 0.5),
            quantile(&first, 0.9),
            quantile(&late, 0.5),
            quantile(&late, 0.9),
            megabytes(resident)
        );
    }
}
