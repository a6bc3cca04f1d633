//! Who revokes leases.

use std::time::Duration;

use bytes::Bytes;
use ferrite_member::Input;
use ferrite_raft::{Body, Index, Message, NodeId, Term};
use ferrite_state::command::{Command, Proposal};
use ferrite_state::lease::LeaseId;

use crate::rig::{ME, Rig};

/// A member that leads and keeps the deadlines of a lease of a second.
fn with_a_lease() -> Rig {
    let mut rig = Rig::new();
    rig.rest(Vec::new());
    rig.apply();
    rig.rest(Vec::new());
    rig.lessor.lock().grant(LeaseId::new(7).expect("not 0"), 1).expect("a new lease");
    rig.rest(Vec::new());
    assert!(rig.lessor.lock().is_primary());
    rig
}

/// Whether a message hands the revocation of a lease on to a leader.
fn revokes(message: &Message) -> bool {
    let Body::Propose(entries) = &message.body else { return false };
    let commands = entries.iter().map(|entry| Proposal::parse(entry).expect("our own bytes").command);
    commands.into_iter().any(|command| matches!(command, Command::LeaseRevoke(_)))
}

#[test]
fn a_leader_revokes_what_has_run_out() {
    let mut rig = with_a_lease();
    let before = rig.saved.len();
    rig.now += Duration::from_secs(5);
    rig.rest(Vec::new());
    assert!(rig.saved.len() > before);
}

#[test]
fn a_leader_that_slept_and_is_one_no_more_hands_no_revocation_on_to_its_successor() {
    let mut rig = with_a_lease();
    rig.now += Duration::from_secs(5);
    // While it slept another one was elected, and renewed the lease: this is what it finds when it wakes.
    let body = Body::Heartbeat { commit: Index(0), context: Bytes::new() };
    let term = Term(rig.member.term().0 + 1);
    let mut arrived = vec![Input::Message(Message { to: ME, from: NodeId(2), term, body })];
    for _ in 0..5 {
        let out = rig.member.turn(rig.now, &mut arrived);
        assert!(!out.messages.iter().any(revokes));
        rig.now += Duration::from_millis(100);
    }
    assert_eq!(rig.member.leader(), Some(NodeId(2)));
    assert!(!rig.lessor.lock().is_primary());
}
