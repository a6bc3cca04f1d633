//! The numbers of Raft, and what is saved and sent, in Raft's own words.

use std::fmt;

use bytes::Bytes;

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

/// What kind of thing an entry holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Data of the state machine; empty when a new leader opens its term.
    #[default]
    Normal,
    /// A change of one member, in the form of raftpb's `ConfChange`.
    ConfChange,
    /// A change of members, in the form of raftpb's `ConfChangeV2`.
    ConfChangeV2,
}

/// One entry of the log (Raft thesis, 3.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
    /// What `data` is.
    pub kind: EntryKind,
    /// What the owner proposed, or a change of members.
    pub data: Bytes,
}

impl Entry {
    /// How long the entry is as raftpb writes it since etcd 3.7, without the type of a normal one: what limits count.
    pub fn encoded_len(&self) -> u64 {
        fn field(value: u64) -> u64 {
            let bits = u64::from(u64::BITS - (value | 1).leading_zeros());
            1 + bits.div_ceil(7)
        }
        let kind = if self.kind == EntryKind::Normal { 0 } else { 2 };
        let length = self.data.len() as u64;
        let data = if length == 0 { 0 } else { field(length) + length };
        kind + field(self.term.0) + field(self.index.0) + data
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
