//! Elections: asking for votes, giving them, and counting our own.

use crate::core::Core;
use crate::log::store::LogStore;
use crate::logger::{line, traced};
use crate::message::{Body, Verdict, VoteKind, VoteRequest};
use crate::mutation::{Mutation, planted};
use crate::quorum::VoteResult;
use crate::raft::Raft;
use crate::ready::OwnVote;
#[cfg(feature = "trace")]
use crate::ready::RoleKind;
use crate::role::Role;
use crate::role::candidate::Candidate;
use crate::types::{LogPosition, NodeId, Term};

impl<L: LogStore> Raft<L> {
    /// Starts an election, with a pre-vote if that is the rule.
    pub fn start_election(&mut self) {
        let kind = if self.core.rules.pre_vote { VoteKind::Pre } else { VoteKind::Binding };
        self.stand(kind, false);
    }

    /// Starts an election because the leader asked for it. It is alive, so a pre-vote would tell nothing.
    pub fn take_over(&mut self) {
        self.stand(VoteKind::Binding, true);
    }

    fn stand(&mut self, kind: VoteKind, transfer: bool) {
        let core = &self.core;
        let (id, term) = (core.id, core.term);
        if matches!(self.role, Role::Leader(_)) {
            line!(core.logger, Debug, "{id:x} ignoring MsgHup because already leader");
        } else if !core.is_promotable() {
            line!(core.logger, Warn, "{id:x} is unpromotable and can not campaign");
        } else if core.has_unapplied_conf_change() && !(transfer && planted(Mutation::TransferDuringChange)) {
            line!(
                core.logger,
                Warn,
                "{id:x} cannot campaign at term {term} since there are still pending configuration changes to apply"
            );
        } else {
            line!(core.logger, Info, "{id:x} is starting a new election at term {term}");
            self.campaign(kind, transfer);
        }
    }

    fn campaign(&mut self, kind: VoteKind, transfer: bool) {
        assert!(!matches!(self.role, Role::Leader(_)), "a leader has no reason to campaign");
        let core = &mut self.core;
        let term = match kind {
            VoteKind::Pre => {
                self.role = Role::PreCandidate(Candidate::default());
                line!(core.logger, Info, "{:x} became pre-candidate at term {}", core.id, core.term);
                #[cfg(feature = "trace")]
                core.trace.enter(RoleKind::PreCandidate);
                // It is asked for the term that would come, and nothing is changed yet.
                Term(core.term.0 + 1)
            }
            VoteKind::Binding => {
                core.enter_term(Term(core.term.0 + 1));
                core.vote = Some(core.id);
                self.role = Role::Candidate(Candidate::default());
                line!(core.logger, Info, "{:x} became candidate at term {}", core.id, core.term);
                #[cfg(feature = "trace")]
                core.trace.enter(RoleKind::Candidate);
                traced!(core, BecomeCandidate);
                core.term
            }
        };
        let last = core.log.last();
        for id in core.membership.voters().voters() {
            if id == core.id {
                // Our own vote counts when it is on disk, like everybody's.
                traced!(core, Send(&core.own_vote(kind, term)));
                core.outbox.own.votes.push(OwnVote { kind, term });
                continue;
            }
            line!(
                core.logger,
                Info,
                "{:x} [logterm: {}, index: {}] sent {} request to {id:x} at term {}",
                core.id,
                last.term,
                last.index,
                kind.request_name(),
                core.term
            );
            core.send_in_term(id, term, Body::Vote(VoteRequest { kind, last, transfer }));
        }
    }

    /// Our vote for ourselves is on disk.
    pub fn own_vote_saved(&mut self, vote: OwnVote) {
        let (id, term) = (self.core.id, self.core.term);
        traced!(self.core, Receive(&self.core.own_vote(vote.kind, vote.term)));
        // A pre-vote is for the term that would come.
        let asked_in = if vote.kind == VoteKind::Pre { Term(vote.term.0 - 1) } else { vote.term };
        if asked_in == term {
            self.count_vote(id, vote.kind, true);
        } else {
            line!(
                self.core.logger,
                Info,
                "{id:x} [term: {term}] ignored a {} message with lower term from {id:x} [term: {}]",
                vote.kind.answer_name(),
                vote.term
            );
        }
    }

