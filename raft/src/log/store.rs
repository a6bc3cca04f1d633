//! How Raft reads back what its owner has saved.

use std::fmt;

use crate::types::{ConfState, Entry, HardState, Index, Snapshot, Term};

/// The saved log. The owner writes it when it takes a `Ready`; Raft only reads, and only what the owner has reported as
/// saved or what it started with.
pub trait LogStore {
    /// What was saved before the start, and the members at `Config::applied`: changes behind it are applied again.
    fn initial_state(&self) -> (HardState, ConfState);

    /// The first entry that can be read; one behind the last one if there is none.
    fn first_index(&self) -> Index;

    /// The last entry, or what the snapshot stands for if there is none.
    fn last_index(&self) -> Index;

    /// The term of an entry from the one before the first to the last.
    fn term(&self, index: Index) -> Result<Term, LogError>;

    /// Appends entries of `from..until` to `into`: as many as fit into `max_size` (encoded), but one at least.
    fn entries(&self, from: Index, until: Index, max_size: u64, into: &mut Vec<Entry>) -> Result<(), LogError>;

    /// A snapshot to send to a follower that needs what is no longer in the log. It should be a new one: a follower refuses
    /// a snapshot from before it was a member.
    fn snapshot(&self) -> Result<Snapshot, LogError>;
}

/// Why something cannot be read from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError {
    /// It was compacted: only a snapshot has it.
    Compacted,
    /// It does not exist (yet).
    Unavailable,
    /// A snapshot is being made; ask again later.
    SnapshotTemporarilyUnavailable,
    /// What is held is newer than the snapshot offered.
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
