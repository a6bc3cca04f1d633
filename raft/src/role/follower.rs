//! Follower: takes in what the leader says, and hands on to it what was asked here.

use bytes::Bytes;

use crate::core::Core;
use crate::entries::Entries;
use crate::error::ProposeError;
use crate::log::store::LogStore;
use crate::logger::{line, traced};
use crate::membership::Membership;
use crate::message::{Body, Message};
use crate::mutation::{Mutation, planted};
use crate::types::{Entry, Index, LogPosition, NodeId, Snapshot, Term};

#[derive(Debug)]
pub struct Follower {
    pub leader: Option<NodeId>,
    /// The owner knows that the leader has ended. It stays named until somebody stands: that there is none is told no sooner
    /// than without this knowledge.
    pub leader_is_gone: bool,
}

impl Follower {
    /// What is handed on to a leader that has ended is lost, and nobody is told.
    fn reachable_leader(&self) -> Option<NodeId> {
        self.leader.filter(|_| !self.leader_is_gone)
    }

    /// Hands a proposal on to the leader.
    pub fn propose<L: LogStore>(&self, core: &mut Core<L>, entries: &mut [Entry]) -> Result<(), ProposeError> {
        let (id, term) = (core.id, core.term);
        let Some(leader) = self.reachable_leader() else {
            line!(core.logger, Info, "{id:x} no leader at term {term}; dropping proposal");
            return Err(ProposeError::NoLeader);
        };
        if core.rules.disable_proposal_forwarding {
            line!(core.logger, Info, "{id:x} not forwarding to leader {leader:x} at term {term}; dropping proposal");
            return Err(ProposeError::NotLeader);
        }
        core.send(leader, Body::Propose(entries.iter_mut().map(std::mem::take).collect()));
        Ok(())
    }

    /// Hands a read on to the leader, which answers to whoever asked.
    pub fn read_index<L: LogStore>(&self, core: &mut Core<L>, from: NodeId, context: Bytes) {
        match self.reachable_leader() {
            Some(to) => {
                core.outbox.messages.push(Message { to, from, term: Term(0), body: Body::ReadIndex { context } });
            }
            None => {
                line!(core.logger, Info, "{:x} no leader at term {}; dropping index reading msg", core.id, core.term);
            }
        }
    }

    /// The leader to which a wish for transfer is to be handed on.
    pub fn transfer_to<L: LogStore>(&self, core: &Core<L>) -> Option<NodeId> {
        if self.leader.is_none() {
            line!(core.logger, Info, "{:x} no leader at term {}; dropping leader transfer msg", core.id, core.term);
        }
        self.leader
    }

    pub fn forget_leader<L: LogStore>(&mut self, core: &Core<L>) {
        if core.rules.read_only == crate::config::ReadOnlyMode::LeaseBased {
            // Another leader could be elected while the old one still trusts its lease.
            line!(core.logger, Error, "ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
        } else if let Some(leader) = self.leader.take() {
            self.leader_is_gone = false;
            line!(core.logger, Info, "{:x} forgetting leader {leader:x} at term {}", core.id, core.term);
        }
    }
}

impl Follower {
    /// A node has ended. If it was the leader, an election comes as soon as it may, and others that stand are listened to.
    /// The voters that are left take turns in the order of their ids, a tick apart. All know of it at the same time: if all
    /// stood at once, they would split the vote, and so they would, now and then, if they drew from a few ticks.
    pub fn report_gone<L: LogStore>(&mut self, core: &mut Core<L>, id: NodeId) {
        if self.leader != Some(id) || self.leader_is_gone {
            return;
        }
        if core.rules.read_only == crate::config::ReadOnlyMode::LeaseBased {
            // If the owner is wrong, another leader could be elected while this one still trusts its lease.
            line!(core.logger, Error, "ignoring that leader {id:x} is gone due to ReadOnlyLeaseBased");
            return;
        }
        line!(core.logger, Info, "{:x} knows that leader {id:x} is gone at term {}", core.id, core.term);
        self.leader_is_gone = true;
        let voters = core.membership.voters().voters();
        let before = voters.iter().filter(|voter| **voter != id && **voter < core.id).count();
        core.clock.hurry(before as u32);
    }
}

impl<L: LogStore> Core<L> {
    pub fn append_from_leader(&mut self, from: NodeId, prev: LogPosition, entries: Entries, commit: Index) {
        let committed = self.log.committed();
        if prev.index < committed {
            self.send(from, Body::AppendAccepted { index: committed });
            return;
        }
        if let Some(last) = self.log.append_from_leader(prev, entries, &self.logger) {
            self.log.commit_to(commit.min(last));
            self.send(from, Body::AppendAccepted { index: last });
            return;
        }
        line!(
            self.logger,
            Debug,
            "{:x} [logterm: {}, index: {}] rejected MsgApp [logterm: {}, index: {}] from {from:x}",
            self.id,
            self.log.term(prev.index).unwrap_or_default(),
            prev.index,
            prev.term,
            prev.index
        );
        // The leader may skip all that cannot match: whatever we hold of a greater term than its own at this place.
        let start = prev.index.min(self.log.last_index());
        let hint = self.log.find_conflict_by_term(start, prev.term);
        self.send(from, Body::AppendRejected { index: prev.index, hint });
    }

