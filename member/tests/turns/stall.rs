//! A disk that does not come to an end with a save, and leadership that is handed over.

use std::time::Duration;

use bytes::Bytes;
use ferrite_member::{Input, Member, Outbox};
use ferrite_raft::{
    Body, ChangeKind, Entry, Index, LogPosition, Message, NodeId, Term, Verdict, VoteKind, VoteRequest,
};

use crate::rig::{ME, Nobody, command, one_of, proposed};

const OTHERS: [NodeId; 2] = [NodeId(2), NodeId(3)];
const TICK: Duration = Duration::from_millis(100);

type Arrived = Vec<Input<Nobody, Nobody>>;

/// A member of three. Its disk works at once until it is stopped.
struct OneOfThree {
    member: Member<Nobody, Nobody>,
    now: Duration,
    disk_works: bool,
    others_answer: bool,
    /// Proposals that were not taken.
    refused: usize,
    /// That it wanted to save.
    newest_term: Term,
    arrived: Arrived,
}

impl OneOfThree {
    /// Elected by the others, with the first entry of its term saved everywhere.
    fn leader() -> OneOfThree {
        let (member, _) = one_of(vec![ME, OTHERS[0], OTHERS[1]], false);
        let mut one = OneOfThree {
            member,
            now: Duration::ZERO,
            disk_works: true,
            others_answer: true,
            refused: 0,
            newest_term: Term(0),
            arrived: Vec::new(),
        };
        while one.member.leader() != Some(ME) {
            one.tick();
        }
        one
    }

    /// It has led for so many ticks.
    fn leader_for(ticks: u32) -> OneOfThree {
        let mut one = OneOfThree::leader();
        (0..ticks).for_each(|_| drop(one.tick()));
        one
    }

    /// The heir stands for election.
    fn is_asked_for_its_vote(&mut self) {
        let last = LogPosition { term: self.newest_term, index: Index(100) };
        let body = Body::Vote(VoteRequest { kind: VoteKind::Binding, last, transfer: true });
        let term = Term(self.newest_term.0 + 1);
        self.arrived.push(Input::Message(Message { from: OTHERS[0], to: ME, term, body }));
        self.tick();
    }

    /// The heir has been elected.
    fn hears_the_heir(&mut self) {
        let body = Body::Heartbeat { commit: Index(0), context: Bytes::new() };
        let term = Term(self.newest_term.0.max(9));
        self.arrived.push(Input::Message(Message { from: OTHERS[0], to: ME, term, body }));
    }

    /// A tick goes by. The others grant every vote, and acknowledge all that they are sent. Returns what was sent.
    fn tick(&mut self) -> Vec<Message> {
        self.now += TICK;
        let mut sent = Vec::new();
        // What is answered is taken in by a turn of its own, and so is what is saved.
        for _ in 0..10 {
            let Outbox { messages, save, refused, .. } = self.member.turn(self.now, &mut self.arrived);
            self.refused += refused.len();
            let terms = save.iter().filter_map(|save| Some(save.hard_state?.term));
            self.newest_term = terms.fold(self.newest_term, Term::max);
            if self.disk_works {
                self.arrived.extend(save.iter().map(|save| Input::Saved(save.number)));
            }
            if self.others_answer {
                self.arrived.extend(messages.iter().filter_map(answer).map(Input::Message));
            }
            sent.extend(messages);
        }
        sent
    }
}

/// What another member says to this.
fn answer(message: &Message) -> Option<Message> {
    let body = match &message.body {
        Body::Vote(request) => Body::VoteAnswer { kind: request.kind, verdict: Verdict::Granted },
        Body::Append { prev, entries, .. } => {
            Body::AppendAccepted { index: entries.last().map_or(prev.index, |entry| entry.index) }
        }
        Body::Heartbeat { context, .. } => Body::HeartbeatAnswer { context: context.clone() },
        _ => return None,
    };
    Some(Message { from: message.to, to: message.from, term: message.term, body })
}

#[test]
fn a_leader_hands_over_and_is_heard_all_the_while() {
    let mut one = OneOfThree::leader_for(50);
    one.disk_works = false;
    one.arrived.push(command(5));
    let mut silent = 0;
    for ticks in 1.. {
        let sent = one.tick();
        silent = if sent.iter().any(|message| matches!(message.body, Body::Heartbeat { .. })) { 0 } else { silent + 1 };
        assert!(silent <= 1, "heartbeats wait for no disk");
        if sent.iter().any(|message| matches!(message.body, Body::TimeoutNow)) {
            assert!((10..=12).contains(&ticks), "after an election timeout, and at once then: {ticks}");
            assert!(one.member.disk_stalls());
            return;
        }
        assert!(ticks < 100, "nobody is told to lead");
    }
}

#[test]
fn a_leader_that_is_new_waits_whether_its_disk_comes_round() {
    let mut one = OneOfThree::leader();
    one.disk_works = false;
    one.arrived.push(command(5));
    let handed_over = (1..100).find(|_| one.tick().iter().any(|message| matches!(message.body, Body::TimeoutNow)));
    assert!(handed_over.is_some_and(|ticks| (48..=52).contains(&ticks)), "{handed_over:?}");
}

