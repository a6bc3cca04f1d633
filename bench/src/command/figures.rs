//! `figures`: the runs of `crate::figures`, interleaved, and their table.

use super::Failure;
use crate::args::{Args, Flag, Kind, flag};
use crate::figures::table::{Samples, table};
use crate::figures::{Sample, Side, Sizes, cluster, large, leases, outage, reigns, rejoin, slow_disk, small, syncs};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

pub const FLAGS: &[Flag] = &[
    flag("a", Kind::Text, "", "the server binary that is compared with (required)"),
    flag("b", Kind::Text, "", "the server binary that is judged (required)"),
    flag("a-name", Kind::Text, "etcd", "name of side a in the table"),
    flag("b-name", Kind::Text, "ferrite", "name of side b in the table"),
    flag("a-flag", Kind::List, "", "a flag for side a"),
    flag("b-flag", Kind::List, "", "a flag for side b"),
    flag("runs", Kind::Uint, "7", "runs of each side"),
    flag("scenarios", Kind::List, "small,large,leases,cluster,outage,reigns,rejoin,slow-disk,syncs", "what to run"),
    flag("only", Kind::Text, "", "run one side, a or b"),
    flag("dir", Kind::Text, "", "folder for data, on the disk to be measured (default: a temporary one)"),
    flag("out", Kind::Text, "", "file that gets every sample: run, side, figure, value"),
    flag("large-keys", Kind::Uint, "1000000", "keys of the scenario `large`"),
    flag("small-keys", Kind::Uint, "10000", "keys of the scenario `small`"),
    flag("many", Kind::Uint, "60000", "requests at 100 connections with 10 clients each"),
    flag("single", Kind::Uint, "3000", "requests at one connection"),
    flag("behind", Kind::Uint, "300000", "revisions that the watcher is behind"),
    flag("leases", Kind::Uint, "20000", "leases that end together"),
    flag("kills", Kind::Uint, "20", "how often the leader is killed"),
    flag("reigns", Kind::Uint, "100000", "leases that live through changes of leader"),
    flag("rejoin-bytes", Kind::Uint, "1000000000", "keys and values that a new member has to be sent"),
    flag(
        "rejoin-dir",
        Kind::Text,
        "",
        "folder for the data of the new member, on a disk of its own (default: with the others)",
    ),
    flag("rejoin-rate", Kind::Uint, "400", "puts a second while a new member joins"),
];

pub async fn run(args: &Args) -> Result<(), Failure> {
    let temporary = std::env::temp_dir().join(format!("benchmark-figures-{}", std::process::id()));
    let dir = if args.text("dir").is_empty() { temporary } else { PathBuf::from(args.text("dir")) };
    let side = |letter: &str| {
        let binary = args.text(letter);
        if binary.is_empty() && args.text("only") != other(letter) {
            return Err(Failure("figures needs --a=BINARY and --b=BINARY".to_owned()));
        }
        Ok(Side {
            name: args.text(&format!("{letter}-name")).to_owned(),
            binary: PathBuf::from(binary),
            dir: dir.join(letter),
            flags: args.list(&format!("{letter}-flag")).to_vec(),
        })
    };
    let sides = [side("a")?, side("b")?];
    let sizes = Sizes {
        small_keys: args.uint("small-keys").max(1),
        large_keys: args.uint("large-keys").max(1),
        many: args.uint("many").max(1000),
        single: args.uint("single").max(100),
        behind: args.uint("behind"),
        leases: args.uint("leases").max(1),
        kills: args.uint("kills"),
        reigns: args.uint("reigns").max(300),
        rejoin_bytes: args.uint("rejoin-bytes"),
        rejoin_dir: Some(PathBuf::from(args.text("rejoin-dir"))).filter(|dir| !dir.as_os_str().is_empty()),
        rejoin_rate: args.uint("rejoin-rate").max(1),
    };
    let mut out = match args.text("out") {
        "" => None,
        path => Some(std::fs::File::create(path)?),
    };
    let mut samples = [Samples::default(), Samples::default()];
    let mut failures = Vec::new();
    // One side alone is shown beside itself.
    let shown = match args.text("only") {
        "" => [0, 1],
        "a" => [0, 0],
        _ => [1, 1],
    };
    let table =
        |samples: &[Samples; 2]| table(shown.map(|at| &*sides[at].name), &samples[shown[0]], &samples[shown[1]]);
    for number in 1..=args.uint("runs") {
        if number > 1 {
            // Whoever has to stop early has at least this.
            eprintln!("{}", table(&samples));
        }
        for scenario in args.list("scenarios") {
            let order = if number % 2 == 1 { [0, 1] } else { [1, 0] };
            for at in order.into_iter().filter(|&at| args.text("only") != ["b", "a"][at]) {
                let side = &sides[at];
                let begin = Instant::now();
                match measure(scenario, side, &sizes).await {
                    Ok(measured) => {
                        eprintln!("run {number}, {scenario}, {}: {:.0?}", side.name, begin.elapsed());
                        for sample in &measured {
                            if let Some(out) = &mut out {
                                writeln!(out, "{number}\t{}\t{}\t{}", side.name, sample.name, sample.value)?;
                            }
                            eprintln!("    {:<20} {:.3}", sample.name, sample.value);
                        }
                        samples[at].add(&measured);
                    }
                    Err(Failure(reason)) => {
                        eprintln!("run {number}, {scenario}, {}: FAILED: {reason}", side.name);
                        failures.push(format!("run {number}, {scenario}, {}: {reason}", side.name));
                    }
                }
            }
        }
    }
    print!("{}", table(&samples));
    if args.text("dir").is_empty() && dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure(failures.join("\n"))) }
}

fn other(letter: &str) -> &'static str {
    if letter == "a" { "b" } else { "a" }
}

async fn measure(scenario: &str, side: &Side, sizes: &Sizes) -> Result<Vec<Sample>, Failure> {
    match scenario {
        "small" => small::run(side, sizes).await,
        "large" => large::run(side, sizes).await,
        "cluster" => cluster::run(side, sizes).await,
        "leases" => leases::run(side, sizes).await,
        "outage" => outage::run(side, sizes).await,
        "reigns" => reigns::run(side, sizes).await,
        "rejoin" => rejoin::run(side, sizes).await,
        "slow-disk" => slow_disk::run(side, sizes).await,
        "syncs" => syncs::run(side, sizes).await,
        other => Err(Failure(format!(
            "no scenario {other:?}; there are small, large, leases, cluster, outage, reigns, rejoin, slow-disk, syncs"
        ))),
    }
}
