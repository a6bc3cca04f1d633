//! The state machine: a core that every role has, and the role.
//!
//! ```text
//!              election due              votes won
//!   Follower ───────────────▶ Candidate ───────────▶ Leader
//!       ▲  ╲ (pre-vote: asks first)  │                  │
//!       └── greater term, or a leader of this one ──────┘
//! ```
//!
//! `step` settles the term of a message first; only then does the role see it.

use crate::clock::Clock;
use crate::config::Config;
use crate::core::{Core, Outbox};
use crate::error::{NewError, ProposeError};
use crate::log::store::LogStore;
use crate::log::{RaftLog, contract};
use crate::logger::{BoxedLogger, line, traced};
use crate::membership::{ChangeError, ConfChangeV2, Membership};
#[cfg(feature = "trace")]
use crate::ready::RoleKind;
use crate::ready::SaveTicket;
use crate::role::follower::Follower;
use crate::role::leader::Leader;
use crate::role::{Change, Role};
use crate::types::{ConfState, Entry, HardState, Index, NodeId, Term};

pub struct Raft<L> {
    pub core: Core<L>,
    pub role: Role,
}

/// How far the log proves itself to be committed: no leader takes a change of members before it has applied the one before.
/// A crash may have taken the commit index and left the entries; a node that then stood for election with members of two
/// changes ago would need no vote of those who decide now.
fn proven_committed<L: LogStore>(log: &RaftLog<L>) -> Index {
    let mut changes = log.indices_of_changes(log.applied().next());
    match changes.pop() {
        Some(_) => changes.pop().unwrap_or_default(),
        None => Index(0),
    }
}

/// Where a node tells what it does.
pub struct Sinks {
    pub logger: BoxedLogger,
    #[cfg(feature = "trace")]
    pub tracer: Option<crate::trace::BoxedTracer>,
}

/// The term and the vote to go on with. A write that a crash tore may have left entries of a term without the term itself:
/// the node was in it, and cannot have voted in it, for a vote leaves only when it is saved.
fn resume_term<L: LogStore>(saved: HardState, log: &RaftLog<L>) -> (Term, Option<NodeId>) {
    let has_entries = log.last_index() >= log.first_index();
    let last = log.last().term;
    if has_entries && last > saved.term { (last, None) } else { (saved.term, saved.vote) }
}

impl<L: LogStore> Raft<L> {
    pub fn new(config: &Config, store: L, sinks: Sinks) -> Result<Raft<L>, NewError> {
        config.check().map_err(NewError::Config)?;
        if let Some(contract) = contract::fault(&store) {
            return Err(NewError::Store { contract });
        }
        let (hard_state, conf) = store.initial_state();
        let membership = Membership::restore(&conf).map_err(NewError::Members)?;
        let mut log = RaftLog::new(store, config.limits.max_committed_size);
        if hard_state != HardState::default() && !log.resume(hard_state) {
            let (first, last) = (log.committed(), log.last_index());
            return Err(NewError::CommitOutOfRange { commit: hard_state.commit, first, last });
        }
        if config.applied > log.committed() {
            return Err(NewError::AppliedOutOfRange { applied: config.applied, commit: log.committed() });
        }
        log.applied_to(config.applied);
        if !config.rules.disable_conf_change_validation {
            log.commit_to(proven_committed(&log));
        }
        let (term, vote) = resume_term(hard_state, &log);
        let mut core = Core {
            id: config.id,
            term,
            vote,
            log,
            membership: Membership::default(),
            clock: Clock::new(config),
            outbox: Outbox::default(),
            limits: config.limits,
            rules: config.rules,
            logger: sinks.logger,
            #[cfg(feature = "trace")]
            trace: crate::trace::Trace::new(sinks.tracer),
        };
        traced!(core, InitState);
        core.switch_membership(membership);
        let mut raft = Raft { core, role: Role::Follower(Follower { leader: None, leader_is_gone: false }) };
        raft.follow(raft.core.term, None);
        raft.announce();
        Ok(raft)
    }

    fn announce(&self) {
        let core = &self.core;
        let last = core.log.last();
        let voters: Vec<String> = core.membership.voters().voters().iter().map(|id| format!("{id:x}")).collect();
        line!(
            core.logger,
            Info,
            "newRaft {:x} [peers: [{}], term: {}, commit: {}, applied: {}, lastindex: {}, lastterm: {}]",
            core.id,
            voters.join(","),
            core.term,
            core.log.committed(),
            core.log.applied(),
            last.index,
            last.term
        );
    }

