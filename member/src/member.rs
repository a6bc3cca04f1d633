//! One turn of a member: take in what arrived, then hand out all that is owed.
//!
//!   messages ──────────┐                ┌─▶ messages to peers
//!   proposals, reads ─┤                 ├─▶ save    log writer   ─▶ Saved
//!   completions ──────┼─▶ turn(raft) ───┼─▶ apply   applier      ─▶ Applied, ConfChanged
//!   time ─────────────┘                 ├─▶ keep    store keeper ─▶ Checkpointed
//!                                       └─▶ answers to readers and to those refused
//!
//! A turn never waits: what a disk or a state machine has done comes back as an input of a later turn. The member owns
//! Raft and its log in memory; nothing here is shared but two counters (`Progress`).
//!
//! What holds: entries are applied only once they are synced (Raft sees to it); a read is answered at an index that was
//! committed after it had arrived; a waiter is either handed on with its proposal or given back; who does not lead says
//! nothing between being handed a change of members and having applied it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ferrite_raft::{
    Body, ChangeError, ConfChange, ConfChangeV1, ConfChangeV2, ConfState, Entry, HardState, Index, LogStore, MemoryLog,
    Message, NodeId, RawNode, Ready, RoleKind, SaveTicket, Snapshot, SoftState, Term,
};
use ferrite_state::RequestId;
use ferrite_state::cluster::ClusterVersion;

use crate::backlog::Backlog;
use crate::checkpoint::Checkpoints;
use crate::duty::Duties;
use crate::inquiry::Inquiry;
use crate::install::Installing;
use crate::outgoing::SnapshotsOut;
use crate::progress::Progress;
use crate::reads::Reads;
use crate::receive::Prepared;
use crate::silence::Silence;

/// Somebody who waits for an answer and may have given up.
pub trait Waiter: Send {
    /// Nobody waits any more.
    fn gone(&self) -> bool;
}

/// A command that somebody wants in the log.
#[derive(Debug)]
pub struct Proposal<P> {
    pub id: RequestId,
    /// An encoded `InternalRaftRequest` whose header names `id`.
    pub data: Bytes,
    /// Who is told the outcome.
    pub waiter: P,
}

/// A change of members that somebody wants in the log.
#[derive(Debug)]
pub struct MembersProposal<P> {
    /// Names the request.
    pub change: ConfChangeV1,
    /// Who is told the outcome. Nobody is, if the leader holds another change to be under way.
    pub waiter: P,
}

/// What arrives at a member.
#[derive(Debug)]
pub enum Input<P, R> {
    /// Put this into the log.
    Propose(Proposal<P>),
    /// Put this change of members into the log.
    ChangeMembers(MembersProposal<P>),
    /// Another member says something.
    Message(Message),
    /// The leader has sent a snapshot, and it is ready to go on with.
    Snapshot { message: Message, prepared: Box<Prepared> },
    /// The applier has gone over to the snapshot.
    Installed,
    /// The last message to this member did not get there.
    Unreachable(NodeId),
    /// This member's process has ended.
    Gone(NodeId),
    /// A snapshot got to this member, or could not be sent.
    SnapshotSent { to: NodeId, arrived: bool },
    /// Hand leadership over to this member.
    TransferLeader(NodeId),
    /// The lowest version that a member of this cluster runs, as this one has just asked them all; nothing if one of them
    /// did not say.
    LowestVersion(Option<ClusterVersion>),
    /// So many ticks count as gone by. Others can be reached, so a leader would be heard of soon: the first election need
    /// not wait as long as a later one.
    SkipTicks(u32),
    /// Tell the reader once everything committed by now has been applied.
    Read(R),
    /// Somebody wants to know what Raft knows now.
    Inquire(Inquiry),
    /// The log writer has synced all saves up to this one.
    Saved(SaveNumber),
    /// The applier has moved on (see `Progress`), and the member had asked to be told.
    Applied,
    /// Entries that duties had proposed have been applied.
    DutyDone(Vec<RequestId>),
    /// The applier has come to a change of members.
    ConfChanged(ConfChanged),
    /// The store is whole up to `index`, a snapshot record says so, and the log before it has been given up.
    Checkpointed { index: Index, conf: ConfState },
    /// Take no more work in: the member is about to end.
    Stop,
}

