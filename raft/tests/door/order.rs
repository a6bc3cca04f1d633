//! What a node hands out, and when.

use bytes::Bytes;
use ferrite_raft::{
    Body, ChangeError, ChangeKind, ConfChange, ConfChangeV1, ConfChangeV2, ConfState, Config, Entry, HardState, Index,
    LogStore, MemberChange, MemoryLog, Message, NewError, NodeId, Payload, ProposeError, RawNode, RoleKind, Rules,
    Term, Verdict, VoteKind,
};

use crate::one::{GRANTED, ME, append, at, conf, entry, from, leader, node, settle, snapshot, vote, write};

#[test]
fn a_single_voter_commits_what_is_saved_and_nothing_before() {
    for pre_vote in [false, true] {
        let mut node = node(&[1], |config| config.rules.pre_vote = pre_vote);
        node.campaign();
        settle(&mut node);
        for number in 0..100_u8 {
            node.propose(Bytes::copy_from_slice(&[number])).expect("it leads");
        }
        let mut ready = node.take_ready().expect("entries to save");
        assert_eq!(ready.entries.len(), 100, "many proposals are one write");
        assert!(ready.must_sync && ready.hard_state.is_none() && ready.committed.is_empty());
        write(&mut node, &ready);
        assert!(node.take_ready().is_none(), "nothing is committed before it is saved");
        node.propose(Bytes::from_static(b"more")).expect("it leads");
        let next = node.take_ready().expect("the next write need not wait for the last one");
        assert_eq!(next.entries.len(), 1);
        node.saved(ready.save.take().expect("a ticket"));
        let committed = node.take_ready().expect("committed entries");
        assert_eq!(committed.committed.len(), 100);
        assert_eq!(committed.hard_state.expect("the commit index").commit, Index(101));
        assert!(!committed.must_sync, "a commit index can be found again");
        assert!(node.take_ready().is_none(), "nothing is handed out twice");
    }
}

#[test]
fn a_node_starts_from_what_it_saved() {
    let mut first = node(&[1], |_| {});
    first.campaign();
    first.propose(Bytes::new()).expect_err("it does not lead before its vote is saved");
    settle(&mut first);
    first.propose(Bytes::from_static(b"one")).expect("it leads");
    settle(&mut first);
    let disk = first.log().clone();
    let start = |applied| {
        let config = Config { applied: Index(applied), ..Config::new(ME) };
        let mut node = RawNode::new(config, disk.clone())?;
        assert!(node.soft_state().leader.is_none());
        Ok(settle(&mut node).applied)
    };
    assert_eq!(start(0), Ok(vec![Index(1), Index(2)]));
    assert_eq!(start(1), Ok(vec![Index(2)]));
    assert_eq!(start(2), Ok(vec![]));
    assert_eq!(start(3), Err(NewError::AppliedOutOfRange { applied: Index(3), commit: Index(2) }));
    let mut short = disk.clone();
    short.set_hard_state(HardState { commit: Index(9), ..disk.hard_state() });
    let refusal = RawNode::new(Config::new(ME), short).expect_err("the log lost its end");
    assert_eq!(refusal, NewError::CommitOutOfRange { commit: Index(9), first: Index(0), last: Index(2) });
}

#[test]
fn a_vote_for_oneself_counts_when_it_is_saved() {
    let mut node = node(&[1], |_| {});
    node.campaign();
    let ready = node.take_ready().expect("a vote to save");
    assert_eq!(node.soft_state().role, RoleKind::Candidate);
    assert!(ready.must_sync);
    node.saved(ready.save.expect("a ticket"));
    assert_eq!(node.soft_state().role, RoleKind::Leader);

    let mut node = self::node(&[1, 2, 3], |_| {});
    node.campaign();
    let ready = node.take_ready().expect("a vote to save");
    node.step(from(2, 1, GRANTED)).expect("a vote");
    assert_eq!(node.soft_state().role, RoleKind::Candidate, "one of three voted for sure");
    node.saved(ready.save.expect("a ticket"));
    assert_eq!(node.soft_state().role, RoleKind::Leader);
}

