//! Trace events in the form that the TLA+ specification of etcd's Raft library reads, so that a run can be held against the
//! specification. Only with the feature `trace`; without it, nothing of this is built.
//!
//! One event is one line: a JSON object `{"tag":"trace","event":{...}}`. All nodes of a run write to one place, in the order
//! in which things happen. The specification takes a `Ready` to be saved at one instant, so owners that want to use it do
//! that, too.
//!
//! | events | when |
//! |---|---|
//! | `InitState` | a node is made |
//! | `BecomeFollower`, `BecomeCandidate`, `BecomeLeader` | it changes its role; a pre-candidate is none |
//! | `Commit` | a leader has looked whether it can commit more |
//! | `Replicate` | a leader is about to append an entry, once for each normal one |
//! | `ChangeConf`, `ApplyConfChange` | a change of members was taken; members are about to come into force |
//! | `Ready` | a `Ready` was taken |
//! | `Send…`, `Receive…` with `AppendEntries` or `RequestVote`, `Request` or `Response` | a message is owed, or comes in |
//!
//! A node's own votes and acknowledgements are messages to itself here, as the specification has them.

use std::fmt::Write;

use crate::core::Core;
use crate::log::store::LogStore;
use crate::membership::{ChangeKind, ConfChangeV2, Membership};
use crate::message::{Body, Message, Verdict, VoteKind};
use crate::quorum::Majority;
use crate::ready::RoleKind;
use crate::types::{Index, LogPosition, NodeId, Term};

/// Takes trace events. It is called in the middle of a step, so it must not wait.
pub trait Tracer {
    /// Takes one event: a line of JSON, without its end.
    fn event(&self, line: &str);
}

/// The tracer that a node owns.
pub type BoxedTracer = Box<dyn Tracer + Send>;

/// What an event needs and the core does not know.
pub struct Trace {
    pub tracer: Option<BoxedTracer>,
    pub role: RoleKind,
    /// How far a leader's own log counts, while it is a member.
    pub own_matched: Option<Index>,
}

impl Trace {
    /// Notes a change of role.
    pub fn enter(&mut self, role: RoleKind) {
        self.role = role;
        self.own_matched = None;
    }

    pub fn new(tracer: Option<BoxedTracer>) -> Trace {
        Trace { tracer, role: RoleKind::Follower, own_matched: None }
    }
}

