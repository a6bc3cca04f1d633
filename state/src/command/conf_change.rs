//! A change of one member, as raftpb's `ConfChange` with etcd's JSON in it.

use bytes::Bytes;
use ferrite_proto::raftpb;
use ferrite_proto::wire::{self, shapes};
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
    pub(super) fn parse(data: &Bytes) -> Result<(RequestId, ConfChange), Unreadable> {
        let change: raftpb::ConfChange = wire::decode(&shapes::raftpb_ConfChange, data.clone())?;
        let id = RequestId(change.id.unwrap_or(0));
        let node = change.node_id.unwrap_or(0);
        let context = change.context.unwrap_or_default();
        let kind = change.r#type.unwrap_or(0);
        let change = match raftpb::ConfChangeType::try_from(kind).map_err(|_| Unreadable::UnknownChange(kind))? {
            kind @ (raftpb::ConfChangeType::ConfChangeAddNode | raftpb::ConfChangeType::ConfChangeAddLearnerNode) => {
                let (member, is_promote) = Member::parse_context(&context).map_err(Unreadable::Member)?;
                check_member(node, &member)?;
                if is_promote {
                    MemberChange::Promote
                } else {
                    MemberChange::Add { member, as_voter: kind == raftpb::ConfChangeType::ConfChangeAddNode }
                }
            }
            raftpb::ConfChangeType::ConfChangeRemoveNode => MemberChange::Remove,
            raftpb::ConfChangeType::ConfChangeUpdateNode => {
                let (member, _) = Member::parse_context(&context).map_err(Unreadable::Member)?;
                check_member(node, &member)?;
                MemberChange::Update { member }
            }
        };
        Ok((id, ConfChange { node: NodeId(node), change }))
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

    /// The entry's bytes. `id` wakes who waits for it.
    pub fn encode(&self, id: RequestId) -> Bytes {
        use prost::Message;
        let ConfChangeV1 { id, change, context } = self.proposed_as(id);
        let kind = match change.kind {
            ChangeKind::AddNode => raftpb::ConfChangeType::ConfChangeAddNode,
            ChangeKind::AddLearnerNode => raftpb::ConfChangeType::ConfChangeAddLearnerNode,
            ChangeKind::RemoveNode => raftpb::ConfChangeType::ConfChangeRemoveNode,
            ChangeKind::UpdateNode => raftpb::ConfChangeType::ConfChangeUpdateNode,
        };
        let change = raftpb::ConfChange {
            id: Some(id),
            r#type: Some(kind as i32),
            node_id: Some(change.node.0),
            context: (!context.is_empty()).then_some(context),
        };
        change.encode_to_vec().into()
    }
}

fn check_member(entry: u64, member: &Member) -> Result<(), Unreadable> {
    match member.id.0 {
        context if context == entry => Ok(()),
        context => Err(Unreadable::WrongMember { entry, context }),
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
            assert_eq!(ConfChange::parse(&change.encode(RequestId(9))), Ok((RequestId(9), change)));
        }
    }

    #[test]
    fn a_change_must_describe_the_member_it_changes() {
        let member = Member { id: NodeId(2), ..Default::default() };
        let change = ConfChange { node: NodeId(3), change: MemberChange::Update { member } };
        assert_eq!(
            ConfChange::parse(&change.encode(RequestId(1))),
            Err(Unreadable::WrongMember { entry: 3, context: 2 })
        );
    }

    #[test]
    fn a_change_without_its_member_is_refused() {
        let change = raftpb::ConfChange { node_id: Some(3), ..Default::default() };
        let bytes = prost::Message::encode_to_vec(&change).into();
        assert!(matches!(ConfChange::parse(&bytes), Err(Unreadable::Member(_))));
    }
}
