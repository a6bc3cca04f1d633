//! Two sets of voters that must both agree (Raft dissertation, 4.3): `outgoing` is empty unless a change is under way.

use crate::quorum::{Majority, VoteResult};
use crate::types::NodeId;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JointQuorum {
    pub incoming: Majority,
    pub outgoing: Majority,
}

impl JointQuorum {
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub fn contains(&self, id: NodeId) -> bool {
        self.incoming.contains(id) || self.outgoing.contains(id)
    }

    /// One voter alone decides.
    pub fn is_single(&self) -> bool {
        self.incoming.voters().len() == 1 && !self.is_joint()
    }

    /// The voters of both sets, ascending, each once.
    pub fn voters(&self) -> Vec<NodeId> {
        let both = [self.incoming.voters(), self.outgoing.voters()].concat();
        Majority::new(both).voters().to_vec()
    }

    /// The largest number that both quorums have acknowledged.
    pub fn acknowledged(&self, by: impl Fn(NodeId) -> Option<u64>) -> u64 {
        self.incoming.acknowledged(&by).min(self.outgoing.acknowledged(&by))
    }

    pub fn vote(&self, by: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        match (self.incoming.vote(&by), self.outgoing.vote(&by)) {
            (one, other) if one == other => one,
            (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
            _ => VoteResult::Pending,
        }
    }
}
