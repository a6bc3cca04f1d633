//! Runs of whole clusters.

use std::time::Duration;

use ferrite_sim::{Fault, Faults, Report, Run, Script, run};

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

/// How long there was no leader after the one that led at [`END`] had gone.
fn outages(script: Script) -> Vec<Duration> {
    let outage = |seed| {
        // Clocks that drift bring the members' ticks apart.
        let faults = Faults { clocks: true, ..Faults::NONE };
        let report = run(Run { script, ..Run::new(seed, 3 + 2 * (seed as usize % 2), 12, faults) });
        let elections = report.unwrap_or_else(|finding| panic!("{finding}")).elections;
        let next = elections.into_iter().find(|at| *at > END).expect("somebody leads in the end");
        next - END
    };
    let mut outages: Vec<Duration> = (1..=10).map(outage).collect();
    outages.sort();
    outages
}

const END: Duration = Duration::from_secs(9);
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn a_leader_whose_process_ends_is_replaced_after_one_election_timeout() {
    const KILLED: Script = &[(END, Fault::LeaderKill { down: Duration::from_secs(4) })];
    const WITHOUT_POWER: Script = &[(END, Fault::LeaderPowerCut { down: Duration::from_secs(4) })];
    let (killed, without_power) = (outages(KILLED), outages(WITHOUT_POWER));
    let tenth = ELECTION_TIMEOUT / 10;
    // A tick less for what it said last, and a tick more for each voter whose log is behind.
    assert!(killed.iter().all(|outage| *outage > 8 * tenth && *outage < 13 * tenth), "{killed:?}");
    // Of one that loses its power nothing is known: the time is drawn.
    let median = |outages: &[Duration]| outages[outages.len() / 2];
    assert!(median(&killed) <= ELECTION_TIMEOUT && median(&without_power) > ELECTION_TIMEOUT, "{without_power:?}");
}
