//! How Raft reads back what its owner has saved.

use std::fmt;

use crate::types::{ConfState, Entry, HardState, Index, Snapshot, Term};

/// The saved log (thesis, 3.5 and 5). The owner writes it when it takes a [`Ready`](crate::Ready); Raft only reads, and
/// only what the owner has reported as saved or what it started with. It reads in the middle of a step, so nothing here may
/// wait.
///
/// Entries from `first_index` to `last_index` are there without gaps. A store that does not keep to that is refused by
/// [`RawNode::new`](crate::RawNode::new), and stops the node later with a panic that names the contract: it has lost
/// something that was acknowledged.
pub trait LogStore {
    /// What was saved before the start (thesis, 3.8), and the members at `Config::applied`: changes behind it are applied
    /// again. Both are empty for a node that has never run.
    fn initial_state(&self) -> (HardState, ConfState);

    /// The first index that can be read, at least 1; one behind `last_index` if there is none.
    fn first_index(&self) -> Index;

    /// The last index; if there is no entry, that which the snapshot stands for, or where the log was compacted; else 0.
    fn last_index(&self) -> Index;

    /// The term of an entry. It must be known from the one before `first_index` to `last_index`.
    ///
    /// # Errors
    /// `Compacted` before that, `Unavailable` behind it.
    fn term(&self, index: Index) -> Result<Term, LogError>;

    /// Appends entries of the indices `from..until` to `into`: as many as fit into `max_size` bytes, counted by
    /// [`Entry::encoded_len`], but one at least if there is one.
    ///
    /// # Errors
    /// `Compacted` if `from` is before `first_index`: a leader then sends a snapshot. `Unavailable` if `until` is more than one
    /// behind `last_index`.
    fn entries(&self, from: Index, until: Index, max_size: u64, into: &mut Vec<Entry>) -> Result<(), LogError>;

    /// A snapshot to send to a follower that needs what is no longer in the log (thesis, 5). It should be a new one: a
    /// follower refuses a snapshot from before it was a member.
    ///
    /// # Errors
    /// `SnapshotTemporarilyUnavailable`: Raft asks again later. Any other one stops the node, and so does an empty snapshot.
    fn snapshot(&self) -> Result<Snapshot, LogError>;
}

/// Why something cannot be read from a log, or taken into it. The texts are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError {
    /// It was compacted: only a snapshot has it (thesis, 5).
    Compacted,
    /// It is behind the end of the log.
    Unavailable,
    /// A snapshot is being made; ask again later.
    SnapshotTemporarilyUnavailable,
    /// The snapshot held is newer than the one offered, or as new as one that is to be made.
    SnapshotOutOfDate,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogError::Compacted => "requested index is unavailable due to compaction",
            LogError::Unavailable => "requested entry at index is unavailable",
            LogError::SnapshotTemporarilyUnavailable => "snapshot is temporarily unavailable",
            LogError::SnapshotOutOfDate => "requested index is older than the existing snapshot",
        })
    }
}

impl std::error::Error for LogError {}
