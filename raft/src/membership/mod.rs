//! Who the members are, and how that changes.
//!
//! ```text
//!              simple: at most one voter            enter joint
//!   one quorum ─────────────────────▶ one quorum ──────────────────▶ two quorums, both must agree
//!                                          ▲                              │ leave joint
//!                                          └──────────────────────────────┘
//! ```
//!
//! Nobody is voter and learner at once. A voter of the outgoing quorum that becomes a learner waits in `learners_next`
//! until the joint configuration is left, for it still votes. Changes work on a copy: one that fails changes nothing.

mod apply;
mod change;
mod restore;

use std::fmt;

pub use apply::ChangeError;
pub use change::{ChangeKind, ConfChange, ConfChangeV1, ConfChangeV2, MemberChange, Transition};
pub use restore::ConfStateError;

use crate::quorum::JointQuorum;
use crate::types::{ConfState, NodeId};

/// The members in force (thesis, chapter 4): who votes, in one configuration or in two, and who learns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub(crate) voters: JointQuorum,
    /// Ascending, as `learners_next`.
    pub(crate) learners: Vec<NodeId>,
    pub(crate) learners_next: Vec<NodeId>,
    pub(crate) auto_leave: bool,
}

impl Membership {
    /// Who votes, in one configuration or in two (thesis, 4.3).
    pub fn voters(&self) -> &JointQuorum {
        &self.voters
    }

    /// Whether it votes, in either configuration.
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(id)
    }

    /// Whether it receives the log and does not vote (thesis, 4.2.1). A voter that is to become a learner is none yet.
    pub fn is_learner(&self, id: NodeId) -> bool {
        self.learners.binary_search(&id).is_ok()
    }

    /// Whether it is a member at all.
    pub fn contains(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.is_learner(id)
    }

    /// Whether the leader is to leave the joint configuration by itself; false without one.
    pub fn leaves_by_itself(&self) -> bool {
        self.auto_leave
    }

    /// All members, ascending.
    pub fn ids(&self) -> Vec<NodeId> {
        let mut ids = self.voters.voters();
        ids.extend_from_slice(&self.learners);
        ids.sort_unstable();
        ids
    }

    /// The same in the form that snapshots carry.
    pub fn conf_state(&self) -> ConfState {
        ConfState {
            voters: self.voters.incoming.voters().to_vec(),
            learners: self.learners.clone(),
            voters_outgoing: self.voters.outgoing.voters().to_vec(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
        }
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Ids<'i>(&'i [NodeId]);
        impl fmt::Display for Ids<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("(")?;
                for (place, id) in self.0.iter().enumerate() {
                    write!(f, "{}{id:x}", if place == 0 { "" } else { " " })?;
                }
                f.write_str(")")
            }
        }
        write!(f, "voters={}", Ids(self.voters.incoming.voters()))?;
        if self.voters.is_joint() {
            write!(f, "&&{}", Ids(self.voters.outgoing.voters()))?;
        }
        if !self.learners.is_empty() {
            write!(f, " learners={}", Ids(&self.learners))?;
        }
        if !self.learners_next.is_empty() {
            write!(f, " learners_next={}", Ids(&self.learners_next))?;
        }
        if self.auto_leave {
            f.write_str(" autoleave")?;
        }
        Ok(())
    }
}
