//! Log in memory that is given up behind a checkpoint.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrite_member::{Input, Member, Progress};
use ferrite_raft::{
    Body, ChangeKind, ConfChange, ConfChangeV1, ConfState, Entry, Index, LogPosition, MemberChange, Message, NodeId,
    Payload, Term,
};

use crate::rig::{ME, Nobody, applied, one_of};

const LEADER: NodeId = NodeId(2);
const TERM: Term = Term(1);
const LAST: Index = Index(20);

/// A follower of three that has been told to apply a log with a change of members in it.
struct Follower {
    member: Member<Nobody, Nobody>,
    progress: Arc<Progress>,
}

impl Follower {
    fn new() -> Follower {
        let (member, progress) = one_of(vec![ME, LEADER, NodeId(3)], false);
        let mut follower = Follower { member, progress };
        let change = MemberChange { kind: ChangeKind::RemoveNode, node: LEADER };
        let change = ConfChangeV1 { id: 1, change, context: Bytes::new() };
        let payload = |index| match index {
            10 => Payload::from(ConfChange::V1(change.clone())),
            _ => Bytes::from_static(b"command").into(),
        };
        let entry = |index| Entry { term: TERM, index: Index(index), payload: payload(index) };
        let entries: Vec<Entry> = (1..=LAST.0).map(entry).collect();
        let prev = LogPosition::default();
        follower.hears(Body::Append { prev, entries: entries.into(), commit: LAST });
        follower
    }

    /// A turn with this, and one with what it wanted saved. Returns what was sent.
    fn takes(&mut self, input: Input<Nobody, Nobody>) -> Vec<Message> {
        let (mut arrived, mut sent) = (vec![input], Vec::new());
        while !arrived.is_empty() {
            let out = self.member.turn(Duration::ZERO, &mut arrived);
            arrived.extend(out.save.into_iter().map(|save| Input::Saved(save.number)));
            sent.extend(out.messages);
        }
        sent
    }

    fn hears(&mut self, body: Body) -> Vec<Message> {
        self.takes(Input::Message(Message { from: LEADER, to: ME, term: TERM, body }))
    }

    /// The store is whole.
    fn checkpointed(&mut self) {
        self.progress.set_applied(LAST, TERM);
        let voters = vec![ME, LEADER, NodeId(3)];
        self.takes(Input::Checkpointed { index: LAST, conf: ConfState { voters, ..ConfState::default() } });
    }

    /// Whether it stands for election when it is told to.
    fn stands(&mut self) -> bool {
        self.hears(Body::TimeoutNow).iter().any(|message| matches!(message.body, Body::Vote(_)))
    }
}

#[test]
fn log_that_raft_does_not_know_to_be_applied_stays() {
    let mut follower = Follower::new();
    follower.checkpointed();
    assert!(!follower.stands(), "it does not know yet who votes");
    follower.takes(applied(ChangeKind::RemoveNode));
    assert!(follower.stands());
}

#[test]
fn a_second_checkpoint_at_the_same_place_is_none() {
    let mut follower = Follower::new();
    follower.takes(applied(ChangeKind::RemoveNode));
    for _ in 0..2 {
        follower.checkpointed();
    }
    assert!(follower.stands(), "it lives on");
}
