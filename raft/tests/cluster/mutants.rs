//! The schedules find broken rules. One rule is broken at a time, in Raft itself or in how its owner drives it, and the
//! schedules are run until one of them fails.

use crate::cluster::node::Haste;
use crate::cluster::schedule::Cluster;
use crate::mutation::{Mutation, plant};

/// How many schedules a fault may survive.
const MAX_SCHEDULES: u64 = 100_000;

#[derive(Clone, Copy)]
enum Fault {
    Rule(Mutation),
    Owner(Haste),
}

#[track_caller]
fn check(name: &str, fault: Fault) {
    let haste = match fault {
        Fault::Rule(mutation) => {
            plant(Some(mutation));
            None
        }
        Fault::Owner(haste) => {
            plant(None);
            Some(haste)
        }
    };
    let caught = (1..=MAX_SCHEDULES).find_map(|seed| {
        let failure = std::panic::catch_unwind(|| Cluster::new(seed, haste).run()).err()?;
        let text = failure.downcast_ref::<String>().cloned();
        Some((seed, text.or_else(|| failure.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()))
    });
    plant(None);
    let Some((seed, text)) = caught else { panic!("{name}: not found by {MAX_SCHEDULES} schedules") };
    println!("{name}: found by schedule {seed}: {}", text.lines().next().unwrap_or_default());
}

macro_rules! mutants {
    ($($name:ident: $fault:expr;)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name), $fault);
            }
        )*
    };
}

mutants! {
    a_vote_that_is_answered_before_it_is_saved: Fault::Owner(Haste::Vote);
    an_acknowledgement_before_the_fsync: Fault::Owner(Haste::Acknowledge);
    a_save_that_is_reported_before_the_fsync: Fault::Owner(Haste::Report);
    a_commit_of_an_older_term_by_counting: Fault::Rule(Mutation::CommitOlderTerm);
    a_quorum_that_is_off_by_one: Fault::Rule(Mutation::QuorumOffByOne);
    a_joint_quorum_of_one_half: Fault::Rule(Mutation::JointQuorumOfOneHalf);
    a_read_index_without_a_quorum: Fault::Rule(Mutation::ReadWithoutQuorum);
    a_snapshot_that_goes_back: Fault::Rule(Mutation::SnapshotGoesBack);
    a_transfer_while_a_change_is_pending: Fault::Rule(Mutation::TransferDuringChange);
    a_change_while_a_change_is_pending: Fault::Rule(Mutation::ChangeDuringChange);
    a_second_vote_in_a_term: Fault::Rule(Mutation::VoteTwice);
    a_vote_for_a_shorter_log: Fault::Rule(Mutation::VoteForShorterLog);
    entries_behind_what_was_not_compared: Fault::Rule(Mutation::AppendAnywhere);
}