#[test]
fn a_vote_is_saved_before_it_is_given_and_given_once_a_term() {
    let mut node = node(&[1, 2, 3], |_| {});
    // It knows the term already: the vote alone is new.
    node.step(from(2, 5, Body::Heartbeat { commit: Index(0), context: Bytes::new() })).expect("a heartbeat");
    settle(&mut node);
    node.forget_leader();
    settle(&mut node);
    node.step(vote(2, 5, at(0, 0))).expect("a request");
    node.step(vote(3, 5, at(0, 0))).expect("a request");
    let ready = node.take_ready().expect("a vote to save");
    let saved = ready.hard_state.expect("the vote is new");
    assert_eq!((saved.term, saved.vote), (Term(5), Some(NodeId(2))));
    assert!(ready.must_sync && ready.messages.is_empty());
    let answers: Vec<(u64, bool)> =
        ready.messages_after_save.iter().map(|message| (message.to.0, message.body == GRANTED)).collect();
    assert_eq!(answers, [(2, true), (3, false)]);
}

#[test]
fn an_acknowledgement_waits_for_the_disk_and_a_leader_s_entries_do_not() {
    let mut follower = node(&[1, 2, 3], |_| {});
    follower.step(append(1, at(0, 0), vec![entry(1, 1)], 0)).expect("entries");
    let ready = follower.take_ready().expect("entries to save");
    assert!(ready.messages.is_empty());
    let bodies: Vec<Body> = ready.messages_after_save.into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, [Body::AppendAccepted { index: Index(1) }]);

    let mut leader = leader();
    leader.step(from(2, 1, Body::AppendAccepted { index: Index(1) })).expect("an answer");
    settle(&mut leader);
    leader.propose(Bytes::from_static(b"data")).expect("it leads");
    let ready = leader.take_ready().expect("entries to save and to send");
    assert!(
        ready
            .messages
            .iter()
            .any(|message| matches!(&message.body, Body::Append { entries, .. } if entries.len() == 1))
    );
}

#[test]
fn a_leader_counts_itself_only_for_what_it_saved() {
    let mut leader = leader();
    leader.propose(Bytes::from_static(b"data")).expect("it leads");
    let ready = leader.take_ready().expect("entries to save");
    write(&mut leader, &ready);
    leader.step(from(2, 1, Body::AppendAccepted { index: Index(2) })).expect("an answer");
    assert_eq!(leader.hard_state().commit, Index(1), "one of three holds entry 2 for sure");
    leader.saved(ready.save.expect("a ticket"));
    assert_eq!(leader.hard_state().commit, Index(2));
}

#[test]
fn a_candidate_asks_for_votes_only_once_its_log_and_its_term_are_saved() {
    for pre_vote in [false, true] {
        let mut node = node(&[1, 2, 3], |config| config.rules.pre_vote = pre_vote);
        node.step(append(1, at(0, 0), vec![entry(1, 1)], 0)).expect("entries");
        let written = node.take_ready().expect("an entry to save");
        write(&mut node, &written);
        node.campaign();
        let ready = node.take_ready().expect("a candidate");
        let asked = |messages: &[Message]| messages.iter().filter(|sent| matches!(sent.body, Body::Vote(_))).count();
        // If it crashed now, it would have forgotten the entry and the term, could stand in the same term again, and would
        // count votes that were given to the longer log. A pre-vote gives nothing, so it need not wait.
        let (at_once, after_save) = (asked(&ready.messages), asked(&ready.messages_after_save));
        assert_eq!((at_once, after_save), if pre_vote { (2, 0) } else { (0, 2) });
    }
}

#[test]
fn a_node_is_in_the_term_of_its_last_entry_even_if_a_crash_took_the_term() {
    let mut log = MemoryLog::new();
    log.set_conf(conf(&[1, 2, 3]));
    log.append([entry(4, 1)]);
    log.set_hard_state(HardState { term: Term(2), vote: Some(NodeId(3)), commit: Index(0) });
    let mut node = RawNode::new(Config::new(ME), log).expect("a configuration that works");
    let expected = HardState { term: Term(4), vote: None, commit: Index(0) };
    assert_eq!(node.hard_state(), expected);
    assert_eq!(node.take_ready().expect("the term to save").hard_state, Some(expected));
}

