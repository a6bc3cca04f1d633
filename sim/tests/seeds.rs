//! Many seeds, each a whole life of a cluster.

use std::time::Duration;

use ferrite_sim::{Faults, Run, run};

fn seeds(first: u64, count: u64, members: usize, faults: Faults) {
    let length = Duration::from_secs(20);
    for seed in first..first + count {
        let world = run(Run { seed, members, length, faults }).unwrap_or_else(|finding| panic!("{finding}"));
        assert!(world.history().answered() > 20, "seed {seed}: hardly anything was answered");
    }
}

#[test]
fn a_cluster_without_faults() {
    seeds(1, 5, 3, Faults::NONE);
    seeds(10, 2, 1, Faults::NONE);
}

#[test]
fn three_members_with_all_faults() {
    seeds(1000, 30, 3, Faults::ALL);
}

#[test]
fn five_members_with_all_faults() {
    seeds(2000, 10, 5, Faults::ALL);
}

#[test]
fn a_seed_always_makes_the_same_run() {
    let of = |seed| {
        let world = run(Run { seed, members: 3, length: Duration::from_secs(10), faults: Faults::ALL }).unwrap();
        (world.now(), format!("{:?}", world.history()))
    };
    assert_eq!(of(77), of(77));
    assert_ne!(of(77), of(78));
}
