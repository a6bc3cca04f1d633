//! Carrying out a change.

use std::fmt;

use crate::membership::Membership;
use crate::membership::change::{ChangeKind, ConfChangeV2, MemberChange, Step};
use crate::quorum::Majority;
use crate::types::NodeId;

/// Why a change cannot be carried out. Nothing was changed. The texts are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// Two configurations are in force, and a third cannot be (thesis, 4.3).
    AlreadyJoint,
    /// There is no joint configuration to be left.
    NotJoint,
    /// Two configurations are in force: only leaving that is possible.
    SimpleInJoint,
    /// There are no voters yet: a first one is added by a simple change.
    NoVoters,
    /// Nobody would be left to vote.
    RemovedAllVoters,
    /// More than one voter is added or removed by a simple change: old and new majorities might not meet (thesis, 4.1).
    TooManyVotersChanged,
    /// No fault of the change: a snapshot that was taken in since it was handed out has it already, and is in force.
    Superseded,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChangeError::AlreadyJoint => "config is already joint",
            ChangeError::NotJoint => "can't leave a non-joint config",
            ChangeError::SimpleInJoint => "can't apply simple config change in joint config",
            ChangeError::NoVoters => "can't make a zero-voter config joint",
            ChangeError::RemovedAllVoters => "removed all voters",
            ChangeError::TooManyVotersChanged => "more than one voter changed without entering joint config",
            ChangeError::Superseded => "a snapshot has this change already",
        })
    }
}

impl std::error::Error for ChangeError {}

impl Membership {
    /// The members after a change, in the way that its transition says.
    ///
    /// # Errors
    /// As `simple`, `enter_joint` or `leave_joint`.
    pub fn changed(&self, change: &ConfChangeV2) -> Result<Membership, ChangeError> {
        match change.step() {
            Step::Simple => self.simple(&change.changes),
            Step::EnterJoint { auto_leave } => self.enter_joint(auto_leave, &change.changes),
            Step::LeaveJoint => self.leave_joint(),
        }
    }

    /// Changes at most one voter (thesis, 4.1): the quorums before and after then overlap. Learners may change besides.
    ///
    /// # Errors
    /// `SimpleInJoint`, `RemovedAllVoters`, `TooManyVotersChanged`.
    pub fn simple(&self, changes: &[MemberChange]) -> Result<Membership, ChangeError> {
        if self.voters.is_joint() {
            return Err(ChangeError::SimpleInJoint);
        }
        let mut after = self.clone();
        after.carry_out(changes)?;
        let (old, new) = (&self.voters.incoming, &after.voters.incoming);
        let missing = |from: &Majority, of: &Majority| of.voters().iter().filter(|id| !from.contains(**id)).count();
        if missing(old, new) + missing(new, old) > 1 {
            return Err(ChangeError::TooManyVotersChanged);
        }
        after.check();
        Ok(after)
    }

    /// Keeps the old quorum beside the new one (thesis, 4.3).
    ///
    /// # Errors
    /// `AlreadyJoint`, `NoVoters`, `RemovedAllVoters`.
    pub fn enter_joint(&self, auto_leave: bool, changes: &[MemberChange]) -> Result<Membership, ChangeError> {
        if self.voters.is_joint() {
            return Err(ChangeError::AlreadyJoint);
        }
        if self.voters.incoming.is_empty() {
            return Err(ChangeError::NoVoters);
        }
        let mut after = self.clone();
        after.voters.outgoing = after.voters.incoming.clone();
        after.carry_out(changes)?;
        after.auto_leave = auto_leave;
        after.check();
        Ok(after)
    }

    /// Drops the old quorum (thesis, 4.3).
    ///
    /// # Errors
    /// `NotJoint`.
    pub fn leave_joint(&self) -> Result<Membership, ChangeError> {
        if !self.voters.is_joint() {
            return Err(ChangeError::NotJoint);
        }
        let mut after = self.clone();
        for id in std::mem::take(&mut after.learners_next) {
            insert(&mut after.learners, id);
        }
        after.voters.outgoing = Majority::default();
        after.auto_leave = false;
        after.check();
        Ok(after)
    }

    fn carry_out(&mut self, changes: &[MemberChange]) -> Result<(), ChangeError> {
        for MemberChange { kind, node } in changes {
            if node.0 == 0 {
                continue;
            }
            match kind {
                ChangeKind::AddNode => {
                    remove(&mut self.learners, *node);
                    remove(&mut self.learners_next, *node);
                    self.voters.incoming.insert(*node);
                }
                ChangeKind::AddLearnerNode if self.is_learner(*node) => {}
                ChangeKind::AddLearnerNode => {
                    self.remove(*node);
                    let still_votes = self.voters.outgoing.contains(*node);
                    insert(if still_votes { &mut self.learners_next } else { &mut self.learners }, *node);
                }
                ChangeKind::RemoveNode => self.remove(*node),
                ChangeKind::UpdateNode => {}
            }
        }
        if self.voters.incoming.is_empty() { Err(ChangeError::RemovedAllVoters) } else { Ok(()) }
    }

    fn remove(&mut self, id: NodeId) {
        self.voters.incoming.remove(id);
        remove(&mut self.learners, id);
        remove(&mut self.learners_next, id);
    }

