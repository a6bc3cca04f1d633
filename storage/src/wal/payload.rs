//! What records carry: entries, hard states, snapshots, metadata, as raftpb and etcd encode them.
//!
//! Written with every scalar, also a zero, which all versions of etcd and its tools read. Read with suspicion: the type
//! of a record is not covered by its checksum, so a flipped bit can make an entry look like a hard state, whose
//! fields have the same numbers. The checks here tell them apart.

use bytes::Bytes;
use ferrite_proto::{etcdserverpb, walpb};
use ferrite_raft::{Entry, EntryKind, HardState, Index, NodeId, SnapshotMeta, Term};
use prost::Message;

use super::wire::{Fields, Value, put_number, put_varint};

/// A larger term is no term: with an election each millisecond it would take 8,900 years. Ids of members, which a
/// damaged record may show in a term's place, are larger.
const MAX_TERM: u64 = 1 << 48;
/// A larger index is no index. Leaves room for arithmetic.
const MAX_INDEX: u64 = 1 << 62;

/// Whose log it is: the content of the metadata record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub node_id: NodeId,
    pub cluster_id: u64,
}

impl Metadata {
    pub fn encode(self) -> Bytes {
        let message = etcdserverpb::Metadata { node_id: Some(self.node_id.0), cluster_id: Some(self.cluster_id) };
        message.encode_to_vec().into()
    }

    /// `None` if these are not the bytes of a metadata record of etcd.
    pub fn decode(bytes: &[u8]) -> Option<Metadata> {
        let message = etcdserverpb::Metadata::decode(bytes).ok()?;
        Some(Metadata { node_id: NodeId(message.node_id?), cluster_id: message.cluster_id? })
    }
}

/// The bytes of an entry before its data; they are short, so that the data is copied once only.
pub(super) fn entry_head(entry: &Entry, head: &mut Vec<u8>) {
    head.clear();
    let kind = match entry.kind {
        EntryKind::Normal => 0,
        EntryKind::ConfChange => 1,
        EntryKind::ConfChangeV2 => 2,
    };
    put_number(head, 1, kind);
    put_number(head, 2, entry.term.0);
    put_number(head, 3, entry.index.0);
    if !entry.data.is_empty() {
        head.push(4 << 3 | 2);
        put_varint(head, entry.data.len() as u64);
    }
}

pub(super) fn state_bytes(state: &HardState) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    put_number(&mut bytes, 1, state.term.0);
    put_number(&mut bytes, 2, state.vote.map_or(0, |id| id.0));
    put_number(&mut bytes, 3, state.commit.0);
    bytes
}

/// The members are written with every snapshot but the one before the first entry.
pub(super) fn snapshot_bytes(meta: &SnapshotMeta) -> Vec<u8> {
    let conf_state = (meta.index != Index(0)).then(|| (&meta.conf).into());
    walpb::Snapshot { index: Some(meta.index.0), term: Some(meta.term.0), conf_state }.encode_to_vec()
}

/// The data is copied: it must not keep a whole segment in memory.
pub(super) fn parse_entry(bytes: &[u8]) -> Result<Entry, &'static str> {
    let mut entry = Entry::default();
    for field in Fields(bytes) {
        match field.ok_or("an entry is malformed")? {
            (1, Value::Number(kind)) => {
                entry.kind = match kind {
                    0 => EntryKind::Normal,
                    1 => EntryKind::ConfChange,
                    2 => EntryKind::ConfChangeV2,
                    _ => return Err("an entry has an unknown type"),
                }
            }
            (2, Value::Number(term)) => entry.term = Term(term),
            (3, Value::Number(index)) => entry.index = Index(index),
            (4, Value::Bytes(data)) => entry.data = Bytes::copy_from_slice(data),
            (1..=4, _) => return Err("an entry is malformed"),
            _ => {}
        }
    }
    if !(1..=MAX_TERM).contains(&entry.term.0) || !(1..=MAX_INDEX).contains(&entry.index.0) {
        return Err("an entry has an impossible term or index");
    }
    if entry.kind == EntryKind::ConfChange && entry.data.is_empty() {
        return Err("an entry changes the members, and does not say how");
    }
    Ok(entry)
}

