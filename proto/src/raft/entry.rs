//! Entries, and the changes of members in them.
//!
//! ```text
//!   Payload::Data            type 0, the data as it is
//!   Payload::Change(V1)      type 1, data: raftpb.ConfChange
//!   Payload::Change(V2)      type 2, data: raftpb.ConfChangeV2, none of it to leave the joint configuration
//! ```
//!
//! Read as generously as Go reads: what is absent is 0, unknown fields count for nothing.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use ferrite_raft::{
    ChangeKind, ConfChange, ConfChangeV1, ConfChangeV2, Entry, Index, MemberChange, NodeId, Payload, Term, Transition,
};
use prost::Message as _;

use crate::raftpb::{self, ConfChangeTransition as WireTransition, ConfChangeType as WireKind, EntryType};
use crate::wire::{self, Malformed, shapes};

/// An entry that this version does not understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("unknown entry type {0}")]
    UnknownType(i32),
    #[error("{0} is no kind of membership change")]
    UnknownChange(i32),
    #[error("{0} is no transition of a membership change")]
    UnknownTransition(i32),
    #[error("a membership change that cannot be read: {0}")]
    Malformed(#[from] Malformed),
}

impl From<&Entry> for raftpb::Entry {
    fn from(entry: &Entry) -> Self {
        let (kind, data) = parts(&entry.payload);
        raftpb::Entry {
            r#type: Some(kind as i32),
            term: Some(entry.term.0),
            index: Some(entry.index.0),
            data: (!data.is_empty()).then(|| data.into_owned()),
        }
    }
}

impl TryFrom<raftpb::Entry> for Entry {
    type Error = EntryError;

    fn try_from(entry: raftpb::Entry) -> Result<Self, EntryError> {
        Ok(Entry {
            term: Term(entry.term.unwrap_or_default()),
            index: Index(entry.index.unwrap_or_default()),
            payload: payload(entry.r#type.unwrap_or_default(), entry.data.unwrap_or_default())?,
        })
    }
}

/// The type and the data of an entry.
pub(super) fn parts(payload: &Payload) -> (EntryType, Cow<'_, Bytes>) {
    match payload {
        Payload::Data(data) => (EntryType::EntryNormal, Cow::Borrowed(data)),
        Payload::Change(change) => match &**change {
            ConfChange::V1(change) => {
                (EntryType::EntryConfChange, Cow::Owned(raftpb::ConfChange::from(change).encode_to_vec().into()))
            }
            ConfChange::V2(change) if change.is_empty() => (EntryType::EntryConfChangeV2, Cow::Owned(Bytes::new())),
            ConfChange::V2(change) => {
                (EntryType::EntryConfChangeV2, Cow::Owned(raftpb::ConfChangeV2::from(change).encode_to_vec().into()))
            }
        },
    }
}

/// What an entry of this type with this data holds.
pub(super) fn payload(kind: i32, data: Bytes) -> Result<Payload, EntryError> {
    let change = match EntryType::try_from(kind).map_err(|_| EntryError::UnknownType(kind))? {
        EntryType::EntryNormal => return Ok(Payload::Data(data)),
        EntryType::EntryConfChange => {
            let change: raftpb::ConfChange = wire::decode(&shapes::raftpb_ConfChange, data)?;
            ConfChange::V1(change.try_into()?)
        }
        EntryType::EntryConfChangeV2 => {
            let change: raftpb::ConfChangeV2 = wire::decode(&shapes::raftpb_ConfChangeV2, data)?;
            ConfChange::V2(change.try_into()?)
        }
    };
    Ok(Payload::Change(Arc::new(change)))
}

fn context(context: &Bytes) -> Option<Bytes> {
    (!context.is_empty()).then(|| context.clone())
}

impl From<&ConfChangeV1> for raftpb::ConfChange {
    fn from(change: &ConfChangeV1) -> Self {
        raftpb::ConfChange {
            id: Some(change.id),
            r#type: Some(wire_kind(change.change.kind) as i32),
            node_id: Some(change.change.node.0),
            context: context(&change.context),
        }
    }
}

impl TryFrom<raftpb::ConfChange> for ConfChangeV1 {
    type Error = EntryError;

    fn try_from(change: raftpb::ConfChange) -> Result<Self, EntryError> {
        Ok(ConfChangeV1 {
            id: change.id.unwrap_or_default(),
            change: member_change(change.r#type, change.node_id)?,
            context: change.context.unwrap_or_default(),
        })
    }
}

impl From<&ConfChangeV2> for raftpb::ConfChangeV2 {
    fn from(change: &ConfChangeV2) -> Self {
        let transition = match change.transition {
            Transition::Auto => WireTransition::Auto,
            Transition::JointImplicit => WireTransition::JointImplicit,
            Transition::JointExplicit => WireTransition::JointExplicit,
        };
        let single = |change: &MemberChange| raftpb::ConfChangeSingle {
            r#type: Some(wire_kind(change.kind) as i32),
            node_id: Some(change.node.0),
        };
        raftpb::ConfChangeV2 {
            transition: Some(transition as i32),
            changes: change.changes.iter().map(single).collect(),
            context: context(&change.context),
        }
    }
}

impl TryFrom<raftpb::ConfChangeV2> for ConfChangeV2 {
    type Error = EntryError;

