//! Messages from those who are wrong: unknown, removed, behind, ahead, or not a node of ours at all.

use bytes::Bytes;
use ferrite_raft::{
    Body, ChangeKind, ConfChangeV2, Entries, HardState, Index, LogStore, MemberChange, MemoryLog, Message, NodeId,
    ProposeError, RawNode, RoleKind, StepError, Term, Verdict, VoteKind, VoteRequest,
};

use crate::one::{self, GRANTED, append, at, entry, from, node, settle, snapshot, vote};

/// A node that leads three voters in term 1; its first entry is committed.
fn leader() -> RawNode<MemoryLog> {
    let mut node = one::leader();
    node.step(from(2, 1, Body::AppendAccepted { index: Index(1) })).expect("an answer");
    settle(&mut node);
    node
}

#[test]
fn an_answer_of_who_is_no_member_is_refused() {
    let mut leader = leader();
    for unknown in [0, 7, u64::MAX] {
        for body in [
            Body::AppendAccepted { index: Index(1) },
            Body::AppendRejected { index: Index(1), hint: at(0, 0) },
            Body::HeartbeatAnswer { context: Bytes::new() },
            GRANTED,
            Body::ReadIndexAnswer { index: Index(1), context: Bytes::new() },
        ] {
            assert_eq!(leader.step(from(unknown, 1, body)), Err(StepError::PeerNotFound));
        }
    }
    assert!(!leader.has_ready());
    // 3 is removed: what it answers from now on counts no more, and it is no longer a quorum with this node.
    let changes = vec![MemberChange { kind: ChangeKind::RemoveNode, node: NodeId(3) }];
    leader.propose_conf_change(ConfChangeV2 { changes, ..ConfChangeV2::default() }).expect("it leads");
    settle(&mut leader);
    leader.step(from(2, 1, Body::AppendAccepted { index: Index(2) })).expect("an answer");
    settle(&mut leader);
    assert_eq!(leader.hard_state().commit, Index(2));
    leader.propose(Bytes::from_static(b"data")).expect("it leads");
    settle(&mut leader);
    assert_eq!(leader.step(from(3, 1, Body::AppendAccepted { index: Index(3) })), Err(StepError::PeerNotFound));
    assert_eq!(leader.hard_state().commit, Index(2));
}

#[test]
fn who_is_no_member_yet_may_lead_and_be_voted_for() {
    // The change that made 7 a voter may be in entries that this node does not have.
    let mut node = node(&[1, 2, 3], |_| {});
    node.step(vote(7, 5, at(4, 9))).expect("a request");
    assert_eq!(settle(&mut node).said, [(7, GRANTED)]);
    let body = Body::Append { prev: at(0, 0), entries: vec![entry(5, 1)].into(), commit: Index(1) };
    node.step(from(7, 5, body)).expect("entries");
    assert_eq!(settle(&mut node).said, [(7, Body::AppendAccepted { index: Index(1) })]);
    assert_eq!(node.soft_state().leader, Some(NodeId(7)));
}

#[test]
fn what_comes_from_an_old_term_is_ignored_or_answered_with_the_new_one() {
    let outdated = || {
        let heartbeat = Body::Heartbeat { commit: Index(0), context: Bytes::new() };
        [append(3, at(0, 0), vec![entry(3, 1)], 1), from(2, 3, heartbeat)]
    };
    for (check_quorum, answered) in [(false, false), (true, true)] {
        let mut node = node(&[1, 2, 3], |config| config.rules.check_quorum = check_quorum);
        node.step(vote(3, 5, at(0, 0))).expect("a request");
        settle(&mut node);
        for message in outdated() {
            node.step(message).expect("no error");
            let expected = if answered { vec![(2, Body::AppendAccepted { index: Index(0) })] } else { vec![] };
            assert_eq!(settle(&mut node).said, expected, "check_quorum {check_quorum}");
        }
        node.step(vote(2, 4, at(9, 9))).expect("no error");
        assert_eq!(settle(&mut node).said, [], "a request of an older term");
        assert_eq!(node.hard_state(), HardState { term: Term(5), vote: Some(NodeId(3)), commit: Index(0) });
        assert_eq!(node.log().last_index(), Index(0));
    }
}

#[test]
fn entries_behind_a_gap_are_rejected_with_a_hint() {
    let mut node = node(&[1, 2, 3], |_| {});
    node.step(append(2, at(0, 0), vec![entry(1, 1), entry(1, 2), entry(2, 3)], 0)).expect("entries");
    settle(&mut node);
    //   behind                hint
    for (prev, hint) in [(at(2, 9), at(2, 3)), (at(1, 9), at(1, 2)), (at(1, 3), at(1, 2)), (at(3, 2), at(1, 2))] {
        node.step(append(3, prev, vec![entry(3, prev.index.0 + 1)], 9)).expect("no error");
        assert_eq!(settle(&mut node).said, [(2, Body::AppendRejected { index: prev.index, hint })], "behind {prev:?}");
        assert_eq!((node.log().last_index(), node.hard_state().commit), (Index(3), Index(0)));
    }
}

