//! One node of three, and what the others might say to it.

use bytes::Bytes;
use ferrite_raft::{
    Body, ConfState, Config, Entry, Index, LogPosition, MemoryLog, Message, NodeId, RawNode, Ready, RoleKind, Rules,
    Snapshot, SnapshotMeta, Term, Verdict, VoteKind, VoteRequest,
};

pub const ME: NodeId = NodeId(1);
pub const GRANTED: Body = Body::VoteAnswer { kind: VoteKind::Binding, verdict: Verdict::Granted };

pub fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term: Term(term), index: Index(index) }
}

pub fn entry(term: u64, index: u64) -> Entry {
    Entry { term: Term(term), index: Index(index), payload: Bytes::from_static(b"data").into() }
}

pub fn conf(voters: &[u64]) -> ConfState {
    ConfState { voters: voters.iter().copied().map(NodeId).collect(), ..ConfState::default() }
}

/// A node among these voters that has never run.
pub fn node(voters: &[u64], change: impl FnOnce(&mut Config)) -> RawNode<MemoryLog> {
    let mut log = MemoryLog::new();
    log.set_conf(conf(voters));
    let rules = Rules { pre_vote: false, check_quorum: false, ..Rules::default() };
    let mut config = Config { rules, ..Config::new(ME) };
    change(&mut config);
    RawNode::new(config, log).expect("a configuration that works")
}

/// A node that leads three voters in term 1; its first entry is saved and not committed.
pub fn leader() -> RawNode<MemoryLog> {
    let mut node = node(&[1, 2, 3], |_| {});
    node.campaign();
    settle(&mut node);
    node.step(from(2, 1, GRANTED)).expect("a vote");
    settle(&mut node);
    assert_eq!(node.soft_state().role, RoleKind::Leader);
    node
}

pub fn from(other: u64, term: u64, body: Body) -> Message {
    Message { to: ME, from: NodeId(other), term: Term(term), body }
}

pub fn append(term: u64, prev: LogPosition, entries: Vec<Entry>, commit: u64) -> Message {
    from(2, term, Body::Append { prev, entries: entries.into(), commit: Index(commit) })
}

pub fn vote(other: u64, term: u64, last: LogPosition) -> Message {
    from(other, term, Body::Vote(VoteRequest { kind: VoteKind::Binding, last, transfer: false }))
}

pub fn snapshot(term: u64, index: u64, voters: &[u64]) -> Message {
    let meta = SnapshotMeta { index: Index(index), term: Term(term), conf: conf(voters) };
    from(2, 9, Body::Snapshot(Box::new(Snapshot { meta, data: Bytes::from_static(b"state") })))
}

/// Writes what a `Ready` asks for to the log store, as a disk that is not synced yet.
pub fn write(node: &mut RawNode<MemoryLog>, ready: &Ready) {
    let entries = ready.entries.iter().cloned();
    node.log_mut().save(ready.snapshot.clone(), entries, ready.hard_state).expect("a newer snapshot");
}

/// What came of a node's work.
pub struct Done {
    /// What was said to whom.
    pub said: Vec<(u64, Body)>,
    pub applied: Vec<Index>,
}

/// Does all that is owed.
pub fn settle(node: &mut RawNode<MemoryLog>) -> Done {
    let mut done = Done { said: Vec::new(), applied: Vec::new() };
    while let Some(ready) = node.take_ready() {
        write(node, &ready);
        let sent = ready.messages.into_iter().chain(ready.messages_after_save);
        done.said.extend(sent.map(|message| (message.to.0, message.body)));
        if let Some(ticket) = ready.save {
            node.saved(ticket);
        }
        for entry in ready.committed {
            if let Some(change) = entry.change() {
                node.apply_conf_change(&change.to_v2()).expect("a change that fits");
            }
            node.applied(entry.index);
            done.applied.push(entry.index);
        }
    }
    done
}
