//! Changes of members on their way into the log.

use std::sync::mpsc::channel;

use ferrite_member::{Input, Inquiry};
use ferrite_raft::ChangeKind;

use crate::rig::{ME, Rig, applied, proposed};

/// How many changes of members are in the log.
fn changes(rig: &Rig) -> usize {
    rig.saved.iter().filter(|entry| entry.change().is_some()).count()
}

/// A member that leads, and has committed a learner that it does not know to be applied.
fn with_a_change_committed() -> Rig {
    let mut rig = Rig::new();
    rig.rest(Vec::new());
    rig.apply();
    rig.rest(Vec::new());
    rig.rest(vec![proposed(1, ChangeKind::AddLearnerNode)]);
    assert_eq!(changes(&rig), 1);
    rig
}

#[test]
fn a_change_waits_for_a_leader() {
    let mut rig = Rig::new();
    rig.rest(vec![proposed(1, ChangeKind::AddLearnerNode)]);
    assert_eq!(rig.member.leader(), Some(ME));
    assert_eq!(changes(&rig), 1);
}

#[test]
fn the_next_change_is_taken_in_the_very_turn_in_which_the_one_before_is_in_force() {
    let mut rig = with_a_change_committed();
    rig.apply();
    rig.rest(vec![applied(ChangeKind::AddLearnerNode), proposed(2, ChangeKind::AddNode)]);
    assert_eq!(changes(&rig), 2);
}

#[test]
fn a_change_that_is_applied_but_not_in_force_keeps_out_the_next() {
    let mut rig = with_a_change_committed();
    rig.apply();
    rig.rest(vec![proposed(2, ChangeKind::AddNode)]);
    assert_eq!(changes(&rig), 1, "members still decide as before the first change");
    rig.rest(vec![applied(ChangeKind::AddLearnerNode), proposed(3, ChangeKind::AddNode)]);
    assert_eq!(changes(&rig), 2);
}

#[test]
fn whoever_asks_learns_what_raft_knows() {
    let mut rig = with_a_change_committed();
    rig.apply();
    let (tell, told) = channel();
    let inquiry = Inquiry::new(move |status| {
        let _ = tell.send(status.progress.iter().map(|(id, progress)| (*id, progress.matched())).collect::<Vec<_>>());
    });
    rig.rest(vec![applied(ChangeKind::AddLearnerNode), Input::Inquire(inquiry)]);
    let known = told.recv().expect("the answer came in the turn");
    assert_eq!(known.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(known[0].1, rig.committed.0, "of itself a leader knows all that it has saved");
}