/// What happened.
pub enum Event<'e> {
    InitState,
    BecomeFollower,
    BecomeCandidate,
    BecomeLeader,
    Commit,
    Replicate,
    ChangeConf(&'e ConfChangeV2),
    ApplyConfChange(&'e Membership),
    Ready,
    Send(&'e Message),
    Receive(&'e Message),
}

impl<L: LogStore> Core<L> {
    pub fn trace(&self, event: Event<'_>) {
        let Some(tracer) = &self.trace.tracer else { return };
        let Some(name) = event.name() else { return };
        let voters = self.membership.voters();
        let mut line = format!(
            r#"{{"tag":"trace","event":{{"name":"{name}","nid":"{}","state":{{"term":{},"vote":"{}","commit":{}}},"role":"{}","log":{},"conf":[{},{}]"#,
            self.id,
            self.term,
            self.vote_number(),
            self.log.committed(),
            self.trace.role.name(),
            self.log.last_index(),
            ids(&voters.incoming),
            ids(&voters.outgoing)
        );
        match event {
            Event::ChangeConf(change) => write_change(&mut line, change),
            Event::ApplyConfChange(membership) => {
                // Writing to a string cannot fail.
                let _ = write!(line, r#","prop":{{"cc":{{"newconf":{}}}}}"#, ids(&membership.voters().incoming));
            }
            Event::Send(message) => {
                write_message(&mut line, message);
                if let (Body::Append { .. }, Some(matched)) = (&message.body, self.trace.own_matched) {
                    let _ = write!(line, r#","prop":{{"match":{matched},"next":{}}}"#, matched.next());
                }
            }
            Event::Receive(message) => write_message(&mut line, message),
            _ => {}
        }
        line += "}}";
        tracer.event(&line);
    }

    /// A vote for itself, as a message.
    pub fn own_vote(&self, kind: VoteKind, term: Term) -> Message {
        self.to_itself(term, Body::VoteAnswer { kind, verdict: Verdict::Granted })
    }

    /// An acknowledgement of its own entries, as a message.
    pub fn own_append(&self, appended: LogPosition) -> Message {
        self.to_itself(appended.term, Body::AppendAccepted { index: appended.index })
    }

    fn to_itself(&self, term: Term, body: Body) -> Message {
        Message { to: self.id, from: self.id, term, body }
    }
}

impl Event<'_> {
    fn name(&self) -> Option<&'static str> {
        Some(match self {
            Event::InitState => "InitState",
            Event::BecomeFollower => "BecomeFollower",
            Event::BecomeCandidate => "BecomeCandidate",
            Event::BecomeLeader => "BecomeLeader",
            Event::Commit => "Commit",
            Event::Replicate => "Replicate",
            // Leaving a joint configuration changes nothing that the specification knows.
            Event::ChangeConf(change) if change.changes.is_empty() => return None,
            Event::ChangeConf(_) => "ChangeConf",
            Event::ApplyConfChange(_) => "ApplyConfChange",
            Event::Ready => "Ready",
            Event::Send(message) => match message.body {
                Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_) => "SendAppendEntriesRequest",
                Body::AppendAccepted { .. } | Body::AppendRejected { .. } | Body::HeartbeatAnswer { .. } => {
                    "SendAppendEntriesResponse"
                }
                Body::Vote(request) if request.kind == VoteKind::Binding => "SendRequestVoteRequest",
                Body::VoteAnswer { kind: VoteKind::Binding, .. } => "SendRequestVoteResponse",
                _ => return None,
            },
            Event::Receive(message) => match message.body {
                Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot(_) => "ReceiveAppendEntriesRequest",
                Body::AppendAccepted { .. } | Body::AppendRejected { .. } | Body::HeartbeatAnswer { .. } => {
                    "ReceiveAppendEntriesResponse"
                }
                Body::Vote(request) if request.kind == VoteKind::Binding => "ReceiveRequestVoteRequest",
                Body::VoteAnswer { kind: VoteKind::Binding, .. } => "ReceiveRequestVoteResponse",
                _ => return None,
            },
        })
    }
}

fn ids(majority: &Majority) -> String {
    let ids: Vec<String> = majority.voters().iter().map(|id| format!(r#""{id}""#)).collect();
    format!("[{}]", ids.join(","))
}

fn write_change(line: &mut String, change: &ConfChangeV2) {
    let action = |kind| match kind {
        ChangeKind::AddNode => Some("AddNewServer"),
        ChangeKind::RemoveNode => Some("RemoveServer"),
        ChangeKind::AddLearnerNode => Some("AddLearner"),
        ChangeKind::UpdateNode => None,
    };
    let single = |kind, node: NodeId| Some(format!(r#"{{"nid":"{node}","action":"{}"}}"#, action(kind)?));
    let changes: Vec<String> = change.changes.iter().filter_map(|change| single(change.kind, change.node)).collect();
    let _ = write!(line, r#","prop":{{"cc":{{"changes":[{}]}}}}"#, changes.join(","));
}

/// A message with the fields of raftpb; what a kind does not have is 0.
fn write_message(line: &mut String, message: &Message) {
    let none = LogPosition::default();
    let (entries, at, commit) = match &message.body {
        Body::Append { prev, entries, commit } => (entries.len() as u64, *prev, *commit),
        Body::AppendAccepted { index } => (0, LogPosition { index: *index, ..none }, Index(0)),
        Body::AppendRejected { index, hint } => (0, LogPosition { index: *index, term: hint.term }, Index(0)),
        Body::Vote(request) => (0, request.last, Index(0)),
        Body::Heartbeat { commit, .. } => (0, none, *commit),
        Body::Snapshot(snapshot) => (snapshot.meta.index.0, none, Index(0)),
        _ => (0, none, Index(0)),
    };
    let (rejects, hint) = match &message.body {
        Body::AppendRejected { hint, .. } => (true, hint.index),
        Body::VoteAnswer { verdict, .. } => (*verdict != Verdict::Granted, Index(0)),
        _ => (false, Index(0)),
    };
    let _ = write!(
        line,
        r#","msg":{{"type":"{}","term":{},"from":"{}","to":"{}","entries":{entries},"logTerm":{},"index":{},"commit":{commit},"vote":"0","reject":{rejects},"rejectHint":{hint}}}"#,
        message.body.name(),
        message.term,
        message.from,
        message.to,
        at.term,
        at.index
    );
}
