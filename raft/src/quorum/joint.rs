//! Two sets of voters that must both agree (thesis, 4.3): `outgoing` is empty unless a change is under way.

use crate::mutation::{Mutation, planted};
use crate::quorum::{Majority, VoteResult};
use crate::types::NodeId;

/// One set of voters, or two that must both agree (thesis, 4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JointQuorum {
    /// The voters of the new configuration, or of the only one.
    pub incoming: Majority,
    /// The voters of the configuration that is being left; empty if there is none.
    pub outgoing: Majority,
}

impl JointQuorum {
    /// Whether two configurations are in force.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether it votes in either.
    pub fn contains(&self, id: NodeId) -> bool {
        self.incoming.contains(id) || self.outgoing.contains(id)
    }

    /// Whether this voter alone decides.
    pub fn is_single(&self, id: NodeId) -> bool {
        self.incoming.voters() == [id] && !self.is_joint()
    }

    /// The voters of both sets, ascending, each once.
    pub fn voters(&self) -> Vec<NodeId> {
        let both = [self.incoming.voters(), self.outgoing.voters()].concat();
        Majority::new(both).voters().to_vec()
    }

    /// The largest number, of an index say, that both quorums have acknowledged (thesis, 3.6.2 and 4.3). Who has
    /// acknowledged nothing counts as 0; `u64::MAX` if nobody votes.
    pub fn acknowledged(&self, by: impl Fn(NodeId) -> Option<u64>) -> u64 {
        if planted(Mutation::JointQuorumOfOneHalf) {
            return self.incoming.acknowledged(&by);
        }
        self.incoming.acknowledged(&by).min(self.outgoing.acknowledged(&by))
    }

    /// How an election stands after these votes (thesis, 3.4 and 4.3): `None` is a vote not yet given. Either set can lose
    /// it.
    pub fn vote(&self, by: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        if planted(Mutation::JointQuorumOfOneHalf) {
            return self.incoming.vote(&by);
        }
        match (self.incoming.vote(&by), self.outgoing.vote(&by)) {
            (one, other) if one == other => one,
            (VoteResult::Lost, _) | (_, VoteResult::Lost) => VoteResult::Lost,
            _ => VoteResult::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint(incoming: &[u64], outgoing: &[u64]) -> JointQuorum {
        let majority = |ids: &[u64]| Majority::new(ids.iter().copied().map(NodeId).collect());
        JointQuorum { incoming: majority(incoming), outgoing: majority(outgoing) }
    }

    #[test]
    fn both_quorums_must_have_acknowledged() {
        fn check(incoming: &[u64], outgoing: &[u64], acknowledged: &[(u64, u64)], expected: u64) {
            let by = |id: NodeId| acknowledged.iter().find(|(voter, _)| *voter == id.0).map(|(_, index)| *index);
            assert_eq!(joint(incoming, outgoing).acknowledged(by), expected);
            assert_eq!(joint(outgoing, incoming).acknowledged(by), expected);
        }
        //    incoming    outgoing    acknowledged                     by both
        check(&[1, 2, 3], &[], &[(1, 9), (2, 7)], 7);
        check(&[1], &[2], &[(1, 9)], 0);
        check(&[1], &[2], &[(1, 9), (2, 7)], 7);
        check(&[1, 2, 3], &[3, 4, 5], &[(1, 9), (2, 8), (3, 7)], 0);
        check(&[1, 2, 3], &[3, 4, 5], &[(1, 9), (2, 8), (3, 7), (4, 6)], 6);
    }

    #[test]
    fn either_quorum_can_lose_an_election() {
        use VoteResult::{Lost, Pending, Won};
        fn check(votes: &[(u64, bool)], expected: VoteResult) {
            let by = |id: NodeId| votes.iter().find(|(voter, _)| *voter == id.0).map(|(_, granted)| *granted);
            assert_eq!(joint(&[1, 2, 3], &[3, 4, 5]).vote(by), expected, "{votes:?}");
            assert_eq!(joint(&[3, 4, 5], &[1, 2, 3]).vote(by), expected, "{votes:?}");
        }
        check(&[], Pending);
        check(&[(1, true), (2, true)], Pending);
        check(&[(1, true), (2, true), (4, false)], Pending);
        check(&[(1, true), (2, true), (4, false), (5, false)], Lost);
        check(&[(1, true), (3, true), (5, true)], Won);
        check(&[(1, false), (2, false)], Lost);
    }

    #[test]
    fn a_voter_of_both_is_one_voter() {
        assert_eq!(joint(&[1, 2], &[2, 3]).voters(), [NodeId(1), NodeId(2), NodeId(3)]);
        assert!(joint(&[1], &[]).is_single(NodeId(1)));
        assert!(!joint(&[1], &[]).is_single(NodeId(2)), "it does not vote");
        assert!(!joint(&[1], &[1]).is_single(NodeId(1)));
    }
}
