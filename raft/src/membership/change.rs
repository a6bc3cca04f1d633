//! A change of members as it is proposed.

use std::fmt;

use bytes::Bytes;

use crate::types::{NodeId, bytes_len, number_len};

/// A change of members (thesis, chapter 4), in one of the two forms that etcd's log knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ConfChange {
    /// Of one member.
    V1(ConfChangeV1),
    /// Of any number.
    V2(ConfChangeV2),
}

/// A change of one member (thesis, 4.1), in the older of etcd's two forms. It comes into force at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfChangeV1 {
    /// Chosen by the owner to find its request again; Raft does not look at it.
    pub id: u64,
    /// What becomes of which node.
    pub change: MemberChange,
    /// What the state machine is told; Raft does not look at it.
    pub context: Bytes,
}

/// Any number of changes that come into force together (thesis, 4.3). None at all: leave the joint configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConfChangeV2 {
    /// How it comes into force.
    pub transition: Transition,
    /// What becomes of which nodes, in this order.
    pub changes: Vec<MemberChange>,
    /// What the state machine is told; Raft does not look at it.
    pub context: Bytes,
}

/// What becomes of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberChange {
    /// What becomes of the node.
    pub kind: ChangeKind,
    /// Which node. 0 stands for a change that the state machine refused: it has no effect.
    pub node: NodeId,
}

/// What can become of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It becomes a voter, whatever it was.
    #[default]
    AddNode,
    /// It is no member any more; nothing happens if it was none.
    RemoveNode,
    /// Nothing changes for Raft; the context tells the state machine what does.
    UpdateNode,
    /// It becomes a learner (thesis, 4.2.1): it receives the log and does not vote.
    AddLearnerNode,
}

/// How a change comes into force (thesis, 4.1 and 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transition {
    /// At once if it is of one member, else as `JointImplicit`. Without any, it leaves the joint configuration.
    #[default]
    Auto,
    /// Through a joint configuration that the leader leaves by itself.
    JointImplicit,
    /// Through a joint configuration that is left when somebody proposes a change without any, whose transition is `Auto`.
    JointExplicit,
}

impl ConfChange {
    /// How many bytes it is in etcd's log, with every number written: what limits count. None if it only leaves the joint
    /// configuration.
    pub(crate) fn encoded_len(&self) -> u64 {
        match self {
            ConfChange::V1(ConfChangeV1 { id, change, context }) => {
                number_len(*id) + change.encoded_len() + bytes_len(context.len() as u64)
            }
            ConfChange::V2(change) if change.is_empty() => 0,
            ConfChange::V2(ConfChangeV2 { transition: _, changes, context }) => {
                let changes: u64 = changes.iter().map(|change| bytes_len(change.encoded_len())).sum();
                number_len(0) + changes + bytes_len(context.len() as u64)
            }
        }
    }

    /// The same change in the newer form, which `RawNode::apply_conf_change` takes.
    pub fn to_v2(&self) -> ConfChangeV2 {
        match self {
            ConfChange::V1(ConfChangeV1 { id: _, change, context }) => {
                ConfChangeV2 { transition: Transition::Auto, changes: vec![*change], context: context.clone() }
            }
            ConfChange::V2(change) => change.clone(),
        }
    }
}

impl From<ConfChangeV1> for ConfChange {
    fn from(change: ConfChangeV1) -> ConfChange {
        ConfChange::V1(change)
    }
}

impl From<ConfChangeV2> for ConfChange {
    fn from(change: ConfChangeV2) -> ConfChange {
        ConfChange::V2(change)
    }
}

/// How a change is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Simple,
    EnterJoint { auto_leave: bool },
    LeaveJoint,
}

impl MemberChange {
    fn encoded_len(&self) -> u64 {
        number_len(0) + number_len(self.node.0)
    }
}

impl ConfChangeV2 {
    /// Whether it says nothing but to leave the joint configuration.
    pub fn is_empty(&self) -> bool {
        *self == ConfChangeV2::default()
    }

    pub(crate) fn step(&self) -> Step {
        match (self.transition, self.changes.len()) {
            (Transition::Auto, 0) => Step::LeaveJoint,
            (Transition::Auto, 1) => Step::Simple,
            (Transition::Auto | Transition::JointImplicit, _) => Step::EnterJoint { auto_leave: true },
            (Transition::JointExplicit, _) => Step::EnterJoint { auto_leave: false },
        }
    }
}

impl ChangeKind {
    /// The name that raftpb has for it.
    pub fn name(self) -> &'static str {
        match self {
            ChangeKind::AddNode => "ConfChangeAddNode",
            ChangeKind::RemoveNode => "ConfChangeRemoveNode",
            ChangeKind::UpdateNode => "ConfChangeUpdateNode",
            ChangeKind::AddLearnerNode => "ConfChangeAddLearnerNode",
        }
    }
}

impl Transition {
    /// The name that raftpb has for it.
    pub fn name(self) -> &'static str {
        match self {
            Transition::Auto => "ConfChangeTransitionAuto",
            Transition::JointImplicit => "ConfChangeTransitionJointImplicit",
            Transition::JointExplicit => "ConfChangeTransitionJointExplicit",
        }
    }
}

impl fmt::Display for ConfChangeV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transition:{}", self.transition.name())?;
        for change in &self.changes {
            write!(f, " changes:{{type:{} node_id:{}}}", change.kind.name(), change.node)?;
        }
        if !self.context.is_empty() {
            write!(f, " context:\"{}\"", self.context.escape_ascii())?;
        }
        Ok(())
    }
}