    /// Takes in what a voter knows to be committed. Logs that hold the same position are equal up to it, so if ours holds
    /// this one it is committed here, too. A candidate gives up if that is a change of members: it must apply it first, and
    /// may then need other votes.
    pub fn learn_committed(&mut self, committed: LogPosition) {
        let core = &mut self.core;
        let is_news = committed.index > core.log.committed() && core.log.holds(committed);
        if !is_news || matches!(self.role, Role::Leader(_)) {
            return;
        }
        core.log.commit_to(committed.index);
        let stands = matches!(self.role, Role::PreCandidate(_) | Role::Candidate(_));
        if stands && core.has_unapplied_conf_change() {
            self.follow(self.core.term, None);
        }
    }

    /// Counts a vote, if we still stand for what was asked.
    pub fn count_vote(&mut self, from: NodeId, kind: VoteKind, granted: bool) {
        let candidate = match (&mut self.role, kind) {
            (Role::PreCandidate(candidate), VoteKind::Pre) | (Role::Candidate(candidate), VoteKind::Binding) => {
                candidate
            }
            _ => return,
        };
        match (candidate.count(&self.core, from, kind, granted), kind) {
            (VoteResult::Pending, _) => {}
            (VoteResult::Lost, _) => self.follow(self.core.term, None),
            (VoteResult::Won, VoteKind::Pre) => self.campaign(VoteKind::Binding, false),
            (VoteResult::Won, VoteKind::Binding) => {
                self.lead();
                if let Role::Leader(leader) = &mut self.role {
                    leader.broadcast_append(&mut self.core);
                }
            }
        }
    }

    /// Whether a candidate is to be ignored because a leader was heard not long ago.
    pub fn holds_lease(&self) -> bool {
        let hears_leader = match &self.role {
            Role::Follower(follower) => follower.leader.is_some() && !follower.leader_is_gone,
            Role::Leader(_) => true,
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        };
        self.core.rules.check_quorum && hears_leader && !self.core.clock.base_passed()
    }

    /// Gives a vote or refuses it. A learner votes too: who asks may know that it is a voter by now.
    pub fn answer_vote_request(&mut self, from: NodeId, term: Term, request: VoteRequest) {
        let leader = self.leader();
        let core = &mut self.core;
        let VoteRequest { kind, last, .. } = request;
        let can_vote = core.vote == Some(from)
            || (core.vote.is_none() && leader.is_none())
            || (kind == VoteKind::Pre && term > core.term)
            || planted(Mutation::VoteTwice);
        let has_all = core.log.is_behind_or_equal(last) || planted(Mutation::VoteForShorterLog);
        let granted = can_vote && has_all;
        let own = core.log.last();
        let verb = if granted { "cast" } else { "rejected" };
        let preposition = if granted { "for" } else { "from" };
        line!(
            core.logger,
            Info,
            "{:x} [logterm: {}, index: {}, vote: {:x}] {verb} {} {preposition} {from:x} [logterm: {}, index: {}] at term {}",
            core.id,
            own.term,
            own.index,
            core.vote_number(),
            kind.request_name(),
            last.term,
            last.index,
            core.term
        );
        // A granted pre-vote is for the term asked for, which is not ours; otherwise the candidate would ignore it as old.
        let answer_term = if granted { term } else { core.term };
        let verdict = if granted { Verdict::Granted } else { core.rejection() };
        core.send_in_term(from, answer_term, Body::VoteAnswer { kind, verdict });
        if granted && kind == VoteKind::Binding {
            core.clock.restart();
            core.vote = Some(from);
        }
    }
}

impl<L: LogStore> Core<L> {
    /// Refuses a vote, and tells what is committed.
    pub fn rejection(&self) -> Verdict {
        Verdict::Rejected { committed: self.log.committed_position() }
    }

    /// A node that has not applied a committed change may not know who its voters are.
    fn has_unapplied_conf_change(&self) -> bool {
        let (applied, committed) = (self.log.applied(), self.log.committed());
        self.log.pages(applied.next(), committed).any(|page| page.iter().any(|entry| entry.change().is_some()))
    }
}
