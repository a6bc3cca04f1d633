//! What a node is, each role with what it alone knows.

pub mod candidate;
pub mod follower;
pub mod leader;
mod leader_acks;
mod leader_send;
pub mod reads;

use crate::role::candidate::Candidate;
use crate::role::follower::Follower;
use crate::role::leader::Leader;
use crate::types::{NodeId, Term};
use crate::{ready::RoleKind, ready::SoftState};

#[derive(Debug)]
pub enum Role {
    Follower(Follower),
    /// Asks whether it could win, in its old term.
    PreCandidate(Candidate),
    Candidate(Candidate),
    Leader(Box<Leader>),
}

/// What a role asks for that it cannot do itself: another role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Change {
    None,
    /// Follow a leader, or nobody yet.
    Follow {
        term: Term,
        leader: Option<NodeId>,
    },
}

impl Role {
    pub fn kind(&self) -> RoleKind {
        match self {
            Role::Follower(_) => RoleKind::Follower,
            Role::PreCandidate(_) => RoleKind::PreCandidate,
            Role::Candidate(_) => RoleKind::Candidate,
            Role::Leader(_) => RoleKind::Leader,
        }
    }

    pub fn soft_state(&self, id: NodeId) -> SoftState {
        let leader = match self {
            Role::Follower(follower) => follower.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(id),
        };
        SoftState { leader, role: self.kind() }
    }
}
