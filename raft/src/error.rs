//! What can go wrong at the door.

use std::fmt;

use crate::config::ConfigError;
use crate::membership::ConfStateError;
use crate::types::Index;

/// Why [`RawNode::new`](crate::RawNode::new) cannot make a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewError {
    /// The configuration makes no sense.
    Config(ConfigError),
    /// No sequence of changes leads to the members that `LogStore::initial_state` names.
    Members(ConfStateError),
    /// The log store breaks its contract: its first and last index and the terms there do not fit together.
    Store {
        /// What it should do.
        contract: &'static str,
    },
    /// The log does not reach to what was committed: it lost its end, or the hard state is another log's.
    CommitOutOfRange {
        /// The last committed index, as the hard state says.
        commit: Index,
        /// The least that it may say: the index before the first entry.
        first: Index,
        /// The last index of the log.
        last: Index,
    },
    /// The state machine is ahead of what was committed.
    AppliedOutOfRange {
        /// The last applied index, as `Config::applied` says.
        applied: Index,
        /// The last committed index, as the hard state says.
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

/// Why a proposal was not taken: nothing of it is in the log. All but an empty one may be proposed again later. One that
/// was taken may still be lost with its leader (thesis, 3.5), or be refused by the leader that it was handed on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// A candidate, or a follower that knows no leader: there is nobody to hand it on to.
    NoLeader,
    /// This node does not lead, and `Rules::disable_proposal_forwarding` is on.
    NotLeader,
    /// The leader is handing over (thesis, 3.10): for an election timeout at most.
    TransferInProgress,
    /// `Limits::max_uncommitted_size` bytes are proposed and not yet applied.
    QuotaExceeded,
    /// The leader is no longer a member (thesis, 4.2.2).
    Removed,
    /// It holds no entry.
    Empty,
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self {
            ProposeError::NoLeader => "no leader",
            ProposeError::NotLeader => "not the leader",
            ProposeError::TransferInProgress => "leadership is being transferred",
            ProposeError::QuotaExceeded => "too much is uncommitted",
            ProposeError::Removed => "the leader is no longer a member",
            ProposeError::Empty => "it holds no entry",
        };
        write!(f, "raft proposal dropped: {why}")
    }
}

impl std::error::Error for ProposeError {}

/// Why [`RawNode::step`](crate::RawNode::step) did not take a message. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepError {
    /// An answer from a node that is no member of the configuration in force.
    PeerNotFound,
    /// A proposal that was handed on to this node was not taken.
    Propose(ProposeError),
    /// No correct node says this; with what is wrong in it.
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
