//! The door: inputs are calls, everything owed comes back in a `Ready`.

use std::fmt;

use bytes::Bytes;

use crate::bootstrap::{BootstrapError, Peer};
use crate::config::{Config, StorageWrites};
use crate::core::Outbox;
use crate::entries::Entries;
use crate::error::{NewError, ProposeError, StepError};
use crate::log::store::LogStore;
use crate::logger::{BoxedLogger, Silent, traced};
use crate::membership::{ChangeError, ConfChange, ConfChangeV2};
use crate::message::Message;
use crate::raft::{Raft, Sinks};
use crate::ready::{Advance, OwnAcks, Ready, Room, SaveTicket, SoftState};
use crate::role::Role;
use crate::status::Status;
use crate::types::{ConfState, Entry, HardState, Index, NodeId};

/// One node of a cluster. Its owner calls it from one place at a time, and does what each [`Ready`] asks.
pub struct RawNode<L> {
    raft: Raft<L>,
    writes: StorageWrites,
    /// What the owner was told last.
    told: Told,
    /// For the next `Ready`.
    room: Room,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    soft_state: SoftState,
    hard_state: HardState,
}

impl<L: LogStore> RawNode<L> {
    /// A node that goes on from what its log store has saved (thesis, 3.8). It begins as a follower.
    ///
    /// # Errors
    /// If the configuration makes no sense, or what was saved cannot be gone on from.
    pub fn new(config: Config, store: L) -> Result<RawNode<L>, NewError> {
        RawNode::with_logger(config, store, Box::new(Silent))
    }

