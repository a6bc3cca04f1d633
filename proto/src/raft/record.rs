//! What the records of a log hold: entries, hard states and snapshots, once more, for a disk that may lie.
//!
//! Written with every scalar, also a zero, which all versions of etcd and its tools read. Read strictly, other than messages
//! are: the type of a record is not covered by its checksum, so a flipped bit can make an entry look like a hard state,
//! whose fields have the same numbers. Here a field has its one wire type, a hard state has no unknown ones, and a change of
//! members says what changes. What is wrong is told in words.

use std::borrow::Cow;

use bytes::Bytes;
use ferrite_raft::{Entry, HardState, Index, NodeId, SnapshotMeta, Term};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, uint64};

use super::entry::{parts, payload};
use crate::wire::{self, Fields, Wire};
use crate::{raftpb, walpb};

/// Writes into `head` the bytes of an entry before its data, and returns the data: it is long, and so copied once only.
pub fn write_entry<'e>(entry: &'e Entry, head: &mut Vec<u8>) -> Cow<'e, Bytes> {
    let (kind, data) = parts(&entry.payload);
    head.clear();
    uint64::encode(1, &(kind as u64), head);
    uint64::encode(2, &entry.term.0, head);
    uint64::encode(3, &entry.index.0, head);
    if !data.is_empty() {
        encode_key(4, WireType::LengthDelimited, head);
        encode_varint(data.len() as u64, head);
    }
    data
}

/// The data is copied: it must not keep in memory what it was read from.
///
/// # Errors
/// These are not the bytes of an entry.
pub fn read_entry(bytes: &[u8]) -> Result<Entry, &'static str> {
    const MALFORMED: &str = "an entry is malformed";
    let (mut kind, mut data) = (0, Bytes::new());
    let mut entry = Entry::default();
    for field in Fields::new(bytes) {
        let field = field.map_err(|_| MALFORMED)?;
        let value = &bytes[field.value];
        match (field.number, field.wire) {
            (1, Wire::Varint) => kind = number(value)?,
            (2, Wire::Varint) => entry.term = Term(number(value)?),
            (3, Wire::Varint) => entry.index = Index(number(value)?),
            (4, Wire::Bytes) => data = Bytes::copy_from_slice(value),
            (1..=4, _) | (_, Wire::Group | Wire::Fixed32 | Wire::Fixed64) => return Err(MALFORMED),
            _ => {}
        }
    }
    if kind == raftpb::EntryType::EntryConfChange as u64 && data.is_empty() {
        return Err("an entry changes the members, and does not say how");
    }
    let kind = i32::try_from(kind).map_err(|_| "an entry has an unknown type")?;
    entry.payload = payload(kind, data).map_err(|why| match why {
        super::EntryError::UnknownType(_) => "an entry has an unknown type",
        _ => "an entry changes the members in a way that is not known",
    })?;
    Ok(entry)
}

fn number(value: &[u8]) -> Result<u64, &'static str> {
    wire::varint(value).map_err(|_| "a number is malformed")
}

/// A hard state as a record holds it.
pub fn write_hard_state(state: HardState) -> Vec<u8> {
    raftpb::HardState::from(state).encode_to_vec()
}

/// # Errors
/// These are not the bytes of a hard state.
pub fn read_hard_state(bytes: &[u8]) -> Result<HardState, &'static str> {
    const MALFORMED: &str = "a hard state is malformed";
    let mut state = HardState::default();
    for field in Fields::new(bytes) {
        let field = field.map_err(|_| MALFORMED)?;
        let value = &bytes[field.value];
        match (field.number, field.wire) {
            (1, Wire::Varint) => state.term = Term(number(value)?),
            (2, Wire::Varint) => state.vote = Some(NodeId(number(value)?)).filter(|id| id.0 != 0),
            (3, Wire::Varint) => state.commit = Index(number(value)?),
            _ => return Err(MALFORMED),
        }
    }
    Ok(state)
}