/// A committed change of members that has been applied, or refused by the state machine.
#[derive(Clone, Debug)]
pub struct ConfChanged {
    /// What Raft takes over; a change of nothing if the state machine refused it.
    pub change: ConfChangeV2,
}

/// Why a proposal did not get into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Raft would not take it.
    Dropped,
    /// The member is stopping.
    Stopping,
}

/// Why a read could not be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFailed {
    /// Another leader took over while the read waited for its index.
    LeaderChanged,
    /// The member is stopping.
    Stopping,
}

/// Counts the saves of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SaveNumber(pub u64);

/// Log to write and to sync.
#[derive(Debug)]
pub struct Save {
    pub number: SaveNumber,
    pub hard_state: Option<HardState>,
    pub entries: Vec<Entry>,
    /// What all the log so far is given up for. It comes without entries.
    pub snapshot: Option<Snapshot>,
}

/// Entries to apply, in order, and those who wait for what they bring about.
#[derive(Debug)]
pub struct Apply<P> {
    pub entries: Vec<Entry>,
    pub waiters: Vec<(RequestId, Waits<P>)>,
}

/// Who is told what came of an entry.
#[derive(Debug)]
pub enum Waits<P> {
    Client(P),
    /// The member itself: `Input::DutyDone`. It was proposed in this term.
    Duty(Term),
}

/// All that is owed after a turn.
#[derive(Debug)]
pub struct Outbox<P, R> {
    pub messages: Vec<Message>,
    pub save: Vec<Save>,
    /// Go over to this snapshot, before anything is applied.
    pub install: Option<Box<Prepared>>,
    /// The snapshot that was made ready is not wanted.
    pub discard: bool,
    pub apply: Vec<Apply<P>>,
    /// Make the store whole up to here and say so in the log, with this hard state in front.
    pub checkpoint: Option<(Index, HardState)>,
    pub reads: Vec<(R, Result<(), ReadFailed>)>,
    pub refused: Vec<(P, Refused)>,
}

impl<P, R> Default for Outbox<P, R> {
    fn default() -> Self {
        Outbox {
            messages: Vec::new(),
            save: Vec::new(),
            install: None,
            discard: false,
            apply: Vec::new(),
            checkpoint: None,
            reads: Vec::new(),
            refused: Vec::new(),
        }
    }
}

/// A member: Raft, those who wait for it, and what it does by itself while it leads.
#[derive(Debug)]
pub struct Member<P, R> {
    raft: RawNode<MemoryLog>,
    proposals: Proposals<P>,
    held: Held,
    backlog: Backlog,
    reads: Reads<R>,
    checkpoints: Checkpoints,
    installing: Installing,
    snapshots_out: SnapshotsOut,
    duties: Duties,
    clock: Clock,
    progress: Arc<Progress>,
    saves: Saves,
    soft_state: SoftState,
    conf: ConfState,
    stopping: bool,
}

/// Ticks. Those missed in a pause are not made up for: a member that slept has not been waiting for its leader.
#[derive(Debug)]
struct Clock {
    pace: Pace,
    /// When the turn that is being taken began.
    now: Duration,
    next_tick: Duration,
    /// At the last tick the disk had been at work on a save for an election timeout.
    disk_stalls: bool,
    /// Since when this member has been handing leadership over.
    handing_over_since: Option<Duration>,
    /// Since when this member has led, if it does.
    led_since: Option<Duration>,
    /// For how long nobody has led.
    silence: Silence,
}

/// How fast Raft's time goes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A tick: a leader is heard each time.
    pub heartbeat: Duration,
    /// Ticks until an election.
    pub election_ticks: u32,
}

impl Pace {
    /// The election timeout.
    fn election(self) -> Duration {
        self.heartbeat * self.election_ticks
    }
}

/// What the log writer has been given and not yet synced, with what Raft is told then.
#[derive(Debug)]
struct Saves {
    last: SaveNumber,
    /// All up to this one are durable.
    synced: SaveNumber,
    under_way: VecDeque<SaveUnderWay>,
    hard_state: HardState,
    /// The commit index has moved since the last save. Alone it is not worth a write: Raft needs it as a hint only, so
    /// it rides with the next entries.
    unwritten_commit: bool,
}

