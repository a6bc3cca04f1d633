//! A small cluster in one thread from one seed. A seed decides a schedule: how many nodes there are and how they are set
//! up, which faults this schedule knows and how often each of them strikes, and then some hundred things that happen, one
//! at a time, each to one node.
//!
//! ```text
//!   mix ── what may happen ──▶ cluster ── a step ──▶ node (Raft, disk, state machine) ──▶ network ──▶ another node
//!                                 │                       │
//!                                 │ the schedule is over  └──▶ check: what must hold after every step
//!                                 ▼
//!                               mend: faults stop, and within a bounded time there is a leader and all is decided
//! ```
//!
//! `mutants` breaks the rules of Raft one by one and shows that these schedules find each of them.
//!
//! A failure names its seed: `RAFT_SEED=n` runs that one alone, `RAFT_SEEDS=n` so many (from
//! `RAFT_FIRST=n` on), and `RAFT_LOG=1` prints the log
//! lines of all nodes. It is a module of the crate rather
//! than a test beside it because it looks at the log inside and plants faults there (`mutation.rs`).

mod check;
mod mend;
mod mix;
mod mutants;
mod network;
mod node;
mod rng;
mod schedule;

use std::fmt;
use std::time::Instant;

use crate::cluster::schedule::Cluster;
use crate::mutation::plant;

/// What came of some schedules.
#[derive(Debug, Default)]
struct Tally {
    steps: usize,
    proposed: usize,
    committed: usize,
    acknowledged: usize,
    reads_answered: usize,
    snapshots_installed: usize,
    changes: usize,
    leaders: usize,
    crashes: usize,
    /// The longest that any mended cluster was without a leader, and without everything decided, in election timeouts.
    leaderless_timeouts: f64,
    undecided_timeouts: f64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.steps += other.steps;
        self.proposed += other.proposed;
        self.committed += other.committed;
        self.acknowledged += other.acknowledged;
        self.reads_answered += other.reads_answered;
        self.snapshots_installed += other.snapshots_installed;
        self.changes += other.changes;
        self.leaders += other.leaders;
        self.crashes += other.crashes;
        self.leaderless_timeouts = self.leaderless_timeouts.max(other.leaderless_timeouts);
        self.undecided_timeouts = self.undecided_timeouts.max(other.undecided_timeouts);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} steps, {} proposed, {} committed, {} acknowledged, {} reads answered, {} snapshots installed, {} changes of \
             members, {} leaders, {} crashes; mended: a leader within {:.1} election timeouts, all decided within {:.1}",
            self.steps,
            self.proposed,
            self.committed,
            self.acknowledged,
            self.reads_answered,
            self.snapshots_installed,
            self.changes,
            self.leaders,
            self.crashes,
            self.leaderless_timeouts,
            self.undecided_timeouts
        )
    }
}

/// Runs the schedule of one seed. It panics when something does not hold.
fn run_schedule(seed: u64) -> Tally {
    let mut cluster = Cluster::new(seed, None);
    cluster.run();
    cluster.mend();
    cluster.tally()
}

fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// How many schedules are run unless the environment says otherwise.
const SCHEDULES: u64 = 4000;

#[test]
fn a_cluster_keeps_its_promises_whatever_happens() {
    plant(None);
    let only = number_from_env("RAFT_SEED");
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number_from_env("RAFT_FIRST").unwrap_or(1);
            first..first + number_from_env("RAFT_SEEDS").unwrap_or(SCHEDULES)
        }
    };
    let began = Instant::now();
    let mut tally = Tally::default();
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(|| run_schedule(seed));
        let Ok(run) = run else { panic!("failed with RAFT_SEED={seed}") };
        tally.add(&run);
        if seed % 50_000 == 0 {
            println!("{seed} schedules in {:.0?}: {tally}", began.elapsed());
        }
    }
    let runs = (seeds.end - seeds.start) as usize;
    println!("{runs} schedules in {:.1?}: {tally}", began.elapsed());
    // A run in which nothing happens proves nothing.
    assert!(tally.steps >= 200 * runs, "every schedule has 200 steps at least");
    if only.is_none() {
        let enough = |count: usize, each: usize| assert!(count >= each * runs / 10, "too little happened: {tally}");
        enough(tally.committed, 100);
        enough(tally.acknowledged, 50);
        enough(tally.reads_answered, 10);
        assert!(tally.snapshots_installed >= runs / 20, "too few snapshots: {tally}");
        enough(tally.changes, 20);
        enough(tally.leaders, 15);
        enough(tally.crashes, 50);
    }
}