    pub fn follow(&mut self, term: Term, leader: Option<NodeId>) {
        self.core.enter_term(term);
        self.role = Role::Follower(Follower { leader, leader_is_gone: false });
        line!(self.core.logger, Info, "{:x} became follower at term {term}", self.core.id);
        #[cfg(feature = "trace")]
        self.core.trace.enter(RoleKind::Follower);
        traced!(self.core, BecomeFollower);
    }

    pub fn lead(&mut self) {
        self.core.enter_term(self.core.term);
        #[cfg(feature = "trace")]
        self.core.trace.enter(RoleKind::Leader);
        self.role = Role::Leader(Box::new(Leader::new(&mut self.core)));
    }

    pub fn change(&mut self, change: Change) {
        match change {
            Change::None => {}
            Change::Follow { term, leader } => self.follow(term, leader),
        }
    }

    pub fn leader(&self) -> Option<NodeId> {
        self.role.soft_state(self.core.id).leader
    }

    pub fn tick(&mut self) {
        if let Role::Leader(leader) = &mut self.role {
            let change = leader.tick(&mut self.core);
            self.change(change);
            return;
        }
        self.core.clock.tick();
        if self.core.is_promotable() && self.core.clock.is_due() {
            let hurried = matches!(&self.role, Role::Follower(follower) if follower.leader_is_gone);
            self.core.clock.restart_for_election(hurried);
            self.start_election();
        }
    }

    /// Takes a proposal, or hands it on. The entries are moved out.
    pub fn propose(&mut self, entries: &mut [Entry]) -> Result<(), ProposeError> {
        match &mut self.role {
            Role::Leader(leader) => leader.propose(&mut self.core, entries),
            Role::Follower(follower) => follower.propose(&mut self.core, entries),
            Role::PreCandidate(_) | Role::Candidate(_) => {
                line!(
                    self.core.logger,
                    Info,
                    "{:x} no leader at term {}; dropping proposal",
                    self.core.id,
                    self.core.term
                );
                Err(ProposeError::NoLeader)
            }
        }
    }

    /// All that the ticket stands for is on disk.
    pub fn saved(&mut self, ticket: SaveTicket) {
        for vote in ticket.own.votes {
            self.own_vote_saved(vote);
        }
        // A leader of the same term still has these entries; any other role has no use for the news.
        if let Some(appended) = ticket.own.appended
            && let Role::Leader(leader) = &mut self.role
            && appended.term == self.core.term
        {
            let id = self.core.id;
            traced!(self.core, Receive(&self.core.own_append(appended)));
            leader.append_accepted(&mut self.core, id, appended.index);
        }
        if let Some(log_end) = ticket.log_end {
            if ticket.term == self.core.term {
                self.core.log.saved(log_end, &self.core.logger);
            } else {
                // The entries may be replaced by ones that are on their way to the disk: what is there now is no longer
                // what will be. A later ticket tells.
                line!(
                    self.core.logger,
                    Info,
                    "{:x} [term: {}] ignored entry appends from a MsgStorageAppendResp message with lower term [term: {}]",
                    self.core.id,
                    self.core.term,
                    ticket.term
                );
            }
        }
        if let Some(index) = ticket.snapshot {
            let data_len = self.core.log.snapshot_saved(index);
            self.after_apply(data_len);
        }
    }

    pub fn applied(&mut self, index: Index) {
        let data_len = self.core.log.applied_to(index);
        self.after_apply(data_len);
    }

    fn after_apply(&mut self, data_len: u64) {
        if let Role::Leader(leader) = &mut self.role {
            leader.applied(&mut self.core, data_len);
        }
    }

    pub fn apply_conf_change(&mut self, change: &ConfChangeV2) -> Result<ConfState, ChangeError> {
        // No entry is handed out while a snapshot waits to be saved, so this one was before: the members in force are newer.
        if self.core.log.has_unsaved_snapshot() {
            return Err(ChangeError::Superseded);
        }
        let membership = self.core.membership.changed(change)?;
        self.core.switch_membership(membership);
        let conf = self.core.membership.conf_state();
        if let Role::Leader(leader) = &mut self.role {
            let change = leader.membership_changed(&mut self.core);
            self.change(change);
        }
        Ok(conf)
    }
}