pub(super) fn parse_state(bytes: &[u8]) -> Result<HardState, &'static str> {
    let mut state = HardState::default();
    for field in Fields(bytes) {
        match field.ok_or("a hard state is malformed")? {
            (1, Value::Number(term)) => state.term = Term(term),
            (2, Value::Number(vote)) => state.vote = (vote != 0).then_some(NodeId(vote)),
            (3, Value::Number(commit)) => state.commit = Index(commit),
            _ => return Err("a hard state is malformed"),
        }
    }
    if !(1..=MAX_TERM).contains(&state.term.0) || state.commit.0 > MAX_INDEX {
        return Err("a hard state has an impossible term or index");
    }
    Ok(state)
}

pub(super) fn parse_snapshot(bytes: Option<&[u8]>) -> Result<SnapshotMeta, &'static str> {
    let message = walpb::Snapshot::decode(bytes.ok_or("a snapshot record is empty")?);
    let message = message.map_err(|_| "a snapshot record is malformed")?;
    let meta = SnapshotMeta {
        index: Index(message.index.unwrap_or_default()),
        term: Term(message.term.unwrap_or_default()),
        conf: message.conf_state.unwrap_or_default().into(),
    };
    if meta.term.0 > MAX_TERM || meta.index.0 > MAX_INDEX {
        return Err("a snapshot record has an impossible term or index");
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use ferrite_proto::raftpb;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_raftpb() {
        for (kind, data) in [(EntryKind::Normal, &b""[..]), (EntryKind::ConfChange, b"x"), (EntryKind::Normal, b"abc")]
        {
            let entry = Entry { term: Term(3), index: Index(300), kind, data: Bytes::from_static(data) };
            let mut bytes = Vec::new();
            entry_head(&entry, &mut bytes);
            bytes.extend_from_slice(data);
            assert_eq!(bytes, raftpb::Entry::from(&entry).encode_to_vec());
            assert_eq!(parse_entry(&bytes), Ok(entry));
        }
        for vote in [None, Some(NodeId(u64::MAX))] {
            let state = HardState { term: Term(1), vote, commit: Index(0) };
            let bytes = state_bytes(&state);
            assert_eq!(bytes, raftpb::HardState::from(state).encode_to_vec());
            assert_eq!(parse_state(&bytes), Ok(state));
        }
        let mut meta = SnapshotMeta::default();
        assert_eq!(snapshot_bytes(&meta), [8, 0, 16, 0]);
        meta.index = Index(7);
        meta.conf.voters = vec![NodeId(1), NodeId(9)];
        assert_eq!(snapshot_bytes(&meta), [8, 7, 16, 0, 26, 6, 8, 1, 8, 9, 40, 0]);
        assert_eq!(parse_snapshot(Some(&snapshot_bytes(&meta))), Ok(meta));
        let metadata = Metadata { node_id: NodeId(5), cluster_id: u64::MAX };
        assert_eq!(Metadata::decode(&metadata.encode()), Some(metadata));
    }

    #[test]
    fn entries_without_a_type_are_normal() {
        let entry = Entry { term: Term(2), index: Index(3), ..Entry::default() };
        assert_eq!(parse_entry(&[16, 2, 24, 3]), Ok(entry));
    }

    #[test]
    fn entries_and_hard_states_are_not_mistaken_for_each_other() {
        let vote = Some(NodeId(0x8e9e_05c5_2164_694d));
        for term in 1..5 {
            let state = HardState { term: Term(term), vote, commit: Index(4) };
            parse_entry(&state_bytes(&state)).unwrap_err();
        }
        let entries = [(EntryKind::Normal, &b""[..]), (EntryKind::Normal, b"x"), (EntryKind::ConfChange, b"x")];
        for (kind, data) in entries {
            let entry = Entry { term: Term(1), index: Index(4), kind, data: Bytes::from_static(data) };
            let mut bytes = Vec::new();
            entry_head(&entry, &mut bytes);
            bytes.extend_from_slice(data);
            parse_state(&bytes).unwrap_err();
        }
    }
}