#[derive(Debug)]
struct SaveUnderWay {
    number: SaveNumber,
    since: Duration,
    ticket: SaveTicket,
    messages_after: Vec<Message>,
}

/// What is not said yet because a change of members is being applied. Otherwise a vote might go out that counts the
/// members as they were (as in etcd).
#[derive(Debug, Default)]
struct Held {
    /// Changes that were handed to the applier and have not come back.
    changes: usize,
    messages: Vec<Message>,
}

/// Commands on their way into the log, and those who wait for them.
#[derive(Debug)]
struct Proposals<P> {
    /// Not proposed yet, because no leader is known, or leadership is being handed over. Bounded by what clients may have
    /// outstanding.
    waiting: VecDeque<Proposal<P>>,
    /// The same of changes of members, with the same bound.
    waiting_changes: Vec<MembersProposal<P>>,
    /// Forwarded by others, and waiting for the same. Raft would drop them, and whoever proposed them would hear of nothing
    /// until their time is up.
    forwarded: Vec<Message>,
    forwarded_bytes: usize,
    /// Since when the first of them has waited.
    forwarded_since: Option<Duration>,
    /// Proposed: they go to the applier together with the next committed entries.
    proposed: Vec<(RequestId, Waits<P>)>,
}

/// A leader does not hand over because of its disk before it has led for so many election timeouts.
const REIGN_ELECTIONS: u32 = 5;

/// Bytes of entries that others have forwarded and that wait for a leader. What does not fit is lost, as all is that is
/// forwarded to a leader who has just ended.
const FORWARDED_BYTES: usize = 64 << 20;

/// Proposals go to Raft together, in one message if it follows: so many bytes of data, and at least one.
const BATCH_BYTES: usize = 1 << 20;

impl<P: Waiter> Proposals<P> {
    fn forget_gone(&mut self) {
        self.waiting.retain(|proposal| !proposal.waiter.gone());
        self.waiting_changes.retain(|proposal| !proposal.waiter.gone());
    }

    fn keep_forwarded(&mut self, message: Message, now: Duration) {
        let Body::Propose(entries) = &message.body else { return };
        let bytes = entries.iter().map(Entry::memory_len).sum::<usize>();
        if self.forwarded_bytes + bytes <= FORWARDED_BYTES {
            self.forwarded_since = self.forwarded_since.or(Some(now));
            self.forwarded_bytes += bytes;
            self.forwarded.push(message);
        }
    }

    fn take_forwarded(&mut self) -> Vec<Message> {
        (self.forwarded_bytes, self.forwarded_since) = (0, None);
        std::mem::take(&mut self.forwarded)
    }

    fn next_batch(&mut self) -> Vec<Proposal<P>> {
        let mut bytes = 0;
        let more = self.waiting.iter().take_while(|proposal| {
            let fits = bytes == 0 || bytes + proposal.data.len() <= BATCH_BYTES;
            bytes += proposal.data.len().max(1);
            fits
        });
        let count = more.count();
        self.waiting.drain(..count).collect()
    }
}

fn entries_of(log: &MemoryLog) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(log.len());
    if !log.is_empty() {
        let all = log.entries(log.first_index(), log.last_index().next(), u64::MAX, &mut entries);
        all.expect("a log has its own entries");
    }
    entries
}

