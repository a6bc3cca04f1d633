//! What a node owes the world.

use crate::message::{Message, VoteKind};
use crate::types::{Entry, HardState, Index, LogPosition, NodeId, Snapshot, Term};
use bytes::Bytes;

/// All that is owed now (thesis, 3.8 and 10.2.1). The order of work:
///
/// 1. send `messages`, at once;
/// 2. save `snapshot`, `entries` and `hard_state`, in this order (a crash between the two must not leave a hard state that
///    has committed entries which are not there); when they are durable, send `messages_after_save` and
///    hand `save` to `RawNode::saved`. Saves are done, and reported, in the order in which they were taken;
/// 3. apply `committed`, behind the snapshot if there is one, and report with `RawNode::applied`. These entries are saved
///    already, unless writes are `Synchronous`. What was handed out before a snapshot and is not applied when it is
///    installed is part of it, and is applied before it or not at all;
/// 4. answer the reads in `read_states` as soon as their index is applied.
///
/// The log store must hold the entries and the snapshot before the next call of the node that owns it.
/// [`RawNode::recycle`](crate::RawNode::recycle) takes it back when it was dealt with, for the room in its lists.
#[derive(Debug, Default)]
pub struct Ready {
    /// Who leads and this node's role, if either changed.
    pub soft_state: Option<SoftState>,
    /// What to send, without waiting for any save.
    pub messages: Vec<Message>,
    /// The term, the vote and the last committed index, if any of them changed.
    pub hard_state: Option<HardState>,
    /// What to append to the saved log, without gaps; what they overlap is replaced (thesis, 3.5).
    pub entries: Vec<Entry>,
    /// What to replace the saved log by (thesis, 5). It comes without entries.
    pub snapshot: Option<Snapshot>,
    /// What to send once all of this and all before it is durable.
    pub messages_after_save: Vec<Message>,
    /// Present if there is anything to save or any message that waits for earlier saves.
    pub save: Option<SaveTicket>,
    /// Whether the save must be synced to the disk before it is reported. If not, it is enough that all before it are.
    pub must_sync: bool,
    /// What to apply, in this order; [`Limits::max_committed_size`](crate::Limits::max_committed_size) bounds it.
    pub committed: Vec<Entry>,
    /// Reads that may be answered once their index is applied (thesis, 6.4).
    pub read_states: Vec<ReadState>,
}

/// The empty lists of a `Ready` that came back.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub messages: Vec<Message>,
    pub entries: Vec<Entry>,
    pub messages_after_save: Vec<Message>,
    pub committed: Vec<Entry>,
    pub read_states: Vec<ReadState>,
}

impl From<Ready> for Room {
    fn from(ready: Ready) -> Room {
        /// Lists that a burst has made longer are not kept.
        const LENGTH_KEPT: usize = 1024;
        fn emptied<T>(mut list: Vec<T>) -> Vec<T> {
            list.clear();
            if list.capacity() > LENGTH_KEPT { Vec::new() } else { list }
        }
        Room {
            messages: emptied(ready.messages),
            entries: emptied(ready.entries),
            messages_after_save: emptied(ready.messages_after_save),
            committed: emptied(ready.committed),
            read_states: emptied(ready.read_states),
        }
    }
}

impl Ready {
    /// The same in the plain form, for an owner whose writes are [`Synchronous`](crate::StorageWrites::Synchronous): it
    /// saves, sends, applies, and says with one word that all of it is done.
    pub fn into_plain(mut self) -> PlainReady {
        let applied = self.committed.last().map(|entry| entry.index);
        self.messages.append(&mut self.messages_after_save);
        PlainReady {
            soft_state: self.soft_state,
            hard_state: self.hard_state,
            entries: self.entries,
            snapshot: self.snapshot,
            must_sync: self.must_sync,
            messages: self.messages,
            committed: self.committed,
            read_states: self.read_states,
            advance: Advance { save: self.save, applied },
        }
    }
}

