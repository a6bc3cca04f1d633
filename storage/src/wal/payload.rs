//! What records carry, read with suspicion: numbers that no log comes to are damage that the form alone does not show.

use bytes::Bytes;
use ferrite_proto::etcdserverpb;
use ferrite_proto::raft::record;
use ferrite_raft::{Entry, HardState, NodeId, SnapshotMeta};
use prost::Message;

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

pub(super) fn parse_entry(bytes: &[u8]) -> Result<Entry, &'static str> {
    let entry = record::read_entry(bytes)?;
    if !(1..=MAX_TERM).contains(&entry.term.0) || !(1..=MAX_INDEX).contains(&entry.index.0) {
        return Err("an entry has an impossible term or index");
    }
    Ok(entry)
}

pub(super) fn parse_state(bytes: &[u8]) -> Result<HardState, &'static str> {
    let state = record::read_hard_state(bytes)?;
    if !(1..=MAX_TERM).contains(&state.term.0) || state.commit.0 > MAX_INDEX {
        return Err("a hard state has an impossible term or index");
    }
    Ok(state)
}

pub(super) fn parse_snapshot(bytes: Option<&[u8]>) -> Result<SnapshotMeta, &'static str> {
    let meta = record::read_snapshot(bytes.ok_or("a snapshot record is empty")?)?;
    if meta.term.0 > MAX_TERM || meta.index.0 > MAX_INDEX {
        return Err("a snapshot record has an impossible term or index");
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use ferrite_raft::{ChangeKind, ConfChangeV1, Index, MemberChange, Payload, Term};

    use super::*;

    #[test]
    fn metadata_comes_back_as_it_was_written() {
        let metadata = Metadata { node_id: NodeId(5), cluster_id: u64::MAX };
        assert_eq!(Metadata::decode(&metadata.encode()), Some(metadata));
    }

    #[test]
    fn entries_and_hard_states_are_not_mistaken_for_each_other() {
        let vote = Some(NodeId(0x8e9e_05c5_2164_694d));
        for term in 1..5 {
            let state = HardState { term: Term(term), vote, commit: Index(4) };
            parse_entry(&record::write_hard_state(state)).unwrap_err();
        }
        let change = MemberChange { kind: ChangeKind::AddNode, node: NodeId(5) };
        let change = ConfChangeV1 { id: 0, change, context: Bytes::new() }.into();
        for payload in [Payload::default(), Bytes::from_static(b"x").into(), change] {
            let entry = Entry { term: Term(1), index: Index(4), payload };
            let mut bytes = Vec::new();
            let data = record::write_entry(&entry, &mut bytes);
            bytes.extend_from_slice(&data);
            parse_state(&bytes).unwrap_err();
            assert_eq!(parse_entry(&bytes), Ok(entry));
        }
    }
}