    /// As `new`, with somewhere for its log lines to go.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_logger(config: Config, store: L, logger: BoxedLogger) -> Result<RawNode<L>, NewError> {
        let sinks = Sinks {
            logger,
            #[cfg(feature = "trace")]
            tracer: None,
        };
        RawNode::with_sinks(config, store, sinks)
    }

    /// As `new`, with somewhere for its log lines and its trace events to go.
    ///
    /// # Errors
    /// As `new`.
    #[cfg(feature = "trace")]
    pub fn with_tracer(
        config: Config,
        store: L,
        logger: BoxedLogger,
        tracer: crate::trace::BoxedTracer,
    ) -> Result<RawNode<L>, NewError> {
        RawNode::with_sinks(config, store, Sinks { logger, tracer: Some(tracer) })
    }

    fn with_sinks(config: Config, store: L, sinks: Sinks) -> Result<RawNode<L>, NewError> {
        let (saved, _) = store.initial_state();
        let raft = Raft::new(&config, store, sinks)?;
        let mut told = Told { soft_state: raft.role.soft_state(raft.core.id), hard_state: raft.core.hard_state() };
        // What it goes on with and what is saved may differ: then that is owed.
        (told.hard_state.term, told.hard_state.vote) = (saved.term, saved.vote);
        Ok(RawNode { raft, writes: config.writes, told, room: Room::default() })
    }

    /// Gives a node that has never run its first members, one entry each, committed in term 1 (as etcd's library does).
    /// Every one of these nodes must be given the same ones in the same order. The owner applies the entries like any
    /// others; the members are in force at once, so that the node can stand for election before that.
    ///
    /// A log store whose `initial_state` names the members needs none of this.
    ///
    /// # Errors
    /// If nobody is named, somebody is named twice, or the node has run before. Nothing is changed then.
    pub fn bootstrap(&mut self, peers: &[Peer]) -> Result<(), BootstrapError> {
        self.raft.bootstrap(peers)?;
        // Whatever was told before is not saved.
        self.told.hard_state = HardState::default();
        Ok(())
    }

    /// One tick of time goes by: a follower may stand for election (thesis, 3.4), a leader sends heartbeats and looks
    /// whether it still is heard (6.2). The owner decides how long a tick is, and calls this at a steady pace; etcd's is
    /// 100 ms.
    pub fn tick(&mut self) {
        self.raft.tick();
    }

    /// One tick goes by in a group that is asleep: it counts, and nothing comes of it, not even an election that is due. For
    /// owners of very many groups, who know that nothing happens in most of them. (Not in the thesis; as in etcd's library.)
    pub fn tick_quiesced(&mut self) {
        self.raft.core.clock.tick();
    }

    /// Takes a message from another node. Late, doubled and reordered ones are no error.
    ///
    /// # Errors
    /// If no node would say this, an answer is from a node that is no member, or a proposal that was handed on to this node
    /// is not taken. Nothing is changed then.
    ///
    /// # Panics
    /// If a leader contradicts what this node knows to be committed: one of them lost what it had acknowledged.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        self.raft.step(message)
    }

    /// Proposes one entry (thesis, 3.5). A follower hands it on to its leader. It may be lost with its leader: only when the
    /// entry is handed out as committed is it decided.
    ///
    /// # Errors
    /// If nobody leads, or the leader takes nothing now: try again later.
    pub fn propose(&mut self, data: Bytes) -> Result<(), ProposeError> {
        self.raft.propose(&mut [Entry { payload: data.into(), ..Entry::default() }])
    }

    /// Proposes several entries as one: all are taken or none, and followers get them in one message (thesis, 10.2.2).
    ///
    /// # Errors
    /// As `propose`; also if there is none.
    pub fn propose_batch(&mut self, data: impl IntoIterator<Item = Bytes>) -> Result<(), ProposeError> {
        let mut entries: Entries =
            data.into_iter().map(|data| Entry { payload: data.into(), ..Entry::default() }).collect();
        self.raft.propose(entries.as_mut_slice())
    }

    /// Proposes a change of members (thesis, chapter 4). If another one is under way or it does not fit, an empty entry is
    /// appended instead.
    ///
    /// # Errors
    /// As `propose`.
    pub fn propose_conf_change(&mut self, change: impl Into<ConfChange>) -> Result<(), ProposeError> {
        self.raft.propose(&mut [Entry { payload: change.into().into(), ..Entry::default() }])
    }

    /// Puts a committed change of members into force (thesis, 4.1; unlike there, not when it is appended), and returns the
    /// members then. The owner calls this for each one that it applies, unless it refuses it, and reports it as applied
    /// afterwards. `Superseded` means that a received snapshot has it already: there is nothing to do, but until that
    /// snapshot is installed the owner does not know the members at what it has applied, and makes no snapshot of its own.
    ///
    /// # Errors
    /// `Superseded`, see above. Any other one means that no leader can have let this change pass.
    pub fn apply_conf_change(&mut self, change: &ConfChangeV2) -> Result<ConfState, ChangeError> {
        self.raft.apply_conf_change(change)
    }

    /// Starts an election now (thesis, 3.4), with a pre-vote first if `Rules::pre_vote` is on (9.6). Nothing happens on a
    /// leader, on a node that does not vote, and while a committed change of members is not applied.
    pub fn campaign(&mut self) {
        self.raft.start_election();
    }

    /// Asks for an index to read at (thesis, 6.4), on any node. The answer comes in `Ready::read_states` with the same
    /// context, which the owner chooses to find its request again. It never comes if the leader is unknown, changes, or the
    /// network loses something: then ask again, after an election timeout, say. What waits is not bounded here: share one
    /// question among reads.
    pub fn read_index(&mut self, context: Bytes) {
        let Raft { core, role } = &mut self.raft;
        match role {
            Role::Leader(leader) => leader.read_index(core, core.id, context),
            Role::Follower(follower) => follower.read_index(core, core.id, context),
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    /// Hands leadership over to a voter, or asks the leader to (thesis, 3.10). It takes no proposals meanwhile, and leads
    /// on if that has not worked after an election timeout. Nothing happens if `to` is no voter or nobody leads; to name
    /// the leader itself gives up a hand-over that is under way.
    pub fn transfer_leader(&mut self, to: NodeId) {
        self.raft.transfer_leader(to);
    }

    /// Stops following the leader until it is heard again, so that this node votes for another at once. (Not in the thesis:
    /// for an owner who knows that the leader is gone, and would have to wait out `Rules::check_quorum`.) Nothing happens
    /// on a leader or a candidate, and with lease-based reads, whose leader trusts that it is followed.
    pub fn forget_leader(&mut self) {
        self.raft.forget_leader();
    }

    /// The last message to a node could not be sent: a leader probes it, one message at a time, rather than stream on.
    /// Nothing happens if this node does not lead, or does not know `id`.
    pub fn report_unreachable(&mut self, id: NodeId) {
        if let Role::Leader(leader) = &mut self.raft.role {
            leader.unreachable(&self.raft.core, id);
        }
    }

    /// A node has ended: its process closed its connections, and nothing listens where it did. (Not in the thesis.) Whoever
    /// follows it stands for election as soon as the timeout may end, rather than after a random time: the first of the voters
    /// that are left after `election_ticks`, in the order of their ids, the next a tick later, and so on. Meanwhile it listens
    /// to others that stand (cf. `Rules::check_quorum`), and hands on nothing. To a leader it is unreachable.
    ///
    /// An owner who is wrong breaks nothing: the timeout is one that might have been drawn, a vote counts as ever, and
    /// a leader that is heard again is followed again. With lease-based reads, which would trust the lease, it changes
    /// nothing.
    pub fn report_gone(&mut self, id: NodeId) {
        let Raft { core, role } = &mut self.raft;
        match role {
            Role::Follower(follower) => follower.report_gone(core, id),
            Role::Leader(leader) => leader.unreachable(core, id),
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    /// Whether this node follows a leader that has ended, as it was told with [`report_gone`](Self::report_gone). Until there is
    /// another, it hands on neither proposals nor reads: they would be lost.
    pub fn leader_is_gone(&self) -> bool {
        matches!(&self.raft.role, Role::Follower(follower) if follower.leader_is_gone)
    }

    /// Whether this leader is handing leadership over (thesis, 3.10). Until that has come about, or an election timeout has
    /// gone by, it takes no proposals.
    pub fn is_handing_over(&self) -> bool {
        matches!(&self.raft.role, Role::Leader(leader) if leader.transferee.is_some())
    }

    /// A snapshot was sent to a node (thesis, 5), or could not be. A leader that hears neither sends it nothing more,
    /// unless the node answers that it holds what the log still has. Nothing happens if none is under way.
    pub fn report_snapshot(&mut self, id: NodeId, arrived: bool) {
        if let Role::Leader(leader) = &mut self.raft.role {
            leader.snapshot_reported(&mut self.raft.core, id, arrived);
        }
    }

    /// Whether `take_ready` would return something.
    pub fn has_ready(&self) -> bool {
        let core = &self.raft.core;
        !core.outbox.is_empty()
            || core.log.has_to_save()
            || core.log.has_to_apply(self.hands_out_unsaved())
            || core.hard_state() != self.told.hard_state
            || self.raft.role.soft_state(core.id) != self.told.soft_state
    }

    /// Whether committed entries are held back until some of those that are out are applied: the owner has to report that
    /// with [`applied`](Self::applied) as soon as it happens, and not at the next occasion.
    pub fn holds_back(&self) -> bool {
        self.raft.core.log.holds_back(self.hands_out_unsaved())
    }

    /// Takes all that is owed now. It never waits: what the disk and the state machine have done comes back with `saved`
    /// and `applied`, while the next one may already be taken. `None` if nothing is owed.
    ///
    /// # Panics
    /// If the log store does not have what was reported as saved: the panic names the contract.
    pub fn take_ready(&mut self) -> Option<Ready> {
        if !self.has_ready() {
            return None;
        }
        let hands_out_unsaved = self.hands_out_unsaved();
        let Raft { core, role } = &mut self.raft;
        let Room { messages, mut entries, messages_after_save, mut committed, read_states } =
            std::mem::take(&mut self.room);
        let snapshot = core.log.take_to_save(&mut entries);
        core.log.take_to_apply(hands_out_unsaved, &mut committed);
        let gathering = Outbox { messages, after_save: messages_after_save, read_states, own: OwnAcks::default() };
        let outbox = std::mem::replace(&mut core.outbox, gathering);

        let (soft_state, hard_state) = (role.soft_state(core.id), core.hard_state());
        let told = std::mem::replace(&mut self.told, Told { soft_state, hard_state });
        let (old, new) = (told.hard_state, hard_state);
        let must_sync = !entries.is_empty() || (new.term, new.vote) != (old.term, old.vote);
        let to_save = !entries.is_empty() || new != old || snapshot.is_some();
        let save = (to_save || !outbox.after_save.is_empty() || !outbox.own.is_empty()).then(|| SaveTicket {
            term: core.term,
            own: outbox.own,
            log_end: core.log.has_unsaved_entries().then(|| core.log.last()),
            snapshot: snapshot.as_ref().map(|snapshot| snapshot.meta.index),
        });
        traced!(core, Ready);
        Some(Ready {
            soft_state: (soft_state != told.soft_state).then_some(soft_state),
            messages: outbox.messages,
            hard_state: (new != old).then_some(new),
            entries,
            snapshot,
            messages_after_save: outbox.after_save,
            save,
            must_sync,
            committed,
            read_states: outbox.read_states,
        })
    }

    /// Takes back a `Ready` that was dealt with, for the room in its lists: an owner who drains them and does this costs a
    /// steady stream of entries no allocation. Whoever moves the lists elsewhere need not call this.
    ///
    /// # Panics
    /// If its ticket is still there: a save that is not reported never counts.
    pub fn recycle(&mut self, ready: Ready) {
        assert!(ready.save.is_none(), "a Ready was given back with a save that was never reported");
        self.room = Room::from(ready);
    }

    /// All that came with this ticket is durable, and so is all that was taken before it (thesis, 3.8 and 10.2.1).
    ///
    /// # Panics
    /// If the log store does not have it.
    pub fn saved(&mut self, ticket: SaveTicket) {
        self.raft.saved(ticket);
    }

    /// All of a [`PlainReady`](crate::PlainReady) is done.
    ///
    /// # Panics
    /// As `saved`.
    pub fn advance(&mut self, done: Advance) {
        if let Some(ticket) = done.save {
            self.raft.saved(ticket);
        }
        if let Some(last) = done.applied {
            self.raft.applied(last);
        }
    }

    /// All entries up to this index are applied. An index before the last one reported says nothing.
    ///
    /// # Panics
    /// If it is not committed: the state machine has what the cluster did not agree on.
    pub fn applied(&mut self, last: Index) {
        self.raft.applied(last);
    }

    /// Who this node is.
    pub fn id(&self) -> NodeId {
        self.raft.core.id
    }

    /// Who leads and this node's role, as of now.
    pub fn soft_state(&self) -> SoftState {
        self.raft.role.soft_state(self.id())
    }

    /// The term, the vote and the last committed index, as of now: they may not be saved yet.
    pub fn hard_state(&self) -> HardState {
        self.raft.core.hard_state()
    }

    /// What the node knows, for operators and tests. It allocates and copies: not for every tick.
    pub fn status(&self) -> Status {
        Status::of(&self.raft)
    }

    /// Where Raft reads its saved log.
    pub fn log(&self) -> &L {
        self.raft.core.log.store()
    }

    /// The same, for the owner to write what a [`Ready`] asks to save, and to compact it. To take anything else away breaks
    /// the contract of [`LogStore`].
    pub fn log_mut(&mut self) -> &mut L {
        self.raft.core.log.store_mut()
    }

    /// Sets the election timeout, in ticks, until it is next drawn, for tests that need to know it.
    pub fn set_election_timeout(&mut self, ticks: u32) {
        self.raft.core.clock.set_timeout(ticks);
    }

    /// What every role has, for tests that must see more than the door shows.
    #[cfg(test)]
    pub(crate) fn core(&self) -> &crate::core::Core<L> {
        &self.raft.core
    }

    fn hands_out_unsaved(&self) -> bool {
        self.writes == StorageWrites::Synchronous
    }
}

impl<L> fmt::Debug for RawNode<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = &self.raft.core;
        f.debug_struct("RawNode")
            .field("id", &core.id)
            .field("term", &core.term)
            .field("role", &self.raft.role.kind())
            .field("members", &core.membership)
            .finish_non_exhaustive()
    }
}
