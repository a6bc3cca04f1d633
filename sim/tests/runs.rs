//! Runs of whole clusters.

use ferrite_sim::{Faults, Report, Run, run};

fn seeds(first: u64, count: u64, members: usize, faults: Faults) -> Vec<Report> {
    (first..first + count)
        .map(|seed| run(Run::new(seed, members, 20, faults)).unwrap_or_else(|finding| panic!("{finding}")))
        .collect()
}

#[test]
fn a_cluster_without_faults() {
    for report in [seeds(1, 3, 3, Faults::NONE), seeds(10, 1, 1, Faults::NONE)].concat() {
        // Until there is a leader some give up.
        assert!(report.answered * 20 > report.requests * 19 && report.elections.len() == 1, "{report:?}");
    }
}

#[test]
fn all_faults() {
    let reports = [seeds(1000, 8, 3, Faults::ALL), seeds(2000, 4, 5, Faults::ALL)].concat();
    // What is never done is not tested.
    let sum = |of: fn(&Report) -> usize| reports.iter().map(of).sum::<usize>();
    let counts = [
        ("answers", sum(|report| report.answered), 1000),
        ("terms", sum(|report| report.elections.len()), 30),
        ("lives", sum(|report| report.lives as usize), 50),
        ("changes of members", sum(|report| report.changes.members), 10),
        ("transfers", sum(|report| report.changes.transfers), 5),
        ("compactions", sum(|report| report.changes.compactions), 2),
        ("leases that ended", sum(|report| report.leases_ended), 50),
        ("snapshots", sum(|report| report.snapshots), 10),
        ("events watched", sum(|report| report.watch_events), 1000),
        ("watches that went on elsewhere", sum(|report| report.watches_resumed), 50),
    ];
    for (what, count, least) in counts {
        assert!(count >= least, "only {count} {what}");
    }
}

#[test]
fn a_seed_always_makes_the_same_run() {
    let of = |seed| run(Run::new(seed, 3, 10, Faults::ALL)).unwrap();
    assert_eq!(of(77), of(77));
    assert_ne!(of(77).digest, of(78).digest);
}
