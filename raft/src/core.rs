//! What every role has: the term, the vote, the log, the members, and what is owed to the world.

use crate::clock::Clock;
use crate::config::{Limits, Rules};
use crate::log::RaftLog;
use crate::log::store::LogStore;
use crate::logger::{BoxedLogger, traced};
use crate::membership::Membership;
use crate::message::{Body, Message};
use crate::ready::{OwnAcks, ReadState};
use crate::types::{Entry, HardState, Index, LogPosition, NodeId, Term};

pub struct Core<L> {
    pub id: NodeId,
    pub term: Term,
    pub vote: Option<NodeId>,
    pub log: RaftLog<L>,
    pub membership: Membership,
    pub clock: Clock,
    pub outbox: Outbox,
    pub limits: Limits,
    pub rules: Rules,
    pub logger: BoxedLogger,
    #[cfg(feature = "trace")]
    pub trace: crate::trace::Trace,
}

/// What is owed and not yet taken.
#[derive(Debug, Default)]
pub struct Outbox {
    pub messages: Vec<Message>,
    pub after_save: Vec<Message>,
    pub own: OwnAcks,
    pub read_states: Vec<ReadState>,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.after_save.is_empty() && self.own.is_empty() && self.read_states.is_empty()
    }
}

impl<L: LogStore> Core<L> {
    /// Sends in the current term. What promises something waits until what it is based on is saved.
    pub fn send(&mut self, to: NodeId, body: Body) {
        let term = match body {
            Body::Propose(_) | Body::ReadIndex { .. } => Term(0),
            _ => self.term,
        };
        self.send_in_term(to, term, body);
    }

    pub fn send_in_term(&mut self, to: NodeId, term: Term, body: Body) {
        assert!(to != self.id, "message should not be self-addressed when sending {}", body.name());
        let message = Message { to, from: self.id, term, body };
        traced!(self, Send(&message));
        let queue = if message.body.waits_for_save() { &mut self.outbox.after_save } else { &mut self.outbox.messages };
        queue.push(message);
    }

    /// Enters a term, if it is another one than now, and starts counting ticks anew.
    pub fn enter_term(&mut self, term: Term) {
        if self.term != term {
            assert!(term > self.term, "term went backwards from {} to {term}", self.term);
            self.term = term;
            self.vote = None;
        }
        self.clock.redraw();
    }

    /// Appends one entry of the current term.
    pub fn append(&mut self, entry: Entry) {
        let index = self.log.last_index().next();
        self.log.push(Entry { term: self.term, index, ..entry });
    }

    /// Counts our own log as acknowledged once it is saved.
    pub fn acknowledge_own(&mut self) {
        let appended = LogPosition { term: self.term, index: self.log.last_index() };
        traced!(self, Send(&self.own_append(appended)));
        self.outbox.own.appended = Some(appended);
    }

    /// Whether this node may become leader.
    pub fn is_promotable(&self) -> bool {
        self.membership.contains(self.id) && !self.membership.is_learner(self.id) && !self.log.has_unsaved_snapshot()
    }

    pub fn hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.log.committed() }
    }

    /// Whether the leader of this term has committed an entry of it: before that, it does not know how far the log was
    /// committed (thesis, 6.4).
    pub fn has_committed_in_term(&self) -> bool {
        self.log.term(self.log.committed()) == Ok(self.term)
    }

    pub fn vote_number(&self) -> u64 {
        self.vote.map_or(0, |id| id.0)
    }

    pub fn committed(&self) -> Index {
        self.log.committed()
    }
}