#[test]
fn one_whose_disk_stalls_does_not_stand_for_election() {
    let mut one = OneOfThree::leader();
    one.disk_works = false;
    // It has to save the new term, and cannot.
    let last = LogPosition { term: Term(8), index: Index(8) };
    let vote = Body::Vote(VoteRequest { kind: VoteKind::Binding, last, transfer: true });
    one.arrived.push(Input::Message(Message { from: OTHERS[0], to: ME, term: Term(9), body: vote }));
    for _ in 0..100 {
        let sent = one.tick();
        assert!(!sent.iter().any(|message| matches!(message.body, Body::Vote(_))), "{sent:?}");
    }
    assert_eq!(one.newest_term, Term(9), "it begins no term of its own");
    assert!(one.member.disk_stalls());
    assert_eq!(one.member.leader(), None);
}

/// Another member forwards this command.
fn forwarded(bytes: usize) -> Input<Nobody, Nobody> {
    let entry = Entry { payload: Bytes::from(vec![7; bytes]).into(), ..Entry::default() };
    let body = Body::Propose(vec![entry].into());
    Input::Message(Message { from: OTHERS[1], to: ME, term: Term(0), body })
}

/// How many of the commands and changes here are sent to `to`, as part of the log or to be proposed there. What duties propose
/// does not count.
fn entries_to(to: NodeId, sent: &[Message]) -> usize {
    let is_ours = |entry: &&Entry| match entry.data() {
        Some(data) => *data == b"command"[..] || data.ends_with(&[7; 10]),
        None => true,
    };
    let of = |message: &Message| match &message.body {
        Body::Append { entries, .. } | Body::Propose(entries) => entries.iter().filter(is_ours).count(),
        _ => 0,
    };
    sent.iter().filter(|message| message.to == to).map(of).sum()
}

#[test]
fn what_is_proposed_during_a_transfer_waits_for_its_end() {
    let mut one = OneOfThree::leader();
    one.arrived.push(Input::TransferLeader(OTHERS[0]));
    assert!(one.tick().iter().any(|message| matches!(message.body, Body::TimeoutNow)));
    one.arrived.extend([command(5), forwarded(10), proposed(6, ChangeKind::AddLearnerNode)]);
    // The heir does nothing, so an election timeout goes by.
    let taken = (1..100).find(|_| entries_to(OTHERS[1], &one.tick()) == 3);
    assert!(taken.is_some_and(|ticks| (8..=11).contains(&ticks)), "{taken:?}");
    assert_eq!(one.member.leader(), Some(ME));
}

#[test]
fn what_is_proposed_during_a_transfer_goes_to_the_heir() {
    let mut one = OneOfThree::leader();
    one.arrived.push(Input::TransferLeader(OTHERS[0]));
    one.tick();
    one.arrived.extend([command(5), forwarded(10)]);
    assert_eq!(entries_to(OTHERS[0], &one.tick()), 0);
    one.is_asked_for_its_vote();
    // For a moment nobody leads.
    one.arrived.extend([command(5), forwarded(10)]);
    assert_eq!(entries_to(OTHERS[0], &one.tick()), 0);
    assert_eq!(one.member.leader(), None);
    one.hears_the_heir();
    assert_eq!(entries_to(OTHERS[0], &one.tick()), 4);
    assert_eq!((one.member.leader(), one.refused), (Some(OTHERS[0]), 0));
}

#[test]
fn what_others_forward_does_not_wait_long_for_a_leader() {
    for (ticks, is_kept) in [(15, true), (30, false)] {
        let mut one = OneOfThree::leader();
        one.arrived.push(Input::TransferLeader(OTHERS[0]));
        one.tick();
        one.arrived.push(forwarded(10));
        one.is_asked_for_its_vote();
        one.others_answer = false;
        (0..ticks).for_each(|_| drop(one.tick()));
        assert_eq!(one.member.leader(), None);
        one.hears_the_heir();
        assert_eq!(entries_to(OTHERS[0], &one.tick()), usize::from(is_kept), "{ticks} ticks");
    }
}

#[test]
fn proposals_do_not_wait_for_one_transfer_after_the_other() {
    let mut one = OneOfThree::leader();
    one.arrived.push(command(5));
    let refused = (1..100).find(|ticks| {
        // Before the last one has come to its end.
        if ticks % 5 == 1 {
            one.arrived.push(Input::TransferLeader(OTHERS[ticks / 5 % 2]));
        }
        one.tick();
        one.refused > 0
    });
    assert!(refused.is_some_and(|ticks| (10..=13).contains(&ticks)), "{refused:?}");
}

#[test]
fn what_others_forward_during_a_transfer_has_a_bound() {
    let mut one = OneOfThree::leader();
    one.arrived.push(Input::TransferLeader(OTHERS[0]));
    one.tick();
    one.arrived.extend((0..5).map(|_| forwarded(20 << 20)));
    let taken = (0..20).map(|_| entries_to(OTHERS[1], &one.tick())).sum::<usize>();
    assert_eq!(taken, 3, "64 MiB hold three of 20");
    // And there is room again.
    one.arrived.push(Input::TransferLeader(OTHERS[0]));
    one.tick();
    one.arrived.push(forwarded(20 << 20));
    assert_eq!((0..20).map(|_| entries_to(OTHERS[1], &one.tick())).sum::<usize>(), 1);
}
