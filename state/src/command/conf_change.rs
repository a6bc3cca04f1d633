//! A change of one member: Raft's change, with etcd's JSON in its context.

use ferrite_raft::{self as raft, ChangeKind, ConfChangeV1, NodeId};

use super::{RequestId, Unreadable};
use crate::cluster::Member;

/// What happens to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfChange {
    pub node: NodeId,
    pub change: MemberChange,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A new member. Who joins as a learner comes with `Member::is_learner`; `as_voter` is what Raft makes of it.
    Add {
        member: Member,
        as_voter: bool,
    },
    /// A learner becomes a voter.
    Promote,
    Remove,
    /// New peer URLs.
    Update {
        member: Member,
    },
}

impl ConfChange {
    /// What the change of members in an entry is to the state machine.
    pub(super) fn parse(entry: &ConfChangeV1) -> Result<ConfChange, Unreadable> {
        let raft::MemberChange { kind, node } = entry.change;
        let member = || {
            let (member, is_promotion) = Member::parse_context(&entry.context).map_err(Unreadable::Member)?;
            match member.id {
                id if id == node => Ok((member, is_promotion)),
                id => Err(Unreadable::WrongMember { entry: node.0, context: id.0 }),
            }
        };
        let change = match kind {
            ChangeKind::AddNode | ChangeKind::AddLearnerNode => match member()? {
                (_, true) => MemberChange::Promote,
                (member, false) => MemberChange::Add { member, as_voter: kind == ChangeKind::AddNode },
            },
            ChangeKind::RemoveNode => MemberChange::Remove,
            ChangeKind::UpdateNode => MemberChange::Update { member: member()?.0 },
        };
        Ok(ConfChange { node, change })
    }

    /// As it is proposed. `id` wakes who waits for it.
    pub fn proposed_as(&self, id: RequestId) -> ConfChangeV1 {
        let (kind, context) = match &self.change {
            MemberChange::Add { member, as_voter: true } => (ChangeKind::AddNode, member.to_json()),
            MemberChange::Add { member, as_voter: false } => (ChangeKind::AddLearnerNode, member.to_json()),
            MemberChange::Promote => (ChangeKind::AddNode, Member::promotion(self.node)),
            MemberChange::Remove => (ChangeKind::RemoveNode, String::new()),
            MemberChange::Update { member } => (ChangeKind::UpdateNode, member.to_json()),
        };
        let change = raft::MemberChange { kind, node: self.node };
        ConfChangeV1 { id: id.0, change, context: context.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_survives_its_encoding() {
        let member = Member {
            id: NodeId(0xe5f7_e32e_2a3b_4c5d),
            peer_urls: vec!["http://10.0.0.1:2380".into()],
            is_learner: true,
            ..Default::default()
        };
        let changes = [
            MemberChange::Add { member: member.clone(), as_voter: true },
            MemberChange::Add { member: member.clone(), as_voter: false },
            MemberChange::Promote,
            MemberChange::Remove,
            MemberChange::Update { member: member.clone() },
        ];
        for change in changes {
            let change = ConfChange { node: member.id, change };
            assert_eq!(ConfChange::parse(&change.proposed_as(RequestId(9))), Ok(change));
        }
    }

    #[test]
    fn a_change_must_describe_the_member_it_changes() {
        let member = Member { id: NodeId(2), ..Default::default() };
        let change = ConfChange { node: NodeId(3), change: MemberChange::Update { member } };
        assert_eq!(
            ConfChange::parse(&change.proposed_as(RequestId(1))),
            Err(Unreadable::WrongMember { entry: 3, context: 2 })
        );
    }

    #[test]
    fn a_change_without_its_member_is_refused() {
        let change = raft::MemberChange { kind: ChangeKind::AddNode, node: NodeId(3) };
        let change = ConfChangeV1 { id: 0, change, context: Default::default() };
        assert!(matches!(ConfChange::parse(&change), Err(Unreadable::Member(_))));
    }
}
