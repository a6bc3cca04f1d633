//! Raft's types and raftpb, converted. Every scalar is written, as etcd before 3.7 did: all versions read that.

use ferrite_raft::{ConfState, Entry, EntryKind, HardState, Index, NodeId, Snapshot, SnapshotMeta, Term};

use crate::raftpb;

fn node_ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn raw_ids(ids: &[NodeId]) -> Vec<u64> {
    ids.iter().map(|id| id.0).collect()
}

impl From<&Entry> for raftpb::Entry {
    fn from(entry: &Entry) -> Self {
        let kind = match entry.kind {
            EntryKind::Normal => raftpb::EntryType::EntryNormal,
            EntryKind::ConfChange => raftpb::EntryType::EntryConfChange,
            EntryKind::ConfChangeV2 => raftpb::EntryType::EntryConfChangeV2,
        };
        raftpb::Entry {
            r#type: Some(kind as i32),
            term: Some(entry.term.0),
            index: Some(entry.index.0),
            data: (!entry.data.is_empty()).then(|| entry.data.clone()),
        }
    }
}

/// An entry of a kind that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEntryKind(pub i32);

impl TryFrom<raftpb::Entry> for Entry {
    type Error = UnknownEntryKind;

    fn try_from(entry: raftpb::Entry) -> Result<Self, UnknownEntryKind> {
        let kind = match entry.r#type.unwrap_or_default() {
            0 => EntryKind::Normal,
            1 => EntryKind::ConfChange,
            2 => EntryKind::ConfChangeV2,
            other => return Err(UnknownEntryKind(other)),
        };
        Ok(Entry {
            term: Term(entry.term.unwrap_or_default()),
            index: Index(entry.index.unwrap_or_default()),
            kind,
            data: entry.data.unwrap_or_default(),
        })
    }
}

impl From<HardState> for raftpb::HardState {
    fn from(state: HardState) -> Self {
        raftpb::HardState {
            term: Some(state.term.0),
            vote: Some(state.vote.map_or(0, |id| id.0)),
            commit: Some(state.commit.0),
        }
    }
}

impl From<raftpb::HardState> for HardState {
    fn from(state: raftpb::HardState) -> Self {
        HardState {
            term: Term(state.term.unwrap_or_default()),
            vote: state.vote.filter(|id| *id != 0).map(NodeId),
            commit: Index(state.commit.unwrap_or_default()),
        }
    }
}

impl From<&ConfState> for raftpb::ConfState {
    fn from(conf: &ConfState) -> Self {
        raftpb::ConfState {
            voters: raw_ids(&conf.voters),
            learners: raw_ids(&conf.learners),
            voters_outgoing: raw_ids(&conf.voters_outgoing),
            learners_next: raw_ids(&conf.learners_next),
            auto_leave: Some(conf.auto_leave),
        }
    }
}

impl From<raftpb::ConfState> for ConfState {
    fn from(conf: raftpb::ConfState) -> Self {
        let sorted = |ids: &[u64]| {
            let mut ids = node_ids(ids);
            ids.sort_unstable();
            ids
        };
        ConfState {
            voters: sorted(&conf.voters),
            learners: sorted(&conf.learners),
            voters_outgoing: sorted(&conf.voters_outgoing),
            learners_next: sorted(&conf.learners_next),
            auto_leave: conf.auto_leave.unwrap_or_default(),
        }
    }
}

impl From<&Snapshot> for raftpb::Snapshot {
    fn from(snapshot: &Snapshot) -> Self {
        raftpb::Snapshot {
            data: (!snapshot.data.is_empty()).then(|| snapshot.data.clone()),
            metadata: Some(raftpb::SnapshotMetadata {
                conf_state: Some((&snapshot.meta.conf).into()),
                index: Some(snapshot.meta.index.0),
                term: Some(snapshot.meta.term.0),
            }),
        }
    }
}

impl From<raftpb::Snapshot> for Snapshot {
    fn from(snapshot: raftpb::Snapshot) -> Self {
        let meta = snapshot.metadata.unwrap_or_default();
        Snapshot {
            data: snapshot.data.unwrap_or_default(),
            meta: SnapshotMeta {
                index: Index(meta.index.unwrap_or_default()),
                term: Term(meta.term.unwrap_or_default()),
                conf: meta.conf_state.unwrap_or_default().into(),
            },
        }
    }
}
