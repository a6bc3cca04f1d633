//! Why the state machine refuses. An [`ApplyError`] is data: the log decides it, and every member comes to the same one.

use ferrite_storage as storage;

use crate::answer::ReadFailure;
use crate::lease::LeaseError;

/// Why a command of the log changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("the key does not exist, whose value or lease is to stay")]
    KeyNotFound,
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("the revision has been compacted")]
    Compacted,
    #[error("the revision is a future revision")]
    FutureRevision,
    #[error("an alarm forbids to grow: no space")]
    NoSpace,
    #[error("an alarm forbids to change anything: the cluster is corrupt")]
    Corrupt,
    #[error("the member was removed before")]
    MemberRemoved,
    #[error("the member exists")]
    MemberExists,
    #[error("the member does not exist")]
    MemberNotFound,
    #[error("another member has the peer URL")]
    PeerUrlExists,
    #[error("there are as many learners as there may be")]
    TooManyLearners,
    #[error("the member is no learner")]
    MemberNotLearner,
    #[error("nobody would be left to vote")]
    LastVoter,
    /// What `Authenticate` answers while authentication is off.
    #[error("authentication is not enabled")]
    AuthNotEnabled,
    #[error("users and roles are not built yet")]
    AuthNotBuilt,
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("revision {asked} has been compacted; the oldest is {oldest}")]
    Compacted { asked: i64, oldest: i64 },
    #[error("revision {asked} is in the future; the newest is {newest}")]
    Future { asked: i64, newest: i64 },
    #[error("there is no room for an answer of about {bytes} bytes")]
    NoRoom { bytes: u64 },
    /// Our disk is wrong: the member stops.
    #[error(transparent)]
    Storage(#[from] storage::ReadError),
}

impl From<ReadFailure> for ReadError {
    fn from(failure: ReadFailure) -> ReadError {
        match failure {
            ReadFailure::NoRoom { bytes } => ReadError::NoRoom { bytes },
            ReadFailure::Storage(error) => ReadError::Storage(error),
        }
    }
}

impl From<RevisionError> for ReadError {
    fn from(error: RevisionError) -> ReadError {
        match error {
            RevisionError::Compacted { asked, oldest } => ReadError::Compacted { asked, oldest },
            RevisionError::Future { asked, newest } => ReadError::Future { asked, newest },
        }
    }
}

/// A revision that cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    #[error("revision {asked} has been compacted; the oldest is {oldest}")]
    Compacted { asked: i64, oldest: i64 },
    #[error("revision {asked} is in the future; the newest is {newest}")]
    Future { asked: i64, newest: i64 },
}

impl From<RevisionError> for ApplyError {
    fn from(error: RevisionError) -> ApplyError {
        match error {
            RevisionError::Compacted { .. } => ApplyError::Compacted,
            RevisionError::Future { .. } => ApplyError::FutureRevision,
        }
    }
}
