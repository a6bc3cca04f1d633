//! The members as a snapshot or a saved log describes them.

use std::fmt;

use crate::membership::Membership;
use crate::quorum::{JointQuorum, Majority};
use crate::types::{ConfState, NodeId};

/// A [`ConfState`] that no sequence of changes can lead to, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfStateError {
    conf: ConfState,
    what: &'static str,
}

impl fmt::Display for ConfStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unable to restore config {:?}: {}", self.conf, self.what)
    }
}

impl std::error::Error for ConfStateError {}

impl Membership {
    /// The members that `conf` describes. Its lists may be in any order.
    ///
    /// # Errors
    /// If no sequence of changes leads there: no voters, or somebody in two roles at once, say.
    pub fn restore(conf: &ConfState) -> Result<Membership, ConfStateError> {
        let sorted = |ids: &[NodeId]| Majority::new(ids.to_vec()).voters().to_vec();
        let membership = Membership {
            voters: JointQuorum {
                incoming: Majority::new(conf.voters.clone()),
                outgoing: Majority::new(conf.voters_outgoing.clone()),
            },
            learners: sorted(&conf.learners),
            learners_next: sorted(&conf.learners_next),
            auto_leave: conf.auto_leave,
        };
        match membership.fault() {
            Some(what) => Err(ConfStateError { conf: conf.clone(), what }),
            None => Ok(membership),
        }
    }

    fn fault(&self) -> Option<&'static str> {
        let nobody = self.voters.incoming.is_empty();
        let all = [self.voters.incoming.voters(), self.voters.outgoing.voters(), &self.learners, &self.learners_next];
        if all.iter().any(|ids| ids.first().is_some_and(|id| id.0 == 0)) {
            Some("node 0 is a member")
        } else if nobody && (self.voters.is_joint() || !self.learners.is_empty()) {
            Some("removed all voters")
        } else if self.learners.iter().any(|id| self.is_voter(*id)) {
            Some("a learner is a voter")
        } else if self.learners_next.iter().any(|id| !self.voters.outgoing.contains(*id)) {
            Some("a future learner is not a voter of the outgoing configuration")
        } else if self.learners_next.iter().any(|id| self.voters.incoming.contains(*id)) {
            Some("a future learner is a voter of the incoming configuration")
        } else if self.auto_leave && !self.voters.is_joint() {
            Some("auto_leave is set without a joint configuration")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_can_lead_to_is_restored() {
        #[track_caller]
        fn check(lists: [&[u64]; 4], auto_leave: bool, expected: bool) {
            let [voters, outgoing, learners, next] =
                lists.map(|ids| ids.iter().copied().map(NodeId).collect::<Vec<_>>());
            let conf = ConfState { voters, voters_outgoing: outgoing, learners, learners_next: next, auto_leave };
            let restored = Membership::restore(&conf);
            assert_eq!(restored.is_ok(), expected, "{restored:?}");
            if let Ok(membership) = restored {
                assert_eq!(membership.conf_state(), conf);
            }
        }
        //    voters     outgoing   learners next     auto
        check([&[], &[], &[], &[]], false, true);
        check([&[1, 2, 3], &[], &[], &[]], false, true);
        check([&[1, 2, 3], &[], &[4], &[]], false, true);
        check([&[1, 2, 3], &[1, 2, 4], &[5], &[4]], true, true);
        check([&[], &[], &[4], &[]], false, false);
        check([&[], &[1], &[], &[]], false, false);
        check([&[1, 2], &[], &[2], &[]], false, false);
        check([&[1, 2], &[3], &[3], &[]], false, false);
        check([&[1, 2], &[], &[], &[2]], false, false);
        check([&[1, 2], &[2], &[], &[2]], false, false);
        check([&[1, 2], &[], &[], &[]], true, false);
        check([&[0, 2], &[], &[], &[]], false, false);
    }
}