    fn try_from(change: raftpb::ConfChangeV2) -> Result<Self, EntryError> {
        let transition = change.transition.unwrap_or_default();
        let single = |change: raftpb::ConfChangeSingle| member_change(change.r#type, change.node_id);
        Ok(ConfChangeV2 {
            transition: match WireTransition::try_from(transition) {
                Ok(WireTransition::Auto) => Transition::Auto,
                Ok(WireTransition::JointImplicit) => Transition::JointImplicit,
                Ok(WireTransition::JointExplicit) => Transition::JointExplicit,
                Err(_) => return Err(EntryError::UnknownTransition(transition)),
            },
            changes: change.changes.into_iter().map(single).collect::<Result<_, _>>()?,
            context: change.context.unwrap_or_default(),
        })
    }
}

fn wire_kind(kind: ChangeKind) -> WireKind {
    match kind {
        ChangeKind::AddNode => WireKind::ConfChangeAddNode,
        ChangeKind::RemoveNode => WireKind::ConfChangeRemoveNode,
        ChangeKind::UpdateNode => WireKind::ConfChangeUpdateNode,
        ChangeKind::AddLearnerNode => WireKind::ConfChangeAddLearnerNode,
    }
}

fn member_change(kind: Option<i32>, node: Option<u64>) -> Result<MemberChange, EntryError> {
    let kind = kind.unwrap_or_default();
    let kind = match WireKind::try_from(kind).map_err(|_| EntryError::UnknownChange(kind))? {
        WireKind::ConfChangeAddNode => ChangeKind::AddNode,
        WireKind::ConfChangeRemoveNode => ChangeKind::RemoveNode,
        WireKind::ConfChangeUpdateNode => ChangeKind::UpdateNode,
        WireKind::ConfChangeAddLearnerNode => ChangeKind::AddLearnerNode,
    };
    Ok(MemberChange { kind, node: NodeId(node.unwrap_or_default()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind, node: u64) -> MemberChange {
        MemberChange { kind, node: NodeId(node) }
    }

    fn payloads() -> Vec<Payload> {
        let learner = change(ChangeKind::AddLearnerNode, u64::MAX - 7);
        let context = Bytes::from_static(b"peer");
        let v2 = |transition, changes, context| ConfChangeV2 { transition, changes, context };
        vec![
            Payload::default(),
            Bytes::from(vec![7; 300]).into(),
            ConfChangeV1 { id: 300, change: learner, context: context.clone() }.into(),
            ConfChangeV1 { id: 0, change: change(ChangeKind::UpdateNode, 0), context: Bytes::new() }.into(),
            ConfChangeV2::default().into(),
            v2(Transition::JointImplicit, vec![], Bytes::new()).into(),
            v2(Transition::Auto, vec![], context.clone()).into(),
            v2(Transition::JointExplicit, vec![learner, change(ChangeKind::RemoveNode, 2)], context).into(),
        ]
    }

    #[test]
    fn every_payload_comes_back_as_it_was_written() {
        for sent in payloads() {
            let (kind, data) = parts(&sent);
            assert_eq!(payload(kind as i32, data.into_owned()), Ok(sent));
        }
    }

    #[test]
    fn the_bytes_are_those_of_raftpb() {
        let add = change(ChangeKind::AddLearnerNode, u64::MAX - 7);
        let v1 = ConfChangeV1 { id: 300, change: add, context: Bytes::from_static(b"peer") }.into();
        let bytes = b"\x08\xac\x02\x10\x03\x18\xf8\xff\xff\xff\xff\xff\xff\xff\xff\x01\x22\x04peer";
        assert_eq!(parts(&v1).1[..], bytes[..]);
        let v2 = ConfChangeV2 { changes: vec![change(ChangeKind::RemoveNode, 2)], ..ConfChangeV2::default() }.into();
        assert_eq!(parts(&v2).1[..], b"\x08\x00\x12\x04\x08\x01\x10\x02"[..]);
    }

    #[test]
    fn the_lengths_that_raft_counts_are_those_of_the_wire() {
        for payload in payloads() {
            assert_eq!(payload.encoded_len(), parts(&payload).1.len() as u64, "{payload:?}");
            for (term, index) in [(1, 1), (127, 128), (1 << 35, u64::MAX)] {
                let entry = Entry { term: Term(term), index: Index(index), payload: payload.clone() };
                let normal = if entry.change().is_none() { 2 } else { 0 };
                assert_eq!(entry.encoded_len() + normal, raftpb::Entry::from(&entry).encoded_len() as u64, "{entry:?}");
            }
        }
    }

    #[test]
    fn what_is_absent_is_zero_and_what_is_unknown_is_passed_over() {
        assert_eq!(payload(2, Bytes::new()), Ok(ConfChangeV2::default().into()));
        let unknown = Bytes::from_static(b"\x18\x02\x48\x01\x51\x01\x02\x03\x04\x05\x06\x07\x08\x55\x01\x02\x03\x04");
        let expected = ConfChangeV1 { id: 0, change: change(ChangeKind::AddNode, 2), context: Bytes::new() };
        assert_eq!(payload(1, unknown), Ok(expected.into()));
    }

    #[test]
    fn what_this_version_does_not_know_is_an_error() {
        let read = |kind, data: &'static [u8]| payload(kind, Bytes::from_static(data)).unwrap_err();
        assert_eq!(read(3, b""), EntryError::UnknownType(3));
        assert_eq!(read(1, b"\x10\x04"), EntryError::UnknownChange(4));
        assert_eq!(read(2, b"\x12\x02\x08\x09"), EntryError::UnknownChange(9));
        assert_eq!(read(2, b"\x08\x03"), EntryError::UnknownTransition(3));
        for damaged in [&b"\x22\xff\x01"[..], b"\x03", b"\x0f\x01", b"\x08"] {
            assert!(matches!(read(1, damaged), EntryError::Malformed(_)), "{damaged:?}");
        }
    }
}
