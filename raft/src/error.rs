//! What can go wrong at the door.

use std::fmt;

use crate::config::ConfigError;
use crate::membership::ConfStateError;
use crate::types::Index;

/// Why a node cannot be made from what was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewError {
    /// The configuration makes no sense.
    Config(ConfigError),
    /// The members that the log store names cannot be.
    Members(ConfStateError),
    /// The log store breaks its contract.
    Store {
        /// What it should do.
        contract: &'static str,
    },
    /// The log does not reach to what was committed: it lost its end, or the hard state is another log's.
    CommitOutOfRange {
        /// What the hard state says.
        commit: Index,
        /// The least that it may say: what the snapshot stands for.
        first: Index,
        /// The end of the log.
        last: Index,
    },
    /// The state machine is ahead of what was committed.
    AppliedOutOfRange {
        /// What the configuration says.
        applied: Index,
        /// What the hard state says.
        commit: Index,
    },
}

impl fmt::Display for NewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NewError::Config(error) => error.fmt(f),
            NewError::Members(error) => error.fmt(f),
            NewError::Store { contract } => write!(f, "the log store broke its contract: {contract}"),
            NewError::CommitOutOfRange { commit, first, last } => {
                write!(f, "state.commit {commit} is out of range [{first}, {last}]")
            }
            NewError::AppliedOutOfRange { applied, commit } => {
                write!(f, "applied {applied} is out of range: only {commit} is committed")
            }
        }
    }
}

impl std::error::Error for NewError {}

/// Why a proposal was not taken. It may be proposed again later; an accepted one may still be lost with its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// There is nobody to hand it on to.
    NoLeader,
    /// This node does not lead, and is not to hand proposals on.
    NotLeader,
    /// Leadership is being handed over.
    TransferInProgress,
    /// As much as may be is proposed and not yet applied.
    QuotaExceeded,
    /// The leader is no longer a member.
    Removed,
    /// It holds nothing, or a configuration change that cannot be read.
    Malformed,
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self {
            ProposeError::NoLeader => "no leader",
            ProposeError::NotLeader => "not the leader",
            ProposeError::TransferInProgress => "leadership is being transferred",
            ProposeError::QuotaExceeded => "too much is uncommitted",
            ProposeError::Removed => "the leader is no longer a member",
            ProposeError::Malformed => "it cannot be read",
        };
        write!(f, "raft proposal dropped: {why}")
    }
}

impl std::error::Error for ProposeError {}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepError {
    /// An answer from a node that is no member.
    PeerNotFound,
    /// A proposal that was handed on to this node was not taken.
    Propose(ProposeError),
    /// No node of ours would say this.
    Malformed(&'static str),
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepError::PeerNotFound => f.write_str("raft: cannot step as peer not found"),
            StepError::Propose(error) => error.fmt(f),
            StepError::Malformed(what) => write!(f, "raft: malformed message: {what}"),
        }
    }
}

impl std::error::Error for StepError {}