/// All that is owed now (thesis, 3.8), to be done in this order:
///
/// 1. save `snapshot`, `entries` and `hard_state`, and wait until they are durable if `must_sync` says so;
/// 2. send `messages`;
/// 3. install the snapshot, apply `committed`, answer the reads of `read_states` whose index is applied;
/// 4. hand `advance` to [`RawNode::advance`](crate::RawNode::advance), and only then take the next one.
#[derive(Debug)]
pub struct PlainReady {
    /// Who leads and this node's role, if either changed.
    pub soft_state: Option<SoftState>,
    /// The term, the vote and the last committed index, if any of them changed.
    pub hard_state: Option<HardState>,
    /// What to append to the saved log, without gaps; what they overlap is replaced (thesis, 3.5).
    pub entries: Vec<Entry>,
    /// What to replace the saved log by (thesis, 5). It comes without entries.
    pub snapshot: Option<Snapshot>,
    /// Whether what is saved must be durable before anything else is done.
    pub must_sync: bool,
    /// What to send when that is saved.
    pub messages: Vec<Message>,
    /// What to apply then, in this order. Some of it may be among `entries`.
    pub committed: Vec<Entry>,
    /// Reads that may be answered once their index is applied (thesis, 6.4).
    pub read_states: Vec<ReadState>,
    /// For [`RawNode::advance`](crate::RawNode::advance), when all this is done.
    pub advance: Advance,
}

/// Says that a [`PlainReady`] was dealt with.
#[must_use = "a node hands out nothing that builds on this before it hears of it"]
#[derive(Debug)]
pub struct Advance {
    pub(crate) save: Option<SaveTicket>,
    pub(crate) applied: Option<Index>,
}

/// What need not be saved: after a restart it is found out anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftState {
    /// Who leads, if that is known.
    pub leader: Option<NodeId>,
    /// This node's role.
    pub role: RoleKind,
}

/// A node's role (thesis, figure 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks whether it could win an election (thesis, 9.6).
    PreCandidate,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
}

impl RoleKind {
    /// The name that etcd's library prints.
    pub fn name(self) -> &'static str {
        match self {
            RoleKind::Follower => "StateFollower",
            RoleKind::PreCandidate => "StatePreCandidate",
            RoleKind::Candidate => "StateCandidate",
            RoleKind::Leader => "StateLeader",
        }
    }
}

/// An answer to [`RawNode::read_index`](crate::RawNode::read_index): once `index` is applied, the read sees all that was
/// committed when it was asked (thesis, 6.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// The last index to be applied first. It may be applied already.
    pub index: Index,
    /// What the read was asked with.
    pub context: Bytes,
}

/// What a save stands for, to be handed to [`RawNode::saved`](crate::RawNode::saved). It cannot be copied: a save is
/// reported once. What it names is for those who print it, as etcd's `MsgStorageAppendResp`.
#[must_use = "a save that is not reported never counts"]
#[derive(Debug)]
pub struct SaveTicket {
    /// The term that handed it out. In a later one the entries may have been replaced: it then says nothing about them.
    pub(crate) term: Term,
    pub(crate) own: OwnAcks,
    /// The end of the log, if anything was unsaved when this was handed out.
    pub(crate) log_end: Option<LogPosition>,
    pub(crate) snapshot: Option<Index>,
}

impl SaveTicket {
    /// The node's term when it was handed out.
    pub fn term(&self) -> Term {
        self.term
    }

    /// What the node promises itself once this is saved.
    pub fn own(&self) -> &OwnAcks {
        &self.own
    }

    /// The end of the log that is then saved; `None` if all of it was before.
    pub fn log_end(&self) -> Option<LogPosition> {
        self.log_end
    }

    /// The index of the snapshot that is then saved, if there is one.
    pub fn snapshot(&self) -> Option<Index> {
        self.snapshot
    }
}

/// A node's votes for itself and its acknowledgement of its own entries, which count only when they are on disk (thesis, 3.8
/// and 10.2.1).
#[derive(Debug, Default)]
pub struct OwnAcks {
    /// Its votes for itself, oldest first.
    pub votes: Vec<OwnVote>,
    /// The last of the entries that it appended as leader, with the leader's term.
    pub appended: Option<LogPosition>,
}

impl OwnAcks {
    /// Whether nothing waits for the save.
    pub fn is_empty(&self) -> bool {
        self.votes.is_empty() && self.appended.is_none()
    }
}

/// A candidate's vote for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnVote {
    /// Whether it counts, or is a question only (thesis, 9.6).
    pub kind: VoteKind,
    /// The term it is for: of a question, the one that would come.
    pub term: Term,
}