/// Which snapshot there is, as a record says it. The members are written with every one but that before the first entry.
pub fn write_snapshot(meta: &SnapshotMeta) -> Vec<u8> {
    let conf_state = (meta.index != Index(0)).then(|| (&meta.conf).into());
    walpb::Snapshot { index: Some(meta.index.0), term: Some(meta.term.0), conf_state }.encode_to_vec()
}

/// # Errors
/// These are not the bytes of a snapshot record.
pub fn read_snapshot(bytes: &[u8]) -> Result<SnapshotMeta, &'static str> {
    let message = walpb::Snapshot::decode(bytes).map_err(|_| "a snapshot record is malformed")?;
    Ok(SnapshotMeta {
        index: Index(message.index.unwrap_or_default()),
        term: Term(message.term.unwrap_or_default()),
        conf: message.conf_state.unwrap_or_default().into(),
    })
}

#[cfg(test)]
mod tests {
    use ferrite_raft::{ChangeKind, ConfChangeV1, ConfChangeV2, MemberChange, Payload};

    use super::*;

    fn written(entry: &Entry) -> Vec<u8> {
        let mut bytes = Vec::new();
        let data = write_entry(entry, &mut bytes);
        bytes.extend_from_slice(&data);
        bytes
    }

    fn payloads() -> [Payload; 5] {
        let change = MemberChange { kind: ChangeKind::AddNode, node: NodeId(5) };
        [
            Payload::default(),
            Bytes::from_static(b"abc").into(),
            ConfChangeV1 { id: 9, change, context: Bytes::from_static(b"peer") }.into(),
            ConfChangeV2 { changes: vec![change], ..ConfChangeV2::default() }.into(),
            ConfChangeV2::default().into(),
        ]
    }

    #[test]
    fn the_bytes_are_those_of_messages() {
        for payload in payloads() {
            let entry = Entry { term: Term(3), index: Index(300), payload };
            let bytes = written(&entry);
            assert_eq!(bytes, raftpb::Entry::from(&entry).encode_to_vec());
            assert_eq!(read_entry(&bytes), Ok(entry));
        }
        for vote in [None, Some(NodeId(u64::MAX))] {
            let state = HardState { term: Term(1), vote, commit: Index(0) };
            assert_eq!(read_hard_state(&write_hard_state(state)), Ok(state));
        }
        let mut meta = SnapshotMeta::default();
        assert_eq!(write_snapshot(&meta), [8, 0, 16, 0]);
        meta.index = Index(7);
        meta.conf.voters = vec![NodeId(1), NodeId(9)];
        assert_eq!(write_snapshot(&meta), [8, 7, 16, 0, 26, 6, 8, 1, 8, 9, 40, 0]);
        assert_eq!(read_snapshot(&write_snapshot(&meta)), Ok(meta));
    }

    #[test]
    fn entries_without_a_type_are_normal() {
        let entry = Entry { term: Term(2), index: Index(3), ..Entry::default() };
        assert_eq!(read_entry(&[16, 2, 24, 3]), Ok(entry));
    }

    #[test]
    fn an_entry_with_data_is_no_hard_state() {
        for payload in payloads() {
            let entry = Entry { term: Term(1), index: Index(4), payload };
            let is_empty = entry.payload.encoded_len() == 0;
            assert_eq!(read_hard_state(&written(&entry)).is_err(), !is_empty, "{entry:?}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        for bad in [&b"\x08\x03"[..], b"\x08\x01\x10\x01\x18\x01", b"\x0d\x01\x02\x03\x04", b"\x2d\x01\x02\x03\x04"] {
            assert!(read_entry(bad).is_err(), "{bad:?}");
        }
        for bad in [&b"\x08"[..], b"\x20\x01", b"\x0d\x01\x02\x03\x04"] {
            assert!(read_hard_state(bad).is_err(), "{bad:?}");
        }
        assert!(read_snapshot(b"\x08").is_err());
    }
}