#[test]
fn a_second_change_in_the_log_proves_that_the_first_is_committed() {
    let change = |index, payload: &Payload| Entry { payload: payload.clone(), ..entry(1, index) };
    let commit = |entries: &[Entry], applied| {
        let mut log = MemoryLog::new();
        log.set_conf(conf(&[1, 2, 3]));
        log.append(entries.iter().cloned());
        log.set_hard_state(HardState { term: Term(1), vote: None, commit: Index(applied) });
        let config = Config { applied: Index(applied), ..Config::new(ME) };
        RawNode::new(config, log).expect("a configuration that works").hard_state().commit.0
    };
    let add = MemberChange { kind: ChangeKind::AddNode, node: NodeId(4) };
    let v1 = &ConfChangeV1 { id: 0, change: add, context: Bytes::new() }.into();
    let v2 = &ConfChangeV2 { changes: vec![add], ..ConfChangeV2::default() }.into();
    let normal = &Payload::default();
    // A crash took the commit index. With the members of two changes ago this node could be elected by too few.
    assert_eq!(commit(&[change(1, normal), change(2, v1), change(3, normal), change(4, v2), change(5, normal)], 0), 2);
    assert_eq!(commit(&[change(1, v1), change(2, normal)], 0), 0);
    assert_eq!(commit(&[change(1, v1), change(2, v2)], 1), 1);
}

#[test]
fn a_candidate_learns_of_a_change_that_only_those_who_cannot_lead_know_to_be_committed() {
    let mut node = node(&[1, 2, 3], |_| {});
    let change = MemberChange { kind: ChangeKind::RemoveNode, node: NodeId(3) };
    let payload = ConfChangeV1 { id: 0, change, context: Bytes::new() }.into();
    node.step(append(1, at(0, 0), vec![Entry { payload, ..entry(1, 1) }], 0)).expect("the change");
    settle(&mut node);
    node.campaign();
    settle(&mut node);
    let answer = |committed| Body::VoteAnswer { kind: VoteKind::Binding, verdict: Verdict::Rejected { committed } };
    node.step(from(3, 2, answer(at(2, 1)))).expect("another entry than ours");
    assert_eq!((node.hard_state().commit, node.soft_state().role), (Index(0), RoleKind::Candidate));
    node.step(from(3, 2, answer(at(1, 1)))).expect("our entry");
    assert_eq!((node.hard_state().commit, node.soft_state().role), (Index(1), RoleKind::Follower));
    assert_eq!(settle(&mut node).applied, [Index(1)], "it is handed out to be applied");
}

#[test]
fn a_ticket_of_an_old_term_says_nothing_about_the_log() {
    let mut node = node(&[1, 2, 3], |_| {});
    let mut tickets = Vec::new();
    let mut take = |node: &mut RawNode<MemoryLog>| {
        let ready = node.take_ready().expect("entries to save");
        write(node, &ready);
        tickets.push(ready.save.expect("a ticket"));
    };
    // Entry 1 is written in term 1, replaced in term 2, and again in term 3 by the very entry of term 1.
    node.step(append(1, at(0, 0), vec![entry(1, 1)], 0)).expect("entries");
    take(&mut node);
    node.step(append(2, at(0, 0), vec![entry(2, 1)], 0)).expect("entries");
    take(&mut node);
    node.step(append(3, at(0, 0), vec![entry(1, 1), entry(3, 2)], 2)).expect("entries");
    take(&mut node);
    let mut tickets = tickets.into_iter();
    for _ in 0..2 {
        node.saved(tickets.next().expect("a ticket of an older term"));
        assert!(node.take_ready().is_none(), "the disk still has to replace the entry twice");
    }
    node.saved(tickets.next().expect("the ticket of this term"));
    assert_eq!(node.take_ready().expect("committed entries").committed.len(), 2);
}