#[test]
fn a_commit_index_counts_only_as_far_as_the_logs_are_equal() {
    let mut node = node(&[1, 2, 3], |_| {});
    node.step(append(2, at(0, 0), vec![entry(1, 1), entry(1, 2)], u64::MAX)).expect("entries");
    settle(&mut node);
    assert_eq!(node.hard_state().commit, Index(2));
}

#[test]
#[should_panic(
    expected = "tocommit(3) is out of range [lastIndex(2)]. Was the raft log corrupted, truncated, or lost?"
)]
fn a_node_that_lost_what_it_acknowledged_stops() {
    let mut node = node(&[1, 2, 3], |_| {});
    node.step(append(2, at(0, 0), vec![entry(1, 1), entry(1, 2)], 0)).expect("entries");
    settle(&mut node);
    // A heartbeat names no more than what this node has acknowledged.
    let _ = node.step(from(2, 2, Body::Heartbeat { commit: Index(3), context: Bytes::new() }));
}

#[test]
fn a_message_in_the_own_name_is_refused() {
    let mut leader = leader();
    for body in [
        Body::AppendAccepted { index: Index(1) },
        Body::Heartbeat { commit: Index(0), context: Bytes::new() },
        Body::Vote(VoteRequest { kind: VoteKind::Binding, last: at(1, 1), transfer: true }),
        Body::TimeoutNow,
    ] {
        let refusal = Err(StepError::Malformed("a message from this node itself"));
        assert_eq!(leader.step(from(1, 2, body)), refusal);
    }
    assert_eq!(leader.hard_state().term, Term(1));
}

#[test]
fn what_no_node_says_is_refused_and_changes_nothing() {
    #[track_caller]
    fn check(message: Message, expected: StepError) {
        let mut node = node(&[1, 2, 3], |_| {});
        assert_eq!(node.step(message), Err(expected));
        assert!(!node.has_ready());
    }
    let malformed = StepError::Malformed;
    check(append(0, at(0, 0), vec![], 0), malformed("a message without a term"));
    check(append(1, at(0, 0), vec![entry(1, 2)], 0), malformed("a gap between the entries"));
    check(append(1, at(0, 0), vec![entry(1, 1), entry(1, 3)], 0), malformed("a gap between the entries"));
    check(append(1, at(0, 0), vec![entry(2, 1)], 0), malformed("an entry of an impossible term"));
    check(append(3, at(2, 1), vec![entry(1, 2)], 0), malformed("an entry of an impossible term"));
    check(append(1, at(1, u64::MAX), vec![entry(1, 0)], 0), malformed("a gap between the entries"));
    check(from(2, 0, Body::Propose(Entries::default())), malformed("a proposal of nothing"));
    check(snapshot(1, 0, &[1]), malformed("an empty snapshot"));
    check(snapshot(1, u64::MAX, &[1]), malformed("an index that no log reaches"));
    check(vote(2, u64::MAX, at(1, 1)), malformed("a term that no cluster reaches"));
    check(from(2, u64::MAX, Body::ReadIndex { context: Bytes::new() }), malformed("a term that no cluster reaches"));
    check(from(7, 1, Body::AppendAccepted { index: Index(1) }), StepError::PeerNotFound);
    check(from(2, 0, Body::Propose(vec![entry(0, 0)].into())), StepError::Propose(ProposeError::NoLeader));
}

#[test]
fn an_answer_that_makes_no_sense_does_not_stop_a_leader() {
    let mut leader = leader();
    for body in [
        Body::AppendRejected { index: Index(u64::MAX), hint: at(u64::MAX, u64::MAX) },
        Body::AppendRejected { index: Index(0), hint: at(0, 0) },
        Body::HeartbeatAnswer { context: Bytes::from_static(b"not a number") },
        Body::HeartbeatAnswer { context: Bytes::from_static(&[0xff; 8]) },
        Body::AppendAccepted { index: Index(u64::MAX) },
        Body::VoteAnswer { kind: VoteKind::Pre, verdict: Verdict::Granted },
        Body::ReadIndexAnswer { index: Index(u64::MAX), context: Bytes::new() },
        Body::Append { prev: at(0, 0), entries: Entries::default(), commit: Index(u64::MAX) },
        Body::Heartbeat { commit: Index(u64::MAX), context: Bytes::new() },
    ] {
        let text = format!("{body:?}");
        let _ = leader.step(from(2, 1, body));
        settle(&mut leader);
        assert_eq!(leader.soft_state().role, RoleKind::Leader, "after {text}");
    }
}