    pub fn heartbeat_from_leader(&mut self, from: NodeId, commit: Index, context: Bytes) {
        self.log.commit_to(commit);
        self.send(from, Body::HeartbeatAnswer { context });
    }

    pub fn snapshot_from_leader(&mut self, from: NodeId, snapshot: Snapshot) {
        let (index, term) = (snapshot.meta.index, snapshot.meta.term);
        let restored = self.restore(snapshot);
        let what = if restored { "restored" } else { "ignored" };
        line!(
            self.logger,
            Info,
            "{:x} [commit: {}] {what} snapshot [index: {index}, term: {term}]",
            self.id,
            self.log.committed()
        );
        let index = if restored { self.log.last_index() } else { self.log.committed() };
        self.send(from, Body::AppendAccepted { index });
    }

    /// Takes a snapshot in, if it has something that the log has not.
    fn restore(&mut self, snapshot: Snapshot) -> bool {
        let meta = &snapshot.meta;
        let position = LogPosition { term: meta.term, index: meta.index };
        if meta.index <= self.log.committed() && !planted(Mutation::SnapshotGoesBack) {
            return false;
        }
        let named = [&meta.conf.voters, &meta.conf.learners, &meta.conf.voters_outgoing];
        if !named.iter().any(|ids| ids.contains(&self.id)) {
            line!(
                self.logger,
                Warn,
                "{:x} attempted to restore snapshot but it is not in the ConfState {:?}; should never happen",
                self.id,
                meta.conf
            );
            return false;
        }
        let (commit, last) = (self.log.committed(), self.log.last());
        if self.log.holds(position) {
            line!(
                self.logger,
                Info,
                "{:x} [commit: {commit}, lastindex: {}, lastterm: {}] fast-forwarded commit to snapshot [index: {}, term: {}]",
                self.id,
                last.index,
                last.term,
                position.index,
                position.term
            );
            self.log.commit_to(position.index);
            return false;
        }
        let membership = match Membership::restore(&meta.conf) {
            Ok(membership) => membership,
            Err(error) => {
                line!(self.logger, Warn, "{:x} refused snapshot [index: {}]: {error}", self.id, position.index);
                return false;
            }
        };
        self.log.restore(snapshot, &self.logger);
        self.switch_membership(membership);
        line!(
            self.logger,
            Info,
            "{:x} [commit: {}, lastindex: {}, lastterm: {}] restored snapshot [index: {}, term: {}]",
            self.id,
            self.log.committed(),
            self.log.last_index(),
            self.log.last().term,
            position.index,
            position.term
        );
        true
    }

    pub fn switch_membership(&mut self, membership: Membership) {
        traced!(self, ApplyConfChange(&membership));
        self.membership = membership;
        line!(self.logger, Info, "{:x} switched to configuration {}", self.id, self.membership);
    }
}
