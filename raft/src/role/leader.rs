//! Leader: takes proposals, brings every follower's log to its own, and decides what is committed.
//!
//! This file: what it is asked. `leader_send`: what it says. `leader_acks`: what it is answered.

use bytes::Bytes;

use crate::config::ReadOnlyMode;
use crate::core::Core;
use crate::error::ProposeError;
use crate::log::store::LogStore;
use crate::logger::{line, traced};
use crate::membership::ConfChangeV2;
use crate::message::Body;
use crate::mutation::{Mutation, planted};
use crate::progress::Peers;
use crate::quorum::VoteResult;
use crate::ready::ReadState;
use crate::role::Change;
use crate::role::reads::{ReadRequest, Reads};
use crate::types::{Entry, Index, NodeId};

#[derive(Debug)]
pub struct Leader {
    pub peers: Peers,
    /// To whom leadership is being handed over. No proposal is taken meanwhile.
    pub transferee: Option<NodeId>,
    /// No configuration change is taken before this is applied: at most one is under way.
    pending_conf_index: Index,
    /// Data proposed and not yet applied.
    uncommitted_size: u64,
    pub(super) reads: Reads,
}

impl Leader {
    /// Begins to lead: nothing is known of anybody, and an empty entry opens the term.
    pub fn new<L: LogStore>(core: &mut Core<L>) -> Leader {
        let last = core.log.last_index();
        let mut peers = Peers::new(core.limits.inflight());
        peers.adopt(&core.membership, last.next());
        for (id, progress) in peers.iter_mut() {
            progress.active = id == core.id;
        }
        if let Some(own) = peers.get_mut(core.id) {
            own.accepted(last);
            own.become_replicate();
        }
        #[cfg(feature = "trace")]
        {
            core.trace.own_matched = peers.get(core.id).map(|own| own.matched());
        }
        traced!(core, BecomeLeader);
        traced!(core, Replicate);
        core.append(Entry::default());
        core.acknowledge_own();
        line!(core.logger, Info, "{:x} became leader at term {}", core.id, core.term);
        Leader {
            peers,
            transferee: None,
            // There may be a change in what is not applied yet: finding out would cost more than to wait.
            pending_conf_index: last,
            uncommitted_size: 0,
            reads: Reads::default(),
        }
    }

    pub fn tick<L: LogStore>(&mut self, core: &mut Core<L>) -> Change {
        core.clock.tick();
        if core.clock.base_passed() {
            core.clock.restart();
            if core.rules.check_quorum && !self.hears_quorum(core) {
                line!(core.logger, Warn, "{:x} stepped down to follower since quorum is not active", core.id);
                return Change::Follow { term: core.term, leader: None };
            }
            // A transfer that took longer than an election has failed: lead on.
            self.transferee = None;
        }
        if core.clock.take_heartbeat() {
            self.broadcast_heartbeat(core);
        }
        Change::None
    }

    /// Whether a quorum was heard since this was last asked.
    fn hears_quorum<L: LogStore>(&mut self, core: &Core<L>) -> bool {
        let active = |id| self.peers.get(id).map(|progress| progress.active);
        let heard = core.membership.voters().vote(active) == VoteResult::Won;
        for (id, progress) in self.peers.iter_mut() {
            progress.active = id == core.id;
        }
        heard
    }

    /// Takes entries into the log, all or none. They are moved out of `entries`.
    pub fn propose<L: LogStore>(&mut self, core: &mut Core<L>, entries: &mut [Entry]) -> Result<(), ProposeError> {
        if entries.is_empty() {
            return Err(ProposeError::Empty);
        }
        if self.peers.get(core.id).is_none() {
            return Err(ProposeError::Removed);
        }
        if let Some(transferee) = self.transferee {
            line!(
                core.logger,
                Debug,
                "{:x} [term {}] transfer leadership to {transferee:x} is in progress; dropping proposal",
                core.id,
                core.term
            );
            return Err(ProposeError::TransferInProgress);
        }
        let mut index = core.log.last_index();
        for entry in entries.iter_mut() {
            index = index.next();
            if let Some(change) = entry.change()
                && !self.admits(core, &change.to_v2(), index)
            {
                *entry = Entry::default();
            }
        }
        let data_len: u64 = entries.iter().map(|entry| entry.payload.encoded_len()).sum();
        // An empty proposal is always taken, and so is the first: a leader must be able to open its term and to leave a
        // joint configuration, and a proposal above the limit must not wait for ever.
        let over = self.uncommitted_size.saturating_add(data_len) > core.limits.max_uncommitted_size;
        if self.uncommitted_size > 0 && data_len > 0 && over {
            line!(
                core.logger,
                Warn,
                "{:x} appending new entries to log would exceed uncommitted entry size limit; dropping proposal",
                core.id
            );
            return Err(ProposeError::QuotaExceeded);
        }
        self.uncommitted_size += data_len;
        #[cfg(feature = "trace")]
        for _normal in entries.iter().filter(|entry| entry.change().is_none()) {
            traced!(core, Replicate);
        }
        for entry in entries {
            core.append(std::mem::take(entry));
        }
        core.acknowledge_own();
        self.broadcast_append(core);
        Ok(())
    }

