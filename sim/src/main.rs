//! Runs a range of seeds, each a minute of a cluster's life: `ferrite-sim FROM..TO [SECONDS]`, or `SIM_SEEDS=FROM..TO ferrite-sim`.
//! Seeds do not depend on one another, so a range that was stopped, or was not done after so many seconds, goes on with the
//! seed that was named last.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ferrite_sim::{Run, run};

/// How often it says how far it is.
const INTERVAL: Duration = Duration::from_secs(15);

/// The seed that is being run, for whoever has to report a panic.
static SEED: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let range = std::env::args().nth(1).or_else(|| std::env::var("SIM_SEEDS").ok());
    let range = range.as_deref().and_then(|range| range.split_once(".."));
    let range = range.and_then(|(from, to)| Some(from.parse::<u64>().ok()?..to.parse::<u64>().ok()?));
    let Some(range) = range else {
        return usage();
    };
    let limit = match std::env::args().nth(2).map(|seconds| seconds.parse()) {
        None => Duration::MAX,
        Some(Ok(seconds)) => Duration::from_secs(seconds),
        Some(Err(_)) => return usage(),
    };
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let seed = SEED.load(Ordering::Relaxed);
        eprintln!("seed {seed}; a debug build tells the story: cargo run -p ferrite-sim -- {seed}..{}", seed + 1);
        report(panic);
    }));
    let begun = Instant::now();
    let (mut done, mut findings, mut simulated, mut told) = (0_u64, 0_u64, Duration::ZERO, begun);
    for seed in range.clone() {
        SEED.store(seed, Ordering::Relaxed);
        match run(Run::of_seed(seed)) {
            Ok(report) => simulated += report.time,
            Err(finding) => {
                findings += 1;
                simulated += finding.at;
                eprintln!("{finding}\n");
            }
        }
        done += 1;
        let is_over = begun.elapsed() >= limit || seed + 1 == range.end;
        if told.elapsed() > INTERVAL || is_over {
            told = Instant::now();
            let took = begun.elapsed().as_secs_f64();
            println!(
                "{done} seeds, {findings} findings, {:.0} s simulated in {took:.0} s ({:.0} times real time); on with {}..{}",
                simulated.as_secs_f64(),
                simulated.as_secs_f64() / took,
                seed + 1,
                range.end
            );
        }
        if is_over {
            break;
        }
    }
    if findings > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn usage() -> ExitCode {
    eprintln!("usage: ferrite-sim FROM..TO [SECONDS]   (or SIM_SEEDS=FROM..TO ferrite-sim)");
    ExitCode::from(2)
}