impl<P: Waiter, R: Waiter> Member<P, R> {
    /// A member whose Raft starts at `now`, with everything up to `progress.applied()` applied.
    pub fn new(
        raft: RawNode<MemoryLog>,
        pace: Pace,
        mut checkpoints: Checkpoints,
        duties: Duties,
        progress: Arc<Progress>,
        now: Duration,
    ) -> Self {
        let (hard_state, soft_state) = (raft.hard_state(), raft.soft_state());
        let conf = raft.log().initial_state().1;
        let first_round = duties.next_id().0;
        // All behind the last checkpoint. A member that restarts often must not forget how much that is.
        checkpoints.grow(&entries_of(raft.log()));
        Member {
            raft,
            proposals: Proposals {
                waiting: VecDeque::new(),
                waiting_changes: Vec::new(),
                forwarded: Vec::new(),
                forwarded_bytes: 0,
                forwarded_since: None,
                proposed: Vec::new(),
            },
            held: Held::default(),
            backlog: Backlog::default(),
            reads: Reads::new(first_round),
            checkpoints,
            installing: Installing::default(),
            snapshots_out: SnapshotsOut::default(),
            duties,
            clock: Clock {
                pace,
                now,
                next_tick: now + pace.heartbeat,
                disk_stalls: false,
                handing_over_since: None,
                led_since: None,
                silence: Silence::new(pace.heartbeat, now),
            },
            progress,
            saves: Saves {
                last: SaveNumber(0),
                synced: SaveNumber(0),
                under_way: VecDeque::new(),
                hard_state,
                unwritten_commit: false,
            },
            soft_state,
            conf,
            stopping: false,
        }
    }

    /// When the next turn is due even if nothing arrives.
    pub fn next_turn(&self) -> Duration {
        self.clock.next_tick
    }

    /// Who this member is.
    pub fn id(&self) -> NodeId {
        self.raft.id()
    }