    /// Whether a change of members may pass: none may while another one is under way, or where it does not fit.
    fn admits<L: LogStore>(&mut self, core: &Core<L>, change: &ConfChangeV2, index: Index) -> bool {
        let (pending, applied) = (self.pending_conf_index, core.log.applied());
        let (is_joint, leaves) = (core.membership.voters().is_joint(), change.changes.is_empty());
        let refusal = if pending > applied {
            Some(format!("possible unapplied conf change at index {pending} (applied to {applied})"))
        } else if is_joint && !leaves {
            Some("must transition out of joint config first".to_owned())
        } else if !is_joint && leaves {
            Some("not in joint state; refusing empty conf change".to_owned())
        } else {
            None
        };
        match refusal {
            Some(refusal) if !core.rules.disable_conf_change_validation && !planted(Mutation::ChangeDuringChange) => {
                line!(
                    core.logger,
                    Info,
                    "{:x} ignoring conf change {change} at config {}: {refusal}",
                    core.id,
                    core.membership
                );
                false
            }
            _ => {
                self.pending_conf_index = index;
                traced!(core, ChangeConf(change));
                true
            }
        }
    }

    /// Notes what was applied, and leaves a joint configuration that is to be left by itself.
    pub fn applied<L: LogStore>(&mut self, core: &mut Core<L>, data_len: u64) {
        // What was proposed to an earlier leader was never counted here.
        self.uncommitted_size = self.uncommitted_size.saturating_sub(data_len);
        if !core.membership.leaves_by_itself() || core.log.applied() < self.pending_conf_index {
            return;
        }
        // Without data, no limit can refuse it. A transfer can: then this is tried again with the next applied entry.
        let leave = Entry { payload: ConfChangeV2::default().into(), ..Entry::default() };
        let membership = core.membership.clone();
        match self.propose(core, &mut [leave]) {
            Ok(()) => {
                line!(core.logger, Info, "initiating automatic transition out of joint configuration {membership}");
            }
            Err(_) => {
                line!(
                    core.logger,
                    Debug,
                    "not initiating automatic transition out of joint configuration {membership}: raft proposal dropped"
                );
            }
        }
    }

    /// Takes up a changed membership.
    pub fn membership_changed<L: LogStore>(&mut self, core: &mut Core<L>) -> Change {
        self.peers.adopt(&core.membership, core.log.last_index().max(Index(1)));
        if !core.membership.contains(core.id) || core.membership.is_learner(core.id) {
            // It goes on leading until somebody else does: it may have to commit its own removal first.
            return match core.rules.step_down_on_removal {
                true => Change::Follow { term: core.term, leader: None },
                false => Change::None,
            };
        }
        if self.commit(core) {
            self.broadcast_append(core);
        } else {
            // New members need not wait for the next heartbeat.
            self.broadcast_entries(core);
        }
        if self.transferee.is_some_and(|id| !core.membership.is_voter(id)) {
            self.transferee = None;
        }
        Change::None
    }

    pub fn transfer<L: LogStore>(&mut self, core: &mut Core<L>, to: NodeId) {
        let (id, term) = (core.id, core.term);
        let Some(matched) = self.peers.get(to).map(|progress| progress.matched()) else {
            line!(core.logger, Debug, "{id:x} no progress available for {to:x}");
            return;
        };
        if core.membership.is_learner(to) {
            line!(core.logger, Debug, "{id:x} is learner. Ignored transferring leadership");
            return;
        }
        if let Some(previous) = self.transferee {
            if previous == to {
                line!(
                    core.logger,
                    Info,
                    "{id:x} [term {term}] transfer leadership to {to:x} is in progress, ignores request to same node {to:x}"
                );
                return;
            }
            self.transferee = None;
            line!(core.logger, Info, "{id:x} [term {term}] abort previous transferring leadership to {previous:x}");
        }
        if to == id {
            line!(core.logger, Debug, "{id:x} is already leader. Ignored transferring leadership to self");
            return;
        }
        line!(core.logger, Info, "{id:x} [term {term}] starts to transfer leadership to {to:x}");
        // It has one election timeout.
        core.clock.restart();
        self.transferee = Some(to);
        if matched == core.log.last_index() {
            core.send(to, Body::TimeoutNow);
            line!(
                core.logger,
                Info,
                "{id:x} sends MsgTimeoutNow to {to:x} immediately as {to:x} already has up-to-date log"
            );
        } else {
            self.send_append(core, to);
        }
    }

    pub fn read_index<L: LogStore>(&mut self, core: &mut Core<L>, from: NodeId, context: Bytes) {
        let request = ReadRequest { from, context };
        if core.has_committed_in_term() {
            self.start_read(core, request);
        } else {
            // So does a single voter (etcd's does not): its log may end with acknowledged entries that it had no time to note
            // as committed before it crashed.
            self.reads.wait(request);
        }
    }

    /// Begins with the reads that waited for the first commit of the term.
    pub(super) fn start_waiting_reads<L: LogStore>(&mut self, core: &mut Core<L>) {
        for request in self.reads.take_waiting() {
            self.start_read(core, request);
        }
    }

    fn start_read<L: LogStore>(&mut self, core: &mut Core<L>, request: ReadRequest) {
        match core.rules.read_only {
            _ if core.membership.voters().is_single(core.id) || planted(Mutation::ReadWithoutQuorum) => {
                answer_read(core, core.committed(), request);
            }
            ReadOnlyMode::Safe => {
                self.reads.push(core.committed(), request);
                self.reads.echo_newest(core.id);
                self.broadcast_heartbeat(core);
            }
            ReadOnlyMode::LeaseBased => answer_read(core, core.committed(), request),
        }
    }
}

/// Answers a read of our own or of a follower.
pub(super) fn answer_read<L: LogStore>(core: &mut Core<L>, index: Index, request: ReadRequest) {
    let ReadRequest { from, context } = request;
    if from == core.id {
        core.outbox.read_states.push(ReadState { index, context });
    } else {
        core.send(from, Body::ReadIndexAnswer { index, context });
    }
}
