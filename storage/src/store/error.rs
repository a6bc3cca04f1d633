//! What can be wrong with a store, as its owner is told.

use std::path::{Path, PathBuf};

use super::Identity;
use super::format::Bad;
use crate::{ReadError, vfs};

/// Why the store cannot go on. All but [`StoreError::Full`] mean that the member stops.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: there is no store here", dir.display())]
    Missing { dir: PathBuf },
    #[error(
        "{}: segments are here, but no MANIFEST: restore it from a backup, or remove the member and add it again",
        dir.display()
    )]
    NoManifest { dir: PathBuf },
    #[error("{}: another process holds this store: stop it first", file.display())]
    Locked { file: PathBuf },
    #[error(
        "{}: the store belongs to member {:x} of cluster {:x}, not to member {:x} of cluster {:x}: \
         use the data directory of this member",
        file.display(), found.node_id, found.cluster_id, expected.node_id, expected.cluster_id
    )]
    Foreign { file: PathBuf, expected: Identity, found: Identity },
    #[error("{}: written by a newer version ({what} {found}): start that version, or a newer one", file.display())]
    Newer { file: PathBuf, what: &'static str, found: u64 },
    #[error(
        "{}: damaged at offset {offset}: {what}: \
         restore the member from a snapshot, or remove it from the cluster and add it again",
        file.display()
    )]
    Damaged { file: PathBuf, offset: u64, what: String },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Io(#[from] vfs::Error),
    /// Nothing was changed; it works again when there is space.
    #[error("{}: no space left for another file of the store: make room on its device", dir.display())]
    Full { dir: PathBuf },
    #[error("an earlier write to the store failed, so that nothing is known of what it holds: start the member again")]
    Poisoned,
}

impl StoreError {
    pub(super) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { file: file.to_path_buf(), offset, what: what.into() }
    }

    pub(super) fn bad(file: &Path, bad: Bad) -> StoreError {
        match bad {
            Bad::Damaged(offset, what) => StoreError::damaged(file, offset, what),
            Bad::Newer(what, found) => StoreError::Newer { file: file.to_path_buf(), what, found },
        }
    }
}
