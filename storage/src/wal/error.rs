//! What can be wrong with a log.

use std::path::PathBuf;

use ferrite_raft::{Index, Term};

use crate::vfs;

/// An error of the log. None of them may be passed over: the member stops.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    #[error(transparent)]
    Io(#[from] vfs::Error),
    #[error("{} is locked by another process: stop it first", file.display())]
    Locked { file: PathBuf },
    #[error("{} is damaged at offset {offset}: {what}; {remedy}", file.display())]
    Corrupt { file: PathBuf, offset: u64, what: String, remedy: &'static str },
    #[error("there is no write-ahead log in {}", dir.display())]
    NotFound { dir: PathBuf },
    #[error("{} holds a write-ahead log already", dir.display())]
    AlreadyExists { dir: PathBuf },
    #[error("the log in {} has no record of the snapshot at index {index}, term {term}", dir.display())]
    SnapshotNotFound { dir: PathBuf, index: Index, term: Term },
    #[error("the log failed earlier and may not be used any more: {first}")]
    Failed { first: String },
}

/// What to do about damage.
pub(super) const REMEDY: &str = "restore the file from a copy, or remove this member from its cluster and add it again \
     with an empty data directory, or restore the cluster from a snapshot; starting without this data would take back \
     what was acknowledged";

impl WalError {
    /// No space was left. The log is not usable any more: [`Space::Short`](super::Space::Short) said so before.
    pub fn is_full(&self) -> bool {
        matches!(self, WalError::Io(error) if error.is_full())
    }
}