#[test]
fn a_ticket_for_an_entry_that_was_replaced_says_nothing() {
    let mut node = node(&[1, 2, 3], |_| {});
    node.step(append(2, at(0, 0), vec![entry(1, 1)], 0)).expect("entries");
    settle(&mut node);
    node.step(append(2, at(1, 1), vec![entry(1, 2)], 0)).expect("entries");
    let first = node.take_ready().expect("entries to save");
    write(&mut node, &first);
    // A new leader is heard of, and what is unsaved is reported again in its term.
    node.step(from(3, 3, Body::Heartbeat { commit: Index(1), context: Bytes::new() })).expect("a heartbeat");
    let second = node.take_ready().expect("the term to save");
    node.step(Message { from: NodeId(3), ..append(3, at(1, 1), vec![entry(3, 2)], 2) }).expect("entries");
    let third = node.take_ready().expect("entries to save");
    write(&mut node, &third);
    for ticket in [first.save, second.save] {
        node.saved(ticket.expect("a ticket"));
        assert!(node.take_ready().is_none(), "entry 2 of term 3 is not on the disk");
    }
    node.saved(third.save.expect("a ticket"));
    assert_eq!(node.take_ready().expect("committed").committed.last().expect("entry 2").term, Term(3));
}

#[test]
fn a_follower_commits_no_further_than_the_logs_are_known_to_be_equal() {
    let mut node = node(&[1, 2, 3], |_| {});
    node.step(append(1, at(0, 0), vec![entry(1, 1), entry(1, 2), entry(1, 3)], 0)).expect("entries");
    settle(&mut node);
    // The leader of term 2 has other entries at 2 and 3, and committed them; it asks about entry 1 first.
    node.step(append(2, at(1, 1), vec![], 3)).expect("a probe");
    settle(&mut node);
    assert_eq!(node.hard_state().commit, Index(1));
}

#[test]
fn an_entry_of_an_older_term_is_committed_only_by_one_of_the_own_term() {
    let mut node = node(&[1, 2, 3], |_| {});
    node.step(append(1, at(0, 0), vec![entry(1, 1)], 0)).expect("entries");
    settle(&mut node);
    node.campaign();
    settle(&mut node);
    node.step(from(3, 2, GRANTED)).expect("a vote");
    settle(&mut node);
    node.step(from(3, 2, Body::AppendAccepted { index: Index(1) })).expect("an answer");
    assert_eq!(node.hard_state().commit, Index(0), "a leader of term 2 could still be elected without it (figure 8)");
    node.step(from(3, 2, Body::AppendAccepted { index: Index(2) })).expect("an answer");
    assert_eq!(node.hard_state().commit, Index(2));
}

#[test]
fn a_snapshot_is_taken_in_only_if_it_has_something_new() {
    let mut node = node(&[1, 2, 3], |_| {});
    let entries = (1..=5).map(|index| entry(1, index)).collect();
    node.step(append(9, at(0, 0), entries, 3)).expect("entries");
    settle(&mut node);
    node.log_mut().create_snapshot(Index(3), conf(&[1, 2, 3]), Bytes::new()).expect("a snapshot");
    node.log_mut().compact(Index(3)).expect("entries to forget");
    //         snapshot                    then committed, last
    for (message, commit, last) in [
        (snapshot(1, 2, &[1, 2, 3]), 3, 5), // behind what is committed
        (snapshot(1, 4, &[2, 3]), 3, 5),    // of a cluster without this node
        (snapshot(1, 4, &[1, 2, 3]), 4, 5), // the log has this
        (snapshot(2, 5, &[1, 2, 3]), 5, 5), // the log has another entry there
    ] {
        let text = format!("{message:?}");
        node.step(message).expect("a snapshot");
        settle(&mut node);
        assert_eq!((node.hard_state().commit, node.log().last_index()), (Index(commit), Index(last)), "{text}");
    }
    assert_eq!(node.log().term(Index(5)), Ok(Term(2)));
}