    fn check(&self) {
        for id in &self.learners_next {
            assert!(self.voters.outgoing.contains(*id), "{id} is in LearnersNext, but not Voters[1]");
            assert!(!self.is_learner(*id), "{id} is in LearnersNext, but is already marked as learner");
        }
        for id in &self.learners {
            assert!(!self.voters.outgoing.contains(*id), "{id} is in Learners and Voters[1]");
            assert!(!self.voters.incoming.contains(*id), "{id} is in Learners and Voters[0]");
        }
        if !self.voters.is_joint() {
            assert!(self.learners_next.is_empty(), "LearnersNext must be empty when not joint");
            assert!(!self.auto_leave, "AutoLeave must be false when not joint");
        }
    }
}

fn insert(ids: &mut Vec<NodeId>, id: NodeId) {
    if let Err(place) = ids.binary_search(&id) {
        ids.insert(place, id);
    }
}

fn remove(ids: &mut Vec<NodeId>, id: NodeId) {
    if let Ok(place) = ids.binary_search(&id) {
        ids.remove(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+4 -2 ~3`: 4 becomes a voter, 2 is removed, 3 becomes a learner.
    fn changes(text: &str) -> Vec<MemberChange> {
        let parse = |token: &str| {
            let kind = match &token[..1] {
                "+" => ChangeKind::AddNode,
                "-" => ChangeKind::RemoveNode,
                _ => ChangeKind::AddLearnerNode,
            };
            MemberChange { kind, node: NodeId(token[1..].parse().unwrap()) }
        };
        text.split_whitespace().map(parse).collect()
    }

    fn three() -> Membership {
        let first = Membership::default().simple(&changes("+1")).unwrap();
        first.simple(&changes("+2")).unwrap().simple(&changes("+3 ~4")).unwrap()
    }

    #[test]
    fn one_voter_at_a_time_changes_simply() {
        #[track_caller]
        fn check(text: &str, expected: Result<&str, ChangeError>) {
            let after = three().simple(&changes(text)).map(|membership| membership.to_string());
            assert_eq!(after.as_deref().map_err(|error| *error), expected, "{text}");
        }
        check("", Ok("voters=(1 2 3) learners=(4)"));
        check("+4", Ok("voters=(1 2 3 4)"));
        check("~3", Ok("voters=(1 2) learners=(3 4)"));
        check("-4 ~5 ~6", Ok("voters=(1 2 3) learners=(5 6)"));
        check("-9", Ok("voters=(1 2 3) learners=(4)"));
        check("+0", Ok("voters=(1 2 3) learners=(4)"));
        check("-1 +1", Ok("voters=(1 2 3) learners=(4)"));
        check("-1 -2", Err(ChangeError::TooManyVotersChanged));
        check("-1 +5", Err(ChangeError::TooManyVotersChanged));
        check("-1 -2 -3", Err(ChangeError::RemovedAllVoters));
    }

    #[test]
    fn a_joint_configuration_keeps_both_quorums_until_it_is_left() {
        #[track_caller]
        fn check(text: &str, joint: &str, after: &str) {
            let entered = three().enter_joint(true, &changes(text)).unwrap();
            assert_eq!(entered.to_string(), joint, "{text}");
            assert_eq!(entered.simple(&[]), Err(ChangeError::SimpleInJoint));
            assert_eq!(entered.enter_joint(true, &[]), Err(ChangeError::AlreadyJoint));
            let left = entered.leave_joint().unwrap();
            assert_eq!(left.to_string(), after, "{text}");
            assert_eq!(left.leave_joint(), Err(ChangeError::NotJoint));
        }
        check("-1 +5", "voters=(2 3 5)&&(1 2 3) learners=(4) autoleave", "voters=(2 3 5) learners=(4)");
        check("~1 ~2", "voters=(3)&&(1 2 3) learners=(4) learners_next=(1 2) autoleave", "voters=(3) learners=(1 2 4)");
        check("~1 +1", "voters=(1 2 3)&&(1 2 3) learners=(4) autoleave", "voters=(1 2 3) learners=(4)");
        check("+4 -4", "voters=(1 2 3)&&(1 2 3) autoleave", "voters=(1 2 3)");
        assert_eq!(three().enter_joint(true, &changes("-1 -2 -3")), Err(ChangeError::RemovedAllVoters));
        assert_eq!(Membership::default().enter_joint(true, &changes("+1")), Err(ChangeError::NoVoters));
    }

    #[test]
    fn the_transition_says_how_a_change_comes_into_force() {
        use crate::membership::change::Transition::{Auto, JointExplicit, JointImplicit};
        let enter = |auto_leave| Step::EnterJoint { auto_leave };
        for (transition, text, expected) in [
            (Auto, "", Step::LeaveJoint),
            (Auto, "+4", Step::Simple),
            (Auto, "+4 -1", enter(true)),
            (JointImplicit, "", enter(true)),
            (JointImplicit, "+4", enter(true)),
            (JointExplicit, "+4", enter(false)),
        ] {
            let change = ConfChangeV2 { transition, changes: changes(text), ..ConfChangeV2::default() };
            assert_eq!(change.step(), expected, "{transition:?} {text}");
        }
    }
}
