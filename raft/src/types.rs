//! The numbers of Raft, and what is saved and sent, in Raft's own words.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::membership::ConfChange;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A term: a period with at most one leader (thesis, 3.3). 0 before the first election.
    Term
}
number! {
    /// A place in the log, counted in entries (thesis, 3.5). The first entry has index 1; 0 is the place before it.
    Index
}
number! {
    /// Who a node is, as its owner numbers it; never 0.
    NodeId
}

impl Index {
    /// The place behind this one. No log comes near the last number; a message may name it.
    pub fn next(self) -> Index {
        Index(self.0.saturating_add(1))
    }

    /// The place before this one; 0 stays 0.
    pub fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl fmt::LowerHex for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// An entry's place together with its term. Two logs that hold the same position are equal up to it (thesis, 3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// The term of the entry.
    pub term: Term,
    /// Its index.
    pub index: Index,
}

/// What an entry holds (thesis, 3.5 and 4.1). An owner who saves or sends entries writes it in a form of its own choice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// For the state machine: what the owner proposed, which Raft does not look into. Empty where a new leader opens its
    /// term (6.4), and in the place of a change of members that was refused.
    Data(Bytes),
    /// A change of members. Shared, for entries are cloned on their way to the log and to each follower.
    Change(Arc<ConfChange>),
}

impl Payload {
    /// How many bytes it is in etcd's log, which limits count. A change that only leaves the joint configuration has none,
    /// so that no limit refuses it.
    pub fn encoded_len(&self) -> u64 {
        match self {
            Payload::Data(data) => data.len() as u64,
            Payload::Change(change) => change.encoded_len(),
        }
    }
}

impl Default for Payload {
    fn default() -> Payload {
        Payload::Data(Bytes::new())
    }
}

impl From<Bytes> for Payload {
    fn from(data: Bytes) -> Payload {
        Payload::Data(data)
    }
}

impl<C: Into<ConfChange>> From<C> for Payload {
    fn from(change: C) -> Payload {
        Payload::Change(Arc::new(change.into()))
    }
}

/// One entry of the log (thesis, 3.5). In `Body::Propose` it has no term and index yet: both are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
    /// What the owner proposed, or a change of members.
    pub payload: Payload,
}

/// The length of a field of protobuf that is a number below field 16, tag included: bytes.
pub(crate) fn number_len(value: u64) -> u64 {
    let bits = u64::from(u64::BITS - (value | 1).leading_zeros());
    1 + bits.div_ceil(7)
}

/// The same of a field of so many bytes; one without any is left out.
pub(crate) fn bytes_len(length: u64) -> u64 {
    if length == 0 { 0 } else { number_len(length) + length }
}

impl Entry {
    /// How many bytes the entry is as raftpb writes it since etcd 3.7, without the type of a normal one: what limits count.
    pub fn encoded_len(&self) -> u64 {
        let kind = if self.change().is_some() { 2 } else { 0 };
        kind + number_len(self.term.0) + number_len(self.index.0) + bytes_len(self.payload.encoded_len())
    }

    /// How many bytes it takes in memory, its payload included.
    pub fn memory_len(&self) -> usize {
        size_of::<Entry>() + self.payload.encoded_len() as usize
    }

    /// The change of members that it holds, if it holds one.
    pub fn change(&self) -> Option<&ConfChange> {
        match &self.payload {
            Payload::Data(_) => None,
            Payload::Change(change) => Some(change),
        }
    }

    /// The data for the state machine: none where it holds a change of members.
    pub fn data(&self) -> Option<&Bytes> {
        match &self.payload {
            Payload::Data(data) => Some(data),
            Payload::Change(_) => None,
        }
    }

    pub(crate) fn position(&self) -> LogPosition {
        LogPosition { term: self.term, index: self.index }
    }
}

/// What a node must not forget over a restart, beside its log (thesis, 3.8 and figure 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term it has been in.
    pub term: Term,
    /// Whom this node voted for in `term` (thesis, 3.4).
    pub vote: Option<NodeId>,
    /// The last index known to be committed. Saved as a hint: it may lag (thesis, 3.8).
    pub commit: Index,
}

/// Who votes and who learns (thesis, 4.2.1), and in a joint configuration who did (4.3), as snapshots carry it. Lists that
/// are handed out are ascending, each node once; those taken in may be in any order. One that no changes lead to is refused
/// where it is taken in: with [`ConfStateError`](crate::ConfStateError), or, in a leader's snapshot, by not taking that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Who votes; in a joint configuration, in the new half.
    pub voters: Vec<NodeId>,
    /// Who receives the log and does not vote.
    pub learners: Vec<NodeId>,
    /// The voters of the configuration that is being left, while two are in force.
    pub voters_outgoing: Vec<NodeId>,
    /// Voters of the outgoing configuration that become learners when it is left.
    pub learners_next: Vec<NodeId>,
    /// Whether the leader leaves the joint configuration by itself; never without one.
    pub auto_leave: bool,
}

/// What a snapshot stands for: the log up to `index`, and the members at that point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last index that the snapshot stands for; 0 for the empty one.
    pub index: Index,
    /// The term of that entry.
    pub term: Term,
    /// The members in force when `index` was applied.
    pub conf: ConfState,
}

/// A snapshot (thesis, 5): the state machine's data is opaque to Raft. Its size is not limited here: an owner who sends much
/// keeps `data` empty, and sends the rest its own way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// The state there, in the form that the owner chose.
    pub data: Bytes,
}