#[test]
fn nothing_is_applied_while_a_snapshot_is_on_its_way_to_the_disk() {
    let mut node = node(&[1, 2, 3], |_| {});
    node.step(snapshot(2, 5, &[1, 2, 3])).expect("a snapshot");
    node.step(append(9, at(2, 5), vec![entry(9, 6)], 6)).expect("entries");
    let ready = node.take_ready().expect("a snapshot to save");
    assert!(ready.snapshot.is_some() && ready.committed.is_empty());
    write(&mut node, &ready);
    node.campaign();
    assert_eq!(node.soft_state().role, RoleKind::Follower, "it does not know its own state yet");
    node.saved(ready.save.expect("a ticket"));
    let ready = node.take_ready().expect("the entry behind it");
    assert_eq!(ready.committed.len(), 1);
}

#[test]
fn a_proposal_is_refused_when_too_much_is_uncommitted() {
    let mut node = node(&[1], |config| config.limits.max_uncommitted_size = 10);
    node.campaign();
    settle(&mut node);
    let propose = |node: &mut RawNode<MemoryLog>, length| node.propose(Bytes::from(vec![0; length]));
    assert_eq!(propose(&mut node, 100), Ok(()), "the first one is always taken");
    assert_eq!(propose(&mut node, 1), Err(ProposeError::QuotaExceeded));
    assert_eq!(propose(&mut node, 0), Ok(()), "an empty one costs nothing");
    settle(&mut node);
    assert_eq!(propose(&mut node, 6), Ok(()));
    assert_eq!(propose(&mut node, 6), Err(ProposeError::QuotaExceeded));
    assert_eq!(
        node.propose_batch([Bytes::from_static(b"12"), Bytes::from_static(b"345")]),
        Err(ProposeError::QuotaExceeded)
    );
    assert_eq!(node.propose_batch([Bytes::from_static(b"12"), Bytes::from_static(b"34")]), Ok(()));
}

#[test]
fn a_change_of_members_waits_for_the_one_before() {
    let mut node = node(&[1], |_| {});
    node.campaign();
    settle(&mut node);
    let learner = |id| {
        let change = MemberChange { kind: ChangeKind::AddLearnerNode, node: NodeId(id) };
        ConfChangeV1 { id, change, context: Bytes::new() }
    };
    node.propose_conf_change(learner(2)).expect("it leads");
    node.propose_conf_change(learner(3)).expect("an empty entry takes its place");
    let ready = node.take_ready().expect("entries to save");
    let lengths: Vec<bool> = ready.entries.iter().map(|entry| entry.change().is_none()).collect();
    assert_eq!(lengths, [false, true]);
}

#[test]
fn a_joint_configuration_is_left_by_itself() {
    let mut node = node(&[1], |_| {});
    node.campaign();
    settle(&mut node);
    let add = |id| MemberChange { kind: ChangeKind::AddLearnerNode, node: NodeId(id) };
    let change = ConfChangeV2 { changes: vec![add(2), add(3)], ..ConfChangeV2::default() };
    node.propose_conf_change(change).expect("it leads");
    let mut confs = Vec::new();
    while let Some(ready) = node.take_ready() {
        write(&mut node, &ready);
        if let Some(ticket) = ready.save {
            node.saved(ticket);
        }
        for entry in ready.committed {
            if let Some(change) = entry.change() {
                confs.push(node.apply_conf_change(&change.to_v2()).expect("a change that fits"));
            }
            node.applied(entry.index);
        }
    }
    let learners = vec![NodeId(2), NodeId(3)];
    let after = ConfState { learners, ..conf(&[1]) };
    let joint = ConfState { voters_outgoing: vec![ME], auto_leave: true, ..after.clone() };
    assert_eq!(confs, [joint, after]);
}

