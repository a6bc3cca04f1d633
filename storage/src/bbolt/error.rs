//! What can be wrong with a database.

use std::path::{Path, PathBuf};

use super::page::PageId;
use crate::vfs;

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("{}: this is no database of etcd: {what}", file.display())]
    NoDatabase { file: PathBuf, what: String },
    #[error("{}: damaged at page {page}: {what}: use another copy of this database", file.display())]
    Damaged { file: PathBuf, page: u64, what: String },
    #[error(transparent)]
    Io(#[from] vfs::Error),
}

impl DatabaseError {
    pub(super) fn damaged(file: &Path, page: PageId, what: impl Into<String>) -> DatabaseError {
        DatabaseError::Damaged { file: file.to_path_buf(), page: page.0, what: what.into() }
    }
}
