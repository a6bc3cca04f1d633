//! How a member comes to lead.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use ferrite_member::Input;
use ferrite_raft::{Body, ChangeKind, Entry, Index, Message, NodeId, Payload, Term};

use crate::rig::{ME, Nobody, Rig, command, impatient, one_of, sole_voter};

#[test]
fn reads_need_no_round_once_an_entry_of_the_term_is_applied_and_nobody_else_votes() {
    let mut rig = Rig::new();
    rig.rest(Vec::new());
    assert_eq!(rig.member.leader(), Some(ME));
    assert!(!rig.member.reads_need_no_round(), "what it has committed in its first life is not applied");
    rig.apply();
    rig.rest(Vec::new());
    assert!(rig.member.reads_need_no_round());
    rig.change_members(ChangeKind::AddLearnerNode);
    assert!(rig.member.reads_need_no_round(), "a learner decides nothing");
    rig.change_members(ChangeKind::AddNode);
    assert!(!rig.member.reads_need_no_round(), "in the very turn in which there is another voter");
}

#[test]
fn an_election_under_way_is_not_begun_again() {
    // Turns come for many reasons; a save may take as long as several of them.
    for (pre_vote, turns_a_save_takes) in [(false, 0), (true, 0), (false, 1), (true, 1), (true, 5)] {
        let (mut member, _) = sole_voter(pre_vote);
        let mut saves: Vec<(usize, _)> = Vec::new();
        for turn in 0..40 {
            let mut done: Vec<Input<Nobody, Nobody>> =
                saves.extract_if(.., |(due, _)| *due <= turn).map(|(_, number)| Input::Saved(number)).collect();
            let out = member.turn(Duration::from_millis(turn as u64), &mut done);
            saves.extend(out.save.into_iter().map(|save| (turn + 1 + turns_a_save_takes, save.number)));
        }
        assert_eq!(member.leader(), Some(ME), "pre-vote {pre_vote}, a save takes {turns_a_save_takes} turns");
    }
}

#[test]
fn what_is_asked_for_while_the_leader_is_known_to_have_ended_waits_for_the_next_one() {
    let (mut member, _) = one_of(vec![ME, NodeId(2), NodeId(3)], true);
    let heartbeat = |from, term| {
        let body = Body::Heartbeat { commit: Index(0), context: Bytes::new() };
        Input::Message(Message { from: NodeId(from), to: ME, term: Term(term), body })
    };
    // Who is handed what in a turn.
    let mut turn = |millis, mut arrived: Vec<Input<Nobody, Nobody>>| {
        let out = member.turn(Duration::from_millis(millis), &mut arrived);
        assert!(out.refused.is_empty() && out.reads.is_empty(), "nobody is told anything");
        let asked = |message: &Message| matches!(message.body, Body::Propose(_) | Body::ReadIndex { .. });
        let mut handed: Vec<u64> = out.messages.iter().filter(|one| asked(one)).map(|one| one.to.0).collect();
        handed.sort_unstable();
        handed
    };
    const NOBODY: [u64; 0] = [];
    // How others reach this member, in the very turn in which it hears of a leader.
    assert_eq!(turn(0, vec![heartbeat(2, 1)]), [2]);
    assert_eq!(turn(1, vec![command(1)]), [2]);
    assert_eq!(turn(2, vec![Input::Gone(NodeId(2)), command(2), Input::Read(Nobody::default())]), NOBODY);
    assert_eq!(turn(3, vec![command(3)]), NOBODY);
    // The commands go in one message, and the read.
    let after = [turn(4, vec![heartbeat(3, 2)]), turn(5, Vec::new())].concat();
    assert_eq!(after, [3, 3]);
}

#[test]
fn what_somebody_has_given_up_before_there_was_a_leader_is_not_proposed() {
    for gives_up in [false, true] {
        let mut rig = Rig::new();
        let (mut proposals, gave_up) = impatient();
        // In the turn that elects it: the commands wait, as nobody leads yet.
        let out = rig.member.turn(rig.now, &mut proposals);
        gave_up.store(gives_up, Ordering::SeqCst);
        rig.rest(out.save.into_iter().map(|save| Input::Saved(save.number)).collect());
        assert_eq!(rig.member.leader(), Some(ME));
        let theirs = rig.saved.iter().filter(|entry| is_of_client(entry)).count();
        assert_eq!(theirs, if gives_up { 0 } else { 2 });
    }
}

fn is_of_client(entry: &Entry) -> bool {
    entry.change().is_some() || entry.payload == Payload::from(Bytes::from_static(b"command"))
}