#[test]
fn a_change_that_a_snapshot_overtook_is_not_applied_to_it() {
    let mut node = node(&[1, 2, 3], |_| {});
    let change = MemberChange { kind: ChangeKind::RemoveNode, node: NodeId(3) };
    let change = ConfChange::from(ConfChangeV1 { id: 0, change, context: Bytes::new() });
    let entries = vec![Entry { payload: change.clone().into(), ..entry(1, 1) }];
    node.step(append(9, at(0, 0), entries, 1)).expect("entries");
    let ready = node.take_ready().expect("an entry to save");
    write(&mut node, &ready);
    node.saved(ready.save.expect("a ticket"));
    assert_eq!(node.take_ready().expect("the change").committed.len(), 1);
    // Meanwhile the others went on, and 3 is a member again.
    node.step(snapshot(2, 5, &[1, 2, 3])).expect("a snapshot");
    assert_eq!(node.apply_conf_change(&change.to_v2()), Err(ChangeError::Superseded));
    node.applied(Index(1));
    assert_eq!(node.status().membership.conf_state(), conf(&[1, 2, 3]));
}

#[test]
fn a_read_is_answered_when_a_quorum_still_follows() {
    let mut leader = leader();
    let context = || Bytes::from_static(b"read");
    leader.read_index(context());
    assert!(
        settle(&mut leader).said.is_empty(),
        "before the first commit of its term it does not know what is committed"
    );
    leader.step(from(2, 1, Body::AppendAccepted { index: Index(1) })).expect("an answer");
    let number = settle(&mut leader).said.into_iter().find_map(|(_, body)| match body {
        Body::Heartbeat { context, .. } => Some(context),
        _ => None,
    });
    leader.step(from(3, 1, Body::HeartbeatAnswer { context: number.expect("a round") })).expect("an answer");
    let ready = leader.take_ready().expect("the read");
    let states: Vec<(Index, Bytes)> = ready.read_states.into_iter().map(|read| (read.index, read.context)).collect();
    assert_eq!(states, [(Index(1), context())]);
}

#[test]
fn a_read_after_a_crash_sees_what_was_saved_before_it() {
    let mut log = MemoryLog::new();
    log.set_conf(conf(&[1]));
    // Two were acknowledged; that they are committed was not saved any more.
    log.append([entry(1, 1), entry(1, 2)]);
    log.set_hard_state(HardState { term: Term(1), vote: Some(ME), commit: Index(0) });
    let mut node =
        RawNode::new(Config { rules: Rules { pre_vote: false, ..Rules::default() }, ..Config::new(ME) }, log)
            .expect("a configuration that works");
    node.campaign();
    while node.soft_state().role != RoleKind::Leader {
        let mut ready = node.take_ready().expect("a vote to save");
        write(&mut node, &ready);
        node.saved(ready.save.take().expect("a ticket"));
    }
    node.read_index(Bytes::from_static(b"read"));
    let mut ready = node.take_ready().expect("the first entry of the term");
    assert!(ready.read_states.is_empty(), "it does not know yet what is committed");
    write(&mut node, &ready);
    node.saved(ready.save.take().expect("a ticket"));
    let ready = node.take_ready().expect("the read");
    assert_eq!(ready.read_states.iter().map(|read| read.index).collect::<Vec<_>>(), [Index(3)]);
}

#[test]
fn a_ready_that_came_back_leaves_nothing_behind_in_the_next() {
    let mut node = node(&[1], |_| {});
    node.campaign();
    for number in 0..10_u8 {
        if node.soft_state().role == RoleKind::Leader {
            node.propose(Bytes::copy_from_slice(&[number])).expect("it leads");
        }
        while let Some(mut ready) = node.take_ready() {
            write(&mut node, &ready);
            assert!(ready.entries.len() <= 1 && ready.committed.len() <= 1, "{ready:?}");
            if let Some(ticket) = ready.save.take() {
                node.saved(ticket);
            }
            if let Some(last) = ready.committed.last() {
                node.applied(last.index);
            }
            node.recycle(ready);
        }
    }
    assert_eq!(node.status().applied, Index(10));
}

#[test]
#[should_panic(expected = "a Ready was given back with a save that was never reported")]
fn a_ready_does_not_come_back_before_its_save_is_reported() {
    let mut node = node(&[1], |_| {});
    node.campaign();
    let ready = node.take_ready().expect("a vote to save");
    node.recycle(ready);
}
