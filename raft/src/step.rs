//! Taking in a message: first its term, then what it says.

use crate::error::StepError;
use crate::log::store::LogStore;
use crate::logger::{line, traced};
use crate::message::{Body, Message, Verdict, VoteKind, VoteRequest};
use crate::raft::Raft;
use crate::ready::ReadState;
use crate::role::Role;
use crate::types::{Entry, LogPosition, NodeId, Term};

impl<L: LogStore> Raft<L> {
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        check(&message)?;
        // A wish for transfer names who is to lead, and a read whoever asked: that may be this node.
        let names_itself = matches!(message.body, Body::TransferLeader | Body::ReadIndex { .. } | Body::Propose(_));
        if message.from == self.core.id && !names_itself {
            return Err(StepError::Malformed("a message from this node itself"));
        }
        if message.body.is_answer() && !self.core.membership.contains(message.from) {
            return Err(StepError::PeerNotFound);
        }
        traced!(self.core, Receive(&message));
        if message.term != Term(0) && !self.settle_term(&message) {
            return Ok(());
        }
        let Message { from, term, body, .. } = message;
        match body {
            Body::Vote(request) => self.answer_vote_request(from, term, request),
            Body::VoteAnswer { kind, verdict } => {
                if let Verdict::Rejected { committed } = verdict {
                    self.learn_committed(committed);
                }
                self.count_vote(from, kind, verdict == Verdict::Granted);
            }
            Body::Append { prev, entries, commit } => {
                if self.hears_leader(from) {
                    self.core.append_from_leader(from, prev, entries, commit);
                }
            }
            Body::Heartbeat { commit, context } => {
                if self.hears_leader(from) {
                    self.core.heartbeat_from_leader(from, commit, context);
                }
            }
            Body::Snapshot(snapshot) => {
                if self.hears_leader(from) {
                    self.core.snapshot_from_leader(from, *snapshot);
                }
            }
            Body::Propose(mut entries) => self.propose(entries.as_mut_slice()).map_err(StepError::Propose)?,
            Body::TransferLeader => self.transfer_leader(from),
            Body::TimeoutNow => self.timeout_now(from),
            Body::ReadIndex { context } => match &mut self.role {
                Role::Leader(leader) => leader.read_index(&mut self.core, from, context),
                Role::Follower(follower) => follower.read_index(&mut self.core, from, context),
                Role::PreCandidate(_) | Role::Candidate(_) => {}
            },
            Body::ReadIndexAnswer { index, context } => {
                if let Role::Follower(_) = self.role {
                    self.core.outbox.read_states.push(ReadState { index, context });
                }
            }
            Body::ForgetLeader => self.forget_leader(),
            Body::AppendAccepted { index } => {
                if let Role::Leader(leader) = &mut self.role {
                    if index > self.core.log.last_index() {
                        return Err(StepError::Malformed("an acknowledgement of entries that do not exist"));
                    }
                    leader.append_accepted(&mut self.core, from, index);
                }
            }
            Body::AppendRejected { index, hint } => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.append_rejected(&mut self.core, from, index, hint);
                }
            }
            Body::HeartbeatAnswer { context } => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.heartbeat_answered(&mut self.core, from, &context);
                }
            }
        }
        Ok(())
    }

    /// Whether the message is of our term, after we have gone to its own if that is greater.
    fn settle_term(&mut self, message: &Message) -> bool {
        let Message { from, term, body, .. } = message;
        let own = self.core.term;
        if *term > own {
            return self.settle_greater_term(*from, *term, body);
        }
        if *term == own {
            return true;
        }
        let rules = self.core.rules;
        match body {
            // While members ignore candidates that they need not listen to, a leader of an old term might never hear of ours.
            // An answer tells it, and it steps down.
            Body::Append { .. } | Body::Heartbeat { .. } if rules.check_quorum || rules.pre_vote => {
                self.core.send(*from, Body::AppendAccepted { index: crate::types::Index(0) });
            }
            // A candidate that never hears of our term would ask for ever, and two nodes of different terms could block one
            // another.
            Body::Vote(VoteRequest { kind: VoteKind::Pre, last, .. }) => {
                let core = &mut self.core;
                let own_last = core.log.last();
                line!(
                    core.logger,
                    Info,
                    "{:x} [logterm: {}, index: {}, vote: {:x}] rejected MsgPreVote from {from:x} [logterm: {}, index: {}] at \
                     term {own}",
                    core.id,
                    own_last.term,
                    own_last.index,
                    core.vote_number(),
                    last.term,
                    last.index
                );
                let verdict = core.rejection();
                core.send(*from, Body::VoteAnswer { kind: VoteKind::Pre, verdict });
            }
            _ => {
                line!(
                    self.core.logger,
                    Info,
                    "{:x} [term: {own}] ignored a {} message with lower term from {from:x} [term: {term}]",
                    self.core.id,
                    body.name()
                );
            }
        }
        false
    }

    fn settle_greater_term(&mut self, from: NodeId, term: Term, body: &Body) -> bool {
        let core = &self.core;
        if let Body::Vote(VoteRequest { kind, last, transfer }) = body
            && !transfer
            && self.holds_lease()
        {
            let own_last = core.log.last();
            line!(
                core.logger,
                Info,
                "{:x} [logterm: {}, index: {}, vote: {:x}] ignored {} from {from:x} [logterm: {}, index: {}] at term {}: lease \
                 is not expired (remaining ticks: {})",
                core.id,
                own_last.term,
                own_last.index,
                core.vote_number(),
                kind.request_name(),
                last.term,
                last.index,
                core.term,
                core.clock.lease_remaining_ticks()
            );
            return false;
        }
        match body {
            // Asking changes no term, and a granted pre-vote is for a term that may never come.
            Body::Vote(VoteRequest { kind: VoteKind::Pre, .. })
            | Body::VoteAnswer { kind: VoteKind::Pre, verdict: Verdict::Granted } => {}
            _ => {
                line!(
                    core.logger,
                    Info,
                    "{:x} [term: {}] received a {} message with higher term from {from:x} [term: {term}]",
                    core.id,
                    core.term,
                    body.name()
                );
                self.follow(term, body.is_from_leader().then_some(from));
            }
        }
        true
    }

    /// Follows the leader of this term. False if that is this node: there are never two.
    fn hears_leader(&mut self, from: NodeId) -> bool {
        match &mut self.role {
            Role::Follower(follower) => {
                // Who was taken for gone is there all the same, and may go another time.
                match std::mem::take(&mut follower.leader_is_gone) {
                    true => self.core.clock.redraw(),
                    false => self.core.clock.restart(),
                }
                follower.leader = Some(from);
                true
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {
                self.follow(self.core.term, Some(from));
                true
            }
            Role::Leader(_) => false,
        }
    }

    pub fn transfer_leader(&mut self, to: NodeId) {
        match &mut self.role {
            Role::Leader(leader) => leader.transfer(&mut self.core, to),
            Role::Follower(follower) => {
                if let Some(leader) = follower.transfer_to(&self.core) {
                    let term = self.core.term;
                    // The leader takes the sender for the one to become leader, even if another asks for it.
                    let message = Message { to: leader, from: to, term, body: Body::TransferLeader };
                    self.core.outbox.messages.push(message);
                }
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    fn timeout_now(&mut self, from: NodeId) {
        let (id, term) = (self.core.id, self.core.term);
        match &self.role {
            Role::Follower(_) => {
                line!(
                    self.core.logger,
                    Info,
                    "{id:x} [term {term}] received MsgTimeoutNow from {from:x} and starts an election to get leadership."
                );
                self.take_over();
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {
                let state = self.role.kind().name();
                line!(
                    self.core.logger,
                    Debug,
                    "{id:x} [term {term} state {state}] ignored MsgTimeoutNow from {from:x}"
                );
            }
            Role::Leader(_) => {}
        }
    }

    pub fn forget_leader(&mut self) {
        if let Role::Follower(follower) = &mut self.role {
            follower.forget_leader(&self.core);
        }
    }
}

/// Terms and indices above this would overflow one day, and no cluster can have come so far.
const IMPOSSIBLE: u64 = u64::MAX / 2;

/// Refuses what no node of ours would say.
fn check(message: &Message) -> Result<(), StepError> {
    let refuse = |what| Err(StepError::Malformed(what));
    match &message.body {
        _ if message.term.0 > IMPOSSIBLE => refuse("a term that no cluster reaches"),
        Body::Propose(entries) if entries.is_empty() => refuse("a proposal of nothing"),
        Body::Propose(_) | Body::ReadIndex { .. } => Ok(()),
        _ if message.term == Term(0) => refuse("a message without a term"),
        Body::Append { prev, entries, .. } => check_entries(*prev, entries, message.term),
        Body::Snapshot(snapshot) if snapshot.meta.index.0 == 0 => refuse("an empty snapshot"),
        Body::Snapshot(snapshot) if snapshot.meta.index.0 > IMPOSSIBLE => refuse("an index that no log reaches"),
        _ => Ok(()),
    }
}

/// Entries follow one another, and their terms never go down.
fn check_entries(prev: LogPosition, entries: &[Entry], term: Term) -> Result<(), StepError> {
    let mut before = prev;
    for entry in entries {
        if entry.index.0.checked_sub(1) != Some(before.index.0) {
            return Err(StepError::Malformed("a gap between the entries"));
        }
        if entry.term < before.term || entry.term > term {
            return Err(StepError::Malformed("an entry of an impossible term"));
        }
        before = entry.position();
    }
    Ok(())
}
