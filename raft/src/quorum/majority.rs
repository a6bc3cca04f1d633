//! A set of voters of which more than half decide.

use crate::mutation::{Mutation, planted};
use crate::quorum::VoteResult;
use crate::types::NodeId;

/// A set of voters of which more than half decide (thesis, 3.4 and 3.5). If nobody votes, everything is decided: this makes
/// an empty half of a joint quorum behave as if absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Majority(Vec<NodeId>);

/// Configurations as large as this are judged without allocating.
const COMMON_VOTERS: usize = 7;

impl Majority {
    /// These voters, in any order; one named twice counts once.
    pub fn new(mut voters: Vec<NodeId>) -> Majority {
        voters.sort_unstable();
        voters.dedup();
        Majority(voters)
    }

    /// The voters, ascending.
    pub fn voters(&self) -> &[NodeId] {
        &self.0
    }

    /// Whether nobody votes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it votes.
    pub fn contains(&self, id: NodeId) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    /// Adds a voter; one that is there stays.
    pub fn insert(&mut self, id: NodeId) {
        if let Err(place) = self.0.binary_search(&id) {
            self.0.insert(place, id);
        }
    }

    /// Removes a voter, if it is there.
    pub fn remove(&mut self, id: NodeId) {
        if let Ok(place) = self.0.binary_search(&id) {
            self.0.remove(place);
        }
    }

    /// The largest number, of an index say, that a quorum has acknowledged. Who has acknowledged nothing counts as 0;
    /// `u64::MAX` if nobody votes.
    pub fn acknowledged(&self, by: impl Fn(NodeId) -> Option<u64>) -> u64 {
        let count = self.0.len();
        let fill = |room: &mut [u64]| {
            for (place, id) in room.iter_mut().zip(&self.0) {
                *place = by(*id).unwrap_or(0);
            }
            room.sort_unstable();
            // A majority holds at least this one: it and all above it are more than half.
            room[count - self.quorum()]
        };
        match count {
            0 => u64::MAX,
            1..=COMMON_VOTERS => fill(&mut [0; COMMON_VOTERS][..count]),
            _ => fill(&mut vec![0; count]),
        }
    }

    /// How many of the voters are more than half.
    fn quorum(&self) -> usize {
        let half = self.0.len() / 2;
        if planted(Mutation::QuorumOffByOne) { half.max(1) } else { half + 1 }
    }

    /// How an election stands after these votes (thesis, 3.4): `None` is a vote not yet given. Won if nobody votes.
    pub fn vote(&self, by: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
        if self.0.is_empty() {
            return VoteResult::Won;
        }
        let votes = |wanted| self.0.iter().filter(|id| by(**id) == wanted).count();
        let (yes, missing, quorum) = (votes(Some(true)), votes(None), self.quorum());
        if yes >= quorum {
            VoteResult::Won
        } else if yes + missing >= quorum {
            VoteResult::Pending
        } else {
            VoteResult::Lost
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn majority(voters: &[u64]) -> Majority {
        Majority::new(voters.iter().copied().map(NodeId).collect())
    }

    #[test]
    fn acknowledged_is_what_a_quorum_holds() {
        fn check(voters: &[u64], acknowledged: &[(u64, u64)], expected: u64) {
            let by = |id: NodeId| acknowledged.iter().find(|(voter, _)| *voter == id.0).map(|(_, index)| *index);
            assert_eq!(majority(voters).acknowledged(by), expected, "{voters:?} {acknowledged:?}");
        }
        //    voters                       acknowledged                                 by a quorum
        check(&[], &[], u64::MAX);
        check(&[1], &[], 0);
        check(&[1], &[(1, 12)], 12);
        check(&[1, 2], &[(1, 12)], 0);
        check(&[1, 2], &[(1, 12), (2, 5)], 5);
        check(&[1, 2, 3], &[(1, 9), (2, 7)], 7);
        check(&[1, 2, 3], &[(1, 9)], 0);
        check(&[1, 2, 3, 4], &[(1, 9), (2, 8), (3, 7), (4, 6)], 7);
        check(&[1, 2, 3, 4, 5], &[(1, 9), (2, 8), (3, 7), (9, 99)], 7);
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[(1, 9), (2, 8), (3, 7), (4, 6), (5, 5)], 5);
    }

    #[test]
    fn a_vote_is_lost_when_no_quorum_can_come() {
        use VoteResult::{Lost, Pending, Won};
        fn check(voters: &[u64], votes: &[(u64, bool)], expected: VoteResult) {
            let by = |id: NodeId| votes.iter().find(|(voter, _)| *voter == id.0).map(|(_, granted)| *granted);
            assert_eq!(majority(voters).vote(by), expected, "{voters:?} {votes:?}");
        }
        check(&[], &[], Won);
        check(&[1], &[(1, true)], Won);
        check(&[1, 2], &[(1, true)], Pending);
        check(&[1, 2], &[(1, true), (2, false)], Lost);
        check(&[1, 2, 3], &[(1, true), (2, false)], Pending);
        check(&[1, 2, 3], &[(1, true), (2, true)], Won);
        check(&[1, 2, 3], &[(1, false), (2, false)], Lost);
        check(&[1, 2, 3], &[(1, true), (7, true)], Pending);
    }
}