    /// Who leads, as far as this member knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.soft_state.leader
    }

    /// Whether this member is in the cluster without a vote.
    pub fn is_learner(&self) -> bool {
        self.conf.learners.contains(&self.raft.id())
    }

    /// Whether this member has made itself known in this life.
    pub fn is_published(&self) -> bool {
        self.duties.is_published()
    }

    /// Whether the disk has been at work on one save for an election timeout: then the member does not lead if it can
    /// help it, for nothing is applied here that is not saved.
    pub fn disk_stalls(&self) -> bool {
        self.clock.disk_stalls
    }

    /// The term that this member is in.
    pub fn term(&self) -> Term {
        self.raft.hard_state().term
    }

    /// Whether the member has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether linearizable reads need not ask this member: it is the only one that decides, and it has applied an entry of
    /// its term. Then whoever has been told of a write was told by this process, after that write could be read here. That
    /// ends before another voter hears from us, so before anybody else can decide.
    pub fn reads_need_no_round(&self) -> bool {
        self.soft_state.role == RoleKind::Leader
            && self.is_sole_voter()
            && self.progress.applied_term() == self.raft.hard_state().term
    }

    /// The hard state that a clean stop still has to write: its commit index saves the next start some work.
    pub fn unwritten_hard_state(&self) -> Option<HardState> {
        self.saves.unwritten_commit.then_some(self.saves.hard_state)
    }

    /// One turn. `now` is on the member's monotonic clock.
    pub fn turn(&mut self, now: Duration, arrived: &mut Vec<Input<P, R>>) -> Outbox<P, R> {
        let mut out = Outbox::default();
        self.clock.now = now;
        self.clock.silence.pass(now);
        for input in arrived.drain(..) {
            self.take_in(input, now, &mut out);
        }
        self.report_applied();
        self.keep_time(now);
        self.propose(now, &mut out);
        self.ask_for_reads(now);
        self.hand_out(&mut out);
        out.discard |= self.installing.refused().is_some();
        self.progress.set_committed(self.saves.hard_state.commit);
        let applied = self.answer_reads(&mut out);
        // While a snapshot is put in force, store and log do not speak of the same.
        if !self.installing.is_under_way() {
            out.checkpoint = self.checkpoints.due(applied).map(|index| (index, self.saves.hard_state));
        }
        out
    }

    fn take_in(&mut self, input: Input<P, R>, now: Duration, out: &mut Outbox<P, R>) {
        if let Input::Message(message) = &input
            && self.soft_state.leader == Some(message.from)
        {
            self.clock.silence.end();
        }
        match input {
            Input::Propose(proposal) if self.stopping => {
                out.refused.push((proposal.waiter, Refused::Stopping));
            }
            Input::Propose(proposal) => self.proposals.waiting.push_back(proposal),
            Input::ChangeMembers(proposal) if self.stopping => {
                out.refused.push((proposal.waiter, Refused::Stopping));
            }
            Input::ChangeMembers(proposal) => self.proposals.waiting_changes.push(proposal),
            // Without its database it is nothing to go on with.
            Input::Message(Message { body: Body::Snapshot(_), .. }) => {}
            // There is no room: Raft sends it again when it hears no answer.
            Input::Message(message) if self.backlog.refuses(&message) => {}
            Input::Message(message)
                if matches!(message.body, Body::Propose(_))
                    && (self.raft.is_handing_over() || self.has_no_leader()) =>
            {
                self.proposals.keep_forwarded(message, now);
            }
            // A message that Raft refuses was for nobody: it was lost on the way, as far as its sender knows.
            Input::Message(message) => drop(self.raft.step(message)),
            Input::Snapshot { message, prepared } => self.offer(message, prepared, out),
            Input::Installed => self.installed(out),
            Input::Unreachable(id) => self.raft.report_unreachable(id),
            Input::Gone(id) => self.raft.report_gone(id),
            Input::SnapshotSent { to, arrived } => {
                self.snapshots_out.sent(to, arrived, now);
                if arrived {
                    self.duties.tell_again();
                }
                self.raft.report_snapshot(to, arrived);
            }
            Input::TransferLeader(to) => self.raft.transfer_leader(to),
            Input::LowestVersion(lowest) => self.duties.lowest_version(lowest),
            Input::SkipTicks(count) => (0..count).for_each(|_| self.raft.tick_quiesced()),
            Input::Read(reader) if self.stopping => out.reads.push((reader, Err(ReadFailed::Stopping))),
            Input::Read(reader) => self.reads.arrive(reader),
            Input::Inquire(inquiry) => inquiry.answer(&self.raft.status()),
            Input::Saved(upto) => self.saved(upto, out),
            Input::Applied => {}
            Input::DutyDone(ids) => ids.into_iter().for_each(|id| self.duties.answered(id, now)),
            Input::ConfChanged(changed) => self.conf_changed(&changed.change, out),
            Input::Checkpointed { index, conf } => self.checkpointed(index, conf, now),
            Input::Stop => {
                self.stopping = true;
                let waiting = self.proposals.waiting.drain(..).map(|proposal| proposal.waiter);
                let changes = self.proposals.waiting_changes.drain(..).map(|proposal| proposal.waiter);
                out.refused.extend(waiting.chain(changes).map(|waiter| (waiter, Refused::Stopping)));
                self.reads.fail_all(ReadFailed::Stopping, &mut out.reads);
            }
        }
    }

    fn keep_time(&mut self, now: Duration) {
        if now >= self.clock.next_tick {
            self.clock.next_tick = now + self.clock.pace.heartbeat;
            self.tick(now);
            self.duties.tick(now);
            self.proposals.forget_gone();
            // A transfer and the election behind it take less. If nobody leads then, whoever proposed may have given up.
            let patience = 2 * self.clock.pace.election();
            if self.proposals.forwarded_since.is_some_and(|since| now.saturating_sub(since) > patience) {
                self.proposals.take_forwarded();
            }
            self.reads.forget_gone();
            // What was handed on to a leader that is not heard of any more may never come back.
            self.proposals.proposed.retain(|(_, waits)| !matches!(waits, Waits::Client(waiter) if waiter.gone()));
        }
        // A member that is alone need not wait whether somebody else leads. An election that is under way waits for the disk:
        // begun again at every turn, it would never end.
        let soft_state = self.raft.soft_state();
        if soft_state.leader.is_none() && soft_state.role == RoleKind::Follower && self.is_sole_voter() {
            self.raft.campaign();
        }
    }

    fn tick(&mut self, now: Duration) {
        // What is synced may still wait for a snapshot to be put in force.
        let unsynced = self.saves.under_way.iter().find(|save| save.number > self.saves.synced);
        let oldest = unsynced.map_or(now, |save| save.since);
        self.clock.disk_stalls = now.saturating_sub(oldest) >= self.clock.pace.election();
        match (self.clock.disk_stalls, self.soft_state.role) {
            // It could not even save its own vote.
            (true, RoleKind::Follower | RoleKind::Candidate | RoleKind::PreCandidate) => {}
            (true, RoleKind::Leader) => {
                self.raft.tick();
                // Where all disks stall, leadership would go round and round, and nobody would get anything done.
                let patience = REIGN_ELECTIONS * self.clock.pace.election();
                if self.clock.led_since.is_some_and(|since| now.saturating_sub(since) >= patience) {
                    self.hand_over();
                }
            }
            (false, _) => self.raft.tick(),
        }
    }

    /// Gives leadership to the voter that is heard and has the most of the log.
    fn hand_over(&mut self) {
        let status = self.raft.status();
        if status.transferee.is_some() {
            return;
        }
        let heirs = status
            .progress
            .iter()
            .filter(|(id, progress)| *id != status.id && progress.is_active() && self.conf.voters.contains(id));
        if let Some((heir, _)) = heirs.max_by_key(|(_, progress)| progress.matched()) {
            self.raft.transfer_leader(*heir);
        }
    }

    fn is_sole_voter(&self) -> bool {
        matches!(&self.conf.voters[..], [only] if *only == self.raft.id()) && self.conf.voters_outgoing.is_empty()
    }

    /// A snapshot is ready. Whether Raft takes it shows when all has been handed out.
    fn offer(&mut self, message: Message, mut prepared: Box<Prepared>, out: &mut Outbox<P, R>) {
        prepared.hand_over();
        assert!(!self.installing.is_under_way(), "one snapshot is made ready at a time");
        if self.stopping {
            out.discard = true;
            return;
        }
        self.installing = Installing::Offered(prepared);
        // One that Raft does not even look at is not taken.
        let _ = self.raft.step(message);
    }

    /// The snapshot is in force: Raft may go on behind it.
    fn installed(&mut self, out: &mut Outbox<P, R>) {
        let Installing::Applying(index) = std::mem::take(&mut self.installing) else {
            panic!("a snapshot was installed that nobody asked for");
        };
        self.checkpoints.installed(index);
        self.saved(self.saves.synced, out);
    }

    fn saved(&mut self, upto: SaveNumber, out: &mut Outbox<P, R>) {
        self.backlog.saved(upto);
        self.saves.synced = self.saves.synced.max(upto);
        let synced = self.saves.synced;
        while let Some(save) = self.saves.under_way.front().filter(|save| save.number <= synced) {
            // What came behind a snapshot waits until that is in force.
            if save.ticket.snapshot().is_some() && self.installing.is_under_way() {
                out.install = self.installing.saved().or(out.install.take());
                return;
            }
            let save = self.saves.under_way.pop_front().expect("it has just been looked at");
            self.raft.saved(save.ticket);
            self.send(save.messages_after, out);
        }
    }

    fn send(&mut self, messages: Vec<Message>, out: &mut Outbox<P, R>) {
        for message in &messages {
            if let Body::Snapshot(snapshot) = &message.body {
                self.snapshots_out.sends(message.to, snapshot.meta.index);
            }
        }
        match self.held.changes > 0 && self.soft_state.role != RoleKind::Leader {
            true => self.held.messages.extend(messages),
            false => out.messages.extend(messages),
        }
    }

    fn conf_changed(&mut self, change: &ConfChangeV2, out: &mut Outbox<P, R>) {
        match self.raft.apply_conf_change(change) {
            Ok(conf) => self.conf = conf,
            // What it would bring about is in the snapshot already.
            Err(ChangeError::Superseded) => {}
            // The state machine has checked the change against the same members: Raft cannot disagree with it.
            Err(error) => panic!("a change of members that was applied does not fit Raft's configuration: {error}"),
        }
        self.held.changes -= 1;
        if self.held.changes == 0 {
            out.messages.append(&mut self.held.messages);
        }
    }

    /// Tells Raft what is applied. A change of members counts as applied when Raft has taken it over, not before: a leader
    /// would otherwise let the next one into the log while members still decide as before this one.
    fn report_applied(&mut self) {
        let applied = self.progress.applied();
        self.backlog.applied(applied);
        if self.held.changes == 0 {
            self.raft.applied(applied);
        }
    }

    fn checkpointed(&mut self, index: Index, conf: ConfState, now: Duration) {
        let keep_from = self.checkpoints.done(index);
        // Raft reads what it does not know to be applied, and that may be behind what the store holds.
        let keep_from = self.snapshots_out.allow(keep_from, now).min(self.raft.status().applied);
        let log = self.raft.log_mut();
        let held = log.snapshot().expect("one in memory can be read").meta.index;
        if index <= held {
            // A snapshot has come meanwhile, and the log begins there or behind it. Or a checkpoint that was asked for before
            // the snapshot came was taken of the new store, where it stands as far as the next one.
            return;
        }
        log.create_snapshot(index, conf, Bytes::new()).expect("what was applied is in the log, and newer than before");
        if keep_from >= log.first_index() {
            log.compact(keep_from).expect("the index lies between the first entry and what is applied");
        }
    }

    /// Nobody leads, or whoever did has ended: what is asked for waits, since it would be lost.
    fn has_no_leader(&self) -> bool {
        self.raft.soft_state().leader.is_none() || self.raft.leader_is_gone()
    }

    /// Leadership is being handed over, and Raft takes nothing until that has come about, or to an end. What is proposed may
    /// wait for that, but not for one transfer after the other.
    fn awaits_heir(&mut self, now: Duration) -> bool {
        if !self.raft.is_handing_over() {
            self.clock.handing_over_since = None;
            return false;
        }
        let since = *self.clock.handing_over_since.get_or_insert(now);
        now.saturating_sub(since) <= self.clock.pace.election()
    }

    /// Puts what waits into the log, clients before duties. Without a leader it goes on waiting.
    fn propose(&mut self, now: Duration, out: &mut Outbox<P, R>) {
        let awaits_heir = self.awaits_heir(now);
        if self.has_no_leader() || self.stopping {
            return;
        }
        if !awaits_heir {
            self.propose_for_clients(out);
        }
        // What has just arrived may have ended our leadership, and the duties are told of that only when all is handed out.
        // Who led and slept would find leases run out that its successor has renewed, and hand their revocation on to it.
        if self.soft_state.role == RoleKind::Leader && self.raft.soft_state().role != RoleKind::Leader {
            self.duties.role_changed(false, self.raft.hard_state().term);
        }
        if self.duties.is_primary() {
            self.clock.silence.end();
        }
        let term = self.raft.hard_state().term;
        for (id, data) in self.duties.proposals(now, self.clock.silence.lasted(), self.clock.pace.election()) {
            match self.raft.propose(data) {
                Ok(()) => self.proposals.proposed.push((id, Waits::Duty(term))),
                // Leadership is being handed over, and may come to nothing.
                Err(_) => self.duties.refused(id, now),
            }
        }
    }

    fn propose_for_clients(&mut self, out: &mut Outbox<P, R>) {
        // To who has given up it may have been said that it was not taken.
        self.proposals.forget_gone();
        for message in self.proposals.take_forwarded() {
            // Whoever leads now takes it. If Raft does not, it was lost on the way, as far as its sender knows.
            let _ = self.raft.step(message);
        }
        for MembersProposal { change, waiter } in std::mem::take(&mut self.proposals.waiting_changes) {
            let id = RequestId(change.id);
            match self.raft.propose_conf_change(ConfChange::V1(change)) {
                Ok(()) => self.proposals.proposed.push((id, Waits::Client(waiter))),
                Err(_) => out.refused.push((waiter, Refused::Dropped)),
            }
        }
        while !self.proposals.waiting.is_empty() {
            let batch = self.proposals.next_batch();
            let taken = self.raft.propose_batch(batch.iter().map(|proposal| proposal.data.clone()));
            for proposal in batch {
                match taken {
                    Ok(()) => self.proposals.proposed.push((proposal.id, Waits::Client(proposal.waiter))),
                    Err(_) => out.refused.push((proposal.waiter, Refused::Dropped)),
                }
            }
        }
    }

    fn ask_for_reads(&mut self, now: Duration) {
        // A leader that has just come fails what was asked before it: so nothing is asked until it is taken note of.
        let is_known = self.raft.soft_state().leader == self.soft_state.leader;
        if is_known
            && !self.has_no_leader()
            && let Some(context) = self.reads.ask(now)
        {
            self.raft.read_index(context);
        }
    }

    fn hand_out(&mut self, out: &mut Outbox<P, R>) {
        while let Some(ready) = self.raft.take_ready() {
            self.hand_on(ready, out);
            self.ask_for_reads(self.clock.now);
        }
    }

    fn hand_on(&mut self, ready: Ready, out: &mut Outbox<P, R>) {
        if let Some(soft_state) = ready.soft_state {
            let another = soft_state.leader.is_some() && soft_state.leader != self.soft_state.leader;
            self.soft_state = soft_state;
            let leads = soft_state.role == RoleKind::Leader;
            self.clock.led_since = leads.then_some(self.clock.led_since.unwrap_or(self.clock.now));
            self.duties.role_changed(leads, self.raft.hard_state().term);
            if another {
                self.reads.fail_unconfirmed(ReadFailed::LeaderChanged, &mut out.reads);
            }
        }
        let changes = ready.committed.iter().filter(|entry| entry.change().is_some());
        self.held.changes += changes.count();
        self.send(ready.messages, out);
        if let Some(hard_state) = ready.hard_state {
            self.saves.hard_state = hard_state;
            self.saves.unwritten_commit = true;
        }
        for state in &ready.read_states {
            self.reads.confirm(state);
        }
        if !ready.committed.is_empty() {
            let waiters = std::mem::take(&mut self.proposals.proposed);
            self.backlog.handed_to_applier(&ready.committed);
            out.apply.push(Apply { entries: ready.committed, waiters });
        }
        if let Some(snapshot) = &ready.snapshot {
            self.installing.taken(&snapshot.meta);
            self.conf = snapshot.meta.conf.clone();
        }
        if let Some(ticket) = ready.save {
            self.save(ticket, ready.must_sync, ready.entries, ready.snapshot, ready.messages_after_save, out);
        }
    }

    fn save(
        &mut self,
        ticket: SaveTicket,
        must_sync: bool,
        entries: Vec<Entry>,
        snapshot: Option<Snapshot>,
        messages: Vec<Message>,
        out: &mut Outbox<P, R>,
    ) {
        let must_sync = must_sync || snapshot.is_some();
        if let Some(snapshot) = snapshot.clone() {
            let replaced = self.raft.log_mut().apply_snapshot(snapshot);
            replaced.expect("Raft takes no snapshot that is older than what it has");
        }
        self.checkpoints.grow(&entries);
        self.raft.log_mut().append(entries.iter().cloned());
        if !must_sync && ticket.own().is_empty() && messages.is_empty() {
            // A commit index alone. What else it stands for, the saves under way before it stand for as well.
            return;
        }
        if must_sync {
            self.saves.last.0 += 1;
            let hard_state = std::mem::take(&mut self.saves.unwritten_commit).then_some(self.saves.hard_state);
            self.backlog.handed_to_log(self.saves.last, &entries);
            out.save.push(Save { number: self.saves.last, hard_state, entries, snapshot });
        }
        // Saves are reported in their order: one that needs no sync waits for those before it.
        let (number, since) = (self.saves.last, self.clock.now);
        self.saves.under_way.push_back(SaveUnderWay { number, since, ticket, messages_after: messages });
        if !must_sync && self.saves.under_way.len() == 1 {
            self.saved(self.saves.last, out);
        }
    }

    /// Answers the readers whose index has been applied, and asks to be woken if some still wait, or if more is committed
    /// than the applier was given. Returns what is applied.
    fn answer_reads(&mut self, out: &mut Outbox<P, R>) -> Index {
        loop {
            let applied = self.progress.applied();
            if self.raft.holds_back() {
                // It may have come further since the turn began, and is not heard of again if it is done.
                self.report_applied();
                self.hand_out(out);
            }
            self.reads.answer(applied, &mut out.reads);
            let waits = self.reads.waits_for_apply() || self.duties.wait_for_apply() || self.raft.holds_back();
            if !waits || self.progress.await_change(applied) {
                return applied;
            }
        }
    }
}
